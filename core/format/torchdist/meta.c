/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* meta.c - what a .metadata file says: tensors, their boxes, where each box is stored.
 *
 * .metadata is one pickled torch.distributed.checkpoint.metadata.Metadata (or Megatron's subclass
 * of it); classes are recognised by what they hold, since their modules moved over the years.
 * Facts: torch/distributed/checkpoint/metadata.py and filesystem.py, Megatron
 * dist_checkpointing/strategies/torch.py; observed in files of torch 2.9 and 2.15.
 *
 * The file is hostile until proven otherwise: here every box is shown to lie inside its tensor,
 * the boxes of a tensor to tile it exactly, and every box to have a storage entry with a name
 * inside the directory.  What the items themselves hold is read.c's business.
 *
 * A tensor that cannot be represented (complex dtype, more than 8 axes) is an error if it is a
 * weight; optimizer and other training state is left out with a warning. */
#include "torchdist.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define CORNERS_MAX ((size_t)64 << 20) /* of one tensor's boxes; a legitimate one has < 2^20 */

/* Everything that interpretation needs and the checkpoint does not keep. */
struct meta {
    struct br__ckpt *ck;
    struct br__td *td;
    struct br__map files; /* relative path -> index */
    size_t cap_files;
    struct br_err *err;
};

/* One entry of state_dict_metadata. */
struct entry {
    const char *name;
    const struct br__pk *value;
};

