/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* open.c - find and open a Megatron torch_dist checkpoint.
 *
 * The user names a root (trackers, iter_NNNNNNN/ or release/) or the iteration directory itself.
 * Opening reads .metadata, maps every .distcp file once, locates all items, and collects the facts
 * beside the tensors: common state, run_config.yaml, train_state.pt.
 * Facts: Megatron-LM training/checkpointing.py (trackers), Megatron Bridge
 * training/utils/checkpoint_utils.py (train_state.pt, run_config.yaml). */
#include "torchdist.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TRACKER "latest_checkpointed_iteration.txt"
#define TRAIN_STATE "train_state.pt"
#define LATEST_TRAIN_STATE "latest_train_state.pt"
#define TRACKER_MAX 1024
#define SMALL_FILE_MAX (16u << 20)

/* rc of opening a file that need not exist: absence is no error.  (Asking first whether it exists
 * would take a failing disk for absence.) */
static int td_optional(int rc, struct br_err *err)
{
    if (rc != BR_E_NOTFOUND)
        return rc;
    if (err)
        *err = (struct br_err)BR_ERR_INIT;
    return BR_OK;
}

/* ---- train_state.pt -------------------------------------------------------------------------- */

/* A 0-d tensor of the dict, of that dtype; *out stays as it is if there is none. */
static int read_counter(const struct br__file *f, const struct br__torch_file *tf, const char *key,
                        int dtype, void *out, struct br_err *err)
{
    const struct br__pk *v = br__pk_get(tf->root, key);
    struct br__torch_tensor t;

    if (!v)
        return BR_OK;
    int rc = br__torch_tensor_read(tf, v, &t, err);
    if (!rc && (t.dtype != dtype || t.bytes != br_dtype_size(dtype)))
        rc = br_fail(err, BR_E_FORMAT, "not a single %s", br_dtype_torch(dtype));
    if (!rc)
        rc = br__file_read(f, t.data_off, out, br_dtype_size(dtype), err);
    if (rc)
        br_wrap(err, "'%s'", key);
    return rc;
}

/* Megatron Bridge's train_state.pt; what it lacks stays as it is.  BR_E_NOTFOUND if absent. */
static int read_train_state(const char *path, struct br__train_counters *c, struct br_err *err)
{
    struct br__arena a = {0};
    struct br__torch_file tf;
    struct br__file f = {0};
    float flops = 0;

    int rc = br__file_open(&f, path, err);
    if (rc)
        return rc;
    const struct {
        const char *name;
        int dtype;
        void *value;
    } counters[] = {{"step", BR_I64, &c->step},
                    {"consumed_train_samples", BR_I64, &c->consumed_samples},
                    {"skipped_train_samples", BR_I64, &c->skipped_samples},
                    {"consumed_valid_samples", BR_I64, &c->valid_samples},
                    {"floating_point_operations_so_far", BR_F32, &flops}};
    rc = br__torch_load(&a, &f, 0, f.size, &tf, err);
    for (size_t i = 0; i < BR_COUNTOF(counters) && !rc; i++)
        rc = read_counter(&f, &tf, counters[i].name, counters[i].dtype, counters[i].value, err);
    c->flops = flops;
    if (rc)
        br_wrap(err, "'%s'", path);
    br__arena_free(&a);
    br__file_close(&f);
    return rc;
}

/* ---- root or iteration directory ------------------------------------------------------------- */

/* A search in progress: `name` is the directory below `dir` that `by` leads to, NULL if none. */
struct search {
    struct br__arena *a;
    const char *dir;
    const char *name, *by;
    struct br_err *err;
};

static int td_found(struct search *s, const char *by, const char *name)
{
    if (!name)
        return br_fail(s->err, BR_E_NOMEM, "out of memory");
    s->name = name;
    s->by = by;
    return BR_OK;
}

