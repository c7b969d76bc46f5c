/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* upload.c - the files of a directory as one commit of a repository of the hub.
 *
 *   files      which ones, below the directory
 *   branch     repository and branch, made if that was asked for; its last commit
 *   modes      which files are large, ignored, there already
 *   digests    sha256 of large files, git's id of the others
 *   commit     the operations as lines of JSON, and what it means if the answer is lost
 *
 * The endpoints are those that huggingface_hub uses: its _commit_api and lfs modules. */
#include "hub_internal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 64
#define SAMPLE 512 /* bytes of each file that the hub wants to see */
#define MODES 256  /* files of one question about them */
#define CHUNK (1u << 20)
#define INLINE_MAX (UINT64_C(256) << 20) /* bytes of all files that lie in the commit itself */
#define COMMIT_TRIES 4

struct uploader {
    struct br__hub *h;
    struct br__arena *a;
    const struct br__upload_opts *o;
    struct br__upload_result *r;
    struct br__upload_file *files;
    size_t n, cap;
    const char *parent; /* last commit of the branch */
    char *ignore;       /* what .gitignore says, or NULL */
    struct br__progress progress;
};

/* ---- files ----------------------------------------------------------------------------------- */

static int upload_matches(const char *const *globs, size_t n, const char *path)
{
    for (size_t i = 0; i < n; i++)
        if (br__hub_glob(globs[i], path))
            return 1;
    return 0;
}

static int upload_add(struct uploader *u, const char *path, const char *disk, uint64_t size,
                      struct br_err *err)
{
    const struct br__upload_opts *o = u->o;
    if ((o->n_include && !upload_matches(o->include, o->n_include, path)) ||
        upload_matches(o->exclude, o->n_exclude, path))
        return BR_OK;
    if (!br__hub_path_ok(path) || !br__utf8_valid(path, strlen(path)))
        return br_fail(err, BR_E_USAGE, "'%s' has a name that the hub does not take; --exclude it",
                       disk);
    if (br__grow(&u->files, &u->cap, u->n, sizeof *u->files))
        return br__nomem(err, "with the files of a directory");
    u->files[u->n++] = (struct br__upload_file){.path = path, .disk = disk, .size = size};
    return BR_OK;
}

static int upload_walk(struct uploader *u, const char *dir, const char *prefix, int depth,
                       struct br_err *err);

/* One name: links to files are followed (a snapshot in the cache is made of them), links to
 * directories are not. */
static int upload_name(struct uploader *u, const char *disk, const char *path, int depth,
                       struct br_err *err)
{
    struct stat st, link;
    const char *name = br__path_base(path);
    if (br__io.fstatat(AT_FDCWD, disk, &link, AT_SYMLINK_NOFOLLOW) || br__io.stat(disk, &st))
        return br_fail(err, BR_E_IO, "'%s' cannot be read", disk);
    if (S_ISDIR(st.st_mode)) {
        if (!strcmp(name, ".git") || !strcmp(path, ".cache/huggingface"))
            return BR_OK;
        if (S_ISLNK(link.st_mode)) {
            br__note(u->h->o.listener, "'%s' is a link to a directory: not uploaded", disk);
            return BR_OK;
        }
        const char *below = br__arena_printf(u->a, "%s/", path);
        return below ? upload_walk(u, disk, below, depth + 1, err) : br__hub_nomem(u->h, err);
    }
    if (!S_ISREG(st.st_mode)) {
        br__note(u->h->o.listener, "'%s' is no file: not uploaded", disk);
        return BR_OK;
    }
    return upload_add(u, path, disk, (uint64_t)st.st_size, err);
}

static int upload_walk(struct uploader *u, const char *dir, const char *prefix, int depth,
                       struct br_err *err)
{
    char **names;
    size_t n;
    if (depth > DEPTH_MAX)
        return br_fail(err, BR_E_USAGE, "'%s' has more than %d folders above it", dir, DEPTH_MAX);
    int rc = br__list_dir(u->a, dir, &names, &n, err);
    for (size_t i = 0; !rc && i < n; i++) {
        const char *disk = br__path_join(u->a, dir, names[i]);
        const char *path = br__arena_printf(u->a, "%s%s", prefix, names[i]);
        rc = disk && path ? upload_name(u, disk, path, depth, err) : br__hub_nomem(u->h, err);
    }
    return rc;
}

