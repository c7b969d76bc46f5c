/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cmd_plan.c - plan and --dry-run: what a job would do, tensor by tensor, from headers alone. */
#include "cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- inputs of each output ------------------------------------------------------------------- */

/* Which source tensors make which outputs: inputs[first[o] .. first[o + 1]) are those of output o,
 * ascending. */
struct inputs {
    uint32_t *of; /* source tensor indices */
    size_t *first;
};

struct edge {
    uint32_t out, src;
};

static int by_out_then_src(const void *x, const void *y)
{
    const struct edge *a = x, *b = y;

    if (a->out != b->out)
        return a->out < b->out ? -1 : 1;
    return a->src < b->src ? -1 : a->src > b->src;
}

/* One edge per segment, less repeats that follow each other (heads of one tensor). */
static size_t plan_collect(const struct br__plan *p, struct edge *edges)
{
    size_t n = 0;

    for (size_t i = 0; i < p->n_pieces; i++) {
        const struct br__piece *piece = &p->pieces[i];
        for (size_t s = piece->first_seg; s < piece->first_seg + piece->n_segs; s++) {
            struct edge f = {piece->out, p->segs[s].src};
            if (f.src == BR__SRC_ZERO || (n && !memcmp(&edges[n - 1], &f, sizeof f)))
                continue;
            edges[n++] = f;
        }
    }
    return n;
}

static int inputs_make(struct br__arena *a, const struct br__plan *p, struct inputs *in)
{
    struct edge *edges = br__alloc(p->n_segs * sizeof *edges);
    size_t n = edges ? plan_collect(p, edges) : 0, used = 0;

    in->of = br__arena_alloc(a, n * sizeof *in->of + 1);
    in->first = br__arena_alloc(a, (p->n_outs + 1) * sizeof *in->first);
    if (!edges || !in->of || !in->first) {
        br__free(edges);
        return BR_E_NOMEM;
    }
    qsort(edges, n, sizeof *edges, by_out_then_src);
    for (size_t i = 0; i < n; i++) {
        if (i && !memcmp(&edges[i - 1], &edges[i], sizeof *edges))
            continue;
        in->first[edges[i].out + 1]++;
        in->of[used++] = edges[i].src;
    }
    for (size_t o = 0; o < p->n_outs; o++)
        in->first[o + 1] += in->first[o];
    br__free(edges);
    return BR_OK;
}

/* ---- the parts that text and JSON share ------------------------------------------------------ */

static const struct br_map *rule_of(const struct br__plan *p, const struct br__plan_out *o)
{
    return &p->b.cfg->arch->maps[o->rule];
}

/* The rule's Hugging Face side, in the layout that this plan uses. */
static const char *hf_pattern(const struct br__plan *p, const struct br_map *m)
{
    return p->b.fused && m->hf_fused ? m->hf_fused : m->hf;
}

static uint64_t out_bytes(const struct br__plan_out *o)
{
    uint64_t n;

    return br_shape_bytes(o->shape, o->ndim, br_dtype_size(o->dtype), &n) ? 0 : n;
}

/* Peak private memory of the job: tables, and for each worker a buffer to read into, one to convert
 * in and one to write from.  Mapped files belong to the page cache. */
static uint64_t peak_memory(const struct br__session *s)
{
    const uint64_t runtime = 4u << 20; /* libc, libcrypto, thread stacks in use */
    int threads = s->job.threads ? s->job.threads : br__cpu_count();
    uint64_t n = runtime + s->arena.total + s->plan->arena.total + s->src->arena.total +
                 3 * (uint64_t)BR__OUT_BUF * (uint64_t)threads;

    return s->ref ? n + s->ref->arena.total : n;
}

static const char *plan_destination(const struct br_job *job, int direction)
{
    return direction == BR__IMPORT ? job->megatron_path : job->hf_path;
}

static const char *plan_source(const struct br_job *job, int direction)
{
    if (direction == BR__EXPORT)
        return job->megatron_path;
    return job->config_file ? job->config_file : job->hf_model;
}

static void plan_remarks(struct br__report *r, const struct br__plan *p)
{
    for (size_t i = 0; i < p->b.n_notes; i++)
        br__report_note(r, "%s", p->b.notes[i]);
    for (size_t i = 0; i < p->b.n_skipped; i++)
        br__report_warning(r, "skipped: %s", p->b.skipped[i]);
    for (size_t i = 0; i < p->b.src->n_warnings; i++)
        br__report_warning(r, "%s", p->b.src->warnings[i]);
}

/* ---- text ------------------------------------------------------------------------------------ */

