/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* llm.c - a model that generates: ranks as threads, a graph per shape of batch, caches.
 *
 * All ranks of a world are given the same sequences (data-parallel ones do the same work twice);
 * the first rank of the last pipeline stage answers. */
#include "llm.h"
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define PIECE 512 /* tokens of a prompt that are computed at once, if the backend says nothing */
#define KEPT_GRAPHS 8 /* per rank */
#define MAX_SLOTS 4096

static int nomem(struct br_err *err)
{
    return br_fail(err, BR_E_NOMEM, "out of memory for the model");
}

/* ---- ranks ----------------------------------------------------------------------------------- */

struct rank_run {
    struct br__rank *r;
    int (*fn)(struct br__rank *r, void *arg, struct br_err *err);
    void *arg;
};

/* Nobody shall wait for this rank. */
static void give_up(const struct br__rank *r)
{
    struct br_comm *c = r->m->world ? r->m->world[r->place.rank] : NULL;
    if (c)
        c->ops->abort(c);
}

static void *rank_thread(void *arg)
{
    struct rank_run *run = arg;
    struct br__rank *r = run->r;
    memset(&r->err, 0, sizeof r->err);
    r->rc = run->fn(r, run->arg, &r->err);
    if (r->rc)
        give_up(r);
    return NULL;
}

/* The error that says most: not that of a rank which only heard of another's. */
static int first_error(struct br__llm *m, struct br_err *err)
{
    const struct br__rank *bad = NULL;
    for (uint32_t i = 0; i < m->topo.world; i++)
        if (m->ranks[i].rc && (!bad || (bad->rc == BR_E_COMM && m->ranks[i].rc != BR_E_COMM)))
            bad = &m->ranks[i];
    if (bad && err)
        *err = bad->err;
    return bad ? bad->rc : 0;
}

int br__ranks_run(struct br__llm *m, int (*fn)(struct br__rank *r, void *arg, struct br_err *err),
                  void *arg, struct br_err *err)
{
    uint32_t n = m->topo.world, made = 1;
    struct rank_run *runs = br__calloc(n, sizeof *runs);
    pthread_t *threads = br__calloc(n, sizeof *threads);
    int rc = runs && threads ? 0 : nomem(err);
    for (uint32_t i = 0; !rc && i < n; i++)
        runs[i] = (struct rank_run){&m->ranks[i], fn, arg};
    for (; !rc && made < n; made++)
        if (pthread_create(&threads[made], NULL, rank_thread, &runs[made])) {
            rc = br_fail(err, BR_E_NOMEM, "cannot start a thread for rank %u", made);
            give_up(&m->ranks[0]);
            break;
        }
    if (!rc)
        rank_thread(&runs[0]);
    for (uint32_t i = 1; i < made; i++)
        pthread_join(threads[i], NULL);
    br__free(runs);
    br__free(threads);
    return rc ? rc : first_error(m, err);
}

/* The axes along which the ranks of each group differ. */
static const uint32_t group_axes[BR_N_GROUPS] = {
    [BR_GROUP_TP] = 1u << BR_AXIS_TP,   [BR_GROUP_PP] = 1u << BR_AXIS_PP,
    [BR_GROUP_DP] = 1u << BR_AXIS_DP,   [BR_GROUP_EP_ETP] = 1u << BR_AXIS_EP | 1u << BR_AXIS_ETP,
    [BR_GROUP_EDP] = 1u << BR_AXIS_EDP,
};

/* The world's name, which all ranks are given. */
struct world_id {
    unsigned char id[BR_COMM_ID];
};

static int join_world(struct br__rank *r, void *arg, struct br_err *err)
{
    const struct world_id *id = arg;
    return r->dev.backend.plane->join(r->dev.device, id->id, r->place.rank, r->m->topo.world,
                                      &r->m->world[r->place.rank], err);
}

