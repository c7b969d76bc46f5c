/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* work.c - a temporary directory that becomes the destination in one rename, or resumes.
 *
 * "<parent>/.<name>.bridge-partial" is locked by flock on the directory itself: whoever holds it is
 * the only one who may change what is at the destination's name.  Its journal starts with the job's
 * fingerprint and gains a line for every finished part: the part's number and the digests of its
 * pieces, written after the part is synced.  A rerun of the same job believes a line only after it
 * has read the part back (the caller does that); a torn last line is ignored.
 *
 * A destination that cannot be renamed (a file system is mounted on it, or its parent cannot be
 * written) holds its temporary directory itself, "<name>/.bridge-partial", and what is complete
 * there is moved up one by one.
 *
 * Nothing is emptied or removed that has no journal of this user in it: a directory that somebody
 * put there, or renamed so, is refused.  docs/conversion.md says what is there after a kill at each
 * point, and what the next run does. */
#include "job.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define JOURNAL BR__JOURNAL
#define JOURNAL_MAX (256u << 20)
#define HEAD "bridge-journal 1 "
#define PUBLISH "publish\n"        /* journal line: all files are written and are being moved up */
#define REPLACED HEAD "replaced\n" /* the whole journal of a directory that is to be removed */
#define INSIDE BR__WORK_INSIDE
#define LOCK_TRIES 16
#define PUBLISHER_MS                                                                               \
    60000 /* how long to wait for the process that is publishing to a destination */

/* ---- journal --------------------------------------------------------------------------------- */

/* The journal of `d`, or NULL in *text: there is none, and the directory is empty. */
static int load_journal(struct br__work *w, const struct br__dir *d, char **text, size_t *n,
                        struct br_err *err)
{
    char **names;
    size_t n_names;
    int rc = br__read_text_in(d, JOURNAL, JOURNAL_MAX, text, n, err);
    if (rc != BR_E_NOTFOUND)
        return rc;
    rc = br__dir_list(&w->arena, d, &names, &n_names, err);
    if (!rc && n_names)
        rc = br_fail(err, BR_E_EXISTS,
                     "'%s' has files but no journal, so no interrupted run left it; remove it or "
                     "give it another name",
                     d->path);
    return rc;
}

/* One line: "<part> <n> <digest>...\n". */
static int read_line(struct br__work *w, char *line, struct br_err *err)
{
    char *end;
    size_t part = strtoull(line, &end, 10), n = strtoull(end, &end, 10);
    if (end == line || part >= w->n_parts || n > JOURNAL_MAX / 17)
        return BR_OK;
    uint64_t *d = br__arena_alloc(&w->arena, (n + 1) * sizeof *d);
    if (!d)
        return br__nomem(err, "preparing the destination");
    d[0] = n;
    for (size_t i = 0; i < n; i++)
        d[i + 1] = strtoull(end, &end, 16);
    w->digests[part] = d;
    return BR_OK;
}

static int write_all(int fd, const char *p, size_t n, off_t off)
{
    while (n) {
        ssize_t k = br__io.pwrite(fd, p, n, off);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return BR_E_IO;
        p += k;
        off += k;
        n -= (size_t)k;
    }
    return BR_OK;
}

static int append_journal(struct br__work *w, const char *text, size_t n, struct br_err *err)
{
    struct stat st;
    if (br__io.fstat(w->journal_fd, &st) || write_all(w->journal_fd, text, n, st.st_size) ||
        (w->sync && br__io.fsync(w->journal_fd)))
        return br_fail(err, errno == ENOSPC ? BR_E_NOSPC : BR_E_IO,
                       "cannot write the journal in '%s': %s", w->tmp.path, strerror(errno));
    return BR_OK;
}

/* Judge a directory of an earlier run by the journal's first line. */
static int judge_journal(struct br__work *w, int trusted, struct br_err *err)
{
    size_t n = 0;
    int rc = load_journal(w, &w->tmp, &w->text, &n, err);
    if (rc || !w->text)
        return rc;
    w->same = trusted && br__starts(w->text, w->head);
    const char *publish = w->same ? strstr(w->text, "\n" PUBLISH) : NULL;
    w->publishing = publish != NULL;
    return BR_OK;
}

