/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* main.c - the program: everything is in libbridge, so that tests and embedders share it. */
#include <bridge/bridge.h>

int main(int argc, char **argv)
{
    return br_main(argc, argv);
}
