# Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0
"""Writes tests/data/kernels/*.safetensors: what torch makes of the inputs of each engine op.

    python tests/oracle/make_kernel_goldens.py tests/data/kernels

needs torch, transformers and safetensors.  A file holds cases; the inputs of case X are X/in.0,
X/in.1, .., its output X/out and, where an op changes an input (a state), X/after.N.  The file's
metadata "cases" is JSON: {X: {"op": name, "i": [..], "f": [..], "tol": relative L2}}.

Sums are formed in float64 from float32 inputs, gradients by autograd, except where transformers' own
function is the definition (gated delta rule), which works in float32."""
import json
import math
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers.models.qwen3_next import modeling_qwen3_next as next_model

G = torch.Generator().manual_seed(4)
FILES = {}


def randn(*shape, scale=1.0):
    return torch.randn(*shape, generator=G) * scale


def ints(*values):
    return torch.tensor(values, dtype=torch.int32)


def case(file, name, op, inputs, out, i=(), f=(), tol=1e-6, after=None):
    tensors, cases = FILES.setdefault(file, ({}, {}))
    assert name not in cases
    for n, x in enumerate(inputs):
        tensors[f"{name}/in.{n}"] = x.detach().clone().contiguous()
    out = out.detach()
    tensors[f"{name}/out"] = (out if out.dtype == torch.int32 else out.float()).clone().contiguous()
    for n, x in (after or {}).items():
        tensors[f"{name}/after.{n}"] = x.detach().clone().contiguous()
    cases[name] = {"op": op, "i": list(i), "f": list(f), "tol": tol}


def grads(fn, inputs, y):
    """Gradients of sum(fn(inputs) * y), in float64."""
    xs = [x.double().requires_grad_() for x in inputs]
    (fn(*xs) * y.double()).sum().backward()
    return [x.grad for x in xs]


# ---- elementwise -----------------------------------------------------------------------------------


def pointwise():
    T, n = 5, 37
    a, b, y = randn(T, n), randn(T, n), randn(T, n)
    a3, b3 = randn(2, 3, 19), randn(2, 3, 19)
    row, col = randn(n), randn(T, 1)
    f = "pointwise"
    case(f, "add", "ADD", [a, b], a.double() + b)
    case(f, "add3", "ADD", [a3, b3], a3.double() + b3)
    case(f, "add1", "ADD", [row, b[0]], row.double() + b[0])
    case(f, "mul", "MUL", [a, b], a.double() * b)
    case(f, "scale", "SCALE", [a], a.double() * 0.37, f=[0.37])
    case(f, "add_row", "ADD_ROW", [a, row], a.double() + row)
    case(f, "mul_row", "MUL_ROW", [a, row], a.double() * row)
    case(f, "mul_col", "MUL_COL", [a, col], a.double() * col)
    case(f, "dot_rows", "DOT_ROWS", [a, b], (a.double() * b).sum(1, keepdim=True))
    case(f, "fill_rows", "FILL_ROWS", [row], row.expand(4, n), i=[4])
    many = randn(300, 40)
    case(f, "sum_rows", "SUM_ROWS", [many], many.double().sum(0))
    gate = torch.cat([randn(T, n - 8, scale=4), torch.tensor([[-200.0, -90, -30, -1, 0, 30, 90, 200]]).expand(T, 8)], 1)
    swiglu = lambda g, u: F.silu(g) * u
    case(f, "swiglu", "SWIGLU", [gate, b], swiglu(gate.double(), b.double()))
    case(f, "swiglu_dgate", "SWIGLU_DGATE", [gate, b, y], grads(swiglu, [gate, b], y)[0])
    s = torch.sigmoid(gate.double())
    case(f, "sigmoid", "SIGMOID", [gate], s)
    case(f, "sigmoid_grad", "SIGMOID_GRAD", [s.float(), y], s.float().double() * (1 - s.float().double()) * y)
    x = randn(4, 67, scale=5)
    x[1, 3] = 300
    x[2, 5:] = -float("inf")
    case(f, "softmax", "SOFTMAX", [x], x.double().softmax(-1))
    p, y = randn(4, 67).softmax(-1), randn(4, 67)
    case(f, "softmax_grad", "SOFTMAX_GRAD", [p, y], p.double() * (y - (p.double() * y).sum(-1, keepdim=True)))


# ---- rows -------------------------------------------------------------------------------------------


