# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# hub.sh - a model is named by its id and everything else follows: from an empty cache to a verified
# checkpoint, and what the second run does not do again.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/libhub.sh"
expect 0 toy qwen3 -o root/Qwen/toy-qwen3 --set vocab_size=4000
expect 0 toy qwen3_moe -o root/Qwen/toy-moe
expect 0 toy qwen3 -o root/Qwen/toy-qwen3@v2 --seed 5
echo '{"model": {}}' >root/Qwen/toy-qwen3/tokenizer.json
echo 'read me' >root/Qwen/toy-qwen3/README.md
mkdir root/Qwen/toy-qwen3/onnx
echo graph >root/Qwen/toy-qwen3/onnx/model.onnx
size=$(stat -c %s root/Qwen/toy-qwen3/model.safetensors)
weights=$(sha256sum <root/Qwen/toy-qwen3/model.safetensors | cut -d' ' -f1)
hub_up --page 2

# a plan, an inspection and a dry run fetch no weights; a repeated one asks for the revision only
expect 0 plan import Qwen/toy-qwen3
says 'import of Qwen/toy-qwen3'
expect 0 inspect Qwen/toy-qwen3 --json
json '.tensors["model.embed_tokens.weight"].shape[0] == 4000'
expect 0 import Qwen/toy-qwen3 -n
[ ! -e "home/hub/models--Qwen--toy-qwen3/blobs/$weights" ] || fail "a plan fetches weights"

# the headline command, from an empty cache
rm -rf home
expect 0 --hf-model Qwen/toy-qwen3 import
says 'imported'
[ "$(sent cdn)" -ge "$size" ] || fail "the weights came from elsewhere"
expect 0 verify --hf-model Qwen/toy-qwen3 --megatron-path toy-qwen3-megatron
expect 0 verify root/Qwen/toy-qwen3 toy-qwen3-megatron
cmp root/Qwen/toy-qwen3/tokenizer.json toy-qwen3-megatron/iter_0000000/tokenizer/tokenizer.json
hub_up
expect 0 --hf-model Qwen/toy-qwen3 import
says 'up to date'
[ "$(requests hub resolve)$(requests cdn '')$(requests hub '')" = 001 ] || fail "a second run asks for files: $(cat "$hub_log")"
HF_HUB_OFFLINE=1 expect 0 verify --hf-model Qwen/toy-qwen3 --megatron-path toy-qwen3-megatron
expect 0 import Qwen/toy-qwen3 --offline --megatron-path again
[ "$(requests hub '' | tail -n 1)" -le 2 ] || fail "offline, yet it asks"
hub_down
expect 0 import Qwen/toy-qwen3 --megatron-path again
says 'up to date'
complains 'the hub cannot be asked'

# the cache is the one of huggingface_hub
repo=home/hub/models--Qwen--toy-qwen3
commit=$(cat $repo/refs/main)
[ "$(readlink "$repo/snapshots/$commit/model.safetensors")" = "../../blobs/$weights" ] || fail "link"
[ "$(sha256sum <"$repo/blobs/$weights" | cut -d' ' -f1)" = "$weights" ] || fail "blob"
[ -e "home/hub/.locks/models--Qwen--toy-qwen3/$weights.lock" ] || fail "lock"
[ -e "$repo/.no_exist/$commit/model.safetensors.index.json" ] || fail ".no_exist"

# revisions
hub_up
expect 0 import Qwen/toy-qwen3@v2 --megatron-path v2
expect 0 verify root/Qwen/toy-qwen3@v2 v2
expect 0 verify Qwen/toy-qwen3 v2 --hf-revision v2
expect 0 verify "Qwen/toy-qwen3@$(cat $repo/refs/v2)" v2
expect 11 import Qwen/toy-qwen3@v3 --megatron-path v3
complains "'Qwen/toy-qwen3' has no revision 'v3'; did you mean 'v2'?"
expect 11 import Qwen/toy-qwen --megatron-path x
complains "did you mean 'Qwen/toy-qwen3'?"

