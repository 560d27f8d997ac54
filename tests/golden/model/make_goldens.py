"""Makes tiny random models and the logits that float64 gives for them (reference.py).

    python3 make_goldens.py [EVALUATOR [NAME ...]]

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

import build_mixers
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
    if isinstance(value, list) and isinstance(value[0], str):
        texts = [v.encode() for v in value]
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(
            struct.pack("<Q", len(t)) + t for t in texts)
    if isinstance(value, list) and isinstance(value[0], float):
        return struct.pack("<IIQ", 9, 6, len(value)) + struct.pack("<%df" % len(value), *value)
    if isinstance(value, list) and isinstance(value[0], bool):
        return struct.pack("<IIQ", 9, 7, len(value)) + struct.pack("<%d?" % len(value), *value)
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
    if kind == ref.MXFP4:
        power = np.floor(np.log2(np.abs(b).max(1))).astype(int) - 2  # the largest code is 6
        wanted = np.abs(b) / 2.0 ** power[:, None] * 2
        q = np.abs(wanted[:, :, None] - ref.FP4).argmin(-1).astype(np.uint8) | (b < 0) << 3
        q = q.astype(np.uint8)
        scale = (power + 127).astype(np.uint8)[:, None]
        return np.concatenate([scale, q[:, :16] | q[:, 16:] << 4], 1).tobytes()
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


def words():
    """A SentencePiece vocabulary, for models that the engine's tests write text with."""
    tokens = ["<unk>", "<s>", "</s>", "\u2581"] + [chr(c) for c in range(ord("a"), ord("z") + 1)]
    tokens += ["\u2581" + c for c in "abcdefghijklmnoprstuwy"] + [
        "th", "he", "in", "er", "an", "on", "re", ",", ".", "!", "\n", "\u2581the"]
    assert len(tokens) == VOCAB
    return {"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.scores": [-float(i) for i in range(VOCAB)],
            "tokenizer.ggml.token_type": [2, 3, 3] + [1] * (VOCAB - 3),
            "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2,
            "tokenizer.ggml.unknown_token_id": 0}


