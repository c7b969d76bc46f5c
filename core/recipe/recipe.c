/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* recipe.c - a recipe resolved: the rows of a plugin from base to override, then the user's file
 * and settings.
 *
 * All texts are first read into one list of assignments, in the order in which later ones win. Only
 * then is the mode known (a `mode` or `peft` may stand anywhere), and with it which of the
 * assignments that are bound to a mode count.  References and computed values come last. */
#include "recipe_internal.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

enum { MODE_PRETRAIN = 1, MODE_SFT = 2, MODE_LORA = 4, MODE_DORA = 8, MODE_ALL = 15 };
enum { MAX_DEPTH = 16, FILE_MAX = 1 << 20 };

static const char *const mode_names[] = {"pretrain", "sft", "lora", "dora"};

static const struct {
    const char *name, *set;
} roots[] = {
#define ROOT(name, set) {name, set},
#include "roots.def"
#undef ROOT
};

/* When an assignment counts. */
struct when {
    unsigned modes;
    int packed, code;
};
static const struct when always = {MODE_ALL, 0, 0};

/* What may stand before a key, with a dot. */
static const struct {
    const char *name;
    struct when when;
} qualifiers[] = {
    {"pretrain", {MODE_PRETRAIN, 0, 0}},
    {"sft", {MODE_SFT, 0, 0}},
    {"lora", {MODE_LORA, 0, 0}},
    {"dora", {MODE_DORA, 0, 0}},
    {"peft", {MODE_LORA | MODE_DORA, 0, 0}},
    {"finetune", {MODE_SFT | MODE_LORA | MODE_DORA, 0, 0}},
    {"packed", {MODE_ALL, 1, 0}},
    {"code", {MODE_ALL, 0, 1}},
};

/* Words of plugins' rows that are no keys. */
enum special { A_KEY, A_FROM, A_EXAMPLE, A_REFUSE, A_RECIPE };
static const struct {
    const char *name;
    enum special what;
    int in_file; /* a user may write it too */
} specials[] = {{"from", A_FROM, 0},
                {"example", A_EXAMPLE, 0},
                {"refuse", A_REFUSE, 0},
                {"recipe", A_RECIPE, 1}};

struct assign {
    enum special what;
    uint32_t key;
    struct when when;
    const char *value;
    int quoted, line;
    int user; /* from a file or a command line */
    const char *from, *row;
};

struct resolver {
    struct br__arena *a;
    struct br__recipe *out;
    struct assign *list;
    size_t n, cap;
    struct br_err *err;
};

/* Where the texts that are being read come from. */
struct source {
    const char *from, *row;
    int user;
};

/* "my.recipe:12: " before an error about an assignment. */
static int recipe_wrap(struct resolver *r, const struct assign *s, int rc)
{
    if (rc && s->line)
        br_wrap(r->err, "%s:%d", s->from, s->line);
    else if (rc && s->row)
        br_wrap(r->err, "recipe row '%s'", s->row);
    else if (rc)
        br_wrap(r->err, "%s", s->from);
    return rc;
}

/* ---- names of keys --------------------------------------------------------------------------- */

struct near {
    const char *word, *best;
    int distance;
};

static void recipe_consider(struct near *n, const char *name)
{
    int d = br__edit_distance(n->word, name);
    if (d < n->distance) {
        n->distance = d;
        n->best = name;
    }
}

static int unknown_key(struct resolver *r, const char *name)
{
    struct near n = {name, NULL, 5};

    for (uint32_t id = 0; id < BR__N_RK; id++)
        recipe_consider(&n, br__recipe_keys[id].name);
    for (size_t i = 0; br__recipe_word(i); i++)
        recipe_consider(&n, br__recipe_word(i)->name);
    return br_fail(r->err, BR_E_CONFIG, "there is no key '%.80s'%s%s%s; see: bridge recipe keys",
                   name, n.best ? "; did you mean '" : "", n.best ? n.best : "", n.best ? "'" : "");
}

/* Take the qualifiers off a name; what is left is returned. */
static const char *recipe_unqualify(const char *name, struct when *when)
{
    for (int found = 1; found && br__recipe_key_find(name) == BR__N_RK;) {
        found = 0;
        for (size_t i = 0; i < BR_COUNTOF(qualifiers) && !found; i++) {
            size_t n = strlen(qualifiers[i].name);
            if (strncmp(name, qualifiers[i].name, n) || name[n] != '.')
                continue;
            when->modes &= qualifiers[i].when.modes;
            when->packed |= qualifiers[i].when.packed;
            when->code |= qualifiers[i].when.code;
            name += n + 1;
            found = 1;
        }
    }
    return name;
}

