/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* select.cu - what of a row of logits can be the next token: the largest k; and the step that
 * follows a choice.
 *
 * A block has a row.  Of the largest number that each thread meets, the k-th largest is a bound:
 * the k-th largest of the row is no less.  The few that reach it go to shared memory, in any order,
 * and each of them counts how many are larger and how many of a lower column are kept as well,
 * which says whether and where it is written.  So the result depends on no order of threads. */
#include "host.cuh"

#define WAITING 1024 /* numbers that reach the bound, at most */

/* Both zeros are one number. */
BR_INLINE float select_read(const struct rows &x, int64_t at)
{
    return gpu_add_rn(x.read(at), 0.f);
}

/* The largest number of a thread's columns; *strange: one is not finite. */
BR_INLINE float largest_seen(const struct rows &x, int64_t at, int *strange)
{
    float most = -INFINITY;
    int bad = 0;
    for (uint32_t i = threadIdx.x; i < x.cols; i += TEAM_THREADS) {
        const float v = select_read(x, at + i);
        bad |= !(fabsf(v) < INFINITY);
        most = fmaxf(most, v);
    }
    *strange = bad;
    return most;
}

/* The k-th largest of the threads' numbers, in each of them. */
BR_INLINE float kth_of_threads(float mine, int k, float *room)
{
    BR_SHARED(float, kth, 1);
    room[threadIdx.x] = mine;
    gpu_sync();
    int before = 0; /* a strict order: of equals the lower thread comes first */
    for (int i = 0; i < TEAM_THREADS; i++)
        before += room[i] > mine || (room[i] == mine && i < (int)threadIdx.x);
    if (before == k - 1)
        kth[0] = mine;
    gpu_sync();
    return kth[0];
}

/* The lowest of the columns that have the largest number, in each thread. */
BR_INLINE int32_t first_of(const struct rows &x, int64_t at, float largest)
{
    BR_SHARED(int32_t, first, TEAM_THREADS);
    uint32_t mine = threadIdx.x;
    while (mine < x.cols && select_read(x, at + mine) < largest)
        mine += TEAM_THREADS;
    first[threadIdx.x] = (int32_t)(mine < x.cols ? mine : x.cols);
    gpu_sync();
    int32_t lowest = first[0];
    for (int i = 1; i < TEAM_THREADS; i++)
        lowest = first[i] < lowest ? first[i] : lowest;
    return lowest;
}

/* o: how many, whether all are finite, `room` columns, `room` numbers as bits. */
BR_KERNEL(TEAM_THREADS, 1) select_rows(struct rows o, struct rows x, int k, int room)
{
    BR_SHARED(float, most, TEAM_THREADS);
    BR_SHARED(float, value, WAITING);
    BR_SHARED(int32_t, column, WAITING);
    BR_SHARED(int32_t, waiting, 1);
    for (uint32_t r = blockIdx.x; r < x.count; r += gridDim.x) {
        const int64_t at = x.at(r);
        int32_t *to = (int32_t *)o.data + o.at(r);
        int strange;
        const float mine = largest_seen(x, at, &strange);
        strange = team<8>::sum(strange);
        const float bound = kth_of_threads(mine, k, most);
        for (int i = (int)threadIdx.x; i < 2 * room; i += TEAM_THREADS)
            to[2 + i] = i < room ? -1 : 0;
        if (threadIdx.x == 0)
            waiting[0] = 0;
        gpu_sync();
        if (k == 1) {
            const int32_t lowest = strange ? 0 : first_of(x, at, bound);
            if (threadIdx.x == 0) {
                to[0] = to[1] = !strange;
                to[2] = strange ? -1 : lowest;
                to[2 + room] = strange ? 0 : (int32_t)gpu_bits(bound);
            }
            gpu_sync();
            continue;
        }
        for (uint32_t i = threadIdx.x; !strange && i < x.cols; i += TEAM_THREADS) {
            const float v = select_read(x, at + i);
            const int32_t place = v < bound ? WAITING : gpu_atomic_add(waiting, 1);
            if (place < WAITING) {
                value[place] = v;
                column[place] = (int32_t)i;
            }
        }
        gpu_sync();
        const int n = waiting[0];
        int kept = 0;
        for (int i = (int)threadIdx.x; n <= WAITING && i < n; i += TEAM_THREADS) {
            int larger = 0;
            for (int j = 0; j < n; j++)
                larger += value[j] > value[i];
            kept += larger < k;
            column[i] = larger < k ? column[i] : -1 - column[i];
        }
        kept = team<8>::sum(kept);
        const bool told = n <= WAITING && kept <= room;
        for (int i = (int)threadIdx.x; told && i < n; i += TEAM_THREADS) {
            int before = 0;
            for (int j = 0; j < n; j++)
                before += column[j] >= 0 && column[j] < column[i];
            if (column[i] >= 0) {
                to[2 + before] = column[i];
                to[2 + room + before] = (int32_t)gpu_bits(value[i]);
            }
        }
        if (threadIdx.x == 0) {
            to[0] = told ? kept : -1;
            to[1] = !strange;
        }
        gpu_sync();
    }
}

ROW_FUNCTION(select)
{
    struct rows x = rows_of(&c->in[0]);
    BR_LAUNCH(c, select_rows, (unsigned)min_of(x.count, MAX_GRID_X), TEAM_THREADS, 0,
              rows_of(c->out), x, (int)c->attr.i[0], (int)c->attr.i[1]);
}

/* ---- the next step --------------------------------------------------------------------------- */

struct batch { /* inputs of a pass of one token a sequence, and what follows them */
    int32_t *ids, *positions, *rows, *seqs;
    const int32_t *best;
    int64_t seq_stride, best_stride;
    int n;
};

BR_KERNEL(TEAM_THREADS, 1) advance_batch(struct batch b)
{
    const int i = (int)(blockIdx.x * TEAM_THREADS + threadIdx.x);
    if (i >= b.n)
        return;
    b.ids[i] = b.best[i * b.best_stride + 2];
    b.positions[i]++;
    b.rows[i]++;
    b.seqs[i * b.seq_stride + 3]++;
}

ROW_FUNCTION(advance)
{
    const struct br_tensor *in = c->in;
    struct batch b = {};
    b.ids = (int32_t *)in[0].data;
    b.positions = (int32_t *)in[1].data;
    b.rows = (int32_t *)in[2].data;
    b.seqs = (int32_t *)in[3].data;
    b.best = (const int32_t *)in[4].data;
    b.seq_stride = in[3].stride[0];
    b.best_stride = in[4].stride[0];
    b.n = (int)in[4].shape[0];
    BR_LAUNCH(c, advance_batch, (unsigned)div_up(b.n, TEAM_THREADS), TEAM_THREADS, 0, b);
}
