# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# generate_published.sh - conversations through the chat template of a published model, which is not ours to copy:
# transformers' prompts, greedy ids and texts.
. "$(dirname "$0")/lib.sh"
one_thread
need_fixture hf/qwen3_tiny_chat/golden_chat.jsonl
model=$(dirname "$fixture")

conversation() { # a conversation of one turn through --chat; of several, its text on standard input
    local words=(--json --ignore-eos --dtype float32 -N "$(jq '.greedy_ids | length' <<<"$1")") thinking
    thinking=$(jq .enable_thinking <<<"$1")
    jq -j .prompt_text <<<"$1" >rendered
    if [ "$(jq '.messages | length' <<<"$1")" = 1 ]; then
        words+=(--chat --greedy --prompt "$(jq -r '.messages[0].content' <<<"$1")")
        [ "$thinking" = null ] || words+=(--enable-thinking "$thinking")
    fi
    expect 0 generate "$model" "${words[@]}" <rendered
    for field in ids:greedy_ids text:text; do
        [ "$(jq -c ".${field%:*}" "$out")" = "$(jq -c ".${field#*:}" <<<"$1")" ] || fail "${field%:*} of $1"
    done
    [ "$(jq .prompt_tokens "$out")" = "$(jq '.prompt_ids | length' <<<"$1")" ] || fail "prompt of $1"
}
n=0
while read -r row; do
    conversation "$row"
    n=$((n + 1))
done <"$fixture"
[ "$n" -gt 0 ] || fail "$fixture is empty"
echo "$n conversations equal"
done_ok
