/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_train_write.c - training state is written as it was read, and tensors that Megatron stored
 * shifted are shifted back. */
#include "convert/convert.h"
#include "format/torch/torch.h"
#include "librun.h"
#include "libtrainstate.h"

#include <stdlib.h>
#include <string.h>

static struct br_err err;
static char dir[256]; /* of this test, removed after it */

static void setup(void)
{
    make_temp_dir(dir, sizeof dir, "train-write");
}

static void teardown(void)
{
    must(br__remove_tree(dir, &err), &err);
}

static const char *path_of(struct br__arena *a, const char *name)
{
    return br__path_join(a, dir, name);
}

/* ---- writing --------------------------------------------------------------------------------- */

/* A training checkpoint to be written: weights and state from `s`, or optimizer tensors from
 * memory. */
struct save {
    struct br__arena a;
    const struct br__ckpt *ck;
    const struct br__train_state *s;
    float **memory[BR__N_OPTIM_KINDS]; /* per parameter; NULL: read the state */
    struct br__td_plan plan;
    struct br__train_source *source;
    uint32_t *tensor_of, *param_of; /* per weight of the plan */
    struct br__buf common;
};

static int produce(void *arg, size_t item, uint64_t off, void *dst, size_t n, struct br_err *e)
{
    const struct save *v = arg;
    const struct br__td_item *it = &v->plan.items[item];
    const struct br__train_source *from = &v->source[it->tensor];
    ck_assert_uint_le(n, BR__OUT_BUF); /* bounded memory: the caller never gets more at once */
    if (from->kind < 0)
        return br__ckpt_read_box(v->ck, &v->ck->tensors[v->tensor_of[from->weight]], it, off, dst,
                                 n, e);
    uint32_t param = v->param_of[from->weight];
    if (!v->memory[0])
        return br__train_state_read_box(v->s, param, from->kind, it, off, dst, n, e);
    memcpy(dst, (char *)v->memory[from->kind][param] + off, n);
    return BR_OK;
}

/* Items of all weights: in the boxes they have, or in one. */
static void plan_weights(struct save *v, int one_box)
{
    size_t n = v->ck->n_tensors, n_items = 1, param = 0;
    for (size_t i = 0; i < n; i++)
        n_items += v->ck->td->n_chunks[v->ck->tensors[i].priv];
    struct br__td_out *outs = br__arena_alloc(&v->a, n * sizeof *outs);
    v->tensor_of = br__arena_alloc(&v->a, n * sizeof *v->tensor_of);
    v->param_of = br__arena_alloc(&v->a, n * sizeof *v->param_of);
    v->plan.items = br__arena_alloc(&v->a, n_items * sizeof *v->plan.items);
    v->plan.tensors = outs;
    v->plan.items[v->plan.n_items++] =
        (struct br__td_item){.tensor = BR__TD_OBJECT, .object_key = "common_state/shard_0_1"};
    for (size_t i = 0; i < n; i++) {
        const struct br__tensor *t = &v->ck->tensors[i];
        size_t at = v->plan.n_tensors;
        if (br__starts(t->name, "optimizer."))
            continue;
        ck_assert_ptr_eq(v->s->params[param].weight, t);
        outs[at] = (struct br__td_out){.key = t->name, .dtype = t->dtype, .ndim = t->ndim};
        memcpy(outs[at].shape, t->shape, sizeof t->shape);
        v->tensor_of[at] = (uint32_t)i;
        v->param_of[at] = (uint32_t)param++;
        for (size_t k = 0; k < (one_box ? 1 : v->ck->td->n_chunks[t->priv]); k++) {
            const struct br__td_chunk *c = &v->ck->td->chunks[t->priv][k];
            struct br__td_item *it = &v->plan.items[v->plan.n_items++];
            it->tensor = (uint32_t)at;
            memcpy(it->off, c->off, sizeof it->off);
            memcpy(it->size, one_box ? t->shape : c->size, sizeof it->size);
            if (one_box)
                memset(it->off, 0, sizeof it->off);
            must(br_shape_bytes(it->size, t->ndim, br_dtype_size(t->dtype), &it->data_bytes), &err);
        }
        v->plan.n_tensors++;
    }
}

