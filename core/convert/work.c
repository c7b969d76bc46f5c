/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* work.c - a temporary sibling directory that becomes the destination in one rename, or resumes.
 *
 * "<parent>/.<name>.bridge-partial" is locked by flock on the directory itself.  Its journal starts
 * with the job's fingerprint and gains a line for every finished part: the part's number and the
 * digests of its pieces, written after the part is synced.  A rerun of the same job believes a line
 * only after it has read the part back (the caller does that); a torn last line is ignored. */
#include "job.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define JOURNAL ".bridge_journal"
#define JOURNAL_MAX (256u << 20)

static int nomem(struct br_err *err)
{
    return br_fail(err, BR_E_NOMEM, "out of memory preparing the destination");
}

static const char *journal_path(struct br__work *w)
{
    return br__path_join(&w->arena, w->tmp, JOURNAL);
}

/* Lock the directory; it may have been renamed away between open and flock. */
static int lock_dir(struct br__work *w, struct br_err *err)
{
    struct stat by_fd, by_path;
    w->dir_fd = br__io.open(w->tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (w->dir_fd < 0)
        return br_fail(err, BR_E_IO, "cannot open '%s': %s", w->tmp, strerror(errno));
    if (flock(w->dir_fd, LOCK_EX | LOCK_NB))
        return br_fail(err, BR_E_BUSY, "another process is writing '%s' (it works in '%s')",
                       w->final, w->tmp);
    if (br__io.fstat(w->dir_fd, &by_fd) || br__io.stat(w->tmp, &by_path) ||
        by_fd.st_ino != by_path.st_ino)
        return br_fail(err, BR_E_BUSY, "another process has just finished '%s'; run again",
                       w->final);
    return BR_OK;
}

/* One line: "<part> <n> <digest>...\n". */
static int read_line(struct br__work *w, char *line, struct br_err *err)
{
    char *end;
    size_t part = strtoull(line, &end, 10), n = strtoull(end, &end, 10);
    if (part >= w->n_parts || n > JOURNAL_MAX / 17)
        return BR_OK;
    uint64_t *d = br__arena_alloc(&w->arena, (n + 1) * sizeof *d);
    if (!d)
        return nomem(err);
    d[0] = n;
    for (size_t i = 0; i < n; i++)
        d[i + 1] = strtoull(end, &end, 16);
    w->digests[part] = d;
    return BR_OK;
}

/* 1 in *same if the journal is this job's; then its lines are in w->digests. */
static int read_journal(struct br__work *w, const char *head, int *same, struct br_err *err)
{
    char *text = NULL;
    size_t n = 0;
    const char *path = journal_path(w);
    *same = 0;
    if (!path)
        return nomem(err);
    if (br__read_text(path, JOURNAL_MAX, &text, &n, NULL))
        return BR_OK;
    int rc = BR_OK;
    *same = br__starts(text, head);
    char *line = text + strlen(head), *eol;
    for (; *same && !rc && line < text + n && (eol = strchr(line, '\n')); line = eol + 1) {
        *eol = '\0';
        rc = read_line(w, line, err);
    }
    br__free(text);
    return rc;
}

/* Everything in the temporary directory but the directory itself, which holds the lock. */
static int empty_dir(struct br__work *w, struct br_err *err)
{
    char **names;
    size_t n;
    int rc = br__list_dir(&w->arena, w->tmp, &names, &n, err);
    for (size_t i = 0; i < n && !rc; i++) {
        const char *path = br__path_join(&w->arena, w->tmp, names[i]);
        rc = path ? br__remove_tree(path, err) : nomem(err);
    }
    return rc;
}

int br__work_keep(struct br__work *w, const char *dir, const char *const *names, size_t n,
                  struct br_err *err)
{
    char **found;
    size_t n_found;
    struct br__map keep;
    int rc = br__map_init(&keep, n + 1) ? nomem(err) : BR_OK;
    for (size_t i = 0; i <= n && !rc; i++)
        if (br__map_put(&keep, i < n ? names[i] : JOURNAL, 0) == BR_E_NOMEM)
            rc = nomem(err);
    if (!rc)
        rc = br__list_dir(&w->arena, dir, &found, &n_found, err);
    for (size_t i = 0; !rc && i < n_found; i++) {
        if (br__map_get(&keep, found[i]) != BR__NOT_FOUND)
            continue;
        const char *path = br__path_join(&w->arena, dir, found[i]);
        rc = path ? br__remove_tree(path, err) : nomem(err);
    }
    br__map_free(&keep);
    return rc;
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
                       "cannot write the journal in '%s': %s", w->tmp, strerror(errno));
    return BR_OK;
}

static int start_journal(struct br__work *w, const char *head, struct br_err *err)
{
    int same, rc = read_journal(w, head, &same, err);
    if (!rc && !same)
        rc = empty_dir(w, err);
    const char *path = journal_path(w);
    if (rc || !path)
        return rc ? rc : nomem(err);
    w->journal_fd = br__io.open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (w->journal_fd < 0)
        return br_fail(err, BR_E_IO, "cannot create '%s': %s", path, strerror(errno));
    /* A torn last line would glue itself to the next one. */
    return append_journal(w, same ? "\n" : head, same ? 1 : strlen(head), err);
}

