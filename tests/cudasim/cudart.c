/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cudart.c - the runtime: devices, memory, errors.  What the manual forbids is reported; what may
 * go wrong for a correct program (no memory, no driver) comes back as an error.
 *
 *   CUDASIM_DEVICES  how many (1)            CUDASIM_ARCH    80, 86, 90 or 100 (90)
 *   CUDASIM_MEMORY   MiB of each (4096)      CUDASIM_DRIVER  none, old, stub or mismatch: why there
 * is no device CUDASIM_FAIL     which call fails, from 1; CUDASIM_CALLS  print at the end how many
 * there were, and of each function the first and the last
 */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KERNELS 256 /* whose attribute is set */
#define PINNED 256
#define FUNCTIONS 64

pthread_mutex_t sim_lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t sim_changed = PTHREAD_COND_INITIALIZER;

static __thread int current_device;
static __thread cudaError_t last_error;
static _Atomic unsigned long calls;
static struct {
    const char *name;
    unsigned long first, last; /* calls, from 1 */
} called[FUNCTIONS];           /* under called_lock */
static pthread_mutex_t called_lock = PTHREAD_MUTEX_INITIALIZER;

struct pinned {
    char *at;
    size_t n;
    const void *made;
};
static struct pinned pinned[PINNED];
static struct {
    const void *kernel;
    size_t n;
} dynamic_allowed[KERNELS];

/* ---- the library's life ---------------------------------------------------------------------- */

__attribute__((constructor)) static void begin(void)
{
    sim_shadow_init();
}

static void print_calls(void)
{
    fprintf(stderr, "cudasim: %lu calls\n", calls);
    for (int i = 0; i < FUNCTIONS && called[i].name; i++)
        fprintf(stderr, "%s %lu %lu\n", called[i].name, called[i].first, called[i].last);
}

__attribute__((destructor)) static void end(void)
{
    pthread_mutex_lock(&sim_lock); /* nothing goes on from here on */
    if (getenv("CUDASIM_CALLS"))
        print_calls();
    sim_check_leaks();
    for (int i = 0; i < PINNED; i++)
        if (pinned[i].at)
            sim_report("runtime", pinned[i].made, "%zu bytes of pinned memory were not freed",
                       pinned[i].n);
}

/* ---- errors ---------------------------------------------------------------------------------- */

cudaError_t sim_return(cudaError_t rc)
{
    if (rc != cudaSuccess && rc != cudaErrorNotReady)
        last_error = rc;
    return rc;
}

bool sim_has_unread_error(void)
{
    return last_error != cudaSuccess;
}

static void note_call(const char *name, unsigned long call)
{
    int i = 0;
    pthread_mutex_lock(&called_lock);
    while (i < FUNCTIONS && called[i].name && strcmp(called[i].name, name) != 0)
        i++;
    if (i == FUNCTIONS) {
        fprintf(stderr, "cudasim: more than %d functions can fail\n", FUNCTIONS);
        abort();
    }
    if (!called[i].name)
        called[i].first = call;
    called[i].name = name;
    called[i].last = call;
    pthread_mutex_unlock(&called_lock);
}

bool sim_call_fails(const char *name)
{
    static long at = -1;
    if (at < 0)
        at = sim_setting("CUDASIM_FAIL", 0);
    unsigned long call = ++calls;
    note_call(name, call);
    return (long)call == at;
}

SIM_API cudaError_t cudaGetLastError(void)
{
    cudaError_t rc = last_error;
    last_error = cudaSuccess;
    return rc;
}

SIM_API cudaError_t cudaPeekAtLastError(void)
{
    return last_error;
}

SIM_API const char *cudaGetErrorName(cudaError_t error)
{
    switch (error) {
#define NAME(name, number, text)                                                                   \
    case name:                                                                                     \
        return #name;
        CUDASIM_ERRORS(NAME)
#undef NAME
    }
    return "unrecognized error code";
}

SIM_API const char *cudaGetErrorString(cudaError_t error)
{
    switch (error) {
#define TEXT(name, number, text)                                                                   \
    case name:                                                                                     \
        return text;
        CUDASIM_ERRORS(TEXT)
#undef TEXT
    }
    return "unrecognized error code";
}

/* ---- devices --------------------------------------------------------------------------------- */

static cudaError_t driver(void)
{
    const char *text = getenv("CUDASIM_DRIVER");
    if (!text || !*text)
        return cudaSuccess;
    return !strcmp(text, "stub")       ? cudaErrorStubLibrary
           : !strcmp(text, "mismatch") ? cudaErrorSystemDriverMismatch
                                       : cudaErrorInsufficientDriver;
}

