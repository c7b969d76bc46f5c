/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* peft_jobs.c - adapters between Megatron's checkpoints and peft's directories, and into a model:
 * the verbs of `bridge adapter`. */
#include "ckpt.h"
#include "lora_set.h"

#include <stdarg.h>
#include <string.h>

#define ADAPTER_CONFIG "adapter_config.json"

/* What every verb opens. */
struct peft_job {
    const struct br__peft_job *o;
    struct br__arena arena;
    struct br__registry *registry;
    struct br__ckpt *model; /* its configuration; for a merge also its weights */
    struct br_config cfg;
    struct br__ckpt *megatron;
    struct br__lora_set set; /* of the checkpoint */
    struct br__adapter *adapter;
};

static int job_open(struct peft_job *j, unsigned flags, struct br_err *err)
{
    const struct br__hub_opts hub = {.listener = j->o->listener, .no_sync = j->o->no_sync};
    int rc = br__registry_open(&j->registry, j->o->plugin, err);

    if (!rc)
        rc = br__hf_open_model(&j->model, j->o->hf_model, flags, &hub, err);
    return rc ? rc : br__config_of_ckpt(&j->arena, j->registry, j->model, &j->cfg, err);
}

static void job_close(struct peft_job *j)
{
    br__adapter_close(j->adapter);
    br__lora_set_close(&j->set);
    br__ckpt_close(j->megatron);
    br__ckpt_close(j->model);
    br__registry_close(j->registry);
    br__arena_free(&j->arena);
}

/* peft adds a bias outside of what the magnitude scales; Megatron Bridge scales it, too. */
static void warn_bias(const struct peft_job *j)
{
    if (j->adapter->bias_inside)
        br__warn(j->o->listener,
                 "the magnitudes of this DoRA scale the bias of query, key and value, too, as "
                 "Megatron Bridge computes it: peft does not, and gives another model; bridge does "
                 "as adapter_config.json says, and adapter merge writes a model that is the same "
                 "everywhere");
}

/* A Megatron checkpoint in peft's form. */
static int open_megatron(struct peft_job *j, const char *dir, struct br_err *err)
{
    int rc = br__td_open(&j->megatron, dir, err);

    if (rc)
        return rc;
    j->megatron->td->no_verify = j->o->no_verify;
    rc = br__lora_set_open(&j->set, &j->cfg, err);
    if (!rc)
        rc = br__lora_set_read(&j->set, j->megatron, err);
    return rc ? rc : br__lora_set_give(&j->set, &j->adapter, err);
}

static int is_peft(struct br__arena *a, const char *dir)
{
    const char *path = br__path_join(a, dir, ADAPTER_CONFIG);

    return path && br__exists(path);
}

static void tell_done(const struct br__adapter *a, struct br__peft_done *done)
{
    done->n_tensors = a->n_sources;
    done->n_weights = a->n_pairs;
    done->dim = a->pairs[0].a->rows;
    done->dora = a->pairs[0].magnitude != NULL;
}

/* ---- export ---------------------------------------------------------------------------------- */

int br__peft_export(const struct br__peft_job *o, struct br__peft_done *done, struct br_err *err)
{
    struct peft_job j = {.o = o};
    const struct br__peft_dest dest = {o->to, o->from, ADAPTER_CONFIG, o->overwrite, !o->no_sync};
    int rc = job_open(&j, BR__HF_CONFIG_ONLY, err);

    if (!rc)
        rc = open_megatron(&j, o->from, err);
    if (!rc)
        warn_bias(&j);
    if (!rc)
        rc = br__peft_write(&dest, j.adapter, o->hf_model, err);
    if (!rc)
        tell_done(j.adapter, done);
    job_close(&j);
    return rc;
}

/* ---- import ---------------------------------------------------------------------------------- */

static const char *last_name(const char *module)
{
    const char *dot = strrchr(module, '.');
    return dot ? dot + 1 : module;
}

/* What names a linear among target_modules: the last part of its name, or, where a linear of the
 * same last part has no adapter, a pattern of what follows the layer's number. */
static const char *module_pattern(struct br__arena *a, const struct br__lora_set *s,
                                  const struct br__lora_linear *l)
{
    const char *last = last_name(l->module), *layer = strstr(l->module, ".layers.");
    int alone = 1;

    for (size_t i = 0; i < s->n; i++)
        alone &= s->list[i].a || strcmp(last_name(s->list[i].module), last) != 0;
    if (alone || !layer)
        return last;
    layer += strlen(".layers.");
    return br__arena_printf(a, "\"*%s\"", layer + strspn(layer, "0123456789"));
}

