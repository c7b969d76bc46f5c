/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* hub_server.c - a Hugging Face hub of our own on 127.0.0.1, for tests and for the bench.
 *
 *   hub_server ROOT LOG PORTS [OPTION]...
 *
 * ROOT/<org>/<name>/ is the "main" of a model, ROOT/<org>/<name>@<revision>/ another branch;
 * ROOT/datasets/<org>/<name>/ is a data set.  Files are served as the real hub does: a commit per
 * revision; *.safetensors, *.bin and *.parquet as LFS, that is a redirect to a second origin with
 * the sha256 as linked etag; other files from a relative redirect, with git's blob id as etag; the
 * listing in pages.  What is named "gated-*" wants the token "hf_good".  PORTS receives "<hub port>
 * <second port>".  LOG receives a line for each request:
 *
 *   <hub|cdn> <method> <path> <status> <first>-<last|-> <bytes> <auth|anon>
 *
 * bytes: of the body that was sent, or of the one that came.  What is uploaded (hub_upload.c) is
 * below ROOT, and there for the next hub.
 *
 * Options:
 *   --fault KIND:SUBSTRING:COUNT:ARG   for the next COUNT requests of a path with SUBSTRING:
 *       cut     close the connection after ARG body bytes      status  answer ARG
 *       slow    ARG bytes a second                             wrong   change byte ARG of the file
 *       short   claim ARG bytes less than there are            stall   say nothing for ARG seconds
 *       etag    another etag                                   norange send all, whatever is asked
 *       path    list a file of the name ARG as well            expire  the address dies after use
 *       endless a page of ARG bytes that names a next one      drip    ARG blanks a second
 *       provisional  ARG times "100 Continue" first            longhead  a header line of ARG bytes
 *       say     answer 200 with the text ARG
 *       location  redirect to ARG            lose   do what is asked, close without an answer
 *   --retry-after S    with status faults      --page N     entries of a listing's page
 *   --rate B           bytes a second of every transfer
 *   --store-host IP    of the second origin (default 127.0.0.1): some clients tell them apart by
 * host
 *   --chunk N          larger objects are uploaded in parts of N bytes
 *   --seconds S        end after that time (default 120)    --requests N  ... after that many */
#include "hub_server.h"
#include "hub_models.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_FAULTS 64

static struct fault faults[MAX_FAULTS];
static int n_faults, page = 1000, retry_after = -1;
static long long rate, requests_left = 100000;
static int log_fd;
int port[2];
const char *store_host = "127.0.0.1";
long long hub_chunk;
static const char *log_path;
static unsigned long long address_number; /* of a signature */
static unsigned long long dead_below;     /* signatures that expired */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t models = PTHREAD_RWLOCK_INITIALIZER; /* files, n_files */

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* ---- faults ---------------------------------------------------------------------------------- */

/* Use up one of a fault's requests: its copy in *out. */
int take_fault(const char *kind, const char *path, struct fault *out)
{
    int hit = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < n_faults && !hit; i++)
        if (faults[i].count > 0 && !strcmp(faults[i].kind, kind) && strstr(path, faults[i].where)) {
            faults[i].count--;
            *out = faults[i];
            hit = 1;
        }
    pthread_mutex_unlock(&lock);
    return hit;
}

static void add_fault(const char *spec)
{
    struct fault *f = &faults[n_faults++];
    if (n_faults >= MAX_FAULTS || sscanf(spec, "%15[^:]:%255[^:]:%lld:%255[^\n]", f->kind, f->where,
                                         &f->count, f->text) < 3) {
        fprintf(stderr, "bad fault '%s'\n", spec);
        exit(2);
    }
    f->arg = strtoll(f->text, NULL, 10);
}

/* ---- one connection -------------------------------------------------------------------------- */

/* Held while a request is answered and not yet logged: a process that gets it exclusively finds a
 * line for every reply. */