int br__work_begin(struct br__work *w, size_t n_parts, struct br_err *err)
{
    static const char *const journal = JOURNAL;
    w->n_parts = n_parts;
    w->digests = br__arena_alloc(&w->arena, (n_parts + 1) * sizeof *w->digests);
    int rc = w->digests ? BR_OK : br__nomem(err, "preparing the destination");
    /* Remove the journal last: without it no run would recognise the rest. */
    if (!rc && !w->same)
        rc = br__dir_empty(&w->tmp, &journal, 1, err);
    if (!rc && !w->same)
        rc = br__dir_remove(&w->tmp, JOURNAL, err);
    if (!rc)
        rc = br__dir_file(&w->tmp, JOURNAL, 0666, 1, &w->journal_fd, err);
    char *line = w->same ? w->text + strlen(w->head) : NULL, *eol;
    for (; !rc && line && (eol = strchr(line, '\n')); line = eol + 1) {
        *eol = '\0';
        rc = read_line(w, line, err);
    }
    w->begun = 1;
    if (rc)
        return rc;
    /* Cut off a torn last line, or the next one would be appended to it. */
    return w->same ? append_journal(w, "\n", 1, err)
                   : append_journal(w, w->head, strlen(w->head), err);
}

/* The temporary directory, and for each part one more than its digests' number, then these; 0: it
 * is not finished. */
static void work_put(const struct br__work *w, struct br__buf *b)
{
    br__buf_put(b, w->tmp.path, strlen(w->tmp.path) + 1);
    for (size_t i = 0; i < w->n_parts; i++) {
        const uint64_t *d = w->digests[i];
        uint64_t n = d ? d[0] + 1 : 0;
        br__buf_put(b, &n, sizeof n);
        if (d)
            br__buf_put(b, d + 1, (size_t)d[0] * sizeof *d);
    }
}

static int work_take(struct br__work *w, const struct br__buf *b, struct br_err *err)
{
    const char *at = b->p + strlen(b->p) + 1;
    w->digests = br__arena_alloc(&w->arena, (w->n_parts + 1) * sizeof *w->digests);
    if (!w->digests)
        return br__nomem(err, "preparing the destination");
    for (size_t i = 0; i < w->n_parts; i++) {
        uint64_t n;
        memcpy(&n, at, sizeof n);
        at += sizeof n;
        if (!n)
            continue;
        uint64_t *d = w->digests[i] = br__arena_alloc(&w->arena, (size_t)n * sizeof *d);
        if (!d)
            return br__nomem(err, "preparing the destination");
        d[0] = n - 1;
        memcpy(d + 1, at, (size_t)(n - 1) * sizeof *d);
        at += (n - 1) * sizeof *d;
    }
    return br__dir_open(&w->tmp, b->p, err);
}

int br__work_follow(struct br__work *w, size_t n_parts, struct br_err *err)
{
    struct br__buf b = {.max = JOURNAL_MAX};
    int first = br__procs_rank() == 0;
    if (br__procs_size() == 1)
        return BR_OK;
    if (first)
        work_put(w, &b);
    int rc = br__procs_share_buf(&b, 0, err);
    if (!rc && !first) {
        memset(w, 0, sizeof *w);
        w->parent.fd = w->tmp.fd = w->old.fd = w->journal_fd = -1;
        w->n_parts = n_parts;
        w->follows = w->open = 1;
        pthread_mutex_init(&w->lock, NULL);
        rc = work_take(w, &b, err);
    }
    br__buf_free(&b);
    return br__procs_agree(rc, err);
}

