/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* run_data.c - the data of a run: which files, cut into which splits, read how. */
#include "run.h"

#include <inttypes.h>
#include <string.h>

#define FILE_MAX (16 << 20) /* a file that lists data paths */

/* ---- pretraining ----------------------------------------------------------------------------- */

static struct br__run_blend blend_of(struct br__run_maker *k, uint32_t id)
{
    struct br__run_blend b = {0};
    b.words = br__run_list(k, id, &b.n);
    return b;
}

static int read_json(const char *path, br__json **out, struct br_err *err)
{
    char *text;
    size_t n;
    int rc = br__read_text(path, FILE_MAX, &text, &n, err);

    if (rc)
        return rc;
    rc = br__json_parse(out, text, n, err);
    if (rc)
        br_wrap(err, "'%s'", path);
    br__free(text);
    return rc;
}

/* data_args_path: words between blanks and line breaks. */
static int read_words(struct br__run_maker *k, const char *path, struct br__run_blend *b)
{
    char *text;
    size_t n, count = 0;
    int rc = br__read_text(path, FILE_MAX, &text, &n, k->err);

    if (rc)
        return rc;
    for (const char *p = text; *p; p += strcspn(p, " \t\r\n"), count++)
        p += strspn(p, " \t\r\n");
    b->words = br__arena_alloc(k->a, (count + 1) * sizeof *b->words);
    for (const char *p = text; b->words && *p;) {
        p += strspn(p, " \t\r\n");
        size_t len = strcspn(p, " \t\r\n");
        if (len && !(b->words[b->n++] = br__arena_strndup(k->a, p, len)))
            k->failed = 1;
        p += len;
    }
    k->failed |= !b->words;
    br__free(text);
    return BR_OK;
}

/* per_split_data_args_path: {"train": [...], "valid": [...], "test": [...]}. */
static int read_splits(struct br__run_maker *k, const char *path)
{
    br__json *j = NULL;
    int rc = read_json(path, &j, k->err);

    for (int i = 0; i < BR__N_SPLITS && !rc; i++) {
        const br__json *list = br__json_get(j, br__split_names[i]);
        struct br__run_blend *b = &k->out->data.each[i];
        b->words = br__arena_alloc(k->a, (br__json_count(list) + 1) * sizeof *b->words);
        for (const br__json *e = br__json_first(list); e && b->words; e = br__json_next(e)) {
            const char *word = br__json_kind(e) == 'n' ? br__run_printf(k, "%g", br__json_num(e, 0))
                                                       : br__json_str(e, NULL);
            if (!word) {
                rc = br_fail(k->err, BR_E_FORMAT, "'%s': \"%s\" is no list of texts and weights",
                             path, br__split_names[i]);
                break;
            }
            b->words[b->n] = br__arena_strdup(k->a, word);
            k->failed |= !b->words[b->n++];
        }
        k->failed |= !b->words;
    }
    br__json_free(j);
    return rc;
}

static int has_suffix(const char *path, const char *const *suffixes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (br__ends(path, suffixes[i]))
            return 1;
    return 0;
}

/* JSONL of ids is read as it is, and then it is all the data. */
static int find_pretok(struct br__run_maker *k)
{
    static const char *const lines[] = {".jsonl", ".nvjsonl", ".json"};
    struct br__run_data *d = &k->out->data;
    struct br__run_blend *blends[] = {&d->each[0], &d->each[1], &d->each[2], &d->all};

    for (size_t i = 0; i < BR_COUNTOF(blends); i++)
        for (size_t w = 0; w < blends[i]->n; w++) {
            const char *path = blends[i]->words[w];
            if (!has_suffix(path, lines, BR_COUNTOF(lines)))
                continue;
            int is = br__is_pretok(path, k->err);
            if (is < 0)
                return k->err->code;
            if (is && blends[i]->n > 1)
                return br_fail(k->err, BR_E_UNSUPPORTED,
                               "'%s' holds ids (\"input_ids\") and cannot be blended with other "
                               "data; give it alone",
                               path);
            if (is)
                d->kind = BR__RUN_PRETOK;
            for (int s = 0; is && s < BR__N_SPLITS; s++)
                if (blends[i] == &d->all || blends[i] == &d->each[s])
                    d->file[s] = path;
        }
    return BR_OK;
}

