/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* llm.c - sequences of a model: caches, a compiled graph per shape of batch, tokens in, logits out.
 *
 * All ranks of a world are given the same sequences (data-parallel ones do the same work twice);
 * the first rank of the last pipeline stage answers. */
#include "llm.h"
#include <stdlib.h>
#include <string.h>

#define PREFILL_TOKENS 512 /* of a prompt at once, if the backend says nothing */
#define KEPT_GRAPHS 8      /* per rank */
#define MAX_SLOTS 4096

/* ---- open, close ----------------------------------------------------------------------------- */

static int check_sizes(const struct br__llm *m, int64_t slots, int64_t capacity, struct br_err *err)
{
    int64_t max = br_cfg_i(m->weights->cfg, BR_CFG_SEQ_LENGTH);
    if (capacity > max)
        return br_fail(err, BR_E_USAGE,
                       "%lld tokens are more than the model's max_position_embeddings %lld",
                       (long long)capacity, (long long)max);
    if (slots < 1 || slots > MAX_SLOTS || capacity < 1 || capacity > INT32_MAX / slots)
        return br_fail(err, BR_E_USAGE, "caches of %lld sequences of %lld tokens are impossible",
                       (long long)slots, (long long)capacity);
    return 0;
}

int br__llm_session_open(struct br__llm_session **out, struct br__llm *m, int64_t slots,
                         int64_t capacity, struct br_err *err)
{
    *out = NULL;
    int rc = check_sizes(m, slots, capacity, err);
    struct br__llm_session *s = rc ? NULL : br__calloc(1, sizeof *s);
    if (rc)
        return rc;
    if (s) {
        *s = (struct br__llm_session){.m = m, .slots = slots, .capacity = capacity};
        s->length = br__calloc((size_t)slots + 1, sizeof *s->length);
        s->ahead = br__calloc((size_t)slots, sizeof *s->ahead);
        s->ranks = br__calloc(m->n_ranks, sizeof *s->ranks);
    }
    if (!s || !s->length || !s->ahead || !s->ranks) {
        br__llm_session_close(s);
        return br__nomem(err, "for the model's sequences");
    }
    for (uint32_t i = 0; i < m->n_ranks; i++)
        s->ranks[i] = (struct br__rank_session){.s = s, .rank = &m->ranks[i]};
    *out = s;
    return 0;
}

/* The step ahead, if there is one, is not wanted. */
static void forget_ahead(struct br__rank_session *r)
{
    if (r->ahead.ticket)
        br__device_fetched(&r->rank->dev, r->ahead.ticket, NULL, NULL);
    r->ahead = (struct br__step_ahead){0};
}

static void close_rank(struct br__rank_session *r)
{
    forget_ahead(r);
    for (size_t i = 0; i < r->n_compiled; i++)
        br__compiled_free(r->compiled[i]);
    for (size_t i = 0; i < r->n_caches; i++)
        r->rank->dev.backend.free(r->rank->dev.device, r->caches[i].data);
    br__free(r->compiled);
    br__free(r->caches);
    br__arena_free(&r->arena);
}

void br__llm_session_close(struct br__llm_session *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; s->ranks && i < s->m->n_ranks; i++)
        close_rank(&s->ranks[i]);
    br__free(s->ranks);
    br__free(s->ahead);
    br__free(s->length);
    br__free(s);
}

struct br__llm *br__llm_session_model(const struct br__llm_session *s)
{
    return s->m;
}
int64_t br__llm_capacity(const struct br__llm_session *s)
{
    return s->capacity;
}
int64_t br__llm_slots(const struct br__llm_session *s)
{
    return s->slots;
}
void br__llm_reset(struct br__llm_session *s, uint32_t slot)
{
    if (slot < s->slots)
        s->length[slot] = 0;
}

/* ---- graphs and caches ----------------------------------------------------------------------- */

