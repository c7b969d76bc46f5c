/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_pipeline.c - layers of stages and pipeline schedules against Megatron's own
 * (tests/oracle/stages.py and pipeline.py write the golden files), and schedules played in time: no
 * message without its other side, no hang, bubble and frames as the formulas say. */
#include "../../core/dist/dist.h"
#include "librun.h"

#include <check.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static char *read_golden(const char *name)
{
    char *text, path[512];
    struct br_err err = BR_ERR_INIT;
    snprintf(path, sizeof path, "%s/topo/%s", BRIDGE_TEST_DATA, name);
    int rc = br__read_text(path, 1 << 20, &text, NULL, &err);
    ck_assert_msg(rc == 0, "%s", err.msg);
    return text;
}

/* The line at *at without its end, and *at behind it; NULL: there is none. */
static char *next_line(char **at)
{
    char *line = *at, *end = strchr(line, '\n');
    if (!end)
        return NULL;
    *end = 0;
    *at = end + 1;
    return line;
}

/* ---- layers of stages ------------------------------------------------------------------------ */

static void put_chunks(struct br__buf *b, const struct br__stages *s)
{
    b->n = 0;
    for (uint32_t i = 0; i < s->pp * s->vpp; i++) {
        const struct br__chunk *c = &s->chunks[i];
        br__buf_printf(b, "%s%" PRIu32 "+%" PRIu32, i ? " " : "", c->first, c->n_layers);
        if (c->n_mtp)
            br__buf_printf(b, "+%" PRIu32, c->n_mtp);
        ck_assert_int_eq(c->embedding, i == 0);
        ck_assert_int_eq(c->head, i == s->pp * s->vpp - 1);
    }
}

/* " : 0,2", the stages of EMBED: of the ranks where each stage is one. */
static void put_embed(struct br__buf *b, const struct br__stages *s)
{
    uint32_t ranks[64], n;
    struct br_topo t;
    ck_assert_uint_le(s->pp, BR_COUNTOF(ranks));
    ck_assert_int_eq(br_topo_make(&t, 1, 1, s->pp, 1, 1, 0, NULL), 0);
    n = br__group_ranks(&t, s, 0, BR_GROUP_EMBED, ranks);
    for (uint32_t i = 0; i < n; i++)
        br__buf_printf(b, "%s%" PRIu32, i ? "," : " : ", ranks[i]);
}

START_TEST(megatrons_stages)
{
    char *text = read_golden("stages.txt"), *at = text;
    struct br__buf b = {0};
    unsigned accepted = 0, refused = 0;
    for (char *line; (line = next_line(&at));) {
        struct br__stage_opts o = {0};
        struct br__stages s;
        struct br__arena a = {0};
        struct br_err err = BR_ERR_INIT;
        char layout[256];
        int end = 0, got = sscanf(line,
                                  "%" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32
                                  " %" SCNu32 " %d %d %255s : %n",
                                  &o.n_layers, &o.n_mtp, &o.pp, &o.vpp, &o.first, &o.last,
                                  &o.embedding, &o.loss, layout, &end);
        ck_assert_msg(got == 9, "%s", line);
        o.layout = strcmp(layout, "-") ? layout : NULL;
        int rc = br__stages_make(&a, &o, &s, &err);
        if (!strcmp(line + end, "refused")) {
            ck_assert_msg(rc == BR_E_CONFIG, "%s: not refused", line);
            refused++;
        } else {
            ck_assert_msg(rc == 0, "%s: %s", line, err.msg);
            put_chunks(&b, &s);
            put_embed(&b, &s);
            o.tied = 1;
            ck_assert_int_eq(br__stages_make(&a, &o, &s, &err), 0);
            put_embed(&b, &s);
            ck_assert_msg(!strcmp(b.p, line + end), "%s: not %s", line, b.p);
            accepted++;
        }
        br__arena_free(&a);
    }
    ck_assert_uint_ge(accepted, 200);
    ck_assert_uint_ge(refused, 500);
    br__buf_free(&b);
    br__free(text);
}
END_TEST

