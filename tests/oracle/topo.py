# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""topo.py [GOLDEN] - the groups of Megatron's own RankGenerator, for every layout of every world of up to 64 ranks.

Prints tests/data/topo/groups.txt; with GOLDEN, compares instead.  Lines:
  world W layouts N dense CRC expert CRC    CRC-32 over the groups of all layouts of a world of W ranks
  groups GRID a b c d TOKENS : 0,1;2,3;     the groups themselves, of a few layouts, to read
A layout is four sizes with product W, in the order tp cp dp pp (dense grid) or tp ep dp pp (expert grid), ascending with
the first size slowest.  Each contributes its groups for every set of axes in the order of the sets' bits (tp 1, cp or ep
2, dp 4, pp 8), each set as "0,1;2,3;".
Needs megatron.core, and cpu_shim.py of the oracle folder on PYTHONPATH."""
import zlib

import cpu_shim  # noqa: F401
from megatron.core.parallel_state import RankGenerator

from golden_lib import finish

ORDER = "tp-cp-ep-dp-pp"
GRIDS = {"dense": ("tp", "cp", "dp", "pp"), "expert": ("tp", "ep", "dp", "pp")}
SHOWN = [
    ("dense", (2, 1, 2, 2)),
    ("dense", (2, 2, 2, 2)),
    ("dense", (3, 2, 1, 2)),
    ("expert", (2, 2, 1, 2)),
    ("expert", (1, 4, 2, 2)),
    ("expert", (2, 2, 3, 1)),
]


def generator(grid, sizes):
    axes = {"tp": 1, "cp": 1, "ep": 1, "dp": 1, "pp": 1} | dict(zip(GRIDS[grid], sizes))
    return RankGenerator(order=ORDER, **axes)


def tokens(grid, bits):
    return "-".join(name for i, name in enumerate(GRIDS[grid]) if bits >> i & 1)


def groups(gen, token):
    return "".join(",".join(map(str, g)) + ";" for g in gen.get_ranks(token))


def layouts(world):
    sizes = [n for n in range(1, world + 1) if world % n == 0]
    return [
        (a, b, c, world // (a * b * c))
        for a in sizes
        for b in sizes
        for c in sizes
        if world % (a * b * c) == 0
    ]


def crc(grid, world):
    value = 0
    for sizes in layouts(world):
        gen = generator(grid, sizes)
        for bits in range(1, 16):
            value = zlib.crc32(groups(gen, tokens(grid, bits)).encode(), value)
    return value


def golden():
    for world in range(1, 65):
        n = len(layouts(world))
        yield f"world {world} layouts {n} dense {crc('dense', world):08x} expert {crc('expert', world):08x}"
    for grid, sizes in SHOWN:
        gen = generator(grid, sizes)
        for bits in range(1, 16):
            token = tokens(grid, bits)
            yield f"groups {grid} {' '.join(map(str, sizes))} {token} : {groups(gen, token)}"


finish(golden())
