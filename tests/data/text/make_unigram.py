"""Makes unigram.gguf, a tiny SentencePiece unigram vocabulary with a normaliser of its own, and what
other tokenizers make of texts.

    make_unigram.py JUDGE       (node and the npm package tokenizers in the cwd)

JUDGE is judge.cpp built against libllama. Writes unigram.gguf and unigram.json beside itself. The
normaliser maps what NFKC maps, for the characters below, so it can be judged by libraries that run
such a table (Hugging Face's `Precompiled`) without a copy of a published one.
"""
import base64
import json
import os
import struct
import subprocess
import sys
import unicodedata

HERE = os.path.dirname(os.path.abspath(__file__))
JUDGE = sys.argv[1]
MARK = "\u2581"

# ---- the normaliser ----

MAPPED = "ﬁﬂ①②½²ⅧＡＢＣａｂｃ１２３！？　 \u2003\u3000ｶﾞ㎏™…"
MAP = {c: unicodedata.normalize("NFKC", c) for c in MAPPED if unicodedata.normalize("NFKC", c) != c}
MAP.update({"\t": " ", "\n": " ", "\r": " ", "e\u0301": "é", "E\u0301": "É", "\u200b": " ",
            "ｶﾞ": "ガ", "\u00ad": ""})


def double_array(table):
    """darts-clone's layout; greedy, which is enough for a few dozen strings."""
    texts, places = b"", {}
    for key, value in sorted(table.items()):
        places[key.encode()] = len(texts)
        texts += value.encode() + b"\0"
    units, used = [0] * 1024, {0}

    def place(node, prefix):
        labels = sorted({k[len(prefix)] for k in places if k.startswith(prefix) and len(k) > len(prefix)})
        leaf = prefix in places
        slots = labels + ([0] if leaf else [])
        base = next(b for b in range(1, len(units)) if node ^ b < 2**21
                    and all((b ^ s) not in used and (b ^ s) < len(units) for s in slots))
        offset = node ^ base
        units[node] |= offset << 10 | (1 << 8 if leaf else 0)
        used.update(base ^ s for s in slots)
        if leaf:
            units[base] = places[prefix] | 1 << 31
        for label in labels:
            units[base ^ label] = label
        for label in labels:
            place(base ^ label, prefix + bytes([label]))

    place(0, b"")
    raw = b"".join(struct.pack("<I", u) for u in units)
    return struct.pack("<I", len(raw)) + raw + texts


# ---- the vocabulary ----

CORPUS = """the quick brown fox jumps over the lazy dog it is a test and the cat sat on the mat
hello world how are you fine file flow office 12 123 kg tm numbers of things that go bump in the night
grüße aus münchen café très bien привет мир как дела 日本語 文本 ガ é É a b c"""


def vocabulary():
    counts = {}
    for word in CORPUS.split():
        word = MARK + word
        for i in range(len(word)):
            for j in range(i + 1, min(len(word), i + 6) + 1):
                counts[word[i:j]] = counts.get(word[i:j], 0) + (j - i) ** 2
    pieces = sorted(counts, key=lambda p: (-counts[p], p))[:260]
    chars = sorted(set("".join(CORPUS.split())) | {MARK, "/", "!", "?", "."})
    pieces += [c for c in chars if c not in pieces]
    special = [("<s>", 3), ("<pad>", 3), ("</s>", 3), ("<unk>", 2)]
    scores = [0.0] * 4 + [-2.0 - 0.031 * i for i in range(len(pieces))]
    return special + [(p, 1) for p in pieces], [struct.unpack("<f", struct.pack("<f", s))[0] for s in scores]


def item(value):
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, bytes):
        return struct.pack("<IIQ", 9, 0, len(value)) + value
    if isinstance(value, str):
        return struct.pack("<IQ", 8, len(value.encode())) + value.encode()
    if isinstance(value[0], str):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(
            struct.pack("<Q", len(v.encode())) + v.encode() for v in value)
    kind, form = (6, "f") if isinstance(value[0], float) else (5, "i")
    return struct.pack("<IIQ", 9, kind, len(value)) + struct.pack("<%d%s" % (len(value), form), *value)


