/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_pickle.c - the pickle reader, opcode by opcode: what comes out, what is refused and with
 * which words, and that hostile input costs neither memory nor time nor stack. */
#include "format/torch/torch.h"
#include "librun.h"
#include "libtd.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FIXTURES BRIDGE_TEST_DATA "/torch_dist/"
#define TRAIN_FIXTURES BRIDGE_TEST_DATA "/torch_dist_train/"

static struct br__arena arena;
static struct br__pk *value;
static struct br_err err;

static void setup(void)
{
    memset(&arena, 0, sizeof arena);
    err = (struct br_err)BR_ERR_INIT;
    value = NULL;
}

static void teardown(void)
{
    br__arena_free(&arena);
}

/* From a heap block of exactly n bytes, so that a sanitizer sees any overrun. */
static int load(const void *p, size_t n, const struct br__pk_limits *limits)
{
    unsigned char *copy = malloc(n ? n : 1);

    ck_assert_ptr_nonnull(copy);
    if (n)
        memcpy(copy, p, n);
    int rc = br__pk_load(&arena, copy, n, limits, &value, &err);
    free(copy);
    return rc;
}

static void check_repr(const char *expect)
{
    struct br__buf text = {0};

    br__pk_repr(&text, value);
    ck_assert_int_eq(text.failed, 0);
    ck_assert_str_eq(text.p, expect);
    br__buf_free(&text);
}

/* ---- what comes out -------------------------------------------------------------------------- */

