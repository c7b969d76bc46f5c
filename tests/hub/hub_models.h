/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* hub_models.h - the models that the hub of hub_server.c has. */
#ifndef BRIDGE_TESTS_HUB_MODELS_H
#define BRIDGE_TESTS_HUB_MODELS_H

#define PATH_SIZE 1024

struct file {
    char repo[PATH_SIZE]; /* "org/name", "datasets/org/name" */
    char rev[128];        /* "main" */
    char path[PATH_SIZE]; /* within the repo */
    char disk[2 * PATH_SIZE];
    long long size;
    int lfs;
    char sha256[65], blob[41];
    char commit[41]; /* of its revision */
};

/* Sorted by repo, revision and path. */
extern struct file *files;
extern int n_files;

void hub_scan(const char *root); /* again: what is there by now */
int hub_is_lfs(const char *path, long long size);
void hub_hex(const unsigned char *md, unsigned n, char *out);
int hub_is_repo(const char *repo);
/* First file of a revision, given by name or commit; -1 if there is none. */
int hub_find_rev(const char *repo, const char *rev);
#endif
