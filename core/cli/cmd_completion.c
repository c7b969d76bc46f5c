/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cmd_completion.c - completion bash|zsh|fish: a script for the shell, from the command and option
 * tables.
 *
 * The scripts for bash and zsh do the same: drop options and their values from the words before the
 * cursor, so that what is left names the command; then complete the value of an option, an option,
 * a command, or an argument.  What the tables know is printed as `case` patterns over
 * "command:option"; the two frames around them are plain text. */
#include "cli.h"

#include <string.h>

/* ---- what stands where ----------------------------------------------------------------------- */

/* Values that only a run of the program knows: the names that a list command prints. */
static const struct {
    int cmd, opt; /* an argument of the command, or the value of the option */
    const char *list;
} listed[] = {
    {BR__N_CMD, BR__OPT_ARCH, "list -q"},
    {BR__N_CMD, BR__OPT_FROM, "plugin list -q"},
    {BR__CMD_PLUGIN_SHOW, BR__OPT_NONE, "plugin list -q"},
    {BR__CMD_PLUGIN_CHECK, BR__OPT_NONE, "plugin list -q"},
    {BR__N_CMD, BR__OPT_HF_MODEL, "cache ls -q"},
    {BR__CMD_CACHE_RM, BR__OPT_NONE, "cache ls -q"},
    {BR__CMD_CACHE_VERIFY, BR__OPT_NONE, "cache ls -q"},
    {BR__N_CMD, BR__OPT_RECIPE_SET, "recipe keys -q"},
    {BR__N_CMD, BR__OPT_RECIPE_MODEL, "list -q"},
    {BR__CMD_RECIPE_SHOW, BR__OPT_NONE, "recipe list -q"},
    {BR__CMD_RECIPE_DIFF, BR__OPT_NONE, "recipe list -q"},
    {BR__CMD_RECIPE_CHECK, BR__OPT_NONE, "recipe list -q"},
    {BR__CMD_RECIPE_MEMORY, BR__OPT_NONE, "recipe list -q"},
    {BR__CMD_RECIPE_SIMULATE, BR__OPT_NONE, "recipe list -q"},
    {BR__CMD_TRAIN, BR__OPT_NONE, "recipe list -q"},
};

static const char *find_list(int cmd, int opt)
{
    for (size_t i = 0; i < BR_COUNTOF(listed); i++)
        if (opt ? listed[i].opt == opt : listed[i].cmd == cmd)
            return listed[i].list;
    return NULL;
}

/* "a|b" or "[a]" of lower-case words: the words themselves, else NULL. */
static int is_words(const char *s)
{
    return *s && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-|[]") == strlen(s);
}

/* The words of "[a|b]", separated by spaces. */
static void print_words(const char *s)
{
    for (; *s; s++)
        if (*s != '[' && *s != ']')
            putchar(*s == '|' ? ' ' : *s);
}

/* What stands beside the words of a list command; or the words get a "=" behind them. */
static const char *list_kind(const char *arg)
{
    return strstr(arg, "KEY=")   ? "keys"
           : strstr(arg, "FILE") ? "list_or_file"
           : strstr(arg, "DIR")  ? "list_or_dir"
                                 : "list";
}

/* `kind=... value=...` for a value whose placeholder is `arg`; `other` is the kind of those that
 * say nothing. */
static void print_action(const char *arg, const char *list, const char *other)
{
    if (is_words(arg)) {
        fputs("kind=words value='", stdout);
        print_words(arg);
        puts("' ;;");
    } else if (list) {
        printf("kind=%s value='%s' ;;\n", list_kind(arg), list);
    } else {
        printf("kind=%s ;;\n", strstr(arg, "FILE") ? "file" : strstr(arg, "DIR") ? "dir" : other);
    }
}

