# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""train_buckets.py ORACLE CASE OUT SIZE

The real Megatron Bridge runs CASE with gradient buckets of SIZE elements, as it does where reduction overlaps with the
backward pass, and writes its checkpoints to OUT/ckpt: their optimizer state is shifted, by a defect of megatron-core.
ORACLE is the folder with train/run_case.py."""
import os
import sys


def main(oracle, case, out, size):
    sys.path[:0] = [os.path.join(oracle, "train"), oracle]
    import te_cpu  # noqa: F401  replaces the kernels; comes before Megatron
    from megatron.bridge.training import pretrain

    original = pretrain.pretrain

    def bucketed(cfg, *args, **kwargs):
        cfg.ddp.overlap_grad_reduce = True
        cfg.ddp.bucket_size = int(size)
        return original(cfg, *args, **kwargs)

    pretrain.pretrain = bucketed
    import run_case
    os.chdir(case)
    sys.argv = ["run_case.py", "case.json", out]
    run_case.main()


if __name__ == "__main__":  # saving a checkpoint starts a process that imports this file again
    main(*sys.argv[1:])
