/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_hub.c - downloads from a hub that behaves, and from one with every fault.  The hub is
 * tests/hub/hub_server.c on 127.0.0.1.  Whatever it does, a run ends in time, with the file or with
 * an error that says why, and no wrong byte is ever stored under a blob's name. */
#include "base/base_internal.h"
#include "format/hf.h"
#include "hub/http.h"
#include "libhub.h"
#include "librun.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PART (1u << 20)
#define SIZE (3 * PART - 1000)
#define BIG "Qwen/m/model.safetensors"

static struct br__arena arena;
static struct br_err err;
static char notes[4096];

static void on_note(void *ud, const char *text)
{
    (void)ud;
    snprintf(notes + strlen(notes), sizeof notes - strlen(notes), "%s\n", text);
}
static const struct br_listener listener = {.note = on_note};
static const struct br__hub_opts quick = {.listener = &listener,
                                          .no_sync = 1,
                                          .stall_s = 3,
                                          .backoff_ms = 1,
                                          .document_s = 6,
                                          .part_bytes = PART};

static void setup(void)
{
    memset(&arena, 0, sizeof arena);
    memset(&err, 0, sizeof err);
    notes[0] = 0;
    hub_setup();
    hub_put_text("Qwen/m/config.json", "{\"model_type\": \"qwen3\"}\n");
}

static void teardown(void)
{
    br__arena_free(&arena);
    hub_teardown();
}

static int fetch(const char *id, unsigned need, const char **dir)
{
    memset(&err, 0, sizeof err);
    return br__hf_fetch(&arena, id, need, &quick, dir, &err);
}

#define OK(call) ck_assert_msg((call) == BR_OK, "%s", err.msg)
#define FAILS(call, code, text)                                                                    \
    do {                                                                                           \
        int rc_ = (call);                                                                          \
        ck_assert_msg(rc_ == (code) && strstr(err.msg, (text)), "rc %d: %s", rc_, err.msg);        \
    } while (0)

static const char *blob(const char *sha)
{
    return hub_path("home/hub/models--Qwen--m/blobs/%s", sha);
}

/* ---- a hub that behaves ---------------------------------------------------------------------- */

START_TEST(fetches_what_is_needed)
{
    const char *dir;
    uint64_t bytes;
    hub_put(BIG, 1000, 1);
    hub_put_text("Qwen/m/tokenizer.json", "{}");
    hub_put_text("Qwen/m/README.md", "read me");
    hub_put_text("Qwen/m/pytorch_model.bin", "pickle");
    hub_start("--page", "2", NULL);
    OK(fetch("Qwen/m", BR__HF_CONFIG, &dir));
    ck_assert(br__exists(br__path_join(&arena, dir, "config.json")));
    ck_assert(!br__exists(br__path_join(&arena, dir, "tokenizer.json")));
    ck_assert_uint_eq(hub_requests("cdn", "", &bytes), 0);
    OK(fetch("Qwen/m", BR__HF_TOKENIZER, &dir));
    ck_assert(br__exists(br__path_join(&arena, dir, "tokenizer.json")));
    ck_assert(!br__exists(br__path_join(&arena, dir, "README.md")));
    OK(fetch("Qwen/m", BR__HF_SIDE | BR__HF_WEIGHTS, &dir));
    ck_assert(br__exists(br__path_join(&arena, dir, "README.md")));
    ck_assert(br__exists(br__path_join(&arena, dir, "model.safetensors")));
    ck_assert(!br__exists(br__path_join(&arena, dir, "pytorch_model.bin")));
    /* again: one request for the revision, none for a file; then no request at all */
    hub_start(NULL);
    OK(fetch("Qwen/m", BR__HF_SIDE | BR__HF_WEIGHTS, &dir));
    ck_assert_uint_eq(hub_requests("hub", "", &bytes), 1);
    ck_assert_uint_eq(hub_requests("cdn", "", &bytes), 0);
    hub_start(NULL);
    OK(fetch(br__arena_printf(&arena, "Qwen/m@%s", br__path_base(dir)), BR__HF_WEIGHTS, &dir));
    ck_assert_uint_eq(hub_requests("hub", "", &bytes), 0);
    setenv("HF_HUB_OFFLINE", "1", 1);
    OK(fetch("Qwen/m", BR__HF_WEIGHTS, &dir));
    ck_assert_uint_eq(hub_requests("hub", "", &bytes), 0);
}
END_TEST

