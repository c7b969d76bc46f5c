# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# upload.sh - a directory becomes a commit: what is sent, what is not sent again, and that nothing is committed by halves.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/libhub.sh"
"$BRIDGE" toy qwen3 -o m -q --set vocab_size=2000 >"$out"
size=$(stat -c %s m/model.safetensors)
weights=$(sha256sum <m/model.safetensors | cut -d' ' -f1)
mkdir -p m/onnx m/.git elsewhere
echo 'read me' >m/README.md
echo graph >m/onnx/model.onnx
echo 'secret*' >m/.gitignore
echo key >m/secret.txt
echo object >m/.git/HEAD
: >m/empty.txt
ln -s "$work/elsewhere" m/link
ln -s "$work/m/README.md" m/linked.md
wanted='.gitattributes .gitignore README.md config.json empty.txt generation_config.json linked.md model.safetensors onnx/model.onnx'

# files REPO: what the hub has of a branch
files() { (cd "root/$1" && find . -type f -printf '%P\n' | LC_ALL=C sort | tr '\n' ' ' | sed 's/ $//'); }
# puts: parts and objects that came
puts() { requests cdn ' /store/' ; }

hub_up
expect 18 upload m org/new
complains 'an upload needs a token'
export HF_TOKEN=hf_good
expect 11 upload m org/new
complains "the hub has no model 'org/new'"
complains '--create makes it'
expect 2 upload org/new m
complains 'the right way round is: bridge upload m org/new'
expect 2 upload m org/new --private
expect 11 upload m new
expect 2 upload m "org/new@$(printf %040d 0)"
HF_HUB_OFFLINE=1 expect 17 upload m org/new --create
expect 0 upload m org/new --create --dry-run
says 'org/new would be made'
[ ! -e root/org ] || fail "a dry run makes a repository"

# everything in one commit; the store sees no token
hub_up
expect 0 upload m org/new --create --private -m 'first one'
says "committed 8 of 9 files to org/new"
[ "$(files org/new)" = "$wanted" ] || fail "the hub has: $(files org/new)"
for f in README.md model.safetensors onnx/model.onnx empty.txt config.json; do cmp "m/$f" "root/org/new/$f"; done
[ "$(puts)" = 1 ] || fail "$(puts) puts"
[ "$(requests hub ' /api/models/org/new/commit/main 200')" = 1 ] || fail "commits"
! grep -q '^cdn .* auth$' "$hub_log" || fail "the token went to the store"
grep -q '^hub POST /api/repos/create 200 ' "$hub_log" || fail "no repository was made"
HF_TOKEN='' expect 11 download org/new
expect 0 download org/new --local-dir got
cmp m/model.safetensors got/model.safetensors

# nothing to do, then one small file
expect 0 upload m org/new --json
json '.status == "OK" and .committed_files == 0 and .sent_bytes == 0 and (.commit | length) == 40'
json '[.files[] | select(.ignored) | .path] == ["secret.txt"]'
json ".files[] | select(.path == \"model.safetensors\") | .lfs and .unchanged and .etag == \"$weights\""
expect 0 upload m org/new
says 'up to date'
echo more >>m/README.md
expect 0 upload m org/new -n
says '2 of 9 files would be committed to org/new: 26 B' # the link to README.md too
says 'there already'
says 'left out by .gitignore'
! cmp -s m/README.md root/org/new/README.md || fail "a dry run commits"
expect 0 upload m org/new -q
[ "$(wc -l <"$out")" = 1 ] || fail "--quiet prints $(cat "$out")"
cmp m/README.md root/org/new/README.md
[ "$(puts)" = 1 ] || fail "weights were sent again"

# a branch, patterns, parts
expect 11 upload m org/new@next
complains "has no revision 'next'"
hub_up --chunk 100000
expect 0 upload m org/parts@next --create --include '*.safetensors' --include '*.json' --exclude 'gen*'
[ "$(files org/parts@next)" = '.gitattributes config.json model.safetensors' ] || fail "the branch has $(files org/parts@next)"
[ "$(puts)" = 0 ] || fail "an object that the hub has was sent"
rm -r root/.lfs
hub_up --chunk 100000
echo x >>m/model.safetensors # another object
expect 0 upload m org/parts
[ "$(puts)" = $(((size + 2 + 99999) / 100000)) ] || fail "$(puts) parts of $size bytes"
cmp m/model.safetensors root/org/parts/model.safetensors
expect 18 upload m org/parts --token hf_read
complains 'may not write'
expect 11 upload m org/parts --include '*.gguf'

