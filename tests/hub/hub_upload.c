/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* hub_upload.c - what the hub of hub_server.c takes: repositories, branches, large objects,
 * commits.
 *
 * It refuses what the real hub refuses: writing without the token "hf_good", an object whose bytes
 * are not its digest, parts that do not make the object, a commit of an object that never came, one
 * whose parent is not the branch's last commit.  Objects are kept in ROOT/.lfs/<sha256>, so they
 * outlive the server, as do commits, which are files of ROOT. */
#include "hub_server.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char root[PATH_SIZE];
static pthread_mutex_t numbers = PTHREAD_MUTEX_INITIALIZER;

/* What a request changes, once no other one reads the models. */
struct commit {
    enum { MAKE_REPO, MAKE_BRANCH, COMMIT } kind;
    char repo[PATH_SIZE], rev[128], parent[64];
    int closed; /* a private repository */
    cJSON **ops;
    int n;
};

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static unsigned long long next_number(void)
{
    static unsigned long long n;
    pthread_mutex_lock(&numbers);
    unsigned long long got = ++n;
    pthread_mutex_unlock(&numbers);
    return got;
}

static void make_dirs(const char *path)
{
    char sub[4 * PATH_SIZE];
    for (const char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
        snprintf(sub, sizeof sub, "%.*s", (int)(p - path), path);
        if (mkdir(sub, 0777) && errno != EEXIST)
            fail(sub);
    }
}

void hub_upload_begin(const char *top)
{
    static const char *const dirs[] = {".lfs/", ".parts/", ".private/", ".incoming/"};
    char path[2 * PATH_SIZE];
    snprintf(root, sizeof root, "%s", top);
    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
        snprintf(path, sizeof path, "%s/%s", root, dirs[i]);
        make_dirs(path);
    }
}

/* ---- bodies ---------------------------------------------------------------------------------- */

/* At least one and at most n bytes of what comes; 0 at the end. */
static size_t some_bytes(struct conn *c, char *p, size_t n)
{
    if (c->n_in) {
        size_t k = n < c->n_in ? n : c->n_in;
        memcpy(p, c->in, k);
        memmove(c->in, c->in + k, c->n_in -= k);
        return k;
    }
    ssize_t k = recv(c->fd, p, n, 0);
    return k > 0 ? (size_t)k : 0;
}

static int copy_bytes(struct conn *c, int fd, long long n, long long cut, long long rate)
{
    char buf[16384];
    while (n > 0) {
        size_t want = n < (long long)sizeof buf ? (size_t)n : sizeof buf;
        if (rate && want > (size_t)(rate / 20 + 1))
            want = (size_t)(rate / 20 + 1);
        if (cut >= 0 && c->sent >= cut)
            return -1;
        size_t k = some_bytes(c, buf, want);
        if (!k || write(fd, buf, k) != (ssize_t)k)
            return -1;
        n -= (long long)k;
        c->sent += (long long)k;
        if (rate) {
            double s = (double)k / (double)rate;
            struct timespec t = {(time_t)s, (long)((s - (double)(time_t)s) * 1e9)};
            nanosleep(&t, NULL);
        }
    }
    return 0;
}

/* A line of the chunked coding, without its end. */
static int chunk_line(struct conn *c, char *line, size_t size)
{
    size_t n = 0;
    while (n + 1 < size) {
        if (some_bytes(c, &line[n], 1) != 1)
            return -1;
        if (line[n] == '\n') {
            line[n && line[n - 1] == '\r' ? n - 1 : n] = 0;
            return 0;
        }
        n++;
    }
    return -1;
}

static int copy_chunks(struct conn *c, int fd, long long cut, long long rate)
{
    char line[64];
    for (;;) {
        if (chunk_line(c, line, sizeof line))
            return -1;
        long long n = strtoll(line, NULL, 16);
        if (n && copy_bytes(c, fd, n, cut, rate))
            return -1;
        if (chunk_line(c, line, sizeof line))
            return -1;
        if (!n)
            return 0;
    }
}

