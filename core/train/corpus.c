/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* corpus.c - the data of a run opened: tokenizer, token files, records, and loaders over them.
 *
 * How many samples each split needs: megatron.bridge.data.loaders,
 * get_train_valid_test_num_samples. */
#include "../text/text.h"
#include "run.h"
#include "state.h"

#include <inttypes.h>
#include <string.h>

/* ---- tokenizer ------------------------------------------------------------------------------- */

static int is_text(const char *word)
{
    static const char *const suffixes[] = {".jsonl", ".nvjsonl", ".json", ".parquet", ".txt"};

    for (size_t i = 0; i < BR_COUNTOF(suffixes); i++)
        if (br__ends(word, suffixes[i]))
            return 1;
    return 0;
}

/* Whether all data are ids already. */
static int has_ids_only(const struct br__run_data *d)
{
    const struct br__run_blend *blends[] = {&d->all, &d->each[0], &d->each[1], &d->each[2]};
    int text = d->kind == BR__RUN_SFT;

    for (size_t i = 0; i < BR_COUNTOF(blends); i++)
        for (size_t k = 0; k < blends[i]->n; k++)
            text |= d->kind == BR__RUN_TOKENS && is_text(blends[i]->words[k]);
    return !text;
}

/* A tokenizer whose text cannot be encoded here does for data that are ids. */
static int open_files(struct br__corpus *c, const struct br__training_opts *o, struct br_err *err)
{
    struct br_err why = BR_ERR_INIT;
    int rc = br_tokenizer_open(&c->tok, c->tok_dir, &why);

    if (!rc)
        c->special = br__special_ids(c->tok);
    if (rc && (rc == BR_E_NOMEM || !has_ids_only(&c->run->data) ||
               br__special_ids_read(c->tok_dir, &c->special, NULL)))
        return br_fail(err, rc, "%s", why.msg);
    if (!rc)
        return BR_OK;
    br__note(o->listener, "of the tokenizer only the special tokens are used: %s", why.msg);
    return BR_OK;
}

static int open_tokenizer(struct br__corpus *c, int64_t n_vocab, const struct br__training_opts *o,
                          struct br_err *err)
{
    const struct br__run *run = c->run;
    int32_t null_vocab = (int32_t)BR__MIN(run->null_vocab, INT32_MAX - 1);
    int rc = BR_OK;

    /* Of a NullTokenizer the end of documents follows its own ids. */
    c->special = (struct br__special_ids){null_vocab, -1, null_vocab + 1};
    if (run->tokenizer) {
        rc = br__hf_resolve(&c->arena, run->tokenizer, &c->tok_dir, err);
        if (!rc)
            rc = open_files(c, o, err);
    }
    if (!rc && run->data.chat)
        rc = c->tok ? br_chat_open(&c->chat, c->tok_dir, err)
                    : br_fail(err, BR_E_CONFIG, "conversations need a tokenizer with a template");
    if (rc) {
        br_wrap(err, "tokenizer");
        return rc;
    }
    if (c->special.n_vocab > n_vocab)
        return br_fail(err, BR_E_CONFIG,
                       "the tokenizer has ids up to %" PRId32
                       ", the model's vocabulary has %" PRId64 " rows; they do not belong together",
                       c->special.n_vocab - 1, n_vocab);
    return BR_OK;
}

/* ---- how much of it -------------------------------------------------------------------------- */

/* 0: the split is not wanted, or the data has no share for it. */
static int count_samples(struct br__corpus *c, struct br_err *err)
{
    const struct br__run *run = c->run;
    int64_t evals = run->eval_interval ? run->train_iters / run->eval_interval + 1 : 1;
    int64_t *n = c->samples;
    double range[BR__N_SPLITS][2];

    n[BR__TRAIN] = run->train_iters * run->global_batch;
    if (__builtin_mul_overflow(run->eval_iters, run->global_batch, &n[BR__TEST]) ||
        __builtin_mul_overflow(n[BR__TEST], evals, &n[BR__VALID]))
        return br_fail(err, BR_E_CONFIG, "eval_iters %" PRId64 " are too many", run->eval_iters);
    if (run->data.split) {
        int rc = br__split_parse(run->data.split, range, err);
        if (rc)
            return rc;
        for (int i = BR__VALID; i < BR__N_SPLITS; i++)
            n[i] = range[i][1] > range[i][0] ? n[i] : 0;
    }
    for (int i = BR__VALID; i < BR__N_SPLITS; i++)
        if (run->data.kind == BR__RUN_SFT ? !c->file[i] : !run->data.split && !run->data.each[i].n)
            n[i] = 0;
    return BR_OK;
}