START_TEST(follows_an_index)
{
    const char *dir;
    hub_put("Qwen/m/model-00001-of-00002.safetensors", 300, 1);
    hub_put("Qwen/m/model-00002-of-00002.safetensors", 300, 2);
    hub_put("Qwen/m/old.safetensors", 300, 3);
    hub_put_text("Qwen/m/model.safetensors.index.json",
                 "{\"weight_map\":{\"a\":\"model-00001-of-00002.safetensors\","
                 "\"b\":\"model-00002-of-00002.safetensors\"}}");
    hub_start(NULL);
    OK(fetch("Qwen/m", BR__HF_WEIGHTS, &dir));
    ck_assert(br__exists(br__path_join(&arena, dir, "model-00002-of-00002.safetensors")));
    ck_assert(!br__exists(br__path_join(&arena, dir, "old.safetensors")));
    hub_put_text("Qwen/m/model.safetensors.index.json",
                 "{\"weight_map\":{\"a\":\"model-00003-of-00003.safetensors\"}}");
    hub_start(NULL);
    FAILS(fetch("Qwen/m", BR__HF_WEIGHTS, &dir), BR_E_NOTFOUND, "which the model does not have");
}
END_TEST

START_TEST(falls_back_on_the_cache)
{
    const char *dir, *again;
    hub_put(BIG, 1000, 1);
    hub_start(NULL);
    OK(fetch("Qwen/m", BR__HF_WEIGHTS, &dir));
    hub_stop();
    OK(fetch("Qwen/m", BR__HF_WEIGHTS, &again));
    ck_assert_str_eq(dir, again);
    ck_assert_msg(strstr(notes, "the hub cannot be asked"), "%s", notes);
    FAILS(fetch("Qwen/other", BR__HF_WEIGHTS, &dir), BR_E_NETWORK,
          "'Qwen/other' is not in the local cache, and the hub cannot be asked");
    /* the first bytes of it */
    ck_assert_int_eq(unlink(br__path_join(&arena, again, "model.safetensors")), 0);
    FAILS(fetch("Qwen/m", BR__HF_WEIGHTS, &dir), BR_E_NOTFOUND, "the first is 'model.safetensors'");
}
END_TEST

START_TEST(says_what_is_wrong)
{
    const char *dir;
    hub_put_text("Qwen/gated-m/config.json", "{}");
    hub_start(NULL);
    FAILS(fetch("Qwen/n", 0, &dir), BR_E_NOTFOUND, "did you mean 'Qwen/m'?");
    FAILS(fetch("Qwen/m@mian", 0, &dir), BR_E_NOTFOUND,
          "'Qwen/m' has no revision 'mian'; did you mean 'main'?");
    FAILS(fetch("Qwen/gated-m", 0, &dir), BR_E_ACCESS, "/Qwen/gated-m, then set HF_TOKEN");
    setenv("HF_TOKEN", "hf_bad", 1);
    FAILS(fetch("Qwen/gated-m", 0, &dir), BR_E_ACCESS, "the account of the token is none of them");
    setenv("HF_TOKEN", "hf_good\n", 1); /* a token as `echo` writes it, with a line break */
    OK(fetch("Qwen/gated-m", 0, &dir));
    setenv("HF_TOKEN", "hf_go\nod", 1);
    FAILS(fetch("Qwen/gated-m", 0, &dir), BR_E_USAGE, "HF_TOKEN does not hold a token");
    unsetenv("HF_TOKEN");
    ck_assert_int_eq(br__write_file(hub_path("home/token"), "hf_good\n", 8, 0, NULL), BR_OK);
    OK(fetch("Qwen/gated-m", BR__HF_SIDE, &dir));
    setenv("HF_ENDPOINT", "http://user:s3cret@127.0.0.1", 1);
    FAILS(fetch("Qwen/m", 0, &dir), BR_E_FORMAT,
          "HF_ENDPOINT: 'http://127.0.0.1' is no http or https address without a user name");
    setenv("HF_ENDPOINT", "ftp://127.0.0.1", 1);
    FAILS(fetch("Qwen/m", 0, &dir), BR_E_FORMAT, "HF_ENDPOINT: ");
}
END_TEST

