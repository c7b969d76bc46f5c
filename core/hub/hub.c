/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* hub.c - one model or data set of the Hugging Face hub: token, commit, files, and what an answer
 * that is none means, and the parts of the cache that are not blobs.
 *
 *   settings   environment, token, endpoint, where the cache is
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

/* What the id is of, in messages; in addresses "models/" is left out, but below api/. */
static const char *hub_kind(const struct br__hub *h)
{
    return h->o.dataset ? "data set" : "model";
}

static const char *hub_api(const struct br__hub *h)
{
    return h->o.dataset ? "datasets" : "models";
}

static const char *hub_prefix(const struct br__hub *h)
{
    return h->o.dataset ? "datasets/" : "";
}

static int hub_nomem(const struct br__hub *h, struct br_err *err)
{
    return br__nomem(err, "with the %s '%s'", hub_kind(h), h->id ? h->id : "");
}

/* ---- settings -------------------------------------------------------------------------------- */

static const char *hub_env(const char *name)
{
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

static int env_true(const char *name)
{
    static const char *const yes[] = {"1", "on", "yes", "true"};
    const char *v = hub_env(name);
    for (size_t i = 0; v && i < BR_COUNTOF(yes); i++)
        if (!strcasecmp(v, yes[i]))
            return 1;
    return 0;
}

/* Replace "~" at the beginning by HOME. */
static const char *hub_expand(struct br__arena *a, const char *path)
{
    const char *home = hub_env("HOME");
    if (br__starts(path, "~/") && home)
        return br__arena_printf(a, "%s%s", home, path + 1);
    return br__arena_strdup(a, path);
}

/* Hugging Face's own directory; NULL if no variable gives one. */
static const char *hf_home(struct br__arena *a)
{
    const char *base;
    if ((base = hub_env("HF_HOME")))
        return hub_expand(a, base);
    if ((base = hub_env("XDG_CACHE_HOME")))
        return br__arena_printf(a, "%s/huggingface", hub_expand(a, base));
    if ((base = hub_env("HOME")))
        return br__arena_printf(a, "%s/.cache/huggingface", base);
    return NULL;
}

int br__hf_cache_root(struct br__arena *a, const char *id, const char **root, struct br_err *err)
{
    const char *base = hub_env("HF_HUB_CACHE");
    base = base ? base : hub_env("HUGGINGFACE_HUB_CACHE");
    if (base)
        *root = hub_expand(a, base);
    else if ((base = hf_home(a)))
        *root = br__arena_printf(a, "%s/hub", base);
    else
        return br_fail(err, BR_E_NOTFOUND,
                       "'%s' is not a directory, and nothing says where the Hugging Face cache is: "
                       "set HF_HUB_CACHE or HF_HOME",
                       id);
    return *root ? BR_OK : br__nomem(err, "looking up '%s'", id);
}

/* The token goes into a header: refuse blanks and line ends. */
static int set_token(struct br__hub *h, const char *text, const char *from, struct br_err *err)
{
    while (isspace((unsigned char)*text))
        text++;
    size_t n = strlen(text);
    while (n && isspace((unsigned char)text[n - 1]))
        n--;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] <= 0x20 || (unsigned char)text[i] >= 0x7f)
            return br_fail(err, BR_E_USAGE,
                           "%s does not hold a token: character %zu is none of one", from, i + 1);
    if (!n)
        return BR_OK;
    h->token = br__arena_strndup(&h->arena, text, n);
    return h->token ? BR_OK : hub_nomem(h, err);
}

static int find_token(struct br__hub *h, struct br_err *err)
{
    static const char *const names[] = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"};
    if (h->o.token)
        return set_token(h, h->o.token, "--token", err);
    if (env_true("HF_HUB_DISABLE_IMPLICIT_TOKEN"))
        return BR_OK;
    for (size_t i = 0; i < BR_COUNTOF(names); i++)
        if (hub_env(names[i]))
            return set_token(h, hub_env(names[i]), names[i], err);
    const char *path = hub_env("HF_TOKEN_PATH"), *home = hf_home(&h->arena);
    if (path)
        path = hub_expand(&h->arena, path);
    else if (home)
        path = br__arena_printf(&h->arena, "%s/token", home);
    char *text = NULL;
    if (!path || br__read_text(path, 4096, &text, NULL, NULL))
        return BR_OK; /* no token file: not logged in */
    int rc = set_token(h, text, path, err);
    br__free(text);
    return rc;
}