/* ---- pretraining ----------------------------------------------------------------------------- */

/* Texts of a blend become token files in the cache. */
static int prepare_blend(struct br__corpus *c, const struct br__run_blend *from, const char *cache,
                         const struct br__training_opts *o, struct br__run_blend *to,
                         struct br_err *err)
{
    int rc = BR_OK;

    to->words = br__arena_alloc(&c->arena, (from->n + 1) * sizeof *to->words);
    if (!to->words)
        return br__nomem(err, "opening the data");
    for (to->n = 0; to->n < from->n && !rc; to->n++) {
        const char *word = from->words[to->n], **out = &to->words[to->n];
        const struct br__cached_opts b = {.path = word,
                                          .cache_dir = cache,
                                          .tok = c->tok,
                                          .tok_dir = c->tok_dir,
                                          .eod = c->special.eod,
                                          .threads = o->threads,
                                          .skip_bad = c->run->data.skip_bad,
                                          .listener = o->listener};
        double weight;
        if (!is_text(word))
            *out = br__parse_f64(word, &weight) ? br__data_prefix(&c->arena, word) : word;
        else if (!c->tok)
            rc = br_fail(err, BR_E_CONFIG,
                         "'%s' is text, and there is no tokenizer; set tokenizer_type and "
                         "tokenizer_model",
                         word);
        else
            rc = br__data_cached(&c->arena, &b, out, err);
        if (!rc && !*out)
            rc = br__nomem(err, "opening the data");
    }
    return rc;
}

static int open_pretrain(struct br__corpus *c, const char *cache, const struct br__training_opts *o,
                         struct br_err *err)
{
    const struct br__run_data *d = &c->run->data;
    struct br__run_blend all, each[BR__N_SPLITS];
    struct br__pretrain_opts p = {.split = d->split,
                                  .seq_length = c->run->seq_length,
                                  .seed = d->seed,
                                  .eod = c->special.eod,
                                  .pad = d->pad,
                                  .reset_position_ids = d->reset_position_ids,
                                  .reset_attention_mask = d->reset_attention_mask,
                                  .eod_mask_loss = d->eod_mask_loss,
                                  .cache_dir = o->dry ? NULL : cache};
    int rc = prepare_blend(c, &d->all, cache, o, &all, err);

    p.n_vocab = c->special.n_vocab;
    if (!d->pad_is_set)
        p.pad = c->special.pad;
    for (int i = 0; i < BR__N_SPLITS && !rc; i++) {
        rc = prepare_blend(c, &d->each[i], cache, o, &each[i], err);
        p.split_paths[i] = each[i].words;
        p.n_split_paths[i] = each[i].n;
        p.n_samples[i] = c->samples[i];
    }
    if (!rc && c->special.eod < 0 &&
        (p.reset_position_ids || p.reset_attention_mask || p.eod_mask_loss))
        rc = br_fail(err, BR_E_CONFIG,
                     "the tokenizer names no eos_token, and without an end of documents there is "
                     "nothing to reset or to mask");
    if (rc)
        return rc;
    p.paths = all.words;
    p.n_paths = all.n;
    return br__pretrain_open(&c->pretrain, &p, err);
}

static int open_pretok(struct br__corpus *c, int64_t n_vocab, const struct br__training_opts *o,
                       struct br_err *err)
{
    const struct br__run_data *d = &c->run->data;
    int rc = BR_OK;

    for (int i = 0; i < BR__N_SPLITS && !rc; i++) {
        const struct br__pretok_opts p = {.path = c->file[i],
                                          .seq_length = c->run->seq_length,
                                          .n_vocab = n_vocab,
                                          .split = d->split,
                                          .which = i,
                                          .n_samples = c->samples[i],
                                          .seed = d->seed,
                                          .file_order = d->file_order,
                                          .skip_bad = d->skip_bad,
                                          .listener = o->listener};
        if (p.path && c->samples[i])
            rc = br__pretok_open(&c->pretok[i], &p, err);
    }
    return rc;
}

/* ---- finetuning ------------------------------------------------------------------------------ */

static int open_sft(struct br__corpus *c, const struct br__training_opts *o, struct br_err *err)
{
    const struct br__run_data *d = &c->run->data;
    int rc = BR_OK;

    if (!c->tok)
        return br_fail(err, BR_E_CONFIG, "finetuning data is text, and there is no tokenizer");
    for (int i = 0; i < BR__N_SPLITS && !rc; i++) {
        struct br__sft_opts s = d->sft;
        if (!c->file[i] || !c->samples[i])
            continue;
        s.path = c->file[i];
        s.tok = c->tok;
        s.chat = c->chat;
        s.threads = o->threads;
        s.listener = o->listener;
        rc = br__sft_open(&c->sft[i], &s, err);
        if (!rc && br__sft_count(c->sft[i]) < c->run->global_batch)
            rc = br_fail(err, BR_E_CONFIG,
                         "'%s' gives %" PRId64 " samples, fewer than global_batch_size %" PRId64,
                         c->file[i], br__sft_count(c->sft[i]), c->run->global_batch);
    }
    return rc;
}

