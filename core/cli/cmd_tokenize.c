/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cmd_tokenize.c - tokenize: text to ids and back, one input or a line at a time in bulk. */
#include "cli.h"

#include <bridge/tokenizer.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_INPUT ((size_t)1 << 34)
/* A batch is read until it has about this many bytes; a task gets this many of them. */
#define BATCH_BYTES ((size_t)8 << 20)
#define TASK_BYTES ((size_t)1 << 16)

struct totals {
    uint64_t tokens, bytes;
    double seconds; /* CPU time inside encode, summed over all threads */
};

/* Consecutive lines of a batch, and their output. */
struct task {
    size_t first, last; /* lines */
    struct br__buf out;
    struct totals totals;
};

struct bulk {
    const struct br_tokenizer *tok;
    unsigned flags;
    int decode, count;
    struct br__buf in; /* the batch's lines, one after the other */
    size_t *ends;      /* [n_lines] of each in `in` */
    size_t n_lines, cap_lines;
    size_t line0; /* lines before the batch */
    struct task *tasks;
    size_t n_tasks, cap_tasks;
    struct totals totals;
};

/* CPU seconds of this thread, for a speed per core that does not depend on the load. */
static double cpu_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- ids as text ----------------------------------------------------------------------------- */

static void put_id(struct br__buf *b, int32_t id, const char *before)
{
    char text[16];
    size_t at = sizeof text;
    do
        text[--at] = (char)('0' + id % 10);
    while (id /= 10);
    br__buf_puts(b, before);
    br__buf_put(b, text + at, sizeof text - at);
}

static void put_ids(struct br__buf *b, const struct br_ids *ids, const char *between)
{
    for (size_t i = 0; i < ids->n; i++)
        put_id(b, ids->p[i], i ? between : "");
}

static int add_id(struct br_ids *ids, int64_t id, struct br_err *err)
{
    if (id < 0 || id > INT32_MAX)
        return br_fail(err, BR_E_FORMAT, "%" PRId64 " is no token id, expected 0 to %d", id,
                       INT32_MAX);
    if (br__grow(&ids->p, &ids->cap, ids->n, sizeof *ids->p))
        return br__nomem(err, "tokenizing");
    ids->p[ids->n++] = (int32_t)id;
    return BR_OK;
}

/* ---- one line of many ------------------------------------------------------------------------ */

static int line_text(struct br__jscan *j, struct br__buf *text)
{
    text->n = 0;
    br__buf_put(text, "", 0);
    return br__jscan_string(j, text);
}

static int line_ids(struct br__jscan *j, struct br_ids *ids, struct br_err *err)
{
    int64_t id;
    int rc = br__jscan_enter(j, 'a');
    ids->n = 0;
    while (!rc && br__jscan_next(j)) {
        rc = br__jscan_i64(j, &id);
        if (!rc)
            rc = add_id(ids, id, err);
    }
    return rc ? rc : j->rc;
}

/* Read the member that holds the text; check the rest of the object and leave it as it is. */
static int read_line(const struct bulk *b, const char *s, size_t n, struct br__buf *text,
                     struct br_ids *ids, struct br_err *err)
{
    const char *want = b->decode ? "ids" : "text";
    struct br__jscan j;
    struct br__buf key = {0};
    int found = 0;
    br__jscan_begin(&j, s, n, err);
    int rc = br__jscan_enter(&j, 'o');
    while (!rc && br__jscan_next(&j)) {
        rc = br__jscan_key(&j, &key);
        if (rc)
            break;
        if (strcmp(key.p, want) != 0)
            rc = br__jscan_skip(&j);
        else if (found++)
            rc = br_fail(err, BR_E_FORMAT, "two members \"%s\"", want);
        else
            rc = b->decode ? line_ids(&j, ids, err) : line_text(&j, text);
    }
    br__buf_free(&key);
    rc = rc ? rc : br__jscan_end(&j);
    if (!rc && !found)
        return br_fail(err, BR_E_FORMAT, "no member \"%s\"", want);
    return rc;
}

