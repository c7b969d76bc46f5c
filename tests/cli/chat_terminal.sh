# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# chat_terminal.sh - a conversation in a real terminal: line editing, history, /commands, Ctrl-C at every state, a
# context that slides, windows of 20 to 200 columns and their changes.
. "$(dirname "$0")/lib.sh"
command -v python3 >/dev/null || skip "no python3, which makes a terminal"

f32=(--dtype float32 --threads 2)
cp -r "$data/hf/qwen3_tiny_chat" chat
chmod -R u+w chat
cp "$data/chat/chat_template.jinja" chat/
"$BRIDGE" generate chat --chat -p One "${f32[@]}" -N 6 -q --greedy >first
"$BRIDGE" generate chat --chat -p Two "${f32[@]}" -N 6 -q --greedy >other
# sampling as generation_config.json recommends it, and not
"$BRIDGE" generate chat --chat -p One "${f32[@]}" -N 6 -q --temperature 0.6 --top-k 20 --top-p 0.95 >sampled
"$BRIDGE" generate chat --chat -p One "${f32[@]}" -N 6 -q >"$out"
cmp "$out" sampled || fail "--chat does not take the sampling of generation_config.json"
! cmp -s first sampled || fail "the samples are the greedy answer: this shows nothing"
# a long context: answers that last until they are stopped
cp -r chat endless
jq '.max_position_embeddings = 262144' chat/config.json >endless/config.json
# a short one: answers that are cut
cp -r chat short
jq '.max_position_embeddings = 96' chat/config.json >short/config.json

cat >talk.py <<'E2'
import os
import sys

from libpty import Terminal, check

bridge = os.environ["BRIDGE"]
first, other = open("first", encoding="utf-8").read().strip(), open("other", encoding="utf-8").read().strip()


def chat(model, columns, *more):
    return Terminal([bridge, "generate", model, "--chat", "--greedy", "--dtype", "float32", "--threads", "2", *more], columns)


def shown(text):
    """What of a text is found again however it was wrapped."""
    return "".join(c for c in text if c.isalnum())


def answered(t, at, text, what):
    """Wait for an answer and the prompt behind it."""
    while shown(text) not in shown(t.raw[at:]):
        check(t.read(60), f"{what}: {t.raw[at:]!r} {text!r}")
    t.seen = len(t.raw.rstrip("> ")) if t.raw.endswith("> ") else len(t.raw)
    t.prompt()


