# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""data_random.py BRIDGE TEST_DATA OUT - Megatron core and Megatron Bridge on random seeds, lengths, splits and blends.

Writes OUT/data with the files of TEST_DATA/data and new gpt_dataset.json, gpt_samples_flags.json, blended.json, samplers.json
and packing.json, which unit.data and unit.sft compare with bridge; and lets the real IndexedDataset read what `bridge data build` wrote."""
import json
import logging
import os
import random
import shutil
import subprocess
import sys
import tempfile
import warnings

import cpu_shim  # noqa: F401  (before torch: Megatron without a GPU)
import numpy as np
import torch
from megatron.bridge.data.packing import algorithms
from megatron.bridge.data.samplers import (
    MegatronPretrainingBatchSampler,
    MegatronPretrainingRandomSampler,
    MegatronPretrainingSampler,
)
from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
from megatron.core.datasets.blended_megatron_dataset_config import (
    convert_split_vector_to_split_matrix,
    parse_and_normalize_split,
)
from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
from megatron.core.datasets.indexed_dataset import IndexedDataset
from tokenizers import Tokenizer

bridge, test_data, out = sys.argv[1:4]
data = os.path.join(out, "data")
warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
shutil.rmtree(out, ignore_errors=True)
shutil.copytree(os.path.join(test_data, "data"), data)
for name in ("gpt_dataset", "gpt_samples_flags", "blended", "samplers", "packing"):  # the recorded ones must not stand in for those that are made here
    os.remove(os.path.join(data, name + ".json"))
seed = int(os.environ.get("SEED", 4242))
rng = random.Random(seed)
NAMES = ["a_uint16", "b_int32", "c_uint16_small", "e_merged"]
KEYS = ("tokens", "labels", "loss_mask", "position_ids")
SPLITS = ("train", "valid", "test")


class Eod:
    eod = pad = 486
    vocab_size = 512
    unique_identifiers = {"class": "small"}


def build(names, weights, sizes, length, number, split, **flags):
    cache = tempfile.mkdtemp()
    config = GPTDatasetConfig(
        random_seed=number, sequence_length=length, blend=([os.path.join(data, n) for n in names], weights), split=split,
        path_to_cache=cache, num_dataset_builder_threads=1, tokenizer=Eod(), mmap_bin_files=True,
        **{"reset_position_ids": False, "reset_attention_mask": False, "eod_mask_loss": False, "create_attention_mask": False,
           **flags})
    try:
        return BlendedMegatronDatasetBuilder(GPTDataset, sizes, lambda: True, config).build()
    finally:
        shutil.rmtree(cache)


def samples(dataset, n):
    return [{k: v.tolist() for k, v in dataset[i].items() if k in KEYS} for i in range(min(n, len(dataset)))]


def lengths_of(name):
    reader = IndexedDataset(os.path.join(data, name))  # it unmaps its arrays when it goes
    return reader.sequence_lengths.copy()


def has_tokens(name, split):
    lengths = lengths_of(name)
    matrix = convert_split_vector_to_split_matrix(parse_and_normalize_split(split))
    return all(r is None or lengths[round(r[0] * len(lengths)):round(r[1] * len(lengths))].sum() > 1 for r in matrix)


def dataset_case():
    name, length, number = rng.choice(NAMES), rng.choice([5, 7, 16, 24, 33, 60]), rng.randrange(2**31)
    split = rng.choice(["900,50,50", "80,20,0", "1,1,1", "100,0,0", "6,3,1", "99,1,1"])
    sizes = [rng.choice([1, 13, 77, 300, 900]), rng.choice([1, 5, 20]), rng.choice([1, 4, 30])]
    if not has_tokens(name, split):  # Megatron would not return
        return None
    case = {"prefix": name, "seq_length": length, "seed": number, "split": split, "num_samples": sizes, "splits": {},
            "tokens": int(lengths_of(name).sum())}
    for which, d in zip(SPLITS, build([name], None, sizes, length, number, split)):
        case["splits"][which] = None if d is None else {
            "len": len(d), "document_indices_of_split": d.indices.tolist(), "document_index": d.document_index.tolist(),
            "sample_index": d.sample_index.tolist(), "shuffle_index": d.shuffle_index.tolist(), "samples": samples(d, 5)}
    return case


def flags_case():
    """Masks and positions of samples, for any combination of the flags."""
    name, length, number = rng.choice(NAMES), rng.choice([5, 17, 24, 41]), rng.randrange(2**31)
    flags = {k: rng.random() < 0.5 for k in ("reset_position_ids", "reset_attention_mask", "eod_mask_loss")}
    flags |= {"create_attention_mask": flags["reset_attention_mask"], "add_extra_token_to_sequence": rng.random() < 0.7}
    dataset = build([name], None, [20, 0, 0], length, number, "100,0,0", **flags)[0]
    case = {"flags": flags, "prefix": name, "seq_length": length, "seed": number, "num_samples": 20,
            "samples": samples(dataset, 16)}
    if flags["create_attention_mask"]:
        case["attention_mask_of_sample_0_true_is_masked"] = dataset[0]["attention_mask"].int().tolist()
    return case


def packing_case():
    """Which examples of which lengths share a row; k counts the examples of one length in file order."""
    seed, size, n = rng.randrange(2**31), rng.choice([16, 48, 64, 129, 300]), rng.randrange(1, 100)
    lengths = [rng.randrange(1, size + 1) for _ in range(n)]
    algorithm = rng.choice(["first_fit_decreasing", "first_fit_shuffle"])
    np.random.seed(seed)
    bins, metadata = algorithms.create_packing_strategy([lengths.count(i) for i in range(size + 1)], size, algorithm)
    examples = {m: [{"input_ids": [1000 * m + k] * (m + 1), "loss_mask": [False] * (m + 1)} for k in range(lengths.count(m))]
                for m in range(size + 1)}
    rows = algorithms.fill_packing_strategy(bins, examples, size, 0)
    return {"seed": seed, "pack_size": size, "lengths_minus_1_in_file_order": lengths, "algorithm": algorithm,
            "metadata": metadata,
            "bins_of_items_1000xlen_plus_k": [[r["input_ids"][i] for i in r["seq_start_id"]] for r in rows]}


def blend_case():
    names = rng.sample(NAMES, rng.choice([2, 3, 4]))
    weights = [rng.randrange(1, 100) / rng.choice([1, 7, 10]) for _ in names]
    length, number, sizes = rng.choice([6, 12, 16]), rng.randrange(2**31), [rng.choice([20, 100, 333]), rng.choice([0, 9]), 0]
    case = {"prefixes": names, "weights": weights, "num_samples": sizes, "seq_length": length, "seed": number,
            "split": "1,1,0", "splits": {}}
    for which, d in zip(SPLITS, build(names, weights, sizes, length, number, "1,1,0")):
        case["splits"][which] = None if d is None else {
            "len": len(d), "dataset_index": d.dataset_index.tolist(), "dataset_sample_index": d.dataset_sample_index.tolist(),
            "dataset_lengths": [len(x) for x in d.datasets], "samples": samples(d, 8)}
    return case


class Count(torch.utils.data.Dataset):
    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n


def sampler_case():
    total, micro, dp = rng.randrange(20, 60), rng.choice([1, 2, 3]), rng.choice([1, 2])
    step, rank, kind = micro * dp, rng.randrange(dp), rng.choice(["single", "cyclic", "batch"])
    case = {"type": kind, "total": total, "micro_batch_size": micro, "dp": dp, "rank": rank}
    if kind == "single":
        case |= {"consumed": rng.randrange(3) * step, "drop_last": rng.random() < 0.5}
        batches = MegatronPretrainingSampler(total, case["consumed"], micro, rank, dp, case["drop_last"])
    elif kind == "cyclic":
        case |= {"consumed": (rng.randrange(3) * (total // step) + rng.randrange(3)) * step, "data_sharding": rng.random() < 0.5}
        batches = MegatronPretrainingRandomSampler(
            Count(total), total, case["consumed"], micro, rank, dp, case["data_sharding"])
    else:
        whole = step * rng.choice([1, 2, 3])
        case |= {"consumed": whole * rng.randrange(9), "global_batch_size": whole, "seed": rng.randrange(2**31),
                 "drop_last": rng.random() < 0.6}
        case["pad_samples_to_global_batch_size"] = not case["drop_last"]
        batches = MegatronPretrainingBatchSampler(
            total, case["consumed"], micro, whole, rank, dp, case["drop_last"], not case["drop_last"], True, case["seed"])
    case["batches"] = list(batches)
    return case


def dump(name, value):
    with open(os.path.join(data, name), "w") as f:
        json.dump(value, f)


def read_by_megatron():
    """The real reader on files that bridge wrote: the ids of the tokenizers package, document by document."""
    tokenizer_dir = os.path.join(test_data, "tokenizer", "small")
    tokenizer = Tokenizer.from_file(os.path.join(tokenizer_dir, "tokenizer.json"))
    words = "the quick brown fox läuft über 世界 \n\n12345 <|im_end|> ' s".split(" ")
    texts = [" ".join(rng.choice(words) for _ in range(rng.randrange(0, 60))) for _ in range(500)]
    source = os.path.join(out, "texts.jsonl")
    with open(source, "w") as f:
        f.writelines(json.dumps({"text": t}, ensure_ascii=rng.random() < 0.5) + "\n" for t in texts)
    for dtype in ("uint16", "int32"):
        name = os.path.join(out, "built_" + dtype)
        subprocess.run([bridge, "data", "build", source, "--tokenizer", tokenizer_dir, "--eod-token", "486", "--dtype", dtype,
                        "-o", name, "--quiet"], check=True)
        read = IndexedDataset(name)
        want = [ids + [486] for ids in (tokenizer.encode(t, add_special_tokens=False).ids for t in texts) if ids]
        assert len(read) == len(want) == len(read.document_indices) - 1, (len(read), len(want))
        assert all(read[i].tolist() == w for i, w in enumerate(want)), "ids differ"
        assert read[0].dtype == dtype, read[0].dtype


print("SEED=%d" % seed)
dump("gpt_dataset.json", [c for c in (dataset_case() for _ in range(45)) if c])
dump("gpt_samples_flags.json", [flags_case() for _ in range(40)])
dump("packing.json", [packing_case() for _ in range(40)])
dump("blended.json", {"datasets": [blend_case() for _ in range(30)], "build_blending_indices": []})
dump("samplers.json", [sampler_case() for _ in range(60)])
read_by_megatron()
print("ok")