/* Rank 0 is to record that a part is complete. */
static int tell_part(size_t part, const uint64_t *digests, size_t n, struct br_err *err)
{
    const uint64_t number = part;
    struct br__buf b = {0};
    br__buf_put(&b, &number, sizeof number);
    br__buf_put(&b, digests, n * sizeof *digests);
    int rc =
        b.failed ? br__nomem(err, "for the journal") : br__procs_tell(BR__TOLD_PART, b.p, b.n, err);
    br__buf_free(&b);
    return rc;
}

int br__work_done(struct br__work *w, size_t part, const uint64_t *digests, size_t n,
                  struct br_err *err)
{
    if (w->follows)
        return tell_part(part, digests, n, err);
    struct br__buf b = {0};
    br__buf_printf(&b, "%zu %zu", part, n);
    for (size_t i = 0; i < n; i++)
        br__buf_printf(&b, " %016" PRIx64, digests[i]);
    br__buf_putc(&b, '\n');
    pthread_mutex_lock(&w->lock);
    int rc =
        b.failed ? br__nomem(err, "preparing the destination") : append_journal(w, b.p, b.n, err);
    w->n_done += !rc;
    pthread_mutex_unlock(&w->lock);
    br__buf_free(&b);
    return rc;
}

/* ---- the lock on a destination's name -------------------------------------------------------- */

/* Open the directory that is to hold the temporary one, and name that. */
static int find_place(struct br__work *w, const char *final, struct br_err *err)
{
    struct stat st;
    w->final = br__arena_strdup(&w->arena, final);
    w->name = w->final ? br__path_base(w->final) : NULL;
    int rc = w->name ? br__dir_of(&w->parent, final, 1, err)
                     : br__nomem(err, "preparing the destination");
    if (rc)
        return rc;
    int exists = *w->name ? !br__dir_stat(&w->parent, w->name, &st) : 0;
    if (!*w->name || (exists && !S_ISDIR(st.st_mode)))
        return br_fail(err, BR_E_EXISTS, "'%s' is %s; choose another destination", final,
                       !*w->name             ? "the root directory"
                       : S_ISLNK(st.st_mode) ? "a link that leads nowhere"
                                             : "no directory");
    w->inside =
        exists && (br__dir_is_fixed(&w->parent, w->name) || !br__dir_is_writable(&w->parent));
    if (w->inside) {
        struct br__dir dest;
        rc = br__dir_child(&dest, &w->parent, w->name, 0, err);
        br__dir_close(&w->parent);
        w->parent = rc ? (struct br__dir){.fd = -1} : dest;
    }
    w->tmp_name = w->inside ? INSIDE : br__arena_printf(&w->arena, ".%s.bridge-partial", w->name);
    w->old_name = br__arena_printf(&w->arena, ".%s.bridge-old", w->name);
    return rc                           ? rc
           : w->tmp_name && w->old_name ? BR_OK
                                        : br__nomem(err, "preparing the destination");
}

/* Open and lock the temporary directory; *got = 0: it was renamed or removed meanwhile. */
static int lock_tmp(struct br__work *w, int *trusted, int *got, struct br_err *err)
{
    struct stat by_fd, by_name;
    int locked;
    *got = 0;
    int rc = br__dir_private(&w->tmp, &w->parent, w->tmp_name, trusted, err);
    if (rc == BR_E_NOTFOUND)
        return BR_OK;
    if (!rc)
        rc = br__dir_lock(&w->tmp, 0, &locked, err);
    if (rc == BR_E_BUSY)
        rc = br_fail(err, rc, "another process is writing '%s' (it works in '%s')", w->final,
                     w->tmp.path);
    if (rc) {
        br__dir_close(&w->tmp); /* not locked, so nothing of it may be removed */
        return rc;
    }
    w->unlocked = !locked;
    *got = !br__io.fstat(w->tmp.fd, &by_fd) && !br__dir_stat(&w->parent, w->tmp_name, &by_name) &&
           by_fd.st_ino == by_name.st_ino && by_fd.st_dev == by_name.st_dev;
    if (!*got)
        br__dir_close(&w->tmp);
    return BR_OK;
}