# streamed: the same checkpoint, no weights stored, resumed and up to date
expect 0 import Qwen/toy-moe --stream --megatron-path streamed
expect 0 verify root/Qwen/toy-moe streamed
weights=$(sha256sum <root/Qwen/toy-moe/model.safetensors | cut -d' ' -f1)
[ ! -e "home/hub/models--Qwen--toy-moe/blobs/$weights" ] || fail "--stream stores weights"
jq -e ".source_hub.id == \"Qwen/toy-moe\" and .source_hub.files[0].sha256 == \"$weights\" and
    (.source_hub.verified | contains(\"was not computed\"))" streamed/iter_0000000/bridge_manifest.json >/dev/null || fail "manifest"
hub_up
expect 0 import Qwen/toy-moe --stream --megatron-path streamed
says 'up to date'
[ "$(sent cdn)" -lt 5000000 ] || fail "an up to date stream is read again"
expect 0 export streamed --hf-model Qwen/toy-moe --hf-path exported
cmp exported/model.safetensors root/Qwen/toy-moe/model.safetensors

# a stream that was killed after the first of its two files resumes there
expect 0 toy qwen3 -o root/Qwen/wide --set vocab_size=40000 hidden_size=192
stream=(import Qwen/wide --stream --megatron-path wide -j 1)
for rate in 12000000 3000000 800000; do # slower if this machine did not kill it in time
    hub_up --rate $rate
    "$BRIDGE" "${stream[@]}" -q >/dev/null 2>&1 & pid=$!
    while kill -0 $pid 2>/dev/null; do
        [ "$(cat .wide.bridge-partial/.bridge_journal 2>/dev/null | wc -l)" -lt 2 ] || break
        sleep 0.01
    done
    kill -9 "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    [ -e wide ] || break
    rm -rf wide
done
[ -e .wide.bridge-partial ] || fail "the stream was not killed in time"
hub_up
expect 0 "${stream[@]}"
says 'resumed: '
[ "$(sent cdn)" -lt "$(stat -c %s root/Qwen/wide/model.safetensors)" ] || fail "a resumed stream reads everything"
expect 0 verify root/Qwen/wide wide

# download: patterns, a directory of one's own, JSON
expect 0 download Qwen/toy-qwen3 --include '*.json' --exclude 'generation*' --local-dir mine --json
json '.status == "OK" and .files == 2 and .path == "mine" and .cached_files == 0'
cmp root/Qwen/toy-qwen3/config.json mine/config.json
[ ! -e mine/generation_config.json ] && [ ! -e mine/README.md ] || fail "patterns"
expect 0 download Qwen/toy-qwen3 --local-dir mine --exclude onnx/
cmp root/Qwen/toy-qwen3/model.safetensors mine/model.safetensors
[ ! -e mine/onnx ] || fail "folder pattern"
expect 0 download Qwen/toy-qwen3 --local-dir mine
says "downloaded 1 of"
cmp root/Qwen/toy-qwen3/onnx/model.onnx mine/onnx/model.onnx
expect 0 download Qwen/toy-qwen3 --local-dir mine
says 'up to date'
head -n 1 mine/.cache/huggingface/download/config.json.metadata | grep -qx "$commit" || fail "metadata"
expect 0 download Qwen/toy-qwen3
cmp root/Qwen/toy-qwen3/README.md "$(tail -n 1 "$out")/README.md"

# names that somebody else put into a directory of downloads are not followed
mkdir -p elsewhere trap/.cache/huggingface/download
ln -s ../elsewhere trap/onnx
expect 9 download Qwen/toy-qwen3 --local-dir trap --include 'onnx/*'
complains "trap/onnx' is a symbolic link"
[ -z "$(ls -A elsewhere)" ] || fail "a link was followed: $(ls -A elsewhere)"
echo precious >elsewhere/file
ln -s "$work/elsewhere/file" "trap/.cache/huggingface/download/model.safetensors.$weights.bridge.incomplete"
ln -s "$work/elsewhere/file" trap/model.safetensors
expect 0 download Qwen/toy-qwen3 --local-dir trap --include model.safetensors
cmp root/Qwen/toy-qwen3/model.safetensors trap/model.safetensors
ln -s "$work/elsewhere/lock" trap/.cache/huggingface/download/README.md.lock
expect 3 download Qwen/toy-qwen3 --local-dir trap --include README.md
complains 'symbolic link'
[ "$(ls -A elsewhere):$(cat elsewhere/file)" = file:precious ] || fail "a link was followed"
expect 2 download Qwen/toy-qwen3 --local-dir $repo/mine
complains 'lies in the cache of downloads'
mv $repo/snapshots $repo/kept
mkdir trap/snapshots
ln -s "$work/trap/snapshots" $repo/snapshots
expect 9 download Qwen/toy-qwen3
[ -z "$(ls -A trap/snapshots)" ] || fail "a link in the cache was followed"
rm $repo/snapshots
mv $repo/kept $repo/snapshots
expect 11 download Qwen/toy-qwen3 --include '*.gguf'
complains "none of the 6 files of 'Qwen/toy-qwen3' matches"
expect 2 download mine
complains "'mine' is a directory"
rm -rf home
expect 11 download Qwen/toy-qwen3 --local-files-only
complains 'only local files were asked for, so it was not downloaded'
expect 11 download Qwen/toy-qwen3 --offline --json
json '.status == "E_NOTFOUND" and .commit == null'

# an architecture that bridge does not know costs no download of weights
mkdir -p root/Qwen/alien
echo '{"model_type": "alien", "architectures": ["AlienForCausalLM"]}' >root/Qwen/alien/config.json
cp root/Qwen/toy-moe/model.safetensors root/Qwen/alien/
hub_up
expect 6 import Qwen/alien --megatron-path x
[ "$(requests cdn '')" = 0 ] || fail "weights of an unknown architecture are fetched"

# progress in lines, plain, with total, rate and file
hub_up --rate 30000
expect 0 download Qwen/toy-moe --include model.safetensors
grep -qE '^bridge: downloading: +[0-9]+%  .* of .*/s  .* left \(model.safetensors\)$' "$err" || fail "no progress"

# TLS is verified: a certificate that nobody vouches for ends it, one that the user names does not
openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost \
    -addext subjectAltName=IP:127.0.0.1 2>/dev/null
mkdir -p tls/api/models/Qwen/m/revision
echo '{"sha": "no commit"}' >tls/api/models/Qwen/m/revision/main
(cd tls && exec timeout 1800 openssl s_server -accept 127.0.0.1:0 -cert ../cert.pem -key ../key.pem -WWW) \
    >tls.log 2>&1 </dev/null &
tls_pid=$!
until grep -q '^ACCEPT' tls.log; do # and the port that it was given
    kill -0 $tls_pid 2>/dev/null || fail "openssl s_server: $(cat tls.log)"
    sleep 0.02
done
tls_port=$(sed -n 's/^ACCEPT .*://p' tls.log)
HF_ENDPOINT=https://127.0.0.1:$tls_port expect 17 download Qwen/m
complains 'certificate'
HF_ENDPOINT=https://127.0.0.1:$tls_port SSL_CERT_FILE=cert.pem expect 4 download Qwen/m
complains "the hub's description has no commit"
kill "$tls_pid"

# secrets: the token goes to the hub and nowhere else
rm -rf home
hub_up
HF_TOKEN=hf_good expect 0 download Qwen/toy-qwen3
[ "$(requests hub ' anon')" = 0 ] && [ "$(requests hub ' auth')" -gt 3 ] || fail "the hub is asked without the token"
[ "$(requests cdn ' auth')" = 0 ] && [ "$(requests cdn ' anon')" -gt 0 ] || fail "the token leaks"
done_ok
