/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_topo.c - ranks, axes and groups against Megatron's own (tests/oracle/topo.py and groups.py
 * write the golden files): a checksum over every layout of every world of up to 64 ranks, and some
 * groups in full. */
#include "../../core/dist/processes.h"
#include "../../core/engine/engine.h"
#include "librun.h"

#include <check.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_RANKS 64

struct grid {
    const char *name;
    const char *tokens[4];
    enum br_axis axes[4];
};
static const struct grid grids[] = {
    {"dense", {"tp", "cp", "dp", "pp"}, {BR_AXIS_TP, BR_AXIS_CP, BR_AXIS_DP, BR_AXIS_PP}},
    {"expert", {"tp", "ep", "dp", "pp"}, {BR_AXIS_ETP, BR_AXIS_EP, BR_AXIS_EDP, BR_AXIS_PP}},
};

/* sizes: as the golden file, [tp, cp | ep, dp, pp].  The other grid is one-dimensional. */
static struct br_topo layout(const struct grid *g, const uint32_t sizes[4])
{
    struct br_topo t;
    struct br_err err = BR_ERR_INIT;
    uint32_t world = sizes[0] * sizes[1] * sizes[2] * sizes[3];
    int rc = g == &grids[0] ? br_topo_make(&t, sizes[0], sizes[1], sizes[3], 1, 1, world, &err)
                            : br_topo_make(&t, 1, 1, sizes[3], sizes[1], sizes[0], world, &err);
    ck_assert_msg(rc == 0, "%s", err.msg);
    for (int i = 0; i < 4; i++)
        ck_assert_uint_eq(t.size[g->axes[i]], sizes[i]);
    ck_assert_uint_eq(t.world, world);
    return t;
}

static uint32_t axis_bits(const struct grid *g, unsigned set)
{
    uint32_t bits = 0;
    for (int i = 0; i < 4; i++)
        if (set >> i & 1)
            bits |= UINT32_C(1) << g->axes[i];
    return bits;
}

/* "0,1;", if `rank` is the first of them: of all its members a group is listed once. */
static void put_group(struct br__buf *b, uint32_t rank, const uint32_t *out, uint32_t n)
{
    for (uint32_t i = 0; n && out[0] == rank && i < n; i++) {
        char digits[] = {(char)('0' + out[i] / 10), (char)('0' + out[i] % 10),
                         i + 1 < n ? ',' : ';'};
        br__buf_put(b, digits + (out[i] < 10), out[i] < 10 ? 2 : 3);
    }
}

/* All groups of a set of axes, "0,1;2,3;", by their first ranks. */
static void put_groups(struct br__buf *b, const struct br_topo *t, uint32_t axes)
{
    for (uint32_t rank = 0; rank < t->world; rank++) {
        uint32_t out[MAX_RANKS], n = br_topo_group(t, rank, axes, out);
        put_group(b, rank, out, n);
    }
}

static void wrong_group(const struct grid *g, const struct br_topo *t, unsigned set, uint32_t rank,
                        const char *how, uint32_t n)
{
    char sizes[128] = "", along[32] = "";
    for (size_t i = 0, at = 0, end = 0; i < 4; i++) {
        at += (size_t)snprintf(sizes + at, sizeof sizes - at, "%s %" PRIu32 " ", g->tokens[i],
                               t->size[g->axes[i]]);
        if (set >> i & 1)
            end += (size_t)snprintf(along + end, sizeof along - end, " %s", g->tokens[i]);
    }
    ck_abort_msg("%s: the group of rank %" PRIu32 " along%s %s %" PRIu32, sizes, rank, along, how,
                 n);
}

/* Megatron's rule, written plainly: ranks count through the axes, the first of the order fastest; a
 * group is the ranks that differ along the axes of the set only.  The checksum of a world says only
 * that something is wrong; this says where. */