static int found_iteration(struct search *s, const char *by, int64_t n)
{
    return td_found(s, by, br__arena_printf(s->a, "iter_%07" PRId64, n));
}

/* Whether `dir` has a .metadata.  A disk that cannot tell is an error: another directory might be
 * taken instead. */
static int is_checkpoint(struct br__arena *a, const char *dir, int *yes, struct br_err *err)
{
    const char *path = br__path_join(a, dir, ".metadata");
    struct stat st;

    if (!path)
        return br_fail(err, BR_E_NOMEM, "out of memory");
    *yes = br__io.stat(path, &st) == 0;
    int e = *yes ? 0 : errno;
    if (e && e != ENOENT && e != ENOTDIR) {
        char text[128];
        return br_fail(err, BR_E_IO, "cannot examine '%s': %s", path,
                       strerror_r(e, text, sizeof text));
    }
    return BR_OK;
}

/* Megatron writes str(int): digits, and no zero before another. */
static int is_iteration(const char *word)
{
    return *word && !word[strspn(word, "0123456789")] && (word[0] != '0' || !word[1]);
}

/* "release" or a number, perhaps with white space around. */
static int by_tracker(struct search *s)
{
    const char *path = br__path_join(s->a, s->dir, TRACKER);
    char *text = NULL;
    size_t n = 0;
    int64_t iteration;

    if (!path)
        return td_found(s, TRACKER, NULL);
    int rc = td_optional(br__read_text(path, TRACKER_MAX, &text, &n, s->err), s->err);
    if (rc || !text)
        return rc;
    char *word = text + strspn(text, " \t\r\n"), *end = text + n;
    while (end > word && memchr(" \t\r\n", end[-1], 4))
        *--end = 0;
    if (memchr(word, 0, (size_t)(end - word)))
        rc = br_fail(s->err, BR_E_FORMAT, "'%s' holds a NUL byte", path);
    else if (strcmp(word, "release") == 0)
        rc = td_found(s, TRACKER, "release");
    else if (is_iteration(word) && br__parse_i64(word, &iteration) == BR_OK)
        rc = found_iteration(s, TRACKER, iteration);
    else
        rc = br_fail(s->err, BR_E_FORMAT,
                     "'%s' holds '%.40s', expected 'release' or an iteration number", path, word);
    br__free(text);
    return rc;
}

static int by_train_state(struct search *s)
{
    const char *path = br__path_join(s->a, s->dir, LATEST_TRAIN_STATE);
    struct br__train_counters c = {.step = -1};

    if (!path)
        return td_found(s, LATEST_TRAIN_STATE, NULL);
    int rc = read_train_state(path, &c, s->err);
    if (rc)
        return td_optional(rc, s->err);
    if (c.step < 0)
        return br_fail(s->err, BR_E_FORMAT, "'%s' has no step", path);
    return found_iteration(s, LATEST_TRAIN_STATE, c.step);
}

static int by_listing(struct search *s)
{
    char **names = NULL;
    size_t n = 0;
    int64_t best = -1;

    int rc = br__list_dir(s->a, s->dir, &names, &n, s->err);
    if (rc)
        return rc;
    for (size_t i = 0; i < n; i++) {
        int64_t k;
        if (!br__starts(names[i], "iter_") || br__parse_i64(names[i] + 5, &k) != BR_OK || k <= best)
            continue;
        best = k;
        s->name = names[i];
        s->by = "the largest iter_*";
    }
    const char *release = br__path_join(s->a, s->dir, "release");
    int yes = 0;
    if (best >= 0)
        return BR_OK;
    rc = release ? is_checkpoint(s->a, release, &yes, s->err) : td_found(s, "release", NULL);
    return rc || !yes ? rc : td_found(s, "release", "release");
}

