/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* parse.c - replies of a hub: headers, listings, descriptions.  Every reply is hostile: names
 * become paths and sizes become reservations, so both are checked here, before they are used. */
#include "hub_internal.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- paths and etags ------------------------------------------------------------------------- */

/* Is it one component, on any file system? */
static int component_ok(const char *s, size_t n)
{
    if (n == 0 || n > 255 || (n == 1 && s[0] == '.') || (n == 2 && s[0] == '.' && s[1] == '.'))
        return 0;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f || s[i] == '\\' || s[i] == ':')
            return 0;
    return 1;
}

int br__hub_path_ok(const char *path)
{
    /* Is it below .cache/huggingface, where --local-dir keeps its records? */
    if (strlen(path) > 1024 || br__starts(path, ".cache/huggingface/") ||
        !strcmp(path, ".cache/huggingface") || !strcmp(path, ".cache"))
        return 0;
    for (;;) {
        size_t n = strcspn(path, "/");
        if (!component_ok(path, n))
            return 0;
        if (!path[n])
            return 1;
        path += n + 1;
    }
}

static int is_hex(const char *s, size_t n)
{
    return strlen(s) == n && strspn(s, "0123456789abcdef") == n;
}

char *br__hub_etag(struct br__arena *a, const char *value)
{
    if (br__starts(value, "W/"))
        value += 2;
    size_t n = strlen(value);
    if (n >= 2 && value[0] == '"' && value[n - 1] == '"') {
        value++;
        n -= 2;
    }
    char *etag = br__arena_strndup(a, value, n);
    return etag && (is_hex(etag, 64) || is_hex(etag, 40)) ? etag : NULL;
}

/* Read a decimal number at *p and move *p behind it. */
static int parse_number(const char **p, uint64_t *out)
{
    char digits[24];
    int64_t v;
    size_t n = strspn(*p, "0123456789");
    if (n == 0 || n >= sizeof digits)
        return BR_E_FORMAT;
    memcpy(digits, *p, n);
    digits[n] = '\0';
    *p += n;
    if (br__parse_i64(digits, &v))
        return BR_E_FORMAT;
    *out = (uint64_t)v;
    return BR_OK;
}

int br__hub_content_range(const char *value, uint64_t *from, uint64_t *to, uint64_t *total)
{
    if (!br__starts(value, "bytes "))
        return BR_E_FORMAT;
    value += strlen("bytes ");
    if (parse_number(&value, from) || *value++ != '-' || parse_number(&value, to) ||
        *value++ != '/' || parse_number(&value, total) || *value || *to < *from || *to >= *total)
        return BR_E_FORMAT;
    ++*to;
    return BR_OK;
}

char *br__hub_next_link(struct br__arena *a, const char *value)
{
    while (*value) {
        const char *begin = strchr(value, '<'), *end = begin ? strchr(begin, '>') : NULL;
        if (!end)
            return NULL;
        size_t params = strcspn(end, ","); /* none of the links holds a comma in quotes */
        const char *rel = strstr(end, "rel=\"next\"");
        if (rel && rel < end + params)
            return br__arena_strndup(a, begin + 1, (size_t)(end - begin - 1));
        value = end + params + (end[params] == ',');
    }
    return NULL;
}

/* ---- descriptions and listings --------------------------------------------------------------- */

int br__hub_parse_commit(struct br__arena *a, const char *text, size_t n, const char **commit,
                         struct br_err *err)
{
    br__json *root = NULL;
    *commit = NULL;
    int rc = br__json_parse(&root, text, n, err);
    if (rc)
        return rc;
    const char *sha = br__json_str(br__json_get(root, "sha"), "");
    if (!is_hex(sha, 40))
        rc = br_fail(err, BR_E_FORMAT, "the hub's description has no commit of 40 hex digits");
    else if (!(*commit = br__arena_strdup(a, sha)))
        rc = br__nomem(err, "reading the hub's description");
    br__json_free(root);
    return rc;
}

