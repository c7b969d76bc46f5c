#!/usr/bin/env bash
# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# damage.sh - bytes that changed: no command takes them for what was written.
. "$(dirname "$0")/lib.sh"
last=toy
"$BRIDGE" toy qwen3_moe -o m -q >/dev/null
"$BRIDGE" import m --megatron-path td -q >/dev/null
"$BRIDGE" export td --hf-path h -q >/dev/null
iter=iter_0000000

# sha CKPT: digests of all tensors, also where checksums do not fit
sha() { "$BRIDGE" inspect "$1" --hash --json --no-verify 2>/dev/null | jq -S .tensors | sha256sum; }

# a flipped bit in the middle of any data file: every reader says so, with tensor and file
for file in __0_0 __0_1; do
    rm -rf bad b
    cp -r td bad
    flip_byte "bad/$iter/$file.distcp" $(($(stat -c %s "bad/$iter/$file.distcp") / 2))
    expect 4 export bad --hf-path b
    complains "of '$file.distcp' are damaged: their CRC-32 is"
    complains "bridge: tensor '"
    [ ! -e b ] || fail "a damaged checkpoint was exported"
    expect 4 inspect bad --hash
    complains "are damaged"
    expect 4 diff td bad
    expect 4 verify m bad
    expect 4 verify bad
    says "of '$file.distcp' are damaged"
    complains "1 of "
    expect 4 generate --megatron-path bad --input-ids 1,2 -N 2
    complains "are damaged"
    # by name it goes through, and the difference is there
    expect 0 export bad --hf-path b --no-verify -q
    expect 1 verify m bad --no-verify
    [ "$(sha td)" != "$(sha bad)" ] || fail "the test's damage is none"
done

# one directory against its own checksums, of either format
expect 0 verify td
says "no damage found in"
expect 0 verify h
says "no damage found in"
expect 0 verify m
says "safetensors files carry no checksum"
cp -r h hbad
flip_byte hbad/model.safetensors 100
expect 4 verify hbad
says "are not those that 'hbad/bridge_manifest.json' has a digest of"
expect 2 verify
expect 11 verify nothing-here

# a file of another run with valid CRC-32s: only the manifest knows
"$BRIDGE" toy qwen3_moe -o m2 --seed 7 -q >/dev/null
"$BRIDGE" import m2 --megatron-path td2 -q >/dev/null
rm -rf bad b
cp -r td bad
cp "td2/$iter/__0_1.distcp" "bad/$iter/__0_1.distcp"
expect 4 export bad --hf-path b
complains "files were exchanged or replaced"
expect 4 export bad --hf-model m --hf-path b
expect 4 verify bad
rm "bad/$iter/bridge_manifest.json"
expect 0 export bad --hf-model m --hf-path b -q

# a manifest that fits other chunks, and one without CRC-32s, as older ones are
rm -rf bad b
cp -r td bad
jq '.tensors[0].pieces += 1' "td/$iter/bridge_manifest.json" >"bad/$iter/bridge_manifest.json"
expect 4 export bad --hf-path b
complains "it belongs to other files than those beside it"
jq 'del(.crc32)' "td/$iter/bridge_manifest.json" >"bad/$iter/bridge_manifest.json"
expect 0 export bad --hf-path b -q
cmp b/model.safetensors h/model.safetensors
expect 0 verify bad

# two shards of one name
jq '.source_files += .source_files | .source_tensors |= [to_entries[] | .value[3] = .key % 2 | .value]' \
    "td/$iter/bridge_manifest.json" >"bad/$iter/bridge_manifest.json"
rm -rf b
expect 4 export bad --hf-path b
complains "repeated file name in source_files"

# a record's own header against the central directory: the name's length, one less
rm -rf bad b
cp -r td bad
at=$(grep -abo 'archive/data/0' "bad/$iter/__0_1.distcp" | head -n 1 | cut -d: -f1)
printf '\x0d' | dd of="bad/$iter/__0_1.distcp" bs=1 seek=$((at - 4)) conv=notrunc status=none
expect 4 export bad --hf-path b
complains "its local header at"

