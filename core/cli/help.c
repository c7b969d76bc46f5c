/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* help.c - help pages and the manual page, printed from the command and option tables. */
#include "cli.h"

#include <string.h>

/* What `bridge` without a command prints. */
static const char brief[] =
    "bridge converts Qwen checkpoints between Hugging Face and Megatron.\n"
    "\n"
    "  bridge import Qwen/Qwen3-8B                   Hugging Face -> ./Qwen3-8B-megatron\n"
    "  bridge export ./Qwen3-8B-megatron             Megatron -> ./Qwen3-8B-hf\n"
    "  bridge verify ./Qwen3-8B ./Qwen3-8B-megatron  prove that the two are the same\n"
    "  bridge inspect ./Qwen3-8B-megatron            list the tensors of either format\n"
    "  bridge plan import ./Qwen3-8B                 what an import would do, without doing it\n"
    "\n"
    "All commands: bridge help.  One of them: bridge help import.\n";

void br__help_brief(void)
{
    fputs(brief, stdout);
}

/* ---- topics ---------------------------------------------------------------------------------- */

static const struct {
    int code;
    const char *text, *name;
} statuses[] = {
#define BR_X(name, value, text) {value, text, "BR_" #name},
    BR_STATUS_MAP(BR_X)
#undef BR_X
};

static const struct {
    const char *name, *text;
} environment[] = {
    {"HF_HUB_CACHE", "directory of downloaded models; default $HF_HOME/hub"},
    {"HF_HOME", "Hugging Face's directory; default ~/.cache/huggingface"},
    {"HF_ENDPOINT", "the hub to ask; default https://huggingface.co"},
    {"HF_TOKEN", "who asks, for private and gated models; default the file $HF_HOME/token"},
    {"HF_HUB_OFFLINE", "1: ask nobody, use what the cache has"},
    {"https_proxy, no_proxy", "and http_proxy, all_proxy: as curl reads them"},
    {"SSL_CERT_FILE", "certificate bundle, also CURL_CA_BUNDLE and REQUESTS_CA_BUNDLE"},
    {"BRIDGE_PLUGIN_PATH", "directories of plugins, separated by colons, searched first"},
    {"XDG_DATA_HOME", "the user's plugins are in bridge/1 below it; default ~/.local/share"},
    {"BRIDGE_CPU", "force a tier of the CPU kernels: scalar, avx2, avx512, avx512_bf16, amx, neon"},
    {"BRIDGE_CPUS", "CPUs to use, 1 to 256; default as many as the process may run on"},
    {"NO_COLOR", "no colour, whatever the terminal can do"},
    {"TMPDIR", "where roundtrip and plugin check work; default /tmp"},
};

static void help_exit_codes(void)
{
    puts("The exit status says what happened; scripts may rely on it.\n");
    for (size_t i = 0; i < BR_COUNTOF(statuses); i++)
        printf("  %2d  %s\n", statuses[i].code, statuses[i].text);
}

static void help_environment(void)
{
    puts("Environment variables:\n");
    for (size_t i = 0; i < BR_COUNTOF(environment); i++)
        printf("  %-20s %s\n", environment[i].name, environment[i].text);
}

/* ---- commands -------------------------------------------------------------------------------- */

static void list_commands(const char *group)
{
    for (int i = 0; i < BR__N_CMD; i++)
        if (!group ||
            (br__starts(br__commands[i].name, group) && br__commands[i].name[strlen(group)] == ' '))
            printf("  %-14s %s\n", br__commands[i].name, br__commands[i].summary);
}

static void help_all(void)
{
    puts("usage: bridge COMMAND [OPTION]... [ARGUMENT]...\n");
    list_commands(NULL);
    puts("\nOptions may stand anywhere, also before the command.  More:\n"
         "  bridge help COMMAND, bridge help exit-codes, bridge help environment");
}

/* "-j, --threads N" into out. */
static const char *option_head(const struct br__option *o, char *out, size_t size)
{
    char letter[8] = "    ";

    if (o->letter)
        snprintf(letter, sizeof letter, "-%c, ", o->letter);
    snprintf(out, size, "%s--%s%s%s", letter, o->name, o->arg ? " " : "", o->arg ? o->arg : "");
    return out;
}

/* Print text from column `col` on, broken at spaces before column 96. */
static void help_wrap(const char *text, int col, int at)
{
    while (*text) {
        size_t n = strcspn(text, " ");
        if (at > col && at + 1 + (int)n > 96) {
            printf("\n%*s", col, "");
            at = col;
        } else if (at > col) {
            putchar(' ');
            at++;
        }
        printf("%.*s", (int)n, text);
        at += (int)n;
        text += n + strspn(text + n, " ");
    }
    putchar('\n');
}