/* ---- reading texts --------------------------------------------------------------------------- */

static int recipe_push(struct resolver *r, const struct assign *s)
{
    if (br__grow(&r->list, &r->cap, r->n, sizeof *r->list))
        return br__nomem(r->err, "reading a recipe");
    r->list[r->n++] = *s;
    return BR_OK;
}

static int read_text(struct resolver *r, struct br__pairs *t, const struct source *from,
                     const struct when *when);

/* The settings that a word stands for; another value of it is an error that names those it has. */
static int read_word(struct resolver *r, const struct assign *s, const char *name)
{
    struct br__buf values = {0};
    int is_word = 0;

    for (size_t i = 0; br__recipe_word(i); i++) {
        const struct br__recipe_word *w = br__recipe_word(i);
        if (strcmp(w->name, name))
            continue;
        if (!strcasecmp(w->value, s->value)) {
            struct br__pairs t = {w->settings, s->from, s->line, 0};
            struct source from = {s->from, s->row, s->user};
            br__buf_free(&values);
            return read_text(r, &t, &from, &s->when);
        }
        br__buf_printf(&values, "%s%s", is_word ? ", " : "", w->value);
        is_word = 1;
    }
    int rc = BR_OK;
    if (!is_word)
        rc = unknown_key(r, name);
    else
        rc = br_fail(r->err, BR_E_CONFIG, "%s: got '%.80s', expected one of %s", name, s->value,
                     values.failed ? "its values" : values.p);
    br__buf_free(&values);
    return rc;
}

static int read_pair(struct resolver *r, const struct br__pair *p, struct source *from,
                     const struct when *when)
{
    struct assign s = {.when = *when,
                       .value = p->value,
                       .quoted = p->quoted,
                       .line = p->line,
                       .user = from->user,
                       .from = from->from,
                       .row = from->row};
    const char *name = recipe_unqualify(p->key, &s.when);

    for (size_t i = 0; i < BR_COUNTOF(specials); i++)
        if (!strcmp(specials[i].name, name) && (!from->user || specials[i].in_file))
            s.what = specials[i].what;
    if (s.what == A_FROM) {
        from->from = p->value;
        return BR_OK;
    }
    if (s.what == A_KEY) {
        s.key = br__recipe_key_find(name);
        if (s.key == BR__N_RK)
            return recipe_wrap(r, &s, read_word(r, &s, name));
        if (br__recipe_keys[s.key].flags & BR__RECIPE_COMPUTED)
            return recipe_wrap(r, &s,
                               br_fail(r->err, BR_E_CONFIG, "%s is computed: %s; set that", name,
                                       br__recipe_keys[s.key].help));
    }
    return recipe_push(r, &s);
}

static int read_text(struct resolver *r, struct br__pairs *t, const struct source *from,
                     const struct when *when)
{
    struct source here = *from;
    struct br__pair p;
    int rc = br__pairs_next(r->a, t, &p, r->err);

    while (!rc && p.key) {
        rc = read_pair(r, &p, &here, when);
        if (!rc)
            rc = br__pairs_next(r->a, t, &p, r->err);
    }
    return rc;
}

/* ---- rows ------------------------------------------------------------------------------------ */

int br__recipe_is_listed(const struct br_recipe *row)
{
    return !strchr(row->name, '.');
}

static const struct br_recipe *find_row(const struct br__plugin *p, const char *name, size_t n)
{
    for (uint32_t i = 0; i < p->n_recipes; i++)
        if (strlen(p->recipes[i].name) == n && !memcmp(p->recipes[i].name, name, n))
            return &p->recipes[i];
    return NULL;
}

static int read_row(struct resolver *r, const char *name, const char *set)
{
    struct br__pairs t = {set, name, 0, 0};
    struct source from = {"plugin", name, 0};
    return read_text(r, &t, &from, &always);
}

static int read_root(struct resolver *r, const struct br_recipe *row, const char *name, size_t n)
{
    for (size_t i = 0; i < BR_COUNTOF(roots); i++)
        if (strlen(roots[i].name) == n && !memcmp(roots[i].name, name, n))
            return read_row(r, roots[i].name, roots[i].set);
    return br_fail(r->err, BR_E_PLUGIN,
                   "recipe row '%s': there is no base '%.*s' in plugin '%s', nor is it 'pretrain', "
                   "'finetune' or 'any'",
                   row->name, (int)n, name, r->out->plugin->name);
}