/* Everything that a rank computes of a batch, as the outputs that keep it alive. */
static int session_plan(struct br__rank *r, struct br__compiled *q, struct br_err *err)
{
    const br_val all[] = {q->b.logits, q->b.sent, q->b.loss, q->b.best, q->b.advanced};
    br_val outputs[BR_COUNTOF(all)];
    size_t n = 0;
    for (size_t i = 0; i < BR_COUNTOF(all); i++)
        if (all[i])
            outputs[n++] = all[i];
    int rc = br__fuse(&q->g, outputs, n, err);
    return rc ? rc : br__compiled_plan(r, q, outputs, n, err);
}

static void *session_cache(struct br__rank_session *r, const struct br__state *s)
{
    size_t bytes = (size_t)s->elems * br_dtype_size((int)s->dtype);
    for (size_t i = 0; i < r->n_caches; i++)
        if (strcmp(r->caches[i].name, s->name) == 0)
            return r->caches[i].data;
    const char *name = br__arena_strdup(&r->arena, s->name);
    if (!name || br__grow(&r->caches, &r->cap_caches, r->n_caches, sizeof *r->caches))
        return NULL;
    void *p = r->rank->dev.backend.alloc(r->rank->dev.device, bytes);
    if (p)
        r->caches[r->n_caches++] = (struct br__cache){name, p, bytes};
    return p;
}

static int bind_caches(struct br__rank_session *r, struct br__compiled *q, struct br_err *err)
{
    for (size_t i = 0; i < q->b.n_states; i++) {
        void *p = session_cache(r, &q->b.states[i]);
        if (!p)
            return br__nomem(err, "for the caches of %lld x %lld tokens", (long long)r->s->slots,
                             (long long)r->s->capacity);
        br__frame_bind(q->frame, q->b.states[i].v, p);
    }
    return 0;
}

static struct br__compiled *session_kept(struct br__rank_session *r, const struct br__build *b)
{
    for (size_t i = 0; i < r->n_compiled; i++) {
        struct br__compiled *q = r->compiled[i];
        if (q->b.n_tokens == b->n_tokens && q->b.n_seqs == b->n_seqs && q->b.n_out == b->n_out &&
            q->b.flags == b->flags && q->b.n_best == b->n_best)
            return q;
    }
    return NULL;
}

/* Index for the next graph: a free one, or that of the least recently used graph. */
static int place_for_graph(struct br__rank_session *r, size_t *at)
{
    *at = r->n_compiled;
    if (r->n_compiled < KEPT_GRAPHS)
        return br__grow(&r->compiled, &r->cap_compiled, r->n_compiled, sizeof *r->compiled);
    *at = 0;
    for (size_t i = 1; i < r->n_compiled; i++)
        if (r->compiled[i]->used < r->compiled[*at]->used)
            *at = i;
    br__compiled_free(r->compiled[*at]);
    r->compiled[*at] = r->compiled[--r->n_compiled];
    *at = r->n_compiled;
    return 0;
}

int br__compiled_get(struct br__rank_session *r, const struct br__build *b,
                     struct br__compiled **out, struct br_err *err)
{
    size_t at;
    *out = session_kept(r, b);
    if (!*out) {
        int rc = place_for_graph(r, &at) ? br__nomem(err, "for the model's sequences")
                                         : br__compiled_make(r->rank, b, out, err);
        if (rc)
            return rc;
        r->compiled[at] = *out;
        r->n_compiled++;
        if ((rc = session_plan(r->rank, *out, err)) || (rc = bind_caches(r, *out, err))) {
            br__compiled_free(*out);
            r->n_compiled--;
            return rc;
        }
    }
    (*out)->used = ++r->clock;
    return 0;
}

/* ---- forward passes -------------------------------------------------------------------------- */

struct batch { /* of one pass: consecutive tokens of each sequence */
    struct br__llm_session *s;
    const struct br__forward_seq *inputs;
    size_t n_inputs;
    int64_t n_tokens, pad; /* pad tokens make the batch divisible by tp */
    float *logits;         /* or NULL: no prompt ends here */
    uint32_t n_best;       /* largest logits that are enough; 0: all */
    struct br__best *best; /* [n_inputs] */
    int by_choice;         /* the device makes the next step's inputs of its choices */
    int is_taken;          /* the step ahead is this one */
    int goes_on;           /* the next one may begin; only by_choice */
    int again;             /* the choices did not tell: for the logits */
};