static void begin_request(struct conn *c)
{
    c->lock_fd = open(log_path, O_RDONLY | O_CLOEXEC);
    if (c->lock_fd < 0 || flock(c->lock_fd, LOCK_SH))
        die("lock");
}

static void unlock_request(struct conn *c)
{
    if (c->lock_fd >= 0)
        close(c->lock_fd);
    c->lock_fd = -1;
}

static void log_request(struct conn *c)
{
    char line[6 * PATH_SIZE], last[32] = "-";
    if (c->from >= 0 && c->to >= 0)
        snprintf(last, sizeof last, "%lld", c->to - 1);
    int n = snprintf(line, sizeof line, "%s %s %s %d %lld-%s %lld %s\n", c->cdn ? "cdn" : "hub",
                     c->method, c->path, c->status, c->from < 0 ? 0 : c->from, last, c->sent,
                     c->auth ? "auth" : "anon");
    if (write(log_fd, line, (size_t)n) != n)
        die("log");
    unlock_request(c);
}

static int put(struct conn *c, const char *p, size_t n)
{
    if (c->lose)
        return -1;
    while (n) {
        ssize_t k = send(c->fd, p, n, MSG_NOSIGNAL);
        if (k <= 0)
            return -1;
        p += k;
        n -= (size_t)k;
    }
    return 0;
}

/* Head of a reply; `more` are further header lines, each with its line break. */
static int head(struct conn *c, int status, long long length, const char *more)
{
    char text[4096];
    c->status = status;
    int n = snprintf(text, sizeof text, "HTTP/1.1 %d X\r\nContent-Length: %lld\r\n%s%s\r\n", status,
                     length, c->keep ? "" : "Connection: close\r\n", more);
    return put(c, text, (size_t)n);
}

int reply(struct conn *c, int status, const char *more, const char *body)
{
    size_t n = strlen(body);
    if (head(c, status, (long long)n, more))
        return -1;
    if (!strcmp(c->method, "HEAD"))
        return 0;
    c->sent += (long long)n;
    return put(c, body, n);
}

int refuse(struct conn *c, int status, const char *code, const char *commit)
{
    char more[512], tail[128] = "";
    if (commit)
        snprintf(tail, sizeof tail, "X-Repo-Commit: %s\r\n", commit);
    snprintf(more, sizeof more, "X-Error-Code: %s\r\nX-Error-Message: %s\r\n%s", code, code, tail);
    return reply(c, status, more, "{}");
}

static void nap(double s)
{
    struct timespec t = {.tv_sec = (time_t)s, .tv_nsec = (long)((s - (double)(time_t)s) * 1e9)};
    nanosleep(&t, NULL);
}

/* Body bytes [from, to) of a file, at most `cut` of them, at `bps` bytes a second; byte `wrong` of
 * the file is another one. */
static int send_body(struct conn *c, const struct file *f, long long from, long long to,
                     long long cut, long long bps, long long wrong)
{
    int fd = open(f->disk, O_RDONLY), rc = fd < 0 ? -1 : 0, plain = !bps && wrong < 0;
    off_t off = (off_t)from;
    if (cut >= 0 && to - from > cut) {
        to = from + cut;
        c->keep = 0;
    }
    while (!rc && off < to) {
        char buf[16384];
        long long want = to - off;
        if (plain) {
            ssize_t k = sendfile(c->fd, fd, &off, (size_t)(want > 1 << 20 ? 1 << 20 : want));
            rc = k <= 0 ? -1 : 0;
            c->sent += k > 0 ? k : 0;
            continue;
        }
        long long step = bps ? bps / 20 + 1 : (long long)sizeof buf;
        step = step > (long long)sizeof buf ? (long long)sizeof buf : step;
        ssize_t k = pread(fd, buf, (size_t)(want < step ? want : step), off);
        if (k <= 0)
            rc = -1;
        if (!rc && wrong >= off && wrong < off + k)
            buf[wrong - off] ^= 1;
        rc = rc || put(c, buf, (size_t)k) ? -1 : 0;
        if (!rc) {
            off += k;
            c->sent += k;
        }
        if (bps)
            nap((double)k / (double)bps);
    }
    close(fd);
    return rc;
}