/* Set s->name to the directory below the root; BR_E_NOTFOUND if nothing leads to one. */
static int find_iteration(struct search *s)
{
    static int (*const steps[])(struct search *) = {by_tracker, by_train_state, by_listing};

    for (size_t i = 0; i < BR_COUNTOF(steps) && !s->name; i++) {
        int rc = steps[i](s);
        if (rc)
            return rc;
    }
    if (!s->name)
        return br_fail(s->err, BR_E_NOTFOUND,
                       "'%s' is no torch_dist checkpoint: no .metadata, no %s, no iter_*", s->dir,
                       TRACKER);
    return BR_OK;
}

int br__td_resolve(struct br__arena *a, const char *dir, const char **iter_dir, struct br_err *err)
{
    struct search s = {.a = a, .dir = dir, .err = err};
    int yes;

    *iter_dir = NULL;
    if (!br__is_dir(dir))
        return br_fail(err, BR_E_NOTFOUND, "'%s' is not a directory", dir);
    int rc = is_checkpoint(a, dir, &yes, err);
    if (!rc && !yes)
        rc = find_iteration(&s);
    if (rc)
        return rc;
    *iter_dir = s.name ? br__path_join(a, dir, s.name) : br__arena_strdup(a, dir);
    if (!*iter_dir)
        return br_fail(err, BR_E_NOMEM, "out of memory");
    if (s.name)
        rc = is_checkpoint(a, *iter_dir, &yes, err);
    if (!rc && !yes)
        rc =
            br_fail(err, BR_E_FORMAT,
                    "'%s', which %s leads to, has no .metadata (not a torch_dist checkpoint, or an "
                    "interrupted save)",
                    *iter_dir, s.by);
    return rc;
}

/* ---- the facts beside the tensors ------------------------------------------------------------ */

/* metadata.json names the format: anything but torch_dist is another reader's business. */
static int check_backend(struct br__ckpt *ck, struct br_err *err)
{
    const char *path = br__path_join(&ck->arena, ck->dir, "metadata.json");
    br__json *j = NULL;
    char *text = NULL;
    size_t n = 0;

    if (!path)
        return br_fail(err, BR_E_NOMEM, "out of memory");
    int rc = td_optional(br__read_text(path, SMALL_FILE_MAX, &text, &n, err), err);
    if (!rc && !text)
        return br__ckpt_warn(ck, "no metadata.json: Megatron does not load such a directory");
    if (!rc)
        rc = br__json_parse(&j, text, n, err);
    if (!rc) {
        const char *backend = br__json_str(br__json_get(j, "sharded_backend"), "");
        if (strcmp(backend, "torch_dist") != 0)
            rc = br_fail(err, BR_E_UNSUPPORTED, "sharded_backend is '%.40s', expected 'torch_dist'",
                         backend);
    }
    if (rc)
        br_wrap(err, "'%s'", path);
    br__json_free(j);
    br__free(text);
    return rc;
}

/* common.pt; *out stays NULL if there is none. */
static int read_common_file(struct br__ckpt *ck, const char *path, struct br__pk **out,
                            struct br_err *err)
{
    struct br__torch_file tf = {0};
    struct br__file f = {0};
    int rc = br__file_open(&f, path, err);

    if (rc)
        return td_optional(rc, err);
    rc = br__torch_load(&ck->arena, &f, 0, f.size, &tf, err);
    if (rc)
        br_wrap(err, "'%s'", path);
    *out = tf.root;
    br__file_close(&f);
    return rc;
}

static int name_cmp(const void *key, const void *element)
{
    return strcmp(key, *(const char *const *)element);
}

/* The common_state item: a list of one dict. */
static int read_common_object(struct br__ckpt *ck, struct br__pk **out, struct br_err *err)
{
    const struct br__td *td = ck->td;
    const char **object =
        bsearch(BR__TD_COMMON, td->objects, td->n_objects, sizeof *td->objects, name_cmp);

    if (!object)
        return BR_OK;
    int rc = br__td_object(ck, &ck->arena, (size_t)(object - td->objects), out, err);
    if (!rc && (*out)->kind == BR__PK_LIST && (*out)->n == 1)
        *out = (*out)->u.item[0];
    return rc;
}

