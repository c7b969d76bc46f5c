/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* format_internal.h - what all readers of core/format share. */
#ifndef BRIDGE_CORE_FORMAT_INTERNAL_H
#define BRIDGE_CORE_FORMAT_INTERNAL_H

#include "format.h"

/* Append a warning (printf style) to ck->warnings; returns 0 or BR_E_NOMEM. */
int br__ckpt_warn(struct br__ckpt *ck, const char *fmt, ...) BR_PRINTF(2, 3);

#endif
