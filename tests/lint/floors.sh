# floors.sh - who may include what: base < format < model < engine < cli; plugins and kernels see the
# public headers only; each library and dlopen has one file that touches it.
. "$(dirname "$0")/lib.sh"

level() {
    case $1 in
    core/include/*) echo 0 ;;
    core/base/*) echo 1 ;;
    core/format/*) echo 2 ;;
    core/model/*) echo 3 ;;
    core/engine/*) echo 4 ;;
    core/cli/*) echo 5 ;;
    *) echo 9 ;;
    esac
}

# "file:line target" of each #include "target", the target resolved against the file's folder.
quoted_includes() {
    local file line target
    for file; do
        { grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]+"' "$file" || true; } |
            while IFS=: read -r line target; do
                target=$(sed 's/^[^"]*"\([^"]*\)".*/\1/' <<<"$target")
                echo "$file $line $(realpath -ms --relative-to=. "$(dirname "$file")/$target")"
            done
    done
}

while read -r file line target; do
    if [ "$(level "$target")" -gt "$(level "$file")" ]; then
        offence "$file:$line: includes $target, which is above its floor"
    fi
done < <(quoted_includes $(c_files core))

while read -r file line target; do
    case $target in
    "$(dirname "$file")"/* | recipes/*.def) ;;
    *) offence "$file:$line: includes $target; only <bridge/...> and its own folder are open to it" ;;
    esac
done < <(quoted_includes $(c_files plugins kernels examples))

# only PATTERN FILE WHAT: PATTERN may occur in no other C file of the product.
only() {
    local hit
    while read -r hit; do
        offence "$hit: $3 belongs into $2"
    done < <(grep -HnE "$1" $(c_files core kernels plugins examples) /dev/null | grep -vE "^($2):" | cut -d: -f1,2)
}
only '#[[:space:]]*include.*cJSON\.h|[^_[:alnum:]]cJSON_[A-Z]' core/base/json.c cJSON
only '#[[:space:]]*include[[:space:]]*<yaml\.h>' core/format/yaml.c libyaml
only '#[[:space:]]*include[[:space:]]*<curl/' core/base/http.c libcurl
only '#[[:space:]]*include[[:space:]]*<pcre2\.h>' core/engine/tok_split.c PCRE2
only '#[[:space:]]*include[[:space:]]*<utf8proc\.h>' 'core/engine/(tok_norm|jinja_chars)\.c' utf8proc
only '[^_[:alnum:]]dl(open|mopen|sym|vsym)[[:space:]]*\(' 'core/model/registry.c|core/engine/backend.c' dlopen
# err.c prints once, on its way to abort().
only '[^_[:alnum:]](v?f?printf|f?puts|putchar|perror|_?exit)[[:space:]]*\(' 'core/cli/.*|core/base/err\.c' 'printing or exit'

finish
