# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# first_use.sh - what somebody meets who does not know the program yet: the wrong way round, names mistyped, topics,
# results for scripts, files in place of directories, the cache.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/libhub.sh"

"$BRIDGE" toy qwen3 -o toy >"$out"
# --quiet: the path alone
expect 0 toy qwen3 -o quiet -q
[ "$(cat "$out")" = quiet ] || fail "toy --quiet"
expect 0 import toy --megatron-path megatron -q
[ "$(cat "$out")" = "$work/megatron/iter_0000000" ] || fail "import --quiet"

# the wrong way round
expect 2 import megatron
complains "'megatron' is a Megatron checkpoint"
complains 'bridge export megatron'
expect 2 export toy
complains "'toy' is a Hugging Face model"
complains 'bridge import toy'
expect 2 verify megatron toy
complains 'the right way round is: bridge verify --hf-model toy --megatron-path megatron'

# a name without a slash is no question to the hub
hub_up
began=$SECONDS
expect 11 import Qwen3-8B
complains "'Qwen3-8B' is neither a directory nor of the form ORG/NAME"
[ "$(requests hub '')" = 0 ] || fail "the hub was asked for a name without a slash"

# a hub that says nothing: what is waited for, and which try
"$BRIDGE" toy qwen3 -o root/Qwen/toy -q >"$out"
hub_up --fault stall:api/models:1:3
expect 0 download Qwen/toy config.json
complains "waiting for 'http://127.0.0.1:$hub_port/api/models/Qwen/toy/revision/main', try 1 of "

# files by name, nothing but a list, another cache
says "$work/home/hub"
[ ! -e home/hub/models--Qwen--toy/snapshots/*/model.safetensors ] || fail "a file that was not asked for"
expect 0 download Qwen/toy --dry-run
says 'model.safetensors'
says 'in the cache'
says 'files would be downloaded'
expect 11 download Qwen/toy confg.json
complains "'Qwen/toy' has no file 'confg.json'"
cp -r root/Qwen/toy root/Qwen/gated-toy
hub_up
expect 18 download Qwen/gated-toy config.json
complains 'open only to accounts that accepted its terms'
expect 18 download Qwen/gated-toy config.json --token hf_other
HF_TOKEN=hf_other expect 0 download Qwen/gated-toy config.json --token hf_good
expect 2 download Qwen/gated-toy config.json --token 'two words'
cp "$data"/tokenizer/small/* root/Qwen/toy
cp "$data/chat/chat_template.jinja" root/Qwen/toy
hub_up
echo '[{"role": "user", "content": "Hi"}]' >talk
"$BRIDGE" chat-template --tokenizer root/Qwen/toy <talk >rendered
rm -rf home
"$BRIDGE" chat-template --tokenizer Qwen/toy <talk >"$out" 2>"$err" || fail "chat-template of a hub id"
cmp rendered "$out"
[ -s rendered ] && [ ! -e home/hub/models--Qwen--toy/snapshots/*/model.safetensors ] || fail "weights of a template"
expect 0 download Qwen/toy --cache-dir other -q
[ "$(cat "$out")" = "$(echo other/models--Qwen--toy/snapshots/*)" ] || fail "--cache-dir"
expect 0 cache ls --cache-dir other
says 'Qwen/toy'
says 'main'
expect 0 cache verify --cache-dir other
says 'have the digests that their names promise'
chmod u+w other/models--Qwen--toy/blobs/*
echo x >>"$(echo other/models--Qwen--toy/blobs/????????????????????????????????????????????????????????????????)"
expect 4 cache verify --cache-dir other
says 'damaged: '
touch other/models--Qwen--toy/blobs/abc.bridge.incomplete
mkdir other/models--Qwen--toy/snapshots/0000000000000000000000000000000000000000
expect 0 cache prune --cache-dir other
[ ! -e other/models--Qwen--toy/blobs/abc.bridge.incomplete ] || fail "prune leaves a part"
[ ! -e other/models--Qwen--toy/snapshots/0000000000000000000000000000000000000000 ] || fail "prune leaves a revision"
expect 0 cache rm Qwen/toy --cache-dir other
says 'freed'
[ ! -e other/models--Qwen--toy ] || fail "rm leaves the model"
expect 11 cache rm Qwen/toy --cache-dir other

# one file, also of dtypes that nothing computes with
expect 0 inspect toy/model.safetensors
says 'model.embed_tokens.weight'
expect 0 diff toy/model.safetensors quiet/model.safetensors
header='{"a":{"dtype":"C64","shape":[1],"data_offsets":[0,8]},"b":{"dtype":"F8_E8M0","shape":[2],"data_offsets":[8,10]},"c":{"dtype":"F4","shape":[4],"data_offsets":[10,12]},"d":{"dtype":"F8_E4M3FNUZ","shape":[1],"data_offsets":[12,13]},"e":{"dtype":"F8_E5M2FNUZ","shape":[1],"data_offsets":[13,14]}}'
{ printf "\\x$(printf %x $((${#header} & 255)))\\x$(printf %x $((${#header} >> 8)))\\0\\0\\0\\0\\0\\0%s" "$header" && printf '12345678901234'; } >odd.safetensors
expect 0 inspect odd.safetensors --hash
for dtype in complex64 float8_e8m0fnu float4_e2m1fn_x2 float8_e4m3fnuz float8_e5m2fnuz; do says "$dtype"; done

# topics
expect 0 help hub
says 'download'
says 'HF_ENDPOINT'
expect 0 help recipes
says 'recipe show'
expect 2 help imprt
complains "did you mean 'import'"

# recipes: what one decides, a section, the page's example
expect 0 recipe show qwen3_8b_pretrain_config
all=$(wc -l <"$out")
expect 0 recipe show qwen3_8b_pretrain_config --changed
[ "$(wc -l <"$out")" -lt $((all / 2)) ] || fail "--changed shows $(wc -l <"$out") of $all lines"
expect 0 recipe show qwen3_8b_pretrain_config --section optimizer
says 'lr = '
! grep -q '^tp = ' "$out" || fail "--section shows the others"
expect 2 recipe show qwen3_8b_pretrain_config --section optimiser
expect 11 recipe show qwen2_500m_pretrain_config --example
expect 0 recipe show qwen25_7b_pretrain_config --example
grep -q "^train_iters = 500000 " "$out" || fail "the example does not apply"
expect 0 recipe show qwen25_7b_pretrain_config --example --set train_iters=700
grep -q "^train_iters = 700 " "$out" || fail "--set does not win over the example"
done_ok
