/* example - a plugin outside of bridge's tree: a dense model with Qwen3's block under another name.
 */
#include <bridge/rules.h>

static const struct br_field config[] = {
    BR_FACT(ADD_QKV_BIAS, 0),
    BR_FACT(QK_LAYERNORM, 1),
};

static const struct br_map maps[] = {
    BR_RULES_TRUNK,
    BR_RULES_ATTENTION,
    BR_RULES_QK_NORM,
    BR_RULES_GLU,
};

static const struct br_arch archs[] = {{
    .model_type = "example",
    .hf_class = "ExampleForCausalLM",
    .toy = "num_hidden_layers=2 hidden_size=64 intermediate_size=96 num_attention_heads=4 "
           "num_key_value_heads=2 head_dim=32 vocab_size=320 max_position_embeddings=512 "
           "rope_theta=1000000.0 tie_word_embeddings=false",
    .config = BR_ROWS(config),
    .maps = BR_ROWS(maps),
}};

static const struct br_recipe recipes[] = {
    {"example_pretrain_config", "pretrain", "tp=1 pp=1"},
};

BR_PLUGIN(example, archs, recipes)