class Spec:
    """A model: its architecture, sizes, further keys, and what is special about its tensors."""

    def __init__(self, name, arch="llama", embed=32, heads=4, kv_heads=2, head_dim=None, ffn=48,
                 layers=2, ctx=512, keys=None, kind=ref.F32, kinds=None, tied=False, biases=(),
                 factors=False, fused=False, drops=(), adds=(), rope_dim=None, experts=None, dense_layers=0, vector_kind=ref.F32, tokens=40, positions=None, judge=True,
                 spread=None, mixers=None, words=False, extra=None, moe_step=1):
        self.__dict__.update({k: v for k, v in locals().items() if k != "self"})
        # What rounding the activations to 8 bits costs in KL grows with the square of the spread of
        # the logits; 2 is that of hearth-nano and of most published models.
        self.spread = spread or (3.0 if kind in (ref.F32, ref.F16, ref.BF16) else 2.0)

    def has_experts(self, i):
        return self.experts and i >= self.dense_layers and (i + 1) % self.moe_step == 0

    def meta(self):
        a = self.arch + "."
        head = self.head_dim or self.embed // self.heads
        meta = {"general.architecture": self.arch, "general.name": self.name,
                a + "block_count": self.layers, a + "context_length": self.ctx,
                a + "embedding_length": self.embed, a + "feed_forward_length": self.ffn,
                a + "attention.head_count": self.heads,
                a + "attention.head_count_kv": self.kv_heads, a + "vocab_size": VOCAB,
                a + "attention.layer_norm_rms_epsilon": 1e-5,
                a + "rope.dimension_count": self.rope_dim or head, "tokenizer.ggml.model": "none"}
        family = ref.FAMILIES[self.arch]
        if family.get("layer"):
            meta[a + "attention.layer_norm_epsilon"] = meta.pop(
                a + "attention.layer_norm_rms_epsilon")
        if family.get("unrotated"):
            del meta[a + "rope.dimension_count"]
        if family.get("half_ffn"):
            meta[a + "feed_forward_length"] = 2 * self.ffn
        if self.head_dim:
            meta[a + "attention.key_length"] = meta[a + "attention.value_length"] = head
        meta.update({a + k: v for k, v in (self.keys or {}).items()})
        meta.update(self.extra or {})
        if self.words:
            meta.update(words())
        return meta

    def build(self, rng):
        head = self.head_dim or self.embed // self.heads
        family = ref.FAMILIES[self.arch]
        tensors = {}

        def matrix(name, rows, cols, gain=1.0):
            x = rng.normal(0, gain / cols**0.5, (rows, cols))
            kind = (self.kinds or {}).get(name.split(".")[-2], self.kind)
            tensors[name] = (kind, encode(kind, x, rng), (cols, rows))

        def vector(name, x):
            tensors[name] = (self.vector_kind, encode(self.vector_kind, x, rng), x.shape[::-1])

        def norm(name, *shape, bias=family.get("bias")):
            if name.split(".")[-1] in self.drops or family.get("bare"):
                return
            vector(name + ".weight", rng.normal(1, 0.2, shape))
            if bias and "norm_bias" not in self.drops:
                vector(name + ".bias", rng.normal(0, 0.2, shape))

        def linear(name, rows, cols, gain=1.5):
            matrix(name + ".weight", rows, cols, gain)
            if name.split(".")[-1] in self.biases:
                vector(name + ".bias", rng.normal(0, 0.3, rows))

        def stack(name, count, rows, cols):
            x = rng.normal(0, 1.5 / cols**0.5, (count * rows, cols))
            kind = (self.kinds or {}).get(name.split(".")[-2], self.kind)
            tensors[name] = (kind, encode(kind, x, rng), (cols, rows, count))

        # A tied matrix is a head of this spread, so its rows are embeddings of that size.
        size = self.spread if self.tied else self.embed**0.5
        matrix("token_embd.weight", VOCAB, self.embed, size)
        if not self.tied:
            matrix("output.weight", VOCAB, self.embed, self.spread)
        norm("token_embd_norm" if self.arch in ("lfm2", "lfm2moe") else "output_norm", self.embed)
        if "position_embd" in self.adds:
            matrix("position_embd.weight", self.ctx, self.embed, 0.5 * size)
        if "token_embd_norm" in self.adds:
            norm("token_embd_norm", self.embed)
        for i in range(self.layers):
            mixer = self.mixers[i] if self.mixers else None
            self.layer("blk.%d." % i, i, norm, linear, vector, mixer)
            if mixer:
                build_mixers.BUILDERS[mixer](self, rng, "blk.%d." % i, linear, vector)
            if self.has_experts(i):
                self.expert_layer("blk.%d." % i, linear, vector, stack)
        if self.arch == "gemma4":
            build_mixers.gemma4_start(self, rng, linear, vector, VOCAB)
        if "output" in self.biases:
            vector("output.bias", rng.normal(0, 0.3, VOCAB))
        half = (self.rope_dim or head) // 2
        if self.factors:
            vector("rope_freqs.weight", np.geomspace(1, 8, half))
        if "long" in self.adds:
            vector("rope_factors_short.weight", rng.uniform(1, 1.5, half))
            vector("rope_factors_long.weight", rng.uniform(1, 9, half))
        return tensors

    def layer(self, blk, i, norm, linear, vector, mixer):
        family, head = ref.FAMILIES[self.arch], self.head_dim or self.embed // self.heads
        kv_heads = self.kv_heads[i] if isinstance(self.kv_heads, list) else self.kv_heads
        q, kv = self.heads * head, kv_heads * head
        ffn = self.ffn[i] if isinstance(self.ffn, list) else self.ffn
        only_post = family.get("only_post")
        if not only_post:
            norm(blk + "attn_norm", self.embed)
        if "attn_norm_2" in self.adds:
            norm(blk + "attn_norm_2", self.embed)
        post_as_ffn = self.arch in ref.POST_AS_FFN
        if not only_post and not post_as_ffn and self.arch not in (
                "phi2", "falcon", "command-r", "cohere2"):
            norm(blk + "ffn_norm", self.embed)
        if only_post or family.get("post") or post_as_ffn:
            norm(blk + "post_attention_norm", self.embed)
        if only_post or family.get("post"):
            norm(blk + "post_ffw_norm", self.embed)
        if self.fused and not mixer:
            linear(blk + "attn_qkv", q + 2 * kv, self.embed)
        elif not mixer:
            linear(blk + "attn_q", 2 * q if family.get("query_gate") else q, self.embed)
            linear(blk + "attn_k", kv, self.embed)
            linear(blk + "attn_v", kv, self.embed)
        if not mixer:
            linear(blk + "attn_output", self.embed, q)
        if "attn_sinks" in self.adds:
            vector(blk + "attn_sinks.weight", np.random.default_rng(i).normal(1, 1, self.heads))
        gate = family.get("gate", "own")
        if not self.has_experts(i) or family.get("twin"):
            if gate == "own":
                linear(blk + "ffn_gate", ffn, self.embed)
            linear(blk + "ffn_up", 2 * ffn if gate == "fused" else ffn, self.embed)
            linear(blk + "ffn_down", self.embed, ffn)
        shapes = {"head": ((head,), (head,)), "whole": ((q,), (kv,)),
                  "each": ((self.heads, head), (self.kv_heads, head))}.get(family.get("qk"))
        if shapes and not mixer and "qk_norm" not in self.drops:
            has_bias = family.get("bias") and family["qk"] == "whole"
            norm(blk + "attn_q_norm", *shapes[0], bias=has_bias)
            norm(blk + "attn_k_norm", *shapes[1], bias=has_bias)

    def expert_layer(self, blk, linear, vector, stack):
        """experts: how many, of what width, and the width of the shared one"""
        count, ffn, shared = self.experts
        linear(blk + "ffn_gate_inp", count, self.embed, 2.0)
        if "gate_up" in self.adds:
            stack(blk + "ffn_gate_up_exps.weight", count, 2 * ffn, self.embed)
        else:
            stack(blk + "ffn_gate_exps.weight", count, ffn, self.embed)
            stack(blk + "ffn_up_exps.weight", count, ffn, self.embed)
        stack(blk + "ffn_down_exps.weight", count, self.embed, ffn)
        if "expert_biases" in self.adds:
            own = np.random.default_rng(len(blk) + ffn)
            for name, width in (("gate", ffn), ("up", ffn), ("down", self.embed)):
                vector(blk + "ffn_%s_exps.bias" % name, own.normal(0, 0.5, (count, width)))
        if shared:
            linear(blk + "ffn_gate_shexp", shared, self.embed)
            linear(blk + "ffn_up_shexp", shared, self.embed)
            linear(blk + "ffn_down_shexp", self.embed, shared)
        if "exp_probs_b" in self.adds:
            bias = np.random.default_rng(len(blk) + count).normal(0, 0.3, count)
            vector(blk + "exp_probs_b.bias", bias)
        if self.arch in ("qwen2moe", "qwen3next", "qwen35moe"):
            gate = np.random.default_rng(len(blk)).normal(0, 0.3, self.embed)
            vector(blk + "ffn_gate_inp_shexp.weight", gate)