/* Each once. */
static int put_modules(struct br__arena *a, const struct br__lora_set *s, struct br__buf *out)
{
    const char *seen[64];
    size_t n = 0;

    for (size_t i = 0; i < s->n; i++) {
        const char *name = s->list[i].a ? module_pattern(a, s, &s->list[i]) : "";
        size_t k = 0;
        if (!name)
            return BR_E_NOMEM;
        while (k < n && strcmp(seen[k], name) != 0)
            k++;
        if (!*name || k < n || n == BR_COUNTOF(seen))
            continue;
        seen[n++] = name;
        br__buf_printf(out, "  - %s\n", name);
    }
    return out->failed;
}

/* run_config.yaml of the model with the adapter's section in place of none. */
static int import_config(struct peft_job *j, struct br__buf *out, struct br_err *err)
{
    static const char none[] = "\npeft: null\n";
    const struct br__run_config_opts o = {.hf_model_id = j->o->hf_model, .save = j->o->to};
    struct br__buf b = {0};
    int rc = br__run_config_text(&b, &j->cfg, &o, err);
    const char *at = rc ? NULL : strstr(b.p, none);

    if (!rc && !at)
        BR_BUG("run_config.yaml has no section peft");
    if (!rc) {
        br__buf_put(out, b.p, (size_t)(at - b.p));
        br__buf_printf(out, "\npeft:\n  _target_: megatron.bridge.peft.%s\n  alpha: ",
                       j->set.dora ? "dora.DoRA" : "lora.LoRA");
        br__peft_put_alpha(out, j->set.alpha);
        br__buf_printf(out,
                       "\n  dim: %lld\n  dropout: 0.0\n  dropout_position: pre\n"
                       "  exclude_modules: []\n%s  target_modules:\n",
                       (long long)j->set.dim,
                       br__lora_set_is_shared(&j->set) ? "" : "  share_expert_adapters: false\n");
        if (put_modules(&j->arena, &j->set, out))
            rc = br__nomem(err, "for run_config.yaml");
        br__buf_puts(out, at + strlen(none));
        br__buf_putc(out, '\0');
    }
    br__buf_free(&b);
    return rc;
}

static int import_may_write(struct peft_job *j, struct br_err *err)
{
    char **names;
    size_t n = 0;
    const char *iteration;
    int rc = br__path_overlap(&j->arena, j->o->from, j->o->to, err);

    if (!rc && br__is_dir(j->o->to))
        rc = br__list_dir(&j->arena, j->o->to, &names, &n, err);
    if (!rc && n && !j->o->overwrite)
        rc = br_fail(err, BR_E_EXISTS, "'%s' is not empty; --overwrite replaces its checkpoint",
                     j->o->to);
    if (!rc && n)
        rc = br__td_resolve(&j->arena, j->o->to, &iteration, err);
    return rc;
}

static int import_write(struct peft_job *j, struct br_err *err)
{
    struct br__buf config = {0};
    struct br__live *list;
    struct br__saver *saver = NULL;
    const char *const extra[1][2] = {
        {BR__DORA_BIAS, j->set.bias_inside ? "'inside'" : "'outside'"}};
    const struct br__saved now = {.extra = extra, .n_extra = (size_t)j->set.dora};
    struct br__saver_opts o = {.root = j->o->to,
                               .weights_only = 1,
                               .model = {.cfg = &j->cfg, .dtype = j->set.dtype, .adapters = 1},
                               .hf_model = j->o->hf_model,
                               .tokenizer_dir = j->model->dir,
                               .threads = j->o->threads,
                               .no_sync = j->o->no_sync,
                               .listener = j->o->listener};
    int rc = br__lora_set_tensors(&j->set, &j->arena, &list, &o.model.n, err);

    if (!rc)
        rc = import_config(j, &config, err);
    if (!rc) {
        o.model.list = list;
        o.run_config = config.p;
        rc = br__saver_open(&saver, &o, err);
    }
    if (!rc)
        rc = br__saver_save(saver, &now, 0, err);
    br__saver_close(saver);
    br__buf_free(&config);
    return rc;
}

int br__peft_import(const struct br__peft_job *o, struct br__peft_done *done, struct br_err *err)
{
    struct peft_job j = {.o = o};
    int rc = job_open(&j, BR__HF_CONFIG_ONLY, err);

    if (!rc)
        rc = br__adapter_open(&j.adapter, o->from, err);
    if (!rc)
        rc = br__lora_set_open(&j.set, &j.cfg, err);
    if (!rc)
        rc = br__lora_set_take(&j.set, j.adapter, err);
    if (!rc && j.set.blocks > 1)
        br__note(
            j.o->listener,
            "weights of one fused linear have different lora_A: they stand one below the other "
            "in its own, with zeros in B; the adapter is the same, of rank %lld in place of %lld",
            (long long)j.set.dim, (long long)(j.set.dim / j.set.blocks));
    if (!rc)
        rc = import_may_write(&j, err);
    if (!rc)
        rc = import_write(&j, err);
    if (!rc)
        tell_done(j.adapter, done);
    job_close(&j);
    return rc;
}

