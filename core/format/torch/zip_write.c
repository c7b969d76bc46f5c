/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* zip_write.c - writes the ZIP container of torch.save inside a larger file.
 *
 * Same bytes as PyTorchStreamWriter (torch 2.15) on miniz: stored records whose data starts at
 * multiples of 64 from the archive's start (padded by an "FB" extra field), sizes and CRC in a data
 * descriptor behind the data, and always the ZIP64 end records.  A record's header carries a ZIP64
 * field only if its size or its own offset needs one.
 *
 * Source of the layout: archives written by torch 2.15, also ones beyond 4 GiB; of the hash in
 * .data/serialization_id: caffe2/serialize/inline_container.cc, checked against such archives. */
#include "torch.h"

#include <inttypes.h>
#include <string.h>

enum {
    LOCAL_BYTES = 30,         /* local header without name and extra field */
    CENTRAL_BYTES = 46,       /* central directory entry, likewise */
    END_BYTES = 56 + 20 + 22, /* zip64 end record, its locator, end record */
    ALIGN = 64,
    /* name and extra field: zip64 block of up to 4 + 24 bytes, "FB" block of 4 + 63 */
    HEADER_MAX = LOCAL_BYTES + 64 + 28 + 4 + ALIGN
};
#define U32_FULL UINT32_MAX /* "see the zip64 field" */

/* ---- where things go ------------------------------------------------------------------------- */

/* Layout of one record whose header is at `head`, relative to the archive's start. */
struct record_layout {
    int size64, off64; /* which values need the zip64 field */
    uint32_t zip64;    /* bytes of that field, 0 or 12..28 */
    uint32_t pad;      /* Z's in the FB field */
    uint64_t data;     /* where the data starts */
    uint64_t end;      /* where the next header goes */
};

static struct record_layout record_layout(uint64_t head, size_t name_len, uint64_t size)
{
    struct record_layout p = {.size64 = size >= U32_FULL, .off64 = head >= U32_FULL};
    if (p.size64 || p.off64)
        p.zip64 = 4u + (p.size64 ? 16u : 0) + (p.off64 ? 8u : 0);
    uint64_t unpadded = head + LOCAL_BYTES + name_len + p.zip64 + 4;
    p.pad = (uint32_t)(-unpadded & (ALIGN - 1));
    p.data = unpadded + p.pad;
    p.end = p.data + size;
    if (size) /* an empty record has no descriptor */
        p.end += p.zip64 ? 24 : 16;
    return p;
}

static const struct {
    const char *name;
    size_t size; /* 0: varies */
} head_recs[] = {{"data.pkl", 0},
                 {".format_version", 1},
                 {".storage_alignment", 2},
                 {"byteorder", 6}},
  tail_recs[] = {{"version", 2}, {".data/serialization_id", 40}};

/* Running size of an archive: records so far and the central directory that they need. */
struct tally {
    size_t prefix_len; /* with the slash */
    uint64_t at, central;
};

static void tally_record(struct tally *t, size_t name_len, uint64_t size)
{
    name_len += t->prefix_len;
    struct record_layout p = record_layout(t->at, name_len, size);
    t->at = p.end;
    t->central += CENTRAL_BYTES + name_len + p.zip64;
}

uint64_t br__zip_archive_size(const char *prefix, size_t pickle_size, const uint64_t *data_sizes,
                              size_t n_data)
{
    struct tally t = {.prefix_len = strlen(prefix) + 1};
    for (size_t i = 0; i < BR_COUNTOF(head_recs); i++)
        tally_record(&t, strlen(head_recs[i].name), i ? head_recs[i].size : pickle_size);
    for (size_t i = 0; i < n_data; i++) {
        char name[32];
        tally_record(&t, (size_t)snprintf(name, sizeof name, "data/%zu", i), data_sizes[i]);
    }
    for (size_t i = 0; i < BR_COUNTOF(tail_recs); i++)
        tally_record(&t, strlen(tail_recs[i].name), tail_recs[i].size);
    return t.at + t.central + END_BYTES;
}

/* ---- little-endian fields -------------------------------------------------------------------- */

/* Append v at p as n bytes, which may be more than 8; returns the end. */
static unsigned char *le(unsigned char *p, uint64_t v, int n)
{
    for (int i = 0; i < n; i++, v >>= 8)
        *p++ = (unsigned char)v;
    return p;
}

