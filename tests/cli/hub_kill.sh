# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# hub_kill.sh - kill -9 at random moments of a download: a blob is absent or right, and a rerun asks only
# for what is missing.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/libhub.sh"
rounds=${BRIDGE_KILL_ROUNDS:-12}
seed=${SEED:-$RANDOM}
RANDOM=$seed
echo "moments by SEED=$seed"
size=40000000
mkdir -p root/Qwen/big
echo '{}' >root/Qwen/big/config.json
head -c $size /dev/urandom >root/Qwen/big/model.safetensors
sha=$(sha256sum <root/Qwen/big/model.safetensors | cut -d' ' -f1)
total=$((size + $(stat -c %s root/Qwen/big/config.json)))
blobs=home/hub/models--Qwen--big/blobs
download=(download Qwen/big --no-sync --no-progress --json)

# Each transfer is so slow that an undisturbed run takes about half a second.
hub_up --rate 40000000
began=$(date +%s%N)
expect 0 "${download[@]}"
took=$((($(date +%s%N) - began) / 1000000 + 2))
rm -rf home

killed=0 saved=0
for ((i = 0; i < rounds; i++)); do
    "$BRIDGE" "${download[@]}" >/dev/null 2>&1 & pid=$!
    ms=$((RANDOM % took))
    sleep "$((ms / 1000)).$(printf %03d $((ms % 1000)))"
    kill -9 "$pid" 2>/dev/null || true
    status=0
    wait "$pid" 2>/dev/null || status=$?
    if [ "$status" = 137 ]; then
        killed=$((killed + 1))
        took=$((took * 11 / 10 + 1)) # so that about half are killed, whatever else the machine does
    else
        took=$((took * 9 / 10 + 2))
    fi
    if [ -e "$blobs/$sha" ] && [ "$(sha256sum <"$blobs/$sha" | cut -d' ' -f1)" != "$sha" ]; then
        fail "round $i: a killed download left a wrong blob"
    fi
    # The kill may have come before there was a folder for blobs.
    there=$({ find "$blobs" -type f ! -name '*incomplete*' -printf '%s\n' 2>/dev/null || true; } |
        awk '{ n += $1 } END { print n + 0 }')
    hub_up --rate 40000000
    expect 0 "${download[@]}"
    [ "$(sha256sum <"$blobs/$sha" | cut -d' ' -f1)" = "$sha" ] || fail "round $i: wrong bytes"
    hub_settle
    # What was there, whole or in part, is not asked for again: by its own count, and by the server's.
    read -r asked got < <(awk '$4 == 206 { split($5, r, "-"); n += r[2] - r[1] + 1; m += $6 }
        END { print n + 0, m + 0 }' "$hub_log")
    resumed=$(jq .resumed_bytes "$out")
    [ $((there + resumed + asked)) = $total ] ||
        fail "round $i: of $total bytes $there were there, $resumed in part, $asked were asked for"
    [ "$got" = "$asked" ] || fail "round $i: $asked bytes asked for, $got sent"
    saved=$((saved + resumed))
    [ -z "$(find home -name '*incomplete*')" ] || fail "round $i: something is left"
    rm -rf home
done
[ "$killed" -gt 0 ] && [ "$saved" -gt 0 ] || fail "killed $killed runs, which saved $saved bytes: nothing is shown"
echo "killed $killed of $rounds downloads; reruns found $((saved / 1000000)) MB there"
done_ok