static int find_tokens(struct br__run_maker *k)
{
    struct br__run_data *d = &k->out->data;
    const char *args = br__run_text(k, BR__RK_data_args_path);
    const char *per_split = br__run_text(k, BR__RK_per_split_data_args_path);
    static const uint32_t keys[] = {BR__RK_train_data_path, BR__RK_valid_data_path,
                                    BR__RK_test_data_path};
    int rc = BR_OK, each = 0;

    d->all = blend_of(k, BR__RK_data_paths);
    for (int i = 0; i < BR__N_SPLITS; i++) {
        d->each[i] = blend_of(k, keys[i]);
        each |= d->each[i].n > 0;
    }
    if ((d->all.n > 0) + each + (args != NULL) + (per_split != NULL) > 1)
        return br_fail(k->err, BR_E_CONFIG,
                       "give one of data_paths, data_args_path, per_split_data_args_path and "
                       "train_data_path with its kin");
    if (args)
        rc = read_words(k, args, &d->all);
    if (per_split)
        rc = read_splits(k, per_split);
    for (int i = 0; i < BR__N_SPLITS; i++)
        each |= d->each[i].n > 0;
    if (!rc && each && !d->each[BR__TRAIN].n)
        rc = br_fail(k->err, BR_E_CONFIG, "there is data for %s and none to train with",
                     br__split_names[d->each[BR__VALID].n ? BR__VALID : BR__TEST]);
    d->kind = d->all.n || each ? BR__RUN_TOKENS : BR__RUN_MOCK;
    return rc ? rc : find_pretok(k);
}

/* Upstream's recipe functions: 1,1,1 of mock data, 9999,8,2 of files. */
static void set_split(struct br__run_maker *k)
{
    struct br__run_data *d = &k->out->data;
    const char *split = br__run_text(k, BR__RK_dataset_split);

    if (!d->all.n)
        d->split = d->kind == BR__RUN_MOCK ? split : NULL;
    else if (split && br__recipe_is_set(k->r, BR__RK_dataset_split))
        d->split = split;
    else
        d->split = "9999,8,2";
}

static int make_pretrain(struct br__run_maker *k)
{
    struct br__run_data *d = &k->out->data;
    const char *loader = br__run_text(k, BR__RK_dataloader_type);
    const char *order = br__run_text(k, BR__RK_data_order);
    const char *class = br__run_text(k, BR__RK_dataset_class);
    int mock =
        br__run_int(k, BR__RK_mock, 0) != 0 || (class && !strcmp(class, "MockGPTDatasetConfig"));
    int rc = find_tokens(k);

    if (rc)
        return rc;
    if (mock && d->kind != BR__RUN_MOCK)
        return br_fail(k->err, BR_E_CONFIG, "mock data and data files are both asked for");
    if (br__run_text(k, BR__RK_dataset_path))
        return br_fail(k->err, BR_E_CONFIG,
                       "dataset_path is a folder of finetuning data, and recipe '%s' pretrains; "
                       "data_paths names its data",
                       k->r->name);
    if (loader && !strcmp(loader, "external"))
        return br_fail(
            k->err, BR_E_UNSUPPORTED,
            "dataloader_type=external is Python code; single, cyclic and batch are here");
    d->sampler = loader && !strcmp(loader, "cyclic")  ? BR__SAMPLER_CYCLIC
                 : loader && !strcmp(loader, "batch") ? BR__SAMPLER_BATCH
                                                      : BR__SAMPLER_SINGLE;
    set_split(k);
    d->file_order = order && !strcmp(order, "file");
    d->reset_position_ids = br__run_int(k, BR__RK_reset_position_ids, 0) != 0;
    d->reset_attention_mask = br__run_int(k, BR__RK_reset_attention_mask, 0) != 0;
    d->eod_mask_loss = br__run_int(k, BR__RK_eod_mask_loss, 0) != 0;
    d->pad_is_set = br__run_get(k, BR__RK_pad_token_id)->tag != 0;
    d->pad = (int32_t)br__run_int(k, BR__RK_pad_token_id, -1);
    return BR_OK;
}

/* ---- finetuning ------------------------------------------------------------------------------ */

struct kwargs {
    struct br__run_maker *k;
    struct br__run_data *d;
};

