/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* put.c - large files brought to the hub's store, several at a time.
 *
 *   asking     documents posted to the endpoint, and what a refusal means
 *   batch      Git LFS's question: which objects are missing, and where their bytes go
 *   parts      one transfer each: a whole object, or a part of one
 *   objects    what follows the bytes: the parts put together, the object confirmed
 *
 * https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md, and the hub's transfer
 * "multipart": the action's header has chunk_size and an address for each part, by its number from
 * 1 on, and its href is told their etags.  The bytes go to signed addresses of another host,
 * without a token. */
#include "hub_internal.h"

#include <inttypes.h>
#include <string.h>

#define CONNECTIONS 8
#define BATCH 100       /* objects of one question */
#define ADDRESSES_MAX 3 /* times that new addresses are asked for */
#define LFS_TYPE "application/vnd.git-lfs+json"

struct object {
    struct br__upload_file *f;
    struct br__file file; /* open while parts are sent */
    struct br__hub_place at;
    const char **etags; /* [n_parts], of parts that were taken */
    uint8_t *taken;     /* [n_parts] 1: a slot has it, 2: the store has it */
    size_t n_done;      /* parts that were taken */
    int asked, expired; /* how often addresses were asked for; these are no longer taken */
    int running;        /* slots that have a part */
    int done;
};

struct slot {
    struct putter *p;
    struct object *o; /* NULL: free */
    size_t part;
    int running, attempt;
    int64_t due; /* not running: when to start */
    uint64_t sent;
    char why[200]; /* the beginning of what the store answers */
    size_t n_why;
};

struct putter {
    struct br__hub *h;
    struct br__arena a;
    struct object *objects;
    size_t n, n_done;
    struct slot *slots;
    size_t n_slots;
    struct br__upload_state *state;
    uint64_t total, sent; /* bytes; sent: of finished parts */
    int64_t told;
    int rc;
    struct br_err err;
};

/* ---- asking ---------------------------------------------------------------------------------- */

int br__hub_post(struct br__hub *h, const struct br__hub_post *p, struct br__http_reply *r,
                 br__json **answer, struct br_err *err)
{
    struct br__buf body = {.max = BR__HUB_JSON_MAX};
    const struct br__http_request q = {.url = p->url,
                                       .token = p->anonymous ? NULL : br__hub_token_for(h, p->url),
                                       .post = p->type,
                                       .accept = br__ends(p->type, "+json") ? p->type : NULL,
                                       .data = p->body->p,
                                       .n_send = p->body->n,
                                       .patient = 1,
                                       .attempts = p->once};
    *answer = NULL;
    int rc = p->body->failed ? br__hub_nomem(h, err) : br__hub_client(h, err);
    if (!rc)
        rc = br__http_fetch(h->http, &q, r, &body, err);
    if (!rc && body.n && br__json_parse(answer, body.p, body.n, NULL))
        *answer = NULL;
    br__buf_free(&body);
    return rc;
}

int br__hub_post_refused(struct br__hub *h, const char *url, const struct br__http_reply *r,
                         const br__json *answer, struct br_err *err)
{
    char shown[BR__URL_SHOWN];
    const char *code = br__http_header(&h->arena, r, "X-Error-Code");
    const char *why = br__http_header(&h->arena, r, "X-Error-Message");
    why = why ? why : br__json_str(br__json_get(answer, "error"), NULL);
    why = why ? why : br__json_str(br__json_get(answer, "message"), NULL);
    if (code && (!strcmp(code, "RepoNotFound") || !strcmp(code, "RevisionNotFound"))) {
        int rc = br__hub_refused(h, url, r, err);
        return err ? br_fail(err, rc, "%s; --create makes it", err->msg) : rc;
    }
    if (r->status == 401 || r->status == 403)
        return br_fail(err, BR_E_ACCESS,
                       "the account of the token may not write to '%s' (the hub answers %d%s%s): a "
                       "token with the right to write is made at %s/settings/tokens",
                       h->id, r->status, why ? ": " : "", why ? why : "", h->endpoint);
    return br_fail(err, r->again ? BR_E_NETWORK : BR_E_NOTFOUND, "'%s' answers %d%s%.300s",
                   br__http_shown(url, shown), r->status, why ? ": " : "", why ? why : "");
}

int br__hub_tell(struct br__hub *h, const struct br__hub_post *p, int also, struct br_err *err)
{
    struct br__http_reply r = {0};
    br__json *answer = NULL;
    int rc = br__hub_post(h, p, &r, &answer, err);
    if (!rc && r.status / 100 != 2 && r.status != also)
        rc = br__hub_post_refused(h, p->url, &r, answer, err);
    br__json_free(answer);
    br__http_reply_free(&r);
    return rc;
}

