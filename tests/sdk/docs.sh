# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# docs.sh - every command of docs/plugins.md, run in order against an install, and what it must print.
#
# A command is an indented line that begins with "$ "; the indented lines below it are its output, in order.  "..."
# stands for any lines, or for the rest of a line; notes are not shown.  A command fails if, and only if, its output has an error.
. "$(dirname "$0")/lib.sh"
page=$source/docs/plugins.md
install_moved
mkdir "$work/home" "$work/reader"
export HOME=$work/home
unset XDG_DATA_HOME
cd "$work/reader"
mkdir model
cp "$source"/tests/data/llama/llama_untied_bf16/{config.json,generation_config.json,model.safetensors} model

# One command a line, its expected output after it; other indented blocks are text.
awk '/^    \$ / { on = 1 } /^[^ ]/ { on = 0 } on && sub(/^    /, "")' "$page" >steps
commands=0
run_step() {
    local command=$1 want=$2 line rc=0 at=1 found skip=0
    bash -c "$command" >all 2>&1 || rc=$?
    grep -v '^bridge: note: ' all >out || true
    while IFS= read -r line; do
        if [ "$line" = ... ]; then
            skip=1
            continue
        fi
        found=$(WANT=${line%...} awk -v at="$at" -v whole="$([[ $line == *... ]] || echo 1)" '
            NR >= at && (whole ? $0 == ENVIRON["WANT"] : index($0, ENVIRON["WANT"]) == 1) { print NR; exit }' out)
        if [ -z "$found" ] || { [ $skip = 0 ] && [ "$found" != "$at" ]; }; then
            fail "'$command' does not print '$line', but: $(cat out)"
        fi
        at=$((found + 1))
        skip=0
    done < <(printf '%s' "$want")
    if grep -v '^bridge: warning: ' <<<"$want" | grep -q '^bridge: '; then
        [ "$rc" != 0 ] || fail "'$command' does not fail"
    else
        [ "$rc" = 0 ] || fail "'$command' has exit status $rc: $(cat out)"
    fi
    commands=$((commands + 1))
}

command='' want=''
while IFS= read -r line; do
    case $line in
    '$ '*)
        [ -z "$command" ] || run_step "$command" "$want"
        command=${line#??} want=''
        ;;
    *) want+=$line$'\n' ;;
    esac
done <steps
run_step "$command" "$want"
[ "$commands" = "$(grep -c '^    \$ ' "$page")" ] || fail "only $commands commands were run"
[ "$commands" -ge 12 ] || fail "the page has only $commands commands"
echo "ok: $commands commands"
