# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# doctor.sh - the report on this machine agrees with what the machine says elsewhere.
. "$(dirname "$0")/lib.sh"

version=$("$BRIDGE" --version)
expect 0 doctor
silent
[[ $(head -n 1 "$out") = "$version on "* ]] || fail "the first line is not about '$version'"
for part in 'bridge ' 'processor: ' 'plugins:' 'GPU: ' 'folders:' 'libraries:'; do
    grep -q "^$part" "$out" || fail "no part '$part'"
done
expect 0 doctor -v
says '  loaded '

expect 0 doctor --json
silent
cp "$out" report
json '"bridge \(.version)\(if .commit then " (\(.commit))" else "" end)" == "'"$version"'"'
json '.machine | IN("aarch64", "x86_64")'
threads=${BRIDGE_CPUS:-$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)}
json ".processor.threads == ([$threads, 256] | min)"
[ "$(tiers)" = "$(sed -n 's/^    {"\([a-z0-9_]*\)", .*/\1/p' "$data/../../kernels/cpu/tiers.c" | paste -sd ' ')" ] ||
    fail "help environment has other tiers than the kernels: $(tiers)"
json ".processor.kernels | IN(\"$(tiers | sed 's/ /", "/g')\")"
# Features are spelt as Linux spells them.  What it lists CPUID has too, but an old kernel does not list all that
# CPUID has; an emulator has a processor of its own.
known() { # MACHINE: what doctor may report
    case $1 in
    x86_64) echo pni ssse3 sse4_1 sse4_2 popcnt avx f16c fma avx2 bmi2 avx512f avx512dq avx512bw avx512vl avx512_vnni avx_vnni avx512_bf16 \
        avx512_fp16 amx_tile amx_bf16 amx_int8 ;;
    aarch64) echo asimd asimdhp asimddp sve crc32 sve2 bf16 i8mm ;;
    esac
}
machine=$(jq -r .machine report)
for feature in $(jq -r '.processor.features[]' report); do
    [[ " $(known "$machine") " = *" $feature "* ]] || fail "Linux has no feature '$feature'"
done
if [ "$machine" = "$(uname -m)" ]; then
    for feature in $(known "$machine"); do
        if grep -m 1 -E '^(flags|Features)' /proc/cpuinfo | grep -qw "$feature"; then
            json ".processor.features | index(\"$feature\")"
        fi
    done
fi
"$BRIDGE" plugin list --json >"$out"
cp "$out" list
jq -S '{plugins: [.plugins[] | {name, path}], searched, refused}' list >want
jq -S '{plugins: [.plugins[] | {name, path}], searched, refused}' report | cmp - want || fail "doctor and plugin list differ"
cp report "$out"
json '.libraries | [.glibc, .cJSON, .libyaml, .OpenSSL, .xxHash, .PCRE2, .utf8proc] | all(test("^[0-9]+\\.[0-9]+"))'
# Without the file of a GPU backend there is none; with it, there is a reason for whatever the state is.
json '.gpu.why | length > 10'
if [ -z "$(jq -r '.searched[]' report | while read -r dir; do ls "$dir/bridge_cuda.so" 2>/dev/null; done)" ]; then
    json '.gpu.backend == null and (.gpu.why | startswith("no backend \u0027cuda\u0027; "))'
    "$BRIDGE" doctor | grep -A1 '^GPU: none' | grep -q "^  no backend 'cuda'; " || fail "the text says something else"
fi
json '.loaded | length > 5'
for path in $(jq -r '.loaded[]' report); do
    [ -e "$path" ] || fail "'$path' is loaded and does not exist"
done
# ... and every plugin is among them
json '. as $r | [.plugins[].path | select(startswith("/"))] | all(. as $p | $r.loaded | index($p))'

# A refused plugin, with the reason; folders of every kind.
mkdir plugins cache
echo nothing >plugins/bridge_broken.so
export HF_HOME=$work/cache BRIDGE_PLUGIN_PATH=$work/plugins TMPDIR=$work/none/deep
unset HF_HUB_CACHE
state() { jq -r --arg what "$1" '.folders[] | select(.what == $what) | .path + ": " + .state' "$out"; }
expect 0 doctor --json
json '.refused | length == 1 and (.[0] | contains("bridge_broken.so"))'
json ".searched[0] == \"$work/plugins\""
[ "$(state HF_HOME)" = "$work/cache: writable" ] || fail "HF_HOME is $(state HF_HOME)"
[ "$(state HF_HUB_CACHE)" = "$work/cache/hub: absent, can be made" ] || fail "HF_HUB_CACHE is $(state HF_HUB_CACHE)"
[ "$(state TMPDIR)" = "$work/none/deep: absent, can be made" ] || fail "TMPDIR is $(state TMPDIR)"
expect 0 doctor
says "  refused plugin '$work/plugins/bridge_broken.so'"
HF_HUB_CACHE=/proc/nothing TMPDIR=$work/plugins/bridge_broken.so expect 0 doctor --json
[ "$(state TMPDIR)" = "$work/plugins/bridge_broken.so: not a folder" ] || fail "TMPDIR is $(state TMPDIR)"
[ "$(state HF_HUB_CACHE)" = "/proc/nothing: absent, cannot be made" ] ||
    [ "$(id -u)" = 0 ] || fail "HF_HUB_CACHE is $(state HF_HUB_CACHE)"
env -u HF_HOME -u HOME -u XDG_CACHE_HOME "$BRIDGE" doctor --json >"$out"
[ "$(state HF_HUB_CACHE)" = ': not set' ] || fail "HF_HUB_CACHE is $(state HF_HUB_CACHE)"
BRIDGE_CPU=scalar expect 0 doctor --json
json '.processor.kernels == "scalar"'
for n in 1 3 256; do
    BRIDGE_CPUS=$n expect 0 doctor --json
    json ".processor.threads == $n"
done
for n in 0 257 4x; do
    BRIDGE_CPUS=$n expect 2 doctor
    complains "BRIDGE_CPUS is '$n', expected a whole number from 1 to 256"
done
expect 2 doctor now
done_ok