int hub_read_body(struct conn *c, long long rate)
{
    struct fault x;
    long long cut = -1;
    if (strcmp(c->method, "PUT") != 0 && strcmp(c->method, "POST") != 0)
        return 0;
    snprintf(c->body, sizeof c->body, "%.900s/.incoming/%llu", root, next_number());
    int fd = open(c->body, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        fail(c->body);
    if (c->expect && send(c->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_NOSIGNAL) != 25)
        return -1;
    if (!strcmp(c->method, "PUT") && take_fault("cut", c->path, &x))
        cut = x.arg;
    int rc = c->chunked ? copy_chunks(c, fd, cut, rate) : copy_bytes(c, fd, c->length, cut, rate);
    close(fd);
    return rc;
}

/* The body as text; the caller frees it. */
static char *body_text(const struct conn *c)
{
    struct stat st;
    int fd = open(c->body, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st))
        fail(c->body);
    char *text = malloc((size_t)st.st_size + 1);
    ssize_t n = text ? read(fd, text, (size_t)st.st_size) : -1;
    if (n != st.st_size)
        fail(c->body);
    text[n] = 0;
    close(fd);
    return text;
}

static const char *text_of(const cJSON *o, const char *key)
{
    const cJSON *m = cJSON_GetObjectItemCaseSensitive(o, key);
    return cJSON_IsString(m) ? m->valuestring : "";
}

static double number_of(const cJSON *o, const char *key)
{
    const cJSON *m = cJSON_GetObjectItemCaseSensitive(o, key);
    return cJSON_IsNumber(m) ? m->valuedouble : -1;
}

static int answer(struct conn *c, int status, cJSON *o)
{
    char *text = cJSON_PrintUnformatted(o);
    int rc = reply(c, status, "Content-Type: application/json\r\n", text);
    free(text);
    cJSON_Delete(o);
    return rc;
}

/* Refuse with a reason in the body, as the real hub does. */
static int refuse_text(struct conn *c, int status, const char *why)
{
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "error", why);
    return answer(c, status, o);
}

static int may_write(struct conn *c, int *rc)
{
    if (c->good)
        return 1;
    *rc = refuse_text(c, c->auth ? 403 : 401, "You need a token with the right to write");
    return 0;
}

/* ---- objects --------------------------------------------------------------------------------- */

static void digest(const char *path, const EVP_MD *kind, char *out)
{
    static const size_t size = 1 << 16;
    unsigned char *buf = malloc(size), md[EVP_MAX_MD_SIZE];
    unsigned n;
    ssize_t got;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    EVP_MD_CTX *x = EVP_MD_CTX_new();
    EVP_DigestInit_ex(x, kind, NULL);
    while (fd >= 0 && (got = read(fd, buf, size)) > 0)
        EVP_DigestUpdate(x, buf, (size_t)got);
    EVP_DigestFinal_ex(x, md, &n);
    hub_hex(md, n, out);
    EVP_MD_CTX_free(x);
    close(fd);
    free(buf);
}

static long long size_of(const char *path)
{
    struct stat st;
    return stat(path, &st) ? -1 : (long long)st.st_size;
}

static void object_path(const char *oid, char *path)
{
    snprintf(path, 2 * PATH_SIZE, "%s/.lfs/%s", root, oid);
}