# zeros FILE OFFSET: four of them
zeros() { printf '\0\0\0\0' | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }

# a CRC-32 of 0 is "not computed": a note, and the bytes go through; but not where the descriptor behind them knows it
rm -rf bad b
cp -r td bad
file=bad/$iter/__0_1.distcp
at=$(grep -abo 'archive/data/0' "$file" | sed -n 2p | cut -d: -f1)
zeros "$file" $((at - 30))
expect 4 export bad --hf-model m --hf-path b
complains "no data descriptor with its CRC-32"
data_at=$(grep -abo 'archive/data/0' "$file" | sed -n 1p | cut -d: -f1)
descriptor=$(grep -abo $'PK\x07\x08' "$file" | cut -d: -f1 | awk -v after="$data_at" '$1 > after { print; exit }')
zeros "$file" $((descriptor + 4))
expect 4 export bad --hf-path b # the manifest still knows
rm "bad/$iter/bridge_manifest.json"
expect 0 export bad --hf-model m --hf-path b
complains "1 of "
complains "records have no CRC-32"
cmp b/model.safetensors m/model.safetensors

# --max-shard-size is obeyed although there is a manifest with the source's shards
expect 0 export td --hf-path s --max-shard-size 20KB
complains "shards are cut to --max-shard-size"
[ "$(find s -name 'model-*.safetensors' | wc -l)" -gt 1 ] || fail "one shard"
expect 0 diff m s

# what a killed import left, and what its source has lost since, is not published
if command -v strace >/dev/null && strace -o /dev/null true 2>/dev/null; then
    export ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 # it does not work under strace
    # killed_at N: an import of ms into st that ends at its Nth rename
    killed_at() {
        (strace -fo /dev/null -e inject=rename,renameat,renameat2:signal=KILL:when="$1" \
            "$BRIDGE" import ms --megatron-path st -q || true) >/dev/null 2>&1
    }
    cp -r m ms
    echo '{}' >ms/vocab.json
    echo '#' >ms/merges.txt
    for point in 1 3 5; do
        rm -rf st .st.bridge-partial
        echo '#' >ms/merges.txt
        killed_at $point
        [ ! -e st ] || fail "no kill before the end"
        echo stray >".st.bridge-partial/$iter/stray.bin"
        echo stray >.st.bridge-partial/stray.bin
        mkdir -p ".st.bridge-partial/$iter/tokenizer"
        echo stray >".st.bridge-partial/$iter/tokenizer/stray.json"
        rm ms/merges.txt
        expect 0 import ms --megatron-path st -q
        [ -z "$(find st -name 'stray*' -o -name merges.txt)" ] || fail "strays are published"
    done
    # a source that was exchanged under the old size and time is read again
    rm -rf st
    killed_at 3
    touch -r ms/model.safetensors stamp
    cp m2/model.safetensors ms/model.safetensors
    touch -r stamp ms/model.safetensors
    expect 0 import ms --megatron-path st -q
    expect 0 verify m2 st

    # a source that is rewritten while it is read: bridge stands still at the fsync of a data file meanwhile
    rm -rf st
    cp m/model.safetensors ms/model.safetensors
    strace -D -fo trace -P "$PWD/.st.bridge-partial/$iter/__0_0.distcp" -e trace=fsync -e inject=fsync:signal=STOP:when=1 \
        "$BRIDGE" import ms --megatron-path st >"$out" 2>"$err" &
    pid=$!
    last="import ms --megatron-path st (whose source changes)"
    until grep -q 'stopped by SIGSTOP' trace 2>/dev/null; do
        kill -0 $pid 2>/dev/null || fail "the import never waited for its data"
        sleep 0.02
    done
    dd if=m2/model.safetensors of=ms/model.safetensors conv=notrunc status=none
    kill -CONT $pid
    got=0
    wait $pid || got=$?
    [ $got = 14 ] || fail "exit status $got of an import whose source changed, expected 14"
    complains "'ms/model.safetensors' changed while it was read"
    [ ! -e st ] || fail "a mixture was published"
elif [ "${CI:-}" = true ]; then
    fail "no strace"
fi
done_ok
