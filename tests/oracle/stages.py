# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""stages.py [GOLDEN] - which layers Megatron's own configuration gives each pipeline stage, or that it refuses.

Prints tests/data/topo/stages.txt; with GOLDEN, compares instead.  Lines:
  LAYERS MTP PP VPP FIRST LAST EMBEDDING LOSS LAYOUT : CHUNKS : STAGES : STAGES
VPP, FIRST, LAST 0 and LAYOUT - are not set.  CHUNKS, in the model's order, are FIRST_LAYER+LAYERS, and +MTP where there
are prediction layers; or the word refused.  STAGES are those whose ranks share the embedding's gradient, of an untied
model and of a tied one: Megatron Bridge's own _get_embedding_ranks.  Asked are TransformerConfig, PipelineParallelLayerLayout,
get_num_layers_to_build and get_transformer_layer_offset.  There is no line where the last divides by zero (interleaved,
both ends given and no stage between), or where the chunks have not all layers (both ends given, and more than there are).  Not asked are layouts whose first or last stage has no embedding
or no loss: Megatron takes them and puts both at the ends all the same.
Needs Megatron Bridge, and cpu_shim.py of the oracle folder on PYTHONPATH."""
import itertools
import logging
import random

logging.disable(logging.INFO)  # which Megatron Bridge prints among the lines

import cpu_shim  # noqa: F401
import torch
from megatron.bridge.training.setup import _get_embedding_ranks
from megatron.core import parallel_state as ps
from megatron.core.transformer.enums import LayerType
from megatron.core.transformer.transformer_block import get_num_layers_to_build
from megatron.core.transformer.transformer_config import TransformerConfig
from megatron.core.transformer.transformer_layer import get_transformer_layer_offset

from golden_lib import finish

LAYOUTS = """Et|L Et|tL Ett|tt|ttL E|(t|)*8L Ettt|(tt|)*2,tmL Et*3|(tt|)*3m|L (Et|)*1t|L Et||L E|t*2,|tL Ettt|tttL
Et*2*3|L E(t|)*3,L E((t|)*2)*2L E(t)|L Et*0t|L Ett|mtL Et|t|mL Em|tL Etm|tL Et|tm|L Et|tmm|L Et|m|mL Et|tLm EE|tL Et|LL
Etx|L Et-L Ett(|ttL E)t|L E(tt|tt|)*2mL ,E,t,|,L, Et|t|t|tL E|tt|ttt|L Et|tt|tt|tL Ett|tt|tmm|L Et|tt|m|L ()*2Et|L
E(t*2|)*2L E(t*2|tt|)*1L E*1t|L Et|L*1 E|t|L|""".split()


def config(layers, mtp, pp, vpp, first, last, embedding, loss, layout):
    return TransformerConfig(
        num_layers=layers,
        hidden_size=8,
        num_attention_heads=1,
        pipeline_model_parallel_size=pp,
        virtual_pipeline_model_parallel_size=vpp or None,
        pipeline_dtype=torch.float32,
        mtp_num_layers=mtp or None,
        num_layers_in_first_pipeline_stage=first or None,
        num_layers_in_last_pipeline_stage=last or None,
        account_for_embedding_in_pipeline_split=bool(embedding),
        account_for_loss_in_pipeline_split=bool(loss),
        pipeline_model_parallel_layout=layout,
    )


def chunks(case):
    mtp, pp, layout = case[1], case[2], case[8]
    cfg = config(*case)
    vpp = cfg.virtual_pipeline_model_parallel_size
    if vpp and pp == 1:
        raise ValueError("initialize_model_parallel refuses")
    ps._VIRTUAL_PIPELINE_MODEL_PARALLEL_WORLD_SIZE = vpp
    out, total = [], 0
    for c, s in itertools.product(range(vpp or 1), range(pp)):
        stage = c if vpp else None
        ps._MPU_PIPELINE_MODEL_PARALLEL_RANK = s
        ps.get_pipeline_model_parallel_rank = lambda s=s: s
        n = get_num_layers_to_build(cfg, vp_stage=stage, pp_rank=s)
        first = get_transformer_layer_offset(cfg, vp_stage=stage, pp_rank=s)
        if layout:
            m = cfg.pipeline_model_parallel_layout.get_num_layers_to_build(LayerType.mtp, stage, s)
        else:
            m = mtp if c == (vpp or 1) - 1 and s == pp - 1 else 0
        out.append(f"{first}+{n}" + (f"+{m}" if m else ""))
        total += n
        if n < 0:
            return None
    return " ".join(out) if total == case[0] else None


def embedding_stages(case, tied):
    cfg = config(*case)
    cfg.share_embeddings_and_output_weights = tied
    return ",".join(map(str, _get_embedding_ranks(list(range(case[2])), model_config=cfg)))


def ask(case):
    try:
        found = chunks(case)
        return found and " : ".join((found, embedding_stages(case, False), embedding_stages(case, True)))
    except (AssertionError, ValueError, RuntimeError, IndexError):
        return "refused"
    except ZeroDivisionError:
        return None


def ends_hold(layout):
    """Not a layout that Megatron takes though the embedding or the loss is not at its end."""
    return not layout.startswith(("|", ",|")) and not layout.endswith("|")


def random_layout(rng):
    stage = lambda: "t" * rng.randint(0, 3)
    parts = ["E" + stage()] + [stage() for _ in range(rng.randint(0, 6))] + [stage() + "L"]
    if rng.random() < 0.4:
        parts[rng.randrange(len(parts))] += "m" * rng.randint(1, 2)
        parts[-1] = parts[-1].replace("L", "") + "L"
    text = "|".join(parts)
    if rng.random() < 0.5:
        at = rng.randrange(1, len(text))
        end = rng.randrange(at, len(text))
        text = text[:at] + "(" + text[at:end] + ")*" + str(rng.randint(1, 3)) + text[end:]
    if rng.random() < 0.3:
        at = rng.randrange(1, len(text))
        text = text[:at] + "*" + str(rng.randint(0, 3)) + text[at:]
    return text


def cases():
    for layers, pp, vpp in itertools.product((4, 6, 8, 12, 14), (1, 2, 3, 4), (0, 1, 2, 3)):
        for embedding, loss in itertools.product((0, 1), (0, 1)):
            yield (layers, 0, pp, vpp, 0, 0, embedding, loss, None)
    for layers, pp, vpp, first, last in itertools.product((6, 8, 12), (1, 2, 3, 4), (0, 2), (0, 1, 2, 4), (0, 2, 3, 4)):
        if first or last:
            yield (layers, 0, pp, vpp, first, last, 0, 0, None)
    yield (8, 1, 2, 0, 0, 0, 0, 0, None)
    yield (8, 1, 2, 2, 0, 0, 0, 0, None)
    yield (8, 0, 2, 0, 2, 0, 1, 0, None)
    yield (8, 0, 2, 0, 0, 0, 1, 0, "Etttt|ttttL")
    yield (8, 0, 2, 0, 4, 0, 0, 0, "Etttt|ttttL")
    rng = random.Random(20)
    for text in [text for text in LAYOUTS if ends_hold(text)] + [random_layout(rng) for _ in range(200)]:
        count = config_count(text)
        for pp in (2, 3):
            yield (count[0], count[1], pp, 0, 0, 0, 0, 0, text)
        yield (count[0], count[1], 2, 2, 0, 0, 0, 0, text)
        if text in LAYOUTS:
            yield (count[0], count[1], 1, 0, 0, 0, 0, 0, text)
            yield (count[0] + 1, count[1], 2, 0, 0, 0, 0, 0, text)
            yield (count[0], count[1] + 1, 2, 0, 0, 0, 0, 0, text)


def config_count(text):
    """Decoder and prediction layers of a layout; of one that Megatron cannot read, what stands there."""
    from megatron.core.transformer.pipeline_parallel_layer_layout import PipelineParallelLayerLayout as Layout

    try:
        flat = [layer for stage in Layout.parse_str_to_list(text) for layer in stage]
        return max(flat.count(LayerType.decoder), 1), flat.count(LayerType.mtp)
    except (AssertionError, KeyError):
        return max(text.count("t"), 1), text.count("m")


def golden():
    for case in dict.fromkeys(cases()):
        answer = ask(case)
        if answer:
            yield f"{' '.join(str(x) for x in case[:8])} {case[8] or '-'} : {answer}"


finish(golden())
