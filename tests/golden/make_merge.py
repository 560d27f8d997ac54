#!/usr/bin/env python3
"""Makes tests/data/merge: tiny random models and what merging them must give, in float64 by the
formulas of the papers, on whole tensors with sorting: nothing is shared with hearth.

    python3 tests/golden/make_merge.py

base.gguf a.gguf b.gguf   the models: tensors in F32, F16 and Q8_0; a and b are near base. b has its
                          F16 tensor in BF16
c.gguf                    almost parallel to a: slerp must fall back to a line
CASE.gguf                 the merged tensors, rounded to F32; CASE names the call in merge_test.c

model soup (Wortsman et al. 2022), slerp (Shoemake 1985), task arithmetic (Ilharco et al. 2023),
TIES (Yadav et al. 2023, "TIES-Merging", section 4).
"""
import os
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "model"))
import make_goldens  # noqa: E402  the writer of GGUF files

OUT = os.path.join(HERE, "..", "data", "merge")
F32, F16, Q8_0, BF16 = 0, 1, 8, 30
SHAPES = {
    "token_embd.weight": (F32, (32, 12)),
    "blk.0.attn_q.weight": (F16, (32, 16)),
    "blk.0.ffn_up.weight": (Q8_0, (64, 16)),
    "blk.0.attn_norm.weight": (F32, (97,)),
    "blk.0.ffn_down.weight": (F16, (128, 130)),  # more than one piece of 16384
    "rope_freqs.weight": (F32, (16,)),
}
META = {
    "general.architecture": "llama",
    "general.name": "",
    "llama.block_count": 1,
    "llama.rope.freq_base": 10000.0,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.tokens": ["a", "b", "c"],
    "tokenizer.ggml.token_type": [1, 1, 3],
    "tokenizer.ggml.eos_token_id": 2,
}


def q8_0(x):
    blocks = x.reshape(-1, 32)
    scale = (np.abs(blocks).max(1, keepdims=True) / 127).astype(np.float16)
    ints = np.rint(blocks / scale.astype(np.float64)).astype(np.int8)
    raw = np.concatenate([scale.view(np.uint8), ints.view(np.uint8)], 1).tobytes()
    return raw, (ints * scale.astype(np.float64)).reshape(x.shape)


def store(kind, x):
    """The bytes and the float64 values that they stand for."""
    if kind == F32:
        return x.astype(np.float32).tobytes(), x.astype(np.float32).astype(np.float64)
    if kind == F16:
        return x.astype(np.float16).tobytes(), x.astype(np.float16).astype(np.float64)
    if kind == BF16:
        bits = make_goldens.bf16(x)
        values = (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        return bits.tobytes(), values
    return q8_0(x)


def save(name, tensors, kinds):
    files, values = {}, {}
    for key, x in tensors.items():
        raw, values[key] = store(kinds.get(key, SHAPES[key][0]), x)
        files[key] = (kinds.get(key, SHAPES[key][0]), raw, SHAPES[key][1])
    make_goldens.write(os.path.join(OUT, name + ".gguf"), dict(META, **{"general.name": name}), files)
    return values


def expect(name, tensors):
    files = {k: (F32, x.astype(np.float32).tobytes(), SHAPES[k][1]) for k, x in tensors.items()}
    make_goldens.write(os.path.join(OUT, name + ".gguf"), META, files)


def slerp(a, b, t):
    cosine = (a * b).sum() / np.sqrt((a * a).sum()) / np.sqrt((b * b).sum())
    if abs(cosine) > 0.9995:
        return (1 - t) * a + t * b
    omega = np.arccos(cosine)
    return (np.sin((1 - t) * omega) * a + np.sin(t * omega) * b) / np.sin(omega)


def trim(delta, density):
    keep = max(1, int(np.floor(density * delta.size + 0.5)))
    least = np.sort(np.abs(delta))[-keep]  # all that reach it stay, as in the authors' code
    return np.where(np.abs(delta) >= least, delta, 0)


def ties(base, models, weights, density, scale, is_mean):
    deltas = np.stack([trim(m - base, density) for m in models])
    w = np.array(weights)[:, None]
    elected = np.sign((w * deltas).sum(0))
    agree = (np.sign(w * deltas) == elected) & (deltas != 0) & (elected != 0)
    total = (w * deltas * agree).sum(0)
    weight = (np.abs(w) * agree).sum(0)
    mean = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
    return base + scale * (mean if is_mean else total)


def main():
    rng = np.random.default_rng(20261128)
    draw = {k: rng.standard_normal(int(np.prod(s))) * 0.05 for k, (_, s) in SHAPES.items()}
    freqs = draw["rope_freqs.weight"]
    near = [{k: x + rng.standard_normal(x.size) * 0.04 for k, x in draw.items()} for _ in range(2)]
    for model in near:
        model["rope_freqs.weight"] = freqs
    base = save("base", draw, {})
    a = save("a", near[0], {})
    b = save("b", near[1], {"blk.0.attn_q.weight": BF16})
    c = save("c", {k: x if k.startswith("rope_") else x * 1.5 for k, x in near[0].items()}, {})

    def each(fn):
        return {k: a[k] if k.startswith("rope_") else fn(k) for k in SHAPES}

    expect("linear", each(lambda k: (0.6 * a[k] + 0.2 * b[k]) / 0.8))
    expect("linear-sum", each(lambda k: 0.6 * a[k] + 0.2 * b[k] - 0.5 * base[k]))
    expect("slerp", each(lambda k: slerp(a[k], b[k], 0.3)))
    expect("slerp-line", each(lambda k: slerp(a[k], c[k], 0.25)))
    expect("task", each(
        lambda k: base[k] + 0.7 * (0.8 * (a[k] - base[k]) - 0.3 * (b[k] - base[k]))))
    expect("ties", each(lambda k: ties(base[k], [a[k], b[k]], [1, 0.5], 0.3, 1.25, True)))
    expect("ties-sum", each(lambda k: ties(base[k], [a[k], b[k]], [1, -0.5], 0.55, 1, False)))
    expect("ties-all", each(lambda k: ties(base[k], [a[k], b[k]], [1, 1], 1, 1, True)))


main()