static int serve_file(struct conn *c, const struct file *f, const char *etag, const char *extra)
{
    struct fault x;
    char more[2048], tag[128];
    long long from = c->from, to = c->to < 0 || c->to > f->size ? f->size : c->to;
    long long size = f->size, cut = -1, bps = rate, wrong = -1;
    int body = strcmp(c->method, "HEAD") != 0;
    if (body && take_fault("cut", c->path, &x))
        cut = x.arg;
    if (body && take_fault("slow", c->path, &x))
        bps = x.arg;
    if (body && take_fault("wrong", c->path, &x))
        wrong = x.arg;
    if (body && take_fault("short", c->path, &x)) {
        size -= x.arg;
        to = to > size ? size : to;
    }
    snprintf(tag, sizeof tag, "\"%s\"", etag);
    if (body && take_fault("etag", c->path, &x))
        snprintf(tag, sizeof tag, "\"another-%lld\"", x.arg);
    if (from >= 0 && take_fault("norange", c->path, &x))
        from = -1;
    if (from >= size && from >= 0) {
        snprintf(more, sizeof more, "Content-Range: bytes */%lld\r\n", size);
        return reply(c, 416, more, "");
    }
    if (from < 0)
        snprintf(more, sizeof more, "ETag: %s\r\nAccept-Ranges: bytes\r\n%s", tag, extra);
    else
        snprintf(more, sizeof more, "ETag: %s\r\nContent-Range: bytes %lld-%lld/%lld\r\n%s", tag,
                 from, to - 1, size, extra);
    int partial = from >= 0;
    from = partial ? from : 0;
    to = partial ? to : size;
    if (head(c, partial ? 206 : 200, to - from, more))
        return -1;
    return body ? send_body(c, f, from, to, cut, bps, wrong) : 0;
}

unsigned long long new_address(void)
{
    pthread_mutex_lock(&lock);
    unsigned long long sig = ++address_number;
    pthread_mutex_unlock(&lock);
    return sig;
}

/* ---- the hub --------------------------------------------------------------------------------- */

static const struct file *find_file(int first, const char *path)
{
    for (int i = first; i < n_files && !strcmp(files[i].commit, files[first].commit) &&
                        !strcmp(files[i].repo, files[first].repo);
         i++)
        if (!strcmp(files[i].path, path))
            return &files[i];
    return NULL;
}

/* What stands before a repository's name in addresses below /api: its kind, which is part of the
 * name of a data set. */
static const char *api_prefix(const char *repo)
{
    return strncmp(repo, "datasets/", 9) ? "models/" : "";
}

/* HEAD or GET of a file: a redirect to its bytes. */
static int resolve(struct conn *c, int first, const char *path)
{
    char more[4 * PATH_SIZE];
    const struct file *f = find_file(first, path);
    if (!f)
        return refuse(c, 404, "EntryNotFound", files[first].commit);
    struct fault x;
    if (take_fault("location", c->path, &x)) {
        snprintf(more, sizeof more, "Location: %s\r\n", x.text);
        return reply(c, 302, more, "Found");
    }
    if (f->lfs) {
        unsigned long long sig = new_address();
        snprintf(more, sizeof more,
                 "X-Repo-Commit: %s\r\nX-Linked-Etag: \"%s\"\r\nX-Linked-Size: %lld\r\n"
                 "Location: http://%s:%d/cdn/%s/%s?sig=%llu\r\n",
                 f->commit, f->sha256, f->size, store_host, port[1], f->sha256, f->path, sig);
        return reply(c, 302, more, "Found");
    }
    snprintf(more, sizeof more,
             "X-Repo-Commit: %s\r\nETag: \"%s\"\r\nX-Linked-Size: %lld\r\nX-Linked-Etag: \"%s\"\r\n"
             "Location: /api/resolve-cache/%s%s/%s/%s\r\n",
             f->commit, f->blob, f->size, f->blob, api_prefix(f->repo), f->repo, f->commit,
             f->path);
    return reply(c, 307, more, "Temporary Redirect");
}

