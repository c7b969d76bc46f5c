/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* base.h - the door of core/base: memory, files, text, JSON, hashes, threads.  All other folders
 * use it; it knows nothing of checkpoints or models.  All file access of the library goes through
 * br__io and all allocation through br__mem, so that tests can make the Nth call fail. */
#ifndef BRIDGE_CORE_BASE_H
#define BRIDGE_CORE_BASE_H

#include <bridge/base.h>
#include <bridge/bridge.h>
#include <bridge/tensor.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>

/* A programmer's error: abort with file and line. */
#define BR_BUG(...) br__bug(__FILE__, __LINE__, __VA_ARGS__)
_Noreturn void br__bug(const char *file, int line, const char *fmt, ...) BR_PRINTF(3, 4);

/* BR_E_NOMEM, "out of memory <what>": what was to be made or done, such as "for the adapter" or
 * "reading '%s'" with its path. */
#define br__nomem(err, ...) br_fail((err), BR_E_NOMEM, "out of memory " __VA_ARGS__)

#define BR__MIN(a, b) ((a) < (b) ? (a) : (b))
#define BR__MAX(a, b) ((a) > (b) ? (a) : (b))

/* ---- mem.c: allocation ----------------------------------------------------------------------- */

void *br__alloc(size_t n);             /* uninitialised; NULL on failure; n == 0 gives 1 byte */
void *br__calloc(size_t n, size_t sz); /* zeroed, checks n * sz */
/* Addresses of n bytes that read as zeros, cannot be written and take no memory: for plans of what
 * may be larger than this machine.  NULL on failure. */
void *br__reserve(size_t n);
void br__unreserve(void *p, size_t n); /* NULL is fine */
void *br__realloc(void *p, size_t n);
void br__free(void *p);
char *br__strdup(const char *s);
/* Bytes of this process that are its own: mapped files are not in it.  0: unknown. */
uint64_t br__private_memory(void);

/* Make room for one more element in a growing array: *a has room for *cap elements of `sz` bytes
 * and holds n.  Returns 0, or BR_E_NOMEM with *a unchanged. */
int br__grow(void *a, size_t *cap, size_t n, size_t sz) BR_MUST_CHECK;

/* ---- arena.c: metadata of one job, freed at once --------------------------------------------- */

struct br__arena {
    struct br__arena_block *blocks;
    size_t total; /* bytes handed out, for the memory report */
};
void *br__arena_alloc(struct br__arena *a, size_t n); /* zeroed, 16-byte aligned; NULL on failure */
char *br__arena_strdup(struct br__arena *a, const char *s);
char *br__arena_strndup(struct br__arena *a, const char *s, size_t n);
char *br__arena_printf(struct br__arena *a, const char *fmt, ...) BR_PRINTF(2, 3);
void br__arena_free(struct br__arena *a); /* {0} is a valid empty arena before and after */

/* ---- buf.c: growable bytes with a limit and a sticky error ----------------------------------- */

struct br__buf {
    char *p; /* always NUL-terminated once something was put */
    size_t n, cap;
    size_t max; /* more than this is an error; 0 = 1 GiB */
    int failed; /* sticky: BR_E_NOMEM or BR_E_FORMAT (too big) */
};
void br__buf_put(struct br__buf *b, const void *p, size_t n);
char *br__buf_room(struct br__buf *b, size_t n); /* where n more bytes may be written; or NULL */
void br__buf_puts(struct br__buf *b, const char *s);
void br__buf_putc(struct br__buf *b, char c);
void br__buf_printf(struct br__buf *b, const char *fmt, ...) BR_PRINTF(2, 3);
void br__buf_vprintf(struct br__buf *b, const char *fmt, va_list ap);
void br__buf_json_str(struct br__buf *b, const char *s);            /* "quoted", escaped as JSON */
void br__buf_json_text(struct br__buf *b, const char *s, size_t n); /* the same, NUL included */
void br__buf_base64(struct br__buf *b, const void *p, size_t n);    /* RFC 4648, with padding */
void br__buf_double(struct br__buf *b, double v); /* shortest text that reads back the same, as
                                                     Python's repr: 1e-06, 1000000.0, inf */
