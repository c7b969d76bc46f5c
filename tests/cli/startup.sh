# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# startup.sh - `bridge` alone and what a shell runs for each Tab are quick: instructions, which no other load changes.
# 50 million are 20 ms at 2.5 GHz and one instruction a cycle, which is slow; most of them are the loader's.
. "$(dirname "$0")/lib.sh"
command -v valgrind >/dev/null || skip "no valgrind, which counts instructions"
limit=50000000

"$BRIDGE" completion bash >"$out"
mapfile -t lists < <(grep -o "value='[a-z ]* -q'" "$out" | sed "s/value='\(.*\)'/\1/" | sort -u)
[ ${#lists[@]} -ge 5 ] || fail "the completion runs only: ${lists[*]}"
export HF_HOME=$work/home
mkdir -p home/hub/models--Qwen--Qwen3-8B/{blobs,refs,snapshots}
for words in "" "${lists[@]}"; do
    # shellcheck disable=SC2086
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$BRIDGE" $words >/dev/null 2>"$err" || true
    n=$(sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$err")
    [ -n "$n" ] || skip "valgrind does not run this build"
    last=$words
    [ "$n" -lt "$limit" ] || fail "$n instructions, at most $limit are wanted"
    echo "$n instructions: bridge $words"
done
done_ok