/* A page of about n bytes that lists nothing and names a next one. */
static int endless(struct conn *c, int first, long long n)
{
    char more[3 * PATH_SIZE], *body = malloc((size_t)n + 16);
    if (!body)
        return -1;
    memset(body, ' ', (size_t)n);
    memcpy(body + n, "[]", 3);
    snprintf(more, sizeof more,
             "Link: <http://127.0.0.1:%d/api/%s%s/tree/%s?recursive=true&cursor=0>; "
             "rel=\"next\"\r\n",
             port[0], api_prefix(files[first].repo), files[first].repo, files[first].commit);
    int rc = reply(c, 200, more, body);
    free(body);
    return rc;
}

/* One page of a listing. */
static int tree(struct conn *c, int first, const char *query)
{
    static const char entry[] = "%s{\"type\":\"file\",\"oid\":\"%s\",\"size\":%lld,\"path\":\"%s\"";
    struct fault x;
    const char *at = strstr(query, "cursor=");
    int skip = at ? (int)strtol(at + 7, NULL, 10) : 0, n = 0, seen = 0;
    size_t cap = 1 << 20, len = 1;
    char *body = malloc(cap), more[3 * PATH_SIZE] = "";
    if (!body)
        return -1;
    body[0] = '[';
    if (take_fault("endless", c->path, &x)) {
        free(body);
        return endless(c, first, x.arg);
    }
    if (!skip && take_fault("path", c->path, &x))
        len += (size_t)snprintf(body + len, cap - len, entry, n++ ? "," : "", files[first].blob,
                                files[first].size, x.text);
    if (n)
        len += (size_t)snprintf(body + len, cap - len, "}");
    for (int i = first; i < n_files && !strcmp(files[i].commit, files[first].commit) &&
                        !strcmp(files[i].repo, files[first].repo);
         i++) {
        const struct file *f = &files[i];
        if (seen++ < skip)
            continue;
        if (n == page) {
            snprintf(more, sizeof more,
                     "Link: <http://127.0.0.1:%d/api/%s%s/tree/%s?recursive=true&cursor=%d>; "
                     "rel=\"next\"\r\n",
                     port[0], api_prefix(f->repo), f->repo, f->commit, seen - 1);
            break;
        }
        len += (size_t)snprintf(body + len, cap - len, entry, n++ ? "," : "", f->blob, f->size,
                                f->path);
        if (f->lfs)
            len += (size_t)snprintf(body + len, cap - len,
                                    ",\"lfs\":{\"oid\":\"%s\",\"size\":%lld,\"pointerSize\":134}",
                                    f->sha256, f->size);
        len += (size_t)snprintf(body + len, cap - len, "}");
    }
    snprintf(body + len, cap - len, "]");
    int rc = reply(c, 200, more, body);
    free(body);
    return rc;
}

static int model_info(struct conn *c, int first)
{
    size_t cap = 1 << 20, len;
    char *body = malloc(cap);
    if (!body)
        return -1;
    len = (size_t)snprintf(body, cap,
                           "{\"_id\":\"0\",\"id\":\"%s\",\"modelId\":\"%s\",\"sha\":\"%s\","
                           "\"private\":false,\"tags\":[],\"downloads\":0,\"likes\":0,"
                           "\"siblings\":[",
                           files[first].repo, files[first].repo, files[first].commit);
    for (int i = first, n = 0; i < n_files && !strcmp(files[i].commit, files[first].commit) &&
                               !strcmp(files[i].repo, files[first].repo);
         i++)
        len += (size_t)snprintf(body + len, cap - len, "%s{\"rfilename\":\"%s\"}", n++ ? "," : "",
                                files[i].path);
    snprintf(body + len, cap - len, "]}");
    int rc = reply(c, 200, "", body);
    free(body);
    return rc;
}