void br__buf_free(struct br__buf *b);             /* back to {0} (max kept) */

/* ---- map.c: string -> uint32, open addressing ------------------------------------------------ */

#define BR__NOT_FOUND UINT32_MAX
struct br__map {
    const char **keys; /* borrowed */
    uint32_t *vals;
    size_t cap, n;
};
int br__map_init(struct br__map *m, size_t expected) BR_MUST_CHECK;
/* 0; BR_E_NOMEM; or BR_E_EXISTS when the key is there (value unchanged).  Keys are borrowed. */
int br__map_put(struct br__map *m, const char *key, uint32_t val) BR_MUST_CHECK;
uint32_t br__map_get(const struct br__map *m, const char *key); /* BR__NOT_FOUND if absent */
void br__map_free(struct br__map *m);

/* ---- text.c: small text helpers -------------------------------------------------------------- */

int br__starts(const char *s, const char *prefix);
int br__ends(const char *s, const char *suffix);
/* Parse all of s as a decimal int64 / finite double; 0 or BR_E_FORMAT. */
int br__parse_i64(const char *s, int64_t *out) BR_MUST_CHECK;
int br__parse_f64(const char *s, double *out) BR_MUST_CHECK;
uint64_t br__gcd(uint64_t a, uint64_t b);
int br__edit_distance(const char *a, const char *b); /* Levenshtein, for "did you mean" */
/* Sort with "layers.2." before "layers.10.": digits compare as numbers. For qsort of char*. */
int br__natural_cmp(const char *a, const char *b);
/* "1.19 GB", "512 B" into out; returns out. */
const char *br__human_bytes(uint64_t n, char out[32]);
/* "[768, 4096]" into out; returns out. */
const char *br__shape_str(const int64_t *shape, int n, char *out, size_t size);
int br__utf8_valid(const char *s, size_t n);
size_t br__utf8_span(const char *s, size_t n); /* length of the longest valid beginning */

/* ---- sys.c: system calls on files ------------------------------------------------------------ */

/* Every system call on files that the library makes; same contracts as the calls of the same name
 * (errno set).  Tests replace entries to inject faults. */
struct br__io_ops {
    int (*openat)(int dir, const char *path, int flags, mode_t mode);
    int (*close)(int fd);
    ssize_t (*pread)(int fd, void *buf, size_t n, off_t off);
    ssize_t (*pwrite)(int fd, const void *buf, size_t n, off_t off);
    int (*fsync)(int fd);
    int (*writeback)(int fd); /* sync_file_range: start, do not wait; a hint */
    int (*ftruncate)(int fd, off_t size);
    int (*fallocate)(int fd, off_t size); /* mode 0 from offset 0; may fail with EOPNOTSUPP */
    int (*fchmod)(int fd, mode_t mode);
    int (*flock)(int fd, int operation);
    int (*fstat)(int fd, struct stat *st);
    int (*fstatat)(int dir, const char *path, struct stat *st, int flags);
    int (*stat)(const char *path, struct stat *st);
    int (*mkdirat)(int dir, const char *path, mode_t mode);
    int (*renameat)(int from_dir, const char *from, int to_dir, const char *to);
    int (*renameat2)(int from_dir, const char *from, int to_dir, const char *to, unsigned flags);
    int (*unlinkat)(int dir, const char *path, int flags);
    int (*symlinkat)(const char *target, int dir, const char *path);
    void *(*mmap)(size_t n, int fd); /* whole file, PROT_READ, MAP_SHARED */
    int (*munmap)(void *p, size_t n);
};
extern struct br__io_ops br__io;

/* ---- dir.c: directories by descriptor -------------------------------------------------------- */

/* An open directory.  A path that the user typed is opened and its links are followed; what lies
 * below is looked up in it by one name, and a link of that name is refused. */
