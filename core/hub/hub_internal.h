/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* hub_internal.h - what the files of core/hub share.
 *
 * Facts about the hub's replies and about the cache are those of huggingface_hub: its
 * file_download, _snapshot_download, _tree_cache and _local_folder modules. */
#ifndef BRIDGE_CORE_HUB_INTERNAL_H
#define BRIDGE_CORE_HUB_INTERNAL_H

#include "http.h"
#include "hub.h"
#include <pthread.h>

struct br__hub_cache; /* remote.c: blocks of remote files */

struct br__hub {
    struct br__arena arena;
    struct br__hub_opts o;
    struct br__http_opts http_opts;
    const char *id, *rev;            /* "org/name", "main" */
    const char *kind, *api, *prefix; /* in messages; in addresses below api/, and in others */
    const char *endpoint;            /* without a slash at the end */
    const char *token;               /* or NULL */
    const char *root;                /* of the cache: HF_HUB_CACHE */
    const char *folder;              /* models--org--name, datasets--org--name */
    const char *dir;                 /* root/folder */
    const char *commit;              /* 40 hex digits */
    const char *snapshot;            /* dir/snapshots/commit */
    struct br__hub_file *files;
    size_t n_files;
    int offline;
    struct br__http *http;        /* of the thread that opened the hub */
    struct br__hub_cache *blocks; /* remote.c; made when it is first needed */
    void (*blocks_free)(struct br__hub_cache *c);
    pthread_mutex_t lock; /* a refused request, in any thread, asks for similar names */
};

/* ---- settings.c ------------------------------------------------------------------------------ */

/* Nothing is asked yet.  br__hub_close frees it. */
int br__hub_new(struct br__hub **out, const char *id_at_rev, const struct br__hub_opts *o,
                struct br_err *err) BR_MUST_CHECK;
int br__hub_nomem(const struct br__hub *h, struct br_err *err);
int br__hub_is_commit(const char *s); /* 40 hex digits */
int br__hub_env_offline(void);        /* does the environment forbid to ask? */

/* ---- hub.c ----------------------------------------------------------------------------------- */

/* The client, made when it is first needed. */
int br__hub_client(struct br__hub *h, struct br_err *err) BR_MUST_CHECK;
/* Address of a file of the commit (arena); NULL: out of memory. */
const char *br__hub_url(struct br__hub *h, struct br__arena *a, const char *path);
/* The token, if `url` may see it: only the endpoint's own origin. */
const char *br__hub_token_for(const struct br__hub *h, const char *url);
/* The error for a reply that is not the wanted one: BR_E_ACCESS, BR_E_NOTFOUND, BR_E_NETWORK. */
int br__hub_refused(struct br__hub *h, const char *url, const struct br__http_reply *r,
                    struct br_err *err);
/* Judge the reply to a HEAD of a file at `url`: *next is the next address of the endpoint to ask,
 * or NULL when *location is where the bytes are.  Checks commit, etag and size against the listing.
 */
int br__hub_located(struct br__hub *h, struct br__arena *a, const struct br__hub_file *f,
                    const char *url, const struct br__http_reply *r, const char **next,
                    const char **location, struct br_err *err) BR_MUST_CHECK;
#define BR__HUB_REDIRECTS 5 /* of one HEAD */
/* May the address of a file's bytes have expired?  Then the hub is asked for a new one. */
int br__hub_expired(const struct br__hub *h, const char *url, const struct br__http_reply *r);
/* The link of a file in the snapshot: its path, and making it (relative). */
int br__hub_link(struct br__hub *h, const struct br__hub_file *f, struct br_err *err) BR_MUST_CHECK;

/* ---- part.c: a file that is not complete yet ------------------------------------------------- */

/* A file that is downloaded in parts.  Behind the file's bytes there is a table for a later run: a
 * head (magic, size, part size, etag), and for each part how many of its bytes are there, from its
 * beginning.  A count is written after the bytes that it counts, so after a kill no count is too
 * large; after a power failure the digest finds what is missing. */
struct br__hub_part {
    char *path;         /* owned */
    struct br__dir dir; /* that holds it */
    int fd;
    uint64_t size, bytes; /* of the file, of a part */
    size_t n_parts;
    uint64_t *done;   /* [n_parts] */
    uint64_t resumed; /* bytes that an earlier run left */
};
/* Open the file, or make it if there is none that fits.  `path` begins with `base`, below which no
 * link is followed; nor does publish. */
int br__hub_part_open(struct br__hub_part *p, const char *base, const char *path,
                      const struct br__hub_file *f, uint64_t part_bytes,
                      struct br_err *err) BR_MUST_CHECK;
uint64_t br__hub_part_bytes(const struct br__hub_part *p, size_t i); /* of part i */
/* Write n bytes at off and count them; they continue their parts, or start one again. */
int br__hub_part_write(struct br__hub_part *p, uint64_t off, const void *data, size_t n,
                       struct br_err *err) BR_MUST_CHECK;
/* Set all counts to 0. */
int br__hub_part_reset(struct br__hub_part *p, struct br_err *err) BR_MUST_CHECK;
uint64_t
br__hub_part_front(const struct br__hub_part *p); /* number of bytes from 0 on without a gap */
/* Cut off the table, sync if asked, and rename the file to its name. */
int br__hub_part_publish(struct br__hub_part *p, const char *base, const char *path, int sync,
                         struct br_err *err) BR_MUST_CHECK;
void br__hub_part_close(struct br__hub_part *p); /* zeroed is fine */

/* ---- hash.c: digests in the background ------------------------------------------------------- */