static int by_path(const void *a, const void *b)
{
    const struct br__upload_file *x = a, *y = b;
    return strcmp(x->path, y->path);
}

static int find_files(struct uploader *u, const char *dir, struct br_err *err)
{
    int rc = upload_walk(u, dir, "", 0, err);
    if (!rc && !u->n)
        rc = br_fail(err, BR_E_NOTFOUND, "'%s' has no file to upload%s", dir,
                     u->o->n_include || u->o->n_exclude ? " that --include and --exclude leave"
                                                        : "");
    if (rc)
        return rc;
    qsort(u->files, u->n, sizeof *u->files, by_path);
    for (size_t i = 0; i < u->n && !rc; i++)
        if (!strcmp(u->files[i].path, ".gitignore"))
            rc = br__read_text(u->files[i].disk, CHUNK, &u->ignore, NULL, err);
    return rc;
}

/* ---- branch ---------------------------------------------------------------------------------- */

/* POST `body` to the endpoint; a status of 409 says that it is there already. */
static int make_it(struct uploader *u, const char *url, const struct br__buf *body,
                   struct br_err *err)
{
    const struct br__hub_post post = {url, "application/json", body, 0, 0};
    return url ? br__hub_tell(u->h, &post, 409, err) : br__hub_nomem(u->h, err);
}

static int make_repo(struct uploader *u, struct br_err *err)
{
    struct br__hub *h = u->h;
    struct br__buf body = {0};
    const char *slash = strchr(h->id, '/');
    const char *org = br__arena_strndup(u->a, h->id, slash ? (size_t)(slash - h->id) : 0);
    if (!org)
        return br__hub_nomem(h, err);
    br__buf_puts(&body, "{\"name\": ");
    br__buf_json_str(&body, slash ? slash + 1 : h->id);
    br__buf_puts(&body, ", \"organization\": ");
    br__buf_json_str(&body, org);
    br__buf_printf(&body, ", \"type\": \"model\", \"private\": %s}",
                   u->o->closed ? "true" : "false");
    int rc = make_it(u, br__arena_printf(u->a, "%s/api/repos/create", h->endpoint), &body, err);
    br__buf_free(&body);
    if (rc || !strcmp(h->rev, "main"))
        return rc;
    const char *rev = br__http_escape(u->a, h->rev, "");
    br__buf_puts(&body, "{}");
    rc = make_it(
        u,
        rev ? br__arena_printf(u->a, "%s/api/%s/%s/branch/%s", h->endpoint, h->api, h->id, rev)
            : NULL,
        &body, err);
    br__buf_free(&body);
    return rc;
}

/* The address of something of the branch. */
static const char *branch_url(const struct uploader *u, const char *what)
{
    const struct br__hub *h = u->h;
    const char *rev = br__http_escape(u->a, h->rev, "");
    return rev ? br__arena_printf(u->a, "%s/api/%s/%s/%s/%s", h->endpoint, h->api, h->id, what, rev)
               : NULL;
}

/* The branch's last commit.  *status: of the answer, if there was one. */
static int ask_head(struct uploader *u, const char **commit, int *status, struct br_err *err)
{
    struct br__http_reply r = {0};
    struct br__buf body = {.max = BR__HUB_JSON_MAX};
    const char *url = branch_url(u, "revision");
    const struct br__http_request q = {.url = url,
                                       .token = url ? br__hub_token_for(u->h, url) : NULL};
    *status = 0;
    int rc = url ? br__hub_client(u->h, err) : br__hub_nomem(u->h, err);
    if (!rc)
        rc = br__http_fetch(u->h->http, &q, &r, &body, err);
    if (!rc) {
        *status = r.status;
        rc = r.status == 200 ? br__hub_parse_commit(u->a, body.p ? body.p : "", body.n, commit, err)
                             : br__hub_post_refused(u->h, url, &r, NULL, err);
    }
    br__http_reply_free(&r);
    br__buf_free(&body);
    return rc;
}

