# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# convert.sh NAME - import, export and verify as 2 and 4 processes of an MPI (mpich, openmpi): the files of one process,
# and a run that was killed goes on with another number of ranks.
. "$(dirname "$0")/lib.sh"

# same DIR: it has the files of DIR.one, byte for byte.  The journal and the like are gone.
same() {
    diff -r "$1.one" "$1" >diff || fail "$1: other files than one process writes: $(head -n 3 diff)"
}
"$bridge" toy qwen3_moe -o model --quiet >/dev/null
alone 0 import model --megatron-path megatron # its files name the destination
mv megatron megatron.one
alone 0 export megatron.one --hf-path hf.one --max-shard-size 60KB
for n in 2 4; do
    rm -rf megatron hf
    ranks $n 0 import model --megatron-path megatron
    says 'imported '
    [ "$(grep -c imported out)" = 1 ] || fail 'more than rank 0 prints'
    same megatron
    ranks $n 0 export megatron.one --hf-path hf --max-shard-size 60KB
    same hf
done
ranks 2 0 import model --megatron-path megatron
says 'up to date: '
ranks 2 0 verify model megatron
says 'equal: all '
ranks 2 0 verify megatron
says 'no damage found in '
ranks 2 9 export megatron.one --hf-path megatron
complains 'is not empty'

# Damage is found by whoever reads it, and named as one process names it.
cp -r megatron damaged
for file in damaged/*/*.distcp; do
    printf '\x5a' | dd of="$file" bs=1 seek=$(($(stat -c %s "$file") / 2)) conv=notrunc status=none
done
alone 4 verify damaged
cp out want
ranks 2 4 verify damaged
cmp out want || fail 'damage is told otherwise than by one process'
ranks 2 4 export damaged --hf-path other
[ ! -e other ] || fail 'a damaged checkpoint left a model'
echo ok
