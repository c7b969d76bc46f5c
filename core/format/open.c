/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* open.c - which format a checkpoint has.  A third format is one more question here. */
#include "hf.h"
#include "torchdist/torchdist.h"

int br__ckpt_open(struct br__ckpt **out, const char *dir, struct br_err *err)
{
    struct br__arena scratch = {0};
    const char *iter_dir;

    *out = NULL;
    if (br__exists(dir) && !br__is_dir(dir))
        return br__hf_open_file(out, dir, err);
    int rc = br__td_resolve(&scratch, dir, &iter_dir, err);
    br__arena_free(&scratch);
    if (!rc)
        return br__td_open(out, dir, err);
    if (rc != BR_E_NOTFOUND)
        return rc;
    rc = br__hf_open(out, dir, 0, err);
    if (rc == BR_E_NOTFOUND && br__is_dir(dir))
        br_wrap(err, "no torch_dist checkpoint (.metadata), and as Hugging Face");
    return rc;
}