/* Settings of Megatron Bridge's dataset_kwargs and of its prompt_completion_config. */
enum kwarg {
    KW_PROMPT_TEMPLATE,
    KW_LABEL_KEY,
    KW_TRUNCATION_FIELD,
    KW_TRUNCATION_METHOD,
    KW_ADD_BOS,
    KW_ADD_EOS,
    KW_ANSWER_ONLY,
    KW_PAD_TO_MAX,
    KW_CHAT,
    KW_CHAT_LOSS,
    KW_TOOLS,
    KW_MAX_SAMPLES,
    KW_PROMPT_COLUMN,
    KW_COMPLETION_COLUMN,
    KW_SEPARATOR,
    KW_LOSS_MODE,
    KW_NESTED,
    KW_NONE
};
static const struct {
    const char *name;
    char kind; /* of JSON; '*' any */
    int what;  /* enum kwarg */
} kwargs_table[] = {
    {"prompt_template", 's', KW_PROMPT_TEMPLATE},
    {"label_key", 's', KW_LABEL_KEY},
    {"truncation_field", 's', KW_TRUNCATION_FIELD},
    {"truncation_method", 's', KW_TRUNCATION_METHOD},
    {"add_bos", 'b', KW_ADD_BOS},
    {"add_eos", 'b', KW_ADD_EOS},
    {"answer_only_loss", 'b', KW_ANSWER_ONLY},
    {"pad_to_max_length", 'b', KW_PAD_TO_MAX},
    {"chat", 'b', KW_CHAT},
    {"use_hf_tokenizer_chat_template", 'b', KW_NONE}, /* there is no other */
    {"chat_loss_mode", 's', KW_CHAT_LOSS},
    {"tool_schemas", '*', KW_TOOLS},
    {"max_num_samples", 'n', KW_MAX_SAMPLES},
    {"prompt_column", 's', KW_PROMPT_COLUMN},
    {"completion_column", 's', KW_COMPLETION_COLUMN},
    {"separator", 's', KW_SEPARATOR},
    {"loss_mode", 's', KW_LOSS_MODE},
    {"prompt_completion_config", 'o', KW_NESTED},
};

static int read_kwargs(const struct kwargs *w, const br__json *object);

static int loss_of(const char *word, int *loss)
{
    if (!strcmp(word, "full") || !strcmp(word, "all"))
        *loss = BR__LOSS_FULL;
    else if (!strcmp(word, "last_turn"))
        *loss = BR__LOSS_LAST_TURN;
    else if (!strcmp(word, "assistant") || !strcmp(word, "completion"))
        *loss = BR__LOSS_ANSWER;
    else
        return 0;
    return 1;
}

/* The text of a value in the arena. */
static const char *run_keep(const struct kwargs *w, const br__json *v)
{
    struct br__buf b = {0};
    const char *text = NULL;

    if (br__json_kind(v) == 's')
        text = br__arena_strdup(w->k->a, br__json_str(v, ""));
    else if (!br__json_print(v, 0, &b))
        text = br__arena_strdup(w->k->a, b.p);
    br__buf_free(&b);
    w->k->failed |= !text;
    return text;
}

static int set_kwarg(const struct kwargs *w, int what, const br__json *v, const char *name)
{
    struct br__sft_opts *o = &w->d->sft;
    const char *word = br__json_str(v, "");
    int yes = br__json_bool(v, 0), fits = 1;

    switch (what) {
    case KW_PROMPT_TEMPLATE:
        o->prompt_template = run_keep(w, v);
        w->d->form_said = 1;
        break;
    case KW_LABEL_KEY:
        o->label_key = run_keep(w, v);
        break;
    case KW_TRUNCATION_FIELD:
        o->truncation_field = run_keep(w, v);
        break;
    case KW_TRUNCATION_METHOD:
        o->truncation_left = !strcmp(word, "left");
        fits = o->truncation_left || !strcmp(word, "right");
        break;
    case KW_ADD_BOS:
        o->add_bos = yes;
        break;
    case KW_ADD_EOS:
        o->no_eos = !yes;
        break;
    case KW_ANSWER_ONLY:
        o->loss = yes ? BR__LOSS_ANSWER : BR__LOSS_FULL;
        break;
    case KW_PAD_TO_MAX:
        w->d->pad_to_max = yes;
        break;
    case KW_CHAT:
        w->d->chat = yes;
        w->d->form_said = 1;
        break;
    case KW_CHAT_LOSS:
    case KW_LOSS_MODE:
        fits = loss_of(word, &o->loss);
        break;
    case KW_TOOLS:
        o->tools_json = run_keep(w, v);
        break;
    case KW_MAX_SAMPLES:
        o->max_samples = (int64_t)br__json_num(v, 0);
        fits = o->max_samples > 0;
        break;
    case KW_PROMPT_COLUMN:
        o->prompt_column = run_keep(w, v);
        w->d->form_said = 1;
        break;
    case KW_COMPLETION_COLUMN:
        o->completion_column = run_keep(w, v);
        break;
    case KW_SEPARATOR:
        o->separator = run_keep(w, v);
        break;
    case KW_NESTED:
        return read_kwargs(w, v);
    default:
        break;
    }
    return fits ? BR_OK
                : br_fail(w->k->err, BR_E_CONFIG, "dataset_kwargs: %s cannot be '%s'", name, word);
}

