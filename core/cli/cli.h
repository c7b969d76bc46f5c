/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cli.h - the command line: what its files share.  Nothing includes it from outside.
 *
 * The only folder that prints, reads argv and turns a status into an exit code.  Everything
 * that a user can type is a row: commands in commands.c, options in options.def.  A new
 * option is one row; a new command is an id here, a row there and a function.
 *
 *   main.c         br_main: what was typed -> which row -> run it -> exit code
 *   commands.c     the command table, with its help text
 *   options.def    the option table
 *   options.c      argv -> struct br__cli
 *   help.c         help pages and the man page, from the two tables
 *   output.c       escaped text, JSON, aligned tables
 *   interrupt.c    runs that a signal ends
 *   report.c       notes, warnings, progress: the listener of a job
 *   job.c          options -> struct br_job
 *   cmd_convert.c  import, export, verify, roundtrip    cmd_plan.c   plan, --dry-run
 *   cmd_inspect.c  inspect, diff                        cmd_plugin.c list, plugin, toy
 *   cmd_repair.c   repair
 *   cmd_recipe.c   recipe list, show, diff, check, keys  cmd_recipe_memory.c recipe memory
 *   cmd_simulate.c recipe simulate, with simulate_page.c
 *   cmd_new.c      plugin new                           cmd_doctor.c doctor
 *   cmd_completion.c  shell completion, from the two tables
 *   cmd_chat.c     chat-template                        cmd_tokenize.c tokenize
 *   cmd_generate.c generate, with converse.c (a conversation) and line.c (a line of a terminal)
 *   cmd_download.c download                             cmd_data.c data build, merge, inspect
 *   cmd_upload.c   upload
 *   cmd_cache.c    cache ls, rm, verify, prune; clean
 *   cmd_launch.c   launch                               ranks.c      one rank of several processes
 *   cmd_train.c    train, with train_plan.c and train_log.c; train_report.c train report
 *   cmd_adapter.c  adapter export, import, merge, verify */
#ifndef BRIDGE_CORE_CLI_H
#define BRIDGE_CORE_CLI_H

#include "../engine/engine.h"

#include <pthread.h>
#include <signal.h>

struct br__cli;

/* ---- cmd_launch.c: ranks as processes -------------------------------------------------------- */

/* `bridge launch WORDS`, up to a NULL.  Returns only if it fails: else this process becomes MPI's
 * launcher. */
int br__launch(struct br__arena *a, char **words, struct br_err *err) BR_MUST_CHECK;
/* What each rank of `bridge launch --check` does. */
int br__launch_check(struct br__arena *a, struct br_err *err) BR_MUST_CHECK;
/* ---- ranks.c: a command as one rank of several processes ------------------------------------- */

/* The number of the rank by the launcher's environment; 0 also where that contradicts itself.  Only
 * rank 0 prints: from here on standard output of the others leads nowhere. */
uint32_t br__ranks_begin(void);
/* If a launcher has started several processes, join them; rc: what this one has found already, and
 * err.  The status is that of all. */
int br__ranks_join(struct br__cli *c, int rc, struct br_err *err) BR_MUST_CHECK;
/* How long ranks that are threads wait for each other between devices.  overrides: also what the
 * environment says. */
void br__ranks_tell_devices(int seconds, int overrides);
#define BR__COMM_TIMEOUT 600 /* seconds, as distributed_timeout_minutes */
/* Join them.  device: what ranks of torchrun talk through, "auto": the best there is. */
struct br__launch;
int br__ranks_open(struct br__arena *a, const struct br__launch *l, const char *device, int timeout,
                   struct br_err *err) BR_MUST_CHECK;
/* The end of this rank's work: see br__procs_end. */
int br__ranks_end(int rc, struct br_err *err) BR_MUST_CHECK;
/* The module of an MPI; NULL: there is none. */
struct br__registry;
const char *br__find_module(struct br__arena *a, const struct br__registry *r, const char *plane);
/* The text of standard input, of which every rank gets what rank 0 reads. */
int br__read_stdin(struct br__buf *b, struct br_err *err) BR_MUST_CHECK;

