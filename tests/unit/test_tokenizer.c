/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_tokenizer.c - the tokenizer against what Hugging Face's tokenizers computed, its parts
 * against PCRE2, utf8proc and plain loops, and files that must be refused. */
#include "base/base_internal.h"
#include "librun.h"
#include "libtok.h"
#include "text/tok/tok.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
#include <utf8proc.h>

#define SMALL BRIDGE_TEST_DATA "/tokenizer/small"

static char dir[256];

static void make_dir(void)
{
    make_temp_dir(dir, sizeof dir, "bridge-tok");
}

static void remove_dir(void)
{
    ck_assert_int_eq(br__remove_tree(dir, NULL), 0);
}

/* ---- goldens --------------------------------------------------------------------------------- */

START_TEST(small_goldens)
{
    struct br_tokenizer *t = open_ok(SMALL);
    ck_assert_uint_eq(ck_goldens(t, SMALL, "encode.jsonl", NULL), 300);
    ck_assert_uint_eq(ck_goldens(t, SMALL, "decode.jsonl", NULL), 90);
    br_tokenizer_close(t);
}
END_TEST

/* ---- the same tokenizer in other files ------------------------------------------------------- */

static void copy_in(const char *name)
{
    struct br__arena a = {0};
    copy_file(br__path_join(&a, SMALL, name), br__path_join(&a, dir, name));
    br__arena_free(&a);
}

static void put_in(const char *name, const char *text, size_t n)
{
    struct br__arena a = {0};
    ck_assert_int_eq(br__write_file(br__path_join(&a, dir, name), text, n, 0, NULL), 0);
    br__arena_free(&a);
}

START_TEST(two_files)
{
    copy_in("vocab.json");
    copy_in("merges.txt");
    copy_in("tokenizer_config.json");
    struct br_tokenizer *t = open_ok(dir);
    ck_assert_uint_eq(ck_goldens(t, SMALL, "encode.jsonl", NULL), 300);
    ck_assert_uint_eq(ck_goldens(t, SMALL, "decode.jsonl", NULL), 90);
    ck_assert_str_eq(br_tokenizer_role(t, BR_TOK_EOS), "<|im_end|>");
    ck_assert_str_eq(br_tokenizer_role(t, BR_TOK_PAD), "<|endoftext|>");
    ck_assert_ptr_null(br_tokenizer_role(t, BR_TOK_BOS));
    br_tokenizer_close(t);
}
END_TEST

static char *small_json(size_t *n)
{
    char *text;
    ck_assert_int_eq(br__read_text(SMALL "/tokenizer.json", 1 << 20, &text, n, NULL), 0);
    return text;
}

/* ["a", "b"] as "a b", the spelling of older files. */
START_TEST(merges_as_text)
{
    size_t n;
    char *text = small_json(&n), *at = strstr(text, "\"merges\"");
    struct br__buf out = {0}, one = {0};
    struct br__jscan j;
    ck_assert_ptr_nonnull(at);
    at = strchr(at, '[');
    br__buf_put(&out, text, (size_t)(at - text));
    br__buf_putc(&out, '[');
    br__jscan_begin(&j, at, n - (size_t)(at - text), NULL);
    br__jscan_enter(&j, 'a');
    for (int first = 1; br__jscan_next(&j); first = 0) {
        one.n = 0;
        br__jscan_enter(&j, 'a');
        while (br__jscan_next(&j)) {
            if (one.n)
                br__buf_putc(&one, ' ');
            br__jscan_string(&j, &one);
        }
        br__buf_puts(&out, first ? "" : ",");
        br__buf_json_text(&out, one.p, one.n);
    }
    ck_assert_int_eq(j.rc, 0);
    br__buf_putc(&out, ']');
    br__buf_puts(&out, at + j.at);
    put_in("tokenizer.json", out.p, out.n);
    struct br_tokenizer *t = open_ok(dir);
    ck_assert_uint_eq(ck_goldens(t, SMALL, "encode.jsonl", NULL), 300);
    br_tokenizer_close(t);
    br__buf_free(&out);
    br__buf_free(&one);
    br__free(text);
}
END_TEST

/* `from` replaced by `to`, once. */
static void edit(const char *from, const char *to)
{
    size_t n;
    char *text = small_json(&n), *at = strstr(text, from);
    struct br__buf out = {0};
    ck_assert_msg(at, "no '%s'", from);
    br__buf_put(&out, text, (size_t)(at - text));
    br__buf_puts(&out, to);
    br__buf_puts(&out, at + strlen(from));
    put_in("tokenizer.json", out.p, out.n);
    br__buf_free(&out);
    br__free(text);
}

