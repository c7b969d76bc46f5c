# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""groups.py [GOLDEN] - the groups that Megatron's own initialize_model_parallel makes, on every rank.

Prints tests/data/topo/parallel_state.txt; with GOLDEN, compares instead.  Lines:
  topo TP CP PP EP ETP WORLD       the sizes of what follows
  NAME 0,1;2,3;                    all groups of that name by their first ranks; a rank may be in none
  more TP CP PP EP ETP WORLD CRC   CRC-32 over the lines of another layout, each with its newline
Every rank is asked which groups it is in.  Replaced: torch's own rank, world size and new_group, so that one process can
be any rank; a group is then the list of ranks that Megatron asked for.
Needs megatron.core, and cpu_shim.py of the oracle folder on PYTHONPATH."""
import itertools
import zlib

import cpu_shim  # noqa: F401
import torch.distributed as dist
from megatron.core import parallel_state as ps

from golden_lib import finish

GROUPS = {
    "tp": "_TENSOR_MODEL_PARALLEL_GROUP",
    "pp": "_PIPELINE_MODEL_PARALLEL_GROUP",
    "dp": "_DATA_PARALLEL_GROUP",
    "ep_etp": "_EXPERT_TENSOR_AND_MODEL_PARALLEL_GROUP",
    "edp": "_EXPERT_DATA_PARALLEL_GROUP",
    "cp": "_CONTEXT_PARALLEL_GROUP",
    "dp_cp": "_DATA_PARALLEL_GROUP_WITH_CP",
    "tp_cp": "_TENSOR_AND_CONTEXT_PARALLEL_GROUP",
    "tp_dp_cp": "_TENSOR_AND_DATA_PARALLEL_GROUP_WITH_CP",
    "tp_pp": "_MODEL_PARALLEL_GROUP",
    "ep": "_EXPERT_MODEL_PARALLEL_GROUP",
    "etp": "_EXPERT_TENSOR_PARALLEL_GROUP",
    "ep_etp_pp": "_EXPERT_TENSOR_MODEL_PIPELINE_PARALLEL_GROUP",
    "embed": "_EMBEDDING_GROUP",
}
SHOWN = [(2, 2, 2, 1, 1, 16), (2, 1, 3, 2, 2, 12), (2, 1, 2, 4, 1, 16), (1, 2, 4, 2, 1, 8)]


def groups_of(rank, layout):
    tp, cp, pp, ep, etp, world = layout
    dist.is_initialized = lambda: True
    dist.get_world_size = lambda *_: world
    dist.get_rank = lambda *_: rank
    ps.create_group = lambda ranks, **_: tuple(ranks)
    ps.initialize_model_parallel(
        tensor_model_parallel_size=tp,
        context_parallel_size=cp,
        pipeline_model_parallel_size=pp,
        expert_model_parallel_size=ep,
        expert_tensor_parallel_size=etp,
        create_gloo_process_groups=False,
    )
    found = {name: getattr(ps, variable) for name, variable in GROUPS.items()}
    ps.destroy_model_parallel()
    return found


def lines(layout):
    ranks = [groups_of(rank, layout) for rank in range(layout[-1])]
    for name in GROUPS:
        groups = sorted({r[name] for r in ranks if r[name]})
        yield f"{name} " + "".join(",".join(map(str, g)) + ";" for g in groups)


def layouts():
    for tp, cp, pp, ep, etp in itertools.product((1, 2, 3), (1, 2), (1, 2, 3), (1, 2, 4), (1, 2)):
        for world in (4, 6, 8, 12, 16, 24):
            fits = world % (tp * cp * pp) == 0 and world % (etp * ep * pp) == 0
            if fits:
                yield (tp, cp, pp, ep, etp, world)


def golden():
    for layout in SHOWN:
        yield "topo " + " ".join(map(str, layout))
        yield from lines(layout)
    for layout in layouts():
        crc = zlib.crc32("".join(line + "\n" for line in lines(layout)).encode())
        yield f"more {' '.join(map(str, layout))} {crc:08x}"


finish(golden())
