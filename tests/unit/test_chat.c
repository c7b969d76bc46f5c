/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_chat.c - chat templates of tokenizer directories: which template, which variables, what is
 * done to messages, and directories that are wrong. */
#include "../../core/base/base.h"
#include "librun.h"

#include <bridge/chat.h>
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct br_err err;
static char root[256];
static struct br_chat *chat;
static char *text;
static size_t n_text;

static void setup(void)
{
    memset(&err, 0, sizeof err);
    make_temp_dir(root, sizeof root, "bridge-chat");
    chat = NULL;
    text = NULL;
}

static void teardown(void)
{
    br_chat_free_text(text);
    br_chat_close(chat);
    ck_assert_int_eq(br__remove_tree(root, NULL), BR_OK);
}

static void put(const char *name, const char *content)
{
    char path[512];

    snprintf(path, sizeof path, "%s/%s", root, name);
    ck_assert_int_eq(br__write_file(path, content, strlen(content), 0, &err), BR_OK);
}

static void open_chat(void)
{
    ck_assert_msg(br_chat_open(&chat, root, &err) == BR_OK, "%s", err.msg);
}

static int try_render(const struct br_chat_request *given)
{
    struct br_chat_request req = *given;

    req.struct_size = sizeof req;
    if (!req.messages_json)
        req.messages_json = "[{\"role\": \"user\", \"content\": \"hi\"}]";
    br_chat_free_text(text);
    return br_chat_render(chat, &req, &text, &n_text, &err);
}

#define RENDERS(want, ...)                                                                         \
    do {                                                                                           \
        ck_assert_msg(try_render(&(struct br_chat_request){__VA_ARGS__}) == BR_OK, "%s", err.msg); \
        ck_assert_str_eq(text, want);                                                              \
        ck_assert_uint_eq(n_text, strlen(want));                                                   \
    } while (0)

/* ---- which template -------------------------------------------------------------------------- */

START_TEST(the_file_goes_before_the_config)
{
    put("chat_template.jinja", "file\n");
    put("tokenizer_config.json", "{\"chat_template\": \"config\"}");
    open_chat();
    RENDERS("file", 0);
    RENDERS("file", .tools_json = "[1]");
}
END_TEST

START_TEST(the_config_may_hold_one)
{
    put("tokenizer_config.json", "{\"chat_template\": \"{{ messages[0].role }}\"}");
    open_chat();
    RENDERS("user", 0);
}
END_TEST

START_TEST(tools_choose_among_several)
{
    put("tokenizer_config.json",
        "{\"chat_template\": [{\"name\": \"default\", \"template\": \"d\"}, "
        "{\"name\": \"tool_use\", \"template\": \"t{{ tools|length }}\"}]}");
    open_chat();
    RENDERS("d", 0);
    RENDERS("t2", .tools_json = "[1, 2]");
    RENDERS("t0", .tools_json = "[]");
}
END_TEST

START_TEST(more_files_are_named_by_themselves)
{
    char path[512];

    put("chat_template.jinja", "file");
    snprintf(path, sizeof path, "%s/additional_chat_templates", root);
    ck_assert_int_eq(br__mkdirs(path, &err), BR_OK);
    put("additional_chat_templates/tool_use.jinja", "tools");
    put("additional_chat_templates/notes.txt", "{% no template");
    open_chat();
    RENDERS("file", 0);
    RENDERS("tools", .tools_json = "[]");
}
END_TEST

START_TEST(several_without_a_default_are_an_error)
{
    put("tokenizer_config.json", "{\"chat_template\": [{\"name\": \"rag\", \"template\": \"r\"}]}");
    open_chat();
    ck_assert_int_eq(try_render(&(struct br_chat_request){0}), BR_E_NOTFOUND);
    ck_assert_ptr_nonnull(strstr(err.msg, "'default'"));
}
END_TEST

/* ---- variables ------------------------------------------------------------------------------- */