static const struct {
    struct br__stage_opts o;
    const char *text;
} wrong[] = {
    {{30, 0, 4, 0, 0, 0, 0, 0, NULL, 0}, "num_layers 30 is not pp 4 × vpp 1 × layers of a stage"},
    {{94, 0, 16, 0, 0, 0, 1, 0, NULL, 0}, "num_layers 94 + embedding 1 + loss 0 is not pp 16"},
    {{8, 0, 1, 2, 0, 0, 0, 0, NULL, 0}, "vpp 2 needs pp > 1, got pp 1"},
    {{8, 0, 1, 0, 0, 0, 0, 0, "Etttt|ttttL", 0}, "vpp 2 needs pp > 1, got pp 1"},
    {{8, 0, 4, 0, 3, 0, 0, 0, NULL, 0}, "num_layers 8 - first stage 3 - last stage 0 = 5 is not 3"},
    {{8, 0, 2, 0, 9, 0, 0, 0, NULL, 0}, "num_layers 8 - first stage 9 - last stage 0 = -1"},
    {{8, 0, 2, 2, 3, 0, 0, 0, NULL, 0}, "3 layers of pipeline stage 0 are not vpp 2"},
    {{8, 0, 2, 0, 2, 0, 1, 0, NULL, 0},
     "pp_layout, num_layers_in_first_pipeline_stage and its kin"},
    {{2, 0, 2, 0, 0, 0, 0, 0, "Et|(t(t)*2)*2L", 0}, "layout 'Et|(t(t)*2)*2L': '(' is none of E"},
    {{2, 0, 2, 0, 0, 0, 0, 0, "Et*999999999|L", 0},
     "layout 'Et*999999999|L' has more than 1048576"},
    {{2, 0, 2, 0, 0, 0, 0, 0, "", 0}, "the pipeline layout is empty"},
    {{2, 0, 3, 0, 0, 0, 0, 0, "|Et|tL", 0}, "layout '|Et|tL' needs one E, as its first letter"},
    {{3, 0, 2, 0, 0, 0, 0, 0, "Et|tL", 0}, "layout 'Et|tL' has 2 decoder layers (t), the model 3"},
    {{2, 1, 2, 0, 0, 0, 0, 0, "Et|tL", 0},
     "layout 'Et|tL' has 0 prediction layers (m), the model 1"},
    {{2, 1, 2, 0, 0, 0, 0, 0, "Em|ttL", 0},
     "layout 'Em|ttL': all prediction layers (m) belong in one"},
    {{2, 1, 2, 0, 0, 0, 0, 0, "Et|tm||L", 0},
     "layout 'Et|tm||L': prediction layers (m) belong in the"},
    {{2, 0, 3, 0, 0, 0, 0, 0, "Et|tL", 0}, "layout 'Et|tL' has 2 stages, not pp 3"},
    {{2, 0, 2, 2, 0, 0, 0, 0, "Et|tL", 0}, "layout 'Et|tL' has 1 chunks for each stage, vpp is 2"},
    {{1, 0, 1 << 20, 2, 0, 0, 0, 0, NULL, 0}, "pp 1048576 × vpp 2 are more than 1048576 chunks"},
    {{0, 0, 2, 0, 0, 0, 1, 1, NULL, 0}, NULL}, /* a stage each for embedding and loss alone */
};
START_TEST(wrong_stages)
{
    struct br__arena a = {0};
    struct br__stages s;
    struct br_err err = BR_ERR_INIT;
    int rc = br__stages_make(&a, &wrong[_i].o, &s, &err);
    ck_assert_int_eq(rc, wrong[_i].text ? BR_E_CONFIG : 0);
    if (rc)
        ck_assert_msg(br__starts(err.msg, wrong[_i].text), "%s", err.msg);
    br__arena_free(&a);
}
END_TEST

/* ---- schedules against Megatron's ------------------------------------------------------------ */

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* "[a<0.0 g>1.1]": what is exchanged before job i. */
static void put_exchange(struct br__buf *b, const struct br__pipe *t, uint32_t i)
{
    char texts[4][32];
    size_t n = 0;
    if (t->exchange[i + 1] - t->exchange[i] > BR_COUNTOF(texts))
        ck_abort_msg("an exchange of more than four messages");
    for (uint32_t k = t->exchange[i]; k < t->exchange[i + 1]; k++) {
        const struct br__message *m = &t->messages[k];
        snprintf(texts[n++], sizeof texts[0], "%c%c%" PRIu32 ".%" PRIu32, m->is_grad ? 'g' : 'a',
                 m->is_send ? '>' : '<', m->micro_batch, m->chunk);
    }
    qsort(texts, n, sizeof texts[0], by_text);
    br__buf_putc(b, '[');
    for (size_t k = 0; k < n; k++)
        br__buf_printf(b, "%s%s", k ? " " : "", texts[k]);
    br__buf_putc(b, ']');
}