/* Tokens that make a batch divisible by the tensor-parallel size; they form a sequence of their
 * own, in the slot after the last. */
static int64_t session_padding(const struct br__llm *m, int64_t n_tokens)
{
    int64_t tp = m->topo.size[BR_AXIS_TP];
    return (tp - n_tokens % tp) % tp;
}

struct br__build br__batch_shape(const struct br__llm_session *s, int64_t n_tokens, int64_t n_seqs)
{
    int64_t pad = session_padding(s->m, n_tokens);
    return (struct br__build){.flags = BR__BUILD_CACHE,
                              .n_tokens = n_tokens + pad,
                              .n_seqs = n_seqs + (pad > 0),
                              .n_out = n_seqs,
                              .slots = s->slots + (s->m->topo.size[BR_AXIS_TP] > 1),
                              .capacity = s->capacity};
}

static void fill_inputs(const struct br__compiled *q, const struct batch *in)
{
    const struct br__llm_session *session = in->s;
    int32_t *ids = br__frame_input(q->frame, q->b.ids);
    int32_t *positions = br__frame_input(q->frame, q->b.positions);
    int32_t *seqs = br__frame_input(q->frame, q->b.seqs);
    int32_t *rows = br__frame_input(q->frame, q->b.cache_rows);
    int32_t *out = br__frame_input(q->frame, q->b.out_rows);
    int64_t t = 0;
    for (size_t s = 0; s < in->n_inputs + (in->pad > 0); s++) {
        int is_pad = s == in->n_inputs;
        int64_t slot = is_pad ? session->slots : in->inputs[s].slot;
        int64_t n = is_pad ? in->pad : in->inputs[s].n, past = is_pad ? 0 : session->length[slot];
        const int64_t row[5] = {t, n, slot * session->capacity, past + n, slot};
        for (int i = 0; seqs && i < 5; i++)
            seqs[s * 5 + (size_t)i] = (int32_t)row[i];
        for (int64_t i = 0; i < n; i++, t++) {
            if (ids)
                ids[t] = is_pad ? 0 : in->inputs[s].ids[i];
            if (positions)
                positions[t] = (int32_t)(past + i);
            if (rows)
                rows[t] = (int32_t)(row[2] + past + i);
        }
        if (out && !is_pad)
            out[s] = (int32_t)(t - 1);
    }
}

/* The first rank of the last stage; the pipeline is the slowest axis. */
static uint32_t answering_rank(const struct br__llm *m)
{
    return m->topo.world - m->topo.world / m->topo.size[BR_AXIS_PP];
}

/* A row of SELECT; 0: it does not tell. */
static int take_best(const int32_t *row, size_t room, struct br__best *best)
{
    best->n = row[0] > 0 && row[1] ? (size_t)row[0] : 0;
    memcpy(best->ids, row + 2, best->n * sizeof *best->ids);
    memcpy(best->logits, row + 2 + room, best->n * sizeof *best->logits);
    return best->n > 0;
}

/* The rows of SELECT; whether they tell of all sequences, or else of none. */
static int take_choices(const int32_t *rows, size_t cols, const struct batch *in)
{
    size_t told = 0;
    for (size_t i = 0; i < in->n_inputs; i++)
        told += (size_t)take_best(rows + i * cols, cols / 2 - 1, &in->best[i]);
    for (size_t i = 0; i < in->n_inputs && told < in->n_inputs; i++)
        in->best[i].n = 0;
    return told == in->n_inputs;
}

static int32_t *room_for_choices(const struct br__compiled *q, size_t n, size_t *cols)
{
    *cols = (size_t)br__node(&q->g, q->b.best)->shape[1];
    return br__calloc(n, *cols * sizeof(int32_t));
}

/* The logits of the batch, or of all its sequences the largest. */
static int read_answer(const struct br__compiled *q, const struct batch *in, struct br_err *err)
{
    size_t cols;
    int rc = 0, told = 0;
    if (q->b.best) {
        int32_t *rows = room_for_choices(q, in->n_inputs, &cols);
        rc = rows ? br__frame_read_i32(q->frame, q->b.best, rows, err)
                  : br__nomem(err, "for logits");
        told = !rc && take_choices(rows, cols, in);
        br__free(rows);
    }
    return rc || told ? rc : br__frame_read(q->frame, q->b.logits, in->logits, err);
}