static int read_kwargs(const struct kwargs *w, const br__json *object)
{
    int rc = BR_OK;

    for (const br__json *v = br__json_first(object); v && !rc; v = br__json_next(v)) {
        size_t i = 0;
        while (i < BR_COUNTOF(kwargs_table) && strcmp(kwargs_table[i].name, br__json_key(v)))
            i++;
        if (i == BR_COUNTOF(kwargs_table)) {
            struct br__buf known = {0};
            for (size_t n = 0; n < i; n++)
                br__buf_printf(&known, "%s%s", n ? ", " : "", kwargs_table[n].name);
            rc = br_fail(w->k->err, BR_E_UNSUPPORTED,
                         "dataset_kwargs: '%.60s' is not known here; known are %s", br__json_key(v),
                         known.failed ? "others" : known.p);
            br__buf_free(&known);
        } else if (kwargs_table[i].kind != '*' && br__json_kind(v) != kwargs_table[i].kind &&
                   br__json_kind(v) != '0') {
            rc = br_fail(w->k->err, BR_E_CONFIG, "dataset_kwargs: %s has a value of another type",
                         br__json_key(v));
        } else if (br__json_kind(v) != '0') {
            rc = set_kwarg(w, kwargs_table[i].what, v, br__json_key(v));
        }
    }
    return rc;
}

static int set_kwargs(struct br__run_maker *k)
{
    const struct br__recipe_value *v = br__run_get(k, BR__RK_dataset_kwargs);
    const struct kwargs w = {k, &k->out->data};
    br__json *j = NULL;

    if (v->tag != 'O')
        return BR_OK;
    int rc = br__json_parse(&j, v->text, strlen(v->text), k->err);
    if (!rc)
        rc = read_kwargs(&w, j);
    br__json_free(j);
    return rc;
}

static void set_packing(struct br__run_maker *k)
{
    struct br__sft_opts *o = &k->out->data.sft;
    int64_t size = br__run_int(k, BR__RK_packed_sequence_size, k->out->seq_length);
    int64_t multiple = br__run_int(k, BR__RK_pad_seq_to_mult, 0);

    if (!br__run_int(k, BR__RK_packed_sequence, 0))
        return;
    o->packing = BR__PACK_FIRST_FIT_SHUFFLE; /* PackedSequenceSpecs has no other default */
    o->pack_size = size;
    o->pack_multiple = multiple;
}

/* ORG/NAME[@REVISION] that is no path. */
static int is_hub_id(const char *word)
{
    const char *slash = strchr(word, '/');

    return slash && slash > word && slash[1] && word[0] != '.' && word[0] != '~' &&
           !strchr(slash + 1, '/') && !br__exists(word);
}

