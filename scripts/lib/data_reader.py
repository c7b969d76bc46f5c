# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""data_reader.py - the documents of training data, read with Python's standard library alone.

An oracle for tests, which shares nothing with bridge's readers: Megatron's token files, JSONL, and flat columns of
texts in Parquet.  What is odd raises Odd or what Python raises.
"""
import json
import struct
import zlib

DTYPES = {1: ("uint8", "B"), 2: ("int8", "b"), 3: ("int16", "h"), 4: ("int32", "i"), 5: ("int64", "q"), 8: ("uint16", "H")}


class Odd(Exception):
    pass


def check(truth, what):
    if not truth:
        raise Odd(what)


# ---- token files -----------------------------------------------------------------------------------------------------


class Tokens:
    """dtype, sequences (tuples of ids), bounds (document i is sequences bounds[i] to bounds[i + 1])."""

    def __init__(self, dtype, sequences, bounds):
        self.dtype, self.sequences, self.bounds = dtype, sequences, bounds

    def same(self, other):
        return (self.dtype, self.sequences, self.bounds) == (other.dtype, other.sequences, other.bounds)


def read_tokens(prefix):
    with open(prefix + ".idx", "rb") as f:
        idx = f.read()
    with open(prefix + ".bin", "rb") as f:
        data = f.read()
    check(idx[:9] == b"MMIDIDX\0\0", "the magic")
    version, code, n, n_bounds = struct.unpack_from("<QBQQ", idx, 9)
    check(version == 1 and n_bounds > 0, "the header")
    dtype, letter = DTYPES[code]
    size, rest = struct.calcsize(letter), len(idx) - 34
    check(rest in (12 * n + 8 * n_bounds, 13 * n + 8 * n_bounds), "the size of the .idx")
    lengths = struct.unpack_from(f"<{n}i", idx, 34)
    offsets = struct.unpack_from(f"<{n}q", idx, 34 + 4 * n)
    bounds = struct.unpack_from(f"<{n_bounds}q", idx, 34 + 12 * n)
    check(bounds[0] == 0 and bounds[-1] == n and list(bounds) == sorted(bounds), "the documents")
    sequences = []
    for length, offset in zip(lengths, offsets):
        check(length >= 0 and 0 <= offset <= len(data) - length * size, "a sequence outside")
        sequences.append(struct.unpack_from(f"<{length}{letter}", data, offset))
    return Tokens(dtype, sequences, list(bounds))


# ---- JSONL -----------------------------------------------------------------------------------------------------------


def no_constant(name):
    raise Odd(name)


def read_text_record(line, key):
    """The text of a line of JSONL."""
    twice = []

    def members(pairs):
        names = [name for name, _ in pairs]
        twice.append(names.count(key) > 1)
        return dict(pairs)

    record = json.loads(line.decode("utf-8"), object_pairs_hook=members, parse_constant=no_constant)
    check(type(record) is dict and not twice[-1] and type(record[key]) is str, "a record")
    return record[key].encode("utf-8")  # fails for half a surrogate pair


# ---- Parquet: one flat column of texts -------------------------------------------------------------------------------


class Thrift:
    """The compact protocol: a struct is {field: value}; of a field that comes twice the last, as Thrift's readers do."""

    def __init__(self, b, at):
        self.b, self.at = b, at

    def byte(self):
        check(self.at < len(self.b), "cut off")
        self.at += 1
        return self.b[self.at - 1]

    def varint(self):
        v = shift = 0
        while True:
            one = self.byte()
            v |= (one & 127) << shift
            shift += 7
            if one < 128:
                return v
            check(shift < 70, "a long number")

    def number(self):
        v = self.varint()
        return v >> 1 ^ -(v & 1)

    def take(self, n):
        check(n <= len(self.b) - self.at, "cut off")
        self.at += n
        return self.b[self.at - n:self.at]

    def value(self, kind):
        if kind in (1, 2):
            return kind == 1
        if kind == 3:
            return self.byte()
        if kind in (4, 5, 6):
            return self.number()
        if kind == 7:
            return struct.unpack("<d", self.take(8))[0]
        if kind == 8:
            return bytes(self.take(self.varint()))
        if kind in (9, 10):
            head = self.byte()
            n = head >> 4 if head >> 4 < 15 else self.varint()
            check(n <= len(self.b), "a long list")
            kind = head & 15
            return [self.byte() == 1 if kind in (1, 2) else self.value(kind) for _ in range(n)]
        if kind == 12:
            return self.struct()
        raise Odd(f"type {kind}")

    def struct(self):
        members, name = {}, 0
        while True:
            head = self.byte()
            if head & 15 == 0:
                return members
            name = name + (head >> 4) if head >> 4 else self.number()
            members[name] = self.value(head & 15)