/* The same of a run that was started; its ticket ends. */
static int read_ticket(struct br__rank *r, const struct br__compiled *q, void *ticket,
                       const struct batch *in, struct br_err *err)
{
    size_t cols;
    int32_t *rows = room_for_choices(q, in->n_inputs, &cols);
    int rc = br__device_fetched(&r->dev, ticket, rows, err);
    if (!rows)
        rc = br__nomem(err, "for logits");
    if (!rc && r->info->rank == answering_rank(r->m))
        take_choices(rows, cols, in);
    br__free(rows);
    return rc;
}

/* A step of decoding: given to the device, if it was not ahead; then the next one; and only then is
 * waited for the first.  That the next one failed is told when it is asked for, but where other
 * ranks would wait for this one's part in it. */
static int run_by_choice(struct br__rank_session *r, struct br__compiled *q, const struct batch *in,
                         struct br_err *err)
{
    struct br__step_ahead now = r->ahead, *next = &r->ahead;
    *next = (struct br__step_ahead){0};
    if (!in->is_taken) {
        fill_inputs(q, in);
        now.rc = br__frame_start(q->frame, q->b.best, 0, &now.ticket, &now.err);
    }
    if (!now.rc && in->goes_on)
        next->rc = br__frame_start(q->frame, q->b.best, 1, &next->ticket, &next->err);
    if (!now.rc)
        now.rc = read_ticket(r->rank, q, now.ticket, in, &now.err);
    if (!now.rc && next->rc && r->s->m->topo.world > 1)
        now = *next;
    if (now.rc && err)
        *err = now.err;
    return now.rc;
}

static int run_batch(struct br__rank *r, void *arg, struct br_err *err)
{
    const struct batch *in = arg;
    struct br__rank_session *own = &in->s->ranks[r->index];
    struct br__compiled *q;
    struct br__build b = br__batch_shape(in->s, in->n_tokens, (int64_t)in->n_inputs);
    b.n_best = in->logits ? in->n_best : 0;
    b.flags |= in->by_choice ? BR__BUILD_AHEAD : 0;
    if (!in->is_taken)
        forget_ahead(own);
    int rc = br__compiled_get(own, &b, &q, err);
    if (rc)
        return rc;
    if (in->by_choice && !in->again)
        return run_by_choice(own, q, in, err);
    fill_inputs(q, in);
    rc = br__frame_run(q->frame, err);
    if (!rc && in->logits && r->info->rank == answering_rank(r->m))
        rc = read_answer(q, in, err);
    return rc;
}

static int check_inputs(const struct br__llm_session *s, const struct br__forward_seq *inputs,
                        size_t n, struct br_err *err)
{
    int64_t vocab = br_cfg_i(s->m->weights->cfg, BR_CFG_VOCAB_SIZE);
    for (size_t i = 0; i < n; i++) {
        const struct br__forward_seq *f = &inputs[i];
        if (f->slot >= s->slots || f->n < 1)
            return br_fail(err, BR_E_USAGE, "sequence slot %u with %lld tokens is impossible",
                           f->slot, (long long)f->n);
        for (size_t k = 0; k < i; k++)
            if (inputs[k].slot == f->slot)
                return br_fail(err, BR_E_USAGE, "slot %u is given twice in one call", f->slot);
        if (f->n > s->capacity - s->length[f->slot])
            return br_fail(err, BR_E_USAGE,
                           "%lld more tokens after %lld do not fit into a cache of %lld; the model "
                           "has max_position_embeddings %lld",
                           (long long)f->n, (long long)s->length[f->slot], (long long)s->capacity,
                           (long long)br_cfg_i(s->m->weights->cfg, BR_CFG_SEQ_LENGTH));
        for (int64_t t = 0; t < f->n; t++)
            if (f->ids[t] < 0 || f->ids[t] >= vocab)
                return br_fail(err, BR_E_USAGE,
                               "token id %d is outside the model's vocabulary of %lld; is the "
                               "tokenizer another model's?",
                               f->ids[t], (long long)vocab);
    }
    return 0;
}