/* ---- commands.c: the command table ----------------------------------------------------------- */

/* Each command: its id, and the function br__cmd_<name> that runs it. */
#define BR__CMD_MAP(X)                                                                             \
    X(HELP, help)                                                                                  \
    X(IMPORT, import)                                                                              \
    X(EXPORT, export)                                                                              \
    X(VERIFY, verify)                                                                              \
    X(ROUNDTRIP, roundtrip)                                                                        \
    X(PLAN_IMPORT, plan_import)                                                                    \
    X(PLAN_EXPORT, plan_export)                                                                    \
    X(INSPECT, inspect)                                                                            \
    X(DIFF, diff)                                                                                  \
    X(REPAIR, repair)                                                                              \
    X(DOWNLOAD, download)                                                                          \
    X(UPLOAD, upload)                                                                              \
    X(CACHE_LS, cache_ls)                                                                          \
    X(CACHE_RM, cache_rm)                                                                          \
    X(CACHE_VERIFY, cache_verify)                                                                  \
    X(CACHE_PRUNE, cache_prune)                                                                    \
    X(CLEAN, clean)                                                                                \
    X(TOY, toy)                                                                                    \
    X(LIST, list)                                                                                  \
    X(PLUGIN_LIST, plugin_list)                                                                    \
    X(PLUGIN_SHOW, plugin_show)                                                                    \
    X(PLUGIN_CHECK, plugin_check)                                                                  \
    X(RECIPE_LIST, recipe_list)                                                                    \
    X(RECIPE_SHOW, recipe_show)                                                                    \
    X(RECIPE_DIFF, recipe_diff)                                                                    \
    X(RECIPE_CHECK, recipe_check)                                                                  \
    X(RECIPE_KEYS, recipe_keys)                                                                    \
    X(RECIPE_MEMORY, recipe_memory)                                                                \
    X(RECIPE_SIMULATE, recipe_simulate)                                                            \
    X(PLUGIN_NEW, plugin_new)                                                                      \
    X(DOCTOR, doctor)                                                                              \
    X(COMPLETION, completion)                                                                      \
    X(CHAT_TEMPLATE, chat_template)                                                                \
    X(GENERATE, generate)                                                                          \
    X(COMPARE, compare)                                                                            \
    X(LOGITS, logits)                                                                              \
    X(SCORE, score)                                                                                \
    X(BENCH, bench)                                                                                \
    X(TOKENIZE, tokenize)                                                                          \
    X(DATA_BUILD, data_build)                                                                      \
    X(DATA_MERGE, data_merge)                                                                      \
    X(DATA_INSPECT, data_inspect)                                                                  \
    X(TRAIN, train)                                                                                \
    X(TRAIN_REPORT, train_report)                                                                  \
    X(ADAPTER_EXPORT, adapter_export)                                                              \
    X(ADAPTER_IMPORT, adapter_import)                                                              \
    X(ADAPTER_MERGE, adapter_merge)                                                                \
    X(ADAPTER_VERIFY, adapter_verify)                                                              \
    X(LAUNCH, launch)

enum br__cmd_id {
#define BR_X(id, name) BR__CMD_##id,
    BR__CMD_MAP(BR_X)
#undef BR_X
        BR__N_CMD
};
_Static_assert(BR__N_CMD <= 64, "the commands of an option are bits of a uint64_t");

enum br__opt_id {
    BR__OPT_NONE, /* so that a zeroed row names no option */
#define OPT(id, name, aliases, letter, kind, min, max, arg, dflt, on, help) BR__OPT_##id,
#include "options.def"
#undef OPT
    BR__N_OPT
};

#define BR__MAX_POS 2 /* bare arguments that a command takes at most */
#define BR__MAX_NEED 3

