/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* backend.h - the backend ABI: kernels, memory and collectives of one kind of device.
 *
 * The CPU backend is linked in and is the reference for every op; others are files
 * bridge_<name>.so found like plugins, which export bridge_backend_v1().  A backend sees
 * tensors and calls; it knows no model, no graph and no file.  docs/backends.md tells how to write
 * one.
 *
 * UNSTABLE: unlike the other public headers this one may still change where it is;
 * tests/lint/abi.txt marks its facts so.  The sizes rule of plugin.h holds all the same: structs
 * grow at their end, and one that is shorter than this build's is taken with the missing members
 * zero.
 *
 * Memory.  A device owns its memory: the engine never reads or writes it, and hands its addresses
 * to kernels, collectives and the copies below only.  With BR_BACKEND_HOST it is host memory, and
 * the engine uses it in place. Order.  A device carries out what it is given (copies, kernels,
 * collectives) in the order given. Kernels and collectives may return before their work is done;
 * sync() and download() wait.  An error that comes to light late is kept, and returned by the next
 * of those two. */
#ifndef BRIDGE_BACKEND_H
#define BRIDGE_BACKEND_H

#include <bridge/plugin.h>
#include <bridge/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

enum br_op {
#define OP(name, min, max, shape, grad, weight, value) BR_OP_##name,
#include <bridge/ops.def>
#undef OP
    BR_N_OPS
};

/* What LINEAR does beside its product. */
enum br_linear_flags {
    BR_LINEAR_NORM = 1,
    BR_LINEAR_PLUS_ONE = 2, /* the norm's weight is 1 + w */
    BR_LINEAR_BIAS = 4,     /* one of these three at most */
    BR_LINEAR_ADD = 8,
    BR_LINEAR_GLU = 16
};
#define BR_FEW_ROWS 8
#define BR_FEW_SLOTS 64 /* rows times choices */
#define BR_NORM_BYTES (64 << 10)

/* Groups of ranks that a collective may run over; which ranks they hold is topo.h's business. */
enum br_group {
    BR_GROUP_WORLD,
    BR_GROUP_TP,
    BR_GROUP_PP,
    BR_GROUP_DP,
    BR_GROUP_EP_ETP,
    BR_GROUP_EDP,
    BR_GROUP_CP,
    BR_GROUP_DP_CP,
    BR_GROUP_TP_CP,
    BR_GROUP_TP_DP_CP,
    BR_GROUP_TP_PP,
    BR_GROUP_EP,
    BR_GROUP_ETP,
    BR_GROUP_EP_ETP_PP,
    BR_GROUP_EMBED, /* stages that hold a copy of the embedding */
    BR_N_GROUPS
};

#define BR_VIEW_DIMS 4
#define BR_MAX_IN 8
#define BR_BIT(dtype) (UINT32_C(1) << (dtype))

/* A borrowed view of device memory.  Strides are in elements; the last axis is contiguous.  On the
 * host a weight of many parts along its first axis (experts stored one by one) has `parts`, one
 * pointer per index of that axis, and no `data`; each part is contiguous.  Elsewhere `parts` is
 * NULL. */
struct br_tensor {
    void *data;
    const void *const *parts;
    uint32_t dtype, n_dim; /* enum br_dtype */
    int64_t shape[BR_VIEW_DIMS], stride[BR_VIEW_DIMS];
};

struct br_attr {
    int64_t i[4];
    double f[2];
};

/* Where kernels run one after another.  On a host backend every thread of a team walks the same
 * calls, and its stream says which thread it is; kernels share their work out by that.  Any other
 * device has one stream, n_threads 1, and its kernels enqueue on it. */
struct br_stream {
    void *impl;                              /* the backend's own: its team, its queue */
    void (*sync)(const struct br_stream *s); /* wait for the team; NULL where n_threads is 1 */
    uint32_t thread, n_threads;              /* this one of how many */
};

/* One node of a graph as a kernel sees it.  Every thread of a team gets the same call but for
 * `stream`. */
struct br_call {
    uint32_t struct_size; /* sizeof(struct br_call) of the bridge that calls */
    uint32_t op;          /* enum br_op */
    uint32_t n_in, n_out;
    const struct br_tensor *in, *out; /* host arrays of n_in and n_out views */
    struct br_attr attr;
    const struct br_stream *stream;
    void *scratch; /* device memory that scratch() asked for, aligned, shared by the team */
    void *device;
};

/* A row of the kernel table.  The first row wins whose op fits, whose `needs` are all among the
 * device's features, whose `weights` has the dtype of the stored weight (ops.def says which input
 * that is) and whose `values` has that of the other float inputs and of the result. */
struct br_kernel {
    uint32_t op;
    uint32_t weights; /* BR_BIT(dtype) | ...; 0: any, for ops without a stored weight */
    uint32_t values;  /* BR_BIT(dtype) | ...; 0: float32 */
    uint32_t reserved;
    uint64_t needs; /* feature bits, the backend's own */
    void (*run)(const struct br_call *c);
    size_t (*scratch)(const struct br_call *c); /* bytes; NULL = none.  stream->n_threads is set */
};

