# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""train_adapter.py BRIDGE MODEL CHECKPOINT WORK

An adapters-only Megatron checkpoint, exported by `bridge adapter export`: real peft loads it without a missing or
unexpected key, and gives the logits of bridge, with the adapter beside the weights, merged by peft, and merged by
`bridge adapter merge`.  What peft cannot say, a magnitude that scales the bias as well, as Megatron Bridge's DoRA does, is
put into the biases of its model first."""
import json
import os
import shutil
import sys
import warnings

from peft import PeftModel
from safetensors.torch import load_file

from engine_lib import bridge, check, engine, finish, load, logits, stored_names, tokens, worst

program, base, checkpoint, work = sys.argv[1:5]


def scale_biases(model):
    """By magnitude / length of the row, as the weights are scaled."""
    n = 0
    for m in model.modules():
        if getattr(m, "lora_magnitude_vector", None) and m.base_layer.bias is not None:
            rows = (m.base_layer.weight.data + m.get_delta_weight("default")).norm(dim=1)
            m.base_layer.bias.data *= m.lora_magnitude_vector["default"].weight.data / rows
            n += 1
    return n


def main():
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    os.environ["TMPDIR"] = work
    peft, merged = f"{work}/peft", f"{work}/merged"
    bridge(program, "adapter", "export", checkpoint, peft, "--hf-model", base)
    bridge(program, "adapter", "verify", checkpoint, peft, "--hf-model", base)
    bridge(program, "adapter", "merge", checkpoint, merged, "--hf-model", base)
    plain = load(base)
    ids = tokens(41, plain.config.vocab_size, 3)
    before = logits(plain, ids)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model = PeftModel.from_pretrained(plain, peft).eval()
    check(not any("adapter keys" in str(w.message) for w in told), "no adapter key is missing or left over")
    stored = load_file(f"{peft}/adapter_model.safetensors")
    held = {k: v for k, v in model.state_dict().items() if "lora_" in k}
    fused = any(".experts." in k for k in stored)  # peft holds the experts of a layer in one pair for two weights
    check(fused or len(held) == len(stored), f"peft holds {len(held)} tensors, the file has {len(stored)}")
    with open(f"{peft}/adapter_config.json") as f:
        if json.load(f).get("bridge_dora_bias_inside"):
            outside, n = logits(model, ids), scale_biases(model)
            d = worst(logits(model, ids), outside)
            check(n > 0 and d > 1e-2, f"{n} scaled biases change logits by {d:.1e}")
    want = logits(model, ids)
    effect = worst(want, before)
    check(effect > 1e-3, f"the adapter changes logits by {effect:.1e}")
    source = ("--hf-model", base)
    flags = ["--dtype", "float32", "--adapter", peft]
    d = worst(engine(program, source, ids, *flags)["logits"], want)
    check(d < 1e-4, f"beside the weights, logits differ by {d:.1e}")
    d = worst(engine(program, source, ids, "--merge-adapter", *flags)["logits"], want)
    check(d < 1e-4, f"merged when it is read, logits differ by {d:.1e}")
    # What is written has the dtype of the model's files: compare files with files.
    d = worst(engine(program, ("--hf-model", merged), ids, "--dtype", "float32")["logits"], logits(load(merged), ids))
    check(d < 1e-4, f"merged files, logits differ by {d:.1e}")
    # peft merges in float32; bridge's files are rounded once to their dtype, at most by half a unit of bfloat16.
    theirs, ours = stored_names(model.merge_and_unload().state_dict(), {}), load_file(f"{merged}/model.safetensors")
    off = max(((t.float() - theirs[k]).abs() - 2**-8 * theirs[k].abs()).max().item() for k, t in ours.items())
    check(off < 1e-6, f"files that bridge merged are peft's weights, rounded; more than that: {off:.1e}")
    finish()


main()
