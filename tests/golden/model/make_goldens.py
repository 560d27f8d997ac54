"""Makes tiny random models and the logits that float64 gives for them (reference.py).

    python3 make_goldens.py [EVALUATOR]

Each model is NAME.gguf, its golden NAME.json: token ids, positions, logits. With the path of an
evaluator built from llama.cpp (a program that reads "L 1,2,3" and appends int32 rows, int32
columns, float32 data to a file) the golden also records how far that engine is from the reference,
as a part of the logit range; its name and commit stand in each file. A model's seed is
its name, so running this again, or adding a model, leaves the others as they are.
"""
import json
import os
import struct
import subprocess
import sys
import zlib

import numpy as np

import reference as ref

HERE = os.path.dirname(os.path.abspath(__file__))
JUDGE = {
    "name": "llama.cpp (github elizaOS/llama.cpp)",
    "commit": "96dd1a8466c84bdd419faf3866425260623fb6b0",
}
VOCAB = 64

# ---- writing ----


def scalar(value):
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, list):
        return struct.pack("<IIQ", 9, 5, len(value)) + struct.pack("<%di" % len(value), *value)
    raw = value.encode()
    return struct.pack("<IQ", 8, len(raw)) + raw


def write(path, meta, tensors):
    """tensors: name -> (type, bytes, dims with the row length first)"""
    out = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(meta))
    for key, value in meta.items():
        out += struct.pack("<Q", len(key)) + key.encode() + scalar(value)
    at = 0
    for name, (kind, raw, dims) in tensors.items():
        out += struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", len(dims))
        out += struct.pack("<%dQ" % len(dims), *dims) + struct.pack("<IQ", kind, at)
        at += -(-len(raw) // 32) * 32
    out += b"\0" * (-len(out) % 32)
    for kind, raw, dims in tensors.values():
        out += raw + b"\0" * (-len(raw) % 32)
    open(path, "wb").write(out)


# ---- formats ----


def bf16(x):
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def half(x):
    return np.asarray(x, np.float16).view(np.uint8).reshape(-1, 2)


def six_bit(scale, low):
    """The 12 bytes that hold 8 scales and 8 mins."""
    a = scale[:, :4] | scale[:, 4:] >> 4 << 6
    b = low[:, :4] | low[:, 4:] >> 4 << 6
    c = scale[:, 4:] & 15 | (low[:, 4:] & 15) << 4
    return np.concatenate([a, b, c], 1).astype(np.uint8)


def encode(kind, x, rng):
    """x: [rows, cols]. The K types get random blocks of about the same spread instead of x."""
    x = x.astype(np.float32)
    if kind == ref.F32:
        return x.tobytes()
    if kind == ref.F16:
        return x.astype(np.float16).tobytes()
    if kind == ref.BF16:
        return bf16(x).tobytes()
    length = ref.BLOCKS[kind][0]
    b = x.reshape(-1, length)
    n, spread = len(b), float(x.std())
    if kind == ref.Q8_0:
        d = (np.abs(b).max(1) / 127).astype(np.float16)
        q = np.rint(b / d[:, None].astype(np.float32)).clip(-127, 127).astype(np.int8)
        return np.concatenate([half(d), q.view(np.uint8)], 1).tobytes()
    if kind == ref.Q4_0:
        top = np.take_along_axis(b, np.abs(b).argmax(1)[:, None], 1)[:, 0]
        d = (top / -8).astype(np.float16)
        q = np.rint(b / d[:, None].astype(np.float32) + 8).clip(0, 15).astype(np.uint8)
        return np.concatenate([half(d), q[:, :16] | q[:, 16:] << 4], 1).tobytes()
    if kind == ref.Q6_K:
        scale = (rng.integers(40, 128, (n, 16)) * rng.choice([-1, 1], (n, 16))).astype(np.int8)
        d = np.full(n, spread / (84 * 18.5)) * rng.uniform(0.7, 1.3, n)
        bits = rng.integers(0, 256, (n, 192), dtype=np.uint8)
        return np.concatenate([bits, scale.view(np.uint8), half(d)], 1).tobytes()
    levels = 15 if kind == ref.Q4_K else 31
    scale = rng.integers(20, 64, (n, 8))
    low = np.rint(scale * (levels / (levels + 1.0))).astype(int)
    d = spread / (42 * levels / 12**0.5) * rng.uniform(0.7, 1.3, n)
    bits = rng.integers(0, 256, (n, 128 if kind == ref.Q4_K else 160), dtype=np.uint8)
    dmin = half(d * (levels + 1) / 2)
    return np.concatenate([half(d), dmin, six_bit(scale, low), bits], 1).tobytes()


# ---- models ----


class Spec:
    """A model: its architecture, sizes, further keys, and what is special about its tensors."""

    def __init__(self, name, arch="llama", embed=32, heads=4, kv_heads=2, head_dim=None, ffn=48,
                 layers=2, ctx=512, keys=None, kind=ref.F32, kinds=None, tied=False, biases=(),
                 factors=False, vector_kind=ref.F32, tokens=40, positions=None, judge=True,
                 spread=None):
        self.__dict__.update({k: v for k, v in locals().items() if k != "self"})
        # What rounding the activations to 8 bits costs in KL grows with the square of the spread of
        # the logits; 2 is that of hearth-nano and of most published models.
        self.spread = spread or (3.0 if kind in (ref.F32, ref.F16, ref.BF16) else 2.0)

    def meta(self):
        a = self.arch + "."
        head = self.head_dim or self.embed // self.heads
        meta = {"general.architecture": self.arch, "general.name": self.name,
                a + "block_count": self.layers, a + "context_length": self.ctx,
                a + "embedding_length": self.embed, a + "feed_forward_length": self.ffn,
                a + "attention.head_count": self.heads,
                a + "attention.head_count_kv": self.kv_heads, a + "vocab_size": VOCAB,
                a + "attention.layer_norm_rms_epsilon": 1e-5, a + "rope.dimension_count": head,
                "tokenizer.ggml.model": "none"}
        if self.head_dim:
            meta[a + "attention.key_length"] = meta[a + "attention.value_length"] = head
        meta.update({a + k: v for k, v in (self.keys or {}).items()})
        return meta

    def build(self, rng):
        head = self.head_dim or self.embed // self.heads
        tensors = {}

        def matrix(name, rows, cols, gain=1.0):
            x = rng.normal(0, gain / cols**0.5, (rows, cols))
            kind = (self.kinds or {}).get(name.split(".")[-2], self.kind)
            tensors[name] = (kind, encode(kind, x, rng), (cols, rows))

        def vector(name, x):
            tensors[name] = (self.vector_kind, encode(self.vector_kind, x, rng), x.shape)

        def norm(name, size):
            vector(name, rng.normal(1, 0.2, size))

        # A tied matrix is a head of this spread, so its rows are embeddings of that size.
        size = self.spread if self.tied else self.embed**0.5
        matrix("token_embd.weight", VOCAB, self.embed, size)
        if not self.tied:
            matrix("output.weight", VOCAB, self.embed, self.spread)
        norm("output_norm.weight", self.embed)
        q, kv = self.heads * head, self.kv_heads * head
        for i in range(self.layers):
            blk = "blk.%d." % i
            ffn = self.ffn[i] if isinstance(self.ffn, list) else self.ffn
            norm(blk + "attn_norm.weight", self.embed)
            norm(blk + "ffn_norm.weight", self.embed)
            for part, rows, cols in (
                    ("attn_q", q, self.embed), ("attn_k", kv, self.embed),
                    ("attn_v", kv, self.embed), ("attn_output", self.embed, q),
                    ("ffn_gate", ffn, self.embed), ("ffn_up", ffn, self.embed),
                    ("ffn_down", self.embed, ffn)):
                matrix(blk + part + ".weight", rows, cols, 1.5)
                if part in self.biases:
                    vector(blk + part + ".bias", rng.normal(0, 0.3, rows))
            if self.arch == "qwen3":
                norm(blk + "attn_q_norm.weight", head)
                norm(blk + "attn_k_norm.weight", head)
        if "output" in self.biases:
            vector("output.bias", rng.normal(0, 0.3, VOCAB))
        if self.factors:
            vector("rope_freqs.weight", np.geomspace(1, 8, head // 2))
        return tensors


QKV = ("attn_q", "attn_k", "attn_v")
YARN = {"rope.scaling.type": "yarn", "rope.scaling.factor": 8.0,
        "rope.scaling.original_context_length": 64}
WIDE = dict(embed=64, ffn=96, kv_heads=1, layers=1)  # blocks of 32
BROAD = dict(embed=256, heads=4, kv_heads=1, ffn=256, layers=1)  # blocks of 256
MIX = {"attn_v": ref.Q6_K, "ffn_down": ref.Q6_K, "attn_k": ref.Q8_0, "ffn_gate": ref.F16,
       "token_embd": ref.Q6_K}

SPECS = [
    Spec("llama-f32"),
    Spec("llama-mha-one-layer-f32", embed=24, heads=3, kv_heads=3, ffn=40, layers=1),
    Spec("llama-wide-head-f32", embed=40, heads=3, kv_heads=1, head_dim=16, ffn=56),
    Spec("llama-biases-f32", biases=("attn_q", "attn_output", "ffn_gate", "ffn_up", "ffn_down")),
    Spec("llama-factors-tied-f32", head_dim=16, factors=True, tied=True,
         keys={"rope.freq_base": 500000.0}),
    Spec("llama-linear-f32", keys={"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}),
    Spec("llama-scale-linear-f32", keys={"rope.scale_linear": 2.5}, layers=1),
    Spec("llama-yarn-f32", head_dim=16, keys=YARN, tokens=100),
    Spec("llama-ffn-per-layer-f32", ffn=[24, 72], judge=False),
    Spec("llama-long-f32", layers=1, ctx=4096, tokens=2200, judge=False,
         positions=[1023, 1024, 1100, 2047, 2048, 2199]),
    Spec("qwen2-tied-f32", "qwen2", biases=QKV, tied=True,
         keys={"rope.freq_base": 1000000.0}),
    Spec("qwen2-yarn-f32", "qwen2", embed=64, biases=QKV + ("output",), layers=1, tokens=100,
         keys={**YARN, "rope.scaling.attn_factor": 0.8}),
    Spec("qwen3-f32", "qwen3", embed=24, heads=4, head_dim=16, ffn=40),
    Spec("mistral3-f32", "mistral3", head_dim=16, layers=1, tokens=200,
         keys={**YARN, "attention.temperature_scale": 0.3,
               "rope.scaling.yarn_log_multiplier": 0.7}),
    Spec("granite-f32", "granite", layers=1, tied=True, spread=12.0,
         keys={"embedding_scale": 3.0, "residual_scale": 0.6, "logit_scale": 4.0,
               "attention.scale": 0.25}),
    Spec("llama-f16", kind=ref.F16),
    Spec("qwen3-bf16", "qwen3", kind=ref.BF16, vector_kind=ref.F16, tied=True, judge=False),
    Spec("llama-q8_0", kind=ref.Q8_0, **WIDE),
    Spec("qwen2-q4_0-tied", "qwen2", kind=ref.Q4_0, tied=True, biases=QKV, **WIDE),
    Spec("llama-q4_k", kind=ref.Q4_K, **BROAD),
    Spec("llama-q5_k", kind=ref.Q5_K, **BROAD),
    Spec("qwen3-q6_k-tied", "qwen3", kind=ref.Q6_K, tied=True, **BROAD),
    Spec("llama-mix", kind=ref.Q4_K, kinds=MIX, **BROAD),
]


def ask(evaluator, path, ids):
    out = path + ".out"
    done = subprocess.run([evaluator, path, "logits", out], text=True, capture_output=True,
                          input="L %s\n" % ",".join(map(str, ids)))
    if "ok" not in done.stdout.split():
        sys.exit("%s: the judge refuses it: %s%s" % (path, done.stdout, done.stderr))
    raw = open(out, "rb").read()
    os.unlink(out)
    shape = struct.unpack_from("<ii", raw)
    return np.frombuffer(raw, np.float32, offset=8).reshape(shape).astype(float)


def main():
    evaluator = sys.argv[1] if len(sys.argv) > 1 else None
    for spec in SPECS:
        path = os.path.join(HERE, spec.name)
        rng = np.random.default_rng(zlib.crc32(spec.name.encode()))
        write(path + ".gguf", spec.meta(), spec.build(rng))
        ids = rng.integers(0, VOCAB, spec.tokens).tolist()
        logits = ref.Model(path + ".gguf").logits(ids)
        golden = {"reference": "tests/golden/model/reference.py, float64", "judge": None,
                  "range": float(np.ptp(logits)), "tokens": ids}
        if evaluator and spec.judge:
            error = np.abs(ask(evaluator, path + ".gguf", ids) - logits).max()
            error /= np.ptp(logits)
            golden["judge"] = {**JUDGE, "max_error_of_range": float("%.2g" % error)}
        keep = spec.positions or list(range(min(spec.tokens, 16))) + list(range(16, spec.tokens, 7))
        golden["positions"] = keep
        golden["logits"] = [[float("%.10g" % v) for v in logits[p]] for p in keep]
        with open(path + ".json", "w") as out:
            out.write(json.dumps(golden, separators=(",", ":")).replace('],[', '],\n[') + "\n")
        print("%-26s %7d bytes, range %5.1f, spread %.1f, judge %s" % (
            spec.name, os.path.getsize(path + ".gguf"), np.ptp(logits), logits.std(),
            golden["judge"] and golden["judge"]["max_error_of_range"]))


if __name__ == "__main__":
    main()
