"""A decoder in float64 numpy, to compare hearth with.

Reads a GGUF file, dequantises its tensors by the definition of each format and runs the forward
pass in double precision. It shares no code with hearth and is written for reading, not for speed:

    python3 reference.py MODEL.gguf 1,2,3        prints the five best of each position

Formulas: the published model definitions, YaRN (Peng et al. 2023), ALiBi (Press et al. 2022), and
the GGUF conventions of llama.cpp for what the keys mean (GELU is the tanh formula everywhere).
"""
import struct
import sys

import numpy as np

import mixers

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

F32, F16, Q4_0, Q8_0, Q4_K, Q5_K, Q6_K, BF16, MXFP4 = 0, 1, 2, 8, 12, 13, 14, 30, 39
# Elements of 4 bits (OCP Microscaling): twice their value, by code without the sign.
FP4 = np.array([0, 1, 2, 3, 4, 6, 8, 12])
BLOCKS = {MXFP4: (32, 17), Q4_0: (32, 18), Q8_0: (32, 34), Q4_K: (256, 144), Q5_K: (256, 176), Q6_K: (256, 210)}


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
    if kind == MXFP4:
        q = np.concatenate([b[:, 1:] & 15, b[:, 1:] >> 4], 1)
        return (2.0 ** (b[:, :1].astype(int) - 128) * FP4[q & 7] * np.where(q & 8, -1, 1)).ravel()
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


def layer_norm(x, weight, bias, eps):
    x = x - x.mean(-1, keepdims=True)
    return rms_norm(x, weight, eps) + bias


def gelu(x):
    return 0.5 * x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3)))


def relu2(x):
    return np.maximum(x, 0) ** 2


def alibi_slopes(heads, bias):
    power = 2 ** int(np.log2(heads))
    first = [2 ** (-bias * (h + 1) / power) for h in range(power)]
    return first + [2 ** (-bias * (2 * h + 1) / (2 * power)) for h in range(heads - power)]