/* All spellings of an option, each with this before it, separated by `sep`. */
static void print_spellings(const struct br__option *o, const char *before, const char *sep)
{
    printf("%s--%s", before, o->name);
    for (const char *p = o->aliases; *p; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");
        printf("%s%s--%.*s", sep, before, (int)n, p);
        p += n;
    }
    if (o->letter)
        printf("%s%s-%c", sep, before, o->letter);
}

/* ---- patterns for both shells ---------------------------------------------------------------- */

/* Options that take a value, between spaces: the word that follows is not the command. */
static void print_valued(void)
{
    fputs("    local valued=' ", stdout);
    for (int i = 1; i < BR__N_OPT; i++)
        if (br__options[i].arg) {
            print_spellings(&br__options[i], "", " ");
            putchar(' ');
        }
    puts("'");
}

/* command:option) what its value is. */
static void print_option_values(void)
{
    for (int i = 1; i < BR__N_OPT; i++) {
        const struct br__option *o = &br__options[i];
        const char *sep = "    ";
        if (!o->arg)
            continue;
        for (int k = 0; k < BR__N_CMD; k++)
            if (o->on >> k & 1) {
                char before[80];
                snprintf(before, sizeof before, "'%s':", br__commands[k].name);
                fputs(sep, stdout);
                print_spellings(o, before, " | ");
                sep = " | ";
            }
        fputs(") ", stdout);
        print_action(o->arg, find_list(BR__N_CMD, i), "none");
    }
}

/* command:N) what bare argument N is. */
static void print_arguments(void)
{
    for (int k = 0; k < BR__N_CMD; k++) {
        const struct br__command *c = &br__commands[k];
        int by_option = c->pos_opt[0] != BR__OPT_NONE;
        for (int n = 0; n < BR__MAX_POS && (by_option ? c->pos_opt[n] != 0 : n < c->max_pos); n++) {
            printf("    '%s':%d) ", c->name, n);
            if (k == BR__CMD_HELP)
                puts("kind=command ;;");
            else if (k == BR__CMD_TRAIN) /* a recipe, then its settings */
                printf("kind=%s ;;\n",
                       n ? "keys value='recipe keys -q'" : "list value='recipe list -q'");
            else if (by_option)
                print_action(br__options[c->pos_opt[n]].arg, find_list(BR__N_CMD, c->pos_opt[n]),
                             "dir");
            else
                print_action(c->args, find_list(k, BR__OPT_NONE), "dir");
        }
    }
}

/* 1 for the first command that begins with this word of n bytes. */
static int is_first(int k, size_t n)
{
    for (int i = 0; i < k; i++)
        if (!strncmp(br__commands[i].name, br__commands[k].name, n) &&
            (br__commands[i].name[n] == ' ' || !br__commands[i].name[n]))
            return 0;
    return 1;
}

/* ---- bash ------------------------------------------------------------------------------------ */

/* clang-format off */
static const char bash_head[] =
    "# bash completion of bridge; made by: bridge completion bash\n"
    "_bridge() {\n"
    "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}\n"
    "    local cmd='' kind=none value='' i w at=$COMP_CWORD words=()\n";

static const char bash_words[] =
    "    COMPREPLY=()\n"
    "    # bash cuts --name=value into three words\n"
    "    if [ \"$cur\" = = ]; then\n"
    "        cur=''\n"
    "    elif [ \"$prev\" = = ]; then\n"
    "        prev=${COMP_WORDS[COMP_CWORD - 2]}\n"
    "    fi\n"
    "    for ((i = 1; i < at; i++)); do\n"
    "        w=${COMP_WORDS[i]}\n"
    "        case $w in\n"
    "        =) i=$((i + 1)) ;;\n"
    "        -*)\n"
    "            if [[ $valued == *\" $w \"* && ${COMP_WORDS[i + 1]-} != = ]]; then\n"
    "                i=$((i + 1))\n"
    "            fi\n"
    "            ;;\n"
    "        *) words+=(\"$w\") ;;\n"
    "        esac\n"
    "    done\n"
    "    cmd=${words[0]-}\n"
    "    at=${#words[@]}\n"
    "    if [[ $at -gt 1 && $pairs == *\" $cmd:${words[1]} \"* ]]; then\n"
    "        cmd=\"$cmd ${words[1]}\"\n"
    "        at=$((at - 1))\n"
    "    fi\n"
    "    at=$((at - 1))\n"
    "    if [[ $valued == *\" $prev \"* ]]; then\n"
    "        case $cmd:$prev in\n";

