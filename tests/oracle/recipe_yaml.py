# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""recipe_yaml.py BRIDGE OUT - does the real Megatron Bridge load what `bridge recipe show --format yaml` writes?

For each recipe and mode of `bridge recipe list`: the YAML is loaded strictly by ConfigContainer.from_yaml, and every
value of `recipe show --json` that has a path in ConfigContainer must be found there.  The paths that the installed
version has no field for are listed with the reason, and nothing else may be missing.  Then Megatron Bridge prepares and
validates the configuration as its training entry does (its own checks of parallel sizes, batch, schedule, data), for
the recipe's number of processes, and the values that hold in the end must be the recipe's eff_ keys.
"""

import dataclasses
import json
import pathlib
import subprocess
import sys

import cpu_shim  # noqa: F401  Megatron without a GPU; on PYTHONPATH

import torch  # noqa: E402
from megatron.bridge.training import config as bridge_config  # noqa: E402
from megatron.bridge.training.config import ConfigContainer  # noqa: E402
from megatron.training.config.instantiate_utils import InstantiationMode  # noqa: E402

# Keys of v0.2.0 that 0.6.2 has no field for.
GONE = {
    "peft.a2a_experimental": "the option was dropped; sequence_parallel_input_regather took its place",
}


def run(*args):
    return subprocess.run(args, check=True, capture_output=True, text=True).stdout


def find(config, path):
    for part in path.split("."):
        if not hasattr(config, part):
            return False, None
        config = getattr(config, part)
    return True, config


def plain(value):
    """A loaded value as recipe show spells it."""
    if isinstance(value, torch.dtype):
        return str(value)
    if type(value).__name__ == "AttnBackend":
        return f"AttnBackend.{value.name}"
    if isinstance(value, tuple):
        return list(value)
    return value


def expected_objects(shown, path, value):
    """Keys whose value chooses a class; the class is what to look for."""
    if path == "mixed_precision" and value == "MixedPrecisionConfig(bf16)":
        return "MixedPrecisionConfig"
    return None


def check(config, shown, keys):
    wrong, gone, compared = [], [], 0
    for key in keys:
        if key["key"] not in shown:
            continue
        value = shown[key["key"]]
        for path in key["config"].split():
            found, got = find(config, path)
            owner = path.rsplit(".", 1)[0]
            if path in GONE and shown.get("peft_class") is not None:
                gone.append(path)
                continue
            if not found and (not find(config, owner)[0] or find(config, owner)[1] is None):
                continue  # no such object in this recipe: peft, comm_overlap, hf_dataset
            if not found and key["key"] in ("dataset_split", "dataset_seed", "dataset_path"):
                continue  # a field of the other kind of dataset
            compared += 1
            name = expected_objects(shown, path, value)
            same = type(got).__name__ == name if name else plain(got) == value
            if not found or not same:
                wrong.append(f"{path}: loaded {got!r}, recipe has {value!r}")
    return wrong, gone, compared


def validate(config, shown, out):
    """What Megatron Bridge makes of the configuration when training starts."""
    bridge_config.get_world_size_safe = lambda: shown["gpus"]
    if shown["mode"] != "pretrain":
        config.checkpoint.pretrained_checkpoint = str(out)  # it wants one that exists
    bridge_config.runtime_config_update(config)
    decay = config.scheduler.lr_decay_iters or config.train.train_iters
    pairs = {
        "eff_lr_decay_iters": decay,
        "eff_weight_decay": config.scheduler.end_weight_decay,
        "eff_grad_reduce_in_fp32": config.ddp.grad_reduce_in_fp32,
        "eff_pipeline_dtype": str(config.model.pipeline_dtype),
        "eff_use_distributed_optimizer": config.optimizer.use_distributed_optimizer,
    }
    if "eff_recompute_modules" in shown:
        pairs["eff_recompute_modules"] = config.model.recompute_modules
    wrong = [f"{key}: in the end {got!r}, recipe has {shown[key]!r}" for key, got in pairs.items() if got != shown[key]]
    dp = shown["gpus"] // (shown["tp"] * shown["pp"] * shown["cp"])
    if config.data_parallel_size != dp:
        wrong.append(f"data-parallel size: {config.data_parallel_size}, recipe has {dp}")
    return wrong


def main():
    bridge, out = sys.argv[1], pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    keys = json.loads(run(bridge, "recipe", "keys", "--json"))["keys"]
    failed, loaded, values, gone = 0, 0, 0, set()
    for row in json.loads(run(bridge, "recipe", "list", "--json"))["recipes"]:
        args = [row["recipe"], "--mode", row["mode"]]
        path = out / f"{row['recipe']}.{row['mode']}.yaml"
        path.write_text(run(bridge, "recipe", "show", *args, "--format", "yaml"))
        shown = json.loads(run(bridge, "recipe", "show", *args, "--json"))
        try:
            config = ConfigContainer.from_yaml(str(path), mode=InstantiationMode.STRICT)
        except Exception as e:  # the loader's own error is the finding
            print(f"{path.name}: {type(e).__name__}: {e}")
            failed += 1
            continue
        loaded += 1
        assert dataclasses.is_dataclass(config)
        wrong, absent, n = check(config, shown, keys)
        try:
            wrong += validate(config, shown, out)
        except Exception as e:  # the validator's own error is the finding
            wrong.append(f"not valid: {type(e).__name__}: {e}")
        values += n
        gone.update(absent)
        failed += bool(wrong)
        for line in wrong:
            print(f"{path.name}: {line}")
    for path in sorted(gone):
        print(f"cannot be loaded: {path}: {GONE[path]}")
    print(f"{loaded} loaded, {values} values equal, all prepared and validated but {failed}")
    sys.exit(1 if failed or loaded < 74 else 0)


if __name__ == "__main__":
    main()
