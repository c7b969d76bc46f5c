/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* zip.c - read the stored (uncompressed) ZIP and ZIP64 archives of torch.save.
 *
 * An archive is a range of a mapped file; offsets inside it are relative to the range.  Sizes and
 * CRCs come from the central directory.  The local header must say the same, or hold zeros where a
 * data descriptor behind the data does, as torch writes it.  Format: PKWARE APPNOTE 6.3; what
 * torch writes: docs of PyTorchStreamWriter, caffe2/serialize/inline_container.cc. */
#include "../format.h"

#include <inttypes.h>
#include <string.h>

#define END_BYTES 22          /* end of central directory, no comment */
#define END64_BYTES 56        /* ZIP64 end of central directory */
#define LOCATOR_BYTES 20      /* ZIP64 locator, right before the end record */
#define ENTRY_BYTES 46        /* central directory entry without name, extra, comment */
#define LOCAL_BYTES 30        /* local header without name and extra */
#define DESCRIPTOR_BYTES 16   /* signature, CRC-32 and two sizes */
#define DESCRIPTOR64_BYTES 24 /* the same with sizes of 64 bits */
#define SIG_END 0x06054b50u
#define SIG_END64 0x06064b50u
#define SIG_LOCATOR 0x07064b50u
#define SIG_ENTRY 0x02014b50u
#define SIG_LOCAL 0x04034b50u
#define SIG_DESCRIPTOR 0x08074b50u
#define IN_ZIP64 UINT32_MAX /* a 32-bit field with this value stands in the ZIP64 extra field */
#define EXTRA_ZIP64 1
#define FLAG_ENCRYPTED 1
#define FLAG_DESCRIPTOR 8

struct zip {
    struct br__arena *a;
    const unsigned char *p; /* the archive */
    uint64_t n;
    uint64_t base;         /* of p in the file */
    uint64_t dir, dir_end; /* central directory */
    uint64_t n_recs;
    const unsigned char *prefix; /* "archive/" of the first entry, with the slash */
    size_t prefix_len;
    struct br_err *err;
};

static uint64_t le(const unsigned char *p, int bytes)
{
    uint64_t v = 0;

    for (int i = bytes; i-- > 0;)
        v = v << 8 | p[i];
    return v;
}

static int several_disks(struct zip *z)
{
    return br_fail(z->err, BR_E_FORMAT,
                   "zip: the archive is split over several disks, which torch never does");
}

/* Take the directory's place and size from the ZIP64 end record that the locator points at; *limit
 * is where that begins. */
static int read_end64(struct zip *z, const unsigned char *locator, uint64_t *limit)
{
    uint64_t at = le(locator + 8, 8);
    uint64_t locator_at = (uint64_t)(locator - z->p);

    if (locator_at < END64_BYTES || at != locator_at - END64_BYTES || le(z->p + at, 4) != SIG_END64)
        return br_fail(z->err, BR_E_FORMAT, "zip: no ZIP64 end record at %" PRIu64, at);
    if (le(locator + 4, 4) != 0 || le(locator + 16, 4) != 1 || le(z->p + at + 16, 8) != 0 ||
        le(z->p + at + 24, 8) != le(z->p + at + 32, 8))
        return several_disks(z);
    z->n_recs = le(z->p + at + 32, 8);
    z->dir = le(z->p + at + 48, 8);
    z->dir_end = le(z->p + at + 40, 8);
    *limit = at;
    return BR_OK;
}

/* Find the central directory: z->dir, z->dir_end, z->n_recs. */
static int read_end(struct zip *z)
{
    const unsigned char *end = z->n >= END_BYTES ? z->p + z->n - END_BYTES : NULL;

    if (!end || le(end, 4) != SIG_END || le(end + 20, 2) != 0)
        return br_fail(z->err, BR_E_FORMAT,
                       "zip: no end record in the last %d of %" PRIu64 " bytes (truncated?)",
                       END_BYTES, z->n);
    if (le(end + 4, 4) != 0 || le(end + 8, 2) != le(end + 10, 2))
        return several_disks(z);
    z->n_recs = le(end + 10, 2);
    z->dir_end = le(end + 12, 4); /* size; made an end below */
    z->dir = le(end + 16, 4);
    uint64_t limit = z->n - END_BYTES;
    if (limit >= LOCATOR_BYTES && le(end - LOCATOR_BYTES, 4) == SIG_LOCATOR &&
        read_end64(z, end - LOCATOR_BYTES, &limit))
        return BR_E_FORMAT;
    if (z->dir > limit || z->dir_end > limit - z->dir)
        return br_fail(z->err, BR_E_FORMAT,
                       "zip: central directory of %" PRIu64 " bytes at %" PRIu64
                       " does not fit into %" PRIu64 " bytes",
                       z->dir_end, z->dir, z->n);
    if (z->dir + z->dir_end != limit)
        return br_fail(z->err, BR_E_FORMAT,
                       "zip: central directory of %" PRIu64 " bytes at %" PRIu64
                       " does not end where its end record begins, at %" PRIu64,
                       z->dir_end, z->dir, limit);
    if (z->n_recs == 0 || z->n_recs > z->dir_end / ENTRY_BYTES)
        return br_fail(z->err, BR_E_FORMAT,
                       "zip: %" PRIu64 " records in a central directory of %" PRIu64 " bytes",
                       z->n_recs, z->dir_end);
    z->dir_end += z->dir;
    return BR_OK;
}

