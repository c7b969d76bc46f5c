/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* hub_set.c - a data set of the hub as training.jsonl, validation.jsonl and test.jsonl.
 *
 * What becomes of the splits, and the records of the sets that have a short name: Megatron Bridge's
 * data/builders/gpt_sft.py and data/sources of version 0.6. */
#include "hub_files.h"
#include "input.h"
#include "random.h"
#include "sft.h"

#include <bridge/bridge.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#define CARD_MAX (4u << 20)

/* ---- sets that have a short name ------------------------------------------------------------- */

static const struct br__hub_known known[] = {
    {"squad", "rajpurkar/squad", NULL, NULL, BR__HUB_SQUAD},
    {"gsm8k", "openai/gsm8k", "main", NULL, BR__HUB_GSM8K},
    {"openmathinstruct2", "nvidia/OpenMathInstruct-2", NULL, "train_1M", BR__HUB_OPENMATH},
    {"tulu3", "allenai/tulu-3-sft-mixture", NULL, NULL, BR__HUB_ROWS},
};

const struct br__hub_known *br__hub_known(const char *name)
{
    for (size_t i = 0; i < BR_COUNTOF(known); i++)
        if (!strcmp(known[i].name, name))
            return &known[i];
    return NULL;
}

const char *br__hub_known_names(struct br__arena *a)
{
    const char *all = "";

    for (size_t i = 0; i < BR_COUNTOF(known) && all; i++)
        all = br__arena_printf(a, "%s%s%s", all, i ? ", " : "", known[i].name);
    return all ? all : "";
}

/* ---- records --------------------------------------------------------------------------------- */

struct set_writer {
    const struct br__hub_set_opts *o;
    struct br__out out;
    struct br__buf line;
    int64_t n;
};

static const char *set_text(const br__json *row, const char *path, struct br_err *err)
{
    const br__json *v = br__json_get(row, path);
    const char *text = br__json_str(br__json_kind(v) == 'a' ? br__json_first(v) : v, NULL);

    if (!text)
        br_fail(err, BR_E_FORMAT, "the record has no text \"%s\"", path);
    return text;
}

/* Prompt and answer of a set that is known: which members they are made of, and the words between.
 */
static int set_prompt(struct set_writer *w, const br__json *row, struct br_err *err)
{
    static const struct {
        const char *word[3], *member[2], *answer;
    } forms[] = {
        [BR__HUB_SQUAD] = {{"Context: ", " Question: ", " Answer:"},
                           {"context", "question"},
                           "answers.text"},
        [BR__HUB_GSM8K] = {{"Question: ", " Answer:"}, {"question"}, "answer"},
        [BR__HUB_OPENMATH] = {{"Problem: ", " Solution:"}, {"problem"}, "generated_solution"},
    };
    const char *text[2] = {NULL, NULL}, *answer = set_text(row, forms[w->o->rows].answer, err);
    struct br__buf prompt = {0};

    for (int i = 0; i < 2 && answer && forms[w->o->rows].member[i]; i++)
        if (!(text[i] = set_text(row, forms[w->o->rows].member[i], err)))
            answer = NULL;
    if (!answer)
        return BR_E_FORMAT;
    for (int i = 0; i < 3 && forms[w->o->rows].word[i]; i++)
        br__buf_printf(&prompt, "%s%s", forms[w->o->rows].word[i], i < 2 && text[i] ? text[i] : "");
    w->line.n = 0;
    br__buf_puts(&w->line, "{\"input\": ");
    br__buf_json_str(&w->line, prompt.failed ? "" : prompt.p);
    br__buf_puts(&w->line, ", \"output\": ");
    br__buf_json_str(&w->line, answer);
    br__buf_putc(&w->line, '}');
    int failed = prompt.failed || w->line.failed;
    br__buf_free(&prompt);
    return failed ? br__nomem(err, "for a record") : BR_OK;
}

/* n bytes of a JSON value; what ends a line in it is white space between its parts. */
static int set_put(struct set_writer *w, const char *s, size_t n, struct br_err *err)
{
    br__json *row = NULL;
    int rc = BR_OK;

    while (n && (s[n - 1] == '\n' || s[n - 1] == '\r' || s[n - 1] == ' '))
        n--;
    if (!n)
        return BR_OK;
    if (w->o->rows != BR__HUB_ROWS) {
        rc = br__json_parse(&row, s, n, err);
        if (!rc)
            rc = set_prompt(w, row, err);
        br__json_free(row);
    } else {
        w->line.n = 0;
        char *to = br__buf_room(&w->line, n);
        if (!to)
            return br__nomem(err, "for a record");
        for (size_t i = 0; i < n; i++)
            to[i] = (char)(s[i] == '\n' || s[i] == '\r' ? ' ' : s[i]);
        w->line.n = n;
    }
    if (!rc)
        rc = br__out_write(&w->out, w->line.p, w->line.n, err);
    w->n += !rc;
    return rc ? rc : br__out_write(&w->out, "\n", 1, err);
}