static int find_branch(struct uploader *u, struct br_err *err)
{
    int status;
    int rc = u->o->create && !u->o->dry_run ? make_repo(u, err) : BR_OK;
    if (!rc)
        rc = ask_head(u, &u->parent, &status, err);
    if (rc == BR_E_NOTFOUND && u->o->create && u->o->dry_run) {
        u->r->missing = 1;
        return BR_OK;
    }
    return rc;
}

/* ---- modes ----------------------------------------------------------------------------------- */

static int put_sample(const struct br__upload_file *f, struct br__buf *b, struct br_err *err)
{
    struct br__file file;
    unsigned char sample[SAMPLE];
    size_t n = (size_t)BR__MIN(f->size, (uint64_t)SAMPLE);
    int rc = br__file_open(&file, f->disk, err);
    if (!rc)
        rc = br__file_read(&file, 0, sample, n, err);
    br__file_close(&file);
    if (rc)
        return rc;
    br__buf_puts(b, "{\"path\": ");
    br__buf_json_str(b, f->path);
    br__buf_printf(b, ", \"size\": %" PRIu64 ", \"sample\": \"", f->size);
    br__buf_base64(b, sample, n);
    br__buf_puts(b, "\"}");
    return BR_OK;
}

static int by_name(const void *key, const void *file)
{
    return strcmp(key, ((const struct br__upload_file *)file)->path);
}

/* What the hub says of one file.  Empty files are no objects of the store. */
static int take_mode(struct uploader *u, const br__json *answer, struct br_err *err)
{
    const char *path = br__json_str(br__json_get(answer, "path"), "");
    const char *mode = br__json_str(br__json_get(answer, "uploadMode"), "");
    struct br__upload_file *f = bsearch(path, u->files, u->n, sizeof *u->files, by_name);
    if (!f || (strcmp(mode, "lfs") != 0 && strcmp(mode, "regular") != 0))
        return br_fail(err, BR_E_FORMAT,
                       "the hub answers about '%s' with the mode '%s', expected 'lfs' or 'regular' "
                       "for a file that is uploaded",
                       path, mode);
    f->lfs = !strcmp(mode, "lfs") && f->size;
    f->ignored = br__json_bool(br__json_get(answer, "shouldIgnore"), 0);
    /* Kept until the file's own is known: see upload_digest. */
    snprintf(f->oid, sizeof f->oid, "%s", br__json_str(br__json_get(answer, "oid"), ""));
    return BR_OK;
}

static int ask_modes(struct uploader *u, size_t from, size_t n, struct br_err *err)
{
    struct br__http_reply r = {0};
    struct br__buf body = {0};
    br__json *answer = NULL;
    const char *url = branch_url(u, "preupload");
    const struct br__hub_post post = {url, "application/json", &body, 0, 0};
    size_t answered = 0;
    int rc = BR_OK;
    br__buf_puts(&body, "{\"files\": [");
    for (size_t i = 0; !rc && i < n; i++) {
        br__buf_puts(&body, i ? ", " : "");
        rc = put_sample(&u->files[from + i], &body, err);
    }
    br__buf_puts(&body, "]");
    if (u->ignore) {
        br__buf_puts(&body, ", \"gitIgnore\": ");
        br__buf_json_str(&body, u->ignore);
    }
    br__buf_puts(&body, "}");
    if (!rc)
        rc = url ? br__hub_post(u->h, &post, &r, &answer, err) : br__hub_nomem(u->h, err);
    if (!rc && r.status != 200)
        rc = br__hub_post_refused(u->h, url, &r, answer, err);
    const br__json *one = rc ? NULL : br__json_first(br__json_get(answer, "files"));
    for (; !rc && one; one = br__json_next(one), answered++)
        rc = take_mode(u, one, err);
    if (!rc && answered != n)
        rc = br_fail(err, BR_E_FORMAT, "the hub answers about %zu of %zu files", answered, n);
    br__json_free(answer);
    br__http_reply_free(&r);
    br__buf_free(&body);
    return rc;
}

/* ---- digests --------------------------------------------------------------------------------- */

struct digest {
    struct br__sha256 *lfs;
    struct br__sha1 *blob;
};

