# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""mutate.py BRIDGE DATA - the cases of scripts/mutate.

A case is a number: it chooses the class, and with the seed everything that is random.  It copies a checkpoint or training
data, changes something of it, and runs bridge one to three times.  Judged: a signal, an undocumented status, a sanitizer's
report, more than 20 s or 2 GB, a half-written destination, controls on stderr, and exit 0 with tensors that are not those of
checkpoint_reader.py, or tokens that are not those of data_reader.py.
"""
import argparse
import collections
import concurrent.futures
import copy
import json
import multiprocessing
import os
import pickletools
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback

import checkpoint_reader as reader
import data_reader

STATUSES = range(0, 19)
LIMIT_S, LIMIT_KB = 20, 2_000_000
REPORT = re.compile(rb"AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|MemorySanitizer|bridge: bug at")
CONTROLS = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8-\xae]|\xe2\x81[\xa6-\xa9]")
NUMBERS = [0, 1, -1, 2, 3, 7, 64, 65, 255, 1000, 2**31 - 1, 2**31, 2**32, 2**32 + 1, 2**53, 2**62, 2**63 - 1, 2**63, 2**64, 10**30,
           -2**31, -2**63, 0.5, -0.0, 1e-320, 1e308, float("nan"), float("inf"), -float("inf")]
VALUES = [None, True, False, "", "x", "\x1b[2J\u202e", "../x", "/etc/passwd", "a" * 5000, [], {}, [[]], {"": 0}, [0] * 3, "bfloat16",
          "float32", "float8_e4m3fn", "sigmoid", "\u0000", "1", "-1", "1e400", "silu", "qwen2", "qwen3_moe", "model.safetensors"]


class Failure(Exception):
    pass


def get(path):
    with open(path, "rb") as f:
        return bytearray(f.read())


def put(path, data):
    with open(path, "wb") as f:
        f.write(data)


def files_below(folder):
    return sorted(os.path.join(d, f) for d, _, names in os.walk(folder) for f in names)


def names_below(folder):
    return {os.path.relpath(os.path.join(d, n), folder) for d, ds, fs in os.walk(folder) for n in ds + fs}


# ---- what is changed -------------------------------------------------------------------------------------------------


def change_bytes(rng, b, low=0):
    """Flip bits, cut, insert, overwrite, move; from byte `low` on."""
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        n = len(b)
        at = rng.randrange(min(low, n), n) if n > low else 0
        kind = rng.randrange(8)
        if kind <= 2 and n:
            b[min(at, n - 1)] ^= 1 << rng.randrange(8)
        elif kind == 3:
            del b[at:at + rng.choice([1, 2, 8, 100, n])]
        elif kind == 4:
            b[at:at] = rng.randbytes(rng.choice([1, 2, 8, 100]))
        elif kind == 5:
            k = rng.choice([1, 4, 8, 64])
            b[at:at + k] = rng.choice([b"\0", b"\xff", b"A", b"\x80"]) * k
        elif kind == 6:
            k = rng.choice([4, 8])
            b[at:at + k] = (rng.choice([v for v in NUMBERS if type(v) is int]) % 2**(8 * k)).to_bytes(k, rng.choice(["little", "big"]))
        else:
            k, to = rng.choice([1, 8, 64]), rng.randrange(n + 1)
            b[to:to + k] = b[at:at + k]
    return b


def spots(j, found):
    """(container, key) of every value of a JSON document."""
    for key in list(j) if isinstance(j, dict) else range(len(j)):
        found.append((j, key))
        if isinstance(j[key], (dict, list)):
            spots(j[key], found)
    return found


def any_value(rng, found):
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice(NUMBERS)
    if kind == 1:
        return rng.choice(VALUES)
    if kind == 2 and found:
        c, k = rng.choice(found)
        return copy.deepcopy(c[k])
    deep = rng.choice(NUMBERS)
    for _ in range(rng.choice([1, 3, 63, 64, 65, 2000])):
        deep = [deep] if rng.randrange(2) else {"a": deep}
    return deep


def change_json(rng, text):
    try:
        j = json.loads(text)
        found = spots(j, [])
    except (ValueError, TypeError):
        return change_bytes(rng, text)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        if not found:
            break
        c, k = rng.choice(found)
        kind = rng.randrange(6)
        try:
            old = c[k]
        except (KeyError, IndexError):
            continue
        if kind == 0:
            del c[k]
        elif kind == 1 and isinstance(old, (int, float)):
            c[k] = rng.choice([old + 1, old - 1, old * 2, -old, old // 2 if type(old) is int else old / 2, str(old)])
        elif kind == 2 and isinstance(c, dict):
            c[rng.choice([k + "x", k[:-1], str(rng.choice(found)[1])])] = c.pop(k)
        elif kind == 3 and isinstance(c, list):
            c.insert(rng.randrange(len(c) + 1), old)
        else:
            c[k] = any_value(rng, found)
        found = spots(j, [])
    try:
        text = json.dumps(j, ensure_ascii=rng.randrange(2) == 0, indent=rng.choice([None, 2]))
    except (ValueError, RecursionError):
        return change_bytes(rng, text)
    if rng.randrange(8) == 0 and text.startswith("{"):  # a key twice
        text = re.sub(r'("[^"]+"): ', r'\1: 0, \1: ', text, count=1)
    out = bytearray(text.encode("utf-8", "surrogatepass"))
    return change_bytes(rng, out) if rng.randrange(10) == 0 else out


def change_json_file(rng, path):
    put(path, change_json(rng, get(path)))


def change_header(rng, path):
    """The header of a safetensors file: names, dtypes, shapes, offsets, order, its length."""
    b = get(path)
    n, = struct.unpack_from("<Q", b)
    header, data = json.loads(bytes(b[8:8 + n])), b[8 + n:]
    names = [k for k in header if k != "__metadata__"]
    kind, a, c = rng.randrange(9), rng.choice(names), rng.choice(names)
    if kind == 0:
        header[a], header[c] = header[c], header[a]
    elif kind == 1:
        header[a]["data_offsets"] = header[c]["data_offsets"]
    elif kind == 2:
        header[a]["dtype"] = rng.choice(list(reader.SAFETENSORS) + ["X", "", None])
    elif kind == 3:
        header[a]["shape"] = rng.choice([header[c]["shape"], header[a]["shape"][::-1], header[a]["shape"] + [1], [], [0], [2**63, 2]])
    elif kind == 4:
        header[a]["data_offsets"] = [v + rng.choice([-8, -2, 0, 1, 2, 8, 2**62]) for v in header[a]["data_offsets"]]
    elif kind == 5:
        header[rng.choice([a + "x", c, a.replace("0", "1"), "\x1b]0;x\x07\u202e\n"])] = header.pop(a)
    elif kind == 6:
        del header[a]
    elif kind == 7:
        header = dict(rng.sample(list(header.items()), len(header)))
    text = json.dumps(header).encode()
    if kind == 8:
        text = bytes(change_json(rng, bytearray(text)))
    length = len(text) if rng.randrange(10) else rng.choice([0, 1, len(text) - 1, len(text) + 1, 2**31, 2**63, 2**64 - 1])
    put(path, struct.pack("<Q", length) + text + data)


def change_pickle(rng, path):
    """A pickle, opcode by opcode."""
    b = get(path)
    try:
        at = [pos for _, _, pos in pickletools.genops(bytes(b))] + [len(b)]
    except Exception:
        put(path, change_bytes(rng, b))
        return
    for _ in range(rng.choice([1, 1, 2])):
        i, k = rng.randrange(len(at) - 1), rng.randrange(len(at) - 1)
        one, other = bytes(b[at[i]:at[i + 1]]), bytes(b[at[k]:at[k + 1]])
        kind = rng.randrange(6)
        new = [b"", one + one, other, bytes([rng.randrange(256)]) + one[1:], one[:1] + rng.randbytes(len(one) - 1), one + other][kind]
        b[at[i]:at[i + 1]] = new
        if kind != 3 and len(new) != len(one):
            break
    put(path, b)


def change_archive(rng, path):
    """A file of torch.save archives: a field of one of their headers, or their data."""
    b = get(path)
    marks = [m.start() for m in re.finditer(rb"PK\x01\x02|PK\x03\x04|PK\x05\x06|PK\x06\x06|PK\x06\x07", bytes(b))]
    if marks and rng.randrange(3):
        for _ in range(rng.choice([1, 1, 2])):
            at, k = rng.choice(marks) + rng.randrange(4, 46), rng.choice([1, 2, 4])
            field = (int.from_bytes(b[at:at + k], "little") + rng.choice([-1, 1, 2, 64])) % 256**k
            if at + k <= len(b):
                b[at:at + k] = rng.choice([field.to_bytes(k, "little"), rng.randbytes(k), b"\0" * k, b"\xff" * k])
    else:
        b = change_bytes(rng, b)
    put(path, b)


def odd_file(rng, path):
    """Something else where a file was."""
    kind = rng.randrange(6)
    data = get(path) if os.path.isfile(path) else b""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)
    if kind == 0:
        put(path, b"")
    elif kind == 1:
        os.mkdir(path)
    elif kind == 2:
        os.mkfifo(path)
    elif kind == 3:
        os.symlink("/nowhere", path)
    elif kind == 4:
        put(path + ".moved", data)
        os.symlink(os.path.basename(path) + ".moved", path)
    # 5: gone


# ---- running ---------------------------------------------------------------------------------------------------------


class Case:
    def __init__(self, world, number):
        self.world, self.number = world, number
        self.rng = random.Random(f"{world.seed}:{number}")
        self.dir = os.path.join(world.dir, f"case-{number}")
        self.said = []

    def path(self, name):
        return os.path.join(self.dir, name)

    def copy(self, name, to):
        return shutil.copytree(self.world.base(name), self.path(to), symlinks=True)

    def run(self, *args, stdin=None):
        """The status of one run, which is judged by itself."""
        out, err = self.path(".out"), self.path(".err")
        began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        self.said.append(" ".join(args))
        with open(out, "wb") as o, open(err, "wb") as e, open(stdin or os.devnull, "rb") as i:
            p = subprocess.Popen([self.world.bridge, *args], stdout=o, stderr=e, stdin=i, cwd=self.dir)
            try:
                status = p.wait(LIMIT_S * self.world.patience)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
                raise Failure(f"hang: more than {LIMIT_S * self.world.patience} s")
        self.world.slowest = max(self.world.slowest, time.monotonic() - began)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        text = bytes(get(err))
        if status < 0 or status > 128:
            raise Failure(f"crash: status {status}: {text[-300:]!r}")
        if REPORT.search(text):
            raise Failure(f"sanitizer: {text[:400]!r}")
        if status not in STATUSES:
            raise Failure(f"status: {status} is not documented")
        if before <= LIMIT_KB < peak and not self.world.sanitized:
            raise Failure(f"memory: {peak} kB")
        if CONTROLS.search(text):
            raise Failure(f"controls: {text[:300]!r}")
        self.text = text.decode("utf-8", "replace").strip()
        return status

    # what a run that says 0 must have read or written

    def compare(self, got, want, what):
        if got != want:
            names = sorted(n for n in set(got) | set(want) if got.get(n) != want.get(n))
            raise Failure(f"silent: {what}: {len(names)} tensors differ, first {names[0]!r}: "
                          f"{got.get(names[0])} in place of {want.get(names[0])}")

    def oracle(self, read, folder):
        """The independent reader's tensors; None if it refuses the checkpoint."""
        self.lax = False
        try:
            return read(folder)
        except Exception as e:
            self.lax = isinstance(e, reader.Unreadable)
            self.refusal = f"{type(e).__name__}: {e}"[:200]
            return None

    def refused(self, what):
        """bridge says 0, the independent reader does not."""
        if not self.lax:
            raise Failure(f"silent: {what} says 0, the other reader: {self.refusal}")

    def inspect(self, read, folder):
        """What bridge lists is what the other reader reads; what it leaves out, it says."""
        if self.run("inspect", folder, "--hash", "--json") != 0:
            return
        said = json.loads(bytes(get(self.path(".out"))))
        got = {name: (t["dtype"], tuple(t["shape"]), t["sha256"]) for name, t in said["tensors"].items()}
        odd = {}
        want = self.oracle((lambda f: read(f, odd)) if read is reader.read_td else read, self.path(folder))
        for name in set(want or {}) - set(got):
            if any(name in warning for warning in said["warnings"]):
                del want[name]
        if want is None:
            self.refused("inspect")
        for name in set(odd) & set(got):
            raise Failure(f"silent: inspect lists '{name}', the other reader: {odd[name]}")
        if want is not None:
            self.compare(got, want, "inspect --hash")

    def converted(self, status, folder, read):
        """Nothing of the destination after a failure; all of it after a success."""
        if status:
            if os.path.lexists(self.path(folder)):
                raise Failure(f"half: '{folder}' is there after status {status}")
            return None
        got = self.oracle(read, self.path(folder))
        if got is None:
            raise Failure(f"half: '{folder}' after status 0: {self.refusal}")
        return got


