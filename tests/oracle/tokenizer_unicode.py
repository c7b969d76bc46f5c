#!/usr/bin/env python3
# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""tokenizer_unicode.py BRIDGE TOKENIZER_DIR - bridge classes and normalizes every character as tokenizers does.

Every character of planes 0 to 3 and 14, and a few of the others, which have none of any kind.

Each character stands after a letter, before one, after a blank, between marks of low and high combining class, and
after letters that compose; so its class, its combining class and its compositions all show in the ids.  Also all pairs
of each mark with the characters that have a canonical composition with some mark.
"""
import json
import os
import subprocess
import sys
import unicodedata

from tokenizers import Tokenizer

AROUND = ["a{}", "{}a", " {}", "{}\n", "1{}1", "\u3042{}\u0334", "\u3042\u0334{}\u0301", "e{}", "\u1100{}", "\u0915{}\u0301",
          "\U00011935{}", "\U000105d2{}", "\U00016d67{}"]


def cases():
    chars = [chr(c) for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF and (c < 0x40000 or c >> 16 == 14 or c % 997 == 0)]
    for c in chars:
        for form in AROUND:
            yield form.format(c)
    composed = [unicodedata.normalize("NFD", c) for c in chars if len(unicodedata.normalize("NFD", c)) > 1]
    firsts, seconds = sorted({c[0] for c in composed}), sorted({c[1] for c in composed} - set(map(chr, range(0x1161, 0x11C3))))
    for first in firsts:
        for second in seconds:
            yield first + second


def differing(program, folder, tokenizer, texts):
    lines = "".join(json.dumps({"text": t}) + "\n" for t in texts)
    run = subprocess.run([program, "tokenize", "--tokenizer", folder, "--jsonl"], input=lines.encode(),
                         stdout=subprocess.PIPE, check=True)
    got = [json.loads(line)["ids"] for line in run.stdout.splitlines()]
    want = [e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=False)]
    assert len(got) == len(want)
    return [t for t, a, b in zip(texts, got, want) if a != b]


def main():
    program, folder = sys.argv[1], sys.argv[2]
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    # Many cases in one text, apart enough not to touch: an odd one is found by asking again.
    apart, together, total, wrong = ";\n", 64, 0, []
    pending = list(cases())
    groups = [pending[i:i + together] for i in range(0, len(pending), together)]
    for i in range(0, len(groups), 4096):
        batch = {apart.join(g): g for g in groups[i:i + 4096]}
        for text in differing(program, folder, tokenizer, list(batch)):
            wrong += differing(program, folder, tokenizer, batch[text])
        total += sum(map(len, batch.values()))
    for text in wrong[:20]:
        print(ascii(text))
    print(f"{total - len(wrong)} of {total} equal")
    sys.exit(bool(wrong))


main()
