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
json ".processor.threads == $(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)"
json '.processor.kernels | IN("scalar", "avx2", "avx512")'
# What the kernel lists is what CPUID says; an emulator has a processor of its own.
if [ "$(jq -r .machine report)" = "$(uname -m)" ] && [ "$(uname -m)" = x86_64 ]; then
    for feature in $(jq -r '.processor.features[]' report); do
        grep -qw -e "$feature" -e "$(tr -d _ <<<"$feature")" /proc/cpuinfo || fail "the kernel does not know '$feature'"
    done
    for feature in avx2 avx512f fma f16c; do
        if grep -qw "$feature" /proc/cpuinfo; then
            json ".processor.features | contains([\"$feature\"])"
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
expect 2 doctor now
done_ok
