/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* keep.c - what an MPI loads stays loaded, so that LeakSanitizer can name it; for LD_PRELOAD, see
 * scripts/lib/rank_asan. */
int dlclose(void *handle);
int dlclose(void *handle)
{
    (void)handle;
    return 0;
}
