/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* job.h - what the files of core/convert that carry out jobs share. */
#ifndef BRIDGE_CORE_JOB_H
#define BRIDGE_CORE_JOB_H

#include "../dist/dist.h"
#include "convert.h"

/* ---- session.c ------------------------------------------------------------------------------- */

/* As br__session_open; `like` (borrowed) makes an import plan follow the layout of a torch_dist
 * checkpoint. */
int br__session_open_like(struct br__session **out, const struct br_job *job, int direction,
                          const struct br__ckpt *like, struct br_err *err) BR_MUST_CHECK;
/* Report the notes of the plan and the source to the listener. */
void br__session_report(const struct br__session *s);
/* Give a job's result to its caller: no more than the struct that it was compiled with. */
void br__result_path(struct br_job_result *res, const char *path);
void br__result_give(struct br_job_result *to, const struct br_job_result *res);

/* ---- detect.c -------------------------------------------------------------------------------- */

/* Architecture of a torch_dist checkpoint from its keys alone: the one whose patterns match every
 * key and that leaves the fewest of its own rules unmatched. */
int br__detect_arch(struct br__registry *r, const struct br__ckpt *ck, const struct br__arch **out,
                    struct br_err *err) BR_MUST_CHECK;

/* ---- side.c ---------------------------------------------------------------------------------- */

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
/* Compare the CRC-32s of all chunks of a torch_dist checkpoint with the manifest: finds files that
 * were exchanged or are of another run, without reading data. */
int br__manifest_check(const struct br__ckpt *ck, struct br_err *err) BR_MUST_CHECK;

/* ---- check.c: one directory against its own checksums ---------------------------------------- */

/* Check a directory of either format against its own CRC-32s and the manifest's digests: every
 * byte. */
int br__check_dir(const struct br_job *job, const char *dir, struct br_job_result *res,
                  struct br_err *err) BR_MUST_CHECK;

/* ---- digests of pieces, on all threads ------------------------------------------------------- */

/* crcs, if not NULL, gets CRC-32s. */
int br__plan_digests(const struct br__session *s, const char *phase, uint64_t *digests,
                     uint32_t *crcs, struct br_err *err) BR_MUST_CHECK;
uint64_t br__session_fingerprint(const struct br__session *s);

/* ---- tasks.c: tasks that ranks share --------------------------------------------------------- */

struct br__tasks {
    const struct br_job *job;
    const char *phase; /* of the progress */
    size_t n;
    uint64_t (*bytes)(const void *arg, size_t i);
    int (*run)(void *arg, size_t i, int worker, struct br_err *err);
    void *arg;
    struct br__work *work; /* the tasks are its parts; or NULL */
};
/* Run this rank's share of them on its threads; g is made, and ended when all ranks are done.  What
 * tasks of other ranks made is not here. */
int br__tasks_run(const struct br__tasks *t, struct br__progress *g,
                  struct br_err *err) BR_MUST_CHECK;
/* A task has come so far. */
void br__task_did(struct br__progress *g, uint64_t n);
/* Threads of this process, of the job's for all. */
int br__job_threads(const struct br_job *job);
/* What ranks tell rank 0: bytes that are done, a uint64; a part that is complete, its number and
 * its digests, uint64. */
enum { BR__TOLD_BYTES = 1, BR__TOLD_PART };

/* ---- transfer.c: what an import and an export share ------------------------------------------ */

struct br__transfer {
    struct br__session *s;
    struct br__arena a;
    struct br__work w;
    const char *doing;            /* "importing": phase of the progress, and for messages */
    struct br__names weights;     /* files with tensors, in the arena */
    const uint64_t *weight_bytes; /* [weights.n] their sizes */
    struct br__names files;       /* of the result besides weights and manifest */
    uint64_t *digests;            /* per piece */
    struct br__progress progress;
    _Atomic uint64_t resumed;
    int sync;
    struct br_err *err; /* of the calling thread */
};
/* Open the session and report its notes.  Zeroed before; close it only if this succeeds. */
int br__transfer_open(struct br__transfer *t, const struct br_job *job, int direction,
                      const char *doing, struct br_err *err) BR_MUST_CHECK;
void br__transfer_close(struct br__transfer *t);
/* Does `dir` hold the complete result of this job? */
int br__transfer_complete(struct br__transfer *t, const char *dir, int *yes) BR_MUST_CHECK;
/* Is there space for the result, whose .metadata has n_items besides tensors?  As br__work_space.
 */
int br__transfer_space(const struct br__transfer *t, const struct br__dir *dir,
                       size_t n_items) BR_MUST_CHECK;
/* Over several processes rank 0 has opened the destination with status rc, and the work is begun
 * unless there is nothing to do: open the same on the others.  shared[n]: what else rank 0 knows.
 */
int br__transfer_begun(struct br__transfer *t, int rc, int32_t *shared, size_t n,
                       size_t n_parts) BR_MUST_CHECK;
/* Write the parts: run(arg, i), and bytes(arg, i) of each. */
int br__transfer_run(struct br__transfer *t, const struct br__tasks *parts) BR_MUST_CHECK;
/* What a thread needs for one part.  Close it in any case. */
struct br__transfer_worker {
    struct br__scratch scratch;
    struct br__xxh3 *hash;
};
int br__transfer_worker_open(struct br__transfer_worker *w, const struct br__transfer *t,
                             struct br_err *err) BR_MUST_CHECK;
void br__transfer_worker_close(struct br__transfer_worker *w);
/* Hash bytes [off, off + bytes) of f into w->hash, and into *crc unless that is NULL. */
int br__transfer_read_back(struct br__transfer_worker *w, const struct br__file *f, uint64_t off,
                           uint64_t bytes, uint32_t *crc, struct br_err *err) BR_MUST_CHECK;
/* So many bytes of an earlier run are used. */
void br__transfer_resumed(struct br__transfer *t, uint64_t bytes);
/* As br__work_commit; a directory that could not be removed is noted. */
int br__transfer_commit(struct br__transfer *t, const struct br__names *names,
                        const char *last) BR_MUST_CHECK;
/* What was done; path: where the result is. */
void br__transfer_result(const struct br__transfer *t, const char *path, int up_to_date,
                         struct br_job_result *res);

/* Record that part i is complete, with its pieces' digests. */
int br__work_done(struct br__work *w, size_t part, const uint64_t *digests, size_t n,
                  struct br_err *err) BR_MUST_CHECK;
/* Bytes [off, off + n) of a piece, into dst: rows gathered, dequantised, shifted, cast.  n <=
 * BR__OUT_BUF; off and n are multiples of the element size.  Thread-safe with one scratch per
 * thread. */
int br__piece_read(const struct br__plan *p, size_t piece, uint64_t off, void *dst, size_t n,
                   struct br__scratch *s, struct br_err *err) BR_MUST_CHECK;
/* What the text tracker says of an iteration; c NULL: of a release. */
void br__tracker_text(const struct br__train_counters *c, char text[32]);
/* Both trackers.  `release` is found by the text tracker alone; a numbered iteration by either, and
 * Megatron Bridge prefers latest_train_state.pt, which never means release. */
int br__trackers_put(const struct br__dir *root, const struct br__train_counters *c, int sync,
                     struct br_err *err) BR_MUST_CHECK;
/* Is it a temporary file of a tracker whose writer was killed? */
int br__tracker_is_stale(const char *name);

#endif