static const char bash_tail[] =
    "    case $kind in\n"
    "    words) mapfile -t COMPREPLY < <(compgen -W \"$value\" -- \"$cur\") ;;\n"
    "    list | list_or_file | list_or_dir)\n"
    "        mapfile -t COMPREPLY < <(\"$1\" $value 2>/dev/null | while read -r w; do\n"
    "            [[ $w != \"$cur\"* ]] || printf '%s\\n' \"$w\"; done | sort -u)\n"
    "        ;;\n"
    "    keys)\n"
    "        compopt -o nospace 2>/dev/null\n"
    "        mapfile -t COMPREPLY < <(\"$1\" $value 2>/dev/null | while read -r w; do\n"
    "            [[ $w != \"$cur\"* ]] || printf '%s=\\n' \"$w\"; done)\n"
    "        ;;\n"
    "    esac\n"
    "    case $kind in\n"
    "    list_or_dir)\n"
    "        compopt -o filenames 2>/dev/null\n"
    "        mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -d -- \"$cur\")\n"
    "        ;;\n"
    "    dir)\n"
    "        compopt -o filenames 2>/dev/null\n"
    "        mapfile -t COMPREPLY < <(compgen -d -- \"$cur\")\n"
    "        ;;\n"
    "    file | list_or_file)\n"
    "        compopt -o filenames 2>/dev/null\n"
    "        mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- \"$cur\")\n"
    "        ;;\n"
    "    esac\n"
    "}\n"
    "complete -F _bridge bridge br-bridge\n";
/* clang-format on */

/* Commands of two words: "plan:import".  One word may be a command by itself, too. */
static void print_pairs(void)
{
    fputs("    local pairs=' ", stdout);
    for (int k = 0; k < BR__N_CMD; k++) {
        size_t n = strcspn(br__commands[k].name, " ");
        if (br__commands[k].name[n])
            printf("%.*s:%s ", (int)n, br__commands[k].name, br__commands[k].name + n + 1);
    }
    puts("'");
}

/* First words, then the second words of each group. */
static void bash_commands(void)
{
    fputs("    '') kind=words value='", stdout);
    for (int k = 0; k < BR__N_CMD; k++) {
        size_t n = strcspn(br__commands[k].name, " ");
        if (is_first(k, n))
            printf("%.*s ", (int)n, br__commands[k].name);
    }
    puts("' ;;");
    for (int k = 0; k < BR__N_CMD; k++) {
        size_t n = strcspn(br__commands[k].name, " ");
        if (!br__commands[k].name[n] || !is_first(k, n))
            continue;
        printf("    '%.*s') kind=words value='", (int)n, br__commands[k].name);
        for (int i = 0; i < BR__N_CMD; i++)
            if (!strncmp(br__commands[i].name, br__commands[k].name, n + 1))
                printf("%s ", br__commands[i].name + n + 1);
        puts("' ;;");
    }
}

static void bash_options(void)
{
    for (int k = 0; k < BR__N_CMD; k++) {
        printf("        '%s') value='", br__commands[k].name);
        for (int i = 1; i < BR__N_OPT; i++)
            if (br__options[i].on >> k & 1 && br__options[i].kind != BR__KIND_IDLE)
                printf("--%s ", br__options[i].name);
        puts("' ;;");
    }
    puts("        *) value='--help --version' ;;");
}