START_TEST(the_token_stays_at_home)
{
    const char *dir;
    uint64_t bytes;
    hub_put(BIG, SIZE, 1);
    hub_start("--fault", "expire:cdn:1:0", NULL);
    setenv("HF_TOKEN", "hf_good", 1);
    OK(fetch("Qwen/m", BR__HF_WEIGHTS, &dir));
    ck_assert_uint_gt(hub_requests("hub", " auth", &bytes), 4);
    ck_assert_uint_eq(hub_requests("hub", " anon", &bytes), 0);
    ck_assert_uint_gt(hub_requests("cdn", " anon", &bytes), 2);
    ck_assert_uint_eq(hub_requests("cdn", " auth", &bytes), 0);
}
END_TEST

START_TEST(messages_hold_no_secret_of_a_url)
{
    static const char *const pairs[][2] = {
        {"https://a.b/c/d", "https://a.b/c/d"},
        {"https://a.b:8/c?X-Amz-Signature=1#f", "https://a.b:8/c"},
        {"https://a.b#f?x", "https://a.b"},
        {"http://u:p@a.b/c", "http://a.b/c"},
        {"http://u:p@q@a.b/c?d@e", "http://a.b/c"},
        {"//u:p@a.b/c", "//a.b/c"},
        {"u:p@a.b", "a.b"},
        {"u:p@a.b//c", "a.b//c"},
        {"/api/x?cursor=1", "/api/x"},
        {"", ""},
    };
    char shown[BR__URL_SHOWN], deep[2000] = "https://u:p@";
    for (size_t i = 0; i < BR_COUNTOF(pairs); i++)
        ck_assert_str_eq(br__http_shown(pairs[i][0], shown), pairs[i][1]);
    memset(deep + strlen(deep), 'x', sizeof deep - strlen(deep) - 1);
    ck_assert(!strncmp(br__http_shown(deep, shown), "https://xxx", 11) && br__ends(shown, "x..."));
}
END_TEST

/* ---- faults ---------------------------------------------------------------------------------- */

