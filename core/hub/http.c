/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* http.c - HTTP(S) transfers, the only user of libcurl.
 *
 *   library    made ready once, certificate bundle, easy handles
 *   transfer   libcurl's callbacks: heads are collected, bodies passed on
 *   client     start, poll, drop; one request from start to end
 *   waiting    how long before a request is tried again
 *   URLs       joined, compared, escaped
 *
 * libcurl follows no redirect and repeats nothing here: both are decisions about who may see a
 * token and how long a user waits, and they are made in sight. */
#include "http.h"

#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define HEAD_MAX (64u << 10)
#define BUFFER (64L << 10) /* of one receive */
#define HEADS_MAX 16       /* provisional ones of one reply */
#define TOO_SLOW 16L       /* bytes a second, over stall_s */
#define RETRY_AFTER_MAX                                                                            \
    600 /* longest wait that a server may ask for, and longest sum of waits, in seconds */
#define TELL_MS 5000 /* seconds from which on a wait is reported */
#define SLOW_MS 1000
#define BACKOFF_MAX_MS 30000 /* longest wait that is not asked for by a server */

struct transfer {
    struct transfer *next;
    struct br__http *client;
    CURL *easy;
    struct curl_slist *headers;
    struct br__http_request q;
    char *url; /* a copy: q.url is this one; q.token is cleared once the headers are made */
    char shown[BR__URL_SHOWN];
    struct br__http_reply reply;
    uint64_t sent; /* of a PUT's bytes */
    int heads;     /* how many began */
    int head_done; /* on_head was called for the reply that counts */
    int rc;        /* what a callback returned */
    struct br_err err;
    char why[CURL_ERROR_SIZE];
};

struct br__http {
    CURLM *multi;
    struct br__http_opts o;
    struct transfer *first;
    uint64_t jitter; /* state of the generator that spreads retries */
};

/* ---- library --------------------------------------------------------------------------------- */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int library_failed;

static void start_library(void)
{
    library_failed = curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK;
}

/* The certificate bundle: what the user names, else libcurl's own if it exists, else the usual
 * places of other distributions. */
static const char *ca_bundle(void)
{
    static const char *const names[] = {"CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"};
    static const char *const places[] = {"/etc/ssl/certs/ca-certificates.crt",
                                         "/etc/pki/tls/certs/ca-bundle.crt",
                                         "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"};
    for (size_t i = 0; i < BR_COUNTOF(names); i++) {
        const char *v = getenv(names[i]);
        if (v && *v)
            return v;
    }
    for (size_t i = 0; i < BR_COUNTOF(places); i++)
        if (br__exists(places[i]))
            return places[i];
    return NULL;
}

int br__http_open(struct br__http **out, const struct br__http_opts *o, struct br_err *err)
{
    *out = NULL;
    pthread_once(&once, start_library);
    if (library_failed)
        return br_fail(err, BR_E_NETWORK, "libcurl cannot be initialised");
    struct br__http *h = br__calloc(1, sizeof *h);
    if (!h || !(h->multi = curl_multi_init())) {
        br__free(h);
        return br__nomem(err, "for a network client");
    }
    h->o = *o;
    h->o.connect_s = o->connect_s ? o->connect_s : 10;
    h->o.stall_s = o->stall_s ? o->stall_s : 20;
    h->o.backoff_ms = o->backoff_ms ? o->backoff_ms : 500;
    h->o.max_attempts = o->max_attempts ? o->max_attempts : 6;
    h->o.document_s = o->document_s ? o->document_s : 300;
    h->jitter = (uint64_t)br__clock_ms() ^ (uint64_t)(uintptr_t)h;
    *out = h;
    return BR_OK;
}

static void transfer_free(struct transfer *t)
{
    if (t->easy) {
        curl_multi_remove_handle(t->client->multi, t->easy);
        curl_easy_cleanup(t->easy);
    }
    curl_slist_free_all(t->headers);
    br__http_reply_free(&t->reply);
    br__free(t->url);
    br__free(t);
}