static void print_bash(void)
{
    fputs(bash_head, stdout);
    print_valued();
    print_pairs();
    fputs(bash_words, stdout);
    print_option_values();
    puts("        esac\n"
         "    elif [[ $cur == -* ]]; then\n"
         "        kind=words\n"
         "        case $cmd in");
    bash_options();
    puts("        esac\n"
         "    else\n"
         "        case $cmd:$at in");
    print_arguments();
    puts("        esac\n"
         "        if [ \"$kind\" = command ]; then\n"
         "            cmd=''\n"
         "            [ $at = 0 ] || cmd=${words[1]-}\n"
         "        fi\n"
         "        case $cmd in");
    bash_commands();
    puts("        esac\n"
         "    fi");
    fputs(bash_tail, stdout);
}

/* ---- zsh ------------------------------------------------------------------------------------- */

/* clang-format off */
static const char zsh_head[] =
    "#compdef bridge br-bridge\n"
    "# zsh completion of bridge; made by: bridge completion zsh\n"
    "_bridge() {\n"
    "    local cur=${words[CURRENT]} prev=${words[CURRENT-1]}\n"
    "    local cmd='' kind=none value='' w at\n"
    "    local -i i\n"
    "    local -a bare rows\n";

static const char zsh_words[] =
    "    if [[ $cur == --*=* ]]; then\n"
    "        prev=${cur%%=*}\n"
    "        compset -P '*='\n"
    "    fi\n"
    "    for ((i = 2; i < CURRENT; i++)); do\n"
    "        w=${words[i]}\n"
    "        if [[ $w == -* ]]; then\n"
    "            [[ $valued == *\" $w \"* ]] && i=$((i + 1))\n"
    "        else\n"
    "            bare+=(\"$w\")\n"
    "        fi\n"
    "    done\n"
    "    cmd=${bare[1]}\n"
    "    at=${#bare}\n"
    "    if [[ $at -gt 1 && $pairs == *\" $cmd:${bare[2]} \"* ]]; then\n"
    "        cmd=\"$cmd ${bare[2]}\"\n"
    "        at=$((at - 1))\n"
    "    fi\n"
    "    at=$((at - 1))\n"
    "    if [[ $valued == *\" $prev \"* ]]; then\n"
    "        case $cmd:$prev in\n";

static const char zsh_tail[] =
    "    case $kind in\n"
    "    rows) _describe -o bridge rows ;;\n"
    "    commands) _describe command rows ;;\n"
    "    words) compadd -- ${=value} ;;\n"
    "    list | list_or_file | list_or_dir)\n"
    "        compadd -- $(${words[1]} ${=value} 2>/dev/null)\n"
    "        ;;\n"
    "    keys)\n"
    "        compadd -S '=' -- $(${words[1]} ${=value} 2>/dev/null)\n"
    "        ;;\n"
    "    esac\n"
    "    case $kind in\n"
    "    dir | list_or_dir) _files -/ ;;\n"
    "    file | list_or_file) _files ;;\n"
    "    esac\n"
    "}\n"
    "if [ \"$funcstack[1]\" = _bridge ]; then\n"
    "    _bridge \"$@\"\n"
    "else\n"
    "    compdef _bridge bridge br-bridge\n"
    "fi\n";
/* clang-format on */

/* 'name:text' as _describe wants it. */
static void zsh_row(const char *dashes, const char *name, size_t n, const char *text)
{
    printf("\n            '%s%.*s:", dashes, (int)n, name);
    for (; *text; text++)
        if (*text == '\'')
            fputs("'\\''", stdout);
        else
            printf(*text == ':' || *text == '\\' ? "\\%c" : "%c", *text);
    putchar('\'');
}

