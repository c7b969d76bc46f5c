# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""checkpoint_reader.py - the tensors of a checkpoint, read with Python's standard library alone.

An oracle for tests: it shares nothing with bridge's readers, and compares every checksum that a format has.  Both
functions return {name: (dtype, shape, sha256)}; what is odd raises Odd or what Python raises.
"""
import hashlib
import io
import json
import math
import os
import pickle
import re
import struct
import zipfile

SIZES = {"float32": 4, "float16": 2, "bfloat16": 2, "float8_e4m3fn": 1, "float64": 8, "int64": 8, "int32": 4, "int16": 2,
         "int8": 1, "uint8": 1, "bool": 1, "float8_e5m2": 1}
SAFETENSORS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
               "F64": "float64", "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool"}
STORAGES = {"FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16", "DoubleStorage": "float64",
            "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
            "ByteStorage": "uint8", "BoolStorage": "bool", "Float8_e4m3fnStorage": "float8_e4m3fn"}


class Odd(Exception):
    pass


class Unreadable(Exception):
    """Python cannot load the pickle of a .metadata; of what no tensor needs, bridge takes less notice."""


def check(truth, what):
    if not truth:
        raise Odd(what)


def unique(pairs):
    members = dict(pairs)
    check(len(members) == len(pairs), "a key twice")
    return members


def load_json(path):
    with open(path, "rb") as f:
        return json.loads(f.read().decode("utf-8"), object_pairs_hook=unique)


def is_count(n):
    return type(n) is int and 0 <= n < 2**63


def entry(dtype, shape, data):
    return dtype, tuple(shape), hashlib.sha256(data).hexdigest()


# ---- Hugging Face ----------------------------------------------------------------------------------------------------


def read_safetensors(path):
    with open(path, "rb") as f:
        blob = f.read()
    n, = struct.unpack_from("<Q", blob)
    check(8 + n <= len(blob), "header length")
    header = json.loads(blob[8:8 + n].decode("utf-8"), object_pairs_hook=unique)
    header.pop("__metadata__", None)
    data, tensors, spans = blob[8 + n:], {}, []
    for name, t in header.items():
        dtype, shape, (begin, end) = SAFETENSORS[t["dtype"]], t["shape"], t["data_offsets"]
        check(all(map(is_count, shape)) and is_count(begin) and begin <= end <= len(data), "a span")
        check(end - begin == math.prod(shape) * SIZES[dtype], "a size")
        tensors[name] = entry(dtype, shape, data[begin:end])
        spans.append((begin, end))
    at = 0
    for begin, end in sorted(spans):
        check(begin == at, "a gap or an overlap")
        at = end
    check(at == len(data), "bytes behind the tensors")
    return tensors


def read_hf(folder):
    index = os.path.join(folder, "model.safetensors.index.json")
    if not os.path.exists(index):
        return read_safetensors(os.path.join(folder, "model.safetensors"))
    where, files, tensors = load_json(index)["weight_map"], {}, {}
    for name, file in where.items():
        check(os.path.basename(file) == file, "a path")
        if file not in files:
            files[file] = read_safetensors(os.path.join(folder, file))
        tensors[name] = files[file][name]
    return tensors


# ---- torch_dist ------------------------------------------------------------------------------------------------------


class Thing:
    """Whatever a pickle builds: the class's name, the arguments and the state."""

    def __init__(self, *args):
        self.args = args
        self.state = None

    def __setstate__(self, state):
        self.state = state


class Global:
    """A global that a pickle names: a class to make, a function to call, or a value."""

    def __init__(self, name):
        self.name = name


class Reader(pickle._Unpickler):  # the one in Python, whose NEWOBJ asks for no real class
    dispatch = dict(pickle._Unpickler.dispatch)

    def __init__(self, data, storage=None):
        super().__init__(io.BytesIO(data))
        self.storage = storage

    def find_class(self, module, name):
        return Global(module + "." + name)

    def make(self, what, args):
        check(isinstance(what, Global), "a call of what is no global")
        if what.name == "torch.Size":
            return tuple(args[0])
        if what.name == "collections.OrderedDict":
            return {}
        thing = Thing(*args)
        thing.name = what.name
        return thing

    def load_newobj(self):
        args = self.stack.pop()
        self.stack.append(self.make(self.stack.pop(), args))

    def load_reduce(self):
        args = self.stack.pop()
        self.stack.append(self.make(self.stack.pop(), args))

    dispatch[pickle.NEWOBJ[0]] = load_newobj
    dispatch[pickle.REDUCE[0]] = load_reduce

    def persistent_load(self, pid):
        return self.storage(pid)


# MetadataIndex is a key of a dictionary: hashed by identity here, and looked at when the dictionary is complete.
Thing.__hash__ = object.__hash__


zipfile.MAX_EXTRACT_VERSION = 1 << 16  # torch's reader does not ask which version a record needs


def read_record(archive, name):
    """A record whole; zipfile compares names and CRC.  torch may leave the CRC out, as 0."""
    info = archive.getinfo(name)
    check(info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1, "a record that is packed")
    with archive.open(info) as f:
        if info.CRC == 0:
            f._expected_crc = None
        return f.read()