struct br__cli;
struct br__command {
    const char *name;     /* one word, or two: "plan import" */
    const char *args;     /* bare arguments as the usage line shows them; "" if none       */
    const char *summary;  /* one line                                                      */
    const char *about;    /* paragraphs, for help and the man page                         */
    const char *examples; /* one command a line                                            */
    uint8_t pos_opt[BR__MAX_POS]; /* the option that bare argument i stands for; NONE: c->pos */
    uint8_t min_pos, max_pos;   /* bare arguments in c->pos; those that stand for options are never
                                   required: `need` is                                   */
    uint8_t need[BR__MAX_NEED]; /* options without which the command cannot start        */
};
extern const struct br__command br__commands[BR__N_CMD];

/* ---- options.c: argv -> struct br__cli ------------------------------------------------------- */

enum br__opt_kind {
    BR__KIND_FLAG,
    BR__KIND_TEXT,
    BR__KIND_INT,    /* from `min` to `max`                                            */
    BR__KIND_FLOAT,  /* finite, from `min` to `max`; .f                                 */
    BR__KIND_SIZE,   /* bytes: 500MB, 5GB (powers of ten), 2GiB (of two), plain number */
    BR__KIND_CHOICE, /* one of `arg`'s words, separated by |; .i is its index          */
    BR__KIND_DTYPE,  /* one of `arg`'s words or its usual abbreviation; .i is the dtype */
    BR__KIND_LIST,   /* key=value ..., and may be repeated                             */
    BR__KIND_WORDS,  /* any text, and may be repeated; .list                           */
    BR__KIND_IDLE    /* accepted for other tools' command lines: a flag without effect,
                        or with a value if `arg` is set; `help` says why               */
};

struct br__option {
    const char *name;    /* long name with dashes                                         */
    const char *aliases; /* other spellings, separated by spaces; "" if none              */
    char letter;         /* -x, or 0                                                      */
    uint8_t kind;        /* enum br__opt_kind                                             */
    int64_t min, max;    /* of INT, FLOAT and SIZE                                        */
    const char *arg;     /* placeholder of the value, "DIR"; NULL for a flag              */
    const char *dflt;    /* what happens without it, as text; NULL if nothing             */
    uint64_t on;         /* commands that take it: bits 1 << enum br__cmd_id               */
    const char *help;    /* one line                                                      */
};
extern const struct br__option br__options[BR__N_OPT];

struct br__cli_value {
    const char *text;
    const char **list;
    size_t n_list;
    int64_t i;
    double f;
    int set;
};
/* A command line, understood.  Zeroed is valid. */
struct br__cli {
    struct br__arena arena;
    const struct br__command *cmd; /* NULL: none was named                                */
    const char *group;             /* "plan" of a two-word command, else NULL             */
    struct br__cli_value opt[BR__N_OPT];
    const char **pos; /* bare arguments after the command's name             */
    size_t n_pos;
    int argc; /* as br__cli_parse was given them */
    char **argv;
    const char **idle; /* sentences about options that have no effect here    */
    size_t n_idle;
};
/* BR_E_USAGE (the text names the nearest word that exists) or BR_E_NOMEM.  c->cmd is set as
 * soon as it is known, also on failure, so that the message can point to its help. */
int br__cli_parse(struct br__cli *c, int argc, char **argv, struct br_err *err) BR_MUST_CHECK;
/* Options that the command cannot do without, and the number of bare arguments. */
int br__cli_check(const struct br__cli *c, struct br_err *err) BR_MUST_CHECK;
void br__cli_free(struct br__cli *c);
/* Exact word -> command; NULL if there is none of that name. */
const struct br__command *br__command_find(const char *name);
/* 1 if some command's name begins with this word and another follows: "plan", "plugin". */
int br__command_is_group(const char *word);
/* The command or group nearest to a misspelt one; NULL if none is near. */
const char *br__command_near(const char *word);

