/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* tier_scalar.c - every kernel for any machine. */
#define TIER scalar
#include "tier_impl.h"
