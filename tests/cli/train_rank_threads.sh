# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# A training over ranks that are threads is killed, paused, has a full disk, a bad token, a rank that
# stalls: one message, and another run goes on as if nothing had happened.  More rounds: scripts/test-ranks.
here=$(realpath "$(dirname "$0")")
. "$here/lib.sh"

got=0
BUILD=$BRIDGE_BUILD bash "$here/../../scripts/lib/rank_threads" 1 >out 2>err || got=$?
cat out
[ $got != 77 ] || exit 77
[ $got = 0 ] || fail "exit status $got: $(cat err)"
[ "$(grep -c ' ok$' out)" = 5 ] || fail 'not all cells were run'
echo ok
