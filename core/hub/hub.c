/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* hub.c - one model or data set of the Hugging Face hub: commit, files, and what an answer that is
 * none means, and the parts of the cache that are not blobs.
 *
 *   asking     addresses, who sees the token, refusals
 *   commit     a revision's commit and its listing, from the hub or from what earlier runs left
 *   cache      refs, listings, links, absent files
 *
 * Layout and rules are those of huggingface_hub, so that both share one cache. */
#include "hub_internal.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* Of one listing. */
#define PAGES_MAX 1000
#define FILES_MAX 1000000
#define LISTING_MAX (128u << 20) /* bytes of all pages */

/* ---- asking ---------------------------------------------------------------------------------- */

int br__hub_client(struct br__hub *h, struct br_err *err)
{
    return h->http ? BR_OK : br__http_open(&h->http, &h->http_opts, err);
}

const char *br__hub_url(struct br__hub *h, struct br__arena *a, const char *path)
{
    const char *escaped = br__http_escape(a, path, "/");
    return escaped ? br__arena_printf(a, "%s/%s%s/resolve/%s/%s", h->endpoint, h->prefix, h->id,
                                      h->commit, escaped)
                   : NULL;
}

const char *br__hub_token_for(const struct br__hub *h, const char *url)
{
    return h->token && br__http_same_origin(h->endpoint, url) ? h->token : NULL;
}

/* Fetch a document of the endpoint.  Returns an error only without a reply. */
static int hub_ask(struct br__hub *h, const char *url, int attempts, struct br__http_reply *r,
                   struct br__buf *body, struct br_err *err)
{
    struct br__http_request q = {
        .url = url, .token = br__hub_token_for(h, url), .attempts = attempts};
    body->max = BR__HUB_JSON_MAX;
    int rc = br__hub_client(h, err);
    return rc ? rc : br__http_fetch(h->http, &q, r, body, err);
}

/* " (did you mean 'x'?)" from a document of the endpoint, or "". */
static const char *hub_suggest(struct br__hub *h, const char *url, const char *in, const char *key,
                               const char *word)
{
    struct br__http_reply r = {0};
    struct br__buf body = {0};
    const char *near = NULL, *text = "";
    if (url && !hub_ask(h, url, 1, &r, &body, NULL) && r.status == 200)
        near = br__hub_nearest(&h->arena, body.p ? body.p : "", body.n, in, key, word);
    if (near && strcmp(near, word) != 0)
        text = br__arena_printf(&h->arena, "; did you mean '%s'?", near);
    br__http_reply_free(&r);
    br__buf_free(&body);
    return text ? text : "";
}

static const char *near_id(struct br__hub *h)
{
    const char *slash = strchr(h->id, '/');
    if (!slash)
        return "";
    return hub_suggest(h,
                       br__arena_printf(&h->arena, "%s/api/%s?author=%.*s&limit=200", h->endpoint,
                                        h->api, (int)(slash - h->id), h->id),
                       NULL, "id", h->id);
}

static const char *near_revision(struct br__hub *h)
{
    return hub_suggest(h,
                       br__arena_printf(&h->arena, "%s/api/%s/%s/refs", h->endpoint, h->api, h->id),
                       "branches", "name", h->rev);
}

static int refuse_gated(struct br__hub *h, struct br_err *err)
{
    if (!h->token)
        return br_fail(err, BR_E_ACCESS,
                       "'%s' is open only to accounts that accepted its terms, and no token was "
                       "sent: accept them at %s/%s%s, then set HF_TOKEN to a token of that account "
                       "(or run 'hf auth login')",
                       h->id, h->endpoint, h->prefix, h->id);
    return br_fail(err, BR_E_ACCESS,
                   "'%s' is open only to accounts that accepted its terms, and the account of the "
                   "token is none of them: accept them at %s/%s%s",
                   h->id, h->endpoint, h->prefix, h->id);
}

