/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* job.h - what the files of core/convert that carry out jobs share. */
#ifndef BRIDGE_CORE_JOB_H
#define BRIDGE_CORE_JOB_H

#include "convert.h"
#include <pthread.h>

/* ---- session.c ------------------------------------------------------------------------------- */

/* As br__session_open; `like` (borrowed) makes an import plan follow the layout of a torch_dist
 * checkpoint. */
int br__session_open_like(struct br__session **out, const struct br_job *job, int direction,
                          const struct br__ckpt *like, struct br_err *err) BR_MUST_CHECK;
void br__job_note(const struct br_job *job, const char *fmt, ...) BR_PRINTF(2, 3);
/* Tell the listener what the plan and the source have to say. */
void br__session_report(const struct br__session *s);
/* What a job did, given to its caller: no more than the struct that it was compiled with. */
void br__result_path(struct br_job_result *res, const char *path);
void br__result_give(struct br_job_result *to, const struct br_job_result *res);
/* Refuse a destination that is, holds, or lies inside the source. */
int br__check_overlap(struct br__session *s, const char *src, const char *dest,
                      struct br_err *err) BR_MUST_CHECK;
int br__check_apart(struct br__arena *a, const char *src, const char *dest,
                    struct br_err *err) BR_MUST_CHECK;

/* ---- run_config.c: Megatron Bridge's run_config.yaml and Megatron-LM's args -------------------
 */

/* The whole file as Megatron Bridge 0.6.2 writes it (every section and key, sorted), with the
 * model's facts. */
int br__run_config_text(struct br__buf *out, const struct br_config *cfg,
                        const struct br__run_config_opts *o, struct br_err *err) BR_MUST_CHECK;
/* Entries of Megatron-LM's args namespace for br__td_common (arena): what its own loader, slime,
 * miles and Megatron Bridge without a run_config.yaml look for. */
int br__mlm_args(struct br__arena *a, const struct br_config *cfg,
                 const struct br__run_config_opts *o, const char *const (**args)[2], size_t *n,
                 struct br_err *err) BR_MUST_CHECK;

/* ---- produce.c: the bytes of a plan's pieces -------------------------------------------------- */

/* Bytes [off, off + n) of a piece, into dst: rows gathered, dequantised, shifted, cast.  n <=
 * BR__OUT_BUF; off and n are multiples of the element size.  Thread-safe with one scratch per
 * thread. */
int br__piece_read(const struct br__plan *p, size_t piece, uint64_t off, void *dst, size_t n,
                   struct br__scratch *s, struct br_err *err) BR_MUST_CHECK;

/* ---- detect.c -------------------------------------------------------------------------------- */

/* Architecture of a torch_dist checkpoint from its keys alone: the one whose patterns match every
 * key and that leaves the fewest of its own rules unmatched. */
int br__detect_arch(struct br__registry *r, const struct br__ckpt *ck, const struct br__arch **out,
                    struct br_err *err) BR_MUST_CHECK;

/* ---- work.c: a temporary sibling that becomes the destination, or resumes -------------------- */

struct br__work {
    struct br__arena arena;
    const char *final, *tmp;
    int dir_fd; /* holds the lock */
    int journal_fd;
    int sync;
    int replace; /* final exists and is to be replaced */
    pthread_mutex_t lock;
    uint64_t **digests; /* [n_parts] digests of a finished part (arena), or NULL */
    size_t n_parts;
};
/* fingerprint identifies the job: a temporary directory left by the same job is resumed, another
 * one is emptied. BR_E_BUSY if another process works on it. */
int br__work_open(struct br__work *w, const char *final, uint64_t fingerprint, size_t n_parts,
                  int sync, int replace, struct br_err *err) BR_MUST_CHECK;
/* The file system that is to hold `final` has `need` bytes free, else BR_E_NOSPC; makes the parent.
 */
int br__work_space(const char *final, uint64_t need, struct br_err *err) BR_MUST_CHECK;
/* Copy the side files of model directory `from` (br__hf_side_files) into `to`, which is made if
 * there are any. */
int br__work_copy_side_files(const char *from, const char *to, int tokenizer_only, int sync,
                             struct br_err *err) BR_MUST_CHECK;