/* The common state dict: common.pt has priority, as in Megatron. */
static int read_common(struct br__ckpt *ck, struct br_err *err)
{
    const char *path = br__path_join(&ck->arena, ck->dir, "common.pt");
    struct br__pk *v = NULL;
    int from = 1;

    if (!path)
        return br_fail(err, BR_E_NOMEM, "out of memory");
    int rc = read_common_file(ck, path, &v, err);
    if (!rc && !v) {
        from = 2;
        rc = read_common_object(ck, &v, err);
    }
    if (rc || !v)
        return rc;
    if (v->kind != BR__PK_DICT)
        return br_fail(err, BR_E_FORMAT, "the common state in '%s' is no dict",
                       from == 1 ? path : BR__TD_COMMON);
    ck->td->common = v;
    ck->td->common_from = from;
    return BR_OK;
}

static void read_common_facts(struct br__td *td)
{
    const struct br__pk *iteration = br__pk_get(td->common, "iteration");
    const struct br__pk *args = br__pk_get(td->common, "args");

    td->iteration = -1;
    if (iteration && iteration->kind == BR__PK_INT && !iteration->big)
        td->iteration = iteration->u.i;
    if (args && args->kind == BR__PK_OBJECT && args->u.o->state &&
        args->u.o->state->kind == BR__PK_DICT)
        td->args = args->u.o->state;
}

/* run_config.yaml and train_state.pt are Megatron Bridge's; both may be absent. */
static int read_extras(struct br__ckpt *ck, struct br_err *err)
{
    const char *yaml = br__path_join(&ck->arena, ck->dir, "run_config.yaml");
    const char *state = br__path_join(&ck->arena, ck->dir, TRAIN_STATE);
    struct br__td *td = ck->td;

    if (!yaml || !state)
        return br_fail(err, BR_E_NOMEM, "out of memory");
    int rc = br__read_text(yaml, SMALL_FILE_MAX, &td->run_config_text, &td->run_config_size, err);
    rc = td_optional(rc, err);
    if (rc)
        return rc;
    td->has_run_config = td->run_config_text != NULL;
    struct br__train_counters c = {
        .step = -1, .consumed_samples = -1, .skipped_samples = -1, .valid_samples = -1};
    rc = td_optional(read_train_state(state, &c, err), err);
    td->train_step = c.step;
    td->consumed_samples = c.consumed_samples;
    td->skipped_samples = c.skipped_samples;
    td->valid_samples = c.valid_samples;
    td->flops = c.flops;
    return rc;
}

/* ---- opening --------------------------------------------------------------------------------- */

/* Say which tensor needs the file that could not be opened. */
static void wrap_file(const struct br__ckpt *ck, uint32_t file, struct br_err *err)
{
    for (size_t i = 0; i < ck->n_tensors; i++) {
        const struct br__tensor *t = &ck->tensors[i];
        const struct br__td_chunk *c = ck->td->chunks[t->priv];
        for (size_t k = 0; k < ck->td->n_chunks[t->priv]; k++) {
            char text[256];
            if (c[k].file != file)
                continue;
            br_wrap(err, "tensor '%s', chunk at %s", t->name,
                    br__shape_str(c[k].off, t->ndim, text, sizeof text));
            return;
        }
    }
}

static int open_files(struct br__ckpt *ck, struct br_err *err)
{
    for (size_t i = 0; i < ck->n_files; i++) {
        const char *path = br__path_join(&ck->arena, ck->dir, ck->file_names[i]);
        int rc = path ? br__file_open(&ck->files[i], path, err)
                      : br_fail(err, BR_E_NOMEM, "out of memory");
        if (rc) {
            wrap_file(ck, (uint32_t)i, err);
            return rc;
        }
    }
    return BR_OK;
}

