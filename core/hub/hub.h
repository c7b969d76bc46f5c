/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* hub.h - the door of core/hub: models and data sets of the Hugging Face hub, listed, cached and
 * downloaded.
 *
 * The cache on disk is the one that huggingface_hub uses, file for file.  This folder knows URLs,
 * replies, blobs and snapshots; it knows no tensor and no file format.  Every reply is hostile. */
#ifndef BRIDGE_CORE_HUB_H
#define BRIDGE_CORE_HUB_H

#include "../base/base.h"
#include <bridge/bridge.h>

struct br__hub_opts {
    const struct br_listener *listener; /* progress and notes; NULL: none */
    int local_only;                     /* as HF_HUB_OFFLINE=1 */
    int no_sync;                        /* do not wait until a download is on disk (fsync) */
    const char *token;                  /* in place of HF_TOKEN; NULL: the environment's */
    const char *cache_dir;              /* in place of HF_HUB_CACHE; NULL: the environment's */
    int dataset;                        /* the id is a data set's, not a model's */
    int connections;                    /* transfers at once; 0 = 8 */
    uint32_t part_bytes;                /* of a ranged request; 0 = 16 MiB */
    int stall_s, backoff_ms;            /* seconds of silence, first wait; see http.h */
    int document_s;                     /* of transfer of a document; see http.h */
};
/* One model, or data set, at one commit. */
struct br__hub;
/* Find the commit and the listing of "org/name[@revision]".  Offline the listing is what earlier
 * runs left, or the files that are there. */
int br__hub_open(struct br__hub **out, const char *id_at_rev, const struct br__hub_opts *o,
                 struct br_err *err) BR_MUST_CHECK;
void br__hub_close(struct br__hub *h);
/* A file of a model, as the listing of its commit has it. */
struct br__hub_file {
    const char *path; /* relative, checked: it stays below any directory */
    const char *etag; /* sha256 of an LFS file, else git's id of the blob; names the cached blob */
    const char *blob; /* git's id: of the file, or of the pointer to an LFS file */
    uint64_t size;
    int lfs;
};
const struct br__hub_file *br__hub_files(const struct br__hub *h, size_t *n); /* sorted by path */
const struct br__hub_file *br__hub_find(const struct br__hub *h, const char *path);
int br__hub_has(const struct br__hub *h, const char *path); /* Is it in the snapshot? */
/* Record, as huggingface_hub does, that the commit has no such file. */
void br__hub_note_absent(struct br__hub *h, const char *path);
const char *br__hub_id(const struct br__hub *h);
const char *br__hub_commit(const struct br__hub *h);
const char *br__hub_snapshot(const struct br__hub *h); /* directory of the commit in the cache */
int br__hub_is_offline(const struct br__hub *h);

struct br__hub_totals {
    size_t n_files, n_cached;  /* files asked for; of these, in the cache already */
    uint64_t bytes;            /* of all of them */
    uint64_t fetched, resumed; /* received by this call; by an earlier run */
};
/* Download files into the cache, or into local_dir if that is not NULL: in parallel ranges,
 * resumed, hashed while they arrive.  Only a file that matches its etag gets its name. */
int br__hub_get(struct br__hub *h, const struct br__hub_file *const *want, size_t n,
                const char *local_dir, struct br__hub_totals *totals,
                struct br_err *err) BR_MUST_CHECK;
/* Open a safetensors file of the model as a br__file that reads by ranged requests; its map ends
 * with the header, which may have max_header bytes.  f must be closed before the hub is.  Threads
 * may share it. */
int br__hub_file_open(struct br__hub *h, const struct br__hub_file *file, uint64_t max_header,
                      struct br__file *f, struct br_err *err) BR_MUST_CHECK;
/* Match shell patterns as huggingface_hub does: '*' also matches '/', "dir/" is the whole folder.
 */
int br__hub_glob(const char *pattern, const char *path);
/* The root of the cache, by the rules of huggingface_hub (arena).  BR_E_NOTFOUND, with the id, if
 * no environment variable gives one. */