static int entry_cmp(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static void *meta_make(struct meta *m, size_t n, size_t size)
{
    if (n > SIZE_MAX / size)
        return NULL;
    return br__arena_alloc(&m->ck->arena, n * size);
}

/* ---- values ---------------------------------------------------------------------------------- */

static int is_text(const struct br__pk *v)
{
    return v && v->kind == BR__PK_STR && v->n > 0 && strlen(v->u.s) == v->n &&
           br__utf8_valid(v->u.s, v->n);
}

static int get_i64(const struct br__pk *v, int64_t *out)
{
    if (!v || v->kind != BR__PK_INT || v->big || v->u.i < 0)
        return BR_E_FORMAT;
    *out = v->u.i;
    return BR_OK;
}

/* A torch.Size of ndim non-negative numbers. */
static int get_dims(const struct br__pk *v, int ndim, int64_t *out)
{
    if (!v || v->kind != BR__PK_TUPLE || v->n != (uint32_t)ndim)
        return BR_E_FORMAT;
    for (int i = 0; i < ndim; i++)
        if (get_i64(v->u.item[i], &out[i]))
            return BR_E_FORMAT;
    return BR_OK;
}

/* The dtype of TensorProperties: first of a 5- or 6-tuple, or a member of old torch's dict. */
static const char *dtype_name(const struct br__pk *properties)
{
    const struct br__pk *state =
        properties && properties->kind == BR__PK_OBJECT ? properties->u.o->state : NULL;
    const struct br__pk *dtype = br__pk_get(state, "dtype");

    if (state && state->kind == BR__PK_TUPLE && (state->n == 5 || state->n == 6))
        dtype = state->u.item[0];
    if (!dtype || dtype->kind != BR__PK_GLOBAL || strcmp(dtype->u.g->module, "torch") != 0)
        return NULL;
    return dtype->u.g->name;
}

/* ---- boxes ----------------------------------------------------------------------------------- */

static uint64_t flat_offset(const struct br__tensor *t, const int64_t *at)
{
    uint64_t flat = 0;

    for (int i = 0; i < t->ndim; i++)
        flat = flat * (uint64_t)t->shape[i] + (uint64_t)at[i];
    return flat * br_dtype_size(t->dtype);
}

static void last_element(const struct br__tensor *t, const struct br__td_chunk *c, int64_t *at)
{
    for (int i = 0; i < t->ndim; i++)
        at[i] = c->off[i] + c->size[i] - 1;
}

/* Whether a non-empty box is one contiguous range of the tensor. */
static int is_range(const struct br__tensor *t, const struct br__td_chunk *c)
{
    int i = 0;

    while (i < t->ndim && c->size[i] == 1)
        i++;
    for (i++; i < t->ndim; i++)
        if (c->size[i] != t->shape[i])
            return 0;
    return 1;
}

static int chunk_cmp(const void *a, const void *b)
{
    const struct br__td_chunk *x = a, *y = b;

    return (x->flat > y->flat) - (x->flat < y->flat);
}

/* Say which element is covered too often or not at all. */
static int bad_cover(struct meta *m, const struct br__tensor *t, uint64_t element, int64_t excess)
{
    int64_t at[BR_MAX_DIMS] = {0};
    char text[256];

    for (int i = t->ndim; i-- > 0;) {
        at[i] = (int64_t)(element % (uint64_t)t->shape[i]);
        element /= (uint64_t)t->shape[i];
    }
    br__shape_str(at, t->ndim, text, sizeof text);
    if (excess > 0)
        return br_fail(m->err, BR_E_FORMAT, "tensor '%s': chunks overlap at element %s", t->name,
                       text);
    return br_fail(m->err, BR_E_FORMAT, "tensor '%s': no chunk holds element %s", t->name, text);
}

/* Boxes that are flat ranges, sorted: each must start where the one before ends. */
static int check_ranges(struct meta *m, const struct br__tensor *t, const struct br__td_chunk *c,
                        size_t n)
{
    uint64_t end = 0, size = br_dtype_size(t->dtype);

    for (size_t i = 0; i < n; i++) {
        int64_t last[BR_MAX_DIMS];
        if (c[i].flat != end)
            return bad_cover(m, t, BR__MIN(c[i].flat, end) / size, c[i].flat < end ? 1 : -1);
        last_element(t, &c[i], last);
        end = flat_offset(t, last) + size;
    }
    return end == t->bytes ? BR_OK : bad_cover(m, t, end / size, -1);
}

/* A corner of a box in a grid of (shape + 1) points, with the sign of its term in the mixed
 * difference of the box's indicator function. */
struct corner {
    uint64_t at;
    int64_t sign;
};

static int corner_cmp(const void *a, const void *b)
{
    const struct corner *x = a, *y = b;

    return (x->at > y->at) - (x->at < y->at);
}

/* The corners of a box over the n_axes axes that are cut; radix[i] is the weight of axes[i]. */
static struct corner *put_corners(struct corner *out, const int64_t *off, const int64_t *size,
                                  const int *axes, const uint64_t *radix, int n_axes, int sign)
{
    for (unsigned set = 0; set < 1u << n_axes; set++, out++) {
        out->at = 0;
        out->sign = sign;
        for (int i = 0; i < n_axes; i++) {
            int high = set >> i & 1;
            int64_t at = off[axes[i]] + (high ? size[axes[i]] : 0);
            out->at += (uint64_t)at * radix[i];
            out->sign = high ? -out->sign : out->sign;
        }
    }
    return out;
}

/* The first corner that does not cancel: how often its element is covered too much. */
static int report_corner(struct meta *m, const struct br__tensor *t, const int *axes,
                         const uint64_t *radix, int n_axes, uint64_t at, int64_t sum)
{
    int64_t element[BR_MAX_DIMS] = {0};
    uint64_t flat = 0;

    for (int i = 0; i < n_axes; i++) {
        element[axes[i]] = (int64_t)(at / radix[i]);
        at %= radix[i];
    }
    for (int i = 0; i < t->ndim; i++)
        flat = flat * (uint64_t)t->shape[i] + (uint64_t)element[i];
    return bad_cover(m, t, flat, sum);
}

/* General boxes.  The number of boxes over each element is the running N-dimensional sum of the
 * signed corners, so the boxes cover each element exactly once if and only if their corners,
 * added up, are those of the whole tensor.  Axes that no box cuts add nothing. */
static int check_corners(struct meta *m, const struct br__tensor *t, const struct br__td_chunk *c,
                         size_t n, const int *axes, int n_axes)
{
    static const int64_t origin[BR_MAX_DIMS];
    uint64_t radix[BR_MAX_DIMS], points = 1;
    size_t total = (n + 1) << n_axes;

    for (int i = n_axes; i-- > 0;) {
        radix[i] = points;
        if (__builtin_mul_overflow(points, (uint64_t)t->shape[axes[i]] + 1, &points))
            return br_fail(m->err, BR_E_UNSUPPORTED, "tensor '%s' is too large", t->name);
    }
    if (n >= CORNERS_MAX >> n_axes)
        return br_fail(m->err, BR_E_UNSUPPORTED, "tensor '%s' has too many chunks: %zu", t->name,
                       n);
    struct corner *all = br__alloc(total * sizeof *all), *p = all;
    if (!all)
        return br__nomem(m->err, "reading the metadata");
    for (size_t i = 0; i < n; i++)
        p = put_corners(p, c[i].off, c[i].size, axes, radix, n_axes, 1);
    put_corners(p, origin, t->shape, axes, radix, n_axes, -1);
    qsort(all, total, sizeof *all, corner_cmp);
    int rc = BR_OK;
    for (size_t i = 0; i < total && !rc;) {
        uint64_t at = all[i].at;
        int64_t sum = 0;
        for (; i < total && all[i].at == at; i++)
            sum += all[i].sign;
        if (sum)
            rc = report_corner(m, t, axes, radix, n_axes, at, sum);
    }
    br__free(all);
    return rc;
}

/* The n boxes, sorted by flat offset and none empty, must tile the tensor. */
static int check_tiling(struct meta *m, const struct br__tensor *t, const struct br__td_chunk *c,
                        size_t n)
{
    int axes[BR_MAX_DIMS], n_axes = 0;
    size_t i = 0;

    while (i < n && is_range(t, &c[i]))
        i++;
    if (i == n)
        return check_ranges(m, t, c, n);
    for (int d = 0; d < t->ndim; d++) {
        for (i = 0; i < n && c[i].size[d] == t->shape[d]; i++)
            ;
        if (i < n)
            axes[n_axes++] = d;
    }
    return check_corners(m, t, c, n, axes, n_axes);
}

/* One box; *empty is set if it holds nothing. */
static int read_chunk(struct meta *m, const struct br__tensor *t, const struct br__pk *v,
                      struct br__td_chunk *c, int *empty)
{
    *empty = 0;
    if (get_dims(br__pk_get(v, "offsets"), t->ndim, c->off) ||
        get_dims(br__pk_get(v, "sizes"), t->ndim, c->size))
        return br_fail(m->err, BR_E_FORMAT,
                       "tensor '%s': a chunk has no offsets and sizes of %d numbers", t->name,
                       t->ndim);
    for (int i = 0; i < t->ndim; i++) {
        if (c->off[i] > t->shape[i] || c->size[i] > t->shape[i] - c->off[i]) {
            char off[256], size[256], shape[256];
            return br_fail(m->err, BR_E_FORMAT,
                           "tensor '%s': chunk at %s of %s reaches outside the shape %s", t->name,
                           br__shape_str(c->off, t->ndim, off, sizeof off),
                           br__shape_str(c->size, t->ndim, size, sizeof size),
                           br__shape_str(t->shape, t->ndim, shape, sizeof shape));
        }
        *empty |= c->size[i] == 0;
    }
    c->file = UINT32_MAX; /* no storage entry yet */
    return BR_OK;
}

/* The chunk list of tensor t: sorted by flat offset, empty boxes dropped, tiling proved. */
static int read_chunks(struct meta *m, const struct br__tensor *t, const struct br__pk *list)
{
    size_t n = 0;

    if (!list || list->kind != BR__PK_LIST)
        return br_fail(m->err, BR_E_FORMAT, "tensor '%s' has no list of chunks", t->name);
    struct br__td_chunk *c = meta_make(m, list->n + (size_t)1, sizeof *c);
    if (!c)
        return br__nomem(m->err, "reading the metadata");
    for (uint32_t i = 0; i < list->n; i++) {
        int empty;
        int rc = read_chunk(m, t, list->u.item[i], &c[n], &empty);
        if (rc)
            return rc;
        n += !empty;
    }
    m->td->chunks[t->priv] = c;
    m->td->n_chunks[t->priv] = n;
    return br__td_tile(t, c, n, m->err);
}

int br__td_tile(const struct br__tensor *t, struct br__td_chunk *c, size_t n, struct br_err *err)
{
    struct meta m = {.err = err};
    uint64_t reach = 0;

    for (size_t i = 0; i < n; i++)
        c[i].flat = flat_offset(t, c[i].off);
    qsort(c, n, sizeof *c, chunk_cmp);
    for (size_t i = 0; i < n; i++) {
        int64_t last[BR_MAX_DIMS];
        last_element(t, &c[i], last);
        reach = BR__MAX(reach, flat_offset(t, last) + br_dtype_size(t->dtype));
        c[i].reach = reach;
    }
    return check_tiling(&m, t, c, n);
}

/* ---- state_dict_metadata --------------------------------------------------------------------- */

int br__td_is_state(const char *key)
{
    static const char *const prefixes[] = {"optimizer.", "chained_", "rng_state",
                                           "rerun_state_machine_state", "common_state"};

    for (size_t i = 0; i < BR_COUNTOF(prefixes); i++)
        if (br__starts(key, prefixes[i]))
            return 1;
    return 0;
}

/* dtype, shape and chunks of one tensor. */
static int read_tensor(struct meta *m, struct br__tensor *t, const struct br__pk *v)
{
    const struct br__pk *size = br__pk_get(v, "size");
    const char *dtype = dtype_name(br__pk_get(v, "properties"));

    if (!dtype || !size || size->kind != BR__PK_TUPLE)
        return br_fail(m->err, BR_E_FORMAT, "tensor '%s' has no dtype or no size", t->name);
    if (size->n > BR_MAX_DIMS)
        return br_fail(m->err, BR_E_UNSUPPORTED, "tensor '%s' has %u axes, supported are %d",
                       t->name, size->n, BR_MAX_DIMS);
    t->dtype = br_dtype_from_torch(dtype);
    if (t->dtype == BR_NONE)
        return br_fail(m->err, BR_E_UNSUPPORTED, "tensor '%s' has unsupported dtype torch.%s",
                       t->name, dtype);
    t->ndim = (int)size->n;
    if (get_dims(size, t->ndim, t->shape) ||
        br_shape_bytes(t->shape, t->ndim, br_dtype_size(t->dtype), &t->bytes))
        return br_fail(m->err, BR_E_FORMAT, "tensor '%s' has an impossible size", t->name);
    return read_chunks(m, t, br__pk_get(v, "chunks"));
}

int br__td_tolerate(struct br__ckpt *ck, const char *key, int rc, struct br_err *err)
{
    if (rc != BR_E_UNSUPPORTED || !br__td_is_state(key))
        return rc;
    if (br__ckpt_warn(ck, "%s; left out", err ? err->msg : key))
        return br_fail(err, BR_E_NOMEM, "out of memory");
    if (err)
        *err = (struct br_err)BR_ERR_INIT;
    return BR_OK;
}

static int is_bytes_item(const struct br__pk *v)
{
    return v->kind == BR__PK_OBJECT && v->u.o->callable->kind == BR__PK_GLOBAL &&
           br__ends(v->u.o->callable->u.g->name, "BytesStorageMetadata");
}

/* Sort the entries into tensors and objects; both come out in name order. */
static int read_entries(struct meta *m, const struct entry *e, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (i && strcmp(e[i].name, e[i - 1].name) == 0)
            return br_fail(m->err, BR_E_FORMAT, "key '%s' is there twice", e[i].name);
        const char *name = br__arena_strdup(&m->ck->arena, e[i].name);
        if (!name)
            return br__nomem(m->err, "reading the metadata");
        if (is_bytes_item(e[i].value)) {
            m->td->object_file[m->td->n_objects] = UINT32_MAX;
            m->td->objects[m->td->n_objects++] = name;
            continue;
        }
        struct br__tensor *t = &m->ck->tensors[m->ck->n_tensors];
        t->name = name;
        t->priv = (uint32_t)m->ck->n_tensors;
        int rc = read_tensor(m, t, e[i].value);
        if (rc) {
            rc = br__td_tolerate(m->ck, name, rc, m->err);
            memset(t, 0, sizeof *t);
        } else {
            m->ck->n_tensors++;
        }
        if (rc)
            return rc;
    }
    return BR_OK;
}

