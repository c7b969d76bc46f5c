/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* sim.h - what the files of the simulator share.
 *
 * One lock guards all of it: a runtime call takes it, and work of a stream (a kernel, a copy) runs
 * on the host thread that waits for it, under the lock.  So kernels of two devices never run at
 * once, and every run of a program is the same.
 *
 *   report.c   what is printed, where an address lies in the source
 *   shadow.c   which memory is whose, what was written, who used it last: memory, init and race;
 *              the calls that gcc's -fsanitize=thread puts before each access of a kernel
 *   simt.c     blocks: threads, barriers, words of a warp: sync
 *   cudart.c   the runtime's devices, memory and errors
 *   stream.c   streams, events, recordings
 */
#ifndef CUDASIM_SIM_H
#define CUDASIM_SIM_H

#include "include/cudasim.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_DEVICES 8
#define SIM_STREAMS 32
#define SIM_API __attribute__((visibility("default")))
/* Where in the program the function was called. */
#define SIM_CALLER __builtin_return_address(0)

/* ---- report.c -------------------------------------------------------------------------------- */

/* Say what is wrong and end the process.  checker: memory, init, race, sync, runtime, blaslt, nccl.
 */
SIM_API _Noreturn void sim_report(const char *checker, const void *pc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* "kernels.cu:12" of an address, the innermost place that is not a header of the simulator. */
SIM_API const char *sim_place(const void *pc);
long sim_setting(const char *name, long otherwise);

/* ---- shadow.c -------------------------------------------------------------------------------- */

/* Who is accessing memory: a piece of work of a stream, and of a kernel the thread.  Every block of
 * every launch, and every copy, has a number `run` of its own. */
struct sim_actor {
    uint32_t run, first_run; /* the first of the launch */
    uint32_t all_before;     /* every run of the device with a lower number is before it */
    uint16_t thread, epoch;  /* barriers that the block has passed */
    uint16_t step;           /* barriers that the warp has passed */
    bool is_early;           /* work that was enqueued before it may not be done */
    int device;
};
extern struct sim_actor sim_actor;

enum sim_use { SIM_READ, SIM_WRITE };

struct sim_allocation {
    char *at;
    size_t n;
    const void *made, *freed; /* where */
};

/* Check an access of the actor, and remember it.  is_element: n is a power of two, and p must be
 * its multiple. */
SIM_API void sim_access(const void *p, size_t n, enum sim_use use, bool is_element, const void *pc);
/* An atomic one: in no order with other atomic ones, and not checked against others. */
void sim_access_atomic(const void *p, size_t n, const void *pc);
/* Asynchronous copies: the bytes are not there until they are waited for. */
void sim_forget(const void *p, size_t n);

void sim_shadow_init(void);
/* Device memory; NULL: no room.  Its bytes count as never written. */
void *sim_device_alloc(int device, size_t n, const void *pc);
size_t sim_device_free(int device, void *p, const void *pc);
size_t sim_device_used(int device);
/* The device of an address, -1 if it is none of a device. */
SIM_API int sim_device_of(const void *p);
void sim_check_leaks(void);
/* Let the host touch a device's memory; no longer that of any. */
SIM_API void sim_open_memory(int device);
void sim_close_memory(void);

/* A new piece of work of a stream, as the first of its runs. */
struct sim_actor sim_begin_work(int stream, int device, uint32_t n_runs, bool is_kernel,
                                const char *name);

/* Shared memory of the block that runs. */
#define SIM_SHARED_ROOM ((size_t)1 << 20)
void *sim_shared_alloc(size_t n, size_t gap);
void sim_shared_reset(void);
bool sim_is_shared(const void *p);

/* ---- simt.c ---------------------------------------------------------------------------------- */

/* The simulated thread that runs on this host thread; NULL: none. */
struct sim_thread;
extern __thread struct sim_thread *sim_current;
void sim_run_launch(const struct cudasim_launch *l, int device, int stream, const void *pc);
const char *sim_who(void); /* "kernel k, block (0,0,0), thread (1,0,0)" */
bool sim_is_private(const void *p);

/* ---- cudart.c -------------------------------------------------------------------------------- */

SIM_API extern pthread_mutex_t sim_lock;
SIM_API extern pthread_cond_t sim_changed; /* work was enqueued, or done */
struct sim_limits {
    size_t shared, shared_asked; /* bytes a block may have, and with the attribute */
};
struct sim_limits sim_limits(void);
size_t sim_dynamic_allowed(const void *kernel);
/* The error of a call, kept for cudaGetLastError. */
SIM_API cudaError_t sim_return(cudaError_t rc);
/* Whether this call, of the function `name`, is the one that is to fail. */
SIM_API bool sim_call_fails(const char *name);
#define sim_fails() sim_call_fails(__func__)
int sim_current_device(void);
bool sim_is_pinned(const void *p, size_t n);
bool sim_has_unread_error(void);

/* ---- stream.c -------------------------------------------------------------------------------- */

/* What another library enqueues.  run(arg) is called when the work's turn comes, under the lock,
 * with its device's memory open and as the actor; if it returns false it is called again when
 * something has happened elsewhere, and if nothing does, `checker` reports what sim_waits_for() was
 * told last. arg: arg_size bytes, which are copied. */
SIM_API void sim_enqueue(cudaStream_t stream, const char *name, const char *checker,
                         bool (*run)(void *arg), const void *arg, size_t arg_size, const void *pc);
SIM_API void sim_waits_for(const void *pc, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Another process takes part, which cannot tell this one that something has happened; and this
 * one's devices go on from now on without being waited for. */
SIM_API void sim_meets_others(void);
/* Wait for something to happen, at most for the rest of the seconds that a program may stand still;
 * false: they are over. */
SIM_API bool sim_wait(double since);
SIM_API double sim_now(void);
/* Of a stream that the calling thread may give work to. */
SIM_API int sim_stream_device(cudaStream_t stream, const char *call, const void *pc);
/* Report a call that may not be made while a stream of this thread is recorded. */
void sim_refuse_in_recording(const char *call, const void *pc);
/* Report work that is still to read or write host memory. */
void sim_refuse_use(const void *p, size_t n, const void *pc);
/* Whether the work of a stream that had this stamp is before the work that runs now. */
bool sim_is_before(int stream, uint32_t stamp);
uint32_t sim_stamp(int stream);

#endif
