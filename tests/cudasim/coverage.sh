# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# coverage.sh - lines of kernels/cuda that no test executes: bash coverage.sh PERCENT_CU PERCENT_C OBJECTS TEST...
# The percentages are how many lines of .cu and .cuh files, and of .c files, must be; OBJECTS the folder where the module
# that BRIDGE_PLUGIN_PATH names was compiled; each TEST a program that runs on it, or a script for bash.
set -euo pipefail
export LC_ALL=C
percent_cu=$1 percent_c=$2 objects=$3
shift 3
gcov=$(command -v "${GCOV:-gcov-12}" || command -v gcov || true)
if [ -z "$gcov" ]; then
    echo "SKIPPED: gcov is not installed"
    exit 77
fi

find "$objects" -name '*.gcda' -delete
for test; do
    log=$objects/$(basename "$test").log
    case $test in
    *.sh) bash "$test" >"$log" 2>&1 ;;
    *) "$test" >"$log" 2>&1 ;;
    esac || { [ $? = 77 ] || { cat "$log"; exit 1; }; }
done

# "kernels/cuda/x.cu 12" of each line that has code and was never executed, in no instance of a template; and
# "= kind executed all" of each kind of files.
cd "$objects/../../../.." # where the compiler ran, for names that are relative
report=$(find "$objects" -name '*.gcda' -exec "$gcov" -t {} + 2>/dev/null | awk '
    { split($0, part, ":"); count = part[1]; line = part[2] + 0; gsub(/ /, "", count) }
    count == "-" && part[3] == "Source" { file = part[4]; known = sub(/^.*kernels\/cuda\//, "kernels/cuda/", file); next }
    !known || line == 0 || count == "-" { next }
    { has[file " " line] = 1; if (count !~ /^[#=]/) hit[file " " line] = 1 }
    END {
        all["cu"] = all["c"] = reached["cu"] = reached["c"] = 0
        for (key in has) {
            kind = key ~ /\.(c|h) / ? "c" : "cu"
            all[kind]++
            if (key in hit) reached[kind]++
            else print key
        }
        for (kind in all) printf "= %s %d %d\n", kind, reached[kind], all[kind]
    }')
while read -r file line; do
    echo "$file:$line: $(sed -n "${line}p" "$SOURCE/$file")"
done < <(grep -v '^= ' <<<"$report" | sort -k1,1 -k2,2n)
failed=0
while read -r _ kind reached all; do
    percent=percent_$kind
    echo "$reached of $all lines of .$kind files are executed; ${!percent} % must be"
    [ "$all" -gt 0 ] && [ $((100 * reached)) -ge $((${!percent} * all)) ] || failed=1
done < <(grep '^= ' <<<"$report")
exit $failed