static int make_tables(struct meta *m, size_t n)
{
    struct br__td *td = m->td;

    m->ck->tensors = meta_make(m, n + 1, sizeof *m->ck->tensors);
    td->chunks = meta_make(m, n + 1, sizeof *td->chunks);
    td->n_chunks = meta_make(m, n + 1, sizeof *td->n_chunks);
    td->objects = meta_make(m, n + 1, sizeof *td->objects);
    td->object_file = meta_make(m, n + 1, sizeof *td->object_file);
    td->object_off = meta_make(m, n + 1, sizeof *td->object_off);
    td->object_len = meta_make(m, n + 1, sizeof *td->object_len);
    if (!m->ck->tensors || !td->chunks || !td->n_chunks || !td->objects || !td->object_file ||
        !td->object_off || !td->object_len)
        return br__nomem(m->err, "reading the metadata");
    return BR_OK;
}

static int read_state_dict(struct meta *m, const struct br__pk *d)
{
    if (!d || d->kind != BR__PK_DICT)
        return br_fail(m->err, BR_E_FORMAT, "no dict 'state_dict_metadata' in the pickled object");
    int rc = make_tables(m, d->n);
    if (rc)
        return rc;
    struct entry *e = br__calloc(d->n + (size_t)1, sizeof *e);
    if (!e)
        return br__nomem(m->err, "reading the metadata");
    for (uint32_t i = 0; i < d->n && !rc; i++) {
        e[i].value = d->u.item[2 * i + 1];
        if (is_text(d->u.item[2 * i]))
            e[i].name = d->u.item[2 * i]->u.s;
        else
            rc = br_fail(m->err, BR_E_FORMAT, "key %u of state_dict_metadata is no text", i);
    }
    if (!rc) {
        qsort(e, d->n, sizeof *e, entry_cmp);
        rc = read_entries(m, e, d->n);
    }
    br__free(e);
    return rc;
}