/* ---- opening --------------------------------------------------------------------------------- */

/* Files of records: those that were named, or what a data set of the hub becomes. */
static int find_files(struct br__corpus *c, const char *cache, const struct br__training_opts *o,
                      struct br_err *err)
{
    const struct br__run_data *d = &c->run->data;
    struct br__hub_set_opts h = d->hub;
    const char *dir;

    memcpy(c->file, d->file, sizeof c->file);
    if (!h.id)
        return BR_OK;
    h.cache_dir = cache;
    h.no_sync = o->no_sync;
    h.listener = o->listener;
    int rc = br__hub_set(&c->arena, &h, &dir, err);
    for (int i = 0; i < BR__N_SPLITS && !rc; i++) {
        c->file[i] = h.wants[i] ? br__sft_file(&c->arena, dir, i) : NULL;
        if (h.wants[i] && !c->file[i])
            br__note(o->listener, "data set '%s' has no split for %s: there is none", h.id,
                     i == BR__VALID ? "validation" : "the test");
    }
    return rc;
}

/* A dry run makes token files of texts where nobody looks for them. */
static int cache_of(struct br__corpus *c, const struct br__training_opts *o, const char **cache,
                    struct br_err *err)
{
    *cache = c->run->cache;
    if (!o->dry)
        return BR_OK;
    int rc = br__temp_dir(&c->arena, "bridge-train", &c->temp, err);
    *cache = c->temp;
    return rc;
}

int br__corpus_open(struct br__corpus *c, const struct br__run *run, int64_t n_vocab,
                    const struct br__training_opts *o, struct br_err *err)
{
    const char *cache = NULL;

    *c = (struct br__corpus){.run = run};
    int rc = open_tokenizer(c, n_vocab, o, err);
    if (!rc)
        rc = cache_of(c, o, &cache, err);
    if (!rc)
        rc = find_files(c, cache, o, err);
    if (!rc)
        rc = count_samples(c, err);
    if (!rc && run->data.kind == BR__RUN_SFT)
        rc = open_sft(c, o, err);
    else if (!rc && run->data.kind == BR__RUN_PRETOK)
        rc = open_pretok(c, n_vocab, o, err);
    else if (!rc)
        rc = open_pretrain(c, cache, o, err);
    if (rc)
        br__corpus_close(c);
    return rc;
}

void br__corpus_close(struct br__corpus *c)
{
    for (int i = 0; i < BR__N_SPLITS; i++) {
        br__pretok_close(c->pretok[i]);
        br__sft_close(c->sft[i]);
    }
    br__pretrain_close(c->pretrain);
    br_chat_close(c->chat);
    br_tokenizer_close(c->tok);
    if (c->temp && br__remove_tree(c->temp, NULL))
        (void)0; /* it is in the folder of temporary files */
    br__arena_free(&c->arena);
    *c = (struct br__corpus){0};
}

/* ---- what it is ------------------------------------------------------------------------------ */

#define END_BYTES ((size_t)1 << 16) /* of a file at each end */

/* A file's size and ends; of a folder, or of token files' common prefix, nothing. */
static int describe_file(const char *path, struct br__buf *out, struct br_err *err)
{
    struct br__file f;

    if (!br__exists(path) || br__is_dir(path))
        return BR_OK;
    int rc = br__file_open(&f, path, err);
    if (rc)
        return rc;
    size_t n = (size_t)BR__MIN(f.size, (uint64_t)END_BYTES);
    const unsigned char *map = f.map;
    uint64_t head = n ? br__xxh3(map, n) : 0, tail = n ? br__xxh3(map + f.size - n, n) : 0;
    br__buf_printf(out, ", %s %" PRIu64 " bytes %016" PRIx64, br__path_base(path), f.size,
                   head ^ (tail << 1 | tail >> 63));
    br__file_close(&f);
    return BR_OK;
}

/* Token files of a prefix, or a file of records. */
static int describe_path(const char *path, struct br__buf *out, struct br_err *err)
{
    static const char *const ends[] = {".bin", ".idx", ""};
    int rc = BR_OK;

    for (size_t i = 0; i < BR_COUNTOF(ends) && !rc; i++) {
        struct br__buf name = {0};
        br__buf_printf(&name, "%s%s", path, ends[i]);
        rc = name.failed ? br__nomem(err, "for the data") : describe_file(name.p, out, err);
        br__buf_free(&name);
    }
    return rc;
}