/* ---- batch ----------------------------------------------------------------------------------- */

/* What the hub wants of one object. */
static int take_answer(struct putter *p, struct object *o, const br__json *answer,
                       struct br_err *err)
{
    int rc = br__hub_parse_place(&p->a, p->h->endpoint, o->f, answer, &o->at, err);
    if (rc)
        return rc;
    o->done = !o->at.n_parts; /* it has the object */
    o->etags = br__arena_alloc(&p->a, o->at.n_parts * sizeof *o->etags);
    o->taken = br__arena_alloc(&p->a, o->at.n_parts);
    return o->etags && o->taken ? BR_OK : br__nomem(err, "uploading '%s'", o->f->path);
}

static void batch_question(const struct putter *p, const struct object *o, size_t n,
                           struct br__buf *b)
{
    br__buf_puts(b, "{\"operation\": \"upload\", \"transfers\": [\"basic\", \"multipart\"], "
                    "\"hash_algo\": \"sha256\", \"ref\": {\"name\": ");
    br__buf_json_str(b, p->h->rev);
    br__buf_puts(b, "}, \"objects\": [");
    for (size_t i = 0; i < n; i++)
        br__buf_printf(b, "%s{\"oid\": \"%s\", \"size\": %" PRIu64 "}", i ? ", " : "", o[i].f->oid,
                       o[i].f->size);
    br__buf_puts(b, "]}");
}

static struct object *with_oid(struct object *o, size_t n, const char *oid)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(o[i].f->oid, oid))
            return &o[i];
    return NULL;
}

/* Ask where the bytes of n <= BATCH objects go. */
static int batch_ask(struct putter *p, struct object *o, size_t n, struct br_err *err)
{
    struct br__http_reply r = {0};
    struct br__buf body = {0};
    br__json *answer = NULL;
    struct br__hub *h = p->h;
    const char *url = br__arena_printf(&p->a, "%s/%s%s.git/info/lfs/objects/batch", h->endpoint,
                                       h->prefix, h->id);
    const struct br__hub_post post = {url, LFS_TYPE, &body, 0, 0};
    batch_question(p, o, n, &body);
    int rc = url ? br__hub_post(h, &post, &r, &answer, err) : br__hub_nomem(h, err);
    if (!rc && r.status != 200)
        rc = br__hub_post_refused(h, url, &r, answer, err);
    for (size_t i = 0; i < n; i++)
        o[i].asked++;
    const br__json *one = rc ? NULL : br__json_first(br__json_get(answer, "objects"));
    size_t answered = 0;
    for (; !rc && one; one = br__json_next(one), answered++) {
        struct object *x = with_oid(o, n, br__json_str(br__json_get(one, "oid"), ""));
        if (!x)
            rc = br_fail(err, BR_E_FORMAT, "the hub answers about an object that is not uploaded");
        else
            rc = take_answer(p, x, one, err);
    }
    if (!rc && answered != n)
        rc = br_fail(err, BR_E_FORMAT, "the hub answers about %zu of %zu objects", answered, n);
    br__json_free(answer);
    br__http_reply_free(&r);
    br__buf_free(&body);
    return rc;
}

/* ---- parts ----------------------------------------------------------------------------------- */

int br__hub_reopen(struct br__file *file, const struct br__upload_file *f, struct br_err *err)
{
    int rc = br__file_open(file, f->disk, err);
    if (!rc &&
        (file->size != f->size || file->mtime_ns != f->mtime_ns || file->ctime_ns != f->ctime_ns))
        rc = br_fail(err, BR_E_BUSY, "'%s' was changed while it was uploaded", f->disk);
    return rc;
}

/* The first failure ends the run. */
static void put_give_up(struct putter *p, int rc, const struct br_err *err)
{
    if (p->rc)
        return;
    p->rc = rc;
    p->err = *err;
}

static uint64_t part_size(const struct object *o, size_t part)
{
    return BR__MIN(o->at.part_bytes, o->f->size - part * o->at.part_bytes);
}

static void put_tell(struct putter *p, int last)
{
    const struct br_listener *l = p->h->o.listener;
    const char *name = NULL;
    char phase[160];
    int64_t now = br__clock_ms();
    if (!l || !l->progress || (!last && now - p->told < 50))
        return;
    p->told = now;
    uint64_t sent = p->sent;
    for (size_t i = 0; i < p->n_slots; i++)
        if (p->slots[i].o) {
            sent += p->slots[i].sent;
            name = p->slots[i].o->f->path;
        }
    snprintf(phase, sizeof phase, name ? "uploading: %.100s" : "uploading", name);
    l->progress(l->ud, phase, sent, p->total);
}