/* Write it below `dir`, which becomes an iteration directory. */
static void write_save(struct save *v, int one_box)
{
    struct br__buf meta = {0};
    const struct br__train_save t = {v->s->experts_apart, v->s->groups, v->s->n_groups,
                                     &v->s->scheduler};
    const struct br__td_common c = {.iteration = v->s->iteration, .train = &t};
    plan_weights(v, one_box);
    must(br__td_common_pickle(&v->common, &c, 1, &err), &err);
    v->plan.common_pickle = v->common.p;
    v->plan.common_pickle_size = v->common.n;
    must(br__td_train_plan(&v->a, &v->plan, NULL, &v->source, &err), &err);
    must(br__td_layout(&v->a, &v->plan, &err), &err);
    struct br__dir to;
    must(br__dir_open(&to, dir, &err), &err);
    for (uint32_t f = 0; f < v->plan.n_files; f++)
        must(br__td_write_file(&v->plan, f, &to, 0, produce, v, &err), &err);
    br__dir_close(&to);
    must(br__td_metadata(&v->plan, &meta, &err), &err);
    must(br__write_file(path_of(&v->a, "metadata.json"), br__td_metadata_json,
                        strlen(br__td_metadata_json), 0, &err),
         &err);
    must(br__write_file(path_of(&v->a, ".metadata"), meta.p, meta.n, 0, &err), &err);
    br__buf_free(&meta);
    br__buf_free(&v->common);
}

static void compare_key(const struct br__ckpt *a, const struct br__ckpt *b, const char *key)
{
    const struct br__pk *x = br__pk_get(a->td->common, key), *y = br__pk_get(b->td->common, key);
    struct br__buf p = {0}, q = {0};
    ck_assert(x && y);
    br__pk_repr(&p, x);
    br__pk_repr(&q, y);
    ck_assert_str_eq(p.p, q.p);
    br__buf_free(&p);
    br__buf_free(&q);
}

static void count_difference(void *ud, const char *text)
{
    (void)ud;
    printf("%s\n", text);
}

static const char *const cases[] = {"qwen3_dp1_fr", "qwen3_tp2_fr", "qwen3_mlm_dp1_fr",
                                    "qwen3_moe_ep2_fr", "qwen2_tied_pp2_fr"};

/* A save after no step is the checkpoint it came from: every tensor, and what the common state says
 * of the optimizer, in Megatron's own order of keys. */
START_TEST(test_zero_steps)
{
    static const char *const keys[] = {"checkpoint_version", "iteration", "optimizer",
                                       "opt_param_scheduler", "content_metadata"};
    struct br__ckpt *ck = open_case(cases[_i]), *written;
    struct br__train_state *s = open_state(ck);
    struct save v = {.ck = ck, .s = s};
    size_t n_diff;
    write_save(&v, 0);
    must(br__ckpt_open(&written, dir, &err), &err);
    must(br__ckpt_diff(ck, written, 1, count_difference, NULL, &n_diff, &err), &err);
    ck_assert_uint_eq(n_diff, 0);
    for (size_t i = 0; i < BR_COUNTOF(keys); i++)
        compare_key(ck, written, keys[i]);
    br__ckpt_close(written);
    br__arena_free(&v.a);
    br__train_state_close(s);
    br__ckpt_close(ck);
}
END_TEST