static void ck_refused(int code, const char *says)
{
    struct br_err err = BR_ERR_INIT;
    struct br_tokenizer *t;
    int rc = br_tokenizer_open(&t, dir, &err);
    ck_assert_msg(rc == code && strstr(err.msg, says), "got %d '%s', expected %d '%s'", rc, err.msg,
                  code, says);
    ck_assert_ptr_null(t);
}

START_TEST(refused)
{
    static const struct {
        const char *from, *to;
        int code;
        const char *says;
    } cases[] = {
        {"\"NFC\"", "\"NFKC\"", BR_E_UNSUPPORTED, "NFKC"},
        {"\"BPE\"", "\"WordPiece\"", BR_E_UNSUPPORTED, "WordPiece"},
        {"\"Isolated\"", "\"Removes\"", BR_E_UNSUPPORTED, "Removes"},
        {"(?i:", "(?i:(", BR_E_UNSUPPORTED, "split pattern"},
        {"(?i:", "x*|(?i:", BR_E_UNSUPPORTED, "can match an empty text"},
        {"\"single_word\":false", "\"single_word\":true", BR_E_UNSUPPORTED, "single_word"},
        {"\"dropout\":null", "\"dropout\":0.1", BR_E_UNSUPPORTED, "dropout"},
        {"\"decoder\":{", "\"decoder\":null,\"x\":{", BR_E_UNSUPPORTED, "decoder"},
        {"\"post_processor\":{\"type\":\"ByteLevel\"", "\"post_processor\":{\"type\":\"Bert\"",
         BR_E_UNSUPPORTED, "Bert"},
        {"\"!\":0", "\"!\":1", BR_E_FORMAT, "id 1 belongs to two tokens"},
        {"\"!\":0", "\"\\\"\":0", BR_E_FORMAT, "the same token"},
        {"\"!\":0", "\"!!\":0", BR_E_FORMAT, "byte 0x21"},
        {"\"!\":0", "\"!\":-1", BR_E_FORMAT, "id -1"},
        {"\"!\":0", "\"!\":1e0", BR_E_FORMAT, "an integer"},
        {"\"!\":0", "\"!\":99999999", BR_E_FORMAT, "99999999"},
        {"\"vocab\"", "\"vocabulary\"", BR_E_UNSUPPORTED, "vocabulary"},
        {"\"merges\"", "\"vocab\"", BR_E_FORMAT, "two vocab"},
        {"[\"h\",\"e\"]", "[\"h\",\"zz\"]", BR_E_FORMAT, "merge 1"},
        {"[\"h\",\"e\"]", "[\"h\",\"e\",\"x\"]", BR_E_FORMAT, "expected two"},
        {"[\"h\",\"e\"]", "[\"h\",\"\"]", BR_E_FORMAT, "empty"},
        {"[\"h\",\"e\"]", "\"he\"", BR_E_FORMAT, "blank"},
        {"[\"h\",\"e\"]", "[\"\\u4e2d\",\"e\"]", BR_E_FORMAT, "does not spell bytes"},
        {"[\"h\",\"e\"]", "[\"h\",\"e\"],[\"h\",\"e\"]", BR_E_FORMAT, "same as merge 1"},
        {"\"content\":\"<|endoftext|>\"", "\"content\":\"\"", BR_E_FORMAT, "content"},
        {"\"content\":\"<|endoftext|>\"", "\"content\":\"the\"", BR_E_FORMAT, "same token"},
        {"\"id\":486", "\"id\":1", BR_E_FORMAT, "two"},
        {"\"id\":486", "\"i\":1", BR_E_FORMAT, "no id"},
    };
    for (size_t i = 0; i < BR_COUNTOF(cases); i++) {
        edit(cases[i].from, cases[i].to);
        ck_refused(cases[i].code, cases[i].says);
    }
    put_in("tokenizer.json", "{}", 2);
    ck_refused(BR_E_FORMAT, "no model");
    ck_assert_int_eq(br__remove_tree(dir, NULL), 0);
    ck_refused(BR_E_NOTFOUND, "has no tokenizer");
    ck_assert_int_eq(br__mkdirs(dir, NULL), 0);
    copy_in("vocab.json");
    ck_refused(BR_E_NOTFOUND, "merges.txt");
    put_in("merges.txt", "#version: 0.2\nh e\nh\n", 20);
    ck_refused(BR_E_FORMAT, "line 3");
    put_in("tokenizer_config.json", "{\"tokenizer_class\": \"BertTokenizer\"}", 36);
    ck_refused(BR_E_UNSUPPORTED, "BertTokenizer");
}
END_TEST