def write(path, pieces, scores, charsmap):
    meta = {"general.architecture": "bert", "general.name": "tiny unigram", "tokenizer.ggml.model": "t5",
            "tokenizer.ggml.pre": "default", "tokenizer.ggml.tokens": [p for p, _ in pieces],
            "tokenizer.ggml.scores": scores, "tokenizer.ggml.token_type": [k for _, k in pieces],
            "tokenizer.ggml.bos_token_id": 0, "tokenizer.ggml.eos_token_id": 2,
            "tokenizer.ggml.unknown_token_id": 3, "tokenizer.ggml.padding_token_id": 1,
            "tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_eos_token": True,
            "tokenizer.ggml.add_space_prefix": True, "tokenizer.ggml.remove_extra_whitespaces": True,
            "tokenizer.ggml.precompiled_charsmap": charsmap}
    out = struct.pack("<4sIQQ", b"GGUF", 3, 0, len(meta))
    for key, value in meta.items():
        out += struct.pack("<Q", len(key)) + key.encode() + item(value)
    open(path, "wb").write(out + b"\0" * (-len(out) % 32))


# ---- the judges ----

TEXTS = ["", " ", "a", "hello world", "  Hello   world  ", "the quick brown fox", "thequickbrownfox",
         "Hello, y'all!", "office ﬁle ﬂow", "½ kg ㎏ ② Ⅷ", "ＡＢＣ　ａｂｃ １２３！？", "cafe\u0301 café CAFÉ E\u0301",
         "привет, мир! как дела", "日本語 文本 ｶﾞ", "grüße aus münchen", "tab\tand\nnewline\r\n", "zzz xyz qqq",
         "the\u200bcat sat\u00adon", "\U0001f600\U0001f469\u200d\U0001f4bb ok", "1 12 123 1234", "a" * 40,
         "the " * 30, "unknown ☃☃☃ ☃ snow☃man", "▁a ▁▁ b", "very▁odd", "…™", "x\u2003y", "numbers of things"]

HF_JS = """
const {Tokenizer} = require(process.cwd() + '/node_modules/tokenizers'), fs = require('fs');
(async () => {
  const t = Tokenizer.fromString(fs.readFileSync(process.argv[1], 'utf8')), out = [];
  for (const s of JSON.parse(fs.readFileSync(0, 'utf8')))
    out.push((await t.encode(s, null, {addSpecialTokens: false})).getIds());
  console.log(JSON.stringify(out));
})();
"""


def hugging_face(pieces, scores, charsmap):
    tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
                 "normalizer": {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()},
                 "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                     {"type": "WhitespaceSplit"},
                     {"type": "Metaspace", "replacement": MARK, "prepend_scheme": "always", "split": True}]},
                 "post_processor": None, "decoder": None,
                 "model": {"type": "Unigram", "unk_id": 3, "byte_fallback": False,
                           "vocab": [[p, s] for (p, _), s in zip(pieces, scores)]}}
    with open("unigram_tokenizer.json", "w") as file:
        json.dump(tokenizer, file)
    done = subprocess.run(["node", "-e", HF_JS, "unigram_tokenizer.json"], input=json.dumps(TEXTS), text=True,
                          stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def llama(path):
    data = b"".join(struct.pack("<I", len(t.encode())) + t.encode() for t in TEXTS)
    raw = subprocess.run([JUDGE, path, "0", "0"], input=data, stdout=subprocess.PIPE, check=True).stdout
    result, at = [], 0
    while at < len(raw):
        (n,) = struct.unpack_from("<i", raw, at)
        result.append(list(struct.unpack_from("<%di" % n, raw, at + 4)))
        at += 4 + 4 * n
    return result


def main():
    pieces, scores = vocabulary()
    charsmap = double_array(MAP)
    path = os.path.join(HERE, "unigram.gguf")
    write(path, pieces, scores, charsmap)
    theirs = hugging_face(pieces, scores, charsmap)
    other = llama(path)
    for text, a, b in zip(TEXTS, theirs, other):
        if a != b:
            print("the judges differ: %r %s %s" % (text, a, b))
    # The library looks at whole grapheme clusters first and cuts at white space before the vocabulary
    # is asked; where it and SentencePiece's own rule, which llama.cpp follows, differ, both stand here.
    with open(os.path.join(HERE, "unigram.json"), "w") as file:
        rows = [{"text": t, "tokenizers": a, "llama.cpp": b} for t, a, b in zip(TEXTS, theirs, other)]
        head = {"made_by": "make_unigram.py", "judges": ["tokenizers 0.23.2 (npm)", "llama.cpp 96dd1a8"]}
        file.write(json.dumps(head)[:-1] + ", \"rows\": [\n" + ",\n".join(
            json.dumps(r, separators=(",", ":")) for r in rows) + "\n]}\n")


main()
