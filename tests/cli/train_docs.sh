# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# train_docs.sh - docs/training.md: every command on the page is run, in order, and prints what stands there.
. "$(dirname "$0")/libpage.sh"
. "$(dirname "$0")/lib.sh"
source=$(realpath "$data/../..")
page_filter() { sed "s|~/bridge/|$source/|g"; }
program_in_path
run_page "$source/docs/training.md" 25
done_ok
