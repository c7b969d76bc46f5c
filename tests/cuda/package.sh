# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# package.sh - the packages of the CUDA backend: the Debian package and the tarball hold the module, stripped and for
# every GPU that is promised, and beside an unpacked bridge it loads, needs nothing but libc, and says what there is.
. "$(dirname "$0")/../sdk/lib.sh"
pack() {
    (cd "$work" && cpack -G "$1" --config "$BRIDGE_BUILD/$2" -B "$work/$3" >"$work/log" 2>&1) || fail "$(cat "$work/log")"
}
pack DEB CPackCuda.cmake deb
pack TGZ CPackCuda.cmake tgz
pack TGZ CPackConfig.cmake portable

deb=$(echo "$work"/deb/bridge-cuda_*.deb)
version=$(dpkg-deb -f "$deb" Version)
[ "$(basename "$deb")" = "bridge-cuda_${version}_$(dpkg --print-architecture).deb" ] || fail "the file is called $deb"
dpkg-deb -f "$deb" Depends | grep -qF "bridge (= $version)" || fail "Depends: $(dpkg-deb -f "$deb" Depends)"
dpkg-deb -x "$deb" "$work/unpacked"
doc=$work/unpacked/usr/share/doc/bridge-cuda
grep -q 'libcudart_static' "$doc/copyright" || fail "the copyright file does not name the CUDA runtime"
zcat "$doc/changelog.gz" | head -1 | grep -q "^bridge-cuda ($version)" || fail "the changelog has another package"
[ "$(find "$work/unpacked" -name '*.so*' | wc -l)" = 1 ] || fail "other libraries: $(find "$work/unpacked" -name '*.so*')"

mkdir "$work/portable_root"
tar -xzf "$work"/portable/bridge-*.tar.gz -C "$work/portable_root" --strip-components=1
tar -xzf "$work"/tgz/bridge-cuda-*.tar.gz -C "$work/portable_root" --strip-components=1
for module in "$(find "$work/unpacked" -name bridge_cuda.so)" "$work/portable_root/lib/bridge/1/bridge_cuda.so"; do
    readelf -dW "$module" | awk '/NEEDED/ { print $NF }' | grep -vxE '\[(libc|libm|libdl|librt|libpthread)\.so\.[0-9]\]|\[ld-linux-x86-64\.so\.2\]' &&
        fail "$module needs more than libc"
    ! grep -q 'R.*PATH' < <(readelf -dW "$module") || fail "$module has a library path of its own"
    ! grep -qF .debug_ < <(readelf -SW "$module") || fail "$module is not stripped"
    ls -l "$module"
done
CUDA_VISIBLE_DEVICES='' "$work/portable_root/bin/bridge" doctor >"$work/says" || fail "doctor: $(cat "$work/says")"
grep -E 'no NVIDIA driver|no GPU is visible|compute capability' "$work/says" ||
    fail "doctor says nothing of the module: $(cat "$work/says")"
echo ok