# ---- classes ---------------------------------------------------------------------------------------------------------


def from_hf(case, model):
    """A Hugging Face directory that was changed: read it, and take it there and back."""
    if case.rng.randrange(3) == 0:
        case.inspect(reader.read_hf, "m")
    if case.rng.randrange(4) == 0:
        case.run("generate", "m", "--input-ids", "1,2,3", "-N", "1", "--threads", "1", "-q")
        return
    skip = ["--not-strict"] if case.rng.randrange(8) == 0 else []
    status = case.run("import", "m", "--megatron-path", "td", "--no-sync", "--threads", "1", *skip)
    case.converted(status, "td", reader.read_td)
    if status:
        return
    if case.run("export", "td", "--hf-path", "h", "--no-sync", "--threads", "1", *skip) == 0 and not skip:
        want = case.oracle(reader.read_hf, case.path("m"))
        if want is None:
            case.refused("import")
            return
        case.compare(case.converted(0, "h", reader.read_hf), want, "there and back")


def from_td(case, model):
    """A torch_dist directory that was changed: read it, and make a Hugging Face model of it."""
    if case.rng.randrange(2) == 0:
        case.inspect(reader.read_td, "td")
    kind = case.rng.randrange(4)
    if kind == 0:
        case.run("generate", "--megatron-path", "td", "--input-ids", "1,2,3", "-N", "1", "--threads", "1", "-q")
        return
    if kind == 1:
        if case.run("verify", case.world.base(model), "td", "--threads", "1") == 0:
            got = case.oracle(reader.read_td, case.path("td"))
            if got is None:
                case.refused("verify")
                return
            case.compare(got, case.world.tensors[model + ".td"], "verify says that they are equal")
        return
    status = case.run("export", "td", "--hf-path", "h", "--no-sync", "--threads", "1")
    got = case.converted(status, "h", reader.read_hf)
    if got is None:
        return
    read = case.oracle(reader.read_td, case.path("td"))
    if read is None:
        case.refused("export")
    elif read == case.world.tensors[model + ".td"]:
        case.compare(got, case.world.tensors[model], "export")


