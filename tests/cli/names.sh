#!/usr/bin/env bash
# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# names.sh - names that bridge did not make: links, other people's folders and files are neither followed, nor
# emptied, nor published; no output lies on an input.
. "$(dirname "$0")/lib.sh"

"$BRIDGE" toy qwen3 -o m >/dev/null
import=(import m --megatron-path out -q)

# a link where the temporary directory goes
mkdir keep
echo precious >keep/thesis.tex
ln -s keep .out.bridge-partial
expect 9 "${import[@]}"
complains "/.out.bridge-partial' is a symbolic link"
[ "$(ls -A keep)" = thesis.tex ] && [ ! -e out ] || fail "the link was followed"
rm .out.bridge-partial

# a folder that was given that name
mv keep .out.bridge-partial
expect 9 "${import[@]}"
complains "has files but no journal"
[ "$(ls -A .out.bridge-partial)" = thesis.tex ] || fail "somebody's folder was emptied"
mv .out.bridge-partial keep

# a file of that name
echo x >.out.bridge-partial
expect 9 "${import[@]}"
complains "is no directory"
rm .out.bridge-partial

# one that others could write into is begun anew, for this user alone; the result has the usual mode
mkdir -m 777 .out.bridge-partial
(umask 022 && "$BRIDGE" "${import[@]}")
[ "$(stat -c '%u %a' out)" = "$(id -u) 755" ] || fail "mode of the result: $(stat -c '%u %a' out)"
(umask 027 && "$BRIDGE" import m --megatron-path narrow -q)
[ "$(stat -c %a narrow)" = 750 ] || fail "mode under umask 027: $(stat -c %a narrow)"

# a dangling link as destination, before the first byte
ln -s nowhere/at/all dangling
expect 9 import m --megatron-path dangling
complains "a link that leads nowhere"
expect 9 export out --hf-path dangling
complains "a link that leads nowhere"

# outputs on inputs
cp -r m inputs
for output in m/model.safetensors m/new.safetensors ./m/../m/config.json; do
    expect 2 logits m --input-ids 1,2 --output "$output" --overwrite
    complains "which is read"
done
echo 1,2 >ids.txt
expect 2 logits m --input-ids ids.txt --output ids.txt --overwrite
diff -r m inputs || fail "the model was overwritten"
[ "$(cat ids.txt)" = 1,2 ] || fail "the prompt was overwritten"
expect 2 import m --megatron-path m/td
expect 2 export out --hf-path out/iter_0000000/hf
expect 9 toy qwen3 -o m
expect 9 plugin new mine --output-dir m
expect 2 roundtrip m --output-dir m/trip
diff -r m inputs || fail "the model was overwritten"

# side files: links within the model, and of a cache's snapshot, are files; others are not fetched
mkdir -p models--a/blobs models--a/snapshots secrets
echo secret >secrets/key
cp -r m models--a/snapshots/1
mv models--a/snapshots/1/generation_config.json models--a/blobs/1
ln -s ../../blobs/1 models--a/snapshots/1/generation_config.json
expect 0 export out --hf-model models--a/snapshots/1 --hf-path cached -q
cmp cached/generation_config.json m/generation_config.json
cp -r m linked
ln -s "$work/secrets/key" linked/README.md
expect 2 export out --hf-model linked --hf-path published
complains "leads out of the model's directory"
[ ! -e published ] || fail "a secret was published"
rm linked/README.md
echo text >linked/LICENSE
ln -s LICENSE linked/README.md
expect 0 export out --hf-model linked --hf-path published -q
cmp published/README.md linked/LICENSE

# a side file that cannot be read, before the first byte
ln -s nowhere linked/merges.txt
expect 3 import linked --megatron-path never
complains "dangling link"
[ ! -e never ] && [ ! -e .never.bridge-partial ] || fail "something was written"
rm linked/merges.txt

# code that anybody may replace
mkdir plugins
cp "$("$BRIDGE" plugin list --json | jq -r '.plugins[] | select(.name == "qwen3").path')" plugins/bridge_qwen3.so
chmod 666 plugins/bridge_qwen3.so
export BRIDGE_PLUGIN_PATH=$PWD/plugins
expect 0 plugin list --json
json '.refused | map(test("anybody may write to it")) | any'
expect 0 doctor
says 'anybody may write to it'
chmod 755 plugins/bridge_qwen3.so
chmod 777 plugins
expect 0 plugin list --json
json '.refused | map(test("anybody may write to its folder")) | any'
chmod 1777 plugins
expect 0 plugin list --json
json '.refused == []'
unset BRIDGE_PLUGIN_PATH

# other users' folders and files
need_root "folders of other users"
mkdir -m 700 .theirs.bridge-partial
chown nobody .theirs.bridge-partial
expect 9 import m --megatron-path theirs
complains "belongs to another user"
[ ! -e theirs ] && [ "$(stat -c %U .theirs.bridge-partial)" = nobody ] || fail "it was taken over"

# links and second names among what a killed export left
need_strace
for kind in link second theirs; do
    rm -rf h .h.bridge-partial other.bin
    inject renameat:signal=KILL:when=1 137 export out --hf-path h
    mv .h.bridge-partial/model.safetensors other.bin
    case $kind in
    link) ln -s ../other.bin .h.bridge-partial/model.safetensors ;;
    second) ln other.bin .h.bridge-partial/model.safetensors ;;
    theirs)
        cp other.bin .h.bridge-partial/model.safetensors
        chown nobody .h.bridge-partial/model.safetensors
        ;;
    esac
    before=$(sha256sum <other.bin)
    printf 'x' | dd of=other.bin bs=1 seek=2000 conv=notrunc status=none
    before=$(sha256sum <other.bin)
    got=0
    "$BRIDGE" export out --hf-path h -q 2>"$err" || got=$?
    [ "$(sha256sum <other.bin)" = "$before" ] || fail "$kind: a file outside was overwritten"
    [ "$got" = 0 ] && continue
    [ "$got" = 9 ] || fail "$kind: status $got"
done
done_ok
