#!/usr/bin/env bash
# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# uptodate.sh - "up to date" is said of a destination that has every file that the run would have written; --overwrite
# deletes nothing but a checkpoint; what a killed run left and this one does not need is not published.
. "$(dirname "$0")/lib.sh"

"$BRIDGE" toy qwen3 -o m >/dev/null
echo '{}' >m/tokenizer_config.json
import=(import m --megatron-path td)
export=(export td --hf-path h)
expect 0 "${import[@]}" -q
expect 0 "${export[@]}" -q
cp -r td td.was
cp -r h h.was

# every file of an import, one after the other: gone, or another size
for file in $(cd td/iter_0000000 && find . -type f); do
    for harm in gone cut; do
        path=td/iter_0000000/$file
        if [ $harm = gone ]; then rm "$path"; else truncate -s -1 "$path"; fi
        expect 9 "${import[@]}"
        complains 'is not the complete result of this import'
        expect 0 "${import[@]}" --overwrite -q
        diff -r td td.was || fail "$file $harm: not mended"
    done
done
# small files are compared byte by byte
for file in common.pt .metadata run_config.yaml train_state.pt tokenizer/tokenizer_config.json; do
    flip_byte td/iter_0000000/$file 1
    expect 9 "${import[@]}"
    expect 0 "${import[@]}" --overwrite -q
done
# trackers are written again
for tracker in latest_checkpointed_iteration.txt latest_train_state.pt; do
    rm td/$tracker
    expect 0 "${import[@]}"
    says 'up to date: '
    says 'the data of its weights was not read again'
    complains "the trackers of"
    diff -r td td.was || fail "$tracker is not as it was"
    expect 0 "${import[@]}"
    silent
done
expect 0 import m --megatron-path td --release --overwrite -q
[ ! -e td/latest_train_state.pt ] || fail "a release has a numeric tracker"
rm td/latest_checkpointed_iteration.txt
expect 0 import m --megatron-path td --release -q
[ "$(cat td/latest_checkpointed_iteration.txt)" = release ] || fail "no tracker of the release"
rm -rf td
cp -r td.was td

# the same of an export
for file in $(cd h && ls -A); do
    rm "h/$file"
    expect 9 "${export[@]}"
    complains 'is not the complete result of this export'
    [ "$file" = config.json ] && cp h.was/config.json h/ # without it h is no model directory
    [ "$file" = config.json ] || expect 0 "${export[@]}" --overwrite -q
    diff -r h h.was || fail "$file: not mended"
done

# a source whose tokenizer or chat template was mended
echo '{"chat_template": "x"}' >m/tokenizer_config.json
expect 9 "${import[@]}"
expect 0 "${import[@]}" --overwrite -q
cmp m/tokenizer_config.json td/iter_0000000/tokenizer/tokenizer_config.json
echo 'x' >m/chat_template.jinja
expect 9 "${import[@]}"
expect 0 "${import[@]}" --overwrite -q
cmp m/chat_template.jinja td/iter_0000000/tokenizer/chat_template.jinja
expect 9 "${export[@]}"
expect 0 "${export[@]}" --overwrite -q
cmp m/chat_template.jinja h/chat_template.jinja

# --overwrite deletes nothing that is no checkpoint
echo mine >h/my_notes.txt
echo mine >td/iter_0000000/my_notes.txt
expect 9 "${export[@]}" --torch-dtype float32 --overwrite
complains "holds 'my_notes.txt'"
expect 9 import m --megatron-path td --torch-dtype float32 --overwrite
complains "holds 'my_notes.txt'"
[ "$(cat h/my_notes.txt td/iter_0000000/my_notes.txt | tr -d '\n')" = minemine ] || fail "a note was deleted"
rm h/my_notes.txt td/iter_0000000/my_notes.txt

# strays of a killed run
need_root "kills at a system call"
need_strace
inject renameat:signal=KILL:when=6 137 import m --megatron-path st
echo stray >.st.bridge-partial/stray
echo stray >.st.bridge-partial/iter_0000000/merges.txt
mkdir -p .st.bridge-partial/iter_0000000/tokenizer
echo stray >.st.bridge-partial/iter_0000000/tokenizer/merges.txt
expect 0 import m --megatron-path st -q
[ -z "$(find st -name 'stray' -o -name 'merges.txt' -o -name '.bridge*')" ] || fail "strays were published: $(find st)"
inject renameat:signal=KILL:when=2 137 export td --hf-path sh
echo stray >.sh.bridge-partial/merges.txt
expect 0 export td --hf-path sh -q
[ ! -e sh/merges.txt ] || fail "a stray was published"
done_ok