/* The zip64 extra block.  In a local header the compressed size is not known yet and stays 0. */
static unsigned char *zip64_block(unsigned char *p, const struct record_layout *pl, uint64_t size,
                                  uint64_t compressed, uint64_t head)
{
    p = le(p, 1, 2);
    p = le(p, pl->zip64 - 4, 2);
    if (pl->size64) {
        p = le(p, size, 8);
        p = le(p, compressed, 8);
    }
    if (pl->off64)
        p = le(p, head, 8);
    return p;
}

static unsigned flag_bits(uint64_t size)
{
    return size ? 0x0808 : 0x0800; /* UTF-8 names; bit 3: a data descriptor follows */
}

/* ---- records --------------------------------------------------------------------------------- */

void br__zipw_begin(struct br__zipw *z, struct br__out *out, const char *prefix)
{
    *z = (struct br__zipw){.out = out, .base = br__out_tell(out), .prefix = prefix};
}

void br__zipw_abort(struct br__zipw *z)
{
    br__buf_free(&z->central);
}

int br__zipw_start(struct br__zipw *z, const char *name, uint64_t size, struct br_err *err)
{
    int len = snprintf(z->rec_name, sizeof z->rec_name, "%s/%s", z->prefix, name);
    if (len < 0 || (size_t)len >= sizeof z->rec_name)
        BR_BUG("zip record name too long: %s/%s", z->prefix, name);
    z->n_data += (uint32_t)br__starts(name, "data/");
    z->rec_off = br__out_tell(z->out) - z->base;
    z->rec_size = size;
    z->rec_crc = 0;

    struct record_layout pl = record_layout(z->rec_off, (size_t)len, size);
    unsigned char h[HEADER_MAX], *p = h;
    p = le(p, 0x04034b50, 4);
    p = le(p, 0, 2); /* version needed */
    p = le(p, flag_bits(size), 2);
    p = le(p, 0, 18); /* method, time, date, crc, sizes */
    p = le(p, (uint64_t)len, 2);
    p = le(p, pl.zip64 + 4 + pl.pad, 2);
    memcpy(p, z->rec_name, (size_t)len);
    p += len;
    if (pl.zip64)
        p = zip64_block(p, &pl, size, 0, z->rec_off);
    memcpy(p, "FB", 2);
    p = le(p + 2, pl.pad, 2);
    memset(p, 'Z', pl.pad);
    return br__out_write(z->out, h, (size_t)(p + pl.pad - h), err);
}

void br__zipw_data(struct br__zipw *z, const void *p, size_t n)
{
    z->rec_crc = br__crc32(z->rec_crc, p, n);
}

/* The record's entry in the central directory. */
static void add_central(struct br__zipw *z, const struct record_layout *pl)
{
    size_t len = strlen(z->rec_name);
    unsigned char h[CENTRAL_BYTES], x[28], *p = h;
    uint64_t size32 = pl->size64 ? U32_FULL : z->rec_size;
    p = le(p, 0x02014b50, 4);
    p = le(p, 0, 4); /* version made by, version needed */
    p = le(p, flag_bits(z->rec_size), 2);
    p = le(p, 0, 6); /* method, time, date */
    p = le(p, z->rec_crc, 4);
    p = le(p, size32, 4);
    p = le(p, size32, 4);
    p = le(p, len, 2);
    p = le(p, pl->zip64, 2);
    p = le(p, 0, 10); /* comment, disk, attributes */
    p = le(p, pl->off64 ? U32_FULL : z->rec_off, 4);
    br__buf_put(&z->central, h, sizeof h);
    br__buf_put(&z->central, z->rec_name, len);
    if (pl->zip64) {
        zip64_block(x, pl, z->rec_size, z->rec_size, z->rec_off);
        br__buf_put(&z->central, x, pl->zip64);
    }
}

/* boost's hash_combine, as c10 has it. */
static uint64_t hash_combine(uint64_t seed, uint64_t v)
{
    return seed ^ (v + 0x9e3779b9 + (seed << 6) + (seed >> 2));
}

