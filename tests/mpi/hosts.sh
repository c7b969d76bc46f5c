# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# hosts.sh NAME - ranks on hosts of their own, which are network namespaces: one that is stopped (mpich), one whose host is cut
# off (openmpi). After ten seconds of silence it is named, and the others end.  All that may happen: scripts/test-ranks.
here=$(realpath "$(dirname "$0")")
. "$here/lib.sh"

case $name in
mpich) cell=live-stop ;;
openmpi) cell=live-cut ;;
esac
got=0
last="rank_faults 1 $name, $cell"
ANY_LOAD=1 BUILD=$BRIDGE_BUILD CELLS=$cell timeout 120 bash "$here/../../scripts/lib/rank_faults" 1 "$name" >out 2>err || got=$?
if [ $got = 77 ]; then
    cat out
    exit 77
fi
[ $got = 0 ] || fail "exit status $got"
[ "$(wc -l <out)" = 1 ] || fail 'not one cell was run'
says "$name"
cat out
echo ok