static int share_answer(const struct batch *in, struct br_err *err)
{
    const struct br__llm *m = in->s->m;
    size_t n = in->n_inputs, vocab = (size_t)br_cfg_i(m->weights->cfg, BR_CFG_VOCAB_SIZE);
    uint32_t from = answering_rank(m);
    int rc = br__procs_share(in->logits, n * vocab * sizeof *in->logits, from, err);
    return rc || !in->best ? rc : br__procs_share(in->best, n * sizeof *in->best, from, err);
}

/* Every process goes on with the answer. */
static int run_ranks(struct batch *in, struct br_err *err)
{
    int rc = br__ranks_run(in->s->m, run_batch, in, err);
    return rc || !in->logits ? rc : share_answer(in, err);
}

/* ---- a step ahead of the host ---------------------------------------------------------------- */

static int has_delta_net(const struct br__llm *m)
{
    const struct br_config *cfg = m->weights->cfg;
    for (int64_t i = 0; i < cfg->n_layers; i++)
        if (cfg->linear[i])
            return 1;
    return 0;
}

/* Whether the device makes the next step's inputs of its choices; all ranks of all processes say
 * the same.  Not between stages, where the first does not know what the last has chosen, nor where
 * the host has a part in each step.  A token cannot be taken back out of the state of a delta net,
 * so there it is for sessions of one sequence alone: beside others, the end of one or a new one
 * would make another step of that which was begun. */
static int is_by_choice(const struct batch *in)
{
    const struct br__llm *m = in->s->m;
    const uint32_t *ranks = m->topo.size;
    return (m->ranks[0].dev.backend.flags & BR_BACKEND_AHEAD) && in->logits && in->n_best == 1 &&
           in->n_tokens == (int64_t)in->n_inputs && ranks[BR_AXIS_PP] == 1 &&
           ranks[BR_AXIS_CP] == 1 && ranks[BR_AXIS_EP] == 1 &&
           (in->s->slots == 1 || !has_delta_net(m));
}

/* Whether the step ahead is that of the batch. */
static int is_ahead(const struct batch *in)
{
    const struct br__llm_session *s = in->s;
    int same = in->by_choice && s->n_ahead == in->n_inputs;
    for (size_t i = 0; i < in->n_inputs && same; i++) {
        const struct br__forward_seq *f = &in->inputs[i];
        same = f->slot == s->ahead[i].slot && *f->ids == s->ahead[i].id &&
               s->length[f->slot] == s->ahead[i].length;
    }
    return same;
}

/* The step ahead is not taken: fine where its rows of caches are overwritten, or its sequence was
 * reset. */
static int check_left(const struct br__llm_session *s, struct br_err *err)
{
    const struct br__seq_ahead *a = s->ahead;
    if (!s->n_ahead || s->length[a->slot] != a->length || !has_delta_net(s->m))
        return 0;
    return br_fail(err, BR_E_USAGE,
                   "the sequence of slot %u was to go on with token %d, which is in its delta net "
                   "already; reset it to go on otherwise",
                   a->slot, a->id);
}

/* Whether each sequence has room for one more token than the batch gives it. */
static int has_room(const struct batch *in)
{
    for (size_t i = 0; i < in->n_inputs; i++)
        if (in->s->length[in->inputs[i].slot] + 2 > in->s->capacity)
            return 0;
    return 1;
}

static int is_told(const struct batch *in)
{
    return in->best[0].n > 0; /* of all or of none */
}

