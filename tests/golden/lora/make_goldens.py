"""Makes tiny random LoRA adapters for models of tests/golden/model, and the logits that float64
gives with them (tests/golden/model/reference.py, W + scale * alpha / rank * B A).

    python3 make_goldens.py [EVALUATOR]

NAME-a.gguf, NAME-b.gguf are the adapters of a golden, NAME.json says which at which scale. With the
path of an evaluator built from llama.cpp that takes adapters as FILE=SCALE behind its arguments, the
golden also records how far that engine is from the reference, as a part of the logit range.
"""
import json
import os
import re
import subprocess
import sys
import zlib

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = os.path.join(os.path.dirname(HERE), "model")
sys.path.insert(0, MODELS)
import make_goldens as make  # noqa: E402
import reference as ref  # noqa: E402

DENSE = r"attn_(q|k|v|output)|ffn_(gate|up|down)"
# name: model, adapters (the matrices that match, rank, alpha, type, scale)
CASES = {
    "llama": ("llama-f32", [(DENSE + "|output", 4, 8.0, ref.F32, 0.75)]),
    "llama-two": ("llama-f32", [(DENSE, 4, 6.0, ref.F32, -0.5),
                                ("attn_q|ffn_down", 3, 3.0, ref.F16, 1.25)]),
    "llama-wide": ("llama-long-f32", [("attn_q|attn_output", 70, 70.0, ref.BF16, 0.4)]),
    "llama-quantized": ("llama-q8_0", [(DENSE, 8, 16.0, ref.F32, 1.0)]),
    "phi3-fused": ("phi3-f32", [("attn_qkv|attn_output|ffn_up|ffn_down", 5, 5.0, ref.F32, 1.0)]),
    "granitemoe-shared": ("granitemoe-f32", [
        (r"attn_(q|k|v|output)|ffn_gate_inp|ffn_(gate|up|down)_shexp", 3, 4.0, ref.F32, 0.8)]),
    "qwen35-mixers": ("qwen35-f32", [
        (DENSE + "|attn_qkv|attn_gate|ssm_(alpha|beta|out)", 3, 3.0, ref.F32, 0.5)]),
    "deepseek2-latent": ("deepseek2-f32", [
        ("attn_(q_a|q_b|kv_a_mqa|output)", 3, 3.0, ref.F32, 0.7)]),
}
# Without goldens: for the tests of engine and server, whose model writes text.
STORIES = os.path.join(HERE, "../../data/models/stories260K.gguf")
PLAIN = {"stories-a": (r"attn_(q|v)", 2, 2.0, ref.F16, 1.0),
         "stories-b": (r"attn_k|ffn_down", 3, 3.0, ref.F16, 1.0)}

# That engine multiplies by these matrices without looking for adapters.
UNJUDGED = ("deepseek2-latent",)


def make_adapter(path, model, rng, case):
    pattern, rank, alpha, kind, _ = case
    meta = {"general.type": "adapter", "general.architecture": model.arch, "adapter.type": "lora",
            "adapter.lora.alpha": alpha}
    tensors = {}
    for name, weight in model.t.items():
        if re.fullmatch(r"(blk\.\d+\.)?(%s)\.weight" % pattern, name):
            rows, cols = weight.shape
            a = rng.normal(0, 1 / cols**0.5, (rank, cols))
            b = rng.normal(0, 0.5 * rank / alpha / rank**0.5, (rows, rank))
            tensors[name + ".lora_a"] = (kind, make.encode(kind, a, rng), (cols, rank))
            tensors[name + ".lora_b"] = (kind, make.encode(kind, b, rng), (rank, rows))
    make.write(path, meta, tensors)


def ask(evaluator, path, adapters, ids):
    out = os.path.join(HERE, "judge.out")
    command = [evaluator, path, "logits", out] + ["%s=%g" % a for a in adapters]
    done = subprocess.run(command, text=True, capture_output=True,
                          input="L %s\n" % ",".join(map(str, ids)))
    if "ok" not in done.stdout.split():
        sys.exit("%s: the judge refuses it: %s%s" % (path, done.stdout, done.stderr))
    raw = open(out, "rb").read()
    os.unlink(out)
    shape = np.frombuffer(raw, np.int32, 2)
    return np.frombuffer(raw, np.float32, offset=8).reshape(shape).astype(float)


def main():
    evaluator = sys.argv[1] if len(sys.argv) > 1 else None
    for name, case in PLAIN.items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        make_adapter(os.path.join(HERE, name + ".gguf"), ref.Model(STORIES), rng, case)
    for name, (base, cases) in CASES.items():
        path = os.path.join(MODELS, base + ".gguf")
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        model, adapters = ref.Model(path), []
        plain = ref.Model(path)
        for letter, case in zip("ab", cases):
            adapter = "%s-%s.gguf" % (name, letter)
            make_adapter(os.path.join(HERE, adapter), plain, rng, case)
            model.add_adapter(os.path.join(HERE, adapter), case[-1])
            adapters.append((adapter, case[-1]))
        ids = rng.integers(0, make.VOCAB, 40).tolist()
        logits, without = model.logits(ids), plain.logits(ids)
        golden = {"reference": "tests/golden/model/reference.py, float64", "judge": None,
                  "model": base, "range": float(np.ptp(logits)), "tokens": ids,
                  "adapters": [{"file": f, "scale": s} for f, s in adapters],
                  "change_of_range": float("%.2g" % (np.abs(logits - without).max()
                                                     / np.ptp(logits)))}
        if evaluator and name not in UNJUDGED:
            full = [(os.path.join(HERE, f), s) for f, s in adapters]
            error = np.abs(ask(evaluator, path, full, ids) - logits).max() / np.ptp(logits)
            golden["judge"] = {**make.JUDGE, "max_error_of_range": float("%.2g" % error)}
        golden["positions"] = list(range(0, 40, 3))
        golden["logits"] = [[float("%.10g" % v) for v in logits[p]] for p in golden["positions"]]
        with open(os.path.join(HERE, name + ".json"), "w") as out:
            out.write(json.dumps(golden, separators=(",", ":")).replace("],[", "],\n[") + "\n")
        print("%-20s change %.2f of the range, judge %s" % (
            name, golden["change_of_range"],
            golden["judge"] and golden["judge"]["max_error_of_range"]))


if __name__ == "__main__":
    main()