static void check_members(const struct grid *g, const struct br_topo *t, unsigned set)
{
    for (uint32_t rank = 0; rank < t->world; rank++) {
        uint32_t got[MAX_RANKS], n = br_topo_group(t, rank, axis_bits(g, set), got), k = 0;
        for (uint32_t other = 0; other < t->world; other++) {
            int together = 1;
            for (uint32_t i = 0, a = rank, b = other; i < 4; i++) {
                uint32_t size = t->size[g->axes[i]];
                together &= a % size == b % size || set >> i & 1;
                a /= size;
                b /= size;
            }
            if (together && (k >= n || got[k++] != other))
                wrong_group(g, t, set, rank, "lacks rank", other);
        }
        if (k != n)
            wrong_group(g, t, set, rank, "has more ranks than", k);
    }
}

/* explain: a group that is not as it should be ends the test with its name. */
static uint32_t crc_of_world(const struct grid *g, uint32_t world, int explain, unsigned *layouts)
{
    uint32_t crc = 0;
    struct br__buf b = {0};
    *layouts = 0;
    for (uint32_t i = 1; i <= world; i++)
        for (uint32_t j = 1; world % i == 0 && i * j <= world; j++)
            for (uint32_t k = 1; world % (i * j) == 0 && i * j * k <= world; k++) {
                if (world % (i * j * k))
                    continue;
                struct br_topo t = layout(g, (uint32_t[]){i, j, k, world / (i * j * k)});
                ++*layouts;
                b.n = 0;
                for (unsigned set = 1; set < 16; set++) {
                    if (explain)
                        check_members(g, &t, set);
                    put_groups(&b, &t, axis_bits(g, set));
                }
                crc = br__crc32(crc, b.p, b.n);
            }
    ck_assert_int_eq(b.failed, 0);
    br__buf_free(&b);
    return crc;
}

/* ---- against the golden file ----------------------------------------------------------------- */

static void check_world(const char *line)
{
    uint32_t world, want[2];
    unsigned n, layouts;
    ck_assert_int_eq(sscanf(line, "world %" SCNu32 " layouts %u dense %" SCNx32 " expert %" SCNx32,
                            &world, &n, &want[0], &want[1]),
                     4);
    ck_assert_uint_le(world, MAX_RANKS);
    for (int i = 0; i < 2; i++) {
        uint32_t crc = crc_of_world(&grids[i], world, 0, &layouts);
        ck_assert_uint_eq(layouts, n);
        if (crc != want[i])
            (void)crc_of_world(&grids[i], world, 1, &layouts);
        ck_assert_msg(crc == want[i], "world %" PRIu32 ", %s grid: %08" PRIx32 " is not %08" PRIx32,
                      world, grids[i].name, crc, want[i]);
    }
}

static void check_groups(const char *line)
{
    char name[8], tokens[16];
    uint32_t sizes[4];
    int at = 0;
    ck_assert_int_eq(sscanf(line,
                            "groups %7s %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %15s : %n",
                            name, &sizes[0], &sizes[1], &sizes[2], &sizes[3], tokens, &at),
                     6);
    const struct grid *g = strcmp(name, "dense") == 0 ? &grids[0] : &grids[1];
    unsigned set = 0;
    for (int i = 0; i < 4; i++)
        if (strstr(tokens, g->tokens[i]))
            set |= 1u << i;
    struct br_topo t = layout(g, sizes);
    struct br__buf b = {0};
    put_groups(&b, &t, axis_bits(g, set));
    ck_assert_str_eq(b.p, line + at);
    br__buf_free(&b);
}

START_TEST(megatrons_groups)
{
    char *text;
    struct br_err err = BR_ERR_INIT;
    int rc = br__read_text(BRIDGE_TEST_DATA "/topo/groups.txt", 1 << 20, &text, NULL, &err);
    ck_assert_msg(rc == 0, "%s", err.msg);
    unsigned worlds = 0, shown = 0;
    for (char *line = text, *end; *line; line = end + 1) {
        end = strchr(line, '\n');
        ck_assert_ptr_nonnull(end);
        *end = 0;
        if (br__starts(line, "world ")) {
            check_world(line);
            worlds++;
        } else {
            check_groups(line);
            shown++;
        }
    }
    ck_assert_uint_eq(worlds, MAX_RANKS);
    ck_assert_uint_eq(shown, 6 * 15);
    br__free(text);
}
END_TEST