static const struct fault {
    const char *option, *option2;
    int rc;
    const char *says; /* of an error */
    int exact;        /* not a byte of the weights is sent twice */
} faults[] = {
    {"cut:cdn:3:100000", NULL, BR_OK, NULL, 1},
    {"cut:cdn:1:0", NULL, BR_OK, NULL, 1},
    {"cut:config.json:2:5", NULL, BR_OK, NULL, 1},
    {"status:model.safetensors:3:500", NULL, BR_OK, NULL, 1},
    {"status:cdn:4:503", NULL, BR_OK, NULL, 1},
    {"status:cdn:1:429", "1", BR_OK, NULL, 1},
    {"status:cdn:9999:503", NULL, BR_E_NETWORK, "answers 503", 0},
    {"status:resolve:9999:429", "0", BR_E_NETWORK, "answers 429", 0},
    {"status:cdn:1:418", NULL, BR_E_NOTFOUND, "answers 418", 0},
    {"status:revision:9999:502", NULL, BR_E_NETWORK, "answers 502", 0},
    {"slow:cdn:3:2000000", NULL, BR_OK, NULL, 1},
    {"stall:cdn:1:9", NULL, BR_OK, NULL, 1},
    {"wrong:cdn:3:1500000", NULL, BR_E_FORMAT, "and not used; run again", 0},
    {"wrong:config.json:1:3", NULL, BR_E_FORMAT, "the git blob id of 'config.json' is", 0},
    {"short:cdn:1:1000", NULL, BR_OK, NULL, 0},
    {"short:cdn:9999:1000", NULL, BR_E_FORMAT, "changes while it is downloaded", 0},
    {"etag:cdn:1:1", NULL, BR_OK, NULL, 0},
    {"expire:cdn:2:0", NULL, BR_OK, NULL, 1},
    {"expire:cdn:9999:0", NULL, BR_E_ACCESS, "answers 403", 0},
    {"norange:cdn:9999:0", NULL, BR_OK, NULL, 0},
    {"path:tree:1:../../../evil", NULL, BR_E_FORMAT, "could leave the model's directory", 0},
    {"path:tree:1:/etc/evil", NULL, BR_E_FORMAT, "could leave the model's directory", 0},
    {"endless:tree:9999:1000000", NULL, BR_E_FORMAT, "at most 1000000 files in 134217728 bytes", 0},
    {"drip:tree:9999:64", NULL, BR_E_NETWORK, "timed out", 0},
    {"provisional:tree:9999:1000", NULL, BR_E_NETWORK, "one provisional answer after another", 0},
    {"longhead:tree:9999:200000", NULL, BR_E_NETWORK, "or a header line without end", 0},
    {"cut:cdn:9999:1", NULL, BR_E_NETWORK, "after 6 attempts", 0},
    {"path:tree:1:.cache/huggingface", NULL, BR_E_FORMAT, "could leave the model's directory", 0},
    {"path:tree:1:config.json/x", NULL, BR_E_FORMAT,
     "lists 'config.json' with an entry as a file and one as a folder", 0},
    {"location:resolve:9999:http://user:s3cret@127.0.0.1/x?sig=abc", NULL, BR_E_FORMAT,
     "'http://127.0.0.1/x' is no http or https address without a user name", 0},
    {"location:resolve:9999:ftp://user:s3cret@127.0.0.1/x?sig=abc", NULL, BR_E_FORMAT,
     "'ftp://127.0.0.1/x' is no http or https address", 0},
};

START_TEST(survives)
{
    const struct fault *f = &faults[_i];
    const char *dir;
    uint64_t bytes;
    char sha[65];
    hub_put(BIG, SIZE, 1);
    hub_put_text("Qwen/m/tokenizer.json", "{}");
    memcpy(sha, hub_sha256(hub_path("root/" BIG)), sizeof sha);
    if (f->option2)
        hub_start("--fault", f->option, "--retry-after", f->option2, NULL);
    else
        hub_start("--fault", f->option, NULL);
    int64_t began = br__clock_ms();
    if (f->rc) {
        FAILS(fetch("Qwen/m", BR__HF_TOKENIZER | BR__HF_WEIGHTS, &dir), f->rc, f->says);
        ck_assert(!br__exists(blob(sha)) || !strcmp(hub_sha256(blob(sha)), sha));
        ck_assert_msg(!strstr(err.msg, "s3cret") && !strstr(err.msg, "sig="), "%s", err.msg);
        hub_start(NULL); /* the next run meets no fault */
    }
    OK(fetch("Qwen/m", BR__HF_TOKENIZER | BR__HF_WEIGHTS, &dir));
    ck_assert_str_eq(hub_sha256(blob(sha)), sha);
    ck_assert_str_eq(hub_sha256(br__path_join(&arena, dir, "model.safetensors")), sha);
    ck_assert(!br__exists(hub_path("home/hub/models--Qwen--m/blobs/%s.bridge.incomplete", sha)));
    ck_assert(!br__exists(hub_path("evil")));
    if (f->exact) {
        hub_requests("cdn", " 206 ", &bytes);
        ck_assert_uint_eq(bytes, SIZE);
    }
    if (f->option2 && f->option2[0] == '1')
        ck_assert_int_ge(br__clock_ms() - began, 1000);
    ck_assert_int_lt(br__clock_ms() - began,
                     200000); /* a loaded machine is slow, a hang takes far longer */
}
END_TEST

