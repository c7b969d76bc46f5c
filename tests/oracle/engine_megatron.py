# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""engine_megatron.py BRIDGE FAMILY_DIR

What `bridge logits` and `bridge generate` make of directories that the real Megatron wrote is what transformers makes of
the Hugging Face model in the same folder.  Padded vocabularies count only up to the model's own size."""
import glob
import os
import sys
import tempfile

from engine_lib import LOGITS, check, check_greedy, engine, finish, load, logits, tokens, worst


def main():
    program, family = sys.argv[1:3]
    model = load(f"{family}/hf")
    vocab, kind = model.config.vocab_size, model.config.model_type
    directories = sorted(glob.glob(f"{family}/torch_dist*"))
    with tempfile.TemporaryDirectory() as work:
        os.environ["TMPDIR"] = work
        for d in directories:
            name, source = os.path.basename(d), ("--megatron-path", d)
            for n in (7, 90):
                ids = tokens(n, vocab, n)
                got, want = engine(program, source, ids, "--dtype", "float32")["logits"], logits(model, ids)
                check(got.shape == want.shape, f"{name} {n} tokens: logits {list(got.shape)}")
                diff = worst(got, want)
                check(diff <= LOGITS.get(kind, 1e-4), f"{name} {n} tokens: logits differ by {diff:.2e}")
            check_greedy(program, name, source, model, tokens(11, vocab, 3), 16)
    check(directories, f"{len(directories)} directories")
    finish()


main()
