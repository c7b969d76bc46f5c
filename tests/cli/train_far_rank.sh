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
# Rank 0 prints, and plans its own part: two bytes of a parameter, shared by tensor, pipeline and expert parallel ranks.  It names
# the rank that needs the most; without the number of ranks of its host there is no time of a step.
as 0
json '.plan | .trained_parameters == 235093634560 and .weight_bytes > 2.5e9 and .weight_bytes < 4e9'
json '.plan | .most_bytes >= .total_bytes and .most_rank % 32 == 0 and .step_seconds == null'

# Two stages of unlike size: what both need is about what ranks that are threads need together.
"$BRIDGE" toy qwen3 -o two --quiet --set num_hidden_layers=4 hidden_size=64 vocab_size=4096 tie_word_embeddings=false >/dev/null
planned=("$BRIDGE" train qwen3_600m_pretrain_config hf_model=two mock=true tokenizer_type=NullTokenizer tokenizer_vocab_size=4000
    train_iters=20 lr_warmup_iters=1 eval_iters=0 global_batch_size=1 micro_batch_size=1 seq_length=32 tp=1 cp=1 pp=2
    'pp_layout=Et|tttL' sequence_parallel=false cp_comm_type=null --dry-run)
"${planned[@]}" --ranks 2 --json >together
PMI_RANK=0 PMI_SIZE=2 expect 0 "${planned[@]:1}"
says ' of rank 1, in stage 2 of 2, which needs most'
PMI_RANK=0 PMI_SIZE=2 MPI_LOCALNRANKS=2 expect 0 "${planned[@]:1}" --json
json '.plan | .most_rank == 1 and .step_seconds > 0'
jq -e --slurpfile both together '($both[0].plan | .total_bytes - .program_bytes) as $want | .plan |
    (.total_bytes + .most_bytes - 2 * .program_bytes - $want | fabs) < $want / 10' "$out" >/dev/null ||
    fail "the two plans are not that of threads: $(jq -c '.plan | [.total_bytes, .most_bytes, .program_bytes]' "$out" together)"
done_ok