/* Is directory `name` marked as one that was replaced? */
static int is_replaced(const struct br__dir *parent, const char *name)
{
    struct br__dir d;
    char *text = NULL;
    if (br__dir_child(&d, parent, name, 0, NULL))
        return 0;
    int yes = !br__read_text_in(&d, JOURNAL, JOURNAL_MAX, &text, NULL, NULL) &&
              br__starts(text, REPLACED);
    br__free(text);
    br__dir_close(&d);
    return yes;
}

/* Remove a replaced directory, its mark last: if this is killed, the next run recognises the rest.
 */
static int remove_replaced(const struct br__dir *parent, const char *name, struct br_err *err)
{
    static const char *const journal = JOURNAL;
    struct br__dir d;
    int rc = br__dir_child(&d, parent, name, 0, err);
    if (!rc)
        rc = br__dir_empty(&d, &journal, 1, err);
    br__dir_close(&d);
    return rc ? rc : br__dir_remove(parent, name, err);
}

/* Without exchange of names a run may have been killed between its two renames: then the old
 * destination goes back to its name. */
static int recover_old(struct br__work *w, struct br_err *err)
{
    struct stat st;
    if (w->inside || br__dir_stat(&w->parent, w->old_name, &st) ||
        !is_replaced(&w->parent, w->old_name))
        return BR_OK;
    if (!br__dir_stat(&w->parent, w->name, &st))
        return remove_replaced(&w->parent, w->old_name, err);
    struct br__dir d;
    int rc = br__dir_rename(&w->parent, w->old_name, w->name, err);
    if (!rc)
        rc = br__dir_child(&d, &w->parent, w->name, 0, err);
    if (!rc)
        rc = br__dir_remove(&d, JOURNAL, err);
    if (!rc)
        br__dir_close(&d);
    return rc;
}

int br__work_lock(struct br__work *w, const char *final, uint64_t fingerprint, int sync,
                  struct br_err *err)
{
    int got = 0, trusted = 0;
    memset(w, 0, sizeof *w);
    w->parent.fd = w->tmp.fd = w->old.fd = w->journal_fd = -1;
    w->sync = sync;
    w->open = 1;
    pthread_mutex_init(&w->lock, NULL);
    snprintf(w->head, sizeof w->head, HEAD "%016" PRIx64 "\n", fingerprint);
    int rc = find_place(w, final, err);
    for (int i = 0; !rc && !got && i < LOCK_TRIES; i++)
        rc = lock_tmp(w, &trusted, &got, err);
    if (!rc && !got)
        rc = br_fail(err, BR_E_BUSY, "other processes keep finishing '%s'; run again", final);
    if (!rc)
        rc = judge_journal(w, trusted, err);
    if (!rc)
        rc = recover_old(w, err);
    if (rc)
        br__work_close(w);
    return rc;
}

int br__work_space(const struct br__work *w, const struct br__dir *dir, uint64_t need,
                   struct br_err *err)
{
    struct br__arena a = {0};
    struct stat st;
    char **names, need_text[32], have_text[32];
    size_t n;
    uint64_t have = 0, there = 0;
    int rc = br__free_space(&w->tmp, &have, err);
    if (!rc)
        rc = br__dir_list(&a, dir, &names, &n, err);
    for (size_t i = 0; !rc && i < n; i++)
        if (!br__dir_stat(dir, names[i], &st) && S_ISREG(st.st_mode))
            there += (uint64_t)st.st_blocks * 512;
    if (!rc && need > have && need - have > there)
        rc = br_fail(err, BR_E_NOSPC, "'%s' needs %s, its file system has %s free", w->final,
                     br__human_bytes(need - BR__MIN(need, there), need_text),
                     br__human_bytes(have, have_text));
    br__arena_free(&a);
    return rc;
}

/* ---- taking the destination's name ----------------------------------------------------------- */