/* The reason for a wait is reported when the wait begins. */
START_TEST(tells_of_long_waits)
{
    const char *dir;
    hub_start("--fault", "status:revision:1:429", "--retry-after", "5", NULL);
    OK(fetch("Qwen/m", BR__HF_TOKENIZER, &dir));
    ck_assert_msg(strstr(notes, "/revision/main' answers 429: trying again in 5 seconds"), "%s",
                  notes);
}
END_TEST

/* Bytes that an earlier run left and that are wrong cost a second download, not an error. */
START_TEST(distrusts_what_is_resumed)
{
    const char *dir;
    char sha[65];
    hub_put(BIG, SIZE, 1);
    memcpy(sha, hub_sha256(hub_path("root/" BIG)), sizeof sha);
    /* the first part is cut: its bytes and the wrong one among them stay */
    struct br__hub_opts o = quick;
    o.connections = 1;
    hub_start("--fault", "wrong:cdn:1:100", "--fault", "cut:cdn:1:600000", "--requests", "9", NULL);
    ck_assert_int_ne(br__hf_fetch(&arena, "Qwen/m", BR__HF_WEIGHTS, &o, &dir, &err), BR_OK);
    hub_start(NULL);
    OK(fetch("Qwen/m", BR__HF_WEIGHTS, &dir));
    ck_assert_str_eq(hub_sha256(blob(sha)), sha);
    ck_assert(
        br__exists(hub_path("home/hub/models--Qwen--m/blobs/%s.bridge.incomplete.mismatch", sha)));
}
END_TEST

/* ---- several processes, and files of others -------------------------------------------------- */

START_TEST(processes_share_the_work)
{
    const char *dir;
    uint64_t bytes;
    hub_put(BIG, SIZE, 1);
    hub_start("--rate", "4000000", NULL);
    pid_t child[3];
    for (int i = 0; i < 3; i++)
        if ((child[i] = fork()) == 0)
            _exit(fetch("Qwen/m", BR__HF_WEIGHTS, &dir) ? 1 : 0);
    for (int i = 0; i < 3; i++) {
        int status = -1;
        waitpid(child[i], &status, 0);
        ck_assert_int_eq(status, 0);
    }
    hub_requests("cdn", "", &bytes);
    ck_assert_uint_eq(bytes, SIZE);
    OK(fetch("Qwen/m", BR__HF_WEIGHTS, &dir));
}
END_TEST

/* An incomplete file of another tool or version is neither trusted nor an error. */
START_TEST(minds_its_own_files)
{
    const char *dir;
    char sha[65];
    hub_put(BIG, 100000, 1);
    memcpy(sha, hub_sha256(hub_path("root/" BIG)), sizeof sha);
    ck_assert_int_eq(br__mkdirs(hub_path("home/hub/models--Qwen--m/blobs"), NULL), BR_OK);
    const char *ours = hub_path("home/hub/models--Qwen--m/blobs/%s.bridge.incomplete", sha);
    ck_assert_int_eq(br__write_file(ours, "rubbish", 7, 0, NULL), BR_OK);
    const char *theirs = hub_path("home/hub/models--Qwen--m/blobs/%s.incomplete", sha);
    ck_assert_int_eq(br__write_file(theirs, "rubbish", 7, 0, NULL), BR_OK);
    /* a blob that is too short, and a pointer to nothing */
    ck_assert_int_eq(br__write_file(blob(sha), "x", 1, 0, NULL), BR_OK);
    hub_start(NULL);
    OK(fetch("Qwen/m", BR__HF_CONFIG, &dir));
    ck_assert_int_eq(symlink("nowhere", br__path_join(&arena, dir, "model.safetensors")), 0);
    OK(fetch("Qwen/m", BR__HF_WEIGHTS, &dir));
    ck_assert_str_eq(hub_sha256(br__path_join(&arena, dir, "model.safetensors")), sha);
    ck_assert(br__exists(theirs));
}
END_TEST

/* ---- failing system calls and allocations ---------------------------------------------------- */

static struct br__io_ops real_io;
static struct br__mem_ops real_mem;
static atomic_long countdown;
static atomic_int fired;