/* A group's color is its lowest rank, so every group of an axis set gets its own. */
static int make_groups(struct br__rank *r, void *arg, struct br_err *err)
{
    (void)arg;
    struct br_comm *world = r->m->world[r->place.rank];
    uint32_t *members = br__calloc(r->m->topo.world, sizeof *members);
    int rc = members ? 0 : nomem(err);
    r->place.comms[BR_GROUP_WORLD] = world;
    for (uint32_t g = 1; !rc && g < BR_N_GROUPS; g++) {
        (void)br_topo_group(&r->m->topo, r->place.rank, group_axes[g], members);
        rc = world->ops->split(world, members[0], r->place.rank, &r->place.comms[g], err);
    }
    br__free(members);
    return rc;
}

static int open_rank(struct br__rank *r, const char *device, uint32_t threads, struct br_err *err)
{
    const struct br__registry *reg = r->m->weights->session->registry;
    const struct br__dirs dirs = {reg->dirs, reg->n_dirs};
    int rc = br__device_open(&r->dev, device, &dirs, r->place.rank, threads, err);
    return rc ? rc : br__params_open(&r->params, r->m->weights, br__device_is_host(&r->dev), err);
}

/* The communicators of all ranks: first of the world, then of its groups. */
static int open_world(struct br__llm *m, struct br_err *err)
{
    struct world_id id;
    const struct br_backend *b = &m->ranks[0].dev.backend;
    m->world = br__calloc(m->topo.world, sizeof *m->world);
    if (!m->world)
        return nomem(err);
    int rc = b->plane ? b->plane->id(id.id, err)
                      : br_fail(err, BR_E_UNSUPPORTED, "backend '%s' has no communicator", b->name);
    if (!rc)
        rc = br__ranks_run(m, join_world, &id, err);
    return rc ? rc : br__ranks_run(m, make_groups, NULL, err);
}

static int open_ranks(struct br__llm *m, const struct br__llm_opts *o, struct br_err *err)
{
    uint32_t n = m->topo.world;
    uint32_t all = (uint32_t)(o->threads > 0 ? o->threads : br__cpu_count());
    m->ranks = br__calloc(n, sizeof *m->ranks);
    if (!m->ranks)
        return nomem(err);
    for (uint32_t i = 0; i < n; i++) {
        m->ranks[i].m = m;
        br__place_init(&m->ranks[i].place, &m->topo, i);
        int rc = open_rank(&m->ranks[i], o->device, BR__MAX(all / n, 1), err);
        if (rc)
            return rc;
    }
    return n == 1 ? 0 : open_world(m, err);
}

/* ---- open, close ----------------------------------------------------------------------------- */

int br__llm_caches(struct br__llm *m, int64_t slots, int64_t capacity, struct br_err *err)
{
    int64_t max = br_cfg_i(m->weights->cfg, BR_CFG_SEQ_LENGTH);
    if (capacity > max)
        return br_fail(err, BR_E_USAGE,
                       "%lld tokens are more than the model's max_position_embeddings %lld",
                       (long long)capacity, (long long)max);
    if (slots < 1 || slots > MAX_SLOTS || capacity < 1 || slots * capacity > INT32_MAX)
        return br_fail(err, BR_E_USAGE, "caches of %lld sequences of %lld tokens are impossible",
                       (long long)slots, (long long)capacity);
    if (m->ranks && m->ranks[0].clock)
        BR_BUG("the caches are in use");
    br__free(m->length);
    m->slots = slots;
    m->capacity = capacity;
    m->length = br__calloc((size_t)slots + 1, sizeof *m->length);
    return m->length ? 0 : nomem(err);
}

/* YaRN's attention_factor, which transformers multiplies queries and keys by in place of the factor
 * that follows from the scale. */
static int check_attention_factor(const struct br_config *cfg, const br__json *config,
                                  struct br_err *err)
{
    static const char *const keys[] = {"rope_scaling.attention_factor",
                                       "rope_parameters.attention_factor"};
    float freq[BR__MAX_ROTARY];
    int64_t n;
    double scale;
    int rc = br__rope(cfg, freq, BR__MAX_ROTARY, &n, &scale, err);
    for (size_t i = 0; i < BR_COUNTOF(keys) && !rc; i++) {
        double given = br__json_num(br__json_get(config, keys[i]), scale);
        if (fabs(given - scale) > 1e-6)
            rc =
                br_fail(err, BR_E_UNSUPPORTED, "config.json: %s is %g, the engine computes with %g",
                        keys[i], given, scale);
    }
    return rc;
}

