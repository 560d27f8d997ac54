"""Makes the vectors of this folder: tiny vocabularies and what other tokenizers make of texts.

    make_vectors.py JUDGE GGUF_PY   (needs numpy, node and the npm package tokenizers in the cwd)

JUDGE is judge.cpp built against libllama; GGUF_PY the folder gguf-py of llama.cpp. Writes bpe.gguf,
spm.gguf, spm_cross.gguf, wpm.gguf and vectors.json. The pre-tokenizers whose original regexes are known are
judged by the Hugging Face library, which runs them as they stand in tokenizer.json; the others by
llama.cpp, which rewrites some.
"""
import json
import random
import struct
import subprocess
import sys
from collections import Counter

JUDGE = sys.argv[1]
sys.path.insert(0, sys.argv[2])
from gguf import GGUFWriter  # noqa: E402

CORPUS = """The quick brown fox jumps over the lazy dog. It's a test, isn't it? We'll see: they've
said I'd go, you're right, I'm here. HELLO World, camelCase and iPhone. Numbers: 1 12 123 1234 12345.
    indented code(x, y) { return x + y; }  // comment
Привет мир, как дела? Grüße aus München. Ça va très bien. 日本語のテキスト、中文文本。한국어 텍스트
नमस्ते दुनिया مرحبا بالعالم <|special|> a  b   c    d \t\t\n\n\n ... !!! ??? --- *** ___ $100 50% e=mc^2
"""

TEXTS = [
    "", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n", "\n ", "a", "'", "0", "Hello world",
    " Hello  world ", "Hello, y'all! How are you?", "it's IT'S we'll WE'LL I'm I'M he'd they've re",
    "1", "12", "123", "1234", "12345678901", " 1 22 333 4444", "3.14159, 1,000,000", "x1y22z333",
    "   leading", "trailing   ", "a\n\n\nb", "a \n \n b", "\n\n\n\t\t  x", "tab\tand\u00a0nbsp\u3000wide",
    "camelCase iPhone HTTPServer XMLHttpRequest getURL", "ABC abc Abc aBC", "foo(bar) { x += 1; } // c",
    "Привет, мир! ПРИВЕТ", "Grüße Ça e\u0301te\u0301", "日本語、テキスト。中文 文本123", "한국어 텍스트",
    "नमस्ते दुनिया", "مرحبا ١٢٣ بالعالم", "ไทยภาษา ກ ក្ម", "½ ² Ⅷ ① ٣",
    "\U0001f600\U0001f469\u200d\U0001f4bb ok", "a\u0085b\u2028c\u180ed", "....!!!???", "--- *** ___ ~~~",
    "<|special|> [INST] </s> <s>", "http://example.org/a?b=c&d=%20", "\u017f 'ſ 'S", "\x00\x01\x7f\x1b[0m",
    "word " * 12, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", " " * 40, "\n" * 9 + " " * 5 + "x",
    "the the the  the\n\nthe", "$100 50% e=mc^2 `code` |pipe|", "«quote» “curly” ‘single’ ！？",
    "IMGIMGABZ<sentinel:12>", "\r\r\n \r\n  x\r", "don’t can't CAN'T",
]


def fuzz(count):
    rng = random.Random(20)
    parts = ["'s", "'LL", " ", "  ", "\n", "\r\n", "\t", "12", "345", "he", " the", "Tes", "é", "e\u0301",
             "日", "ко", "М", "한", "न", "म", "्", "!", "...", "\u00a0", "\u2003", "½", "\U0001f600", "_", "A"]
    return ["".join(rng.choice(parts) for _ in range(rng.randint(3, 14))) for _ in range(count)]


def byte_alphabet():
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    other = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(other)}}


def train_bpe(merge_count):
    """Plain byte pair encoding over words that begin with their space."""
    alphabet = byte_alphabet()
    words = Counter()
    for line in CORPUS.splitlines():
        for word in line.split(" "):
            words[tuple(alphabet[b] for b in (" " + word).encode())] += 1
            words[tuple(alphabet[b] for b in word.encode())] += 1
    merges = []
    while len(merges) < merge_count:
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
                if word[i : i + 2] == best:
                    out.append(word[i] + word[i + 1])
                    i += 2
                else:
                    out.append(word[i])
                    i += 1
            joined[tuple(out)] += n
        words = joined
    # runs of spaces, letters, digits and line ends, so that splitting them shows
    space, newline = alphabet[0x20], alphabet[0x0A]
    for pair in [(space, space), (2 * space, 2 * space), (newline, newline), ("a", "a"), ("aa", "aa"),
                 ("1", "2"), ("12", "3"), ("3", "3"), ("33", "3"), ("3", "4"), ("'", "s"), ("'", "S"),
                 ("'", "t"), ("'", "l"), ("'l", "l"), ("i", "P"), (".", "."), ("..", "."), (space, "'")]:
        if pair not in merges:
            merges.append(pair)
    tokens = list(alphabet.values())
    tokens += [t for t in dict.fromkeys(a + b for a, b in merges) if t not in tokens]
    return tokens, merges


