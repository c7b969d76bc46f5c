# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# waits.sh - what `generate` says before its first token when that takes long, that Ctrl-C ends it there too, and where the
# closing line stands.
. "$(dirname "$0")/lib.sh"
command -v python3 >/dev/null || skip "no python3, which makes a terminal"

cp -r "$data/hf/qwen3_tiny_chat" chat
chmod -R u+w chat
cp "$data/chat/chat_template.jinja" chat/
# the closing line begins a line of its own, also where both streams are one file
"$BRIDGE" generate chat -p Hi -N 5 --threads 2 --dtype float32 >both 2>&1
tail -n 1 both | grep -q '^bridge: prompt [0-9]* tokens' || fail "the closing line is: $(tail -n 1 both)"
[ "$(grep -c 'bridge: prompt' both)" = 1 ]

# a prompt that takes longer than a second on this machine: it grows by half until the line is there.  The line comes
# after a second of waiting, which ends some time after the first token: on a busy machine, as late as this allows for.
jq '.max_position_embeddings = 1048576' chat/config.json >config
mv config chat/config.json
first_token() { sed -n 's/^bridge: prompt .*first token \([0-9.]*\) s.*/\1/p' "$err"; }
said() { grep -q "^bridge: reading the prompt ($1 tokens), and the weights from the disk\$" "$err"; }
expect 0 generate chat --input-ids 5,6,7 -N 1 --threads 1 --dtype float32
jq -en "$(first_token) > 0.6" >/dev/null || ! grep -q 'reading the prompt' "$err" || fail "a line for $(first_token) s"
n=2000
until seq "$n" | awk '{ print $1 % 200 + 5 }' >ids && expect 0 generate chat --input-ids ids -N 1 --threads 1 --dtype float32 && said "$n"; do
    jq -en "$(first_token) < 2" >/dev/null || fail "no line in $(first_token) s"
    n=$((n * 3 / 2))
    [ "$n" -lt 200000 ] || fail "no prompt takes a second"
done
jq -en "$(first_token) >= 0.6" >/dev/null || fail "a line after $(first_token) s"
seq "$n" | awk '{ print $1 % 200 + 5 }' >ids
expect 0 generate chat --input-ids ids -N 1 --threads 1 --dtype float32 --quiet
silent
expect 0 generate chat --input-ids ids -N 1 --threads 1 --dtype float32 --json
silent

# a model that needs longer than a second for tens of thousands of tokens on any machine
"$BRIDGE" toy qwen3 -o slow -q --set hidden_size=512 intermediate_size=2048 num_hidden_layers=8 \
    vocab_size="$(jq .vocab_size chat/config.json)" max_position_embeddings=1048576 >"$out"
cp chat/{tokenizer*,chat_template*,generation_config*} slow/
seq 100000 | awk '{ print $1 % 200 + 5 }' >many

# on a terminal the line goes when the answer comes; Ctrl-C at that time ends the program, in a conversation the turn
cat >waits.py <<'E2'
import os
import re
import sys

from libpty import Terminal, check

bridge, n = os.environ["BRIDGE"], int(sys.argv[1])


def run(model, columns, *more):
    return Terminal([bridge, "generate", model, "--threads", "1", "--dtype", "float32", *more], columns)


while True:  # other tests may leave the machine meanwhile, which is then faster
    with open("ids", "w", encoding="ascii") as f:
        f.write("\n".join(str(i % 200 + 5) for i in range(n)))
    t = run("chat", 80, "--input-ids", "ids", "-N", "1")
    check(t.end() == 0, f"status {t.status}")
    check("reading" not in t.screen().text(), f"the line stays: {t.screen().text()}")
    if "reading the prompt" in t.raw:
        break
    n *= 2
    check(n < 200000, "no prompt takes a second")

for columns in (20, 64):
    t = run("slow", columns, "--input-ids", "many", "-N", "1")
    t.expect("reading the prom")
    t.resize(40)
    t.interrupt()
    check(t.end() == -2, f"Ctrl-C while the prompt is read: status {t.status}")
    line = [re.sub("\\x1b\\[[0-9;]*[A-Za-z]", "", x) for x in re.split("[\r\n]", t.raw) if "reading the prom" in x]
    check(len(line) == 1 and len(line[0].replace("^C", "")) < columns, f"the line does not fit: {line}")

words = "Hello " * 16000  # each is a token or more
t = run("slow", 80, "--chat", "--greedy", "-N", "3", "-c", "200000", "--system", words)
t.prompt()
t.send("Hi\r")
t.expect("reading the prompt")
t.interrupt()
t.expect("the answer was stopped")
t.prompt()
t.send("/system Be brief.\r")
t.expect("a new conversation")
t.prompt()
t.send("Hi\r")
t.expect("prompt [0-9]+ tokens, .*; 3 new")
t.prompt()
t.send("\x04")
check(t.end() == 0, f"status {t.status}")
E2
last="waits.py"
PYTHONPATH=$(cd "$(dirname "$0")" && pwd) PYTHONDONTWRITEBYTECODE=1 python3 waits.py "$n" >"$out" 2>"$err" || fail "in a terminal"
done_ok