def rows():
    f = "rows"
    V, h = 11, 21
    ids = ints(3, 0, 10, 3, 12, 15, 2, -1)
    for dtype in torch.float32, torch.bfloat16, torch.float16:
        table = randn(V, h).to(dtype)
        if dtype == torch.float16:
            table[0, :4] = torch.tensor([6e-8, -6e-5, 65504, 0], dtype=dtype)
        out = torch.stack([table[i].float() if 0 <= i < V else torch.zeros(h) for i in ids.tolist()])
        case(f, f"embed_{str(dtype)[6:]}", "EMBED", [table, ids], out, tol=0)
        out = torch.stack([table[i - 2].float() if 0 <= i - 2 < V else torch.zeros(h) for i in ids.tolist()])
        case(f, f"embed_shard_{str(dtype)[6:]}", "EMBED", [table, ids], out, i=[2], tol=0)
    y = randn(len(ids), h)
    inside = (ids >= 2) & (ids < 2 + V)
    out = torch.zeros(V, h).double().index_add(0, (ids[inside] - 2).long(), y[inside].double())
    case(f, "embed_grad", "EMBED_GRAD", [y, ids], out, i=[2, V])
    x, sel = randn(6, 33), ints(5, 0, 0, 3)
    case(f, "gather_rows", "GATHER_ROWS", [x, sel], x[sel.long()], tol=0)
    y = randn(4, 33)
    case(f, "scatter_rows", "SCATTER_ROWS", [y, sel], torch.zeros(6, 33).double().index_add(0, sel.long(), y.double()), i=[6])
    a, b, c = randn(3, 5), randn(3, 2, 7), randn(3, 1)
    case(f, "concat", "CONCAT", [a, b, c], torch.cat([a, b.flatten(1), c], 1), tol=0)
    case(f, "pad", "PAD", [b], F.pad(b, (3, 2)), i=[3, 12], tol=0)
    x = randn(6, 9)
    case(f, "interleave", "INTERLEAVE", [x], torch.cat(x.chunk(3, 0), 1), i=[3], tol=0)
    case(f, "deinterleave", "DEINTERLEAVE", [x], torch.cat(x.chunk(3, 1), 0), i=[3], tol=0)


# ---- norms ------------------------------------------------------------------------------------------


def norms():
    f, eps = "norms", 1e-6
    for name, shape in ("2d", (7, 45)), ("heads", (3, 4, 32)), ("long", (200, 24)):
        x, w, y = randn(*shape, scale=3), randn(shape[-1]), randn(*shape)
        if name == "2d":
            x[3] *= 1e-4
        for centred in 0, 1:
            fn = lambda x, w: F.rms_norm(x, x.shape[-1:], w + centred, eps)
            dx, dw = grads(fn, [x, w], y)
            n = f"{name}_{'1p' if centred else 'w'}"
            case(f, f"rmsnorm_{n}", "RMSNORM", [x, w], fn(x.double(), w.double()), i=[centred], f=[eps])
            case(f, f"rmsnorm_dx_{n}", "RMSNORM_DX", [x, w, y], dx, i=[centred], f=[eps])
        case(f, f"rmsnorm_dw_{name}", "RMSNORM_DW", [x, y], dw, f=[eps])
        fn = lambda x: next_model.l2norm(x, dim=-1, eps=eps)
        case(f, f"l2norm_{name}", "L2NORM", [x], fn(x.double()), f=[eps])
        case(f, f"l2norm_grad_{name}", "L2NORM_GRAD", [x, y], grads(fn, [x], y)[0], f=[eps])


def rope():
    f, T, H = "rope", 6, 3
    pos = ints(0, 1, 7, 511, 40959, 131071)
    for d, m, scale, theta in (32, 16, 1.0, 1e6), (40, 5, 1.25, 1e4):
        inv = 1.0 / theta ** (torch.arange(0, 2 * m, 2).float() / (2 * m))
        angle = (pos.float()[:, None] * inv).double()
        cos, sin = torch.cat([angle.cos()] * 2, -1) * scale, torch.cat([angle.sin()] * 2, -1) * scale
        x, y = randn(T, H, d), randn(T, H, d)
        fn = lambda x: next_model.apply_rotary_pos_emb(x.transpose(0, 1)[None], x.transpose(0, 1)[None], cos[None], sin[None])[0][0].transpose(0, 1)
        case(f, f"rope_{d}", "ROPE", [x, pos, inv], fn(x.double()), f=[scale])
        case(f, f"rope_back_{d}", "ROPE", [y, pos, inv], grads(fn, [x], y)[0], i=[1], f=[scale])


