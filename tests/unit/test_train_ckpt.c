/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_train_ckpt.c - a run's state is saved and loaded: Megatron's checkpoints of all forms load
 * and are written as they were, a save is whole or absent at any failure, old checkpoints are
 * removed; what several processes write is each element once. */
#include "libfaults.h"
#include "librun.h"
#include "libtrainckpt.h"
#include "libtrainstate.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct br_err err;
static char dir[256]; /* of this test, removed after it */
static char root[300];
static char heard[4096]; /* notes and warnings */

static void setup(void)
{
    make_memory_dir(dir, sizeof dir, "train-ckpt");
    snprintf(root, sizeof root, "%s/run/checkpoints", dir);
    heard[0] = '\0';
}

static void teardown(void)
{
    must(br__remove_tree(dir, &err), &err);
}

static void hear(void *ud, const char *text)
{
    (void)ud;
    size_t n = strlen(heard);
    snprintf(heard + n, sizeof heard - n, "%s\n", text);
}

static const struct br_listener listener = {NULL, NULL, hear, hear};

static const char *case_hf(char *out, size_t size, const char *name)
{
    snprintf(out, size, "%s%s/hf", TRAIN_CASES, name);
    return out;
}

static struct br__saver *open_saver(const struct live_run *r, int64_t keep)
{
    const struct br__saver_opts o = {.root = root,
                                     .model = r->model,
                                     .run_config = "checkpoint:\n  save_optim: true\n",
                                     .keep = keep,
                                     .threads = 2,
                                     .no_sync = 1,
                                     .listener = &listener};
    struct br__saver *s;
    must(br__saver_open(&s, &o, &err), &err);
    return s;
}

static int save_step(struct br__saver *s, int64_t step, int later)
{
    struct saved_state now;
    saved_make(&now, step);
    err = (struct br_err)BR_ERR_INIT;
    return br__saver_save(s, &now.saved, later, &err);
}

static struct br__loaded load_from(struct live_run *r, const char *from, int weights_only)
{
    const struct br__load_opts o = {.dir = from,
                                    .model = r->model,
                                    .weights_only = weights_only,
                                    .threads = 2,
                                    .listener = &listener};
    struct br__loaded l;
    must(br__live_load(&o, &l, &err), &err);
    return l;
}

/* ---- Megatron's checkpoints ------------------------------------------------------------------ */

static const struct {
    const char *name,
        *twin; /* twin: the same run, stored without the defect and in the form that is written */
    size_t repaired;
    uint64_t lost;
} cases[] = {
    {"qwen3_dp1_fr", "qwen3_dp1_fr", 0, 0},     {"qwen3_tp2_fr", "qwen3_dp1_fr", 0, 0},
    {"qwen3_dp1_nodist", "qwen3_dp1_fr", 0, 0}, {"qwen3_dp2_dpr", "qwen3_dp1_fr", 0, 0},
    {"qwen3_mlm_dp1_fr", "qwen3_dp1_fr", 0, 0}, {"qwen3_moe_ep2_fr", "qwen3_moe_ep2_fr", 0, 0},
    {"qwen2_tied_pp2_fr", NULL, 1, 64},
};

START_TEST(test_megatron)
{
    char hf[512], from[512], twin[512];
    struct live_run r;
    live_open(&r, case_hf(hf, sizeof hf, cases[_i].name), NULL, BR_BF16);
    live_fill(&r, 1);
    snprintf(from, sizeof from, "%s%s/torch_dist", TRAIN_CASES, cases[_i].name);
    struct br__loaded l = load_from(&r, from, 0);
    ck_assert_int_eq(l.iteration, 3);
    ck_assert_int_eq(l.consumed_samples, 12);
    ck_assert_int_eq(l.groups[0].step, 3);
    ck_assert_int_eq(l.scheduler.num_steps, 12);
    ck_assert_uint_eq(l.n_repaired, cases[_i].repaired);
    ck_assert_uint_eq(l.lost_main, cases[_i].lost);
    ck_assert_uint_eq(l.lost_moments, 2 * cases[_i].lost);
    ck_assert_int_eq(strstr(heard, "shifted back") != NULL, cases[_i].repaired > 0);
    ck_assert_int_eq(strstr(heard, "64 elements of main weights") != NULL, cases[_i].lost > 0);
    if (cases[_i].twin) {
        struct br__saver *s = open_saver(&r, 0);
        must(save_step(s, 3, 0), &err);
        br__saver_close(s);
        snprintf(twin, sizeof twin, "%s%s/torch_dist", TRAIN_CASES, cases[_i].twin);
        ck_assert_uint_eq(count_differences(twin, root), 0);
    }
    br__loaded_free(&l);
    live_close(&r);
}
END_TEST