static int refs(struct conn *c, const char *repo)
{
    char body[8192] = "{\"branches\":[", last[128] = "";
    size_t len = strlen(body);
    for (int i = 0; i < n_files && len < sizeof body - 512; i++)
        if (!strcmp(files[i].repo, repo) && strcmp(last, files[i].rev) != 0) {
            len += (size_t)snprintf(body + len, sizeof body - len,
                                    "%s{\"name\":\"%s\",\"ref\":\"refs/heads/%s\","
                                    "\"targetCommit\":\"%s\"}",
                                    *last ? "," : "", files[i].rev, files[i].rev, files[i].commit);
            snprintf(last, sizeof last, "%s", files[i].rev);
        }
    snprintf(body + len, sizeof body - len, "],\"converts\":[],\"tags\":[]}");
    return reply(c, 200, "", body);
}

/* Models or data sets (prefix "datasets/") of an author, for "did you mean". */
static int list_models(struct conn *c, const char *prefix, const char *query)
{
    size_t skip = strlen(prefix);
    char body[8192] = "[", author[256] = "", last[PATH_SIZE] = "";
    size_t len = 1;
    const char *at = strstr(query, "author=");
    if (at)
        sscanf(at + 7, "%255[^&]", author);
    for (int i = 0; i < n_files && len < sizeof body - 512; i++)
        if (!strncmp(files[i].repo, prefix, skip) &&
            !strncmp(files[i].repo + skip, author, strlen(author)) &&
            strcmp(last, files[i].repo) != 0) {
            len += (size_t)snprintf(body + len, sizeof body - len, "%s{\"id\":\"%s\"}",
                                    *last ? "," : "", files[i].repo + skip);
            snprintf(last, sizeof last, "%s", files[i].repo);
        }
    snprintf(body + len, sizeof body - len, "]");
    return reply(c, 200, "", body);
}

/* Check access to a model before anything of it is sent. */
int check_access(struct conn *c, const char *repo, int *denied)
{
    *denied = 1;
    if (!hub_is_repo(repo))
        return refuse(c, c->auth ? 404 : 401, "RepoNotFound", NULL);
    if (!c->good && hub_is_private(repo))
        return refuse(c, c->auth ? 404 : 401, "RepoNotFound", NULL);
    if (strstr(repo, "/gated-") && !c->auth)
        return refuse(c, 401, "GatedRepo", NULL);
    if (strstr(repo, "/gated-") && !c->good)
        return refuse(c, 403, "GatedRepo", NULL);
    *denied = 0;
    return 0;
}

/* "/a/b" of *path: the next two components into out; *path moves behind them. */
int take(const char **path, int n, char *out, size_t size)
{
    const char *p = *path, *end = p;
    for (int i = 0; i < n; i++) {
        if (i)
            end++;
        end += strcspn(end, "/");
        if (i + 1 < n && *end != '/')
            return 0;
    }
    snprintf(out, size, "%.*s", (int)(end - p), p);
    *path = end + (*end == '/');
    return end > p;
}

void unescape(char *s)
{
    char *to = s;
    for (; *s; s++) {
        unsigned v;
        if (*s == '%' && isxdigit((unsigned char)s[1]) && isxdigit((unsigned char)s[2]) &&
            sscanf(s + 1, "%2x", &v) == 1) {
            *to++ = (char)v;
            s += 2;
        } else {
            *to++ = *s;
        }
    }
    *to = 0;
}

/* "org/name" of a model, or "datasets/org/name". */
int take_repo(const char **path, int dataset, char *repo, size_t size)
{
    size_t n = (size_t)snprintf(repo, size, "%s", dataset ? "datasets/" : "");
    return take(path, 2, repo + n, size - n);
}