START_TEST(special_tokens_are_variables)
{
    put("chat_template.jinja",
        "{{ bos_token }}|{{ eos_token }}|{{ pad_token is defined }}|{{ unk_token }}");
    put("tokenizer_config.json",
        "{\"bos_token\": {\"content\": \"<s>\"}, \"eos_token\": \"</s>\", \"pad_token\": null}");
    put("special_tokens_map.json", "{\"eos_token\": \"other\", \"unk_token\": \"<u>\"}");
    open_chat();
    RENDERS("<s>|</s>|False|<u>", 0);
    RENDERS("B|</s>|False|<u>", .kwargs_json = "{\"bos_token\": \"B\"}");
}
END_TEST

START_TEST(options_may_be_absent)
{
    put("chat_template.jinja", "{{ add_generation_prompt }} {{ enable_thinking }} {{ tools }} "
                               "{{ documents }} {{ x }}");
    open_chat();
    RENDERS("False  None None ", 0);
    RENDERS("True True [1] [{'t': 2}] 3", .add_generation_prompt = 1, .enable_thinking = BR_CHAT_ON,
            .tools_json = "[1]", .documents_json = "[{\"t\": 2}]", .kwargs_json = "{\"x\": 3}");
    RENDERS("False False None None ", .enable_thinking = BR_CHAT_OFF);
    RENDERS("False False None None ", .kwargs_json = "{\"enable_thinking\": false}");
}
END_TEST

START_TEST(null_members_of_messages_are_absent)
{
    put("chat_template.jinja", "{{ messages }}");
    open_chat();
    RENDERS("[{'role': 'a', 'x': [None]}]",
            .messages_json = "[{\"role\": \"a\", \"content\": null, \"x\": [null]}]");
}
END_TEST

START_TEST(reasoning_has_several_names)
{
    put("chat_template.jinja", "{{ messages[0]|tojson }}");
    open_chat();
    RENDERS("{\"thinking\": \"r\", \"role\": \"a\", \"reasoning\": \"r\", \"reasoning_content\": "
            "\"r\"}",
            .messages_json = "[{\"role\": \"a\", \"reasoning\": \"r\"}]");
    RENDERS("{\"thinking\": \"t\", \"reasoning_content\": \"c\"}",
            .messages_json = "[{\"thinking\": \"t\", \"reasoning_content\": \"c\"}]");
}
END_TEST

START_TEST(numbers_and_order_are_those_of_the_input)
{
    put("chat_template.jinja", "{{ tools|tojson }}");
    open_chat();
    RENDERS("[{\"z\": 1.5, \"a\": 123456789012345678901, \"m\": 1e-07, \"q\": -0.0, \"i\": -5}]",
            .tools_json = "[{\"z\": 1.50, \"a\": 123456789012345678901, \"m\": 0.0000001, "
                          "\"q\": -0.0, \"i\": -5}]");
}
END_TEST

START_TEST(the_date_is_the_callers)
{
    put("chat_template.jinja", "{{ strftime_now('%Y') }}");
    open_chat();
    RENDERS("2001", .now = 1000000000);
}
END_TEST

/* ---- what is wrong --------------------------------------------------------------------------- */

static const struct {
    const char *config;
    int code;
    const char *message;
} bad[] = {
    {"{}", BR_E_NOTFOUND, "has no chat template"},
    {"{\"chat_template\": null}", BR_E_NOTFOUND, "has no chat template"},
    {"{\"chat_template\": 5}", BR_E_FORMAT, "neither a text nor a list"},
    {"{\"chat_template\": [{\"name\": \"a\"}]}", BR_E_FORMAT, "lacks its"},
    {"{\"chat_template\": \"\\n{{ x\"}", BR_E_FORMAT, "chat template 'default': line 2: the tag"},
    {"{\"chat_template\": \"{% include 'a' %}\"}", BR_E_UNSUPPORTED, "the tag 'include'"},
    {"{\"chat_template\": ", BR_E_FORMAT, "tokenizer_config.json: byte"},
};

START_TEST(a_bad_config_is_an_error)
{
    put("tokenizer_config.json", bad[_i].config);
    ck_assert_int_eq(br_chat_open(&chat, root, &err), bad[_i].code);
    ck_assert_ptr_null(chat);
    ck_assert_msg(strstr(err.msg, bad[_i].message) != NULL, "%s", err.msg);
}
END_TEST