def snappy(b, size):
    t, out = Thrift(b, 0), bytearray()
    check(t.varint() == size, "a size")
    while t.at < len(b):
        tag = t.byte()
        kind, n = tag & 3, tag >> 2
        if kind == 0:
            if n >= 60:
                n = int.from_bytes(t.take(n - 59), "little")
            out += t.take(n + 1)
            continue
        if kind == 1:
            n, back = (n & 7) + 4, tag >> 5 << 8 | t.byte()
        else:
            n, back = n + 1, int.from_bytes(t.take(2 if kind == 2 else 4), "little")
        check(0 < back <= len(out) and len(out) + n <= size, "a copy")
        for _ in range(n):
            out.append(out[-back])
    check(len(out) == size, "a size")
    return bytes(out)


def inflate(codec, b, size):
    check(size < 1 << 26, "a large page")
    if codec == 1:
        return snappy(b, size)
    if codec == 2:
        d = zlib.decompressobj(47)
        b = d.decompress(b, size + 1)
        check(d.eof and not d.unused_data, "gzip")
    else:
        check(codec == 0, "a codec")
    check(len(b) == size, "a size")
    return b


def hybrid(b, width, n):
    """n numbers as runs and packed bits."""
    t, out = Thrift(b, 0), []
    while len(out) < n:
        head = t.varint()
        count = head >> 1
        check(count > 0, "an empty run")
        if head & 1:
            m = min(8 * count, n - len(out))
            check((m * width + 7) // 8 <= len(b) - t.at, "cut off")
            packed = t.take(min(count * width, len(b) - t.at))
            bits = int.from_bytes(packed, "little")
            out += [bits >> i * width & (1 << width) - 1 for i in range(m)]
        else:
            v = int.from_bytes(t.take((width + 7) // 8), "little")
            out += [v] * min(count, n - len(out))
    return out


def plain_texts(b, n):
    t = Thrift(b, 0)
    return [bytes(t.take(int.from_bytes(t.take(4), "little"))) for _ in range(n)]


def page_texts(head, raw, codec, optional, words):
    """The values of a data page; None where there is none."""
    size = head[2]
    if head[1] == 3:
        h, skip = head[8], head[8][5] + head[8][6]
        check(head[8][6] == 0 and 0 <= head[8][5] <= min(len(raw), size), "levels")
        n, encoding, levels = h[1], h[4], raw[:skip]
        body = inflate(codec if h.get(7, True) else 0, raw[skip:], size - skip)
        defined = hybrid(levels, 1, n) if optional else [1] * n
    else:
        h, body = head[5], inflate(codec, raw, size)
        n, encoding, defined = h[1], h[2], [1] * h[1]
        if optional:
            k = int.from_bytes(body[:4], "little")
            check(h[3] == 3 and 4 + k <= len(body), "levels")
            defined, body = hybrid(body[4:4 + k], 1, n), body[4 + k:]
    check(set(defined) <= {0, 1} and n < 1 << 24, "levels")
    if encoding == 0:
        values = plain_texts(body, sum(defined))
    else:
        check(encoding in (2, 8), "an encoding")
        values = [words[i] for i in hybrid(body[1:], body[0], sum(defined))] if sum(defined) else []
    values = iter(values)
    return [next(values) if d else None for d in defined]


def chunk_texts(b, chunk, optional):
    m, out, words = chunk[3], [], None
    check(1 not in chunk, "another file")
    begin = m[11] if 0 < m.get(11, 0) < m[9] else m[9]
    end = begin + m[7]
    check(4 <= begin <= end <= len(b) - 8, "a chunk")
    t = Thrift(b, begin)
    while len(out) < m[5]:
        head = t.struct()
        raw = t.take(head[3])
        check(t.at <= end, "a page outside")
        if head[1] == 2:
            check(head[7][2] in (0, 2), "an encoding")
            words = plain_texts(inflate(m[4], raw, head[2]), head[7][1])
        elif head[1] in (0, 3):
            out += page_texts(head, raw, m[4], optional, words)
    check(len(out) == m[5], "more values than there should be")
    return out


def read_parquet(path, name):
    """The texts of a flat column, None where a row has none."""
    with open(path, "rb") as f:
        b = f.read()
    check(b[:4] == b[-4:] == b"PAR1", "the magic")
    at = len(b) - 8 - int.from_bytes(b[-8:-4], "little")
    check(at >= 4, "the footer")
    meta = Thrift(b, at).struct()
    schema, leaf = meta[2], None
    check(all(5 not in node for node in schema[1:]) and schema[0][5] == len(schema) - 1, "a nested schema")
    for i, node in enumerate(schema[1:]):
        if leaf is None and node[4] == name.encode():
            leaf, kind = i, node
    check(leaf is not None and kind[1] == 6 and kind[3] in (0, 1), "the column")
    rows = []
    for group in meta[4]:
        check(len(group[1]) == len(schema) - 1, "a row group")
        texts = chunk_texts(b, group[1][leaf], kind[3] == 1)
        check(len(texts) == group[3], "the number of rows")
        rows += texts
    check(len(rows) == meta[3], "the number of rows")
    return rows