static int api(struct conn *c, const char *path, int dataset, const char *query)
{
    char repo[PATH_SIZE], what[64], rev[PATH_SIZE] = "main";
    int denied, rc;
    if (!*path)
        return list_models(c, dataset ? "datasets/" : "", query);
    if (!take_repo(&path, dataset, repo, sizeof repo))
        return refuse(c, 404, "RepoNotFound", NULL);
    rc = check_access(c, repo, &denied);
    if (denied)
        return rc;
    if (!take(&path, 1, what, sizeof what))
        return model_info(c, hub_find_rev(repo, "main"));
    if (!strcmp(what, "refs"))
        return refs(c, repo);
    if (!take(&path, 1, rev, sizeof rev))
        return refuse(c, 404, "RevisionNotFound", NULL);
    unescape(rev);
    int first = hub_find_rev(repo, rev);
    if (first < 0)
        return refuse(c, 404, "RevisionNotFound", NULL);
    return !strcmp(what, "tree") ? tree(c, first, query) : model_info(c, first);
}

static int hub(struct conn *c, const char *path, const char *query)
{
    char repo[PATH_SIZE], rev[PATH_SIZE], what[64];
    int denied, rc, cached = !strncmp(path, "/api/resolve-cache/", 19), set;
    if (!strcmp(c->method, "POST"))
        return hub_post(c, path, query);
    if (!cached && !strncmp(path, "/api/models", 11))
        return api(c, path + 11 + (path[11] == '/'), 0, query);
    if (!cached && !strncmp(path, "/api/datasets", 13))
        return api(c, path + 13 + (path[13] == '/'), 1, query);
    path += cached ? 19 : 1;
    if (cached && !strncmp(path, "models/", 7))
        path += 7;
    set = !strncmp(path, "datasets/", 9);
    path += set ? 9 : 0;
    if (!take_repo(&path, set, repo, sizeof repo))
        return refuse(c, 404, "RepoNotFound", NULL);
    rc = check_access(c, repo, &denied);
    if (denied)
        return rc;
    if ((!cached && !take(&path, 1, what, sizeof what)) || !take(&path, 1, rev, sizeof rev))
        return refuse(c, 404, "EntryNotFound", NULL);
    unescape(rev);
    int first = hub_find_rev(repo, rev);
    if (first < 0)
        return refuse(c, 404, "RevisionNotFound", NULL);
    const struct file *f = cached ? find_file(first, path) : NULL;
    if (f) {
        char extra[128];
        snprintf(extra, sizeof extra, "X-Repo-Commit: %s\r\n", f->commit);
        return serve_file(c, f, f->blob, extra);
    }
    return resolve(c, first, path);
}

/* ---- the second origin ----------------------------------------------------------------------- */

static int cdn(struct conn *c, const char *path, const char *query)
{
    struct fault x;
    char sha[128];
    unsigned long long sig =
        strstr(query, "sig=") ? strtoull(strstr(query, "sig=") + 4, NULL, 10) : 0;
    int expires = strcmp(c->method, "HEAD") && take_fault("expire", c->path, &x);
    pthread_mutex_lock(&lock);
    if (expires)
        dead_below = address_number + 1;
    int is_dead = sig < dead_below || !sig;
    pthread_mutex_unlock(&lock);
    if (is_dead)
        return refuse(c, 403, "AccessDenied", NULL);
    if (!strcmp(c->method, "PUT"))
        return hub_store(c, path, query);
    path += strlen("/cdn/");
    take(&path, 1, sha, sizeof sha);
    for (int i = 0; i < n_files; i++)
        if (!strcmp(files[i].sha256, sha))
            return serve_file(c, &files[i], sha, "");
    return refuse(c, 404, "NoSuchKey", NULL);
}

/* ---- connections ----------------------------------------------------------------------------- */