static int put_mark(struct br__work *w, struct br_err *err)
{
    struct br__out o;
    int rc = br__out_open_in(&o, &w->old, JOURNAL, 0, w->sync, err);
    if (rc)
        return rc;
    rc = br__out_write(&o, REPLACED, strlen(REPLACED), err);
    if (rc)
        br__out_abort(&o);
    return rc ? rc : br__out_finish(&o, err);
}

/* Mark and lock the existing destination, so that under the temporary name it is recognised and
 * nobody takes it.  The process that published it holds the lock until its trackers are written. */
static int take_old(struct br__work *w, struct br_err *err)
{
    int locked, rc = br__dir_child(&w->old, &w->parent, w->name, 0, err);
    if (!rc)
        rc = br__dir_lock(&w->old, PUBLISHER_MS, &locked, err);
    if (!rc)
        br__dir_unprotect(&w->old);
    return rc ? rc : put_mark(w, err);
}

/* Two renames: between them the destination is absent, but never half written. */
static int swap_by_two(struct br__work *w, struct br_err *err)
{
    struct br_err second = BR_ERR_INIT;
    int rc = br__dir_rename(&w->parent, w->name, w->old_name, err);
    if (rc)
        return rc;
    rc = br__dir_rename(&w->parent, w->tmp_name, w->name, &second);
    if (rc && br__dir_rename(&w->parent, w->old_name, w->name, NULL))
        return br_fail(err, rc, "%s; what was there is now '%s', and the next run puts it back",
                       second.msg, w->old_name);
    if (rc)
        return br_fail(err, rc, "%s; '%s' is as it was", second.msg, w->final);
    w->gone = w->old_name;
    return BR_OK;
}

static int swap_in(struct br__work *w, struct br_err *err)
{
    int rc = take_old(w, err);
    if (rc)
        return rc;
    rc = br__dir_exchange(&w->parent, w->tmp_name, w->name, err);
    if (rc == BR_E_UNSUPPORTED)
        rc = swap_by_two(w, err);
    else if (!rc)
        w->gone = w->tmp_name;
    if (rc && br__dir_remove(&w->old, JOURNAL, NULL))
        br_wrap(err, "'%s' keeps a file " JOURNAL, w->final);
    return rc;
}

/* Remove the journal: without it a directory is complete.  Remove the old one.  A failure of either
 * leaves the destination right. */
static void clean_up(struct br__work *w)
{
    if (br__dir_remove(&w->tmp, JOURNAL, NULL))
        w->left = JOURNAL;
    if (w->gone && remove_replaced(&w->parent, w->gone, NULL))
        w->left = w->gone;
}

/* ---- moving up, where the destination itself stays ------------------------------------------- */

static int is_named(const struct br__names *names, const char *name)
{
    for (size_t i = 0; i < names->n; i++)
        if (!strcmp(names->p[i], name))
            return 1;
    return 0;
}

static int move_up(struct br__work *w, const char *name, struct br_err *err)
{
    struct stat st;
    int rc = BR_OK;
    if (!br__dir_stat(&w->parent, name, &st) && S_ISDIR(st.st_mode))
        rc = br__dir_remove(&w->parent, name, err);
    return rc ? rc : br__dir_move(&w->tmp, name, &w->parent, name, err);
}

/* Remove files that are not of this result, first `last`, without which it is no checkpoint; then
 * move files up, `last` at the end.  A run that was killed may have done each step already. */
static int publish_inside(struct br__work *w, const struct br__names *names, const char *last,
                          struct br_err *err)
{
    char **list;
    size_t n;
    struct stat st;
    int rc = BR_OK, has_last = !br__dir_stat(&w->tmp, last, &st);
    if (has_last)
        rc = br__dir_remove(&w->parent, last, err);
    if (!rc)
        rc = br__dir_list(&w->arena, &w->parent, &list, &n, err);
    for (size_t i = 0; !rc && i < n; i++)
        if (!is_named(names, list[i]) && strcmp(list[i], INSIDE) != 0)
            rc = br__dir_remove(&w->parent, list[i], err);
    if (!rc)
        rc = br__dir_list(&w->arena, &w->tmp, &list, &n, err);
    for (size_t i = 0; !rc && i < n; i++)
        if (strcmp(list[i], JOURNAL) != 0 && strcmp(list[i], last) != 0)
            rc = move_up(w, list[i], err);
    if (!rc && w->sync)
        rc = br__dir_sync(&w->parent, err);
    if (!rc && has_last)
        rc = move_up(w, last, err);
    return rc;
}