static void zsh_commands(void)
{
    fputs("        '') kind=commands; rows=(", stdout);
    for (int k = 0; k < BR__N_CMD; k++) {
        const struct br__command *c = &br__commands[k];
        size_t n = strcspn(c->name, " ");
        if (is_first(k, n))
            zsh_row("", c->name, n, c->name[n] ? "a group of commands" : c->summary);
    }
    puts(") ;;");
    for (int k = 0; k < BR__N_CMD; k++) {
        size_t n = strcspn(br__commands[k].name, " ");
        if (!br__commands[k].name[n] || !is_first(k, n))
            continue;
        printf("        '%.*s') kind=commands; rows=(", (int)n, br__commands[k].name);
        for (int i = 0; i < BR__N_CMD; i++)
            if (!strncmp(br__commands[i].name, br__commands[k].name, n + 1)) {
                const char *second = br__commands[i].name + n + 1;
                zsh_row("", second, strlen(second), br__commands[i].summary);
            }
        puts(") ;;");
    }
}

static void zsh_options(void)
{
    for (int k = 0; k < BR__N_CMD; k++) {
        printf("        '%s') rows=(", br__commands[k].name);
        for (int i = 1; i < BR__N_OPT; i++)
            if (br__options[i].on >> k & 1 && br__options[i].kind != BR__KIND_IDLE)
                zsh_row("--", br__options[i].name, strlen(br__options[i].name),
                        br__options[i].help);
        puts(") ;;");
    }
    puts("        *) rows=('--help:help for the command' '--version:print the version') ;;");
}

static void print_zsh(void)
{
    fputs(zsh_head, stdout);
    print_valued();
    print_pairs();
    fputs(zsh_words, stdout);
    print_option_values();
    puts("        esac\n"
         "    elif [[ $cur == -* ]]; then\n"
         "        kind=rows\n"
         "        case $cmd in");
    zsh_options();
    puts("        esac\n"
         "    else\n"
         "        case $cmd:$at in");
    print_arguments();
    puts("        esac\n"
         "        if [[ $kind == command ]]; then\n"
         "            cmd=''\n"
         "            [[ $at == 0 ]] || cmd=${bare[2]}\n"
         "        fi\n"
         "        case $cmd in");
    zsh_commands();
    puts("        esac\n"
         "    fi");
    fputs(zsh_tail, stdout);
}

/* ---- fish ------------------------------------------------------------------------------------ */

/* clang-format off */
static const char fish_head[] =
    "# fish completion of bridge; made by: bridge completion fish\n"
    "# The words before the cursor without options and their values: the command first.\n"
    "function __bridge_words\n"
    "    set -l skip 0\n"
    "    for w in (commandline -opc)[2..-1]\n"
    "        if test $skip = 1\n"
    "            set skip 0\n"
    "        else if string match -q -- '-*' $w\n"
    "            contains -- $w $__bridge_valued; and set skip 1\n"
    "        else\n"
    "            echo $w\n"
    "        end\n"
    "    end\n"
    "end\n"
    "# NAME: it is the command.  With N: that many arguments follow it.\n"
    "function __bridge_is\n"
    "    set -l words (__bridge_words)\n"
    "    set -l n (count (string split ' ' -- $argv[1]))\n"
    "    test (count $words) -ge $n; or return 1\n"
    "    test \"$words[1..$n]\" = $argv[1]; or return 1\n"
    "    test (count $argv) = 1; or test (count $words) = (math $n + $argv[2])\n"
    "end\n"
    "function __bridge_at\n"
    "    set -l words (__bridge_words)\n"
    "    test \"$words\" = \"$argv[1]\"\n"
    "end\n"
    "function __bridge_list\n"
    "    command bridge $argv 2>/dev/null\n"
    "end\n"
    "complete -c bridge -f\n";
/* clang-format on */

/* Text between single quotes. */
static void fish_text(const char *s, size_t n)
{
    putchar('\'');
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '\'' || s[i] == '\\')
            putchar('\\');
        putchar(s[i]);
    }
    putchar('\'');
}

