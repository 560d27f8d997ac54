"""Makes tiny random encoders and what float64 makes of texts (encoder_reference.py).

    python3 make_encoders.py [EVALUATOR [NAME ...]]

Each model is NAME.gguf, its golden NAME.json: texts as token ids, vectors as the model gives them
(not normalised). The evaluator is the program that ../model/make_goldens.py describes; here it
reads "E 1,2,3". A model's seed is its name.
"""
import json
import os
import struct
import subprocess
import sys
import zlib

import numpy as np

import encoder_reference as enc
from make_goldens import JUDGE, encode, write
import reference as ref

HERE = os.path.dirname(os.path.abspath(__file__))
VOCAB = 48
LENGTHS = (40, 1, 17)


class Spec:
    """A model: sizes, further keys, and which of the tensors that may be missing are there."""

    def __init__(self, name, arch, embed=24, heads=3, kv_heads=None, head_dim=None, ffn=40,
                 layers=2, ctx=128, pooling=enc.MEAN, keys=None, kind=ref.F32, fused=False,
                 biases=(), adds=(), types=0, classes=(), experts=0, lengths=LENGTHS, seconds=None,
                 judge=True, words=False):
        self.__dict__.update({k: v for k, v in locals().items() if k != "self"})
        self.kv_heads = kv_heads or heads
        self.head_dim = head_dim or embed // heads

    def meta(self):
        a, family = self.arch + ".", enc.FAMILIES[self.arch]
        kind = "layer_norm" if family.get("layer") else "layer_norm_rms"
        meta = {"general.architecture": self.arch, "general.name": self.name,
                a + "block_count": self.layers, a + "context_length": self.ctx,
                a + "embedding_length": self.embed, a + "feed_forward_length": self.ffn,
                a + "attention.head_count": self.heads,
                a + "attention.head_count_kv": self.kv_heads, a + "vocab_size": VOCAB,
                a + "attention.%s_epsilon" % kind: 1e-5,
                "tokenizer.ggml.model": "none"}
        if self.words:
            meta.update({"tokenizer.ggml.model": "bert", "tokenizer.ggml.tokens": TOKENS,
                         "tokenizer.ggml.token_type": [3] * 4 + [1] * (VOCAB - 4),
                         "tokenizer.ggml.bos_token_id": 2, "tokenizer.ggml.unknown_token_id": 1,
                         "tokenizer.ggml.seperator_token_id": 3,
                         "tokenizer.ggml.padding_token_id": 0, "tokenizer.ggml.mask_token_id": 1})
        if self.arch not in ("llama", "qwen2", "qwen3"):
            meta[a + "attention.causal"] = False
        if self.types:
            meta["tokenizer.ggml.token_type_count"] = self.types
        if self.pooling is not None:
            meta[a + "pooling_type"] = self.pooling
        if self.head_dim != self.embed // self.heads:
            meta[a + "attention.key_length"] = meta[a + "attention.value_length"] = self.head_dim
        if self.experts:
            meta.update({a + "expert_count": self.experts, a + "expert_used_count": 2,
                         a + "moe_every_n_layers": 2})
        meta.update({a + k: v for k, v in (self.keys or {}).items()})
        return meta

    def build(self, rng):
        family, tensors = enc.FAMILIES[self.arch], {}

        def linear(name, rows, cols, gain=1.5):
            x = rng.normal(0, gain / cols**0.5, (rows, cols))
            tensors[name + ".weight"] = (self.kind, encode(self.kind, x, rng), (cols, rows))
            if name.split(".")[-1] in self.biases or name in self.biases:
                vector(name + ".bias", rng.normal(0, 0.3, rows))

        def vector(name, x):
            tensors[name] = (ref.F32, encode(ref.F32, x, rng), x.shape[::-1])

        def norm(name, size=self.embed, bias=family.get("sum")):
            vector(name + ".weight", rng.normal(1, 0.2, size))
            if bias:
                vector(name + ".bias", rng.normal(0, 0.2, size))

        def stack(name, rows, cols):
            x = rng.normal(0, 1.5 / cols**0.5, (self.experts * rows, cols))
            tensors[name] = (self.kind, encode(self.kind, x, rng), (cols, rows, self.experts))

        size = self.embed**0.5
        linear("token_embd", VOCAB, self.embed, size)
        if self.types:
            vector("token_types.weight", rng.normal(0, 0.5, (self.types, self.embed)))
        if self.arch == "bert":
            linear("position_embd", self.ctx, self.embed, 0.5 * size)
        if family.get("sum") or self.arch == "modern-bert":
            norm("token_embd_norm")
        for i in range(self.layers):
            self.layer("blk.%d." % i, i, linear, norm, stack)
        if not family.get("sum"):
            norm("enc.output_norm" if self.arch == "neo-bert" else "output_norm")
        self.head(linear, norm)
        return tensors

    def layer(self, blk, i, linear, norm, stack):
        family = enc.FAMILIES[self.arch]
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        if not family.get("sum"):
            if self.arch != "modern-bert" or i > 0:
                norm(blk + "attn_norm")
            norm(blk + "ffn_norm")
        if self.fused:
            linear(blk + "attn_qkv", q + 2 * kv, self.embed)
        else:
            for name, rows in (("q", q), ("k", kv), ("v", kv)):
                linear(blk + "attn_" + name, rows, self.embed)
        if "qk_norm" in self.adds:
            norm(blk + "attn_q_norm", q)
            norm(blk + "attn_k_norm", kv)
        if "head_norm" in self.adds:
            norm(blk + "attn_q_norm", self.head_dim)
            norm(blk + "attn_k_norm", self.head_dim)
        linear(blk + "attn_output", self.embed, q)
        if family.get("sum"):
            norm(blk + "attn_output_norm")
            norm(blk + "layer_output_norm")
        if "attn_norm_2" in self.adds:
            norm(blk + "attn_norm_2")
        if family.get("post"):
            norm(blk + "post_attention_norm")
            norm(blk + "post_ffw_norm")
        if self.experts and i % 2 == 1:
            linear(blk + "ffn_gate_inp", self.experts, self.embed, 2.0)
            stack(blk + "ffn_up_exps.weight", self.ffn, self.embed)
            stack(blk + "ffn_down_exps.weight", self.embed, self.ffn)
            return
        gate = family["gate"] or ("fused" if "wide_up" in self.adds else
                                  "own" if "gate" in self.adds else "none")
        if gate == "own":
            linear(blk + "ffn_gate", self.ffn, self.embed)
        linear(blk + "ffn_up", (2 if gate == "fused" else 1) * self.ffn, self.embed)
        linear(blk + "ffn_down", self.embed, self.ffn)

    def head(self, linear, norm):
        """classes: rows of cls and of cls.output, 0: not there"""
        width = self.embed
        if self.classes:
            dense, out = self.classes
            if dense:
                linear("cls", dense, width)
                width = dense
            if "cls.norm" in self.adds:
                norm("cls.norm", width)
            if out:
                linear("cls.output", out, width)
        if "dense" in self.adds:
            linear("dense_2", 2 * self.embed, self.embed)
            linear("dense_3", self.embed, 2 * self.embed)


