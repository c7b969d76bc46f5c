# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# train_terminal.sh - the view of a training run on a terminal of any width: one view at a time, no line too long,
# the loss as a curve; plain lines with --no-progress and where no terminal is.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/libtrain.sh"
command -v script >/dev/null || skip "no script(1), which makes a terminal"
typed "$data/train/qwen2"
term=xterm
common=("${args[@]}" log_interval=7 save_interval=10 dir=runs --no-sync)

# on_terminal COLUMNS NAME OPTION...: the run on a terminal of that width; its bytes are in $out.
on_terminal() {
    local columns=$1 name=$2
    shift 2
    last="train ${common[*]} name=$name $*"
    printf '%q ' stty cols "$columns" rows 40 >command
    printf '; exec ' >>command
    printf '%q ' "$BRIDGE" train "${common[@]}" name="$name" "$@" >>command
    TERM=$term script -qec "bash $work/command" /dev/null </dev/null >"$out" || fail "on a terminal of $columns columns"
}

# screen COLUMNS: what a terminal shows in the end of what is on stdin; the longest drawn line goes to ./longest.
# It knows line breaks, "up n lines", "erase to the end of the line" and "of the screen"; colours change nothing.
screen() {
    awk -v RS='\033' -v columns="$1" '
    function put(text,   i, c) {
        for (i = 1; i <= length(text); i++) {
            c = substr(text, i, 1)
            if (c == "\r") x = 0
            else if (c == "\n") y++
            else { line[y] = substr(sprintf("%-" x "s", line[y]), 1, x) c substr(line[y], x + 2); x++ }
            if (y > last) last = y
        }
        if (x > columns) wide = 1
    }
    NR == 1 { put($0); next }
    match($0, /^\[[0-9;]*[A-Zm]/) {
        code = substr($0, RLENGTH, 1); n = substr($0, 2, RLENGTH - 2) + 0; if (!n) n = 1
        if (code == "A") y -= n
        else if (code == "K" || code == "J") line[y] = substr(line[y], 1, x)
        if (code == "J") { for (i = y + 1; i <= last; i++) delete line[i]; last = y }
        put(substr($0, RLENGTH + 1)); next
    }
    { unknown = 1 }
    END { if (unknown) print "an unknown control sequence"; for (i = 0; i <= last; i++) print line[i] }' | sed 's/ *$//'
}

for columns in 20 64 80 200; do
    LC_ALL=C on_terminal $columns w$columns
    screen $columns <"$out" >shown
    # one view stays, of the last step, and what scrolled by is above it
    [ "$(grep -c '^ *step 20/20' shown)" = 1 ] || fail "$columns columns: not one view: $(cat shown)"
    ! grep -q 'step 1[0-9]*/20' shown || fail "$columns columns: an old view is left: $(cat shown)"
    ! grep -q 'unknown control' shown || fail "$columns columns: an unknown control sequence"
    [ "$(grep -c 'iteration .*lm loss' shown)" = 3 ] || fail "$columns columns: the log's lines are lost: $(cat shown)"
    grep -q 'saved iteration 10' shown && grep -q '^done after iteration 20' shown || fail "$columns columns: $(cat shown)"
    loss=$(jq -r 'select(.iteration == 20) | .lm_loss' "runs/w$columns/log.jsonl")
    grep -qF "loss $(printf %.4f "$loss")" shown || fail "$columns columns: no loss: $(cat shown)"
    for word in 'left$\|left  ' 'tokens/s' ' [KMG]i*B' 'lr ' 'grad norm'; do
        grep -q -- "$word" shown || fail "$columns columns: no '$word': $(cat shown)"
    done
    # the curve begins high and ends low: its top line has the first column, its bottom line the last
    rows=$([ $columns -lt 40 ] && echo 3 || echo 6)
    grep -B $rows '^ *step 20/20' shown | head -n $rows >curve
    [ "$(grep -c '[.:#]' curve)" = $rows ] || fail "$columns columns: no curve of $rows lines: $(cat curve)"
    [ "$(tail -n 1 curve | tr -cd '.:#' | wc -c)" -ge $((columns < 40 ? 15 : 20)) ] || fail "$columns columns: $(cat curve)"
    [ "$(head -n 1 curve | tr -cd '.:#' | wc -c)" -lt 20 ] || fail "$columns columns: the loss does not fall: $(cat curve)"
    # no line of a view is as long as the terminal is wide
    sed 's/\r//g; s/\x1b\[[0-9]*[A-Z]/\n/g' "$out" | grep 'step [0-9]*/20\|tokens/s\|grad norm\|^ *[.:#]' |
        grep -v 'iteration\|done after' | awk -v w=$columns 'length($0) >= w { print; bad = 1 } END { exit bad }' ||
        fail "a line is too long for $columns columns"
done
# A terminal that shows UTF-8 gets finer steps.
LC_ALL=C.UTF-8 on_terminal 80 utf8
grep -q '█' "$out" && grep -q '▁\|▂\|▃\|▄' "$out" || fail "no block elements"
# Plain lines, when they are asked for or there is no terminal.
on_terminal 80 plain --no-progress
! grep -q $'\x1b\\[[0-9]*[A-K]' "$out" || fail "--no-progress draws"
[ "$(grep -c 'iteration .*lm loss' "$out")" = 3 ] || fail "--no-progress has no lines"
term=dumb on_terminal 80 dumb
! grep -q $'\x1b' "$out" || fail "a dumb terminal is drawn on"
expect 0 train "${common[@]}" name=pipe
! grep -q $'\x1b' "$out" "$err" || fail "a pipe is drawn on"
done_ok