/* Objects are decoded on demand, but must be where .metadata says. */
static int check_objects(const struct br__ckpt *ck, struct br_err *err)
{
    const struct br__td *td = ck->td;

    for (size_t i = 0; i < td->n_objects; i++) {
        const struct br__file *f = &ck->files[td->object_file[i]];
        if (td->object_off[i] > f->size || td->object_len[i] > f->size - td->object_off[i])
            return br_fail(err, BR_E_FORMAT,
                           "object '%s': %" PRIu64 " bytes at %" PRIu64
                           " reach past the end of '%s', which has %" PRIu64,
                           td->objects[i], td->object_len[i], td->object_off[i],
                           ck->file_names[td->object_file[i]], f->size);
    }
    return BR_OK;
}

static int read_metadata(struct br__ckpt *ck, struct br_err *err)
{
    const char *path = br__path_join(&ck->arena, ck->dir, ".metadata");
    struct br__file f = {0};

    if (!path)
        return br_fail(err, BR_E_NOMEM, "out of memory");
    int rc = br__file_open(&f, path, err);
    if (rc)
        return rc;
    rc = br__td_interpret(ck, f.map, (size_t)f.size, err);
    if (rc)
        br_wrap(err, "'%s'", path);
    br__file_close(&f);
    return rc;
}

static int index_names(struct br__ckpt *ck, struct br_err *err)
{
    if (br__map_init(&ck->by_name, ck->n_tensors))
        return br_fail(err, BR_E_NOMEM, "out of memory");
    for (size_t i = 0; i < ck->n_tensors; i++)
        if (br__map_put(&ck->by_name, ck->tensors[i].name, (uint32_t)i))
            return br_fail(err, BR_E_NOMEM, "out of memory");
    return BR_OK;
}

/* Where the iteration directory hangs: the given root, or the parent of a directory given
 * directly. */
static int name_places(struct br__ckpt *ck, const char *dir, struct br_err *err)
{
    struct br__td *td = ck->td;
    int direct = strcmp(ck->dir, dir) == 0;
    char *abs;
    int rc = br__path_abs(&ck->arena, ck->dir, &abs, err);

    td->root = dir;
    if (rc)
        return rc;
    if (direct) {
        const char *base = br__path_base(abs);
        size_t n = base > abs + 1 ? (size_t)(base - abs) - 1 : 1; /* "/" stays "/" */
        td->root = br__arena_strndup(&ck->arena, abs, n);
        td->iteration_name = base;
    } else {
        td->root = br__arena_strdup(&ck->arena, dir);
        td->iteration_name = br__path_base(ck->dir);
    }
    if (!td->root)
        return br_fail(err, BR_E_NOMEM, "out of memory");
    return BR_OK;
}

static int open_all(struct br__ckpt *ck, const char *dir, struct br_err *err)
{
    int rc;

    if ((rc = br__td_resolve(&ck->arena, dir, &ck->dir, err)) || (rc = read_metadata(ck, err)) ||
        (rc = name_places(ck, dir, err)) || (rc = check_backend(ck, err)) ||
        (rc = open_files(ck, err)) || (rc = check_objects(ck, err)) ||
        (rc = br__td_locate(ck, err)) || (rc = index_names(ck, err)) || (rc = read_common(ck, err)))
        return rc;
    read_common_facts(ck->td);
    return read_extras(ck, err);
}

int br__td_open(struct br__ckpt **out, const char *dir, struct br_err *err)
{
    struct br__ckpt *ck = br__calloc(1, sizeof *ck);

    *out = NULL;
    if (!ck)
        return br_fail(err, BR_E_NOMEM, "out of memory");
    ck->ops = &br__td_ops;
    int rc = open_all(ck, dir, err);
    if (rc) {
        br__ckpt_close(ck);
        return rc;
    }
    *out = ck;
    return BR_OK;
}