/* Weights alone can be loaded, too: finetuning starts from them. */
START_TEST(test_weights_only)
{
    char hf[512], from[512];
    struct live_run r;
    live_open(&r, case_hf(hf, sizeof hf, cases[_i].name), NULL, BR_BF16);
    live_fill(&r, 1);
    snprintf(from, sizeof from, "%s%s/torch_dist", TRAIN_CASES, cases[_i].name);
    struct br__loaded l = load_from(&r, from, 1);
    ck_assert_uint_eq(l.n_groups, 0);
    for (size_t i = 0; i < r.model.n; i++)
        for (size_t e = 0; e < r.list[i].n; e++) {
            uint16_t narrow;
            float wide;
            br_cast(&narrow, BR_BF16, &r.list[i].state[BR__OPTIM_MAIN][e], BR_F32, 1, 0);
            br_cast(&wide, BR_F32, &narrow, BR_BF16, 1, 0);
            ck_assert_float_eq(wide, r.list[i].state[BR__OPTIM_MAIN][e]);
            ck_assert_float_eq(r.list[i].state[BR__OPTIM_EXP_AVG][e], 0);
            ck_assert_float_eq(r.list[i].state[BR__OPTIM_EXP_AVG_SQ][e], 0);
        }
    br__loaded_free(&l);
    live_close(&r);
}
END_TEST

/* ---- there and back -------------------------------------------------------------------------- */

static const int dtypes[] = {BR_BF16, BR_F32, BR_F16};

START_TEST(test_round_trip)
{
    char hf[512];
    struct live_run a, b;
    case_hf(hf, sizeof hf, _i % 2 ? "qwen3_moe_ep2_fr" : "qwen2_tied_pp2_fr");
    live_open(&a, hf, NULL, dtypes[_i / 2]);
    live_open(&b, hf, NULL, dtypes[_i / 2]);
    live_fill(&a, 7);
    struct br__saver *s = open_saver(&a, 0);
    must(save_step(s, 12, 0), &err);
    br__saver_close(s);
    struct br__loaded l = load_from(&b, root, 0);
    ck_assert(live_same(&a, &b));
    ck_assert_int_eq(l.iteration, 12);
    ck_assert_int_eq(l.consumed_samples, 48);
    ck_assert_double_eq(l.flops, 1e9);
    ck_assert_uint_eq(l.n_groups, 2);
    ck_assert_double_eq(l.groups[1].wd_mult, 0);
    ck_assert_str_eq(l.scheduler.decay_style, "cosine");
    ck_assert_int_eq(br__pk_get(l.extra, "skipped")->u.i, 3);
    ck_assert_double_eq(br__pk_get(l.extra, "loss_scale")->u.f, 65536);
    ck_assert_str_eq(br__pk_get(l.extra, "data")->u.s, "abc");
    ck_assert_uint_eq(l.n_repaired + l.lost_main + l.lost_moments, 0);
    ck_assert_str_eq(heard, "");
    br__loaded_free(&l);
    live_close(&a);
    live_close(&b);
}
END_TEST

/* A save that is written while the run goes on holds the state of its own step. */
START_TEST(test_later)
{
    char hf[512];
    struct live_run a, b, c;
    case_hf(hf, sizeof hf, "qwen3_dp1_fr");
    live_open(&a, hf, NULL, BR_BF16);
    live_open(&b, hf, NULL, BR_BF16);
    live_open(&c, hf, NULL, BR_BF16);
    struct br__saver *s = open_saver(&a, 0);
    for (int step = 1; step <= 5; step++) {
        live_fill(&a, (uint64_t)step);
        must(save_step(s, step, 1), &err);
        live_fill(&a, 99); /* the next step */
    }
    must(br__saver_finish(s, &err), &err);
    br__saver_close(s);
    for (int step = 1; step <= 5; step++) {
        struct br__arena arena = {0};
        const char *at;
        must(br__ckpt_latest(&arena, root, step, &at, &err), &err);
        struct br__loaded l = load_from(&b, at, 0);
        live_fill(&c, (uint64_t)step);
        ck_assert(live_same(&b, &c));
        br__loaded_free(&l);
        br__arena_free(&arena);
    }
    live_close(&a);
    live_close(&b);
    live_close(&c);
}
END_TEST

/* ---- which one, and how many ----------------------------------------------------------------- */

