/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* control.c - a star of TCP connections to rank 0, beside the plane that carries data.
 *
 * An MPI that waits for a rank does not say that it is gone.  So each rank tells rank 0 once a
 * second that it lives and what it does, and hears the same of rank 0.  A connection that closes is
 * a rank that is gone; SILENCE_MS without a word is one that hangs, or is cut off; and ranks that
 * wait for others that do nothing wait for --comm-timeout.  Rank 0 then says who is to blame, and
 * all end.  A rank that fails says so at its end, and rank 0 prints that error for all.
 *
 * Rank 0's addresses, and a secret that both sides show, travel by one broadcast of the plane. */
#include "processes.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <inttypes.h>
#include <net/if.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#define PROTOCOL 1
#define SILENCE_MS 10000
#define BEAT_MS 1000
#define GRACE_MS 3000   /* after a rank failed: for the others to come to their end themselves */
#define LEAVE_MS 1000   /* for the others to hear that it is over, and for rank 0 to print it */
#define MEET_MS 30000   /* for all connections */
#define CONNECT_MS 2000 /* for one of them */
#define TICK_MS 250
#define MAX_ADDRESSES 16
#define MAX_RECORD (64u << 20)

enum { BEAT = 1, RECORD, BYE, END, LOST };

struct frame {
    uint32_t kind, size; /* size: bytes that follow */
};
struct hello {
    uint64_t secret; /* of the side that it is said to */
    uint32_t protocol, rank;
    int64_t pid;
    char host[BR__HOST];
};
struct ending { /* BYE, END, LOST */
    int32_t rc, harmed;
    char text[1000];
};
/* Where rank 0 is. */
struct meeting {
    uint64_t secret[2]; /* what the others show, what rank 0 shows */
    struct hello first;
    uint16_t port, n;
    struct address {
        uint16_t family;
        uint8_t addr[16];
    } addresses[MAX_ADDRESSES];
};

struct peer {
    int fd;
    int64_t heard_ms;
    struct hello hello;
    struct br__beat beat;
    struct br__buf in; /* what has arrived of a frame */
    int said_bye;
    struct ending bye;
};

static struct {
    uint32_t rank, size;
    struct hello self;
    struct br__procs_opts o;
    struct peer *peers; /* rank 0: [size], its own first; others: [1], rank 0 */
    int wake[2];
    pthread_t thread;
    pthread_mutex_t sending; /* of frames to rank 0 */
    pthread_mutex_t hearing; /* of the two below */
    br__procs_heard *heard;
    void *heard_ud;
    pthread_mutex_t lock; /* of the rest */
    pthread_cond_t changed;
    int over, is_lost; /* all are at the end; at one that comes before their own */
    struct ending mine, all;
    uint32_t culprit;
    int64_t failed_ms; /* when a rank first said that it failed; 0: none */
    uint64_t activity; /* of all ranks, and when it last changed */
    int64_t active_ms;
} control = {.sending = PTHREAD_MUTEX_INITIALIZER,
             .hearing = PTHREAD_MUTEX_INITIALIZER,
             .lock = PTHREAD_MUTEX_INITIALIZER,
             .changed = PTHREAD_COND_INITIALIZER};

static uint32_t n_peers(void)
{
    return control.rank ? 1 : control.size;
}

static const char *name_of(const struct hello *h, char out[128])
{
    snprintf(out, 128, "rank %" PRIu32 " (%s, pid %" PRId64 ")", h->rank, h->host, h->pid);
    return out;
}

