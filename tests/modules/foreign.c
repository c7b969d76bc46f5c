/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* foreign - a shared object that has nothing to do with bridge. */
int foreign(void);
__attribute__((visibility("default"))) int foreign(void)
{
    return 1;
}