static int describe_part(const struct br__corpus *c, int split, size_t k, struct br__buf *out,
                         int *is_last, struct br_err *err)
{
    struct br__pretrain_part part = {.path = c->file[split], .samples = c->samples[split]};

    *is_last = c->pretrain ? !br__pretrain_part(c->pretrain, split, k, &part)
                           : k > 0 || !c->samples[split];
    if (*is_last)
        return BR_OK;
    br__buf_printf(out, "%s data: %" PRId64 " samples, %" PRId64 " sequences, %" PRId64 " tokens",
                   br__split_names[split], part.samples, part.sequences, part.tokens);
    int rc = part.path ? describe_path(part.path, out, err) : BR_OK;
    br__buf_putc(out, '\n');
    return rc;
}

int br__corpus_text(const struct br__corpus *c, struct br__buf *out, struct br_err *err)
{
    int rc = BR_OK;

    for (int split = 0; split < BR__N_SPLITS; split++)
        for (int k = 0, is_last = 0; !is_last && !rc; k++)
            rc = describe_part(c, split, (size_t)k, out, &is_last, err);
    return rc || !out->failed ? rc : br__nomem(err, "for the data");
}

/* ---- loaders --------------------------------------------------------------------------------- */

static struct br__data_source source_of(const struct br__corpus *c, int split)
{
    if (c->sft[split])
        return br__data_source_sft(c->sft[split]);
    if (c->pretok[split])
        return br__data_source_pretok(c->pretok[split]);
    return br__data_source_pretrain(c->pretrain, split);
}

/* Whether ranks that share experts' channels, and so gather each other's rows, read batches of
 * their own: then all rows are of one length. */
static int gathers_batches(const struct br__run *run)
{
    const uint32_t *size = run->topo.size;

    return size[BR_AXIS_ETP] > size[BR_AXIS_TP] * size[BR_AXIS_CP];
}

/* How samples become rows. */
static struct br__collate collate_of(const struct br__corpus *c, int split)
{
    const struct br__run_data *d = &c->run->data;
    struct br__collate r = {.max = c->run->seq_length, .pad_id = BR__MAX(c->special.eod, 0)};

    if (c->sft[split]) {
        r.packed = d->sft.packing != 0;
        r.max = r.packed ? d->sft.pack_size : r.max;
        r.multiple = 16;
        r.to_max = d->pad_to_max || gathers_batches(c->run);
        r.pad_id = br__sft_eos(c->sft[split]);
    }
    return r;
}

int br__corpus_lasts(const struct br__corpus *c, int64_t done, int64_t consumed, struct br_err *err)
{
    const struct br__run *run = c->run;
    int64_t left = run->train_iters - done, at = consumed, batch;

    if (run->skip_train || run->data.sampler != BR__SAMPLER_SINGLE)
        return BR_OK; /* other orders begin again where the samples end */
    int64_t n = source_of(c, BR__TRAIN).n;
    for (; left > 0 && at < n && (batch = br__run_batch(run, at)) < run->global_batch; left--)
        at += batch;
    if (left <= 0 || (at <= n && left <= (n - at) / run->global_batch))
        return BR_OK;
    return br_fail(err, BR_E_CONFIG,
                   "the training data has %" PRId64 " samples, made for train_iters %" PRId64
                   " × global_batch_size %" PRId64 ", and the run has used %" PRId64
                   " in its %" PRId64 " steps: too few for the %" PRId64
                   " steps that are left; a larger train_iters or the global_batch_size of before "
                   "gives more",
                   n, run->train_iters, run->global_batch, consumed, done, run->train_iters - done);
}

int br__corpus_loader(const struct br__corpus *c, const struct br__corpus_steps *s, uint32_t dp,
                      struct br__loader **out, struct br_err *err)
{
    const struct br__run *run = c->run;
    int sampler = run->data.sampler;

    if (s->split != BR__TRAIN && sampler == BR__SAMPLER_SINGLE)
        sampler = BR__SAMPLER_CYCLIC; /* as in Megatron, also where training is sequential */
    const struct br__loader_opts o = {
        .source = source_of(c, s->split),
        .sampler = {.kind = sampler,
                    .micro_batch = run->micro_batch,
                    .dp = run->topo.size[BR_AXIS_DP],
                    .rank = dp,
                    .seed = run->data.seed},
        .collate = collate_of(c, s->split),
        .global_batch = s->batch,
        .consumed = s->consumed,
        .n_steps = s->n_steps,
    };
    return br__loader_open(out, &o, err);
}