def pick(case, models):
    return case.rng.choice(models)


def hf_class(change):
    def one(case):
        model = pick(case, ["dense", "moe", "sharded"])
        case.copy(model, "m")
        change(case.rng, case.path("m"))
        from_hf(case, model)
    return one


def weights(rng, folder):
    change_header(rng, rng.choice([f for f in files_below(folder) if f.endswith(".safetensors")]))


def any_bits(rng, folder):
    path = rng.choice(files_below(folder))
    if rng.randrange(10) == 0:
        odd_file(rng, path)
    else:
        put(path, change_bytes(rng, get(path)))


def config(rng, folder):
    change_json_file(rng, os.path.join(folder, "config.json"))


def index(rng, folder):
    path = os.path.join(folder, "model.safetensors.index.json")
    if not os.path.exists(path):
        names = list(reader.read_hf(folder))
        put(path, json.dumps({"weight_map": {n: "model.safetensors" for n in names}}).encode())
    change_json_file(rng, path)


def td_class(change):
    def one(case):
        model = pick(case, ["dense", "moe"])
        case.copy(model + ".td", "td")
        change(case.rng, reader.find_iteration(case.path("td")), case.path("td"))
        from_td(case, model)
    return one


def metadata(rng, folder, _):
    path = os.path.join(folder, ".metadata")
    if rng.randrange(4):
        change_pickle(rng, path)
    else:
        put(path, change_bytes(rng, get(path)))