static int due(void)
{
    if (atomic_fetch_sub(&countdown, 1) != 0)
        return 0;
    atomic_store(&fired, 1);
    errno = EIO;
    return 1;
}
static int f_openat(int dir, const char *path, int flags, mode_t mode)
{
    return due() ? -1 : real_io.openat(dir, path, flags, mode);
}
static ssize_t f_pread(int fd, void *buf, size_t n, off_t off)
{
    return due() ? -1 : real_io.pread(fd, buf, n, off);
}
static ssize_t f_pwrite(int fd, const void *buf, size_t n, off_t off)
{
    return due() ? -1 : real_io.pwrite(fd, buf, n > 5000 ? n / 2 : n, off);
}
static int f_ftruncate(int fd, off_t size)
{
    return due() ? -1 : real_io.ftruncate(fd, size);
}
static int f_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    return due() ? -1 : real_io.renameat(from_dir, from, to_dir, to);
}
static int f_mkdirat(int dir, const char *path, mode_t mode)
{
    return due() ? -1 : real_io.mkdirat(dir, path, mode);
}
static int f_symlinkat(const char *target, int dir, const char *path)
{
    return due() ? -1 : real_io.symlinkat(target, dir, path);
}
static int f_unlinkat(int dir, const char *path, int flags)
{
    return due() ? -1 : real_io.unlinkat(dir, path, flags);
}
static int f_flock(int fd, int operation)
{
    return due() ? -1 : real_io.flock(fd, operation);
}
static void *f_realloc(void *p, size_t n)
{
    return due() ? NULL : real_mem.realloc(p, n);
}

/* Fail the Nth call, for every small N and ever fewer large ones: the download fails or succeeds,
 * and its status is true. */
static void fail_each(void (*arm)(void))
{
    const char *dir;
    char sha[65];
    int failed = 0;
    long stride = test_is_sampled() ? 4 : 16;
    hub_put(BIG, 20000, 1);
    memcpy(sha, hub_sha256(hub_path("root/" BIG)), sizeof sha);
    hub_start(NULL);
    real_io = br__io;
    real_mem = br__mem;
    for (long n = 0;; n += 1 + n / stride) {
        atomic_store(&countdown, n);
        atomic_store(&fired, 0);
        arm();
        int rc = fetch("Qwen/m", BR__HF_WEIGHTS, &dir);
        br__io = real_io;
        br__mem = real_mem;
        br__arena_free(&arena);
        ck_assert_msg(!rc || err.msg[0], "call %ld", n);
        failed += rc != 0;
        ck_assert(!br__exists(blob(sha)) || !strcmp(hub_sha256(blob(sha)), sha));
        ck_assert_msg(!strstr(err.msg, "s3cret") && !strstr(err.msg, "sig="), "%s", err.msg);
        OK(fetch("Qwen/m", BR__HF_WEIGHTS, &dir));
        ck_assert_str_eq(hub_sha256(br__path_join(&arena, dir, "model.safetensors")), sha);
        ck_assert_int_eq(br__remove_tree(hub_path("home"), NULL), BR_OK);
        if (!atomic_load(&fired))
            break;
    }
    ck_assert_int_gt(failed, stride / 2);
}

static void arm_io(void)
{
    br__io.openat = f_openat;
    br__io.pread = f_pread;
    br__io.pwrite = f_pwrite;
    br__io.ftruncate = f_ftruncate;
    br__io.renameat = f_renameat;
    br__io.mkdirat = f_mkdirat;
    br__io.symlinkat = f_symlinkat;
    br__io.unlinkat = f_unlinkat;
    br__io.flock = f_flock;
}

static void arm_mem(void)
{
    br__mem.realloc = f_realloc;
}

START_TEST(every_call_fails_once)
{
    fail_each(arm_io);
}
END_TEST

START_TEST(every_allocation_fails_once)
{
    fail_each(arm_mem);
}
END_TEST

/* ---- reading without storing ----------------------------------------------------------------- */