void br__http_close(struct br__http *h)
{
    if (!h)
        return;
    while (h->first) {
        struct transfer *t = h->first;
        h->first = t->next;
        transfer_free(t);
    }
    curl_multi_cleanup(h->multi);
    br__free(h);
}

/* ---- transfer -------------------------------------------------------------------------------- */

static int status_again(int status)
{
    return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 ||
           status == 504;
}

/* A head is complete at its empty line, unless it is that of a proxy's CONNECT or a 1xx reply,
 * after which another one comes. */
static int head_complete(struct transfer *t)
{
    long status = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    t->reply.status = (int)status;
    t->reply.again = status_again(t->reply.status);
    if (status < 200 || t->head_done)
        return BR_OK;
    t->head_done = 1;
    return t->q.on_head ? t->q.on_head(t->q.ud, &t->reply, &t->err) : BR_OK;
}

/* One line of a head, with its line break; an empty one ends it. */
static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    (void)size;
    size_t len = n;
    while (len && (p[len - 1] == '\n' || p[len - 1] == '\r'))
        len--;
    if (len >= 5 && strncmp(p, "HTTP/", 5) == 0) {
        t->reply.head.n = 0; /* of an earlier, provisional reply */
        t->head_done = 0;
        if (++t->heads > HEADS_MAX)
            t->rc = br_fail(&t->err, BR_E_NETWORK,
                            "'%s' sends one provisional answer after another", t->shown);
    } else if (len) {
        br__buf_put(&t->reply.head, p, len);
        br__buf_putc(&t->reply.head, '\n');
    } else {
        t->rc = head_complete(t);
    }
    if (t->reply.head.failed && !t->rc)
        t->rc = br_fail(&t->err, BR_E_NETWORK, "'%s' answers with a head of more than %u bytes",
                        t->shown, HEAD_MAX);
    return t->rc ? 0 : n;
}

static size_t on_data(char *p, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    (void)size;
    if (t->q.on_body)
        t->rc = t->q.on_body(t->q.ud, p, n, &t->err);
    return t->rc ? 0 : n;
}

static int add_header(struct transfer *t, const char *line)
{
    struct curl_slist *more = curl_slist_append(t->headers, line);
    if (!more)
        return BR_E_NOMEM;
    t->headers = more;
    return BR_OK;
}

static int add_named(struct transfer *t, const char *name, const char *value)
{
    struct br__buf b = {0};
    br__buf_puts(&b, name);
    br__buf_puts(&b, value);
    int rc = b.failed ? BR_E_NOMEM : add_header(t, b.p);
    br__buf_free(&b);
    return rc;
}

/* Authorization goes to the server only: it is no header of a proxy's CONNECT. */
static int set_headers(struct transfer *t)
{
    int rc = add_header(t, "Accept-Encoding: identity");
    if (!rc && (t->q.post || t->q.put)) /* no question whether the body may come */
        rc = add_header(t, "Expect:");
    if (!rc && t->q.put)
        rc = add_header(t, "Content-Type: application/octet-stream");
    if (!rc && t->q.post)
        rc = add_named(t, "Content-Type: ", t->q.post);
    if (!rc && t->q.accept)
        rc = add_named(t, "Accept: ", t->q.accept);
    if (!rc && t->q.token)
        rc = add_named(t, "Authorization: Bearer ", t->q.token);
    if (!rc && (curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers) ||
                curl_easy_setopt(t->easy, CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE)))
        rc = BR_E_NOMEM;
    return rc;
}

static int set_range(struct transfer *t)
{
    char range[48];
    if (!t->q.n)
        return 0;
    snprintf(range, sizeof range, "%" PRIu64 "-%" PRIu64, t->q.from, t->q.from + t->q.n - 1);
    return curl_easy_setopt(t->easy, CURLOPT_RANGE, range);
}

/* The next bytes of a PUT. */
static size_t on_read(char *p, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    size_t want = (size_t)BR__MIN((uint64_t)n * size, t->q.n_send - t->sent);
    ssize_t k = 0;
    if (want)
        do
            k = br__io.pread(t->q.fd, p, want, (off_t)(t->q.send_from + t->sent));
        while (k < 0 && errno == EINTR);
    if (want && k <= 0) {
        t->rc = br_fail(&t->err, BR_E_IO, "a file that is sent to '%s' cannot be read%s", t->shown,
                        k ? "" : ": it has become shorter");
        return CURL_READFUNC_ABORT;
    }
    t->sent += (uint64_t)k;
    if (t->q.on_sent)
        t->q.on_sent(t->q.ud, t->sent);
    return (size_t)k;
}