/* complete -n CONDITION -a WORD -d TEXT */
static void fish_word(const char *condition, const char *word, size_t n, const char *text)
{
    printf("complete -c bridge -n \"%s\" -a ", condition);
    fish_text(word, n);
    fputs(" -d ", stdout);
    fish_text(text, strlen(text));
    putchar('\n');
}

static void fish_commands(void)
{
    for (int k = 0; k < BR__N_CMD; k++) {
        const struct br__command *c = &br__commands[k];
        size_t n = strcspn(c->name, " ");
        char condition[80];
        if (is_first(k, n))
            fish_word("__bridge_at ''", c->name, n,
                      c->name[n] ? "a group of commands" : c->summary);
        if (!c->name[n])
            continue;
        snprintf(condition, sizeof condition, "__bridge_at %.*s", (int)n, c->name);
        fish_word(condition, c->name + n + 1, strlen(c->name + n + 1), c->summary);
    }
}

/* The values of an option or an argument, as arguments of `complete`. */
static void fish_values(const char *arg, const char *list, int by_default)
{
    if (is_words(arg)) {
        fputs(" -a '", stdout);
        print_words(arg);
        fputs("'", stdout);
    } else if (list) {
        printf(" -a '(__bridge_list %s)'", list);
    }
    if (strstr(arg, "FILE") || strstr(arg, "DIR") || (by_default && !list && !is_words(arg)))
        fputs(" -F", stdout);
}

static void fish_option(const struct br__command *c, const struct br__option *o, const char *list)
{
    printf("complete -c bridge -n \"__bridge_is '%s'\" -l %s", c->name, o->name);
    if (o->letter)
        printf(" -s %c", o->letter);
    if (o->arg) {
        fputs(" -r", stdout);
        fish_values(o->arg, list, 0);
    }
    fputs(" -d ", stdout);
    fish_text(o->help, strlen(o->help));
    putchar('\n');
}

static void fish_arguments(int k)
{
    const struct br__command *c = &br__commands[k];
    int by_option = c->pos_opt[0] != BR__OPT_NONE;

    for (int n = 0; n < BR__MAX_POS && (by_option ? c->pos_opt[n] != 0 : n < c->max_pos); n++) {
        int opt = by_option ? c->pos_opt[n] : BR__OPT_NONE;
        printf("complete -c bridge -n \"__bridge_is '%s' %d\"", c->name, n);
        if (k == BR__CMD_TRAIN && n)
            fputs(" -a '(__bridge_list recipe keys -q)='", stdout);
        else
            fish_values(by_option ? br__options[opt].arg : c->args,
                        find_list(by_option ? BR__N_CMD : k, opt), k != BR__CMD_TRAIN);
        putchar('\n');
    }
}

static void print_fish(void)
{
    fputs("set -g __bridge_valued", stdout);
    for (int i = 1; i < BR__N_OPT; i++)
        if (br__options[i].arg) {
            putchar(' ');
            print_spellings(&br__options[i], "", " ");
        }
    putchar('\n');
    fputs(fish_head, stdout);
    fish_commands();
    for (int k = 0; k < BR__N_CMD; k++) {
        for (int i = 1; i < BR__N_OPT; i++)
            if (br__options[i].on >> k & 1 && br__options[i].kind != BR__KIND_IDLE)
                fish_option(&br__commands[k], &br__options[i], find_list(BR__N_CMD, i));
        if (k != BR__CMD_HELP)
            fish_arguments(k);
    }
}

/* ---- the command ----------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*print)(void);
} shells[] = {{"bash", print_bash}, {"zsh", print_zsh}, {"fish", print_fish}};

int br__cmd_completion(struct br__cli *c, struct br_err *err)
{
    for (size_t i = 0; i < BR_COUNTOF(shells); i++)
        if (!strcmp(c->pos[0], shells[i].name)) {
            shells[i].print();
            return BR_OK;
        }
    return br_fail(err, BR_E_USAGE, "no completion for shell '%s'; expected %s", c->pos[0],
                   c->cmd->args);
}
