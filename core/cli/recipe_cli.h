/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* recipe_cli.h - what the recipe commands share. */
#ifndef BRIDGE_CORE_CLI_RECIPE_CLI_H
#define BRIDGE_CORE_CLI_RECIPE_CLI_H

#include "../recipe/recipe.h"
#include "cli.h"

/* ---- cmd_recipe.c ---------------------------------------------------------------------------- */

/* A recipe from the command line, and what it came from; close the registry. */
struct br__opened {
    struct br__registry *registry;
    struct br__recipe *recipe;
};
int br__open_recipe(struct br__cli *c, int incomplete, struct br__opened *out,
                    struct br_err *err) BR_MUST_CHECK;
/* "16 GPUs = tp 2 × pp 1 × cp 1 × dp 8" */
void br__put_grid(struct br__buf *b, const struct br__recipe *r);
int br__print_buf(struct br__buf *b, struct br_err *err) BR_MUST_CHECK; /* and free it */

/* ---- simulate_page.c ------------------------------------------------------------------------- */

/* A page of HTML with the step as a drawing, all in one file. */
int br__simulate_page(const struct br__recipe *r, const struct br__sim *s, struct br__buf *out,
                      struct br_err *err) BR_MUST_CHECK;

#endif
