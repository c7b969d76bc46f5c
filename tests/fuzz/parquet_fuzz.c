/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* parquet_fuzz.c - libFuzzer target: a Parquet file, every row of every column.  A row that is
 * given is JSON. */
#include "../../core/format/format.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_rows(struct br__parquet *p, struct br_err *err)
{
    struct br__buf row = {.max = 1 << 20};
    int more = 1, rc = br__parquet_select(p, NULL, 0, err);
    for (int i = 0; i < 1000 && !rc && more; i++) {
        br__json *j;
        row.n = 0;
        rc = br__parquet_next(p, &row, &more, err);
        if (rc && !err->msg[0])
            abort();
        if (rc || !more)
            break;
        if (br__json_parse(&j, row.p, row.n, NULL) == BR_OK)
            br__json_free(j); /* else: nested too deep, or two columns of one name */
    }
    br__buf_free(&row);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct br_err err = BR_ERR_INIT;
    struct br__parquet *p;
    char path[64];
    int fd = memfd_create("parquet", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (br__parquet_open(&p, path, &err) == BR_OK)
        read_rows(p, &err);
    else if (!err.msg[0])
        abort();
    br__parquet_close(p);
    close(fd);
    return 0;
}
