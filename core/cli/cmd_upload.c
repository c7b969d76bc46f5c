/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cmd_upload.c - upload: a directory as a commit of a hub repository. */
#include "cli.h"

#include <stdatomic.h>
#include <string.h>

struct upload {
    struct br__cli *c;
    struct br__report r;
    struct br__upload_opts o;
    struct br__upload_state state;
    struct br__upload_result result;
    const char *dir, *id;
    double seconds;
};

static int upload_options(struct upload *u, struct br_err *err)
{
    struct br__cli *c = u->c;

    u->dir = c->pos[0];
    u->id = c->pos[1];
    if (!br__is_dir(u->dir))
        return br_fail(err, BR_E_USAGE, "'%s' is no directory%s%s%s", u->dir,
                       br__is_dir(u->id) ? "; the right way round is: bridge upload " : "",
                       br__is_dir(u->id) ? br__shell_word(&c->arena, u->id) : "",
                       br__is_dir(u->id)
                           ? br__arena_printf(&c->arena, " %s", br__shell_word(&c->arena, u->dir))
                           : "");
    if (BR__FLAG(c, PRIVATE) && !BR__FLAG(c, CREATE))
        return br_fail(err, BR_E_USAGE, "--private is of a repository that --create makes");
    if (BR__FLAG(c, HF_REVISION))
        u->id = br__arena_printf(&c->arena, "%s@%s", u->id, BR__TEXT(c, HF_REVISION));
    u->o = (struct br__upload_opts){
        .hub = {.listener = &u->r.listener,
                .token = BR__TEXT(c, TOKEN),
                .connections = (int)BR__INT(c, CONNECTIONS)},
        .message = BR__TEXT(c, MESSAGE),
        .include = c->opt[BR__OPT_INCLUDE].list,
        .n_include = c->opt[BR__OPT_INCLUDE].n_list,
        .exclude = c->opt[BR__OPT_EXCLUDE].list,
        .n_exclude = c->opt[BR__OPT_EXCLUDE].n_list,
        .create = BR__FLAG(c, CREATE),
        .closed = BR__FLAG(c, PRIVATE),
        .dry_run = BR__FLAG(c, DRY_RUN),
        .state = &u->state,
    };
    return u->id ? BR_OK : br__nomem(err, "with a hub id");
}

/* What becomes of a file, or became of it. */
static const char *file_fate(const struct upload *u, const struct br__upload_file *f)
{
    if (f->ignored)
        return "left out by .gitignore";
    if (f->same)
        return "there already";
    if (u->result.missing)
        return "new";
    return f->lfs ? "LFS" : "in the commit";
}

/* A dry run: what would be sent. */
static int upload_plan(const struct upload *u, struct br_err *err)
{
    struct br__table t = {.cols = 3};
    const struct br__upload_result *r = &u->result;
    uint64_t send = 0;
    char bytes[32];

    br__table_row(&t, "file", ">bytes", "");
    for (size_t i = 0; i < r->n_files; i++) {
        const struct br__upload_file *f = &r->files[i];
        send += f->ignored || f->same ? 0 : f->size;
        br__table_row(&t, f->path, br__human_bytes(f->size, bytes), file_fate(u, f));
    }
    int rc = br__table_print(&t, err);
    if (rc)
        return rc;
    if (r->missing)
        br__say(stdout, "%s would be made", u->id);
    br__say(stdout, "%zu of %zu files would be committed to %s: %s", r->n_sent, r->n_files, u->id,
            br__human_bytes(send, bytes));
    return BR_OK;
}

static void upload_text(const struct upload *u)
{
    const struct br__upload_result *r = &u->result;
    const char *where = r->url ? r->url : r->commit;
    char bytes[32], sent[32], rate[32];
    double s = u->seconds > 1e-6 ? u->seconds : 1e-6;

    if (!u->r.quiet && !r->n_sent)
        br__say(stdout, "up to date: %s has these %zu files already", u->id,
                r->n_files - r->n_ignored);
    else if (!u->r.quiet)
        br__say(stdout, "committed %zu of %zu files to %s: %s of %s sent in %.2f s (%s/s)",
                r->n_sent, r->n_files, u->id, br__human_bytes(r->sent, sent),
                br__human_bytes(r->bytes, bytes), u->seconds,
                br__human_bytes((uint64_t)((double)r->sent / s), rate));
    br__say(stdout, "%s", where);
}

static int upload_json(struct upload *u, int rc, const struct br_err *failure, struct br_err *err)
{
    const struct br__upload_result *r = &u->result;
    struct br__js j = {0};

    br__js_object(&j, NULL, 0);
    br__js_str(&j, "command", "upload");
    br__js_str(&j, "status", br_status_name(rc));
    br__js_str(&j, "error", rc ? failure->msg : NULL);
    br__js_str(&j, "repository", u->id);
    br__js_str(&j, "commit", r->commit);
    br__js_str(&j, "url", r->url);
    br__js_u64(&j, "committed_files", rc ? 0 : r->n_sent);
    br__js_u64(&j, "bytes", r->bytes);
    br__js_u64(&j, "sent_bytes", r->sent);
    br__js_num(&j, "seconds", u->seconds);
    br__js_array(&j, "files", 0);
    for (size_t i = 0; i < r->n_files; i++) {
        const struct br__upload_file *f = &r->files[i];
        br__js_object(&j, NULL, BR__JS_INLINE);
        br__js_str(&j, "path", f->path);
        br__js_u64(&j, "bytes", f->size);
        br__js_bool(&j, "lfs", f->lfs);
        br__js_bool(&j, "ignored", f->ignored);
        br__js_bool(&j, "unchanged", f->same);
        br__js_str(&j, "etag", *f->oid && !f->ignored ? f->oid : NULL);
        br__js_end(&j);
    }
    br__js_end(&j);
    br__report_json(&u->r, &j);
    br__js_end(&j);
    return br__js_print(&j, err);
}

/* A signal ends the run. */
static void upload_tell(void *ud)
{
    struct upload *u = ud;
    struct br__arena a = {0};
    char bytes[32];
    uint64_t kept = atomic_load(&u->state.kept);
    int committing = atomic_load(&u->state.committing);
    const char *line = br__command_line(&a, u->c);

    br__human_bytes(kept, bytes);
    if (committing)
        br__say(
            stderr,
            "bridge: interrupted while the hub was asked for the commit, which may be made; the "
            "same command finds out: %s",
            line);
    else if (kept)
        br__say(stderr,
                "bridge: interrupted; nothing is committed, and the hub keeps %s that are not sent "
                "again; to go on: %s",
                bytes, line);
    else
        br__say(stderr, "bridge: interrupted; nothing is committed; to begin again: %s", line);
    br__arena_free(&a);
}

int br__cmd_upload(struct br__cli *c, struct br_err *err)
{
    struct upload u = {.c = c};
    struct br__interrupt i;
    double began = br__now();

    br__report_init(&u.r, c);
    int rc = upload_options(&u, err);
    if (!rc) {
        br__interrupt_begin(&i, NULL, upload_tell, &u);
        rc = br__hub_upload(&c->arena, u.dir, u.id, &u.o, &u.result, err);
        br__interrupt_end(&i);
        br__report_end(&u.r);
    }
    u.seconds = br__now() - began;
    if (u.r.json) {
        int printed = upload_json(&u, rc, err, rc ? NULL : err);
        rc = rc ? rc : printed;
    } else if (!rc && u.o.dry_run) {
        rc = upload_plan(&u, err);
    } else if (!rc) {
        upload_text(&u);
    }
    br__report_free(&u.r);
    return rc;
}
