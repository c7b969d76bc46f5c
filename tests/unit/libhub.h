/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* libhub.h - a hub of tests/hub, started and asked by unit tests. */
#ifndef BRIDGE_TESTS_LIBHUB_H
#define BRIDGE_TESTS_LIBHUB_H

#include "../../core/format/format.h"

/* A fresh directory with root/ (the models), home/ (HF_HOME) and log. */
void hub_setup(void);
void hub_teardown(void);
/* Path below that directory (static for 16 calls). */
const char *hub_path(const char *fmt, ...) BR_PRINTF(1, 2);
/* A file of a model: n bytes that depend on the seed. */
void hub_put(const char *path, size_t n, unsigned seed);
void hub_put_text(const char *path, const char *text);
/* Start the hub with options (NULL ends them) and point HF_ENDPOINT at it; the log is new. */
void hub_start(const char *option, ...);
void hub_stop(void);
/* Lines of the log that begin with `origin` ("hub", "cdn") and hold `text`, and the body bytes that
 * were sent for them. */
size_t hub_requests(const char *origin, const char *text, uint64_t *bytes);
char *hub_sha256(const char *path); /* of a file (static) */
#endif