for columns in (20, 64, 80, 200):
    # editing: a wrong letter taken back, the line begun in the middle, history
    t = chat("chat", columns, "-N", "6", "-q")
    t.prompt()
    t.read(0.2)
    t.send("ne\x01O\x05x\x7f\r")
    answered(t, 0, first, f"{columns} columns: the edited line has another answer")
    t.send("/reset\r")
    t.expect("a new conversation")
    t.prompt()
    at = len(t.raw)
    t.send("\x1b[A\x1b[A\r")  # the line before the last
    answered(t, at, first, f"{columns} columns: history does not bring the line back")
    # commands
    t.send("/help\r")
    t.expect("/exit .*/reset .*/system .*/help ")
    t.prompt()
    t.send("/hlp\r")
    t.expect("there is no /hlp")
    t.prompt()
    t.send("/system\r")
    t.expect("system message: none")
    t.prompt()
    t.send("/system Be brief.\r")
    t.expect("a new conversation, with this system message")
    t.prompt()
    t.send("/system\r")
    t.expect("system message: Be brief.")
    t.prompt()
    # a window that changes while something is typed, and while nothing is
    t.send("/sys")
    t.resize(max(columns // 2, 20))
    t.read(0.2)
    t.resize(columns)
    t.read(0.2)
    t.send("tem\r")
    t.expect("system message: Be brief.")
    t.prompt()
    # Ctrl-C with something typed drops it, at an empty prompt it leaves
    t.send("half a li")
    t.expect("li")
    t.interrupt()
    t.prompt()
    t.send("/system\r")
    t.expect("system message: Be brief.")
    t.prompt()
    t.interrupt()
    check(t.end() == 0, f"Ctrl-C at an empty prompt: status {t.status}")

    # Ctrl-C while an answer comes stops it, and the next turn goes on
    t = chat("endless", columns, "--ignore-eos", "-c", "100000")
    t.expect("Ctrl-D leaves")
    t.prompt()
    t.send("Tell me\r")
    t.expect("\r\n..")
    while len(t.raw) < 400:
        check(t.read(5), "no answer")
    t.resize(max(columns // 2, 20))  # the answer goes on
    at = len(t.raw)
    while len(t.raw) < at + 200:
        check(t.read(5), "no answer after a window changed")
    t.resize(columns)
    t.interrupt()
    t.expect("the answer was stopped")
    t.expect("prompt .* tokens/s")
    t.prompt()
    t.send("/exit\r")
    check(t.end() == 0, f"/exit: status {t.status}")

# a second Ctrl-C does not wait
t = chat("endless", 80, "--ignore-eos", "-c", "100000")
t.prompt()
t.send("Tell me\r")
while len(t.raw) < 400:
    check(t.read(5), "no answer")
os.kill(t.pid, 19)  # stopped, so that the first has no effect yet
t.interrupt()
os.kill(t.pid, 18)
t.expect("stopped")
t.prompt()
t.send("\x04")
check(t.end() in (0, -2), f"two interrupts: status {t.status}")

# Ctrl-D leaves; a line without a template's help; empty lines are no turns
t = chat("chat", 80, "-N", "6", "-q")
t.prompt()
t.send("\r   \r")
t.prompt()
t.prompt()
t.send("\x04")
check(t.end() == 0, f"Ctrl-D: status {t.status}")
check(first not in t.raw, "an empty line was answered")

# without -N an answer ends where the context does, and says so; then the oldest turns are forgotten
t = chat("short", 80, "--ignore-eos")
t.prompt()
t.send("One\r")
t.expect("the answer was cut: the context of 96 tokens is full")
t.prompt()
t.send("Two\r")
t.expect("the context of 96 tokens is full: the oldest 1 of 1 messages are forgotten")
t.prompt()
t.send("long " * 100 + "\r")
t.expect("the message has [0-9]+ tokens with what belongs to it, the context 96")
t.prompt()
t.send("Three\r")
t.prompt()
t.send("\x04")
check(t.end() == 0, f"a full context: status {t.status}")
t = chat("short", 80, "--ignore-eos", "-N", "3")
t.prompt()
t.send("One\r")
t.expect("the answer was cut at --max-new-tokens 3")
t.prompt()
t.send("\x04")
t.end()

# a terminal that can do nothing
t = Terminal([bridge, "generate", "chat", "--chat", "--greedy", "--dtype", "float32", "-N", "6", "-q"], 80, {"TERM": "dumb"})
t.expect("> ")
t.send("One\n")
answered(t, 0, first, "a dumb terminal")
t.interrupt()
check(t.end() == 0, f"Ctrl-C on a dumb terminal: status {t.status}")
# Ctrl-C as soon as the prompt is there: the signal may come to any thread, before the program waits
for _ in range(20):
    t = Terminal([bridge, "generate", "chat", "--chat", "-q"], 80, {"TERM": "dumb"})
    t.expect("> ")
    t.interrupt()
    check(t.end() == 0, f"Ctrl-C at a first prompt: status {t.status}")
# what is typed in letters beyond ASCII arrives
t = chat("chat", 80, "-N", "6", "-q")
t.prompt()
t.read(0.2)
t.send("\u00fc\u00e9\u20ac\x7f\x7f\x7fOne\r")
answered(t, 0, first, "letters of several bytes are edited as one")
t.send("\x04")
t.end()
E2
last="talk.py"
PYTHONPATH=$(cd "$(dirname "$0")" && pwd) PYTHONDONTWRITEBYTECODE=1 python3 talk.py >"$out" 2>"$err" || fail "in a terminal"
done_ok