/* Cut anywhere, a file is an error; never a crash, and never accepted. */
START_TEST(truncated)
{
    size_t n;
    char *text = small_json(&n);
    while (n && text[n - 1] != '}')
        n--;
    for (size_t k = 0; k < n; k += 37) {
        put_in("tokenizer.json", text, k);
        ck_refused(BR_E_FORMAT, "tokenizer.json");
    }
    br__free(text);
}
END_TEST

/* ---- added tokens ---------------------------------------------------------------------------- */

static void ck_ids(const struct br_tokenizer *t, const char *text, unsigned flags, const char *want)
{
    struct br_ids got = {0};
    struct br__buf b = {0};
    ck_assert_int_eq(br_tokenizer_encode(t, text, strlen(text), flags, &got, NULL), 0);
    br__buf_put(&b, "", 0);
    for (size_t i = 0; i < got.n; i++) {
        size_t n;
        const char *bytes = br_tokenizer_bytes(t, got.p[i], &n);
        br__buf_printf(&b, "%s%.*s", i ? "|" : "", (int)n, bytes);
    }
    ck_assert_str_eq(b.p, want);
    br__buf_free(&b);
    br_ids_free(&got);
}

START_TEST(added_tokens)
{
    struct br_tokenizer *t = open_ok(SMALL);
    int32_t end = br_tokenizer_token_id(t, "<|im_end|>"),
            think = br_tokenizer_token_id(t, "<think>");
    ck_assert_int_eq(end, 488);
    ck_assert(br_tokenizer_is_special(t, end) && !br_tokenizer_is_special(t, think));
    ck_assert(!br_tokenizer_is_special(t, -1) && !br_tokenizer_is_special(t, 1 << 20));
    ck_assert_int_eq(br_tokenizer_token_id(t, "\xC4\xA0the"),
                     br_tokenizer_token_id(t, "\xC4\xA0the"));
    ck_assert_int_gt(br_tokenizer_token_id(t, "\xC4\xA0t"), 0);
    ck_assert_int_eq(br_tokenizer_token_id(t, " t"), -1);
    ck_assert_int_eq(br_tokenizer_token_id(t, "\xFF"), -1);
    ck_assert_int_eq(br_tokenizer_n_vocab(t), 512);
    ck_ids(t, "a<|im_end|>b", 0, "a|<|im_end|>|b");
    ck_ids(t, "<|im_end|><|im_en", 0, "<|im_end|>|<|||i|m|_|en");
    ck_ids(t, "<|im_end|>", BR_TOK_NO_ADDED, "<|||i|m|_|en|d|||>");
    br_tokenizer_close(t);
}
END_TEST

/* What lstrip, rstrip and normalized do is described in tokenizers' documentation of AddedToken. */
START_TEST(strips)
{
    edit("\"content\":\"<|endoftext|>\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false",
         "\"content\":\"<|endoftext|>\",\"single_word\":false,\"lstrip\":true, \"rstrip\":true");
    struct br_tokenizer *t = open_ok(dir);
    ck_ids(t, "a \n<|endoftext|>\xE3\x80\x80 b", 0, "a|<|endoftext|>|b");
    ck_ids(t, " <|endoftext|> <|endoftext|> ", 0, "<|endoftext|>|<|endoftext|>");
    br_tokenizer_close(t);
    edit("\"id\":511,\"content\":\"</think>\",\"single_word\":false,\"lstrip\":false,"
         "\"rstrip\":false,\"normalized\":false",
         "\"id\":511,\"content\":\"caf\\u0065\\u0301\",\"normalized\":true");
    t = open_ok(dir);
    ck_ids(t, "a caf\xC3\xA9", 0, "a| |cafe\xCC\x81");
    ck_ids(t, "cafe\xCC\x81s", 0, "cafe\xCC\x81|s");
    br_tokenizer_close(t);
}
END_TEST

/* ---- parts against other programs ------------------------------------------------------------ */

static uint64_t seed = 88172645463325252u;
static uint32_t below(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 33) % n;
}