static int encode_counted(const struct bulk *b, const char *text, size_t n, struct br_ids *ids,
                          struct totals *totals, struct br_err *err)
{
    double began = cpu_now();
    ids->n = 0;
    int rc = br_tokenizer_encode(b->tok, text, n, b->flags, ids, err);
    totals->seconds += cpu_now() - began;
    totals->tokens += ids->n;
    totals->bytes += n;
    return rc;
}

static int decode_line(const struct bulk *b, const struct br_ids *ids, struct br__buf *out,
                       struct br_err *err)
{
    static const struct {
        const char *before;
        unsigned flags;
    } members[] = {{"{\"text\": ", 0}, {", \"text_skip_special\": ", BR_TOK_SKIP_SPECIAL}};
    struct br_text text = {0};
    int rc = BR_OK;
    for (size_t i = 0; i < BR_COUNTOF(members) && !rc; i++) {
        text.n = 0;
        rc = br_tokenizer_decode(b->tok, ids->p, ids->n, members[i].flags, &text, err);
        br__buf_puts(out, members[i].before);
        if (!rc)
            br__buf_json_text(out, text.p, text.n);
    }
    br__buf_puts(out, "}\n");
    br_text_free(&text);
    return rc;
}

static int work_on_line(const struct bulk *b, struct task *t, size_t line, struct br__buf *text,
                        struct br_ids *ids, struct br_err *err)
{
    size_t start = line ? b->ends[line - 1] : 0, before = t->out.n;
    int rc = read_line(b, b->in.p + start, b->ends[line] - start, text, ids, err);
    if (!rc && b->decode)
        rc = decode_line(b, ids, &t->out, err);
    else if (!rc)
        rc = encode_counted(b, text->p, text->n, ids, &t->totals, err);
    if (!rc && !b->decode && !b->count) {
        br__buf_puts(&t->out, "{\"ids\": [");
        put_ids(&t->out, ids, ", ");
        br__buf_puts(&t->out, "]}\n");
    }
    if (!rc && t->out.failed)
        rc = br_fail(err, t->out.failed, "cannot hold the result in memory");
    if (rc) {
        t->out.n = BR__MIN(before, t->out.n);
        br_wrap(err, "line %zu", b->line0 + line + 1);
    }
    return rc;
}

static int run_task(void *arg, size_t i, int worker, struct br_err *err)
{
    struct bulk *b = arg;
    struct task *t = &b->tasks[i];
    struct br__buf text = {.max = MAX_INPUT};
    struct br_ids ids = {0};
    int rc = BR_OK;
    (void)worker;
    for (size_t line = t->first; line < t->last && !rc; line++)
        rc = work_on_line(b, t, line, &text, &ids, err);
    br__buf_free(&text);
    br_ids_free(&ids);
    return rc;
}

/* ---- many lines ------------------------------------------------------------------------------ */

/* Read lines up to BATCH_BYTES; none at the end of the input. */
static int read_batch(struct bulk *b, FILE *in, struct br_err *err)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    int rc = BR_OK;
    b->line0 += b->n_lines;
    b->in.n = 0;
    b->n_lines = 0;
    while (!rc && b->in.n < BATCH_BYTES && (n = getline(&line, &cap, in)) > 0) {
        br__buf_put(&b->in, line, (size_t)n);
        if (b->in.failed || br__grow(&b->ends, &b->cap_lines, b->n_lines, sizeof *b->ends))
            rc = br__nomem(err, "tokenizing");
        else
            b->ends[b->n_lines++] = b->in.n;
    }
    free(line);
    return rc;
}

static int cut_tasks(struct bulk *b, struct br_err *err)
{
    b->n_tasks = 0;
    for (size_t line = 0; line < b->n_lines; b->n_tasks++) {
        size_t first = line, start = line ? b->ends[line - 1] : 0;
        if (br__grow(&b->tasks, &b->cap_tasks, b->n_tasks, sizeof *b->tasks))
            return br__nomem(err, "tokenizing");
        while (line < b->n_lines && (line == first || b->ends[line] - start <= TASK_BYTES))
            line++;
        b->tasks[b->n_tasks] = (struct task){first, line, {.max = MAX_INPUT}, {0}};
    }
    return BR_OK;
}

