# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""train_events.py RUN - TensorBoard's own reader on RUN/tb_logs: every number is that of RUN/log.jsonl, at its step."""
import json
import sys

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

run = sys.argv[1]
STEP = {"lm loss": "lm_loss", "learning-rate": "learning_rate", "grad-norm": "grad_norm", "num-zeros": "num_zeros",
        "loss-scale": "loss_scale", "load_balancing_loss": "load_balancing_loss",
        "global_load_balancing_loss": "global_load_balancing_loss", "mtp_1 loss": "mtp_1_loss",
        "tokens-per-second": "tokens_per_second", "throughput/tflops/device": "tflops"}
EVAL = {"lm loss validation": ("valid", "lm_loss"), "lm loss validation ppl": ("valid", "ppl"),
        "lm loss test": ("test", "lm_loss"), "lm loss test ppl": ("test", "ppl")}


def expected(lines):
    """{tag: [(step, value)]} of what the log has; a number that a line lacks or has as null is no event."""
    want = {}
    for line in lines:
        if "split" in line:
            pairs = [(tag, line[key]) for tag, (split, key) in EVAL.items() if split == line["split"]]
        else:
            pairs = [(tag, line.get(key)) for tag, key in STEP.items()]
        for tag, value in pairs:
            if value is not None:
                want.setdefault(tag, []).append((line["iteration"], float(np.float32(value))))
    return want


with open(f"{run}/log.jsonl") as f:
    lines = [json.loads(line) for line in f]
accumulator = EventAccumulator(f"{run}/tb_logs", size_guidance={"scalars": 0})
accumulator.Reload()
assert accumulator.file_version == 2.0, accumulator.file_version
# Files are read by name, and those of two parts of a run that begin in one second have no order: sorted.
got = {tag: sorted((e.step, e.value) for e in accumulator.Scalars(tag)) for tag in accumulator.Tags()["scalars"]}
want = {tag: sorted(values) for tag, values in expected(lines).items()}
assert len(want["lm loss"]) >= 12 and "lm loss test" in want, {k: len(v) for k, v in want.items()}
assert got.keys() == want.keys() | {"batch-size", "iteration-time"}, got.keys() ^ want.keys()
for tag, values in want.items():
    assert [s for s, _ in got[tag]] == [s for s, _ in values], (tag, got[tag], values)
    assert np.allclose([v for _, v in got[tag]], [v for _, v in values], rtol=1e-6, atol=0), (tag, got[tag], values)
print(f"{run}: {len(got)} tags, {sum(map(len, got.values()))} events")