/* What a conversion need not know of a model and the engine must. */
static int check_config(const struct br__weights *w, struct br_err *err)
{
    const struct br_config *cfg = w->cfg;
    const char *text = w->session->config_text;
    br__json *config = NULL;
    int64_t topk = br_cfg_i(cfg, BR_CFG_MOE_ROUTER_TOPK);
    if (cfg->n_experts && (topk < 1 || topk > cfg->n_experts))
        return br_fail(err, BR_E_CONFIG, "config.json: each token goes to %lld of %lld experts",
                       (long long)topk, (long long)cfg->n_experts);
    int rc = text ? br__json_parse(&config, text, strlen(text), err) : 0;
    const char *act = br__json_str(br__json_get(config, "hidden_act"), "silu");
    if (!rc && strcmp(act, "silu"))
        rc = br_fail(err, BR_E_UNSUPPORTED,
                     "config.json: hidden_act is '%s', the engine computes silu", act);
    if (!rc)
        rc = check_attention_factor(cfg, config, err);
    br__json_free(config);
    return rc;
}

int br__llm_open(struct br__llm **out, const struct br__llm_opts *o, struct br_err *err)
{
    *out = NULL;
    struct br__llm *m = br__calloc(1, sizeof *m);
    if (!m)
        return nomem(err);
    int rc = br__weights_open(&m->weights, &o->weights, err);
    if (!rc) {
        int stored = m->weights->cfg->dtype;
        m->precision = o->precision ? (uint32_t)o->precision : stored == BR_F32 ? BR_F32 : BR_BF16;
        rc = br_topo_make(&m->topo, o->tp, 1, o->pp, o->ep, o->etp, 0, err);
    }
    if (!rc && !m->weights->cfg->arch->layer)
        rc = br_fail(err, BR_E_UNSUPPORTED,
                     "plugin '%s' can convert %s but not run it: it has no layer builder",
                     m->weights->cfg->arch->plugin->name, m->weights->cfg->arch->model_type);
    if (!rc)
        rc = check_config(m->weights, err);
    if (!rc)
        rc = br__llm_caches(m, 1, br_cfg_i(m->weights->cfg, BR_CFG_SEQ_LENGTH), err);
    if (!rc)
        rc = open_ranks(m, o, err);
    if (rc) {
        br__llm_close(m);
        return rc;
    }
    *out = m;
    return 0;
}

static void close_rank(struct br__rank *r)
{
    for (size_t i = 0; i < r->n_ready; i++)
        br__ready_free(r->ready[i]);
    for (size_t i = 0; i < r->n_caches; i++)
        r->dev.backend.free(r->dev.device, r->caches[i].data);
    for (uint32_t g = 1; g < BR_N_GROUPS; g++)
        if (r->place.comms[g])
            r->place.comms[g]->ops->close(r->place.comms[g]);
    br__free(r->ready);
    br__free(r->caches);
    br__arena_free(&r->arena);
    br__params_close(r->params);
    br__device_close(&r->dev);
}

void br__llm_close(struct br__llm *m)
{
    if (!m)
        return;
    for (uint32_t i = 0; m->ranks && i < m->topo.world; i++)
        close_rank(&m->ranks[i]);
    for (uint32_t i = 0; m->world && i < m->topo.world; i++)
        if (m->world[i])
            m->world[i]->ops->close(m->world[i]);
    br__free(m->world);
    br__free(m->ranks);
    br__free(m->length);
    br__weights_close(m->weights);
    br__free(m);
}

const struct br_config *br__llm_config(const struct br__llm *m)
{
    return m->weights->cfg;
}
struct br__weights *br__llm_weights(const struct br__llm *m)
{
    return m->weights;
}
const struct br_topo *br__llm_topo(const struct br__llm *m)
{
    return &m->topo;
}
int64_t br__llm_capacity(const struct br__llm *m)
{
    return m->capacity;
}
int64_t br__llm_slots(const struct br__llm *m)
{
    return m->slots;
}
const char *br__llm_device(const struct br__llm *m)
{
    return m->ranks[0].dev.backend.name;
}
void br__llm_reset(struct br__llm *m, uint32_t slot)
{
    if (slot < m->slots)
        m->length[slot] = 0;
}