/* A row's bases, in their order, then the row itself. */
static int read_bases(struct resolver *r, const struct br_recipe *row, int depth)
{
    int rc = BR_OK;

    if (depth == MAX_DEPTH)
        return br_fail(r->err, BR_E_PLUGIN, "recipe row '%s': its bases go in a circle", row->name);
    for (const char *p = row->base; *p && !rc;) {
        size_t n = strcspn(p, " ");
        const struct br_recipe *base = n ? find_row(r->out->plugin, p, n) : NULL;
        if (base)
            rc = read_bases(r, base, depth + 1);
        else if (n)
            rc = read_root(r, row, p, n);
        p += n + (p[n] == ' ');
    }
    return rc ? rc : read_row(r, row->name, row->set);
}

/* ---- which recipe ---------------------------------------------------------------------------- */

/* Upstream's newer names: <model>_{pretrain,sft,peft}[_<N>gpu_<hardware>_<precision>]_config. */
static int is_machine(const char *s)
{
    size_t n = strspn(s, "0123456789");

    if (n == 0 || strncmp(s + n, "gpu_", 4))
        return 0;
    const char *hw = s + n + 4, *precision = strchr(hw, '_');
    return precision && precision > hw && precision[1] && !strchr(precision + 1, '_');
}

static const struct {
    const char *part, *ours;
    unsigned modes; /* that it means; the first of them without another word */
} newer[] = {
    {"_pretrain", "_pretrain_config", MODE_PRETRAIN},
    {"_sft", "_finetune_config", MODE_SFT},
    {"_peft", "_finetune_config", MODE_LORA | MODE_DORA},
};

/* Our name for upstream's newer one, and the modes that it means; NULL if it is none. */
static const char *recipe_translate(struct br__arena *a, const char *name, unsigned *modes)
{
    size_t n = strlen(name), tail = strlen("_config");

    if (!br__ends(name, "_config"))
        return NULL;
    char *stem = br__arena_strndup(a, name, n - tail);
    for (size_t i = 0; stem && i < BR_COUNTOF(newer); i++) {
        char *at = strstr(stem, newer[i].part);
        const char *rest = at ? at + strlen(newer[i].part) : NULL;
        if (!rest || (*rest && (*rest != '_' || !is_machine(rest + 1))))
            continue;
        *modes = newer[i].modes;
        return br__arena_printf(a, "%.*s%s", (int)(at - stem), stem, newer[i].ours);
    }
    return NULL;
}

static const struct br_recipe *find_recipe(struct br__registry *reg, const char *name,
                                           const struct br__plugin **plugin)
{
    for (size_t i = 0; i < reg->n_plugins; i++) {
        const struct br_recipe *row = find_row(reg->plugins[i], name, strlen(name));
        if (row && br__recipe_is_listed(row)) {
            *plugin = reg->plugins[i];
            return row;
        }
    }
    return NULL;
}

/* Recipes are named model first: the one that shares most of the beginning is the nearest. */
static size_t common_prefix(const char *a, const char *b)
{
    size_t n = 0;
    while (a[n] && a[n] == b[n])
        n++;
    return n;
}

static int not_found(struct br__registry *reg, const char *name, struct br_err *err)
{
    struct near n = {name, NULL, 6};
    const char *prefix = NULL;
    size_t longest = 4;

    for (size_t i = 0; reg && i < reg->n_plugins; i++)
        for (uint32_t k = 0; k < reg->plugins[i]->n_recipes; k++) {
            const struct br_recipe *row = &reg->plugins[i]->recipes[k];
            if (!br__recipe_is_listed(row))
                continue;
            recipe_consider(&n, row->name);
            if (common_prefix(name, row->name) > longest) {
                longest = common_prefix(name, row->name);
                prefix = row->name;
            }
        }
    const char *best = n.best ? n.best : prefix;
    return br_fail(err, BR_E_NOTFOUND, "there is no recipe '%.100s'%s%s%s; see: bridge recipe list",
                   name, best ? "; did you mean '" : "", best ? best : "", best ? "'" : "");
}

/* The row of that name or alias among the plugins that are loaded, and what the alias says of the
 * mode. */
