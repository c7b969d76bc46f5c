# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# simulate.sh - recipe simulate: every published recipe at its published size, numbers that have a formula, files.
. "$(dirname "$0")/lib.sh"
export HF_HUB_OFFLINE=1

# ---- every recipe ----
# A GPU that is never slowed by its memory: compute is then the recipe's operations, there and back, and nothing else.
cat >fast.gpu <<'END'
flops = 1e15       # operations a second
efficiency = 1
memory = 1e12
bandwidth = 1e16
END
"$BRIDGE" recipe list --json >list.json
n=0 # recipes
while read -r name mode gpus; do
    expect 0 recipe simulate "$name:$mode" --gpu ./fast.gpu --json --rank $((gpus - 1))
    # Each stage's seconds are the step; operations are those of recipe memory, of which full recompute makes a third more
    # and adapters a third less.
    json '.world_size == '"$gpus"' and (.stages | length) == .pp and (.stages | map(.layers) | add) > 0 and
          (.step_seconds as $s | all(.stages[]; ((.seconds | add) - $s | fabs) < $s * 1e-9)) and
          (.flops_per_step as $f | ([.stages[].seconds.compute] | add) * 1e15 * .world_size / .pp / $f |
           . as $x | any((1, 4/3, 2/3); (. - $x | fabs) < 1e-9)) and
          if .pp == 1 then .bubble < 1e-9 else .bubble > 0 end'
    n=$((n + 1))
done < <(jq -r '.recipes[] | select(.gpus) | "\(.recipe) \(.mode) \(.gpus)"' list.json)
[ $n -ge 74 ] || fail "only $n recipes were simulated"

# ---- numbers that have a formula ----
# One stage: what recipe memory counts.
expect 0 recipe memory qwen3_8b_pretrain_config --json
jq -c '[.weight_bytes, .gradient_bytes, .optimizer_bytes]' "$out" >want
expect 0 recipe simulate qwen3_8b_pretrain_config --json
jq -c '.stages[0].memory_bytes | [.weights, .gradients, .optimizer]' "$out" >got
cmp want got || fail "memory of one stage is not that of recipe memory"
# 36 layers over 4 stages, 16 micro batches of 4096 tokens and 4096 hidden: each sends 2 bytes of each, forward to the
# next stage and back to the one before.
base="qwen3_8b_pretrain_config --set tp=1 pp=4 gpus=4 gbs=16 mbs=1 ddp_overlap_grad_reduce=false"
expect 0 recipe simulate $base --json
json '.microbatches == 16 and ([.stages[].layers] == [9, 9, 9, 9])'
json '(16 * 4096 * 4096 * 2) as $m | [.stages[].sent_bytes.pp] == [$m, 2 * $m, 2 * $m, $m]'
json '[.stages[].sent_bytes | keys] | add | unique == ["pp", "world"]' # and numbers that all tell all
expect 0 recipe simulate $base vpp=3 --json
json '(16 * 4096 * 4096 * 2) as $m | [.stages[].sent_bytes.pp] == [5 * $m, 6 * $m, 6 * $m, 5 * $m]'
json '.vpp == 3'
jq .bubble "$out" >interleaved
expect 0 recipe simulate $base --json
jq -e --slurpfile v interleaved '.bubble > $v[0]' "$out" >/dev/null || fail "interleaving does not make the bubble smaller"
# A ring of n: each sends (n - 1) / n of the buffer.  8 ranks scatter gradients of 4 bytes, and gather weights of 2.
expect 0 recipe simulate qwen3_8b_pretrain_config --set tp=1 gpus=8 gbs=8 mbs=1 grad_reduce_in_fp32=true --json
bytes=$(jq .stages[0].sent_bytes.dp_cp "$out") weights=$(jq .stages[0].memory_bytes.weights "$out")
jq -en "$bytes == $weights / 2 * (4 + 2) * 7 / 8" >/dev/null || fail "dp sends $bytes of $weights bytes of weights"

# ---- what is printed ----
expect 0 recipe simulate qwen3_235b_a22b_pretrain_config --rank 511 --html step.html
says '512 GPUs = tp 2 × pp 8 × cp 1 × dp 32 = etp 1 × ep 32 × pp 8 × expert-dp 2'
says 'gpu      h100: 989 TFLOP/s, of which products reach 60%; 80 GB at 3350 GB/s'
says 'rank 511 in a step:'
says 'seconds of a step:'
says '    0  00000'
grep -q '<svg xmlns="http://www.w3.org/2000/svg"' step.html || fail 'no drawing'
! grep -Eqi '<script|src=|href=|url\(|@import' step.html || fail 'the page fetches something'
[ "$(grep -c '<title>stage' step.html)" = $((8 * (2 + 1))) ] || fail 'not a drawing of two passes and a curve a stage'
expect 0 recipe simulate qwen3_8b_pretrain_config --html ok.html --set hf_model='a<b&c'
! grep -q 'a<b&c' ok.html || fail 'a text is not escaped'

# ---- refusals ----
expect 2 recipe simulate qwen3_8b_pretrain_config --rank 16
complains '--rank 16: there are 16 ranks'
expect 5 recipe simulate qwen3_8b_pretrain_config --set pp=4 vpp=3 gpus=8 gbs=3
complains 'vpp 3 needs pp 4 ≤ microbatch_group_size_per_vp_stage 4 ≤ micro batches'
expect 11 recipe simulate qwen3_8b_pretrain_config --gpu v100
complains "--gpu: got 'v100', expected h100, h200, b200 or the path of a file"
expect 11 recipe simulate qwen3_8b_pretrain_config --network tape
complains "--network: got 'tape', expected nvlink8 or the path of a file"
printf 'flops = 1e15\nefficiency = 2\n' >bad.gpu
expect 5 recipe simulate qwen3_8b_pretrain_config --gpu ./bad.gpu
complains "./bad.gpu:2: efficiency: got '2', expected a number from 0.001 to 1"
printf 'flops = 1e15\n' >bad.gpu
expect 5 recipe simulate qwen3_8b_pretrain_config --gpu ./bad.gpu
complains './bad.gpu: efficiency is missing'
printf 'flops = nan\n' >bad.gpu
expect 5 recipe simulate qwen3_8b_pretrain_config --gpu ./bad.gpu
complains "flops: got 'nan'"
printf 'cables = 4\n' >bad.net
expect 5 recipe simulate qwen3_8b_pretrain_config --network ./bad.net
complains "./bad.net:1: there is no key 'cables'"
cat >slow.net <<'END'
node_gpus = 1
node_bandwidth = 1e9
node_latency = 0
net_bandwidth = 1e8
net_latency = 0
END
expect 0 recipe simulate qwen3_235b_a22b_pretrain_config --network ./slow.net --json
json '.limit == "wait" or .limit == "ep"'
echo ok
