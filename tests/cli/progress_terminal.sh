# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# progress_terminal.sh - progress, colour and Ctrl-C in a real terminal of 20 to 200 columns; what an interrupted run
# keeps, how to go on and how to remove it; numbers after a resume.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/libhub.sh"
command -v python3 >/dev/null || skip "no python3, which makes a terminal"
export PYTHONPATH PYTHONDONTWRITEBYTECODE=1
PYTHONPATH=$(cd "$(dirname "$0")" && pwd)

# 6.3 MB: they arrive in about a second, and where something is to happen meanwhile in three
"$BRIDGE" toy qwen3 -o root/Qwen/slow -q --set vocab_size=32000 hidden_size=64 >"$out"

cat >bars.py <<'E2'
import os
import re

from libpty import Screen, Terminal, check

bridge = os.environ["BRIDGE"]
for columns in (20, 64, 80, 200):
    os.system("rm -rf home")
    t = Terminal([bridge, "download", "Qwen/slow"], columns)
    check(t.end() == 0, f"download: {t.raw!r}")
    bars = [b for b in re.split(r"\r|\n", t.raw) if "%" in b]
    check(len(bars) > 3, f"{columns} columns: {len(bars)} bars: {t.raw!r}")
    for b in bars:
        text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", b)
        check(len(text) < columns, f"{columns} columns: a bar of {len(text)}: {text!r}")
        check(text.count("%") == 1, f"two percentages: {text!r}")
    s = Screen(columns)
    s.feed("".join("\r" + b for b in bars))
    check(s.wraps == 0 and len(s.lines) == 1, f"{columns} columns: the bars take {len(s.lines)} lines")
    check(("[#" in bars[-1]) == (columns > 20), f"{columns} columns: {bars[-1]!r}")
E2
cat >meanwhile.py <<'E2'
import os
import re

from libpty import Terminal, check

bridge = os.environ["BRIDGE"]