# A vocabulary of whole words, for tests that begin with text.
WORDS = ("the a cat dog sat ran on mat hill what who where is was in and of to big small red blue "
         "house tree car road sun moon sea ship bird fish bread milk old new good bad up down "
         "left right day night").split()
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"] + ["\u2581" + w for w in WORDS]
QUERY = "where is the cat"
DOCUMENTS = ["the cat sat on the mat", "a big ship in the blue sea", "good bread and milk",
             "the dog ran up the hill"]


def words_ids(*texts):
    ids = [2]
    for text in texts:
        ids += [TOKENS.index("\u2581" + w) for w in text.split()] + [3]
    return ids


QKV = ("attn_q", "attn_k", "attn_v")
ALL = QKV + ("attn_qkv", "attn_output", "ffn_up", "ffn_down")
RANKED = dict(pooling=enc.RANK, biases=ALL + ("cls", "cls.output", "output"))
WINDOW = {"attention.sliding_window": 10, "rope.freq_base": 160000.0, "rope.freq_base_swa": 10000.0}
TWO = {"classifier.output_labels": ["yes", "no"]}
THREE = {"classifier.output_labels": ["a", "b", "c"]}

SPECS = [
    Spec("bert-f32", "bert", biases=ALL, types=2),
    Spec("bert-cls-fused-f32", "bert", biases=ALL, types=1, fused=True, pooling=enc.CLS),
    Spec("bert-last-f32", "bert", biases=ALL, types=1, pooling=enc.LAST),
    Spec("bert-none-f32", "bert", biases=ALL, types=1, pooling=enc.NONE, judge=False),
    Spec("bert-rank-f32", "bert", types=1, classes=(24, 1), **RANKED),
    Spec("bert-rank-direct-f32", "bert", types=1, classes=(0, 3), keys=THREE, **RANKED),
    Spec("bert-pair-f32", "bert", types=2, classes=(24, 1), seconds=(21, 0, 5), judge=False,
         **RANKED),
    Spec("bert-words-f32", "bert", types=1, biases=ALL, words=True),
    Spec("bert-words-rank-f32", "bert", types=1, classes=(24, 1), words=True, **RANKED),
    Spec("bert-long-f32", "bert", biases=ALL, types=2, layers=1, ctx=640,
         lengths=(600, 64, 257, 3, 640)[:4], judge=False),
    Spec("nomic-bert-f32", "nomic-bert", types=2, fused=True, keys={"rope.freq_base": 1000.0}),
    Spec("nomic-bert-moe-f32", "nomic-bert-moe", types=1, fused=True, biases=ALL, experts=4,
         layers=3),
    Spec("jina-bert-v2-f32", "jina-bert-v2", types=2, biases=ALL[:5] + ("ffn_down",),
         adds=("gate", "qk_norm", "attn_norm_2")),
    Spec("jina-bert-v2-wide-f32", "jina-bert-v2", types=2, biases=ALL[:5] + ("ffn_down",),
         adds=("wide_up",)),
    Spec("jina-bert-v2-plain-f32", "jina-bert-v2", types=2, biases=ALL, heads=4, layers=1),
    Spec("jina-bert-v2-rank-f32", "jina-bert-v2", types=2, adds=("gate",), classes=(1, 0),
         pooling=enc.RANK, biases=ALL[:5] + ("ffn_down", "cls")),
    Spec("jina-bert-v3-f32", "jina-bert-v3", types=1, fused=True, biases=ALL),
    Spec("modern-bert-f32", "modern-bert", fused=True, layers=4, keys=WINDOW),
    Spec("modern-bert-rank-f32", "modern-bert", fused=True, layers=2, keys=WINDOW,
         adds=("cls.norm",), classes=(24, 1), pooling=enc.RANK, biases=("cls.output", "output")),
    Spec("modern-bert-long-f32", "modern-bert", fused=True, layers=2, ctx=640,
         keys={"attention.sliding_window": 128}, lengths=(600, 130), judge=False),
    Spec("neo-bert-f32", "neo-bert", fused=True, pooling=enc.CLS),
    Spec("eurobert-f32", "eurobert", heads=4, kv_heads=2, keys={"rope.freq_base": 250000.0}),
    Spec("llama-embed-f32", "llama-embed", heads=4, kv_heads=2),
    Spec("gemma-embedding-f32", "gemma-embedding", heads=2, kv_heads=1, head_dim=16, layers=4,
         adds=("head_norm", "dense"),
         keys={**WINDOW, "attention.sliding_window_pattern": 3, "dense_2_feat_in": 24,
               "dense_2_feat_out": 48, "dense_3_feat_in": 48, "dense_3_feat_out": 24}),
    Spec("llama-mean-f32", "llama", heads=4, kv_heads=2),
    Spec("llama-unsaid-f32", "llama", heads=4, kv_heads=2, pooling=None, judge=False),
    Spec("llama-long-f32", "llama", heads=4, kv_heads=2, layers=1, ctx=640, lengths=(600, 257),
         judge=False),
    Spec("qwen2-both-ways-f32", "qwen2", heads=4, kv_heads=2, biases=QKV,
         keys={"attention.causal": False}),
    Spec("qwen3-last-f32", "qwen3", heads=4, kv_heads=2, head_dim=16, adds=("head_norm",),
         pooling=enc.LAST),
    Spec("qwen3-rank-f32", "qwen3", heads=4, kv_heads=2, head_dim=16, adds=("head_norm",),
         pooling=enc.RANK, classes=(0, 2), keys=TWO),
    Spec("bert-f16", "bert", biases=ALL, types=2, kind=ref.F16),
    Spec("bert-bf16", "bert", biases=ALL, types=2, kind=ref.BF16),
    Spec("bert-q8_0", "bert", embed=64, heads=2, ffn=96, biases=ALL, types=2, kind=ref.Q8_0),
]