enum { HELP_COL = 34 };

static void option_help(const struct br__option *o)
{
    char head[128];
    int n = printf("  %s", option_head(o, head, sizeof head));

    if (n >= HELP_COL - 1) {
        putchar('\n');
        n = 0;
    }
    printf("%*s", HELP_COL - n, "");
    struct br__buf b = {0};
    br__buf_puts(&b, o->help);
    if (o->dflt)
        br__buf_printf(&b, " (default: %s)", o->dflt);
    help_wrap(b.failed ? o->help : b.p, HELP_COL, HELP_COL);
    br__buf_free(&b);
}

static int is_global(const struct br__option *o)
{
    return o->on == ~UINT64_C(0);
}

static void help_indented(const char *text, const char *margin)
{
    while (*text) {
        size_t n = strcspn(text, "\n");
        printf("%s%.*s\n", n ? margin : "", (int)n, text);
        text += n + (text[n] == '\n');
    }
}

void br__help_command(const struct br__command *c)
{
    uint64_t bit = UINT64_C(1) << (c - br__commands);
    int idle = 0;

    printf("bridge %s - %s\n\nusage: bridge %s [OPTION]... %s\n\n", c->name, c->summary, c->name,
           c->args);
    help_indented(c->about, "");
    puts("\noptions:");
    for (int pass = 0; pass < 2; pass++)
        for (int i = 1; i < BR__N_OPT; i++) {
            const struct br__option *o = &br__options[i];
            if (!(o->on & bit) || is_global(o) != pass)
                continue;
            if (o->kind == BR__KIND_IDLE)
                idle++;
            else
                option_help(o);
        }
    if (idle) {
        puts("\naccepted, without effect:");
        for (int i = 1; i < BR__N_OPT; i++)
            if ((br__options[i].on & bit) && br__options[i].kind == BR__KIND_IDLE)
                option_help(&br__options[i]);
    }
    puts("\nexamples:");
    help_indented(c->examples, "  ");
}

/* ---- the manual page ------------------------------------------------------------------------- */

/* Text for roff: backslashes and dashes escaped, no line begins with a control character. */
static void help_roff(const char *s)
{
    int start = 1;

    for (; *s; s++) {
        if (start && (*s == '.' || *s == '\''))
            fputs("\\&", stdout);
        start = *s == '\n';
        if (*s == '\\')
            fputs("\\e", stdout);
        else if (*s == '-')
            fputs("\\-", stdout);
        else
            putchar(*s);
    }
}

static void roff_paragraphs(const char *text)
{
    while (*text) {
        size_t n = strcspn(text, "\n");
        if (n == 0) {
            puts(".PP");
        } else {
            char line[128];
            snprintf(line, sizeof line, "%.*s", (int)n, text);
            help_roff(line);
            putchar('\n');
        }
        text += n + (text[n] == '\n');
    }
}

static void man_option(const struct br__option *o)
{
    puts(".TP");
    fputs(".B ", stdout);
    if (o->letter)
        printf("\\-%c, ", o->letter);
    fputs("\\-\\-", stdout);
    help_roff(o->name);
    if (o->arg) {
        putchar(' ');
        help_roff(o->arg);
    }
    putchar('\n');
    help_roff(o->help);
    if (o->dflt) {
        fputs(" (default: ", stdout);
        help_roff(o->dflt);
        putchar(')');
    }
    if (o->aliases[0]) {
        fputs("; also spelled \\-\\-", stdout);
        for (const char *p = o->aliases; *p; p++)
            if (*p == ' ')
                fputs(", \\-\\-", stdout);
            else
                help_roff((char[]){*p, 0});
    }
    putchar('\n');
    if (is_global(o))
        return;
    fputs("(", stdout);
    const char *sep = "";
    for (int i = 0; i < BR__N_CMD; i++)
        if (o->on >> i & 1) {
            printf("%s%s", sep, br__commands[i].name);
            sep = ", ";
        }
    puts(")");
}

static void man_command(const struct br__command *c)
{
    puts(".SS");
    fputs("bridge ", stdout);
    help_roff(c->name);
    putchar(' ');
    help_roff(c->args);
    putchar('\n');
    fputs(".B ", stdout);
    help_roff(c->summary);
    puts("\n.PP");
    roff_paragraphs(c->about);
    puts(".PP\n.nf\n.RS 4");
    help_roff(c->examples);
    puts(".RE\n.fi");
}