static int hub_refuse(struct br__hub *h, const char *url, const struct br__http_reply *r,
                      struct br_err *err)
{
    struct br__arena *a = &h->arena;
    const char *code = br__http_header(a, r, "X-Error-Code");
    const char *why = br__http_header(a, r, "X-Error-Message");
    char shown[BR__URL_SHOWN];
    url = br__http_shown(url, shown);
    code = code ? code : "";
    if (!strcmp(code, "GatedRepo"))
        return refuse_gated(h, err);
    if (!strcmp(code, "RepoNotFound") || (r->status == 401 && !h->token))
        return br_fail(err, BR_E_NOTFOUND,
                       "the hub has no %s '%s'%s (if it is private, set HF_TOKEN to a token "
                       "that may see it)",
                       h->kind, h->id, near_id(h));
    if (!strcmp(code, "RevisionNotFound"))
        return br_fail(err, BR_E_NOTFOUND, "'%s' has no revision '%s'%s", h->id, h->rev,
                       near_revision(h));
    if (!strcmp(code, "EntryNotFound"))
        return br_fail(err, BR_E_NOTFOUND, "'%s' is not in '%s' at commit %s", url, h->id,
                       h->commit ? h->commit : "?");
    if (r->status == 401 || r->status == 403)
        return br_fail(err, BR_E_ACCESS, "'%s' answers %d%s%s; is the token in HF_TOKEN valid?",
                       url, r->status, why ? ": " : "", why ? why : "");
    return br_fail(err, r->again ? BR_E_NETWORK : BR_E_NOTFOUND, "'%s' answers %d%s%s", url,
                   r->status, why ? ": " : "", why ? why : "");
}

int br__hub_refused(struct br__hub *h, const char *url, const struct br__http_reply *r,
                    struct br_err *err)
{
    pthread_mutex_lock(&h->lock);
    int rc = hub_refuse(h, url, r, err);
    pthread_mutex_unlock(&h->lock);
    return rc;
}

/* ---- where a file's bytes are ---------------------------------------------------------------- */

/* What a HEAD reports of a file must agree with the listing. */
static int check_head(struct br__arena *a, const struct br__hub *h, const struct br__hub_file *f,
                      const struct br__http_reply *r, struct br_err *err)
{
    const char *commit = br__http_header(a, r, "X-Repo-Commit");
    const char *tag = br__http_header(a, r, "X-Linked-Etag");
    const char *size = br__http_header(a, r, "X-Linked-Size");
    int64_t bytes = -1;
    if (!tag)
        tag = br__http_header(a, r, "ETag");
    if (!size && r->status == 200)
        size = br__http_header(a, r, "Content-Length");
    if (!commit || !tag)
        return br_fail(err, BR_E_FORMAT,
                       "the answer for '%s' has no %s: that is no Hugging Face hub; is HF_ENDPOINT "
                       "right, or is a proxy in the way?",
                       f->path, commit ? "ETag" : "X-Repo-Commit");
    if (strcmp(commit, h->commit) != 0)
        return br_fail(err, BR_E_FORMAT, "'%s' was asked for at commit %s, the hub answers with %s",
                       f->path, h->commit, commit);
    const char *etag = br__hub_etag(a, tag);
    if (!etag || strcmp(etag, f->etag) != 0)
        return br_fail(err, BR_E_FORMAT, "the etag of '%s' is %s, the listing says %s", f->path,
                       tag, f->etag);
    if (size && (br__parse_i64(size, &bytes) || (uint64_t)bytes != f->size))
        return br_fail(err, BR_E_FORMAT, "the hub says that '%s' has %s bytes, its listing %llu",
                       f->path, size, (unsigned long long)f->size);
    return BR_OK;
}

int br__hub_located(struct br__hub *h, struct br__arena *a, const struct br__hub_file *f,
                    const char *url, const struct br__http_reply *r, const char **next,
                    const char **location, struct br_err *err)
{
    *next = *location = NULL;
    if (r->status == 200) {
        *location = br__arena_strdup(a, url);
        return *location ? check_head(a, h, f, r, err) : br__hub_nomem(h, err);
    }
    const char *to = br__http_header(a, r, "Location");
    if (r->status / 100 != 3 || !to)
        return br__hub_refused(h, url, r, err);
    int rc = br__http_join(a, url, to, &to, err);
    if (rc)
        return rc;
    if (br__http_same_origin(h->endpoint, to)) {
        *next = to;
        return BR_OK;
    }
    *location = to;
    return check_head(a, h, f, r, err);
}

int br__hub_expired(const struct br__hub *h, const char *url, const struct br__http_reply *r)
{
    return (r->status == 401 || r->status == 403 || r->status == 404 || r->status == 410) &&
           !br__http_same_origin(h->endpoint, url);
}