# ---- attention --------------------------------------------------------------------------------------


def attention_of(q, k, v, seqs, scale, window):
    out = torch.zeros(q.shape[0], q.shape[1], v.shape[2], dtype=q.dtype)
    group = q.shape[1] // k.shape[1]
    parts, at = [], []
    for q0, nq, k0, nk, _ in seqs.tolist():
        own, key = torch.arange(nk - nq, nk)[:, None], torch.arange(nk)[None]
        mask = key <= own
        if window:
            mask &= key > own - window
        qs, ks, vs = q[q0:q0 + nq], k[k0:k0 + nk], v[k0:k0 + nk]
        ks, vs = (x.repeat_interleave(group, 1).transpose(0, 1) for x in (ks, vs))
        parts.append(F.scaled_dot_product_attention(qs.transpose(0, 1), ks, vs, attn_mask=mask, scale=scale).transpose(0, 1))
        at.append(torch.arange(q0, q0 + nq))
    return out.index_add(0, torch.cat(at), torch.cat(parts))


def attention():
    f = "attention"
    table = [
        # name, query heads, key heads, d, T, S, window, seqs, dtype of the cache
        ("one", 4, 2, 16, 70, 70, 0, [(0, 70, 0, 70, 0)], torch.float32),
        ("two", 2, 1, 20, 90, 90, 0, [(0, 20, 0, 20, 0), (20, 70, 20, 70, 0)], torch.float32),
        ("window", 2, 2, 16, 100, 100, 9, [(0, 100, 0, 100, 0)], torch.float32),
        ("stranger", 2, 2, 8, 24, 24, 0, [(20, 4, 20, 4, 0), (1, 17, 1, 17, 0)], torch.float32),
        ("decode", 4, 2, 16, 1, 200, 0, [(0, 1, 10, 190, 0)], torch.float32),
        ("decode_bf16", 6, 2, 24, 3, 300, 0, [(0, 1, 0, 131, 0), (1, 1, 140, 1, 0), (2, 1, 150, 150, 0)], torch.bfloat16),
        ("decode_window", 2, 1, 16, 2, 150, 70, [(0, 2, 0, 150, 0)], torch.float32),
        ("mixed", 4, 2, 16, 60, 170, 0, [(0, 1, 0, 100, 0), (1, 59, 100, 70, 0)], torch.bfloat16),
    ]
    for name, hq, hk, d, T, S, window, seqs, dtype in table:
        q, k, v = randn(T, hq, d, scale=2), randn(S, hk, d, scale=2).to(dtype), randn(S, hk, d).to(dtype)
        seqs, scale = torch.tensor(seqs, dtype=torch.int32), d ** -0.5
        fn = lambda q, k, v: attention_of(q, k, v, seqs, scale, window)
        case(f, name, "ATTENTION", [q, k, v, seqs], fn(q.double(), k.double(), v.double()), i=[window], f=[scale], tol=2e-6)
        if T == S:
            y = randn(T, hq, d)
            out = torch.cat([g.flatten(1) for g in grads(fn, [q, k, v], y)], 1)
            case(f, name + "_grad", "ATTENTION_GRAD", [q, k, v, seqs, y], out, i=[window], f=[scale], tol=3e-6)
    for dtype in torch.float32, torch.bfloat16:
        cache, x, at = randn(9, 2, 11).to(dtype), randn(4, 2, 11), ints(7, 0, 3, 8)
        after = cache.clone()
        after[at.long()] = x.to(dtype)
        name = f"cache_{str(dtype)[6:]}"
        case(f, name, "CACHE_WRITE", [cache, x, at], after.float(), tol=0, after={0: after})


# ---- routing ----------------------------------------------------------------------------------------