/* The connection was closed before anything came through: from the beginning on another one. */
static int on_seek(void *arg, curl_off_t off, int origin)
{
    struct transfer *t = arg;
    if (origin != SEEK_SET || off < 0 || (uint64_t)off > t->q.n_send)
        return CURL_SEEKFUNC_CANTSEEK;
    t->sent = (uint64_t)off;
    return CURL_SEEKFUNC_OK;
}

static int set_body(struct transfer *t)
{
    CURL *e = t->easy;
    if (t->q.post) /* libcurl itself sends again what a kept connection has lost */
        return curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, t->q.attempts == 1 ? 1L : 0L) ||
               curl_easy_setopt(e, CURLOPT_POST, 1L) ||
               curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->q.n_send) ||
               curl_easy_setopt(e, CURLOPT_POSTFIELDS, t->q.data ? t->q.data : "");
    if (t->q.put)
        return curl_easy_setopt(e, CURLOPT_UPLOAD, 1L) ||
               curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE, (curl_off_t)t->q.n_send) ||
               curl_easy_setopt(e, CURLOPT_READFUNCTION, on_read) ||
               curl_easy_setopt(e, CURLOPT_READDATA, t) ||
               curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, on_seek) ||
               curl_easy_setopt(e, CURLOPT_SEEKDATA, t);
    return curl_easy_setopt(e, CURLOPT_NOBODY, t->q.head ? 1L : 0L);
}

/* HTTP/1.1, so that each range has a TCP connection of its own. */
static int set_options(struct transfer *t)
{
    const struct br__http_opts *o = &t->client->o;
    const char *protocols = o->allow_plain ? "http,https" : "https", *ca = ca_bundle();
    CURL *e = t->easy;
    int bad = 0;
#define SET(option, value) bad |= curl_easy_setopt(e, (option), (value)) != CURLE_OK
    SET(CURLOPT_URL, t->q.url);
    SET(CURLOPT_PROTOCOLS_STR, protocols);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    if (ca)
        SET(CURLOPT_CAINFO, ca);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_CONNECTTIMEOUT, (long)o->connect_s);
    SET(CURLOPT_LOW_SPEED_LIMIT, TOO_SLOW);
    SET(CURLOPT_TIMEOUT, (long)t->q.timeout_s);
    SET(CURLOPT_LOW_SPEED_TIME, (long)(t->q.patient ? BR__HTTP_PATIENCE_S : o->stall_s));
    SET(CURLOPT_BUFFERSIZE, BUFFER);
    SET(CURLOPT_USERAGENT, "bridge");
    SET(CURLOPT_ERRORBUFFER, t->why);
    SET(CURLOPT_PRIVATE, t);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, t);
    SET(CURLOPT_WRITEFUNCTION, on_data);
    SET(CURLOPT_WRITEDATA, t);
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
#undef SET
    return bad || set_body(t) || set_range(t) || set_headers(t) ? BR_E_NOMEM : BR_OK;
}

/* Would the same request fail again?  Network errors may pass, these do not. */
static int is_final(CURLcode code)
{
    switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_OUT_OF_MEMORY:
        return 1;
    default:
        return 0;
    }
}

/* ---- client ---------------------------------------------------------------------------------- */

int br__http_start(struct br__http *h, const struct br__http_request *q, struct br_err *err)
{
    struct transfer *t = br__calloc(1, sizeof *t);
    char shown[BR__URL_SHOWN];
    br__http_shown(q->url, shown);
    if (!t)
        return br__nomem(err, "asking for '%s'", shown);
    memcpy(t->shown, shown, sizeof shown);
    t->client = h;
    t->q = *q;
    t->reply.head.max = HEAD_MAX;
    t->q.url = t->url = br__strdup(q->url);
    t->easy = t->url ? curl_easy_init() : NULL;
    if (!t->easy || set_options(t) || curl_multi_add_handle(h->multi, t->easy) != CURLM_OK) {
        transfer_free(t);
        return br__nomem(err, "asking for '%s'", shown);
    }
    t->q.token = NULL;
    t->next = h->first;
    h->first = t;
    return BR_OK;
}