/* Characters on which all Unicode versions in use agree. */
static uint32_t any_char(void)
{
    static const uint32_t range[][2] = {
        {0x00, 0x7F},       {0x20, 0x7E},       {'\n', '\r'},         {' ', ' '},
        {'\'', '\''},       {'a', 'z'},         {'0', '9'},           {0x80, 0x17F},
        {0x300, 0x340},     {0x370, 0x377},     {0x400, 0x52F},       {0x5B0, 0x5EA},
        {0x610, 0x6FF},     {0x900, 0x97F},     {0x9BC, 0x9CE},       {0xE01, 0xE3A},
        {0x1100, 0x11FF},   {0x1680, 0x1680},   {0x180B, 0x180E},     {0x1E00, 0x1EFF},
        {0x1F00, 0x1F15},   {0x2000, 0x2064},   {0x2070, 0x2071},     {0x20D0, 0x20F0},
        {0x2100, 0x218B},   {0x2460, 0x24FF},   {0x3000, 0x30FF},     {0x4E00, 0x9FA5},
        {0xA000, 0xA48C},   {0xAC00, 0xD7A3},   {0xE000, 0xE010},     {0xF900, 0xFA6D},
        {0xFB1D, 0xFB36},   {0xFE00, 0xFEFF},   {0xFF01, 0xFF9F},     {0x10400, 0x1049D},
        {0x1D15E, 0x1D172}, {0x1D400, 0x1D7FF}, {0x1F300, 0x1F64F},   {0x20000, 0x2A6D6},
        {0x2F800, 0x2FA1D}, {0xE0100, 0xE01EF}, {0x10FFFD, 0x10FFFF},
    };
    const uint32_t *r = range[below(BR_COUNTOF(range))];
    return r[0] + below(r[1] - r[0] + 1);
}

static size_t random_text(unsigned char *s, size_t chars)
{
    size_t n = 0;
    uint32_t c = 'a';
    for (size_t i = 0; i < chars; i++) {
        if (below(3)) /* runs */
            c = any_char();
        n += (size_t)utf8proc_encode_char((int32_t)c, s + n);
    }
    return n;
}

START_TEST(split_as_pcre2)
{
    struct br__tok_unicode *u = br__alloc(sizeof *u);
    struct br__tok_split *p;
    struct br__tok_splitter sp = {0};
    struct br_err err = BR_ERR_INIT;
    unsigned char s[4 * 40];
    br__tok_unicode_init(u);
    ck_assert_msg(br__tok_split_open(&p, br__tok_qwen2_pattern, &err) == 0, "%s", err.msg);
    for (int round = 0; round < 20000; round++) {
        size_t n = random_text(s, 1 + below(40)), end;
        for (size_t at = 0; at < n; at = end) {
            ck_assert_msg(br__tok_split_next(p, &sp, s, n, at, &end, &err) == 0, "%s", err.msg);
            size_t by_hand = (size_t)(br__tok_qwen2_next(u, s + at, s + n) - s);
            ck_assert_msg(by_hand == end, "round %d, '%.*s' at %zu: %zu, PCRE2 says %zu", round,
                          (int)n, s, at, by_hand, end);
        }
    }
    br__tok_splitter_free(&sp);
    br__tok_split_close(p);
    br__free(u);
}
END_TEST

START_TEST(split_between_matches)
{
    struct br__tok_split *p;
    struct br__tok_splitter sp = {0};
    size_t end;
    ck_assert_int_eq(br__tok_split_open(&p, "[a-z]+", NULL), 0);
    const unsigned char *s = (const unsigned char *)"12ab34cd5";
    static const size_t ends[] = {2, 4, 6, 8, 9};
    for (size_t i = 0, at = 0; i < BR_COUNTOF(ends); i++, at = end) {
        ck_assert_int_eq(br__tok_split_next(p, &sp, s, 9, at, &end, NULL), 0);
        ck_assert_uint_eq(end, ends[i]);
    }
    br__tok_splitter_free(&sp);
    br__tok_split_close(p);
}
END_TEST