struct br__dir {
    char *path; /* owned; for messages */
    int fd;
};
int br__dir_open(struct br__dir *d, const char *path, struct br_err *err) BR_MUST_CHECK;
/* The directory that holds `path`, whose name in it is br__path_base(path); made if `make`. */
int br__dir_of(struct br__dir *d, const char *path, int make, struct br_err *err) BR_MUST_CHECK;
/* Directory `name` of parent; made if `make` and absent. */
int br__dir_child(struct br__dir *d, const struct br__dir *parent, const char *name, int make,
                  struct br_err *err) BR_MUST_CHECK;
/* The directory that holds `path`, which begins with `base`: base as a user typed it, from there on
 * no links. */
int br__dir_below(struct br__dir *d, const char *base, const char *path, int make,
                  struct br_err *err) BR_MUST_CHECK;
/* Directory `name` of parent for this user alone (mode 0700), made if absent.  One of another user
 * is refused: its owner is compared with that of a directory made now, since some file systems give
 * everything one owner.  *trusted = 0: others could write to it until now. */
int br__dir_private(struct br__dir *d, const struct br__dir *parent, const char *name, int *trusted,
                    struct br_err *err) BR_MUST_CHECK;
/* Give it the mode that a new directory has here (umask, default ACL, set-group-ID). */
int br__dir_publish_mode(const struct br__dir *d, struct br_err *err) BR_MUST_CHECK;
void br__dir_close(struct br__dir *d); /* safe on a zeroed or half-opened struct */
/* Can `name` not be renamed, because a file system is mounted on it? */
int br__dir_is_fixed(const struct br__dir *parent, const char *name);
/* Lock the directory itself until it is closed.  BR_E_BUSY if another process still has it after
 * wait_ms.  A file system without locks is no failure: *locked = 0. */
int br__dir_lock(const struct br__dir *d, int wait_ms, int *locked,
                 struct br_err *err) BR_MUST_CHECK;
int br__fd_lock(int fd, const char *path, int wait_ms, int *locked,
                struct br_err *err) BR_MUST_CHECK;
int br__dir_sync(const struct br__dir *d, struct br_err *err) BR_MUST_CHECK;
/* lstat: 0, or -1 and errno. */
int br__dir_stat(const struct br__dir *d, const char *name, struct stat *st);
int br__dir_rename(const struct br__dir *d, const char *from, const char *to,
                   struct br_err *err) BR_MUST_CHECK;
int br__dir_move(const struct br__dir *from_dir, const char *from, const struct br__dir *to_dir,
                 const char *to, struct br_err *err) BR_MUST_CHECK;
/* A file, a link, or a directory with all that is in it; absent is fine. */
int br__dir_remove(const struct br__dir *d, const char *name, struct br_err *err) BR_MUST_CHECK;
int br__dir_remove_empty(const struct br__dir *d, const char *name) BR_MUST_CHECK;
/* Let its owner change what is in it; if that fails, the change reports it. */
void br__dir_unprotect(const struct br__dir *d);
/* All but n_keep names. */
int br__dir_empty(const struct br__dir *d, const char *const *keep, size_t n_keep,
                  struct br_err *err) BR_MUST_CHECK;
/* Names, sorted bytewise, without . and ..; in the arena. */
int br__dir_list(struct br__arena *a, const struct br__dir *d, char ***names, size_t *n,
                 struct br_err *err) BR_MUST_CHECK;
char *br__dir_name(const struct br__dir *d, const char *name); /* "path/name" (heap), or NULL */
/* Refuse an open file of `d` that is not regular, has a second name, or is another user's (its
 * directory's owner may be trusted as much as the directory). */
int br__file_is_ours(const struct br__dir *d, int fd, const char *path,
                     struct br_err *err) BR_MUST_CHECK;
/* File `name` for reading and writing, made empty with `mode` if absent; no link, and if `ours` as
 * br__file_is_ours says. */
int br__dir_file(const struct br__dir *d, const char *name, mode_t mode, int ours, int *fd,
                 struct br_err *err) BR_MUST_CHECK;
/* A symbolic link to `target`, in place of a file or link that is there. */
int br__dir_link(const struct br__dir *d, const char *name, const char *target,
                 struct br_err *err) BR_MUST_CHECK;