#define PICKLE(s) s, sizeof(s) - 1
static const struct {
    const char *p;
    size_t n;
    const char *repr;
} good[] = {
    {PICKLE("N."), "None"},
    {PICKLE("\x88."), "True"},
    {PICKLE("\x89."), "False"},
    {PICKLE("K\xff."), "255"},
    {PICKLE("M\xff\xff."), "65535"},
    {PICKLE("J\xff\xff\xff\xff."), "-1"},
    {PICKLE("J\x00\x00\x00\x80."), "-2147483648"},
    {PICKLE("\x8a\x00."), "0"},
    {PICKLE("\x8a\x01\x80."), "-128"},
    {PICKLE("\x8a\x02\xff\x00."), "255"},
    {PICKLE("\x8a\x05\x00\x00\x00\x80\x00."), "2147483648"},
    {PICKLE("\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f."), "9223372036854775807"},
    {PICKLE("\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80."), "-9223372036854775808"},
    {PICKLE("\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x80\x00."), "<big int>"},
    {PICKLE("\x8b\x02\x00\x00\x00\x34\x12."), "4660"},
    {PICKLE("G\x3f\xb9\x99\x99\x99\x99\x99\x9a."), "0.1"},
    {PICKLE("G\x3e\xb0\xc6\xf7\xa0\xb5\xed\x8d."), "1e-06"},
    {PICKLE("G\xbf\xf0\x00\x00\x00\x00\x00\x00."), "-1.0"},
    {PICKLE("X\x02\x00\x00\x00hi."), "'hi'"},
    {PICKLE("\x8c\x02hi."), "'hi'"},
    {PICKLE("\x8d\x02\x00\x00\x00\x00\x00\x00\x00hi."), "'hi'"},
    {PICKLE("U\x02hi."), "'hi'"},
    {PICKLE("T\x02\x00\x00\x00hi."), "'hi'"},
    {PICKLE("\x8c\x07it's \"\\."), "'it\\'s \"\\\\'"},
    {PICKLE("\x8c\x04it's."), "\"it's\""},
    {PICKLE("\x8c\x04\n\t\x01\x7f."), "'\\n\\t\\x01\\x7f'"},
    {PICKLE("\x8c\x02\xc3\xa9."), "'\xc3\xa9'"},
    {PICKLE("C\x03\x00'\xff."), "b\"\\x00'\\xff\""},
    {PICKLE("B\x01\x00\x00\x00z."), "b'z'"},
    {PICKLE("\x8e\x01\x00\x00\x00\x00\x00\x00\x00z."), "b'z'"},
    {PICKLE("\x96\x01\x00\x00\x00\x00\x00\x00\x00z."), "b'z'"},
    {PICKLE(")."), "()"},
    {PICKLE("N\x85."), "(None,)"},
    {PICKLE("K\x01K\x02\x86."), "(1, 2)"},
    {PICKLE("K\x01K\x02K\x03\x87."), "(1, 2, 3)"},
    {PICKLE("(K\x01K\x02K\x03K\x04t."), "(1, 2, 3, 4)"},
    {PICKLE("(t."), "()"},
    {PICKLE("]."), "[]"},
    {PICKLE("]K\x01"
            "a."),
     "[1]"},
    {PICKLE("](K\x01K\x02"
            "e(K\x03"
            "eK\x04"
            "a."),
     "[1, 2, 3, 4]"},
    {PICKLE("(K\x01K\x02l."), "[1, 2]"},
    {PICKLE("}."), "{}"},
    {PICKLE("}K\x01Ns."), "{1: None}"},
    {PICKLE("}(K\x01N\x8c\x01"
            "a\x88u."),
     "{1: None, 'a': True}"},
    {PICKLE("(K\x01Nd."), "{1: None}"},
    {PICKLE("}](K\x01"
            "eNs."),
     "{[1]: None}"}, /* keys need not be hashable */
    {PICKLE("\x8f(K\x01K\x02\x90."), "{1, 2}"},
    {PICKLE("\x8f."), "set()"},
    {PICKLE("(K\x01\x91."), "{1}"},
    {PICKLE("ctorch\nbfloat16\n."), "torch.bfloat16"},
    {PICKLE("\x8c\x05torch\x8c\x04half\x93."), "torch.half"},
    {PICKLE("ctorch\nSize\nK\x02K\x03\x86\x85R."), "(2, 3)"},
    {PICKLE("ctorch\nSize\n)\x85R."), "()"},
    {PICKLE("ccollections\nOrderedDict\n)R."), "{}"},
    {PICKLE("ccollections\nOrderedDict\n)R(K\x01K\x02u."), "{1: 2}"},
    {PICKLE("ccollections\nOrderedDict\n)R}\x8c\x09_metadataNsb."), "{}"},
    {PICKLE("ccollections\nOrderedDict\n](](K\x01K\x02"
            "e](K\x03K\x04"
            "ee\x85R."),
     "{1: 2, 3: 4}"},
    {PICKLE("c__builtin__\nset\n](K\x01K\x02"
            "e\x85R."),
     "{1, 2}"},
    {PICKLE("cbuiltins\nset\n]\x85R."), "set()"},
    {PICKLE("cargparse\nNamespace\n)\x81}\x8c\x01xK\x01sb."), "argparse.Namespace({'x': 1})"},
    {PICKLE("cm\nf\nK\x01N\x86R."), "m.f(1, None)"},
    {PICKLE("cm\nC\nK\x01\x85\x81}b."), "m.C(1, {})"},
    {PICKLE("cm\nC\nK\x01\x85}K\x02Ns\x92."), "m.C(1, {2: None})"},
    {PICKLE("cm\nC\nK\x01\x85}\x92."), "m.C(1)"},
    {PICKLE("cm\nL\n)\x81(K\x01K\x02"
            "e."),
     "m.L([1, 2])"},
    {PICKLE("cm\nD\n)\x81(K\x01K\x02u."), "m.D({1: 2})"},
    {PICKLE("cos\nsystem\n\x8c\x04true\x85R."), "os.system('true')"}, /* nothing runs */
    {PICKLE("\x8c\x01kQ."), "<persistent 'k'>"},
    {PICKLE("K\x01"
            "2\x86."),
     "(1, 1)"},
    {PICKLE("K\x01K\x02"
            "0."),
     "1"},
    {PICKLE("K\x01(K\x02K\x03"
            "1."),
     "1"},
    {PICKLE("K\x01(0."), "1"}, /* POP of a MARK */
    {PICKLE("K\x07q\x00"
            "0h\x00."),
     "7"},
    {PICKLE("K\x07r\x02\x00\x00\x00"
            "0j\x02\x00\x00\x00."),
     "7"},
    {PICKLE("K\x07q\x00q\x00K\x08\x94h\x01."), "8"}, /* MEMOIZE counts entries, not puts */
    {PICKLE("\x80\x04\x95\x07\x00\x00\x00\x00\x00\x00\x00K\x07\x94K\x08\x94h\x00\x86."), "(8, 7)"},
    {PICKLE("\x80\x02N.rubbish"), "None"}, /* as Python, nothing after STOP is looked at */
};

START_TEST(reads_values)
{
    ck_assert_msg(load(good[_i].p, good[_i].n, NULL) == BR_OK, "%s: %s", good[_i].repr, err.msg);
    check_repr(good[_i].repr);
}
END_TEST

