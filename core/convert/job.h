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

/* ---- run_config.c: Megatron Bridge's run_config.yaml and Megatron-LM's args ------------------ */

/* The whole file as Megatron Bridge 0.6.2 writes it (every section and key, sorted), with the
 * model's facts. */
int br__run_config_text(struct br__buf *out, const struct br_config *cfg,
                        const struct br__run_config_opts *o, struct br_err *err) BR_MUST_CHECK;
/* Entries of Megatron-LM's args namespace for br__td_common (arena): what its own loader, slime,
 * miles and Megatron Bridge without a run_config.yaml look for. */
int br__mlm_args(struct br__arena *a, const struct br_config *cfg,
                 const struct br__run_config_opts *o, const char *const (**args)[2], size_t *n,
                 struct br_err *err) BR_MUST_CHECK;

/* ---- produce.c: the bytes of a plan's pieces ------------------------------------------------- */

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

/* ---- work.c: a temporary directory that becomes the destination, or resumes ------------------ */

#define BR__JOURNAL ".bridge_journal"
#define BR__WORK_INSIDE                                                                            \
    ".bridge-partial" /* the temporary directory, where it is in the destination */
#define BR__NO_LOCKS                                                                               \
    "the file system of '%s' has no locks: nothing keeps a second process from the same "          \
    "destination"
struct br__names {
    const char **p;
    size_t n;
};
struct br__work {
    struct br__arena arena;
    const char *final, *name; /* the destination, and its name in its directory */
    const char *tmp_name, *old_name;
    struct br__dir parent; /* holds the temporary directory */
    struct br__dir tmp;    /* holds the lock */
    struct br__dir old;    /* locked, while it is replaced */
    int inside;            /* the destination cannot be renamed: the temporary directory is in it */
    int unlocked;          /* the file system has no locks */
    int replace;           /* set by the caller: what is at the destination may go */
    int same, publishing;  /* what an earlier run left is of this job; is complete */
    int open, begun, committed;
    const char *gone; /* where the replaced directory is now */
    const char *left; /* after a commit: a name that could not be removed */
    int journal_fd, sync;
    char head[48]; /* first line of the journal */
    char *text;    /* of the journal that was found */
    pthread_mutex_t lock;
    uint64_t **digests;     /* [n_parts] digests of a finished part (arena), or NULL */
    size_t n_parts, n_done; /* n_done: by this run */
};
/* Take the lock on the name `final`, a canonical path whose parent is made.  fingerprint identifies
 * the job.  BR_E_BUSY if another process has it, BR_E_EXISTS for a temporary directory that is not
 * ours.  What is at the destination now stays until the work is closed. */
int br__work_lock(struct br__work *w, const char *final, uint64_t fingerprint, int sync,
                  struct br_err *err) BR_MUST_CHECK;
/* Resume what is of this job, or empty the temporary directory. */
int br__work_begin(struct br__work *w, size_t n_parts, struct br_err *err) BR_MUST_CHECK;
/* The destination's file system has `need` bytes, less what regular files of `dir` (in the
 * temporary directory) hold; else BR_E_NOSPC. */
int br__work_space(const struct br__work *w, const struct br__dir *dir, uint64_t need,
                   struct br_err *err) BR_MUST_CHECK;
/* Record that part i is complete, with its pieces' digests. */
int br__work_done(struct br__work *w, size_t part, const uint64_t *digests, size_t n,
                  struct br_err *err) BR_MUST_CHECK;
/* Sync, take the destination's name, drop the journal and what was there.  `names` are those of the
 * result, `last` the one without which it is no checkpoint. */
int br__work_commit(struct br__work *w, const struct br__names *names, const char *last,
                    struct br_err *err) BR_MUST_CHECK;
/* Leaves the temporary directory for a rerun unless committed. */
void br__work_close(struct br__work *w);
/* Remove what a run left that was killed after its result had its name. */
void br__work_tidy(const char *final);

/* ---- side.c: files that travel with a model -------------------------------------------------- */

/* Find the side files of directory `dir` (NULL: none) and read each: sizes and digests into
 * s->side. */
int br__side_find(struct br__session *s, const char *dir, int tokenizer_only,
                  struct br_err *err) BR_MUST_CHECK;
int br__side_copy(const struct br__session *s, const struct br__dir *to, int sync,
                  struct br_err *err) BR_MUST_CHECK;
uint64_t br__side_bytes(const struct br__session *s);
/* Size and digest of a whole file. */
int br__file_digest(const char *path, uint64_t *size, uint64_t *xxh3,
                    struct br_err *err) BR_MUST_CHECK;

/* ---- manifest.c ------------------------------------------------------------------------------ */

#define BR__MANIFEST "bridge_manifest.json"
/* The manifest of directory `d`: digests of all pieces; crcs, an import's CRC-32s, else NULL;
 * `files` are names in it that it lists with size and digest, read back. */
int br__manifest_write(const struct br__session *s, const uint64_t *digests, const uint32_t *crcs,
                       const struct br__names *files, const struct br__dir *d, int sync,
                       struct br_err *err) BR_MUST_CHECK;
/* The source inventory of an import's manifest as a checkpoint without bytes: tensors, shard map,
 * config texts.  NULL in *out (and BR_OK) when there is no manifest. */
int br__manifest_source(const char *dir, struct br__ckpt **out, struct br_err *err) BR_MUST_CHECK;
/* The manifest of a directory; NULL in *m (and BR_OK) when there is none.  Free with br__json_free.
 */
int br__manifest_load(struct br__arena *a, const char *dir, const char **path, br__json **m,
                      struct br_err *err) BR_MUST_CHECK;
/* Does `dir` hold the result of this session's job?  Compares the manifest's text, the digests of
 * every piece of the source, and `files`; not the data of the weights that are there. */
int br__manifest_up_to_date(const struct br__session *s, const struct br__names *files,
                            const char *dir, int *yes, struct br_err *err) BR_MUST_CHECK;

/* ---- checksum.c: what a checkpoint and its manifest say of its bytes ------------------------- */

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

/* ---- check.c: one directory against its own checksums ---------------------------------------- */

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