/* A thread that hashes growing files, one at a time. */
struct br__hub_hasher;
struct br__hub_hash { /* one file */
    int fd;
    uint64_t size;
    int lfs;
    /* below: under the hasher's lock */
    uint64_t front, hashed;
    int ended; /* 1: `hex` is the digest; negative: a negated br_status */
    char hex[65];
    void *state;
};
int br__hub_hasher_open(struct br__hub_hasher **out, struct br_err *err) BR_MUST_CHECK;
/* Hash a file (fd, size and lfs are set) up to its front, as that moves. */
void br__hub_hasher_add(struct br__hub_hasher *s, struct br__hub_hash *h);
void br__hub_hasher_front(struct br__hub_hasher *s, struct br__hub_hash *h, uint64_t front);
int br__hub_hasher_ended(struct br__hub_hasher *s, struct br__hub_hash *h); /* h->ended */
/* Remove the file; after this call the thread does not touch it. */
void br__hub_hasher_remove(struct br__hub_hasher *s, struct br__hub_hash *h);
void br__hub_hasher_close(struct br__hub_hasher *s); /* NULL is fine */

/* ---- put.c: bytes to the hub's store --------------------------------------------------------- */

/* POST a JSON text to the endpoint and read the JSON that answers it, whatever the status.  Free
 * *answer with br__json_free; NULL if it is none. */
struct br__hub_post {
    const char *url, *type; /* Content-Type; one that ends in "+json" is also asked for */
    const struct br__buf *body;
    int once;      /* ask once: another time may do it twice */
    int anonymous; /* the address is signed: no token */
};
int br__hub_post(struct br__hub *h, const struct br__hub_post *p, struct br__http_reply *r,
                 br__json **answer, struct br_err *err) BR_MUST_CHECK;
/* The error for a POST that was not answered as wanted. */
int br__hub_post_refused(struct br__hub *h, const char *url, const struct br__http_reply *r,
                         const br__json *answer, struct br_err *err);
/* POST what needs no answer but a status of 2xx or `also`. */
int br__hub_tell(struct br__hub *h, const struct br__hub_post *p, int also,
                 struct br_err *err) BR_MUST_CHECK;
/* Open a file whose digest is known.  BR_E_BUSY: it has been changed since; it is open then, too.
 */
int br__hub_reopen(struct br__file *file, const struct br__upload_file *f,
                   struct br_err *err) BR_MUST_CHECK;
/* Bring LFS files to where the hub wants them, by Git LFS's batch protocol and its transfers basic
 * and multipart.  Files that it has are not sent.  *sent grows. */
int br__hub_put(struct br__hub *h, struct br__upload_file *const *files, size_t n,
                struct br__upload_state *state, uint64_t *sent, struct br_err *err) BR_MUST_CHECK;

/* ---- parse.c: replies, which anybody may have written ---------------------------------------- */

#define BR__HUB_JSON_MAX (64u << 20)
#define BR__HUB_SIZE_MAX (UINT64_C(1) << 46) /* of a file: 64 TiB */
/* Is it a path that stays below the directory that it is put into, on any system? */
int br__hub_path_ok(const char *path);
/* The digest in an etag: W/"abc" is abc; NULL if it is no sha256 or sha1 in hex. */
char *br__hub_etag(struct br__arena *a, const char *value);
/* Check a Content-Range, "bytes 0-99/1000": 0, or BR_E_FORMAT. */
int br__hub_content_range(const char *value, uint64_t *from, uint64_t *to,
                          uint64_t *total) BR_MUST_CHECK;
/* The target of rel="next" in a Link header (arena), or NULL. */
char *br__hub_next_link(struct br__arena *a, const char *value);
/* The commit in a model's description. */
int br__hub_parse_commit(struct br__arena *a, const char *text, size_t n, const char **commit,
                         struct br_err *err) BR_MUST_CHECK;
/* One page of a listing; its files are appended to *files, which is a heap array. */
struct br__hub_list {
    struct br__hub_file *files;
    size_t n, cap;
};
int br__hub_parse_tree(struct br__arena *a, const char *text, size_t n, struct br__hub_list *out,
                       struct br_err *err) BR_MUST_CHECK;
/* Where the bytes of an LFS file go, by one element of "objects" of the batch protocol's answer. */
struct br__hub_place {
    const char *href, *verify; /* verify: or NULL */
    const char **urls;         /* [n_parts], or NULL: href, for the only part */
    uint64_t part_bytes;       /* of each but the last */
    size_t n_parts;            /* 0: the hub has the file */
};
#define BR__HUB_PARTS_MAX 10000 /* of a file, as S3 has it */
/* Addresses may be relative to the endpoint; what is no http address is refused. */
int br__hub_parse_place(struct br__arena *a, const char *endpoint, const struct br__upload_file *f,
                        const br__json *answer, struct br__hub_place *out,
                        struct br_err *err) BR_MUST_CHECK;
/* Write and read the listing as huggingface_hub keeps it, in trees/<commit>.json. */
int br__hub_tree_text(struct br__buf *out, const struct br__hub_file *files,
                      size_t n) BR_MUST_CHECK;
int br__hub_parse_cached_tree(struct br__arena *a, const char *text, size_t n,
                              struct br__hub_list *out, struct br_err *err) BR_MUST_CHECK;
/* Sort by path; refuse a path that appears twice. */
int br__hub_list_check(struct br__hub_list *list, struct br_err *err) BR_MUST_CHECK;
/* The strings of member `key` of every object of an array, or of an array's member `in`; the one
 * nearest to `word`, or NULL. */
const char *br__hub_nearest(struct br__arena *a, const char *text, size_t n, const char *in,
                            const char *key, const char *word);

#endif
