# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
# recipe_docs.sh - docs/recipes.md: every command on the page is run, in order, and prints what stands there.
. "$(dirname "$0")/libpage.sh"
. "$(dirname "$0")/lib.sh"
program_in_path
run_page "$data/../../docs/recipes.md" 12
done_ok