static const struct br_recipe *find_named(struct resolver *r, struct br__registry *reg,
                                          const struct br__recipe_opts *o, const char *name,
                                          unsigned *modes)
{
    const struct br__plugin **plugin = &r->out->plugin;
    const char *ours = recipe_translate(r->a, name, modes);
    const struct br_recipe *row = NULL;

    if (o->plugin) {
        *plugin = o->plugin;
        return find_row(o->plugin, name, strlen(name));
    }
    row = find_recipe(reg, name, plugin);
    if (row)
        *modes = MODE_ALL;
    else if (ours)
        row = find_recipe(reg, ours, plugin);
    if (row && strcmp(row->name, name))
        r->out->asked = br__arena_strdup(r->a, name);
    return row;
}

static int recipe_choose(struct resolver *r, struct br__registry *reg,
                         const struct br__recipe_opts *o, const char *name,
                         const struct br_recipe **row, unsigned *modes)
{
    *modes = MODE_ALL;
    *row = find_named(r, reg, o, name, modes);
    if (!*row && !o->plugin) {
        int rc = br__registry_load_all(reg, r->err);
        if (rc)
            return rc;
        *row = find_named(r, reg, o, name, modes);
    }
    if (!*row)
        return not_found(reg, name, r->err);
    r->out->name = (*row)->name;
    return BR_OK;
}

/* ---- files and settings ---------------------------------------------------------------------- */

static int read_file(struct resolver *r, const char *path)
{
    struct source from = {br__arena_strdup(r->a, path), NULL, 1};
    size_t n;
    char *text;
    int rc = from.from ? br__read_text(path, FILE_MAX, &text, &n, r->err)
                       : br__nomem(r->err, "reading a recipe");

    if (rc)
        return rc;
    struct br__pairs t = {text, from.from, 1, 0};
    if (strlen(text) != n)
        rc = br_fail(r->err, BR_E_FORMAT, "'%s' is not a recipe file: it holds a NUL byte", path);
    if (!rc)
        rc = read_text(r, &t, &from, &always);
    br__free(text);
    return rc;
}

static int read_option(struct resolver *r, const char *option, const char *key, const char *value)
{
    struct source from = {option, NULL, 1};
    struct br__pair p = {.key = key, .value = br__arena_strdup(r->a, value)};
    return p.value ? read_pair(r, &p, &from, &always) : br__nomem(r->err, "reading a recipe");
}

static int read_user(struct resolver *r, const struct br__recipe_opts *o)
{
    const struct source from = {"--set", NULL, 1};
    int rc = BR_OK;

    if (o->mode)
        rc = read_option(r, "--mode", "mode", o->mode);
    if (!rc && o->peft)
        rc = read_option(r, "--peft", "peft", o->peft);
    if (!rc && o->world) {
        const char *world = br__arena_printf(r->a, "%" PRId64, o->world);
        rc = world ? read_option(r, "--world-size", "gpus", world)
                   : br__nomem(r->err, "reading a recipe");
    }
    for (size_t i = 0; !rc && i < o->n_sets; i++) {
        struct br__pairs t = {o->sets[i], "--set", 0, 1};
        rc = read_text(r, &t, &from, &always);
    }
    return rc;
}

/* The recipe that a file names: its last line that does. */
static const struct assign *named_by_file(const struct resolver *r)
{
    for (size_t i = r->n; i > 0; i--)
        if (r->list[i - 1].what == A_RECIPE)
            return &r->list[i - 1];
    return NULL;
}

/* ---- mode ------------------------------------------------------------------------------------ */

/* The last assignment of a key that is bound to nothing; user: 1 only the user's, 0 only rows', -1
 * all. */
static const struct assign *last_plain(const struct resolver *r, uint32_t key, int user)
{
    for (size_t i = r->n; i > 0; i--) {
        const struct assign *s = &r->list[i - 1];
        if (s->what == A_KEY && s->key == key && s->when.modes == MODE_ALL && !s->when.packed &&
            !s->when.code && (user < 0 || s->user == user))
            return s;
    }
    return NULL;
}