static int digest_read(struct uploader *u, const struct br__file *f, struct digest *d,
                       struct br_err *err)
{
    unsigned char *buf = br__alloc(CHUNK);
    int rc = buf ? BR_OK : br__nomem(err, "reading '%s'", f->path);
    for (uint64_t at = 0, n; !rc && at < f->size; at += n) {
        n = BR__MIN(f->size - at, (uint64_t)CHUNK);
        rc = br__file_read(f, at, buf, (size_t)n, err);
        if (rc)
            break;
        if (d->lfs)
            br__sha256_update(d->lfs, buf, (size_t)n);
        else
            br__sha1_update(d->blob, buf, (size_t)n);
        br__progress_add(&u->progress, n);
    }
    br__free(buf);
    return rc;
}

/* Digest of file i; the hub's, which f->oid held, says whether it is there already. */
static int upload_digest(void *arg, size_t i, int worker, struct br_err *err)
{
    struct uploader *u = arg;
    struct br__upload_file *f = &u->files[i];
    struct br__file file;
    struct digest d = {0};
    char head[40], theirs[65];
    (void)worker;
    if (f->ignored)
        return BR_OK;
    memcpy(theirs, f->oid, sizeof theirs);
    int rc = br__file_open(&file, f->disk, err);
    f->size = rc ? f->size : file.size;
    f->mtime_ns = file.mtime_ns;
    f->ctime_ns = file.ctime_ns;
    if (!rc && f->lfs)
        d.lfs = br__sha256_new();
    else if (!rc && (d.blob = br__sha1_new())) {
        int k = snprintf(head, sizeof head, "blob %" PRIu64, file.size);
        br__sha1_update(d.blob, head, (size_t)k + 1);
    }
    if (!rc && !d.lfs && !d.blob)
        rc = br__nomem(err, "reading '%s'", f->disk);
    if (!rc)
        rc = digest_read(u, &file, &d, err);
    if (!rc)
        rc = br__file_unchanged(&file, err);
    if (!rc && d.lfs)
        br__sha256_hex(d.lfs, f->oid);
    else if (!rc)
        br__sha1_hex(d.blob, f->oid);
    f->same = !rc && !strcmp(theirs, f->oid);
    br__sha256_free(d.lfs);
    br__sha1_free(d.blob);
    br__file_close(&file);
    return rc;
}

/* Every file gets its mode and its digest. */
static int study_files(struct uploader *u, struct br_err *err)
{
    uint64_t total = 0, in_commit = 0;
    int rc = BR_OK;
    for (size_t i = 0; !rc && !u->r->missing && i < u->n; i += MODES)
        rc = ask_modes(u, i, BR__MIN(u->n - i, (size_t)MODES), err);
    if (rc || u->r->missing)
        return rc;
    for (size_t i = 0; i < u->n; i++)
        total += u->files[i].ignored ? 0 : u->files[i].size;
    br__progress_init(&u->progress, u->h->o.listener, "hashing", total);
    rc = br__pool_run(0, u->n, upload_digest, u, err);
    br__progress_end(&u->progress);
    for (size_t i = 0; !rc && i < u->n; i++) {
        const struct br__upload_file *f = &u->files[i];
        in_commit += f->ignored || f->same || f->lfs ? 0 : f->size;
    }
    if (!rc && in_commit > INLINE_MAX)
        rc = br_fail(err, BR_E_UNSUPPORTED,
                     "the hub wants %" PRIu64
                     " bytes of files in the commit itself, at most %" PRIu64
                     " are sent; --exclude some of them, or have .gitattributes name them as LFS",
                     in_commit, INLINE_MAX);
    return rc;
}

/* ---- large files ----------------------------------------------------------------------------- */

/* Send what the store lacks; of files with the same bytes one. */
static int send_large(struct uploader *u, struct br_err *err)
{
    struct br__map seen = {0};
    struct br__upload_file **list = br__calloc(u->n, sizeof *list);
    size_t n = 0;
    int rc = !list || br__map_init(&seen, u->n) ? br__hub_nomem(u->h, err) : BR_OK;
    for (size_t i = 0; !rc && i < u->n; i++) {
        struct br__upload_file *f = &u->files[i];
        if (!f->lfs || f->ignored || f->same)
            continue;
        int known = br__map_put(&seen, f->oid, (uint32_t)i);
        if (known && known != BR_E_EXISTS)
            rc = br__hub_nomem(u->h, err);
        else if (!known)
            list[n++] = f;
    }
    if (!rc && n)
        rc = br__hub_put(u->h, list, n, u->o->state, &u->r->sent, err);
    br__map_free(&seen);
    br__free(list);
    return rc;
}

