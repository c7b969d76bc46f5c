/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* jsonl_fuzz.c - libFuzzer target: a JSONL file of finetuning data, each record as a prompt with
 * its answer and as a conversation. */
#include "../../core/data/sft.h"
#include "tok.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct br_tokenizer *tok;
static struct br_chat *chat;

static void put_file(const char *dir, const char *name, const char *text, size_t n)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (br__write_file(path, text, n, 0, NULL))
        abort();
}

/* The tokenizer of tok.h, whose added tokens are the marks of turns. */
static void rename_token(char *json, const char *from, const char *to)
{
    char *at = strstr(json, from);
    memmove(at + strlen(to), at + strlen(from), strlen(at + strlen(from)) + 1);
    memcpy(at, to, strlen(to));
}

static void open_all(void)
{
    static const char config[] =
        "{\"eos_token\": \"<|im_end|>\", \"chat_template\": \"{% for m in messages %}<|im_start|>"
        "{{ m.role }}\\n{{ m.content }}<|im_end|>\\n{% endfor %}\"}";
    struct br__arena a = {0};
    struct br__buf b = {0};
    const char *dir;
    if (br__temp_dir(&a, "bridge-fuzz", &dir, NULL))
        abort();
    tok_json(&b);
    if (!br__buf_room(&b, 64))
        abort();
    rename_token(b.p, "<|x|>", "<|im_start|>");
    rename_token(b.p, "<y>", "<|im_end|>");
    put_file(dir, "tokenizer.json", b.p, strlen(b.p));
    put_file(dir, "tokenizer_config.json", config, sizeof config - 1);
    if (br_tokenizer_open(&tok, dir, NULL) || br_chat_open(&chat, dir, NULL) ||
        br__remove_tree(dir, NULL))
        abort();
    br__buf_free(&b);
    br__arena_free(&a);
}

static void try_record(const struct br__sft_rules *r, const struct br__buf *text)
{
    struct br__example e = {0};
    struct br_err err = BR_ERR_INIT;
    int rc = br__sft_example(r, text->p, text->n, &e, &err);
    if (rc ? !err.msg[0]
           : e.ids.n < 2 || (!r->chat && e.ids.n > (size_t)r->o->seq_length) ||
                 e.n_context > (int64_t)e.ids.n)
        abort();
    br__example_free(&e);
}

static void try_file(const struct br__sft_opts *o, const char *path)
{
    struct br__sft_rules r;
    struct br__records f;
    struct br__buf text = {0};
    if (br__sft_rules_make(&r, o, NULL) || br__records_open(&f, path, NULL))
        abort();
    for (int64_t i = 0; i < BR__MIN(f.n, 100); i++) {
        if (br__records_read(&f, i, &text, NULL) || text.n == 0 || memchr(text.p, '\n', text.n))
            abort();
        try_record(&r, &text);
    }
    br__buf_free(&text);
    br__records_close(&f);
    br__sft_rules_free(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    if (!tok)
        open_all();
    int fd = memfd_create("records", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct br__sft_opts o = {.path = path, .tok = tok, .seq_length = 12};
    try_file(&o, path);
    o.chat = chat;
    try_file(&o, path);
    close(fd);
    return 0;
}
