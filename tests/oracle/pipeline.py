# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""pipeline.py [GOLDEN] - what Megatron's own pipeline schedules do on every stage.

Prints tests/data/topo/pipeline.txt; with GOLDEN, compares instead.  Megatron's functions
forward_backward_pipelining_without_interleaving and ..._with_interleaving run as they are; replaced are the forward and
the backward pass, which only write down their micro batch and chunk, and the communicator, which writes down what is sent
and received.  Lines:
  run PP VPP M GROUP FORWARD_ONLY     and for each of its stages
  stage S warmup W : JOBS             W as get_pp_rank_microbatches says
  more PP VPP M GROUP FORWARD_ONLY CRC
JOBS are F or B with micro batch and chunk, "F0.1"; before each, in brackets and sorted, what is exchanged since the job
before it: a (activation) or g (gradient), > sent or < received, and of which of this stage's micro batches and chunks.
CRC-32 is over the stage lines of another run, each with its newline.
VPP 1 is the schedule without interleaving.  Needs megatron.core, and cpu_shim.py of the oracle folder on PYTHONPATH."""
import zlib
from types import SimpleNamespace

import cpu_shim  # noqa: F401
import torch
from megatron.core.pipeline_parallel import schedules
from megatron.core.process_groups_config import ProcessGroupCollection

from golden_lib import finish


class Group:
    def __init__(self, rank, size):
        self.r, self.n = rank, size

    def rank(self):
        return self.r

    def size(self):
        return self.n


class Config:
    """Every field that is not set is None."""

    def __init__(self, **fields):
        self.__dict__.update(fields)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return None


class Recorder:
    """The communicator of one stage, and the list of what happens there."""

    def __init__(self, stage, pp, vpp, config):
        self.pp_group, self.config, self.log = Group(stage, pp), config, []
        self.total_stages, self.current_stage = pp, stage
        self.virtual_pipeline_model_parallel_size = vpp if vpp > 1 else None
        self.is_pp_first_stage, self.is_pp_last_stage = stage == 0, stage == pp - 1

    def send(self, kind, tensor):
        if tensor is not None:
            self.log.append((kind + ">", tensor))

    def recv(self, kind, wanted):
        if not wanted:
            return None
        tensor = torch.zeros(1, requires_grad=True)
        self.log.append((kind + "<", tensor))
        return tensor

    def recv_forward(self, shapes, is_first_stage):
        return self.recv("a", not is_first_stage)

    def recv_backward(self, shapes, is_last_stage):
        return self.recv("g", not is_last_stage)

    def send_forward(self, tensor, is_last_stage):
        self.send("a", None if is_last_stage else tensor)

    def send_backward(self, tensor, is_first_stage):
        self.send("g", None if is_first_stage else tensor)

    def send_forward_recv_backward(self, tensor, shapes, is_last_stage):
        self.send_forward(tensor, is_last_stage)
        return self.recv_backward(shapes, is_last_stage)

    def send_backward_recv_forward(self, tensor, shapes, is_first_stage):
        self.send_backward(tensor, is_first_stage)
        return self.recv_forward(shapes, is_first_stage)

    def send_forward_recv_forward(self, tensor, recv_prev, tensor_shape):
        self.send("a", tensor)
        return self.recv("a", recv_prev)

    def send_backward_recv_backward(self, tensor, recv_next, tensor_shape):
        self.send("g", tensor)
        return self.recv("g", recv_next)

    def send_forward_backward_recv_forward_backward(self, out, grad, recv_prev, recv_next, tensor_shape):
        self.send("a", out)
        self.send("g", grad)
        return self.recv("a", recv_prev), self.recv("g", recv_next)


def tagged(tag):
    tensor = torch.zeros(1, requires_grad=True)
    tensor.tag = tag
    return tensor


def record(stage, pp, vpp, m, group, forward_only):
    config = Config(
        hidden_size=1,
        virtual_pipeline_model_parallel_size=vpp if vpp > 1 else None,
        pipeline_model_parallel_size=pp,
        microbatch_group_size_per_vp_stage=group,
        pipeline_dtype=torch.float32,
    )
    comm = Recorder(stage, pp, vpp, config)
    chunks = []
    for c in range(vpp):
        chunk = torch.nn.Module()
        chunk.config, chunk.number, chunk.model_type = config, c, None
        chunks.append(chunk)

    def forward_step(func, data, model, n, input_tensor, *_, current_microbatch=None, **__):
        tag = (current_microbatch, model.number)
        if input_tensor is not None:
            input_tensor.tag = tag
        comm.log.append(("F", tagged(tag)))
        return tagged(tag), torch.zeros([], dtype=torch.int)

    def backward_step(input_tensor, output_tensor, output_grad, _):
        if output_grad is not None:
            output_grad.tag = output_tensor.tag
        comm.log.append(("B", tagged(output_tensor.tag)))
        return tagged(output_tensor.tag)

    schedules.forward_step, schedules.backward_step = forward_step, backward_step
    torch.distributed.is_initialized = lambda: True  # else every rank takes itself for the first
    groups = ProcessGroupCollection()
    groups.tp = groups.cp = Group(0, 1)
    groups.pp = comm.pp_group
    run = (
        schedules.forward_backward_pipelining_with_interleaving
        if vpp > 1
        else schedules.forward_backward_pipelining_without_interleaving
    )
    run(
        forward_step_func=None,
        data_iterator=[None] * vpp,
        model=chunks,
        num_microbatches=m,
        seq_length=1,
        micro_batch_size=1,
        forward_only=forward_only,
        p2p_communicator=comm,
        pg_collection=groups,
    )
    warmup = schedules.get_pp_rank_microbatches(m, vpp, group, forward_only=forward_only, p2p_communicator=comm)[2]
    return comm.log, warmup


def text(log):
    out, messages = [], []
    for what, tensor in log:
        name = f"{tensor.tag[0]}.{tensor.tag[1]}"
        if what in "FB":
            out.append(f"[{' '.join(sorted(messages))}]{what}{name}")
            messages = []
        else:
            messages.append(what + name)
    return " ".join(out) + f" [{' '.join(sorted(messages))}]"


def lines(pp, vpp, m, group, forward_only):
    for stage in range(pp):
        log, warmup = record(stage, pp, vpp, m, group, forward_only)
        yield f"stage {stage} warmup {warmup} : {text(log)}"


SHOWN = [(2, 1, 3, 2, 0), (4, 1, 2, 4, 0), (2, 2, 4, 2, 0), (3, 2, 6, 3, 0), (2, 2, 5, 3, 0), (2, 2, 2, 2, 1)]


def runs():
    for pp in (2, 3, 4, 5, 8):
        for m in range(1, 2 * pp + 2):
            for forward_only in (0, 1):
                yield (pp, 1, m, pp, forward_only)
        for vpp in (2, 3, 4):
            for m in range(pp, 2 * pp + 3):
                for group in range(pp, m + 1):
                    if m % group == 0 or m % group >= pp:
                        for forward_only in (0, 1):
                            yield (pp, vpp, m, group, forward_only)


def golden():
    for run in SHOWN:
        yield "run " + " ".join(map(str, run))
        yield from lines(*run)
    for run in runs():
        crc = zlib.crc32("".join(line + "\n" for line in lines(*run)).encode())
        yield f"more {' '.join(map(str, run))} {crc:08x}"


finish(golden())
