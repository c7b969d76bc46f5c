# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# libhub.sh - a hub on 127.0.0.1 for the tests of the program; after lib.sh.  Models are below
# $work/root, the cache is below $work/home.
: "${BRIDGE_TEST_HUB:?}"
unset HF_HUB_OFFLINE HF_HUB_CACHE HF_TOKEN CURL_CA_BUNDLE REQUESTS_CA_BUNDLE SSL_CERT_FILE
unset http_proxy https_proxy all_proxy HTTPS_PROXY ALL_PROXY
export HF_HOME=$work/home
hub_pid=
hub_log=$work/hub.log
mkdir -p "$work/root"
trap 'hub_down; rm -rf "$work"' EXIT

hub_down() {
    [ -z "$hub_pid" ] || kill -9 "$hub_pid" 2>/dev/null || true
    [ -z "$hub_pid" ] || wait "$hub_pid" 2>/dev/null || true
    hub_pid=
}

# hub_up [OPTION...]: a new hub with a new log.
hub_up() {
    hub_down
    rm -f "$work/ports" "$hub_log"
    "$BRIDGE_TEST_HUB" "$work/root" "$hub_log" "$work/ports" --seconds 1800 "$@" &
    hub_pid=$!
    until [ -e "$work/ports" ]; do
        kill -0 "$hub_pid" 2>/dev/null || fail "no hub"
        sleep 0.02
    done
    read -r hub_port cdn_port <"$work/ports"
    export HF_ENDPOINT=http://127.0.0.1:$hub_port
}

# hub_settle: until a line is in the log for each request that was answered; the hub holds a lock meanwhile.
hub_settle() { flock "$hub_log" true; }

# requests ORIGIN TEXT: lines of the log; sent ORIGIN: body bytes of the files that it sent.
requests() {
    hub_settle
    grep "^$1 " "$hub_log" 2>/dev/null | grep -cF -- "$2" || true
}
sent() {
    hub_settle
    awk -v o="$1" '$1 == o && ($4 == 206 || $4 == 200) { n += $6 } END { print n + 0 }' "$hub_log"
}