def ask(evaluator, path, texts):
    out = os.path.join(HERE, "judge.out")
    lines = "".join("E %s\n" % ",".join(map(str, ids)) for ids in texts)
    done = subprocess.run([evaluator, path, "embed", out], text=True, capture_output=True,
                          input=lines)
    if done.stdout.split() != ["ready"] + ["ok"] * len(texts):
        sys.exit("%s: the judge refuses it: %s%s" % (path, done.stdout, done.stderr))
    raw = open(out, "rb").read()
    os.unlink(out)
    vectors, at = [], 0
    for _ in texts:
        width = struct.unpack_from("<ii", raw, at)[1]
        vectors.append(np.frombuffer(raw, np.float32, width, at + 8).astype(float))
        at += 8 + 4 * width
    return vectors


def make(spec, evaluator):
    path = os.path.join(HERE, spec.name)
    rng = np.random.default_rng(zlib.crc32(spec.name.encode()))
    write(path + ".gguf", spec.meta(), spec.build(rng))
    texts = [rng.integers(0, VOCAB, n).tolist() for n in spec.lengths]
    if spec.words:
        pairs = [(QUERY, d) for d in DOCUMENTS] if spec.classes else [(d,) for d in DOCUMENTS]
        texts = [words_ids(*pair) for pair in pairs]
    seconds = spec.seconds or [0] * len(texts)
    model = enc.Encoder(path + ".gguf")
    vectors = [model.vector(ids, second) for ids, second in zip(texts, seconds)]
    low, high = min(v.min() for v in vectors), max(v.max() for v in vectors)
    golden = {"reference": "tests/golden/encoder/encoder_reference.py, float64", "judge": None,
              "range": float(high - low)}
    if evaluator and spec.judge:
        theirs = ask(evaluator, path + ".gguf", texts)
        error = max(np.abs(a - b[: len(a)]).max() for a, b in zip(vectors, theirs))
        golden["judge"] = {**JUDGE, "max_error_of_range": float("%.2g" % (error / (high - low)))}
    if spec.words:
        golden["query"], golden["documents"] = QUERY, DOCUMENTS
    golden["texts"], golden["seconds"] = texts, seconds
    golden["vectors"] = [[float("%.10g" % x) for x in v.ravel()] for v in vectors]
    with open(path + ".json", "w") as out:
        out.write(json.dumps(golden, separators=(",", ":")).replace("],[", "],\n[") + "\n")
    print("%-26s %7d bytes, range %5.2f, judge %s" % (
        spec.name, os.path.getsize(path + ".gguf"), high - low,
        golden["judge"] and golden["judge"]["max_error_of_range"]))


