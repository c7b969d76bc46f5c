# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# train_far_rank.sh - the plan of a rank of many needs no other: a dry run as rank 511 of 512 takes a moment and less than
# 1 GB, wherever it runs.  `BRIDGE_RANKS_ALL=1` asks for its 5 seconds, too.
. "$(dirname "$0")/lib.sh"
sanitized=$(sed -n 's/^BRIDGE_SANITIZE:[A-Z]*=//p' "$BRIDGE_BUILD/CMakeCache.txt")
planned=("$BRIDGE" train qwen3_235b_a22b_pretrain_config mock=true tokenizer_type=NullTokenizer tokenizer_vocab_size=151000
    train_iters=20000 --dry-run --json)
# as RANK: what it prints in $out; in `used` the memory that it had, KiB, and the seconds of CPUs that it took.
as() {
    last="as rank $1 of 512: ${planned[*]:1}"
    PMI_RANK=$1 PMI_SIZE=512 python3 - "${planned[@]}" >"$out" 2>"$err" <<'EOP' || fail "exit status $?"
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:])
u = resource.getrusage(resource.RUSAGE_CHILDREN)
with open("used", "w") as f:
    f.write(f"{u.ru_maxrss} {u.ru_utime + u.ru_stime:.0f}\n")
sys.exit(status)
EOP
}
as 511
mute
silent
if [ -z "$sanitized" ]; then
    read -r kib seconds <used
    [ "$kib" -lt 976562 ] || fail "$kib KiB of memory"
    [ -z "${BRIDGE_RANKS_ALL:-}" ] || [ "$seconds" -lt 5 ] || fail "$seconds seconds"
    echo "rank 511 of 512: $kib KiB, $seconds s"
fi
[ ! -e nemo_experiments ] || fail 'a dry run writes'
# Rank 0 prints, and plans its own part: two bytes of a parameter, shared by tensor, pipeline and expert parallel ranks.
as 0
json '.plan | .trained_parameters == 235093634560 and .weight_bytes > 2.5e9 and .weight_bytes < 4e9'
done_ok