QKV = ("attn_q", "attn_k", "attn_v")
YARN = {"rope.scaling.type": "yarn", "rope.scaling.factor": 8.0,
        "rope.scaling.original_context_length": 64}
WIDE = dict(embed=64, ffn=96, kv_heads=1, layers=1)  # blocks of 32
BROAD = dict(embed=256, heads=4, kv_heads=1, ffn=256, layers=1)  # blocks of 256
MIX = {"attn_v": ref.Q6_K, "ffn_down": ref.Q6_K, "attn_k": ref.Q8_0, "ffn_gate": ref.F16,
       "token_embd": ref.Q6_K}

SMALL = dict(embed=24, heads=4, kv_heads=2, ffn=40)
OLD_BIASES = ("attn_qkv", "attn_output", "ffn_up", "ffn_down")
PHI2_BIASES = QKV + ("attn_output", "ffn_up", "ffn_down", "output")
LONG = {"rope.scaling.original_context_length": 30, "rope.scaling.attn_factor": 1.19}

FAMILY_SPECS = [
    Spec("gemma-f32", "gemma", head_dim=16, tied=True, **SMALL),
    Spec("gemma2-f32", "gemma2", head_dim=16, tied=True, spread=40.0, **SMALL,
         keys={"attention.sliding_window": 7, "attn_logit_softcapping": 5.0,
               "final_logit_softcapping": 20.0}),
    Spec("gemma3-f32", "gemma3", head_dim=16, layers=3, embed=24, heads=2, kv_heads=1, ffn=32,
         tied=True, tokens=90,
         keys={"attention.sliding_window": 70, "attention.sliding_window_pattern": 2,
               "rope.freq_base": 1000000.0, "rope.scaling.type": "linear",
               "rope.scaling.factor": 8.0}),
    Spec("phi2-f32", "phi2", rope_dim=4, embed=24, heads=3, kv_heads=3, ffn=40,
         biases=PHI2_BIASES),
    Spec("phi3-f32", "phi3", fused=True, **SMALL),
    Spec("phi3-long-f32", "phi3", fused=True, layers=1, adds=("long",), keys=LONG, ctx=4096,
         tied=True, rope_dim=4, embed=24, heads=3, kv_heads=3, ffn=40, judge=False),
    Spec("phi3-short-f32", "phi3", fused=True, layers=1, adds=("long",), ctx=4096, **SMALL,
         keys={**LONG, "rope.scaling.original_context_length": 2048}),
    Spec("olmo-f32", "olmo", keys={"attention.clamp_kqv": 1.5}, **SMALL),
    Spec("olmo2-f32", "olmo2", tied=False, **SMALL),
    Spec("olmo2-window-f32", "olmo2", layers=4, embed=16, heads=2, kv_heads=1, ffn=24,
         tokens=60, keys={**YARN, "attention.sliding_window": 9,
                          "rope.scaling.original_context_length": 16}),
    Spec("smollm3-f32", "smollm3", layers=4, embed=16, heads=2, kv_heads=1, ffn=24, tied=True),
    Spec("starcoder-f32", "starcoder", fused=True, ctx=48, embed=24, heads=3, kv_heads=1, ffn=40,
         adds=("position_embd",), biases=OLD_BIASES),
    Spec("starcoder2-f32", "starcoder2", tied=True, biases=PHI2_BIASES[:-1], **SMALL),
    Spec("stablelm-f32", "stablelm", rope_dim=2, drops=("qk_norm",), biases=QKV, **SMALL),
    Spec("stablelm-parallel-f32", "stablelm", rope_dim=2, drops=("ffn_norm",), **SMALL),
    Spec("gpt2-f32", "gpt2", fused=True, ctx=48, embed=24, heads=3, kv_heads=3, ffn=40,
         adds=("position_embd",), tied=True, biases=OLD_BIASES),
    Spec("gptneox-f32", "gptneox", fused=True, rope_dim=2, embed=24, heads=3, kv_heads=3, ffn=40,
         keys={"use_parallel_residual": True}, biases=OLD_BIASES),
    Spec("gptneox-serial-f32", "gptneox", fused=True, rope_dim=2, embed=24, heads=3, kv_heads=3,
         ffn=40, layers=1, keys={"use_parallel_residual": False}, biases=OLD_BIASES),
    Spec("bloom-f32", "bloom", fused=True, embed=24, heads=3, kv_heads=3, ffn=40,
         adds=("token_embd_norm",), biases=OLD_BIASES),
    Spec("mpt-f32", "mpt", fused=True, embed=24, heads=6, kv_heads=6, ffn=40, tied=True,
         drops=("norm_bias", "qk_norm"),
         keys={"attention.max_alibi_bias": 8.0, "attention.clamp_kqv": 2.0}),
    Spec("mpt-positions-f32", "mpt", fused=True, ctx=48, layers=1, embed=24, heads=3, kv_heads=3,
         ffn=40, adds=("position_embd",), drops=("qk_norm",), biases=OLD_BIASES),
    # The judge stops at an assertion of its own: its norm wants a tensor that is not fused.
    Spec("mpt-qk-norm-f32", "mpt", fused=True, layers=1, embed=24, heads=3, kv_heads=3, ffn=40,
         tied=True, judge=False),
    Spec("refact-f32", "refact", kv_heads=1, embed=24, heads=4, ffn=40, tokens=90),
    Spec("falcon-f32", "falcon", fused=True, tied=True, embed=24, heads=3, kv_heads=1, ffn=40),
    Spec("falcon-two-norms-f32", "falcon", fused=True, layers=1, adds=("attn_norm_2",), **SMALL),
    Spec("command-r-f32", "command-r", tied=True, drops=("qk_norm",), spread=30.0, **SMALL,
         keys={"logit_scale": 0.0625}),
    Spec("command-r-qk-norm-f32", "command-r", tied=True, layers=1, judge=False, **SMALL),
    Spec("cohere2-f32", "cohere2", layers=4, embed=16, heads=2, kv_heads=1, ffn=24, tied=True,
         keys={"logit_scale": 0.25, "attention.sliding_window": 11}, spread=12.0),
    Spec("cohere2-long-f32", "cohere2", layers=2, embed=16, heads=2, kv_heads=1, ffn=24, tied=True,
         ctx=4096, tokens=1400, judge=False, positions=[300, 1023, 1024, 1100, 1324, 1399],
         keys={"attention.sliding_window": 300, "attention.sliding_window_pattern": 2}),
    Spec("internlm2-f32", "internlm2", **SMALL),
    Spec("exaone-f32", "exaone", factors=True, head_dim=16, **SMALL),
    Spec("exaone4-f32", "exaone4", **SMALL),
    Spec("exaone4-window-f32", "exaone4", layers=4, embed=16, heads=2, kv_heads=1, ffn=24,
         tied=True, judge=False, keys={"attention.sliding_window": 11}),
    Spec("chatglm-f32", "chatglm", fused=True, rope_dim=4, embed=24, heads=3, kv_heads=1, ffn=40,
         biases=("attn_qkv",)),
    Spec("glm4-f32", "glm4", rope_dim=4, embed=24, heads=3, kv_heads=1, ffn=40, biases=QKV),
    Spec("qwen-f32", "qwen", fused=True, embed=24, heads=3, kv_heads=3, ffn=40,
         biases=("attn_qkv",)),
    Spec("nemotron-f32", "nemotron", rope_dim=4, embed=24, heads=3, kv_heads=1, ffn=40),
    Spec("arcee-f32", "arcee", head_dim=16, factors=True, **SMALL),
    Spec("orion-f32", "orion", **SMALL),
    Spec("xverse-f32", "xverse", **SMALL),
    Spec("minicpm-f32", "minicpm", tied=True, spread=12.0, **SMALL,
         keys={"embedding_scale": 3.0, "residual_scale": 0.4, "logit_scale": 4.0}),
    Spec("ernie4_5-f32", "ernie4_5", head_dim=16, tied=True, **SMALL),
    Spec("seed_oss-f32", "seed_oss", head_dim=16, biases=QKV, **SMALL),
    Spec("llama-experts-f32", experts=(5, 20, 0), embed=24, heads=3, kv_heads=1, ffn=20,
         keys={"expert_count": 5, "expert_used_count": 2}),
    Spec("granitemoe-f32", "granitemoe", experts=(4, 20, 28), embed=24, heads=3, kv_heads=1, ffn=20,
         tied=True, spread=12.0,
         keys={"expert_count": 4, "expert_used_count": 2, "embedding_scale": 3.0,
               "expert_shared_feed_forward_length": 28, "residual_scale": 0.6,
               "logit_scale": 4.0, "attention.scale": 0.25}),
    Spec("granitemoe-alone-f32", "granitemoe", experts=(4, 20, 0), layers=1, embed=24, heads=3,
         kv_heads=1, ffn=20, keys={"expert_count": 4, "expert_used_count": 4, "logit_scale": 2.0}),
    Spec("qwen2moe-f32", "qwen2moe", experts=(6, 12, 20), embed=24, heads=3, kv_heads=1, ffn=36,
         biases=QKV, keys={"expert_count": 6, "expert_used_count": 3,
                           "expert_shared_feed_forward_length": 20}),
    Spec("qwen3moe-f32", "qwen3moe", experts=(7, 16, 0), embed=24, heads=3, kv_heads=1, ffn=36,
         head_dim=16, keys={"expert_count": 7, "expert_used_count": 2,
                            "expert_feed_forward_length": 16}),
    Spec("olmoe-f32", "olmoe", experts=(6, 16, 0), embed=24, heads=3, kv_heads=3, ffn=16,
         keys={"expert_count": 6, "expert_used_count": 3}),
    Spec("qwen3moe-q8_0", "qwen3moe", kind=ref.Q8_0, experts=(4, 32, 0), embed=32, heads=2,
         kv_heads=1, ffn=64, head_dim=16, layers=1, keys={"expert_count": 4, "expert_used_count": 2,
                                                 "expert_feed_forward_length": 32}),
    Spec("deepseek-f32", "deepseek", experts=(5, 12, 24), dense_layers=1, embed=24, heads=3,
         kv_heads=3, ffn=36,
         keys={"expert_count": 5, "expert_used_count": 2, "expert_feed_forward_length": 12,
               "expert_shared_count": 2, "leading_dense_block_count": 1,
               "expert_weights_scale": 1.5}),
    Spec("dots1-f32", "dots1", experts=(5, 12, 12), dense_layers=1, embed=24, heads=3, kv_heads=3,
         ffn=36, adds=("exp_probs_b",),
         keys={"expert_count": 5, "expert_used_count": 2, "expert_feed_forward_length": 12,
               "expert_shared_count": 1, "leading_dense_block_count": 1, "expert_gating_func": 2,
               "expert_weights_norm": True, "expert_weights_scale": 2.5}),
    Spec("dots1-plain-f32", "dots1", experts=(5, 12, 12), layers=1, embed=24, heads=3, kv_heads=3,
         ffn=36,
         keys={"expert_count": 5, "expert_used_count": 2, "expert_feed_forward_length": 12,
               "expert_shared_count": 1, "expert_gating_func": 1}),
    Spec("ernie4_5-moe-f32", "ernie4_5-moe", experts=(5, 12, 20), dense_layers=1, embed=24,
         heads=3, kv_heads=1, ffn=36, adds=("exp_probs_b",), tied=True,
         keys={"expert_count": 5, "expert_used_count": 2, "expert_feed_forward_length": 12,
               "expert_shared_feed_forward_length": 20, "leading_dense_block_count": 1,
               "interleave_moe_layer_step": 1}),
    Spec("hunyuan-moe-f32", "hunyuan-moe", experts=(4, 20, 28), head_dim=16, embed=24, heads=3,
         kv_heads=1, ffn=20, layers=1,
         keys={"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 20,
               "expert_shared_feed_forward_length": 28}),
    Spec("minimax-m2-f32", "minimax-m2", experts=(6, 16, 0), rope_dim=4, embed=24, heads=3,
         kv_heads=1, ffn=16, adds=("exp_probs_b",),
         keys={"expert_count": 6, "expert_used_count": 2, "expert_feed_forward_length": 16,
               "expert_gating_func": 2}),
    Spec("qwen3vl-f32", "qwen3vl", head_dim=16, tied=True, **SMALL,
         keys={"rope.dimension_sections": [3, 3, 2, 0]}),
    Spec("hunyuan-dense-f32", "hunyuan-dense", head_dim=16, tied=True, **SMALL),
]