/* A .json file may be one array of records. */
static int put_array(struct set_writer *w, const struct br__file *f, struct br_err *err)
{
    struct br__jscan j;

    br__jscan_begin(&j, (const char *)f->map, f->size, err);
    int rc = br__jscan_enter(&j, 'a');
    while (!rc && br__jscan_next(&j)) {
        size_t from = j.at;
        rc = br__jscan_skip(&j);
        if (!rc)
            rc = set_put(w, (const char *)f->map + from, j.at - from, err);
        if (rc)
            br_wrap(err, "record %" PRId64, w->n + 1);
    }
    rc = rc ? rc : j.rc;
    return rc ? rc : br__jscan_end(&j);
}

static int begins_array(const struct br__file *f)
{
    uint64_t i = 0;

    while (i < f->size && memchr(" \t\r\n", f->map[i], 4))
        i++;
    return i < f->size && f->map[i] == '[';
}

static int put_file(struct set_writer *w, const char *path, struct br_err *err)
{
    struct br__input in;
    int rc = br__input_open(&in, path, NULL, 0, err), array = 0;

    if (!rc && (array = in.kind == BR__INPUT_JSONL && begins_array(&in.file)) != 0) {
        rc = put_array(w, &in.file, err);
        if (rc)
            br_wrap(err, "'%s'", path);
    }
    while (!rc && !array && !(rc = br__input_next(&in, err)) && in.n)
        for (size_t i = 0, at = 0; i < in.n && !rc; at = in.ends[i++]) {
            rc = set_put(w, in.block.p + at, in.ends[i] - at, err);
            if (rc)
                br_wrap(err, "%s, %s %" PRId64, path, in.kind == BR__INPUT_PARQUET ? "row" : "line",
                        in.first + (int64_t)i);
        }
    br__input_close(&in);
    return rc;
}

/* ---- a set ----------------------------------------------------------------------------------- */

struct hub_set {
    const struct br__hub_set_opts *o;
    struct br__arena *a;
    struct br__hub *h;
    struct br__hub_files files;
    const char **paths; /* files.paths */
    size_t cap;
    const char *dir; /* the result while it is written */
};

static int nomem(const struct hub_set *s, struct br_err *err)
{
    return br__nomem(err, "for data set '%s'", s->o->id);
}

static int add_path(struct hub_set *s, const char *path, struct br_err *err)
{
    if (!path || br__grow(&s->paths, &s->cap, s->files.n, sizeof *s->paths))
        return nomem(s, err);
    s->paths[s->files.n++] = path;
    s->files.paths = s->paths;
    return BR_OK;
}

/* Without a listing the set is what the snapshot holds; `below` is "" or a folder with a slash. */
static int list_snapshot(struct hub_set *s, const char *below, struct br_err *err)
{
    const char *dir = br__path_join(s->a, br__hub_snapshot(s->h), below);
    char **names;
    size_t n = 0;
    int rc = dir ? br__list_dir(s->a, dir, &names, &n, err) : nomem(s, err);

    for (size_t i = 0; i < n && !rc; i++) {
        const char *path = br__arena_printf(s->a, "%s%s", below, names[i]);
        const char *at = path ? br__path_join(s->a, br__hub_snapshot(s->h), path) : NULL;
        if (!at)
            return nomem(s, err);
        if (!br__is_dir(at))
            rc = add_path(s, path, err);
        else if ((path = br__arena_printf(s->a, "%s/", path)))
            rc = list_snapshot(s, path, err);
    }
    return rc;
}

static int list_files(struct hub_set *s, struct br_err *err)
{
    size_t n;
    const struct br__hub_file *files = br__hub_files(s->h, &n);
    int rc = BR_OK;

    for (size_t i = 0; i < n && !rc; i++)
        rc = add_path(s, files[i].path, err);
    return n || !br__hub_is_offline(s->h) ? rc : list_snapshot(s, "", err);
}