static int has_step(int64_t step)
{
    char path[400];
    snprintf(path, sizeof path, "%s/iter_%07d", root, (int)step);
    return br__exists(path);
}

START_TEST(test_keep)
{
    char hf[512], path[400];
    struct live_run r;
    struct br__arena a = {0};
    const char *at;
    live_open(&r, case_hf(hf, sizeof hf, "qwen2_tied_pp2_fr"), NULL, BR_BF16);
    must(br__ckpt_latest(&a, root, -1, &at, &err), &err);
    ck_assert_ptr_null(at);
    struct br__saver *s = open_saver(&r, 2);
    snprintf(path, sizeof path, "%s/iter_notes", root);
    must(br__mkdirs(path, &err), &err);
    snprintf(path, sizeof path, "%s/.iter_0000002.bridge-partial", root);
    must(br__mkdirs(path, &err), &err); /* without a journal it belongs to nobody, so it stays */
    snprintf(path, sizeof path, "%s/.iter_0000002.bridge-partial/x", root);
    must(br__write_file(path, "x", 1, 0, &err), &err);
    must(br__ckpt_latest(&a, root, -1, &at, &err), &err);
    ck_assert_ptr_null(at);
    for (int step = 1; step <= 9; step += 2)
        must(save_step(s, step, 0), &err);
    for (int step = 1; step <= 9; step++)
        ck_assert_msg(has_step(step) == (step == 7 || step == 9), "step %d", step);
    ck_assert(br__exists(path));
    must(br__ckpt_latest(&a, root, -1, &at, &err), &err);
    ck_assert_str_eq(br__path_base(at), "iter_0000009");
    must(br__ckpt_latest(&a, root, 7, &at, &err), &err);
    ck_assert_str_eq(br__path_base(at), "iter_0000007");
    ck_assert_int_eq(br__ckpt_latest(&a, root, 5, &at, &err), BR_E_NOTFOUND);
    ck_assert(strstr(err.msg, "ckpt_step=5") && strstr(err.msg, "iter_0000005"));
    must(save_step(s, 8, 0),
         &err); /* a run that went back: the later checkpoint is of another run and stays */
    ck_assert(has_step(9) && has_step(8) && has_step(7));
    br__saver_close(s);
    br__arena_free(&a);
    live_close(&r);
}
END_TEST

/* ---- another model's ------------------------------------------------------------------------- */

static void refused(struct live_run *r, const char *from, const char *text)
{
    const struct br__load_opts o = {.dir = from, .model = r->model, .threads = 1};
    struct br__loaded l;
    err = (struct br_err)BR_ERR_INIT;
    ck_assert_int_eq(br__live_load(&o, &l, &err), BR_E_PLAN);
    ck_assert_msg(strstr(err.msg, text) != NULL, "%s", err.msg);
}

START_TEST(test_refused)
{
    char hf[512];
    struct live_run r;
    live_open(&r, case_hf(hf, sizeof hf, "qwen3_dp1_fr"), NULL, BR_BF16);
    refused(&r, TRAIN_CASES "qwen2_tied_pp2_fr/torch_dist", "is [2, 32, 32], this run's is");
    refused(&r, TRAIN_CASES "qwen3_moe_ep2_fr/torch_dist", "lacks 3 of 11 tensors of this run: '");
    live_close(&r);
}
END_TEST

/* ---- when it fails --------------------------------------------------------------------------- */

static struct live_run fault_run;

/* Step 2 over a root that has step 1. */
static int save_2(void)
{
    struct br__saver *s = NULL;
    struct saved_state now;
    const struct br__saver_opts o = {.root = root,
                                     .model = fault_run.model,
                                     .run_config = "checkpoint:\n  save_optim: true\n",
                                     .threads = 1,
                                     .no_sync = 1};
    saved_make(&now, 2);
    err = (struct br_err)BR_ERR_INIT;
    int rc = br__saver_open(&s, &o, &err);
    if (!rc)
        rc = br__saver_save(s, &now.saved, 0, &err);
    br__saver_close(s);
    return rc;
}

/* The latest checkpoint is that of step 1 or of step 2, whole. */
static int64_t check_latest(struct live_run *b)
{
    struct live_run *a = &fault_run;
    struct br__loaded l = load_from(b, root, 0);
    int64_t step = l.iteration;
    live_fill(a, (uint64_t)step);
    ck_assert(live_same(a, b));
    ck_assert(step == 1 || step == 2);
    br__loaded_free(&l);
    live_fill(a, 2);
    return step;
}