/* ---- cache ----------------------------------------------------------------------------------- */

/* Write a small file of the cache, which another process may write at the same time. */
static int put_text(struct br__hub *h, const char *path, const char *text, size_t n,
                    struct br_err *err)
{
    struct br__dir d;
    int rc = br__dir_below(&d, h->dir, path, 1, err);
    if (!rc)
        rc = br__write_in(&d, br__path_base(path), text, n, 0, err);
    br__dir_close(&d);
    return rc;
}

/* The commit that the cache recorded for a revision at its last look-up. */
static int read_ref(struct br__hub *h, const char **commit, struct br_err *err)
{
    char *text = NULL;
    size_t n = 0;
    const char *path = br__arena_printf(&h->arena, "%s/refs/%s", h->dir, h->rev);
    *commit = NULL;
    if (!path)
        return br__hub_nomem(h, err);
    int rc = br__read_text(path, 4096, &text, &n, err);
    if (rc == BR_E_NOTFOUND)
        return br_fail(err, rc, "revision '%s' of '%s' is not in the local cache (no '%s')", h->rev,
                       h->id, path);
    if (rc)
        return rc;
    while (n && isspace((unsigned char)text[n - 1]))
        text[--n] = '\0';
    if (!br__hub_is_commit(text))
        rc = br_fail(err, BR_E_FORMAT, "'%s' does not hold a commit of 40 hex digits", path);
    else if (!(*commit = br__arena_strdup(&h->arena, text)))
        rc = br__hub_nomem(h, err);
    br__free(text);
    return rc;
}

static int write_ref(struct br__hub *h, struct br_err *err)
{
    const char *old;
    if (br__hub_is_commit(h->rev) || (!read_ref(h, &old, NULL) && !strcmp(old, h->commit)))
        return BR_OK;
    const char *path = br__arena_printf(&h->arena, "%s/refs/%s", h->dir, h->rev);
    return path ? put_text(h, path, h->commit, strlen(h->commit), err) : br__hub_nomem(h, err);
}

static const char *tree_path(struct br__hub *h)
{
    return br__arena_printf(&h->arena, "%s/trees/%s.json", h->dir, h->commit);
}

/* The listing in the cache; *found = 0 if there is none, or none that can be read. */
static int read_tree(struct br__hub *h, int *found, struct br_err *err)
{
    struct br__hub_list list = {0};
    char *text = NULL;
    size_t n = 0;
    const char *path = tree_path(h);
    *found = 0;
    if (!path)
        return br__hub_nomem(h, err);
    if (br__read_text(path, BR__HUB_JSON_MAX, &text, &n, NULL))
        return BR_OK;
    int rc = br__hub_parse_cached_tree(&h->arena, text, n, &list, NULL);
    if (!rc)
        rc = br__hub_list_check(&list, NULL);
    br__free(text);
    if (rc) {
        br__free(list.files);
        return BR_OK;
    }
    h->files = list.files;
    h->n_files = list.n;
    *found = 1;
    return BR_OK;
}

static const char *pointer_of(const struct br__hub *h, struct br__arena *a, const char *path)
{
    return br__arena_printf(a, "%s/%s", h->snapshot, path);
}

int br__hub_has(const struct br__hub *h, const char *path)
{
    struct br__arena a = {0};
    struct stat st;
    const char *at = pointer_of(h, &a, path);
    int has = at && !br__io.stat(at, &st) && S_ISREG(st.st_mode);
    br__arena_free(&a);
    return has;
}

int br__hub_link(struct br__hub *h, const struct br__hub_file *f, struct br_err *err)
{
    struct br__arena a = {0};
    struct br__buf target = {0};
    const char *at = pointer_of(h, &a, f->path);
    br__buf_puts(&target, "../../");
    for (const char *p = f->path; *p; p++)
        if (*p == '/')
            br__buf_puts(&target, "../");
    br__buf_printf(&target, "blobs/%s", f->etag);
    struct br__dir d = {.fd = -1};
    int rc = at && !target.failed ? br__dir_below(&d, h->dir, at, 1, err) : br__hub_nomem(h, err);
    /* Replace an existing link: one of another process, or one to a deleted blob. */
    if (!rc && !br__hub_has(h, f->path))
        rc = br__dir_link(&d, br__path_base(at), target.p, err);
    br__dir_close(&d);
    br__buf_free(&target);
    br__arena_free(&a);
    return rc;
}

