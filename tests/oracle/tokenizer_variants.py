#!/usr/bin/env python3
# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""tokenizer_variants.py BRIDGE [N] | --write - tokenizers built of other parts than Qwen's, judged by Hugging Face's tokenizers.

Each variant is a tokenizer.json of one of three small models (bytes; bytes without those that UTF-8 never has; characters with
tokens for bytes, trained here) and parts of its own.  N random texts (default 24000) are shared out among the variants: ids, ids
with special tokens, and text back must be those of tokenizers.  A variant that bridge refuses must be one of REFUSED, and be
refused by the word given there.  --write records a smaller set in tests/data/tokenizer/, which unit tests read.
"""
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

DATA = pathlib.Path(__file__).resolve().parent.parent / "data/tokenizer"
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from tokenizer_texts import random_text  # noqa: E402

# ---- models ----------------------------------------------------------------------------------------

CORPUS = ["The quick brown fox jumps over the lazy dog. It's 1234 o'clock!", "def main(self): return [x for x in range(10)]",
          "Grüße aus München, schöne Ärzte", "Привет, мир! Как дела?", "你好，世界。今天天气很好", "こんにちは世界", "don't we'll I've they're",
          "  spaces   and\ttabs\n\nlines\r\n", "a_b-c (d) {e} [f] <g> https://example.org/x?y=1&z=2", "0.5 1,000,000 3e-7 2024-01-01"]


def small():
    with open(DATA / "small/tokenizer.json", encoding="utf-8") as f:
        return json.load(f)["model"]


def holes():
    """The small model without the bytes that UTF-8 never has, renumbered."""
    model = small()
    never = {0xC0, 0xC1, *range(0xF5, 0x100)}
    spelled = {chr(b) for b in never}  # bytes from 0xAE on spell themselves
    tokens = [t for t in model["vocab"] if not spelled & set(t)]
    model["vocab"] = {t: i for i, t in enumerate(tokens)}
    return model


def plain():
    """Characters, with tokens for bytes, as Llama 2's."""
    tok = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    tok.train_from_iterator(CORPUS * 3, trainers.BpeTrainer(vocab_size=480, special_tokens=special, show_progress=False))
    return json.loads(tok.to_str())["model"]


# ---- parts -----------------------------------------------------------------------------------------

QWEN = ("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
        "\\s+(?!\\S)|\\s+")
LLAMA3 = QWEN.replace("|\\p{N}|", "|\\p{N}{1,3}|")
O200K = ("[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+")


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def byte_level(regex=False, prefix=False):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}


def digits(each):
    return {"type": "Digits", "individual_digits": each}


def punctuation(behavior="Isolated"):
    return {"type": "Punctuation", "behavior": behavior}


def metaspace(scheme="always", cut=True, replacement="▁"):
    return {"type": "Metaspace", "replacement": replacement, "prepend_scheme": scheme, "split": cut}


def seq(key, *each):
    return {"type": "Sequence", key: list(each)}


def pre(*each):
    return {"pre_tokenizer": seq("pretokenizers", *each)}


def norm(*each):
    return {"normalizer": seq("normalizers", *each)}


def replace(a, b, kind="String"):
    return {"type": "Replace", "pattern": {kind: a}, "content": b}


def prepend(text):
    return {"type": "Prepend", "prepend": text}


def template(before, after):
    def one(name):
        return {"SpecialToken": {"id": name, "type_id": 0}}
    names = {n: {"id": n, "ids": ids, "tokens": [n] * len(ids)} for n, ids in before + after}
    return {"type": "TemplateProcessing", "single": [one(n) for n, _ in before] + [{"Sequence": {"id": "A", "type_id": 0}}]
            + [one(n) for n, _ in after], "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": names}


NFC = {"type": "NFC"}
LLAMA2_DECODER = seq("decoders", replace("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"},
                     {"type": "Strip", "content": " ", "start": 1, "stop": 0})