static int is_oid(const char *s)
{
    return strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

/* PUT of /store/<oid>, or of a part: /store/<oid>/<number>?upload=<n>. */
int hub_store(struct conn *c, const char *path, const char *query)
{
    char oid[128], part[32], md[2 * EVP_MAX_MD_SIZE + 1], to[2 * PATH_SIZE], more[256];
    const char *upload = strstr(query, "upload=");
    path += strlen("/store/");
    take(&path, 1, oid, sizeof oid);
    if (!is_oid(oid))
        return refuse_text(c, 400, "no such object");
    if (upload && take(&path, 1, part, sizeof part)) {
        snprintf(to, sizeof to, "%s/.parts/%lld-%s", root, strtoll(upload + 7, NULL, 10), part);
    } else {
        digest(c->body, EVP_sha256(), md);
        if (strcmp(md, oid) != 0)
            return refuse_text(c, 400, "BadDigest: the bytes are not those of the object");
        object_path(oid, to);
    }
    digest(c->body, EVP_md5(), md);
    if (rename(c->body, to))
        fail(to);
    snprintf(more, sizeof more, "ETag: \"%s\"\r\n", md);
    return reply(c, 200, more, "");
}

/* POST /complete/<oid>?upload=<n>: the parts make the object. */
static int complete(struct conn *c, const char *path, const char *query)
{
    char oid[128], made[2 * PATH_SIZE], part[2 * PATH_SIZE], md[2 * EVP_MAX_MD_SIZE + 1], tag[140];
    char *text = body_text(c);
    cJSON *o = cJSON_Parse(text), *parts = cJSON_GetObjectItemCaseSensitive(o, "parts"), *one;
    long long upload =
        strstr(query, "upload=") ? strtoll(strstr(query, "upload=") + 7, NULL, 10) : 0;
    const char *why = NULL;
    int n = 0;
    take(&path, 1, oid, sizeof oid);
    snprintf(made, sizeof made, "%s/.parts/%lld-made", root, upload);
    FILE *out = fopen(made, "w");
    if (!is_oid(oid) || strcmp(text_of(o, "oid"), oid) != 0 || !out)
        why = "the object is another one";
    cJSON_ArrayForEach(one, parts)
    {
        snprintf(part, sizeof part, "%s/.parts/%lld-%d", root, upload, ++n);
        FILE *in = fopen(part, "r");
        if (!in || number_of(one, "partNumber") != n) {
            why = why ? why : "InvalidPart: there is no such part";
            break;
        }
        digest(part, EVP_md5(), md);
        snprintf(tag, sizeof tag, "\"%s\"", md);
        if (strcmp(text_of(one, "etag"), tag) != 0)
            why = "InvalidPart: the etag is another one";
        for (int ch; (ch = getc(in)) != EOF;)
            putc(ch, out);
        fclose(in);
    }
    if (out)
        fclose(out);
    digest(made, EVP_sha256(), md);
    if (!why && strcmp(md, oid) != 0)
        why = "BadDigest: the parts do not make the object";
    object_path(oid, part);
    if (!why && rename(made, part))
        fail(part);
    cJSON_Delete(o);
    free(text);
    return why ? refuse_text(c, 400, why) : reply(c, 200, "", "{}");
}

static void add_upload(cJSON *actions, const char *oid, long long size)
{
    char url[256], name[32];
    cJSON *put = cJSON_AddObjectToObject(actions, "upload");
    if (!hub_chunk || size <= hub_chunk) {
        snprintf(url, sizeof url, "http://%s:%d/store/%s?sig=%llu", store_host, port[1], oid,
                 new_address());
        cJSON_AddStringToObject(put, "href", url);
        return;
    }
    unsigned long long upload = next_number();
    cJSON *header = cJSON_AddObjectToObject(put, "header");
    snprintf(url, sizeof url, "http://127.0.0.1:%d/complete/%s?upload=%llu", port[0], oid, upload);
    cJSON_AddStringToObject(put, "href", url);
    snprintf(name, sizeof name, "%lld", hub_chunk);
    cJSON_AddStringToObject(header, "chunk_size", name);
    for (long long i = 0; i * hub_chunk < size; i++) {
        snprintf(name, sizeof name, "%lld", i + 1);
        snprintf(url, sizeof url, "http://%s:%d/store/%s/%lld?upload=%llu&sig=%llu", store_host,
                 port[1], oid, i + 1, upload, new_address());
        cJSON_AddStringToObject(header, name, url);
    }
}

/* POST <repo>.git/info/lfs/objects/batch */
static int batch(struct conn *c, const char *repo)
{
    char *text = body_text(c), path[2 * PATH_SIZE], url[2 * PATH_SIZE];
    cJSON *o = cJSON_Parse(text), *out = cJSON_CreateObject(), *one;
    cJSON *objects = cJSON_AddArrayToObject(out, "objects");
    int fine = !strcmp(text_of(o, "operation"), "upload") &&
               !strcmp(text_of(o, "hash_algo"), "sha256") &&
               !strncmp(c->type, "application/vnd.git-lfs+json", 28);
    cJSON_AddStringToObject(out, "transfer", "multipart");
    cJSON_ArrayForEach(one, cJSON_GetObjectItemCaseSensitive(o, "objects"))
    {
        const char *oid = text_of(one, "oid");
        long long size = (long long)number_of(one, "size");
        cJSON *x = cJSON_CreateObject();
        cJSON_AddItemToArray(objects, x);
        fine = fine && is_oid(oid) && size > 0;
        cJSON_AddStringToObject(x, "oid", oid);
        cJSON_AddNumberToObject(x, "size", (double)size);
        object_path(oid, path);
        if (!fine || size_of(path) == size)
            continue;
        cJSON *actions = cJSON_AddObjectToObject(x, "actions");
        add_upload(actions, oid, size);
        snprintf(url, sizeof url, "http://127.0.0.1:%d/%s.git/info/lfs/objects/verify", port[0],
                 repo);
        cJSON_AddStringToObject(cJSON_AddObjectToObject(actions, "verify"), "href", url);
    }
    cJSON_Delete(o);
    free(text);
    if (fine)
        return answer(c, 200, out);
    cJSON_Delete(out);
    return refuse_text(c, 422, "the question is none that this hub knows");
}

static int verify(struct conn *c)
{
    char *text = body_text(c), path[2 * PATH_SIZE];
    cJSON *o = cJSON_Parse(text);
    object_path(is_oid(text_of(o, "oid")) ? text_of(o, "oid") : "none", path);
    int same = size_of(path) == (long long)number_of(o, "size");
    cJSON_Delete(o);
    free(text);
    return same ? reply(c, 200, "", "{}") : refuse_text(c, 404, "the object is not there");
}

/* ---- questions about files ------------------------------------------------------------------- */

static int is_ignored(const char *rules, const char *path)
{
    char line[256];
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    for (; *rules; rules += strcspn(rules, "\n"), rules += *rules == '\n') {
        snprintf(line, sizeof line, "%.*s", (int)strcspn(rules, "\r\n"), rules);
        if (*line && *line != '#' && (!fnmatch(line, name, 0) || !fnmatch(line, path, 0)))
            return 1;
    }
    return 0;
}

static const struct file *in_branch(const char *repo, const char *rev, const char *path)
{
    for (int i = 0; i < n_files; i++)
        if (!strcmp(files[i].repo, repo) && !strcmp(files[i].rev, rev) &&
            !strcmp(files[i].path, path))
            return &files[i];
    return NULL;
}

/* POST api/models/<repo>/preupload/<rev> */
static int preupload(struct conn *c, const char *repo, const char *rev)
{
    char *text = body_text(c);
    cJSON *o = cJSON_Parse(text), *out = cJSON_CreateObject(), *one;
    cJSON *list = cJSON_AddArrayToObject(out, "files");
    const char *rules = text_of(o, "gitIgnore");
    int fine = cJSON_IsArray(cJSON_GetObjectItemCaseSensitive(o, "files"));
    cJSON_ArrayForEach(one, cJSON_GetObjectItemCaseSensitive(o, "files"))
    {
        const char *path = text_of(one, "path");
        long long size = (long long)number_of(one, "size");
        const struct file *f = in_branch(repo, rev, path);
        cJSON *x = cJSON_CreateObject();
        cJSON_AddItemToArray(list, x);
        long long sample = size < 512 ? size : 512;
        fine =
            fine && size >= 0 && strlen(text_of(one, "sample")) == (size_t)((sample + 2) / 3 * 4);
        cJSON_AddStringToObject(x, "path", path);
        cJSON_AddStringToObject(x, "uploadMode", hub_is_lfs(path, size) ? "lfs" : "regular");
        cJSON_AddBoolToObject(x, "shouldIgnore", is_ignored(rules, path));
        if (f)
            cJSON_AddStringToObject(x, "oid", f->lfs ? f->sha256 : f->blob);
    }
    cJSON_Delete(o);
    free(text);
    if (fine)
        return answer(c, 200, out);
    cJSON_Delete(out);
    return refuse_text(c, 400,
                       "files, each with path, size and a sample of 512 bytes, were expected");
}

/* ---- repositories, branches, commits --------------------------------------------------------- */

/* Where a file of a branch is kept. */
static void branch_path(const char *repo, const char *rev, const char *path, char *out)
{
    int main_branch = !strcmp(rev, "main");
    snprintf(out, 4 * PATH_SIZE, "%s/%s%s%s/%s", root, repo, main_branch ? "" : "@",
             main_branch ? "" : rev, path);
    make_dirs(out);
}

static void private_path(const char *repo, char *out)
{
    int n = snprintf(out, 2 * PATH_SIZE, "%s/.private/", root);
    for (; *repo; repo++)
        out[n++] = *repo == '/' ? '+' : *repo;
    out[n] = 0;
}

int hub_is_private(const char *repo)
{
    char path[2 * PATH_SIZE];
    private_path(repo, path);
    return !access(path, F_OK);
}

static void write_file(const char *path, const void *p, size_t n)
{
    FILE *f = fopen(path, "w");
    if (!f || fwrite(p, 1, n, f) != n || fclose(f))
        fail(path);
}

static int create(struct conn *c)
{
    char *text = body_text(c);
    cJSON *o = cJSON_Parse(text);
    struct commit *k = calloc(1, sizeof *k);
    const char *org = text_of(o, "organization");
    if (!k)
        fail("memory");
    k->kind = MAKE_REPO;
    k->closed = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(o, "private")) ||
                !strcmp(text_of(o, "visibility"), "private");
    snprintf(k->repo, sizeof k->repo, "%s%.400s/%.400s",
             strcmp(text_of(o, "type"), "dataset") ? "" : "datasets/", org, text_of(o, "name"));
    int bad = !*org || !*text_of(o, "name");
    cJSON_Delete(o);
    free(text);
    if (bad || hub_is_repo(k->repo)) {
        int rc =
            refuse_text(c, bad ? 400 : 409, bad ? "a name is missing" : "You already created it");
        free(k);
        return rc;
    }
    c->apply = k;
    return 0;
}

