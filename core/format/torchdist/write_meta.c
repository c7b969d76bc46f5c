/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* write_meta.c - writes .metadata, the pickle that says which box of which tensor is
 * where.
 *
 * Source of the format: what torch 2.9 and 2.15 write, reduced to what either reads with mcore 0.12
 * to 0.19: a plain Metadata of protocol 2, five tensor properties, no version, no storage_meta. */
#include "../torch/torch.h"

#include <inttypes.h>

#define META "torch.distributed.checkpoint.metadata"

/* A writer of .metadata: the plan, its chunks by tensor, and memo slots of shared objects. */
struct meta {
    struct br__pkw w;
    const struct br__td_plan *p;
    size_t *first;             /* n_tensors + 1: where a tensor's items start in `order` */
    uint32_t *order;           /* item indices, by tensor */
    int layout, memory_format; /* slots, -1 before the first use */
};

static void put_size(struct br__pkw *w, const int64_t *v, int n)
{
    br__pkw_global(w, "torch", "Size");
    br__pkw_tuple(w, v, n);
    br__pkw_op(w, '\x85'); /* TUPLE1 */
    br__pkw_put(w);
    br__pkw_op(w, 'R');
    br__pkw_put(w);
}

/* callable(arg), or callable(0) if `arg` is NULL: made once, then shared. */
static void put_shared(struct br__pkw *w, int *slot, const char *module, const char *name,
                       const char *arg)
{
    if (*slot >= 0) {
        br__pkw_get(w, *slot);
        return;
    }
    br__pkw_global(w, module, name);
    if (arg)
        br__pkw_str(w, arg);
    else
        br__pkw_int(w, 0);
    br__pkw_op(w, '\x85');
    br__pkw_put(w);
    br__pkw_op(w, 'R');
    *slot = w->memo;
    br__pkw_put(w);
}

/* TensorProperties: dtype, layout, requires_grad, memory format, pin_memory.  torch 2.15 itself
 * adds a sixth, strides, but torch 2.9 accepts exactly five. */
static void put_properties(struct meta *m, int dtype)
{
    struct br__pkw *w = &m->w;
    br__pkw_new(w, META, "TensorProperties");
    br__pkw_op(w, '(');
    br__pkw_global(w, "torch", br_dtype_torch(dtype));
    put_shared(w, &m->layout, "torch.serialization", "_get_layout", "torch.strided");
    br__pkw_bool(w, 0);
    put_shared(w, &m->memory_format, META, "_MEM_FORMAT_ENCODING", NULL);
    br__pkw_bool(w, 0);
    br__pkw_op(w, 't');
    br__pkw_put(w);
    br__pkw_op(w, 'b');
}

static void put_chunk(struct br__pkw *w, const struct br__td_item *it, int ndim)
{
    br__pkw_new(w, META, "ChunkStorageMetadata");
    br__pkw_dict(w);
    br__pkw_str(w, "offsets");
    put_size(w, it->off, ndim);
    br__pkw_str(w, "sizes");
    put_size(w, it->size, ndim);
    br__pkw_build(w);
}

static void put_tensor_metadata(struct meta *m, size_t tensor)
{
    struct br__pkw *w = &m->w;
    const struct br__td_out *t = &m->p->tensors[tensor];
    size_t n = m->first[tensor + 1] - m->first[tensor];
    const uint32_t *order = m->order + m->first[tensor];
    br__pkw_new(w, META, "TensorStorageMetadata");
    br__pkw_dict(w);
    br__pkw_str(w, "properties");
    put_properties(m, t->dtype);
    br__pkw_str(w, "size");
    put_size(w, t->shape, t->ndim);
    br__pkw_str(w, "chunks");
    br__pkw_op(w, ']');
    br__pkw_put(w);
    for (size_t i = 0; i < n; i++) {
        br__pkw_item_begin(w, i, n);
        put_chunk(w, &m->p->items[order[i]], t->ndim);
        br__pkw_item_end(w, i, n, BR__PKW_LIST);
    }
    br__pkw_build(w);
}

static size_t count_objects(const struct br__td_plan *p)
{
    size_t n = 0;
    while (n < p->n_items && p->items[n].tensor == BR__TD_OBJECT)
        n++;
    return n;
}