int br__zipw_stop(struct br__zipw *z, struct br_err *err)
{
    struct record_layout pl = record_layout(z->rec_off, strlen(z->rec_name), z->rec_size);
    if (br__out_tell(z->out) != z->base + pl.data + z->rec_size)
        BR_BUG("zip record %s got a size other than announced", z->rec_name);
    add_central(z, &pl);
    z->n_recs++;
    if (z->central.failed)
        return br_fail(err, z->central.failed, "out of memory for a zip directory");
    if (!z->rec_size)
        return 0;

    z->crc_hash = hash_combine(z->crc_hash, z->rec_crc);
    unsigned char d[24], *p = d;
    int w = pl.zip64 ? 8 : 4;
    p = le(p, 0x08074b50, 4);
    p = le(p, z->rec_crc, 4);
    p = le(p, z->rec_size, w);
    p = le(p, z->rec_size, w);
    return br__out_write(z->out, d, (size_t)(p - d), err);
}

int br__zipw_record(struct br__zipw *z, const char *name, const void *p, size_t n,
                    struct br_err *err)
{
    int rc = br__zipw_start(z, name, n, err);
    if (rc)
        return rc;
    br__zipw_data(z, p, n);
    rc = br__out_write(z->out, p, n, err);
    return rc ? rc : br__zipw_stop(z, err);
}

int br__zipw_head(struct br__zipw *z, const void *pickle, size_t n, struct br_err *err)
{
    static const char *const bytes[] = {NULL, "1", "64", "little"};
    int rc = br__zipw_record(z, head_recs[0].name, pickle, n, err);
    for (size_t i = 1; i < BR_COUNTOF(head_recs) && !rc; i++)
        rc = br__zipw_record(z, head_recs[i].name, bytes[i], head_recs[i].size, err);
    return rc;
}

/* ---- the end of the archive ------------------------------------------------------------------ */

/* First half of .data/serialization_id: torch combines std::hash of the record names in the order
 * of an unordered_set.  A constant for each set of names, taken from torch's files; they differ
 * only in the number of data records.  0 (never seen) for other sets: readers ignore the record. */
static uint64_t name_hash(uint32_t n_data)
{
    switch (n_data) {
    case 0:
        return 2908468677762923104u;
    case 1:
        return 15728199511854643026u;
    case 8:
        return 8268647735604577700u;
    default:
        return 0;
    }
}

static int write_end(struct br__zipw *z, struct br_err *err)
{
    uint64_t central = br__out_tell(z->out) - z->base, n = z->central.n;
    int rc = br__out_write(z->out, z->central.p, n, err);
    if (rc)
        return rc;

    unsigned char e[END_BYTES], *p = e;
    p = le(p, 0x06064b50, 4);
    p = le(p, 56 - 12, 8); /* size of the rest of this record */
    p = le(p, 0x031e, 2);  /* made by, needed */
    p = le(p, 0x002d, 2);
    p = le(p, 0, 8); /* disks */
    p = le(p, z->n_recs, 8);
    p = le(p, z->n_recs, 8);
    p = le(p, n, 8);
    p = le(p, central, 8);

    p = le(p, 0x07064b50, 4);
    p = le(p, 0, 4);
    p = le(p, central + n, 8);
    p = le(p, 1, 4);

    p = le(p, 0x06054b50, 4);
    p = le(p, 0, 4);
    p = le(p, BR__MIN(z->n_recs, UINT16_MAX), 2);
    p = le(p, BR__MIN(z->n_recs, UINT16_MAX), 2);
    p = le(p, BR__MIN(n, U32_FULL), 4);
    p = le(p, BR__MIN(central, U32_FULL), 4);
    le(p, 0, 2); /* comment */
    return br__out_write(z->out, e, sizeof e, err);
}

int br__zipw_finish(struct br__zipw *z, struct br_err *err)
{
    char id[41];
    int rc = br__zipw_record(z, tail_recs[0].name, "3\n", tail_recs[0].size, err);
    if (!rc) {
        snprintf(id, sizeof id, "%020" PRIu64 "%020" PRIu64, name_hash(z->n_data), z->crc_hash);
        rc = br__zipw_record(z, tail_recs[1].name, id, tail_recs[1].size, err);
    }
    if (!rc)
        rc = write_end(z, err);
    br__buf_free(&z->central);
    return rc;
}