const char *br__control_name(uint32_t rank, char out[128])
{
    if (rank == control.rank)
        return name_of(&control.self, out);
    return name_of(&control.peers[control.rank ? 0 : rank].hello, out);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

static int send_all(int fd, const void *p, size_t n)
{
    for (const char *at = p; n;) {
        ssize_t k = send(fd, at, n, MSG_NOSIGNAL);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return -1;
        at += k;
        n -= (size_t)k;
    }
    return 0;
}

static int receive_all(int fd, void *p, size_t n)
{
    for (char *at = p; n;) {
        ssize_t k = recv(fd, at, n, 0);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return -1;
        at += k;
        n -= (size_t)k;
    }
    return 0;
}

/* Calls on fd give up after so long. */
static void set_patience(int fd, int ms)
{
    struct timeval t = {ms / 1000, ms % 1000 * 1000};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
}

static int send_frame(const struct peer *to, uint32_t kind, const void *p, size_t n)
{
    const struct frame f = {kind, (uint32_t)n};
    return to->fd < 0 || send_all(to->fd, &f, sizeof f) || send_all(to->fd, p, n) ? -1 : 0;
}

/* ---- meeting --------------------------------------------------------------------------------- */

static void list_addresses(struct meeting *m, int loopback)
{
    struct ifaddrs *all, *i;
    if (getifaddrs(&all))
        return;
    for (i = all; i && m->n < MAX_ADDRESSES; i = i->ifa_next) {
        struct address *p = &m->addresses[m->n];
        if (!i->ifa_addr || !(i->ifa_flags & IFF_UP) || !(i->ifa_flags & IFF_LOOPBACK) != !loopback)
            continue;
        p->family = i->ifa_addr->sa_family;
        if (p->family == AF_INET) {
            memcpy(p->addr, &((struct sockaddr_in *)(void *)i->ifa_addr)->sin_addr, 4);
            m->n++;
        } else if (p->family == AF_INET6) {
            const struct in6_addr *a = &((struct sockaddr_in6 *)(void *)i->ifa_addr)->sin6_addr;
            memcpy(p->addr, a, 16);
            m->n += !IN6_IS_ADDR_LINKLOCAL(a);
        }
    }
    freeifaddrs(all);
}

/* A socket that takes connections of both kinds of addresses, or of IPv4 where there is no other.
 */
static int listen_anywhere(struct meeting *m, struct br_err *err)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = in6addr_any};
    struct sockaddr_in four = {.sin_family = AF_INET};
    socklen_t n = sizeof six;
    int off = 0, fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) ||
                    bind(fd, (void *)&six, sizeof six))) {
        close(fd);
        fd = -1;
    }
    if (fd < 0) {
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && bind(fd, (void *)&four, sizeof four)) {
            close(fd);
            fd = -1;
        }
    }
    if (fd < 0 || listen(fd, 1024) || getsockname(fd, (void *)&six, &n)) {
        int e = errno;
        if (fd >= 0)
            close(fd);
        (void)br_fail(err, BR_E_COMM, "rank 0 cannot take connections: %s", strerror(e));
        return -1;
    }
    m->port = six.sin6_port; /* where an IPv4 address has it, too */
    list_addresses(m, 0);
    list_addresses(m, 1);
    return fd;
}

/* Who connects, if he knows the secret; else the connection is dropped. */
static void take_one(int listener, const struct meeting *m)
{
    struct hello h;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    set_patience(fd, CONNECT_MS);
    if (receive_all(fd, &h, sizeof h) || h.secret != m->secret[0] || h.protocol != PROTOCOL ||
        !h.rank || h.rank >= control.size || control.peers[h.rank].fd >= 0 ||
        send_all(fd, &m->first, sizeof m->first)) {
        close(fd);
        return;
    }
    h.host[sizeof h.host - 1] = '\0';
    control.peers[h.rank].fd = fd;
    control.peers[h.rank].hello = h;
}

static int first_absent(void)
{
    for (uint32_t r = 1; r < control.size; r++)
        if (control.peers[r].fd < 0)
            return (int)r;
    return 0;
}

static int take_all(int listener, const struct meeting *m, struct br_err *err)
{
    int64_t until = br__clock_ms() + MEET_MS;
    while (first_absent()) {
        struct pollfd p = {listener, POLLIN, 0};
        int64_t left = until - br__clock_ms();
        if (left <= 0)
            return br_fail(err, BR_E_COMM,
                           "rank %d has not connected to %s port %d within %d s; does a firewall "
                           "keep it from there?",
                           first_absent(), m->first.host, ntohs(m->port), MEET_MS / 1000);
        if (poll(&p, 1, (int)left) > 0)
            take_one(listener, m);
    }
    return BR_OK;
}

