/* hf_cache.c - what the user typed to a directory: the local cache of the Hugging Face hub.
 *
 * An id "org/name@revision" is looked up as huggingface_hub lays its cache out:
 * models--org--name/refs/<revision> holds a commit, snapshots/<commit> is the directory.  Every
 * part of the id becomes part of a path, so each is checked first. */
#include "format.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const char *env(const char *name)
{
    const char *v = getenv(name);

    return v && *v ? v : NULL;
}

int br__hf_cache_root(struct br__arena *a, const char *id, const char **root, struct br_err *err)
{
    const char *base;

    if ((base = env("HF_HUB_CACHE")))
        *root = br__arena_strdup(a, base);
    else if ((base = env("HF_HOME")))
        *root = br__arena_printf(a, "%s/hub", base);
    else if ((base = env("XDG_CACHE_HOME")))
        *root = br__arena_printf(a, "%s/huggingface/hub", base);
    else if ((base = env("HOME")))
        *root = br__arena_printf(a, "%s/.cache/huggingface/hub", base);
    else
        return br_fail(err, BR_E_NOTFOUND,
                       "'%s' is not a directory, and nothing says where the Hugging Face cache is: "
                       "set HF_HUB_CACHE or HF_HOME",
                       id);
    return *root ? BR_OK : br_fail(err, BR_E_NOMEM, "out of memory looking up '%s'", id);
}

/* One component of a hub id: letters, digits, '.', '_' and '-', and not "..". */
static int component_ok(const char *s, size_t n)
{
    if (n == 0 || n > 96 || s[0] == '.')
        return 0;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && !strchr("._-", s[i]))
            return 0;
    return 1;
}

/* "name" or "org/name" */
static int id_ok(const char *id)
{
    const char *slash = strchr(id, '/');

    if (!slash)
        return component_ok(id, strlen(id));
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

/* The commit that a revision of a cached model stands for. */
static int read_ref(struct br__arena *a, const char *repo, const char *id, const char *rev,
                    const char **commit, struct br_err *err)
{
    char *text = NULL;
    size_t n = 0;

    const char *path = br__arena_printf(a, "%s/refs/%s", repo, rev);
    if (!path)
        return br_fail(err, BR_E_NOMEM, "out of memory looking up '%s'", id);
    int rc = br__read_text(path, 4096, &text, &n, err);
    if (rc == BR_E_NOTFOUND)
        return br_fail(err, rc,
                       "revision '%s' of '%s' is not in the local cache (no '%s'); this version "
                       "does not download: run 'hf download %s --revision %s' first",
                       rev, id, path, id, rev);
    if (rc)
        return rc;
    while (n && isspace((unsigned char)text[n - 1]))
        text[--n] = '\0';
    if (!is_commit(text))
        rc = br_fail(err, BR_E_FORMAT, "'%s' does not hold a commit of 40 hex digits", path);
    else if (!(*commit = br__arena_strdup(a, text)))
        rc = br_fail(err, BR_E_NOMEM, "out of memory looking up '%s'", id);
    br__free(text);
    return rc;
}

/* Directory of a revision below the model's cache directory. */
static int find_snapshot(struct br__arena *a, const char *repo, const char *id, const char *rev,
                         const char **dir, struct br_err *err)
{
    const char *commit = rev;

    if (!is_commit(rev)) {
        int rc = read_ref(a, repo, id, rev, &commit, err);
        if (rc)
            return rc;
    }
    *dir = br__arena_printf(a, "%s/snapshots/%s", repo, commit);
    if (!*dir)
        return br_fail(err, BR_E_NOMEM, "out of memory looking up '%s'", id);
    if (!br__is_dir(*dir))
        return br_fail(err, BR_E_NOTFOUND,
                       "revision '%s' of '%s' is not in the local cache (no '%s'); this version "
                       "does not download: run 'hf download %s --revision %s' first",
                       rev, id, *dir, id, rev);
    return BR_OK;
}

/* The model's own directory in the cache. */
static int find_repo(struct br__arena *a, const char *id, const char **repo, struct br_err *err)
{
    const char *root, *slash = strchr(id, '/');

    int rc = br__hf_cache_root(a, id, &root, err);
    if (rc)
        return rc;
    *repo = slash
                ? br__arena_printf(a, "%s/models--%.*s--%s", root, (int)(slash - id), id, slash + 1)
                : br__arena_printf(a, "%s/models--%s", root, id);
    if (!*repo)
        return br_fail(err, BR_E_NOMEM, "out of memory looking up '%s'", id);
    if (!br__is_dir(*repo))
        return br_fail(err, BR_E_NOTFOUND,
                       "'%s' is neither a directory nor a model in the local Hugging Face cache "
                       "(no '%s'; HF_HUB_CACHE or HF_HOME say where it is); this version does not "
                       "download: run 'hf download %s' first",
                       id, *repo, id);
    return BR_OK;
}

/* Look "org/name[@revision]" up in the cache. */
static int resolve_id(struct br__arena *a, const char *id_at_rev, const char **dir,
                      struct br_err *err)
{
    size_t id_len = strcspn(id_at_rev, "@");
    const char *rev = id_at_rev[id_len] ? id_at_rev + id_len + 1 : "main";
    const char *repo;

    const char *id = br__arena_strndup(a, id_at_rev, id_len);
    if (!id)
        return br_fail(err, BR_E_NOMEM, "out of memory looking up '%s'", id_at_rev);
    if (!id_ok(id))
        return br_fail(err, BR_E_NOTFOUND,
                       "'%s' is neither a directory nor of the form ORG/NAME[@REVISION]",
                       id_at_rev);
    if (!revision_ok(rev))
        return br_fail(err, BR_E_USAGE, "'%s' is not a revision that a hub model can have", rev);
    int rc = find_repo(a, id, &repo, err);
    return rc ? rc : find_snapshot(a, repo, id, rev, dir, err);
}

int br__hf_resolve(struct br__arena *a, const char *id_or_dir, const char **dir, struct br_err *err)
{
    *dir = NULL;
    if (br__is_dir(id_or_dir)) {
        *dir = br__arena_strdup(a, id_or_dir);
        return *dir ? BR_OK : br_fail(err, BR_E_NOMEM, "out of memory opening '%s'", id_or_dir);
    }
    if (br__exists(id_or_dir))
        return br_fail(err, BR_E_NOTFOUND, "'%s' is a file; expected the directory that holds it",
                       id_or_dir);
    return resolve_id(a, id_or_dir, dir, err);
}
