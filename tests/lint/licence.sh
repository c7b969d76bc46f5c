# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# licence.sh - the licence is there, and every source file names it and the copyright in its first five lines.  Data
# that others wrote, and text that is no program, carry no line.
. "$(dirname "$0")/lib.sh"

for file in LICENSE NOTICE; do
    [ -s "$file" ] || offence "$file is missing"
done
[ ! -e LICENSE ] || grep -q 'Apache License' LICENSE || offence "LICENSE is not the Apache License"

# Source by its name, or by a first line that names an interpreter.
sources() {
    local dir
    for dir in core kernels plugins recipes tests examples scripts cmake .ci; do
        if [ -d "$dir" ]; then
            find "$dir" \( -path tests/data -o -path tests/fuzz/corpus -o -name __pycache__ \) -prune -o -type f -print
        fi
    done | sort | while IFS= read -r file; do
        case $file in
        *.c | *.h | *.def | *.inc | *.sh | *.py | *.cmake | *.c.in | *.cmake.in | */CMakeLists.txt) echo "$file" ;;
        *) [ "$(head -c 2 "$file" | tr -d '\0')" != '#!' ] || echo "$file" ;;
        esac
    done
    [ ! -e CMakeLists.txt ] || echo CMakeLists.txt
}

line='Copyright 20[0-9][0-9] The bridge authors[.] SPDX-License-Identifier: Apache-2[.]0'
mapfile -t files < <(sources)
while IFS= read -r file; do
    offence "$file: expected 'Copyright YEAR The bridge authors. SPDX-License-Identifier: Apache-2.0' in its first five lines"
done < <(awk -v line="$line" '
    FNR > 5 { nextfile }
    $0 ~ line { has[FILENAME] = 1 }
    END { for (i = 1; i < ARGC; i++) if (!(ARGV[i] in has)) print ARGV[i] }' "${files[@]}" /dev/null | grep -vx /dev/null)
finish
