# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# commits.sh - commit messages since the commit in commits.base, merges apart: subject `area: imperative`, at most
# 72 characters, no period at its end, and a body that says why.
. "$(dirname "$0")/lib.sh"

skip() {
    echo "SKIPPED: $1"
    exit 77
}
command -v git >/dev/null || skip "git is not installed"
[ "$(git rev-parse --show-toplevel 2>/dev/null)" = "$(pwd -P)" ] || skip "this is no git checkout"
base=$(cat tests/lint/commits.base)
if ! git merge-base --is-ancestor "$base" HEAD 2>/dev/null; then
    [ "$(git rev-parse --is-shallow-repository)" = false ] || skip "a shallow clone, without $base"
    offence "commits: $base of tests/lint/commits.base is no ancestor of HEAD"
    finish
fi

# First words that no imperative begins with.  Those in -ed are told by their ending: only a few verbs have it.
not_imperative() {
    case $1 in
    *eed | embed | shed | shred | wed) false ;;
    *ed | adds | adding | changes | changing | fixes | fixing | makes | making | moves | moving) true ;;
    removes | removing | renames | renaming | updates | updating | uses | using) true ;;
    *) false ;;
    esac
}

characters() {
    local LC_ALL=C.UTF-8
    echo "${#1}"
}

area='[a-z0-9_./-]+'
while IFS=$'\x1f' read -r -d $'\x1e' hash subject body; do
    hash=${hash#$'\n'}
    what="commit $hash '$subject'"
    [[ $subject =~ ^$area(,\ $area)*:\ [^[:space:]] ]] || offence "$what: is not 'area: imperative'"
    [ "$(characters "$subject")" -le 72 ] || offence "$what: has $(characters "$subject") characters, at most 72"
    [[ $subject != *. ]] || offence "$what: ends with a period"
    [[ $body =~ [^[:space:]] ]] || offence "$what: has no body; it says why"
    text=${subject#*: }
    ! not_imperative "${text%% *}" || offence "$what: begins with '${text%% *}'; write what the commit does, as 'add'"
done < <(git log --no-merges --format='%h%x1f%s%x1f%b%x1e' "$base..HEAD")
finish
