/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* hub_fuzz.c - libFuzzer target: replies of a hub.  The first byte, from '0' on, chooses what the
 * rest is: a listing, a cached listing, a description, a head, a URL, where an upload goes, a
 * pattern.  Every path of an accepted listing must be safe to put below a directory, and survive
 * being cached. */
#include "../../core/hub/hub_internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Walk the path like a file system: it never leaves its start, and every component is a plain name.
 */
static int stays_below(const char *path)
{
    while (*path) {
        size_t n = strcspn(path, "/");
        if (n == 0 || (path[0] == '.' && (n == 1 || (n == 2 && path[1] == '.'))))
            return 0;
        path += n + (path[n] == '/');
    }
    return 1;
}

static void check_files(struct br__arena *a, struct br__hub_list *list)
{
    struct br__buf text = {0};
    struct br__hub_list again = {0};

    for (size_t i = 0; i < list->n; i++) {
        const char *path = list->files[i].path;
        if (!stays_below(path) || strchr(path, '\\') || list->files[i].size > BR__HUB_SIZE_MAX ||
            strlen(list->files[i].blob) != 40)
            abort();
    }
    if (br__hub_list_check(list, NULL))
        return;
    if (br__hub_tree_text(&text, list->files, list->n) ||
        br__hub_parse_cached_tree(a, text.p, text.n, &again, NULL) ||
        br__hub_list_check(&again, NULL) || again.n != list->n)
        abort();
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(again.files[i].path, list->files[i].path) != 0 ||
            strcmp(again.files[i].etag, list->files[i].etag) != 0 ||
            again.files[i].size != list->files[i].size)
            abort();
    br__buf_free(&text);
    br__free(again.files);
}

static void try_list(struct br__arena *a, const char *text, size_t n, int cached)
{
    struct br__hub_list list = {0};
    struct br_err err = BR_ERR_INIT;
    int rc = cached ? br__hub_parse_cached_tree(a, text, n, &list, &err)
                    : br__hub_parse_tree(a, text, n, &list, &err);

    if (rc && !err.msg[0])
        abort(); /* a refusal says why */
    if (!rc)
        check_files(a, &list);
    br__free(list.files);
}

static void try_description(struct br__arena *a, const char *text, size_t n)
{
    const char *commit;

    if (!br__hub_parse_commit(a, text, n, &commit, NULL) && strlen(commit) != 40)
        abort();
    (void)br__hub_nearest(a, text, n, NULL, "id", "Qwen/Qwen3-8B");
    (void)br__hub_nearest(a, text, n, "branches", "name", "main");
}

/* Headers of a reply as http.c collects them, and everything that reads one. */
static void try_head(struct br__arena *a, const char *text, size_t n)
{
    static const char *const names[] = {"ETag",          "X-Linked-Etag", "Link",
                                        "Content-Range", "Retry-After",   "Location"};
    struct br__http_reply r = {.status = 200};
    uint64_t from, to, total;

    br__buf_put(&r.head, text, n);
    for (size_t i = 0; i < BR_COUNTOF(names); i++) {
        const char *v = br__http_header(a, &r, names[i]);
        if (!v)
            continue;
        const char *tag = br__hub_etag(a, v);
        if (tag && strlen(tag) != 40 && strlen(tag) != 64)
            abort();
        if (!br__hub_content_range(v, &from, &to, &total) && (from >= to || to > total))
            abort();
        if (br__http_retry_after(v, 1700000000) > 600)
            abort();
        (void)br__hub_next_link(a, v);
    }
    br__http_reply_free(&r);
}

static void try_url(struct br__arena *a, const char *text)
{
    static const char base[] = "https://hub.example/a/b?c";
    const char *url;

    if (br__http_join(a, base, text, &url, NULL))
        return;
    if (strncasecmp(url, "http", 4) != 0)
        abort();
    if (br__http_same_origin("https://hub.example", url) &&
        strncasecmp(url, "https://hub.example", 19) != 0)
        abort(); /* whoever is at `url` would get the token */
}

/* What a batch answer says of a file of `size` bytes: parts that cover it, each at a web address.
 */
static void try_place(struct br__arena *a, const char *text, size_t n)
{
    const struct br__upload_file f = {.path = "model.safetensors", .size = 1000, .lfs = 1};
    struct br__hub_place at;
    struct br_err err = BR_ERR_INIT;
    br__json *j;

    if (br__json_parse(&j, text, n, NULL))
        return;
    int rc = br__hub_parse_place(a, "https://hub.example", &f, j, &at, &err);
    if (rc && !err.msg[0])
        abort();
    if (!rc && at.n_parts) {
        if (at.n_parts > BR__HUB_PARTS_MAX || (at.n_parts - 1) * at.part_bytes >= f.size ||
            at.n_parts * at.part_bytes < f.size || strncasecmp(at.href, "http", 4) != 0)
            abort();
        for (size_t i = 0; at.urls && i < at.n_parts; i++)
            if (strncasecmp(at.urls[i], "http", 4) != 0)
                abort();
    }
    br__json_free(j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct br__arena a = {0};

    if (size == 0)
        return 0;
    size_t n = size - 1;
    char *text = br__arena_strndup(&a, (const char *)data + 1, n);
    char *exact = br__alloc(n); /* so that a read past the end is caught */
    if (!text || !exact)
        abort();
    memcpy(exact, data + 1, n);
    switch ((data[0] + 1) % 7) {
    case 0:
        try_list(&a, exact, n, 0);
        break;
    case 1:
        try_list(&a, exact, n, 1);
        break;
    case 2:
        try_description(&a, exact, n);
        break;
    case 3:
        try_head(&a, text, strlen(text));
        break;
    case 4:
        try_url(&a, text);
        break;
    case 6:
        try_place(&a, exact, n);
        break;
    default:
        (void)br__hub_path_ok(text);
        (void)br__hub_glob(text, text);
        (void)br__hub_glob(text, "model-00001-of-00002.safetensors");
        break;
    }
    br__free(exact);
    br__arena_free(&a);
    return 0;
}
