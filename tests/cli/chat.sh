# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# chat.sh - chat templates: one of our own with jinja2's texts, and input that is wrong.
. "$(dirname "$0")/lib.sh"

# same FILE FIELD: the last run's texts are those in a field of the golden file's rows.
same() {
    jq -c '.text' "$out" >got
    jq -c ".$2" "$1" >want
    diff want got >"$err" || fail "texts differ from $1"
    [ -s want ] || fail "$1 is empty"
}

own=$data/chat
expect 0 chat-template --tokenizer "$own" --jsonl "$own/chats.jsonl"
silent
same "$own/chats.jsonl" text
"$BRIDGE" chat-template --tokenizer "$own" --jsonl <"$own/chats.jsonl" | cmp - "$out" || fail "standard input"

# one conversation: an object, or the messages alone; the text as it is
expect 0 chat-template --tokenizer "$own" <<<'{"messages": [{"role": "user", "content": "Hello"}]}'
[ "$(cat "$out")" = $'<s><user>Hello</user>' ] || fail "object"
expect 0 chat-template --tokenizer "$own" --add-generation-prompt --enable-thinking false \
    <<<'[{"role": "user", "content": "Hello"}]'
printf '<s><user>Hello</user>\n<assistant><think></think>' | cmp - "$out" || fail "array"
expect 0 chat-template --tokenizer "$own" --add-generation-prompt --enable-thinking false \
    <<<'{"messages": [{"role": "user", "content": "Hello"}], "add_generation_prompt": false}'
[ "$(cat "$out")" = $'<s><user>Hello</user>' ] || fail "what the input says goes first"
expect 0 chat-template --tokenizer "$own" --jsonl \
    <<<'{"messages": [{"role": "user", "content": "x"}], "chat_template_kwargs": {"bos_token": "B"}}'
says '{"text": "B<user>x</user>"}'

# the last message goes on; the tokens of the assistant
expect 0 chat-template --tokenizer "$own" --continue-final-message \
    <<<'[{"role": "user", "content": "a"}, {"role": "assistant", "content": "half "}]'
printf '<s><user>a</user><assistant>half' | cmp - "$out" || fail "continued: $(cat "$out")"
expect 0 chat-template --tokenizer "$own" \
    <<<'{"messages": [{"role": "user", "content": "a"}], "continue_final_message": "content"}'
[ "$(cat "$out")" = '<s><user>a' ] || fail "continued by the input: $(cat "$out")"
expect 4 chat-template --tokenizer "$own" <<<'{"messages": [{"role": "user"}], "continue_final_message": true}'
complains 'the final message has no "content" to continue'
expect 2 chat-template --tokenizer "$own" --continue-final-message --add-generation-prompt \
    <<<'[{"role": "user", "content": "a"}]'
complains 'choose one of the two'
mkdir marked
cp "$data/tokenizer/small/tokenizer.json" marked
printf 'a{%% generation %%}b{%% endgeneration %%}c' >marked/chat_template.jinja
expect 0 chat-template --tokenizer marked --assistant-mask <<<'[{"role": "user", "content": ""}]'
says '{"text": "abc", "ids": [64, 65, 66], "assistant_mask": [0, 1, 0]}'

# what is wrong says where
expect 4 chat-template --tokenizer "$own" --jsonl <<<$'\n{"messages": [{"role": "system", "content": ""}]}'
complains 'input line 2'
complains 'the template refuses: no message of a user among 1'
expect 4 chat-template --tokenizer "$own" --jsonl <<<'{"messages": 5}'
complains 'messages: a JSON array is needed'
expect 4 chat-template --tokenizer "$own" --jsonl <<<'{"messages": []}'
complains 'the conversation is empty'
expect 4 chat-template --tokenizer "$own" --jsonl <<<'{"messages": [5]}'
complains 'element 0 is no object'
expect 4 chat-template --tokenizer "$own" --jsonl <<<'{"tools": []}'
complains 'no "messages"'
expect 4 chat-template --tokenizer "$own" --jsonl <<<'[{"role": "user"}]'
complains 'a JSON object is needed'
expect 4 chat-template --tokenizer "$own" --jsonl <<<'{"messages": [{"role": "user"}], "enable_thinking": "no"}'
complains '"enable_thinking" is neither true nor false nor null'
expect 4 chat-template --tokenizer "$own" --jsonl <<<'{"messages": '
complains 'input line 1: byte'
expect 2 chat-template
complains "needs --tokenizer"
expect 11 chat-template --tokenizer ./nothing
complains "'./nothing' is neither a directory nor of the form ORG/NAME"
expect 11 chat-template --tokenizer "$own" ./nothing
mkdir empty
expect 11 chat-template --tokenizer empty
complains "'empty' has no chat template"
printf 'line 1\n{%% include "x" %%}' >empty/chat_template.jinja
expect 12 chat-template --tokenizer empty
complains "line 2: the tag 'include' is not supported"
done_ok
