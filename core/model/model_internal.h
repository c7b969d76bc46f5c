/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* model_internal.h - what the files of core/model share. */
#ifndef BRIDGE_CORE_MODEL_INTERNAL_H
#define BRIDGE_CORE_MODEL_INTERNAL_H

#include "model.h"

/* ---- elf.c ----------------------------------------------------------------------------------- */

/* Whether a file's bytes are a complete shared object for this machine.  dlopen faults on one that
 * was cut short, so this comes first.  BR_E_PLUGIN. */
int br__elf_check(const unsigned char *p, size_t n, struct br_err *err) BR_MUST_CHECK;

/* ---- adopt.c: a plugin's descriptor checked and copied --------------------------------------- */

/* Where a plugin's file is mapped: all that its descriptor points to must lie inside.  No segments
 * = not checked (a linked-in plugin). */
#define BR__IMAGE_MAX 16
struct br__image {
    struct {
        uintptr_t begin, end;
        int code; /* may be run */
    } seg[BR__IMAGE_MAX];
    size_t n;
};
/* Adopt a whole descriptor into the arena; strings stay in the plugin.  name: the one the file
 * promises. BR_E_PLUGIN names the table and the row that broke a rule, and the version that the
 * plugin was built with. */
int br__plugin_adopt(struct br__arena *a, const struct br_plugin *d, const struct br__image *image,
                     const char *name, struct br__plugin **out, struct br_err *err) BR_MUST_CHECK;

/* ---- config_fields.c, config.c --------------------------------------------------------------- */

/* Kinds of a fact, as br__cfg_keys has them. */
#define BR__KIND_INT 'I'
#define BR__KIND_FLOAT 'F'
#define BR__KIND_BOOL 'B'
#define BR__KIND_TEXT 'T'
/* Where config.json may have a number of the rope. */
#define BR__ROPE_KEY(key) "rope_scaling." key "|rope_parameters." key

/* Value of a canonical key ("hidden_size") by its Megatron name, for shape expressions; 0 if
 * unknown name (*known = 0). */
int64_t br__config_dim(const struct br_config *cfg, const char *key, size_t key_len, int *known);

/* ---- rope.c ---------------------------------------------------------------------------------- */

/* YaRN's factor of cos and sin: as config.json states it, else of its mscale numbers; 0: not there.
 */
double br__yarn_attention(double factor, double stated, double mscale, double mscale_all_dim);

/* ---- config_keys.c --------------------------------------------------------------------------- */

/* Look for keys of config.json that nothing reads: cfg->findings and cfg->unknown_keys. */
int br__config_survey(struct br__arena *a, struct br_config *cfg, const br__json *json,
                      struct br_err *err) BR_MUST_CHECK;
/* A value as JSON text in one line, added to b. */
int br__config_value(const br__json *j, struct br__buf *b) BR_MUST_CHECK;
/* Add a finding.  text lies in an arena; NULL is BR_E_NOMEM, so that a printf's result can be
 * given. */
int br__config_find(struct br__arena *a, struct br_config *cfg, const char *text,
                    struct br_err *err) BR_MUST_CHECK;

/* ---- row_moves.c: layouts as spans of rows --------------------------------------------------- */

/* n rows from hf_row of HF input `hf` are n rows from mc_row of Megatron output `mc`. */
struct br__row_move {
    int hf, mc;
    int64_t hf_row, mc_row, n;
};
/* All spans of a layout other than COPY, ordered by (mc, mc_row).  hf_rows: rows of each HF input,
 * which the layout must use up exactly. mc_rows gets the rows of each output. */
int br__layout_row_moves(struct br__arena *a, uint32_t layout, const struct br_config *cfg,
                         const int64_t *hf_rows, struct br__row_move **out, size_t *n,
                         int64_t *mc_rows, struct br_err *err) BR_MUST_CHECK;

/* ---- bind.c, bind_report.c, bind_util.c ------------------------------------------------------ */

struct br__binder {
    struct br__binding *b;
    const struct br__bind_opts *o;
    struct br_err *err;
    int hf;                       /* the checkpoint has Hugging Face names */
    const struct br__slot *slots; /* of the checkpoint's side */
    size_t n_slots;
    int drop_mtp;
    size_t n_dropped;
    struct br__buf report; /* what does not fit, first names of each kind */
    size_t n_missing, n_unexpected, n_misfit;
    const char *first_missing, *first_unexpected;
};
/* The name pattern of a rule on one side. */
const char *br__map_side(const struct br_map *m, int hf_side);
/* With --not-strict these only list; otherwise they collect, and br__misfit_end fails. */
int br__misfit_missing(struct br__binder *w, const char *name);
int br__misfit_unexpected(struct br__binder *w, const char *name);
int br__misfit_add(struct br__binder *w, const char *fmt, ...) BR_PRINTF(2, 3);
int br__misfit_end(struct br__binder *w);

#endif