/* A connection to one of rank 0's addresses, or -1 with errno. */
static int connect_to(const struct address *p, uint16_t port)
{
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = port};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = port};
    int is_six = p->family == AF_INET6, e = 0;
    socklen_t n = sizeof e;
    memcpy(&four.sin_addr, p->addr, 4);
    memcpy(&six.sin6_addr, p->addr, 16);
    int fd = socket(p->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    struct pollfd wait = {fd, POLLOUT, 0};
    int rc = connect(fd, is_six ? (void *)&six : (void *)&four, is_six ? sizeof six : sizeof four);
    if (rc && errno == EINPROGRESS) {
        rc = poll(&wait, 1, CONNECT_MS) == 1 ? getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &n) : -1;
        e = wait.revents ? e : ETIMEDOUT;
        rc = rc || e ? -1 : 0;
        errno = e;
    }
    if (!rc && fcntl(fd, F_SETFL, 0) == 0)
        return fd;
    e = errno;
    close(fd);
    errno = e;
    return -1;
}

/* Rank 0 at that address: it shows its secret. */
static int try_address(const struct meeting *m, const struct address *p)
{
    struct hello h;
    int fd = connect_to(p, m->port);
    if (fd < 0)
        return -1;
    set_patience(fd, MEET_MS);
    if (send_all(fd, &control.self, sizeof control.self) || receive_all(fd, &h, sizeof h) ||
        h.secret != m->secret[1]) {
        close(fd);
        errno = EPROTO;
        return -1;
    }
    h.host[sizeof h.host - 1] = '\0';
    control.peers[0].fd = fd;
    control.peers[0].hello = h;
    return 0;
}

static int find_first(const struct meeting *m, struct br_err *err)
{
    struct br__buf why = {0};
    char text[INET6_ADDRSTRLEN];
    for (int i = 0; i < m->n; i++) {
        const struct address *p = &m->addresses[i];
        if (!try_address(m, p)) {
            br__buf_free(&why);
            return BR_OK;
        }
        int e = errno;
        br__buf_printf(&why, "%s%s: %s", why.n ? "; " : "",
                       inet_ntop(p->family, p->addr, text, sizeof text), strerror(e));
    }
    int rc = br_fail(err, BR_E_COMM, "no connection to rank 0 on %s, port %d (%s)", m->first.host,
                     ntohs(m->port), why.n ? why.p : "it has no address");
    br__buf_free(&why);
    return rc;
}

/* ---- what is heard --------------------------------------------------------------------------- */

static void take_frame(struct peer *p, uint32_t rank, uint32_t kind, const char *body, size_t n)
{
    uint32_t record;
    if (kind == BEAT && n == sizeof p->beat) {
        memcpy(&p->beat, body, n);
        p->beat.doing[sizeof p->beat.doing - 1] = '\0';
    } else if (kind == RECORD && n >= sizeof record) {
        memcpy(&record, body, sizeof record);
        pthread_mutex_lock(&control.hearing);
        if (control.heard)
            control.heard(control.heard_ud, rank, record, body + sizeof record, n - sizeof record);
        pthread_mutex_unlock(&control.hearing);
    } else if (kind == BYE && n == sizeof p->bye) {
        memcpy(&p->bye, body, n);
        p->bye.text[sizeof p->bye.text - 1] = '\0';
        p->said_bye = 1;
    } else if ((kind == END || kind == LOST) && n == sizeof control.all) {
        memcpy(&control.all, body, n);
        control.over = 1;
        control.is_lost = kind == LOST;
    }
}

