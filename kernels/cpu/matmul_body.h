/* matmul_body.h - matrix products with stored weights. */

void BR__FN(matmul)(const struct br_call *c)
{
    const struct br_tensor *x = &c->in[0], *w = &c->in[1], *out = &c->out;
    struct br__share s = br__share(c, out->shape[1]);
    for (int64_t n; br__share_next(&s, &n);)
        for (int64_t t = 0; t < out->shape[0]; t++) {
            const float *a = (const float *)x->data + t * x->stride[0];
            float sum = 0;
            for (int64_t k = 0; k < x->shape[1]; k++) {
                const char *p = (const char *)w->data;
                int64_t at = n * w->stride[0] + k;
                sum += a[k] * (w->dtype == BR_F32    ? ((const float *)(const void *)p)[at]
                               : w->dtype == BR_BF16 ? s_bf16(((const uint16_t *)(const void *)p)[at])
                                                     : s_f16(((const uint16_t *)(const void *)p)[at]));
            }
            ((float *)out->data)[t * out->stride[0] + n] = sum;
        }
}