/* ---- collectives ----------------------------------------------------------------------------- */

struct br_comm;
/* A send to or a receive from another rank of the group. */
struct br_p2p {
    void *buf; /* of the device; a send does not change it */
    size_t n;
    uint32_t dtype, peer, is_send;
    uint32_t tag; /* which of several it is, to find calls that do not match */
};
/* What NCCL and MPI offer, no more.  Counts are elements of dtype; buffers are of the device; all
 * ranks of the group call alike.  Each returns an enum br_status; a rank that failed or left makes
 * the others' calls return BR_E_COMM instead of waiting for ever. */
struct br_comm_ops {
    uint32_t
        struct_size; /* sizeof(struct br_comm_ops) as compiled; members beyond it do not exist */
    uint32_t reserved;
    int (*all_reduce)(struct br_comm *c, void *buf, size_t n, uint32_t dtype, struct br_err *err);
    int (*all_gather)(struct br_comm *c, void *out, const void *in, size_t n_each, uint32_t dtype,
                      struct br_err *err);
    int (*reduce_scatter)(struct br_comm *c, void *out, const void *in, size_t n_each,
                          uint32_t dtype, struct br_err *err);
    int (*all_to_all)(struct br_comm *c, void *out, const size_t *recv_counts, const void *in,
                      const size_t *send_counts, uint32_t dtype, struct br_err *err);
    int (*broadcast)(struct br_comm *c, void *buf, size_t n, uint32_t dtype, uint32_t root,
                     struct br_err *err);
    /* Sends and receives that go on together, so that no order of them can hang.  Those between the
     * same two ranks meet in the order given, and must agree in all but buf. */
    int (*exchange)(struct br_comm *c, const struct br_p2p *ops, size_t n, struct br_err *err);
    /* Ranks of one color form a group, ordered by key (ncclCommSplit, MPI_Comm_split). */
    int (*split)(struct br_comm *c, uint32_t color, uint32_t key, struct br_comm **out,
                 struct br_err *err);
    void (*abort)(struct br_comm *c); /* this rank gives up: every waiting rank fails */
    void (*close)(struct br_comm *c);
    /* Optional: what messages of it call the group, "tp: ranks 0, 2"; it is copied.  is_watched:
     * who waits too long is found otherwise, so calls wait as long as it takes. */
    void (*describe)(struct br_comm *c, const char *group, int is_watched);
};
/* One rank's end of a group of ranks, made by its plane; used by one thread at a time. */
struct br_comm {
    const struct br_comm_ops *ops;
    void *self;
    uint32_t rank, size;
};

/* How ranks find each other: threads of a process, MPI, NCCL. */
#define BR_COMM_ID 128
struct br_plane {
    uint32_t struct_size; /* sizeof(struct br_plane) as compiled */
    uint32_t built_with;  /* BR_VERSION of the header, for messages only */
    const char *name;     /* "local" */
    /* A new world's name; one rank asks for it and tells the others. */
    int (*id)(unsigned char id[BR_COMM_ID], struct br_err *err);
    /* The rank's end of that world, for buffers of the device.  Every rank calls it, each from a
     * thread of its own or all from one where the plane does not wait for the others. */
    int (*join)(void *device, const unsigned char id[BR_COMM_ID], uint32_t rank, uint32_t size,
                struct br_comm **out, struct br_err *err);
};

/* ---- the backend ----------------------------------------------------------------------------- */

enum br_backend_flags {
    BR_BACKEND_HOST = 1,   /* host memory is device memory: weights stay mapped */
    BR_BACKEND_BF16 = 2,   /* inference with products of bfloat16 has such activations, too */
    BR_BACKEND_MERGES = 4, /* one product by several weights is faster than one by each; not of a
                              HOST, which uses weights where they lie */
    BR_BACKEND_AHEAD = 8   /* a step of decoding may be given before the one before is waited for:
                              there are fetch and fetched, SELECT and ADVANCE */
};

/* What a device has two streams for: what is given to the second goes on beside the first. */
enum br_which_stream {
    BR_STREAM_FIRST,
    BR_STREAM_SECOND, /* what is given next goes to it, and begins after all given before */
    BR_STREAM_JOIN    /* the first goes on after all that the second was given */
};

/* What this device can do at best, per second. */
struct br_roofline {
    double read_bytes;   /* streaming read */
    double matmul_flops; /* the tier's own multiply-add of rounded inputs, from registers */
    double f32_flops;    /* the same for exact float32 products */
    char tier[16];       /* whose instruction matmul_flops is */
};

/* The bytes of a weight, made on demand: [at, at + n) of it into host memory.  May be called by
 * several threads at once for ranges that do not meet. */
struct br_source_bytes {
    int (*make)(void *arg, void *host, size_t at, size_t n, struct br_err *err);
    void *arg;
};