/* ---- the groups that training uses ----------------------------------------------------------- */

/* Stages of one layer each, of a tied model: EMBED is Megatron core's own, the first and the last.
 */
static struct br__stages even_stages(struct br__arena *a, const struct br_topo *t)
{
    const struct br__stage_opts o = {
        .n_layers = t->size[BR_AXIS_PP], .pp = t->size[BR_AXIS_PP], .tied = 1};
    struct br__stages s;
    ck_assert_int_eq(br__stages_make(a, &o, &s, NULL), 0);
    return s;
}

/* "tp 0,1;2,3;\n", all groups of that name, and that every rank agrees on its own. */
static void put_named(struct br__buf *b, const struct br_topo *t, enum br_group g)
{
    struct br__arena a = {0};
    struct br__stages s = even_stages(&a, t);
    br__buf_printf(b, "%s ", br__group_name(g));
    for (uint32_t rank = 0; rank < t->world; rank++) {
        uint32_t out[MAX_RANKS], other[MAX_RANKS], n = br__group_ranks(t, &s, rank, g, out);
        for (uint32_t i = 0; i < n; i++)
            if (br__group_ranks(t, &s, out[i], g, other) != n || memcmp(out, other, n * 4) != 0)
                ck_abort_msg("%s: ranks %" PRIu32 " and %" PRIu32 " disagree", br__group_name(g),
                             rank, out[i]);
        put_group(b, rank, out, n);
    }
    br__buf_putc(b, '\n');
    br__arena_free(&a);
}

/* The groups in the order of the golden file, which names all but the world. */
static void put_all_named(struct br__buf *b, const struct br_topo *t)
{
    b->n = 0;
    for (int g = BR_GROUP_WORLD + 1; g < BR_N_GROUPS; g++)
        put_named(b, t, (enum br_group)g);
    ck_assert_int_eq(b->failed, 0);
}

static void read_topo(const char *sizes, struct br_topo *t, int *at)
{
    uint32_t n[6];
    struct br_err err = BR_ERR_INIT;
    *at = 0;
    int got =
        sscanf(sizes, "%" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu32 "%n",
               &n[0], &n[1], &n[2], &n[3], &n[4], &n[5], at);
    ck_assert_int_eq(got, 6);
    int rc = br_topo_make(t, n[0], n[1], n[2], n[3], n[4], n[5], &err);
    ck_assert_msg(rc == 0, "%s", err.msg);
}

START_TEST(megatrons_parallel_state)
{
    char *text;
    struct br_err err = BR_ERR_INIT;
    int rc = br__read_text(BRIDGE_TEST_DATA "/topo/parallel_state.txt", 1 << 20, &text, NULL, &err);
    ck_assert_msg(rc == 0, "%s", err.msg);
    struct br__buf b = {0};
    unsigned shown = 0, more = 0;
    for (char *line = text, *end; *line; line = end) {
        struct br_topo t;
        int at;
        end = strchr(line, '\n') + 1;
        if (br__starts(line, "topo ")) {
            read_topo(line + 5, &t, &at);
            put_all_named(&b, &t);
            ck_assert_msg(!strncmp(end, b.p, b.n), "after %.*s is not\n%s", (int)(end - line), line,
                          b.p);
            end += b.n;
            shown++;
        } else {
            ck_assert(br__starts(line, "more "));
            read_topo(line + 5, &t, &at);
            put_all_named(&b, &t);
            uint32_t want = (uint32_t)strtoul(line + 5 + at, NULL, 16);
            ck_assert_msg(br__crc32(0, b.p, b.n) == want, "%.*s is not of\n%s", (int)(end - line),
                          line, b.p);
            more++;
        }
    }
    ck_assert_uint_eq(shown, 4);
    ck_assert_uint_eq(more, 302);
    br__buf_free(&b);
    br__free(text);
}
END_TEST