def distcp(rng, folder, _):
    data = [f for f in files_below(folder) if f.endswith(".distcp")]
    path = rng.choice(data)
    if rng.randrange(12) == 0 and len(data) > 1:
        other = rng.choice([f for f in data if f != path])
        first, second = get(path), get(other)
        put(path, second)
        put(other, first)
    elif rng.randrange(12) == 0:
        odd_file(rng, path)
    else:
        change_archive(rng, path)


def td_side(rng, folder, root):
    names = [f for f in files_below(root) if not f.endswith((".distcp", ".metadata", "bridge_manifest.json"))]
    path = rng.choice(names)
    if rng.randrange(10) == 0:
        odd_file(rng, path)
    elif path.endswith(".pt"):
        change_archive(rng, path)
    elif path.endswith(".json") and rng.randrange(3):
        change_json_file(rng, path)
    else:
        put(path, change_bytes(rng, get(path)))


def manifest(rng, folder, _):
    path = os.path.join(folder, "bridge_manifest.json")
    j = json.loads(bytes(get(path)))
    kind = rng.randrange(5)
    if kind == 0:  # the same file twice, or one that is another's
        j["source_files"] = [rng.choice(j["source_files"]) for _ in range(rng.randrange(1, 4))]
        for row in j["source_tensors"]:
            row[3] = rng.randrange(len(j["source_files"]))
    elif kind == 1:  # rows exchanged
        a, b = rng.sample(range(len(j["source_tensors"])), 2)
        k = rng.randrange(len(j["source_tensors"][0]))
        j["source_tensors"][a][k], j["source_tensors"][b][k] = j["source_tensors"][b][k], j["source_tensors"][a][k]
    else:
        put(path, change_json(rng, get(path)))
        return
    put(path, json.dumps(j).encode())


def tokenizer(case):
    case.copy("chat", "m")
    path = case.rng.choice([f for f in files_below(case.path("m")) if re.search(r"tokenizer|vocab|merges", os.path.basename(f))])
    if case.rng.randrange(3) and path.endswith(".json"):
        change_json_file(case.rng, path)
    else:
        put(path, change_bytes(case.rng, get(path)))
    put(case.path("text"), case.rng.choice(["Hello there", "a\x00b\ufffd\u202e", "x" * 3000, "日本語 🙂\r\n\t"]).encode())
    if case.run("tokenize", "--tokenizer", "m", "text") == 0:
        shutil.copy(case.path(".out"), case.path("ids"))
        case.run("tokenize", "--tokenizer", "m", "--decode", "ids")
    case.run("generate", "m", "-p", "Hello", "-N", "2", "--threads", "1", "-q")