static void on_sent(void *ud, uint64_t n)
{
    struct slot *s = ud;
    s->sent = n;
    put_tell(s->p, 0);
}

static int part_answer(void *ud, const void *p, size_t n, struct br_err *err)
{
    struct slot *s = ud;
    size_t k = BR__MIN(n, sizeof s->why - 1 - s->n_why);
    (void)err;
    memcpy(s->why + s->n_why, p, k);
    s->n_why += k;
    s->why[s->n_why] = '\0';
    return BR_OK;
}

static void slot_leave(struct slot *s, int state)
{
    s->o->taken[s->part] = (uint8_t)state;
    s->o->running--;
    s->o = NULL;
    s->sent = 0;
    s->attempt = 0;
}

/* Does the address no longer count?  The store is another host, and signs for a time. */
static int is_expired(const struct slot *s, const struct br__http_reply *r)
{
    return (r->status == 401 || r->status == 403 || r->status == 404 || r->status == 410) &&
           s->o->asked < ADDRESSES_MAX;
}

static void part_done(struct slot *s, const struct br__http_reply *r)
{
    struct object *o = s->o;
    const char *etag = br__http_header(&s->p->a, r, "ETag");
    if (o->at.urls && (!etag || !*etag)) {
        struct br_err err = BR_ERR_INIT;
        int rc = br_fail(&err, BR_E_FORMAT, "uploading '%s': the store answers without an etag",
                         o->f->path);
        put_give_up(s->p, rc, &err);
        return;
    }
    o->etags[s->part] = etag;
    o->n_done++;
    s->p->sent += part_size(o, s->part);
    slot_leave(s, 2);
}

static void part_end(void *ud, const struct br__http_reply *r, int rc, const struct br_err *err)
{
    struct slot *s = ud;
    struct br_err why = *err;
    s->running = 0;
    if (!rc && r->status / 100 == 2) {
        part_done(s, r);
        return;
    }
    if (!rc && is_expired(s, r)) {
        s->o->expired = 1;
        slot_leave(s, 0);
        return;
    }
    int64_t ms = r->again ? br__http_delay(s->p->h->http, r, ++s->attempt) : -1;
    if (ms < 0) {
        if (!rc)
            rc = br_fail(&why, r->again ? BR_E_NETWORK : BR_E_NOTFOUND,
                         "the hub's store answers %d: %s", r->status,
                         s->n_why ? s->why : "no reason is given");
        br_wrap(&why, "uploading '%s'", s->o->f->path);
        put_give_up(s->p, rc, &why);
        return;
    }
    br__http_tell(s->p->h->http, s->o->f->path, r, ms);
    s->due = br__clock_ms() + ms;
}

static int part_start(struct slot *s, struct br_err *err)
{
    struct object *o = s->o;
    int rc = o->file.path ? BR_OK : br__hub_reopen(&o->file, o->f, err);
    if (rc)
        return rc;
    const struct br__http_request q = {.url = o->at.urls ? o->at.urls[s->part] : o->at.href,
                                       .put = 1,
                                       .fd = o->file.fd,
                                       .send_from = s->part * o->at.part_bytes,
                                       .n_send = part_size(o, s->part),
                                       .patient = 1,
                                       .on_sent = on_sent,
                                       .on_body = part_answer,
                                       .on_end = part_end,
                                       .ud = s};
    s->sent = 0;
    s->n_why = 0;
    rc = br__http_start(s->p->h->http, &q, err);
    s->running = !rc;
    return rc;
}

/* The next part that no slot has, of the first object that has one. */
static void take_part(struct slot *s)
{
    struct putter *p = s->p;
    for (size_t i = 0; i < p->n; i++) {
        struct object *o = &p->objects[i];
        for (size_t k = 0; !o->done && !o->expired && k < o->at.n_parts; k++)
            if (!o->taken[k]) {
                o->taken[k] = 1;
                o->running++;
                s->o = o;
                s->part = k;
                s->due = 0;
                return;
            }
    }
}

/* ---- objects --------------------------------------------------------------------------------- */

/* Tell the hub which parts make the object. */
static int object_join(struct putter *p, struct object *o, struct br_err *err)
{
    struct br__buf body = {0};
    const struct br__hub_post post = {o->at.href, LFS_TYPE, &body, 0, 1};
    br__buf_printf(&body, "{\"oid\": \"%s\", \"parts\": [", o->f->oid);
    for (size_t i = 0; i < o->at.n_parts; i++) {
        br__buf_printf(&body, "%s{\"partNumber\": %zu, \"etag\": ", i ? ", " : "", i + 1);
        br__buf_json_str(&body, o->etags[i]);
        br__buf_putc(&body, '}');
    }
    br__buf_puts(&body, "]}");
    int rc = br__hub_tell(p->h, &post, 0, err);
    br__buf_free(&body);
    return rc;
}