/* No proper prefix of a pickle is a pickle; bytes behind its STOP do not count. */
START_TEST(refuses_prefixes)
{
    size_t n = good[_i].n;
    const char *stop = memchr(good[_i].p, '.', n);

    if (stop + 1 != good[_i].p + n)
        return; /* the byte of STOP occurs earlier */
    for (size_t k = 0; k < n; k++) {
        ck_assert_msg(load(good[_i].p, k, NULL) == BR_E_FORMAT, "%s cut at %zu: %s", good[_i].repr,
                      k, err.msg);
        ck_assert_ptr_null(value);
    }
}
END_TEST

static const struct {
    const char *p;
    size_t n;
    int code;
    const char *text;
} bad[] = {
    {PICKLE(""), BR_E_FORMAT, "byte 0, opcode 0x2e STOP: truncated"},
    {PICKLE("."), BR_E_FORMAT, "stack underflow"},
    {PICKLE("N(."), BR_E_FORMAT, "stack underflow"},
    {PICKLE("\x80\x06N."), BR_E_UNSUPPORTED, "protocol 6, known up to 5"},
    {PICKLE("NI01\n."), BR_E_UNSUPPORTED, "byte 1, opcode 0x49 unknown: this opcode is not part"},
    {PICKLE("\x97."), BR_E_UNSUPPORTED, "opcode 0x97 unknown"},
    {PICKLE("N\x86."), BR_E_FORMAT, "byte 1, opcode 0x86 TUPLE2: stack underflow"},
    {PICKLE("K\x01(\x85."), BR_E_FORMAT, "opcode 0x85 TUPLE1: stack underflow"}, /* below a MARK */
    {PICKLE("Nt."), BR_E_FORMAT, "opcode 0x74 TUPLE: no MARK"},
    {PICKLE("0."), BR_E_FORMAT, "stack underflow"},
    {PICKLE("1."), BR_E_FORMAT, "no MARK"},
    {PICKLE("2."), BR_E_FORMAT, "stack underflow"},
    {PICKLE("h\x00."), BR_E_FORMAT, "memo has no entry 0"},
    {PICKLE("j\xff\xff\xff\xff."), BR_E_FORMAT, "memo has no entry 4294967295"},
    {PICKLE("Nr\xff\xff\xff\xff."), BR_E_FORMAT, "memo index 4294967295 in a pickle of 7 bytes"},
    {PICKLE("q\x00N."), BR_E_FORMAT, "stack underflow"},
    {PICKLE("\x94."), BR_E_FORMAT, "stack underflow"},
    {PICKLE("NNa."), BR_E_FORMAT, "APPEND: needs a list, got a None"},
    {PICKLE(")Na."), BR_E_FORMAT, "needs a list, got a tuple"},
    {PICKLE("]NNs."), BR_E_FORMAT, "needs a dict, got a list"},
    {PICKLE("}(Nu."), BR_E_FORMAT, "dict key without a value"},
    {PICKLE("(Nd."), BR_E_FORMAT, "dict key without a value"},
    {PICKLE("cm\nL\n)\x81(N"
            "e(NNu."),
     BR_E_FORMAT, "needs a dict, got a list"},
    {PICKLE("cm\nf\nNR."), BR_E_FORMAT, "REDUCE: arguments are a None, not a tuple"},
    {PICKLE("cm\nf\nN}\x92."), BR_E_FORMAT, "arguments are a None and a dict"},
    {PICKLE("NNb."), BR_E_FORMAT, "BUILD: a None has no state"},
    {PICKLE("cm\nf\nNb."), BR_E_FORMAT, "a global has no state"},
    {PICKLE("N\x8c\x01x\x93."), BR_E_FORMAT, "names of a global are a None and a str"},
    {PICKLE("\x8c\x02"
            "a\x00\x8c\x01x\x93."),
     BR_E_FORMAT, "NUL byte in the name"},
    {PICKLE("cabc"), BR_E_FORMAT, "truncated: no end of line"},
    {PICKLE("ccollections\nOrderedDict\n\x8c\x01x\x85R."), BR_E_FORMAT, "OrderedDict of a str"},
    {PICKLE("ccollections\nOrderedDict\n]Na\x85R."), BR_E_FORMAT, "item 0 is not a pair"},
    {PICKLE("X\xff\xff\xff\xffhi."), BR_E_FORMAT,
     "byte 0, opcode 0x58 BINUNICODE: truncated: needs 4294967295 more bytes, 3 are left"},
    {PICKLE("\x8d\xff\xff\xff\xff\xff\xff\xff\xffhi."), BR_E_FORMAT,
     "needs 18446744073709551615 more"},
    {PICKLE("\x8e\xff\xff\xff\xff\xff\xff\xff\x7fhi."), BR_E_FORMAT, "truncated"},
    {PICKLE("\x8b\xff\xff\xff\xff."), BR_E_FORMAT, "truncated"},
    {PICKLE("\x8a\xff."), BR_E_FORMAT, "truncated"},
    {PICKLE("\x95\x00"), BR_E_FORMAT, "FRAME: truncated"},
};

