"""Makes merged.gguf, a tiny vocabulary of the kind "gemma4", and merged.json, what llama.cpp makes of texts.

    make_merged.py JUDGE       (judge.cpp built against libllama)
"""
import json
import random
import struct
import subprocess
import sys
from collections import Counter

MARK = "\u2581"
CORPUS = """The quick brown fox jumps over the lazy dog. the theme of the other  thing, isn't it?
    def f(x): return x * 12 + 345   Привет мир, привет! 日本語のテキスト 日本 (a) (b) (c) {} == != the the"""
TEXTS = ["", " ", "  ", "   ", "\n", "\n\n", "\n\n\n", "\n\n\n\n\n", "\t", "a", "the", " the", "  the", "the the  the",
         "The quick brown fox", "a\nb", "a\n\nb \n c", "\n the", " \n ", "x\r\ny", "thethethe", "Привет мир", "日本語",
         "한국어 é e\u0301", "\U0001f600 ok", "12345 1 2", "foo(x) != {}", "don't", "<eos> <bos> <0x41>", "\u2581the",
         "the" * 40, " " * 37, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "\x01\x7f", "tab\tand\u00a0nbsp"]


def train(count):
    """Plain byte pair encoding over characters, spaces as marks, lines as words."""
    words = Counter(tuple(line.replace(" ", MARK)) for line in CORPUS.splitlines())
    merges = []
    while len(merges) < count:
        pairs = Counter()
        for word, n in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += n
        best = max(pairs, key=lambda p: (pairs[p], p))
        merges.append(best)
        joined = Counter()
        for word, n in words.items():
            out, i = [], 0
            while i < len(word):
                step = 2 if word[i : i + 2] == best else 1
                out.append("".join(word[i : i + step]))
                i += step
            joined[tuple(out)] += n
        words = joined
    return merges + [(MARK, MARK), (MARK * 2, MARK * 2), ("\n", "\n")]


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def write(path, tokens, kinds, merges):
    entries = [("general.architecture", 8, text("gemma4")), ("tokenizer.ggml.model", 8, text("gemma4"))]
    for key, values in (("tokens", tokens), ("merges", ["%s %s" % pair for pair in merges])):
        body = struct.pack("<IQ", 8, len(values)) + b"".join(map(text, values))
        entries.append(("tokenizer.ggml." + key, 9, body))
    entries.append(("tokenizer.ggml.scores", 9,
                    struct.pack("<IQ%df" % len(tokens), 6, len(tokens), *([0.0] * len(tokens)))))
    entries.append(("tokenizer.ggml.token_type", 9,
                    struct.pack("<IQ%di" % len(kinds), 5, len(kinds), *kinds)))
    for key, value in (("bos", 2), ("eos", 1), ("unknown", 3), ("padding", 0)):
        entries.append(("tokenizer.ggml.%s_token_id" % key, 4, struct.pack("<I", value)))
    with open(path, "wb") as out:
        out.write(struct.pack("<4sIQQ", b"GGUF", 3, 0, len(entries)))
        for key, kind, body in entries:
            out.write(text(key) + struct.pack("<I", kind) + body)


def ask(judge, path, texts):
    raw = b"".join(struct.pack("<I", len(t.encode())) + t.encode() for t in texts)
    out = subprocess.run([judge, path, "0", "0"], input=raw, capture_output=True, check=True).stdout
    rows, at = [], 0
    for _ in texts:
        (n,) = struct.unpack_from("<i", out, at)
        rows.append(list(struct.unpack_from("<%di" % n, out, at + 4)))
        at += 4 + 4 * n
    return rows


def main():
    merges = train(110)
    chars = sorted(set(CORPUS.replace(" ", MARK)))  # what is not here only bytes can write
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>"] + ["<0x%02X>" % b for b in range(256)]
    kinds = [3, 3, 3, 2] + [6] * 256
    for token in list(dict.fromkeys(chars + ["".join(pair) for pair in merges] + ["\n\n\n"])):
        tokens.append(token)
        kinds.append(1)
    write("merged.gguf", tokens, kinds, merges)
    rng = random.Random(4)
    parts = ["the", " ", "  ", "\n", "\n\n", "日本", "Привет", "z", "q", "!", "12", "é", "\t", "(", "he", "\u2581"]
    texts = TEXTS + ["".join(rng.choice(parts) for _ in range(rng.randint(3, 16))) for _ in range(60)]
    rows = ask(sys.argv[1], "merged.gguf", texts)
    with open("merged.json", "w") as out:
        lines = [json.dumps({"text": t, "ids": ids}, separators=(",", ":")) for t, ids in zip(texts, rows)]
        out.write('{"made_by": "make_merged.py", "judge": "llama.cpp 96dd1a8", "rows": [\n' + ",\n".join(lines) + "\n]}\n")


main()