/* Keys to what they are: bytes items, then tensors. */
static void put_state_dict_metadata(struct meta *m)
{
    struct br__pkw *w = &m->w;
    size_t n_objects = count_objects(m->p), n = n_objects + m->p->n_tensors;
    br__pkw_op(w, '}');
    br__pkw_put(w);
    for (size_t i = 0; i < n; i++) {
        br__pkw_item_begin(w, i, n);
        if (i < n_objects) {
            br__pkw_str(w, m->p->items[i].object_key);
            br__pkw_new(w, META, "BytesStorageMetadata");
        } else {
            br__pkw_str(w, m->p->tensors[i - n_objects].key);
            put_tensor_metadata(m, i - n_objects);
        }
        br__pkw_item_end(w, i, n, BR__PKW_DICT);
    }
}

/* Key of storage_data.  A bytes item's has no offset. */
static void put_index(struct meta *m, const struct br__td_item *it)
{
    struct br__pkw *w = &m->w;
    br__pkw_new(w, META, "MetadataIndex");
    br__pkw_dict(w);
    br__pkw_str(w, "fqn");
    if (it->tensor == BR__TD_OBJECT) {
        br__pkw_str(w, it->object_key);
    } else {
        const struct br__td_out *t = &m->p->tensors[it->tensor];
        br__pkw_str(w, t->key);
        br__pkw_str(w, "offset");
        put_size(w, it->off, t->ndim);
    }
    br__pkw_str(w, "index");
    br__pkw_none(w);
    br__pkw_build(w);
}

static void put_storage_data(struct meta *m)
{
    struct br__pkw *w = &m->w;
    size_t n = m->p->n_items;
    char name[40];
    br__pkw_op(w, '}');
    br__pkw_put(w);
    for (size_t i = 0; i < n; i++) {
        const struct br__td_item *it = &m->p->items[i];
        snprintf(name, sizeof name, BR__TD_FILE, (unsigned)it->writer, (unsigned)it->file);
        br__pkw_item_begin(w, i, n);
        put_index(m, it);
        br__pkw_new(w, "torch.distributed.checkpoint.filesystem", "_StorageInfo");
        br__pkw_dict(w);
        br__pkw_str(w, "relative_path");
        br__pkw_str(w, name);
        br__pkw_str(w, "offset");
        br__pkw_int(w, (int64_t)it->item_off);
        br__pkw_str(w, "length");
        br__pkw_int(w, (int64_t)it->item_len);
        br__pkw_build(w);
        br__pkw_item_end(w, i, n, BR__PKW_DICT);
    }
}

/* Group the tensor items by tensor, in the plan's order (a counting sort). */
static int group_items(struct meta *m)
{
    const struct br__td_plan *p = m->p;
    m->first = br__calloc(p->n_tensors + 2, sizeof *m->first);
    m->order = br__calloc(p->n_items + 1, sizeof *m->order);
    if (!m->first || !m->order)
        return BR_E_NOMEM;
    size_t *next = m->first + 1; /* ends up one place to the left: as `first` */
    for (size_t i = 0; i < p->n_items; i++)
        if (p->items[i].tensor != BR__TD_OBJECT)
            next[p->items[i].tensor + 1]++;
    for (size_t t = 0; t < p->n_tensors; t++)
        next[t + 1] += next[t];
    for (size_t i = 0; i < p->n_items; i++)
        if (p->items[i].tensor != BR__TD_OBJECT)
            m->order[next[p->items[i].tensor]++] = (uint32_t)i;
    return 0;
}

static void put_metadata(struct meta *m)
{
    struct br__pkw *w = &m->w;
    br__pkw_begin(w);
    br__pkw_new(w, META, "Metadata");
    br__pkw_dict(w);
    br__pkw_str(w, "state_dict_metadata");
    put_state_dict_metadata(m);
    br__pkw_str(w, "planner_data");
    br__pkw_none(w);
    br__pkw_str(w, "storage_data");
    put_storage_data(m);
    br__pkw_str(w, "storage_meta");
    br__pkw_none(w);
    br__pkw_build(w);
    br__pkw_end(w);
}

int br__td_metadata(const struct br__td_plan *p, struct br__buf *out, struct br_err *err)
{
    struct br__arena arena = {0};
    struct meta m = {.p = p, .layout = -1, .memory_format = -1};
    m.w = (struct br__pkw){.out = out, .arena = &arena};
    int rc = group_items(&m);
    if (!rc) {
        put_metadata(&m);
        rc = out->failed;
    }
    br__free(m.first);
    br__free(m.order);
    br__arena_free(&arena);
    return rc ? br_fail(err, rc, "cannot build .metadata of %zu items", p->n_items) : 0;
}