/* ---- storage_data ---------------------------------------------------------------------------- */

/* A path that cannot leave the directory. */
static int is_inside(const char *path)
{
    for (const char *p = path;; p++) {
        size_t n = strcspn(p, "/");
        if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
            return 0;
        p += n;
        if (!*p)
            return 1;
    }
}

static int file_index(struct meta *m, const char *path, uint32_t *out)
{
    struct br__ckpt *ck = m->ck;

    *out = br__map_get(&m->files, path);
    if (*out != BR__NOT_FOUND)
        return BR_OK;
    if (!is_inside(path))
        return br_fail(m->err, BR_E_FORMAT, "file name '%s' points out of the directory", path);
    if (ck->n_files == m->cap_files) { /* doubles in the arena, which keeps it until the end */
        size_t cap = BR__MAX(m->cap_files * 2, 16);
        const char **names = meta_make(m, cap, sizeof *names);
        if (!names)
            return br__nomem(m->err, "reading the metadata");
        if (ck->n_files)
            memcpy(names, ck->file_names, ck->n_files * sizeof *names);
        ck->file_names = names;
        m->cap_files = cap;
    }
    const char *name = br__arena_strdup(&ck->arena, path);
    if (!name || br__map_put(&m->files, name, (uint32_t)ck->n_files))
        return br__nomem(m->err, "reading the metadata");
    *out = (uint32_t)ck->n_files;
    ck->file_names[ck->n_files++] = name;
    return BR_OK;
}