# What a family does that llama does not.
#   neox, unrotated          how heads turn
#   layer, bias, bare        layer norm instead of RMS; with a bias; without weights
#   post, only_post          norms behind the blocks as well; only there
#   qk                       head, each or whole: norm of queries and keys; late: after rotation
#   act, gate                silu, gelu, relu2; own, fused or none
#   parallel                 attention and ffn have the same input
#   query_gate, tiled        attention is gated; heads of the delta net share keys in turns
#   windows                  period of the layers and default width; nope: which do not turn
POST_AS_FFN = ("seed_oss", "qwen3next", "qwen35", "qwen35moe", "gpt-oss", "glm4moe")
PARALLEL_LAYER = dict(layer=True, parallel=True)
OLD = dict(unrotated=True, layer=True, bias=True, act=gelu, gate="none")
FAMILIES = {
    "llama": {}, "mistral3": {}, "granite": {}, "internlm2": {}, "xverse": {}, "ernie4_5": {},
    "minicpm": {},
    "smollm3": dict(nope="fourth"),
    # Text has one position, so the sections of its heads turn alike.
    "qwen3vl": dict(neox=True, qk="head"),
    "qwen2": dict(neox=True), "exaone": dict(neox=True), "qwen": dict(neox=True, half_ffn=True),
    "seed_oss": dict(neox=True),
    "qwen3": dict(neox=True, qk="head"),
    "qwen2moe": dict(neox=True, weights="plain"), "qwen3moe": dict(neox=True, qk="head"),
    "deepseek": dict(weights="plain"), "dots1": dict(neox=True, qk="head"), "ernie4_5-moe": {},
    "hunyuan-moe": dict(neox=True, qk="head", late=True),
    "minimax-m2": dict(neox=True, qk="whole"),
    "granitemoe": {}, "olmoe": dict(neox=True, qk="whole", weights="plain"),
    "hunyuan-dense": dict(neox=True, qk="head", late=True),
    "gemma": dict(neox=True, act=gelu, root=True),
    "gemma2": dict(neox=True, act=gelu, root=True, post=True, windows=(2, 4096), caps=(50, 30)),
    "gemma3": dict(neox=True, act=gelu, root=True, post=True, windows=(6, 0), caps=(0, 0),
                   qk="head", plain_window=True, window_base=10000.0),
    "phi2": dict(neox=True, bias=True, act=gelu, gate="none", **PARALLEL_LAYER),
    "phi3": dict(neox=True, gate="fused"),
    "olmo": dict(layer=True, bare=True),
    "olmo2": dict(neox=True, only_post=True, qk="whole", windows=(4, 0), plain_window=True),
    "exaone4": dict(neox=True, only_post=True, qk="head", windows=(4, 0), nope="global"),
    "starcoder2": dict(neox=True, layer=True, bias=True, act=gelu, gate="none"),
    "stablelm": dict(neox=True, layer=True, bias=True, qk="each"),
    "gptneox": dict(neox=True, bias=True, act=gelu, gate="none", **PARALLEL_LAYER),
    "falcon": dict(neox=True, bias=True, act=gelu, gate="none", **PARALLEL_LAYER),
    "command-r": dict(qk="each", **PARALLEL_LAYER),
    "cohere2": dict(windows=(4, 0), nope="global", **PARALLEL_LAYER),
    "chatglm": dict(gate="fused"),
    "glm4": dict(gate="fused", post=True),
    "nemotron": dict(neox=True, layer=True, bias=True, act=relu2, gate="none"),
    "arcee": dict(act=relu2, gate="none"),
    "orion": dict(neox=True, layer=True, bias=True),
    "refact": dict(unrotated=True, alibi=8.0),
    "bloom": dict(alibi=8.0, **OLD),
    "mpt": dict(alibi=0.0, qk="whole", **OLD),
    "gpt2": OLD, "starcoder": OLD,
    "lfm2": dict(neox=True, qk="head"), "lfm2moe": dict(neox=True, qk="head"),
    "qwen3next": dict(neox=True, qk="head", query_gate=True),
    "qwen35": dict(neox=True, qk="head", query_gate=True, tiled=True),
    "qwen35moe": dict(neox=True, qk="head", query_gate=True, tiled=True),
    "granitehybrid": {},
    "qwen2vl": dict(neox=True), "qwen3vlmoe": dict(neox=True, qk="head"),
    "apertus": dict(neox=True, qk="head", act="xielu", gate="none"),
    "minicpm3": dict(neox=True), "deepseek2": {},
    "gpt-oss": dict(neox=True, act="swiglu_cut", windows=(2, 0)),
    "llama4": dict(nope="fourth", weights="plain", late=True, windows=(4, 8192), chunks=True),
    "gemma4": dict(neox=True, act=gelu, root=True, post=True, windows=(6, 0), caps=(0, 30),
                   plain_window=True, window_base=10000.0, twin=True),
    "glm4moe": dict(neox=True, qk="head"),
    "bailingmoe": {}, "bailingmoe2": dict(neox=True, qk="head"),
}


