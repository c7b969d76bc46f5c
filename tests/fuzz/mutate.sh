# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# mutate.sh - 500 cases of scripts/mutate with one seed, or as many as begin within 45 s: with a sanitizer they are fewer.
# BRIDGE_TEST_SAMPLE: within 20 s.
set -euo pipefail
: "${BRIDGE:?}" "${BRIDGE_TEST_DATA:?}"
if ! command -v python3 >/dev/null; then
    [ "${CI:-}" != true ] || { echo "FAILED: no python3" && exit 1; }
    echo "SKIPPED: no python3"
    exit 77
fi
more=() seconds=45
[ -z "${BRIDGE_TEST_SAMPLE:-}" ] || seconds=20
[ -z "${BRIDGE_SANITIZE:-}" ] || more=(--sanitized)
exec python3 -B "$(dirname "$0")/../../scripts/lib/mutate.py" "$BRIDGE" "$BRIDGE_TEST_DATA" --cases 500 --seed 1 --seconds $seconds "${more[@]}"