# the network: parts that are refused or cut for a time, addresses that expire, a commit whose answer is lost
again() { echo "$1" >>m/model.safetensors; hub_up --chunk 300000 "${@:2}"; }
again 1 --fault status:/store/:2:503 --fault cut:/store/:1:1000 --fault status:batch:1:500
expect 0 upload m org/parts
cmp m/model.safetensors root/org/parts/model.safetensors
again 2 --fault expire:/store/:1:0
expect 0 upload m org/parts
cmp m/model.safetensors root/org/parts/model.safetensors
[ "$(requests hub objects/batch)" -ge 2 ] || fail "no new addresses were asked for"
again 3 --fault lose:/commit/:1:0
expect 0 upload m org/parts
[ "$(requests hub ' /api/models/org/parts/commit/main')" = 1 ] || fail "a commit was asked for twice"
cmp m/model.safetensors root/org/parts/model.safetensors
again 4 --fault status:/commit/:1:503
expect 0 upload m org/parts
cmp m/model.safetensors root/org/parts/model.safetensors
again 5 --fault status:/store/:9:400
expect 11 upload m org/parts
complains "uploading 'model.safetensors': the hub's store answers 400"
[ "$(requests hub /commit/)" = 0 ] || fail "a commit without its object"

# answers that make no sense
refused() { # STATUS TEXT WHERE ANSWER
    hub_up --fault "say:$3:1:$4"
    expect "$1" upload m org/parts
    complains "$2"
    [ "$(puts)$(requests hub /commit/)" = 00 ] || fail "something was sent after: $4"
}
oid=$(sha256sum <m/model.safetensors | cut -d' ' -f1)
object="{\"objects\":[{\"oid\":\"$oid\",\"size\":1,\"actions\":{\"upload\":"
refused 4 'answers about 0 of 1 objects' objects/batch '{}'
refused 4 'answers about an object that is not uploaded' objects/batch '{"objects":[{"oid":"x"}]}'
refused 11 "does not take 'model.safetensors': too large" objects/batch "{\"objects\":[{\"oid\":\"$oid\",\"error\":{\"message\":\"too large\"}}]}"
refused 4 'is no http or https address' objects/batch "$object{\"href\":\"file:///etc/passwd\"}}}]}"
refused 4 'is no http or https address' objects/batch "$object{}}}]}"
refused 4 'has a chunk_size that does not fit' objects/batch "$object{\"href\":\"/x\",\"header\":{\"chunk_size\":\"1\"}}}}]}"
refused 4 'does not say where all parts go' objects/batch "$object{\"href\":\"/x\",\"header\":{\"chunk_size\":500000,\"1\":\"/y\"}}}}]}"
refused 4 'names parts that it does not have' objects/batch "$object{\"href\":\"/x\",\"header\":{\"chunk_size\":500000,\"3\":\"/y\"}}}}]}"
refused 4 'answers about 0 of 9 files' preupload '[]'
refused 4 "the mode 'other'" preupload '{"files":[{"path":"README.md","uploadMode":"other"}]}'
refused 4 "expected 'lfs' or 'regular'" preupload '{"files":[{"path":"../x","uploadMode":"lfs"}]}'
refused 4 'has no commit' revision/main '{"sha":"main"}'
hub_up --fault 'say:/commit/:1:{"commitOid":"../../x"}'
expect 4 upload m org/parts
complains 'without the commit that it made'

# interrupted after the first of two objects: the second run sends the other one
echo 6 >>m/model.safetensors
head -c 60000 m/model.safetensors >m/a.bin
hub_up --rate 60000
"$BRIDGE" upload m org/parts --connections 1 >"$out" 2>"$err" & pid=$!
# its second object comes, so the first one is counted
until [ "$(requests hub /verify)" -ge 1 ] && [ -n "$(find root/.incoming -size +0)" ]; do
    kill -0 $pid 2>/dev/null || fail "it ended by itself: $(cat "$err")"
    sleep 0.02
done
kill -TERM $pid # a shell has its jobs ignore SIGINT
wait $pid && fail "it was not interrupted"
complains 'nothing is committed, and the hub keeps 60.00 kB that are not sent again; to go on: bridge upload m org/parts'
[ ! -e root/org/parts/a.bin ] || fail "half a commit"
hub_up
expect 0 upload m org/parts
[ "$(puts)" = 1 ] || fail "$(puts) objects were sent"
cmp m/a.bin root/org/parts/a.bin

# somebody else commits meanwhile: nothing is overwritten unseen
head -c 200000 m/model.safetensors >m/b.bin
hub_up --rate 40000
"$BRIDGE" upload m org/parts >"$out" 2>"$err" & pid=$!
until [ "$(requests hub objects/batch)" -ge 1 ]; do
    kill -0 $pid 2>/dev/null || fail "it ended by itself: $(cat "$err")"
    sleep 0.02
done
kill -STOP $pid
mkdir other
echo theirs >other/THEIRS
"$BRIDGE" upload other org/parts >other.out
kill -CONT $pid
got=0
wait $pid || got=$?
[ $got = 14 ] || fail "exit status $got: $(cat "$err")"
complains "'main' of 'org/parts' moved on"
[ ! -e root/org/parts/b.bin ] || fail "it was committed"
hub_up
expect 0 upload m org/parts
[ "$(puts)" = 0 ] || fail "an object was sent again"
[ "$(cat root/org/parts/THEIRS)" = theirs ] || fail "their file is gone"
done_ok
