/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* tok.h - for the fuzz targets of the tokenizer: a tokenizer made here, so that they need no file.
 */
#ifndef BRIDGE_TESTS_FUZZ_TOK_H
#define BRIDGE_TESTS_FUZZ_TOK_H

#include "../../core/text/tok/tok.h"

#include <stdlib.h>

/* clang-format off */
static const char *const tok_merges[][2] = {
    {"t", "h"}, {"th", "e"}, {"\xC4\xA0", "the"}, {"a", "a"}, {"aa", "aa"}, {"b", "a"}, {"\xC4\x8A", "\xC4\x8A"},
    {"\xC4\xA0", "\xC4\xA0"}, {"\xC3\xA4", "\xC2\xB8"}, {"\xC3\xA4\xC2\xB8", "\xC3\x83"}, {"\xC3\x8C", "\xC4\xA3"},
    {"e", "\xC3\x8C\xC4\xA3"}, {"aaaa", "ba"}, {"'", "s"}, {"<", "|"}, {"1", "2"},
};
/* clang-format on */

static inline void tok_put_char(struct br__buf *b, uint32_t c)
{
    char s[2] = {(char)(0xC0 | c >> 6), (char)(0x80 | (c & 0x3F))};
    if (c < 0x80)
        br__buf_putc(b, (char)c);
    else
        br__buf_put(b, s, 2);
}

/* A model of 256 bytes and the merges above. */
static inline void tok_model(struct br__buf *b)
{
    int id = 0;
    br__buf_puts(b, "\"model\":{\"type\":\"BPE\",\"vocab\":{");
    for (uint32_t c = 0; c < 0x144; c++)
        if (br__tok_byte_of(c) >= 0) {
            br__buf_puts(b, id ? ",\"" : "\"");
            if (c == '"' || c == '\\')
                br__buf_putc(b, '\\');
            tok_put_char(b, c);
            br__buf_printf(b, "\":%d", id++);
        }
    for (size_t i = 0; i < BR_COUNTOF(tok_merges); i++)
        br__buf_printf(b, ",\"%s%s\":%d", tok_merges[i][0], tok_merges[i][1], id++);
    br__buf_puts(b, "},\"merges\":[");
    for (size_t i = 0; i < BR_COUNTOF(tok_merges); i++)
        br__buf_printf(b, "%s[\"%s\",\"%s\"]", i ? "," : "", tok_merges[i][0], tok_merges[i][1]);
    br__buf_puts(b, "]}");
}

/* A model of characters, with tokens for bytes and an unknown one. */
static inline void tok_plain_model(struct br__buf *b)
{
    static const char *const tokens[] = {"\xE2\x96\x81",
                                         "t",
                                         "h",
                                         "e",
                                         "a",
                                         "\xC3\xA9",
                                         "th",
                                         "the",
                                         "\xE2\x96\x81the",
                                         "aa",
                                         "\xE2\x96\x81\xE2\x96\x81"};
    static const char *const pairs[][2] = {{"t", "h"},
                                           {"th", "e"},
                                           {"\xE2\x96\x81", "the"},
                                           {"a", "a"},
                                           {"\xE2\x96\x81", "\xE2\x96\x81"}};
    int id = 1;
    br__buf_puts(b, "\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"fuse_unk\":true,"
                    "\"byte_fallback\":true,\"vocab\":{\"<unk>\":0");
    for (unsigned k = 0; k < 255; k++) /* one is missing */
        br__buf_printf(b, ",\"<0x%02X>\":%d", k, id++);
    for (size_t i = 0; i < BR_COUNTOF(tokens); i++)
        br__buf_printf(b, ",\"%s\":%d", tokens[i], id++);
    br__buf_puts(b, "},\"merges\":[");
    for (size_t i = 0; i < BR_COUNTOF(pairs); i++)
        br__buf_printf(b, "%s[\"%s\",\"%s\"]", i ? "," : "", pairs[i][0], pairs[i][1]);
    br__buf_puts(b, "]}");
}

/* tokenizer.json of the first model with Qwen's parts and three added tokens. */
static inline void tok_json(struct br__buf *b)
{
    br__buf_puts(b, "{\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":\"Sequence\","
                    "\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":");
    br__buf_json_str(b, br__tok_qwen2_pattern);
    br__buf_puts(b,
                 "},\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"ByteLevel\","
                 "\"add_prefix_space\":false,\"use_regex\":false}]},"
                 "\"decoder\":{\"type\":\"ByteLevel\"},\"added_tokens\":["
                 "{\"id\":400,\"content\":\"<|x|>\",\"special\":true,\"normalized\":false},"
                 "{\"id\":401,\"content\":\"<y>\",\"lstrip\":true,\"rstrip\":true,"
                 "\"special\":false,\"normalized\":false},"
                 "{\"id\":402,\"content\":\"e\\u0301\",\"special\":false,\"normalized\":true}],");
    tok_model(b);
    br__buf_putc(b, '}');
}

/* A tokenizer from the text of a tokenizer.json; NULL with a reason if it is refused. */
static inline struct br_tokenizer *tok_from_json(const char *text, size_t n, struct br_err *err)
{
    static struct br__tok_unicode *unicode; /* takes longer than all the rest */
    struct br_tokenizer *t = br__calloc(1, sizeof *t);
    struct br__tok_rows rows = {0};
    if (!unicode) {
        unicode = br__alloc(sizeof *unicode);
        br__tok_unicode_init(unicode);
    }
    t->pool = br__calloc(1, sizeof *t->pool);
    pthread_mutex_init(&t->pool->lock, NULL);
    t->unicode = *unicode;
    int rc = br__tok_json_read(t, &rows, text, n, err);
    if (!rc)
        rc = br__tok_rows_use(t, &rows, err);
    br__map_free(&rows.by_text);
    br__free(rows.p);
    if (!rc)
        return t;
    if (!err->msg[0])
        abort(); /* a refusal says why */
    br_tokenizer_close(t);
    return NULL;
}

static inline const struct br_tokenizer *tok_built_in(void)
{
    static struct br_tokenizer *t;
    struct br_err err = BR_ERR_INIT;
    struct br__buf b = {0};
    if (!t) {
        tok_json(&b);
        t = tok_from_json(b.p, b.n, &err);
        br__buf_free(&b);
        if (!t) {
            fprintf(stderr, "%s\n", err.msg);
            abort();
        }
    }
    return t;
}

/* Decoded as a whole and token by token: the same, and UTF-8 at every step; but that steps may say
 * more of byte tokens that are no UTF-8 together, where the whole has U+FFFD. */
static inline void tok_check_decode(const struct br_tokenizer *t, const struct br_ids *ids,
                                    unsigned flags)
{
    struct br_text all = {0}, steps = {0};
    struct br_detok d;
    size_t before = 0;
    if (br_tokenizer_decode(t, ids->p, ids->n, flags, &all, NULL))
        abort();
    br_detok_begin(&d, t, flags);
    for (size_t i = 0; i <= ids->n; i++, before = steps.n) {
        if (i < ids->n ? br_detok_put(&d, ids->p[i], &steps, NULL) : br_detok_end(&d, &steps, NULL))
            abort();
        if (steps.n > before && !br__utf8_valid(steps.p + before, steps.n - before))
            abort();
    }
    int replaced = t->vocab.plain && all.n && memmem(all.p, all.n, "\xEF\xBF\xBD", 3);
    if (!replaced && (all.n != steps.n || (all.n && memcmp(all.p, steps.p, all.n) != 0)))
        abort();
    br_text_free(&all);
    br_text_free(&steps);
}

#endif
