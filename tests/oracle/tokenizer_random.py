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

RANGES = [(0x20, 0x7E), (0x00, 0x20), (0x80, 0xFF), (0x100, 0x24F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF),
          (0x530, 0x5FF), (0x600, 0x6FF), (0x900, 0x97F), (0x980, 0x9FF), (0xB80, 0xBFF), (0xE00, 0xE7F),
          (0x1000, 0x109F), (0x1100, 0x11FF), (0x1680, 0x1680), (0x1780, 0x17FF), (0x180B, 0x180F), (0x1E00, 0x1FFF),
          (0x2000, 0x206F), (0x20D0, 0x20FF), (0x2100, 0x218F), (0x2460, 0x24FF), (0x2600, 0x27BF), (0x3000, 0x30FF),
          (0x3130, 0x318F), (0x4E00, 0x9FFF), (0xA640, 0xA69F), (0xAC00, 0xD7AF), (0xE000, 0xE0FF), (0xF900, 0xFAFF),
          (0xFB00, 0xFDFF), (0xFE00, 0xFEFF), (0xFF00, 0xFFEF), (0x10400, 0x104FF), (0x11000, 0x117FF),
          (0x1D100, 0x1D7FF), (0x1E000, 0x1EFFF), (0x1F000, 0x1FAFF), (0x20000, 0x2A6DF), (0x2F800, 0x2FA1F),
          (0xE0000, 0xE01EF), (0x10FFF0, 0x10FFFF)]
WORDS = ["the", " and", "Hello", "don't", "I'LL", "we've", "it's", "'S", "'\u017f", "x='re'", "print(", "self.", "return ",
         "    ", "\t\t", "\n", "\r\n", "\n\n\n", " \n ", "0", "1234", "3.14", "e-7", "==", "!=", "-----", "###", "/* ",
         "</div>", "<b>", "http://", "\u4f60\u597d", "\u4e16\u754c\uff0c", "\u3053\u3093\u306b\u3061\u306f",
         "\uc548\ub155\ud558\uc138\uc694", "\u041f\u0440\u0438\u0432\u0435\u0442", "\u0645\u0631\u062d\u0628\u0627",
         "\u05e9\u05dc\u05d5\u05dd", "\u0928\u092e\u0938\u094d\u0924\u0947", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
         "e\u0301", "a\u0323\u0307", "a\u0307\u0323", "\u1100\u1161\u11a8", "\ufb01", "\u212b", "\U0001f468\u200d\U0001f469",
         "\U0001f1e9\U0001f1ea", "\u00a0", "\u3000", "\u2028", "\u0085", "\u200b", "\ufeff", "\x00", "ab" * 40, "\u4e2d" * 60]


def random_text(rng, added):
    parts = []
    for _ in range(rng.randrange(1, 30)):
        kind = rng.random()
        if kind < 0.5:
            parts.append(rng.choice(WORDS))
        elif kind < 0.6:
            token = rng.choice(added)
            parts.append(token if rng.random() < 0.7 else token[:rng.randrange(1, len(token) + 1)])
        else:
            first, last = rng.choice(RANGES)
            parts.append("".join(chr(rng.randint(first, last)) for _ in range(rng.randrange(1, 6))))
        if rng.random() < 0.3:
            parts.append(" ")
    return "".join(parts)


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