static void put_stage(struct br__buf *b, const struct br__pipe *t)
{
    br__buf_printf(b, "stage %" PRIu32 " warmup %" PRIu32 " : ", t->stage, t->warmup);
    for (uint32_t i = 0; i < t->n_jobs; i++) {
        const struct br__job *j = &t->jobs[i];
        put_exchange(b, t, i);
        br__buf_printf(b, "%c%" PRIu32 ".%" PRIu32 " ", j->backward ? 'B' : 'F', j->micro_batch,
                       j->chunk);
    }
    put_exchange(b, t, t->n_jobs);
    br__buf_putc(b, '\n');
}

static struct br__pipe *make_all(struct br__arena *a, const struct br__pipe_opts *o)
{
    struct br__pipe *t = br__arena_alloc(a, o->pp * sizeof *t);
    ck_assert_ptr_nonnull(t);
    for (uint32_t s = 0; s < o->pp; s++) {
        struct br_err err = BR_ERR_INIT;
        if (br__pipe_make(a, o, s, &t[s], &err))
            ck_abort_msg("%s", err.msg);
    }
    return t;
}

START_TEST(megatrons_schedules)
{
    char *text = read_golden("pipeline.txt"), *at = text;
    struct br__buf b = {0};
    unsigned shown = 0, more = 0;
    for (char *line; (line = next_line(&at));) {
        struct br__pipe_opts o = {0};
        struct br__arena a = {0};
        uint32_t want = 0;
        int got = sscanf(strchr(line, ' '),
                         " %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %d %" SCNx32, &o.pp,
                         &o.vpp, &o.micro_batches, &o.group, &o.forward_only, &want);
        ck_assert_msg(got == (*line == 'r' ? 5 : 6), "%s", line);
        b.n = 0;
        struct br__pipe *t = make_all(&a, &o);
        for (uint32_t s = 0; s < o.pp; s++)
            put_stage(&b, &t[s]);
        if (*line == 'r') {
            ck_assert_msg(!strncmp(at, b.p, b.n), "%s: not\n%s", line, b.p);
            at += b.n;
            shown++;
        } else {
            ck_assert_msg(br__crc32(0, b.p, b.n) == want, "%s: not\n%s", line, b.p);
            more++;
        }
        br__arena_free(&a);
    }
    ck_assert_uint_eq(shown, 6);
    ck_assert_uint_ge(more, 400);
    br__buf_free(&b);
    br__free(text);
}
END_TEST

/* ---- schedules in time ----------------------------------------------------------------------- */

#define FORWARD 1.0
#define BACKWARD 2.0

static double unit_job(void *arg, uint32_t stage, const struct br__job *j)
{
    (void)arg;
    (void)stage;
    return j->backward ? BACKWARD : FORWARD;
}

static double no_time(void *arg, uint32_t stage, const struct br__message *m)
{
    (void)arg;
    (void)stage;
    (void)m;
    return 0;
}

static const struct br__pipe_costs unit = {NULL, unit_job, no_time};

/* Every micro batch goes once forward and once back through every chunk, in frames of its own.
 * (Each ck_assert costs a system call, so there is one.) */
static void check_jobs(const struct br__pipe *t, const struct br__pipe_opts *o)
{
    uint32_t n = o->micro_batches * o->vpp, most = 0, used = 0;
    unsigned char *state = calloc(n, 1), *busy = calloc(n + 1, 1);
    int good = t->n_jobs == (o->forward_only ? n : 2 * n);
    for (uint32_t i = 0; good && i < t->n_jobs; i++) {
        const struct br__job *j = &t->jobs[i];
        unsigned char *s = &state[j->micro_batch * o->vpp + j->chunk];
        good = *s == (j->backward ? 1 : 0) && j->frame < t->n_frames &&
               busy[j->frame] == (j->backward ? 1 : 0);
        busy[j->frame] = !j->backward && !o->forward_only;
        used += !j->backward;
        used -= j->backward;
        most = most > used ? most : used;
        ++*s;
    }
    /* One frame more than the warm-up takes, if there is one more pass. */
    uint32_t frames = o->forward_only ? 1 : t->warmup < n ? t->warmup + 1 : n;
    if (!good || t->n_frames != frames || (!o->forward_only && most != frames))
        ck_abort_msg("pp %u vpp %u micro batches %u group %u stage %u: jobs %d, frames %u of %u",
                     o->pp, o->vpp, o->micro_batches, o->group, t->stage, good, t->n_frames,
                     frames);
    free(state);
    free(busy);
}