#define BR__FLAG(c, id) ((c)->opt[BR__OPT_##id].set)
#define BR__TEXT(c, id) ((c)->opt[BR__OPT_##id].text)
#define BR__INT(c, id) ((c)->opt[BR__OPT_##id].i)
#define BR__FLOAT(c, id) ((c)->opt[BR__OPT_##id].f)

/* ---- main.c: what this program is ------------------------------------------------------------ */

/* The commit that was built, with "+changes" if the tree differed from it; "" outside of git.
 * Written by the build (cmake/commit.cmake) into the libraries, not into what unit tests link. */
extern const char br__commit[];
/* "bridge VERSION (COMMIT)" in the arena; never NULL. */
const char *br__version_text(struct br__arena *a);

/* ---- signals.c ------------------------------------------------------------------------------- */

/* Between the two, SIGBUS in a mapped file ends the program with a message and BR_E_IO, and SIGXFSZ
 * makes writing fail.  The caller's own handlers come back at the end. */
struct br__signals {
    struct sigaction bus, file_size;
};
void br__signals_begin(struct br__signals *old);
void br__signals_end(const struct br__signals *old);

/* ---- help.c ---------------------------------------------------------------------------------- */

void br__help_brief(void);                          /* `bridge` alone                      */
void br__help_command(const struct br__command *c); /* `bridge help import`               */

/* ---- output.c: stdout ------------------------------------------------------------------------ */

/* A JSON writer over a buffer: keys are NULL inside arrays.  Containers opened with
 * BR__JS_INLINE stay on one line. */
enum { BR__JS_INLINE = 1 };
struct br__js {
    struct br__buf buf;
    int depth, inline_depth; /* inline_depth: depth of the outermost inline container, 0 = none */
    uint8_t used[16];        /* per depth: something was written      */
    char close[16];
};
void br__js_object(struct br__js *j, const char *key, unsigned flags);
void br__js_array(struct br__js *j, const char *key, unsigned flags);
void br__js_end(struct br__js *j);
void br__js_str(struct br__js *j, const char *key, const char *s); /* NULL s: null */
void br__js_u64(struct br__js *j, const char *key, uint64_t v);
void br__js_i64(struct br__js *j, const char *key, int64_t v);
void br__js_num(struct br__js *j, const char *key, double v);
void br__js_bool(struct br__js *j, const char *key, int v);
void br__js_null(struct br__js *j, const char *key);
void br__js_raw(struct br__js *j, const char *key, const char *json); /* a finished JSON value */
void br__js_strs(struct br__js *j, const char *key, const char *const *s, size_t n);
void br__js_shape(struct br__js *j, const char *key, const int64_t *shape, int n);
/* Print and free; BR_E_NOMEM if the buffer failed on the way. */
int br__js_print(struct br__js *j, struct br_err *err) BR_MUST_CHECK;

/* Aligned columns.  The first row is the heading; a column whose heading starts with '>' is
 * aligned to the right. */
#define BR__TABLE_COLS 10
struct br__table {
    struct br__arena arena;
    const char **cells;
    size_t n, cap; /* cells */
    int cols;
    int failed; /* sticky */
};
void br__table_row(struct br__table *t, ...);                               /* t->cols strings */
int br__table_print(struct br__table *t, struct br_err *err) BR_MUST_CHECK; /* and free */

/* Print text that bridge did not write: names from files, replies of a hub, output of a model.
 * Control characters, characters that change the direction of text, and bytes that are not UTF-8
 * are escaped as \n, \x1b, \u202e.  tests/lint/prints.sh finds prints in this folder that bypass
 * these functions. */
enum br__text_kind {
    BR__TEXT_NAME,    /* one line                                                               */
    BR__TEXT_MESSAGE, /* keeps "\n  ", which begins a line of a list */
    BR__TEXT_PROSE,   /* keeps line breaks, tabs and direction marks */
    BR__TEXT_JSON /* finished JSON, where \u202e may stand for any control character that is left */
};
void br__buf_safe(struct br__buf *b, const char *s, size_t n, enum br__text_kind kind);
void br__print_safe(FILE *f, const char *s, size_t n, enum br__text_kind kind);
/* Print one line and its line break, escaped as BR__TEXT_NAME.  br__say_failed: memory ran out and
 * a line was lost. */