/* Bit of the mode that an assignment names; 0 and an error if it is none. */
static unsigned mode_bit(struct resolver *r, const struct assign *s)
{
    struct br__recipe_value v = {0};
    int rc = br__recipe_value_parse(r->a, &br__recipe_keys[BR__RK_mode], s->value, s->quoted, &v,
                                    r->err);

    if (!rc && v.tag != 'T')
        rc = br_fail(r->err, BR_E_CONFIG, "mode: got '%.80s', expected a mode's name", s->value);
    recipe_wrap(r, s, rc);
    for (unsigned i = 0; !rc && i < BR_COUNTOF(mode_names); i++)
        if (!strcmp(v.text, mode_names[i]))
            return 1u << i;
    return 0;
}

static const char *mode_text(unsigned bit)
{
    unsigned i = 0;
    while (!(bit >> i & 1))
        i++;
    return mode_names[i];
}

/* The mode of the recipe, and whether it may be that: a name may mean some modes only, and a
 * pretraining recipe has no other. */
static int find_mode(struct resolver *r, unsigned named, unsigned *mode)
{
    const struct assign *row = last_plain(r, BR__RK_mode, 0);
    const struct assign *user = last_plain(r, BR__RK_mode, 1);

    if (!row)
        return br_fail(r->err, BR_E_PLUGIN,
                       "recipe '%s' builds on neither 'pretrain' nor 'finetune'", r->out->name);
    unsigned own = mode_bit(r, row), asked = user ? mode_bit(r, user) : 0;
    if (!own || (user && !asked))
        return r->err->code;
    *mode = asked ? asked : own & named ? own : named & -named;
    if (asked && !(asked & named))
        return recipe_wrap(r, user,
                           br_fail(r->err, BR_E_CONFIG, "'%s' means mode %s, not %s", r->out->asked,
                                   mode_text(named & -named), mode_text(asked)));
    if ((own == MODE_PRETRAIN) != (*mode == MODE_PRETRAIN))
        return recipe_wrap(r, user,
                           br_fail(r->err, BR_E_CONFIG,
                                   "recipe '%s' is for %s: its mode cannot be %s", r->out->name,
                                   own == MODE_PRETRAIN ? "pretraining" : "finetuning",
                                   mode_text(*mode)));
    return BR_OK;
}

static int is_packed(const struct resolver *r)
{
    const struct assign *s = last_plain(r, BR__RK_packed_sequence, -1);
    return s && !strcasecmp(s->value, "true");
}

/* ---- values ---------------------------------------------------------------------------------- */

static int set_default(struct resolver *r, uint32_t id)
{
    const struct br__recipe_key *k = &br__recipe_keys[id];
    struct br__recipe_value *v = &r->out->v[id];

    *v = (struct br__recipe_value){.from = "default"};
    return k->dflt ? br__recipe_value_parse(r->a, k, k->dflt, 0, v, r->err) : BR_OK;
}

/* What upstream's code has, as text. */
static int set_upstream(struct resolver *r, const struct assign *s)
{
    struct br__recipe_value v = {0};
    struct br__buf b = {0};
    int rc =
        br__recipe_value_parse(r->a, &br__recipe_keys[s->key], s->value, s->quoted, &v, r->err);

    if (!rc) {
        br__recipe_value_text(&b, &v);
        r->out->v[s->key].upstream = b.failed ? NULL : br__arena_strdup(r->a, b.p);
        rc = r->out->v[s->key].upstream ? BR_OK : br__nomem(r->err, "reading a recipe");
    }
    br__buf_free(&b);
    return recipe_wrap(r, s, rc);
}

static int set_value(struct resolver *r, const struct assign *s)
{
    struct br__recipe_value v = {.from = s->from, .row = s->row, .line = s->line};

    if (s->when.code)
        return set_upstream(r, s);
    int rc =
        br__recipe_value_parse(r->a, &br__recipe_keys[s->key], s->value, s->quoted, &v, r->err);
    v.upstream = r->out->v[s->key].upstream;
    if (!rc)
        r->out->v[s->key] = v;
    return recipe_wrap(r, s, rc);
}

static int recipe_apply(struct resolver *r, unsigned mode, int packed)
{
    const char *refusal = NULL;
    int rc = BR_OK;

    for (uint32_t id = 0; !rc && id < BR__N_RK; id++)
        rc = set_default(r, id);
    for (size_t i = 0; !rc && i < r->n; i++) {
        const struct assign *s = &r->list[i];
        if (!(s->when.modes & mode) || (s->when.packed && !packed))
            continue;
        if (s->what == A_KEY)
            rc = set_value(r, s);
        else if (s->what == A_EXAMPLE)
            r->out->example = s->value;
        else if (s->what == A_REFUSE)
            refusal = s->value;
    }
    if (!rc && refusal)
        rc = br_fail(r->err, BR_E_UNSUPPORTED, "%s: %s", r->out->name, refusal);
    return rc;
}

