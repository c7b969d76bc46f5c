# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# hosts.sh NAME - ranks on hosts of their own, which are network namespaces: one that is stopped, a host without room for its
# files (mpich), one whose host is cut off (openmpi).  It is named, after ten seconds of silence, and the others end.  All that
# may happen: scripts/test-ranks.
here=$(realpath "$(dirname "$0")")
. "$here/lib.sh"

case $name in
mpich) cells='live-stop live-train_full' ;;
openmpi) cells=live-cut ;;
esac
got=0
last="rank_faults 1 $name, $cells"
ANY_LOAD=1 BUILD=$BRIDGE_BUILD CELLS=${cells// /|} timeout 300 bash "$here/../../scripts/lib/rank_faults" 1 "$name" >out 2>err || got=$?
if [ $got = 77 ]; then
    cat out
    exit 77
fi
[ $got = 0 ] || fail "exit status $got"
[ "$(wc -l <out)" = "$(wc -w <<<"$cells")" ] || fail 'not all cells were run'
says "$name"
cat out
echo ok
