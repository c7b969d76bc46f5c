/* test_abi - the layout of every public struct and the value of every public enum as released.
 *
 * Plugins and embedders are compiled against them, so they may only grow at the end: a changed row
 * here breaks binaries that exist.  A new member or value gets a new row; no row is ever edited. */
#include <bridge/bridge.h>
#include <bridge/plugin.h>
#include <check.h>
#include <stdlib.h>

struct member {
    size_t offset, size, now_offset, now_size, now_struct;
    const char *type, *name;
};

/* Type, member, offset, size. */
#define M(T, m, off, size)                                                                         \
    {                                                                                              \
        off, size, offsetof(struct T, m), sizeof(((struct T *)0)->m), sizeof(struct T), #T, #m     \
    }

/* clang-format off */
static const struct member members[] = {
    M(br_err, code, 0, 4),
    M(br_err, reserved, 4, 4),
    M(br_err, msg, 8, 1000),
    M(br_err, where, 1008, 120),
    M(br_listener, ud, 0, 8),
    M(br_listener, progress, 8, 8),
    M(br_listener, note, 16, 8),
    M(br_listener, warning, 24, 8),
    M(br_job, struct_size, 0, 4),
    M(br_job, flags, 4, 4),
    M(br_job, hf_model, 8, 8),
    M(br_job, megatron_path, 16, 8),
    M(br_job, hf_path, 24, 8),
    M(br_job, plugin, 32, 8),
    M(br_job, config_file, 40, 8),
    M(br_job, torch_dtype, 48, 4),
    M(br_job, threads, 52, 4),
    M(br_job, iteration, 56, 8),
    M(br_job, pad_vocab_to, 64, 8),
    M(br_job, max_shard_size, 72, 8),
    M(br_job, listener, 80, 8),
    M(br_job_result, struct_size, 0, 4),
    M(br_job_result, up_to_date, 4, 4),
    M(br_job_result, n_tensors, 8, 8),
    M(br_job_result, bytes_written, 16, 8),
    M(br_job_result, resumed_bytes, 24, 8),
    M(br_job_result, path, 32, 1024),
    M(br_field, field, 0, 4),
    M(br_field, flags, 4, 4),
    M(br_field, hf_key, 8, 8),
    M(br_field, value, 16, 8),
    M(br_field, text, 24, 8),
    M(br_map, mcore, 0, 8),
    M(br_map, hf, 8, 8),
    M(br_map, hf_shape, 16, 8),
    M(br_map, hf_fused, 24, 8),
    M(br_map, layout, 32, 4),
    M(br_map, flags, 36, 4),
    M(br_ignore, hf, 0, 8),
    M(br_recipe, name, 0, 8),
    M(br_recipe, base, 8, 8),
    M(br_recipe, set, 16, 8),
    M(br_arch, model_type, 0, 8),
    M(br_arch, hf_class, 8, 8),
    M(br_arch, toy, 16, 8),
    M(br_arch, config, 24, 16),
    M(br_arch, maps, 40, 16),
    M(br_arch, ignore, 56, 16),
    M(br_arch, check, 72, 8),
    M(br_arch, layer, 80, 8),
    M(br_plugin, struct_size, 0, 4),
    M(br_plugin, built_with, 4, 4),
    M(br_plugin, name, 8, 8),
    M(br_plugin, arch_size, 16, 4),
    M(br_plugin, n_archs, 20, 4),
    M(br_plugin, archs, 24, 8),
    M(br_plugin, recipes, 32, 16),
};

