# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# quickstart.sh - scripts/quickstart in a tree of its own: what it shows while it installs and builds, that a failed
# build is shown, and what it says of PATH.  apt, cmake and ninja are stand-ins; the round trips are real.
. "$(dirname "$0")/lib.sh"
source=$(realpath "$data/../..")
mkdir -p 'a tree/scripts' bin other
cp -r "$source"/scripts/{lib,quickstart} 'a tree/scripts'
built="$work/a tree/build/release/bin"

stand_in() { # NAME: a program in bin, its text on stdin
    { echo '#!/bin/bash' && cat; } >"bin/$1"
    chmod +x "bin/$1"
}
# Everything is installed but jq, until apt-get has been here.
stand_in dpkg-query <<'END'
[[ " $* " != *" jq "* || -e installed ]] && echo installed
END
stand_in apt-get <<'END'
echo "apt-get $*"
[[ " $* " != *" install "* ]] || touch installed
END
stand_in sudo <<<'"$@"'
stand_in cmake <<END
[ "\$1" = --build ] || { mkdir -p build/release && touch build/release/build.ninja && echo "a line of cmake"; exit; }
echo '[0/2] Re-checking globbed directories...'
[ ! -e fails ] || { echo '[1/2] cc x.c'; echo 'x.c:1: error'; exit 1; }
[ ! -e build/release/bin/bridge ] || { echo 'ninja: no work to do.'; exit; }
for ((i = 1; i <= 40; i++)); do echo "[\$i/40] cc \$i.c"; done
mkdir -p build/release/bin
printf '#!/bin/sh\nexec %q "\$@"\n' "$BRIDGE" >build/release/bin/bridge
chmod +x build/release/bin/bridge
END
PATH=$work/bin:$(getconf PATH)
quick() { # STATUS [ARGUMENT...]
    local want=$1 got=0
    shift
    last="(quickstart) $*"
    'a tree/scripts/quickstart' "$@" >"$out" 2>"$err" || got=$?
    [ "$got" = "$want" ] || fail "exit status $got, expected $want"
}
lines() { # N PATTERN: so many lines of stderr match
    [ "$(grep -cE "$2" "$err" || true)" = "$1" ] || fail "stderr has not $1 line(s) with: $2"
}

# From nothing: installs, configures, builds, with a line for every tenth; then each family's round trip.
quick 0
lines 1 '^\[ *[0-9]+ s\] installing jq$'
lines 1 '^\[ *[0-9]+ s\] configuring$'
lines 11 '^\[ *[0-9]+ s\] building [0-9]+ of 40$'
lines 1 'building 40 of 40$'
lines 0 'apt-get|a line of cmake|cc 1'
grep -q 'a line of cmake' 'a tree/build/quickstart.log' || fail "the log lacks cmake's output"
for family in $("$BRIDGE" list architectures | awk 'NR > 1 { print $1 }'); do
    grep -qE "^  $family +toy made.* equal to the source$" "$out" || fail "no round trip of $family"
done
says 'bridge alone'
grep -qE '^  qwen3 +trained for 30 steps on mock data; its loss fell from [4-9]\.[0-9]+ to [0-9.]+$' "$out" || fail "no training"

# A second time there is nothing to tell, and arguments go to the program with its own output alone.
quick 0 --version
silent
[ "$(cat "$out")" = "$("$BRIDGE" --version)" ] || fail "--version prints something else"

# On a terminal one line counts up.
rm -r 'a tree/build'
script -qec "'a tree/scripts/quickstart' --version" /dev/null </dev/null >"$out" 2>&1
tr '\r' '\n' <"$out" >lines
[ "$(grep -cE '^\[ *[0-9]+ s\] building [0-9]+ of 40 \([0-9]+%\)' lines)" = 40 ] || fail "not 40 counts on a terminal"
grep -q 'building 10 of 40 (25%)' lines || fail "no percentage"

# PATH: no bridge, another one, this one; the line that it prints is one that works, also with a blank in the path.
expect_path() {
    quick 0
    says "$1"
    grep '^  export PATH=' "$out" >line || true
}
if ! type -P bridge >/dev/null; then
    expect_path 'bridge alone is not found'
    (. ./line && [ "$(type -P bridge)" = "$built/bridge" ]) || fail "the PATH line does not work"
fi
printf '#!/bin/sh\n' >other/bridge
chmod +x other/bridge
PATH=$work/other:$PATH expect_path "bridge alone runs another program, $work/other/bridge"
(PATH=$work/other:$PATH && . ./line && [ "$(type -P bridge)" = "$built/bridge" ]) || fail "the PATH line does not work"
PATH=$built:$PATH expect_path 'bridge alone runs this program'
[ ! -s line ] || fail "a PATH line although PATH is right"

# A build that fails is shown.
touch 'a tree/fails'
quick 1
complains 'x.c:1: error'
complains 'quickstart: the build failed'
done_ok