static void read_header(struct conn *c, char *line)
{
    long long from, to;
    if (!strncasecmp(line, "Range: bytes=", 13)) {
        int n = sscanf(line + 13, "%lld-%lld", &from, &to);
        c->from = n >= 1 ? from : -1;
        c->to = n == 2 ? to + 1 : -1;
    } else if (!strncasecmp(line, "Authorization:", 14)) {
        c->auth = 1;
        c->good = strstr(line, "Bearer hf_good") != NULL;
    } else if (!strncasecmp(line, "Connection: close", 17)) {
        c->keep = 0;
    } else if (!strncasecmp(line, "Content-Length:", 15)) {
        c->length = strtoll(line + 15, NULL, 10);
    } else if (!strncasecmp(line, "Transfer-Encoding: chunked", 26)) {
        c->chunked = 1;
    } else if (!strncasecmp(line, "Expect: 100", 11)) {
        c->expect = 1;
    } else if (!strncasecmp(line, "Content-Type:", 13)) {
        snprintf(c->type, sizeof c->type, "%s", line + 13 + strspn(line + 13, " "));
    }
}

static int handle(struct conn *c, char *text)
{
    struct fault x;
    char *save = NULL, *line = strtok_r(text, "\r\n", &save);
    char path[4 * PATH_SIZE];
    c->keep = 1;
    c->from = c->to = -1;
    c->auth = c->good = c->chunked = c->expect = c->lose = 0;
    c->sent = c->length = 0;
    c->status = 0;
    c->type[0] = c->body[0] = 0;
    c->lock_fd = -1;
    if (!line || sscanf(line, "%7s %4095s", c->method, c->path) != 2)
        return -1;
    while ((line = strtok_r(NULL, "\r\n", &save)))
        read_header(c, line);
    snprintf(path, sizeof path, "%s", c->path);
    char *query = strchr(path, '?');
    if (query)
        *query++ = 0;
    unescape(path);
    int rc = hub_read_body(c, rate);
    begin_request(c);
    if (rc) {
        unlink(c->body);
        log_request(c);
        return -1;
    }
    c->lose = take_fault("lose", c->path, &x);
    if (take_fault("provisional", c->path, &x))
        for (long long i = 0; i < x.arg; i++)
            if (put(c, "HTTP/1.1 100 Continue\r\n\r\n", 25))
                return -1;
    if (take_fault("drip", c->path, &x)) {
        rc = head(c, 200, 1 << 20, "");
        for (; !rc; nap(1.0 / (double)x.arg))
            rc = put(c, " ", 1);
    } else if (take_fault("longhead", c->path, &x)) {
        rc = put(c, "HTTP/1.1 200 X\r\nX-Long: ", 24);
        for (long long i = 0; i < x.arg && !rc; i++)
            rc = put(c, "a", 1);
        rc = -1;
    } else if (take_fault("stall", c->path, &x)) {
        unlock_request(c);
        nap((double)x.arg);
        rc = -1;
    } else if (take_fault("say", c->path, &x)) {
        rc = reply(c, 200, "", x.text);
    } else if (take_fault("status", c->path, &x)) {
        char more[64] = "";
        if (retry_after >= 0)
            snprintf(more, sizeof more, "Retry-After: %d\r\n", retry_after);
        rc = reply(c, (int)x.arg, more, "no");
    } else {
        pthread_rwlock_rdlock(&models);
        rc = (c->cdn ? cdn : hub)(c, path, query ? query : "");
        pthread_rwlock_unlock(&models);
    }
    if (c->apply) {
        pthread_rwlock_wrlock(&models);
        rc = hub_apply(c);
        pthread_rwlock_unlock(&models);
    }
    if (*c->body)
        unlink(c->body);
    log_request(c);
    pthread_mutex_lock(&lock);
    if (--requests_left <= 0)
        exit(3);
    pthread_mutex_unlock(&lock);
    return rc || !c->keep ? -1 : 0;
}