GEMMA_DECODER = seq("decoders", replace("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"})
LLAMA2 = {**norm(prepend("▁"), replace(" ", "▁")), "decoder": LLAMA2_DECODER}
METASPACE = {"decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}}


def added(content, **flags):
    return {"id": 0, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
            "special": True, **flags}


DEEPSEEK = pre(split("[\r\n]"), split("\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-Ֆ]+"), split("\\s?[!-/:-~！-／：-～‘-‟　-。]+"), split("\\s+$"),
               split("[一-龥ࠀ-一가-퟿]+"), digits(True), byte_level())
FALCON = pre(punctuation("Contiguous"), byte_level(True), digits(False), split("[0-9][0-9][0-9]"))
TEKKEN = ("[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}"
          "\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+")
BEHAVIORS = ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"]

# name: (model, parts); bytes get the decoder ByteLevel if none is given
VARIANTS = {
    "qwen": ("small", {"normalizer": NFC, **pre(split(QWEN), byte_level())}),
    "llama3": ("small", {**pre(split(LLAMA3), byte_level()),
                         "post_processor": seq("processors", byte_level(prefix=True), template([("<|bos|>", [1])], [])), "model": {"ignore_merges": True}}),
    "o200k": ("small", pre(split(O200K), byte_level())),
    "tekken": ("small", pre(split(TEKKEN), byte_level())),
    "gpt2": ("small", {"pre_tokenizer": byte_level(True)}),
    "gpt2_prefix": ("small", {"pre_tokenizer": byte_level(True, True)}),
    "prefix_only": ("small", {"pre_tokenizer": byte_level(False, True)}),
    "no_regex": ("small", {"pre_tokenizer": byte_level()}),
    "sequence_of_one": ("small", {**norm(NFC), **pre(byte_level(True)), "decoder": seq("decoders", byte_level()),
                                  "post_processor": seq("processors", byte_level())}),
    "nested_sequence": ("small", pre(seq("pretokenizers", digits(True), seq("pretokenizers", byte_level(True))))),
    "deepseek": ("small", DEEPSEEK),
    "starcoder": ("small", pre(digits(True), byte_level(True))),
    "smollm": ("small", {**pre(digits(True), byte_level(True)), "post_processor": byte_level()}),
    "command_r": ("small", {"normalizer": NFC, **pre(digits(True), byte_level(True)), "post_processor": template([("<B>", [3])], [("<E>", [4, 5])])}),
    "falcon": ("small", FALCON),
    "digits_together": ("small", pre(digits(False), byte_level(True))),
    "digits_no_regex": ("small", pre(digits(True), byte_level())),
    "regex_then_digits": ("small", pre(byte_level(True), digits(True))),
    "punct_after_bytes": ("small", pre(byte_level(), punctuation())),
    "split_after_bytes": ("small", pre(byte_level(), split("Ġ", "MergedWithNext", kind="String"))),
    "split_regex_after_bytes": ("small", pre(byte_level(True), split("[a-f]+|[0-9]", "Contiguous"))),
    "template_nothing": ("small", {**pre(split(QWEN), byte_level()), "post_processor": template([], [])}),
    "template_both": ("small", {**pre(split(QWEN), byte_level()), "post_processor": template([("<a>", [7]), ("<b>", [8, 9])], [("<c>", [10])])}),
    "two_splits": ("small", pre(split("\\p{N}{1,3}"), split(QWEN), byte_level())),
    "three_splits": ("small", pre(split("[,.]", "MergedWithPrevious"), split(" ", "MergedWithNext", kind="String"), split("[aeiou]+"), byte_level())),
    "split_and_regex": ("small", pre(split("\\d+", "Contiguous"), byte_level(True, True))),
    "anchors": ("small", pre(split("^\\s+|\\s+$|^#"), byte_level())),
    "words": ("small", pre(split("\\w+|\\W"), byte_level())),
    "inverted_words": ("small", pre(split("\\w+|[^\\w\\s]+", "Removed", True), byte_level())),
    "text_pattern": ("small", pre(split("the", kind="String"), split(". ", "MergedWithPrevious", kind="String"), byte_level(True))),
    "holes_gpt2": ("holes", {"pre_tokenizer": byte_level(True)}),
    "holes_starcoder": ("holes", pre(digits(True), byte_level(True))),
    "llama2": ("plain", {**LLAMA2, "post_processor": template([("<s>", [1])], [])}),
    "llama2_metaspace_first": ("plain", {"pre_tokenizer": metaspace("first", False), "decoder": LLAMA2_DECODER,
                                         "post_processor": template([("<s>", [1])], [("</s>", [2])])}),
    "metaspace_always": ("plain", {"pre_tokenizer": metaspace("always"), **METASPACE}),
    "metaspace_first": ("plain", {"pre_tokenizer": metaspace("first"), **METASPACE}),
    "metaspace_never": ("plain", {"pre_tokenizer": metaspace("never"), "decoder": metaspace("never")}),
    "metaspace_old": ("plain", {"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True}, **METASPACE}),
    "metaspace_digits": ("plain", {**pre(digits(True), metaspace("first")), "decoder": LLAMA2_DECODER}),
    "metaspace_other_mark": ("plain", {"pre_tokenizer": metaspace("always", True, "_"), "decoder": metaspace("always", True, "_")}),
    "gemma": ("plain", {"normalizer": replace(" ", "▁"), "pre_tokenizer": split(" ", "MergedWithPrevious", kind="String"), "decoder": GEMMA_DECODER}),
    "gemma_alone": ("plain", {"normalizer": replace(" ", "▁"), "decoder": GEMMA_DECODER}),
    "yi": ("plain", {"normalizer": seq("normalizers", replace(" ", "▁")), "decoder": seq("decoders", replace("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"})}),
    "plain_nfc": ("plain", {**norm(NFC, prepend("▁"), replace(" ", "▁"), replace("▁▁", "▁")), "decoder": GEMMA_DECODER}),
    "plain_no_fallback": ("plain", {**LLAMA2, "model": {"byte_fallback": False}}),
    "plain_no_fuse": ("plain", {**LLAMA2, "model": {"byte_fallback": False, "fuse_unk": False}}),
    "plain_no_unknown": ("plain", {**LLAMA2, "model": {"byte_fallback": False, "unk_token": None}}),
    "plain_ignore_merges": ("plain", {**LLAMA2, "model": {"ignore_merges": True}}),
    "plain_strip_two": ("plain", {**norm(prepend("▁"), replace(" ", "▁")), "decoder": seq("decoders", replace("▁", " "), {"type": "Fuse"},
                                  {"type": "Strip", "content": " ", "start": 2, "stop": 0})}),
    "plain_added": ("plain", {**LLAMA2, "added_tokens": [added("<unk>"), added("<s>"), added("</s>"), added("fox", normalized=True, special=False),
                                                         added("<x>", lstrip=True, rstrip=True), added("é", special=False)]}),
    "bytes_added": ("small", {**pre(digits(True), byte_level(True, True)), "added_tokens": [added("<x>", lstrip=True), added("fox", normalized=True),
                                                                                               added(" 12", rstrip=True, special=False)]}),
    "bytes_byte_fallback": ("small", {"pre_tokenizer": byte_level(True), "model": {"byte_fallback": True}}),
}
for which in BEHAVIORS:
    for inverted in (False, True):
        VARIANTS[f"split_{which}{'_inverted' * inverted}"] = ("small", pre(split("[aeiou ]|\\d\\d", which, inverted), byte_level()))
    VARIANTS[f"punctuation_{which}"] = ("small", pre(punctuation(which), byte_level(True)))
    VARIANTS[f"plain_split_{which}"] = ("plain", {"normalizer": replace(" ", "▁"), "pre_tokenizer": split("▁", which, kind="String"), "decoder": GEMMA_DECODER})
# what bridge refuses, and the word that says so
REFUSED = {
    "unigram": ("unigram", {"pre_tokenizer": metaspace(), **METASPACE}, "Unigram"),
    "word_level": ("word_level", {"pre_tokenizer": {"type": "Whitespace"}}, "WordLevel"),
    "nfkc": ("small", {"normalizer": {"type": "NFKC"}, "pre_tokenizer": byte_level(True)}, "NFKC"),
    "lowercase": ("small", {"normalizer": {"type": "Lowercase"}, "pre_tokenizer": byte_level(True)}, "Lowercase"),
    "replace_regex": ("plain", {"normalizer": replace(" +", "▁", "Regex"), "decoder": GEMMA_DECODER}, "regular expression"),
    "whitespace": ("small", pre({"type": "Whitespace"}, byte_level()), "Whitespace"),
    "bert": ("small", pre({"type": "BertPreTokenizer"}, byte_level()), "BertPreTokenizer"),
    "twice": ("small", pre(byte_level(True), byte_level(True)), "ByteLevel twice"),
    "roberta": ("small", {"pre_tokenizer": byte_level(True), "post_processor": {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0],
                          "trim_offsets": True, "add_prefix_space": True}}, "RobertaProcessing"),
    "empty_match": ("small", pre(split("x*"), byte_level()), "can match an empty text"),
    "hexadecimal": ("small", pre(split("\\h+"), byte_level()), "cannot stand there"),
    "strip_end": ("plain", {**LLAMA2, "decoder": seq("decoders", {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 0, "stop": 1})}, "Strip"),
    "bpe_decoder": ("plain", {**LLAMA2, "decoder": {"type": "BPEDecoder", "suffix": "</w>"}}, "BPEDecoder"),
    "suffix": ("plain", {**LLAMA2, "model": {"end_of_word_suffix": "</w>"}}, "end_of_word_suffix"),
    "dropout": ("small", {"pre_tokenizer": byte_level(True), "model": {"dropout": 0.5}}, "dropout"),
    "single_word": ("small", {"pre_tokenizer": byte_level(True), "added_tokens": [added("x", single_word=True)]}, "single_word"),
}


def build(kind, parts, all_models):
    """tokenizer.json as an object."""
    model = {**all_models[kind], **parts.get("model", {})}
    rest = {k: v for k, v in parts.items() if k != "model"}
    if kind in ("small", "holes"):
        rest.setdefault("decoder", byte_level())
    number = len(model["vocab"])
    for token in rest.get("added_tokens", []):  # tokenizers numbers them itself
        if token["content"] in model["vocab"]:
            token["id"] = model["vocab"][token["content"]]
        else:
            token["id"], number = number, number + 1
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": None,
            "post_processor": None, "decoder": None, **rest, "model": model}


def all_models():
    return {"small": small(), "holes": holes(), "plain": plain(),
            "unigram": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["▁", -1.0], ["a", -2.0]], "byte_fallback": False},
            "word_level": {"type": "WordLevel", "vocab": {"a": 0, "<unk>": 1}, "unk_token": "<unk>"}}


