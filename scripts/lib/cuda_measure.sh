# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# cuda_measure.sh - sourced by scripts/test-cuda: the stages that measure, and what is made of their numbers.  Needs bash, sed
# and awk alone, as everything does that runs from a pack.

# What an H200 shall reach; other GPUs have no targets.
declare -A target=([decode.8b]=0.80 [decode.30b-a3b]=0.60 [decode.0.6b]=0.50
    [prefill.8b]=0.60 [prefill.30b-a3b]=0.35 [train.mfu]=0.45)

# number KEY FILE: of a JSON object that has one key a line, or of the last object of a file that has one a line.
number() {
    sed -n "s/.*\"$1\": *\([-0-9.eE+]*\).*/\1/p" "$2" | awk '{ v = $1 } END { if (v != "") printf "%.7g", v }'
}
ratio_of() {
    awk -v a="$1" -v b="$2" 'BEGIN { if (a != "" && b > 0) printf "%.3f", a / b }'
}

# shape NAME: a folder with the model's config.json, and nothing else, in $out/shape; its path is printed.
shape() {
    local dir=$out/shape/$1 family keys class key text=''
    read -r _ family _ keys < <(grep "^$1 " scripts/lib/cuda_shapes)
    case $family in
    qwen3) class=Qwen3ForCausalLM ;;
    *) class=Qwen3MoeForCausalLM ;;
    esac
    for key in $keys; do
        text+=", \"${key%%=*}\": ${key#*=}"
    done
    mkdir -p "$dir"
    printf '{"architectures": ["%s"], "model_type": "%s", "torch_dtype": "bfloat16", "head_dim": 128, "vocab_size": 151936,
"max_position_embeddings": 40960, "rope_theta": 1000000, "rms_norm_eps": 1e-06, "hidden_act": "silu", "attention_bias": false,
"initializer_range": 0.02, "bos_token_id": 151643, "eos_token_id": 151645%s}\n' "$class" "$family" "$text" >"$dir/config.json"
    echo "$dir"
}
# fits NAME: whether the GPU has room for it and a tenth more.
fits() {
    local mib total
    read -r _ _ mib _ < <(grep "^$1 " scripts/lib/cuda_shapes)
    total=$({ nvidia-smi --query-gpu=memory.total --format=csv,noheader,nounits 2>/dev/null || true; } | sed -n 1p)
    [ -z "$total" ] || [ "$total" -gt $((mib + mib / 10 + 4096)) ]
}

# bench_shape STAGE NAME WHAT OPTION...: bridge bench of that shape; its object is in $out/now, whose numbers are told as
# STAGE's.
bench_shape() {
    local stage=$1 name=$2 what=$3
    shift 3
    if ! fits "$name"; then
        result "$stage" "$what" "left out" "(memory)"
        return 1
    fi
    measured "$stage" "$what" "$run/bin/bridge" bench "$(shape "$name")" --random --device cuda --json "$@"
}
told_decode() { # WHAT [TARGET]
    result decode "$1" "$(number decode_tokens_per_second "$out/now")" tokens/s "$(number decode_ratio "$out/now")" "${2:-}"
}
told_prefill() { # WHAT [TARGET]
    result prefill "$1" "$(number prefill_tokens_per_second "$out/now")" tokens/s "$(number prefill_ratio "$out/now")" "${2:-}"
}