# a window that becomes narrower and wider meanwhile: after the change every bar fits
os.system("rm -rf home")
t = Terminal([bridge, "download", "Qwen/slow"], 100)
t.expect("%")
t.resize(40)
t.expect("%")
t.expect("%")  # two bars may have been made before
at = t.seen
t.expect("%")
t.expect("%")
t.expect("%")
narrow = [re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", b) for b in re.split(r"\r|\n", t.raw[at:])[1:] if "%" in b]
check(narrow and max(map(len, narrow)) < 40, f"after the change: {narrow}")
t.resize(200)
check(t.end() == 0, "a window that changes")

# Ctrl-C in a download: what is kept, and both commands work
os.system("rm -rf home")
t = Terminal([bridge, "download", "Qwen/slow"], 80)
t.expect("%")
while not re.search(r"[1-9][0-9]%", t.raw):
    check(t.read(5), "no progress")
t.interrupt()
m = t.expect(r"bridge: interrupted; ([0-9.]+ [kM]?B) are kept; to go on: (bridge download Qwen/slow); "
             r"to remove them: (bridge clean Qwen/slow)")
check(t.end() == -2, f"Ctrl-C in a download: status {t.status}")

# an upload: the same bar, Ctrl-C before anything is whole at the hub, and after that
os.environ["HF_TOKEN"] = "hf_good"
for columns in (20, 64, 200, 80):
    t = Terminal([bridge, "upload", "root/Qwen/slow", f"org/up{columns}", "--create"], columns)
    while not re.search(r"[1-9]%", t.raw):
        check(t.read(5), f"no progress: {t.raw!r}")
    if columns == 80:
        check(t.end() == 0, f"upload: {t.raw!r}")
        check("committed" in t.screen().text() and "%" not in t.screen().text(), t.screen().text())
    else:
        t.interrupt()
        t.expect("bridge: interrupted; nothing is committed; to begin again: bridge upload root/Qwen/slow")
        check(t.end() == -2, f"Ctrl-C in an upload: status {t.status}")
    bars = [re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", b) for b in re.split(r"\r|\n|\^C", t.raw) if "%" in b]
    check(bars and max(map(len, bars)) < columns and all(b.count("%") == 1 for b in bars), f"{columns}: {bars}")

# a hub that says nothing: Ctrl-C while it is waited for
os.environ["HF_ENDPOINT"] = "http://127.0.0.1:1"
t = Terminal([bridge, "download", "Qwen/slow@other"], 64)
t.expect("waiting for 'http://127.0.0.1:1/api/models/Qwen/slow/revision/other', try")
t.interrupt()
t.expect("bridge: interrupted; ")
check(t.end() == -2, f"Ctrl-C while the hub is waited for: status {t.status}")
E2
hub_up --rate 6000000
for last in bars.py meanwhile.py; do
    python3 $last >"$out" 2>"$err" || fail "in a terminal"
    hub_up --rate 2000000
done
expect 0 clean Qwen/slow
says 'removed '
says ' that an interrupted run of Qwen/slow had left'
[ -z "$(find home -name '*.incomplete')" ] || fail "bridge clean leaves $(find home -name '*.incomplete')"
expect 0 clean Qwen/slow
says 'nothing is left of an interrupted run of Qwen/slow'
hub_down

# Ctrl-C in import and export; what was done counts once
"$BRIDGE" toy qwen3 -o big -q --set num_hidden_layers=8 hidden_size=512 vocab_size=60000 >"$out"
expect 0 import big --megatron-path whole --no-sync
cat >stops.py <<'E2'
import os
import sys

from libpty import Terminal, check

bridge = os.environ["BRIDGE"]
command, dest = sys.argv[1], sys.argv[2]
for i in range(40):  # some attempts end before the signal comes
    os.system(f"rm -rf {dest} .{dest}.bridge-partial")
    t = Terminal([bridge, *command.split()], 80)
    journal = f".{dest}.bridge-partial/.bridge_journal"
    while t.read(0.001):
        try:
            if open(journal).read().count("\n") > 1 + i % 2:
                break
        except OSError:
            pass
    t.interrupt()
    t.end()
    print(t.raw)
    if "are kept" in t.raw:
        check(t.status == -2, f"status {t.status}")
        check(f"to go on: bridge {command}; to remove them: bridge clean {dest}" in " ".join(t.raw.split()), t.raw)
        sys.exit(0)
    # ended by itself, before a part was finished, or by the signal after its work was done
    check(t.status == 0 or "nothing is kept" in t.raw or f"bridge clean {dest}" in t.raw or
          (t.status == -2 and os.path.exists(dest)), f"status {t.status}: {t.raw!r}")
sys.exit("FAILED: no run was interrupted in time")
E2
size() { # of the last run's first line: "imported 11 tensors (5.17 GB) to ..."
    sed -n 's/^[a-z]* [0-9]* tensors (\([^)]*\)).*/\1/p' "$out"
}
stopped() { # COMMAND DESTINATION CHECK...
    last=$1
    python3 stops.py "$1" "$2" >"$out" 2>"$err" || fail "Ctrl-C"
    # shellcheck disable=SC2086
    expect 0 $1
    says 'resumed: '
    [ "$(size)" = "$3" ] || fail "after a resume $(size), it is $3"
    expect 0 clean "$2"
    says 'nothing is left'
}
bytes=$(stat -c %s whole/iter_0000000/*.distcp | awk '{ n += $1 } END { print n }')
expect 0 import big --megatron-path again --no-sync
want=$(size)
stopped "import big --megatron-path again --no-sync --no-progress --threads 1" again "$want"
expect 0 export whole --hf-path back --no-sync
want=$(size)
rm -rf back
stopped "export whole --hf-path back --no-sync --no-progress --threads 1 --max-shard-size 20MB" back "$want"
[ "$bytes" -gt 0 ]
last="stops.py"
rm -rf again
python3 stops.py "import big --megatron-path again --no-sync --no-progress --threads 1" again >"$out" 2>"$err" || fail "Ctrl-C"
expect 0 clean again
says 'removed '
[ ! -e .again.bridge-partial ] || fail "bridge clean leaves the partial import"

# ---- colour ----------------------------------------------------------------------------------------------------
cat >colour.py <<'E2'
import os

from libpty import Terminal, check

bridge = os.environ["BRIDGE"]


def run(*argv, **env):
    t = Terminal([bridge, *argv], 80, env)
    t.end()
    return t.raw


check("\x1b[1;31mbridge: \x1b[0m" in run("imprt"), "an error has no colour")
check("\x1b" not in run("imprt", NO_COLOR="1"), "NO_COLOR")
check("\x1b" not in run("imprt", TERM="dumb"), "TERM=dumb")
check("\x1b" not in run("--color", "never", "verify"), "--color never")
check("\x1b[1;31m" in run("--color", "always", "verify", NO_COLOR="1"), "--color always")
E2
last="colour.py"
python3 colour.py >"$out" 2>"$err" || fail "colour"
expect 2 imprt
! grep -q $'\x1b' "$err" || fail "colour in a file"
expect 2 --color always verify
grep -q $'\x1b' "$err" || fail "--color always"
done_ok