/* Put the value in place of "$key", also through several. */
static int recipe_dereference(struct resolver *r, uint32_t id)
{
    struct br__recipe_value *v = &r->out->v[id];
    const struct br__recipe_value *to = v;

    for (int depth = 0; to->ref; depth++) {
        to = &r->out->v[to->ref - 1];
        if (depth == MAX_DEPTH)
            return br_fail(r->err, BR_E_CONFIG, "%s: its references go in a circle",
                           br__recipe_keys[id].name);
    }
    v->tag = to->tag;
    v->i = to->i;
    v->f = to->f;
    v->text = to->text;
    return BR_OK;
}

/* ---- computed values ------------------------------------------------------------------------- */

static void recipe_compute(struct br__recipe *r, uint32_t id, char tag, int64_t i, double f,
                           const char *text)
{
    r->v[id] =
        (struct br__recipe_value){.tag = tag, .i = i, .f = f, .text = text, .from = "computed"};
}

static int mixed_precision_has(const struct br__recipe *r, const char *what)
{
    return strstr(r->v[BR__RK_mixed_precision].text, what) != NULL;
}

/* A precision other than bfloat16 sets the keys that repeat it. */
static void compute_dtypes(struct br__recipe *r)
{
    int fp16 = mixed_precision_has(r, "fp16");

    if (!fp16 && strcmp(r->v[BR__RK_mixed_precision].text, "fp32"))
        return;
    const char *dtype = fp16 ? "torch.float16" : "torch.float32";
    recipe_compute(r, BR__RK_bf16, 'B', 0, 0, NULL);
    recipe_compute(r, BR__RK_params_dtype, 'T', 0, 0, dtype);
    if (r->v[BR__RK_pipeline_dtype].tag == 'T')
        recipe_compute(r, BR__RK_pipeline_dtype, 'T', 0, 0, dtype);
}

/* Megatron Bridge's runtime_config_update: a named precision recipe sets gradients' reduction
 * (float32 for bf16_mixed and its FP8 kin, not for fp16_mixed) and what pipeline stages exchange.
 */
static void compute_all(struct br__recipe *r)
{
    const struct br__recipe_value *v = r->v;
    int fp16 = mixed_precision_has(r, "fp16"),
        fp32 = !strcmp(v[BR__RK_mixed_precision].text, "fp32");
    int64_t reduce = v[BR__RK_mp_grad_reduce_in_fp32].tag ? v[BR__RK_mp_grad_reduce_in_fp32].i
                     : fp32                               ? 1
                     : mixed_precision_has(r, "_mixed")   ? !fp16
                                                          : v[BR__RK_ddp_grad_reduce_in_fp32].i;
    double decay = v[BR__RK_start_weight_decay].tag == 'F'
                       ? v[BR__RK_start_weight_decay].f
                       : v[BR__RK_optimizer_weight_decay_field].f;

    compute_dtypes(r);
    recipe_compute(r, BR__RK_eff_lr_decay_iters, 'I',
                   br__recipe_i(r, BR__RK_lr_decay_iters_field, v[BR__RK_train_iters].i), 0, NULL);
    recipe_compute(r, BR__RK_eff_weight_decay, 'F', 0, decay, NULL);
    recipe_compute(r, BR__RK_eff_grad_reduce_in_fp32, 'B', reduce, 0, NULL);
    recipe_compute(r, BR__RK_eff_pipeline_dtype, 'T', 0, 0,
                   fp16   ? "torch.float16"
                   : fp32 ? "torch.float32"
                          : "torch.bfloat16");
    recipe_compute(r, BR__RK_eff_use_distributed_optimizer, 'B',
                   v[BR__RK_ddp_use_distributed_optimizer].i ||
                       v[BR__RK_opt_use_distributed_optimizer].i,
                   0, NULL);
    if (v[BR__RK_recompute_granularity].tag == 'T' &&
        !strcmp(v[BR__RK_recompute_granularity].text, "selective"))
        recipe_compute(r, BR__RK_eff_recompute_modules, 'L', 0, 0,
                       v[BR__RK_recompute_modules].tag == 'L' ? v[BR__RK_recompute_modules].text
                                                              : "[\"core_attn\"]");
}