/* Groups share a communicator if and only if they are the same for every rank. */
START_TEST(same_groups)
{
    static const uint32_t sizes[][6] = {{2, 2, 2, 1, 1, 16}, {2, 1, 3, 2, 2, 12},
                                        {1, 1, 2, 4, 1, 8},  {1, 1, 1, 1, 1, 4},
                                        {1, 1, 4, 1, 1, 4},  {2, 1, 2, 4, 1, 16}};
    for (size_t i = 0; i < BR_COUNTOF(sizes); i++) {
        struct br_topo t;
        struct br_err err = BR_ERR_INIT;
        enum br_group same[BR_N_GROUPS];
        const uint32_t *n = sizes[i];
        ck_assert_int_eq(br_topo_make(&t, n[0], n[1], n[2], n[3], n[4], n[5], &err), 0);
        struct br__arena arena = {0};
        struct br__stages stages = even_stages(&arena, &t);
        ck_assert_int_eq(br__groups_same(&t, &stages, same, &err), 0);
        br__arena_free(&arena);
        struct br__buf a = {0}, b = {0};
        for (int g = 0; g < BR_N_GROUPS; g++)
            for (int h = 0; h <= g; h++) {
                a.n = b.n = 0;
                put_named(&a, &t, (enum br_group)g);
                put_named(&b, &t, (enum br_group)h);
                int equal = !strcmp(strchr(a.p, ' '), strchr(b.p, ' '));
                ck_assert_msg(equal == (same[g] == same[h]), "%zu: %s and %s", i, a.p, b.p);
            }
        br__buf_free(&a);
        br__buf_free(&b);
    }
}
END_TEST

/* ---- both grids at once ---------------------------------------------------------------------- */

/* A rank is where its coordinates say, in its group along each axis too. */
static int rank_is_placed(const struct br_topo *t, const enum br_axis axes[4], uint32_t rank)
{
    uint32_t back = 0;
    for (int a = 3; a >= 0; a--) {
        uint32_t out[MAX_RANKS], c = br_topo_coord(t, rank, axes[a]);
        if (c >= t->size[axes[a]] ||
            br_topo_group(t, rank, UINT32_C(1) << axes[a], out) != t->size[axes[a]] ||
            out[c] != rank)
            return 0;
        back = back * t->size[axes[a]] + c;
    }
    return back == rank;
}

static void check_places(const struct br_topo *t)
{
    for (size_t i = 0; i < BR_COUNTOF(grids); i++)
        for (uint32_t rank = 0; rank < t->world; rank++)
            if (!rank_is_placed(t, grids[i].axes, rank))
                ck_abort_msg("%s grid: rank %" PRIu32 " has no place", grids[i].name, rank);
}

/* Megatron's rule: the world is a multiple of tp*cp*pp and of etp*ep*pp. */
START_TEST(which_sizes_go_together)
{
    static const uint32_t sizes[] = {1, 2, 3, 4, 8};
    static const uint32_t worlds[] = {1, 2, 4, 6, 8, 12, 16, 24, 48, 64};
    enum { N = BR_COUNTOF(sizes), TUPLES = N * N * N * N * N };
    for (unsigned i = 0; i < TUPLES; i++) {
        uint32_t tp = sizes[i % N], cp = sizes[i / N % N], pp = sizes[i / N / N % N],
                 ep = sizes[i / N / N / N % N], etp = sizes[i / N / N / N / N];
        for (size_t w = 0; w < BR_COUNTOF(worlds); w++) {
            struct br_topo t;
            struct br_err err = BR_ERR_INIT;
            uint32_t world = worlds[w];
            int fits = world % (tp * cp * pp) == 0 && world % (etp * ep * pp) == 0;
            int rc = br_topo_make(&t, tp, cp, pp, ep, etp, world, &err);
            if (rc != (fits ? BR_OK : BR_E_USAGE) || t.world != (fits ? world : 0))
                ck_abort_msg("tuple %u, world %" PRIu32 ": %d %s", i, world, rc, err.msg);
            if (!fits)
                continue;
            ck_assert_uint_eq(t.size[BR_AXIS_DP], world / (tp * cp * pp));
            ck_assert_uint_eq(t.size[BR_AXIS_EDP], world / (etp * ep * pp));
            check_places(&t);
        }
    }
}
END_TEST