DELTA = {"ssm.conv_kernel": 4, "ssm.inner_size": 32, "ssm.state_size": 8,
         "ssm.time_step_rank": 4, "ssm.group_count": 2}
MAMBA = {"ssm.conv_kernel": 4, "ssm.inner_size": 48, "ssm.state_size": 8,
         "ssm.time_step_rank": 6, "ssm.group_count": 2}
NEXT_MOE = {"expert_count": 5, "expert_used_count": 2, "expert_feed_forward_length": 12,
            "expert_shared_feed_forward_length": 16}
HYBRID = dict(embed=24, heads=3, head_dim=8, ffn=40, tokens=80)

MOE = {"expert_count": 6, "expert_used_count": 2, "expert_feed_forward_length": 12}
GROUPS = {"expert_count": 8, "expert_used_count": 3, "expert_feed_forward_length": 12,
          "expert_group_count": 4, "expert_group_used_count": 2, "expert_gating_func": 2,
          "expert_weights_norm": True, "expert_weights_scale": 2.5, "expert_shared_count": 1,
          "leading_dense_block_count": 1}
LATENT = {"attention.kv_lora_rank": 16, "attention.key_length": 20, "attention.value_length": 16,
          "attention.key_length_mla": 12, "attention.value_length_mla": 10}