# Bytes of weights, keys and values a second, of a copy within the memory: one sequence and eight, short and after 4096 tokens.
stage_decode() {
    local name
    for name in 8b 0.6b 30b-a3b; do
        if bench_shape decode $name "$name" --prefill-tokens 16 --decode-tokens 128; then
            result decode "$name copy" "$(number read_peak_bytes "$out/now")" bytes/s
            result decode "$name product" "$(number matmul_peak_flops "$out/now")" FLOP/s
            told_decode "$name" "${target[decode.$name]:-}"
        fi
        if bench_shape decode $name "$name x8" --prefill-tokens 16 --decode-tokens 64 --batch 8; then
            told_decode "$name x8"
        fi
    done
}
# Floating-point operations a second of a prompt of 4096 tokens, of cuBLASLt's product of large matrices.
stage_prefill() {
    local name
    for name in 8b 30b-a3b 0.6b; do
        if bench_shape prefill $name "$name at 4096" --prefill-tokens 4096 --decode-tokens 64; then
            told_prefill "$name at 4096" "${target[prefill.$name]:-}"
            result decode "$name after 4096" "$(number decode_tokens_per_second "$out/now")" tokens/s \
                "$(number decode_ratio "$out/now")"
        fi
    done
}
# Weights from files to the first token, the start of the program and of the device included.
stage_files() {
    local dir=${MODEL:-$out/files} bytes
    if [ -z "${MODEL:-}" ]; then
        rm -rf "$dir"
        measured files "a model on the disk" "$run/bin/bridge" toy qwen3 -o "$dir" --quiet --set hidden_size=4096 \
            num_hidden_layers=2 intermediate_size=12288 num_attention_heads=32 num_key_value_heads=8 head_dim=128 \
            vocab_size=151936 tie_word_embeddings=false || return 0
    fi
    measured files "its first token" "$run/bin/bridge" generate "$dir" --input-ids 1,2,3 --max-new-tokens 1 --ignore-eos \
        --json --device cuda || return 0
    bytes=$(cat "$dir"/*.safetensors | wc -c)
    result files "first token" "$(number time_to_first_token "$out/now")" s
    result files "weights" "$(ratio_of "$bytes" "$(number time_to_first_token "$out/now")")" bytes/s
    [ -n "${MODEL:-}" ] || rm -rf "$dir"
}
# Three steps of a 4B shape, 16 samples of 4096 tokens; where the host has no room for its optimizer (16 bytes a parameter,
# and its gradients), of 0.6B.
stage_train() {
    local recipe=qwen3_4b_pretrain_config log=$out/train/run/log.jsonl
    [ "$(awk '/^MemAvailable/ { print int($2 / 1048576) }' /proc/meminfo)" -ge 100 ] || recipe=qwen3_600m_pretrain_config
    rm -rf "$out/train"
    measured train "$recipe" "$run/bin/bridge" train $recipe hf_model=null use_null_tokenizer=true mock=true \
        global_batch_size=16 micro_batch_size=1 exit_interval=3 eval_iters=0 save_interval=null \
        "dir=$out/train" name=run --device cuda --no-sync || return 0
    result train "${recipe%_pretrain_config} step" "$(number step_ms "$log")" ms "$(number mfu "$log")" "${target[train.mfu]}"
    result train "${recipe%_pretrain_config} passes" "$(number pass_ms "$log")" ms
    result train "${recipe%_pretrain_config} update" "$(number update_ms "$log")" ms
}
# Each kernel over the shapes of the models above, of the bytes or operations that it cannot do without.
stage_kernels() {
    local what value unit ratio
    measured kernels bench_device "$run/tests/bench_device" || return 0
    while IFS=$'\t' read -r what value unit ratio; do
        result kernels "$what" "$value" "$unit" "$ratio"
    done <"$out/now"
}
# transformers on the same shapes and GPU, eager and compiled, in tokens a second; ratio: what bridge did here over that.
stage_peers() {
    local name batch what value
    if ! "${BRIDGE_PYTHON:-python3}" -c 'import torch, transformers' 2>/dev/null; then
        result peers transformers "left out" "(torch and transformers are not installed)"
    else
        for name in 0.6b 8b; do
            for batch in 1 8; do
                fits $name || continue
                measured peers "transformers $name x$batch" "${BRIDGE_PYTHON:-python3}" scripts/lib/cuda_peers.py \
                    "$(shape $name)" $batch || continue
                while IFS=$'\t' read -r what value; do
                    result peers "$name x$batch $what" "$value" tokens/s \
                        "$(ratio_of "$(known "decode" "$name$([ $batch = 1 ] || echo " x$batch")")" "$value")" 1
                done < <(grep '^decode' "$out/now")
            done
        done
    fi
    if [ -n "${LLAMA_BENCH:-}" ] && [ -n "${GGUF:-}" ]; then
        measured peers llama.cpp "$LLAMA_BENCH" -m "$GGUF" -ngl 99 -p 0 -n 64 -r 3 -o json || return 0
        result peers "llama.cpp decode" "$(number avg_ts "$out/now")" tokens/s
    else
        result peers llama.cpp "left out" "(LLAMA_BENCH and GGUF are not set)"
    fi
}
# known STAGE WHAT: the value of a result of this run.
known() {
    sed -n "s/.*\"stage\":\"$1\",\"what\":\"$2\",\"value\":\"\([-0-9.eE+]*\)\".*/\1/p" "$out/results.json" | tail -n 1
}
# The kernels of a few layers of 8B, prompt and decoding, one by one: time, share of the memory's and the tensor cores' rate,
# occupancy, registers, bank conflicts, L2.
stage_ncu() {
    local ncu dir=$out/shape/few
    ncu=$(command -v ncu || echo /usr/local/cuda/bin/ncu)
    if [ ! -x "$ncu" ]; then
        result ncu ncu "left out" "(not installed)"
        return
    fi
    mkdir -p "$dir"
    sed 's/"num_hidden_layers": [0-9]*/"num_hidden_layers": 2/' "$(shape 8b)/config.json" >"$dir/config.json"
    measured ncu "kernels of two layers" env BRIDGE_CUDA_SYNC=1 "$ncu" --clock-control none --csv --launch-count 150 \
        --metrics "gpu__time_duration.sum,dram__throughput.avg.pct_of_peak_sustained_elapsed,\
sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active,sm__warps_active.avg.pct_of_peak_sustained_active,\
launch__registers_per_thread,launch__shared_mem_per_block,launch__occupancy_limit_registers,\
l1tex__data_bank_conflicts_pipe_lsu.sum,lts__t_sector_hit_rate.pct,sm__throughput.avg.pct_of_peak_sustained_elapsed" \
        "$run/bin/bridge" bench "$dir" --random --device cuda --prefill-tokens 512 --decode-tokens 8 --repeat 1 || return 0
    grep '^"' "$out/now" >"$out/ncu.csv" || true
    result ncu "rows of ncu.csv" "$(wc -l <"$out/ncu.csv")" rows
}

# render TABLE PAGE: the newest result of each kind in TABLE, as the table between two marks of PAGE.
render() {
    local rows=$out/rows
    awk -F'\t' '!/^#/ { if (!($2 FS $6 in seen)) order[++n] = $2 FS $6; seen[$2 FS $6] = $0 }
        END { for (i = 1; i <= n; i++) { split(seen[order[i]], c, FS)
            printf "| %s | %s | %s %s | %s | %s | %s |\n", c[2], c[6], c[7], c[8], c[9], substr(c[5], 1, 12), c[1] } }' \
        "$1" >"$rows"
    awk -v rows="$rows" '/^<!-- results -->$/ { print; print ""
            print "| GPU | what | measured | of what is possible | commit | day |"; print "|---|---|---|---|---|---|"
            while ((getline line < rows) > 0) print line
            print ""; skip = 1 }
        /^<!-- end of results -->$/ { skip = 0 }
        !skip && !/^<!-- results -->$/ { print }' "$2" >"$out/page"
    cp "$out/page" "$2"
}