static int name_cmp(const void *key, const void *element)
{
    return strcmp(key, *(const char *const *)element);
}

static struct br__td_chunk *find_chunk(struct meta *m, const struct br__tensor *t,
                                       const struct br__pk *offset)
{
    struct br__td_chunk key = {0};

    if (get_dims(offset, t->ndim, key.off))
        return NULL;
    for (int i = 0; i < t->ndim; i++)
        if (key.off[i] >= t->shape[i])
            return NULL;
    key.flat = flat_offset(t, key.off);
    return bsearch(&key, m->td->chunks[t->priv], m->td->n_chunks[t->priv], sizeof key, chunk_cmp);
}

/* One entry: MetadataIndex(fqn, offset) -> _StorageInfo(relative_path, offset, length).  Entries
 * for boxes that no tensor has are ignored, as torch does. */
static int read_storage(struct meta *m, const struct br__pk *index, const struct br__pk *info)
{
    const struct br__pk *fqn = br__pk_get(index, "fqn");
    const struct br__pk *path = br__pk_get(info, "relative_path");
    const struct br__pk *transforms = br__pk_get(info, "transform_descriptors");
    int64_t off, len;
    uint32_t file;

    if (!is_text(fqn) || !is_text(path) || get_i64(br__pk_get(info, "offset"), &off) ||
        get_i64(br__pk_get(info, "length"), &len))
        return br_fail(m->err, BR_E_FORMAT, "a storage entry lacks fqn, path, offset or length");
    /* tensors[0].name is the first member: the same comparison serves both tables */
    _Static_assert(offsetof(struct br__tensor, name) == 0, "searched by name");
    const struct br__tensor *t =
        bsearch(fqn->u.s, m->ck->tensors, m->ck->n_tensors, sizeof *m->ck->tensors, name_cmp);
    struct br__td_chunk *c = t ? find_chunk(m, t, br__pk_get(index, "offset")) : NULL;
    const char **object =
        t ? NULL
          : bsearch(fqn->u.s, m->td->objects, m->td->n_objects, sizeof *m->td->objects, name_cmp);
    if (!c && !object)
        return BR_OK;
    if (transforms && transforms->kind != BR__PK_NONE &&
        !(transforms->kind == BR__PK_LIST && transforms->n == 0))
        return br_fail(m->err, BR_E_UNSUPPORTED,
                       "'%s' is stored with transforms (compressed or encrypted)", fqn->u.s);
    int rc = file_index(m, path->u.s, &file);
    if (rc)
        return rc;
    if (c) {
        c->file = file;
        c->item_off = (uint64_t)off;
        c->item_len = (uint64_t)len;
    } else {
        size_t i = (size_t)(object - m->td->objects);
        m->td->object_file[i] = file;
        m->td->object_off[i] = (uint64_t)off;
        m->td->object_len[i] = (uint64_t)len;
    }
    return BR_OK;
}