static void *serve(void *arg)
{
    struct conn *c = arg;
    for (;;) {
        char *end = c->n_in ? memmem(c->in, c->n_in, "\r\n\r\n", 4) : NULL;
        if (end) {
            size_t used = (size_t)(end + 4 - c->in);
            char text[sizeof c->in];
            memcpy(text, c->in, used);
            text[used - 4] = 0;
            memmove(c->in, c->in + used, c->n_in -= used);
            int rc = handle(c, text);
            unlock_request(c);
            if (rc)
                break;
            continue;
        }
        ssize_t k = recv(c->fd, c->in + c->n_in, sizeof c->in - c->n_in, 0);
        if (k <= 0)
            break;
        c->n_in += (size_t)k;
    }
    close(c->fd);
    free(c);
    return NULL;
}

static int listen_on(const char *host, int *number)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = inet_addr(host)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 64) ||
        getsockname(fd, (struct sockaddr *)&a, &len))
        die("listen");
    *number = ntohs(a.sin_port);
    return fd;
}

/* Small socket buffers for throttled runs, so that what was sent is what was received. */
static void accept_from(int fd, int is_cdn)
{
    int on = 1, small = 32768;
    struct conn *c = calloc(1, sizeof *c);
    pthread_t thread;
    if (!c || (c->fd = accept(fd, NULL, NULL)) < 0) {
        free(c);
        return;
    }
    c->cdn = is_cdn;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (rate) {
        setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
        setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    }
    if (pthread_create(&thread, NULL, serve, c))
        die("thread");
    pthread_detach(thread);
}

struct origin {
    int fd, is_cdn;
};

static void *accept_all(void *arg)
{
    const struct origin *o = arg;
    for (;;)
        accept_from(o->fd, o->is_cdn);
    return NULL;
}

int main(int argc, char **argv)
{
    struct origin origins[2] = {{.is_cdn = 0}, {.is_cdn = 1}};
    unsigned seconds = 120;
    pthread_t thread;
    if (argc < 4) {
        fprintf(stderr, "usage: hub_server ROOT LOG PORTS [OPTION]...\n");
        return 2;
    }
    for (int i = 4; i + 1 < argc; i += 2) {
        const char *o = argv[i], *v = argv[i + 1];
        if (!strcmp(o, "--fault"))
            add_fault(v);
        else if (!strcmp(o, "--retry-after"))
            retry_after = (int)strtol(v, NULL, 10);
        else if (!strcmp(o, "--page"))
            page = (int)strtol(v, NULL, 10);
        else if (!strcmp(o, "--rate"))
            rate = strtoll(v, NULL, 10);
        else if (!strcmp(o, "--store-host"))
            store_host = v;
        else if (!strcmp(o, "--chunk"))
            hub_chunk = strtoll(v, NULL, 10);
        else if (!strcmp(o, "--seconds"))
            seconds = (unsigned)strtol(v, NULL, 10);
        else if (!strcmp(o, "--requests"))
            requests_left = strtoll(v, NULL, 10);
    }
    signal(SIGPIPE, SIG_IGN);
    alarm(seconds);
    hub_scan(argv[1]);
    hub_upload_begin(argv[1]);
    log_path = argv[2];
    log_fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND, 0666);
    if (log_fd < 0)
        die(argv[2]);
    for (int i = 0; i < 2; i++)
        origins[i].fd = listen_on(i ? store_host : "127.0.0.1", &port[i]);
    char tmp[PATH_SIZE];
    snprintf(tmp, sizeof tmp, "%s.tmp", argv[3]);
    FILE *f = fopen(tmp, "w");
    if (!f || fprintf(f, "%d %d\n", port[0], port[1]) < 0 || fclose(f) || rename(tmp, argv[3]))
        die(argv[3]);
    if (pthread_create(&thread, NULL, accept_all, &origins[1]))
        die("thread");
    accept_all(&origins[0]);
    return 0;
}