START_TEST(refuses_with_place_and_reason)
{
    ck_assert_int_eq(load(bad[_i].p, bad[_i].n, NULL), bad[_i].code);
    ck_assert_ptr_null(value);
    ck_assert_int_eq(strncmp(err.msg, "pickle: byte ", 13), 0);
    ck_assert_msg(strstr(err.msg, bad[_i].text) != NULL, "got '%s', expected '%s'", err.msg,
                  bad[_i].text);
}
END_TEST

/* ---- access ---------------------------------------------------------------------------------- */

START_TEST(finds_attributes)
{
    /* state as dict, (None, slots), (dict, slots) */
    ck_assert_int_eq(load(PICKLE("cm\nC\n)\x81}(\x8c\x01xK\x01\x8c\x01yK\x02ub."), NULL), BR_OK);
    ck_assert_int_eq(br__pk_get(value, "y")->u.i, 2);
    ck_assert_ptr_null(br__pk_get(value, "z"));
    ck_assert_int_eq(load(PICKLE("cm\nC\n)\x81N}\x8c\x01xK\x01s\x86"
                                 "b."),
                          NULL),
                     BR_OK);
    ck_assert_int_eq(br__pk_get(value, "x")->u.i, 1);
    ck_assert_int_eq(load(PICKLE("cm\nC\n)\x81}\x8c\x01xK\x01s}\x8c\x01yK\x02s\x86"
                                 "b."),
                          NULL),
                     BR_OK);
    ck_assert_int_eq(br__pk_get(value, "x")->u.i, 1);
    ck_assert_int_eq(br__pk_get(value, "y")->u.i, 2);
    ck_assert_int_eq(load(PICKLE("cm\nC\n)\x81K\x01\x85"
                                 "b."),
                          NULL),
                     BR_OK); /* another state */
    ck_assert_ptr_null(br__pk_get(value, "x"));
    ck_assert_int_eq(load(PICKLE("cm\nC\n)\x81."), NULL), BR_OK); /* none */
    ck_assert_ptr_null(br__pk_get(value, "x"));
    ck_assert_ptr_null(br__pk_get(NULL, "x"));
}
END_TEST

START_TEST(finds_keys)
{
    ck_assert_int_eq(
        load(PICKLE("}(K\x01K\x09\x8c\x01xK\x01\x8c\x02x\x00K\x02\x8c\x01xK\x03u."), NULL), BR_OK);
    ck_assert_uint_eq(value->n, 4);
    ck_assert_int_eq(br__pk_get(value, "x")->u.i, 3); /* the last one overwrites */
    ck_assert_int_eq(load(PICKLE("}\x8c\x02x\x00K\x02s."), NULL), BR_OK);
    ck_assert_ptr_null(br__pk_get(value, "x")); /* a name that continues after a NUL */
}
END_TEST

START_TEST(tests_classes)
{
    ck_assert_int_eq(load(PICKLE("ca.b.c\nC\n)\x81."), NULL), BR_OK);
    ck_assert_int_eq(br__pk_is(value, "a.b.c", "C"), 1);
    ck_assert_int_eq(br__pk_is(value, "a.b.*", "C"), 1);
    ck_assert_int_eq(br__pk_is(value, "*", "C"), 1);
    ck_assert_int_eq(br__pk_is(value, "a.b", "C"), 0);
    ck_assert_int_eq(br__pk_is(value, "a.b.c", "D"), 0);
    ck_assert_int_eq(load(PICKLE("ca\nC\n."), NULL), BR_OK);
    ck_assert_int_eq(br__pk_is(value, "a", "C"), 0); /* the class, not an object of it */
    ck_assert_int_eq(br__pk_is(NULL, "a", "C"), 0);
    ck_assert_int_eq(load(PICKLE("N)R."), NULL), BR_OK);
    ck_assert_int_eq(br__pk_is(value, "a", "C"), 0);
}
END_TEST