static void plan_row(struct br__table *t, const struct br__plan *p, const struct inputs *in,
                     size_t i)
{
    const struct br__plan_out *o = &p->outs[i];
    const struct br_map *m = rule_of(p, o);
    size_t n = in->first[i + 1] - in->first[i];
    char shape[160], bytes[32], from[512];

    if (n == 1)
        snprintf(from, sizeof from, "%s", p->b.src->tensors[in->of[in->first[i]]].name);
    else
        snprintf(from, sizeof from, "%zu x %s", n,
                 p->direction == BR__IMPORT ? hf_pattern(p, m) : m->mcore);
    br__table_row(t, o->name, br_dtype_torch(o->dtype),
                  br__shape_str(o->shape, o->ndim, shape, sizeof shape),
                  br__human_bytes(out_bytes(o), bytes), br__exactness_text(o->exactness),
                  br__layout_name(m->layout), m->mcore, from);
}

static int plan_wide(const struct br__plan *p, const struct inputs *in, struct br_err *err)
{
    struct br__table t = {.cols = 8};

    br__table_row(&t, "tensor", "dtype", "shape", ">bytes", "exactness", "layout", "rule",
                  "inputs");
    for (size_t i = 0; i < p->n_outs; i++)
        plan_row(&t, p, in, i);
    return br__table_print(&t, err);
}

/* What a rule gives: its tensors, of which one stands for the shape and dtype of all. */
struct rule_sum {
    size_t n, first;
    uint64_t bytes;
    int mixed; /* other shapes, dtypes or exactness */
};

static void add_to_sum(struct rule_sum *s, const struct br__plan *p, size_t i)
{
    const struct br__plan_out *o = &p->outs[i], *f = s->n ? &p->outs[s->first] : o;

    if (!s->n)
        s->first = i;
    s->mixed |= o->dtype != f->dtype || o->exactness != f->exactness || o->ndim != f->ndim ||
                memcmp(o->shape, f->shape, (size_t)o->ndim * sizeof *o->shape) != 0;
    s->n++;
    s->bytes += out_bytes(o);
}

/* Three lines a rule, for 80 columns. */
static void print_rule(const struct br__plan *p, const struct br_map *m, const struct rule_sum *s)
{
    const struct br__plan_out *o = &p->outs[s->first];
    int importing = p->direction == BR__IMPORT;
    char shape[160], bytes[32];

    br__say(stdout, "%s", importing ? m->mcore : hf_pattern(p, m));
    br__say(stdout, "    %s of %s", br__layout_name(m->layout),
            importing ? hf_pattern(p, m) : m->mcore);
    br__say(stdout, "    %zu tensor%s, %s %s%s, %s, %s", s->n, s->n == 1 ? "" : "s",
            br_dtype_torch(o->dtype), br__shape_str(o->shape, o->ndim, shape, sizeof shape),
            s->mixed ? " and others" : "", br__human_bytes(s->bytes, bytes),
            br__exactness_text(o->exactness));
}

static int plan_by_rule(struct br__arena *a, const struct br__plan *p, struct br_err *err)
{
    uint32_t n = p->b.cfg->arch->n_maps;
    struct rule_sum *sums = br__arena_alloc(a, (n + 1) * sizeof *sums);

    if (!sums)
        return br__nomem(err, "printing the plan");
    memset(sums, 0, (n + 1) * sizeof *sums);
    for (size_t i = 0; i < p->n_outs; i++)
        add_to_sum(&sums[p->outs[i].rule], p, i);
    for (uint32_t r = 0; r < n; r++)
        if (sums[r].n)
            print_rule(p, &p->b.cfg->arch->maps[r], &sums[r]);
    return BR_OK;
}

static void plan_summary(const struct br__session *s, const struct br_job *job, int direction)
{
    const struct br__plan *p = s->plan;
    const char *dest = plan_destination(job, direction);
    size_t count[BR__ROUNDED + 1] = {0};
    char bytes[32], memory[32];

    for (size_t i = 0; i < p->n_outs; i++)
        count[p->outs[i].exactness]++;
    putchar('\n');
    br__say(stdout, "%s of %s (%s): %zu tensors -> %zu tensors, %s%s%s",
            direction == BR__IMPORT ? "import" : "export", plan_source(job, direction),
            s->arch->hf_class, p->b.src->n_tensors, p->n_outs, br__human_bytes(p->out_bytes, bytes),
            dest ? " to " : "", dest ? dest : "");
    for (int e = 0; e <= BR__ROUNDED; e++)
        if (count[e])
            br__say(stdout, "  %zu tensors: %s", count[e], br__exactness_text(e));
    br__say(stdout, "  peak private memory: about %s", br__human_bytes(peak_memory(s), memory));
}