/* May names in it be made and removed? */
int br__dir_is_writable(const struct br__dir *d);
/* Put directory `a` in the place of `b` at once, and b in that of a.  BR_E_UNSUPPORTED: the file
 * system cannot, and nothing has changed. */
int br__dir_exchange(const struct br__dir *d, const char *a, const char *b,
                     struct br_err *err) BR_MUST_CHECK;
int br__free_space(const struct br__dir *d, uint64_t *bytes, struct br_err *err) BR_MUST_CHECK;

/* By path: links are followed except in the last name. */
int br__exists(const char *path);
int br__is_dir(const char *path);
int br__mkdirs(const char *path, struct br_err *err) BR_MUST_CHECK; /* like mkdir -p */
/* A new directory "<name>-<random>" under $TMPDIR, else /tmp (path in the arena). */
int br__temp_dir(struct br__arena *a, const char *name, const char **dir,
                 struct br_err *err) BR_MUST_CHECK;
int br__remove_tree(const char *path, struct br_err *err) BR_MUST_CHECK;
int br__list_dir(struct br__arena *a, const char *path, char ***names, size_t *n,
                 struct br_err *err) BR_MUST_CHECK;
uint64_t br__random(void); /* for names that nobody guesses */
/* Descriptors 0 to 2 that are closed are opened on /dev/null, so that no file gets their numbers;
 * using them fails as before. */
int br__std_fds(struct br_err *err) BR_MUST_CHECK;
/* Can one more file be opened? */
int br__fd_spare(struct br_err *err) BR_MUST_CHECK;

/* ---- io.c: files ----------------------------------------------------------------------------- */

/* A file opened for reading.  `map` is the whole file mapped read-only (NULL when empty);
 * headers and metadata are read through it, bulk data through br__file_read (which cannot
 * fault when somebody truncates the file). */
struct br__file {
    char *path; /* owned */
    int fd;
    uint64_t size;
    const unsigned char *map;
    int64_t mtime_ns, ctime_ns; /* ctime cannot be set by anybody */
    uint64_t inode;
    /* A file that is elsewhere: br__file_read and br__file_close call these, fd is -1 and map may
     * be only the beginning. */
    int (*read_at)(void *ud, uint64_t off, void *buf, size_t n, struct br_err *err);
    void (*close)(void *ud);
    void *ud;
};
int br__file_open(struct br__file *f, const char *path, struct br_err *err) BR_MUST_CHECK;
/* One that this program wrote: no link, one name, the directory's owner. */
int br__file_open_in(struct br__file *f, const struct br__dir *d, const char *name,
                     struct br_err *err) BR_MUST_CHECK;
/* Read exactly n bytes at off; a short file or I/O error is an error that names file and range. */
int br__file_read(const struct br__file *f, uint64_t off, void *buf, size_t n,
                  struct br_err *err) BR_MUST_CHECK;
/* BR_E_BUSY if the file that was opened has another size or time of change by now.  A file that is
 * elsewhere passes. */
int br__file_unchanged(const struct br__file *f, struct br_err *err) BR_MUST_CHECK;
void br__file_close(struct br__file *f); /* safe on a zeroed or half-opened struct */

/* mapped.c: the maps of br__file_open.  br__mapped_file, the path of the file that is mapped at an
 * address or NULL, may be called in a signal handler. */
void br__mapped_add(const void *p, uint64_t n, const char *path);
void br__mapped_remove(const void *p);
const char *br__mapped_file(const void *address);

/* Whole small file as a NUL-terminated string (caller frees with br__free).  BR_E_NOTFOUND if
 * absent, BR_E_FORMAT if larger than max. */
int br__read_text(const char *path, size_t max, char **out, size_t *n,
                  struct br_err *err) BR_MUST_CHECK;

int br__read_text_in(const struct br__dir *d, const char *name, size_t max, char **out, size_t *n,
                     struct br_err *err) BR_MUST_CHECK;

/* A file being written sequentially through a buffer.  The name is new: an existing file is
 * unlinked first. */
