/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* train_rows.c - which tokens of a micro batch are which rows of a rank's graph.
 *
 * With context parallelism a sequence is cut into 2 cp chunks, of which rank r has numbers r and
 * 2 cp - 1 - r, so that causal attention costs each rank the same (Megatron-LM
 * core/utils.py, get_batch_on_this_cp_rank).  Its even rows are the early chunks of all sequences,
 * its odd rows the late ones.  Of sequences whose length is no multiple of 2 cp the last rows are
 * nobody's. */
#include "trainer.h"
#include <string.h>

struct cut {
    int64_t cp, rank;
};

static struct cut cut_of(const struct br__rank_trainer *t)
{
    const struct br__rank_info *info = t->rank->info;
    return (struct cut){info->topo.size[BR_AXIS_CP],
                        br_topo_coord(&info->topo, info->rank, BR_AXIS_CP)};
}

static int64_t length_of(const struct br__micro *mb, int64_t s)
{
    return br__first_row(mb, s + 1) - br__first_row(mb, s);
}

/* Rows of a chunk of sequence s. */
static int64_t chunk_of(const struct cut *c, const struct br__micro *mb, int64_t s)
{
    return (length_of(mb, s) + 2 * c->cp - 1) / (2 * c->cp);
}

int64_t br__train_tokens(const struct br__rank_trainer *t, const struct br__micro *mb)
{
    const struct cut c = cut_of(t);
    int64_t n = 0;
    for (int64_t s = 0; s < mb->n_seqs; s++)
        n += c.cp > 1 ? 2 * chunk_of(&c, mb, s) : length_of(mb, s);
    return n;
}

static struct br__train_row row_at(const struct br__micro *mb, int64_t s, int64_t pos)
{
    int64_t n = length_of(mb, s);
    if (pos >= n)
        return (struct br__train_row){-1, 0, 0};
    return (struct br__train_row){(int32_t)(br__first_row(mb, s) + pos), (int32_t)pos, pos + 1 < n};
}

void br__train_map(const struct br__rank_trainer *t, const struct br__micro *mb,
                   struct br__train_row *rows, int64_t n)
{
    const struct cut c = cut_of(t);
    int64_t at = 0;
    for (int64_t s = 0; s < mb->n_seqs; s++) {
        int64_t len = c.cp > 1 ? chunk_of(&c, mb, s) : length_of(mb, s);
        for (int64_t k = 0; k < len; k++) {
            if (c.cp == 1) {
                rows[at++] = row_at(mb, s, k);
                continue;
            }
            rows[at++] = row_at(mb, s, c.rank * len + k);
            rows[at++] = row_at(mb, s, (2 * c.cp - 1 - c.rank) * len + k);
        }
    }
    for (; at < n; at++)
        rows[at] = (struct br__train_row){-1, 0, 0};
}

double br__trainer_counted(const struct br__trainer *t, uint32_t i, const struct br__micro *mb)
{
    const struct br__rank_trainer *r = &t->ranks[i];
    const struct cut c = cut_of(r);
    double sum = 0;
    for (int64_t s = 0; s < mb->n_seqs; s++)
        for (int64_t pos = 0, n = length_of(mb, s), len = chunk_of(&c, mb, s); pos < n; pos++) {
            int64_t chunk = pos / len, of = BR__MIN(chunk, 2 * c.cp - 1 - chunk);
            if (c.cp > 1 && of != c.rank)
                continue;
            sum += (double)mb->mask[br__first_row(mb, s) + pos];
        }
    return sum;
}

/* ---- inputs that say where sequences are ----------------------------------------------------- */

static void put_seq(int32_t *seqs, int64_t s, const int64_t row[4])
{
    for (int i = 0; seqs && i < 4; i++)
        seqs[5 * s + i] = (int32_t)row[i];
    if (seqs)
        seqs[5 * s + 4] = (int32_t)s;
}

/* Row i of the sequences is row `index` of the ranks' one after another. */
static void put_order(int32_t *order, int32_t *back, int64_t i, int64_t index)
{
    if (order)
        order[i] = (int32_t)index;
    if (back)
        back[index] = (int32_t)i;
}

/* Of all ranks' rows, n each. */
static void fill_order(const struct cut *c, const struct br__micro *mb, int64_t n, int32_t *order,
                       int32_t *back)
{
    int64_t i = 0, at = 0;
    for (int64_t s = 0, len; s < mb->n_seqs; s++, at += len) {
        len = chunk_of(c, mb, s);
        for (int64_t pos = 0; pos < 2 * c->cp * len; pos++, i++) {
            int64_t chunk = pos / len, is_late = chunk >= c->cp;
            int64_t rank = is_late ? 2 * c->cp - 1 - chunk : chunk;
            put_order(order, back, i, rank * n + 2 * (at + pos % len) + is_late);
        }
    }
    for (int64_t rank = 0; rank < c->cp; rank++)
        for (int64_t row = 2 * at; row < n; row++)
            put_order(order, back, i++, rank * n + row);
}

void br__train_fill_seqs(const struct br__rank_trainer *t, const struct br__train_pass *p,
                         struct br__frame *f, const struct br__micro *mb)
{
    const struct br__build *b = &p->compiled->b;
    const struct cut c = cut_of(t);
    int32_t *list[3] = {br__frame_input(f, b->seqs), br__frame_input(f, b->seqs_odd),
                        br__frame_input(f, b->whole_seqs)};
    int64_t at = 0, whole = 0;
    for (int i = 0; i < 3; i++)
        if (list[i])
            memset(list[i], 0, (size_t)(5 * p->n_seqs) * sizeof *list[i]);
    for (int64_t s = 0; s < mb->n_seqs; s++) {
        int64_t n = length_of(mb, s), len = chunk_of(&c, mb, s), all = 2 * c.cp * len;
        if (c.cp == 1) {
            put_seq(list[0], s, (const int64_t[]){at, n, at, n});
            at += n;
            continue;
        }
        put_seq(list[0], s, (const int64_t[]){at, len, whole, (c.rank + 1) * len});
        put_seq(list[1], s, (const int64_t[]){at, len, whole, (2 * c.cp - c.rank) * len});
        put_seq(list[2], s, (const int64_t[]){whole, all, whole, all});
        at += len;
        whole += all;
    }
    if (c.cp > 1)
        fill_order(&c, mb, p->n_tokens, br__frame_input(f, b->order), br__frame_input(f, b->back));
}
