/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* hub_files.c - which files of a data set are which of its splits.
 *
 * The rules are those of Hugging Face's datasets library (data_files.py): the card's "configs" say
 * it; else names do, of folders before those of files; a set without any such name is for training.
 */
#include "hub_files.h"

#include <string.h>

/* What a split may be called, its own name first. */
static const char *const aliases[BR__N_SPLITS][5] = {
    {"train", "training"},
    {"validation", "valid", "val", "dev"},
    {"test", "testing", "eval", "evaluation"},
};

/* ---- formats --------------------------------------------------------------------------------- */

static int is_rows(const char *path)
{
    return br__ends(path, ".parquet");
}

static int is_lines(const char *path)
{
    return br__ends(path, ".jsonl") || br__ends(path, ".ndjson") || br__ends(path, ".json");
}

/* Files that describe the set, and folders that are not part of it. */
static int is_data(const char *path)
{
    static const char *const other[] = {"config.json", "dataset_info.json", "dataset_infos.json",
                                        "dataset_dict.json", "state.json"};
    for (size_t i = 0; i < BR_COUNTOF(other); i++)
        if (!strcmp(br__path_base(path), other[i]))
            return 0;
    if (path[0] == '.' || strstr(path, "/.") || br__starts(path, "__") || strstr(path, "/__"))
        return 0;
    return is_rows(path) || is_lines(path);
}

/* One set has one format: that of most of its files. */
static void keep_one_format(struct br__hub_files *c)
{
    size_t rows = 0, lines = 0;

    for (size_t i = 0; i < c->n; i++) {
        rows += c->name[i] && is_rows(c->paths[i]);
        lines += c->name[i] && is_lines(c->paths[i]);
    }
    for (size_t i = 0; i < c->n; i++)
        if (c->name[i] && is_rows(c->paths[i]) != (rows >= lines))
            c->name[i] = NULL;
}

/* ---- the names of splits --------------------------------------------------------------------- */

static int is_letter(char c)
{
    return !strchr("-._ 0123456789", c); /* the end of a text is a border, too */
}

/* The split whose name is a word of s, or -1. */
static int word_split(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (int split = 0; split < BR__N_SPLITS && (!i || !is_letter(s[i - 1])); split++)
            for (size_t k = 0; k < 5 && aliases[split][k]; k++) {
                size_t len = strlen(aliases[split][k]);
                if (i + len <= n && !memcmp(s + i, aliases[split][k], len) &&
                    (i + len == n || !is_letter(s[i + len])))
                    return split;
            }
    return -1;
}

/* "train_sft-00000-of-00003.parquet" is a part of train_sft. */
static const char *shard_name(struct br__arena *a, const char *base)
{
    const char *of = strstr(base, "-of-");

    if (!of || of - base < 7 || of[-6] != '-' || strspn(of - 5, "0123456789") != 5 ||
        strspn(of + 4, "0123456789") != 5)
        return NULL;
    return br__arena_strndup(a, base, (size_t)(of - 6 - base));
}

static const char *folder_split(const char *path)
{
    for (const char *slash; (slash = strchr(path, '/')); path = slash + 1) {
        int split = word_split(path, (size_t)(slash - path));
        if (split >= 0)
            return aliases[split][0];
    }
    return NULL;
}

static const char *file_split(struct br__arena *a, const char *path)
{
    const char *base = br__path_base(path), *shard = shard_name(a, base);
    int split = shard ? -1 : word_split(base, strlen(base));

    return shard ? shard : split >= 0 ? aliases[split][0] : NULL;
}

static int in_folder(const char *path, const char *folder)
{
    size_t n = strlen(folder);

    for (const char *slash; (slash = strchr(path, '/')); path = slash + 1)
        if ((size_t)(slash - path) == n && !memcmp(path, folder, n))
            return 1;
    return 0;
}