static int from_base64(const char *text, unsigned char **out, size_t *n)
{
    size_t len = strlen(text), pad = len && text[len - 1] == '=';
    pad += pad && text[len - 2] == '=';
    *out = malloc(len / 4 * 3 + 1);
    int got =
        *out && len % 4 == 0 ? EVP_DecodeBlock(*out, (const unsigned char *)text, (int)len) : -1;
    *n = got < 0 ? 0 : (size_t)got - pad;
    return got < 0;
}

/* What is wrong with an operation, or NULL. */
static const char *check_op(const cJSON *op)
{
    const char *key = text_of(op, "key");
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(op, "value");
    const char *path = text_of(v, "path"), *oid = text_of(v, "oid");
    char disk[2 * PATH_SIZE];
    if (!*path || *path == '/' || strstr(path, "..") || strlen(path) > 500)
        return "a path is not allowed";
    if (!strcmp(key, "deletedFile"))
        return NULL;
    if (!strcmp(key, "file")) {
        unsigned char *p;
        size_t n;
        int bad =
            strcmp(text_of(v, "encoding"), "base64") || from_base64(text_of(v, "content"), &p, &n);
        if (bad)
            return "content is not in base64";
        free(p);
        return hub_is_lfs(path, (long long)n) && n ? "this file has to be uploaded by LFS" : NULL;
    }
    if (strcmp(key, "lfsFile") != 0 || strcmp(text_of(v, "algo"), "sha256") != 0 || !is_oid(oid))
        return "an operation is unknown";
    object_path(oid, disk);
    if (size_of(disk) < 0)
        return "an LFS object of the commit was not uploaded";
    return number_of(v, "size") == (double)size_of(disk) ? NULL : "an LFS object has another size";
}