/* ---- a resolved recipe changed --------------------------------------------------------------- */

/* The fact of a configuration that a key stands for, by its name in Megatron's model section. */
static uint32_t fact_of(uint32_t id)
{
    const char *path = br__recipe_keys[id].config;
    uint32_t fact = 0;

    if (!br__starts(path, "model."))
        return BR_N_CFG;
    while (fact < BR_N_CFG && strcmp(br__cfg_keys[fact].key, path + strlen("model.")))
        fact++;
    return fact;
}

/* Keys that say what the model is; the others of [num_layers, ...] are settings of its training. */
static int is_shape(uint32_t id)
{
    return (id >= BR__RK_num_layers && id <= BR__RK_linear_attention_freq &&
            id != BR__RK_make_vocab_size_divisible_by) ||
           (id >= BR__RK_linear_conv_kernel_dim && id <= BR__RK_max_position_embeddings) ||
           id == BR__RK_mtp_num_layers;
}

static struct br__recipe_value value_of(const struct br_config *cfg, uint32_t id)
{
    uint32_t fact = id == BR__RK_max_position_embeddings ? BR_CFG_SEQ_LENGTH : fact_of(id);
    struct br__recipe_value v = {.tag = '0', .from = "hf_model"};

    if (id == BR__RK_linear_attention_freq) { /* delta nets but for every so manyth layer */
        int64_t n = 0;
        while (n < cfg->n_layers && cfg->linear[n])
            n++;
        v.tag = n ? 'I' : '0';
        v.i = n + 1;
    } else if (id == BR__RK_mtp_num_layers) {
        v.tag = 'I';
        v.i = cfg->n_mtp;
    } else if (fact < BR_N_CFG && cfg->has[fact]) {
        char kind = br__recipe_keys[id].kind;
        v.tag = kind == 'C' ? 'T' : kind;
        v.i = br_cfg_i(cfg, fact);
        v.f = br_cfg_f(cfg, fact);
        v.text = br_cfg_s(cfg, fact);
    }
    return v;
}

void br__recipe_adopt_model(struct br__recipe *r, const struct br_config *cfg)
{
    for (uint32_t id = 0; id < BR__N_RK; id++) {
        struct br__recipe_value v = is_shape(id) ? value_of(cfg, id) : (struct br__recipe_value){0};
        int fits = v.tag != '0' || br__recipe_keys[id].flags & BR__RECIPE_NULLABLE;
        if (v.tag && fits && r->v[id].tag && !br__recipe_is_set(r, id))
            r->v[id] = v;
    }
    const struct br__recipe_value tokenizer[] = {
        {.tag = 'T', .text = "HuggingFaceTokenizer", .from = "hf_model"},
        {.tag = 'T', .text = r->v[BR__RK_hf_model].text, .from = "hf_model"},
        {.tag = '0', .from = "hf_model"}};
    static const uint32_t ids[] = {BR__RK_tokenizer_type, BR__RK_tokenizer_model,
                                   BR__RK_tokenizer_vocab_size};
    for (size_t i = 0; i < BR_COUNTOF(ids); i++)
        if (!br__recipe_is_set(r, ids[i]))
            r->v[ids[i]] = tokenizer[i];
}

const char *br__recipe_unlike(const struct br__recipe *r, const struct br_config *cfg)
{
    for (uint32_t id = 0; id < BR__N_RK; id++) {
        struct br__recipe_value v = is_shape(id) ? value_of(cfg, id) : (struct br__recipe_value){0};
        const struct br__recipe_value *have = &r->v[id];
        if (id == BR__RK_mtp_num_layers || id == BR__RK_max_position_embeddings || !v.tag ||
            v.tag != have->tag)
            continue;
        if ((v.tag == 'F' && v.f != have->f) || (v.tag == 'T' && strcmp(v.text, have->text)) ||
            ((v.tag == 'I' || v.tag == 'B') && v.i != have->i))
            return br__recipe_keys[id].name;
    }
    return NULL;
}