JOINT = {"attention.kv_lora_rank": 16, "attention.key_length": 12, "attention.value_length": 10}
DEEPSEEK = dict(arch="deepseek2", embed=24, heads=3, rope_dim=4, ffn=36, tokens=80,
                mixers=["latent"] * 2, dense_layers=1)

NEWER_SPECS = [
    Spec("qwen2vl-f32", "qwen2vl", biases=QKV, keys={"rope.dimension_sections": [2, 1, 1, 0]}),
    Spec("qwen3vlmoe-f32", "qwen3vlmoe", experts=(6, 12, 0), head_dim=16, embed=24, heads=3,
         kv_heads=1, ffn=36, keys={**MOE, "rope.dimension_sections": [3, 3, 2, 0]}),
    Spec("apertus-f32", "apertus", head_dim=16, factors=True, **SMALL,
         extra={"xielu.alpha_n": [0.3, -0.4], "xielu.alpha_p": [0.2, 0.9],
                "xielu.beta": [0.5, 0.4], "xielu.eps": [-1e-6, -1e-6]}),
    Spec("minicpm3-f32", "minicpm3", embed=24, heads=3, kv_heads=3, rope_dim=4, ffn=40, spread=0.3,
         mixers=["latent"] * 2, tokens=80, tied=True, adds=("joint", "long"),
         keys={**JOINT, **LONG, "attention.q_lora_rank": 14,
               "rope.scaling.original_context_length": 2048}),
    Spec("gpt-oss-f32", "gpt-oss", experts=(6, 12, 0), head_dim=16, embed=24, heads=4, kv_heads=2,
         ffn=12, tokens=80, adds=("attn_sinks", "expert_biases"),
         biases=QKV + ("attn_output", "ffn_gate_inp"),
         keys={**MOE, **YARN, "attention.sliding_window": 9}),
    Spec("gpt-oss-mxfp4", "gpt-oss", experts=(4, 32, 0), head_dim=16, embed=32, heads=4, kv_heads=2,
         ffn=32, tokens=80, adds=("attn_sinks", "expert_biases"), spread=2.0, layers=1,
         kinds={"ffn_gate_exps": ref.MXFP4, "ffn_up_exps": ref.MXFP4, "ffn_down_exps": ref.MXFP4},
         biases=QKV + ("attn_output", "ffn_gate_inp"),
         keys={**MOE, "expert_count": 4, "expert_feed_forward_length": 32,
               "attention.sliding_window": 9}),
    Spec("deepseek2-f32", kv_heads=1, experts=(8, 12, 12), adds=("exp_probs_b",), **DEEPSEEK,
         keys={**LATENT, **GROUPS, **YARN, "attention.q_lora_rank": 14,
               "rope.scaling.yarn_log_multiplier": 0.0707}),
    Spec("deepseek2-joint-f32", kv_heads=3, experts=(8, 12, 12), adds=("joint", "gate_up"), **DEEPSEEK,
         keys={**JOINT, **MOE, "attention.q_lora_rank": 14, "expert_count": 8,
               "expert_shared_count": 1, "leading_dense_block_count": 1,
               "expert_weights_scale": 1.5}),
    # Without a bottleneck of queries the judge wants 27 layers.
    Spec("deepseek2-lite-f32", kv_heads=1, experts=(8, 12, 24), judge=False, **DEEPSEEK,
         keys={**LATENT, **MOE, **YARN, "expert_count": 8, "expert_shared_count": 2,
               "leading_dense_block_count": 1, "attention.temperature_scale": 0.2,
               "attention.temperature_length": 16}),
    Spec("llama4-f32", "llama4", layers=4, experts=(6, 12, 12), moe_step=2, embed=24, heads=3,
         kv_heads=1, ffn=36, keys={**MOE, "expert_used_count": 1, "interleave_moe_layer_step": 2}),
    # Chunks of attention end at 8192, where layers without rotation begin to sharpen.
    Spec("llama4-long-f32", "llama4", layers=4, experts=(3, 8, 8), moe_step=4, embed=16, heads=1,
         kv_heads=1, ffn=16, ctx=16384, tokens=8300, judge=False,
         positions=[100, 4096, 8190, 8191, 8192, 8193, 8250, 8299],
         keys={"expert_count": 3, "expert_used_count": 1, "expert_feed_forward_length": 8,
               "interleave_moe_layer_step": 4}),
    Spec("gemma4-f32", "gemma4", layers=6, embed=24, heads=3, kv_heads=1, rope_dim=16, tied=True,
         ffn=[32, 32, 32, 32, 64, 64], tokens=90, adds=("tails",), mixers=["gemma4"] * 6,
         keys={"attention.key_length": 16, "attention.value_length": 16,
               "attention.key_length_swa": 8, "attention.value_length_swa": 8,
               "rope.dimension_count_swa": 8, "attention.sliding_window": 9,
               "attention.sliding_window_pattern": [True, True, True, False, True, False],
               "attention.shared_kv_layers": 2, "embedding_length_per_layer_input": 8,
               "final_logit_softcapping": 20.0, "rope.freq_base": 1000000.0}),
    Spec("gemma4-experts-f32", "gemma4", layers=2, embed=24, heads=4, kv_heads=[2, 1], ffn=32,
         rope_dim=16, tied=True, tokens=80, experts=(6, 12, 0), adds=("no_value", "gate_up"),
         mixers=["gemma4"] * 2,
         keys={**MOE, "attention.key_length": 16, "attention.value_length": 16,
               "attention.key_length_swa": 8, "attention.value_length_swa": 8,
               "rope.dimension_count_swa": 4, "attention.sliding_window": 70,
               "attention.sliding_window_pattern": [True, False],
               "embedding_length_per_layer_input": 0}),
    Spec("glm4moe-f32", "glm4moe", experts=(8, 12, 12), dense_layers=1, rope_dim=4, embed=24,
         heads=3, kv_heads=1, ffn=36, biases=QKV, adds=("exp_probs_b",),
         keys={**GROUPS, "expert_group_count": 1, "expert_group_used_count": 1}),
    Spec("glm4moe-plain-f32", "glm4moe", layers=1, experts=(8, 12, 24), embed=24, heads=3,
         kv_heads=1, ffn=36, drops=("qk_norm",), adds=("exp_probs_b",),
         keys={**MOE, "expert_count": 8, "expert_shared_count": 2}),
    Spec("bailingmoe-f32", "bailingmoe", experts=(6, 12, 24), embed=24, heads=3, kv_heads=1,
         ffn=36, keys={**MOE, "expert_shared_count": 2, "expert_weights_norm": True,
                       "leading_dense_block_count": 0}),
    Spec("bailingmoe2-f32", "bailingmoe2", experts=(8, 12, 14), dense_layers=1, fused=True,
         rope_dim=4, embed=24, heads=3, kv_heads=1, ffn=36, adds=("exp_probs_b",),
         keys={**GROUPS, "expert_shared_feed_forward_length": 14}),
]

