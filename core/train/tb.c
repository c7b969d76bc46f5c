/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* tb.c - event files of TensorBoard.
 *
 * A file is TFRecords: length (u64), its masked CRC-32C, the bytes of an Event message, their
 * masked CRC-32C.  Source: tensorflow/core/lib/io/record_writer.cc,
 * tensorboard/compat/proto/event.proto and summary.proto. */
#include "train.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- CRC-32C, a bit at a time: a line of the log is short ------------------------------------ */

static uint32_t tb_masked_crc(const void *p, size_t n)
{
    const unsigned char *s = p;
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < n; i++) {
        crc ^= s[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82F63B78) : 0);
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + UINT32_C(0xA282EAD8);
}

/* ---- protocol buffers ------------------------------------------------------------------------ */

static void tb_varint(struct br__buf *b, uint64_t v)
{
    for (; v >= 128; v >>= 7)
        br__buf_putc(b, (char)(v | 128));
    br__buf_putc(b, (char)v);
}

static void tb_bytes(struct br__buf *b, int field, const void *p, size_t n)
{
    tb_varint(b, (uint64_t)field << 3 | 2);
    tb_varint(b, n);
    br__buf_put(b, p, n);
}

/* A fixed number of n bytes, in the order of the machines that we run on: the low end first. */
static void tb_fixed(struct br__buf *b, int field, const void *v, size_t n)
{
    tb_varint(b, (uint64_t)field << 3 | (n == 8 ? 1 : 5));
    br__buf_put(b, v, n);
}

enum { EVENT_TIME = 1, EVENT_STEP, EVENT_VERSION, SUMMARY_FIELD = 5 };
enum { SUMMARY_VALUE = 1, VALUE_TAG = 1, VALUE_SIMPLE = 2 };

static int tb_event(struct br__tb *tb, struct br__buf *event, struct br_err *err)
{
    struct br__buf record = {0};
    uint64_t length = event->n;
    uint32_t crc = tb_masked_crc(&length, sizeof length);

    br__buf_put(&record, &length, sizeof length);
    br__buf_put(&record, &crc, sizeof crc);
    br__buf_put(&record, event->p, event->n);
    crc = tb_masked_crc(event->p, event->n);
    br__buf_put(&record, &crc, sizeof crc);
    int failed = event->failed ? event->failed : record.failed;
    int rc =
        failed ? br__nomem(err, "for an event") : br__append(&tb->file, record.p, record.n, err);
    br__buf_free(&record);
    br__buf_free(event);
    return rc;
}

static void tb_time(struct br__buf *b)
{
    struct timespec now;
    double seconds;

    clock_gettime(CLOCK_REALTIME, &now);
    seconds = (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
    tb_fixed(b, EVENT_TIME, &seconds, sizeof seconds);
}

/* ---- files ----------------------------------------------------------------------------------- */

int br__tb_open(struct br__tb *tb, const char *dir, struct br_err *err)
{
    static const char version[] = "brain.Event:2";
    struct br__buf event = {0};
    char path[4096];

    *tb = (struct br__tb){0};
    int n = snprintf(path, sizeof path, "%s/events.out.tfevents.%lld.bridge.%lld", dir,
                     (long long)time(NULL), (long long)getpid());
    if (n < 0 || (size_t)n >= sizeof path)
        return br_fail(err, BR_E_IO, "'%.200s...' is too long for the name of a folder", dir);
    int rc = br__mkdirs(dir, err);
    if (!rc)
        rc = br__append_open(&tb->file, path, 0, err);
    if (rc)
        return rc;
    tb_time(&event);
    tb_bytes(&event, EVENT_VERSION, version, strlen(version));
    return tb_event(tb, &event, err);
}

int br__tb_write(struct br__tb *tb, int64_t step, const struct br__tb_scalar *v, size_t n,
                 struct br_err *err)
{
    struct br__buf event = {0}, summary = {0}, value = {0};

    for (size_t i = 0; i < n; i++) {
        float x = (float)v[i].value;
        tb_bytes(&value, VALUE_TAG, v[i].tag, strlen(v[i].tag));
        tb_fixed(&value, VALUE_SIMPLE, &x, sizeof x);
        tb_bytes(&summary, SUMMARY_VALUE, value.p, value.n);
        summary.failed |= value.failed;
        br__buf_free(&value);
    }
    tb_time(&event);
    tb_varint(&event, EVENT_STEP << 3);
    tb_varint(&event, (uint64_t)step);
    if (summary.n)
        tb_bytes(&event, SUMMARY_FIELD, summary.p, summary.n);
    event.failed |= summary.failed;
    br__buf_free(&summary);
    return tb_event(tb, &event, err);
}

void br__tb_close(struct br__tb *tb)
{
    br__append_close(&tb->file);
}