def read_tensor(item):
    """The (dtype, shape, bytes) of a torch.save of one tensor."""
    archive = zipfile.ZipFile(io.BytesIO(item))
    check(len(set(archive.namelist())) == len(archive.namelist()), "a record twice")
    root, = {n.split("/")[0] for n in archive.namelist()}

    def storage(pid):
        check(pid[0] == "storage", "a persistent id")
        return STORAGES[pid[1].name.split(".")[-1]], read_record(archive, f"{root}/data/{pid[2]}"), pid[4]

    t = Reader(read_record(archive, root + "/data.pkl"), storage).load()
    if t.name == "torch._utils._rebuild_parameter":
        t = t.args[0]
    check(t.name == "torch._utils._rebuild_tensor_v2", t.name)
    (dtype, data, n), first, shape, stride = t.args[:4]
    want = 1
    for size, step in zip(reversed(shape), reversed(stride)):
        check(size == 1 or step == want or 0 in shape, "strides")
        want *= size
    begin, size = first * SIZES[dtype], math.prod(shape) * SIZES[dtype]
    check(first >= 0 and len(data) == n * SIZES[dtype] and begin + size <= len(data), "a storage")
    return dtype, tuple(shape), data[begin:begin + size]


def place(whole, shape, size, part, offsets, sizes):
    """Copy a box into the row-major bytes of the tensor."""
    check(len(offsets) == len(sizes) == len(shape), "ranks")
    check(all(0 <= o and 0 <= s and o + s <= n for o, s, n in zip(offsets, sizes, shape)), "a box outside")
    if not shape:
        whole[:] = part
        return
    if not part:
        return
    row = sizes[-1] * size
    for at in range(0, len(part), row):
        linear, below, rest = 0, 1, at // row
        for o, s, n in zip(offsets[-2::-1], sizes[-2::-1], shape[-2::-1]):
            rest, i = divmod(rest, s)
            linear += (o + i) * below
            below *= n
        begin = (linear * shape[-1] + offsets[-1]) * size
        whole[begin:begin + row] = part[at:at + row]


def find_iteration(folder):
    """As docs/conversion.md has it: the directory itself, the tracker's, the largest iter_*, release."""
    if os.path.exists(os.path.join(folder, ".metadata")):
        return folder
    tracker = os.path.join(folder, "latest_checkpointed_iteration.txt")
    if os.path.exists(tracker):
        with open(tracker) as f:
            word = f.read().strip()
        return os.path.join(folder, word if word == "release" else f"iter_{int(word):07}")
    numbers = [int(n[5:]) for n in os.listdir(folder) if re.fullmatch("iter_[0-9]+", n)]
    return os.path.join(folder, f"iter_{max(numbers):07}" if numbers else "release")


def read_chunks(folder, name, t, items, files):
    dtype, shape = t.state["properties"].state[0].name.split(".")[-1], tuple(t.state["size"])
    check(all(map(is_count, shape)) and math.prod(shape) * SIZES[dtype] < 2**32, "a shape")
    whole, covered = bytearray(math.prod(shape) * SIZES[dtype]), 0
    for chunk in t.state["chunks"]:
        offsets, sizes = tuple(chunk.state["offsets"]), tuple(chunk.state["sizes"])
        info = items[name, offsets]
        path = info["relative_path"]
        check(os.path.basename(path) == path and not info.get("transform_descriptors"), "a path")
        if path not in files:
            with open(os.path.join(folder, path), "rb") as f:
                files[path] = f.read()
        check(info["offset"] >= 0 and 0 <= info["length"] <= len(files[path]) - info["offset"], "an item outside")
        got = read_tensor(files[path][info["offset"]:info["offset"] + info["length"]])
        check(got[:2] == (dtype, sizes), "an item of another kind")
        place(whole, shape, SIZES[dtype], got[2], offsets, sizes)
        covered += math.prod(sizes)
    check(covered == math.prod(shape), "a hole or an overlap")
    return entry(dtype, shape, bytes(whole))


def read_td(folder, odd=None):
    """odd: a dict that gets {name: why} of the tensors that cannot be read, in place of an exception."""
    folder = find_iteration(folder)
    with open(os.path.join(folder, ".metadata"), "rb") as f:
        data = f.read()
    try:
        meta = Reader(data).load().state
    except Exception as e:
        raise Unreadable(f"{type(e).__name__}: {e}") from e
    items, files = {}, {}
    for key, info in meta["storage_data"].items():
        where = key.state["fqn"], tuple(key.state["offset"]) if key.state.get("offset") is not None else None
        check(where not in items, "an item twice")
        items[where] = info.state
    tensors = {}
    for name, t in meta["state_dict_metadata"].items():
        if t.name.endswith(".BytesStorageMetadata"):
            continue
        try:
            tensors[name] = read_chunks(folder, name, t, items, files)
        except Exception as e:
            if odd is None:
                raise
            odd[name] = f"{type(e).__name__}: {e}"[:200]
    return tensors