/* Sizes and header offset of an entry, from its ZIP64 extra field where the entry says so. */
struct sizes {
    uint64_t packed, size, header;
};

static int read_sizes(struct zip *z, const unsigned char *e, const unsigned char *extra,
                      size_t extra_len, struct sizes *s)
{
    uint64_t *const order[] = {&s->size, &s->packed, &s->header}; /* as in the extra field */

    s->packed = le(e + 20, 4);
    s->size = le(e + 24, 4);
    s->header = le(e + 42, 4);
    if (s->packed != IN_ZIP64 && s->size != IN_ZIP64 && s->header != IN_ZIP64)
        return BR_OK;
    while (extra_len >= 4 && le(extra, 2) != EXTRA_ZIP64) {
        size_t block = 4 + (size_t)le(extra + 2, 2);
        if (block > extra_len)
            break;
        extra += block;
        extra_len -= block;
    }
    if (extra_len < 4 || le(extra, 2) != EXTRA_ZIP64 || le(extra + 2, 2) > extra_len - 4)
        return br_fail(z->err, BR_E_FORMAT, "zip: no ZIP64 extra field in an entry that needs it");
    size_t left = (size_t)le(extra + 2, 2);
    extra += 4;
    for (size_t i = 0; i < BR_COUNTOF(order); i++) {
        if (*order[i] != IN_ZIP64)
            continue;
        if (left < 8)
            return br_fail(z->err, BR_E_FORMAT, "zip: ZIP64 extra field is too short");
        *order[i] = le(extra, 8);
        extra += 8;
        left -= 8;
    }
    return BR_OK;
}

/* Every name must stand below the directory of the first one, as torch demands. */
static int read_name(struct zip *z, const unsigned char *name, size_t len, const char **out)
{
    if (!z->prefix) {
        const unsigned char *slash = memchr(name, '/', len);
        if (!slash || slash == name)
            return br_fail(z->err, BR_E_FORMAT, "zip: first record '%.*s' is not in a directory",
                           (int)BR__MIN(len, 100), (const char *)name);
        z->prefix = name;
        z->prefix_len = (size_t)(slash - name) + 1;
    }
    if (len <= z->prefix_len || memcmp(name, z->prefix, z->prefix_len) != 0 || memchr(name, 0, len))
        return br_fail(z->err, BR_E_FORMAT, "zip: bad record name '%.*s', expected '%.*s...'",
                       (int)BR__MIN(len, 100), (const char *)name, (int)BR__MIN(z->prefix_len, 100),
                       (const char *)z->prefix);
    *out = br__arena_strndup(z->a, (const char *)name + z->prefix_len, len - z->prefix_len);
    if (!*out)
        return br_fail(z->err, BR_E_NOMEM, "out of memory");
    return BR_OK;
}

/* Does the local header name the record that the central entry e names, and are its flags, CRC and
 * sizes the same?  Zeros mean that a descriptor behind the data has them, all ones that the ZIP64
 * field does. */
static int local_agrees(const unsigned char *local, uint64_t room, const unsigned char *e)
{
    size_t name_len = (size_t)le(e + 28, 2);
    int later = (le(e + 8, 2) & FLAG_DESCRIPTOR) != 0;

    if (le(local + 26, 2) != name_len || name_len > room ||
        memcmp(local + LOCAL_BYTES, e + ENTRY_BYTES, name_len) != 0 ||
        le(local + 6, 4) != le(e + 8, 4)) /* flags and method */
        return 0;
    for (int at = 14; at < 26; at += 4) { /* CRC, packed size, size; two bytes later in the entry */
        uint64_t v = le(local + at, 4), c = le(e + at + 2, 4);
        if (v != c && v != IN_ZIP64 && c != IN_ZIP64 && (v || !later))
            return 0;
    }
    return 1;
}

/* Does a descriptor at `at` repeat the CRC and the sizes? */
static int descriptor_agrees(const struct zip *z, uint64_t at, uint64_t crc, const struct sizes *s)
{
    const unsigned char *d = z->p + at;
    uint64_t room = z->dir - at;

    if (room < DESCRIPTOR_BYTES || le(d, 4) != SIG_DESCRIPTOR || le(d + 4, 4) != crc)
        return 0;
    return (le(d + 8, 4) == s->packed && le(d + 12, 4) == s->size) ||
           (room >= DESCRIPTOR64_BYTES && le(d + 8, 8) == s->packed && le(d + 16, 8) == s->size);
}

/* Where the data starts: behind the local header, whose extra field (torch's padding) has its own
 * length. */
static int zip_locate(struct zip *z, const unsigned char *e, const struct sizes *s,
                      struct br__zip_rec *rec)
{
    int fits = z->dir >= LOCAL_BYTES && s->header <= z->dir - LOCAL_BYTES;
    const unsigned char *local = fits ? z->p + s->header : NULL;

