/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* nccl_world.c - memory that ranks share, found by a world's name.
 *
 * Without NCCL_COMM_ID the name says which process has opened it, and under which descriptor: no
 * file is left behind, however the processes end.  With it all ranks have the same name before they
 * know each other, and the memory is a file of TMPDIR while they come. */
#include "nccl_world.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PATH 4096

/* True: a file of TMPDIR. */
static bool path_of(const ncclUniqueId *id, char path[PATH])
{
    const char *dir = getenv("TMPDIR");
    bool is_file = id->internal[0] != '/';
    if (is_file)
        snprintf(path, PATH, "%s/cudasim-%s", dir ? dir : "/tmp", id->internal);
    else
        snprintf(path, PATH, "%s", id->internal);
    return is_file;
}

bool world_name(ncclUniqueId *id)
{
    const char *address = getenv("NCCL_COMM_ID");
    memset(id, 0, sizeof *id);
    if (address) {
        snprintf(id->internal, sizeof id->internal, "%s", address);
        return true;
    }
    int fd = memfd_create("cudasim nccl", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)sizeof(struct worlds)))
        return false;
    snprintf(id->internal, sizeof id->internal, "/proc/%d/fd/%d", (int)getpid(), fd);
    return true;
}

/* It appears under its name when it is whole; what an earlier run has left goes. */
static int make_file(const char *path)
{
    char made[PATH + 16];
    snprintf(made, sizeof made, "%s.%d", path, (int)getpid());
    int fd = open(made, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd >= 0 && (ftruncate(fd, (off_t)sizeof(struct worlds)) || rename(made, path))) {
        unlink(made);
        close(fd);
        fd = -1;
    }
    return fd;
}

struct mapping *world_map(const ncclUniqueId *id, int rank)
{
    char path[PATH];
    bool is_file = path_of(id, path);
    int fd = is_file && rank == 0 ? make_file(path) : open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    void *p = mmap(NULL, sizeof(struct worlds), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    struct mapping *m = p == MAP_FAILED ? NULL : calloc(1, sizeof *m);
    close(fd);
    if (m)
        *m = (struct mapping){p, 1};
    return m;
}

void world_unmap(struct mapping *m)
{
    if (--m->refs)
        return;
    munmap(m->all, sizeof *m->all);
    free(m);
}

void world_forget(const ncclUniqueId *id)
{
    char path[PATH];
    int pid, fd;
    if (path_of(id, path))
        unlink(path);
    else if (sscanf(path, "/proc/%d/fd/%d", &pid, &fd) == 2 && pid == (int)getpid())
        close(fd);
}
