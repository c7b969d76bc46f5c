/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* http.h - an HTTP client; http.c is the only user of libcurl. */
#ifndef BRIDGE_CORE_HTTP_H
#define BRIDGE_CORE_HTTP_H

#include "../base/base.h"

/* A client of HTTP(S) for one thread: several transfers at once on kept connections.  TLS is always
 * verified (bundle: CURL_CA_BUNDLE, REQUESTS_CA_BUNDLE, SSL_CERT_FILE, else the system's); proxies
 * come from http_proxy, https_proxy, all_proxy and no_proxy.  Redirects are never followed: a
 * Location is a header like any other, so the caller decides who sees the token.  Every wait is
 * bounded: connecting by connect_s, silence of the server by stall_s, a document by document_s,
 * heads by 64 KiB and 16 provisional ones, all waits of br__http_fetch by 600 seconds. */
struct br__http;
struct br__http_opts {
    int allow_plain;  /* http:// as well as https:// */
    int connect_s;    /* 0 = 10 seconds */
    int stall_s;      /* 0 = 20 seconds without a byte end a transfer */
    int backoff_ms;   /* wait before the second try, doubled for each further one; 0 = 500 */
    int max_attempts; /* of one request without progress; 0 = 6 */
    int document_s;   /* seconds of transfer in one br__http_fetch, at any rate; 0 = 300 */
    /* Called before a wait of five seconds or more, with the reason; may be NULL. */
    void (*waiting)(void *ud, const char *what, int status, int64_t ms);
    /* Called once a second has passed without the end of a br__http_fetch, with the number of the
     * try and of all there may be; may be NULL. */
    void (*slow)(void *ud, const char *what, int attempt, int attempts);
    void *ud;
};
int br__http_open(struct br__http **out, const struct br__http_opts *o,
                  struct br_err *err) BR_MUST_CHECK;
void br__http_close(struct br__http *h); /* NULL is fine; running transfers are dropped */

struct br__http_reply {
    int status;          /* of the last head; 0 if none came */
    struct br__buf head; /* "name: value\n" per header, names as they came */
    int again;           /* the failure may be temporary: 408, 429, 5xx, lost connection */
};
/* Value of a header, whatever the case of its name (arena), or NULL. */
const char *br__http_header(struct br__arena *a, const struct br__http_reply *r, const char *name);

#define BR__HTTP_PATIENCE_S 180
struct br__http_request {
    const char *url;
    int head; /* HEAD in place of GET */
    /* POST of `data`, or PUT of n_send bytes of the file `fd` from send_from on; both stay the
     * caller's until on_end.  Nothing: a GET. */
    const char *post, *accept; /* content type of what is posted, and of the answer; or NULL */
    const void *data;
    int put, fd;
    uint64_t send_from, n_send;
    int patient;       /* the answer may take minutes: silence of up to BR__HTTP_PATIENCE_S */
    const char *token; /* sent as "Authorization: Bearer" of this request only; NULL = none */
    uint64_t from, n;  /* n > 0: ask for bytes [from, from + n) */
    int timeout_s;     /* seconds for the whole request; 0 = no limit but stall_s */
    int attempts;      /* br__http_fetch: number of tries; 0 = max_attempts */
    /* The head is complete, the body has not begun; may be NULL. */
    int (*on_head)(void *ud, const struct br__http_reply *r, struct br_err *err);
    /* The next bytes of the body; may be NULL, then they are dropped. */
    int (*on_body)(void *ud, const void *p, size_t n, struct br_err *err);
    /* That many bytes of the request are given to the network in all; fewer than before if they
     * begin again.  May be NULL. */
    void (*on_sent)(void *ud, uint64_t n);
    /* The transfer ended; it may be started again from here.  rc: 0 = a complete reply of any
     * status; what a callback returned; BR_E_NETWORK, with the reason in err. */
    void (*on_end)(void *ud, const struct br__http_reply *r, int rc, const struct br_err *err);
    void *ud;
};
/* Start a transfer; the request is copied, its strings too. */
int br__http_start(struct br__http *h, const struct br__http_request *q,
                   struct br_err *err) BR_MUST_CHECK;
/* Wait up to ms milliseconds for the network, then run callbacks.  *running: transfers left. */
int br__http_poll(struct br__http *h, int ms, size_t *running, struct br_err *err) BR_MUST_CHECK;
void br__http_drop(struct br__http *h,
                   void *ud); /* end the transfers of `ud`; no callback is called */
/* Send one request that is no PUT and wait for it; repeat it while the failure may be temporary.
 * The body goes to *body (NULL: dropped), at most body->max bytes.  Any other status is for the
 * caller to judge. */
int br__http_fetch(struct br__http *h, const struct br__http_request *q,
                   struct br__http_reply *reply, struct br__buf *body,
                   struct br_err *err) BR_MUST_CHECK;
void br__http_reply_free(struct br__http_reply *r);
/* Milliseconds to wait before try number `attempt` (the first repeat is 1), or -1 to give up:
 * doubled each time, with jitter, at least what Retry-After says. */
int64_t br__http_delay(const struct br__http *h, const struct br__http_reply *r, int attempt);
/* Report a long wait for `what` that is about to begin. */
void br__http_tell(const struct br__http *h, const char *what, const struct br__http_reply *r,
                   int64_t ms);
/* Seconds of a Retry-After value, a number or a date, from 0 to 600; -1 if it is neither. */
int64_t br__http_retry_after(const char *value, int64_t now);

/* URLs.  `ref` relative to `base`, as a browser would resolve it; BR_E_FORMAT for one that is no
 * http(s) URL or carries a user name. */
int br__http_join(struct br__arena *a, const char *base, const char *ref, const char **out,
                  struct br_err *err) BR_MUST_CHECK;
/* A URL as it may appear in a message, whoever wrote it: without user name, password, query (where
 * signatures are) and fragment, cut to the room.  Returns out. */
#define BR__URL_SHOWN 256
const char *br__http_shown(const char *url, char out[BR__URL_SHOWN]);
int br__http_same_origin(const char *a, const char *b); /* scheme, host and port are equal */
/* Percent-encode all but letters, digits and "-._~" and the characters of `keep` (arena). */
char *br__http_escape(struct br__arena *a, const char *s, const char *keep);

#endif