/* ---- batches and sharing --------------------------------------------------------------------- */

/* Python writes 1000 items at a time; single appends must not be quadratic either. */
START_TEST(grows_containers)
{
    struct br__buf b = {0};

    pk_op(&b, "]");
    for (int batch = 0; batch < 20; batch++) {
        pk_op(&b, "(");
        for (int i = 0; i < 1000; i++)
            pk_int(&b, batch * 1000 + i);
        pk_op(&b, "e");
    }
    for (int i = 20000; i < 50000; i++) {
        pk_int(&b, i);
        pk_op(&b, "a");
    }
    pk_op(&b, "}");
    for (int i = 0; i < 3000; i++) {
        pk_int(&b, i);
        pk_int(&b, -i);
        pk_op(&b, "s");
    }
    pk_op(&b, "\x86.");
    ck_assert_msg(load(b.p, b.n, NULL) == BR_OK, "%s", err.msg);
    const struct br__pk *list = value->u.item[0], *dict = value->u.item[1];
    ck_assert_uint_eq(list->n, 50000);
    for (int i = 0; i < 50000; i++)
        if (list->u.item[i]->u.i != i)
            ck_abort_msg("item %d", i);
    ck_assert_uint_eq(dict->n, 3000);
    for (int i = 0; i < 3000; i++)
        if (dict->u.item[2 * i]->u.i != i || dict->u.item[2 * i + 1]->u.i != -i)
            ck_abort_msg("pair %d", i);
    ck_assert_uint_lt(arena.total, 8 * b.n);
    br__buf_free(&b);
}
END_TEST

/* A list made a set shares its items; what is appended later belongs to one of them only. */
START_TEST(keeps_shared_arrays_apart)
{
    ck_assert_int_eq(load(PICKLE("](K\x01K\x02K\x03K\x04"
                                 "eq\x00K\x05"
                                 "a"
                                 "cbuiltins\nset\nh\x00\x85Rq\x01(K\x06\x90"
                                 "h\x00K\x07"
                                 "ah\x01(K\x08\x90"
                                 "0"
                                 "0h\x00h\x01\x86."),
                          NULL),
                     BR_OK);
    check_repr("([1, 2, 3, 4, 5, 7], {1, 2, 3, 4, 5, 6, 8})");
}
END_TEST

/* Keys that a memo-less writer repeats are stored once. */
START_TEST(shares_repeated_strings)
{
    struct br__buf b = {0};

    pk_op(&b, "](");
    for (int i = 0; i < 10000; i++) {
        pk_str(&b, "torch.distributed.checkpoint.metadata");
        pk_global(&b, "torch.distributed.checkpoint.metadata", "ChunkStorageMetadata");
    }
    pk_op(&b, "e.");
    ck_assert_msg(load(b.p, b.n, NULL) == BR_OK, "%s", err.msg);
    ck_assert_ptr_eq(value->u.item[0], value->u.item[19998]);
    ck_assert_ptr_eq(value->u.item[1], value->u.item[19999]);
    ck_assert_uint_lt(arena.total, 400000);
    br__buf_free(&b);
}
END_TEST

/* Strings that share a slot of the cache and have equal beginnings. */
START_TEST(tells_prefixes_apart)
{
    struct br__buf b = {0};
    char s[121];

    memset(s, 'a', 120);
    pk_op(&b, "(");
    for (int n = 120; n > 0; n--) {
        s[n] = 0;
        pk_str(&b, s);
    }
    pk_op(&b, "t.");
    ck_assert_msg(load(b.p, b.n, NULL) == BR_OK, "%s", err.msg);
    for (uint32_t i = 0; i < 120; i++) {
        ck_assert_uint_eq(value->u.item[i]->n, 120 - i);
        ck_assert_uint_eq(strlen(value->u.item[i]->u.s), 120 - i);
    }
    br__buf_free(&b);
}
END_TEST

/* ---- hostile input --------------------------------------------------------------------------- */

