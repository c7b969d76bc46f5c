# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# deb.sh - the Debian package of `cpack -G DEB`: what it holds, what it depends on, what lintian says, and that the
# program works from an unpacked one with nothing of the build in reach.
. "$(dirname "$0")/lib.sh"
(cd "$work" && cpack -G DEB --config "$BRIDGE_BUILD/CPackConfig.cmake" -B "$work/pack" >"$work/log" 2>&1) ||
    fail "$(cat "$work/log")"
deb=$(echo "$work"/pack/bridge_*.deb)
[ "$(basename "$deb")" = "bridge_$(dpkg-deb -f "$deb" Version)_$(dpkg --print-architecture).deb" ] ||
    fail "the file is called $deb"
root=$work/root
dpkg-deb -x "$deb" "$root"
dpkg-deb -e "$deb" "$work/control"

grep -qx 'activate-noawait ldconfig' "$work/control/triggers" || fail "no ldconfig trigger"
for name in libc6 libcjson1 libyaml-0-2 libisal2 libxxhash0 libssl3; do
    dpkg-deb -f "$deb" Depends | grep -q "$name" || fail "Depends lacks $name"
done
! dpkg-deb -f "$deb" Depends | grep -q bridge || fail "the package depends on itself"
for file in usr/bin/bridge usr/bin/br-bridge usr/include/bridge/plugin.h usr/share/man/man1/bridge.1.gz \
    usr/share/man/man1/br-bridge.1.gz usr/share/doc/bridge/copyright usr/share/doc/bridge/changelog.gz; do
    [ -s "$root/$file" ] || fail "the package lacks $file"
done
# The licence is a link to the system's copy, which need not be unpacked here.
[ "$(readlink "$root/usr/share/doc/bridge/LICENSE")" = ../../common-licenses/Apache-2.0 ] || fail "LICENSE is no link"
mkdir "$root/usr/share/common-licenses"
cp "$source/LICENSE" "$root/usr/share/common-licenses/Apache-2.0"
has_docs "$root/usr/share/doc/bridge"
[ ! -e /usr/share/common-licenses/Apache-2.0 ] || cmp "$source/LICENSE" /usr/share/common-licenses/Apache-2.0
zcat "$root/usr/share/man/man1/bridge.1.gz" | cmp - "$source/docs/bridge.1" || fail "the manual page is another one"
grep -qx 'License: Apache-2.0' "$root/usr/share/doc/bridge/copyright" || fail "the copyright file names another licence"
if grep -rIlF -e "$source" -e "$BRIDGE_BUILD" "$root"; then
    fail "these files of the package name a folder of the build"
fi
mapfile -t objects < <(find "$root" -type f \( -path '*/bin/bridge' -o -name '*.so*' \))
[ ${#objects[@]} -ge 6 ] || fail "only these objects: ${objects[*]}"
for object in "${objects[@]}"; do
    ! grep -q 'R.*PATH' < <(readelf -dW "$object") || fail "$object has a library path of its own"
    ! grep -qF .debug_ < <(readelf -SW "$object") || fail "$object is not stripped"
done
zcat "$root/usr/share/doc/bridge/changelog.gz" | head -1 | grep -q "^bridge ($(dpkg-deb -f "$deb" Version))" ||
    fail "the changelog has another version"

libdir=$(dirname "$(find "$root" -name libbridge.so)")
for program in bridge br-bridge; do
    grep -q '^qwen3_next ' < <(LD_LIBRARY_PATH=$libdir "$root/usr/bin/$program" list) || fail "$program does not list"
done
LD_LIBRARY_PATH=$libdir "$root/usr/bin/bridge" plugin check qwen3 >/dev/null
LD_LIBRARY_PATH=$libdir has_completion "$root/usr/share" zsh/vendor-completions "$root/usr/bin/bridge"

if command -v lintian >/dev/null; then
    lintian --allow-root "$deb" >"$work/lintian" 2>"$work/log" || true
    cat "$work/lintian"
    ! grep '^E:' "$work/lintian" || fail "lintian has errors"
    [ -s "$work/lintian" ] || ! grep -v '^running with root' "$work/log" || fail "lintian did not run"
else
    echo "not checked: lintian is not installed"
fi
echo ok