/* Bring files into the cache; those that are not in a listing are there. */
static int fetch_files(struct hub_set *s, const char *const *paths, size_t n, struct br_err *err)
{
    const struct br__hub_file **want = br__arena_alloc(s->a, (n + 1) * sizeof *want), *f;
    size_t k = 0;

    if (!want)
        return nomem(s, err);
    for (size_t i = 0; i < n; i++)
        if ((f = br__hub_find(s->h, paths[i])))
            want[k++] = f;
    return k ? br__hub_get(s->h, want, k, NULL, NULL, err) : BR_OK;
}

static int read_card(struct hub_set *s, struct br_err *err)
{
    static const char *const card[] = {"README.md"};
    const char *path = br__path_join(s->a, br__hub_snapshot(s->h), card[0]);
    char *text;
    int rc = path ? fetch_files(s, card, 1, err) : nomem(s, err);

    if (rc || br__read_text(path, CARD_MAX, &text, NULL, NULL))
        return rc;
    s->files.card = br__arena_strdup(s->a, text);
    br__free(text);
    return s->files.card ? BR_OK : nomem(s, err);
}

static int choose_files(struct hub_set *s, struct br_err *err)
{
    s->files.id = s->o->id;
    s->files.subset = s->o->subset;
    s->files.train = s->o->train;
    int rc = list_files(s, err);
    if (!rc)
        rc = read_card(s, err);
    return rc ? rc : br__hub_choose(s->a, &s->files, err);
}

/* Is the split made of files of its own? */
static int wants_files(const struct br__hub_set_opts *o, int split)
{
    return o->wants[split] && !(split == BR__VALID && o->held_back > 0);
}

static int fetch_splits(struct hub_set *s, struct br_err *err)
{
    const char **paths = br__arena_alloc(s->a, (s->files.n + 1) * sizeof *paths);
    size_t n = 0;

    if (!paths)
        return nomem(s, err);
    for (size_t i = 0; i < s->files.n; i++)
        if (s->files.split[i] < BR__N_SPLITS && wants_files(s->o, s->files.split[i]))
            paths[n++] = s->files.paths[i];
    return fetch_files(s, paths, n, err);
}

/* ---- writing --------------------------------------------------------------------------------- */

static const char *const file_names[BR__N_SPLITS] = {"training.jsonl", "validation.jsonl",
                                                     "test.jsonl"};

static int close_file(struct set_writer *w, int rc, struct br_err *err)
{
    br__buf_free(&w->line);
    if (!rc)
        return br__out_finish(&w->out, err);
    br__out_abort(&w->out);
    return rc;
}

/* The files of a split, in their order, as one file; none if it has none. */
static int write_split(struct hub_set *s, int split, const char *name, struct br_err *err)
{
    struct set_writer w = {.o = s->o};
    const char *to = br__path_join(s->a, s->dir, name);
    size_t n = 0;

    for (size_t i = 0; i < s->files.n; i++)
        n += s->files.split[i] == split;
    if (!n)
        return BR_OK;
    int rc = to ? br__out_open(&w.out, to, 0, !s->o->no_sync, err) : nomem(s, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < s->files.n && !rc; i++) {
        const char *path = s->files.split[i] == split
                               ? br__path_join(s->a, br__hub_snapshot(s->h), s->files.paths[i])
                               : NULL;
        if (path)
            rc = put_file(&w, path, err);
    }
    return close_file(&w, rc, err);
}

static int write_records(struct hub_set *s, const struct br__records *r, const int64_t *order,
                         int64_t n, const char *name, struct br_err *err)
{
    struct set_writer w = {.o = s->o};
    const char *to = br__path_join(s->a, s->dir, name);
    int rc = to ? br__out_open(&w.out, to, 0, !s->o->no_sync, err) : nomem(s, err);

    if (rc)
        return rc;
    for (int64_t i = 0; i < n && !rc; i++) {
        rc = br__records_read(r, order[i], &w.line, err);
        if (!rc)
            rc = br__out_write(&w.out, w.line.p, w.line.n, err);
        if (!rc)
            rc = br__out_write(&w.out, "\n", 1, err);
    }
    return close_file(&w, rc, err);
}

/* Dataset.train_test_split(test_size=held_back, seed=seed) of the datasets library: a random order,
 * whose beginning is held back. */