/* POST api/models/<repo>/commit/<rev>: lines of JSON. */
static int commit(struct conn *c, const char *repo, const char *rev, const char *head)
{
    char *text = body_text(c), *save = NULL;
    struct commit *k = calloc(1, sizeof *k);
    const char *why = strncmp(c->type, "application/x-ndjson", 20) ? "NDJSON was expected" : NULL;
    int summary = 0, status = 400;
    size_t lines = 1;
    for (const char *p = text; *p; p++)
        lines += *p == '\n';
    if (!k || !(k->ops = calloc(lines, sizeof *k->ops)))
        fail("memory");
    k->kind = COMMIT;
    snprintf(k->repo, sizeof k->repo, "%s", repo);
    snprintf(k->rev, sizeof k->rev, "%.100s", rev);
    for (char *line = strtok_r(text, "\n", &save); line && !why;
         line = strtok_r(NULL, "\n", &save)) {
        cJSON *op = cJSON_Parse(line);
        if (op && !strcmp(text_of(op, "key"), "header")) {
            const cJSON *v = cJSON_GetObjectItemCaseSensitive(op, "value");
            summary = *text_of(v, "summary") != 0;
            snprintf(k->parent, sizeof k->parent, "%s", text_of(v, "parentCommit"));
            cJSON_Delete(op);
            continue;
        }
        why = op ? check_op(op) : "a line is no JSON";
        k->ops[k->n++] = op;
    }
    if (!why && !summary)
        why = "a summary is missing";
    if (!why && *k->parent && strcmp(k->parent, head) != 0) {
        why = "The branch moved on";
        status = 412;
    }
    free(text);
    if (!why) {
        c->apply = k;
        return 0;
    }
    for (int i = 0; i < k->n; i++)
        cJSON_Delete(k->ops[i]);
    free(k->ops);
    free(k);
    return refuse_text(c, status, why);
}

