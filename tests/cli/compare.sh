# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# compare.sh - `bridge compare`: both formats of a model, equal and not.
. "$(dirname "$0")/lib.sh"
one_thread

for arch in qwen2 qwen3_moe qwen3_next; do
    "$BRIDGE" toy $arch -o $arch --quiet >/dev/null
    "$BRIDGE" import $arch --megatron-path $arch-megatron --no-sync --quiet >/dev/null
    expect 0 compare --hf-model $arch --megatron-path $arch-megatron --input-ids 5,6,7,8 --dtype float32 --json
    json '.max_abs_diff == 0 and .mean_abs_diff == 0 and (.cosine - 1 | fabs) < 1e-12 and .hf == .megatron'
    json '(.hf | length) == 5 and ([.hf[].logit] | . == (sort | reverse)) and ([.hf[].id] | unique | length) == 5'
done
expect 0 compare qwen2 qwen2-megatron --input-ids 5,6,7,8 --tp 2
says "next token the same; logits differ by at most"
says "rank"
model=$data/hf/qwen3_tiny_chat
"$BRIDGE" import "$model" --megatron-path megatron --no-sync --quiet >/dev/null
for words in "--prompt Hello" "--prompt Hello --tokenizer $data/tokenizer/small" "--input-ids 363,275,78"; do
    read -ra words <<<"$words"
    expect 0 compare --hf_model_path "$model" --megatron_model_path megatron "${words[@]}" --dtype float32
    says "next token the same; logits differ by at most 0, on average 0; cosine 1.000000000"
done

# another seed's weights
"$BRIDGE" toy qwen2 -o other --seed 1 --quiet >/dev/null
expect 1 compare other qwen2-megatron --input-ids 5,6,7,8 --dtype float32
says "cosine"
says "DIFFERENT"

refused() { # STATUS TEXT ARGUMENT...
    expect "$1" compare "${@:3}"
    complains "$2"
    mute
}
refused 2 "'compare' needs --megatron-path DIR" qwen2
refused 2 "nothing to read" qwen2 qwen2-megatron
refused 11 "no tokenizer.json" qwen2 qwen2-megatron --prompt x
refused 2 "outside the vocabulary" qwen2 qwen2-megatron --input-ids 320
refused 11 "missing" qwen2 missing --input-ids 1
refused 11 "no backend" qwen2 qwen2-megatron --input-ids 1 --device none

# a NaN in one of them is no likeness
cp -r qwen2 nan
printf '\377\177' | dd of=nan/model.safetensors bs=1 seek=$(($(stat -c %s nan/model.safetensors) - 2)) conv=notrunc status=none
refused 16 "has NaN or infinite values" nan qwen2-megatron --input-ids 1,2
done_ok