START_TEST(bad_requests_are_errors)
{
    put("chat_template.jinja",
        "{% if messages[0].role == 'x' %}\n{{ raise_exception('no x') }}{% endif %}");
    open_chat();
    ck_assert_int_eq(try_render(&(struct br_chat_request){.messages_json = "{}"}), BR_E_FORMAT);
    ck_assert_int_eq(try_render(&(struct br_chat_request){.messages_json = "[]"}), BR_E_FORMAT);
    ck_assert_int_eq(try_render(&(struct br_chat_request){.messages_json = "[1]"}), BR_E_FORMAT);
    ck_assert_int_eq(try_render(&(struct br_chat_request){.tools_json = "{}"}), BR_E_FORMAT);
    ck_assert_int_eq(try_render(&(struct br_chat_request){.kwargs_json = "[]"}), BR_E_FORMAT);
    ck_assert_int_eq(try_render(&(struct br_chat_request){.messages_json = "[{\"role\": \"x\"}]"}),
                     BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "line 2: the template refuses: no x"));
    ck_assert_ptr_null(text);
    br_chat_close(chat);
    ck_assert_int_eq(br_chat_open(&chat, "/nonexistent", &err), BR_E_NOTFOUND);
}
END_TEST

/* A request of a later version whose new member is set cannot be understood. */
START_TEST(newer_requests_are_refused)
{
    struct {
        struct br_chat_request req;
        uint64_t more;
    } newer = {{.struct_size = sizeof newer, .messages_json = "[{\"role\": \"a\"}]"}, 0};

    put("chat_template.jinja", "x");
    open_chat();
    ck_assert_int_eq(br_chat_render(chat, &newer.req, &text, &n_text, &err), BR_OK);
    br_chat_free_text(text);
    newer.more = 1;
    ck_assert_int_eq(br_chat_render(chat, &newer.req, &text, &n_text, &err), BR_E_USAGE);
}
END_TEST

/* ---- goldens of transformers, written by tests/oracle/chat_templates.py ---------------------- */

#define GOLDENS BRIDGE_TEST_DATA "/chat"

static br__json *golden;
static char *messages;

/* The next row of a file, whose messages become those of a request; 0 at its end. */
static int next_golden(char **at)
{
    struct br__buf b = {0};
    char *end = strchr(*at, '\n');

    br__json_free(golden);
    golden = NULL;
    br__free(messages);
    messages = NULL;
    if (!end)
        return 0;
    ck_assert_msg(br__json_parse(&golden, *at, (size_t)(end - *at), &err) == 0, "%s", err.msg);
    ck_assert_int_eq(br__json_print(br__json_get(golden, "messages"), 0, &b), 0);
    messages = b.p;
    *at = end + 1;
    return 1;
}

static char *read_goldens(const char *path)
{
    char *all;
    size_t n;

    ck_assert_msg(br__read_text(path, 1 << 20, &all, &n, &err) == 0, "%s", err.msg);
    return all;
}

START_TEST(final_messages_are_continued)
{
    char *all = read_goldens(GOLDENS "/continue.jsonl"), *at = all;
    size_t texts = 0, errors = 0;

    ck_assert_msg(br_chat_open(&chat, GOLDENS, &err) == BR_OK, "%s", err.msg);
    while (next_golden(&at)) {
        const char *want = br__json_str(br__json_get(golden, "text"), NULL);
        const br__json *field = br__json_get(golden, "continue_final_message");
        int rc = try_render(&(struct br_chat_request){
            .messages_json = messages,
            .continue_field = br__json_str(field, "content"),
            .add_generation_prompt =
                br__json_bool(br__json_get(golden, "add_generation_prompt"), 0)});
        if (want)
            ck_assert_msg(rc == BR_OK && strcmp(text, want) == 0 && strlen(want) == n_text,
                          "%s %s: got '%s' %s, expected '%s'", br__json_str(field, "content"),
                          messages, text, err.msg, want);
        else
            ck_assert_msg(rc != BR_OK && !text, "%s %s: got '%s'", br__json_str(field, "content"),
                          messages, text);
        texts += want != NULL;
        errors += !want;
    }
    ck_assert_uint_gt(texts, 15);
    ck_assert_uint_gt(errors, 15);
    br__free(all);
}
END_TEST