void br__say(FILE *f, const char *fmt, ...) BR_PRINTF(2, 3);
int br__say_failed(void);
/* Print requested bytes on stdout: unchanged into a file or pipe, as BR__TEXT_PROSE on a terminal.
 */
void br__print_model_text(const char *s, size_t n);
/* Append all of `in`.  b->failed: it was too long; ferror(in): reading failed. */
void br__read_all(FILE *in, struct br__buf *b);
/* Path or id as a shell word: quoted only if it must be.  In the arena; never NULL. */
const char *br__shell_word(struct br__arena *a, const char *s);

/* ---- report.c: stderr ------------------------------------------------------------------------ */

enum br__progress_style { BR__PROGRESS_NONE, BR__PROGRESS_LINES, BR__PROGRESS_BAR };

/* How a job talks to the user.  With --json notes and warnings are kept for the object;
 * otherwise they go to stderr as they come. */
struct br__report {
    struct br_listener listener; /* give this to the job */
    pthread_mutex_t lock;
    int quiet, json;
    int silent; /* not rank 0 of several processes */
    enum br__progress_style progress;
    int drawn;           /* lines of a bar or a block that stand at the terminal's bottom */
    int width;           /* bytes of the last of them */
    int notes_to_stdout; /* verify: differences are the command's output, so they go to stdout */
    char phase[128];
    double began, shown;
    uint64_t found; /* bytes that were there when the phase began: not counted in its speed */
    struct br__arena arena;
    struct br__map said; /* each remark is printed once */
    const char **notes, **warnings;
    size_t n_notes, cap_notes, n_warnings, cap_warnings;
    int failed; /* memory ran out and a remark was lost */
};
void br__report_init(struct br__report *r, const struct br__cli *c);
void br__report_note(struct br__report *r, const char *fmt, ...) BR_PRINTF(2, 3);
void br__report_warning(struct br__report *r, const char *fmt, ...) BR_PRINTF(2, 3);
void br__report_end(struct br__report *r); /* removes the bar; call it before any other output */
/* Size of the terminal; 1 if something may be drawn on it. */
int br__report_screen(const struct br__report *r, int *columns, int *lines);
/* A block of lines, with line breaks between them, in place of the bar or of the block before. */
void br__report_block(struct br__report *r, const char *text, int lines);
void br__report_leave(struct br__report *r);                  /* what is drawn stays */
void br__report_json(struct br__report *r, struct br__js *j); /* "notes" and "warnings" */
void br__report_free(struct br__report *r);
/* What is being done is told once it takes more than a second: a line, on a terminal until it ends.
 * text: plain ASCII, and there until then. */
struct br__wait {
    struct br__report *r;
    const char *text;
    pthread_t thread;
    pthread_cond_t ends;
    int running, over;
};
void br__wait_begin(struct br__wait *w, struct br__report *r, const char *text);
void br__wait_end(struct br__wait *w); /* zeroed or ended is fine */
/* From here on errors, warnings and notes are coloured, or not: --color, else NO_COLOR
 * (no-color.org), else whether stderr is a terminal that can do more than text. */
void br__color_begin(const struct br__cli *c);
/* "bridge: text" on stderr; where may be NULL or "". */
void br__print_error(const struct br_err *err, int verbose);

/* ---- the commands ---------------------------------------------------------------------------- */

#define BR_X(id, name) int br__cmd_##name(struct br__cli *c, struct br_err *err);
BR__CMD_MAP(BR_X)
#undef BR_X