# ---- comparing -------------------------------------------------------------------------------------


def answers(tokenizer, texts, rng):
    """What tokenizers has: ids, ids with special tokens, and texts of random ids."""
    ids = [e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=False)]
    special = [e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=True)]
    top = tokenizer.get_vocab_size() + 3
    lists = ids[: len(ids) // 2] + [[rng.randrange(top) for _ in range(rng.randrange(12))] for _ in range(len(ids) // 2)]
    return ids, special, lists, [tokenizer.decode(x, skip_special_tokens=False) for x in lists], \
        [tokenizer.decode(x, skip_special_tokens=True) for x in lists]


def bridge(program, folder, lines, *options):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    run = subprocess.run([program, "tokenize", "--tokenizer", folder, "--jsonl", *options], input=text.encode(),
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if run.returncode:
        return None, run.stderr.decode()
    return [json.loads(line) for line in run.stdout.decode().split("\n") if line], ""


def compare(program, name, value, texts, rng):
    """Number of differences."""
    tokenizer = Tokenizer.from_str(json.dumps(value))
    ids, special, lists, decoded, skipped = answers(tokenizer, texts, rng)
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as f:
            json.dump(value, f)
        checks = [("encode", [{"text": t} for t in texts], (), "ids", ids), ("special", [{"text": t} for t in texts], ("--add-special",), "ids", special),
                  ("decode", [{"ids": x} for x in lists], ("--decode",), "text", decoded),
                  ("skip", [{"ids": x} for x in lists], ("--decode",), "text_skip_special", skipped)]
        bad = 0
        for what, lines, options, key, want in checks:
            got, message = bridge(program, folder, lines, *options)
            if got is None:
                print(f"{name} {what}: {message}")
                return 1
            wrong = [i for i in range(len(want)) if got[i][key] != want[i]]
            for i in wrong[:3]:
                print(f"{name} {what}: {lines[i]!r}\n  bridge   {got[i][key]!r}\n  expected {want[i]!r}")
            bad += len(wrong)
    return bad


def check_refused(program, name, value, word):
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as f:
            json.dump(value, f)
        got, message = bridge(program, folder, [{"text": "a"}])
        if got is None and word in message:
            return 0
        print(f"{name}: expected a refusal that says '{word}', got {message or got}")
        return 1


def write(built):
    rng = random.Random(5)
    for kind in ("holes", "plain"):
        (DATA / f"{kind}_model.json").write_text(json.dumps(all_models()[kind], ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    with open(DATA / "variants.jsonl", "w", encoding="utf-8") as f:
        for name, (kind, parts, value) in built.items():
            texts = [random_text(rng, ["<s>", "<x>", "fox"], False).replace("\x00", "")[:36] for _ in range(5)]
            tokenizer = Tokenizer.from_str(json.dumps(value))
            ids, special, lists, decoded, skipped = answers(tokenizer, texts, rng)
            keep = [i for i, text in enumerate(decoded) if "\0" not in text]  # a text of C ends there
            lists, decoded, skipped = ([x[i] for i in keep] for x in (lists, decoded, skipped))
            own = {k: v for k, v in value.items() if v and k in ("added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder")}
            row = {"name": name, "base": kind, "parts": own, "model": parts.get("model", {}), "texts": texts, "ids": ids, "special": special,
                   "lists": lists, "decoded": decoded, "skipped": skipped}
            row = {k: v for k, v in row.items() if v and (k != "special" or v != ids)}
            f.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")


def main():
    have = all_models()
    built = {name: (kind, parts, build(kind, parts, have)) for name, (kind, parts) in VARIANTS.items()}
    if sys.argv[1] == "--write":
        return write(built)
    n = int(sys.argv[2]) if len(sys.argv) > 2 else 24000
    rng = random.Random(19)
    each = -(-n // len(built))
    wrong = 0
    for name, (_, _, value) in built.items():
        wrong += compare(sys.argv[1], name, value, [random_text(rng, ["<s>", "<x>", "fox", "</s>"], False) for _ in range(each)], rng)
    for name, (kind, parts, word) in REFUSED.items():
        wrong += check_refused(sys.argv[1], name, build(kind, parts, have), word)
    print(f"{len(built)} variants with {each} texts each, {len(REFUSED)} refusals: {wrong} differences")
    sys.exit(wrong > 0)


main()
