/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* hub_files_fuzz.c - libFuzzer target: the files of a hub's data set, which anybody may have named,
 * and its card.
 *
 * Input: paths, one a line; NUL; the subset, or nothing; NUL; README.md.  What is accepted has a
 * file to train on, and all files of its splits have one format. */
#include "../../core/data/hub_files.h"

#include <stdlib.h>
#include <string.h>

#define MAX_PATHS 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct br__hub_files *f)
{
    size_t train = 0, rows = 0, chosen = 0;
    for (size_t i = 0; i < f->n; i++) {
        if (f->split[i] > BR__N_SPLITS || (f->split[i] < BR__N_SPLITS && !f->name[i]))
            abort();
        train += f->split[i] == BR__TRAIN;
        chosen += f->split[i] < BR__N_SPLITS;
        rows += f->split[i] < BR__N_SPLITS && br__ends(f->paths[i], ".parquet");
    }
    if (!train || (rows && rows != chosen))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct br__arena a = {0};
    struct br_err err = BR_ERR_INIT;
    const char *paths[MAX_PATHS];
    struct br__hub_files f = {.id = "org/set", .paths = paths};
    char *save = NULL, *text = br__arena_strndup(&a, (const char *)data, size);
    const char *end = text + size, *subset, *card;

    if (!text)
        return 0;
    subset = text + strlen(text) < end ? text + strlen(text) + 1 : end;
    card = subset < end && subset + strlen(subset) < end ? subset + strlen(subset) + 1 : NULL;
    f.subset = *subset ? subset : NULL;
    f.card = card && *card ? card : NULL;
    for (char *p = strtok_r(text, "\n", &save); p && f.n < MAX_PATHS;
         p = strtok_r(NULL, "\n", &save))
        paths[f.n++] = p;
    if (!br__hub_choose(&a, &f, &err))
        check(&f);
    else if (!err.msg[0])
        abort();
    br__arena_free(&a);
    return 0;
}