static int device_count(void)
{
    long n = sim_setting("CUDASIM_DEVICES", 1);
    return n < 0 ? 0 : n > SIM_DEVICES ? SIM_DEVICES : (int)n;
}

static int arch(void)
{
    return (int)sim_setting("CUDASIM_ARCH", 90);
}

static size_t memory_size(void)
{
    return (size_t)sim_setting("CUDASIM_MEMORY", 4096) << 20;
}

struct sim_limits sim_limits(void)
{
    int a = arch();
    return (struct sim_limits){.shared = (size_t)48 << 10,
                               .shared_asked = (size_t)(a == 80   ? 163
                                                        : a == 86 ? 99
                                                                  : 227)
                                               << 10};
}

int sim_current_device(void)
{
    return current_device;
}

/* 0 with no driver at all, as the manual says. */
SIM_API cudaError_t cudaDriverGetVersion(int *version)
{
    const char *text = getenv("CUDASIM_DRIVER");
    *version = text && !strcmp(text, "none") ? 0 : text && !strcmp(text, "old") ? 12040 : 13000;
    return cudaSuccess;
}

SIM_API cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

SIM_API cudaError_t cudaGetDeviceCount(int *count)
{
    cudaError_t rc = driver();
    *count = 0;
    if (rc == cudaSuccess && sim_fails())
        rc = cudaErrorUnknown;
    if (rc == cudaSuccess && device_count() == 0)
        rc = cudaErrorNoDevice;
    if (rc == cudaSuccess)
        *count = device_count();
    return sim_return(rc);
}

SIM_API cudaError_t cudaGetDevice(int *device)
{
    *device = current_device;
    return cudaSuccess;
}

SIM_API cudaError_t cudaSetDevice(int device)
{
    if (driver() != cudaSuccess)
        return sim_return(driver());
    if (device < 0 || device >= device_count())
        return sim_return(cudaErrorInvalidDevice);
    if (sim_fails())
        return sim_return(cudaErrorDevicesUnavailable);
    current_device = device;
    return cudaSuccess;
}

SIM_API cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *prop, int device)
{
    if (device < 0 || device >= device_count())
        return sim_return(cudaErrorInvalidDevice);
    if (sim_fails())
        return sim_return(cudaErrorUnknown);
    *prop = (struct cudaDeviceProp){.name = "Simulated GPU",
                                    .totalGlobalMem = memory_size(),
                                    .sharedMemPerBlock = sim_limits().shared,
                                    .sharedMemPerBlockOptin = sim_limits().shared_asked,
                                    .major = arch() / 10,
                                    .minor = arch() % 10,
                                    .multiProcessorCount = 4,
                                    .l2CacheSize = 4 << 20};
    return cudaSuccess;
}

SIM_API cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attr, int device)
{
    struct cudaDeviceProp p;
    cudaError_t rc = cudaGetDeviceProperties(&p, device);
    if (rc != cudaSuccess)
        return rc;
    switch (attr) {
    case cudaDevAttrMaxSharedMemoryPerBlock:
        *value = (int)p.sharedMemPerBlock;
        break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
        *value = (int)p.sharedMemPerBlockOptin;
        break;
    case cudaDevAttrMultiProcessorCount:
        *value = p.multiProcessorCount;
        break;
    case cudaDevAttrClockRate:
    case cudaDevAttrMemoryClockRate:
        *value = 1000000; /* kHz */
        break;
    case cudaDevAttrGlobalMemoryBusWidth:
        *value = 1024; /* bits */
        break;
    case cudaDevAttrL2CacheSize:
        *value = p.l2CacheSize;
        break;
    case cudaDevAttrComputeCapabilityMajor:
        *value = p.major;
        break;
    case cudaDevAttrComputeCapabilityMinor:
        *value = p.minor;
        break;
    default:
        return sim_return(cudaErrorInvalidValue);
    }
    return cudaSuccess;
}

/* ---- memory ---------------------------------------------------------------------------------- */

SIM_API cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    if (sim_fails())
        return sim_return(cudaErrorUnknown);
    pthread_mutex_lock(&sim_lock);
    *total = memory_size();
    *free_bytes = *total - sim_device_used(current_device);
    pthread_mutex_unlock(&sim_lock);
    return cudaSuccess;
}

