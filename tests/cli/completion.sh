# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# completion.sh - the scripts for bash, zsh and fish parse, and complete what the program takes.
. "$(dirname "$0")/lib.sh"

mkdir bin
ln -s "$(command -v "$BRIDGE")" bin/bridge
PATH=$work/bin:$PATH
expect 0 completion bash
cp "$out" bash_script
expect 0 completion zsh
cp "$out" zsh_script
expect 0 completion fish
cp "$out" fish_script
expect 2 completion tcsh
complains "no completion for shell 'tcsh'; expected bash|zsh|fish"
expect 2 completion
complains "'completion' needs bash|zsh|fish"

# ---- bash --------------------------------------------------------------------------------------------------

bash -n bash_script || fail "bash does not parse it"
# shellcheck source=/dev/null
. ./bash_script
compopt() { :; } # only inside of a running completion

# completes WORDS... :: EXPECTED...: with the cursor after the last word (which may be empty).
completes() {
    local words=() want
    while [ "$1" != :: ]; do
        words+=("$1")
        shift
    done
    shift
    want=$(printf '%s\n' "$@" | sort)
    COMP_WORDS=(bridge "${words[@]}")
    COMP_CWORD=${#words[@]}
    _bridge bridge
    last="completion of: ${words[*]}"
    printf '%s\n' "${COMPREPLY[@]}" | sort >"$out"
    [ "$(cat "$out")" = "$want" ] || fail "expected: $(echo $want)"
}

# Every command and group of the help page, by its first word; every option of every command's page.
"$BRIDGE" help | sed -n 's/^  \([a-z-]*\) .*/\1/p' | grep -v '^bridge$' | sort -u >firsts
mapfile -t firsts <firsts
[ ${#firsts[@]} -ge 10 ] || fail "too few commands in the help page: ${firsts[*]}"
completes '' :: "${firsts[@]}"
completes help '' :: "${firsts[@]}"
"$BRIDGE" help | sed -n 's/^  \([a-z-]*\( [a-z-]*\)\?\)  .*/\1/p' | while read -r name; do
    mapfile -t options < <("$BRIDGE" help $name | sed '/^accepted, without effect/,$d' |
        sed -n 's/^  \(-., \|    \)\(--[a-z-]*\).*/\2/p')
    # shellcheck disable=SC2086
    completes $name -- :: "${options[@]}"
done

touch a_file.so
mkdir a_dir
completes pl :: plan plugin
# names that only a run of the program knows: recipes, their keys, model types, models of the cache
mkdir -p home/hub/models--Qwen--Qwen3-8B/{blobs,refs,snapshots}
export HF_HOME=$work/home
unset HF_HUB_CACHE
completes recipe show qwen3_600m :: qwen3_600m_finetune_config qwen3_600m_pretrain_config
completes train qwen3_600m :: qwen3_600m_finetune_config qwen3_600m_pretrain_config
completes recipe show qwen3_8b_pretrain_config --set global_b :: global_batch_size=
completes train qwen3_8b_pretrain_config global_b :: global_batch_size=
completes recipe list --model qwen2 :: qwen2
completes import --hf-model Qwen/ :: Qwen/Qwen3-8B
completes import Qwen/ :: Qwen/Qwen3-8B
completes cache rm Q :: Qwen/Qwen3-8B
completes cache '' :: ls prune rm verify
completes plan '' :: export import
completes help plan im :: import
completes plugin ch :: check
completes --threads 4 plugin ch :: check
completes import --layers '' :: per-layer stacked
completes import --layers = per :: per-layer
completes --layers stacked import --torch-dtype b :: bfloat16
completes plan import --expert-layout f :: fused
completes toy --dtype '' :: bfloat16 float16 float32
completes import --torch-dt :: --torch-dtype
completes toy qwen3_n :: qwen3_next
completes toy --arch qwen2 -o a_d :: a_dir
completes import a_ :: a_dir
completes import --plugin a_ :: a_dir a_file.so
completes plugin check qwen3_m :: qwen3_moe
completes plugin show a_f :: a_file.so
completes plugin new mine --from qwen2 :: qwen2
completes completion '' :: bash fish zsh
completes toy --seed '' :: ''

# ---- zsh: a shell on a pseudo terminal, where Tab is pressed -----------------------------------------------

zsh -n zsh_script || fail "zsh does not parse it"
mkdir functions
cp zsh_script functions/_bridge
cat >.zshrc <<'E'
fpath=($ZDOTDIR/functions $fpath)
autoload -Uz compinit
compinit -u -d $ZDOTDIR/dump
leave() { print -r -- "$BUFFER" >$ZDOTDIR/line; exit }
zle -N leave
bindkey '^]' leave
E
cat >press.zsh <<'E'
zmodload zsh/zpty
zpty shell zsh -i
zpty -w -n shell "bridge $1"$'\t\C-]'
while zpty -r shell reply; do :; done
E
# zsh_completes TEXT EXPECTED: what stands on the line after Tab.
zsh_completes() {
    last="zsh completion of: $1"
    rm -f line
    TERM=dumb ZDOTDIR=$work timeout 300 zsh -f press.zsh "$1" >"$out" 2>"$err" || fail "no answer"
    cp line "$out"
    [ "$(cat line)" = "bridge $2" ] || fail "expected: $2"
}
zsh_completes 'completi' 'completion '
zsh_completes 'plugin ch' 'plugin check '
zsh_completes 'import --layers p' 'import --layers per-layer '
zsh_completes 'import --torch-dt' 'import --torch-dtype '
zsh_completes 'toy --arch qwen3_n' 'toy --arch qwen3_next '
zsh_completes 'plugin check qwen3_m' 'plugin check qwen3_moe '

# ---- fish --------------------------------------------------------------------------------------------------

if command -v fish >/dev/null; then
    fish -n fish_script || fail "fish does not parse it"
    # fishes LINE EXPECTED...: with the cursor at the end of the line
    fishes() {
        local line=$1
        shift
        last="completion in fish of: $line"
        XDG_CONFIG_HOME=$work/fish XDG_DATA_HOME=$work/fish fish -N -c 'source fish_script; complete -C $argv[1]' "$line" 2>"$err" |
            cut -f 1 | sort -u >"$out"
        [ "$(cat "$out")" = "$(printf '%s\n' "$@" | sort)" ] || fail "expected: $*"
    }
    fishes 'bridge pl' plan plugin
    fishes 'bridge plan ' export import
    fishes 'bridge import --meg' --megatron-path
    fishes 'bridge --threads 4 plugin ch' check
    fishes 'bridge recipe show qwen3_600m' qwen3_600m_finetune_config qwen3_600m_pretrain_config
    fishes 'bridge import --torch-dtype float3' float32
    fishes 'bridge cache rm Q' Qwen/Qwen3-8B
fi
done_ok
