/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* settings.c - what a hub is asked for and as whom: id, revision, endpoint, token, where the cache
 * is; from options and the environment, by huggingface_hub's rules. */
#include "hub_internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int br__hub_nomem(const struct br__hub *h, struct br_err *err)
{
    return br__nomem(err, "with the %s '%s'", h->kind, h->id ? h->id : "");
}

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
    return h->token ? BR_OK : br__hub_nomem(h, err);
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
        return br__hub_nomem(h, err);
    while (n && h->endpoint[n - 1] == '/')
        n--;
    h->endpoint = br__arena_strndup(&h->arena, h->endpoint, n);
    if (!h->endpoint)
        return br__hub_nomem(h, err);
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

int br__hub_is_commit(const char *s)
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
        return br__hub_nomem(h, err);
    if (!id_ok(h->id, h->o.dataset))
        return br_fail(err, BR_E_NOTFOUND,
                       "'%s' is neither a directory nor of the form ORG/NAME[@REVISION]",
                       id_at_rev);
    if (!revision_ok(h->rev))
        return br_fail(err, BR_E_USAGE, "'%s' is not a revision that a %s of the hub can have",
                       h->rev, h->kind);
    const char *slash = strchr(h->id, '/');
    h->folder =
        slash ? br__arena_printf(a, "%s--%.*s--%s", h->api, (int)(slash - h->id), h->id, slash + 1)
              : br__arena_printf(a, "%s--%s", h->api, h->id);
    h->root = h->o.cache_dir;
    int rc = !h->folder ? br__hub_nomem(h, err)
             : h->root  ? BR_OK
                        : br__hf_cache_root(&h->arena, h->id, &h->root, err);
    if (rc)
        return rc;
    h->dir = br__arena_printf(a, "%s/%s", h->root, h->folder);
    return h->dir ? BR_OK : br__hub_nomem(h, err);
}

int br__hub_env_offline(void)
{
    return env_true("HF_HUB_OFFLINE") || env_true("TRANSFORMERS_OFFLINE");
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

int br__hub_new(struct br__hub **out, const char *id_at_rev, const struct br__hub_opts *o,
                struct br_err *err)
{
    *out = NULL;
    struct br__hub *h = br__calloc(1, sizeof *h);
    if (!h)
        return br__nomem(err, "looking up '%s'", id_at_rev);
    if (o)
        h->o = *o;
    h->kind = h->o.dataset ? "data set" : "model";
    h->api = h->o.dataset ? "datasets" : "models";
    h->prefix = h->o.dataset ? "datasets/" : "";
    pthread_mutex_init(&h->lock, NULL);
    int rc = set_id(h, id_at_rev, err);
    if (!rc)
        rc = find_endpoint(h, err);
    if (!rc)
        rc = find_token(h, err);
    if (rc)
        br__hub_close(h);
    else
        *out = h;
    return rc;
}