/* Print results up to the first task that failed. */
static void print_tasks(struct bulk *b)
{
    for (size_t i = 0; i < b->n_tasks; i++) {
        struct task *t = &b->tasks[i];
        br__print_model_text(t->out.n ? t->out.p : "", t->out.n);
        br__buf_free(&t->out);
        b->totals.tokens += t->totals.tokens;
        b->totals.bytes += t->totals.bytes;
        b->totals.seconds += t->totals.seconds;
    }
}

static int run_bulk(struct bulk *b, FILE *in, int threads, struct br_err *err)
{
    int rc;
    do {
        rc = read_batch(b, in, err);
        if (!rc)
            rc = cut_tasks(b, err);
        if (!rc)
            rc = br__pool_run(threads, b->n_tasks, run_task, b, err);
        print_tasks(b);
    } while (!rc && b->n_lines);
    br__buf_free(&b->in);
    br__free(b->ends);
    br__free(b->tasks);
    return rc;
}

/* ---- one input ------------------------------------------------------------------------------- */

static int read_all(FILE *in, struct br__buf *text, struct br_err *err)
{
    br__read_all(in, text);
    return text->failed ? br_fail(err, text->failed, "cannot hold the input in memory") : BR_OK;
}

static int print_text(const struct br_text *text, int json, struct br_err *err)
{
    struct br__buf b = {.max = MAX_INPUT};
    if (!json) {
        br__print_model_text(text->p, text->n);
        return BR_OK;
    }
    br__buf_puts(&b, "{\"text\": ");
    br__buf_json_text(&b, text->p, text->n);
    br__buf_puts(&b, "}\n");
    if (!b.failed)
        br__print_model_text(b.p, b.n);
    int rc = b.failed ? br_fail(err, b.failed, "cannot hold the text in memory") : BR_OK;
    br__buf_free(&b);
    return rc;
}

static int decode_one(const struct bulk *b, const struct br__buf *input, int json,
                      struct br_err *err)
{
    struct br_ids ids = {0};
    struct br_text text = {0};
    int rc = br__parse_ids(input->p, input->n, &ids, BR_E_FORMAT, err);
    if (!rc)
        rc = br_tokenizer_decode(b->tok, ids.p, ids.n, b->flags, &text, err);
    if (!rc)
        rc = print_text(&text, json, err);
    br_ids_free(&ids);
    br_text_free(&text);
    return rc;
}

static int print_ids(const struct br_ids *ids, int json, struct br_err *err)
{
    struct br__buf b = {.max = MAX_INPUT};
    br__buf_puts(&b, json ? "{\"ids\": [" : "");
    put_ids(&b, ids, json ? ", " : " ");
    br__buf_puts(&b, json ? "]}\n" : "\n");
    if (!b.failed)
        br__print_model_text(b.p, b.n);
    int rc = b.failed ? br_fail(err, b.failed, "cannot hold the ids in memory") : BR_OK;
    br__buf_free(&b);
    return rc;
}

static int encode_one(struct bulk *b, const struct br__buf *input, int json, struct br_err *err)
{
    struct br_ids ids = {0};
    int rc = encode_counted(b, input->p, input->n, &ids, &b->totals, err);
    if (!rc && !b->count)
        rc = print_ids(&ids, json, err);
    br_ids_free(&ids);
    return rc;
}

static int run_one(struct bulk *b, FILE *in, int json, struct br_err *err)
{
    struct br__buf input = {.max = MAX_INPUT};
    int rc = read_all(in, &input, err);
    if (!rc)
        rc = b->decode ? decode_one(b, &input, json, err) : encode_one(b, &input, json, err);
    br__buf_free(&input);
    return rc;
}

/* ---- the command ----------------------------------------------------------------------------- */