START_TEST(bounds_nesting)
{
    struct br__pk_limits limits = {.max_depth = 100};
    struct br__buf b = {0};

    for (int i = 0; i < 100; i++) /* lists that are open at the same time */
        pk_op(&b, "]");
    for (int i = 0; i < 99; i++)
        pk_op(&b, "a");
    pk_op(&b, ".");
    ck_assert_msg(load(b.p, b.n, &limits) == BR_OK, "%s", err.msg);
    b.n = 0;
    pk_op(&b, ")");
    for (int i = 0; i < 101; i++) /* tuples around tuples: the stack stays short */
        pk_op(&b, "\x85");
    pk_op(&b, ".");
    ck_assert_int_eq(load(b.p, b.n, &limits), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "nested deeper than 100"));
    b.n = 0;
    pk_op(&b, "N");
    for (int i = 0; i < 1000000; i++)
        pk_op(&b, "\x85");
    pk_op(&b, ".");
    ck_assert_int_eq(load(b.p, b.n, NULL), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "nested deeper than 512"));
    br__buf_free(&b);
}
END_TEST

START_TEST(bounds_values)
{
    struct br__pk_limits limits = {.max_nodes = 10};

    ck_assert_int_eq(load(PICKLE("]]]]]]]]]]."), &limits), BR_OK);
    ck_assert_int_eq(load(PICKLE("]]]]]]]]]]]."), &limits), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "more than 10 values"));
}
END_TEST

/* Inputs whose memory must stay in proportion to their length. */
static void check_cheap(struct br__buf *b)
{
    int rc = load(b->p, b->n, NULL);

    ck_assert(rc == BR_OK || rc == BR_E_FORMAT);
    ck_assert_msg(arena.total < 64 * b->n, "%zu bytes for %zu", arena.total, b->n);
    br__buf_free(b);
    br__arena_free(&arena);
}

START_TEST(stays_proportional)
{
    struct br__buf b = {0};

    for (int i = 0; i < 100000; i++)
        pk_op(&b, "(");
    pk_op(&b, "N.");
    check_cheap(&b);
    for (int i = 0; i < 100000; i++)
        pk_op(&b, "]");
    pk_op(&b, ".");
    check_cheap(&b);
    pk_op(&b, "](");
    for (int i = 0; i < 3000; i++)
        pk_op(&b, "](NNe");
    pk_op(&b, "e"); /* one list of pairs, made a dict a thousand times */
    br__buf_put(&b, "q\x00", 2);
    for (int i = 0; i < 1000; i++) {
        pk_global(&b, "collections", "OrderedDict");
        br__buf_put(&b, "h\x00\x85R", 4);
    }
    pk_op(&b, ".");
    check_cheap(&b);
    pk_op(&b, "N");
    for (unsigned i = 0; i < 50000; i++) { /* memo slots from the far end */
        unsigned slot = 250000 - i;
        char op[5] = {'r', (char)slot, (char)(slot >> 8), (char)(slot >> 16), 0};
        br__buf_put(&b, op, 5);
    }
    pk_op(&b, ".");
    check_cheap(&b);
}
END_TEST

/* A list that contains itself, and values that would be 2^60 values when written out. */
START_TEST(bounds_text)
{
    struct br__buf b = {0}, text = {0};

    ck_assert_int_eq(load(PICKLE("]q\x00h\x00"
                                 "a."),
                          NULL),
                     BR_OK);
    ck_assert_ptr_eq(value->u.item[0], value);
    br__pk_repr(&text, value);
    ck_assert_ptr_nonnull(strstr(text.p, "[[[...]]]"));
    br__buf_free(&text);
    ck_assert_int_eq(load(PICKLE("cm\nC\n)\x81q\x00h\x00"
                                 "b."),
                          NULL),
                     BR_OK); /* its own state */
    ck_assert_ptr_null(br__pk_get(value, "x"));
    br__pk_repr(&text, value);
    ck_assert_ptr_nonnull(strstr(text.p, "..."));
    br__buf_free(&text);

    /* (v, v); v called with v; v called, with state v */
    static const char *const doubling[] = {"2\x86", "2\x85R",
                                           "q\x01"
                                           "0h\x01)Rh\x01"
                                           "b"};
    for (int k = 0; k < 3; k++) {
        pk_op(&b, "]");
        for (int i = 0; i < 60; i++)
            pk_op(&b, doubling[k]);
        pk_op(&b, ".");
        ck_assert_int_eq(load(b.p, b.n, NULL), BR_OK);
        br__pk_repr(&text, value);
        ck_assert_int_eq(text.failed, 0);
        ck_assert_uint_lt(text.n, 2 << 20);
        br__buf_free(&text);
        br__buf_free(&b);
    }
}
END_TEST