/* Remove from `dir`, the temporary directory or one in it, all but the n names and the journal:
 * what an interrupted run or somebody else left there must not become part of the result. */
int br__work_keep(struct br__work *w, const char *dir, const char *const *names, size_t n,
                  struct br_err *err) BR_MUST_CHECK;
/* Record that part i is complete, with its pieces' digests. */
int br__work_done(struct br__work *w, size_t part, const uint64_t *digests, size_t n,
                  struct br_err *err) BR_MUST_CHECK;
/* Sync, drop the journal, rename to the final name. */
int br__work_commit(struct br__work *w, struct br_err *err) BR_MUST_CHECK;
void br__work_close(
    struct br__work *w); /* leaves the temporary directory for a rerun unless committed */

/* ---- manifest.c ------------------------------------------------------------------------------ */

#define BR__MANIFEST "bridge_manifest.json"
/* The manifest of directory `dir`: digests of all pieces; crcs, an import's CRC-32s, else NULL. */
int br__manifest_write(const struct br__session *s, const uint64_t *digests, const uint32_t *crcs,
                       const char *dir, int sync, struct br_err *err) BR_MUST_CHECK;
/* The source inventory of an import's manifest as a checkpoint without bytes: tensors, shard map,
 * config texts.  NULL in *out (and BR_OK) when there is no manifest. */
int br__manifest_source(const char *dir, struct br__ckpt **out, struct br_err *err) BR_MUST_CHECK;
/* The manifest of a directory; NULL in *m (and BR_OK) when there is none.  Free with br__json_free.
 */
int br__manifest_load(struct br__arena *a, const char *dir, const char **path, br__json **m,
                      struct br_err *err) BR_MUST_CHECK;
/* Does `dir` hold the complete result of this session's job?  Compares the manifest's text, then
 * the digests of every piece of the source. */
int br__manifest_up_to_date(const struct br__session *s, const char *dir, int *yes,
                            struct br_err *err) BR_MUST_CHECK;

/* ---- checksum.c: what a checkpoint and its manifest say of its bytes --------------------------
 */

/* A tensor of an export, or a chunk of a torch_dist tensor. */
struct br__part_sum {
    const struct br__tensor *t;
    const struct br__td_chunk *c; /* NULL: the whole tensor */
    uint64_t xxh3;
    uint32_t crc;
    uint8_t has_xxh3, has_crc; /* the manifest says */
};
struct br__checksums {
    struct br__arena a;
    const struct br__ckpt *ck;
    const char *manifest;       /* its path; NULL: there is none */
    struct br__part_sum *parts; /* by tensor, then in chunk order */
    size_t *first;              /* per tensor: of parts */
    size_t n_parts;
};
/* Parts of ck (borrowed) with what its manifest says of them; BR_E_FORMAT also if that is of other
 * tensors or chunks.  Close it in any case. */
int br__checksums_open(struct br__checksums *k, const struct br__ckpt *ck,
                       struct br_err *err) BR_MUST_CHECK;
void br__checksums_close(struct br__checksums *k);
/* The CRC-32 that a chunk's record has against that of the manifest. */
int br__checksums_crc(const struct br__checksums *k, const struct br__part_sum *p,
                      struct br_err *err) BR_MUST_CHECK;
/* The same for all chunks of a torch_dist checkpoint: finds files that were exchanged or are of
 * another run, without reading data. */
int br__manifest_check(const struct br__ckpt *ck, struct br_err *err) BR_MUST_CHECK;

/* ---- check.c: one directory against its own checksums -----------------------------------------
 */

/* All that can be known of a directory of either format without a second one: CRC-32s and the
 * manifest's digests over every byte. */
int br__check_dir(const struct br_job *job, const char *dir, struct br_job_result *res,
                  struct br_err *err) BR_MUST_CHECK;

/* ---- digests of pieces, on all threads ------------------------------------------------------- */

/* crcs, if not NULL, gets CRC-32s. */
int br__plan_digests(const struct br__session *s, const char *phase, uint64_t *digests,
                     uint32_t *crcs, struct br_err *err) BR_MUST_CHECK;
uint64_t br__session_fingerprint(const struct br__session *s);

#endif