void br__recipe_single_rank(struct br__recipe *r)
{
    static const uint32_t ones[] = {BR__RK_tp, BR__RK_pp, BR__RK_cp, BR__RK_ep, BR__RK_gpus};
    static const uint32_t nulls[] = {BR__RK_vpp, BR__RK_pp_layout, BR__RK_cp_comm_type};
    static const uint32_t no[] = {BR__RK_sequence_parallel,
                                  BR__RK_account_for_embedding_in_pipeline_split,
                                  BR__RK_account_for_loss_in_pipeline_split};

    for (size_t i = 0; i < BR_COUNTOF(ones); i++)
        recipe_compute(r, ones[i], 'I', 1, 0, NULL);
    for (size_t i = 0; i < BR_COUNTOF(nulls); i++)
        recipe_compute(r, nulls[i], '0', 0, 0, NULL);
    for (size_t i = 0; i < BR_COUNTOF(no); i++)
        recipe_compute(r, no[i], 'B', 0, 0, NULL);
    if (br__recipe_has(r, BR__RK_etp))
        recipe_compute(r, BR__RK_etp, 'I', 1, 0, NULL);
    if (r->v[BR__RK_comm_overlap].tag == 'T')
        recipe_compute(r, BR__RK_comm_overlap, '0', 0, 0, NULL);
    for (uint32_t id = BR__RK_num_layers_in_first_pipeline_stage;
         id <= BR__RK_microbatch_group_size_per_vp_stage; id++)
        if (br__recipe_has(r, id))
            recipe_compute(r, id, '0', 0, 0, NULL);
}

/* ---- the whole ------------------------------------------------------------------------------- */

struct first {
    char text[700];
};

static void keep_first(void *ud, const char *text)
{
    struct first *f = ud;
    if (!f->text[0])
        snprintf(f->text, sizeof f->text, "%s", text);
}

static int recipe_settle(struct resolver *r, unsigned named, const struct br__recipe_opts *o)
{
    struct first first = {{0}};
    unsigned mode = MODE_SFT;
    int rc = find_mode(r, named, &mode);

    if (!rc)
        rc = recipe_apply(r, mode, is_packed(r));
    for (uint32_t id = 0; !rc && id < BR__N_RK; id++)
        rc = recipe_dereference(r, id);
    if (rc)
        return rc;
    r->out->mode = mode_text(mode);
    recipe_compute(r->out, BR__RK_mode, 'T', 0, 0, r->out->mode);
    compute_all(r->out);
    if (!o->incomplete && br__recipe_check(r->out, 0, keep_first, &first))
        rc = br_fail(r->err, BR_E_CONFIG, "%s", first.text);
    return rc;
}

/* User texts are read first, because a file may say which recipe; they are applied last. */
static int recipe_resolve(struct resolver *r, struct br__registry *reg,
                          const struct br__recipe_opts *o)
{
    const struct br_recipe *row = NULL;
    const char *name = o->name;
    unsigned modes = MODE_ALL;
    int rc = o->file ? read_file(r, o->file) : BR_OK;
    const struct assign *in_file = named_by_file(r);

    if (!rc)
        rc = read_user(r, o);
    if (!rc && in_file && name && strcmp(in_file->value, name))
        rc = recipe_wrap(r, in_file,
                         br_fail(r->err, BR_E_CONFIG, "recipe = %s, but '%s' was asked for",
                                 in_file->value, name));
    if (!rc && !name && !in_file)
        rc = br_fail(r->err, BR_E_CONFIG,
                     "'%s' does not say which recipe it changes; add a line "
                     "\"recipe = NAME\"; see: bridge recipe list",
                     o->file ? o->file : "--set");
    if (!rc)
        rc = recipe_choose(r, reg, o, name ? name : in_file->value, &row, &modes);
    size_t n_user = r->n;
    if (!rc)
        rc = read_bases(r, row, 0);
    if (rc)
        return rc;
    struct assign *ordered = br__arena_alloc(r->a, r->n * sizeof *ordered);
    if (!ordered)
        return br__nomem(r->err, "reading a recipe");
    size_t n_rows = r->n - n_user;
    memcpy(ordered, r->list + n_user, n_rows * sizeof *ordered);
    if (n_user)
        memcpy(ordered + n_rows, r->list, n_user * sizeof *ordered);
    memcpy(r->list, ordered, r->n * sizeof *ordered);
    return recipe_settle(r, modes, o);
}

int br__recipe_open(struct br__arena *a, struct br__registry *reg, const struct br__recipe_opts *o,
                    struct br__recipe *out, struct br_err *err)
{
    struct br_err own = BR_ERR_INIT;
    struct resolver r = {.a = a, .out = out, .err = err ? err : &own};

    *out = (struct br__recipe){0};
    int rc = recipe_resolve(&r, reg, o);
    br__free(r.list);
    return rc;
}
