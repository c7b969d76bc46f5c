# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# train_topologies.sh - training checkpoints that real Megatron wrote over two ranks (tensor, expert, data parallel, pipeline
# stages) go on at other topologies, to what one rank comes to.  `BRIDGE_RANKS_ALL=1` takes them all.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/libtrain.sh"
cases=$data/torch_dist_train
full=${BRIDGE_RANKS_ALL:-}

# goes_on CASE NAME [WORD...]: three more steps from its third, in float32, and the weights then in NAME.safetensors.
goes_on() {
    local case=$1 as=$2 recipe
    shift 2
    case $case in
    qwen2*) recipe=qwen2_500m ;;
    qwen3_moe*) recipe=qwen3_30b_a3b ;;
    *) recipe=qwen3_600m ;;
    esac
    expect 0 train ${recipe}_pretrain_config hf_model="$cases/$case/hf" load="${from:-$cases/$case/torch_dist}" mock=true \
        tokenizer_type=NullTokenizer tokenizer_vocab_size=100 train_iters=6 global_batch_size=4 micro_batch_size=1 \
        seq_length=16 lr_warmup_iters=2 eval_iters=0 save_interval=null mixed_precision=fp32 tp=1 pp=1 cp=1 ep=1 etp=null \
        sequence_parallel=false cp_comm_type=null override_opt_param_scheduler=true dir=runs name="$as" --no-sync "$@"
    jq -s -e 'map(.iteration) == [4, 5, 6]' "runs/$as/log.jsonl" >/dev/null || fail "$as: other steps"
    cp "$out" "$as.out"
    expect 0 export -q --megatron-path "runs/$as/checkpoints" --hf-model "$cases/$case/hf" --hf-path "hf-$as" --dtype float32 \
        --no-sync
    cat "hf-$as"/*.safetensors >"$as.safetensors"
}
# near A B: the same losses and norms to 1e-5, the same weights to 5e-5.
near() {
    jq -n -e --slurpfile a "runs/$1/log.jsonl" --slurpfile b "runs/$2/log.jsonl" 'def near($x; $y): ($x - $y | fabs) <= 1e-5 * (1 + ($y | fabs));
        all(range($a | length) as $i | near($a[$i].lm_loss; $b[$i].lm_loss) and near($a[$i].grad_norm; $b[$i].grad_norm); .)' \
        >/dev/null || fail "$1: other numbers than $2"
    near_tensors "$1.safetensors" "$2.safetensors" 5e-5
}
# elsewhere CASE HOW...: each HOW is a topology in words; without BRIDGE_RANKS_ALL the first of them.
elsewhere() {
    local case=$1 how
    shift
    rm -rf runs hf-* ./*.safetensors
    goes_on "$case" one --single-rank
    for how in "$@"; do
        # shellcheck disable=SC2086 # words
        goes_on "$case" many $how
        near many one
        rm -rf runs/many hf-many
        echo "$case: $how"
        [ -n "$full" ] || break
    done
}
elsewhere qwen3_tp2_fr '--ranks 2 pp=2' '--ranks 2 cp=2' '--ranks 2' '--ranks 2 tp=2 sequence_parallel=true' '--ranks 4 tp=2 pp=2'
elsewhere qwen3_moe_ep2_fr '--ranks 2 tp=2 etp=2 sequence_parallel=true' '--ranks 2 pp=2' '--ranks 2 cp=2' '--ranks 4' '--ranks 2 ep=2'
elsewhere qwen3_dp2_dpr '--ranks 4' '--ranks 2' '--ranks 2 tp=2' '--ranks 2 pp=2' '--ranks 2 cp=2'

# What Megatron shifted is shifted back by whoever goes on, or by repair before.
elsewhere qwen2_tied_pp2_fr '--ranks 2 tp=2' '--ranks 2' '--ranks 2 pp=2' '--ranks 2 cp=2' '--ranks 4 tp=2 pp=2'
case=qwen2_tied_pp2_fr
expect 0 repair "$cases/$case/torch_dist" -o repaired --no-sync
from=repaired goes_on $case repaired --ranks 2 pp=2
near repaired one
done_ok