/* ---- graphs and caches ----------------------------------------------------------------------- */

void br__ready_free(struct br__ready *q)
{
    if (!q)
        return;
    br__frame_free(q->frame);
    br__program_free(q->program);
    br__free(q->b.states);
    br__graph_free(&q->g);
    br__free(q);
}

int br__ready_plan(struct br__rank *r, struct br__ready *q, const br_val *outputs, size_t n,
                   struct br_err *err)
{
    int rc = br__program_make(&q->program, &q->g, &r->dev, outputs, n, err);
    return rc ? rc : br__frame_make(&q->frame, q->program, &r->dev, r->place.comms, err);
}

/* Everything that a rank computes of a batch, as the outputs that keep it alive. */
static int plan(struct br__rank *r, struct br__ready *q, struct br_err *err)
{
    const br_val all[] = {q->b.logits, q->b.sent, q->b.loss};
    br_val outputs[BR_COUNTOF(all)];
    size_t n = 0;
    for (size_t i = 0; i < BR_COUNTOF(all); i++)
        if (all[i])
            outputs[n++] = all[i];
    return br__ready_plan(r, q, outputs, n, err);
}

int br__ready_make(struct br__rank *r, const struct br__build *b, struct br__ready **out,
                   struct br_err *err)
{
    *out = NULL;
    struct br__ready *q = br__calloc(1, sizeof *q);
    if (!q)
        return nomem(err);
    q->b = *b;
    q->b.params = r->params;
    q->b.cfg = r->m->weights->cfg;
    q->b.place = &r->place;
    q->b.precision = r->m->precision;
    int rc = br__build(&q->g, &q->b, err);
    if (rc) {
        br__ready_free(q);
        return rc;
    }
    *out = q;
    return 0;
}

static void *cache(struct br__rank *r, const struct br__state *s)
{
    size_t bytes = (size_t)s->elems * br_dtype_size((int)s->dtype);
    for (size_t i = 0; i < r->n_caches; i++)
        if (strcmp(r->caches[i].name, s->name) == 0)
            return r->caches[i].data;
    const char *name = br__arena_strdup(&r->arena, s->name);
    if (!name || br__grow(&r->caches, &r->cap_caches, r->n_caches, sizeof *r->caches))
        return NULL;
    void *p = r->dev.backend.alloc(r->dev.device, bytes);
    if (p)
        r->caches[r->n_caches++] = (struct br__cache){name, p, bytes};
    return p;
}

static int bind_caches(struct br__rank *r, struct br__ready *q, struct br_err *err)
{
    for (size_t i = 0; i < q->b.n_states; i++) {
        void *p = cache(r, &q->b.states[i]);
        if (!p)
            return br_fail(err, BR_E_NOMEM, "out of memory for the caches of %lld x %lld tokens",
                           (long long)r->m->slots, (long long)r->m->capacity);
        br__frame_bind(q->frame, q->b.states[i].v, p);
    }
    return 0;
}

static struct br__ready *kept(struct br__rank *r, const struct br__build *b)
{
    for (size_t i = 0; i < r->n_ready; i++) {
        struct br__ready *q = r->ready[i];
        if (q->b.n_tokens == b->n_tokens && q->b.n_seqs == b->n_seqs && q->b.n_out == b->n_out &&
            q->b.flags == b->flags)
            return q;
    }
    return NULL;
}

/* Where the next graph goes: a free place, or that of the one not used for longest. */
static int place_for_graph(struct br__rank *r, size_t *at)
{
    *at = r->n_ready;
    if (r->n_ready < KEPT_GRAPHS)
        return br__grow(&r->ready, &r->cap_ready, r->n_ready, sizeof *r->ready);
    *at = 0;
    for (size_t i = 1; i < r->n_ready; i++)
        if (r->ready[i]->used < r->ready[*at]->used)
            *at = i;
    br__ready_free(r->ready[*at]);
    r->ready[*at] = r->ready[--r->n_ready];
    *at = r->n_ready;
    return 0;
}

