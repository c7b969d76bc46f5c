# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""train_resume.py run ORACLE CASE OUT [elsewhere] | compare CASE OUT LOG OURS THEIRS

run: the real Megatron Bridge goes on from OUT/ckpt, a training checkpoint that bridge wrote, with optimizer, scheduler
and generators (as rng_seed leaves them), to the end of CASE, and writes OUT/steps_resume.json and a checkpoint
OUT/final.  ORACLE is the folder with train/run_case.py.  elsewhere: other ranks wrote it, and Megatron Bridge then leaves the
generators alone.  compare: its losses, gradient norms, learning rates and final weights (THEIRS, exported to Hugging
Face) against those of bridge, which went on from the same checkpoint (LOG, OURS).
"""
import json
import os
import random
import sys


def watch(module, name, seen):
    """What Megatron sets a generator to."""
    original = getattr(module, name)

    def setter(state):
        seen.append(state)
        return original(state)
    setattr(module, name, setter)


def check_generators(seed, python, numpy_states, torch_states):
    import numpy
    import torch
    want = numpy.random.RandomState(seed).get_state()
    assert random.Random(seed).getstate() in python, f"Python's generator is not that of seed {seed}"
    assert any(s[0] == want[0] and (s[1] == want[1]).all() and s[2:] == want[2:] for s in numpy_states), "numpy's generator"
    assert any(torch.equal(s, torch.Generator().manual_seed(seed).get_state()) for s in torch_states), "torch's generator"
    print(f"the generators of seed {seed} were loaded")


def run(oracle, case, out, elsewhere=None):
    sys.path[:0] = [os.path.join(oracle, "train"), oracle]
    import te_cpu  # noqa: F401  replaces the kernels; comes before Megatron
    from megatron.bridge.training import finetune, pretrain

    def saving(original):
        def with_final(cfg, *args, **kwargs):
            cfg.checkpoint.save = os.path.join(out, "final")
            cfg.checkpoint.save_interval = cfg.train.train_iters
            return original(cfg, *args, **kwargs)
        return with_final

    import numpy
    import torch
    python, numpy_states, torch_states = [], [], []
    watch(random, "setstate", python)
    watch(numpy.random, "set_state", numpy_states)
    watch(torch, "set_rng_state", torch_states)
    pretrain.pretrain = saving(pretrain.pretrain)
    finetune.finetune = saving(finetune.finetune)
    import run_case
    os.chdir(case)
    sys.argv = ["run_case.py", "case.json", out, "--resume"]
    run_case.main()
    if elsewhere:
        return
    with open("case.json") as f:
        check_generators(json.load(f).get("rng_seed", 1234), python, numpy_states, torch_states)


def tensors(directory):
    from safetensors.numpy import load_file
    name, = (n for n in os.listdir(directory) if n.endswith("model.safetensors"))
    return load_file(os.path.join(directory, name))


def compare(case, out, log, ours, theirs):
    with open(os.path.join(case, "case.json")) as f:
        c = json.load(f)
    with open(os.path.join(out, "steps_resume.json")) as f:
        steps = json.load(f)["steps"]
    with open(log) as f:
        lines = {x["iteration"]: x for x in map(json.loads, f) if "split" not in x}
    assert steps, "no steps"
    bf16, grad = c["prec"] == "bf16", 1e-3 if "next" in c["family"] else 1e-5
    loss_tol = (2e-2 if "moe" in c["family"] else 6e-3) if bf16 else 1e-5
    worst = 0
    for s in steps:
        x = lines[s["step"]]
        d = abs(x["lm_loss"] - s["losses"]["lm loss"])
        worst = max(worst, d)
        assert d <= loss_tol, (s["step"], x["lm_loss"], s["losses"])
        assert x["learning_rate"] == s["lr_used"][0], (s["step"], x["learning_rate"], s["lr_used"])
        if not bf16:
            assert abs(x["grad_norm"] - s["grad_norm"]) <= grad * s["grad_norm"], (s["step"], x["grad_norm"], s["grad_norm"])
    print(f"{len(steps)} steps from {steps[0]['step']}: losses within {worst:.2g}")
    if bf16:
        return
    a, b = tensors(ours), tensors(theirs)
    assert a.keys() == b.keys(), a.keys() ^ b.keys()
    far = max(abs(a[k].astype("f8") - b[k].astype("f8")).max() for k in a)
    assert far <= 5e-5, far
    print(f"{len(a)} final weights within {far:.2g}")


if __name__ == "__main__":  # saving a checkpoint starts a process that imports this file again
    {"run": run, "compare": compare}[sys.argv[1]](*sys.argv[2:])