/* Which data set of the hub, or none: d->hub. */
static int set_hub(struct br__run_maker *k, const char *dir)
{
    struct br__hub_set_opts *h = &k->out->data.hub;
    const char *path = br__run_text(k, BR__RK_dataset_hf_path);
    const char *name = br__run_text(k, BR__RK_dataset_name);
    const struct br__hub_known *known;

    h->subset = br__run_text(k, BR__RK_dataset_subset);
    h->held_back = br__run_float(k, BR__RK_val_proportion, 0);
    h->seed = k->out->data.seed;
    if (path && dir)
        return br_fail(k->err, BR_E_CONFIG,
                       "dataset_path '%s' and dataset_hf_path '%s' both name the data; give one",
                       dir, path);
    if (dir && !is_hub_id(dir))
        return BR_OK;
    h->id = dir ? dir : path;
    if (h->id)
        return BR_OK;
    if (!name)
        return br_fail(k->err, BR_E_CONFIG,
                       "finetuning data is not named: dataset_path takes a folder with "
                       "training.jsonl, or the id of a data set of the hub");
    known = br__hub_known(name);
    if (!known && strchr(name, '/')) {
        h->id = name;
        return BR_OK;
    }
    if (!known)
        return br_fail(k->err, BR_E_UNSUPPORTED,
                       "dataset_name '%s' is not known here; known are %s. dataset_path takes the "
                       "id of any data set of the hub",
                       name, br__hub_known_names(k->a));
    if (h->subset && known->subset && strcmp(h->subset, known->subset) != 0)
        return br_fail(k->err, BR_E_CONFIG,
                       "dataset_name '%s' is '%s' with the subset '%s'; dataset_path=%s takes "
                       "another",
                       name, known->id, known->subset, known->id);
    h->id = known->id;
    h->subset = known->subset ? known->subset : h->subset;
    h->train = known->train;
    h->rows = known->rows;
    return BR_OK;
}

static void say_hub(struct br__run_maker *k)
{
    const struct br__hub_set_opts *h = &k->out->data.hub;

    if (h->wants[BR__VALID] && h->held_back > 0)
        br__run_note(k,
                     "%g of the training records of '%s' are held back for validation; "
                     "val_proportion=null takes the validation split of the set",
                     h->held_back, h->id);
}

static int set_sft_files(struct br__run_maker *k)
{
    struct br__run_data *d = &k->out->data;
    const char *dir = br__run_text(k, BR__RK_dataset_path);
    const int wants[BR__N_SPLITS] = {1, br__run_int(k, BR__RK_do_validation, 1) != 0,
                                     br__run_int(k, BR__RK_do_test, 0) != 0};
    int rc = set_hub(k, dir);

    memcpy(d->hub.wants, wants, sizeof wants);
    if (!rc && d->hub.id)
        say_hub(k);
    if (rc || d->hub.id)
        return rc;
    for (int i = 0; i < BR__N_SPLITS; i++) {
        if (!wants[i])
            continue;
        d->file[i] = br__sft_file(k->a, dir, i);
        if (!d->file[i] && i == BR__TRAIN)
            return br_fail(k->err, BR_E_NOTFOUND, "dataset_path '%s' has no training.jsonl", dir);
        if (!d->file[i])
            br__run_note(k, "'%s' has no file for %s: there is none", dir,
                         i == BR__VALID ? "validation" : "the test");
    }
    return BR_OK;
}

static int make_sft(struct br__run_maker *k)
{
    struct br__run_data *d = &k->out->data;
    const char *chat = br__run_text(k, BR__RK_sft_preprocessing);
    const char *loss = br__run_text(k, BR__RK_sft_loss_mode);
    size_t n_paths = 0;
    int rc = set_sft_files(k);

    if (!rc && br__run_list(k, BR__RK_data_paths, &n_paths) && n_paths)
        rc = br_fail(k->err, BR_E_UNSUPPORTED,
                     "data_paths is for pretraining, and recipe '%s' finetunes; dataset_path names "
                     "the folder of its data",
                     k->r->name);
    d->kind = BR__RUN_SFT;
    d->sampler = BR__SAMPLER_BATCH;
    if (!rc)
        rc = set_kwargs(k);
    if (rc)
        return rc;
    if (chat)
        d->chat = !strcmp(chat, "chat");
    else if (d->hub.id && d->hub.rows == BR__HUB_ROWS && !d->form_said)
        d->chat = 1; /* as Megatron Bridge reads a set of the hub that it does not know */
    if (loss)
        loss_of(loss, &d->sft.loss);
    d->sft.seq_length = k->out->seq_length;
    d->sft.seed = d->seed;
    d->sft.skip_bad = d->skip_bad;
    set_packing(k);
    return BR_OK;
}

int br__run_make_data(struct br__run_maker *k)
{
    struct br__run_data *d = &k->out->data;

    d->seed = (uint32_t)br__run_int(k, BR__RK_dataset_seed, 0);
    d->skip_bad = k->o->skip_bad;
    d->pad = -1;
    return k->out->mode == BR__MODE_PRETRAIN ? make_pretrain(k) : make_sft(k);
}