static int bad_entry(const char *path, const char *what, struct br_err *err)
{
    return br_fail(err, BR_E_FORMAT, "the hub lists '%s' with %s", path, what);
}

/* The file of one entry.  sha256: of an LFS file, else NULL. */
static int take_file(struct br__arena *a, struct br__hub_list *out, const char *path,
                     const char *blob, const char *sha256, const br__json *size, struct br_err *err)
{
    struct br__hub_file f = {.lfs = sha256 != NULL};
    if (!br__hub_path_ok(path))
        return bad_entry(path, "a path that could leave the model's directory; it is refused", err);
    if (sha256 && !is_hex(sha256, 64))
        return bad_entry(path, "no sha256", err);
    if (!is_hex(blob, 40))
        return bad_entry(path, "no git blob id", err);
    if (br__json_u64(size, &f.size) || f.size > BR__HUB_SIZE_MAX)
        return bad_entry(path, "no sensible size", err);
    f.path = br__arena_strdup(a, path);
    f.blob = br__arena_strdup(a, blob);
    f.etag = sha256 ? br__arena_strdup(a, sha256) : f.blob;
    if (!f.path || !f.blob || !f.etag ||
        br__grow(&out->files, &out->cap, out->n, sizeof *out->files))
        return br__nomem(err, "for the hub's listing");
    out->files[out->n++] = f;
    return BR_OK;
}

static int tree_entry(struct br__arena *a, const br__json *j, struct br__hub_list *out,
                      struct br_err *err)
{
    const char *path = br__json_str(br__json_get(j, "path"), NULL);
    const char *type = br__json_str(br__json_get(j, "type"), "");
    const br__json *lfs = br__json_get(j, "lfs");
    if (!path || (strcmp(type, "file") != 0 && strcmp(type, "directory") != 0))
        return br_fail(err, BR_E_FORMAT, "the hub's listing has an entry that is no file");
    if (type[0] == 'd')
        return BR_OK;
    if (br__json_kind(lfs) != 'o')
        lfs = NULL;
    return take_file(a, out, path, br__json_str(br__json_get(j, "oid"), ""),
                     lfs ? br__json_str(br__json_get(lfs, "oid"), "") : NULL,
                     br__json_get(lfs ? lfs : j, "size"), err);
}

int br__hub_parse_tree(struct br__arena *a, const char *text, size_t n, struct br__hub_list *out,
                       struct br_err *err)
{
    br__json *root = NULL;
    int rc = br__json_parse(&root, text, n, err);
    if (!rc && br__json_kind(root) != 'a')
        rc = br_fail(err, BR_E_FORMAT, "the hub's listing is no array");
    for (const br__json *j = rc ? NULL : br__json_first(root); j && !rc; j = br__json_next(j))
        rc = tree_entry(a, j, out, err);
    br__json_free(root);
    return rc;
}

int br__hub_tree_text(struct br__buf *out, const struct br__hub_file *files, size_t n)
{
    br__buf_puts(out, "{\n \"format_version\": 1,\n \"files\": {");
    for (size_t i = 0; i < n; i++) {
        const struct br__hub_file *f = &files[i];
        br__buf_puts(out, i ? ",\n  " : "\n  ");
        br__buf_json_str(out, f->path);
        br__buf_printf(out, ": {\n   \"size\": %" PRIu64 ",\n   \"blob_id\": \"%s\"", f->size,
                       f->blob);
        if (f->lfs)
            br__buf_printf(out, ",\n   \"lfs_sha256\": \"%s\",\n   \"lfs_size\": %" PRIu64, f->etag,
                           f->size);
        br__buf_puts(out, "\n  }");
    }
    br__buf_puts(out, n ? "\n }\n}" : "}\n}");
    return out->failed;
}

