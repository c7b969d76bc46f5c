# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# train_ranks.sh - training over ranks that are threads of the process: data-parallel ranks come to what one rank comes
# to, and to what Megatron's ranks gave; what is refused, and the line that runs it.  `BRIDGE_RANKS_ALL=1` takes every
# family, precision and number of ranks.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/libtrain.sh"
runs=$data/train
full=${BRIDGE_RANKS_ALL:-}

# ranked N [SETTING...]: `args` over N ranks, of which each has the whole model.
ranked() {
    local n=$1
    shift
    args=("${args[@]/--single-rank/--ranks=$n}" tp=1 pp=1 cp=1 ep=1 etp=null vpp=null pp_layout=null
        sequence_parallel=false cp_comm_type=null "$@")
}
# trained NAME: `args` as a run of that name; its last weights in NAME.safetensors unless it trains adapters.
trained() {
    expect 0 train "${args[@]}" save_interval=null dir=runs name="$1" --no-sync
}
weights() {
    expect 0 export -q --megatron-path "runs/$1/checkpoints" --hf-path "hf-$1" --dtype float32 --no-sync
    cat "hf-$1"/*.safetensors >"$1.safetensors"
    rm -r "hf-$1"
}
# as_near A B: weights of two runs, by tensor |A - B| / |B| <= 1e-5, no element further than 5e-5.
as_near() {
    python3 - "$1.safetensors" "$2.safetensors" >differences <<'EOF' || fail "$1 and $2: $(cat differences)"
import json, struct, sys
from array import array
def read(path):
    b = open(path, "rb").read()
    n = struct.unpack("<Q", b[:8])[0]
    for name, t in json.loads(b[8:8 + n]).items():
        if name != "__metadata__":
            x = array("f")
            x.frombytes(b[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]])
            yield name, x
a, b = dict(read(sys.argv[1])), dict(read(sys.argv[2]))
bad = len(a) != len(b) or not a
for name, x in a.items():
    y = b[name]
    d = [p - q for p, q in zip(x, y)]
    worst = max(map(abs, d))
    share = (sum(v * v for v in d) / (sum(v * v for v in y) or 1)) ** 0.5
    if not (len(x) == len(y) and worst <= 5e-5 and share <= 1e-5):
        bad = print(name, worst, share) or True
sys.exit(bad)
EOF
}
# same_numbers A B TOLERANCE: the runs' logs, step by step.
same_numbers() {
    jq -n -r --slurpfile a "runs/$1/log.jsonl" --slurpfile b "runs/$2/log.jsonl" --argjson tol "$3" '
        def far($x; $y; $tol): $x != $y and ($x - $y | fabs) > $tol;
        if ($a | length) != ($b | length) or ($a | length) == 0 then "\($a | length) and \($b | length) steps" else empty end,
        (range($a | length) as $i | $a[$i] as $x | $b[$i] as $y |
            ("lm_loss", "mtp_1_loss", "load_balancing_loss") as $k |
            select(far($x[$k]; $y[$k]; $tol)) | "step \($x.iteration): \($k) \($x[$k]) and \($y[$k])"),
        (range($a | length) as $i | $a[$i] as $x | $b[$i] as $y |
            select(far($x.grad_norm; $y.grad_norm; $y.grad_norm * 100 * $tol)) |
            "step \($x.iteration): grad_norm \($x.grad_norm) and \($y.grad_norm)"),
        (range($a | length) as $i | $a[$i] as $x | $b[$i] as $y |
            ("iteration", "consumed_samples", "tokens", "loss_tokens", "learning_rate") as $k |
            select($x[$k] != $y[$k]) | "step \($x.iteration): \($k) \($x[$k]) and \($y[$k])")' >differences
    [ ! -s differences ] || fail "$1 and $2: $(head -n 5 differences)"
}

# ---- every family: two and four ranks come to what one rank with the same micro batches comes to

# families CASE N: the reference `one`, and N data-parallel ranks of it.
family() {
    local case=$1 n=$2 mbs=$3 settings=()
    # Losses of routed layers depend on which tokens are balanced together: those of a micro batch, but for the global
    # loss, which counts those of all ranks.
    case $case in *next*) settings=(moe_aux_loss_coeff=0) ;; esac
    typed "$case"
    args+=("micro_batch_size=$mbs" global_batch_size=4 train_iters=20 "${settings[@]}")
    trained one
    typed "$case"
    ranked "$n" "micro_batch_size=$mbs" global_batch_size=4 train_iters=20 "${settings[@]}"
    trained many
    same_numbers many one 1e-5
    weights one
    weights many
    as_near many one
    rm -r runs/one runs/many
}
family "$runs/qwen2" 2 2
if [ -n "$full" ]; then
    for case in qwen2 qwen3 qwen3_moe qwen3_next_mtp; do
        family "$runs/$case" 2 1
        family "$runs/$case" 2 2
        family "$runs/$case" 4 1
    done
else
    family "$runs/qwen3_moe" 4 1
fi
done_ok
