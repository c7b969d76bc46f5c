/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* hf.h - what the readers of Hugging Face directories share. */
#ifndef BRIDGE_CORE_HF_H
#define BRIDGE_CORE_HF_H

#include "format_internal.h"

/* ---- safetensors.c --------------------------------------------------------------------------- */

/* Parse the JSON header text.  data_bytes is the size of the data section.  Checks: known dtype,
 * shape product == end - begin, offsets inside the section, no overlap, no hole, no duplicate name.
 * *entries come in offset order.  *metadata_json: text of "__metadata__" (arena) or NULL. */
int br__st_parse(struct br__arena *a, const char *json, size_t n, uint64_t data_bytes,
                 struct br__st_entry **entries, size_t *n_entries, const char **metadata_json,
                 struct br_err *err) BR_MUST_CHECK;

/* ---- hf.c ------------------------------------------------------------------------------------ */

/* model.safetensors.index.json, checked as far as the text alone allows. */
struct br__hf_index {
    const char **names; /* tensors, in the order of the text */
    uint32_t *file_of;  /* index into files, per tensor      */
    size_t n;
    const char **files; /* distinct, sorted bytewise         */
    size_t n_files;
    uint64_t total_size; /* UINT64_MAX if the index has none or no integer */
};
/* Parse the text of an index.  BR_E_FORMAT if it is no object with a "weight_map" of tensor names
 * to plain
 * *.safetensors file names (no directory part). */
int br__hf_index_parse(struct br__arena *a, const char *text, size_t n, struct br__hf_index *out,
                       struct br_err *err) BR_MUST_CHECK;
int br__hf_open(struct br__ckpt **out, const char *dir, unsigned flags,
                struct br_err *err) BR_MUST_CHECK;
/* One safetensors file, without a configuration. */
int br__hf_open_file(struct br__ckpt **out, const char *path, struct br_err *err) BR_MUST_CHECK;
/* As br__hf_open without flags, of a model whose small files are in `dir` and whose weights may be
 * on the hub only.  The checkpoint owns the hub if the call succeeds. */
int br__hf_open_hub(struct br__ckpt **out, const char *dir, struct br__hub *hub,
                    struct br_err *err) BR_MUST_CHECK;
/* The weight files among n sorted names of a model's files, without its index: model.safetensors,
 * or the model-K-of-N set; none if there are none (arena). */
int br__hf_weight_names(struct br__arena *a, char **names, size_t n, char ***out, size_t *n_out,
                        struct br_err *err) BR_MUST_CHECK;

/* ---- hf_cache.c ------------------------------------------------------------------------------ */

/* What a command needs of a model: config.json and generation_config.json always come along. */
enum br__hf_need {
    BR__HF_CONFIG = 0,
    BR__HF_TOKENIZER = 1, /* the files of the tokenizer          */
    BR__HF_SIDE = 2,      /* every small file that travels along */
    BR__HF_WEIGHTS = 4    /* index and weight files, on the disk */
};
/* Turn what the user typed into a directory (arena): an existing directory; else a hub id
 * "org/name[@revision]".  Of an id the files that `need` names are brought into the cache that
 * huggingface_hub uses (HF_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub,
 * ~/.cache/huggingface/hub) unless they are there; offline (HF_HUB_OFFLINE, o->local_only, no
 * network) what is there must do.  o may be NULL.  BR_E_NOTFOUND, BR_E_ACCESS, BR_E_NETWORK. */
int br__hf_fetch(struct br__arena *a, const char *id_or_dir, unsigned need,
                 const struct br__hub_opts *o, const char **dir, struct br_err *err) BR_MUST_CHECK;

#endif