int br__hub_parse_cached_tree(struct br__arena *a, const char *text, size_t n,
                              struct br__hub_list *out, struct br_err *err)
{
    br__json *root = NULL;
    int rc = br__json_parse(&root, text, n, err);
    const br__json *files = rc ? NULL : br__json_get(root, "files");
    if (!rc &&
        (br__json_num(br__json_get(root, "format_version"), 0) != 1 || br__json_kind(files) != 'o'))
        rc = br_fail(err, BR_E_FORMAT, "the cached listing is of an unknown format");
    for (const br__json *j = rc ? NULL : br__json_first(files); j && !rc; j = br__json_next(j)) {
        const char *sha = br__json_str(br__json_get(j, "lfs_sha256"), NULL);
        rc = take_file(a, out, br__json_key(j), br__json_str(br__json_get(j, "blob_id"), ""), sha,
                       br__json_get(j, sha ? "lfs_size" : "size"), err);
    }
    br__json_free(root);
    return rc;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct br__hub_file *)a)->path, ((const struct br__hub_file *)b)->path);
}

static int by_key(const void *key, const void *file)
{
    return strcmp(key, ((const struct br__hub_file *)file)->path);
}

/* Refuse a file that is also a folder: "a" beside "a/b".  The list is sorted. */
static int check_folders(const struct br__hub_list *list, struct br_err *err)
{
    char folder[1025]; /* br__hub_path_ok: no path is longer */
    for (size_t i = 0; i < list->n; i++)
        for (const char *p = list->files[i].path, *s = p; (s = strchr(s, '/')); s++) {
            snprintf(folder, sizeof folder, "%.*s", (int)(s - p), p);
            if (bsearch(folder, list->files, list->n, sizeof *list->files, by_key))
                return bad_entry(folder, "an entry as a file and one as a folder", err);
        }
    return BR_OK;
}

int br__hub_list_check(struct br__hub_list *list, struct br_err *err)
{
    if (list->n)
        qsort(list->files, list->n, sizeof *list->files, by_path);
    for (size_t i = 1; i < list->n; i++)
        if (!strcmp(list->files[i - 1].path, list->files[i].path))
            return bad_entry(list->files[i].path, "two entries", err);
    return check_folders(list, err);
}

/* ---- where an upload goes -------------------------------------------------------------------- */

static int bad_place(const struct br__upload_file *f, const char *what, struct br_err *err)
{
    return br_fail(err, BR_E_FORMAT, "the hub's answer about '%s' %s", f->path, what);
}

/* The hub writes chunk_size as text, its clients take a number too; 0 if it is neither. */
static uint64_t chunk_size(const br__json *j)
{
    uint64_t n;
    int64_t v;
    if (!br__json_u64(j, &n))
        return n;
    return br__parse_i64(br__json_str(j, ""), &v) || v < 0 ? 0 : (uint64_t)v;
}

/* The addresses of parts: members "1", "2" ... of the header. */
static int parse_parts(struct br__arena *a, const char *endpoint, const struct br__upload_file *f,
                       const br__json *header, struct br__hub_place *out, struct br_err *err)
{
    size_t found = 0;
    out->part_bytes = chunk_size(br__json_get(header, "chunk_size"));
    if (!out->part_bytes || (f->size - 1) / out->part_bytes >= BR__HUB_PARTS_MAX)
        return bad_place(f, "has a chunk_size that does not fit it", err);
    out->n_parts = (size_t)((f->size - 1) / out->part_bytes + 1);
    out->urls = br__arena_alloc(a, out->n_parts * sizeof *out->urls);
    if (!out->urls)
        return br__nomem(err, "uploading '%s'", f->path);
    for (const br__json *m = br__json_first(header); m; m = br__json_next(m)) {
        int64_t number;
        if (br__parse_i64(br__json_key(m), &number))
            continue;
        if (number < 1 || (uint64_t)number > out->n_parts || out->urls[number - 1])
            return bad_place(f, "names parts that it does not have", err);
        int rc = br__http_join(a, endpoint, br__json_str(m, "//"), &out->urls[number - 1], err);
        if (rc)
            return rc;
        found++;
    }
    return found == out->n_parts ? BR_OK : bad_place(f, "does not say where all parts go", err);
}