static void begin_fault(void)
{
    if (br__exists(root))
        must(br__remove_tree(root, &err), &err);
    struct br__saver *s = open_saver(&fault_run, 0);
    live_fill(&fault_run, 1);
    must(save_step(s, 1, 0), &err);
    br__saver_close(s);
    live_fill(&fault_run, 2);
}

START_TEST(test_faults)
{
    char hf[512];
    struct live_run b;
    case_hf(hf, sizeof hf, "qwen2_tied_pp2_fr");
    live_open(&fault_run, hf, NULL, BR_BF16);
    live_open(&b, hf, NULL, BR_BF16);
    int more = 1, failed = 0;
    long stride = test_is_sampled() ? 6 : 30;
    for (long n = 0; more; n += 1 + n / stride) {
        begin_fault();
        fault_arm((enum fault)_i, n);
        int rc = save_2();
        more = fault_fired;
        fault_disarm();
        failed += rc != BR_OK;
        struct br_err why = err;
        int64_t step = check_latest(&b);
        if (!rc)
            ck_assert_int_eq(step, 2);
        else
            ck_assert_msg(why.msg[0] != '\0', "fault %d, call %ld: no message", _i, n);
        if (rc && _i == FAIL_ENOSPC)
            ck_assert_msg(strstr(why.msg, "checkpoint of step 2") || strstr(why.msg, root), "%s",
                          why.msg);
        must(save_2(), &err); /* the next try */
        ck_assert_int_eq(check_latest(&b), 2);
    }
    ck_assert_int_gt(failed, 10);
    live_close(&fault_run);
    live_close(&b);
}
END_TEST

START_TEST(test_killed)
{
    char hf[512];
    struct live_run b;
    case_hf(hf, sizeof hf, "qwen2_tied_pp2_fr");
    live_open(&fault_run, hf, NULL, BR_BF16);
    live_open(&b, hf, NULL, BR_BF16);
    int status = 1, seen[3] = {0};
    for (long n = 0; status; n += 1 + n / 40) {
        begin_fault();
        pid_t pid = fork();
        if (pid == 0) {
            fault_arm(KILLED, n);
            _exit(save_2() ? 98 : 0);
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFEXITED(status));
        status = WEXITSTATUS(status);
        ck_assert_msg(status == 0 || status == FAULT_KILL_STATUS, "status %d", status);
        seen[check_latest(&b)]++;
        must(save_2(), &err);
        ck_assert_int_eq(check_latest(&b), 2);
    }
    ck_assert(seen[1] && seen[2]);
    live_close(&fault_run);
    live_close(&b);
}
END_TEST

/* ---- what each of several processes writes --------------------------------------------------- */

#define PARTS 3

/* Runs of tensor t as rank `rank` of PARTS may have them: any stretch, as with the distributed
 * optimizer; columns; or all, of which the others are copies. */
static void part_runs(struct br__live *t, size_t i, uint32_t rank, struct br__live_run *r)
{
    const size_t cols = t->ndim ? (size_t)t->shape[t->ndim - 1] : 1, rows = t->n / cols;
    const size_t cut[] = {0, t->n / 3 + 1, BR__MAX(t->n / 3 + 1, t->n * 2 / 3), t->n};
    const size_t col[] = {0, cols / 4, cols / 4 * 3, cols};

    t->runs = r;
    t->n_runs = 1;
    if (i % 3 == 0)
        *r = (struct br__live_run){.from = cut[rank], .n = cut[rank + 1] - cut[rank], .count = 1};
    else if (i % 3 == 1 && t->ndim > 1)
        *r = (struct br__live_run){
            .from = col[rank], .n = col[rank + 1] - col[rank], .count = rows, .stride = cols};
    else
        *r = (struct br__live_run){.n = t->n, .count = 1, .is_copy = i % PARTS != rank};
    r->stride = r->stride ? r->stride : r->n;
    if (!r->n || !r->stride)
        t->n_runs = 0;
    for (int k = 0; k < BR__N_OPTIM_KINDS; k++)
        r->state[k] = t->state[k];
}

/* Index of element k of a box in a tensor or piece of that shape. */
static uint64_t index_in(uint64_t k, int ndim, const int64_t *size, const int64_t *off,
                         const int64_t *shape)
{
    uint64_t index = 0, step = 1;

    for (int d = ndim - 1; d >= 0; d--) {
        index += (k % (uint64_t)size[d] + (uint64_t)off[d]) * step;
        step *= (uint64_t)shape[d];
        k /= (uint64_t)size[d];
    }
    return index;
}