struct br__out {
    char *path; /* owned */
    int fd;
    int failed;   /* sticky status */
    uint64_t off; /* bytes already in the file */
    unsigned char *buf;
    size_t n, cap;     /* pending bytes */
    uint64_t prealloc; /* bytes that fallocate made; finish cuts what was not written */
    int sync;          /* fsync at finish */
};
#define BR__OUT_BUF (1u << 18) /* L2-sized: permute, checksum and write while warm */
/* size_hint > 0 preallocates (ENOSPC comes here, before any byte). */
int br__out_open(struct br__out *o, const char *path, uint64_t size_hint, int sync,
                 struct br_err *err) BR_MUST_CHECK;
int br__out_open_in(struct br__out *o, const struct br__dir *d, const char *name,
                    uint64_t size_hint, int sync, struct br_err *err) BR_MUST_CHECK;
/* A log: a file that grows by pieces, each written when it is given. */
struct br__append {
    int fd;
    char *path;
    uint64_t size;
};
/* The first `keep` bytes of the file stay; it is made if there is none. */
int br__append_open(struct br__append *a, const char *path, uint64_t keep,
                    struct br_err *err) BR_MUST_CHECK;
int br__append(struct br__append *a, const void *p, size_t n, struct br_err *err) BR_MUST_CHECK;
void br__append_close(struct br__append *a); /* zeroed, failed and closed ones are fine */
/* Write into an existing file from byte `off` on; it keeps its size.  For files written in parts by
 * several threads, made by br__create_sized: a new file of that size, its space reserved where the
 * file system can. */
int br__out_open_at(struct br__out *o, const struct br__dir *d, const char *name, uint64_t off,
                    int sync, struct br_err *err) BR_MUST_CHECK;
int br__create_sized(const struct br__dir *d, const char *name, uint64_t size,
                     struct br_err *err) BR_MUST_CHECK;
/* Room for up to n <= BR__OUT_BUF contiguous bytes to be filled in place, then committed. */
unsigned char *br__out_reserve(struct br__out *o, size_t n, struct br_err *err);
void br__out_commit(struct br__out *o, size_t n);
int br__out_write(struct br__out *o, const void *p, size_t n, struct br_err *err) BR_MUST_CHECK;
/* End the file at `size` with a hole behind what was written. */
int br__out_extend(struct br__out *o, uint64_t size, struct br_err *err) BR_MUST_CHECK;
uint64_t br__out_tell(const struct br__out *o);
/* Flush, sync if asked, close.  On any earlier failure returns it. */
int br__out_finish(struct br__out *o, struct br_err *err) BR_MUST_CHECK;
void br__out_abort(struct br__out *o); /* close without finishing; the file stays for the caller */

/* Write a small file: temporary name beside it, which ends in BR__TMP, fsync if sync, rename over.
 */
#define BR__TMP ".tmp"
int br__write_in(const struct br__dir *d, const char *name, const void *p, size_t n, int sync,
                 struct br_err *err) BR_MUST_CHECK;
int br__write_file(const char *path, const void *p, size_t n, int sync,
                   struct br_err *err) BR_MUST_CHECK;
/* Copy the bytes of file `from` (for side files); same discipline. */
int br__copy_in(const struct br__dir *d, const char *name, const char *from, int sync,
                struct br_err *err) BR_MUST_CHECK;

/* ---- path.c ---------------------------------------------------------------------------------- */

/* a/b in the arena; b absolute gives b. */
char *br__path_join(struct br__arena *a, const char *dir, const char *name);
/* Canonical absolute path, in the arena; the last components may not exist yet. */
int br__path_abs(struct br__arena *a, const char *path, char **abs,
                 struct br_err *err) BR_MUST_CHECK;
/* 1 in *inside if `path` is `dir` or lies in it. */
int br__path_inside(struct br__arena *a, const char *dir, const char *path, int *inside,
                    struct br_err *err) BR_MUST_CHECK;
/* BR_E_USAGE if `dest` is, holds, or lies inside `source`. */
int br__path_overlap(struct br__arena *a, const char *source, const char *dest,
                     struct br_err *err) BR_MUST_CHECK;
const char *br__path_base(const char *path); /* after the last slash */

/* ---- json.c: the only user of cJSON ---------------------------------------------------------- */