static int read_storage_data(struct meta *m, const struct br__pk *d)
{
    if (!d || d->kind != BR__PK_DICT)
        return br_fail(m->err, BR_E_FORMAT, "no dict 'storage_data' in the pickled object");
    for (uint32_t i = 0; i < d->n; i++) {
        int rc = read_storage(m, d->u.item[2 * i], d->u.item[2 * i + 1]);
        if (rc)
            return rc;
    }
    return BR_OK;
}

/* Every chunk and object must have got a place. */
static int check_storage(struct meta *m)
{
    const struct br__td *td = m->td;

    for (size_t i = 0; i < m->ck->n_tensors; i++) {
        const struct br__tensor *t = &m->ck->tensors[i];
        const struct br__td_chunk *c = td->chunks[t->priv];
        for (size_t k = 0; k < td->n_chunks[t->priv]; k++) {
            char text[256];
            if (c[k].file == UINT32_MAX)
                return br_fail(m->err, BR_E_FORMAT,
                               "tensor '%s': no storage entry for the chunk at %s (interrupted "
                               "save?)",
                               t->name, br__shape_str(c[k].off, t->ndim, text, sizeof text));
        }
    }
    for (size_t i = 0; i < td->n_objects; i++)
        if (td->object_file[i] == UINT32_MAX)
            return br_fail(m->err, BR_E_FORMAT, "object '%s' has no storage entry", td->objects[i]);
    return BR_OK;
}

int br__td_interpret(struct br__ckpt *ck, const unsigned char *p, size_t n, struct br_err *err)
{
    struct br__arena scratch = {0};
    struct meta m = {.ck = ck, .err = err};
    struct br__pk *root;

    ck->format = BR__FMT_TORCH_DIST;
    ck->td = m.td = br__arena_alloc(&ck->arena, sizeof *ck->td);
    int rc = m.td ? br__map_init(&m.files, 16) : BR_E_NOMEM;
    if (rc)
        return br__nomem(m.err, "reading the metadata");
    rc = br__pk_load(&scratch, p, n, NULL, &root, err);
    if (!rc)
        rc = read_state_dict(&m, br__pk_get(root, "state_dict_metadata"));
    if (!rc)
        rc = read_storage_data(&m, br__pk_get(root, "storage_data"));
    if (!rc)
        rc = check_storage(&m);
    br__arena_free(&scratch);
    br__map_free(&m.files);
    if (rc) {
        ck->n_files = 0; /* names without files */
        return rc;
    }
    ck->files = meta_make(&m, ck->n_files + 1, sizeof *ck->files);
    if (!ck->files) {
        ck->n_files = 0;
        return br__nomem(m.err, "reading the metadata");
    }
    return BR_OK;
}