static void ck_numbers(const br__json *list, const int32_t *ids, const unsigned char *mask,
                       size_t n)
{
    size_t i = 0;

    ck_assert_uint_eq(br__json_count(list), n);
    for (const br__json *e = br__json_first(list); e; e = br__json_next(e), i++)
        ck_assert_int_eq((int)br__json_num(e, -1), ids ? ids[i] : mask[i]);
}

START_TEST(what_the_assistant_says_is_marked)
{
    char *all = read_goldens(GOLDENS "/mask.jsonl"), *at = all;
    struct br_tokenizer *tok;
    struct br_chat_result r;
    struct br_ids ids = {0};
    unsigned char *mask;
    size_t rows = 0;

    ck_assert_int_eq(br_tokenizer_open(&tok, BRIDGE_TEST_DATA "/tokenizer/small", &err), BR_OK);
    while (next_golden(&at)) {
        put("chat_template.jinja", br__json_str(br__json_get(golden, "template"), NULL));
        br_chat_close(chat);
        open_chat();
        struct br_chat_request req = {.struct_size = sizeof req, .messages_json = messages};
        ck_assert_msg(br_chat_render_spans(chat, &req, &r, &err) == BR_OK, "%s", err.msg);
        ck_assert_str_eq(r.text, br__json_str(br__json_get(golden, "text"), NULL));
        ck_assert_msg(br_chat_mask(&r, tok, &ids, &mask, &err) == BR_OK, "%s", err.msg);
        ck_numbers(br__json_get(golden, "ids"), ids.p, NULL, ids.n);
        ck_numbers(br__json_get(golden, "assistant_mask"), NULL, mask, ids.n);
        br_chat_free_mask(mask);
        br_chat_free_result(&r);
        rows++;
    }
    ck_assert_uint_gt(rows, 20);
    br_ids_free(&ids);
    br_tokenizer_close(tok);
    br__free(all);
}
END_TEST

/* Where the text of a macro goes is not known when it is made. */
START_TEST(a_mask_that_would_be_wrong_is_refused)
{
    struct br_chat_request req = {.struct_size = sizeof req,
                                  .messages_json = "[{\"role\": \"user\"}]"};
    struct br_chat_result r;

    put("chat_template.jinja",
        "{% macro f() %}{% generation %}x{% endgeneration %}{% endmacro %}a{{ f() }}");
    open_chat();
    RENDERS("ax", 0);
    ck_assert_int_eq(br_chat_render_spans(chat, &req, &r, &err), BR_E_UNSUPPORTED);
    ck_assert_ptr_null(r.text);
    req.continue_field = "content";
    ck_assert_int_eq(br_chat_render_spans(chat, &req, &r, &err), BR_E_USAGE);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("chat");
    TCase *tc = tcase_create("chat");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, the_file_goes_before_the_config);
    tcase_add_test(tc, the_config_may_hold_one);
    tcase_add_test(tc, tools_choose_among_several);
    tcase_add_test(tc, more_files_are_named_by_themselves);
    tcase_add_test(tc, several_without_a_default_are_an_error);
    tcase_add_test(tc, special_tokens_are_variables);
    tcase_add_test(tc, options_may_be_absent);
    tcase_add_test(tc, null_members_of_messages_are_absent);
    tcase_add_test(tc, reasoning_has_several_names);
    tcase_add_test(tc, numbers_and_order_are_those_of_the_input);
    tcase_add_test(tc, the_date_is_the_callers);
    tcase_add_loop_test(tc, a_bad_config_is_an_error, 0, (int)BR_COUNTOF(bad));
    tcase_add_test(tc, bad_requests_are_errors);
    tcase_add_test(tc, newer_requests_are_refused);
    tcase_add_test(tc, final_messages_are_continued);
    tcase_add_test(tc, what_the_assistant_says_is_marked);
    tcase_add_test(tc, a_mask_that_would_be_wrong_is_refused);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
