#!/usr/bin/env python3
# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""tokenizer_random.py BRIDGE TOKENIZER_DIR [N] - bridge's ids and texts are those of Hugging Face's tokenizers.

N random texts (default 20000): words, code, whitespace, many scripts, combining marks, emoji, added tokens and pieces
of them, joined at random; and N / 4 random lists of ids.  Half of the texts go through a second tokenizer too, the
same one with added tokens that are normalized or take blanks in.
"""
import json
import os
import random
import subprocess
import sys
import tempfile

from tokenizers import Tokenizer

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from tokenizer_texts import random_text  # noqa: E402

def bridge(program, folder, lines, *options):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    run = subprocess.run([program, "tokenize", "--tokenizer", folder, "--jsonl", *options], input=text.encode(),
                         stdout=subprocess.PIPE, check=True)
    # splitlines() would also split at U+0085, U+2028 and the like, which JSON strings may hold as they are.
    return [json.loads(line) for line in run.stdout.decode().split("\n") if line]


def compare(what, inputs, got, want):
    wrong = [i for i in range(len(want)) if got[i] != want[i]]
    for i in wrong[:5]:
        print(f"{what}: {inputs[i]!r}\n  bridge  {got[i]}\n  expected {want[i]}")
    print(f"{what}: {len(want) - len(wrong)} of {len(want)} equal")
    return len(wrong) + abs(len(got) - len(want))


def check_texts(program, folder, texts):
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    want = [{"ids": e.ids} for e in tokenizer.encode_batch(texts, add_special_tokens=False)]
    return compare(f"encode, {os.path.basename(folder)}", texts, bridge(program, folder, [{"text": t} for t in texts]), want)


def check_ids(program, folder, rng, n):
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    top = tokenizer.get_vocab_size() + 5
    lists = [[rng.randrange(top if rng.random() < 0.5 else min(top, 300)) for _ in range(rng.randrange(30))] for _ in range(n)]
    want = [{"text": tokenizer.decode(ids, skip_special_tokens=False),
             "text_skip_special": tokenizer.decode(ids, skip_special_tokens=True)} for ids in lists]
    return compare("decode", lists, bridge(program, folder, [{"ids": ids} for ids in lists], "--decode"), want)


def with_other_added_tokens(folder, out):
    """The same tokenizer with tokens whose flags no Qwen model uses."""
    with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as f:
        text = json.load(f)
    flags = [dict(lstrip=True), dict(rstrip=True), dict(lstrip=True, rstrip=True), dict(normalized=True)]
    names = ["<|l|>", "<|r|>", "<|lr|>", "caf\u00e9", "~~", "\u00e9", "the", "<|l"]
    top = max(t["id"] for t in text["added_tokens"]) + 1
    for i, name in enumerate(names):
        row = dict(id=text["model"]["vocab"].get(name, top), content=name, single_word=False, lstrip=False, rstrip=False,
                   normalized=False, special=i % 2 == 0)
        row.update(flags[i % len(flags)])
        top += row["id"] == top
        text["added_tokens"].append(row)
    text["added_tokens"].sort(key=lambda t: t["id"])
    with open(os.path.join(out, "tokenizer.json"), "w", encoding="utf-8") as f:
        json.dump(text, f)
    return names


def main():
    program, folder = sys.argv[1], sys.argv[2].rstrip("/")
    n = int(sys.argv[3]) if len(sys.argv) > 3 else 20000
    rng = random.Random(20)
    added = [t.content for t in Tokenizer.from_file(os.path.join(folder, "tokenizer.json")).get_added_tokens_decoder().values()]
    wrong = check_texts(program, folder, [random_text(rng, added) for _ in range(n)])
    wrong += check_ids(program, folder, rng, n // 4)
    with tempfile.TemporaryDirectory() as other:
        names = with_other_added_tokens(folder, other)
        wrong += check_texts(program, other, [random_text(rng, added + 4 * names) for _ in range(n // 2)])
    sys.exit(wrong > 0)


main()