static int print_count(const struct bulk *b, int json, double open_seconds, struct br_err *err)
{
    const struct totals *t = &b->totals;
    struct br__js j = {0};
    if (!json) {
        br__say(stdout, "%" PRIu64, t->tokens);
        return BR_OK;
    }
    br__js_object(&j, NULL, 0);
    br__js_u64(&j, "tokens", t->tokens);
    br__js_u64(&j, "bytes", t->bytes);
    br__js_num(&j, "cpu_seconds", t->seconds);
    br__js_num(&j, "bytes_per_cpu_second", t->seconds > 0 ? (double)t->bytes / t->seconds : 0);
    br__js_num(&j, "open_cpu_seconds", open_seconds);
    br__js_u64(&j, "memory_bytes", br_tokenizer_memory(b->tok));
    br__js_end(&j);
    return br__js_print(&j, err);
}

static int check_options(const struct br__cli *c, struct br_err *err)
{
    int decode = BR__FLAG(c, DECODE);
    if (!BR__FLAG(c, TOK_DIR) == !BR__FLAG(c, HF_MODEL))
        return br_fail(err, BR_E_USAGE, "'tokenize' needs %s --tokenizer DIR and --hf-model DIR",
                       BR__FLAG(c, TOK_DIR) ? "only one of" : "one of");
    if (decode && (BR__FLAG(c, COUNT) || BR__FLAG(c, NO_ADDED) || BR__FLAG(c, ADD_SPECIAL)))
        return br_fail(err, BR_E_USAGE, "--%s is about encoding, and --decode was given",
                       BR__FLAG(c, COUNT)      ? "count"
                       : BR__FLAG(c, NO_ADDED) ? "no-added"
                                               : "add-special");
    if (BR__FLAG(c, SKIP_SPECIAL) && (!decode || BR__FLAG(c, JSONL)))
        return br_fail(err, BR_E_USAGE, "--skip-special goes with --decode%s",
                       decode ? " of one text; --jsonl gives both" : "");
    return BR_OK;
}

static int tokenize_run(struct br__cli *c, struct bulk *b, struct br_err *err)
{
    const char *path = c->n_pos ? c->pos[0] : NULL;
    FILE *in = path ? fopen(path, "rb") : stdin;
    if (!in)
        return br_fail(err, errno == ENOENT ? BR_E_NOTFOUND : BR_E_IO, "cannot open '%s': %s", path,
                       strerror(errno));
    errno = 0;
    int rc = BR__FLAG(c, JSONL) ? run_bulk(b, in, (int)BR__INT(c, THREADS), err)
                                : run_one(b, in, BR__FLAG(c, JSON), err);
    if (ferror(in) && rc != BR_E_NOMEM)
        rc = br_fail(err, BR_E_IO, "cannot read '%s': %s", path ? path : "standard input",
                     strerror(errno));
    else if (rc && path)
        br_wrap(err, "%s", path);
    if (path)
        fclose(in);
    return rc;
}

int br__cmd_tokenize(struct br__cli *c, struct br_err *err)
{
    const char *id = BR__FLAG(c, TOK_DIR) ? BR__TEXT(c, TOK_DIR) : BR__TEXT(c, HF_MODEL);
    struct br_tokenizer *tok = NULL;
    const char *dir;
    int rc = check_options(c, err);
    if (!rc)
        rc = br__hf_resolve(&c->arena, id, &dir, err);
    double began = cpu_now();
    if (!rc)
        rc = br_tokenizer_open(&tok, dir, err);
    if (rc)
        return rc;
    double open_seconds = cpu_now() - began;
    struct bulk b = {.tok = tok,
                     .decode = BR__FLAG(c, DECODE),
                     .count = BR__FLAG(c, COUNT),
                     .in = {.max = MAX_INPUT}};
    b.flags = (BR__FLAG(c, NO_ADDED) ? BR_TOK_NO_ADDED : 0u) |
              (BR__FLAG(c, ADD_SPECIAL) ? BR_TOK_ADD_SPECIAL : 0u) |
              (BR__FLAG(c, SKIP_SPECIAL) ? BR_TOK_SKIP_SPECIAL : 0u);
    rc = tokenize_run(c, &b, err);
    if (!rc && b.count)
        rc = print_count(&b, BR__FLAG(c, JSON), open_seconds, err);
    br_tokenizer_close(tok);
    return rc;
}