def chat(case):
    case.copy("chat", "m")
    template = get(case.path("m/chat_template.jinja"))
    if case.rng.randrange(3):
        put(case.path("m/chat_template.jinja"), change_template(case.rng, template))
        talk = b'[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]'
    else:
        talk = change_json(case.rng, bytearray(b'[{"role": "user", "content": "Hi", "x": [1, 2.5, null]}]'))
    put(case.path("talk"), talk)
    case.run("chat-template", "--tokenizer", "m", stdin=case.path("talk"))


def change_template(rng, b):
    words = [b"{%", b"%}", b"{{", b"}}", b"{#", b"for x in range(10**9)", b"endfor", b"|", b".", b"[", b"]", b"(", b")", b"*" * 3, b"loop",
             b"messages", b"namespace(", b"raise_exception(", b"'x' * 10**9", b"recursive", b"macro m()", b"m()", b"if", b"else", b"endif", b"~"]
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(b) + 1)
        if rng.randrange(2):
            b[at:at] = rng.choice(words)
        else:
            b = change_bytes(rng, b)
    return b


def adapter(case):
    kind = case.rng.choice(["lora", "dora"])
    case.copy("adapter." + kind, "a")
    if case.rng.randrange(2):
        change_json_file(case.rng, case.path("a/adapter_config.json"))
    else:
        change_header(case.rng, case.path("a/adapter_model.safetensors"))
    merge = ["--merge-adapter"] if case.rng.randrange(2) else []
    case.run("generate", case.world.base("adapter.model"), "--adapter", "a", "--input-ids", "1,2,3", "-N", "1", "--threads", "1", "-q", *merge)


def recipe(case):
    b = get(os.path.join(case.world.base("recipe"), "r.recipe"))
    lines = bytes(b).split(b"\n")
    for _ in range(case.rng.choice([1, 1, 3])):
        i = case.rng.randrange(len(lines))
        value = str(case.rng.choice(NUMBERS + VALUES)).encode()
        lines[i] = case.rng.choice([lines[i] + b" " + value, lines[i].split(b"=")[0] + b"= " + value, b"", lines[case.rng.randrange(len(lines))],
                                    b"$" + lines[i], bytes(change_bytes(case.rng, bytearray(lines[i])))])
    put(case.path("r.recipe"), b"\n".join(lines))
    if case.run("recipe", case.rng.choice(["show", "check"]), "r.recipe") == 0:
        case.run("recipe", "memory", "r.recipe")


def resume(case):
    """What a killed import or export left, changed; then the same command again."""
    verb, source, option, to, read, want = case.rng.choice(case.world.killed)
    case.copy(source, "source")
    partial = case.copy("partial." + verb, f".{to}.bridge-partial")
    paths = [os.path.join(d, n) for d, ds, fs in os.walk(partial) for n in ds + fs]
    kind = case.rng.randrange(4)
    if kind == 0:
        stray = os.path.join(case.rng.choice([partial] + [p for p in paths if os.path.isdir(p)]), "stray")
        case.rng.choice([lambda: put(stray, b"x"), lambda: os.mkdir(stray), lambda: os.mkfifo(stray),
                         lambda: os.symlink("/nowhere", stray)])()
    elif kind == 1:
        odd_file(case.rng, case.rng.choice(paths))
    else:
        path = case.rng.choice([p for p in paths if os.path.isfile(p)])
        put(path, change_bytes(case.rng, get(path)))
    got = case.converted(case.run(verb, "source", option, to, "--no-sync", "--threads", "1"), to, read)
    if got is None:
        return
    case.compare(got, case.world.tensors[want], "a resumed " + verb)
    more = names_below(case.path(to)) ^ case.world.names[verb]
    if more:
        raise Failure(f"silent: a resumed {verb} publishes or lacks {sorted(more)[:3]}")


def train(case):
    case.copy(case.rng.choice(["train.fr", "train.dpr"]), "td")
    folder = reader.find_iteration(case.path("td"))
    case.rng.choice([metadata, distcp, td_side])(case.rng, folder, case.path("td"))
    case.inspect(reader.read_td, "td")


# Training data.  The tokenizer has a token for each byte and no merges, so that texts and ids are the same.


def data_output(case, status, want):
    """Nothing under the output's name after a failure; after a success what the other reader makes, and no more."""
    there = sorted(n for n in os.listdir(case.dir) if n.startswith("out."))
    if status:
        if there:
            raise Failure(f"half: {there} after status {status}")
        return
    if there != ["out.bin", "out.idx"]:
        raise Failure(f"half: {there} after status 0")
    want = want()
    if not data_reader.read_tokens(case.path("out")).same(want):
        raise Failure(f"silent: other tokens: {len(want.sequences)} sequences are right")