/* Elements of a rank's items, in seen[tensor], and that each is that of the piece which is said. */
static void paint(const struct br__live_plan *live, const struct br__cut_tables *t, uint8_t **seen)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct br__td_item *it = &t->td->items[t->n_objects + i];
        const struct br__td_out *out = &t->td->tensors[it->tensor];
        const struct br__cut *c = &t->cuts[i];
        const struct br__piece *pc = &live->plan->pieces[c->piece];
        uint64_t n = it->data_bytes / br_dtype_size(out->dtype), bytes;
        ck_assert_uint_eq(pc->out, it->tensor);
        must(br_shape_bytes(it->size, out->ndim, br_dtype_size(out->dtype), &bytes), &err);
        ck_assert_uint_eq(bytes, it->data_bytes);
        for (uint64_t k = 0; k < n; k++) {
            uint64_t at = index_in(k, out->ndim, it->size, it->off, out->shape);
            uint64_t in_piece = c->first + k / c->n_cols * c->stride + k % c->n_cols;
            ck_assert_uint_eq(at, index_in(in_piece, out->ndim, pc->size, pc->off, out->shape));
            seen[it->tensor][at]++;
        }
    }
}

static const char *const cut_cases[] = {"qwen2_tied_pp2_fr", "qwen3_moe_ep2_fr"};

/* Every element of every tensor is in one item of one rank. */
START_TEST(test_cut)
{
    char hf[512];
    struct live_run r;
    struct br__live_plan live;
    struct br__arena a = {0};
    uint8_t **seen = NULL;
    size_t n_items = 0;
    case_hf(hf, sizeof hf, cut_cases[_i]);
    live_open(&r, hf, NULL, BR_BF16);
    struct br__live_run *runs = br__arena_alloc(&a, r.model.n * sizeof *runs);
    must(br__live_plan_open(&live, &r.model, NULL, &err), &err);
    for (uint32_t rank = 0; rank < PARTS; rank++) {
        struct br__td_plan td = {0};
        struct br__cut_tables t = {.td = &td};
        must(br__iteration_tables(&a, live.plan, &td, &t.n_objects, &err), &err);
        for (size_t i = 0; i < r.model.n; i++)
            part_runs(&r.list[i], i, rank, &runs[i]);
        must(br__cut_tables(&a, &live, &r.model, &t, &err), &err);
        n_items += t.n;
        if (!seen)
            seen = br__arena_alloc(&a, td.n_tensors * sizeof *seen);
        for (size_t i = 0; i < td.n_tensors && !rank; i++) {
            uint64_t n;
            must(br_shape_bytes(td.tensors[i].shape, td.tensors[i].ndim, 1, &n), &err);
            seen[i] = br__arena_alloc(&a, (size_t)n + 1);
        }
        paint(&live, &t, seen);
        for (size_t i = 0; i < td.n_tensors && rank + 1 == PARTS; i++) {
            uint64_t n;
            must(br_shape_bytes(td.tensors[i].shape, td.tensors[i].ndim, 1, &n), &err);
            for (uint64_t k = 0; k < n; k++)
                ck_assert_msg(seen[i][k] == 1, "element %llu of '%s' is in %d items",
                              (unsigned long long)k, td.tensors[i].key, seen[i][k]);
        }
    }
    ck_assert_uint_gt(n_items, live.plan->n_pieces);
    br__live_plan_close(&live);
    br__arena_free(&a);
    live_close(&r);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("train_ckpt");
    TCase *tc = tcase_create("train_ckpt"), *faults = tcase_create("faults");
    tcase_set_timeout(tc, 300);
    tcase_set_timeout(faults, 300);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_checked_fixture(faults, setup, teardown);
    tcase_add_loop_test(tc, test_megatron, 0, BR_COUNTOF(cases));
    tcase_add_loop_test(tc, test_weights_only, 0, BR_COUNTOF(cases));
    tcase_add_loop_test(tc, test_round_trip, 0, 2 * BR_COUNTOF(dtypes));
    tcase_add_test(tc, test_later);
    tcase_add_test(tc, test_keep);
    tcase_add_test(tc, test_refused);
    tcase_add_loop_test(tc, test_cut, 0, BR_COUNTOF(cut_cases));
    tcase_add_loop_test(faults, test_faults, FAIL_EIO, NO_MEMORY + 1);
    tcase_add_test(faults, test_killed);
    suite_add_tcase(s, tc);
    suite_add_tcase(s, faults);
    return run_suite(s);
}