/* ---- commit ---------------------------------------------------------------------------------- */

static int put_inline(const struct br__upload_file *f, struct br__buf *b, struct br_err *err)
{
    struct br__file file;
    unsigned char *buf = br__alloc((size_t)f->size);
    if (!buf)
        return br__nomem(err, "reading '%s'", f->disk);
    int rc = br__hub_reopen(&file, f, err);
    if (!rc)
        rc = br__file_read(&file, 0, buf, (size_t)f->size, err);
    br__file_close(&file);
    br__buf_puts(b, "{\"key\": \"file\", \"value\": {\"encoding\": \"base64\", \"path\": ");
    br__buf_json_str(b, f->path);
    br__buf_puts(b, ", \"content\": \"");
    if (!rc)
        br__buf_base64(b, buf, (size_t)f->size);
    br__buf_puts(b, "\"}}\n");
    br__free(buf);
    return rc;
}

static int commit_text(struct uploader *u, struct br__buf *b, struct br_err *err)
{
    int rc = BR_OK;
    br__buf_puts(b, "{\"key\": \"header\", \"value\": {\"summary\": ");
    br__buf_json_str(b, u->o->message ? u->o->message : "Upload with bridge");
    br__buf_printf(b, ", \"description\": \"\", \"parentCommit\": \"%s\"}}\n", u->parent);
    for (size_t i = 0; !rc && i < u->n; i++) {
        const struct br__upload_file *f = &u->files[i];
        if (f->ignored || f->same)
            continue;
        if (!f->lfs) {
            rc = put_inline(f, b, err);
            continue;
        }
        br__buf_puts(b, "{\"key\": \"lfsFile\", \"value\": {\"path\": ");
        br__buf_json_str(b, f->path);
        br__buf_printf(b, ", \"algo\": \"sha256\", \"oid\": \"%s\", \"size\": %" PRIu64 "}}\n",
                       f->oid, f->size);
    }
    return rc;
}

/* Is what was to be committed what `commit` holds? */
static int is_committed(struct uploader *u, const char *commit)
{
    struct br__hub *h;
    const char *id = br__arena_printf(u->a, "%s@%s", u->h->id, commit);
    if (!id || br__hub_open(&h, id, &u->o->hub, NULL))
        return 0;
    int all = 1;
    for (size_t i = 0; i < u->n && all; i++) {
        const struct br__hub_file *f = br__hub_find(h, u->files[i].path);
        all = u->files[i].ignored || (f && !strcmp(f->etag, u->files[i].oid));
    }
    br__hub_close(h);
    return all;
}

/* No commit was reported: has the branch moved on, and to what?  BR_OK with r->commit: to ours;
 * BR_OK without: not at all. */
static int look_again(struct uploader *u, struct br_err *err)
{
    const char *head;
    int status;
    int rc = ask_head(u, &head, &status, err);
    if (rc || !strcmp(head, u->parent))
        return rc;
    if (is_committed(u, head)) {
        u->r->commit = head;
        return BR_OK;
    }
    return br_fail(err, BR_E_BUSY,
                   "'%s' of '%s' moved on from %.12s to %.12s while this was uploaded: nothing was "
                   "committed; the same command begins from there, and sends no large file again",
                   u->h->rev, u->h->id, u->parent, head);
}