def write_bpe(path, tokens, merges, pre):
    kinds = [1] * len(tokens)
    special = [("<|endoftext|>", 3), ("<|im_start|>", 3), ("<|im_end|>", 3), ("<tool>", 4)]
    w = GGUFWriter(path, "llama")
    w.add_name("tiny bpe")
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(pre)
    w.add_token_list(tokens + [s for s, _ in special])
    w.add_token_types(kinds + [k for _, k in special])
    w.add_token_merges([f"{a} {b}" for a, b in merges])
    w.add_bos_token_id(len(tokens))
    w.add_eos_token_id(len(tokens) + 2)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.close()


def write_spm(path, extra):
    mark = "\u2581"
    pieces = [("<unk>", 2), ("<s>", 3), ("</s>", 3)] + [(f"<0x{b:02X}>", 6) for b in range(256)]
    counts = Counter()
    for word in CORPUS.split():
        word = mark + word
        for length in range(2, 7):
            for i in range(len(word) - length + 1):
                counts[word[i : i + length]] += length
    words = [w for w, n in counts.most_common(260)] + [mark * n for n in (2, 3, 4)] + extra
    chars = [c for c, _ in Counter(CORPUS.replace(" ", mark)).most_common() if c != "\n"]
    kinds = pieces + [(w, 1) for w in words if w not in chars] + [(c, 1) for c in chars if c not in words]
    kinds.append(("[USER]", 4))
    scores = [0.0] * 259 + [-float(i) for i in range(len(kinds) - 259)]
    w = GGUFWriter(path, "llama")
    w.add_name("tiny spm")
    w.add_tokenizer_model("llama")
    w.add_token_list([k for k, _ in kinds])
    w.add_token_scores(scores)
    w.add_token_types([k for _, k in kinds])
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_unk_token_id(0)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.close()


def wordpieces():
    """[PAD] [UNK] [CLS] [SEP], whole words, single characters and some endings."""
    words = ["the", "hello", "world", "it", "isn", "test", "foo", "bar", "camel", "case", "grusse", "ca", "привет",
             "lead", "trail", "http", "get", "url", "abc", "12", "123", "don", "can", "quote", "code", "a", "и"]
    chars = sorted(set(CORPUS.lower() + "grusseca日本語中文한हनम½²ⅷ①٣…«»“”‘’！？、。") - set(" \n\t"))
    tails = ["ing", "##", "s", "t", "case", "piece", "23", "45", "o", "er", "ed", "vet", "ет", "ир"]
    starts = list(dict.fromkeys(words + chars))
    ends = list(dict.fromkeys(tails + [c for c in chars if c.isalnum()]))
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]"], starts, ends


def write_wpm(path):
    special, starts, ends = wordpieces()
    w = GGUFWriter(path, "bert")
    w.add_name("tiny wordpiece")
    w.add_tokenizer_model("bert")
    w.add_token_list(special + ["\u2581" + t for t in starts] + ends)
    w.add_token_types([3] * 4 + [1] * (len(starts) + len(ends)))
    w.add_pad_token_id(0)
    w.add_unk_token_id(1)
    w.add_sep_token_id(3)
    w.add_bos_token_id(2)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.close()


def hugging_face_wpm(texts):
    special, starts, ends = wordpieces()
    names = special + starts + ["##" + t for t in ends]
    return hugging_face_model(
        {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
         "max_input_chars_per_word": 100, "vocab": {t: i for i, t in enumerate(names)}},
        {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
         "strip_accents": None, "lowercase": True}, {"type": "BertPreTokenizer"}, texts)


def ask(command, texts):
    data = b"".join(struct.pack("<I", len(t)) + t for t in texts)
    out = subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout
    result, at = [], 0
    while at < len(out):
        (n,) = struct.unpack_from("<i", out, at)
        result.append(list(struct.unpack_from(f"<{n}i", out, at + 4)))
        at += 4 + 4 * n
    return result


HF_JS = """
const {Tokenizer} = require(process.cwd() + '/node_modules/tokenizers'), fs = require('fs');
(async () => {
  const t = Tokenizer.fromString(fs.readFileSync(process.argv[1], 'utf8')), input = fs.readFileSync(0);
  for (let i = 0; i < input.length;) {
    const n = input.readUInt32LE(i), s = input.subarray(i + 4, i + 4 + n).toString('utf8');
    const ids = (await t.encode(s, null, {addSpecialTokens: false})).getIds();
    fs.writeSync(1, Buffer.from(new Int32Array([ids.length, ...ids]).buffer));
    i += 4 + n;
  }
})();
"""

CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
CJK = r"[一-龥ࠀ-一가-\uD7FF]+".replace(r"\uD7FF", "\uD7FF")
CASED = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+S"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*S"
         r"|D| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + SPACES)


def split(regex):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


def byte_level(use_regex):
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def sequence(*parts):
    return {"type": "Sequence", "pretokenizers": list(parts)}


def llama3(digits):
    return sequence(split(CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|" + digits
                          + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|" + SPACES), byte_level(False))


def cased(suffix, digits):
    return sequence(split(CASED.replace("S|", suffix + "|").replace("|D|", "|" + digits + "|")),
                    byte_level(False))


DIGITS = {"type": "Digits", "individual_digits": True}
ORIGINALS = {
    "gpt-2": byte_level(True),
    "llama-bpe": llama3(r"\p{N}{1,3}"),
    "qwen2": llama3(r"\p{N}"),
    "smollm": sequence(DIGITS, byte_level(True)),
    "qwen35": sequence(split(CONTRACTION + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
                             r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|" + SPACES), byte_level(False)),
    "deepseek-coder": sequence(split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split(CJK),
                               DIGITS, byte_level(False)),
    "deepseek-v3": sequence(
        split(r"\p{N}{1,3}"), split("[一-龥\u3040-\u309f\u30a0-\u30ff]+"),
        split(r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"""
              r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|" + SPACES),
        byte_level(False)),
    "gpt-4o": cased(CONTRACTION + "?", r"\p{N}{1,3}"),
    "tekken": cased("", r"\p{N}"),
    "bailingmoe": sequence(split(r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}"
                                 r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"),
                           byte_level(False)),
    "seed-coder": sequence(split(CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}"
                                 r"| ?[^\s\p{L}\p{N}\r\n]+|" + SPACES), byte_level(False)),
}
BY_LLAMA = ["starcoder", "deepseek-llm", "falcon", "default", "chatglm-bpe", "viking", "bloom", "chameleon", "exaone-moe",
            "tiny_aya", "superbpe",
            "jais-2"]


def hugging_face(pre, tokens, merges, texts):
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
             "ignore_merges": pre in ("llama-bpe", "tekken"),
             "vocab": {t: i for i, t in enumerate(tokens)}, "merges": [f"{a} {b}" for a, b in merges]}
    return hugging_face_model(model, None, ORIGINALS[pre], texts)


def hugging_face_model(model, normalizer, pre_tokenizer, texts):
    tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
                 "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": None,
                 "decoder": None, "model": model}
    with open("/tmp/tokenizer.json", "w") as file:
        json.dump(tokenizer, file)
    return ask(["node", "-e", HF_JS, "/tmp/tokenizer.json"], texts)


def main():
    tokens, merges = train_bpe(220)
    write_bpe("bpe.gguf", tokens, merges, "gpt-2")
    write_spm("spm.gguf", [])
    write_spm("spm_cross.gguf", ["e\u2581", "\u2581a\u2581", "t\u2581the", "o\u2581w"])
    texts = TEXTS + fuzz(24)
    encoded = [t.encode() for t in texts]
    bpe = {}
    for pre in ORIGINALS:
        bpe[pre] = hugging_face(pre, tokens, merges, encoded)
    for pre in BY_LLAMA:
        write_bpe("/tmp/pre.gguf", tokens, merges, pre)
        bpe[pre] = ask([JUDGE, "/tmp/pre.gguf", "0", "0"], encoded)
    spm = {name: ask([JUDGE, name + ".gguf", "0", "0"], encoded) for name in ("spm", "spm_cross")}
    write_wpm("wpm.gguf")
    wpm = {"wpm": hugging_face_wpm(encoded)}
    with open("vectors.json", "w") as file:
        head = {
            "made_by": "make_vectors.py",
            "judges": {"tokenizers 0.23.2 (npm)": [*ORIGINALS, "wpm"], "llama.cpp b10004": BY_LLAMA + list(spm)},
        }
        lines = [json.dumps(k) + ": " + json.dumps(v) for k, v in head.items()]
        lines.append('"texts": ' + json.dumps(texts))
        for name, rows in (("bpe", bpe), ("spm", spm), ("wpm", wpm)):
            body = ",\n".join(json.dumps(k) + ": " + json.dumps(v, separators=(",", ":")) for k, v in rows.items())
            lines.append(json.dumps(name) + ": {\n" + body + "\n}")
        file.write("{\n" + ",\n".join(lines) + "\n}\n")


main()