int br__ready_get(struct br__rank *r, const struct br__build *b, struct br__ready **out,
                  struct br_err *err)
{
    size_t at;
    *out = kept(r, b);
    if (!*out) {
        int rc = place_for_graph(r, &at) ? nomem(err) : br__ready_make(r, b, out, err);
        if (rc)
            return rc;
        r->ready[at] = *out;
        r->n_ready++;
        if ((rc = plan(r, *out, err)) || (rc = bind_caches(r, *out, err))) {
            br__ready_free(*out);
            r->n_ready--;
            return rc;
        }
    }
    (*out)->used = ++r->clock;
    return 0;
}

/* ---- feeding --------------------------------------------------------------------------------- */

struct batch { /* one piece: consecutive tokens of each sequence */
    const struct br__feed *feeds;
    size_t n_feeds;
    int64_t n_tokens, pad; /* pad tokens make the batch divisible by tp */
    float *logits;         /* or NULL: this piece ends no prompt */
};

/* Tokens that make a batch divisible by the tensor-parallel size; they form a sequence of their
 * own, in the slot after the last. */
static int64_t padding(const struct br__llm *m, int64_t n_tokens)
{
    int64_t tp = m->topo.size[BR_AXIS_TP];
    return (tp - n_tokens % tp) % tp;
}

struct br__build br__batch_shape(const struct br__llm *m, int64_t n_tokens, int64_t n_seqs)
{
    int64_t pad = padding(m, n_tokens);
    return (struct br__build){.flags = BR__BUILD_CACHE,
                              .n_tokens = n_tokens + pad,
                              .n_seqs = n_seqs + (pad > 0),
                              .n_out = n_seqs,
                              .slots = m->slots + (m->topo.size[BR_AXIS_TP] > 1),
                              .capacity = m->capacity};
}

static void fill_inputs(const struct br__rank *r, const struct br__ready *q, const struct batch *in)
{
    const struct br__llm *m = r->m;
    int32_t *ids = br__frame_input(q->frame, q->b.ids);
    int32_t *positions = br__frame_input(q->frame, q->b.positions);
    int32_t *seqs = br__frame_input(q->frame, q->b.seqs);
    int32_t *rows = br__frame_input(q->frame, q->b.cache_rows);
    int32_t *out = br__frame_input(q->frame, q->b.out_rows);
    int64_t t = 0;
    for (size_t s = 0; s < in->n_feeds + (in->pad > 0); s++) {
        int is_pad = s == in->n_feeds;
        int64_t slot = is_pad ? m->slots : in->feeds[s].slot;
        int64_t n = is_pad ? in->pad : in->feeds[s].n, past = is_pad ? 0 : m->length[slot];
        const int64_t row[5] = {t, n, slot * m->capacity, past + n, slot};
        for (int i = 0; seqs && i < 5; i++)
            seqs[s * 5 + (size_t)i] = (int32_t)row[i];
        for (int64_t i = 0; i < n; i++, t++) {
            if (ids)
                ids[t] = is_pad ? 0 : in->feeds[s].ids[i];
            if (positions)
                positions[t] = (int32_t)(past + i);
            if (rows)
                rows[t] = (int32_t)(row[2] + past + i);
        }
        if (out && !is_pad)
            out[s] = (int32_t)(t - 1);
    }
}

static int is_answering(const struct br__rank *r)
{
    const struct br_topo *t = &r->m->topo;
    return br_topo_coord(t, r->place.rank, BR_AXIS_PP) + 1 == t->size[BR_AXIS_PP] &&
           br_topo_coord(t, r->place.rank, BR_AXIS_TP) == 0 &&
           br_topo_coord(t, r->place.rank, BR_AXIS_DP) == 0;
}

static int run_batch(struct br__rank *r, void *arg, struct br_err *err)
{
    const struct batch *in = arg;
    struct br__ready *q;
    const struct br__build b = br__batch_shape(r->m, in->n_tokens, (int64_t)in->n_feeds);
    int rc = br__ready_get(r, &b, &q, err);
    if (rc)
        return rc;
    fill_inputs(r, q, in);
    rc = br__frame_run(q->frame, err);
    if (!rc && in->logits && is_answering(r))
        rc = br__frame_read(q->frame, q->b.logits, in->logits, err);
    return rc;
}