void br__hub_note_absent(struct br__hub *h, const char *path)
{
    struct br__dir d;
    int fd;
    const char *at = br__arena_printf(&h->arena, "%s/.no_exist/%s/%s", h->dir, h->commit, path);
    if (!at || h->offline || br__exists(at) || br__dir_below(&d, h->dir, at, 1, NULL))
        return;
    if (!br__dir_file(&d, br__path_base(at), 0666, 0, &fd, NULL))
        br__io.close(fd);
    br__dir_close(&d);
}

/* ---- commit ---------------------------------------------------------------------------------- */

static int set_commit(struct br__hub *h, const char *commit, struct br_err *err)
{
    h->commit = commit;
    h->snapshot = br__arena_printf(&h->arena, "%s/snapshots/%s", h->dir, commit);
    return h->snapshot ? BR_OK : br__hub_nomem(h, err);
}

/* Without a network: use what is in the cache. */
static int open_offline(struct br__hub *h, struct br_err *err)
{
    const char *commit = h->rev;
    int found, rc;
    h->offline = 1;
    if (!br__is_dir(h->dir))
        return br_fail(err, BR_E_NOTFOUND,
                       "'%s' is neither a directory nor a %s in the local Hugging Face cache "
                       "(no '%s'; HF_HUB_CACHE or HF_HOME say where it is)",
                       h->id, h->kind, h->dir);
    if (!br__hub_is_commit(h->rev) && (rc = read_ref(h, &commit, err)))
        return rc;
    if ((rc = set_commit(h, commit, err)))
        return rc;
    if (!br__is_dir(h->snapshot))
        return br_fail(err, BR_E_NOTFOUND,
                       "revision '%s' of '%s' is not in the local cache (no '%s')", h->rev, h->id,
                       h->snapshot);
    return read_tree(h, &found, err);
}

/* One page of the listing; *next is the address of the following one, or NULL. */
static int ask_page(struct br__hub *h, const char *url, struct br__hub_list *list, size_t *bytes,
                    const char **next, struct br_err *err)
{
    struct br__http_reply r = {0};
    struct br__buf body = {0};
    char shown[BR__URL_SHOWN];
    *next = NULL;
    int rc = hub_ask(h, url, br__is_dir(h->snapshot), &r, &body, err);
    if (!rc && r.status != 200)
        rc = br__hub_refused(h, url, &r, err);
    if (!rc)
        rc = br__hub_parse_tree(&h->arena, body.p ? body.p : "", body.n, list, err);
    *bytes += body.n;
    if (!rc && (list->n > FILES_MAX || *bytes > LISTING_MAX))
        rc = br_fail(err, BR_E_FORMAT,
                     "the listing of '%s' has %zu files in %zu bytes and goes on, expected at most "
                     "%d files in %u bytes",
                     h->id, list->n, *bytes, FILES_MAX, LISTING_MAX);
    const char *link = rc ? NULL : br__http_header(&h->arena, &r, "Link");
    link = link ? br__hub_next_link(&h->arena, link) : NULL;
    if (link)
        rc = br__http_join(&h->arena, url, link, next, err);
    if (!rc && *next && !br__http_same_origin(h->endpoint, *next))
        rc = br_fail(err, BR_E_FORMAT, "the listing of '%s' goes on at '%s', which is another host",
                     h->id, br__http_shown(*next, shown));
    br__http_reply_free(&r);
    br__buf_free(&body);
    return rc;
}

static int ask_tree(struct br__hub *h, struct br_err *err)
{
    struct br__hub_list list = {0};
    struct br__buf text = {0};
    const char *url = br__arena_printf(&h->arena, "%s/api/%s/%s/tree/%s?recursive=true",
                                       h->endpoint, h->api, h->id, h->commit);
    size_t bytes = 0;
    int rc = url ? BR_OK : br__hub_nomem(h, err);
    for (int page = 0; !rc && url; page++)
        rc = page < PAGES_MAX
                 ? ask_page(h, url, &list, &bytes, &url, err)
                 : br_fail(err, BR_E_FORMAT, "the listing of '%s' does not end after %d pages",
                           h->id, PAGES_MAX);
    if (!rc)
        rc = br__hub_list_check(&list, err);
    h->files = list.files;
    h->n_files = list.n;
    if (!rc && br__hub_tree_text(&text, list.files, list.n))
        rc = br__hub_nomem(h, err);
    const char *path = rc ? NULL : tree_path(h);
    if (path)
        rc = put_text(h, path, text.p, text.n, err);
    br__buf_free(&text);
    return rc;
}

