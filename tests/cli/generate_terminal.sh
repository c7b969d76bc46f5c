# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# generate_terminal.sh - a conversation on a terminal: each answer is part of the next prompt.
. "$(dirname "$0")/lib.sh"
command -v script >/dev/null || skip "no script(1), which makes a terminal"

f32=(--dtype float32 --threads 2)
cp -r "$data/hf/qwen3_tiny_chat" chat
chmod -R u+w chat
cp "$data/chat/chat_template.jinja" chat/

"$BRIDGE" generate chat --chat --greedy -p One "${f32[@]}" -N 6 -q >first
printf 'One\nTwo\n' | TERM=dumb script -qec "'$BRIDGE' generate chat --chat --greedy --dtype float32 --threads 2 -N 6 -q" /dev/null |
    tr -d '\r' >"$out" || fail "on a terminal"
says "> $(cat first)"
jq -cn --rawfile answer first '[{role: "user", content: "One"},
    {role: "assistant", content: $answer[:-1]}, {role: "user", content: "Two"}]' >talk
"$BRIDGE" chat-template --tokenizer chat --add-generation-prompt <talk >rendered
"$BRIDGE" generate chat -p "$(cat rendered)" "${f32[@]}" -N 6 -q >second
says "> $(cat second)"
done_ok