const char *br__json_version(struct br__arena *a); /* cJSON's, as loaded; NULL: out of memory */
typedef struct cJSON br__json;                     /* opaque outside json.c */
#define BR__JSON_MAX_DEPTH 64
/* Parse n bytes; the text must be one JSON value and valid UTF-8; duplicate keys in one object and
 * nesting beyond BR__JSON_MAX_DEPTH are errors (with byte offset).  Free with br__json_free. */
int br__json_parse(br__json **out, const char *text, size_t n, struct br_err *err) BR_MUST_CHECK;
void br__json_free(br__json *j);
/* kind: 'o' object, 'a' array, 's' string, 'n' number, 'b' bool, '0' null; 0 for NULL */
char br__json_kind(const br__json *j);
/* Member of an object, or by dotted path "rope_parameters.rope_theta"; NULL if absent.  Linear:
 * never in a loop over a big object. */
const br__json *br__json_get(const br__json *obj, const char *path);
const br__json *br__json_first(const br__json *parent); /* children of array or object, in order */
const br__json *br__json_next(const br__json *child);
const char *br__json_key(const br__json *member);
const char *br__json_str(const br__json *j, const char *dflt);
double br__json_num(const br__json *j, double dflt);
int br__json_bool(const br__json *j, int dflt);
/* Exact non-negative integer below 2^53: 0, or BR_E_FORMAT. */
int br__json_u64(const br__json *j, uint64_t *out) BR_MUST_CHECK;
size_t br__json_count(const br__json *j);
/* Building and editing (config.json): all return 0 or BR_E_NOMEM.  `set` replaces in place or
 * appends; value_json is JSON text. */
br__json *br__json_new_object(void);
int br__json_set(br__json *obj, const char *key, const char *value_json,
                 struct br_err *err) BR_MUST_CHECK;
void br__json_remove(br__json *obj, const char *key);
/* Pretty text, two spaces, as Python's json.dumps(indent=2), numbers as in the source text where
 * parsed (1e-06 stays), trailing newline.  Sorted keys if sort. */
int br__json_print(const br__json *j, int sort, struct br__buf *out) BR_MUST_CHECK;

/* ---- jscan.c: JSON without a tree, for files too big for one --------------------------------- */

/* A position in a text.  Errors stick: after one, every call returns it or does nothing.
 *
 *     br__jscan_enter(&j, 'o');
 *     while (br__jscan_next(&j) && !br__jscan_key(&j, &key))
 *         ... read or skip exactly one value ...
 */
struct br__jscan {
    const unsigned char *s;
    size_t n, at;
    struct br_err *err;
    int rc;
    int depth, fresh; /* fresh: a container was entered and nothing of it read */
    char closing[BR__JSON_MAX_DEPTH];
};
void br__jscan_begin(struct br__jscan *j, const char *text, size_t n, struct br_err *err);
char br__jscan_kind(struct br__jscan *j);            /* of the next value, as br__json_kind */
int br__jscan_enter(struct br__jscan *j, char kind); /* 'o' or 'a' */
/* 1: one more member or element follows; 0: the container is closed now, or an error. */
int br__jscan_next(struct br__jscan *j);
int br__jscan_key(struct br__jscan *j, struct br__buf *out); /* replaces what out holds */
/* Append a string's bytes: valid UTF-8, NUL included. */
int br__jscan_string(struct br__jscan *j, struct br__buf *out);
/* A string and a key where they stand in the text or, if they have escapes, in `room`. */
int br__jscan_view(struct br__jscan *j, struct br__buf *room, const char **s, size_t *n);
int br__jscan_key_view(struct br__jscan *j, struct br__buf *room, const char **s, size_t *n);
int br__jscan_i64(struct br__jscan *j, int64_t *out);
int br__jscan_skip(struct br__jscan *j); /* one value of any kind, checked */
int br__jscan_end(struct br__jscan *j);  /* nothing but white space may follow */

/* ---- hash.c ---------------------------------------------------------------------------------- */

/* Versions of the libraries, as loaded; NULL: out of memory. */
const char *br__xxhash_version(struct br__arena *a);
const char *br__openssl_version(struct br__arena *a);

