# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# train_ranks_same.sh - every way to share a model of each family comes to the weights and losses of one rank with the same
# micro batches, after twenty steps.  `BRIDGE_RANKS_ALL=1` takes all of them, and bfloat16; else a sample.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/libtrain.sh"
. "$(dirname "$0")/libranks.sh"
full=${BRIDGE_RANKS_ALL:-}

# run_as NAME: `args` as a run of that name, whose last weights are NAME.safetensors.
run_as() {
    trained "$1"
    weights "$1"
}
# near_losses A B LOSS MEAN: losses of two runs by step, and in the mean.
near_losses() {
    jq -n -r --slurpfile a "runs/$1/log.jsonl" --slurpfile b "runs/$2/log.jsonl" --argjson tol "$3" --argjson mean "$4" '
        [range($a | length) as $i | $a[$i].lm_loss - $b[$i].lm_loss | fabs] |
        if length != 20 or ($b | length) != 20 then "\(length) steps" else empty end,
        select(max > $tol or add / length > $mean) |
            "losses are \(max) apart, \(add / length) in the mean"' >differences
    [ ! -s differences ] || fail "$1 and $2: $(cat differences)"
}
# settings FAMILY NAME: the global loss counts the tokens of all data-parallel ranks: another loss than that of one.
settings() {
    case $1/$2 in *next*/dp2* | *next*/e*) echo moe_aux_loss_coeff=0 ;; esac
}
# is_wanted FAMILY NAME: all, or a way of each family that is cheap.
is_wanted() {
    [ -z "$full" ] || return 0
    case $1/$2 in qwen2/tp2 | qwen3/cp2 | qwen3_moe/ep2 | qwen3_next_mtp/pp2_vpp2) return 0 ;; esac
    return 1
}
# reference FAMILY [SETTING...]: one rank's run; `one` is its name.
reference() {
    one=one${2:+_${2//[=_.]/}}
    [ ! -d "runs/$one" ] || return 0
    toy_args "$@"
    decided "$1"
    run_as "$one"
}

for family in $families; do
    rm -rf runs
    while read -r name n how; do
        is_wanted "$family" "$name" || continue
        extra=$(settings "$family" "$name")
        reference "$family" $extra
        toy_args "$family" $extra
        ranked "$n" $how
        run_as many
        same_numbers many "$one" 1e-5
        as_near many "$one"
        # One rank adds up the gradients of its micro batches in the order in which stages do.
        case $family/$name in
        qwen3/pp* | qwen3_moe/pp* | qwen3_next/pp*)
            reference "$family" clip_grad=0
            toy_args "$family" clip_grad=0
            ranked "$n" $how
            run_as unclipped
            cmp unclipped.safetensors "$one.safetensors" || fail "$family, $name: other bits than one rank"
            ;;
        esac
        rm -rf runs/many runs/unclipped
        echo "$family over $n ranks, $name: as one rank"
    done < <(ways "$family")
done
if [ -z "$full" ]; then
    done_ok
    exit 0
fi

# bfloat16: losses, which experts that change their choice move further.
for family in $families; do
    rm -rf runs
    case $family in *moe | *next*) tolerance=2e-2 ;; *) tolerance=6e-3 ;; esac
    while read -r name n how; do
        extra=$(settings "$family" "$name")
        reference "$family" mixed_precision=bf16_mixed $extra
        toy_args "$family" mixed_precision=bf16_mixed $extra
        ranked "$n" $how
        trained many
        near_losses many "$one" $tolerance 2e-3
        rm -r runs/many
        echo "$family in bfloat16 over $n ranks, $name: as one rank"
    done < <(ways "$family")
done
done_ok
