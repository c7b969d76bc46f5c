/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* place.c - one rank's place in the world. */
#include "dist.h"

#include <string.h>

void br__place_init(struct br__place *p, const struct br_topo *t, uint32_t rank)
{
    memset(p, 0, sizeof *p);
    p->topo = *t;
    p->rank = rank;
}