/* A model of one big U8 tensor, larger than the cache of blocks. */
static void put_model(size_t n)
{
    struct br__st_entry e = {.name = "t", .dtype = BR_U8, .ndim = 1, .shape = {(int64_t)n}};
    struct br__buf b = {0};
    ck_assert_int_eq(br__st_header(&b, &e, 1, NULL), BR_OK);
    for (size_t i = 0; i < n; i++)
        br__buf_putc(&b, (char)(i * 7 + i / 4099));
    ck_assert_int_eq(br__mkdirs(hub_path("root/Qwen/m"), NULL), BR_OK);
    ck_assert_int_eq(br__write_file(hub_path("root/" BIG), b.p, b.n, 0, NULL), BR_OK);
    br__buf_free(&b);
}

struct reading {
    struct br__ckpt *ck;
    size_t n;
};

static int read_block(void *arg, size_t i, int worker, struct br_err *e)
{
    const struct reading *r = arg;
    unsigned char buf[5000];
    size_t off = i * 999983 % (r->n - sizeof buf);
    (void)worker;
    int rc = br__ckpt_read(r->ck, &r->ck->tensors[0], off, buf, sizeof buf, e);
    for (size_t k = 0; !rc && k < sizeof buf; k++)
        if (buf[k] != (unsigned char)((off + k) * 7 + (off + k) / 4099))
            rc = br_fail(e, BR_E_DIFF, "byte %zu", off + k);
    return rc;
}

START_TEST(reads_from_the_hub)
{
    static const char *const wrongs[] = {"cut:cdn:2:1000", "status:cdn:3:503", "expire:cdn:2:0",
                                         "etag:cdn:1:5"};
    struct reading r = {.n = 70u << 20};
    uint64_t bytes;
    put_model(r.n);
    hub_start("--fault", wrongs[0], "--fault", wrongs[1], "--fault", wrongs[2], "--fault",
              wrongs[3], NULL);
    OK(br__hf_open_model(&r.ck, "Qwen/m", BR__HF_REMOTE, &quick, &err));
    ck_assert_uint_eq(r.ck->n_tensors, 1);
    ck_assert_uint_le(hub_requests("cdn", " 206 ", &bytes), 4); /* the header's block */
    OK(br__pool_run(6, 200, read_block, &r, &err));
    br__ckpt_close(r.ck);
    ck_assert(!br__exists(
        hub_path("home/hub/models--Qwen--m/blobs/%s", hub_sha256(hub_path("root/" BIG)))));
    hub_start("--fault", "norange:cdn:9999:0", NULL);
    FAILS(br__hf_open_model(&r.ck, "Qwen/m", BR__HF_REMOTE, &quick, &err), BR_E_NETWORK,
          "more than 4194304 bytes");
    hub_start("--fault", "expire:cdn:9999:0", NULL);
    FAILS(br__hf_open_model(&r.ck, "Qwen/m", BR__HF_REMOTE, &quick, &err), BR_E_ACCESS,
          "answers 403");
    hub_start("--fault", "short:cdn:9999:10", NULL);
    FAILS(br__hf_open_model(&r.ck, "Qwen/m", BR__HF_REMOTE, &quick, &err), BR_E_FORMAT,
          "were asked for, the answer is 206");
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("hub");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, fetches_what_is_needed);
    tcase_add_test(t, follows_an_index);
    tcase_add_test(t, falls_back_on_the_cache);
    tcase_add_test(t, says_what_is_wrong);
    tcase_add_test(t, the_token_stays_at_home);
    tcase_add_test(t, messages_hold_no_secret_of_a_url);
    tcase_add_loop_test(t, survives, 0, (int)BR_COUNTOF(faults));
    tcase_add_test(t, distrusts_what_is_resumed);
    tcase_add_test(t, tells_of_long_waits);
    tcase_add_test(t, processes_share_the_work);
    tcase_add_test(t, minds_its_own_files);
    tcase_add_test(t, every_call_fails_once);
    tcase_add_test(t, every_allocation_fails_once);
    tcase_add_test(t, reads_from_the_hub);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return run_suite(suite());
}