/* ---- merge ----------------------------------------------------------------------------------- */

int br__peft_merge(const struct br__peft_job *o, struct br__peft_done *done, struct br_err *err)
{
    struct peft_job j = {.o = o};
    int rc = job_open(&j, 0, err);
    const struct br__peft_dest dest = {o->to, rc ? NULL : j.model->dir, "config.json", o->overwrite,
                                       !o->no_sync};

    if (!rc)
        rc = is_peft(&j.arena, o->from) ? br__adapter_open(&j.adapter, o->from, err)
                                        : open_megatron(&j, o->from, err);
    if (!rc)
        rc = br__peft_write_merged(&dest, j.model, j.adapter, o, err);
    if (!rc)
        tell_done(j.adapter, done);
    job_close(&j);
    return rc;
}

/* ---- verify ---------------------------------------------------------------------------------- */

struct differ {
    const struct br__peft_job *o;
    size_t n;
};

static void BR_PRINTF(2, 3) differs(struct differ *d, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    d->n++;
    if (d->o->line)
        d->o->line(d->o->ud, text);
}

static int is_zero(const struct br__source *s)
{
    const unsigned char *p = s->data;
    size_t n = (size_t)(s->rows * s->cols) * br_dtype_size(s->dtype);

    while (n && !p[n - 1])
        n--;
    return !n;
}

static void compare_source(struct differ *d, const struct br__source *x, const struct br__source *y)
{
    char a[64], b[64];

    if (!x || !y)
        return;
    if (x->dtype != y->dtype || x->rows != y->rows || x->cols != y->cols)
        differs(d, "%s: %s %s, in peft's %s %s", y->name, br_dtype_torch(x->dtype),
                br__shape_str(x->shape, x->ndim, a, sizeof a), br_dtype_torch(y->dtype),
                br__shape_str(y->shape, y->ndim, b, sizeof b));
    else if (memcmp(x->data, y->data, (size_t)(x->rows * x->cols) * br_dtype_size(x->dtype)) != 0)
        differs(d, "%s: the values differ", y->name);
}

/* x: Megatron's, in peft's form; y: peft's.  A fused linear of which peft adapts a part has zeros
 * in the rest of B, which is the same adapter. */
static void compare_adapters(struct differ *d, const struct br__adapter *x,
                             const struct br__adapter *y)
{
    if (x->bias_inside != y->bias_inside)
        differs(d, "the magnitudes of %s alone scale the bias, too",
                x->bias_inside ? "the Megatron checkpoint" : "peft's directory");
    for (size_t i = 0; i < y->n_pairs; i++)
        if (!br__adapter_find(x, y->pairs[i].target))
            differs(d, "%s: only peft's directory has an adapter of it", y->pairs[i].target);
    for (size_t i = 0; i < x->n_pairs; i++) {
        const struct br__adapter_pair *p = &x->pairs[i], *q = br__adapter_find(y, p->target);
        if (!q && (p->magnitude || !is_zero(p->b)))
            differs(d, "%s: only the Megatron checkpoint has an adapter of it", p->target);
        if (!q)
            continue;
        if (p->scaling != q->scaling)
            differs(d, "%s: alpha / r is %g, in peft's %g", p->target, (double)p->scaling,
                    (double)q->scaling);
        if (!p->magnitude != !q->magnitude)
            differs(d, "%s: only %s is DoRA", p->target,
                    p->magnitude ? "the Megatron checkpoint" : "peft's directory");
        compare_source(d, p->a, q->a);
        compare_source(d, p->b, q->b);
        compare_source(d, p->magnitude, q->magnitude);
    }
}

int br__peft_verify(const struct br__peft_job *o, struct br__peft_done *done, struct br_err *err)
{
    struct peft_job j = {.o = o};
    struct differ d = {.o = o};
    struct br__adapter *peft = NULL;
    int rc = job_open(&j, BR__HF_CONFIG_ONLY, err);

    if (!rc)
        rc = open_megatron(&j, o->from, err);
    if (!rc)
        rc = br__adapter_open(&peft, o->to, err);
    if (!rc) {
        compare_adapters(&d, j.adapter, peft);
        tell_done(peft, done);
        if (d.n)
            rc = br_fail(err, BR_E_DIFF, "%zu difference(s) between '%s' and '%s'", d.n, o->from,
                         o->to);
    }
    br__adapter_close(peft);
    job_close(&j);
    return rc;
}