static void unlink_transfer(struct br__http *h, const struct transfer *t)
{
    struct transfer **at = &h->first;
    while (*at && *at != t)
        at = &(*at)->next;
    if (*at)
        *at = t->next;
}

/* Set status and reason of a transfer that ended, then tell its owner, who may start another one.
 */
static void http_finish(struct br__http *h, struct transfer *t, CURLcode code)
{
    if (code != CURLE_OK && !t->rc) {
        /* libcurl has the same code for a header line that is longer than it takes. */
        t->rc = br_fail(&t->err, BR_E_NETWORK, "'%s': %s%s", t->shown,
                        t->why[0] ? t->why : curl_easy_strerror(code),
                        code == CURLE_OUT_OF_MEMORY ? ", or a header line without end" : "");
        t->reply.again = !is_final(code);
    }
    unlink_transfer(h, t);
    if (t->q.on_end)
        t->q.on_end(t->q.ud, &t->reply, t->rc, &t->err);
    transfer_free(t);
}

int br__http_poll(struct br__http *h, int ms, size_t *running, struct br_err *err)
{
    int left = 0;
    CURLMcode code = CURLM_OK;
    if (ms > 0)
        code = curl_multi_poll(h->multi, NULL, 0, ms, NULL);
    if (code == CURLM_OK)
        code = curl_multi_perform(h->multi, &left);
    if (code != CURLM_OK)
        return br_fail(err, BR_E_NETWORK, "the network client failed: %s",
                       curl_multi_strerror(code));
    CURLMsg *m;
    while ((m = curl_multi_info_read(h->multi, &left))) {
        char *t = NULL;
        if (m->msg == CURLMSG_DONE) {
            CURLcode result = m->data.result;
            curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t);
            http_finish(h, (struct transfer *)(void *)t, result);
        }
    }
    *running = 0;
    for (const struct transfer *t = h->first; t; t = t->next)
        ++*running;
    return BR_OK;
}

void br__http_drop(struct br__http *h, void *ud)
{
    for (struct transfer *t = h->first, *next; t; t = next) {
        next = t->next;
        if (t->q.ud != ud)
            continue;
        unlink_transfer(h, t);
        transfer_free(t);
    }
}

/* One request with a caller that waits for it. */
struct single {
    struct br__buf *body;
    struct br__http_reply *reply;
    int ended, rc;
    int64_t began; /* of the first try */
    int told;      /* of this try it was said that it is waited for */
    struct br_err err;
};

static int single_body(void *ud, const void *p, size_t n, struct br_err *err)
{
    struct single *s = ud;
    if (!s->body)
        return BR_OK;
    br__buf_put(s->body, p, n);
    return s->body->failed ? br_fail(err, BR_E_NETWORK, "the reply has more than %zu bytes",
                                     s->body->max ? s->body->max : (size_t)1 << 30)
                           : BR_OK;
}

static void single_end(void *ud, const struct br__http_reply *r, int rc, const struct br_err *err)
{
    struct single *s = ud;
    s->ended = 1;
    s->rc = rc;
    s->err = *err;
    br__http_reply_free(s->reply);
    s->reply->status = r->status;
    s->reply->again = r->again;
    if (r->head.p)
        br__buf_puts(&s->reply->head, r->head.p);
    if (s->reply->head.failed && !rc)
        s->rc = br__nomem(&s->err, "for a reply");
}

/* Tell what is waited for: in the first try after a second, in the others at once. */
static void tell_slow(struct br__http *h, const struct br__http_request *q, struct single *s,
                      int attempt)
{
    char shown[BR__URL_SHOWN];
    int most = q->attempts ? BR__MIN(q->attempts, h->o.max_attempts) : h->o.max_attempts;
    if (!h->o.slow || s->told == attempt || br__clock_ms() - s->began < SLOW_MS)
        return;
    s->told = attempt;
    h->o.slow(h->o.ud, br__http_shown(q->url, shown), attempt, most);
}

