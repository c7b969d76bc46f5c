# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# toy_sparse.sh - a big model over holes takes no space.
. "$(dirname "$0")/lib.sh"

used() { du -s --block-size=1 "$1" | cut -f1; }
truncate -s 1G holes
[ "$(used holes)" -lt 1000000 ] || skip "the file system of $work has no holes"
rm holes

expect 0 toy qwen3 -o big --sparse --set vocab_size=200000 hidden_size=4096
size=$(du -sb big | cut -f1)
[ "$size" -gt 1000000000 ] || fail "not big: $size"
[ "$(used big)" -lt 10000000 ] || fail "not sparse: $(used big)"
expect 0 plan import big
done_ok