int br__hub_parse_place(struct br__arena *a, const char *endpoint, const struct br__upload_file *f,
                        const br__json *answer, struct br__hub_place *out, struct br_err *err)
{
    const br__json *refusal = br__json_get(answer, "error");
    const br__json *put = br__json_get(answer, "actions.upload");
    const br__json *verify = br__json_get(answer, "actions.verify");
    const br__json *header = br__json_get(put, "header");
    *out = (struct br__hub_place){0};
    if (refusal)
        return br_fail(err, BR_E_NOTFOUND, "the hub does not take '%s': %.300s", f->path,
                       br__json_str(br__json_get(refusal, "message"), "no reason is given"));
    if (!put)
        return BR_OK;
    int rc =
        br__http_join(a, endpoint, br__json_str(br__json_get(put, "href"), "//"), &out->href, err);
    if (!rc && verify)
        rc = br__http_join(a, endpoint, br__json_str(br__json_get(verify, "href"), "//"),
                           &out->verify, err);
    out->part_bytes = f->size;
    out->n_parts = 1;
    return !rc && br__json_get(header, "chunk_size") ? parse_parts(a, endpoint, f, header, out, err)
                                                     : rc;
}

/* ---- near names ------------------------------------------------------------------------------ */

const char *br__hub_nearest(struct br__arena *a, const char *text, size_t n, const char *in,
                            const char *key, const char *word)
{
    br__json *root = NULL;
    const char *best = NULL;
    int best_d = 3 + (int)strlen(word) / 4;
    if (br__json_parse(&root, text, n, NULL))
        return NULL;
    const br__json *list = in ? br__json_get(root, in) : root;
    for (const br__json *j = br__json_kind(list) == 'a' ? br__json_first(list) : NULL; j;
         j = br__json_next(j)) {
        const char *name = br__json_str(br__json_get(j, key), "");
        int d = br__edit_distance(word, name);
        if (*name && strlen(name) < 200 && d < best_d) {
            best = name;
            best_d = d;
        }
    }
    if (best)
        best = br__arena_strdup(a, best);
    br__json_free(root);
    return best;
}

/* ---- patterns -------------------------------------------------------------------------------- */

/* Match "[a-z]" or "[!abc]" at p with c; *end is behind it.  Without a closing bracket it is a
 * plain '['. */
static int class_match(const char *p, char c, const char **end)
{
    const char *s = p + 1;
    int negate = *s == '!', hit = 0;
    s += negate;
    const char *close = *s ? strchr(s + 1, ']') : NULL;
    if (!close) {
        *end = p + 1;
        return c == '[';
    }
    for (; s < close; s++) {
        if (s + 2 < close && s[1] == '-') {
            hit |= c >= s[0] && c <= s[2];
            s += 2;
        } else {
            hit |= c == *s;
        }
    }
    *end = close + 1;
    return hit != negate;
}

/* Python's fnmatch.  Only the last star is tried again, so the time is at most |pattern| * |path|.
 */
static int parse_match(const char *p, const char *s)
{
    const char *star = NULL, *from = NULL, *end;
    while (*s) {
        if (*p == '*') {
            star = ++p;
            from = s;
        } else if (*p && (*p == '?' || (*p != '[' && *p == *s))) {
            p++;
            s++;
        } else if (*p == '[' && class_match(p, *s, &end)) {
            p = end;
            s++;
        } else if (star) {
            p = star;
            s = ++from;
        } else {
            return 0;
        }
    }
    while (*p == '*')
        p++;
    return !*p;
}

int br__hub_glob(const char *pattern, const char *path)
{
    char folder[1200];
    if (!br__ends(pattern, "/"))
        return parse_match(pattern, path);
    int n = snprintf(folder, sizeof folder, "%s*", pattern);
    return n > 0 && (size_t)n < sizeof folder && parse_match(folder, path);
}