/* ---- the end --------------------------------------------------------------------------------- */

int br__work_commit(struct br__work *w, const struct br__names *names, const char *last,
                    struct br_err *err)
{
    int rc = w->inside ? BR_OK : br__dir_publish_mode(&w->tmp, err);
    if (!rc && w->sync)
        rc = br__dir_sync(&w->tmp, err);
    if (!rc && w->inside && !w->publishing)
        rc = append_journal(w, PUBLISH, strlen(PUBLISH), err);
    if (rc)
        return rc;
    if (w->inside)
        rc = publish_inside(w, names, last, err);
    else
        rc = w->replace ? swap_in(w, err) : br__dir_rename(&w->parent, w->tmp_name, w->name, err);
    if (!rc && w->sync)
        rc = br__dir_sync(&w->parent, err);
    if (rc)
        return rc;
    w->committed = 1;
    clean_up(w);
    if (w->inside && br__dir_remove(&w->parent, INSIDE, NULL))
        w->left = INSIDE;
    return BR_OK;
}

/* A temporary directory that holds nothing but a journal, or a replaced directory. */
static void work_sweep(struct br__work *w, const char *name)
{
    struct br__dir d;
    char **names;
    size_t n;
    int locked, trusted;
    struct stat st;
    if (br__dir_stat(&w->parent, name, &st) ||
        br__dir_private(&d, &w->parent, name, &trusted, NULL))
        return;
    if (!br__dir_lock(&d, 0, &locked, NULL) && !br__dir_list(&w->arena, &d, &names, &n, NULL)) {
        if (n == 0 || (n == 1 && !strcmp(names[0], JOURNAL)))
            (void)!br__dir_remove(&w->parent, name, NULL);
        else if (is_replaced(&w->parent, name))
            (void)!remove_replaced(&w->parent, name, NULL);
    }
    br__dir_close(&d);
}

void br__work_tidy(const char *final)
{
    struct br__work w = {.parent.fd = -1};
    struct br__dir dest;
    struct stat st;
    w.name = br__path_base(final);
    w.tmp_name = br__arena_printf(&w.arena, ".%s.bridge-partial", w.name);
    w.old_name = br__arena_printf(&w.arena, ".%s.bridge-old", w.name);
    if (w.tmp_name && w.old_name && !br__dir_of(&w.parent, final, 0, NULL)) {
        work_sweep(&w, w.tmp_name);
        work_sweep(&w, w.old_name);
        if (!br__dir_child(&dest, &w.parent, w.name, 0, NULL)) {
            br__dir_close(&w.parent);
            w.parent = dest;
            work_sweep(&w, INSIDE);
            if (!br__dir_stat(&dest, JOURNAL, &st))
                (void)!br__dir_remove(&dest, JOURNAL, NULL);
        }
    }
    br__dir_close(&w.parent);
    br__arena_free(&w.arena);
}

/* Bytes on disk of a directory's files. */
static uint64_t tree_bytes(struct br__arena *a, const struct br__dir *d)
{
    char **names;
    size_t n;
    uint64_t sum = 0;
    if (br__dir_list(a, d, &names, &n, NULL))
        return 0;
    for (size_t i = 0; i < n; i++) {
        struct stat st;
        struct br__dir child;
        if (br__dir_stat(d, names[i], &st))
            continue;
        if (S_ISREG(st.st_mode))
            sum += BR__MIN((uint64_t)st.st_size, (uint64_t)st.st_blocks * 512);
        if (!S_ISDIR(st.st_mode) || br__dir_child(&child, d, names[i], 0, NULL))
            continue;
        sum += tree_bytes(a, &child);
        br__dir_close(&child);
    }
    return sum;
}

