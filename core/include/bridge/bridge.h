/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* bridge.h - the verbs: what a program that embeds libbridge calls.
 *
 * Each verb takes an options struct whose first member is its size as compiled (zeroed tail =
 * defaults), reports through callbacks, returns an enum br_status, and leaves the destination
 * either complete or untouched. */
#ifndef BRIDGE_BRIDGE_H
#define BRIDGE_BRIDGE_H

#include <bridge/base.h>
#include <bridge/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How a job talks to its caller.  Every member may be NULL. */
struct br_listener {
    void *ud;
    /* Bytes written so far of the total; called from worker threads, one at a time, at most ~20/s.
     * phase: what is going on, "importing", or that and a detail behind a colon, "downloading:
     * model.safetensors 45%". */
    void (*progress)(void *ud, const char *phase, uint64_t done, uint64_t total);
    /* A fact the user should see: a default that was chosen, something ignored or left out. */
    void (*note)(void *ud, const char *text);
    void (*warning)(void *ud, const char *text);
};

enum br_job_flags {
    BR_JOB_OVERWRITE = 1,
    BR_JOB_NO_SYNC = 2,
    BR_JOB_NOT_STRICT = 4,
    BR_JOB_UNTIE = 8,
    BR_JOB_NO_MTP = 16,
    BR_JOB_PER_LAYER = 32, /* per-layer decoder keys */
    BR_JOB_STACKED = 64,   /* insist on stacked keys */
    BR_JOB_RELEASE = 128,  /* write release/ in place of iter_ */
    BR_JOB_DRY_RUN = 256,
    BR_JOB_FUSED = 512, /* export: fused-expert layout */
    BR_JOB_PER_EXPERT = 1024,
    BR_JOB_LOCAL_ONLY = 2048, /* download nothing */
    BR_JOB_STREAM = 4096, /* import: read a hub model's weights from the hub, store none of them */
    BR_JOB_NO_VERIFY = 8192 /* do not compare checksums of what is read */
};

struct br_job {
    uint32_t struct_size;
    uint32_t flags;       /* enum br_job_flags */
    const char *hf_model; /* id or directory; import: the source, export: the reference or NULL */
    const char *megatron_path; /* import: destination root; export: root or iteration directory */
    const char *hf_path;       /* export: destination */
    const char *plugin;        /* plugin file to use, or NULL */
    const char *config_file;   /* plan only: a config.json to invent the source's headers from */
    int32_t torch_dtype;       /* enum br_dtype; BR_NONE = auto: keep each tensor's */
    int32_t threads;           /* 0 = one per CPU */
    int64_t iteration;         /* import: number of the iteration directory */
    int64_t pad_vocab_to;      /* import: pad rows to a multiple; 0 = never */
    uint64_t max_shard_size;   /* export without a shard map; 0 = 5 GB */
    const struct br_listener *listener;
};
#define BR_JOB_INIT                                                                                \
    {                                                                                              \
        sizeof(struct br_job), 0, NULL, NULL, NULL, NULL, NULL, 0, 0, 0, 0, 0, NULL                \
    }

/* What a job did. */
struct br_job_result {
    uint32_t struct_size;
    uint32_t up_to_date; /* nothing was written: the destination already is the result */
    uint64_t n_tensors;
    uint64_t bytes_written; /* of the whole result; verify: bytes compared */
    uint64_t resumed_bytes; /* of them found finished from an interrupted run */
    char path[1024];        /* directory that holds the result; "" if it is longer */
    char full_path[4096];   /* the same, of any length that the system allows */
};
/* clang-format off */
#define BR_JOB_RESULT_INIT                                                                         \
    {                                                                                              \
        sizeof(struct br_job_result), 0, 0, 0, 0, {0}, {0}                                         \
    }
/* clang-format on */

BR_API int br_import(const struct br_job *job, struct br_job_result *res, struct br_err *err);
BR_API int br_export(const struct br_job *job, struct br_job_result *res, struct br_err *err);

/* Compare bitwise: names, dtypes, shapes, bytes.  BR_OK if all equal, BR_E_DIFF if not; each
 * difference goes to the listener's `note`.  With one of hf_model and megatron_path alone, either a
 * directory of either format: check it against its own checksums, BR_E_FORMAT if it is damaged. */
BR_API int br_verify(const struct br_job *job, struct br_job_result *res, struct br_err *err);

/* The command line program: parses, runs, prints, returns the exit code. */
BR_API int br_main(int argc, char **argv);

#ifdef __cplusplus
}
#endif
#endif
