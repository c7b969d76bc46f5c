# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# chat_published.sh - the chat templates of published models, which are not ours to copy, with jinja2's texts.
. "$(dirname "$0")/lib.sh"

# same FILE FIELD: the last run's texts are those in a field of the golden file's rows.
same() {
    jq -c '.text' "$out" >got
    jq -c ".$2" "$1" >want
    diff want got >"$err" || fail "texts differ from $1"
    [ -s want ] || fail "$1 is empty"
}

need_fixture tokenizer/chat/chat.jsonl
chats=$fixture
for name in qwen2.5 qwen3; do
    need_fixture tokenizer/$name
    jq -c "select(.template == \"$name\")" "$chats" >rows
    expect 0 chat-template --tokenizer "$fixture" --jsonl rows
    same rows text
    echo "$name: $(wc -l <want) prompts equal"
done
need_fixture hf/qwen3_tiny_chat
jq -c '.add_generation_prompt = true' "$fixture/golden_chat.jsonl" >rows
expect 0 chat-template --tokenizer "$fixture" --jsonl rows
same rows prompt_text
echo "qwen3_tiny_chat: $(wc -l <want) prompts equal"
done_ok