/* ---- real files ------------------------------------------------------------------------------ */

static const char *const metadata[] = {
    FIXTURES "qwen2/torch_dist/iter_0000000/.metadata",
    FIXTURES "qwen3_moe/torch_dist_tp2ep2/iter_0000000/.metadata",
    FIXTURES "qwen3_moe/torch_dist_torch29/iter_0000000/.metadata",
    TRAIN_FIXTURES "qwen3_dp2_dpr/torch_dist/iter_0000003/.metadata",
    TRAIN_FIXTURES "qwen3_mlm_dp1_fr/torch_dist/iter_0000003/.metadata",
};

START_TEST(reads_real_metadata)
{
    struct br__file f;

    ck_assert_msg(br__file_open(&f, metadata[_i], &err) == BR_OK, "%s", err.msg);
    ck_assert_msg(load(f.map, (size_t)f.size, NULL) == BR_OK, "%s", err.msg);
    ck_assert_int_eq(br__pk_is(value, "torch.distributed.checkpoint.*", "Metadata"), 1);
    ck_assert_int_eq(br__pk_get(value, "state_dict_metadata")->kind, BR__PK_DICT);
    ck_assert_uint_gt(br__pk_get(value, "storage_data")->n, 10);
    br__file_close(&f);
}
END_TEST

/* Cut anywhere, a real .metadata is refused: the first file at every byte, the others near both
 * ends. */
START_TEST(refuses_every_truncation)
{
    struct br__file f;

    ck_assert_msg(br__file_open(&f, metadata[_i], &err) == BR_OK, "%s", err.msg);
    size_t size = (size_t)f.size, edge = _i == 0 ? size : 600;
    for (size_t cut = 0; cut < size; cut++) {
        if (cut == edge)
            cut = BR__MAX(cut, size - edge);
        if (load(f.map, cut, NULL) != BR_E_FORMAT)
            ck_abort_msg("cut at %zu of %zu: %s", cut, size, err.msg);
        br__arena_free(&arena);
    }
    br__file_close(&f);
}
END_TEST

/* Ten megabytes in the shape of .metadata. */
START_TEST(is_fast)
{
    static const int64_t at[] = {12, 34, 5678};
    struct br__buf b = {0};
    struct timespec t0, t1;

    pk_op(&b, "](");
    while (b.n < 10 << 20) {
        pk_new(&b, "torch.distributed.checkpoint.metadata", "ChunkStorageMetadata");
        pk_op(&b, "}(");
        pk_str(&b, "offsets");
        pk_size(&b, at, 3);
        pk_str(&b, "sizes");
        pk_size(&b, at, 3);
        pk_op(&b, "ub");
    }
    pk_op(&b, "e.");
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t0);
    ck_assert_msg(load(b.p, b.n, NULL) == BR_OK, "%s", err.msg);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t1);
    double s = (double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) * 1e-9;
    ck_assert_msg(s < 5, "%.3f s", s); /* of a processor; 0.1 s without a sanitizer */
    br__buf_free(&b);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("pickle");
    TCase *t = tcase_create("pickle");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, reads_values, 0, BR_COUNTOF(good));
    tcase_add_loop_test(t, refuses_prefixes, 0, BR_COUNTOF(good));
    tcase_add_loop_test(t, refuses_with_place_and_reason, 0, BR_COUNTOF(bad));
    tcase_add_test(t, finds_attributes);
    tcase_add_test(t, finds_keys);
    tcase_add_test(t, tests_classes);
    tcase_add_test(t, grows_containers);
    tcase_add_test(t, keeps_shared_arrays_apart);
    tcase_add_test(t, shares_repeated_strings);
    tcase_add_test(t, tells_prefixes_apart);
    tcase_add_test(t, bounds_nesting);
    tcase_add_test(t, bounds_values);
    tcase_add_test(t, stays_proportional);
    tcase_add_test(t, bounds_text);
    tcase_add_loop_test(t, reads_real_metadata, 0, BR_COUNTOF(metadata));
    tcase_add_loop_test(t, refuses_every_truncation, 0, BR_COUNTOF(metadata));
    tcase_add_test(t, is_fast);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return run_suite(suite());
}