/* The reason for a wait before a request is repeated. */
static void tell_wait(void *ud, const char *what, int status, int64_t ms)
{
    const struct br__hub *h = ud;
    if (status)
        br__note(h->o.listener, "'%s' answers %d: trying again in %lld seconds", what, status,
                 (long long)(ms / 1000));
    else
        br__note(h->o.listener, "'%s' does not answer: trying again in %lld seconds", what,
                 (long long)(ms / 1000));
}

static void tell_slow(void *ud, const char *what, int attempt, int attempts)
{
    const struct br__hub *h = ud;
    br__note(h->o.listener, "waiting for '%s', try %d of %d", what, attempt, attempts);
}

static int find_endpoint(struct br__hub *h, struct br_err *err)
{
    const char *base = hub_env("HF_ENDPOINT"), *url;
    int rc = br__http_join(&h->arena, base ? base : "https://huggingface.co", "", &url, err);
    if (rc) {
        br_wrap(err, "HF_ENDPOINT");
        return rc;
    }
    size_t n = strlen(base ? base : url);
    h->endpoint = br__arena_strdup(&h->arena, base ? base : url);
    if (!h->endpoint)
        return hub_nomem(h, err);
    while (n && h->endpoint[n - 1] == '/')
        n--;
    h->endpoint = br__arena_strndup(&h->arena, h->endpoint, n);
    if (!h->endpoint)
        return hub_nomem(h, err);
    h->http_opts = (struct br__http_opts){.allow_plain = br__starts(h->endpoint, "http://"),
                                          .waiting = tell_wait,
                                          .slow = tell_slow,
                                          .ud = h,
                                          .stall_s = h->o.stall_s,
                                          .document_s = h->o.document_s,
                                          .backoff_ms = h->o.backoff_ms};
    return BR_OK;
}

/* One component of a hub id or of a revision: letters, digits, '.', '_' and '-', and no dot first.
 */
static int component_ok(const char *s, size_t n)
{
    if (n == 0 || n > 96 || s[0] == '.')
        return 0;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && !strchr("._-", s[i]))
            return 0;
    return 1;
}

/* "org/name", of a data set also "name".  The few old models whose id has no slash are of no family
 * that bridge knows, while a directory's name is easily mistyped: no question to the hub. */
static int id_ok(const char *id, int dataset)
{
    const char *slash = strchr(id, '/');
    if (!slash)
        return dataset && component_ok(id, strlen(id));
    return component_ok(id, (size_t)(slash - id)) && component_ok(slash + 1, strlen(slash + 1));
}

/* A revision names a file below refs/ and may contain '/': every component must be harmless. */
static int revision_ok(const char *rev)
{
    for (;;) {
        size_t n = strcspn(rev, "/");
        if (!component_ok(rev, n))
            return 0;
        if (!rev[n])
            return 1;
        rev += n + 1;
    }
}

static int is_commit(const char *s)
{
    return strlen(s) == 40 && strspn(s, "0123456789abcdef") == 40;
}

static int set_id(struct br__hub *h, const char *id_at_rev, struct br_err *err)
{
    struct br__arena *a = &h->arena;
    size_t n = strcspn(id_at_rev, "@");
    h->id = br__arena_strndup(a, id_at_rev, n);
    h->rev = br__arena_strdup(a, id_at_rev[n] ? id_at_rev + n + 1 : "main");
    if (!h->id || !h->rev)
        return hub_nomem(h, err);
    if (!id_ok(h->id, h->o.dataset))
        return br_fail(err, BR_E_NOTFOUND,
                       "'%s' is neither a directory nor of the form ORG/NAME[@REVISION]",
                       id_at_rev);
    if (!revision_ok(h->rev))
        return br_fail(err, BR_E_USAGE, "'%s' is not a revision that a %s of the hub can have",
                       h->rev, hub_kind(h));
    const char *slash = strchr(h->id, '/');
    h->folder = slash ? br__arena_printf(a, "%s--%.*s--%s", hub_api(h), (int)(slash - h->id), h->id,
                                         slash + 1)
                      : br__arena_printf(a, "%s--%s", hub_api(h), h->id);
    h->root = h->o.cache_dir;
    int rc = !h->folder ? hub_nomem(h, err)
             : h->root  ? BR_OK
                        : br__hf_cache_root(&h->arena, h->id, &h->root, err);
    if (rc)
        return rc;
    h->dir = br__arena_printf(a, "%s/%s", h->root, h->folder);
    return h->dir ? BR_OK : hub_nomem(h, err);
}

/* ---- asking ---------------------------------------------------------------------------------- */

int br__hub_client(struct br__hub *h, struct br_err *err)
{
    return h->http ? BR_OK : br__http_open(&h->http, &h->http_opts, err);
}

