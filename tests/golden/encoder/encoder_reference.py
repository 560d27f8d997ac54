"""An encoder in float64 numpy: what hearth's vectors and scores are compared with.

    python3 encoder_reference.py MODEL.gguf 1,2,3 [SECOND]     prints the vector or the scores

SECOND is where the second text of a pair begins. Reads files with the reader of the decoders'
reference. Formulas: the published definitions of BERT, NomicBERT, JinaBERT, ModernBERT, NeoBERT,
EuroBERT and EmbeddingGemma, with the GGUF conventions of llama.cpp for names and keys (GELU is the
tanh formula everywhere; a symmetric window of w reaches w // 2 in each direction).
"""
import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "model"))
from reference import Gguf, gelu, layer_norm, rms_norm, silu

NONE, MEAN, CLS, LAST, RANK = range(5)

# sum: the norms stand behind the sums. gate: own, fused (gate rows first) or none; None: as the
# tensors are. windows: period, and whether the first or the last layer of it sees everything.
BERT = dict(layer=True, sum=True, act=gelu, gate="none")
FAMILIES = {
    "bert": dict(BERT, unrotated=True),
    "nomic-bert": dict(BERT, act=silu, gate="own"),
    "nomic-bert-moe": BERT,
    "jina-bert-v2": dict(BERT, unrotated=True, alibi=8.0, gate=None),
    "jina-bert-v3": BERT,
    "modern-bert": dict(layer=True, act=gelu, gate="fused", windows=(3, "first")),
    "neo-bert": dict(act=silu, gate="fused", interleaved=True),
    "eurobert": dict(act=silu, gate="own"),
    "llama-embed": dict(act=silu, gate="own", interleaved=True),
    "gemma-embedding": dict(act=gelu, gate="own", windows=(6, "last"), post=True, root=True),
    # decoders read as encoders
    "llama": dict(act=silu, gate="own", interleaved=True, causal=True),
    "qwen2": dict(act=silu, gate="own", causal=True),
    "qwen3": dict(act=silu, gate="own", causal=True),
}