struct br__xxh3; /* streaming 64-bit XXH3 */
struct br__xxh3 *br__xxh3_new(void);
void br__xxh3_reset(struct br__xxh3 *h);
void br__xxh3_update(struct br__xxh3 *h, const void *p, size_t n);
uint64_t br__xxh3_digest(const struct br__xxh3 *h);
void br__xxh3_free(struct br__xxh3 *h);
uint64_t br__xxh3(const void *p, size_t n);

struct br__sha256; /* OpenSSL EVP */
struct br__sha256 *br__sha256_new(void);
void br__sha256_update(struct br__sha256 *h, const void *p, size_t n);
void br__sha256_hex(struct br__sha256 *h, char out[65]); /* ends it */
void br__sha256_free(struct br__sha256 *h);

struct br__sha1; /* OpenSSL EVP; what git names a blob by */
struct br__sha1 *br__sha1_new(void);
void br__sha1_update(struct br__sha1 *h, const void *p, size_t n);
void br__sha1_hex(struct br__sha1 *h, char out[41]); /* ends it */
void br__sha1_free(struct br__sha1 *h);

uint32_t br__crc32(uint32_t crc, const void *p, size_t n); /* zip's CRC-32, start from 0 */
/* What a part contributes to the CRC-32 of the whole that n more bytes follow in: the CRC-32 of
 * parts back to back is the xor of the contributions of all, in any order. */
uint32_t br__crc32_shift(uint32_t crc, uint64_t n);

/* ---- philox.c: random numbers by counter ----------------------------------------------------- */

/* Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11): four words
 * that depend on counter and key alone. */
void br__philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* ---- pool.c: fixed set of workers ------------------------------------------------------------ */

/* Run fn(arg, i, worker, err) for i in [0, n) on up to n_threads threads (0 = one per online CPU; 1
 * = in the calling thread).  Each i runs once; after a failure no new i starts.  Returns the
 * failure with the lowest i, so the message does not depend on timing. */
int br__pool_run(int n_threads, size_t n,
                 int (*fn)(void *arg, size_t i, int worker, struct br_err *err), void *arg,
                 struct br_err *err) BR_MUST_CHECK;
#define BR__MAX_CPUS 256
/* The CPUs to use, 1 to BR__MAX_CPUS: BRIDGE_CPUS if it is such a number, else how many this
 * process may run on.  Nothing else counts CPUs. */
int br__cpu_count(void);
/* So many processes, this one among them, share the CPUs: br__cpu_count is a part of them. */
void br__cpu_share(int n_processes);
/* BR_E_USAGE if BRIDGE_CPUS is set and br__cpu_count ignores it. */
int br__cpu_count_check(struct br_err *err) BR_MUST_CHECK;

/* ---- adopt.c: structs of another version ----------------------------------------------------- */

/* Copy a versioned struct: shorter is zero-extended, longer must end in zeros (else BR_E_PLUGIN).
 */
int br__adopt(void *dst, size_t dst_size, const void *src, size_t src_size) BR_MUST_CHECK;

/* ---- progress.c: telling a listener what happens, and how far a job is ----------------------- */

/* Send one sentence to the listener, at most 1023 bytes.  Nothing happens if l is NULL or lacks the
 * function. */
void br__note(const struct br_listener *l, const char *fmt, ...) BR_PRINTF(2, 3);
void br__warn(const struct br_listener *l, const char *fmt, ...) BR_PRINTF(2, 3);

struct br__progress {
    const struct br_listener *listener;
    const char *phase;
    uint64_t total;
    _Atomic uint64_t done;
    pthread_mutex_t lock;
    int64_t last_ns;
};
void br__progress_init(struct br__progress *g, const struct br_listener *l, const char *phase,
                       uint64_t total);
void br__progress_add(struct br__progress *g, uint64_t n);
void br__progress_end(struct br__progress *g);

/* ---- clock.c: monotonic time ----------------------------------------------------------------- */

int64_t br__clock_ns(void);
int64_t br__clock_ms(void);
double br__now(void); /* seconds */

#endif
