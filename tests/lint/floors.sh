# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# floors.sh - who may include what, by the table in tests/lint/levels: lower levels only, and of each
# folder its door only; plugins and kernels see the public headers and their own folder; each library
# and dlopen has one file that touches it.
table=$(dirname "$(realpath "$0")")/levels
. "$(dirname "$0")/lib.sh"

# "file:line target" of each #include "target" of the files named on standard input, with the target
# resolved against the file's folder.
quoted_includes() {
    xargs -r grep -HnE '^[[:space:]]*#[[:space:]]*include[[:space:]]+"' /dev/null | awk '{
        split($0, a, ":"); file = a[1]; target = $0
        sub(/^[^"]*"/, "", target); sub(/".*/, "", target)
        dir = file; sub(/\/[^\/]*$/, "", dir)
        n = split(dir "/" target, part, "/"); m = 0
        for (i = 1; i <= n; i++) {
            if (part[i] == "" || part[i] == ".") continue
            if (part[i] == ".." && m > 0 && path[m] != "..") { m--; continue }
            path[++m] = part[i]
        }
        text = path[1]
        for (i = 2; i <= m; i++) text = text "/" path[i]
        print file ":" a[2], text
    }'
}

while read -r message; do
    offence "$message"
done < <(c_files core | quoted_includes | awk '
    FILENAME == ARGV[1] { if ($1 ~ /^[0-9]+$/) level[$2] = $1; next }
    {
        file = $1; sub(/:.*/, "", file)
        split(file, f, "/"); split($2, t, "/")
        from = f[2]; to = t[2]
        if (!(from in level)) print $1 ": folder core/" from " has no level in tests/lint/levels"
        else if (t[1] != "core") { if ($2 !~ /^recipes\/[a-z0-9_]*\.def$/) print $1 ": includes " $2 ", which is outside of core/" }
        else if (to == from && from != "include") next
        else if (!(to in level) || level[to] >= level[from]) print $1 ": includes " $2 ", which is not below core/" from
        else if ($2 != "core/" to "/" to ".h") print $1 ": includes " $2 "; the door of core/" to " is core/" to "/" to ".h"
    }' "$table" -)

while read -r place target; do
    file=${place%%:*}
    case $target in
    "$(dirname "$file")"/* | recipes/*.def) ;;
    *) offence "$place: includes $target; only <bridge/...> and its own folder are open to it" ;;
    esac
done < <(c_files plugins kernels examples | quoted_includes)

# only PATTERN FILE WHAT: PATTERN may occur in no other C file of the product.
only() {
    local hit
    while read -r hit; do
        offence "$hit: $3 belongs into $2"
    done < <(grep -HnE "$1" $(c_files core kernels plugins examples) /dev/null | grep -vE "^($2):" | cut -d: -f1,2)
}
only '#[[:space:]]*include.*cJSON\.h|[^_[:alnum:]]cJSON_[A-Z]' core/base/json.c cJSON
only '#[[:space:]]*include[[:space:]]*<yaml\.h>' core/format/yaml.c libyaml
only '#[[:space:]]*include[[:space:]]*<curl/' core/hub/http.c libcurl
only '#[[:space:]]*include[[:space:]]*<pcre2\.h>' core/text/tok/split.c PCRE2
only '#[[:space:]]*include[[:space:]]*<utf8proc\.h>' 'core/text/(tok/norm|jinja/chars)\.c' utf8proc
only '#[[:space:]]*include[[:space:]]*<(snappy-c|zstd|zlib)\.h>' core/format/parquet_codec.c 'a decompressor'
only '[^_[:alnum:]]dl(open|mopen|sym|vsym)[[:space:]]*\(' 'core/model/registry.c|core/graph/backend.c|core/dist/plane.c|kernels/cuda/libs.c' dlopen
# Names are made, changed and removed by descriptor, in one place; reading is br__file_open's.
only '(^|[^_[:alnum:].>])(open|openat|creat|mkdir|mkdirat|rename|renameat|renameat2|unlink|unlinkat|rmdir|remove|symlink|symlinkat|link|linkat|mkdtemp|mkstemp|mkostemp|flock|nftw)\(' 'core/base/(dir|io|sys)\.c' 'a system call on names'
only 'br__io\.(openat|mkdirat|renameat|renameat2|unlinkat|symlinkat|fchmod|flock)[^_[:alnum:]]' 'core/base/(dir|io|sys)\.c' 'a system call on names'
only 'fopen\([^;]*"[^"/]*[wa+][^"/]*"' 'core/base/(dir|io|sys)\.c' 'a file to write'
# err.c prints once, on its way to abort(); embed is a program of its own.
only '[^_[:alnum:]](v?f?printf|f?puts|putchar|perror|_?exit)[[:space:]]*\(' 'core/cli/.*|core/base/err\.c|examples/embed/.*' 'printing or exit'

finish
