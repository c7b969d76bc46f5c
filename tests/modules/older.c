/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* older - a plugin built with a header from before today's: shorter rows, an architecture without
 * ignore, check and layer, a descriptor without recipes.  Loads; what is missing reads as zero. */
#include <stddef.h>
#include <stdint.h>

struct table {
    const void *rows;
    uint32_t n, row_size;
};
struct old_field {
    uint32_t field, flags;
    const char *hf_key;
};
struct old_map {
    const char *mcore, *hf, *hf_shape;
};
struct old_arch {
    const char *model_type, *hf_class, *toy;
    struct table config, maps;
};
struct old_plugin {
    uint32_t struct_size, built_with;
    const char *name;
    uint32_t arch_size, n_archs;
    const struct old_arch *archs;
};

static const struct old_field config[] = {{1, 1, "hidden_size"}, {0, 1, "num_hidden_layers"}};
static const struct old_map maps[] = {
    {"decoder.final_layernorm.weight", "model.norm.weight", "hidden_size"},
    {"embedding.word_embeddings.weight", "model.embed_tokens.weight", "vocab_size,hidden_size"},
};
static const struct old_arch archs[] = {{
    "older",
    "OlderForCausalLM",
    "num_hidden_layers=2 hidden_size=64",
    {config, 2, sizeof config[0]},
    {maps, 2, sizeof maps[0]},
}};
static const struct old_plugin self = {sizeof self, 900, "older", sizeof archs[0], 1, archs};

const void *bridge_plugin_v1(void);
__attribute__((visibility("default"))) const void *bridge_plugin_v1(void)
{
    return &self;
}