static void ck_nfc(const struct br__tok_unicode *u, const unsigned char *s, size_t n)
{
    struct br__buf b = {0};
    const unsigned char *got;
    size_t n_got;
    utf8proc_uint8_t *want;
    ck_assert_int_eq(br__tok_nfc(u, s, n, &b, &got, &n_got, NULL), 0);
    utf8proc_ssize_t n_want =
        utf8proc_map(s, (utf8proc_ssize_t)n, &want, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    ck_assert_msg(n_want == (utf8proc_ssize_t)n_got && memcmp(want, got, n_got) == 0,
                  "'%.*s' gives '%.*s', utf8proc says '%s'", (int)n, s, (int)n_got, got, want);
    free(want);
    br__buf_free(&b);
}

START_TEST(nfc_as_utf8proc)
{
    struct br__tok_unicode *u = br__alloc(sizeof *u);
    unsigned char s[4 * 24];
    br__tok_unicode_init(u);
    for (int round = 0; round < 20000; round++)
        ck_nfc(u, s, random_text(s, 1 + below(24)));
    for (uint32_t c = 1; c < 0x30000; c++) {
        size_t n = (size_t)utf8proc_encode_char((int32_t)c, s);
        if (c < 0xD800 || c > 0xDFFF)
            ck_nfc(u, s, n);
    }
    br__free(u);
}
END_TEST

/* Combining marks in the worst order, as many as wanted: time must not grow with their square. */
START_TEST(many_marks)
{
    struct br__tok_unicode *u = br__alloc(sizeof *u);
    struct br__buf text = {0}, b = {0};
    const unsigned char *got;
    size_t n;
    br__tok_unicode_init(u);
    br__buf_puts(&text, "a");
    for (int i = 0; i < 200000; i++)
        br__buf_puts(&text, i % 2 ? "\xCC\xA3" : "\xCC\x87"); /* below, above */
    ck_assert_int_eq(br__tok_nfc(u, (const unsigned char *)text.p, text.n, &b, &got, &n, NULL), 0);
    ck_assert_uint_eq(n, text.n); /* U+1EA1 takes a's byte and two of a mark */
    ck_assert(memcmp(got, "\xE1\xBA\xA1\xCC\xA3", 5) == 0);
    ck_assert(memcmp(got + n - 4, "\xCC\x87\xCC\x87", 4) == 0);
    br__buf_free(&text);
    br__buf_free(&b);
    br__free(u);
}
END_TEST

/* ---- merging --------------------------------------------------------------------------------- */

/* The definition, in quadratic time. */
static size_t merge_slowly(const struct br_tokenizer *t, const unsigned char *s, size_t n,
                           uint32_t *ids)
{
    for (size_t i = 0; i < n; i++)
        ids[i] = t->merges.byte_id[s[i]];
    for (;;) {
        uint32_t best = BR__TOK_NONE;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            uint32_t rank = br__tok_pair_rank(&t->merges, ids[i], ids[i + 1]);
            if (rank < best) {
                best = rank;
                at = i;
            }
        }
        if (best == BR__TOK_NONE)
            return n;
        ids[at] = t->merges.made[best];
        memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof *ids);
        n--;
    }
}

START_TEST(merges_as_defined)
{
    static const size_t lengths[] = {2, 3, 15, 16, 17, 31, 32, 33, 255, 256, 257, 300, 1000, 4097};
    struct br_tokenizer *t = open_ok(SMALL);
    static unsigned char s[4097];
    static uint32_t want[4097];
    for (size_t k = 0; k < 4 * BR_COUNTOF(lengths); k++) {
        size_t n = lengths[k % BR_COUNTOF(lengths)];
        static const char few[] = "theanrsoi";
        for (size_t i = 0; i < n; i++)
            s[i] = k < BR_COUNTOF(lengths) ? 'e' : (unsigned char)few[below(sizeof few - 1)];
        struct br_ids got = {0};
        ck_assert_int_eq(br_tokenizer_encode(t, (char *)s, n, 0, &got, NULL), 0);
        size_t n_want = merge_slowly(t, s, n, want);
        ck_assert_uint_eq(got.n, n_want);
        ck_assert(memcmp(got.p, want, n_want * sizeof *want) == 0);
        br_ids_free(&got);
    }
    br_tokenizer_close(t);
}
END_TEST