static int name_by_names(struct br__arena *a, struct br__hub_files *c, struct br_err *err)
{
    int any = 0, folders = 0, names = 0;

    for (size_t i = 0; i < c->n; i++) {
        if (!is_data(c->paths[i]) || (c->subset && !in_folder(c->paths[i], c->subset)))
            continue;
        any = 1;
        folders |= folder_split(c->paths[i]) != NULL;
        names |= file_split(a, c->paths[i]) != NULL;
    }
    if (!any && c->subset)
        return br_fail(err, BR_E_NOTFOUND,
                       "data set '%s' has neither a configuration '%s' nor a folder of that name "
                       "with JSONL or Parquet files",
                       c->id, c->subset);
    for (size_t i = 0; i < c->n; i++)
        if (is_data(c->paths[i]) && (!c->subset || in_folder(c->paths[i], c->subset)))
            c->name[i] = folders ? folder_split(c->paths[i])
                         : names ? file_split(a, c->paths[i])
                                 : aliases[BR__TRAIN][0];
    return BR_OK;
}

/* ---- the card -------------------------------------------------------------------------------- */

static const char *card_text(const struct br__yaml *map, const char *key)
{
    const struct br__yaml *v = map && map->kind == BR__YAML_MAP ? br__yaml_get(map, key) : NULL;

    return v && v->kind == BR__YAML_SCALAR ? v->text : NULL;
}

/* "configs" of the YAML between two lines of dashes that a README.md may begin with.  A card that
 * cannot be read says nothing. */
static const struct br__yaml *card_configs(struct br__arena *a, const char *card)
{
    const char *end = card && br__starts(card, "---\n") ? strstr(card + 3, "\n---") : NULL;
    struct br__yaml *y;

    if (!end || br__yaml_parse(a, card + 4, (size_t)BR__MAX(end - card - 4, 0), &y, NULL) ||
        y->kind != BR__YAML_MAP)
        return NULL;
    const struct br__yaml *configs = br__yaml_get(y, "configs");
    return configs && configs->kind == BR__YAML_LIST && configs->n ? configs : NULL;
}

static int is_default(const struct br__yaml *config)
{
    const struct br__yaml *v =
        config->kind == BR__YAML_MAP ? br__yaml_get(config, "default") : NULL;
    const char *name = card_text(config, "config_name");
    int yes = 0;

    return (v && !br__yaml_bool(v, &yes) && yes) || (name && !strcmp(name, "default"));
}

static int find_config(const struct br__hub_files *c, const struct br__yaml *configs,
                       const struct br__yaml **out, struct br_err *err)
{
    struct br__buf names = {0};

    *out = configs->n == 1 && !c->subset ? configs->items[0] : NULL;
    for (size_t i = 0; i < configs->n && !*out; i++) {
        const char *name = card_text(configs->items[i], "config_name");
        if (c->subset ? name && !strcmp(name, c->subset) : is_default(configs->items[i]))
            *out = configs->items[i];
        if (name && i < 20)
            br__buf_printf(&names, "%s%.60s", i ? ", " : "", name);
    }
    int rc = *out ? BR_OK
                  : br_fail(err, BR_E_NOTFOUND,
                            "data set '%s' has no configuration '%s'; dataset_subset names one of "
                            "%s",
                            c->id, c->subset ? c->subset : "default", names.n ? names.p : "none");
    br__buf_free(&names);
    return rc;
}

static int matches(struct br__arena *a, const char *dir, const char *pattern, const char *path)
{
    const char *full = dir ? br__arena_printf(a, "%s/%s", dir, pattern) : pattern;

    if (full && br__starts(full, "./"))
        full += 2;
    return full &&
           (br__hub_glob(full, path) || (br__starts(full, "**/") && br__hub_glob(full + 3, path)));
}

/* The files that a pattern, or a list of patterns, names are those of a split. */
static void name_by_patterns(struct br__arena *a, struct br__hub_files *c, const char *dir,
                             const struct br__yaml *patterns, const char *split)
{
    size_t n = !patterns ? 0 : patterns->kind == BR__YAML_LIST ? patterns->n : 1;

    for (size_t k = 0; k < n; k++) {
        const struct br__yaml *p = patterns->kind == BR__YAML_LIST ? patterns->items[k] : patterns;
        for (size_t i = 0; i < c->n && p->kind == BR__YAML_SCALAR; i++)
            if (is_data(c->paths[i]) && matches(a, dir, p->text, c->paths[i]))
                c->name[i] = split;
    }
}

