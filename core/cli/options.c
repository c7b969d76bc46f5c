/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* options.c - argv -> struct br__cli, by the rows of options.def.
 *
 * Two passes, because options may stand before the command that gives them their meaning: the
 * first splits argv into options and bare words (it needs to know only which options take a
 * value), then the bare words name the command, and the second pass finds each option's row
 * among those that the command takes and reads its value. */
#include "cli.h"

#include <inttypes.h>
#include <string.h>

/* Kinds are short in the table. */
#define KIND_(kind) BR__KIND_##kind
const struct br__option br__options[BR__N_OPT] = {
    [BR__OPT_NONE] = {"", "", 0, BR__KIND_FLAG, 0, 0, NULL, NULL, 0, ""},
#define OPT(id, name, aliases, letter, kind, min, max, arg, dflt, on, help)                        \
    [BR__OPT_##id] = {name, aliases, letter, KIND_(kind), min, max, arg, dflt, on, help},
#include "options.def"
#undef OPT
};

/* One option as it was typed. */
struct token {
    const char *typed; /* "--hf_model", for messages         */
    const char *name;  /* "hf-model"; NULL: it was a letter  */
    char letter;
    const char **values; /* several only for LIST options    */
    size_t n_values;
};

struct tokens {
    struct token *opt;
    size_t n_opt;
    const char **bare;
    size_t n_bare;
};

/* ---- looking options up ---------------------------------------------------------------------- */

/* 1 if `word` of length n is among the words of `list`, which are separated by `sep`; *index
 * is its position. */
static int in_list(const char *list, char sep, const char *word, size_t n, int *index)
{
    int i = 0;

    for (const char *p = list; *p; i++) {
        size_t len = strcspn(p, (char[]){sep, 0});
        if (len == n && !memcmp(p, word, n)) {
            if (index)
                *index = i;
            return 1;
        }
        p += len + (p[len] == sep);
    }
    return 0;
}

static int is_spelled(const struct br__option *o, const struct token *t)
{
    if (!t->name)
        return o->letter && o->letter == t->letter;
    return !strcmp(o->name, t->name) || in_list(o->aliases, ' ', t->name, strlen(t->name), NULL);
}

/* The row of an option among those that any of the commands `on` takes: its id, or NONE. */
static int find_option(const struct token *t, uint64_t on)
{
    for (int i = 1; i < BR__N_OPT; i++)
        if ((br__options[i].on & on) && is_spelled(&br__options[i], t))
            return i;
    return BR__OPT_NONE;
}

static int takes_value(const struct br__option *o)
{
    return o->arg != NULL;
}

/* Edit distance of a misspelt word to a candidate; small if the word begins the candidate. */
static int option_distance(const char *word, const char *candidate)
{
    return br__starts(candidate, word) ? 1 : br__edit_distance(word, candidate);
}

/* Suggest only a word that shares most of its letters. */
static int near_enough(const char *word)
{
    return 1 + (int)strlen(word) / 4;
}

static const char *near_option(const char *name)
{
    const char *best = NULL;
    int best_d = near_enough(name) + 1;

    for (int i = 1; i < BR__N_OPT; i++) {
        int d = option_distance(name, br__options[i].name);
        if (d < best_d) {
            best = br__options[i].name;
            best_d = d;
        }
    }
    return best;
}

static int unknown_option(const struct token *t, struct br_err *err)
{
    const char *near = t->name ? near_option(t->name) : NULL;

    if (near)
        return br_fail(err, BR_E_USAGE, "unknown option '%s'; did you mean '--%s'?", t->typed,
                       near);
    return br_fail(err, BR_E_USAGE, "unknown option '%s'", t->typed);
}

/* ---- commands by name ------------------------------------------------------------------------ */

const struct br__command *br__command_find(const char *name)
{
    for (int i = 0; i < BR__N_CMD; i++)
        if (!strcmp(br__commands[i].name, name))
            return &br__commands[i];
    return NULL;
}

int br__command_is_group(const char *word)
{
    size_t n = strlen(word);

    for (int i = 0; i < BR__N_CMD; i++)
        if (br__starts(br__commands[i].name, word) && br__commands[i].name[n] == ' ')
            return 1;
    return 0;
}

const char *br__command_near(const char *word)
{
    const char *best = NULL;
    int best_d = near_enough(word) + 1;

    for (int i = 0; i < BR__N_CMD; i++) {
        int d = option_distance(word, br__commands[i].name);
        if (d < best_d) {
            best = br__commands[i].name;
            best_d = d;
        }
    }
    return best;
}

/* "import, export": the second words of a group, for a message. */
static void group_words(struct br__buf *b, const char *group)
{
    size_t n = strlen(group);

    for (int i = 0; i < BR__N_CMD; i++) {
        const char *name = br__commands[i].name;
        if (br__starts(name, group) && name[n] == ' ')
            br__buf_printf(b, "%s%s", b->n ? ", " : "", name + n + 1);
    }
}

static int group_error(const char *group, const char *second, struct br_err *err)
{
    struct br__buf b = {0};
    int rc;

    group_words(&b, group);
    if (b.failed)
        rc = br__nomem(err, "reading the command line");
    else if (second)
        rc = br_fail(err, BR_E_USAGE, "'%s' has no '%s'; it has: %s", group, second, b.p);
    else
        rc = br_fail(err, BR_E_USAGE, "'%s' needs one of: %s", group, b.p);
    br__buf_free(&b);
    return rc;
}

/* ---- first pass: options and bare words ------------------------------------------------------ */

static char *normal_name(struct br__arena *a, const char *s, size_t n)
{
    char *name = br__arena_strndup(a, s, n);

    for (char *p = name; p && *p; p++)
        if (*p == '_')
            *p = '-';
    return name;
}

/* The command line while it is split; argv[i] is the word being read. */
struct words {
    int argc;
    char **argv;
    int i;
};

/* The value of option t: the text after '=', else the next words, past which w moves. */
static int take_values(struct token *t, const struct br__option *o, const char *inline_value,
                       struct words *w, struct br_err *err)
{
    if (inline_value) {
        t->values[t->n_values++] = inline_value;
    } else {
        if (w->i + 1 >= w->argc)
            return br_fail(err, BR_E_USAGE, "option '%s' needs a value: %s", t->typed, o->arg);
        const char *next = w->argv[w->i + 1];
        if (br__starts(next, "--"))
            return br_fail(err, BR_E_USAGE, "option '%s' needs a value: %s, got option '%s'",
                           t->typed, o->arg, next);
        t->values[t->n_values++] = w->argv[++w->i];
    }
    while (o->kind == BR__KIND_LIST && w->i + 1 < w->argc && w->argv[w->i + 1][0] != '-' &&
           strchr(w->argv[w->i + 1], '='))
        t->values[t->n_values++] = w->argv[++w->i];
    return BR_OK;
}

/* Add an option whose id is known.  There is room: argc bounds the number of values. */
static int add_option(struct br__cli *c, struct tokens *ts, struct token *t,
                      const char *inline_value, struct words *w, struct br_err *err)
{
    int id = find_option(t, ~UINT64_C(0));

    if (!id)
        return unknown_option(t, err);
    if (!takes_value(&br__options[id])) {
        if (inline_value)
            return br_fail(err, BR_E_USAGE, "option '%s' takes no value, got '%s'", t->typed,
                           inline_value);
    } else {
        t->values = br__arena_alloc(&c->arena, (size_t)(w->argc - w->i) * sizeof *t->values + 1);
        if (!t->values)
            return br__nomem(err, "reading the command line");
        int rc = take_values(t, &br__options[id], inline_value, w, err);
        if (rc)
            return rc;
    }
    ts->opt[ts->n_opt++] = *t;
    return BR_OK;
}

static int long_option(struct br__cli *c, struct tokens *ts, const char *body, struct words *w,
                       struct br_err *err)
{
    const char *word = w->argv[w->i];
    size_t n = strcspn(body, "=");
    struct token t = {0};

    t.typed = br__arena_strndup(&c->arena, word, (size_t)(body - word) + n);
    t.name = normal_name(&c->arena, body, n);
    if (!t.typed || !t.name)
        return br__nomem(err, "reading the command line");
    return add_option(c, ts, &t, body[n] ? body + n + 1 : NULL, w, err);
}

/* -qv, -j4, -j 4; also -tp, as Megatron Bridge's own launcher spells it. */
static int short_options(struct br__cli *c, struct tokens *ts, struct words *w, struct br_err *err)
{
    const char *word = w->argv[w->i] + 1;
    struct token whole = {.typed = w->argv[w->i]};

    whole.name = normal_name(&c->arena, word, strcspn(word, "="));
    if (!whole.name)
        return br__nomem(err, "reading the command line");
    if (word[1] && find_option(&whole, ~UINT64_C(0)))
        return long_option(c, ts, word, w, err);
    for (const char *p = word; *p; p++) {
        struct token t = {.letter = *p};
        t.typed = br__arena_printf(&c->arena, "-%c", *p);
        if (!t.typed)
            return br__nomem(err, "reading the command line");
        int id = find_option(&t, ~UINT64_C(0));
        int last = id && takes_value(&br__options[id]) && p[1];
        int rc = add_option(c, ts, &t, last ? p + 1 : NULL, w, err);
        if (rc || last)
            return rc;
    }
    return BR_OK;
}

static int option_split(struct br__cli *c, struct tokens *ts, int argc, char **argv,
                        struct br_err *err)
{
    size_t letters = 1; /* upper bound of the number of options: -abc is three */

    for (int i = 1; i < argc; i++)
        letters += strlen(argv[i]) + 1;
    ts->bare = br__arena_alloc(&c->arena, (size_t)argc * sizeof *ts->bare + 1);
    ts->opt = br__arena_alloc(&c->arena, BR__MIN(letters, (size_t)argc * 64) * sizeof *ts->opt);
    if (!ts->bare || !ts->opt)
        return br__nomem(err, "reading the command line");
    for (struct words w = {argc, argv, 1}; w.i < argc; w.i++) {
        const char *word = argv[w.i];
        int rc = BR_OK;
        if (!strcmp(word, "--")) {
            while (++w.i < argc)
                ts->bare[ts->n_bare++] = argv[w.i];
        } else if (br__starts(word, "--")) {
            rc = long_option(c, ts, word + 2, &w, err);
        } else if (word[0] == '-' && word[1]) {
            if (strlen(word) > 64)
                return br_fail(err, BR_E_USAGE, "unknown option '%.60s...'", word);
            rc = short_options(c, ts, &w, err);
        } else {
            ts->bare[ts->n_bare++] = word;
        }
        if (rc)
            return rc;
    }
    return BR_OK;
}

/* ---- values ---------------------------------------------------------------------------------- */

static int size_parse(const char *text, uint64_t *bytes)
{
    static const struct {
        const char *unit;
        double factor;
    } units[] = {
        {"", 1},          {"B", 1},
        {"K", 1e3},       {"KB", 1e3},
        {"M", 1e6},       {"MB", 1e6},
        {"G", 1e9},       {"GB", 1e9},
        {"T", 1e12},      {"TB", 1e12},
        {"KIB", 1024},    {"MIB", 1 << 20},
        {"GIB", 1 << 30}, {"TIB", 1099511627776.0},
    };
    char number[32], unit[8] = {0};
    size_t n = strspn(text, "0123456789."), u = 0;
    double v;

    if (n == 0 || n >= sizeof number)
        return BR_E_USAGE;
    memcpy(number, text, n);
    number[n] = 0;
    if (br__parse_f64(number, &v))
        return BR_E_USAGE;
    for (const char *p = text + n + strspn(text + n, " "); *p; p++) {
        if (u + 1 >= sizeof unit)
            return BR_E_USAGE;
        unit[u++] = *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p;
    }
    for (size_t i = 0; i < BR_COUNTOF(units); i++) {
        if (strcmp(unit, units[i].unit))
            continue;
        if (v * units[i].factor < 1 || v * units[i].factor >= 9e18)
            return BR_E_USAGE;
        *bytes = (uint64_t)(v * units[i].factor);
        return BR_OK;
    }
    return BR_E_USAGE;
}

/* torch's name of a dtype that users abbreviate. */
static const char *dtype_word(const char *s)
{
    static const char *const abbreviations[][2] = {
        {"bf16", "bfloat16"}, {"fp16", "float16"}, {"f16", "float16"},   {"half", "float16"},
        {"fp32", "float32"},  {"f32", "float32"},  {"float", "float32"},
    };

    if (br__starts(s, "torch."))
        s += strlen("torch.");
    for (size_t i = 0; i < BR_COUNTOF(abbreviations); i++)
        if (!strcmp(s, abbreviations[i][0]))
            return abbreviations[i][1];
    return s;
}

static int bad_value(const struct br__option *o, const char *typed, const char *text,
                     struct br_err *err)
{
    switch (o->kind) {
    case BR__KIND_INT:
        return br_fail(err, BR_E_USAGE,
                       "option '%s' is '%s', expected a whole number from %" PRId64 " to %" PRId64,
                       typed, text, o->min, o->max);
    case BR__KIND_FLOAT:
        return br_fail(err, BR_E_USAGE,
                       "option '%s' is '%s', expected a number from %" PRId64 " to %" PRId64, typed,
                       text, o->min, o->max);
    case BR__KIND_SIZE:
        return br_fail(err, BR_E_USAGE, "option '%s' is '%s', expected a size such as 500MB or 5GB",
                       typed, text);
    case BR__KIND_LIST:
        return br_fail(err, BR_E_USAGE, "option '%s' is '%s', expected key=value", typed, text);
    default:
        return br_fail(err, BR_E_USAGE, "option '%s' is '%s', expected %s", typed, text, o->arg);
    }
}

static int read_value(const struct br__option *o, const char *text, struct br__cli_value *v)
{
    uint64_t bytes = 0;
    int index = 0;

    v->text = text;
    switch (o->kind) {
    case BR__KIND_INT:
        return br__parse_i64(text, &v->i) || v->i < o->min || v->i > o->max;
    case BR__KIND_FLOAT:
        return br__parse_f64(text, &v->f) || v->f < (double)o->min || v->f > (double)o->max;
    case BR__KIND_SIZE:
        if (size_parse(text, &bytes))
            return 1;
        v->i = (int64_t)bytes;
        return v->i < o->min || v->i > o->max;
    case BR__KIND_DTYPE:
        text = dtype_word(text);
        v->i = br_dtype_from_torch(text); /* "auto" is no dtype: BR_NONE */
        return !in_list(o->arg, '|', text, strlen(text), NULL);
    case BR__KIND_CHOICE:
        if (!in_list(o->arg, '|', text, strlen(text), &index))
            return 1;
        v->i = index;
        return 0;
    case BR__KIND_LIST:
        return !strchr(text, '=') || text[0] == '=';
    default:
        return 0;
    }
}

/* Refuse an empty value: it is an unset shell variable, and nobody means to write to "". */
static int set_value(struct br__cli *c, int id, const struct token *t, struct br_err *err)
{
    const struct br__option *o = &br__options[id];
    struct br__cli_value *v = &c->opt[id];

    for (size_t i = 0; i < t->n_values; i++) {
        if (!t->values[i][0])
            return br_fail(err, BR_E_USAGE, "option '%s' is empty, expected %s", t->typed, o->arg);
        if (read_value(o, t->values[i], v))
            return bad_value(o, t->typed, t->values[i], err);
    }
    v->set = 1;
    if (o->kind == BR__KIND_IDLE) {
        c->idle[c->n_idle] = br__arena_printf(&c->arena, "%s has no effect: %s", t->typed, o->help);
        return c->idle[c->n_idle++] ? BR_OK : br__nomem(err, "reading the command line");
    }
    if (o->kind != BR__KIND_LIST && o->kind != BR__KIND_WORDS)
        return BR_OK;
    const char **all = br__arena_alloc(&c->arena, (v->n_list + t->n_values) * sizeof *all);
    if (!all)
        return br__nomem(err, "reading the command line");
    if (v->n_list)
        memcpy(all, v->list, v->n_list * sizeof *all);
    memcpy(all + v->n_list, t->values, t->n_values * sizeof *all);
    v->list = all;
    v->n_list += t->n_values;
    return BR_OK;
}

/* ---- second pass: the command and its options ------------------------------------------------ */

/* Which command the bare words name; *used = how many words that took. */
static int find_command(struct br__cli *c, const struct tokens *ts, size_t *used,
                        struct br_err *err)
{
    const char *first = ts->n_bare ? ts->bare[0] : NULL;

    *used = 0;
    if (!first)
        return BR_OK;
    *used = 1;
    c->cmd = br__command_find(first);
    if (c->cmd && ts->n_bare > 1) { /* "train", and "train report" */
        const char *two = br__arena_printf(&c->arena, "%s %s", first, ts->bare[1]);
        const struct br__command *longer = two ? br__command_find(two) : NULL;
        *used += longer != NULL;
        c->cmd = longer ? longer : c->cmd;
    }
    if (c->cmd)
        return BR_OK;
    if (!br__command_is_group(first)) {
        const char *near = br__command_near(first);
        if (near)
            return br_fail(err, BR_E_USAGE, "unknown command '%s'; did you mean '%s'?", first,
                           near);
        return br_fail(err, BR_E_USAGE, "unknown command '%s'", first);
    }
    c->group = first;
    if (ts->n_bare < 2)
        return BR_OK;
    *used = 2;
    const char *name = br__arena_printf(&c->arena, "%s %s", first, ts->bare[1]);
    if (!name)
        return br__nomem(err, "reading the command line");
    c->cmd = br__command_find(name);
    return c->cmd ? BR_OK : group_error(first, ts->bare[1], err);
}

/* "import, verify": the commands that take an option. */
static int wrong_command(const struct br__cli *c, const struct token *t, struct br_err *err)
{
    const struct br__option *o = &br__options[find_option(t, ~UINT64_C(0))];
    struct br__buf b = {0};
    int rc;

    for (int i = 0; i < BR__N_CMD; i++)
        if (o->on >> i & 1)
            br__buf_printf(&b, "%s%s", b.n ? ", " : "", br__commands[i].name);
    if (b.failed)
        rc = br__nomem(err, "reading the command line");
    else
        rc = br_fail(err, BR_E_USAGE, "option '%s' is not for '%s'; it is for: %s", t->typed,
                     c->cmd->name, b.p);
    br__buf_free(&b);
    return rc;
}

static int assign_options(struct br__cli *c, const struct tokens *ts, struct br_err *err)
{
    uint64_t on = c->cmd ? UINT64_C(1) << (c->cmd - br__commands) : ~UINT64_C(0);

    c->idle = br__arena_alloc(&c->arena, ts->n_opt * sizeof *c->idle + 1);
    if (!c->idle)
        return br__nomem(err, "reading the command line");
    for (size_t i = 0; i < ts->n_opt; i++) {
        int id = find_option(&ts->opt[i], on);
        int rc = id ? set_value(c, id, &ts->opt[i], err) : wrong_command(c, &ts->opt[i], err);
        if (rc)
            return rc;
    }
    return BR_OK;
}

/* Assign a bare argument to the first option that it can stand for and that was not given by name;
 * commands without such options get it in c->pos. */
static int assign_bare(struct br__cli *c, const struct tokens *ts, size_t used, struct br_err *err)
{
    const struct br__command *cmd = c->cmd;

    c->pos = ts->bare + used;
    if (!cmd || !cmd->pos_opt[0]) {
        c->n_pos = ts->n_bare - used;
        return BR_OK;
    }
    for (size_t i = used; i < ts->n_bare; i++) {
        int k = 0;
        while (k < BR__MAX_POS && cmd->pos_opt[k] && c->opt[cmd->pos_opt[k]].set)
            k++;
        int full = k == BR__MAX_POS || !cmd->pos_opt[k];
        if (full && cmd->max_pos) { /* the rest is the command's own: FILE... */
            c->pos = ts->bare + i;
            c->n_pos = ts->n_bare - i;
            return BR_OK;
        }
        if (full)
            return br_fail(err, BR_E_USAGE, "unexpected argument '%s': --%s is '%s' already",
                           ts->bare[i], br__options[cmd->pos_opt[0]].name,
                           c->opt[cmd->pos_opt[0]].text);
        struct token t = {.typed = ts->bare[i], .values = &ts->bare[i], .n_values = 1};
        int rc = set_value(c, cmd->pos_opt[k], &t, err);
        if (rc)
            return rc;
    }
    return BR_OK;
}

int br__cli_parse(struct br__cli *c, int argc, char **argv, struct br_err *err)
{
    struct tokens ts = {0};
    size_t used;
    c->argc = argc;
    c->argv = argv;
    int rc = option_split(c, &ts, argc, argv, err);

    if (!rc)
        rc = find_command(c, &ts, &used, err);
    if (!rc)
        rc = assign_options(c, &ts, err);
    if (!rc)
        rc = assign_bare(c, &ts, used, err);
    return rc;
}

int br__cli_check(const struct br__cli *c, struct br_err *err)
{
    const struct br__command *cmd = c->cmd;

    if (!cmd && c->group)
        return group_error(c->group, NULL, err);
    if (!cmd)
        return br_fail(err, BR_E_USAGE, "no command given; try: bridge help");
    for (int i = 0; i < BR__MAX_NEED && cmd->need[i]; i++)
        if (!c->opt[cmd->need[i]].set)
            return br_fail(err, BR_E_USAGE, "'%s' needs --%s %s", cmd->name,
                           br__options[cmd->need[i]].name, br__options[cmd->need[i]].arg);
    if (cmd->pos_opt[0])
        return BR_OK;
    if (c->n_pos < cmd->min_pos)
        return br_fail(err, BR_E_USAGE, "'%s' needs %s", cmd->name, cmd->args);
    if (c->n_pos > cmd->max_pos)
        return br_fail(err, BR_E_USAGE, "unexpected argument '%s'", c->pos[cmd->max_pos]);
    return BR_OK;
}

void br__cli_free(struct br__cli *c)
{
    br__arena_free(&c->arena);
    memset(c, 0, sizeof *c);
}