    if (!local || le(local, 4) != SIG_LOCAL)
        return br_fail(z->err, BR_E_FORMAT, "zip: record '%s': no local header at %" PRIu64,
                       rec->name, s->header);
    if (!local_agrees(local, z->dir - LOCAL_BYTES - s->header, e))
        return br_fail(z->err, BR_E_FORMAT,
                       "zip: record '%s': its local header at %" PRIu64
                       " and the central directory differ in name, flags, method, size or CRC-32",
                       rec->name, s->header);
    uint64_t data = s->header + LOCAL_BYTES + le(local + 26, 2) + le(local + 28, 2);
    if (data > z->dir || s->size > z->dir - data)
        return br_fail(z->err, BR_E_FORMAT,
                       "zip: record '%s': %" PRIu64 " bytes at %" PRIu64
                       " reach past the data, which ends at %" PRIu64,
                       rec->name, s->size, data, z->dir);
    if (le(e + 8, 2) & FLAG_DESCRIPTOR && !descriptor_agrees(z, data + s->size, rec->crc, s))
        return br_fail(z->err, BR_E_FORMAT,
                       "zip: record '%s': no data descriptor with its CRC-32 and size of %" PRIu64
                       " behind the data, at %" PRIu64,
                       rec->name, s->size, data + s->size);
    rec->off = z->base + data;
    rec->size = s->size;
    return BR_OK;
}

/* One central directory entry at *at, which moves to the next. */
static int read_entry(struct zip *z, uint64_t *at, struct br__zip_rec *rec)
{
    const unsigned char *e = z->p + *at;
    struct sizes s;

    if (z->dir_end - *at < ENTRY_BYTES || le(e, 4) != SIG_ENTRY)
        return br_fail(z->err, BR_E_FORMAT, "zip: no central directory entry at %" PRIu64, *at);
    size_t name_len = (size_t)le(e + 28, 2), extra_len = (size_t)le(e + 30, 2);
    uint64_t total = ENTRY_BYTES + name_len + extra_len + le(e + 32, 2);
    if (total > z->dir_end - *at)
        return br_fail(z->err, BR_E_FORMAT,
                       "zip: central directory entry at %" PRIu64 " is cut off", *at);
    *at += total;
    int rc = read_name(z, e + ENTRY_BYTES, name_len, &rec->name);
    if (!rc)
        rc = read_sizes(z, e, e + ENTRY_BYTES + name_len, extra_len, &s);
    if (rc)
        return rc;
    if (le(e + 8, 2) & FLAG_ENCRYPTED || le(e + 10, 2) != 0)
        return br_fail(z->err, BR_E_UNSUPPORTED,
                       "zip: record '%s' is compressed or encrypted, which torch never does",
                       rec->name);
    if (s.packed != s.size)
        return br_fail(z->err, BR_E_FORMAT,
                       "zip: record '%s' is stored: its sizes are %" PRIu64 " and %" PRIu64
                       ", expected the same twice",
                       rec->name, s.packed, s.size);
    if (le(e + 34, 2) != 0)
        return several_disks(z);
    rec->crc = (uint32_t)le(e + 16, 4);
    return zip_locate(z, e, &s, rec);
}

int br__zip_read(struct br__arena *a, const unsigned char *map, uint64_t map_size, uint64_t base,
                 uint64_t length, struct br__zip_rec **recs, size_t *n, struct br_err *err)
{
    struct zip z = {.a = a, .n = length, .base = base, .err = err};

    *recs = NULL;
    *n = 0;
    if (base > map_size || length > map_size - base)
        return br_fail(err, BR_E_FORMAT,
                       "zip: %" PRIu64 " bytes at %" PRIu64
                       " reach past the end of the file, which has %" PRIu64 " (truncated?)",
                       length, base, map_size);
    z.p = length ? map + base : NULL;
    int rc = read_end(&z);
    if (rc)
        return rc;
    struct br__zip_rec *r = br__arena_alloc(a, (size_t)z.n_recs * sizeof *r);
    if (!r)
        return br_fail(err, BR_E_NOMEM, "out of memory");
    uint64_t at = z.dir;
    for (uint64_t i = 0; i < z.n_recs; i++) {
        rc = read_entry(&z, &at, &r[i]);
        if (rc)
            return rc;
    }
    *recs = r;
    *n = (size_t)z.n_recs;
    return BR_OK;
}

int br__zip_check(const struct br__zip_rec *rec, const unsigned char *map, struct br_err *err)
{
    uint32_t crc = rec->crc ? br__crc32(0, map + rec->off, (size_t)rec->size) : 0;

    if (crc == rec->crc)
        return BR_OK;
    return br_fail(err, BR_E_FORMAT,
                   "zip: record '%s' is damaged: its CRC-32 is %08" PRIx32
                   ", the archive says %08" PRIx32,
                   rec->name, crc, rec->crc);
}

const struct br__zip_rec *br__zip_find(const struct br__zip_rec *recs, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(recs[i].name, name) == 0)
            return &recs[i];
    return NULL;
}