TEXTS = ["How do I wake up earlier?", "Setting an alarm and going to bed before ten helps.",
         "The engine of a car.", "caf\u00e9 na\u00efve \u65e5\u672c", "one", "Bread, milk & 12 eggs (fresh)"]


def make_bundled(evaluator):
    """Tokens and vectors of the bundled encoder as the judge has them."""
    model = os.path.join(HERE, "..", "..", "..", "models", "hearth-nano-embed.gguf")
    lines = "".join("T %s\n" % text for text in TEXTS)
    done = subprocess.run([evaluator, model, "embed", os.devnull], text=True, capture_output=True,
                          input=lines)
    ids = [list(map(int, line.split(","))) for line in done.stdout.split()[1:]]
    vectors = ask(evaluator, model, ids)
    golden = {"judge": JUDGE, "texts": TEXTS, "tokens": ids,
              "vectors": [[float("%.6g" % x) for x in v] for v in vectors]}
    with open(os.path.join(HERE, "hearth-nano-embed.json"), "w") as out:
        out.write(json.dumps(golden, separators=(",", ":")).replace("],[", "],\n[") + "\n")


if __name__ == "__main__":
    if len(sys.argv) == 2 or "hearth-nano-embed" in sys.argv[2:]:
        make_bundled(sys.argv[1])
    for one in SPECS:
        if len(sys.argv) <= 2 or one.name in sys.argv[2:]:
            make(one, sys.argv[1] if len(sys.argv) > 1 else None)
