# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# repair.sh - training checkpoints of Megatron whose optimizer state does not go on elsewhere.
. "$(dirname "$0")/lib.sh"
cases=$data/torch_dist_train

# sound ones are left alone
for case in qwen3_dp1_fr qwen3_dp1_nodist qwen3_tp2_fr qwen3_mlm_dp1_fr qwen3_moe_ep2_fr; do
    expect 0 repair "$cases/$case/torch_dist" -o none
    says 'nothing to repair: '
    silent
    [ ! -e none ] || fail "nothing was to be written"
done
expect 0 repair "$cases/qwen3_dp1_fr/torch_dist" -o none --json
json '(.needed | not) and .path == null and .parameters == 11 and .from_form == "fully_reshardable"'

# dp_reshardable becomes what the same run saved as fully_reshardable, on another grid, is
expect 0 repair "$cases/qwen3_dp2_dpr/torch_dist" -o whole
says '11 parameters: dp_reshardable -> fully_reshardable'
says "wrote 44 tensors ("
silent
expect 0 diff whole "$cases/qwen3_dp1_fr/torch_dist"
says 'equal: all 44 tensors'
expect 0 inspect whole --hash
says 'training: iteration 3, 12 consumed samples, adam (distributed), sharding fully_reshardable, 33 optimizer tensors, a scheduler, 1 random states, 0 rerun states'
silent
for file in latest_checkpointed_iteration.txt latest_train_state.pt iter_0000003/train_state.pt iter_0000003/run_config.yaml; do
    cmp "whole/$file" "$cases/qwen3_dp2_dpr/torch_dist/$file" || fail "$file"
done
# ... and is sound
expect 0 repair whole -o none
says 'nothing to repair: 11 parameters, fully_reshardable'
# also by its iteration directory, and whatever the number of threads
for threads in 1 3; do
    expect 0 repair "$cases/qwen3_dp2_dpr/torch_dist/iter_0000003" -o threads$threads -j $threads -q
    for file in whole/iter_0000003/* whole/iter_0000003/.metadata; do
        cmp "$file" "threads$threads/${file#whole/}" || fail "-j $threads: $file"
    done
done

# shifted tensors are shifted back
expect 0 repair "$cases/qwen2_tied_pp2_fr/torch_dist" -o shifted --json
json '.needed and .repaired == 1 and .parameters == 9 and .main_elements_from_weights == 64 and
    .moment_elements_zero == 128 and .tensors == 36'
expect 0 inspect shifted --hash
silent
expect 1 diff shifted "$cases/qwen2_tied_pp2_fr/torch_dist"
[ "$(wc -l <"$out")" = 3 ] || fail "only the shifted tensors differ"
says "'optimizer.state.exp_avg.embedding.word_embeddings.weight'"
# the weights that come out are those that went in
expect 0 export shifted --hf-model "$cases/qwen2_tied_pp2_fr/hf" --hf-path hf
expect 0 diff hf "$cases/qwen2_tied_pp2_fr/hf_expected"

# damage is not written again with checksums of its own
cp -r "$cases/qwen3_dp2_dpr/torch_dist" bad
file=bad/iter_0000003/__0_0.distcp
flip_byte "$file" $(($(stat -c %s "$file") / 2))
expect 4 repair bad -o x
complains "of '__0_0.distcp' are damaged: their CRC-32 is"
[ ! -e x ] || fail "x was made of a damaged checkpoint"
expect 0 repair bad -o damaged --no-verify -q

# destinations
expect 9 repair "$cases/qwen3_dp2_dpr/torch_dist" -o whole
complains "is not empty"
mkdir own
cp -r "$cases/qwen3_dp2_dpr/torch_dist" own/run
expect 2 repair own/run -o own/run/iter_0000003/repaired
complains 'overlap'
expect 2 repair own/run
complains '--output-dir'
expect 11 repair nowhere -o x
expect 12 repair "$cases/qwen3_dp1_fr/hf" -o x
complains 'is no torch_dist checkpoint'
# what cannot be taken apart is said
rm own/run/iter_0000003/run_config.yaml
expect 12 repair own/run -o x
complains 'over how many ranks'
[ ! -e x ] || fail "x was made"
done_ok
