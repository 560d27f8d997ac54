"""A decoder in float64 numpy, to compare hearth with.

Reads a GGUF file, dequantises its tensors by the definition of each format and runs the forward
pass in double precision. It shares no code with hearth and is written for reading, not for speed:

    python3 reference.py MODEL.gguf 1,2,3        prints the five best of each position

Formulas: the published model definitions (Llama, Qwen2, Qwen3), YaRN (Peng et al. 2023), and the
GGUF conventions of llama.cpp for what the keys mean.
"""
import struct
import sys

import numpy as np

# ---- the file ----

SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q",
           11: "<q", 12: "<d"}
STRING, ARRAY = 8, 9


class Gguf:
    """Metadata as a dict, tensors as float64 arrays of shape [rows, cols] or [cols]."""

    def __init__(self, path):
        self.data = open(path, "rb").read()
        self.at = 0
        magic, version, tensor_count, entry_count = self.take("<4sIQQ")
        assert magic == b"GGUF" and version in (2, 3)
        self.meta = {}
        for _ in range(entry_count):
            key = self.text()
            self.meta[key] = self.value(self.take("<I")[0])
        index = []
        for _ in range(tensor_count):
            name = self.text()
            dims = self.take("<%dQ" % self.take("<I")[0])
            index.append((name, dims, *self.take("<IQ")))
        align = self.meta.get("general.alignment", 32)
        start = -(-self.at // align) * align
        self.tensors = {}
        for name, dims, kind, offset in index:
            raw = np.frombuffer(self.data, np.uint8, offset=start + offset)
            flat = decode(kind, raw, int(np.prod(dims)))
            self.tensors[name] = flat.reshape(tuple(reversed(dims)))

    def take(self, form):
        out = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return out

    def text(self):
        (n,) = self.take("<Q")
        self.at += n
        return self.data[self.at - n : self.at].decode()

    def value(self, kind):
        if kind == STRING:
            return self.text()
        if kind == ARRAY:
            item, count = self.take("<IQ")
            return [self.value(item) for _ in range(count)]
        return self.take(SCALARS[kind])[0]


# ---- formats ----

F32, F16, Q4_0, Q8_0, Q4_K, Q5_K, Q6_K, BF16 = 0, 1, 2, 8, 12, 13, 14, 30
BLOCKS = {Q4_0: (32, 18), Q8_0: (32, 34), Q4_K: (256, 144), Q5_K: (256, 176), Q6_K: (256, 210)}


def halves(raw):
    return raw.copy().view(np.float16).astype(np.float64)


def six_bit(raw):
    """Scales and mins [blocks, 8] of the 12 bytes of Q4_K and Q5_K."""
    a, b, c = (raw[:, i : i + 4].astype(int) for i in (0, 4, 8))
    scale = np.concatenate([a & 63, c & 15 | a >> 6 << 4], 1)
    low = np.concatenate([b & 63, c >> 4 | b >> 6 << 4], 1)
    return scale, low


def decode(kind, raw, count):
    if kind == F32:
        return raw[: 4 * count].copy().view(np.float32).astype(np.float64)
    if kind == F16:
        return halves(raw[: 2 * count])
    if kind == BF16:
        wide = raw[: 2 * count].copy().view(np.uint16).astype(np.uint32) << 16
        return wide.view(np.float32).astype(np.float64)
    length, size = BLOCKS[kind]
    b = raw[: count // length * size].reshape(-1, size)
    if kind == Q8_0:
        return (halves(b[:, :2]) * b[:, 2:].copy().view(np.int8)).ravel()
    if kind == Q4_0:
        q = np.concatenate([b[:, 2:] & 15, b[:, 2:] >> 4], 1).astype(int)
        return (halves(b[:, :2]) * (q - 8)).ravel()
    if kind == Q6_K:
        out = np.empty((len(b), 256))
        scale = b[:, 192:208].copy().view(np.int8).astype(int)
        for half in range(2):
            low = b[:, 64 * half : 64 * half + 64].astype(int)
            high = b[:, 128 + 32 * half : 160 + 32 * half].astype(int)
            for quarter in range(4):
                part = low[:, 32 * (quarter & 1) :][:, :32]
                nibble = part >> 4 if quarter >= 2 else part & 15
                q = nibble | (high >> 2 * quarter & 3) << 4
                at = 128 * half + 32 * quarter
                scales = np.repeat(scale[:, at // 16 : at // 16 + 2], 16, 1)
                out[:, at : at + 32] = (q - 32) * scales
        return (halves(b[:, 208:210]) * out).ravel()
    d, dmin = halves(b[:, 0:2]), halves(b[:, 2:4])
    scale, low = six_bit(b[:, 4:16])
    qs = b[:, 16 if kind == Q4_K else 48 :].astype(int).reshape(-1, 4, 32)
    q = np.stack([qs & 15, qs >> 4], 2).reshape(-1, 8, 32)
    if kind == Q5_K:
        bits = b[:, 16:48].astype(int)
        q = q | np.stack([bits >> i & 1 for i in range(8)], 1) << 4
    return (d[:, :, None] * scale[:, :, None] * q - dmin[:, :, None] * low[:, :, None]).ravel()


# ---- the model ----


def rms_norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def silu(x):
    return x / (1 + np.exp(-x))


class Model:
    def __init__(self, path):
        file = Gguf(path)
        self.file, self.t = file, file.tensors
        self.arch = file.meta["general.architecture"]
        self.layers = self.get("block_count")
        self.embed = self.get("embedding_length")
        self.eps = self.get("attention.layer_norm_rms_epsilon")
        self.heads = self.per_layer("attention.head_count")
        self.kv_heads = self.per_layer("attention.head_count_kv", self.heads)
        self.key_dim = self.get("attention.key_length", self.embed // self.heads[0])
        self.value_dim = self.get("attention.value_length", self.embed // self.heads[0])
        self.rope_dim = self.get("rope.dimension_count", self.key_dim)
        self.neox = self.arch in ("qwen2", "qwen3")
        self.freq, self.magnitude = self.frequencies()
        # granite scales what the others leave alone
        scales = self.arch == "granite"
        self.embed_scale = self.get("embedding_scale", 1.0) if scales else 1.0
        self.residual_scale = self.get("residual_scale", 1.0) if scales else 1.0
        self.logit_scale = self.get("logit_scale", 1.0) if scales else 1.0
        self.attn_scale = self.get("attention.scale", 0.0) if scales else 0.0
        self.attn_scale = self.attn_scale or self.key_dim**-0.5
        # mistral3 sharpens the queries behind the original context
        self.temperature = 0.0
        if self.arch == "mistral3":
            self.temperature = self.get("attention.temperature_scale", 0.0)
        self.original = self.get("rope.scaling.original_context_length", self.get("context_length"))

    def get(self, name, default=None):
        return self.file.meta.get(self.arch + "." + name, default)

    def per_layer(self, name, default=None):
        value = self.get(name, default)
        return value if isinstance(value, list) else [value] * self.layers

    def frequencies(self):
        """Turns per position of each pair (radians), and the factor of cos and sin."""
        dim, base = self.rope_dim, self.get("rope.freq_base", 10000.0)
        i = np.arange(dim // 2)
        freq = base ** (-2.0 * i / dim)
        if "rope_freqs.weight" in self.t:
            freq = freq / self.t["rope_freqs.weight"]
        kind = self.get("rope.scaling.type", "linear")
        factor = self.get("rope.scaling.factor", self.get("rope.scale_linear", 0.0)) or 1.0
        magnitude = self.get("rope.scaling.attn_factor", 1.0)
        if kind == "linear":
            freq = freq / factor
        if kind == "yarn":
            original = self.get("rope.scaling.original_context_length", self.get("context_length"))

            def pair_of(turns):
                return dim * np.log(original / (turns * 2 * np.pi)) / (2 * np.log(base))

            low = max(0, np.floor(pair_of(self.get("rope.scaling.yarn_beta_fast", 32.0))))
            high = min(dim - 1, np.ceil(pair_of(self.get("rope.scaling.yarn_beta_slow", 1.0))))
            keep = 1 - np.clip((i - low) / max(0.001, high - low), 0, 1)
            freq = freq * keep + freq / factor * (1 - keep)
            magnitude *= 0.1 * np.log(factor) + 1 if factor > 1 else 1
            log_mul = self.get("rope.scaling.yarn_log_multiplier", 0.0)
            if log_mul and factor > 1:
                magnitude /= 0.1 * log_mul * np.log(factor) + 1
        return freq, magnitude

    def rope(self, x):
        """x: [tokens, heads, key_dim]; the first rope_dim dimensions turn."""
        angle = np.arange(len(x))[:, None, None] * self.freq
        cos, sin = np.cos(angle) * self.magnitude, np.sin(angle) * self.magnitude
        out, half = x.copy(), self.rope_dim // 2
        a = slice(0, half) if self.neox else slice(0, self.rope_dim, 2)
        b = slice(half, self.rope_dim) if self.neox else slice(1, self.rope_dim, 2)
        out[..., a] = x[..., a] * cos - x[..., b] * sin
        out[..., b] = x[..., a] * sin + x[..., b] * cos
        return out

    def linear(self, x, name):
        y = x @ self.t[name + ".weight"].T
        return y + self.t[name + ".bias"] if name + ".bias" in self.t else y

    def attention(self, x, il):
        n, blk = len(x), "blk.%d." % il
        q = self.linear(x, blk + "attn_q").reshape(n, self.heads[il], self.key_dim)
        k = self.linear(x, blk + "attn_k").reshape(n, self.kv_heads[il], self.key_dim)
        v = self.linear(x, blk + "attn_v").reshape(n, self.kv_heads[il], self.value_dim)
        if blk + "attn_q_norm.weight" in self.t:
            q = rms_norm(q, self.t[blk + "attn_q_norm.weight"], self.eps)
            k = rms_norm(k, self.t[blk + "attn_k_norm.weight"], self.eps)
        q, k = self.rope(q), self.rope(k)
        if self.temperature:
            turns = np.floor(np.arange(n) / self.original)
            q = q * (1 + self.temperature * np.log(1 + turns))[:, None, None]
        group = self.heads[il] // self.kv_heads[il]
        future = np.triu(np.full((n, n), -np.inf), 1)
        out = np.empty((n, self.heads[il], self.value_dim))
        for h in range(self.heads[il]):
            score = q[:, h] @ k[:, h // group].T * self.attn_scale + future
            weight = np.exp(score - score.max(-1, keepdims=True))
            out[:, h] = weight / weight.sum(-1, keepdims=True) @ v[:, h // group]
        return self.linear(out.reshape(n, -1), blk + "attn_output")

    def logits(self, ids):
        """[tokens, vocabulary]"""
        x = self.t["token_embd.weight"][np.array(ids)] * self.embed_scale
        for il in range(self.layers):
            blk = "blk.%d." % il
            n = rms_norm(x, self.t[blk + "attn_norm.weight"], self.eps)
            x = x + self.attention(n, il) * self.residual_scale
            n = rms_norm(x, self.t[blk + "ffn_norm.weight"], self.eps)
            mixed = silu(self.linear(n, blk + "ffn_gate")) * self.linear(n, blk + "ffn_up")
            x = x + self.linear(mixed, blk + "ffn_down") * self.residual_scale
        x = rms_norm(x, self.t["output_norm.weight"], self.eps)
        if "output.weight" in self.t:
            return self.linear(x, "output") / self.logit_scale
        return x @ self.t["token_embd.weight"].T / self.logit_scale


if __name__ == "__main__":
    ids = [int(s) for s in sys.argv[2].split(",")]
    for position, row in enumerate(Model(sys.argv[1]).logits(ids)):
        best = np.argsort(-row)[:5]
        print("%d:" % position, "  ".join("%d %.4f" % (i, row[i]) for i in best))