def routing():
    f, T, E, k, h = "routing", 9, 13, 3, 26
    x = randn(T, E).softmax(-1)
    idx = x.topk(k, -1).indices.int()
    case(f, "topk", "TOPK", [x], idx, i=[k])
    tie = torch.tensor([[1.0, 3, 3, 0, 3], [0, 0, 0, 0, 0]])
    case(f, "topk_ties", "TOPK", [tie], tie.sort(dim=-1, descending=True, stable=True).indices[:, :3].int(), i=[3])
    p = x.gather(1, idx.long())
    case(f, "gather_cols", "GATHER_COLS", [x, idx], p, tol=0)
    y = randn(T, k)
    case(f, "scatter_cols", "SCATTER_COLS", [y, idx], torch.zeros(T, E).scatter(1, idx.long(), y), i=[E], tol=0)
    case(f, "count_cols", "COUNT_COLS", [idx], torch.bincount(idx.flatten(), minlength=E).float(), i=[E], tol=0)
    for name, first, n in ("all", 0, E), ("shard", 4, 5), ("none", 0, 0):
        local = (idx.flatten() - first).long()
        mine = (local >= 0) & (local < n)
        slots = torch.arange(T * k)[mine]
        slots = slots[local[mine].sort(dim=0, stable=True).indices]
        offsets = torch.cat([torch.zeros(1).long(), torch.bincount(local[mine], minlength=n)[:n].cumsum(0)])
        order = torch.cat([slots, torch.full((T * k - len(slots),), -1)]).int()
        case(f, f"moe_sort_{name}", "MOE_SORT", [idx], torch.cat([offsets.int(), order]), i=[first, n])
        if name == "none":
            continue
        R, used = T * k, len(slots)
        xs, z = randn(T, h), randn(T, h)
        token, j = slots // k, slots % k
        gather = lambda x: F.pad(x[token], (0, 0, 0, R - used))
        yr = randn(R, h)
        case(f, f"moe_gather_{name}", "MOE_GATHER", [xs, order], gather(xs), i=[k], tol=0)
        case(f, f"moe_gather_grad_{name}", "MOE_GATHER_GRAD", [yr, order], grads(gather, [xs], yr)[0], i=[k, T])
        combine = lambda y, p: torch.zeros(T, h, dtype=y.dtype).index_add(0, token, y[:used] * p[token, j][:, None])
        dy, dp = grads(combine, [yr, p], z)
        case(f, f"moe_combine_{name}", "MOE_COMBINE", [yr, p, order], combine(yr.double(), p.double()))
        case(f, f"moe_combine_dy_{name}", "MOE_COMBINE_DY", [z, p, order], dy)
        case(f, f"moe_combine_dp_{name}", "MOE_COMBINE_DP", [z, yr, order], dp, i=[k])


# ---- gated delta net --------------------------------------------------------------------------------


def conv():
    f, C, K = "conv", 37, 4
    w = randn(C, K)

    def run(x, w, seqs, states=None):
        out, after = torch.zeros_like(x), None if states is None else states.clone()
        pieces = []
        for q0, nq, _, nk, slot in seqs.tolist():
            old = torch.zeros(K - 1, C, dtype=x.dtype)
            if states is not None and nk > nq:
                old = states[slot].to(x.dtype)
            full = torch.cat([old, x[q0:q0 + nq]])
            y = F.silu(F.conv1d(full.t()[None], w[:, None], groups=C)[0].t())
            out = out.index_add(0, torch.arange(q0, q0 + nq), y)
            if states is not None:
                after[slot] = full[-(K - 1):].to(after.dtype)
        return out, after

    x, seqs = randn(80, C), torch.tensor([(0, 2, 0, 2, 0), (2, 75, 2, 75, 0)], dtype=torch.int32)
    y = randn(80, C)
    case(f, "conv", "CONV1D_SILU", [x, w, seqs], run(x.double(), w.double(), seqs)[0])
    dx, dw = grads(lambda x, w: run(x, w, seqs)[0], [x, w], y)
    case(f, "conv_dx", "CONV1D_SILU_DX", [x, w, seqs, y], dx)
    case(f, "conv_dw", "CONV1D_SILU_DW", [x, w, seqs, y], dw)
    states = randn(5, K - 1, C)
    seqs = torch.tensor([(0, 1, 0, 9, 3), (1, 2, 0, 2, 0), (3, 2, 0, 6, 1), (5, 7, 0, 20, 4)], dtype=torch.int32)
    out, after = run(x[:12].double(), w.double(), seqs, states)
    case(f, "conv_state", "CONV1D_SILU", [x[:12], w, seqs, states], out, after={3: after})
    a, A, dt, y = randn(6, 10, scale=3), randn(10), randn(10), randn(6, 10)
    a[0, :4] = torch.tensor([-80.0, -20.0, 40.0, 100.0])
    fn = lambda a, A, dt: -A.exp() * F.softplus(a + dt, threshold=1e9)
    case(f, "decay", "GDN_DECAY", [a, A, dt], fn(a.double(), A.double(), dt.double()))
    case(f, "decay_da", "GDN_DECAY_DA", [a, A, dt, y], grads(fn, [a, A, dt], y)[0])


