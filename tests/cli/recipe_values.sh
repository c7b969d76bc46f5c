# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# recipe_values.sh - every column of the table of Megatron Bridge's own values, for all 74 recipes and modes,
# against `recipe show --json`.  The table was dumped from Megatron Bridge v0.2.0, with the page's sizes put in.
. "$(dirname "$0")/lib.sh"

# The values as JSON lines: {"recipe": ..., "mode": ..., "cells": {column: text}}.
jq -R -n -c '[inputs | split("\t")] | .[0] as $names | .[1:][] |
    [$names, .] | transpose | map({key: .[0], value: .[1]}) | from_entries' <"$data/recipes/values.tsv" >want
[ "$(wc -l <want)" = 76 ] || fail "the table has $(wc -l <want) rows"

while IFS=$'\t' read -r recipe mode tp; do
    [ -n "$tp" ] || continue # the two that the page does not have
    expect 0 recipe show "$recipe" --mode "$mode" --json
    cat "$out"
done < <(jq -r '[.recipe, .mode, .tp] | @tsv' want) >have
[ "$(grep -c '^}' have)" = 74 ] || fail "$(grep -c '^}' have) recipes shown"

# Compare: a blank cell is an absent key, None null, the rest by type.  One line per difference.
jq -n -r --slurpfile have have '
    def value: if . == "" then {absent: true} elif . == "None" then null elif . == "True" then true
        elif . == "False" then false elif test("^[\\[{]") then fromjson
        elif test("^-?[0-9][0-9.e+-]*$") then tonumber else . end;
    def got($k): if has($k) then .[$k] else {absent: true} end;
    ($have | map({key: "\(.recipe) \(.mode)", value: .}) | from_entries) as $shown |
    [inputs | select(.tp != "")] | length as $rows |
    (.[] | "\(.recipe) \(.mode)" as $id | $shown[$id] as $s | to_entries[] |
        .key as $k | .value as $v |
        (if $k == "total_gpus_page" then [($v | tonumber), $s.gpus]
         elif $k == "min_world_size_mp" then [($v | tonumber), $s.min_world_size]
         elif $k == "conflict_with_v020_code" then [$v == "yes", $s.upstream_differs]
         elif $k == "v020_code_parallelism" then [$v, $s.upstream_parallelism]
         elif $k == "page_example_overrides" then [(if $v == "" then null else $v end), $s.example]
         else [($v | value), ($s | got($k))] end) as [$w, $g] |
        if $w == $g and ($w | type) == ($g | type) then "equal"
        else "\($id) \($k): expected \($w | tojson), got \($g | tojson)" end)' <want >result
grep -v '^equal$' result | head -n 20 >differences || true
[ ! -s differences ] || fail "$(cat differences)"
[ "$(grep -c '^equal$' result)" = $((74 * $(head -n 1 "$data/recipes/values.tsv" | wc -w))) ] ||
    fail "$(wc -l <result) values compared"

# 34 of them differ from the code of the page's own version, and --provenance says how.
[ "$(jq -s '[.[] | select(.upstream_differs)] | length' have)" = 34 ] || fail "not 34 conflicts"
expect 0 recipe show qwen3_32b_pretrain_config --provenance --json
json '.provenance.tp == {"from": "page", "row": "qwen3_32b_pretrain_config", "upstream": "8"}'
json '.provenance.lr.from == "v0.2.0" and .provenance.lr.row == "pretrain" and .provenance.cp.from == "default"'
expect 0 recipe show qwen3_32b_pretrain_config --provenance --set lr=1e-3
grep -q "^tp = 4 .*# page; row qwen3_32b_pretrain_config; upstream's code: 8$" "$out" || fail "tp has no source"
grep -q '^lr = 0.001 .*# --set$' "$out" || fail "lr has no source"

# packed_sequence=true changes what it changes there, and nothing else.
while IFS=$'\t' read -r recipe mode; do
    expect 0 recipe show "$recipe" --mode "$mode" --json --set packed_sequence=True
    cat "$out"
done < <(grep -v '^#' "$data/recipes/packed.tsv" | cut -f 1,2 | sort -u) >packed
[ "$(grep -c '^}' packed)" = 36 ] || fail "$(grep -c '^}' packed) packed recipes, not 36"
jq -r -n --slurpfile plain have --slurpfile packed packed '
    ($plain | map({key: "\(.recipe) \(.mode)", value: .}) | from_entries) as $p | $packed[] |
    . as $b | $p["\(.recipe) \(.mode)"] as $a | to_entries[] | .key as $k |
    select(.value != $a[$k] or ($a | has($k) | not)) | select($k != "packed_sequence") |
    [$b.recipe, $b.mode, $k, (.value | tojson)] | join("\t")' | sort >have_packed
grep -v '^#' "$data/recipes/packed.tsv" | sed 's/": /":/' | sort >want_packed
cmp -s want_packed have_packed || fail "packing: $(diff want_packed have_packed | head -n 5)"
expect 12 recipe show qwen3_next_80b_a3b_finetune_config --set packed_sequence=true
complains 'packing is not supported'

# Newer names of upstream.
while IFS=$'\t' read -r long short mode recipe; do
    for name in "$long" "$short"; do
        [ "$name" != - ] || continue
        if [ "$recipe" = - ]; then
            expect 11 recipe show "$name"
            complains "there is no recipe '$name'; did you mean"
            continue
        fi
        if [[ $recipe = qwen3_next*finetune* && $mode = lora ]]; then
            expect 12 recipe show "$name" --json
            continue
        fi
        expect 0 recipe show "$name" --json
        grep -qx "  \"recipe\": \"$recipe\"," "$out" && grep -qx "  \"mode\": \"$mode\"," "$out" ||
            fail "$name is not $recipe, mode $mode"
    done
done < <(grep -v '^#' "$data/recipes/newer_names.tsv")
expect 0 recipe show qwen3_8b_sft_config
complains "'qwen3_8b_sft_config' is a newer name of 'qwen3_8b_finetune_config'"
expect 0 recipe show qwen3_8b_peft_config --peft dora --json
json '.mode == "dora"'
expect 5 recipe show qwen3_8b_sft_config --peft dora
complains "'qwen3_8b_sft_config' means mode sft, not dora"
done_ok
