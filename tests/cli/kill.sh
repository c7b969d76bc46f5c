#!/usr/bin/env bash
# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# kill -9 at random moments: the destination is absent or complete, and a rerun ends with the bytes of an
# undisturbed run, resuming what it can prove finished.  A run that is killed between its rename and its
# end leaves the journal in a complete destination (the table in docs/conversion.md), the rerun removes it.
set -euo pipefail
rounds=${BRIDGE_KILL_ROUNDS:-50}
seed=${SEED:-$RANDOM}
RANDOM=$seed
echo "moments by SEED=$seed"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

"$BRIDGE" toy -q --arch qwen3_moe --output-dir src --set num_hidden_layers=6 --set hidden_size=256 \
    --set num_experts=16 --set moe_intermediate_size=256 --set vocab_size=4000 >/dev/null

import=("$BRIDGE" import -q --no-progress --no-sync --hf-model src --megatron-path dest)
export=("$BRIDGE" export -q --no-progress --no-sync --megatron-path ref_import --hf-path dest)

"${import[@]}" >/dev/null
mv dest ref_import
"${export[@]}" >/dev/null
mv dest ref_export
cmp src/model.safetensors ref_export/model.safetensors

# Milliseconds that one undisturbed run takes, so that the kills fall inside it.
start=$(date +%s%N)
"${import[@]}" >/dev/null
took=$((($(date +%s%N) - start) / 1000000 + 2))
rm -rf dest

# From there on it is what lets about half of the runs be killed, whatever else the machine does.
killed=0
for ((i = 0; i < rounds; i++)); do
    if [ $((i % 2)) = 0 ]; then
        name=import ref=ref_import job=("${import[@]}")
    else
        name=export ref=ref_export job=("${export[@]}")
    fi
    "${job[@]}" >/dev/null & pid=$!
    ms=$((RANDOM % took))
    sleep "$((ms / 1000)).$(printf %03d $((ms % 1000)))"
    kill -9 "$pid" 2>/dev/null || true
    status=0
    wait "$pid" 2>/dev/null || status=$?
    if [ "$status" = 137 ]; then
        killed=$((killed + 1))
        took=$((took * 11 / 10 + 1))
    else
        took=$((took * 9 / 10 + 2))
    fi
    if [ -e dest ] && ! diff -r -x .bridge_journal dest "$ref" >&2; then
        echo "round $i: a killed $name left half a destination" >&2
        exit 1
    fi
    "${job[@]}" >/dev/null || { echo "round $i: the rerun of $name failed" >&2; exit 1; }
    diff -r dest "$ref" >&2 || { echo "round $i: the rerun of $name differs" >&2; exit 1; }
    left=$(find . -maxdepth 1 -name '.*bridge-partial*')
    [ -z "$left" ] || { echo "round $i: $name left '$left'" >&2; exit 1; }
    rm -rf dest
done
[ "$killed" -gt 0 ] || { echo "no run was killed: the test shows nothing" >&2; exit 1; }
echo "killed $killed of $rounds runs; every rerun gave the same bytes"