/* Send it once. */
static int fetch_once(struct br__http *h, const struct br__http_request *q, struct single *s,
                      int attempt, struct br_err *err)
{
    struct br__http_request one = *q;
    size_t running;
    one.timeout_s = h->o.document_s;
    one.on_body = single_body;
    one.on_end = single_end;
    one.ud = s;
    s->ended = 0;
    if (s->body) {
        size_t max = s->body->max;
        br__buf_free(s->body);
        s->body->max = max;
    }
    int rc = br__http_start(h, &one, err);
    for (int ms = 0; !rc && !s->ended; ms = SLOW_MS) {
        tell_slow(h, q, s, attempt);
        rc = br__http_poll(h, ms, &running, err);
    }
    if (!s->ended)
        br__http_drop(h, s);
    if (rc)
        return rc;
    if (s->rc && err)
        *err = s->err;
    return s->rc;
}

static void sleep_ms(int64_t ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    while (nanosleep(&t, &t) != 0)
        ;
}

int br__http_fetch(struct br__http *h, const struct br__http_request *q,
                   struct br__http_reply *reply, struct br__buf *body, struct br_err *err)
{
    struct single s = {.body = body, .reply = reply, .began = br__clock_ms()};
    int64_t waited = 0, busy = 0;
    char shown[BR__URL_SHOWN];
    for (int attempt = 1;; attempt++) {
        int64_t began = br__clock_ms();
        int rc = fetch_once(h, q, &s, attempt, err);
        busy += br__clock_ms() - began;
        if (!reply->again || attempt == q->attempts || busy >= h->o.document_s * INT64_C(1000))
            return rc;
        int64_t ms = br__http_delay(h, reply, attempt);
        waited += ms;
        if (ms < 0 || waited > RETRY_AFTER_MAX * 1000)
            return rc;
        br__http_tell(h, br__http_shown(q->url, shown), reply, ms);
        sleep_ms(ms);
    }
}

void br__http_reply_free(struct br__http_reply *r)
{
    br__buf_free(&r->head);
    r->status = r->again = 0;
}

const char *br__http_header(struct br__arena *a, const struct br__http_reply *r, const char *name)
{
    size_t n = strlen(name);
    const char *line = r->head.p ? r->head.p : "";
    for (size_t len; *line; line += len + (line[len] == '\n')) {
        len = strcspn(line, "\n");
        if (len <= n || line[n] != ':' || strncasecmp(line, name, n) != 0)
            continue;
        const char *v = line + n + 1, *end = line + len;
        while (v < end && (*v == ' ' || *v == '\t'))
            v++;
        while (end > v && (end[-1] == ' ' || end[-1] == '\t'))
            end--;
        return br__arena_strndup(a, v, (size_t)(end - v));
    }
    return NULL;
}

/* ---- waiting --------------------------------------------------------------------------------- */

int64_t br__http_retry_after(const char *value, int64_t now)
{
    int64_t s;
    if (br__parse_i64(value, &s)) {
        time_t date = curl_getdate(value, NULL);
        if (date == (time_t)-1)
            return -1;
        s = BR__MAX((int64_t)date - now, (int64_t)0);
    }
    return s < 0 ? -1 : BR__MIN(s, (int64_t)RETRY_AFTER_MAX);
}

int64_t br__http_delay(const struct br__http *h, const struct br__http_reply *r, int attempt)
{
    struct br__arena a = {0};
    if (attempt >= h->o.max_attempts)
        return -1;
    int64_t ms =
        BR__MIN((int64_t)h->o.backoff_ms << BR__MIN(attempt - 1, 10), (int64_t)BACKOFF_MAX_MS);
    uint64_t x = (h->jitter + (uint64_t)br__clock_ms() + (uint64_t)attempt) * 0x9E3779B97F4A7C15u;
    ms = ms / 2 + (int64_t)((x >> 33) % (uint64_t)(ms + 1)); /* half to one and a half */
    const char *value = br__http_header(&a, r, "Retry-After");
    int64_t s = value ? br__http_retry_after(value, (int64_t)time(NULL)) : -1;
    br__arena_free(&a);
    return BR__MAX(ms, s * 1000);
}