/* data_files: a pattern, a list of them, or a list of {split: ..., path: ...}. */
static int name_by_config(struct br__arena *a, struct br__hub_files *c,
                          const struct br__yaml *config, struct br_err *err)
{
    const struct br__yaml *files =
        config->kind == BR__YAML_MAP ? br__yaml_get(config, "data_files") : NULL;
    const char *dir = card_text(config, "data_dir");

    if (!files && dir) {
        c->subset = br__path_base(dir);
        return name_by_names(a, c, err);
    }
    if (!files)
        return name_by_names(a, c, err);
    if (files->kind != BR__YAML_LIST || !files->n || files->items[0]->kind != BR__YAML_MAP) {
        name_by_patterns(a, c, dir, files, aliases[BR__TRAIN][0]);
        return BR_OK;
    }
    for (size_t i = 0; i < files->n; i++) {
        const struct br__yaml *f = files->items[i];
        const char *split = card_text(f, "split");
        if (split)
            name_by_patterns(a, c, dir, br__yaml_get(f, "path"), split);
    }
    return BR_OK;
}

/* ---- choosing -------------------------------------------------------------------------------- */

/* The name among the files' that means `split`: an alias, or the only one with an alias as a word.
 * NULL: there is none. */
static int find_name(const struct br__hub_files *c, int split, const char **out, struct br_err *err)
{
    *out = NULL;
    for (size_t k = 0; k < 5 && aliases[split][k] && !*out; k++)
        for (size_t i = 0; i < c->n && !*out; i++)
            if (c->name[i] && !strcmp(c->name[i], aliases[split][k]))
                *out = c->name[i];
    if (*out)
        return BR_OK;
    for (size_t i = 0; i < c->n; i++) {
        if (!c->name[i] || word_split(c->name[i], strlen(c->name[i])) != split)
            continue;
        if (*out && strcmp(*out, c->name[i]) != 0)
            return br_fail(err, BR_E_CONFIG,
                           "data set '%s' has the splits '%s' and '%s', and either could be the "
                           "one for %s; download the files and name them with dataset_path",
                           c->id, *out, c->name[i], br__split_names[split]);
        *out = c->name[i];
    }
    return BR_OK;
}

/* What is there, if nothing is for training. */
static int refuse(const struct br__hub_files *c, struct br_err *err)
{
    struct br__buf b = {0};
    size_t n = 0, data = 0;

    for (size_t i = 0; i < c->n; i++)
        data += is_data(c->paths[i]) != 0;
    for (size_t i = 0; i < c->n && n < 8; i++)
        if (data ? c->name[i] != NULL : 1)
            br__buf_printf(&b, "%s%.80s", n++ ? ", " : "", c->paths[i]);
    int rc = br_fail(err, BR_E_UNSUPPORTED,
                     data ? "data set '%s' has no files of a split for training; its files are %s"
                          : "data set '%s' has no JSONL and no Parquet files, and others cannot be "
                            "read; its files are %s",
                     c->id, b.n ? b.p : "none");
    br__buf_free(&b);
    return rc;
}

int br__hub_choose(struct br__arena *a, struct br__hub_files *c, struct br_err *err)
{
    const struct br__yaml *configs = card_configs(a, c->card), *config;
    size_t n = 0;

    c->name = br__arena_alloc(a, (c->n + 1) * sizeof *c->name);
    c->split = br__arena_alloc(a, c->n + 1);
    if (!c->name || !c->split)
        return br__nomem(err, "for data set '%s'", c->id);
    memset(c->name, 0, (c->n + 1) * sizeof *c->name);
    memset(c->split, BR__N_SPLITS, c->n + 1);
    int rc = configs ? find_config(c, configs, &config, err) : name_by_names(a, c, err);
    if (!rc && configs)
        rc = name_by_config(a, c, config, err);
    if (!rc)
        keep_one_format(c);
    for (int split = 0; split < BR__N_SPLITS && !rc; split++) {
        const char *name = split == BR__TRAIN ? c->train : NULL;
        if (!name)
            rc = find_name(c, split, &name, err);
        for (size_t i = 0; i < c->n && name && !rc; i++)
            if (c->name[i] && !strcmp(c->name[i], name)) {
                c->split[i] = (uint8_t)split;
                n += split == BR__TRAIN;
            }
    }
    return rc || n ? rc : refuse(c, err);
}
