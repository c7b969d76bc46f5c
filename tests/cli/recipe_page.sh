# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# recipe_page.sh - the names, tables, notes and examples of the model page against what bridge prints.
# tests/data/recipes/page.tsv is the page, row by row; nothing in it comes from recipes/*.def.
. "$(dirname "$0")/lib.sh"
page=$data/recipes/page.tsv

# rows KIND: the fields after the kind, tab-separated.
rows() { grep "^$1	" "$page" | cut -f 2-; }

# The page lists 38 recipes, and recipe list has no other of these families and misses none.
expect 0 recipe list --json
jq -r '.recipes[].recipe' "$out" | grep '^qwen' | sort -u >have
rows recipe | sort >want
[ "$(wc -l <want)" = 38 ] || fail "the page's list has $(wc -l <want) names"
cmp -s want have || fail "names differ: $(diff want have | head -n 5)"
cp "$out" list.json

# stems MODEL SIZES: the sizes in names of one row of a table: "0.6B..4B" is a run in the page's order,
# and "Qwen2/2.5" is both families.
stems() {
    local models=$1 model
    [ "$models" != Qwen2/2.5 ] || models="Qwen2 Qwen2.5"
    for model in $models; do
        rows size | awk -F '\t' -v model="$model" -v sizes="$2" '
            BEGIN { n = split(sizes, s, "\\.\\."); first = s[1]; last = s[n] }
            $1 == model && $2 == first { on = 1 }
            $1 == model && on && $3 != "-" { print $3 }
            $1 == model && $2 == last { on = 0 }'
    done
}

# one RECIPE MODE PEFT TP PP EP GPUS: what is shown, and what the page says, for one comparison at the end.
one() {
    local args=("$1" --json)
    [ "$3" = - ] || args+=(--peft "$3")
    expect 0 recipe show "${args[@]}"
    cat "$out" >>shown
    echo "$1 $2 tp $4 pp $5 ep $6 cp 1 gpus $7" >>checked
}

: >checked
while IFS=$'\t' read -r model sizes mode tp pp ep gpus; do
    [ "$ep" != - ] || ep=1
    for stem in $(stems "$model" "$sizes"); do
        case $mode in
        Pretrain) one "${stem}_pretrain_config" pretrain - "$tp" "$pp" "$ep" "$gpus" ;;
        "Full SFT") one "${stem}_finetune_config" sft none "$tp" "$pp" "$ep" "$gpus" ;;
        LoRA/DoRA)
            one "${stem}_finetune_config" lora lora "$tp" "$pp" "$ep" "$gpus"
            one "${stem}_finetune_config" dora dora "$tp" "$pp" "$ep" "$gpus"
            ;;
        *) fail "the table has a mode '$mode'" ;;
        esac
    done
done < <(rows table)

# All 74, each once, and recipe list shows the same rows.
[ "$(cut -d ' ' -f 1,2 checked | sort -u | wc -l)" = 74 ] && [ "$(wc -l <checked)" = 74 ] ||
    fail "$(wc -l <checked) rows checked, not 74"
jq -r '"\(.recipe) \(.mode) tp \(.tp) pp \(.pp) ep \(.ep) cp \(.cp) gpus \(.gpus)"' shown >have
cmp -s checked have || fail "the page says otherwise: $(diff checked have | head -n 5)"
jq -r '.recipes[] | select(.recipe | startswith("qwen")) | "\(.recipe) \(.mode)"' list.json | sort >have
cut -d ' ' -f 1,2 checked | sort >want
cmp -s want have || fail "recipe list has other rows: $(diff want have | head -n 5)"

# A finetune recipe without --peft is LoRA, except where the page has none.
expect 0 recipe show qwen3_8b_finetune_config --json
json '.mode == "lora"'
expect 0 recipe show qwen3_next_80b_a3b_finetune_config --json
json '.mode == "sft"'

while IFS=$'\t' read -r recipe mode words; do
    expect 12 recipe show "$recipe" --peft "$mode"
    complains "$words"
    mute
    expect 12 recipe show "$recipe" --mode "$mode" --json
    complains "$words"
    expect 12 recipe memory "$recipe" --set "peft=$mode"
    complains "$words"
done < <(rows refused)

# Every keyword argument of the page's examples, as it is written there.
while IFS=$'\t' read -r recipe mode arguments; do
    read -r -a words <<<"$arguments"
    expect 0 recipe show "$recipe" --json --set "${words[@]}"
    filter=".mode == \"$mode\""
    for word in "${words[@]}"; do
        key=${word%%=*} value=${word#*=}
        case $key in
        peft) continue ;;
        finetune_lr) key=lr ;;
        data_paths) ;;
        train_iters) value=${value//_/} ;;
        name | dir | pretrained_checkpoint) value="\"$value\"" ;;
        esac
        filter+=" and .$key == $value"
    done
    json "$filter"
    n=$((${n:-0} + 1))
done < <(rows example)
[ "$n" = 12 ] || fail "$n examples, not 12"
done_ok