class Model:
    def __init__(self, path):
        file = Gguf(path)
        self.file, self.t = file, file.tensors
        self.arch = file.meta["general.architecture"]
        self.family = FAMILIES[self.arch]
        self.layers = self.get("block_count")
        self.embed = self.get("embedding_length")
        kind = "layer_norm" if self.family.get("layer") else "layer_norm_rms"
        self.eps = self.get("attention.%s_epsilon" % kind)
        self.heads = self.per_layer("attention.head_count")
        self.kv_heads = self.per_layer("attention.head_count_kv", self.heads)
        self.key_dim = self.get("attention.key_length", self.embed // self.heads[0])
        self.value_dim = self.get("attention.value_length", self.embed // self.heads[0])
        self.rope_dim = self.get("rope.dimension_count", self.key_dim)
        self.neox = self.family.get("neox", False)
        self.read_scales()
        # mistral3 sharpens the queries behind the original context
        self.temperature = 0.0
        if self.arch in ("mistral3", "deepseek2"):
            self.temperature = self.get("attention.temperature_scale", 0.0)
        self.temperature_length = self.get("attention.temperature_length", 0)
        self.original = self.get("rope.scaling.original_context_length", self.get("context_length"))
        self.read_windows()

    def add_adapter(self, path, scale):
        """W += scale * alpha / rank * B A, for each matrix of a LoRA adapter."""
        file = Gguf(path)
        for name, a in file.tensors.items():
            if name.endswith(".lora_a"):
                base = name[:-len(".lora_a")]
                b = file.tensors[base + ".lora_b"]
                factor = scale * file.meta["adapter.lora.alpha"] / len(a)
                self.t[base] = self.t[base] + factor * (b @ a)

    def read_scales(self):
        if self.arch == "minicpm3":
            self.scale_by(12.0, 1.4 / self.layers**0.5, 256.0 / self.embed)
            return
        self.scale_by(1.0, 1.0, 1.0)
        scales = self.arch in ("granite", "granitemoe", "granitehybrid", "minicpm")
        self.embed_scale = self.get("embedding_scale", 1.0) if scales else 1.0
        self.residual_scale = self.get("residual_scale", 1.0) if scales else 1.0
        self.logit_scale = 1 / self.get("logit_scale", 1.0) if scales else 1.0
        if self.arch in ("command-r", "cohere2"):
            self.logit_scale = self.get("logit_scale", 1.0)
        if self.family.get("root"):
            self.embed_scale = self.embed**0.5
        self.attn_scale = self.get("attention.scale", 0.0) if scales else 0.0
        self.attn_scale = self.attn_scale or self.key_dim**-0.5
        if (self.arch, self.layers) in (("gemma2", 46), ("gemma3", 62)):
            self.attn_scale = (self.embed // self.heads[0]) ** -0.5
        score_cap, logit_cap = self.family.get("caps", (0, 0))
        self.score_cap = score_cap and self.get("attn_logit_softcapping", score_cap)
        self.logit_cap = self.get("final_logit_softcapping", logit_cap)
        self.clamp = self.get("attention.clamp_kqv", 0.0)
        bias = self.get("attention.max_alibi_bias", self.family.get("alibi", 0.0))
        self.slopes = alibi_slopes(self.heads[0], bias) if bias else [0] * self.heads[0]

    def scale_by(self, embed, residual, logit):
        self.embed_scale, self.residual_scale, self.logit_scale = embed, residual, logit
        self.score_cap = self.logit_cap = self.clamp = 0.0

    def latent_scale(self, key_dim):
        """YaRN multiplies the scores of deepseek2 by the square of a logarithm."""
        scale, factor = key_dim**-0.5, self.get("rope.scaling.factor", 1.0)
        if self.arch == "deepseek2" and self.get("rope.scaling.type") == "yarn":
            log_mul = self.get("rope.scaling.yarn_log_multiplier", 0.0) * 10
            plain = 1.0 if log_mul else 1 + 0.1 * np.log(factor)
            scale *= (plain * (1 + 0.1 * log_mul * np.log(factor))) ** 2
        return scale

    def read_windows(self):
        """The window of each layer (0: none), and which layers turn."""
        period, width = self.family.get("windows", (1, 0))
        if "windows" in self.family:
            width = self.get("attention.sliding_window", width)
        pattern = self.get("attention.sliding_window_pattern", period)
        if not isinstance(pattern, list):
            pattern = [i % pattern < pattern - 1 for i in range(self.layers)]
        self.windows = [width if has else 0 for has in pattern]
        swa = self.get("rope.dimension_count_swa", self.rope_dim)
        self.rope_dims = [swa if w else self.rope_dim for w in self.windows]
        nope = self.family.get("nope")
        self.turns = [not self.family.get("unrotated") for _ in pattern]
        if nope == "fourth":
            self.turns = [i % 4 != 3 for i in range(self.layers)]
        if nope == "global" and width:
            self.turns = [w != 0 for w in self.windows]
        if not self.get("rope.scaling.finetuned", True):
            self.turns = [False] * self.layers

    def get(self, name, default=None):
        return self.file.meta.get(self.arch + "." + name, default)

    def per_layer(self, name, default=None):
        value = self.get(name, default)
        return value if isinstance(value, list) else [value] * self.layers

    def frequencies(self, window, count, dim):
        """Turns per position of each pair (radians), and the factor of cos and sin."""
        base = self.get("rope.freq_base", 10000.0)
        if window:
            base = self.get("rope.freq_base_swa", self.family.get("window_base", base))
        i = np.arange(dim // 2)
        freq = base ** (-2.0 * i / dim)
        if "rope_freqs.weight" in self.t and not (window and self.arch == "gemma4"):
            freq = freq / self.t["rope_freqs.weight"]
        which = "rope_factors_%s.weight" % ("long" if count > self.original else "short")
        if which in self.t:
            freq = freq / self.t[which]
        if window and self.family.get("plain_window"):
            return freq, 1.0
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
            if self.arch == "deepseek2" and log_mul:
                magnitude = 1.0  # both logarithms have the same weight
            elif log_mul and factor > 1:
                magnitude /= 0.1 * log_mul * np.log(factor) + 1
        return freq, magnitude

    def rope(self, x, il):
        """x: [tokens, heads, key_dim]; the first rope_dim dimensions turn."""
        if not self.turns[il]:
            return x
        dim = self.rope_dims[il]
        freq, magnitude = self.frequencies(self.windows[il], len(x), dim)
        angle = np.arange(len(x))[:, None, None] * freq
        cos, sin = np.cos(angle) * magnitude, np.sin(angle) * magnitude
        out, half = x.copy(), dim // 2
        a = slice(0, half) if self.neox else slice(0, dim, 2)
        b = slice(half, dim) if self.neox else slice(1, dim, 2)
        out[..., a] = x[..., a] * cos - x[..., b] * sin
        out[..., b] = x[..., a] * sin + x[..., b] * cos
        return out

    def linear(self, x, name):
        y = x @ self.t[name + ".weight"].T
        return y + self.t[name + ".bias"] if name + ".bias" in self.t else y

    def norm(self, x, name):
        """The family's norm by the weights of that name."""
        weight = self.t[name + ".weight"] if not self.family.get("bare") else 1.0
        if self.family.get("layer"):
            return layer_norm(x, weight, self.t.get(name + ".bias", 0.0), self.eps)
        return rms_norm(x, weight, self.eps)

    def qk_norm(self, x, name):
        """x: [tokens, heads, key_dim]"""
        if name + ".weight" not in self.t:
            return x
        if self.family["qk"] == "whole":
            return self.norm(x.reshape(len(x), -1), name).reshape(x.shape)
        return self.norm(x, name)  # weights [key_dim] or [heads, key_dim]

    def qkv(self, x, il):
        blk = "blk.%d." % il
        if blk + "attn_qkv.weight" in self.t:
            all_heads = self.linear(x, blk + "attn_qkv")
            q, kv = self.heads[il] * self.key_dim, self.kv_heads[il] * self.key_dim
            return np.split(all_heads, [q, q + kv], -1)
        return [self.linear(x, blk + "attn_" + name) for name in "qkv"]

    def attention(self, x, il):
        n, blk = len(x), "blk.%d." % il
        q, k, v = self.qkv(x, il)
        if self.clamp:
            q, k, v = (np.clip(a, -self.clamp, self.clamp) for a in (q, k, v))
        gate = 0.0
        if self.family.get("query_gate"):
            q, gate = np.split(q.reshape(n, self.heads[il], 2 * self.key_dim), 2, -1)
        q = q.reshape(n, self.heads[il], self.key_dim)
        k = k.reshape(n, self.kv_heads[il], self.key_dim)
        v = v.reshape(n, self.kv_heads[il], self.value_dim)
        if self.family.get("late"):
            q, k = self.rope(q, il), self.rope(k, il)
        if self.family.get("chunks") and self.turns[il] and self.get("expert_count") != 128:
            q, k = (rms_norm(a, 1.0, self.eps) for a in (q, k))
        q, k = self.qk_norm(q, blk + "attn_q_norm"), self.qk_norm(k, blk + "attn_k_norm")
        if not self.family.get("late"):
            q, k = self.rope(q, il), self.rope(k, il)
        if self.temperature:
            turns = np.floor(np.arange(n) / self.original)
            q = q * (1 + self.temperature * np.log(1 + turns))[:, None, None]
        if self.family.get("chunks") and not self.turns[il]:
            turns = np.floor((np.arange(n) + 1) / 8192)
            q = q * (1 + 0.1 * np.log(1 + turns))[:, None, None]
        group = self.heads[il] // self.kv_heads[il]
        distance = np.arange(n)[:, None] - np.arange(n)
        unseen = distance < 0
        if self.windows[il] and self.family.get("chunks"):
            chunk = np.arange(n) // 8192
            unseen |= chunk[:, None] != chunk
        elif self.windows[il]:
            unseen |= distance >= self.windows[il]
        out = np.empty((n, self.heads[il], self.value_dim))
        for h in range(self.heads[il]):
            score = q[:, h] @ k[:, h // group].T * self.attn_scale
            if self.score_cap:
                score = self.score_cap * np.tanh(score / self.score_cap)
            score = np.where(unseen, -np.inf, score - self.slopes[h] * distance)
            most = score.max(-1, keepdims=True)
            weight, sink = np.exp(score - most), 0.0
            if blk + "attn_sinks.weight" in self.t:
                sink = np.exp(self.t[blk + "attn_sinks.weight"][h] - most)
            out[:, h] = weight / (weight.sum(-1, keepdims=True) + sink) @ v[:, h // group]
        if self.family.get("query_gate"):
            out = out * mixers.sigmoid(gate)
        return self.linear(out.reshape(n, -1), blk + "attn_output")

    def mix(self, x, il):
        """Attention, or what the tensors of the layer say instead."""
        blk = "blk.%d." % il
        if self.arch == "gemma4":
            return mixers.gemma4_attention(self, x, il)
        if blk + "shortconv.conv.weight" in self.t:
            return mixers.short_conv(self, x, il)
        if blk + "attn_kv_a_mqa.weight" in self.t:
            return mixers.latent(self, x, il)
        if blk + "ssm_d" in self.t:
            return mixers.mamba2(self, x, il)
        if blk + "ssm_conv1d.weight" in self.t:
            return mixers.delta_net(self, x, il)
        return self.attention(x, il)

    def probabilities(self, score):
        func = self.get("expert_gating_func", {"glm4moe": 2}.get(self.arch, 1))
        if func == 2 or self.arch == "llama4":
            return 1 / (1 + np.exp(-score))
        p = np.exp(score - score.max(-1, keepdims=True))
        return p / p.sum(-1, keepdims=True)

    def choose(self, ranked):
        """The experts of one token: the best of the best groups."""
        groups = self.get("expert_group_count", 1)
        if groups > 1:
            parts = ranked.reshape(groups, -1)
            best = np.argsort(-np.sort(parts, -1)[:, -2:].sum(-1))
            closed = np.full_like(parts, -np.inf)
            for g in best[: self.get("expert_group_used_count")]:
                closed[g] = parts[g]
            ranked = closed.ravel()
        return np.argsort(-ranked)[: self.get("expert_used_count")]

    def expert(self, x, blk, e):
        parts = {name: self.t[blk + "ffn_%s_exps.weight" % name][e] for name in
                 ("gate", "up", "down")} if blk + "ffn_gate_up_exps.weight" not in self.t else {}
        if not parts:
            both = self.t[blk + "ffn_gate_up_exps.weight"][e]
            parts = dict(zip(("gate", "up"), np.split(both, 2)),
                         down=self.t[blk + "ffn_down_exps.weight"][e])
        bias = {name: self.t.get(blk + "ffn_%s_exps.bias" % name) for name in parts}
        of = lambda name, a: parts[name] @ a + (0.0 if bias[name] is None else bias[name][e])
        return of("down", self.gated(of("gate", x), of("up", x)))

    def gated(self, gate, up):
        act = self.family.get("act", silu)
        if act == "swiglu_cut":
            gate, up = np.minimum(gate, 7), np.clip(up, -7, 7)
            return gate * mixers.sigmoid(1.702 * gate) * (up + 1)
        return act(gate) * up

    def experts(self, x, il, routed=None):
        """The sum of the chosen experts, token by token, and of the shared one."""
        blk, t = "blk.%d." % il, self.t
        score = self.linear(x if routed is None else routed, blk + "ffn_gate_inp")
        p = self.probabilities(score)
        ranked = score if self.arch == "llama4" else p + t.get(blk + "exp_probs_b.bias", 0.0)
        is_plain = self.family.get("weights") == "plain"
        if self.arch in ("dots1", "deepseek2", "glm4moe", "bailingmoe", "bailingmoe2"):
            is_plain = not self.get("expert_weights_norm", False)
        scale = self.get("expert_weights_scale", 1.0)
        y = np.zeros_like(x)
        for i in range(len(x)):
            chosen = self.choose(ranked[i])
            total = 1.0 if is_plain else p[i, chosen].sum()
            for e in chosen:
                weight = p[i, e] / total * scale
                weight *= t[blk + "ffn_down_exps.scale"][e] if (
                    blk + "ffn_down_exps.scale") in t else 1.0
                if self.arch == "llama4":  # weighs what goes in
                    y[i] += self.expert(x[i] * weight, blk, e)
                else:
                    y[i] += weight * self.expert(x[i], blk, e)
        if blk + "ffn_up_shexp.weight" in t:
            shared = silu(self.linear(x, blk + "ffn_gate_shexp")) * self.linear(
                x, blk + "ffn_up_shexp")
            shared = self.linear(shared, blk + "ffn_down_shexp")
            if blk + "ffn_gate_inp_shexp.weight" in t:
                gate = x @ t[blk + "ffn_gate_inp_shexp.weight"]
                shared = shared / (1 + np.exp(-gate[:, None]))
            y = y + shared
        return y

    def xielu(self, x, il):
        n, p, beta, eps = (np.ravel(self.file.meta["xielu." + name])[
            il if np.ndim(self.file.meta["xielu." + name]) else 0] for name in
            ("alpha_n", "alpha_p", "beta", "eps"))
        below = (np.expm1(np.minimum(x, eps)) - x) * (beta + mixers.softplus(n)) + beta * x
        return np.where(x > 0, mixers.softplus(p) * x * x + beta * x, below)

    def ffn(self, x, il):
        if "blk.%d.ffn_gate_inp.weight" % il in self.t:
            return self.experts(x, il)
        return self.dense(x, il)

    def dense(self, x, il):
        blk = "blk.%d." % il
        act, gate = self.family.get("act", silu), self.family.get("gate", "own")
        if act == "xielu":
            act = lambda a: self.xielu(a, il)
        up = self.linear(x, blk + "ffn_up")
        if gate == "own":
            up = act(self.linear(x, blk + "ffn_gate")) * up
        elif gate == "fused":
            first, second = np.split(up, 2, -1)
            up = act(first) * second
        else:
            up = act(up)
        return self.linear(up, blk + "ffn_down")

    def twin(self, x, il):
        """Gemma 4: experts beside the dense block, each half with norms of its own."""
        blk, t = "blk.%d." % il, self.t
        dense = self.norm(self.dense(self.norm(x, blk + "ffn_norm"), il), blk + "post_ffw_norm_1")
        routed = rms_norm(x, 1.0, self.eps) * t[blk + "ffn_gate_inp.scale"] / self.embed**0.5
        n = self.experts(self.norm(x, blk + "pre_ffw_norm_2"), il, routed)
        return dense + self.norm(n, blk + "post_ffw_norm_2")

    def layer(self, x, il):
        blk, post = "blk.%d." % il, self.family.get("post") or self.family.get("only_post")
        before = lambda x, name: x if self.family.get("only_post") else self.norm(x, blk + name)
        after = lambda x, name: self.norm(x, blk + name) if post else x
        has_ffn_norm = blk + "ffn_norm.weight" in self.t
        is_parallel = self.family.get("parallel")
        if self.arch == "gptneox":
            is_parallel = self.get("use_parallel_residual")
        if self.arch == "stablelm":
            is_parallel = not has_ffn_norm
        if is_parallel:
            second = "attn_norm_2" if blk + "attn_norm_2.weight" in self.t else "attn_norm"
            of_ffn = "ffn_norm" if has_ffn_norm else "attn_norm"
            return (x + self.attention(before(x, second), il)
                    + self.ffn(before(x, of_ffn), il))
        n = self.mix(before(x, "attn_norm"), il)
        x = x + after(n, "post_attention_norm") * self.residual_scale
        name = "post_attention_norm" if self.arch in POST_AS_FFN else "ffn_norm"
        if self.family.get("twin") and blk + "ffn_gate_inp.weight" in self.t:
            n = self.twin(x, il)
        else:
            n = self.ffn(before(x, name), il)
        x = x + after(n, "post_ffw_norm") * self.residual_scale
        return mixers.gemma4_tail(self, x, il) if self.arch == "gemma4" else x

    def logits(self, ids):
        """[tokens, vocabulary]"""
        x = self.t["token_embd.weight"][np.array(ids)] * self.embed_scale
        if "position_embd.weight" in self.t:
            x = x + self.t["position_embd.weight"][: len(x)]
        if "token_embd_norm.weight" in self.t and "output_norm.weight" in self.t:
            x = self.norm(x, "token_embd_norm")
        if self.arch == "gemma4":
            mixers.gemma4_start(self, x, ids)
        for il in range(self.layers):
            x = self.layer(x, il)
        x = self.norm(x, "output_norm" if "output_norm.weight" in self.t else "token_embd_norm")
        head = "output" if "output.weight" in self.t else "token_embd"
        y = self.linear(x, head) * self.logit_scale
        return self.logit_cap * np.tanh(y / self.logit_cap) if self.logit_cap else y


if __name__ == "__main__":
    ids = [int(s) for s in sys.argv[2].split(",")]
    for position, row in enumerate(Model(sys.argv[1]).logits(ids)):
        best = np.argsort(-row)[:5]
        print("%d:" % position, "  ".join("%d %.4f" % (i, row[i]) for i in best))