/* train_state.pt, byte for byte as Megatron Bridge wrote it. */
START_TEST(test_counters)
{
    struct br__ckpt *ck = open_case("qwen3_dp1_fr");
    struct br__arena a = {0};
    struct br__file x, y;
    const struct br__train_counters c = {.step = ck->td->train_step,
                                         .consumed_samples = ck->td->consumed_samples,
                                         .skipped_samples = ck->td->skipped_samples,
                                         .valid_samples = ck->td->valid_samples,
                                         .flops = ck->td->flops,
                                         .do_train = 1};
    ck_assert_int_eq(c.step, 3);
    ck_assert_int_eq(c.consumed_samples, 12);
    ck_assert_int_eq(c.skipped_samples, 0);
    ck_assert_double_eq(c.flops, 37035);
    struct br__dir to;
    must(br__dir_open(&to, dir, &err), &err);
    must(br__td_write_counters(&to, "train_state.pt", &c, 0, &err), &err);
    br__dir_close(&to);
    must(br__file_open(&x, path_of(&a, "train_state.pt"), &err), &err);
    must(br__file_open(&y, br__path_join(&a, ck->dir, "train_state.pt"), &err), &err);
    ck_assert_uint_eq(x.size, y.size);
    ck_assert_mem_eq(x.map, y.map, (size_t)x.size);
    br__file_close(&x);
    br__file_close(&y);
    br__arena_free(&a);
    br__ckpt_close(ck);
}
END_TEST

/* ---- Megatron's defect, made here ------------------------------------------------------------ */

/* Modules of the dense toys in Megatron's order, of which a buffer is the reverse. */
static const char *const order[] = {"self_attention.linear_proj.weight",
                                    "self_attention.linear_qkv.layer_norm_weight",
                                    "self_attention.linear_qkv.weight",
                                    "self_attention.q_layernorm.weight",
                                    "self_attention.k_layernorm.weight",
                                    "mlp.linear_fc1.layer_norm_weight",
                                    "mlp.linear_fc1.weight",
                                    "mlp.linear_fc2.weight"};
struct slot {
    size_t param;       /* of the state */
    uint64_t first;     /* element of its tensor */
    uint64_t n, padded; /* elements; position in the padded buffer */
};

static size_t list_slots(const struct br__train_state *s, struct slot *out)
{
    size_t n = 0;
    out[n++].param = find_state(s, "output_layer.weight");
    out[n++].param = find_state(s, "decoder.final_layernorm.weight");
    for (int64_t layer = 2; layer-- > 0;)
        for (size_t i = BR_COUNTOF(order); i-- > 0; n++) {
            char name[128];
            snprintf(name, sizeof name, "decoder.layers.%s", order[i]);
            out[n].param = find_state(s, name);
            out[n].n = state_elements(&s->params[out[n].param]) / 2;
            out[n].first = (uint64_t)layer * out[n].n;
        }
    out[n++].param = find_state(s, "embedding.word_embeddings.weight");
    for (size_t i = 0; i < n; i++)
        if (!out[i].n)
            out[i].n = state_elements(&s->params[out[i].param]);
    return n;
}

/* The whole buffer of one kind as Megatron joins it: buckets of at least `bucket` elements, their
 * padding left out.  Sets the padded positions, which is where it then cuts. */
static float *join(const struct br__train_state *s, struct slot *slots, size_t n, int kind,
                   uint64_t bucket, uint64_t unit, size_t *size)
{
    float *all = malloc(200000 * sizeof *all);
    uint64_t pos = 0, start = 0; /* padded */
    size_t at = 0;               /* joined */
    for (size_t i = 0; i < n; i++) {
        for (; pos % 64; pos++)
            all[at++] = 777; /* between parameters: never written */
        float *x = read_state(s, slots[i].param, kind);
        slots[i].padded = pos;
        memcpy(all + at, x + slots[i].first, slots[i].n * sizeof *x);
        at += slots[i].n;
        pos += slots[i].n;
        free(x);
        if (pos - start >= bucket)
            start = pos = start + round_up(pos - start, unit);
    }
    *size = at;
    return all;
}

static const struct {
    uint64_t bucket, unit; /* elements; what padding makes them a multiple of */
} buckets[] = {{1 << 20, 128}, {8192, 128}, {3000, 128}, {1000, 128},
               {100, 128},     {8192, 384}, {5000, 640}, {8192, 65536}};