HYBRID_SPECS = [
    Spec("lfm2-f32", "lfm2", layers=4, kv_heads=[0, 1, 0, 0], tied=True, embed=24, heads=3, ffn=40,
         tokens=80, mixers=["conv", None, "conv", "conv"], words=True,
         keys={"shortconv.l_cache": 3}),
    Spec("lfm2moe-f32", "lfm2moe", layers=3, kv_heads=[0, 0, 1], embed=24, heads=3, ffn=40,
         tokens=80, mixers=["conv", "conv", None], experts=(5, 12, 0), dense_layers=1,
         adds=("exp_probs_b",),
         keys={"shortconv.l_cache": 4, "expert_count": 5, "expert_used_count": 2,
               "expert_feed_forward_length": 12, "leading_dense_block_count": 1,
               "expert_gating_func": 2}),
    Spec("qwen3next-f32", "qwen3next", layers=4, rope_dim=4, mixers=["delta"] * 3 + [None],
         kv_heads=1, experts=(5, 12, 16), keys={**DELTA, **NEXT_MOE}, **HYBRID),
    Spec("qwen3next-joint-f32", "qwen3next", layers=1, rope_dim=4, mixers=["delta"], judge=False,
         kv_heads=1, experts=(5, 12, 16), adds=("ssm_in",), keys={**DELTA, **NEXT_MOE}, **HYBRID),
    Spec("qwen35-f32", "qwen35", layers=3, rope_dim=4, mixers=["delta", "delta", None], kv_heads=1,
         tied=True, words=True, keys={**DELTA, "full_attention_interval": 3,
                          "rope.dimension_sections": [1, 1, 0, 0]}, **HYBRID),
    Spec("qwen35moe-f32", "qwen35moe", layers=3, rope_dim=4, mixers=["delta", "delta", None],
         kv_heads=1, experts=(5, 12, 16),
         keys={**DELTA, **NEXT_MOE, "full_attention_interval": 3,
               "rope.dimension_sections": [1, 1, 0, 0]}, **HYBRID),
    Spec("granitehybrid-f32", "granitehybrid", layers=3, kv_heads=[0, 1, 0], tied=True,
         mixers=["mamba", None, "mamba"], biases=("ssm_conv1d",), spread=12.0,
         keys={**MAMBA, "embedding_scale": 3.0, "residual_scale": 0.6, "logit_scale": 4.0,
               "attention.scale": 0.25}, **HYBRID),
    Spec("granitehybrid-experts-f32", "granitehybrid", layers=3, kv_heads=[0, 1, 0],
         mixers=["mamba", None, "mamba"], experts=(4, 40, 28), spread=12.0, biases=("ssm_conv1d",),
         keys={**MAMBA, "logit_scale": 4.0, "rope.scaling.finetuned": False, "expert_count": 4,
               "expert_used_count": 2, "expert_shared_feed_forward_length": 28}, **HYBRID),
]

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
] + FAMILY_SPECS + HYBRID_SPECS + NEWER_SPECS


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
    wanted = sys.argv[2:]
    for spec in SPECS:
        if wanted and spec.name not in wanted:
            continue
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
