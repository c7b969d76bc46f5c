/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* main.c - br_main: from argv to an exit code. */
#include "cli.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

/* Report a full disk or closed pipe behind stdout as a failure. */
static int close_stdout(struct br_err *err)
{
    if (fflush(stdout) || ferror(stdout))
        return br_fail(err, BR_E_IO, "cannot write to standard output: %s", strerror(errno));
    if (br__say_failed())
        return br__nomem(err, "printing the result");
    return BR_OK;
}

static int (*const handlers[BR__N_CMD])(struct br__cli *c, struct br_err *err) = {
#define BR_X(id, name) [BR__CMD_##id] = br__cmd_##name,
    BR__CMD_MAP(BR_X)
#undef BR_X
};

static int is_help(const struct br__cli *c)
{
    return BR__FLAG(c, HELP) || (BR__FLAG(c, MAN) && !c->cmd);
}

/* `bridge plan --help`, `bridge import --help`, `bridge --help`. */
static int show_help(struct br__cli *c, struct br_err *err)
{
    if (c->cmd && c->cmd != &br__commands[BR__CMD_HELP]) {
        br__help_command(c->cmd);
        return BR_OK;
    }
    if (!c->cmd && c->group) {
        c->pos = &c->group;
        c->n_pos = 1;
    }
    return br__cmd_help(c, err);
}

/* Point a wrong command line to its help page. */
static int main_hint(const struct br__cli *c, int rc, struct br_err *err)
{
    size_t n = strlen(err->msg);

    if (rc == BR_E_USAGE && c->cmd)
        snprintf(err->msg + n, sizeof err->msg - n, " (see: bridge help %s)", c->cmd->name);
    return rc;
}

static int main_run(struct br__cli *c, struct br_err *err)
{
    if (BR__FLAG(c, VERSION)) {
        br__say(stdout, "%s", br__version_text(&c->arena));
        return BR_OK;
    }
    if (is_help(c))
        return show_help(c, err);
    int rc = main_hint(c, br__cli_check(c, err), err);
    rc = rc ? rc : br__cpu_count_check(err);
    rc = br__ranks_join(c, rc, err);
    if (!rc && !BR__FLAG(c, QUIET) && br__procs_rank() == 0)
        for (size_t i = 0; i < c->n_idle; i++)
            br__say(stderr, "bridge: note: %s", c->idle[i]);
    if (!rc)
        rc = handlers[c->cmd - br__commands](c, err);
    return br__ranks_end(rc, err);
}

/* Every shard of a checkpoint stays open; large checkpoints have more than the usual soft limit of
 * 1024 files. */
static void allow_many_files(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE,
                        &files); /* ignored: opening too many files reports an error of its own */
    }
}

/* `bridge launch`, whose words are not this program's options; *foreign: it was that. */
static int run_launch(struct br__arena *a, int argc, char **argv, int *foreign, struct br_err *err)
{
    *foreign = argc == 2 && !strcmp(argv[1], "launch-check");
    if (*foreign)
        return br__launch_check(a, err);
    *foreign = argc > 2 && !strcmp(argv[1], "launch") && strcmp(argv[2], "--help") != 0 &&
               strcmp(argv[2], "-h") != 0;
    return *foreign ? br__launch(a, argv + 2, err) : BR_OK;
}

static int run_program(int argc, char **argv)
{
    struct br_err err = BR_ERR_INIT;
    struct br__cli c = {0};
    int rc;

    rc = br__std_fds(&err);
    uint32_t rank = rc ? 0 : br__ranks_begin();
    if (rc) {
        br__print_error(&err, 0);
        return rc;
    }
    if (argc < 2) {
        br__help_brief();
        rc = close_stdout(&err);
        br__print_error(&err, 0);
        return rc;
    }
    int foreign = 0;
    rc = run_launch(&c.arena, argc, argv, &foreign, &err);
    if (!foreign) {
        rc = main_hint(&c, br__cli_parse(&c, argc, argv, &err), &err);
        br__color_begin(&c);
        if (!rc)
            rc = main_run(&c, &err);
    }
    /* Flush what was printed before the error, so that it comes first. */
    struct br_err flush = BR_ERR_INIT;
    int flushed = close_stdout(&flush);
    if (rc && rank == 0)
        br__print_error(&err, BR__FLAG(&c, VERBOSE));
    if (flushed)
        br__print_error(&flush, BR__FLAG(&c, VERBOSE));
    br__cli_free(&c);
    return rc ? rc : flushed;
}

int br_main(int argc, char **argv)
{
    struct br__signals signals;

    allow_many_files();
    br__signals_begin(&signals);
    int rc = run_program(argc, argv);
    br__signals_end(&signals);
    return rc;
}