/* Ask for the commit once.  *again: it may not have been made. */
static int commit_once(struct uploader *u, const char *url, const struct br__buf *body, int *again,
                       struct br_err *err)
{
    struct br__http_reply r = {0};
    br__json *answer = NULL;
    const struct br__hub_post post = {url, "application/x-ndjson", body, 1, 0};
    int rc = br__hub_post(u->h, &post, &r, &answer, err);
    *again = r.again || r.status == 409 || r.status == 412;
    if (!rc && r.status / 100 == 2) {
        const char *oid = br__json_str(br__json_get(answer, "commitOid"), "");
        const char *at = br__json_str(br__json_get(answer, "commitUrl"), NULL);
        u->r->commit = br__hub_is_commit(oid) ? br__arena_strdup(u->a, oid) : NULL;
        u->r->url = at ? br__arena_strdup(u->a, at) : NULL;
        if (!u->r->commit)
            rc = br_fail(err, BR_E_FORMAT, "the hub answers without the commit that it made");
    } else if (!rc) {
        rc = br__hub_post_refused(u->h, url, &r, answer, err);
    }
    br__json_free(answer);
    br__http_reply_free(&r);
    return rc;
}

static int make_commit(struct uploader *u, struct br_err *err)
{
    struct br__buf body = {0};
    struct br_err why = BR_ERR_INIT;
    const char *url = branch_url(u, "commit");
    int again = 1, rc = url ? commit_text(u, &body, err) : br__hub_nomem(u->h, err), failed = rc;
    if (u->o->state)
        atomic_store(&u->o->state->committing, 1);
    for (int i = 1; !rc && !u->r->commit && again && i <= COMMIT_TRIES; i++) {
        why = (struct br_err)BR_ERR_INIT;
        failed = commit_once(u, url, &body, &again, &why);
        if (failed && again)
            rc = look_again(u, err);
    }
    br__buf_free(&body);
    if (!rc && !u->r->commit) {
        rc = failed;
        if (err)
            *err = why;
    }
    if (!rc && u->o->state)
        atomic_store(&u->o->state->committing, 2);
    return rc;
}

/* ---- all ------------------------------------------------------------------------------------- */

static int count_files(struct uploader *u, struct br_err *err)
{
    struct br__upload_result *r = u->r;
    struct br__upload_file *files = br__arena_alloc(u->a, u->n * sizeof *files);
    if (!files)
        return br__hub_nomem(u->h, err);
    memcpy(files, u->files, u->n * sizeof *files);
    r->files = files;
    r->n_files = u->n;
    for (size_t i = 0; i < u->n; i++) {
        const struct br__upload_file *f = &u->files[i];
        r->n_ignored += (size_t)f->ignored;
        r->n_same += (size_t)(f->same && !f->ignored);
        r->bytes += f->ignored ? 0 : f->size;
    }
    r->n_sent = r->n_files - r->n_ignored - r->n_same;
    return BR_OK;
}

static int upload_check(const struct uploader *u, struct br_err *err)
{
    if (br__hub_env_offline() || u->h->o.local_only)
        return br_fail(err, BR_E_NETWORK, "HF_HUB_OFFLINE is set, so nothing is uploaded");
    if (br__hub_is_commit(u->h->rev))
        return br_fail(err, BR_E_USAGE, "'%s' is a commit; expected the name of a branch",
                       u->h->rev);
    if (!u->h->token)
        return br_fail(err, BR_E_ACCESS,
                       "an upload needs a token with the right to write: set HF_TOKEN (or run 'hf "
                       "auth login'); tokens are made at %s/settings/tokens",
                       u->h->endpoint);
    return BR_OK;
}

int br__hub_upload(struct br__arena *a, const char *dir, const char *id_at_rev,
                   const struct br__upload_opts *o, struct br__upload_result *r, struct br_err *err)
{
    struct uploader u = {.a = a, .o = o, .r = r};
    *r = (struct br__upload_result){0};
    int rc = br__hub_new(&u.h, id_at_rev, &o->hub, err);
    if (rc)
        return rc;
    rc = upload_check(&u, err);
    if (!rc)
        rc = find_files(&u, dir, err);
    if (!rc)
        rc = find_branch(&u, err);
    if (!rc)
        rc = study_files(&u, err);
    if (!rc)
        rc = count_files(&u, err);
    if (!rc && !o->dry_run)
        rc = send_large(&u, err);
    if (!rc && !o->dry_run && r->n_sent)
        rc = make_commit(&u, err);
    else if (!rc && !o->dry_run)
        r->commit = u.parent;
    br__free(u.files);
    br__free(u.ignore);
    br__hub_close(u.h);
    return rc;
}