START_TEST(defaults)
{
    struct br_topo t;
    ck_assert_int_eq(br_topo_make(&t, 0, 0, 0, 0, 0, 0, NULL), 0);
    ck_assert_uint_eq(t.world, 1);
    ck_assert_int_eq(br_topo_make(&t, 4, 1, 1, 1, 0, 0, NULL), 0); /* etp follows tp */
    ck_assert_uint_eq(t.size[BR_AXIS_ETP], 4);
    ck_assert_uint_eq(t.world, 4);
    ck_assert_int_eq(br_topo_make(&t, 4, 1, 2, 6, 1, 0, NULL), 0); /* lcm(4, 6) * pp */
    ck_assert_uint_eq(t.world, 24);
    ck_assert_uint_eq(t.size[BR_AXIS_DP], 3);
    ck_assert_uint_eq(t.size[BR_AXIS_EDP], 2);
}
END_TEST

static const struct {
    uint32_t tp, cp, pp, ep, etp, world;
    const char *text;
} refused[] = {
    {4, 1, 3, 1, 1, 32, "world 32 is not tp 4 * cp 1 * pp 3 * dp"},
    {2, 1, 1, 8, 1, 4, "world 4 is not etp 1 * ep 8 * pp 1 * edp"},
    {UINT32_MAX, 1, 1, 1, 1, 0, "tp 4294967295 is more than 1048576 ranks"},
    {1, 1, 1, 1, 1, UINT32_MAX, "the sizes ask for more than 1048576 ranks"},
    {1 << 20, 1 << 20, 1 << 20, 1, 1, 0, "the sizes ask for more than 1048576 ranks"},
    {1 << 20, 1, 1, 3, 1, 0, "the sizes ask for more than 1048576 ranks"},
    {1 << 20, 1 << 20, 1 << 20, 1, 1, 64, "world 64 is not tp 1048576"},
};
START_TEST(refusals)
{
    struct br_topo t;
    struct br_err err = BR_ERR_INIT;
    int rc = br_topo_make(&t, refused[_i].tp, refused[_i].cp, refused[_i].pp, refused[_i].ep,
                          refused[_i].etp, refused[_i].world, &err);
    ck_assert_int_eq(rc, BR_E_USAGE);
    ck_assert_msg(br__starts(err.msg, refused[_i].text), "%s", err.msg);
}
END_TEST

START_TEST(layers_of_stages)
{
    struct br_topo t;
    struct br_err err = BR_ERR_INIT;
    uint32_t first, n;
    ck_assert_int_eq(br_topo_make(&t, 1, 1, 4, 1, 1, 0, NULL), 0);
    for (uint32_t stage = 0; stage < 4; stage++) {
        ck_assert_int_eq(br_topo_layers(&t, stage, 28, &first, &n, &err), 0);
        ck_assert_uint_eq(n, 7);
        ck_assert_uint_eq(first, 7 * stage);
    }
    ck_assert_int_eq(br_topo_layers(&t, 0, 30, &first, &n, &err), BR_E_USAGE);
    ck_assert_ptr_nonnull(strstr(err.msg, "30 layers are not pp 4 *"));
    ck_assert_int_eq(br_topo_layers(&t, 4, 28, &first, &n, &err), BR_E_USAGE);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("topo");
    TCase *t = tcase_create("topo");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, megatrons_groups);
    tcase_add_test(t, megatrons_parallel_state);
    tcase_add_test(t, same_groups);
    tcase_add_test(t, which_sizes_go_together);
    tcase_add_test(t, defaults);
    tcase_add_loop_test(t, refusals, 0, (int)BR_COUNTOF(refused));
    tcase_add_test(t, layers_of_stages);
    suite_add_tcase(s, t);
    return run_suite(s);
}