static int name_dirs(struct br__work *w, const char *final, struct br_err *err)
{
    w->final = br__arena_strdup(&w->arena, final);
    const char *base = br__path_base(final);
    size_t dir = (size_t)(base - final);
    w->tmp = br__arena_printf(&w->arena, "%.*s.%s.bridge-partial", (int)dir, final, base);
    if (!w->final || !w->tmp)
        return nomem(err);
    return br__mkdirs(w->tmp, err);
}

int br__work_open(struct br__work *w, const char *final, uint64_t fingerprint, size_t n_parts,
                  int sync, int replace, struct br_err *err)
{
    char head[64];
    memset(w, 0, sizeof *w);
    w->dir_fd = w->journal_fd = -1;
    w->sync = sync;
    w->replace = replace;
    w->n_parts = n_parts + 1; /* never zero: it also says that the work is open */
    pthread_mutex_init(&w->lock, NULL);
    w->digests = br__arena_alloc(&w->arena, w->n_parts * sizeof *w->digests);
    int rc = w->digests ? name_dirs(w, final, err) : nomem(err);
    snprintf(head, sizeof head, "bridge-journal 1 %016" PRIx64 "\n", fingerprint);
    if (!rc)
        rc = lock_dir(w, err);
    if (!rc)
        rc = start_journal(w, head, err);
    if (rc)
        br__work_close(w);
    return rc;
}

int br__work_done(struct br__work *w, size_t part, const uint64_t *digests, size_t n,
                  struct br_err *err)
{
    struct br__buf b = {0};
    br__buf_printf(&b, "%zu %zu", part, n);
    for (size_t i = 0; i < n; i++)
        br__buf_printf(&b, " %016" PRIx64, digests[i]);
    br__buf_putc(&b, '\n');
    pthread_mutex_lock(&w->lock);
    int rc = b.failed ? nomem(err) : append_journal(w, b.p, b.n, err);
    pthread_mutex_unlock(&w->lock);
    br__buf_free(&b);
    return rc;
}

/* Put the temporary directory in the place of an existing one, then delete that. */
static int swap_in(struct br__work *w, struct br_err *err)
{
    if (br__io.exchange(w->tmp, w->final) == 0)
        return br__remove_tree(w->tmp, err);
    /* File systems without exchange: two renames; between them the destination is absent, never
     * half. */
    const char *old = br__arena_printf(&w->arena, "%s-old", w->tmp);
    if (!old)
        return nomem(err);
    int rc = br__remove_tree(old, err);
    if (rc)
        return rc;
    if (br__io.rename(w->final, old) || br__io.rename(w->tmp, w->final))
        return br_fail(err, BR_E_IO, "cannot replace '%s': %s", w->final, strerror(errno));
    return br__remove_tree(old, err);
}

int br__work_commit(struct br__work *w, struct br_err *err)
{
    const char *journal = journal_path(w);
    if (!journal)
        return nomem(err);
    if (br__io.unlink(journal))
        return br_fail(err, BR_E_IO, "cannot remove '%s': %s", journal, strerror(errno));
    int rc = w->sync ? br__sync_dir(w->tmp, err) : BR_OK;
    if (rc)
        return rc;
    if (w->replace)
        rc = swap_in(w, err);
    else if (br__io.rename(w->tmp, w->final))
        rc = br_fail(err, BR_E_IO, "cannot rename '%s' to '%s': %s", w->tmp, w->final,
                     strerror(errno));
    if (rc || !w->sync)
        return rc;
    const char *base = br__path_base(w->final);
    char *parent =
        br__arena_strndup(&w->arena, w->final, BR__MAX((size_t)(base - w->final), (size_t)1));
    return parent ? br__sync_dir(parent, err) : nomem(err);
}

int br__work_space(const char *final, uint64_t need, struct br_err *err)
{
    struct br__arena a = {0};
    char need_text[32], have_text[32];
    uint64_t have;
    const char *base = br__path_base(final);
    char *parent = br__arena_strndup(&a, final, BR__MAX((size_t)(base - final), (size_t)1));
    int rc = parent ? br__mkdirs(parent, err) : nomem(err);
    if (!rc)
        rc = br__free_space(parent, &have, err);
    if (!rc && have < need)
        rc = br_fail(err, BR_E_NOSPC, "'%s' needs %s, its file system has %s free", final,
                     br__human_bytes(need, need_text), br__human_bytes(have, have_text));
    br__arena_free(&a);
    return rc;
}

int br__work_copy_side_files(const char *from, const char *to, int tokenizer_only, int sync,
                             struct br_err *err)
{
    struct br__arena a = {0};
    char **names;
    size_t n = 0;
    int rc = br__hf_side_files(&a, from, tokenizer_only, &names, &n, err);
    if (!rc && n)
        rc = br__mkdirs(to, err);
    for (size_t i = 0; i < n && !rc; i++) {
        const char *source = br__path_join(&a, from, names[i]);
        const char *copy = br__path_join(&a, to, names[i]);
        rc = source && copy ? br__copy_file(source, copy, sync, err) : nomem(err);
    }
    br__arena_free(&a);
    return rc;
}

void br__work_close(struct br__work *w)
{
    if (!w->n_parts) /* never opened */
        return;
    if (w->journal_fd >= 0)
        br__io.close(w->journal_fd);
    if (w->dir_fd >= 0)
        br__io.close(w->dir_fd);
    w->journal_fd = w->dir_fd = -1;
    pthread_mutex_destroy(&w->lock);
    br__arena_free(&w->arena);
}
