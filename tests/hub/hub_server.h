/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* hub_server.h - one connection to the hub of hub_server.c, and what hub_upload.c needs of it. */
#ifndef BRIDGE_TESTS_HUB_SERVER_H
#define BRIDGE_TESTS_HUB_SERVER_H

#include "hub_models.h"

#include <stddef.h>

struct fault {
    char kind[16], where[256];
    long long count, arg;
    char text[256];
};

struct conn {
    int fd, cdn; /* cdn: the second origin */
    char method[8], path[4 * PATH_SIZE];
    int auth, good;     /* a token was sent; it is the right one */
    long long from, to; /* asked range, to exclusive; from < 0: none */
    int keep;
    long long sent; /* bytes of the body that was sent, or of the one that came */
    int status;
    int lock_fd;
    int lose; /* no answer is sent */
    /* what came */
    char in[16384]; /* received, not read yet */
    size_t n_in;
    long long length;
    int chunked, expect;
    char type[128], body[PATH_SIZE]; /* body: the file that holds it */
    struct commit *apply;            /* to be made once no model is read */
};

extern int port[2];            /* of the hub and of the second origin */
extern const char *store_host; /* of the second origin */
extern long long hub_chunk;    /* larger objects come in parts of that size; 0: none do */

int take_fault(const char *kind, const char *path, struct fault *out);
int reply(struct conn *c, int status, const char *more, const char *body);
int refuse(struct conn *c, int status, const char *code, const char *commit);
int check_access(struct conn *c, const char *repo, int *denied);
int take(const char **path, int n, char *out, size_t size);
int take_repo(const char **path, int dataset, char *repo, size_t size);
void unescape(char *s);
unsigned long long new_address(void);

/* hub_upload.c */
void hub_upload_begin(const char *root);
/* Read the body of a request into a file, at `rate` bytes a second if that is not 0. */
int hub_read_body(struct conn *c, long long rate);
int hub_post(struct conn *c, const char *path, const char *query);
int hub_store(struct conn *c, const char *path, const char *query);
int hub_apply(struct conn *c);
int hub_is_private(const char *repo);
#endif