const char *br__hub_url(struct br__hub *h, struct br__arena *a, const char *path)
{
    const char *escaped = br__http_escape(a, path, "/");
    return escaped ? br__arena_printf(a, "%s/%s%s/resolve/%s/%s", h->endpoint, hub_prefix(h), h->id,
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
    if (near)
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
                                        hub_api(h), (int)(slash - h->id), h->id),
                       NULL, "id", h->id);
}

static const char *near_revision(struct br__hub *h)
{
    return hub_suggest(
        h, br__arena_printf(&h->arena, "%s/api/%s/%s/refs", h->endpoint, hub_api(h), h->id),
        "branches", "name", h->rev);
}

static int refuse_gated(struct br__hub *h, struct br_err *err)
{
    if (!h->token)
        return br_fail(err, BR_E_ACCESS,
                       "'%s' is open only to accounts that accepted its terms, and no token was "
                       "sent: accept them at %s/%s%s, then set HF_TOKEN to a token of that account "
                       "(or run 'hf auth login')",
                       h->id, h->endpoint, hub_prefix(h), h->id);
    return br_fail(err, BR_E_ACCESS,
                   "'%s' is open only to accounts that accepted its terms, and the account of the "
                   "token is none of them: accept them at %s/%s%s",
                   h->id, h->endpoint, hub_prefix(h), h->id);
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
                       hub_kind(h), h->id, near_id(h));
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
        return *location ? check_head(a, h, f, r, err) : hub_nomem(h, err);
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
        return hub_nomem(h, err);
    int rc = br__read_text(path, 4096, &text, &n, err);
    if (rc == BR_E_NOTFOUND)
        return br_fail(err, rc, "revision '%s' of '%s' is not in the local cache (no '%s')", h->rev,
                       h->id, path);
    if (rc)
        return rc;
    while (n && isspace((unsigned char)text[n - 1]))
        text[--n] = '\0';
    if (!is_commit(text))
        rc = br_fail(err, BR_E_FORMAT, "'%s' does not hold a commit of 40 hex digits", path);
    else if (!(*commit = br__arena_strdup(&h->arena, text)))
        rc = hub_nomem(h, err);
    br__free(text);
    return rc;
}

static int write_ref(struct br__hub *h, struct br_err *err)
{
    const char *old;
    if (is_commit(h->rev) || (!read_ref(h, &old, NULL) && !strcmp(old, h->commit)))
        return BR_OK;
    const char *path = br__arena_printf(&h->arena, "%s/refs/%s", h->dir, h->rev);
    return path ? put_text(h, path, h->commit, strlen(h->commit), err) : hub_nomem(h, err);
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
        return hub_nomem(h, err);
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
    int rc = at && !target.failed ? br__dir_below(&d, h->dir, at, 1, err) : hub_nomem(h, err);
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
    return h->snapshot ? BR_OK : hub_nomem(h, err);
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
                       h->id, hub_kind(h), h->dir);
    if (!is_commit(h->rev) && (rc = read_ref(h, &commit, err)))
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
                                       h->endpoint, hub_api(h), h->id, h->commit);
    size_t bytes = 0;
    int rc = url ? BR_OK : hub_nomem(h, err);
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
        rc = hub_nomem(h, err);
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
                                             hub_api(h), h->id, rev)
                          : NULL;
    int rc = url ? hub_ask(h, url, is_cached(h), &r, &body, err) : hub_nomem(h, err);
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
    int rc = is_commit(h->rev) ? set_commit(h, h->rev, err) : ask_commit(h, err);
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
    *out = NULL;
    struct br__hub *h = br__calloc(1, sizeof *h);
    if (!h)
        return br__nomem(err, "looking up '%s'", id_at_rev);
    if (o)
        h->o = *o;
    pthread_mutex_init(&h->lock, NULL);
    int rc = set_id(h, id_at_rev, err);
    if (!rc)
        rc = find_endpoint(h, err);
    if (!rc)
        rc = find_token(h, err);
    if (!rc &&
        (h->o.local_only || env_true("HF_HUB_OFFLINE") || env_true("TRANSFORMERS_OFFLINE"))) {
        rc = open_offline(h, err);
        if (rc == BR_E_NOTFOUND && err)
            br_fail(err, rc, "%s; %s, so it was not downloaded", err->msg,
                    h->o.local_only ? "only local files were asked for" : "HF_HUB_OFFLINE is set");
    } else if (!rc) {
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

void br__hub_close(struct br__hub *h)
{
    if (!h)
        return;
    if (h->blocks)
        h->blocks_free(h->blocks);
    br__http_close(h->http);
    br__free(h->files);
    pthread_mutex_destroy(&h->lock);
    br__arena_free(&h->arena);
    br__free(h);
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