/* Is there a snapshot that can be used without a reply?  Then one attempt is enough. */
static int is_cached(struct br__hub *h)
{
    const char *commit;
    if (read_ref(h, &commit, NULL))
        return 0;
    const char *dir = br__arena_printf(&h->arena, "%s/snapshots/%s", h->dir, commit);
    return dir && br__is_dir(dir);
}

static int ask_commit(struct br__hub *h, struct br_err *err)
{
    struct br__http_reply r = {0};
    struct br__buf body = {0};
    const char *commit, *rev = br__http_escape(&h->arena, h->rev, "");
    const char *url = rev ? br__arena_printf(&h->arena, "%s/api/%s/%s/revision/%s", h->endpoint,
                                             h->api, h->id, rev)
                          : NULL;
    int rc = url ? hub_ask(h, url, is_cached(h), &r, &body, err) : br__hub_nomem(h, err);
    if (!rc && r.status != 200)
        rc = br__hub_refused(h, url, &r, err);
    if (!rc)
        rc = br__hub_parse_commit(&h->arena, body.p ? body.p : "", body.n, &commit, err);
    if (!rc)
        rc = set_commit(h, commit, err);
    br__http_reply_free(&r);
    br__buf_free(&body);
    return rc;
}

/* The listing of a commit never changes, so it is fetched once. */
static int open_online(struct br__hub *h, struct br_err *err)
{
    int found;
    int rc = br__hub_is_commit(h->rev) ? set_commit(h, h->rev, err) : ask_commit(h, err);
    if (!rc)
        rc = read_tree(h, &found, err);
    if (!rc && !found)
        rc = ask_tree(h, err);
    return rc ? rc : write_ref(h, err);
}

/* The hub cannot be reached: use what is cached, and say so. */
static int fall_back(struct br__hub *h, struct br_err *err)
{
    struct br_err why = BR_ERR_INIT;
    if (open_offline(h, &why)) {
        br_wrap(err, "'%s' is not in the local cache, and the hub cannot be asked", h->id);
        return BR_E_NETWORK;
    }
    br__note(h->o.listener, "the hub cannot be asked (%s): using what is cached of '%s', commit %s",
             err ? err->msg : "no network", h->id, h->commit);
    return BR_OK;
}

int br__hub_open(struct br__hub **out, const char *id_at_rev, const struct br__hub_opts *o,
                 struct br_err *err)
{
    struct br__hub *h;
    *out = NULL;
    int rc = br__hub_new(&h, id_at_rev, o, err);
    if (rc)
        return rc;
    if (h->o.local_only || br__hub_env_offline()) {
        rc = open_offline(h, err);
        if (rc == BR_E_NOTFOUND && err)
            br_fail(err, rc, "%s; %s, so it was not downloaded", err->msg,
                    h->o.local_only ? "only local files were asked for" : "HF_HUB_OFFLINE is set");
    } else {
        struct br_err why = BR_ERR_INIT;
        rc = open_online(h, &why);
        if (rc && err)
            *err = why;
        if (rc == BR_E_NETWORK)
            rc = fall_back(h, err);
    }
    if (rc)
        br__hub_close(h);
    else
        *out = h;
    return rc;
}

const struct br__hub_file *br__hub_files(const struct br__hub *h, size_t *n)
{
    *n = h->n_files;
    return h->files;
}

static int by_path(const void *key, const void *file)
{
    return strcmp(key, ((const struct br__hub_file *)file)->path);
}

const struct br__hub_file *br__hub_find(const struct br__hub *h, const char *path)
{
    return h->n_files ? bsearch(path, h->files, h->n_files, sizeof *h->files, by_path) : NULL;
}

const char *br__hub_snapshot(const struct br__hub *h)
{
    return h->snapshot;
}

const char *br__hub_id(const struct br__hub *h)
{
    return h->id;
}

const char *br__hub_commit(const struct br__hub *h)
{
    return h->commit;
}

int br__hub_is_offline(const struct br__hub *h)
{
    return h->offline;
}