struct br_backend {
    uint32_t struct_size;    /* sizeof(struct br_backend) as compiled */
    uint32_t built_with;     /* BR_VERSION of the header, for messages only */
    const char *name;        /* "cpu"; must match the file: bridge_<name>.so */
    uint32_t flags;          /* enum br_backend_flags */
    uint32_t align;          /* of tensors, bytes, a power of two; 0 = 64 */
    uint32_t tokens_at_once; /* tokens of a prompt that one run should hold; 0 = 512 */
    uint32_t reserved;
    BR_TABLE(struct br_kernel) kernels; /* fastest first */
    /* How good this backend is on this machine; 0: not usable, and `why` says why. */
    int (*probe)(char *why, size_t size);
    /* Optional: how many devices there are.  Each rank of a process opens one of its own, rank i
     * number i.  NULL: one, which any number of ranks may open at once. */
    uint32_t (*count)(void);
    /* Device number `index`.  n_threads >= 1: threads of the host that may work for it.
     * *features: bits that rows may need. */
    int (*open)(void **device, uint32_t index, uint32_t n_threads, uint64_t *features,
                struct br_err *err);
    void (*close)(void *device);
    void *(*alloc)(void *device, size_t n); /* zeroed, aligned; NULL: out of memory */
    void (*free)(void *device, void *p);
    /* dst is of the device.  src may be reused when it returns. */
    int (*upload)(void *device, void *dst, const void *src, size_t n, struct br_err *err);
    /* src is of the device.  Waits for all that was given before. */
    int (*download)(void *device, void *dst, const void *src, size_t n, struct br_err *err);
    /* Both are of the device, and do not meet. */
    int (*copy)(void *device, void *dst, const void *src, size_t n, struct br_err *err);
    /* Optional: wait for all that was given before. */
    int (*sync)(void *device, struct br_err *err);
    /* Optional: upload what `from` makes, by up to n_threads threads; NULL: a piece after the other
     * through upload. */
    int (*fill)(void *device, void *dst, size_t n, const struct br_source_bytes *from,
                uint32_t n_threads, struct br_err *err);
    /* Call fn once for each stream of the device, and return when all have. */
    void (*run)(void *device, void (*fn)(void *arg, const struct br_stream *s), void *arg);
    /* Optional: collectives between ranks' devices.  NULL: one rank only. */
    const struct br_plane *plane;
    /* Optional: measure the device's ceilings, on all threads, in under half a second.  buf: n
     * bytes of device memory to read (mapped weights), or NULL for a buffer of the backend's own.
     */
    int (*roofline)(void *device, const void *buf, size_t n, struct br_roofline *out,
                    struct br_err *err);
    /* Optional, all four: kernels and copies within the device that are given between record_begin
     * and record_end are not carried out but kept as a tape; replay gives them all at once, as
     * often as it is called, with the addresses that they had.  Where one of the first two fails
     * nothing is kept, and the kernels are given anew. */
    int (*record_begin)(void *device, struct br_err *err);
    int (*record_end)(void *device, void **tape, struct br_err *err);
    int (*replay)(void *device, void *tape, struct br_err *err);
    void (*tape_free)(void *device, void *tape);
    /* Optional: which stream kernels, copies within the device and collectives go to; calls of a
     * communicator keep their order, whichever it is.  Not while a tape is made. */
    int (*stream)(void *device, enum br_which_stream which, struct br_err *err);
    /* Both, of a device with BR_BACKEND_AHEAD.  fetch: a copy of n bytes at src, which is of the
     * device, is made after all that was given before, and nobody waits.  fetched waits for that
     * copy and for nothing that was given after it, and brings the bytes to dst; NULL: they are not
     * wanted, and nobody waits.  It ends the ticket, whatever it returns.  There may be any number
     * of tickets.  An error that came up after the fetch is left to the next call that waits,
     * unless the device is lost. */
    int (*fetch)(void *device, const void *src, size_t n, void **ticket, struct br_err *err);
    int (*fetched)(void *device, void *ticket, void *dst, struct br_err *err);
    /* Optional: the libraries that it opens with a device, with their versions, or why one cannot
     * be used.  Opens no device. */
    void (*libraries)(char *text, size_t size);
};

typedef const struct br_backend *br_backend_fn(void);
#define BR_BACKEND_SYMBOL "bridge_backend_v1"

/* Inside libbridge, not exported: the CPU backend (kernels/cpu/cpu.c), and the plane of ranks that
 * are threads of this process and whose buffers are host memory (kernels/comm/local.c). */
const struct br_backend *br__cpu_backend(void);
/* Name of CPU feature i, as /proc/cpuinfo spells it, and whether the CPU has it; NULL after the
 * last (kernels/cpu/detect.c, which chooses a tier by the same table). */
const char *br__cpu_feature(size_t i, int *has);
extern const struct br_plane br__local_plane;
/* Of that plane's worlds that are made from now on: a rank for which others wait, while none does
 * anything for so many seconds, is named to `lost` (or NULL) by one of those; then all calls end
 * with BR_E_COMM.  0 seconds, as before the first call: they wait for ever. */
void br__local_watch(int seconds, void (*lost)(const char *text));

#ifdef __cplusplus
}
#endif
#endif
