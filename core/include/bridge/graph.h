/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* graph.h - the builder vocabulary: what a plugin says of the forward pass.
 *
 * A builder is called once per layer and reads like the block diagram.  It names weights by
 * their Megatron name relative to the layer ("self_attention.linear_proj.weight"); blocks
 * take sizes, norms, rotary embedding, biases, routing from the config and put collectives
 * where the topology needs them, so that no plugin ever sees a parallel size.
 *
 * A value is a number; 0 is poison.  The first error sticks to the graph and every later call
 * returns 0, so that builders need no checks (the idea of SQLite's sqlite3_str). */
#ifndef BRIDGE_GRAPH_H
#define BRIDGE_GRAPH_H

#include <bridge/config.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef uint32_t br_val;
struct br_graph;

/* What kind of layer it is: derived from the config (full_attention_interval, layer_types;
 * decoder_sparse_step, mlp_only_layers). */
BR_API int br_layer_is_linear(const struct br_graph *g, int layer); /* gated delta net */
BR_API int br_layer_is_moe(const struct br_graph *g, int layer);
BR_API const struct br_config *br_graph_config(const struct br_graph *g);

/* x, y [T, hidden_size] -> [T, hidden_size] */
BR_API br_val br_add(struct br_graph *g, br_val x, br_val y);
/* Root mean square norm with the weight of that name; zero-centred where the config says so. */
BR_API br_val br_rmsnorm(struct br_graph *g, br_val x, const char *weight);
/* Softmax attention: self_attention.linear_qkv, {q,k}_layernorm, rotary embedding, caches, sliding
 * window, output gate, linear_proj. */
BR_API br_val br_attention(struct br_graph *g, br_val x, int layer);
/* Gated delta net: in_proj, conv1d, delta rule, gated output norm, out_proj. */
BR_API br_val br_gated_delta_net(struct br_graph *g, br_val x, int layer);
/* down(silu(gate(x)) * up(x)) with weights prefix + linear_fc1 / linear_fc2: "mlp.". */
BR_API br_val br_gated_mlp(struct br_graph *g, br_val x, const char *prefix);
/* Router, routed experts and, where the config has one, the shared expert with its gate. */
BR_API br_val br_moe(struct br_graph *g, br_val x, int layer);

#ifdef __cplusplus
}
#endif
#endif
