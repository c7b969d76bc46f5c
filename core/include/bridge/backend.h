/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* backend.h - the backend ABI: kernels, memory and collectives of one kind of device.
 *
 * The CPU backend is linked in and is the reference for every op; others are files
 * bridge_<name>.so found like plugins, which export bridge_backend_v1().  A backend sees
 * tensors and calls; it knows no model, no graph and no file.  The sizes rule of plugin.h
 * holds: structs grow at their end only. */
#ifndef BRIDGE_BACKEND_H
#define BRIDGE_BACKEND_H

#include <bridge/plugin.h>
#include <bridge/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

enum br_op {
#define OP(name, min, max, shape, grad) BR_OP_##name,
#include <bridge/ops.def>
#undef OP
    BR_N_OPS
};

/* Groups of ranks that a collective may run over; which ranks they hold is topo.h's business. */
enum br_group {
    BR_GROUP_WORLD,
    BR_GROUP_TP,
    BR_GROUP_PP,
    BR_GROUP_DP,
    BR_GROUP_EP_ETP,
    BR_GROUP_EDP,
    BR_N_GROUPS
};

#define BR_VIEW_DIMS 4
#define BR_MAX_IN 8

/* A borrowed view of device memory.  Strides are in elements; the last axis is contiguous.  A
 * weight of many parts along its first axis (experts stored one by one) has `parts`, one
 * pointer per index of that axis, and no `data`; each part is contiguous. */
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

/* The threads that run a graph together ("lanes").  sync: wait for all of them. */
struct br_team {
    void *impl;
    void (*sync)(struct br_team *team, uint32_t lane);
    uint32_t n_lanes, reserved;
};

/* One node of a graph as a kernel sees it.  Every lane gets the same call but for `lane`, and does
 * its share; the lanes meet after the kernel, and inside it through team->sync. */
struct br_call {
    uint32_t op, n_in; /* enum br_op */
    struct br_tensor in[BR_MAX_IN];
    struct br_tensor out;
    struct br_attr attr;
    struct br_team *team;
    void *scratch; /* what the row's scratch() asked for, 64-byte aligned, shared by the lanes */
    void *device;
    uint32_t lane, reserved;
};

/* A row of the kernel table.  The first row wins whose op fits, whose `needs` are all among the
 * device's features, and whose `weights` has the bit of the dtype of in[1] (in[0] of EMBED); 0
 * means float32 only, or an op without a stored weight. */
struct br_kernel {
    uint32_t op;
    uint32_t weights; /* BR_BIT(dtype) | ... */
    uint64_t needs;   /* feature bits, the backend's own */
    void (*run)(const struct br_call *c);
    size_t (*scratch)(const struct br_call *c); /* bytes; NULL = none.  team->n_lanes is set */
};
#define BR_BIT(dtype) (UINT32_C(1) << (dtype))

/* A communicator: what NCCL and MPI offer, no more.  Counts are elements of dtype; buffers are of
 * the device; all ranks of the group call alike.  Each returns an enum br_status; a rank that
 * failed or left makes the others' calls return BR_E_COMM instead of waiting for ever. */
struct br_comm {
    void *self;
    uint32_t rank, size;
    int (*all_reduce)(struct br_comm *c, void *buf, size_t n, uint32_t dtype, struct br_err *err);
    int (*all_gather)(struct br_comm *c, void *out, const void *in, size_t n_each, uint32_t dtype,
                      struct br_err *err);
    int (*reduce_scatter)(struct br_comm *c, void *out, const void *in, size_t n_each,
                          uint32_t dtype, struct br_err *err);
    int (*all_to_all)(struct br_comm *c, void *out, const size_t *recv_counts, const void *in,
                      const size_t *send_counts, uint32_t dtype, struct br_err *err);
    int (*broadcast)(struct br_comm *c, void *buf, size_t n, uint32_t dtype, uint32_t root,
                     struct br_err *err);
    int (*send)(struct br_comm *c, const void *buf, size_t n, uint32_t dtype, uint32_t peer,
                struct br_err *err);
    int (*recv)(struct br_comm *c, void *buf, size_t n, uint32_t dtype, uint32_t peer,
                struct br_err *err);
    /* Ranks of one color form a group, ordered by key (ncclCommSplit, MPI_Comm_split). */
    int (*split)(struct br_comm *c, uint32_t color, uint32_t key, struct br_comm **out,
                 struct br_err *err);
    void (*abort)(struct br_comm *c); /* this rank gives up: every waiting rank fails */
    void (*close)(struct br_comm *c);
};

enum br_backend_flags {
    BR_BACKEND_HOST = 1 /* host memory is device memory: weights stay mapped */
};

/* What this device can do at best, per second. */
struct br_peaks {
    double read_bytes;   /* streaming read */
    double matmul_flops; /* the tier's own multiply-add of rounded inputs, from registers */
    double f32_flops;    /* the same for exact float32 products */
    char tier[16];       /* whose instruction matmul_flops is */
};

struct br_backend {
    uint32_t struct_size; /* sizeof(struct br_backend) as compiled */
    uint32_t built_with;  /* BR_VERSION of the header, for messages only */
    const char *name;     /* "cpu"; must match the file: bridge_<name>.so */
    uint32_t flags;       /* enum br_backend_flags */
    uint32_t reserved;
    BR_TABLE(struct br_kernel) kernels; /* fastest first */
    /* How good this backend is on this machine; 0: not usable, and `why` says why. */
    int (*probe)(char *why, size_t size);
    /* A device with n_lanes >= 1 threads.  *features: bits that rows may need. */
    int (*open)(void **device, uint32_t n_lanes, uint64_t *features, struct br_err *err);
    void (*close)(void *device);
    void *(*alloc)(void *device, size_t n); /* zeroed, 64-byte aligned; NULL: out of memory */
    void (*free)(void *device, void *p);
    int (*upload)(void *device, void *dst, const void *src, size_t n, struct br_err *err);
    int (*download)(void *device, void *dst, const void *src, size_t n, struct br_err *err);
    /* Run fn on every lane and return when all are done. */
    void (*run)(void *device, void (*fn)(void *arg, struct br_team *team, uint32_t lane),
                void *arg);
    /* The n communicators of a world whose ranks are threads of this process. */
    int (*comm_world)(struct br_comm **comms, uint32_t n, struct br_err *err);
    /* Optional: measure the device's ceilings, on all lanes, in under half a second.  buf: n bytes of
     * device memory to read (mapped weights), or NULL for a buffer of the backend's own. */
    int (*peaks)(void *device, const void *buf, size_t n, struct br_peaks *out, struct br_err *err);
};

typedef const struct br_backend *br_backend_fn(void);
#define BR_BACKEND_SYMBOL "bridge_backend_v1"

/* The CPU backend, which every libbridge has inside (kernels/cpu/cpu.c); not exported. */
const struct br_backend *br__cpu_backend(void);
/* Its comm_world: communicators whose ranks are threads of this process (kernels/comm/local.c);
 * not exported. */
int br__comm_local(struct br_comm **comms, uint32_t n, struct br_err *err);

#ifdef __cplusplus
}
#endif
#endif