void br__http_tell(const struct br__http *h, const char *what, const struct br__http_reply *r,
                   int64_t ms)
{
    if (ms >= TELL_MS && h->o.waiting)
        h->o.waiting(h->o.ud, what, r->status, ms);
}

/* ---- URLs ------------------------------------------------------------------------------------ */

/* A part of a URL, or NULL; free with curl_free. */
static char *url_part(CURLU *u, CURLUPart part)
{
    char *text = NULL;
    return curl_url_get(u, part, &text, CURLU_DEFAULT_PORT) == CURLUE_OK ? text : NULL;
}

static int is_web(CURLU *u)
{
    char *scheme = url_part(u, CURLUPART_SCHEME), *user = url_part(u, CURLUPART_USER);
    int ok = scheme && !user && (!strcasecmp(scheme, "http") || !strcasecmp(scheme, "https"));
    curl_free(scheme);
    curl_free(user);
    return ok;
}

/* Without libcurl, because the text may be no URL. */
const char *br__http_shown(const char *url, char out[BR__URL_SHOWN])
{
    size_t n = strcspn(url, "?#"), scheme = 0;
    const char *at = memrchr(url, '@', n), *host = url;

    if (at) { /* in bridge's own URLs an '@' of a path is %40 */
        const char *slashes = strstr(url, "//");
        scheme = slashes && slashes < at ? (size_t)(slashes + 2 - url) : 0;
        host = at + 1;
        n -= (size_t)(host - url);
    }
    snprintf(out, BR__URL_SHOWN, "%.*s%.*s%s", (int)BR__MIN(scheme, (size_t)16), url,
             (int)BR__MIN(n, (size_t)200), host, n > 200 ? "..." : "");
    return out;
}

int br__http_join(struct br__arena *a, const char *base, const char *ref, const char **out,
                  struct br_err *err)
{
    CURLU *u = curl_url();
    char *text = NULL, shown[BR__URL_SHOWN];
    int rc = BR_OK;
    *out = NULL;
    br__http_shown(*ref ? ref : base, shown);
    if (!u)
        return br__nomem(err, "reading the URL '%s'", shown);
    if (curl_url_set(u, CURLUPART_URL, base, 0) || curl_url_set(u, CURLUPART_URL, ref, 0) ||
        !is_web(u) || curl_url_get(u, CURLUPART_URL, &text, 0))
        rc = br_fail(err, BR_E_FORMAT, "'%s' is no http or https address without a user name",
                     shown);
    else if (!(*out = br__arena_strdup(a, text)))
        rc = br__nomem(err, "reading the URL '%s'", shown);
    curl_free(text);
    curl_url_cleanup(u);
    return rc;
}

int br__http_same_origin(const char *a, const char *b)
{
    static const CURLUPart parts[] = {CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT};
    CURLU *x = curl_url(), *y = curl_url();
    int same =
        x && y && !curl_url_set(x, CURLUPART_URL, a, 0) && !curl_url_set(y, CURLUPART_URL, b, 0);
    for (size_t i = 0; same && i < BR_COUNTOF(parts); i++) {
        char *p = url_part(x, parts[i]), *q = url_part(y, parts[i]);
        same = p && q && !strcasecmp(p, q);
        curl_free(p);
        curl_free(q);
    }
    curl_url_cleanup(x);
    curl_url_cleanup(y);
    return same;
}

char *br__http_escape(struct br__arena *a, const char *s, const char *keep)
{
    static const char hex[] = "0123456789ABCDEF";
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    char *out = br__arena_alloc(a, 3 * strlen(s) + 1), *p = out;
    for (; out && *s; s++) {
        if (strchr(plain, *s) || strchr(keep, *s)) {
            *p++ = *s;
        } else {
            *p++ = '%';
            *p++ = hex[(unsigned char)*s >> 4];
            *p++ = hex[(unsigned char)*s & 15];
        }
    }
    return out;
}
