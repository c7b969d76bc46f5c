# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""bench_tokenize.py BRIDGE TOKENIZER_DIR ROUNDS - the measurements of scripts/lib/bench_tokenize.

Seconds are processor time of the one thread that works, so that what else the machine does counts for less.
"""
import gettext
import glob
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time

DOC = 8000  # characters of a document
ENGLISH = ["/usr/share/doc/**/copyright", "/usr/share/doc/**/README*", "/usr/share/common-licenses/*", "/usr/share/perl/**/*.pod"]
CODE = ["/usr/lib/python3*/**/*.py", "/usr/include/**/*.h", "/usr/share/perl/**/*.pm", "/usr/share/cmake*/**/*.cmake"]
MESSAGES = "/usr/share/locale/{}/LC_MESSAGES/*.mo"
LANGUAGES = "ru zh_CN ja ko ar hi th de fr es vi el he pl tr zh_TW uk fa bn ta".split()
# Letters and the share of blanks between words: text where nobody has translated messages.
SCRIPTS = [(0x0430, 0x044F, 6), (0x03B1, 0x03C9, 6), (0x05D0, 0x05EA, 5), (0x0627, 0x064A, 5), (0x0905, 0x0939, 4),
           (0x0E01, 0x0E2E, 14), (0x3042, 0x3093, 12), (0x4E00, 0x5FFF, 16), (0xAC00, 0xB500, 4), (0x0061, 0x017F, 6)]


def documents(patterns, size, rng):
    paths = sorted({p for pattern in patterns for p in glob.glob(pattern, recursive=True) if os.path.isfile(p)})
    rng.shuffle(paths)
    out = []
    for path in paths:
        if size <= 0:
            break
        try:
            with open(path, encoding="utf-8") as f:
                text = f.read(DOC * 8)
        except (OSError, UnicodeDecodeError):
            continue
        out += [text[i:i + DOC] for i in range(0, len(text), DOC)]
        size -= len(text.encode())
    return out


def messages(size):
    out = []
    for language in LANGUAGES:
        text, want = [], size // len(LANGUAGES)
        for path in sorted(glob.glob(MESSAGES.format(language))):
            if want <= 0:
                break
            try:
                with open(path, "rb") as f:
                    catalog = gettext.GNUTranslations(f)._catalog
            except (OSError, UnicodeDecodeError):
                continue
            text += [m for m in catalog.values() if isinstance(m, str)]
            want -= sum(len(m.encode()) for m in catalog.values() if isinstance(m, str))
        joined = "\n".join(text)
        out += [joined[i:i + DOC] for i in range(0, min(len(joined), size // len(LANGUAGES)), DOC)]
    return out


def sentences(size, rng):
    """Words of made-up languages, the common ones often, as in any language."""
    words = [["".join(chr(first + int(rng.random() ** 2 * (last - first + 1))) for _ in range(rng.randint(1, n)))
              for _ in range(3000)] for first, last, n in SCRIPTS]
    out = []
    while size > 0:
        language = rng.choice(words)
        text = " ".join(language[int(rng.random() ** 3 * len(language))] + rng.choice(["", "", "", "", ",", ". "])
                        for _ in range(800))
        out.append(text)
        size -= len(text.encode())
    return out


def corpus():
    rng = random.Random(7)
    parts = {"English": documents(ENGLISH, 4 << 20, rng), "code": documents(CODE, 4 << 20, rng), "messages": messages(3 << 20)}
    parts["sentences"] = sentences((4 << 20) - sum(len(d.encode()) for d in parts["messages"]), rng)
    print("documents: " + ", ".join(f"{name} {sum(len(d.encode()) for d in docs) / 1e6:.1f} MB" for name, docs in parts.items()))
    docs = [d for part in parts.values() for d in part if d]
    rng.shuffle(docs)
    return docs


def seconds(encode, docs):
    began = time.thread_time()
    ids = [encode(d) for d in docs]
    return time.thread_time() - began, ids


def main():
    bridge, folder, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    from bpe_qwen import bpe_qwen
    from tokenizers import Tokenizer
    docs = corpus()
    few = docs[::10]  # the slowest one gets a tenth
    size, few_size = (sum(len(d.encode()) for d in part) for part in (docs, few))
    hf = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    rust = bpe_qwen.QwenTokenizer(folder)
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as f:
        f.writelines(json.dumps({"text": d}, ensure_ascii=False) + "\n" for d in docs)
        f.flush()
        command = [bridge, "tokenize", "--tokenizer", folder, "--jsonl", "--threads", "1", f.name]
        ours = [json.loads(line)["ids"] for line in subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.splitlines()]
        rates, opens = {"bridge": [], "tokenizers": [], "bpe-qwen": []}, []
        for _ in range(rounds):
            said = json.loads(subprocess.run(command + ["--count", "--json"], stdout=subprocess.PIPE, check=True).stdout)
            rates["bridge"].append(said["bytes_per_cpu_second"] / 1e6)
            opens.append(said["open_cpu_seconds"])
            took, theirs = seconds(rust.encode, docs)
            rates["bpe-qwen"].append(size / took / 1e6)
            took, right = seconds(lambda d: hf.encode(d, add_special_tokens=False).ids, few)
            rates["tokenizers"].append(few_size / took / 1e6)
    report(rates, opens, said, sum(a != b for a, b in zip(ours[::10], right)), sum(list(a) != b for a, b in zip(theirs, ours)), docs)


def report(rates, opens, said, wrong, theirs_wrong, docs):
    median = {name: statistics.median(values) for name, values in rates.items()}
    ratio = {name: statistics.median(a / b for a, b in zip(rates["bridge"], rates[name])) for name in rates}
    open_ms = statistics.median(opens) * 1e3
    rows = [("encode, MB per second of one core", median["bridge"], ">= 25", median["bridge"] >= 25),
            (f"to tokenizers ({median['tokenizers']:.2f} MB/s)", ratio["tokenizers"], ">= 10", ratio["tokenizers"] >= 10),
            (f"to bpe-qwen ({median['bpe-qwen']:.2f} MB/s)", ratio["bpe-qwen"], ">= 1.2", ratio["bpe-qwen"] >= 1.2),
            ("open, ms of one core", open_ms, "< 100", open_ms < 100),
            ("documents that differ from tokenizers", wrong, "0", wrong == 0)]
    for title, value, target, ok in rows:
        print(f"{title:<42} {value:9.2f}   {target:<8} {'ok' if ok else 'MISSED'}")
    print(f"{said['tokens']} tokens of {said['bytes']} bytes, {said['memory_bytes'] / 2**20:.1f} MiB; "
          f"bpe-qwen differs in {theirs_wrong} of {len(docs)} documents")
    sys.exit(not all(ok for *_, ok in rows))


main()
