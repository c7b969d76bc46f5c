# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# train_ranks_recorded.sh - what the ranks of real Megatron gave: each entry of multi_rank.json, with the change that it
# names, its losses and gradient norms.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/libtrain.sh"
need_fixture train/multi_rank
fixtures=${fixture%/multi_rank}

# entry NAME: `args` with its change over its two ranks.
entry() {
    local key value
    typed "$fixtures/runs/${1%/*}"
    args=("${args[@]/--single-rank/--ranks=2}" tp=1 pp=1 cp=1 ep=1 etp=1 vpp=null pp_layout=null
        sequence_parallel=false cp_comm_type=null)
    while read -r key value; do
        case $key in
        dp) ;; # what is left
        mbs) args+=(micro_batch_size="$value") ;;
        sp) args+=(sequence_parallel="$value") ;;
        tp | pp | ep) args+=("$key=$value") ;;
        *) fail "unknown change: $key" ;;
        esac
    done < <(jq -r --arg name "$1" '.[$name].change | to_entries[] | "\(.key) \(.value)"' "$recorded")
}
recorded=$fixtures/multi_rank/multi_rank.json
n=0
for name in $(jq -r 'keys[]' "$recorded"); do
    entry "$name"
    expect 0 train "${args[@]}" save_interval=null dir=runs name=a --no-sync
    jq -r -n --arg name "$name" --slurpfile all "$recorded" --slurpfile log runs/a/log.jsonl '
        def far($x; $y; $tol): ($x - $y | fabs) > $tol;
        $all[0][$name] as $want | ($name | test("bf16")) as $bf16 | ($name | test("moe")) as $moe |
        if ($log | length) == ($want.losses | length) then empty else "\($log | length) steps" end,
        (range($log | length) as $i | $log[$i] as $x | $want.losses[$i]["lm loss"] as $loss | $want.grad_norms[$i] as $norm |
            select(far($x.lm_loss; $loss; if $bf16 then 6e-3 elif $i == 0 then 2e-6 else 1e-5 end)
                or far($x.grad_norm; $norm; $norm * (if $bf16 then 1e-2 else 1e-5 end))) |
            "step \($x.iteration): loss \($x.lm_loss), recorded \($loss); norm \($x.grad_norm), recorded \($norm)"),
        (select($bf16) | ([range($log | length) as $i | $log[$i].lm_loss - $want.losses[$i]["lm loss"] | fabs] | add) /
            ($log | length) | select(. > 2e-3) | "mean difference of the losses \(.)")' >differences
    [ ! -s differences ] || fail "$name: $(head -n 3 differences)"
    echo "$name"
    rm -r runs
    n=$((n + 1))
done
[ $n = 10 ] || fail "$n entries"
done_ok
