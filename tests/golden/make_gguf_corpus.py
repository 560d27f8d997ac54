#!/usr/bin/env python3
"""Makes tests/fuzz/corpus/gguf: seeds of a few hundred bytes, one per construct of the format and
some per attack, so that a fuzzer starts inside every branch of the reader."""
import os
import struct

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fuzz", "corpus", "gguf")
U8, I8, U16, I16, U32, I32, F32, BOOL, STR, ARR, U64, I64, F64 = range(13)
FORMATS = {U8: "<B", I8: "<b", U16: "<H", I16: "<h", U32: "<I", I32: "<i", F32: "<f", BOOL: "<B",
           U64: "<Q", I64: "<q", F64: "<d"}


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data)) + data


def item(kind, value):
    return text(value) if kind == STR else struct.pack(FORMATS[kind], value)


def entry(key, kind, value, item_kind=None):
    head = text(key) + struct.pack("<I", kind)
    if kind != ARR:
        return head + item(kind, value)
    items = b"".join(item(item_kind, v) for v in value)
    return head + struct.pack("<IQ", item_kind, len(value)) + items


def tensor(name, kind, dims, offset):
    return (text(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims)
            + struct.pack("<IQ", kind, offset))


def model(entries=(), tensors=(), data=0, version=3, alignment=32):
    front = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries))
    front += b"".join(entries) + b"".join(tensors)
    if data:
        front += bytes(-len(front) % alignment) + bytes(range(256)) * (data // 256) + bytes(data % 256)
    return front


def save(name, data):
    with open(os.path.join(OUT, name), "wb") as file:
        file.write(data)


os.makedirs(OUT, exist_ok=True)
SCALARS = [entry(f"k{kind}", kind, "v" if kind == STR else 1) for kind in range(13) if kind != ARR]
ARRAYS = [entry(f"a{kind}", ARR, ["x", "", "yz"] if kind == STR else [0, 1, 2], kind)
          for kind in range(13) if kind != ARR]
HYPER = [
    entry("general.architecture", STR, "llama"), entry("general.alignment", U32, 32),
    entry("llama.block_count", U32, 1), entry("llama.rope.freq_base", F32, 1e4),
    entry("tokenizer.ggml.model", STR, "gpt2"),
    entry("tokenizer.ggml.tokens", ARR, ["a", "b", b"\xff\x00"], STR),
    entry("tokenizer.ggml.scores", ARR, [0.0, -1.0, 2.0], F32),
    entry("tokenizer.ggml.add_bos_token", BOOL, 1),
    entry("tokenizer.chat_template", STR, "{{ messages[0].content }}"),
]
save("empty-v3", model())
save("empty-v2", model(version=2))
save("big-endian", b"GGUF" + struct.pack(">IQQ", 3, 0, 0))
save("scalars", model(SCALARS))
save("arrays", model(ARRAYS))
save("hyper", model(HYPER))
save("tensors", model(HYPER[:2], [
    tensor("norm", 0, [8], 0), tensor("f16", 1, [4, 2, 2], 32), tensor("q8", 8, [32, 2], 64),
    tensor("q4k", 12, [256], 160), tensor("i8", 24, [1, 1, 1, 1], 320)], 352))
save("out-of-order", model([], [tensor("b", 0, [8], 64), tensor("a", 0, [8], 0)], 128))
save("overlap", model([], [tensor("b", 0, [16], 32), tensor("a", 0, [16], 0)], 128))
save("alignment-1", model([entry("general.alignment", U64, 1)], [tensor("a", 24, [3], 0)], 3,
                          alignment=1))
save("split-whole", model([entry("split.no", U16, 0), entry("split.count", U16, 1),
                           entry("split.tensors.count", I32, 0)]))
save("split-of-two", model([entry("split.no", U16, 0), entry("split.count", U16, 2)]))
save("nested", b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("n")
     + struct.pack("<I", ARR) + struct.pack("<IQ", ARR, 1) * 20)
save("huge-count", b"GGUF" + struct.pack("<IQQ", 3, 2**61, 2**61))
save("huge-array", model([text("a") + struct.pack("<IIQ", ARR, STR, 2**61)]))
save("wrap-dims", model([], [tensor("w", 0, [2**32, 2**32], 0)], 64))
save("duplicate", model([entry("k", U8, 1), entry("k", U8, 2)]))