static int check_feeds(const struct br__llm *m, const struct br__feed *feeds, size_t n,
                       struct br_err *err)
{
    int64_t vocab = br_cfg_i(m->weights->cfg, BR_CFG_VOCAB_SIZE);
    for (size_t s = 0; s < n; s++) {
        const struct br__feed *f = &feeds[s];
        if (f->slot >= m->slots || f->n < 1)
            return br_fail(err, BR_E_USAGE, "sequence slot %u with %lld tokens is impossible",
                           f->slot, (long long)f->n);
        for (size_t k = 0; k < s; k++)
            if (feeds[k].slot == f->slot)
                return br_fail(err, BR_E_USAGE, "slot %u is fed twice at once", f->slot);
        if (f->n > m->capacity - m->length[f->slot])
            return br_fail(err, BR_E_USAGE,
                           "%lld more tokens after %lld do not fit into a cache of %lld; the model "
                           "has max_position_embeddings %lld",
                           (long long)f->n, (long long)m->length[f->slot], (long long)m->capacity,
                           (long long)br_cfg_i(m->weights->cfg, BR_CFG_SEQ_LENGTH));
        for (int64_t i = 0; i < f->n; i++)
            if (f->ids[i] < 0 || f->ids[i] >= vocab)
                return br_fail(err, BR_E_USAGE,
                               "token id %d is outside the model's vocabulary of %lld; is the "
                               "tokenizer another model's?",
                               f->ids[i], (long long)vocab);
    }
    return 0;
}

int br__llm_check_finite(const struct br__llm *m, const float *logits, size_t n, struct br_err *err)
{
    if (br__first_not_finite(logits, n) == n)
        return 0;
    const char *name = br__weights_not_finite(m->weights);
    if (name)
        return br_fail(err, BR_E_NUMERIC, "tensor '%s' has NaN or infinite values", name);
    return br_fail(err, BR_E_NUMERIC, "the logits are not finite although the weights are%s",
                   m->precision == BR_F32 ? ", in float32: the model overflows that, too"
                                          : "; try --dtype float32");
}

static int feed_piece(struct br__llm *m, const struct br__feed *feeds, size_t n, float *logits,
                      struct br_err *err)
{
    struct batch in = {.feeds = feeds, .n_feeds = n, .logits = logits};
    for (size_t i = 0; i < n; i++)
        in.n_tokens += feeds[i].n;
    in.pad = padding(m, in.n_tokens);
    int rc = br__ranks_run(m, run_batch, &in, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < n; i++)
        m->length[feeds[i].slot] += feeds[i].n;
    return 0;
}

int br__llm_feed(struct br__llm *m, const struct br__feed *feeds, size_t n, float *logits,
                 struct br_err *err)
{
    int rc = check_feeds(m, feeds, n, err);
    const uint32_t wanted = m->ranks[0].dev.backend.tokens_at_once;
    const int64_t piece = wanted ? wanted : PIECE;
    size_t vocab = (size_t)br_cfg_i(m->weights->cfg, BR_CFG_VOCAB_SIZE);
    struct br__feed *last = br__calloc(n, sizeof *last);
    if (!rc && !last)
        rc = nomem(err);
    /* All but the last piece of each prompt alone; then what is left of all of them together, as
     * far as one piece goes. */
    for (size_t i = 0; i < n && !rc; i++) {
        last[i] = feeds[i];
        for (; last[i].n > piece && !rc; last[i].ids += piece, last[i].n -= piece)
            rc = feed_piece(m, &(struct br__feed){last[i].slot, last[i].ids, piece}, 1, NULL, err);
    }
    for (size_t i = 0, k; i < n && !rc; i = k) {
        int64_t tokens = last[i].n;
        for (k = i + 1; k < n && tokens + last[k].n <= piece; k++)
            tokens += last[k].n;
        rc = feed_piece(m, last + i, k - i, logits + i * vocab, err);
    }
    br__free(last);
    return rc ? rc : br__llm_check_finite(m, logits, n * vocab, err);
}