static void apply_op(const struct commit *k, const cJSON *op)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(op, "value");
    const char *key = text_of(op, "key");
    char to[4 * PATH_SIZE], object[2 * PATH_SIZE];
    branch_path(k->repo, k->rev, text_of(v, "path"), to);
    unlink(to);
    if (!strcmp(key, "lfsFile")) {
        object_path(text_of(v, "oid"), object);
        if (link(object, to))
            fail(to);
    } else if (!strcmp(key, "file")) {
        unsigned char *p;
        size_t n;
        if (!from_base64(text_of(v, "content"), &p, &n))
            write_file(to, p, n);
        free(p);
    }
}

static void apply_branch(const struct commit *k)
{
    char to[4 * PATH_SIZE];
    for (int i = 0; i < n_files; i++)
        if (!strcmp(files[i].repo, k->repo) && !strcmp(files[i].rev, "main")) {
            branch_path(k->repo, k->rev, files[i].path, to);
            if (link(files[i].disk, to))
                fail(to);
        }
}

static int tell_commit(struct conn *c, const struct commit *k)
{
    cJSON *o = cJSON_CreateObject();
    char url[2 * PATH_SIZE];
    const char *oid = files[hub_find_rev(k->repo, *k->rev ? k->rev : "main")].commit;
    snprintf(url, sizeof url, "http://127.0.0.1:%d/%s", port[0], k->repo);
    cJSON_AddStringToObject(o, "url", url);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/%s/commit/%s", port[0], k->repo, oid);
    cJSON_AddBoolToObject(o, "success", 1);
    cJSON_AddStringToObject(o, "commitOid", oid);
    cJSON_AddStringToObject(o, "commitUrl", url);
    return answer(c, 200, o);
}