#define E(name) {#name, name}
static const struct value { const char *name; int now; } cfg_ids[] = {
    E(BR_CFG_NUM_LAYERS), E(BR_CFG_HIDDEN_SIZE), E(BR_CFG_FFN_HIDDEN_SIZE),
    E(BR_CFG_NUM_ATTENTION_HEADS), E(BR_CFG_NUM_QUERY_GROUPS), E(BR_CFG_KV_CHANNELS),
    E(BR_CFG_VOCAB_SIZE), E(BR_CFG_SEQ_LENGTH), E(BR_CFG_LAYERNORM_EPSILON),
    E(BR_CFG_INIT_METHOD_STD), E(BR_CFG_ROTARY_BASE), E(BR_CFG_ROTARY_PERCENT),
    E(BR_CFG_ATTENTION_DROPOUT), E(BR_CFG_SHARE_EMBEDDINGS), E(BR_CFG_ADD_QKV_BIAS),
    E(BR_CFG_QK_LAYERNORM), E(BR_CFG_NUM_MOE_EXPERTS), E(BR_CFG_MOE_ROUTER_TOPK),
    E(BR_CFG_MOE_FFN_HIDDEN_SIZE), E(BR_CFG_MOE_ROUTER_PRE_SOFTMAX),
    E(BR_CFG_MOE_AUX_LOSS_COEFF), E(BR_CFG_MOE_GROUPED_GEMM), E(BR_CFG_MOE_PERMUTE_FUSION),
    E(BR_CFG_MOE_TOKEN_DISPATCHER_TYPE), E(BR_CFG_MOE_ROUTER_LOAD_BALANCING_TYPE),
    E(BR_CFG_MOE_ROUTER_DTYPE), E(BR_CFG_MOE_SHARED_EXPERT_INTERMEDIATE_SIZE),
    E(BR_CFG_MOE_SHARED_EXPERT_GATE), E(BR_CFG_LAYERNORM_ZERO_CENTERED_GAMMA),
    E(BR_CFG_ATTENTION_OUTPUT_GATE), E(BR_CFG_EXPERIMENTAL_ATTENTION_VARIANT),
    E(BR_CFG_HETEREOGENOUS_DIST_CHECKPOINT), E(BR_CFG_LINEAR_CONV_KERNEL_DIM),
    E(BR_CFG_LINEAR_KEY_HEAD_DIM), E(BR_CFG_LINEAR_VALUE_HEAD_DIM),
    E(BR_CFG_LINEAR_NUM_KEY_HEADS), E(BR_CFG_LINEAR_NUM_VALUE_HEADS), E(BR_CFG_MTP_NUM_LAYERS),
    E(BR_CFG_TRANSFORMER_LAYER_SPEC), E(BR_CFG_POSITION_EMBEDDING_TYPE),
    E(BR_CFG_YARN_ROTARY_SCALING_FACTOR), E(BR_CFG_YARN_ORIGINAL_MAX_POSITION_EMBEDDINGS),
    E(BR_CFG_YARN_BETA_FAST), E(BR_CFG_YARN_BETA_SLOW), E(BR_CFG_YARN_MSCALE),
    E(BR_CFG_YARN_MSCALE_ALL_DIM), E(BR_CFG_YARN_CORRECTION_RANGE_ROUND_TO_INT),
    E(BR_CFG_ROPE_SCALING), E(BR_CFG_ROPE_SCALING_FACTOR), E(BR_CFG_ADD_BIAS_LINEAR),
};
static const struct value dtypes[] = {
    E(BR_NONE), E(BR_F32), E(BR_F16), E(BR_BF16), E(BR_F64), E(BR_F8_E4M3), E(BR_F8_E5M2), E(BR_I64),
    E(BR_I32), E(BR_I16), E(BR_I8), E(BR_U8), E(BR_BOOL), E(BR_U16), E(BR_U32), E(BR_U64),
};
static const struct value layouts[] = {
    E(BR_LAYOUT_COPY), E(BR_LAYOUT_QKV), E(BR_LAYOUT_QKVG), E(BR_LAYOUT_CONCAT), E(BR_LAYOUT_GDN_IN),
    E(BR_LAYOUT_GDN_CONV),
};
static const struct value statuses[] = {
    E(BR_OK), E(BR_E_DIFF), E(BR_E_USAGE), E(BR_E_IO), E(BR_E_FORMAT), E(BR_E_CONFIG), E(BR_E_ARCH),
    E(BR_E_PLUGIN), E(BR_E_PLAN), E(BR_E_EXISTS), E(BR_E_NOSPC), E(BR_E_NOTFOUND), E(BR_E_UNSUPPORTED),
    E(BR_E_NOMEM), E(BR_E_BUSY),
};
/* Flags: the n-th is 1 << n. */
static const struct value field_flags[] = {
    E(BR_FIELD_REQUIRED), E(BR_FIELD_NOT), E(BR_FIELD_FACT), E(BR_FIELD_DEFAULT), E(BR_FIELD_READ),
};
static const struct value map_flags[] = {
    E(BR_MAP_EXTRA_STATE), E(BR_MAP_IF_UNTIED), E(BR_MAP_IF_MTP), E(BR_MAP_VOCAB),
    E(BR_MAP_ZERO_CENTERED),
};
static const struct value job_flags[] = {
    E(BR_JOB_OVERWRITE), E(BR_JOB_NO_SYNC), E(BR_JOB_NOT_STRICT), E(BR_JOB_UNTIE), E(BR_JOB_NO_MTP),
    E(BR_JOB_PER_LAYER), E(BR_JOB_STACKED), E(BR_JOB_RELEASE), E(BR_JOB_DRY_RUN), E(BR_JOB_FUSED),
    E(BR_JOB_PER_EXPERT),
};
/* clang-format on */

/* Rows of one struct stand together and leave no hole, so none can be forgotten in the middle. */
START_TEST(members_stay_where_they_are)
{
    size_t end = 0;

    for (size_t i = 0; i < BR_COUNTOF(members); i++) {
        const struct member *m = &members[i];
        ck_assert_msg(m->now_offset == m->offset && m->now_size == m->size,
                      "struct %s.%s is now %zu bytes at %zu, released as %zu at %zu", m->type,
                      m->name, m->now_size, m->now_offset, m->size, m->offset);
        ck_assert_msg(m->offset == 0 || m->offset == end, "no row between %zu and struct %s.%s",
                      end, m->type, m->name);
        end = m->offset + m->size;
        ck_assert_uint_ge(m->now_struct, end);
    }
}
END_TEST

#define ASSERT_VALUES(rows, expected)                                                              \
    for (int i = 0; i < (int)BR_COUNTOF(rows); i++)                                                \
    ck_assert_msg((rows)[i].now == (expected), "%s is now %d, released as %d", (rows)[i].name,     \
                  (rows)[i].now, (expected))

START_TEST(values_stay_what_they_are)
{
    ASSERT_VALUES(cfg_ids, i);
    ASSERT_VALUES(dtypes, i);
    ASSERT_VALUES(layouts, i);
    ASSERT_VALUES(statuses, i);
    ASSERT_VALUES(field_flags, 1 << i);
    ASSERT_VALUES(map_flags, 1 << i);
    ASSERT_VALUES(job_flags, 1 << i);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("abi");
    TCase *t = tcase_create("all");

    tcase_add_test(t, members_stay_where_they_are);
    tcase_add_test(t, values_stay_what_they_are);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