def other_reader(read, *args):
    """Of an input that bridge took."""
    try:
        return read(*args)
    except Exception as e:
        raise Failure(f"silent: status 0, the other reader: {type(e).__name__}: {e}"[:300])


def tokens(case):
    name = case.rng.choice(["a_uint16", "b_int32", "c_uint16_small", "d_multi", "e_merged"])
    for ext in ["idx", "bin"]:
        shutil.copy(case.world.base(f"data/{name}.{ext}"), case.path(f"x.{ext}"))
    path = case.path(case.rng.choice(["x.idx", "x.idx", "x.bin"]))
    if case.rng.randrange(12) == 0:
        odd_file(case.rng, path)
    else:
        put(path, change_bytes(case.rng, get(path)))
    if case.rng.randrange(2):
        status = case.run("data", "inspect", "x", "--json")
        if status == 0:
            tokens_inspected(json.loads(bytes(get(case.path(".out")))), other_reader(data_reader.read_tokens, case.path("x")))
        return
    first, second = case.rng.choice([("x", "x"), ("x", case.world.base("data/c_uint16_small")), (case.world.base("data/d_multi"), "x")])
    status = case.run("data", "merge", first, second, "-o", "out", "--no-sync")
    data_output(case, status, lambda: tokens_merged(*[other_reader(data_reader.read_tokens, os.path.join(case.dir, p)) for p in (first, second)]))


def tokens_inspected(said, t):
    lengths, ids = [len(s) for s in t.sequences], [i for s in t.sequences for i in s]
    want = {"dtype": t.dtype, "documents": len(t.bounds) - 1, "sequences": len(lengths), "tokens": len(ids), "shortest": min(lengths, default=0),
            "longest": max(lengths, default=0), "largest_id": max(ids, default=-1), "first_ids": list(t.sequences[0][:8]) if lengths else [],
            "empty_documents": sum(a == b for a, b in zip(t.bounds, t.bounds[1:]))}
    wrong = {k: said[k] for k in want if said[k] != want[k]}
    if wrong or min(ids, default=0) < 0:
        raise Failure(f"silent: data inspect says {wrong}")


def tokens_merged(a, b):
    if a.dtype != b.dtype:
        raise Failure("silent: two dtypes are merged")
    return data_reader.Tokens(a.dtype, a.sequences + b.sequences, a.bounds + [len(a.sequences) + n for n in b.bounds[1:]])


def texts(case):
    """JSONL, a text, Parquet: to token files."""
    name = case.rng.choice(["lines.jsonl", "lines.jsonl", "text.txt", "flat_none_plain.parquet", "flat_snappy.parquet", "flat_gzip_v2.parquet"])
    path = shutil.copy(case.world.base("data/" + name), case.path(name))
    if name.endswith(".jsonl") and case.rng.randrange(2):
        lines = bytes(get(path)).split(b"\n")
        i = case.rng.randrange(len(lines))
        lines[i] = bytes(change_json(case.rng, bytearray(lines[i] or b"{}")))
        put(path, b"\n".join(lines))
    elif name.endswith(".parquet") and case.rng.randrange(2):
        put(path, change_bytes(case.rng, get(path), os.path.getsize(path) - 900))  # footer
    elif case.rng.randrange(20) == 0:
        odd_file(case.rng, path)
    else:
        put(path, change_bytes(case.rng, get(path)))
    skip = ["--skip-bad-records"] if name.endswith(".parquet") or case.rng.randrange(2) else []
    status = case.run("data", "build", name, "--tokenizer", case.world.base("bytes"), "--eod-token", "!", "-o", "out", "--no-sync", "--json",
                      "--workers", case.rng.choice(["1", "3"]), *skip)
    said = json.loads(bytes(get(case.path(".out")))) if status == 0 else {}
    data_output(case, status, lambda: texts_built(path, said["warnings"]))


def texts_built(path, warnings):
    """The documents of a file but for the records that bridge says it left out; byte 0 ends each."""
    if path.endswith(".txt"):
        records = [bytes(get(path))]
    elif path.endswith(".jsonl"):
        records = bytes(get(path)).split(b"\n")
    else:
        records = other_reader(data_reader.read_parquet, path, "text")
    left_out = {int(n) for w in warnings for n in re.findall(r", (?:line|row) ([0-9]+): ", w)[:1]}
    documents = []
    for i, record in enumerate(records, 1):
        if i in left_out or path.endswith(".jsonl") and not record.strip(b" \t\r"):
            continue
        text = other_reader(data_reader.read_text_record, record, "text") if path.endswith(".jsonl") else record
        if text is None:
            raise Failure(f"silent: row {i} has no text")
        if text:
            documents.append((*text, ord("!")))
    return data_reader.Tokens("uint16", documents, list(range(len(documents) + 1)))


