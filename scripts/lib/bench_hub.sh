# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# bench_hub.sh - the hub target of scripts/bench: sourced by it, with its functions.
#
# The file has the shape of Qwen3-0.6B: 1.19 GB.  Both clients fetch it from tests/hub's server, which sends
# from the page cache; bridge hashes it on the way, curl does not.  The limit is on time, so 1.25 is the 0.8 of
# curl's throughput.
server=${BRIDGE_BENCH_HUB:-$(dirname "$BRIDGE")/../tests/hub_server}
[ -x "$server" ] || { echo "bench: '$server' is missing: build the tests, too" >&2; exit 1; }
command -v curl >/dev/null || { echo "bench: the hub target needs curl" >&2; exit 1; }
model=$work/served/Qwen/big
mkdir -p "$work/served/Qwen"
toy "$model" 28
size=$(stat -c %s "$model/model.safetensors")
sha=$(sha256sum <"$model/model.safetensors" | cut -d ' ' -f 1)
"$server" "$work/served" "$work/log" "$work/ports" --seconds 3600 &
server_pid=$!
trap 'kill "$server_pid" 2>/dev/null || true; rm -rf "$work"' EXIT
while [ ! -e "$work/ports" ]; do
    kill -0 "$server_pid"
    sleep 0.05
done
read -r hub_port cdn_port <"$work/ports"
unset HF_HUB_CACHE HF_HUB_OFFLINE HF_TOKEN http_proxy
export HF_ENDPOINT=http://127.0.0.1:$hub_port HF_HOME=$work/out
download=("$BRIDGE" download Qwen/big --include model.safetensors --no-progress)

# An address of the second origin is good once the hub has given one.
curl -sI "$HF_ENDPOINT/Qwen/big/resolve/main/model.safetensors" >/dev/null
with_curl() {
    mkdir -p "$work/out"
    curl -sS -o "$work/out/file" "http://127.0.0.1:$cdn_port/cdn/$sha/model.safetensors?sig=1"
}
synced_curl() {
    with_curl && sync -f "$work/out"
}

echo "$("$BRIDGE" --version), $(nproc) CPUs ($(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)), $(stat -f -c %T "$work")"
echo "model.safetensors of Qwen3-0.6B's shape: $size bytes; medians of $rounds rounds, seconds"
for ((i = 0; i < rounds; i++)); do
    cat "$model"/* >/dev/null
    timed curl with_curl
    timed download run "${download[@]}" --no-sync
    timed synced-curl synced_curl
    timed synced-download run "${download[@]}"
done
echo
row job seconds curl ratio GB/s target ""
versus "download --no-sync : curl" download curl 1.25 "$size"
versus "download : curl, sync -f" synced-download synced-curl 1.25 "$size"

echo
printf '%-38s %8s   %8s   %-10s\n' "peak memory, MiB" private resident target
memory "download" "${download[@]}" --no-sync
clean
memory_limit=131072
HF_HOME=$work/cache memory "import --stream" "$BRIDGE" import -q --stream --no-sync --megatron-path "$work/out" Qwen/big
clean
[ "$missed" = 0 ] || { echo; echo "$missed target(s) missed"; exit 1; }
