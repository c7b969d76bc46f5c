# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# portable.sh - the tarball of `cpack -G TGZ`: the plugins inside, a plugin from outside, nothing from the system
# but glibc; what people read; the notices of exactly the libraries that are in it.
. "$(dirname "$0")/lib.sh"
install_moved
plugin=$(with_gcc "$source/examples/llama/llama.c" llama)

(cd "$work" && cpack -G TGZ --config "$BRIDGE_BUILD/CPackConfig.cmake" -B "$work/pack" >/dev/null)
rm -r "$kit"
mkdir "$work/portable"
tar -xzf "$work"/pack/*.tar.gz -C "$work/portable" --strip-components=1
program=$work/portable/bin/bridge
grep -q qwen3_next < <("$program" plugin list) || fail "the tarball has no qwen3_next"
"$program" plugin check "$plugin" || fail "the tarball cannot load a plugin"
for object in "$program" "$work"/portable/lib/libbridge.so*; do
    ldd "$object" | awk '/=>/ { print $1, $3 }' | while read -r needs from; do
        case $needs in
        libc.so.* | libm.so.* | libdl.so.* | libpthread.so.* | librt.so.* | libresolv.so.*) ;;
        *) [[ $from == "$work"/* ]] || fail "$(basename "$object") takes $needs from $from" ;;
        esac
    done
done

share=$work/portable/share
has_docs "$share/doc/bridge"
cmp "$source/docs/bridge.1" "$share/man/man1/bridge.1"
has_completion "$share" zsh/site-functions "$program"

# Each copy in lib/ is named with the package that its original is from, and nothing else is.
notices=$share/doc/bridge/THIRD-PARTY-NOTICES.txt
find "$work/portable/lib" -type f ! -name 'libbridge.so*' -printf '%f\n' | sort >"$work/bundled"
sed -n 's/^  \(lib[^ ]*\): .*/\1/p' "$notices" | sort >"$work/named"
cmp "$work/bundled" "$work/named" || fail "bundled and named libraries differ: $(diff "$work/bundled" "$work/named")"
[ "$(wc -l <"$work/bundled")" -ge 8 ] || fail "only these libraries: $(cat "$work/bundled")"
text=$(cat "$notices")
sed -n 's/^  lib[^ ]*: \([^ ]*\) .*/\1/p' "$notices" | sort -u >"$work/packages"
while read -r file package; do
    cmp "$work/portable/lib/$file" "$(dpkg -L "$package" | grep "/$file$" | head -n 1)" ||
        fail "$file is not that of $package"
done < <(sed -n 's/^  \(lib[^ ]*\): \([^ ]*\) .*/\1 \2/p' "$notices")
while read -r package; do
    [[ $text == *"$(cat "/usr/share/doc/$package/copyright")"* ]] || fail "the licence text of $package is missing"
    while read -r licence; do
        grep -qx "/usr/share/common-licenses/$licence" "$notices" &&
            [[ $text == *"$(cat "/usr/share/common-licenses/$licence")"* ]] || fail "$package points to $licence"
    done < <(grep -o 'common-licenses/[A-Za-z0-9.+-]*[A-Za-z0-9]' "/usr/share/doc/$package/copyright" | cut -d/ -f2)
done <"$work/packages"

# refuses WORDS ARGUMENTS...: without a text there are no notices, and so no tarball.
refuses() {
    local words=$1
    shift
    ! cmake "$@" -DOUTPUT="$work/notices" -P "$source/cmake/notices.cmake" >"$work/log" 2>&1 ||
        fail "notices of $*"
    tr -s ' \n' ' ' <"$work/log" | grep -qF "$words" || fail "$(cat "$work/log")"
    [ ! -e "$work/notices" ] || fail "notices after '$words'"
}
yaml=$(dpkg -L libyaml-0-2 | grep '\.so' | head -n 1)
cp "$yaml" "$work/libstranger.so.1"
refuses 'libstranger.so.1 is bundled, and no Debian package owns it' -DBUNDLED="$work/libstranger.so.1"
refuses "$work/none/libyaml-0-2/copyright, the licence text of package libyaml-0-2, is missing" -DBUNDLED="$yaml" \
    -DDOC="$work/none"
mkdir -p "$work/doc/libyaml-0-2"
echo 'see /usr/share/common-licenses/{GPL-2,NONE-1}.' >"$work/doc/libyaml-0-2/copyright"
refuses '/usr/share/common-licenses/NONE-1, the licence text' -DBUNDLED="$yaml" -DDOC="$work/doc"
echo ok