/* cmd_model.c: what the commands that run a model share. */
struct br_tokenizer;
struct br_ids;
/* Fill o from the options of ON_ENGINE.  ID@revision is built in the arena. */
int br__llm_opts_from_cli(struct br__cli *c, struct br__report *r, struct br__llm_opts *o,
                          struct br_err *err) BR_MUST_CHECK;
/* Open the tokenizer of --tokenizer, else of the model's directory; BR_E_NOTFOUND says where it was
 * looked for. */
int br__tokenizer_for(struct br__cli *c, const struct br__llm *m, struct br_tokenizer **out,
                      const char **dir, struct br_err *err) BR_MUST_CHECK;
/* Append the ids of a text: non-negative integers between blanks and brackets, with at most one
 * comma between two of them.  `code` is the status for any other text. */
int br__parse_ids(const char *text, size_t n, struct br_ids *ids, int code,
                  struct br_err *err) BR_MUST_CHECK;
/* The ids of --input-ids, else of --prompt.  *tok is opened if it is needed, else NULL. */
int br__ids_from_cli(struct br__cli *c, const struct br__llm *m, struct br_tokenizer **tok,
                     struct br_ids *ids, struct br_err *err) BR_MUST_CHECK;
/* BR_E_CONFIG if an id is outside of the model's vocabulary. */
int br__ids_fit(const struct br__llm *m, const struct br_ids *ids,
                struct br_err *err) BR_MUST_CHECK;
/* Encode a text, with the tokens that the tokenizer puts before and behind one, as transformers
 * does.  What a chat template rendered has them already: it is not for this. */
int br__encode_for(const struct br__llm *m, const struct br_tokenizer *tok, const char *text,
                   size_t n, struct br_ids *ids, struct br_err *err) BR_MUST_CHECK;
/* Text of one token, in the arena: exact if it is UTF-8 without NUL, else escaped. */
const char *br__token_text(struct br__arena *a, const struct br_tokenizer *tok, int32_t id);

/* cmd_plugin.c: find a plugin by name, or load a file if the name has a slash or ends in .so. */
int br__open_plugin(struct br__cli *c, const char *name, struct br__registry **r,
                    const struct br__plugin **p, struct br_err *err) BR_MUST_CHECK;
/* job.c: options -> job; defaults that were chosen are noted in r. */
int br__job_from_cli(struct br__cli *c, struct br__report *r, struct br_job *job,
                     struct br_err *err) BR_MUST_CHECK;
/* cmd_plan.c: open a job without running it and print what it would do. */
int br__plan_show(struct br__cli *c, struct br__report *r, const struct br_job *job, int direction,
                  struct br_err *err) BR_MUST_CHECK;

/* ---- interrupt.c: runs that a signal ends ---------------------------------------------------- */

struct br__interrupt {
    const char *temp;       /* folder to remove, or NULL */
    void (*tell)(void *ud); /* else this is called, beside the run's threads, or NULL */
    void *ud;
    int held, running, last;
    _Atomic int over;
    pthread_t thread;
    sigset_t set, before;
};
/* Until br__interrupt_end, SIGINT, SIGTERM and SIGHUP remove `temp` or call `tell` before they end
 * the process. */
void br__interrupt_begin(struct br__interrupt *i, const char *temp, void (*tell)(void *ud),
                         void *ud);
/* The same in two steps: between them the signals wait, so that `temp` can be made. */
void br__interrupt_hold(struct br__interrupt *i);
void br__interrupt_start(struct br__interrupt *i, const char *temp, void (*tell)(void *ud),
                         void *ud);
/* For tell: one line with what is kept to go on with, how big it is, the command that goes on and
 * the one that removes it. */
struct br__kept {
    const struct br__cli *c;
    const char *dest; /* the result's directory, or a model's id; NULL: nothing is kept */
    int is_id;
};
void br__tell_kept(void *kept);
/* The command line as a shell reads it; in the arena, never NULL. */
const char *br__command_line(struct br__arena *a, const struct br__cli *c);
void br__interrupt_end(struct br__interrupt *i); /* zeroed is fine */

#endif