/* Sizes of `in` that follow from its sequences are set here. */
static int forward_batch(struct batch *in, struct br_err *err)
{
    struct br__llm_session *s = in->s;
    in->n_tokens = 0;
    for (size_t i = 0; i < in->n_inputs; i++)
        in->n_tokens += in->inputs[i].n;
    in->pad = session_padding(s->m, in->n_tokens);
    in->by_choice = is_by_choice(in);
    in->is_taken = is_ahead(in);
    in->goes_on = in->goes_on && in->by_choice && has_room(in);
    int rc = in->is_taken ? 0 : check_left(s, err);
    if (rc)
        return rc;
    s->n_ahead = 0;
    rc = run_ranks(in, err);
    if (!rc && in->by_choice && !is_told(in)) { /* a logit is not finite: it will be looked for */
        in->again = 1;
        in->is_taken = in->goes_on = 0;
        rc = run_ranks(in, err);
    }
    if (rc)
        return rc;
    for (size_t i = 0; i < in->n_inputs; i++) {
        const uint32_t slot = in->inputs[i].slot;
        s->length[slot] += in->inputs[i].n;
        if (in->goes_on)
            s->ahead[i] = (struct br__seq_ahead){slot, in->best[i].ids[0], s->length[slot]};
    }
    s->n_ahead = in->goes_on ? in->n_inputs : 0;
    return 0;
}

/* ---- forward passes of any length ------------------------------------------------------------ */

void br__llm_stop_by(struct br__llm_session *s, int (*wish)(void *ud), void *ud)
{
    s->stop = wish;
    s->stop_ud = ud;
}

/* What does not fit into one batch with others: all of a prompt but its last tokens. */
static int forward_ahead(struct br__llm_session *s, struct br__forward_seq *f, int64_t at_once,
                         struct br_err *err)
{
    for (; f->n > at_once; f->ids += at_once, f->n -= at_once) {
        const struct br__forward_seq part = {f->slot, f->ids, at_once};
        struct batch in = {.s = s, .inputs = &part, .n_inputs = 1};
        int rc = forward_batch(&in, err);
        if (rc)
            return rc;
        if (s->stop && s->stop(s->stop_ud))
            return br_fail(err, BR_E_STOPPED, "the prompt was not read to its end");
    }
    return 0;
}

/* Graphs are kept, so that only a few numbers are asked for. */
static uint32_t best_of(const struct br__llm_session *s, uint32_t k)
{
    const uint32_t n = k > 32 ? BR__BEST_K : k > 1 ? 32 : k;
    return (uint32_t)BR__MIN(br_cfg_i(s->m->weights->cfg, BR_CFG_VOCAB_SIZE), n);
}

int br__llm_forward_best(struct br__llm_session *s, const struct br__forward_seq *inputs, size_t n,
                         const struct br__pick *pick, float *logits, struct br_err *err)
{
    int rc = check_inputs(s, inputs, n, err);
    const uint32_t wanted = s->m->ranks[0].dev.backend.tokens_at_once;
    const int64_t at_once = wanted ? wanted : PREFILL_TOKENS;
    size_t vocab = (size_t)br_cfg_i(s->m->weights->cfg, BR_CFG_VOCAB_SIZE);
    struct br__forward_seq *last = br__calloc(n, sizeof *last);
    if (!rc && !last)
        rc = br__nomem(err, "for the model's sequences");
    for (size_t i = 0; i < n && pick; i++)
        pick->best[i].n = 0;
    /* A prompt longer than at_once runs in batches of its own; what remains of all prompts runs
     * together, up to at_once tokens in a batch. */
    for (size_t i = 0; i < n && !rc; i++) {
        last[i] = inputs[i];
        rc = forward_ahead(s, &last[i], at_once, err);
    }
    for (size_t i = 0, end; i < n && !rc; i = end) {
        int64_t tokens = last[i].n;
        for (end = i + 1; end < n && tokens + last[end].n <= at_once; end++)
            tokens += last[end].n;
        struct batch in = {.s = s,
                           .inputs = last + i,
                           .n_inputs = end - i,
                           .logits = logits + i * vocab,
                           .n_best = pick ? best_of(s, pick->k) : 0,
                           .best = pick ? pick->best + i : NULL,
                           .goes_on = pick && pick->goes_on && end - i == n};
        rc = forward_batch(&in, err);
    }
    br__free(last);
    for (size_t i = 0; i < n && !rc; i++)
        if (!pick || !pick->best[i].n)
            rc = br__llm_check_finite(s->m, logits + i * vocab, vocab, err);
    return rc;
}

int br__llm_forward(struct br__llm_session *s, const struct br__forward_seq *inputs, size_t n,
                    float *logits, struct br_err *err)
{
    return br__llm_forward_best(s, inputs, n, NULL, logits, err);
}