CLASSES = {"st": hf_class(weights), "bits": hf_class(any_bits), "config": hf_class(config), "index": hf_class(index),
           "metadata": td_class(metadata), "distcp": td_class(distcp), "tdside": td_class(td_side), "manifest": td_class(manifest),
           "tokenizer": tokenizer, "chat": chat, "adapter": adapter, "recipe": recipe, "resume": resume, "train": train,
           "tokens": tokens, "texts": texts}


# ---- the world: what all cases start from ----------------------------------------------------------------------------


class World:
    def __init__(self, o, folder):
        self.bridge, self.data, self.seed, self.dir = os.path.abspath(o.bridge), os.path.abspath(o.data), o.seed, folder
        self.sanitized = o.sanitized
        self.patience = 5 if o.sanitized else 1
        self.slowest = 0
        self.tensors, self.names, self.killed = {}, {}, []

    def base(self, name):
        return os.path.join(self.dir, "base", name)

    def do(self, *args):
        subprocess.run([self.bridge, *args], check=True, stdout=subprocess.DEVNULL)

    def take(self, path, name):
        shutil.copytree(os.path.join(self.data, path), self.base(name))
        for d, _, names in os.walk(self.base(name)):
            for n in [d] + [os.path.join(d, f) for f in names]:
                os.chmod(n, os.stat(n).st_mode | 0o200)

    def make(self):
        os.mkdir(self.base(""))
        self.do("toy", "qwen3", "-o", self.base("dense"))
        self.do("toy", "qwen3_moe", "-o", self.base("moe"))
        for name in ["vocab.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"]:
            shutil.copy(os.path.join(self.data, "hf/qwen3_tiny_chat", name), self.base("dense"))
        for model in ["dense", "moe"]:
            self.do("import", self.base(model), "--megatron-path", self.base(model + ".td"), "--no-sync", "-q")
            self.tensors[model] = reader.read_hf(self.base(model))
            self.tensors[model + ".td"] = reader.read_td(self.base(model + ".td"))
        self.take("hf/qwen2_sharded_fp32", "sharded")
        self.take("hf/qwen3_tiny_chat", "chat")
        shutil.copy(os.path.join(self.data, "chat/chat_template.jinja"), self.base("chat"))
        self.take("adapters/qwen3_lora", "adapter.lora")
        self.take("adapters/qwen3_dora", "adapter.dora")
        shutil.copytree(self.base("chat"), self.base("adapter.model"))
        self.take("torch_dist_train/qwen3_dp1_fr/torch_dist", "train.fr")
        self.take("torch_dist_train/qwen3_dp2_dpr/torch_dist", "train.dpr")
        self.make_data()
        os.mkdir(self.base("recipe"))
        with open(os.path.join(self.base("recipe"), "r.recipe"), "wb") as f:
            subprocess.run([self.bridge, "recipe", "show", "qwen3_8b_pretrain_config"], check=True, stdout=f)
        self.kill("import", "dense", "--megatron-path", "td", reader.read_td, "dense.td")
        self.kill("export", "dense.td", "--hf-path", "h", reader.read_hf, "dense")
        if not self.killed:
            print("mutate: nothing could be killed half way: the class 'resume' is left out", flush=True)
            del CLASSES["resume"]

    def make_data(self):
        shutil.copytree(os.path.join(self.data, "data"), self.base("data"))
        for name in os.listdir(self.base("data")):
            os.chmod(self.base("data/" + name), 0o644)
        texts = ["", "Hello there.", "\u00e4\u4e16\U0001f642 \\ \"quoted\"\n\ttab", "x" * 3000, "a\x00b\x7f\ufffd"]
        lines = [json.dumps({"id": i, "text": t, "more": [1.5e3, None, {"text": True}]}, ensure_ascii=i % 2 == 0) for i, t in enumerate(texts * 3)]
        put(self.base("data/lines.jsonl"), "\n".join(lines + ["", ' {"text":"last" } ']).encode())
        put(self.base("data/text.txt"), "\n".join(texts * 40).encode())
        # as in GPT-2's bytes_to_unicode: printable bytes are themselves, the others come from 256 on
        plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = [b for b in range(256) if b not in plain]
        vocab = {chr(b if b in plain else 256 + others.index(b)): b for b in range(256)}
        os.mkdir(self.base("bytes"))
        put(self.base("bytes/tokenizer.json"), json.dumps({
            "added_tokens": [], "normalizer": None, "decoder": {"type": "ByteLevel"},
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True},
            "model": {"type": "BPE", "vocab": vocab, "merges": []}}).encode())

    def kill(self, verb, source, option, to, read, want):
        """A conversion, killed when its first data are there; it is tried until they are.  And one that ends."""
        partial, dest = self.base(f".{to}.bridge-partial"), self.base(to)
        args = [self.bridge, verb, "source", option, to, "--threads", "1"]  # names as a case has them
        shutil.copytree(self.base(source), self.base("source"), symlinks=True)
        subprocess.run(args, check=True, stdout=subprocess.DEVNULL, cwd=self.base(""))
        self.names[verb] = names_below(dest)
        for _ in range(200):
            shutil.rmtree(dest, ignore_errors=True)
            shutil.rmtree(partial, ignore_errors=True)
            p = subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.base(""))
            while p.poll() is None and not any(f.endswith((".distcp", ".safetensors")) for f in names_below(partial)):
                pass
            p.send_signal(signal.SIGKILL)
            p.wait()
            if not os.path.exists(dest) and any(f.endswith((".distcp", ".safetensors")) for f in names_below(partial)):
                os.rename(partial, self.base("partial." + verb))
                self.killed.append((verb, source, option, to, read, want))
                break
        shutil.rmtree(self.base("source"))