/* Returns the seconds of a step. */
static double play(const struct br__pipe_opts *o)
{
    struct br__arena a = {0};
    struct br__pipe_times times;
    struct br_err err = BR_ERR_INIT;
    struct br__pipe *t = make_all(&a, o);
    for (uint32_t s = 0; s < o->pp; s++)
        check_jobs(&t[s], o);
    int rc = br__pipe_run(&a, t, o->pp, &unit, &times, &err);
    ck_assert_msg(rc == 0, "pp %u vpp %u micro batches %u group %u: %s", o->pp, o->vpp,
                  o->micro_batches, o->group, err.msg);
    br__arena_free(&a);
    return times.total;
}

static int is_valid(const struct br__pipe_opts *o)
{
    uint32_t m = o->micro_batches, rest = m % o->group;
    return o->vpp == 1 || (o->group >= o->pp && o->group <= m && (!rest || rest >= o->pp));
}

/* A step of vpp * m passes there and back, and of the bubble (pp - 1): with groups of pp.  Other
 * groups wait no less. */
static void play_one(const struct br__pipe_opts *o)
{
    struct br_err err = BR_ERR_INIT;
    int valid = is_valid(o);
    ck_assert_int_eq(br__pipe_check(o, &err), valid ? 0 : BR_E_CONFIG);
    if (!valid)
        return;
    double pass = FORWARD + BACKWARD, least = pass * (o->vpp * o->micro_batches + o->pp - 1);
    double total = play(o);
    int exact = o->vpp == 1 || (o->group == o->pp && o->micro_batches % o->pp == 0);
    if (exact ? fabs(total - least) > 1e-9 : total < least - 1e-9)
        ck_abort_msg("pp %u vpp %u micro batches %u group %u: %g, expected %g", o->pp, o->vpp,
                     o->micro_batches, o->group, total, least);
}

/* _i: pp */
START_TEST(every_schedule)
{
    uint32_t pp = (uint32_t)_i;
    for (uint32_t vpp = 1; vpp <= 4; vpp++)
        for (uint32_t m = 1; m <= 3 * pp; m++)
            for (uint32_t group = vpp == 1 ? pp : 1; group <= (vpp == 1 ? pp : m + 1); group++)
                play_one(&(struct br__pipe_opts){pp, vpp, m, group, 0});
}
END_TEST

START_TEST(evaluation)
{
    for (uint32_t pp = 1; pp <= 6; pp++)
        for (uint32_t vpp = 1; vpp <= (pp > 1 ? 3u : 1u); vpp++)
            for (uint32_t m = pp; m <= 2 * pp; m += pp) {
                struct br__pipe_opts o = {pp, vpp, m, 0, 1};
                ck_assert_double_eq_tol(play(&o), FORWARD * (vpp * m + pp - 1), 1e-9);
            }
}
END_TEST

/* Play the tables of two stages, and expect this error. */
static void expect_fault(struct br__arena *a, const struct br__pipe *t, const char *text)
{
    struct br__pipe_times times;
    struct br_err err = BR_ERR_INIT;
    ck_assert_int_eq(br__pipe_run(a, t, 2, &unit, &times, &err), BR_E_COMM);
    ck_assert_msg(strstr(err.msg, text), "%s", err.msg);
}

/* Stage 1 of 1F1B begins: receive, send a gradient, receive. */
static struct br__pipe *two_stages(struct br__arena *a)
{
    struct br__pipe *t = make_all(a, &(struct br__pipe_opts){2, 1, 4, 0, 0});
    const struct br__message *m = t[1].messages;
    ck_assert(!m[0].is_send && m[1].is_send && !m[2].is_send);
    return t;
}