static int hold_back(struct hub_set *s, struct br_err *err)
{
    const char *rows = br__path_join(s->a, s->dir, "rows.jsonl");
    struct br__records r;
    struct br__pcg64 random;
    int rc = rows ? write_split(s, BR__TRAIN, "rows.jsonl", err) : nomem(s, err);

    if (!rc)
        rc = br__records_open(&r, rows, err);
    if (rc)
        return rc;
    int64_t held = (int64_t)ceil(s->o->held_back * (double)r.n);
    int64_t *order = br__calloc((size_t)r.n + 1, sizeof *order);
    if (!order)
        rc = nomem(s, err);
    else if (held >= r.n || r.n > INT32_MAX)
        rc = br_fail(err, BR_E_CONFIG,
                     "data set '%s' has %" PRId64 " records for training, of which %" PRId64
                     " would be held back for validation; val_proportion=null holds back none",
                     s->o->id, r.n, held);
    if (!rc) {
        br__pcg64_seed(&random, s->o->seed);
        br__pcg64_permutation(&random, r.n, order);
        rc = write_records(s, &r, order, held, file_names[BR__VALID], err);
    }
    if (!rc)
        rc = write_records(s, &r, order + held, r.n - held, file_names[BR__TRAIN], err);
    br__free(order);
    br__records_close(&r);
    return rc ? rc : br__remove_tree(rows, err);
}

static int write_all(struct hub_set *s, struct br_err *err)
{
    int rc = BR_OK, hold = s->o->wants[BR__VALID] && s->o->held_back > 0;

    for (int split = 0; split < BR__N_SPLITS && !rc; split++)
        if (wants_files(s->o, split) && !(hold && split == BR__TRAIN))
            rc = write_split(s, split, file_names[split], err);
    return rc || !hold ? rc : hold_back(s, err);
}

/* The directory appears when everything is in it. */
static int write_set(struct hub_set *s, const char *final, struct br_err *err)
{
    struct br__dir parent = {.fd = -1};
    int rc = BR_OK;

    s->dir = br__arena_printf(s->a, "%s.partial", final);
    if (!s->dir)
        return nomem(s, err);
    if (br__exists(s->dir))
        rc = br__remove_tree(s->dir, err);
    if (!rc)
        rc = br__mkdirs(s->dir, err);
    if (!rc)
        rc = write_all(s, err);
    if (!rc)
        rc = br__dir_of(&parent, final, 0, err);
    if (!rc)
        rc = br__dir_rename(&parent, br__path_base(s->dir), br__path_base(final), err);
    br__dir_close(&parent);
    if (rc && br__exists(s->dir) && br__remove_tree(s->dir, NULL))
        (void)0; /* the next run does it */
    return rc;
}

/* What the files depend on. */
static const char *final_dir(struct hub_set *s)
{
    const struct br__hub_set_opts *o = s->o;
    char *base = br__arena_strdup(s->a, br__hub_id(s->h));
    const char *text = br__arena_printf(
        s->a, "1|%s|%s|%s|%s|%d|%.17g|%" PRIu32 "|%d%d%d", br__hub_id(s->h), br__hub_commit(s->h),
        o->subset ? o->subset : "", o->train ? o->train : "", o->rows,
        o->wants[BR__VALID] ? o->held_back : 0, o->seed, o->wants[0], o->wants[1], o->wants[2]);
    struct br__xxh3 *h = base && text ? br__xxh3_new() : NULL;

    if (!h)
        return NULL;
    br__xxh3_update(h, text, strlen(text));
    uint64_t digest = br__xxh3_digest(h);
    br__xxh3_free(h);
    for (char *p = base; *p; p++)
        *p = (char)(*p == '/' ? '-' : *p);
    return br__arena_printf(s->a, "%s/%s-%016" PRIx64, o->cache_dir, base, digest);
}

int br__hub_set(struct br__arena *a, const struct br__hub_set_opts *o, const char **dir,
                struct br_err *err)
{
    const struct br__hub_opts ho = {.listener = o->listener, .no_sync = o->no_sync, .dataset = 1};
    struct hub_set s = {.o = o, .a = a};
    const char *done = NULL;
    int rc = br__hub_open(&s.h, o->id, &ho, err);

    if (rc)
        return rc;
    *dir = final_dir(&s);
    if (*dir)
        done = br__path_join(a, *dir, file_names[BR__TRAIN]);
    rc = done ? BR_OK : nomem(&s, err);
    if (!rc && !br__exists(done)) {
        rc = choose_files(&s, err);
        if (!rc)
            rc = fetch_splits(&s, err);
        if (!rc)
            rc = br__mkdirs(o->cache_dir, err);
        if (!rc)
            rc = write_set(&s, *dir, err);
    }
    br__free(s.paths);
    br__hub_close(s.h);
    return rc;
}
