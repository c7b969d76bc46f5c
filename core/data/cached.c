/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cached.c - JSONL tokenised once into token files below a cache directory. */
#include "../text/text.h"
#include "data.h"

#include <bridge/bridge.h>
#include <inttypes.h>
#include <string.h>

static int add_file(struct br__xxh3 *h, const char *path, struct br_err *err)
{
    struct br__file f;
    int rc = br__file_open(&f, path, err);
    if (rc)
        return rc;
    br__xxh3_update(h, f.map, f.size);
    br__file_close(&f);
    return BR_OK;
}

/* What the tokens depend on.  The data's own bytes are not read for it: name, size and time do. */
static int name_of(struct br__arena *a, const struct br__cached_opts *o, char name[17],
                   struct br_err *err)
{
    static const char *const files[] = {"tokenizer.json", "vocab.json", "merges.txt",
                                        "tokenizer_config.json"};
    struct br__file f;
    struct br__xxh3 *h = br__xxh3_new();
    char *path;
    int rc = h ? br__path_abs(a, o->path, &path, err) : br__nomem(err, "for '%s'", o->path);
    if (!rc)
        rc = br__file_open(&f, o->path, err);
    if (!rc) {
        const char *text = br__arena_printf(a, "1|%s|%" PRIu64 "|%" PRId64 "|%" PRId32 "|%s", path,
                                            f.size, f.mtime_ns, o->eod, o->key ? o->key : "text");
        br__file_close(&f);
        if (text)
            br__xxh3_update(h, text, strlen(text));
        else
            rc = br__nomem(err, "for '%s'", o->path);
    }
    for (size_t i = 0; i < BR_COUNTOF(files) && !rc; i++) {
        path = br__path_join(a, o->tok_dir, files[i]);
        if (path && br__exists(path))
            rc = add_file(h, path, err);
    }
    if (!rc)
        snprintf(name, 17, "%016" PRIx64, br__xxh3_digest(h));
    br__xxh3_free(h);
    return rc;
}

static void cached_say(const struct br__cached_opts *o, const char *prefix,
                       const struct br__build_result *r)
{
    struct br__buf b = {0};
    br__buf_printf(&b, "'%s': %" PRId64 " documents, %" PRId64 " tokens are in %s.bin", o->path,
                   r->documents, r->tokens, prefix);
    if (!b.failed && o->listener && o->listener->note)
        o->listener->note(o->listener->ud, b.p);
    br__buf_free(&b);
}

int br__data_cached(struct br__arena *a, const struct br__cached_opts *o, const char **prefix,
                    struct br_err *err)
{
    char name[17];
    int rc = name_of(a, o, name, err);
    if (rc)
        return rc;
    *prefix = br__arena_printf(a, "%s/%s-%s", o->cache_dir, br__path_base(o->path), name);
    const char *idx = *prefix ? br__arena_printf(a, "%s.idx", *prefix) : NULL;
    if (!idx)
        return br__nomem(err, "for '%s'", o->path);
    if (br__exists(idx))
        return BR_OK;
    rc = br__mkdirs(o->cache_dir, err);
    if (rc)
        return rc;
    struct br__build_result r;
    struct br__build_opts b = {.inputs = &o->path,
                               .n_inputs = 1,
                               .output = *prefix,
                               .keys = &o->key,
                               .n_keys = o->key != NULL,
                               .tok = o->tok,
                               .eod = o->eod,
                               .threads = o->threads,
                               .sync = 1,
                               .skip_bad = o->skip_bad,
                               .listener = o->listener};
    rc = br__data_build(&b, &r, err);
    if (!rc)
        cached_say(o, *prefix, &r);
    return rc;
}