static void spoil(const struct br__train_state *s, struct save *v, uint64_t bucket, uint64_t unit)
{
    struct slot slots[64] = {{0}};
    size_t n = list_slots(s, slots), size;
    for (int k = 0; k < BR__N_OPTIM_KINDS; k++) {
        float *all = join(s, slots, n, k, bucket, unit, &size);
        v->memory[k] = br__arena_alloc(&v->a, s->n_params * sizeof *v->memory[k]);
        for (size_t i = 0; i < s->n_params; i++)
            v->memory[k][i] = br__arena_alloc(&v->a, state_elements(&s->params[i]) * sizeof(float));
        for (size_t i = 0; i < n; i++)
            for (uint64_t e = 0; e < slots[i].n; e++)
                v->memory[k][slots[i].param][slots[i].first + e] =
                    slots[i].padded + e < size ? all[slots[i].padded + e] : 0;
        free(all);
    }
}

/* Every element that the defect did not destroy comes back; the others are counted. */
static void compare_repaired(const struct br__train_state *truth, const struct br__train_state *got)
{
    for (size_t i = 0; i < truth->n_params; i++) {
        const struct br__train_param *p = &got->params[i];
        size_t n = (size_t)state_elements(p);
        float *weight = malloc(n * sizeof *weight);
        uint16_t *narrow = malloc(n * sizeof *narrow);
        must(br__ckpt_read(got->ck, p->weight, 0, narrow, n * sizeof *narrow, &err), &err);
        br_cast(weight, BR_F32, narrow, BR_BF16, n, 0);
        for (int k = 0; k < BR__N_OPTIM_KINDS; k++) {
            float *x = read_state(truth, i, k), *y = read_state(got, i, k);
            uint64_t lost = 0;
            for (size_t e = 0; e < n; e++) {
                int same = memcmp(&x[e], &y[e], sizeof *x) == 0;
                lost += !same;
                ck_assert_msg(same || y[e] == (k == BR__OPTIM_MAIN ? weight[e] : 0),
                              "'%s', kind %d, element %zu: %g, expected %g", p->weight->name, k, e,
                              y[e], x[e]);
            }
            /* a lost element may happen to be right */
            ck_assert_uint_le(lost, p->lost[k]);
            ck_assert_uint_le(p->lost[k], lost + n / 8 + 1);
            free(x);
            free(y);
        }
        free(weight);
        free(narrow);
    }
}

/* Megatron's own defective checkpoint: a shift of 64, so 64 elements are lost of one parameter. */
START_TEST(test_repair)
{
    struct br__ckpt *ck = open_case("qwen2_tied_pp2_fr");
    struct br__train_state *raw = open_state(ck), *s = open_state(ck);
    must(br__train_state_repair(s, &err), &err);
    ck_assert_uint_eq(s->n_repaired, 1);
    for (size_t i = 0; i < s->n_params; i++) {
        const struct br__train_param *p = &s->params[i];
        int bad = strcmp(p->weight->name, "embedding.word_embeddings.weight") == 0;
        size_t n = (size_t)state_elements(p), lost = bad ? 64 : 0;
        for (int k = 0; k < BR__N_OPTIM_KINDS; k++) {
            float *x = read_state(s, i, k), *stored = read_state(raw, i, k);
            ck_assert_uint_eq(p->lost[k], lost);
            ck_assert_mem_eq(x + lost, stored, (n - lost) * sizeof *x);
            for (size_t e = 0; k != BR__OPTIM_MAIN && e < lost; e++)
                ck_assert_float_eq(x[e], 0);
            free(x);
            free(stored);
        }
        ck_assert_int_eq(p->from_weight, 0);
    }
    must(br__train_state_check(s, BR__MAIN_ALL, &err), &err);
    ck_assert_uint_eq(s->n_unlike, 0);
    br__train_state_close(raw);
    br__train_state_close(s);
    br__ckpt_close(ck);
}
END_TEST