START_TEST(message_missing)
{
    struct br__arena a = {0};
    struct br__pipe *t = two_stages(&a);
    for (uint32_t i = 1; i <= t[1].n_jobs + 1; i++)
        t[1].exchange[i]--;
    t[1].messages++;
    t[1].n_messages--;
    expect_fault(&a, t, "stage 0 sends stage 1 the activation of micro batch 0, chunk 0, where");
    t[0].n_messages = 0;
    expect_fault(&a, t,
                 "stage 1 expects of stage 0 the activation of micro batch 1, chunk 0, which "
                 "is not sent");
    br__arena_free(&a);
}
END_TEST

START_TEST(message_twice)
{
    struct br__arena a = {0};
    struct br__pipe *t = two_stages(&a);
    t[1].messages[2].tag = t[1].messages[0].tag;
    expect_fault(&a, t,
                 "stage 1 expects of stage 0 the activation of micro batch 1, chunk 0, twice");
    br__arena_free(&a);
}
END_TEST

/* Both send before they receive: with rendezvous neither is ever done. */
START_TEST(hang)
{
    static struct br__job jobs[2][1];
    static struct br__message messages[2][2] = {
        {{.peer = 1, .is_send = 1, .tag = 0}, {.peer = 1, .is_grad = 1, .tag = 1}},
        {{.peer = 0, .is_send = 1, .is_grad = 1, .tag = 1}, {.peer = 0, .tag = 0}}};
    static uint32_t apart[] = {0, 1, 2}, together[] = {0, 2, 2};
    struct br__pipe t[2];
    struct br__arena a = {0};
    struct br__pipe_times times;
    struct br_err err = BR_ERR_INIT;
    for (uint32_t s = 0; s < 2; s++)
        t[s] = (struct br__pipe){s, 1, 2, 0, 1, jobs[s], messages[s], apart};
    expect_fault(&a, t, "the pipeline hangs: stage 0 waits before job 0 of 1 for ever");
    t[0].exchange = t[1].exchange = together;
    ck_assert_int_eq(br__pipe_run(&a, t, 2, &unit, &times, &err), 0);
    br__arena_free(&a);
}
END_TEST

static const struct {
    struct br__pipe_opts o;
    const char *text;
} refused_pipes[] = {
    {{4, 2, 3, 0, 0}, "vpp 2 needs pp 4 ≤ microbatch_group_size_per_vp_stage 4 ≤ micro batches 3"},
    {{4, 2, 8, 3, 0}, "vpp 2 needs pp 4 ≤ microbatch_group_size_per_vp_stage 3"},
    {{4, 2, 9, 4, 0},
     "micro batches 9 % microbatch_group_size_per_vp_stage 4 = 1, and vpp 2 needs"},
    {{2, 1, 0, 0, 0}, "a pipeline of 2 stages × 1 chunks with 0 micro batches"},
    {{1 << 20, 1, 1 << 20, 0, 0}, "a pipeline of 1048576 stages"},
    {{2, UINT32_MAX, UINT32_MAX, 0, 0}, "a pipeline of 2 stages × 4294967295 chunks"},
};
START_TEST(wrong_pipes)
{
    struct br__arena a = {0};
    struct br__pipe t;
    struct br_err err = BR_ERR_INIT;
    ck_assert_int_eq(br__pipe_make(&a, &refused_pipes[_i].o, 0, &t, &err), BR_E_CONFIG);
    ck_assert_msg(br__starts(err.msg, refused_pipes[_i].text), "%s", err.msg);
    br__arena_free(&a);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pipeline");
    TCase *t = tcase_create("pipeline");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, megatrons_stages);
    tcase_add_loop_test(t, wrong_stages, 0, (int)BR_COUNTOF(wrong));
    tcase_add_test(t, megatrons_schedules);
    tcase_add_loop_test(t, every_schedule, 2, 17);
    tcase_add_test(t, evaluation);
    tcase_add_test(t, message_missing);
    tcase_add_test(t, message_twice);
    tcase_add_test(t, hang);
    tcase_add_loop_test(t, wrong_pipes, 0, (int)BR_COUNTOF(refused_pipes));
    suite_add_tcase(s, t);
    return run_suite(s);
}
