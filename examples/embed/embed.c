/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* embed DIRECTORY PROMPT - two continuations at once, the most likely one and one that is drawn. */
#include <bridge/llm.h>
#include <bridge/tokenizer.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    struct br_err err = BR_ERR_INIT;
    struct br_llm_opts opts = BR_LLM_INIT;
    struct br_gen_request likely = BR_GEN_INIT, drawn;
    struct br_gen_token tokens[2];
    struct br_tokenizer *tok = NULL;
    struct br_llm *model = NULL;
    struct br_gen *gen = NULL;
    struct br_ids prompt = {0};
    uint64_t id;
    size_t n = 1;
    if (argc != 3)
        return fprintf(stderr, "usage: embed DIRECTORY PROMPT\n"), 2;
    opts.hf_model = argv[1];
    int rc = br_llm_open(&model, &opts, &err) || br_tokenizer_open(&tok, argv[1], &err) ||
             br_tokenizer_encode(tok, argv[2], strlen(argv[2]), 0, &prompt, &err) ||
             br_gen_begin(&gen, model, 2, prompt.n + 16, &err);
    likely.prompt = prompt.p, likely.n_prompt = prompt.n;
    likely.logprobs = 1, likely.max_new_tokens = 16;
    drawn = likely;
    drawn.temperature = 0.8;
    rc = rc || br_gen_add(gen, &likely, &id, &err) || br_gen_add(gen, &drawn, &id, &err);
    while (!rc && !(rc = br_gen_step(gen, tokens, 2, &n, &err)) && n)
        for (size_t i = 0; i < n; i++)
            printf("sequence %d: id %d, log p %.3f\n", (int)tokens[i].sequence, tokens[i].id,
                   tokens[i].logprob);
    if (rc)
        fprintf(stderr, "embed: %s\n", err.msg);
    br_gen_end(gen);
    br_ids_free(&prompt);
    br_tokenizer_close(tok);
    br_llm_close(model);
    return rc;
}