int hub_apply(struct conn *c)
{
    static const char lfs[] = "*.safetensors filter=lfs diff=lfs merge=lfs -text\n";
    struct commit *k = c->apply;
    char path[4 * PATH_SIZE];
    int first = hub_find_rev(k->repo, k->kind == COMMIT ? k->rev : "main"), rc;
    c->apply = NULL;
    if (k->kind == COMMIT && *k->parent && strcmp(k->parent, files[first].commit) != 0) {
        rc = refuse_text(c, 412, "The branch moved on");
    } else {
        if (k->kind == MAKE_REPO) {
            branch_path(k->repo, "main", ".gitattributes", path);
            write_file(path, lfs, strlen(lfs));
            private_path(k->repo, path);
            if (k->closed)
                write_file(path, "", 0);
        } else if (k->kind == MAKE_BRANCH) {
            apply_branch(k);
        }
        for (int i = 0; i < k->n; i++)
            apply_op(k, k->ops[i]);
        hub_scan(root);
        rc = tell_commit(c, k);
    }
    for (int i = 0; i < k->n; i++)
        cJSON_Delete(k->ops[i]);
    free(k->ops);
    free(k);
    return rc;
}

/* ---- addresses ------------------------------------------------------------------------------- */

static int branch(struct conn *c, const char *repo, const char *rev)
{
    struct commit *k = calloc(1, sizeof *k);
    if (!k)
        fail("memory");
    if (hub_find_rev(repo, rev) >= 0) {
        free(k);
        return refuse_text(c, 409, "Reference already exists");
    }
    k->kind = MAKE_BRANCH;
    snprintf(k->repo, sizeof k->repo, "%s", repo);
    snprintf(k->rev, sizeof k->rev, "%.100s", rev);
    c->apply = k;
    return 0;
}

/* POST api/<kind>/<repo>/<what>/<rev> */
static int api_post(struct conn *c, const char *path, int dataset)
{
    char repo[PATH_SIZE], what[64], rev[PATH_SIZE];
    int denied, rc;
    if (!take_repo(&path, dataset, repo, sizeof repo))
        return refuse(c, 404, "RepoNotFound", NULL);
    rc = check_access(c, repo, &denied);
    if (denied)
        return rc;
    if (!may_write(c, &rc))
        return rc;
    if (!take(&path, 1, what, sizeof what) || !take(&path, 1, rev, sizeof rev))
        return refuse(c, 404, "EntryNotFound", NULL);
    unescape(rev);
    if (!strcmp(what, "branch"))
        return branch(c, repo, rev);
    int first = hub_find_rev(repo, rev);
    if (first < 0 || strcmp(files[first].rev, rev) != 0)
        return refuse(c, 404, "RevisionNotFound", NULL);
    if (!strcmp(what, "preupload"))
        return preupload(c, repo, rev);
    if (!strcmp(what, "commit"))
        return commit(c, repo, rev, files[first].commit);
    return refuse(c, 404, "EntryNotFound", NULL);
}

int hub_post(struct conn *c, const char *path, const char *query)
{
    static const char lfs[] = ".git/info/lfs/objects/";
    char repo[PATH_SIZE];
    int denied, rc = 0;
    if (!strncmp(path, "/complete/", 10)) /* the address is signed */
        return complete(c, path + 10, query);
    if (!strcmp(path, "/api/validate-yaml"))
        return reply(c, 200, "", "{\"errors\":[],\"warnings\":[]}");
    if (!strcmp(path, "/api/repos/create"))
        return may_write(c, &rc) ? create(c) : rc;
    if (!strncmp(path, "/api/models/", 12))
        return api_post(c, path + 12, 0);
    if (!strncmp(path, "/api/datasets/", 14))
        return api_post(c, path + 14, 1);
    const char *at = strstr(path, lfs);
    if (!at)
        return refuse(c, 404, "EntryNotFound", NULL);
    snprintf(repo, sizeof repo, "%.*s", (int)(at - path - 1), path + 1);
    rc = check_access(c, repo, &denied);
    if (denied || !may_write(c, &rc))
        return rc;
    return !strcmp(at + strlen(lfs), "batch") ? batch(c, repo) : verify(c);
}