static int plan_text(struct br__cli *c, struct br__report *r, const struct br__session *s,
                     const struct br_job *job, const struct inputs *in, struct br_err *err)
{
    const struct br__plan *p = s->plan;
    int rc = BR__FLAG(c, WIDE) ? plan_wide(p, in, err) : plan_by_rule(&c->arena, p, err);
    if (rc)
        return rc;
    plan_summary(s, job, p->direction);
    fflush(stdout);
    plan_remarks(r, p);
    return BR_OK;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void plan_out_json(struct br__js *j, const struct br__plan *p, const struct inputs *in,
                          size_t i)
{
    const struct br__plan_out *o = &p->outs[i];
    const struct br_map *m = rule_of(p, o);

    br__js_object(j, NULL, BR__JS_INLINE);
    br__js_str(j, "name", o->name);
    br__js_str(j, "dtype", br_dtype_torch(o->dtype));
    br__js_shape(j, "shape", o->shape, o->ndim);
    br__js_u64(j, "bytes", out_bytes(o));
    br__js_str(j, "exactness", br__exactness_text(o->exactness));
    br__js_str(j, "layout", br__layout_name(m->layout));
    br__js_str(j, "megatron_pattern", m->mcore);
    br__js_str(j, "hf_pattern", hf_pattern(p, m));
    if (p->direction == BR__EXPORT && o->file < p->n_out_files)
        br__js_str(j, "file", p->out_files[o->file]);
    br__js_array(j, "inputs", 0);
    for (size_t k = in->first[i]; k < in->first[i + 1]; k++)
        br__js_str(j, NULL, p->b.src->tensors[in->of[k]].name);
    br__js_end(j);
    br__js_end(j);
}

static int plan_json(struct br__report *r, const struct br__session *s, const struct br_job *job,
                     const struct inputs *in, struct br_err *err)
{
    const struct br__plan *p = s->plan;
    struct br__js j = {0};

    br__js_object(&j, NULL, 0);
    br__js_str(&j, "direction", p->direction == BR__IMPORT ? "import" : "export");
    br__js_str(&j, "source", plan_source(job, p->direction));
    br__js_str(&j, "destination", plan_destination(job, p->direction));
    br__js_str(&j, "model_type", s->arch->model_type);
    br__js_str(&j, "architecture", s->arch->hf_class);
    br__js_array(&j, "tensors", 0);
    for (size_t i = 0; i < p->n_outs; i++)
        plan_out_json(&j, p, in, i);
    br__js_end(&j);
    br__js_u64(&j, "n_inputs", p->b.src->n_tensors);
    br__js_u64(&j, "n_tensors", p->n_outs);
    br__js_u64(&j, "output_bytes", p->out_bytes);
    br__js_u64(&j, "peak_private_bytes", peak_memory(s));
    br__js_strs(&j, "skipped", p->b.skipped, p->b.n_skipped);
    plan_remarks(r, p);
    br__report_json(r, &j);
    br__js_end(&j);
    return br__js_print(&j, err);
}

/* ---- the commands ---------------------------------------------------------------------------- */

int br__plan_show(struct br__cli *c, struct br__report *r, const struct br_job *job, int direction,
                  struct br_err *err)
{
    struct br__session *s;
    struct inputs in;
    struct br_job from_headers = *job;
    from_headers.flags |= BR_JOB_STREAM;
    int rc = br__session_open(&s, &from_headers, direction, err);

    br__report_end(r);
    if (rc)
        return rc;
    if (inputs_make(&c->arena, s->plan, &in))
        rc = br__nomem(err, "printing the plan");
    else
        rc = r->json ? plan_json(r, s, job, &in, err) : plan_text(c, r, s, job, &in, err);
    br__session_close(s);
    return rc;
}

static int plan_show(struct br__cli *c, int direction, struct br_err *err)
{
    struct br__report r;
    struct br_job job;

    br__report_init(&r, c);
    int rc = br__job_from_cli(c, &r, &job, err);
    if (!rc)
        rc = br__plan_show(c, &r, &job, direction, err);
    br__report_free(&r);
    return rc;
}

int br__cmd_plan_import(struct br__cli *c, struct br_err *err)
{
    if (!BR__FLAG(c, HF_MODEL) && !BR__FLAG(c, CONFIG))
        return br_fail(err, BR_E_USAGE, "'plan import' needs --hf-model ID|DIR or --config FILE");
    if (BR__FLAG(c, HF_MODEL) && BR__FLAG(c, CONFIG))
        return br_fail(err, BR_E_USAGE, "'plan import' takes --hf-model or --config, not both");
    return plan_show(c, BR__IMPORT, err);
}

int br__cmd_plan_export(struct br__cli *c, struct br_err *err)
{
    return plan_show(c, BR__EXPORT, err);
}
