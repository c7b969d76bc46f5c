/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* hub_models.c - what the hub of hub_server.c has: files below a directory, their digests, and the
 * commits that they make. */
#include "hub_models.h"

#include <dirent.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FILES 4096

struct file *files;
int n_files;

void hub_hex(const unsigned char *md, unsigned n, char *out)
{
    for (unsigned i = 0; i < n; i++)
        snprintf(out + 2 * i, 3, "%02x", md[i]);
}

static void digest_file(struct file *f)
{
    static unsigned char buf[1 << 20];
    unsigned char md[EVP_MAX_MD_SIZE];
    char head[64];
    unsigned n;
    int fd = open(f->disk, O_RDONLY);
    ssize_t got;
    EVP_MD_CTX *a = EVP_MD_CTX_new(), *b = EVP_MD_CTX_new();
    EVP_DigestInit_ex(a, EVP_sha256(), NULL);
    EVP_DigestInit_ex(b, EVP_sha1(), NULL);
    snprintf(head, sizeof head, "blob %lld", f->size);
    EVP_DigestUpdate(b, head, strlen(head) + 1);
    while (fd >= 0 && (got = read(fd, buf, sizeof buf)) > 0) {
        EVP_DigestUpdate(a, buf, (size_t)got);
        if (!f->lfs)
            EVP_DigestUpdate(b, buf, (size_t)got);
    }
    EVP_DigestFinal_ex(a, md, &n);
    hub_hex(md, n, f->sha256);
    EVP_DigestFinal_ex(b, md, &n);
    hub_hex(md, n, f->blob);
    EVP_MD_CTX_free(a);
    EVP_MD_CTX_free(b);
    close(fd);
}

static int ends(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n >= k && !strcmp(s + n - k, end);
}

int hub_is_lfs(const char *path, long long size)
{
    return ends(path, ".safetensors") || ends(path, ".bin") || ends(path, ".parquet") ||
           size > 10 << 20;
}

static void scan_repo(const char *disk, const char *repo, const char *rev, const char *prefix)
{
    DIR *d = opendir(disk);
    struct dirent *e;
    struct stat st;
    while (d && (e = readdir(d))) {
        struct file *f = &files[n_files];
        char sub[2 * PATH_SIZE], path[PATH_SIZE];
        if (e->d_name[0] == '.' && (!e->d_name[1] || e->d_name[1] == '.'))
            continue;
        snprintf(sub, sizeof sub, "%s/%s", disk, e->d_name);
        snprintf(path, sizeof path, "%s%s", prefix, e->d_name);
        if (stat(sub, &st))
            continue;
        if (S_ISDIR(st.st_mode)) {
            char deeper[PATH_SIZE + 1];
            snprintf(deeper, sizeof deeper, "%s/", path);
            scan_repo(sub, repo, rev, deeper);
            continue;
        }
        if (n_files == MAX_FILES - 1)
            continue;
        snprintf(f->repo, sizeof f->repo, "%s", repo);
        snprintf(f->rev, sizeof f->rev, "%s", rev);
        snprintf(f->path, sizeof f->path, "%s", path);
        snprintf(f->disk, sizeof f->disk, "%s", sub);
        f->size = (long long)st.st_size;
        f->lfs = hub_is_lfs(path, f->size);
        digest_file(f);
        n_files++;
    }
    if (d)
        closedir(d);
}

static int by_path(const void *a, const void *b)
{
    const struct file *x = a, *y = b;
    int c = strcmp(x->repo, y->repo);
    c = c ? c : strcmp(x->rev, y->rev);
    return c ? c : strcmp(x->path, y->path);
}

/* A commit is the digest of its files. */
static void make_commits(void)
{
    for (int i = 0, k; i < n_files; i = k) {
        unsigned char md[EVP_MAX_MD_SIZE];
        unsigned n;
        EVP_MD_CTX *c = EVP_MD_CTX_new();
        EVP_DigestInit_ex(c, EVP_sha1(), NULL);
        for (k = i; k < n_files && !strcmp(files[k].repo, files[i].repo) &&
                    !strcmp(files[k].rev, files[i].rev);
             k++) {
            EVP_DigestUpdate(c, files[k].path, strlen(files[k].path) + 1);
            EVP_DigestUpdate(c, files[k].sha256, 64);
        }
        EVP_DigestFinal_ex(c, md, &n);
        for (int j = i; j < k; j++)
            hub_hex(md, 20, files[j].commit);
        EVP_MD_CTX_free(c);
    }
}

/* root/<org>/<name>[@<revision>]; repositories are called prefix<org>/<name>. */
static void scan_root(const char *root, const char *prefix)
{
    DIR *d = opendir(root), *s;
    struct dirent *org, *name;
    while (d && (org = readdir(d))) {
        char sub[PATH_SIZE];
        if (org->d_name[0] == '.' || !strcmp(org->d_name, "datasets"))
            continue;
        snprintf(sub, sizeof sub, "%s/%s", root, org->d_name);
        if (!(s = opendir(sub)))
            continue;
        while ((name = readdir(s))) {
            char disk[2 * PATH_SIZE], repo[PATH_SIZE];
            if (name->d_name[0] == '.')
                continue;
            const char *at = strchr(name->d_name, '@');
            int n = at ? (int)(at - name->d_name) : (int)strlen(name->d_name);
            snprintf(disk, sizeof disk, "%s/%s", sub, name->d_name);
            snprintf(repo, sizeof repo, "%s%s/%.*s", prefix, org->d_name, n, name->d_name);
            scan_repo(disk, repo, at ? at + 1 : "main", "");
        }
        closedir(s);
    }
    if (d)
        closedir(d);
}

void hub_scan(const char *root)
{
    char sets[PATH_SIZE];
    free(files); /* of an earlier scan */
    files = calloc(MAX_FILES, sizeof *files);
    n_files = 0;
    if (!files || access(root, R_OK)) {
        perror(root);
        exit(1);
    }
    snprintf(sets, sizeof sets, "%s/datasets", root);
    scan_root(root, "");
    scan_root(sets, "datasets/");
    qsort(files, (size_t)n_files, sizeof *files, by_path);
    make_commits();
}

int hub_is_repo(const char *repo)
{
    for (int i = 0; i < n_files; i++)
        if (!strcmp(files[i].repo, repo))
            return 1;
    return 0;
}

/* First file of a revision, given by name or commit; -1 if there is none. */
int hub_find_rev(const char *repo, const char *rev)
{
    for (int i = 0; i < n_files; i++)
        if (!strcmp(files[i].repo, repo) &&
            (!strcmp(files[i].rev, rev) || !strcmp(files[i].commit, rev)))
            return i;
    return -1;
}
