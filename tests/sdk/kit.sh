# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# kit.sh - an install that was moved: what it holds, and the llama example built against it in both ways that the
# documentation names, checked, and taken there and back on what transformers and Megatron Bridge wrote.
. "$(dirname "$0")/lib.sh"
install_moved
cp -r "$source/examples" "$work/examples"

echo "-- what is installed"
bridge --version
for name in qwen2 qwen3 qwen3_moe qwen3_next; do
    grep -q "^$name .*$libdir/bridge/1" < <(bridge plugin list) || fail "no $name after the move"
done
if grep -rIlF -e "$source" -e "$BRIDGE_BUILD" -e /opt/staged "$kit"; then
    fail "these installed files name a folder of the build"
fi
mapfile -t objects < <(find "$kit" -type f \( -path '*/bin/*' -o -name '*.so*' \))
[ ${#objects[@]} -ge 6 ] || fail "only these objects: ${objects[*]}"
for object in "${objects[@]}"; do
    ! grep -qE '\.(debug_|symtab)' < <(readelf -SW "$object") || fail "$object is not stripped"
done
has_docs "$kit/share/doc/bridge"
has_completion "$kit/share" zsh/site-functions bridge
version=$(bridge --version | cut -d' ' -f2)
[ "$(readlink "$libdir/libbridge.so")" = "libbridge.so.${version%%.*}" ] || fail "libbridge.so is no link to the soname"
[ "$(readlink "$libdir/libbridge.so.${version%%.*}")" = "libbridge.so.$version" ] || fail "the soname is no link"
grep -qF "[libbridge.so.${version%%.*}]" < <(readelf -d "$libdir/libbridge.so") || fail "no versioned soname"
nm -D --defined-only "$libdir/libbridge.so" | awk '$2 != "A" { print $3 }' |
    if grep -v '^br_[a-z0-9_]*\(@@BRIDGE_1\)\?$'; then fail "libbridge.so exports these"; fi
[ "$(pkg-config --modversion bridge)" = "$version" ] || fail "bridge.pc has another version"
# Somebody else's header of that name must not be needed: each public one compiles on its own.
for header in "$kit"/include/bridge/*.h; do
    "$CC" -std=c11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -I"$kit/include" -x c "$header"
done

# there_and_back PLUGIN TOY: against goldens that bridge did not write.
there_and_back() {
    local toy=$source/tests/data/llama/$2 dir=$work/trip
    rm -rf "$dir"
    mkdir -p "$dir/hf"
    cp "$toy"/{config.json,generation_config.json,model.safetensors} "$dir/hf"
    # Megatron Bridge's own file names the folders that it was given.
    (cd "$dir" && mv hf "$2" && bridge import "$2" --megatron-path "mb_${2:6:-5}" --plugin "$1" >log 2>&1) ||
        fail "$(cat "$dir/log")"
    bridge inspect "$dir/mb_${2:6:-5}" --json --hash | jq -S .tensors >"$dir/have"
    jq -S . "$toy/megatron.json" | cmp - "$dir/have" || fail "$2: tensors differ from Megatron Bridge's"
    cmp "$toy/megatron_run_config.yaml" "$dir"/mb_*/iter_0000000/run_config.yaml || fail "$2: run_config.yaml"
    bridge export "$dir"/mb_* --hf-path "$dir/back" --plugin "$1" >/dev/null
    for file in config.json generation_config.json model.safetensors; do
        cmp "$toy/$file" "$dir/back/$file" || fail "$2: $file does not come back"
    done
    # Without what the import kept, config.json is rebuilt; transformers' keys, Megatron's constants.
    rm "$dir"/mb_*/iter_0000000/bridge_manifest* "$dir"/mb_*/bridge_manifest* 2>/dev/null || true
    bridge export "$dir"/mb_* --hf-path "$dir/rebuilt" --plugin "$1" >/dev/null 2>"$dir/notes"
    jq -e --slurpfile was "$toy/config.json" '
        .rope_scaling.rope_type == "llama3" and .rope_scaling.factor == $was[0].rope_parameters.factor
        and .rope_scaling.original_max_position_embeddings == 8192
        and .rope_theta == $was[0].rope_parameters.rope_theta
        and .head_dim == $was[0].head_dim and .tie_word_embeddings == $was[0].tie_word_embeddings
    ' "$dir/rebuilt/config.json" >/dev/null || fail "$2: rebuilt config.json: $(cat "$dir/rebuilt/config.json")"
    grep -q 'rope_original_max_position_embeddings is 8192, as Megatron computes' "$dir/notes" ||
        fail "$2: a guess is not named: $(cat "$dir/notes")"
}

# tensor FILE NAME: the float32 values of a tensor in a safetensors file, one a line.
tensor() {
    local size offsets
    size=$(od -An -tu8 -N8 "$1" | tr -d ' ')
    read -ra offsets < <(dd if="$1" bs=1 skip=8 count="$size" status=none |
        jq -r --arg name "$2" '.[$name].data_offsets | map(tostring) | join(" ")')
    od -An -v -tf4 -w4 -j $((8 + size + offsets[0])) -N $((offsets[1] - offsets[0])) "$1"
}

# same_values FILE NAME GOLDEN NAME: as many, and none is off by more than 1e-4.
same_values() {
    paste <(tensor "$1" "$2") <(tensor "$3" "$4") | awk -v what="$3: $4" '
        { d = $1 - $2; d = d < 0 ? -d : d; if (NF != 2 || !(d <= 1e-4)) bad++; if (d > worst) worst = d; n++ }
        END { printf "%s: %d values, worst difference %g\n", what, n, worst; exit bad || n < 100 }' ||
        fail "$1: $2 is not $4 of $3"
}

# runs PLUGIN TOY: logits and hidden states in float32, from both formats, are those of transformers.
runs() {
    local toy=$source/tests/data/llama/$2 dir=$work/run length
    rm -rf "$dir"
    mkdir -p "$dir/hf"
    cp "$toy"/{config.json,generation_config.json,model.safetensors} "$dir/hf"
    bridge import "$dir/hf" --megatron-path "$dir/megatron" --plugin "$1" >"$dir/log" 2>&1 || fail "$(cat "$dir/log")"
    for length in short long; do
        jq -r ".input_ids_$length | map(tostring) | join(\",\")" "$toy/golden.json" >"$dir/ids"
        bridge logits "$dir/hf" --plugin "$1" --input-ids "$(cat "$dir/ids")" --dtype float32 --device cpu \
            --hidden-states -q -o "$dir/$length.safetensors" >/dev/null
        same_values "$dir/$length.safetensors" logits "$toy/golden.safetensors" "logits_$length"
    done
    for name in hidden.0 hidden.1 hidden.2 hidden.norm; do
        same_values "$dir/short.safetensors" "$name" "$toy/golden.safetensors" "$name"
    done
    bridge compare --hf-model "$dir/hf" --megatron-path "$dir/megatron" --plugin "$1" --input-ids 1,2,3,4,5 \
        --dtype float32 --device cpu >"$dir/compare" 2>&1 || fail "$(cat "$dir/compare")"
}

by_cmake=$(with_cmake "$work/examples/llama")
by_gcc=$(with_gcc "$work/examples/llama/llama.c" llama)
for plugin in "$by_cmake" "$by_gcc"; do
    echo "-- $plugin"
    grep -q '^llama .*LlamaForCausalLM' < <(BRIDGE_PLUGIN_PATH=$(dirname "$plugin") bridge list) ||
        fail "bridge does not find the plugin in its folder"
    bridge plugin check "$plugin" >"$work/check" || fail "$(cat "$work/check")"
    grep -qv '^ok ' "$work/check" && fail "$(cat "$work/check")"
    there_and_back "$plugin" llama_tied_bf16
    grep -q "rope_original_max_position_embeddings is 32 in config.json, and 8192 is built into Megatron" \
        "$work/trip/log" || fail "an import does not say that Megatron's rope will differ"
    there_and_back "$plugin" llama_untied_bf16
    ! grep -q 'built into Megatron' "$work/trip/log" || fail "a note without a reason"
done
for toy in llama_tied_bf16 llama_untied_bf16; do
    runs "$by_gcc" "$toy"
done

# Only the family that has the word knows it.
# refuses ARCHITECTURE ROPE WORDS...: such a config.json is refused with these words.
refuses() {
    ! bridge toy "$1" --plugin "$by_gcc" -o "$work/odd" --set "rope_scaling={\"rope_type\":\"$2\"}" 2>"$work/err" ||
        fail "$1 takes rope type $2"
    grep -qF "rope type '$2' is not supported; expected $3" "$work/err" || fail "$(cat "$work/err")"
}
refuses qwen3 llama3 'default or yarn'
refuses llama linear 'default, yarn or llama3'

echo "-- installed for everybody"
cmake --install "$work/cmake.llama" --prefix "$kit" >/dev/null
grep -q "^llama .*$(realpath "$(pkg-config --variable=plugindir bridge)")/bridge_llama.so" < <(bridge plugin list) ||
    fail "bridge does not find what the plugin's own install put into its plugindir"
echo ok
