# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# coverage.sh - lines of kernels/cuda that no test executes: bash coverage.sh PERCENT OBJECTS TEST...
# PERCENT is how many of them must be; OBJECTS the folder where the module that BRIDGE_PLUGIN_PATH names was compiled;
# each TEST a program that runs on it.
# A line that cannot be executed in the simulator says so: "not reached: " and why.
set -euo pipefail
export LC_ALL=C
percent=$1 objects=$2
shift 2
gcov=$(command -v "${GCOV:-gcov-12}" || command -v gcov || true)
if [ -z "$gcov" ]; then
    echo "SKIPPED: gcov is not installed"
    exit 77
fi

find "$objects" -name '*.gcda' -delete
for test; do
    "./$test" >"$objects/$test.log" 2>&1 || { cat "$objects/$test.log"; exit 1; }
done

# "kernels/cuda/x.cu:12: text" of each line that has code and was never executed, in no instance of a template.
report=$(find "$objects" -name '*.gcda' -exec "$gcov" -t {} + 2>/dev/null | awk -v root="$SOURCE/" '
    { split($0, part, ":"); count = part[1]; line = part[2] + 0; gsub(/ /, "", count) }
    count == "-" && part[3] == "Source" { file = part[4]; known = index(file, root "kernels/cuda/") == 1; next }
    !known || line == 0 || count == "-" { next }
    {
        key = substr(file, length(root) + 1) ":" line
        text[key] = $0; sub(/^[^:]*:[^:]*:/, "", text[key])
        if (count !~ /^[#=]/) hit[key] = 1
    }
    END {
        for (key in text) {
            all++
            if (key in hit || text[key] ~ /not reached: /) reached++
            else print key ": " text[key]
        }
        printf "%d of %d lines are executed\n", reached, all
    }')
grep -v 'lines are executed$' <<<"$report" | sort -t: -k1,1 -k2,2n || true
grep 'lines are executed$' <<<"$report" | tee "$objects/summary"
read -r reached _ all _ <"$objects/summary"
[ "$all" -gt 0 ] && [ $((100 * reached)) -ge $((percent * all)) ]