static int object_verify(struct putter *p, struct object *o, struct br_err *err)
{
    struct br__buf body = {0};
    const struct br__hub_post post = {o->at.verify, LFS_TYPE, &body, 0, 0};
    br__buf_printf(&body, "{\"oid\": \"%s\", \"size\": %" PRIu64 "}", o->f->oid, o->f->size);
    int rc = br__hub_tell(p->h, &post, 0, err);
    br__buf_free(&body);
    return rc;
}

/* All its parts are at the store. */
static int object_finish(struct putter *p, struct object *o, struct br_err *err)
{
    int rc = br__file_unchanged(&o->file, err);
    if (!rc && o->at.urls)
        rc = object_join(p, o, err);
    if (!rc && o->at.verify)
        rc = object_verify(p, o, err);
    if (rc) {
        br_wrap(err, "uploading '%s'", o->f->path);
        return rc;
    }
    br__file_close(&o->file);
    o->done = 1;
    p->n_done++;
    if (p->state)
        atomic_fetch_add(&p->state->kept, o->f->size);
    return BR_OK;
}

/* Its addresses expired: parts that are there belong to them, so all are sent again. */
static int object_again(struct putter *p, struct object *o, struct br_err *err)
{
    for (size_t i = 0; i < o->at.n_parts; i++)
        if (o->taken[i] == 2)
            p->sent -= part_size(o, i);
    o->n_done = 0;
    o->expired = 0;
    int rc = batch_ask(p, o, 1, err);
    if (!rc && o->done) /* somebody else was faster */
        p->n_done++;
    return rc;
}

static int put_step(struct putter *p, struct br_err *err)
{
    size_t running;
    int rc = BR_OK;
    int64_t now = br__clock_ms();
    for (size_t i = 0; i < p->n_slots && !rc; i++) {
        struct slot *s = &p->slots[i];
        if (!s->o)
            take_part(s);
        if (s->o && !s->running && s->due <= now)
            rc = part_start(s, err);
    }
    if (!rc)
        rc = br__http_poll(p->h->http, 50, &running, err);
    for (size_t i = 0; i < p->n && !rc && !p->rc; i++) {
        struct object *o = &p->objects[i];
        if (!o->done && o->n_done == o->at.n_parts)
            rc = object_finish(p, o, err);
        else if (!o->done && o->expired && !o->running)
            rc = object_again(p, o, err);
    }
    return rc;
}

static int put_run(struct putter *p, struct br_err *err)
{
    int rc = BR_OK;
    for (size_t i = 0; i < p->n && !rc; i += BATCH)
        rc = batch_ask(p, &p->objects[i], BR__MIN(p->n - i, (size_t)BATCH), err);
    for (size_t i = 0; i < p->n && !rc; i++)
        if (p->objects[i].done)
            p->n_done++;
        else
            p->total += p->objects[i].f->size;
    uint64_t total = p->total;
    while (!rc && !p->rc && p->n_done < p->n)
        rc = put_step(p, err);
    for (size_t i = 0; i < p->n_slots; i++)
        if (p->slots[i].running)
            br__http_drop(p->h->http, &p->slots[i]);
    if (!rc && p->rc) {
        rc = p->rc;
        if (err)
            *err = p->err;
    }
    if (!rc && total)
        put_tell(p, 1);
    return rc;
}

int br__hub_put(struct br__hub *h, struct br__upload_file *const *files, size_t n,
                struct br__upload_state *state, uint64_t *sent, struct br_err *err)
{
    struct putter p = {.h = h, .n = n, .state = state};
    p.n_slots = h->o.connections ? (size_t)h->o.connections : CONNECTIONS;
    p.objects = br__calloc(n + 1, sizeof *p.objects);
    p.slots = br__calloc(p.n_slots, sizeof *p.slots);
    int rc = p.objects && p.slots ? br__hub_client(h, err) : br__hub_nomem(h, err);
    for (size_t i = 0; !rc && i < n; i++)
        p.objects[i].f = files[i];
    for (size_t i = 0; !rc && i < p.n_slots; i++)
        p.slots[i].p = &p;
    if (!rc)
        rc = put_run(&p, err);
    *sent += p.sent;
    for (size_t i = 0; p.objects && i < n; i++)
        br__file_close(&p.objects[i].file);
    br__free(p.objects);
    br__free(p.slots);
    br__arena_free(&p.a);
    return rc;
}