/* A megabyte without a blank: one piece.  The memory it took is given back. */
START_TEST(one_long_piece)
{
    struct br_tokenizer *t = open_ok(SMALL);
    size_t n = 1 << 20, before;
    char *s = br__alloc(n);
    struct br_ids ids = {0};
    ck_assert_int_eq(br_tokenizer_encode(t, "abc", 3, 0, &ids, NULL), 0);
    before = br_tokenizer_memory(t);
    for (size_t i = 0; i < n; i++)
        s[i] = (char)('a' + below(26));
    ids.n = 0;
    ck_assert_int_eq(br_tokenizer_encode(t, s, n, 0, &ids, NULL), 0);
    size_t bytes = 0, len;
    for (size_t i = 0; i < ids.n; i++) {
        br_tokenizer_bytes(t, ids.p[i], &len);
        bytes += len;
    }
    ck_assert_uint_eq(bytes, n);
    ck_assert_uint_le(br_tokenizer_memory(t), before);
    br_ids_free(&ids);
    br__free(s);
    br_tokenizer_close(t);
}
END_TEST

START_TEST(not_utf8)
{
    struct br_tokenizer *t = open_ok(SMALL);
    ck_ids(t, "a\xFF\xFE z", 0, "a|\xFF|\xFE| |z");
    ck_ids(t, "\xF5\xC0", 0, "\xF5|\xC0");
    ck_ids(t, "\xED\xA0\x80<|im_end|>\x80", 0, "\xED|\xA0|\x80|<|im_end|>|\x80");
    br_tokenizer_close(t);
}
END_TEST

/* ---- threads, faults ------------------------------------------------------------------------- */

static void *goldens_once(void *t)
{
    ck_goldens(t, SMALL, "encode.jsonl", NULL);
    return NULL;
}

START_TEST(threads)
{
    struct br_tokenizer *t = open_ok(SMALL);
    pthread_t thread[4];
    for (size_t i = 0; i < BR_COUNTOF(thread); i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, goldens_once, t), 0);
    for (size_t i = 0; i < BR_COUNTOF(thread); i++)
        pthread_join(thread[i], NULL);
    br_tokenizer_close(t);
}
END_TEST

static int calls_left;
static void *failing_realloc(void *p, size_t n)
{
    return calls_left-- == 0 ? NULL : realloc(p, n);
}

/* Every allocation fails once: an error that says so, nothing lost. */
START_TEST(out_of_memory)
{
    struct br__mem_ops real = br__mem;
    int rc = BR_E_NOMEM, n = 0;
    for (; rc && n < 20000; n += n < 300 ? 1 : 13) {
        struct br_err err = BR_ERR_INIT;
        struct br_tokenizer *t;
        struct br_ids ids = {0};
        struct br_text text = {0};
        calls_left = n;
        br__mem.realloc = failing_realloc;
        rc = br_tokenizer_open(&t, SMALL, &err);
        if (!rc)
            rc = br_tokenizer_encode(t, "the cafe\xCC\x81 <|im_end|>", 21, 0, &ids, &err);
        if (!rc)
            rc = br_tokenizer_decode(t, ids.p, ids.n, 0, &text, &err);
        br__mem = real;
        ck_assert_msg(rc == 0 || rc == BR_E_NOMEM, "allocation %d: %d %s", n, rc, err.msg);
        ck_assert(rc == 0 || err.msg[0]);
        br_tokenizer_close(t);
        br_ids_free(&ids);
        br_text_free(&text);
    }
    ck_assert_int_eq(rc, 0);
    ck_assert_int_gt(n, 20);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tokenizer");
    TCase *goldens = tcase_create("goldens"), *files = tcase_create("files");
    TCase *parts = tcase_create("parts");

    tcase_add_test(goldens, small_goldens);
    tcase_add_test(goldens, added_tokens);
    tcase_add_test(goldens, threads);
    tcase_add_test(goldens, out_of_memory);
    suite_add_tcase(s, goldens);

    tcase_add_checked_fixture(files, make_dir, remove_dir);
    tcase_add_test(files, two_files);
    tcase_add_test(files, merges_as_text);
    tcase_add_test(files, refused);
    tcase_add_test(files, truncated);
    tcase_add_test(files, strips);
    suite_add_tcase(s, files);

    tcase_add_test(parts, split_as_pcre2);
    tcase_add_test(parts, split_between_matches);
    tcase_add_test(parts, nfc_as_utf8proc);
    tcase_add_test(parts, many_marks);
    tcase_add_test(parts, merges_as_defined);
    tcase_add_test(parts, one_long_piece);
    tcase_add_test(parts, not_utf8);
    suite_add_tcase(s, parts);

    tcase_set_timeout(goldens, 120);
    tcase_set_timeout(files, 120);
    tcase_set_timeout(parts, 120);
    return run_suite(s);
}
