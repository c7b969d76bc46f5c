# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# version.sh - the commit that a build names: that of a clean checkout, of a changed one, none of an archive; and a
# build of the same commit has nothing to do.
. "$(dirname "$0")/lib.sh"
if ! command -v git >/dev/null; then
    echo "SKIPPED: git is not installed"
    exit 77
fi
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b.invalid GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b.invalid
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
cd "$work"

# names FOLDER COMMIT: what the script writes for that folder.
names() {
    cmake -DSOURCE="$work/$1" -DOUTPUT="$work/commit.c" -P "$source/cmake/commit.cmake" >log 2>&1 || fail "$(cat log)"
    grep -qxF "const char br__commit[] = \"$2\";" commit.c || fail "$1: expected '$2': $(cat commit.c)"
}
git init -q tree
echo one >tree/file
names tree '' # no commit yet
git -C tree add file
git -C tree commit -q -m one
git -C tree tag v1
head=$(git -C tree rev-parse --short=12 HEAD)
names tree "$head"
touch -d 2001-01-01 commit.c
echo untracked >tree/other
touch tree/file
names tree "$head"
[ "$(stat -c %Y commit.c)" = "$(date -d 2001-01-01 +%s)" ] || fail "the same commit makes the file new"
GIT_DIR=$work/none GIT_WORK_TREE=$work names tree "$head"
echo two >tree/file
names tree "$head+changes"
git -C tree worktree add -q ../beside
names beside "$head"
mkdir tree/archive
names tree/archive ''

# This build: the library says what was written for it.
commit=$(sed -n 's/^const char br__commit\[\] = "\(.*\)";$/\1/p' "$BRIDGE_BUILD/commit.c")
[ "$("$BRIDGE_BUILD/bin/bridge" --version | cut -d' ' -f3)" = "${commit:+($commit)}" ] || fail "the program is of another build"
echo ok