START_TEST(test_shifted)
{
    struct br__ckpt *ck = open_case("qwen3_dp1_fr"), *bad;
    struct br__train_state *s = open_state(ck), *repaired;
    struct save v = {.ck = ck, .s = s};
    struct br__arena a = {0};
    spoil(s, &v, buckets[_i].bucket, buckets[_i].unit);
    write_save(&v, 1);
    struct br__dir to;
    must(br__dir_open(&to, dir, &err), &err);
    must(
        br__copy_in(&to, "run_config.yaml", br__path_join(&a, ck->dir, "run_config.yaml"), 0, &err),
        &err);
    br__dir_close(&to);
    must(br__ckpt_open(&bad, dir, &err), &err);
    repaired = open_state(bad);
    must(br__train_state_repair(repaired, &err), &err);
    ck_assert_int_eq(repaired->n_repaired > 0, _i > 0);
    for (size_t i = 0; i < repaired->n_params; i++)
        ck_assert_msg(!repaired->params[i].from_weight, "bucket %d: '%s' was given up",
                      (int)buckets[_i].bucket, repaired->params[i].weight->name);
    compare_repaired(s, repaired);
    must(br__train_state_check(repaired, BR__MAIN_ALL, &err), &err);
    ck_assert_uint_eq(repaired->n_unlike, 0);
    br__train_state_close(repaired);
    br__ckpt_close(bad);
    br__train_state_close(s);
    br__ckpt_close(ck);
    br__arena_free(&v.a);
    br__arena_free(&a);
}
END_TEST

/* Values that no shift explains: the whole tensor counts as lost. */
START_TEST(test_unexplained)
{
    struct br__ckpt *ck = open_case("qwen3_dp1_fr"), *bad;
    struct br__train_state *s = open_state(ck), *repaired;
    struct save v = {.ck = ck, .s = s};
    spoil(s, &v, 1 << 20, 128);
    size_t i = find_state(s, "decoder.layers.mlp.linear_fc2.weight"),
           n = state_elements(&s->params[i]);
    for (size_t e = 0; e < n; e++)
        v.memory[BR__OPTIM_MAIN][i][e] += 1;
    write_save(&v, 1);
    must(br__ckpt_open(&bad, dir, &err), &err);
    repaired = open_state(bad); /* without run_config.yaml: no order, no shift */
    must(br__train_state_repair(repaired, &err), &err);
    ck_assert_uint_eq(repaired->n_repaired, 1);
    ck_assert_int_eq(repaired->params[i].from_weight, 1);
    for (int k = 0; k < BR__N_OPTIM_KINDS; k++)
        ck_assert_uint_eq(repaired->params[i].lost[k], n);
    float *m = read_state(repaired, i, BR__OPTIM_EXP_AVG);
    for (size_t e = 0; e < n; e++)
        ck_assert_float_eq(m[e], 0);
    free(m);
    must(br__train_state_check(repaired, BR__MAIN_ALL, &err), &err);
    ck_assert_uint_eq(repaired->n_unlike, 0);
    br__train_state_close(repaired);
    br__ckpt_close(bad);
    br__train_state_close(s);
    br__ckpt_close(ck);
    br__arena_free(&v.a);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("train_write");
    TCase *tc = tcase_create("repair"), *files = tcase_create("files");
    tcase_set_timeout(tc, 300);
    tcase_set_timeout(files, 300);
    tcase_add_checked_fixture(files, setup, teardown);
    tcase_add_test(tc, test_repair);
    tcase_add_loop_test(files, test_zero_steps, 0, BR_COUNTOF(cases));
    tcase_add_test(files, test_counters);
    tcase_add_loop_test(files, test_shifted, 0, BR_COUNTOF(buckets));
    tcase_add_test(files, test_unexplained);
    suite_add_tcase(s, tc);
    suite_add_tcase(s, files);
    return run_suite(s);
}