def delta():
    f = "delta"

    def run(q, k, v, g, beta, seqs, states=None):
        out, after = torch.zeros_like(v), None if states is None else states.clone()
        for q0, nq, _, nk, slot in seqs.tolist():
            part = [x[None, q0:q0 + nq] for x in (q, k, v)]
            old = states[None, slot] if states is not None and nk > nq else None
            o, s = next_model.torch_chunk_gated_delta_rule(
                *part, g=g[None, q0:q0 + nq], beta=beta[None, q0:q0 + nq], initial_state=old, output_final_state=True)
            out = out.index_add(0, torch.arange(q0, q0 + nq), o[0])
            if states is not None:
                after[slot] = s[0]
        return out, after

    table = [
        ("one", 2, 4, 16, 24, [(0, 150, 0, 150, 0)], False),
        ("wide", 1, 1, 32, 40, [(0, 20, 0, 20, 0)], False),
        ("two", 1, 2, 12, 10, [(0, 5, 0, 5, 0), (6, 65, 6, 65, 0)], False),
        ("states", 2, 4, 16, 24, [(0, 1, 0, 9, 2), (1, 1, 0, 1, 0), (2, 3, 0, 40, 3), (5, 40, 0, 70, 1)], True),
    ]
    for name, hk, hv, dk, dv, seqs, with_state in table:
        T = max(q0 + nq for q0, nq, _, _, _ in seqs)
        seqs = torch.tensor(seqs, dtype=torch.int32)
        q, k = (next_model.l2norm(randn(T, hk, dk), dim=-1, eps=1e-6) for _ in range(2))
        v, g, beta = randn(T, hv, dv), -F.softplus(randn(T, hv, scale=3)), torch.sigmoid(randn(T, hv, scale=2))
        inputs = [q, k, v, g, beta]
        if with_state:
            states = randn(5, hv, dk, dv)
            out, after = run(*inputs, seqs, states)
            case(f, name, "DELTA_RULE", inputs + [seqs, states], out, f=[dk ** -0.5], tol=3e-6, after={6: after})
            continue
        case(f, name, "DELTA_RULE", inputs + [seqs], run(*inputs, seqs)[0], f=[dk ** -0.5], tol=3e-6)
        y, xs = randn(T, hv, dv), [x.clone().requires_grad_() for x in inputs]
        (run(*xs, seqs)[0] * y).sum().backward()
        out = torch.cat([x.grad.flatten(1) for x in xs], 1)
        case(f, name + "_grad", "DELTA_RULE_GRAD", inputs + [seqs, y], out, f=[dk ** -0.5], tol=1e-5)


# ---- losses and adapters ------------------------------------------------------------------------------


def losses():
    f = "losses"
    for name, T, V in ("small", 6, 50), ("large", 3, 5000):
        x, labels = randn(T, V, scale=4), torch.randint(0, V, (T,), generator=G).int()
        x[0, 7] = 120
        labels[1] = -100
        fn = lambda x: F.cross_entropy(x, labels.long(), ignore_index=-100)
        y = randn(1)
        case(f, f"loss_{name}", "CROSS_ENTROPY", [x, labels], fn(x.double())[None])
        case(f, f"loss_grad_{name}", "CROSS_ENTROPY_GRAD", [x, labels, y], grads(lambda x: fn(x)[None], [x], y)[0])
    x, none = randn(2, 9), ints(-1, -100)
    case(f, "loss_none", "CROSS_ENTROPY", [x, none], torch.zeros(1), tol=0)
    case(f, "loss_grad_none", "CROSS_ENTROPY_GRAD", [x, none, randn(1)], torch.zeros(2, 9), tol=0)
    for dtype in torch.float32, torch.bfloat16:
        w, a, b = randn(10, 35).to(dtype), randn(4, 35).to(dtype), randn(10, 4).to(dtype)
        out = 1 / (w.double() + 2.5 * b.double() @ a.double()).norm(dim=1)
        case(f, f"dora_{str(dtype)[6:]}", "DORA_INV_NORM", [w, a, b], out, f=[2.5])
    x = randn(37, scale=4).square()
    case(f, "rsqrt", "RSQRT", [x], x.double().rsqrt())


def main(folder):
    for make in pointwise, rows, norms, rope, attention, routing, conv, delta, losses:
        make()
    for file, (tensors, cases) in FILES.items():
        save_file(tensors, f"{folder}/{file}.safetensors", {"cases": json.dumps(cases)})
        print(f"{file}: {len(cases)} cases")


if __name__ == "__main__":
    main(sys.argv[1])
