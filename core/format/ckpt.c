/* ckpt.c - one reader in front of both formats: dispatch, lookup, ownership.
 *
 * Callers see tensors of a struct br__ckpt and never ask where the bytes lie: a Hugging Face
 * tensor is one range of one file, a torch_dist tensor is gathered from its chunks. */
#include "format.h"

#include <inttypes.h>

int br__ckpt_open(struct br__ckpt **out, const char *dir, struct br_err *err)
{
    struct br__arena scratch = {0};
    const char *iter_dir;

    *out = NULL;
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

void br__ckpt_close(struct br__ckpt *ck)
{
    if (!ck)
        return;
    for (size_t i = 0; ck->files && i < ck->n_files; i++) /* an invented one has names only */
        br__file_close(&ck->files[i]);
    br__hub_close(ck->hub);
    if (ck->hf) {
        br__free(ck->hf->config_text);
        br__free(ck->hf->generation_text);
    }
    if (ck->td)
        br__free(ck->td->run_config_text);
    br__map_free(&ck->by_name);
    br__free(ck->warnings);
    br__arena_free(&ck->arena);
    br__free(ck);
}

int br__ckpt_read(const struct br__ckpt *ck, const struct br__tensor *t, uint64_t off, void *dst,
                  size_t n, struct br_err *err)
{
    int rc;

    if (off > t->bytes || n > t->bytes - off)
        BR_BUG("read of %zu bytes at %" PRIu64 " of tensor '%s', which has %" PRIu64, n, off,
               t->name, t->bytes);
    if (n == 0)
        return BR_OK;
    if (ck->format == BR__FMT_TORCH_DIST)
        return br__td_read(ck, t, off, dst, n, err);
    if (t->file >= ck->n_files)
        return br_fail(err, BR_E_UNSUPPORTED,
                       "tensor '%s' was made up from a configuration and has no bytes", t->name);
    rc = br__file_read(&ck->files[t->file], t->offset + off, dst, n, err);
    if (rc)
        br_wrap(err, "tensor '%s'", t->name);
    return rc;
}

const struct br__tensor *br__ckpt_find(const struct br__ckpt *ck, const char *name)
{
    uint32_t i = br__map_get(&ck->by_name, name);

    return i == BR__NOT_FOUND ? NULL : &ck->tensors[i];
}

int br__ckpt_warn(struct br__ckpt *ck, const char *fmt, ...)
{
    struct br__buf b = {0};
    char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    br__buf_vprintf(&b, fmt, ap);
    va_end(ap);
    if (!b.failed)
        text = br__arena_strndup(&ck->arena, b.p, b.n);
    br__buf_free(&b);
    if (!text || br__grow(&ck->warnings, &ck->cap_warnings, ck->n_warnings, sizeof *ck->warnings))
        return BR_E_NOMEM;
    ck->warnings[ck->n_warnings++] = text;
    return BR_OK;
}
