/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* scaler.c - the dynamic loss scale of float16 training.
 *
 * Hysteresis is used up by bad steps and refilled only when the scale grows: once it is used up,
 * every further bad step lowers the scale.  Source: DynamicGradScaler of megatron-core 0.19. */
#include "optim.h"
#include "train.h"

void br__scaler_update(struct br__scaler *s, int found_inf)
{
    if (found_inf) {
        s->good_steps = 0;
        s->hysteresis_left--;
        if (s->hysteresis_left <= 0)
            s->scale = BR__MAX(s->scale * s->backoff_factor, s->min_scale);
        return;
    }
    if (++s->good_steps < s->growth_interval)
        return;
    s->good_steps = 0;
    s->hysteresis_left = s->hysteresis;
    s->scale *= s->growth_factor;
}