/* -1: the connection is closed. */
static int hear(struct peer *p, uint32_t rank)
{
    char *room = br__buf_room(&p->in, 65536);
    ssize_t k = room ? recv(p->fd, room, 65536, MSG_DONTWAIT) : -1;
    if (k < 0 && room && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (k <= 0)
        return -1;
    p->in.n += (size_t)k;
    p->heard_ms = br__clock_ms();
    size_t at = 0;
    for (struct frame f; p->in.n - at >= sizeof f; at += sizeof f + f.size) {
        memcpy(&f, p->in.p + at, sizeof f);
        if (f.size > MAX_RECORD)
            return -1;
        if (p->in.n - at - sizeof f < f.size)
            break;
        take_frame(p, rank, f.kind, p->in.p + at + sizeof f, f.size);
    }
    memmove(p->in.p, p->in.p + at, p->in.n - at);
    p->in.n -= at;
    return 0;
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Nobody goes on: this rank says `text`, the others hear of it, and the process ends.  It speaks
 * first, since a launcher that sees the others leave may end it. */
static void give_up(int rc, const char *text)
{
    struct ending e = {.rc = rc, .harmed = 1};
    int64_t until = br__clock_ms() + LEAVE_MS;
    uint32_t left = 0;
    control.o.say(text);
    for (uint32_t r = 1; control.rank == 0 && r < control.size; r++)
        if (control.peers[r].fd >= 0 && !send_frame(&control.peers[r], LOST, &e, sizeof e))
            left++;
    /* A connection that is closed with bytes unread would take the word with it. */
    for (char drop[4096]; left && br__clock_ms() < until; usleep(5000))
        for (uint32_t r = 1; r < control.size; r++) {
            int *fd = &control.peers[r].fd;
            ssize_t k = *fd >= 0 ? recv(*fd, drop, sizeof drop, MSG_DONTWAIT) : 1;
            if (k == 0 || (k < 0 && errno != EAGAIN && errno != EINTR)) {
                close(*fd);
                *fd = -1;
                left--;
            }
        }
    control.o.leave(rc);
    control.all = e;
    control.over = 1;
}

static void blame(const struct peer *p, const char *what)
{
    char name[128], text[600];
    snprintf(text, sizeof text, "%s %s%s%s", name_of(&p->hello, name), what,
             control.rank == 0 && *p->beat.doing ? "; last: " : "",
             control.rank == 0 ? p->beat.doing : "");
    give_up(BR_E_COMM, text);
}

/* Of those that said bye: the first by rank whose error is its own, else the first that failed. */
static void find_culprit(void)
{
    const struct peer *bad = NULL;
    control.all = (struct ending){0};
    for (uint32_t r = 0; r < control.size; r++) {
        const struct peer *p = &control.peers[r];
        if (!p->said_bye)
            continue;
        control.all.harmed |= p->bye.harmed;
        if (p->bye.rc && (!bad || (bad->bye.rc == BR_E_COMM && p->bye.rc != BR_E_COMM)))
            bad = p;
    }
    control.culprit = bad ? bad->hello.rank : 0;
    control.all.rc = bad ? bad->bye.rc : BR_OK;
}

/* The culprit's error, as rank 0 is to print it. */
static void culprit_text(char *out, size_t size)
{
    char name[128];
    const struct peer *p = &control.peers[control.culprit];
    snprintf(out, size, "%s%s%.*s", control.culprit ? name_of(&p->hello, name) : "",
             control.culprit ? ": " : "", 860, p->bye.text);
}

/* Rank 0: is everybody at the end, or has one failed and the others do not come? */
static void judge_ends(int64_t now)
{
    uint32_t n = 0;
    int failed = 0;
    char text[1000];
    for (uint32_t r = 0; r < control.size; r++) {
        n += control.peers[r].said_bye != 0;
        failed |= control.peers[r].said_bye && control.peers[r].bye.rc;
    }
    if (failed && !control.failed_ms)
        control.failed_ms = now;
    if (n == control.size) {
        find_culprit();
        for (uint32_t r = 1; r < control.size; r++)
            (void)send_frame(&control.peers[r], END, &control.all, sizeof control.all);
        control.over = 1;
    } else if (control.failed_ms && now - control.failed_ms > GRACE_MS) {
        find_culprit();
        culprit_text(text, sizeof text);
        give_up(control.all.rc, text);
    }
}

/* Not rank 0, after it has told the end: wait until it has left, for it is to print first. */
static void wait_for_first(void)
{
    int64_t until = br__clock_ms() + LEAVE_MS;
    ssize_t k = 1;
    set_patience(control.peers[0].fd, LEAVE_MS);
    for (char drop[256]; k > 0 && br__clock_ms() < until;)
        k = recv(control.peers[0].fd, drop, sizeof drop, 0);
}

/* ---- who is late ----------------------------------------------------------------------------- */

/* The rank that is to blame where some wait and none does anything: one that does not wait, or else
 * the one with the fewest calls. */
static const struct peer *slowest(int *waiting)
{
    const struct peer *worst = NULL;
    *waiting = 0;
    for (uint32_t r = 0; r < control.size; r++) {
        const struct peer *p = &control.peers[r];
        int waits = p->beat.begun > p->beat.done;
        int worst_waits = worst && worst->beat.begun > worst->beat.done;
        *waiting |= waits;
        if (!worst || waits < worst_waits ||
            (waits == worst_waits && p->beat.begun < worst->beat.begun))
            worst = p;
    }
    return worst;
}

static void look_for_hang(int64_t now)
{
    uint64_t activity = 0;
    int waiting;
    char text[128];
    br__watch_read(&control.peers[0].beat);
    for (uint32_t r = 0; r < control.size; r++) {
        const struct br__beat *b = &control.peers[r].beat;
        activity += b->begun + b->done + b->progress;
    }
    if (activity != control.activity)
        control.active_ms = now;
    control.activity = activity;
    if (now - control.active_ms <= (int64_t)control.o.timeout * 1000)
        return;
    const struct peer *p = slowest(&waiting);
    snprintf(text, sizeof text, "keeps others waiting for more than %d s (--comm-timeout)",
             control.o.timeout);
    if (waiting)
        blame(p, text);
}

static void look_for_silence(int64_t now)
{
    char text[64];
    snprintf(text, sizeof text, "is silent for %d s", SILENCE_MS / 1000);
    for (uint32_t r = 0; r < n_peers() && !control.over; r++) {
        const struct peer *p = &control.peers[r];
        if (p->fd >= 0 && now - p->heard_ms > SILENCE_MS)
            blame(p, text);
    }
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void beat_all(void)
{
    struct br__beat b;
    br__watch_read(&b);
    pthread_mutex_lock(&control.sending);
    for (uint32_t r = 0; r < n_peers(); r++)
        (void)send_frame(&control.peers[r], BEAT, &b, sizeof b);
    pthread_mutex_unlock(&control.sending);
}

static void hear_all(const struct pollfd *fds)
{
    char drop[64];
    if (fds[0].revents && read(control.wake[0], drop, sizeof drop) < 0)
        return; /* looked at again */
    for (uint32_t r = 0; r < n_peers() && !control.over; r++)
        if (fds[r + 1].revents && hear(&control.peers[r], r) && !control.over) {
            close(control.peers[r].fd);
            control.peers[r].fd = -1;
            if (control.rank || !control.peers[r].said_bye)
                blame(&control.peers[r], "is gone");
        }
}

static void *control_serve(void *arg)
{
    struct pollfd *fds = arg; /* [n_peers() + 1] */
    int64_t beat_ms = 0;
    int over = 0;
    while (!over) {
        fds[0] = (struct pollfd){control.wake[0], POLLIN, 0};
        for (uint32_t r = 0; r < n_peers(); r++)
            fds[r + 1] = (struct pollfd){control.peers[r].fd, POLLIN, 0};
        (void)poll(fds, n_peers() + 1, TICK_MS);
        int64_t now = br__clock_ms();
        pthread_mutex_lock(&control.lock);
        hear_all(fds);
        if (now - beat_ms >= BEAT_MS && !control.over) {
            beat_ms = now;
            beat_all();
            look_for_silence(now);
            if (control.rank == 0 && !control.over)
                look_for_hang(now);
        }
        if (control.rank == 0 && !control.over)
            judge_ends(now);
        if (control.is_lost) {
            wait_for_first();
            control.o.leave(control.all.rc);
        }
        over = control.over;
        pthread_cond_broadcast(&control.changed);
        pthread_mutex_unlock(&control.lock);
    }
    br__free(fds);
    return NULL;
}

/* ---- open, send, end ------------------------------------------------------------------------- */

static int meet(struct meeting *m, const struct br__control_opts *o, struct br_err *err)
{
    int listener = -1, rc = BR_OK;
    if (control.rank == 0) {
        if (getrandom(m->secret, sizeof m->secret, 0) != sizeof m->secret)
            return br_fail(err, BR_E_IO, "no random numbers: %s", strerror(errno));
        m->first = control.self;
        m->first.secret = m->secret[1];
        listener = listen_anywhere(m, err);
        if (listener < 0)
            return BR_E_COMM;
    }
    rc = o->share(m, sizeof *m, err);
    control.self.secret = m->secret[0];
    m->n = (uint16_t)BR__MIN(m->n, MAX_ADDRESSES);
    if (!rc)
        rc = control.rank ? find_first(m, err) : take_all(listener, m, err);
    if (listener >= 0)
        close(listener);
    return rc;
}

int br__control_open(const struct br__control_opts *o, struct br_err *err)
{
    struct meeting m = {0};
    control.o = *o->procs;
    control.rank = o->procs->launch.rank;
    control.size = o->procs->launch.size;
    control.self = (struct hello){.protocol = PROTOCOL, .rank = control.rank, .pid = getpid()};
    if (gethostname(control.self.host, sizeof control.self.host - 1))
        snprintf(control.self.host, sizeof control.self.host, "?");
    control.peers = br__calloc(n_peers(), sizeof *control.peers);
    struct pollfd *fds = br__calloc(n_peers() + 1, sizeof *fds);
    int rc = control.peers && fds ? BR_OK : br__nomem(err, "for the connections of ranks");
    for (uint32_t r = 0; r < n_peers() && !rc; r++) {
        control.peers[r].fd = -1;
        control.peers[r].in.max = MAX_RECORD + sizeof(struct frame) + 65536;
    }
    if (!rc && pipe2(control.wake, O_CLOEXEC | O_NONBLOCK))
        rc = br_fail(err, BR_E_IO, "cannot make a pipe: %s", strerror(errno));
    if (!rc)
        rc = meet(&m, o, err);
    control.active_ms = br__clock_ms();
    for (uint32_t r = 0; r < n_peers() && !rc; r++) {
        control.peers[r].heard_ms = control.active_ms;
        if (control.peers[r].fd >= 0)
            set_patience(control.peers[r].fd, SILENCE_MS / 2);
    }
    if (!rc && control.rank == 0)
        control.peers[0].hello = control.self;
    if (!rc && pthread_create(&control.thread, NULL, control_serve, fds))
        rc = br_fail(err, BR_E_NOMEM, "cannot start the thread that watches the other ranks");
    if (rc)
        br__free(fds);
    return rc;
}

int br__control_send(uint32_t kind, const void *p, size_t n, struct br_err *err)
{
    struct br__buf b = {0};
    int rc = BR_OK;
    if (control.rank == 0) {
        pthread_mutex_lock(&control.hearing);
        if (control.heard)
            control.heard(control.heard_ud, 0, kind, p, n);
        pthread_mutex_unlock(&control.hearing);
        return BR_OK;
    }
    br__buf_put(&b, &kind, sizeof kind);
    br__buf_put(&b, p, n);
    if (b.failed || b.n > MAX_RECORD)
        rc = br__nomem(err, "for a record of %zu bytes to rank 0", n);
    pthread_mutex_lock(&control.sending);
    if (!rc && send_frame(&control.peers[0], RECORD, b.p, b.n))
        rc = br_fail(err, BR_E_COMM, "rank 0 does not answer");
    pthread_mutex_unlock(&control.sending);
    br__buf_free(&b);
    return rc;
}

void br__control_listen(br__procs_heard *heard, void *ud)
{
    pthread_mutex_lock(&control.hearing);
    control.heard = heard;
    control.heard_ud = ud;
    pthread_mutex_unlock(&control.hearing);
}

void br__control_patience(int seconds)
{
    pthread_mutex_lock(&control.lock);
    control.o.timeout = seconds;
    pthread_mutex_unlock(&control.lock);
}

int br__control_end(int rc, struct br_err *err, int *unharmed)
{
    struct ending e = {.rc = rc, .harmed = br__watch_harmed()};
    snprintf(e.text, sizeof e.text, "%s", rc && err ? err->msg : "");
    if (control.rank) {
        pthread_mutex_lock(&control.sending);
        (void)send_frame(&control.peers[0], BYE, &e, sizeof e); /* it fails: rank 0 is gone */
        pthread_mutex_unlock(&control.sending);
    }
    pthread_mutex_lock(&control.lock);
    if (control.rank == 0) {
        control.peers[0].bye = e;
        control.peers[0].said_bye = 1;
    }
    (void)!write(control.wake[1], "", 1);
    while (!control.over)
        pthread_cond_wait(&control.changed, &control.lock);
    *unharmed = !control.all.harmed;
    rc = control.all.rc;
    if (control.rank == 0 && rc && control.culprit && err) {
        struct br_err own = {.code = rc};
        culprit_text(own.msg, sizeof own.msg);
        *err = own;
    }
    pthread_mutex_unlock(&control.lock);
    pthread_join(control.thread, NULL);
    return rc;
}

void br__control_leave(void)
{
    if (control.rank)
        wait_for_first();
}