SIM_API cudaError_t cudaMalloc(void **p, size_t size)
{
    *p = NULL;
    if (sim_fails())
        return sim_return(cudaErrorMemoryAllocation);
    if (size == 0)
        return cudaSuccess;
    pthread_mutex_lock(&sim_lock);
    sim_refuse_in_recording("cudaMalloc", SIM_CALLER);
    if (size <= memory_size() - sim_device_used(current_device))
        *p = sim_device_alloc(current_device, size, SIM_CALLER);
    pthread_mutex_unlock(&sim_lock);
    return sim_return(*p ? cudaSuccess : cudaErrorMemoryAllocation);
}

SIM_API cudaError_t cudaFree(void *p)
{
    if (!p)
        return cudaSuccess;
    pthread_mutex_lock(&sim_lock);
    int device = sim_device_of(p);
    sim_refuse_in_recording("cudaFree", SIM_CALLER);
    if (device < 0)
        sim_report("runtime", SIM_CALLER, "cudaFree of %p, which is memory of the host", p);
    if (device != current_device)
        sim_report("runtime", SIM_CALLER, "cudaFree of memory of device %d, the current one is %d",
                   device, current_device);
    sim_device_free(device, p, SIM_CALLER);
    pthread_mutex_unlock(&sim_lock);
    return cudaSuccess;
}

bool sim_is_pinned(const void *p, size_t n)
{
    for (int i = 0; i < PINNED; i++) {
        size_t at = (size_t)((const char *)p - pinned[i].at);
        if (pinned[i].at && at < pinned[i].n)
            return n <= pinned[i].n - at;
    }
    return false;
}

static cudaError_t alloc_pinned(void **p, size_t size, const void *pc)
{
    int i = 0;
    *p = NULL;
    if (sim_fails())
        return sim_return(cudaErrorMemoryAllocation);
    pthread_mutex_lock(&sim_lock);
    sim_refuse_in_recording("cudaHostAlloc", pc);
    while (i < PINNED && pinned[i].at)
        i++;
    if (i < PINNED)
        *p = aligned_alloc(4096, (size + 4095) & ~(size_t)4095);
    if (*p)
        pinned[i] = (struct pinned){*p, size, pc};
    pthread_mutex_unlock(&sim_lock);
    return sim_return(*p ? cudaSuccess : cudaErrorMemoryAllocation);
}

SIM_API cudaError_t cudaHostAlloc(void **p, size_t size, unsigned flags)
{
    (void)flags;
    return alloc_pinned(p, size, SIM_CALLER);
}

SIM_API cudaError_t cudaMallocHost(void **p, size_t size)
{
    return alloc_pinned(p, size, SIM_CALLER);
}

SIM_API cudaError_t cudaFreeHost(void *p)
{
    int i = 0;
    if (!p)
        return cudaSuccess;
    pthread_mutex_lock(&sim_lock);
    while (i < PINNED && pinned[i].at != p)
        i++;
    if (i == PINNED)
        sim_report("runtime", SIM_CALLER, "cudaFreeHost of %p, which is no pinned memory", p);
    sim_refuse_use(p, pinned[i].n, SIM_CALLER);
    pinned[i].at = NULL;
    free(p);
    pthread_mutex_unlock(&sim_lock);
    return cudaSuccess;
}

/* ---- kernels --------------------------------------------------------------------------------- */

size_t sim_dynamic_allowed(const void *kernel)
{
    for (int i = 0; i < KERNELS; i++)
        if (dynamic_allowed[i].kernel == kernel)
            return dynamic_allowed[i].n;
    return sim_limits().shared;
}

SIM_API cudaError_t cudaFuncSetAttribute(const void *kernel, enum cudaFuncAttribute attr, int value)
{
    int i = 0;
    if (sim_fails())
        return sim_return(cudaErrorInvalidDeviceFunction);
    if (attr != cudaFuncAttributeMaxDynamicSharedMemorySize)
        return cudaSuccess;
    if (value < 0 || (size_t)value > sim_limits().shared_asked)
        return sim_return(cudaErrorInvalidValue);
    pthread_mutex_lock(&sim_lock);
    while (i < KERNELS && dynamic_allowed[i].kernel && dynamic_allowed[i].kernel != kernel)
        i++;
    if (i == KERNELS)
        sim_report("runtime", SIM_CALLER, "more than %d kernels with an attribute", KERNELS);
    dynamic_allowed[i].kernel = kernel;
    dynamic_allowed[i].n = (size_t)value;
    pthread_mutex_unlock(&sim_lock);
    return cudaSuccess;
}