class Encoder:
    def __init__(self, path):
        file = Gguf(path)
        self.meta, self.t = file.meta, file.tensors
        self.arch = file.meta["general.architecture"]
        self.family = FAMILIES[self.arch]
        self.layers = self.get("block_count")
        self.embed = self.get("embedding_length")
        self.heads = self.get("attention.head_count")
        self.kv_heads = self.get("attention.head_count_kv", self.heads)
        self.head_dim = self.get("attention.key_length", self.embed // self.heads)
        kind = "layer_norm" if self.family.get("layer") else "layer_norm_rms"
        self.eps = self.get("attention.%s_epsilon" % kind)
        self.causal = self.get("attention.causal", bool(self.family.get("causal")))
        self.pooling = self.get("pooling_type", MEAN)

    def get(self, name, default=None):
        return self.meta.get(self.arch + "." + name, default)

    def linear(self, x, name):
        y = x @ self.t[name + ".weight"].T
        return y + self.t[name + ".bias"] if name + ".bias" in self.t else y

    def norm(self, x, name):
        if self.family.get("layer"):
            return layer_norm(x, self.t[name + ".weight"], self.t.get(name + ".bias", 0.0), self.eps)
        return rms_norm(x, self.t[name + ".weight"], self.eps)

    def window(self, il):
        if "windows" not in self.family:
            return 0
        period, full = self.family["windows"]
        pattern = self.get("attention.sliding_window_pattern", period)
        sees_all = il % pattern == (0 if full == "first" else pattern - 1)
        return 0 if sees_all else self.get("attention.sliding_window", 0)

    def rotate(self, x, il):
        if self.family.get("unrotated"):
            return x
        dim, base = self.head_dim, self.get("rope.freq_base", 10000.0)
        if self.window(il):
            base = self.get("rope.freq_base_swa", base)
        angle = np.arange(len(x))[:, None, None] * base ** (-2.0 * np.arange(dim // 2) / dim)
        cos, sin, half = np.cos(angle), np.sin(angle), dim // 2
        a, b = slice(0, half), slice(half, dim)
        if self.family.get("interleaved"):
            a, b = slice(0, dim, 2), slice(1, dim, 2)
        out = x.copy()
        out[..., a] = x[..., a] * cos - x[..., b] * sin
        out[..., b] = x[..., a] * sin + x[..., b] * cos
        return out

    def unseen(self, n, il):
        distance = np.arange(n)[:, None] - np.arange(n)
        window = self.window(il)
        mask = np.abs(distance) > window // 2 if window else np.zeros((n, n), bool)
        return mask | (distance < 0) if self.causal else mask

    def heads_of(self, x, il):
        """q, k and v of a layer: [tokens, heads, head_dim], normed and rotated."""
        n, blk = len(x), "blk.%d." % il
        if blk + "attn_qkv.weight" in self.t:
            q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
            parts = np.split(self.linear(x, blk + "attn_qkv"), [q, q + kv], -1)
        else:
            parts = [self.linear(x, blk + "attn_" + name) for name in "qkv"]
        for i, name in enumerate(("attn_q_norm", "attn_k_norm")):
            weight = self.t.get(blk + name + ".weight")
            if weight is not None and len(weight) != self.head_dim:
                parts[i] = self.norm(parts[i], blk + name)
        q, k, v = (p.reshape(n, -1, self.head_dim) for p in parts)
        if len(self.t.get(blk + "attn_q_norm.weight", ())) == self.head_dim:
            q, k = self.norm(q, blk + "attn_q_norm"), self.norm(k, blk + "attn_k_norm")
        return self.rotate(q, il), self.rotate(k, il), v

    def attention(self, x, il):
        n = len(x)
        q, k, v = self.heads_of(x, il)
        distance = np.abs(np.arange(n)[:, None] - np.arange(n))
        out = np.empty((n, self.heads, self.head_dim))
        power = 2 ** int(np.log2(self.heads))
        for h in range(self.heads):
            kv = h // (self.heads // self.kv_heads)
            score = q[:, h] @ k[:, kv].T / self.head_dim**0.5
            if "alibi" in self.family:
                bias = self.family["alibi"]
                step = (h + 1) / power if h < power else (2 * (h - power) + 1) / (2 * power)
                score = score - 2 ** (-bias * step) * distance
            score = np.where(self.unseen(n, il), -np.inf, score)
            weight = np.exp(score - score.max(-1, keepdims=True))
            out[:, h] = weight / weight.sum(-1, keepdims=True) @ v[:, kv]
        return self.linear(out.reshape(n, -1), "blk.%d.attn_output" % il)

    def experts(self, x, il):
        """The chosen experts by their probabilities, which are not brought to 1."""
        blk, y = "blk.%d." % il, np.zeros_like(x)
        score = self.linear(x, blk + "ffn_gate_inp")
        p = np.exp(score - score.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        for i in range(len(x)):
            for e in np.argsort(-p[i])[: self.get("expert_used_count")]:
                inner = self.family["act"](self.t[blk + "ffn_up_exps.weight"][e] @ x[i])
                y[i] += p[i, e] * (self.t[blk + "ffn_down_exps.weight"][e] @ inner)
        return y

    def ffn(self, x, il):
        blk, act, gate = "blk.%d." % il, self.family["act"], self.family["gate"]
        if blk + "ffn_gate_inp.weight" in self.t:
            return self.experts(x, il)
        up = self.linear(x, blk + "ffn_up")
        if gate is None:
            is_wide = up.shape[-1] != self.get("feed_forward_length")
            gate = "fused" if is_wide else "own" if blk + "ffn_gate.weight" in self.t else "none"
        if gate == "own":
            up = act(self.linear(x, blk + "ffn_gate")) * up
        elif gate == "fused":
            first, second = np.split(up, 2, -1)
            up = act(first) * second
        else:
            up = act(up)
        return self.linear(up, blk + "ffn_down")

    def layer(self, x, il):
        blk = "blk.%d." % il
        if self.family.get("sum"):
            y = self.norm(x + self.attention(x, il), blk + "attn_output_norm")
            if blk + "attn_norm_2.weight" in self.t:
                y = self.norm(x + y, blk + "attn_norm_2")
            return self.norm(y + self.ffn(y, il), blk + "layer_output_norm")
        after = (lambda y, name: self.norm(y, blk + name)) if self.family.get("post") else (
            lambda y, name: y)
        first = self.norm(x, blk + "attn_norm") if blk + "attn_norm.weight" in self.t else x
        x = x + after(self.attention(first, il), "post_attention_norm")
        return x + after(self.ffn(self.norm(x, blk + "ffn_norm"), il), "post_ffw_norm")

    def hidden(self, ids, second):
        x = self.t["token_embd.weight"][np.array(ids)]
        if self.family.get("root"):
            x = x * self.embed**0.5
        if "token_types.weight" in self.t:
            types = np.arange(len(ids)) >= (second or len(ids))
            x = x + self.t["token_types.weight"][types.astype(int)]
        if "position_embd.weight" in self.t:
            x = x + self.t["position_embd.weight"][: len(x)]
        if "token_embd_norm.weight" in self.t:
            x = self.norm(x, "token_embd_norm")
        for il in range(self.layers):
            x = self.layer(x, il)
        for name in ("output_norm", "enc.output_norm"):
            x = self.norm(x, name) if name + ".weight" in self.t else x
        return x

    def classes(self, x):
        is_modern = self.arch == "modern-bert"
        if "cls.weight" in self.t:
            x = self.linear(x, "cls")
            x = gelu(x) if is_modern else np.tanh(x)
            if "cls.norm.weight" in self.t:
                x = self.norm(x, "cls.norm")
        x = self.linear(x, "cls.output") if "cls.output.weight" in self.t else x
        if self.family.get("causal"):
            x = np.exp(x - x.max())
            x = x / x.sum()
        return x

    def vector(self, ids, second=0):
        """[width], or [tokens, width] without pooling"""
        x = self.hidden(ids, second)
        if self.pooling == NONE:
            return x
        if self.pooling == RANK:
            if self.arch == "modern-bert":
                return self.classes(x.mean(0))
            return self.classes(x[-1] if self.family.get("causal") else x[0])
        x = {MEAN: x.mean(0), CLS: x[0], LAST: x[-1]}[self.pooling]
        for name in ("dense_2", "dense_3"):
            x = self.linear(x, name) if name + ".weight" in self.t else x
        return x


if __name__ == "__main__":
    numbers = [int(s) for s in sys.argv[2].split(",")]
    print(Encoder(sys.argv[1]).vector(numbers, int(sys.argv[3]) if len(sys.argv) > 3 else 0))
