/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* hub_files.h - the files of a data set of the hub, and which of its splits they are. */
#ifndef BRIDGE_CORE_DATA_HUB_FILES_H
#define BRIDGE_CORE_DATA_HUB_FILES_H

#include "../format/format.h"
#include "../hub/hub.h"
#include "data.h"

struct br__hub_files {
    const char *id;           /* for messages */
    const char *const *paths; /* [n] all files of the set */
    size_t n;
    const char *card;   /* text of README.md; NULL: none */
    const char *subset; /* NULL: the default one */
    const char *train;  /* name of the split to train on; NULL: "train" or what is like it */
    /* set by br__hub_choose */
    const char **name; /* [n] of the split in the set; NULL: no data of this subset */
    uint8_t *split;    /* [n] enum br__data_split; BR__N_SPLITS: none of them */
};
/* BR_E_NOTFOUND: no such subset; BR_E_CONFIG: several splits could be meant; BR_E_UNSUPPORTED: no
 * files that can be read. */
int br__hub_choose(struct br__arena *a, struct br__hub_files *c, struct br_err *err) BR_MUST_CHECK;

#endif