world = None


def run_case(number):
    """(class, what went wrong or None, runs)."""
    name = world.one or world.classes[number % len(world.classes)]
    case = Case(world, number)
    os.mkdir(case.dir)
    wrong = None
    try:
        CLASSES[name](case)
    except Exception as e:
        if not isinstance(e, Failure):
            e = "".join(traceback.format_exception(e)[-6:])  # of this program
        wrong = f"{e}\n    runs: {'; '.join(case.said)}\n    stderr: {getattr(case, 'text', '')[:300]}"
    if not (wrong and world.keep):
        shutil.rmtree(case.dir, ignore_errors=True)
    return name, wrong, len(case.said), world.slowest


def main():
    global world
    sys.setrecursionlimit(20000)  # deep JSON is made, copied and written
    p = argparse.ArgumentParser(prog="mutate", description=__doc__.split("\n\n")[1])
    p.add_argument("bridge")
    p.add_argument("data")
    p.add_argument("--cases", type=int, default=20000)
    p.add_argument("--seed", type=int, default=None)
    p.add_argument("--seconds", type=float, default=0, help="begin no case after that time; 0 = all of them")
    p.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--class", dest="one", help="only this class")
    p.add_argument("--case", type=int, help="only this case, and keep its folder if it fails")
    p.add_argument("--sanitized", action="store_true")
    o = p.parse_args()
    o.seed = o.seed if o.seed is not None else random.SystemRandom().randrange(2**32)
    with tempfile.TemporaryDirectory(prefix="bridge-mutate-") as folder:
        world = World(o, folder)
        world.make()
        world.classes = list(CLASSES)
        world.one = o.one
        world.keep = o.case is not None
        print(f"mutate: seed {o.seed}, {o.cases if o.case is None else 1} cases", flush=True)
        done, failed = judge(o)
        if world.keep and sum(failed.values()):
            kept = tempfile.mkdtemp(prefix="bridge-mutate-case-")
            shutil.copytree(os.path.join(folder, f"case-{o.case}"), os.path.join(kept, "case"), symlinks=True,
                            ignore=lambda d, names: [n for n in names if not os.path.isfile(os.path.join(d, n)) and not os.path.isdir(os.path.join(d, n))])
            print(f"mutate: kept in {kept}")
    for name, n in done.items():
        print(f"{name:10} {n:6} cases {failed[name]:4} failed")
    print(f"mutate: {sum(done.values())} cases, {sum(failed.values())} failed, seed {o.seed}")
    return 1 if sum(failed.values()) or not sum(done.values()) else 0


def judge(o):
    done, failed = collections.Counter(), collections.Counter()
    numbers = [o.case] if o.case is not None else range(o.cases)
    end, slowest = time.monotonic() + o.seconds if o.seconds else None, 0
    with concurrent.futures.ProcessPoolExecutor(o.jobs, multiprocessing.get_context("fork")) as pool:
        waiting, numbers = set(), iter(numbers)
        while True:
            while len(waiting) < 2 * o.jobs and not (end and time.monotonic() > end):
                number = next(numbers, None)
                if number is None:
                    break
                f = pool.submit(run_case, number)
                f.number = number
                waiting.add(f)
            if not waiting:
                break
            ready, waiting = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
            for f in ready:
                name, wrong, _, s = f.result()
                done[name] += 1
                slowest = max(slowest, s)
                if wrong:
                    failed[name] += 1
                    print(f"FAILED: --seed {o.seed} --class {name} --case {f.number}: {wrong}", flush=True)
    print(f"mutate: the slowest run took {slowest:.1f} s", flush=True)
    return done, failed


if __name__ == "__main__":
    sys.exit(main())