/* That of an iteration in an existing root. */
static int kept_iteration(struct br__arena *a, const char *root, const char **path,
                          struct br_err *err)
{
    char **names;
    size_t n;
    int rc = br__list_dir(a, root, &names, &n, err);
    for (size_t i = 0; i < n && !rc && !*path; i++)
        if (names[i][0] == '.' && br__ends(names[i], ".bridge-partial"))
            *path = br__path_join(a, root, names[i]);
    return rc;
}

/* The temporary directory of a destination: beside it, or in it where it could not be renamed. */
static int kept_dir(struct br__arena *a, const char *final, const char **path, struct br_err *err)
{
    char *dir = br__arena_strdup(a, final);
    for (size_t n = dir ? strlen(dir) : 0; n > 1 && dir[n - 1] == '/'; n--)
        dir[n - 1] = '\0';
    const char *name = dir ? br__path_base(dir) : "";
    const char *beside = br__arena_printf(a, "%.*s.%s.bridge-partial",
                                          (int)(name - (dir ? dir : name)), dir ? dir : "", name);
    const char *inside = dir ? br__path_join(a, dir, INSIDE) : NULL;
    if (!dir || !beside || !inside)
        return br__nomem(err, "looking for an interrupted run");
    *path = br__is_dir(beside) ? beside : br__is_dir(inside) ? inside : NULL;
    return *path || !br__is_dir(dir) ? BR_OK : kept_iteration(a, dir, path, err);
}

int br__work_kept(struct br__arena *a, const char *final, struct br__work_kept *out,
                  struct br_err *err)
{
    struct br__dir d;
    char *journal = NULL;
    memset(out, 0, sizeof *out);
    int rc = kept_dir(a, final, &out->path, err);
    if (rc || !out->path || br__dir_open(&d, out->path, NULL))
        return rc;
    out->bytes = tree_bytes(a, &d);
    if (!br__read_text_in(&d, JOURNAL, JOURNAL_MAX, &journal, NULL, NULL))
        for (const char *p = strchr(journal, '\n'); p && (p = strchr(p + 1, '\n'));)
            out->n_parts++; /* a line each, after the first */
    br__free(journal);
    br__dir_close(&d);
    return rc;
}

int br__work_discard(const char *final, struct br_err *err)
{
    struct br__arena a = {0};
    struct br__dir parent = {.fd = -1}, d = {.fd = -1};
    const char *path;
    int locked, trusted;
    int rc = kept_dir(&a, final, &path, err);
    if (!rc && path) {
        rc = br__dir_of(&parent, path, 0, err);
        if (!rc)
            rc = br__dir_private(&d, &parent, br__path_base(path), &trusted, err);
        if (!rc && (rc = br__dir_lock(&d, 0, &locked, err)) == BR_E_BUSY)
            rc = br_fail(err, rc, "another process is writing '%s'", path);
        if (!rc)
            rc = br__dir_remove(&parent, br__path_base(path), err);
    }
    br__dir_close(&d);
    br__dir_close(&parent);
    br__arena_free(&a);
    return rc;
}

void br__work_close(struct br__work *w)
{
    if (!w->open)
        return;
    /* No part is finished: there is nothing to resume. */
    int ours = w->tmp.path && !w->unlocked && !w->committed && !w->follows;
    if (ours && w->begun && !w->same && !w->n_done)
        (void)!br__dir_remove(&w->parent, w->tmp_name, NULL);
    else if (ours && !w->begun) /* this fails if it is not empty */
        (void)!br__dir_remove_empty(&w->parent, w->tmp_name);
    if (w->journal_fd >= 0)
        br__io.close(w->journal_fd);
    br__dir_close(&w->old);
    br__dir_close(&w->tmp);
    br__dir_close(&w->parent);
    pthread_mutex_destroy(&w->lock);
    br__free(w->text);
    br__arena_free(&w->arena);
    memset(w, 0, sizeof *w);
}