int br__hf_cache_root(struct br__arena *a, const char *id, const char **root,
                      struct br_err *err) BR_MUST_CHECK;

/* ---- upload.c: the files of a directory as a commit ------------------------------------------ */

struct br__upload_file {
    const char *path, *disk; /* in the repository; of this machine */
    uint64_t size;
    int lfs;      /* kept beside the repository (Git LFS); else a blob of the commit itself */
    int ignored;  /* by the .gitignore that counts: not uploaded */
    int same;     /* the revision has it already */
    char oid[65]; /* sha256 of an LFS file, else git's id of the blob: its etag */
    int64_t mtime_ns, ctime_ns; /* when it was read for that */
};
/* How far it is, for a thread that has to tell when it is interrupted. */
struct br__upload_state {
    _Atomic uint64_t kept;  /* bytes of whole files that the hub has taken in this call */
    _Atomic int committing; /* 1: the commit was asked for; 2: it is made */
};
struct br__upload_opts {
    struct br__hub_opts hub;
    const char *message;                         /* of the commit; NULL: "Upload with bridge" */
    const char *const *include, *const *exclude; /* patterns of br__hub_glob */
    size_t n_include, n_exclude;
    int create, closed; /* make repository and branch if they are missing; a private one */
    int dry_run;        /* read and ask, send nothing */
    struct br__upload_state *state; /* or NULL */
};
struct br__upload_result {
    const struct br__upload_file *files; /* by path; in the arena */
    size_t n_files, n_ignored, n_same, n_sent;
    uint64_t bytes, sent;     /* of the files of the commit; of these, received by the hub now */
    const char *commit, *url; /* NULL after a dry run */
    int missing;              /* dry run: there is no such repository or branch yet */
};
/* Make the files below `dir` a commit of "org/name[@branch]": what the branch has besides stays.
 * Large files are sent first, in parallel, each of them once whatever happens later; then the
 * branch gets all of them at once, or nothing.  Refused if the branch moves on meanwhile. */
int br__hub_upload(struct br__arena *a, const char *dir, const char *id_at_rev,
                   const struct br__upload_opts *o, struct br__upload_result *r,
                   struct br_err *err) BR_MUST_CHECK;

/* ---- cache.c: what the cache holds ----------------------------------------------------------- */

struct br__cache_revision {
    const char *commit;
    const char *ref; /* branch or tag that names it, or NULL: detached */
};
struct br__cache_repo {
    const char *kind; /* "model", "dataset", "space" */
    const char *id, *path;
    uint64_t bytes, incomplete_bytes; /* on disk; of these, of interrupted downloads */
    size_t n_files;                   /* complete blobs */
    int64_t used;                     /* last access or change, seconds since 1970 */
    struct br__cache_revision *revisions;
    size_t n_revisions;
};
/* All repositories below `root`, by id; none if it does not exist.  In the arena. */
int br__cache_list(struct br__arena *a, const char *root, struct br__cache_repo **repos, size_t *n,
                   struct br_err *err) BR_MUST_CHECK;
/* *freed grows by what was removed.  What another process downloads stays, or is BR_E_BUSY. */
int br__cache_remove(struct br__arena *a, const struct br__cache_repo *r, uint64_t *freed,
                     struct br_err *err) BR_MUST_CHECK;
/* One revision, with the blobs that no other one has. */
int br__cache_remove_revision(struct br__arena *a, const struct br__cache_repo *r,
                              const struct br__cache_revision *v, uint64_t *freed,
                              struct br_err *err) BR_MUST_CHECK;
int br__cache_remove_incomplete(struct br__arena *a, const struct br__cache_repo *r,
                                uint64_t *freed, struct br_err *err) BR_MUST_CHECK;
/* Compare every blob with the digest that is its name. */
struct br__cache_check {
    const struct br_listener *listener; /* progress, or NULL */
    void (*damaged)(void *ud, const char *path);
    void *ud;
};
int br__cache_verify(struct br__arena *a, const struct br__cache_repo *r,
                     const struct br__cache_check *c, struct br_err *err) BR_MUST_CHECK;

#endif