static void man_topics(void)
{
    puts(".SH EXIT STATUS");
    for (size_t i = 0; i < BR_COUNTOF(statuses); i++) {
        printf(".TP\n.B %d\n", statuses[i].code);
        help_roff(statuses[i].text);
        printf(" (%s)\n", statuses[i].name);
    }
    puts(".SH ENVIRONMENT");
    for (size_t i = 0; i < BR_COUNTOF(environment); i++) {
        printf(".TP\n.B %s\n", environment[i].name);
        help_roff(environment[i].text);
        putchar('\n');
    }
}

static void help_man(void)
{
    printf(
        ".\\\" Made by: bridge help --man\n"
        ".TH BRIDGE 1 \"\" \"bridge %s\" \"User Commands\"\n"
        ".SH NAME\n"
        "bridge \\- convert Qwen checkpoints between Hugging Face and Megatron\n"
        ".SH SYNOPSIS\n"
        ".B bridge\nCOMMAND [OPTION]... [ARGUMENT]...\n"
        ".SH DESCRIPTION\n"
        "Options may stand anywhere on the line, also before the command; \\-\\-name value and\n"
        "\\-\\-name=value are the same, underscores are read as dashes, and \\-\\- ends the "
        "options.\n"
        "Results go to standard output; notes, warnings, progress and errors to standard error.\n"
        ".SH COMMANDS\n",
        br_version());
    for (int i = 0; i < BR__N_CMD; i++)
        man_command(&br__commands[i]);
    puts(".SH OPTIONS");
    for (int i = 1; i < BR__N_OPT; i++)
        if (br__options[i].kind != BR__KIND_IDLE)
            man_option(&br__options[i]);
    puts(".SS Accepted for the command lines of other tools, without effect");
    for (int i = 1; i < BR__N_OPT; i++)
        if (br__options[i].kind == BR__KIND_IDLE)
            man_option(&br__options[i]);
    man_topics();
}

/* ---- bridge help ----------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*print)(void);
} topics[] = {
    {"exit-codes", help_exit_codes},
    {"environment", help_environment},
};

static int mentions(const struct br__command *c, const char *word)
{
    return strcasestr(c->name, word) || strcasestr(c->summary, word) || strcasestr(c->about, word);
}

/* Commands and variables whose help speaks of a word; how many. */
static size_t help_search(const char *word)
{
    size_t n = 0;

    for (int i = 0; i < BR__N_CMD; i++)
        if (mentions(&br__commands[i], word)) {
            if (!n++)
                br__say(stdout, "help that speaks of '%s':", word);
            printf("  %-14s %s\n", br__commands[i].name, br__commands[i].summary);
        }
    for (size_t i = 0; n && i < BR_COUNTOF(environment); i++)
        if (strcasestr(environment[i].name, word) || strcasestr(environment[i].text, word))
            printf("  %-20s %s\n", environment[i].name, environment[i].text);
    return n;
}

/* "recipes" is "recipe". */
static const char *singular(struct br__arena *a, const char *name)
{
    size_t n = strlen(name);
    const char *one = n > 1 && name[n - 1] == 's' ? br__arena_strndup(a, name, n - 1) : NULL;

    return one && !br__command_find(name) && (br__command_find(one) || br__command_is_group(one))
               ? one
               : name;
}

static int help_topic(struct br__arena *a, const char *name, struct br_err *err)
{
    name = singular(a, name);
    const struct br__command *cmd = br__command_find(name);

    if (cmd) {
        br__help_command(cmd);
        return BR_OK;
    }
    if (br__command_is_group(name)) {
        printf("usage: bridge %s COMMAND [OPTION]... [ARGUMENT]...\n\n", name);
        list_commands(name);
        return BR_OK;
    }
    for (size_t i = 0; i < BR_COUNTOF(topics); i++)
        if (!strcmp(topics[i].name, name)) {
            topics[i].print();
            return BR_OK;
        }
    const char *near = br__command_near(name);
    if (!near && strlen(name) > 2 && help_search(name))
        return BR_OK;
    if (near)
        return br_fail(err, BR_E_USAGE, "no help for '%s'; did you mean '%s'?", name, near);
    return br_fail(err, BR_E_USAGE, "no help for '%s'; try: bridge help", name);
}

int br__cmd_help(struct br__cli *c, struct br_err *err)
{
    if (BR__FLAG(c, MAN)) {
        help_man();
        return BR_OK;
    }
    if (c->n_pos == 0) {
        help_all();
        return BR_OK;
    }
    if (c->n_pos == 1)
        return help_topic(&c->arena, c->pos[0], err);
    const char *name = br__arena_printf(&c->arena, "%s %s", c->pos[0], c->pos[1]);
    if (!name)
        return br_fail(err, BR_E_NOMEM, "out of memory");
    return help_topic(&c->arena, name, err);
}
