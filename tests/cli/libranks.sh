# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# libranks.sh - toys of every family that any number of ranks up to four can share along each axis, and ways to share them.
# Sourced after lib.sh and libtrain.sh.

families="qwen2 qwen3 qwen3_moe qwen3_next qwen3_next_mtp"

# toy FAMILY: toys/FAMILY, 8 layers, 4 heads of keys and values, 4 key heads of the delta net, 8 experts.
toy() {
    local set=(num_hidden_layers=8 num_attention_heads=4 num_key_value_heads=4 hidden_size=16 intermediate_size=16
        vocab_size=128 max_position_embeddings=64 bos_token_id=0 eos_token_id=1)
    [ ! -d "toys/$1" ] || return 0
    case $1 in
    qwen2) set+=(tie_word_embeddings=true) ;;
    *) set+=(tie_word_embeddings=false head_dim=8) ;;
    esac
    case $1 in
    *moe | *next*) set+=(num_experts=8 num_experts_per_tok=2 moe_intermediate_size=8) ;;
    esac
    case $1 in
    *next*) set+=(full_attention_interval=4 linear_num_key_heads=4 linear_num_value_heads=8 linear_key_head_dim=4
        linear_value_head_dim=4 shared_expert_intermediate_size=8) ;;
    esac
    case $1 in
    *mtp) set+=(mtp_num_hidden_layers=1 num_nextn_predict_layers=1) ;;
    esac
    expect 0 toy "${1%_mtp}" -o "toys/$1" --dtype float32 --set "${set[@]}"
    cp "$data"/train/qwen3/hf/tokenizer* "toys/$1"
    # Routers that are decided: else a token whose second and third expert are equal but for the last digits takes the
    # other one on other ranks.  Token i is of class i % 4, which a channel of its embedding says louder than all others
    # together, in the prediction layer too; routers send class c to experts 2 c and 2 c + 1.  margins.c looks.
    python3 - "toys/$1/model.safetensors" <<'EOF'
import json, struct, sys
from array import array
def embedding(x, row, cols):
    x[row * cols + row % 4] = 1
def router(x, row, cols):
    for i in range(cols):
        x[row * cols + i] *= 20
    x[row * cols + row // 2] += 4
def joint(x, row, cols):  # of the next token's embedding and the hidden states, side by side
    x[row * cols + cols // 2 + row] += 4
with open(sys.argv[1], "r+b") as f:
    n = struct.unpack("<Q", f.read(8))[0]
    tensors = json.loads(f.read(n))
    routed = any(name.endswith(".mlp.gate.weight") for name in tensors)
    changes = {"embed_tokens": embedding, "gate": router, "fc": joint} if routed else {}
    for name, t in tensors.items():
        change = changes.get(name.split(".")[-2]) if name.endswith(".weight") else None
        if change:
            first, end = t["data_offsets"]
            f.seek(8 + n + first)
            x = array("f", f.read(end - first))
            for row in range(t["shape"][0]):
                change(x, row, t["shape"][1])
            f.seek(8 + n + first)
            f.write(x.tobytes())
EOF
}

# decided FAMILY: the second and the third expert of a token are 1 apart or more, in every layer and step of `args`.
decided() {
    local word words=()
    case $1 in *moe | *next*) ;; *) return 0 ;; esac
    for word in "${args[@]}"; do
        [ "$word" = --single-rank ] || words+=("$word")
    done
    words+=(dir=runs name=decided save_interval=null)
    BRIDGE_PLUGIN_PATH=$BRIDGE_BUILD/lib/bridge/1 "${BRIDGE_TEST_MARGINS:?}" 1 "${words[@]}" >margins 2>&1 ||
        fail "$1: $(cat margins)"
}

# toy_args FAMILY [SETTING...]: `args` trains the toy for 20 steps of 16 sequences, each a micro batch, on one rank.
toy_args() {
    local family=$1 case=$data/train/$1
    shift
    [ -d "$case" ] || case=$data/train/qwen3_next_mtp
    toy "$family"
    typed "$case" "toys/$family"
    args+=(seq_length=8 micro_batch_size=1 global_batch_size=16 train_iters=20 save_interval=null lr=5e-4 min_lr=5e-5 "$@")
}

# ways FAMILY: a line for each way to share the toy: its name, its number of ranks, its settings.
ways() {
    local sp=''
    case $1 in
    *moe | *next*) sp=sequence_parallel=true ;;
    *) echo tp2 2 tp=2 ;;
    esac
    echo tp2_sp 2 tp=2 sequence_parallel=true
    echo pp2 2 pp=2
    echo pp2_vpp2 2 pp=2 vpp=2
    echo pp2_vpp2_group8 2 pp=2 vpp=2 microbatch_group_size_per_vp_stage=8
    echo pp4 4 pp=4
    echo cp2 2 cp=2
    echo cp2_tp2 4 cp=2 tp=2 $sp
    echo dp2 2
    echo dp2_tp2_pp2 8 tp=2 pp=2 $sp
    case $1 in
    *moe | *next*)
        echo ep2 2 ep=2
        echo etp2 2 etp=2
        echo ep2_tp2 2 ep=2 tp=2 etp=1 $sp
        echo ep2_tp2_etp2 4 ep=2 tp=2 etp=2 $sp
        ;;
    esac
}

# ranked N [SETTING...]: `args` over N ranks, which settings say how to share the model over.
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
            ("lm_loss", "mtp_1_loss", "load_balancing_loss", "global_load_balancing_loss") as $k |
            select(far($x[$k]; $y[$k]; $tol)) | "step \($x.iteration): \($k) \($x[$k]) and \($y[$k])"),
        (range($a | length) as $i | $a[$i] as $x | $b[$i] as $y |
            select(far($x.grad_norm; $y.grad_norm; $y.grad_norm * 100 * $tol)) |
            "step \($x.iteration): grad_norm \($x.grad_norm) and \($y.grad_norm)"),
        (range($a | length) as $i | $a[$i] as $x | $b[$i] as $y |
            ("iteration", "consumed_samples", "tokens", "loss_tokens", "learning_rate") as $k |
            select($x[$k] != $y[$k]) | "step \($x.iteration): \($k) \($x[$k]) and \($y[$k])")' >differences
    [ ! -s differences ] || fail "$1 and $2: $(head -n 5 differences)"
}
