#!/usr/bin/env python3
"""Makes tests/data/gguf: small files written, and described as JSON, by gguf-py, the GGUF library of
the llama.cpp project (MIT), which shares no code with hearth.

    PYTHONPATH=.../llama.cpp/gguf-py tests/golden/make_gguf.py

kinds.gguf      every kind of value and array, tensors of ten types
split-*.gguf    three parts of one model
*.json          what gguf.GGUFReader sees in these files and in ../models/stories260K.gguf
convert.gguf    floats of three types and Q8_0; convert-TYPE.gguf is what quantising it to TYPE must
                give (gguf.quants is an own implementation of the block formats)
types.json      type ids with names, block lengths and block sizes
"""
import importlib.metadata
import json
import math
import os

import gguf
import numpy as np

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data")
OUT = os.path.join(ROOT, "gguf")
KINDS = gguf.GGUFValueType


def origin():
    try:
        version = importlib.metadata.version("gguf")
    except importlib.metadata.PackageNotFoundError:
        version = "0.19.0 (source tree of llama.cpp, May 2026)"
    return f"tests/golden/make_gguf.py with gguf-py {version}"


def plain(value):
    """A value as JSON; as text what JSON or a 64-bit signed parser cannot hold."""
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, int) and value > 2**63 - 1:
        return str(value)
    return value


def field_value(field):
    value = field.contents()
    if field.types[-1] == KINDS.FLOAT32:
        shorten = lambda v: float(str(np.float32(v)))  # the shortest text of a float
        value = [shorten(v) for v in value] if isinstance(value, list) else shorten(value)
    return plain(value)


def describe(path, name):
    reader = gguf.GGUFReader(path)
    front = ("GGUF.version", "GGUF.tensor_count", "GGUF.kv_count")
    fields = [f for k, f in reader.fields.items() if k not in front]
    text = {
        "made_by": origin(),
        "version": int(reader.fields["GGUF.version"].parts[0][0]),
        "alignment": int(reader.alignment),
        "kinds": {f.name: [t.name for t in f.types] for f in fields},
        "metadata": {f.name: field_value(f) for f in fields},
        "tensors": [
            {
                "name": t.name,
                "type": t.tensor_type.name,
                "shape": [int(d) for d in t.shape],
                "offset": int(t.data_offset),
                "bytes": int(t.n_bytes),
            }
            for t in reader.tensors
        ],
    }
    with open(os.path.join(OUT, name), "w", encoding="utf-8") as file:
        json.dump(text, file, indent=1, ensure_ascii=True)
        file.write("\n")


def add_tensors(writer, types, rng):
    for i, kind in enumerate(types):
        block, size = gguf.GGML_QUANT_SIZES[kind]
        rows = 2 + i
        data = rng.integers(0, 64, (rows, size * (256 // block)), dtype=np.uint8)
        writer.add_tensor(f"blk.{i}.weight", data, raw_dtype=kind)


def write_kinds():
    writer = gguf.GGUFWriter(os.path.join(OUT, "kinds.gguf"), "kinds")
    scalars = {
        KINDS.UINT8: 255, KINDS.INT8: -128, KINDS.UINT16: 65535, KINDS.INT16: -32768,
        KINDS.UINT32: 4294967295, KINDS.INT32: -2147483648, KINDS.FLOAT32: 0.1,
        KINDS.BOOL: True, KINDS.STRING: "text with \u00e9, \U0001f525 and \"quotes\"",
        KINDS.UINT64: 18446744073709551615, KINDS.INT64: -9223372036854775808,
        KINDS.FLOAT64: 0.1,
    }
    arrays = {
        KINDS.UINT8: [0, 255], KINDS.INT8: [-128, 127], KINDS.UINT16: [0, 65535],
        KINDS.INT16: [-32768, 32767], KINDS.UINT32: [0, 4294967295],
        KINDS.INT32: [-2147483648, 2147483647], KINDS.FLOAT32: [1.5, -0.0, 3.4e38],
        KINDS.BOOL: [True, False, True], KINDS.STRING: ["", "a", "\u0120the"],
        KINDS.UINT64: [0, 18446744073709551615], KINDS.INT64: [-9223372036854775808, 1],
        KINDS.FLOAT64: [2.5, 1e300],
    }
    for kind, value in scalars.items():
        writer.add_key_value(f"scalar.{kind.name.lower()}", value, kind)
    for kind, value in arrays.items():
        writer.add_key_value(f"array.{kind.name.lower()}", value, KINDS.ARRAY, kind)
    writer.add_key_value("empty.string", "", KINDS.STRING)
    writer.add_custom_alignment(64)
    types = ("F32 F16 BF16 Q8_0 Q4_0 Q4_K Q6_K IQ4_XS TQ1_0 I32").split()
    add_tensors(writer, [gguf.GGMLQuantizationType[t] for t in types], np.random.default_rng(3))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_split():
    writer = gguf.GGUFWriter(os.path.join(OUT, "split.gguf"), "splitted", split_max_tensors=2)
    writer.add_name("three parts")
    kind = gguf.GGMLQuantizationType.F32
    add_tensors(writer, [kind] * 5, np.random.default_rng(4))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def start_model(name):
    writer = gguf.GGUFWriter(os.path.join(OUT, name), "llama")
    writer.add_string("general.name", "convert")
    return writer


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def convert_tensors():
    """Name, values as a float row matrix, type in the source file."""
    rng = np.random.default_rng(5)
    q = gguf.GGMLQuantizationType
    shapes = [
        ("token_embd.weight", (5, 64), q.F32), ("output_norm.weight", (64,), q.F32),
        ("blk.0.attn_norm.weight", (64,), q.F16), ("blk.0.attn_q.weight", (64, 64), q.F32),
        ("blk.0.attn_k.weight", (32, 64), q.F16), ("blk.0.attn_v.weight", (32, 64), q.BF16),
        ("blk.0.attn_output.weight", (64, 64), q.Q8_0), ("blk.0.ffn_down.weight", (3, 40), q.F32),
        ("blk.0.ffn_gate_inp.weight", (4, 64), q.F32), ("blk.0.attn_q.bias", (2, 64), q.F32),
        ("blk.0.ffn_up_exps.weight", (2, 3, 32), q.F32), ("output.weight", (5, 64), q.F32),
    ]
    for name, shape, kind in shapes:
        values = rng.standard_normal(shape).astype(np.float32) * 10 ** rng.uniform(-3, 1)
        if name == "blk.0.attn_q.weight":
            values[0, :32] = 0  # a block without a largest element
        yield name, gguf.quants.quantize(values, kind), kind


def target_type(name, shape, kind, target):
    kept = len(shape) < 2 or not name.endswith("weight") or "gate_inp" in name
    if kept:
        return kind
    if target == gguf.GGMLQuantizationType.Q4_0 and name == "output.weight":
        target = gguf.GGMLQuantizationType.Q8_0
    block = gguf.GGML_QUANT_SIZES[target][0]
    return gguf.GGMLQuantizationType.F16 if shape[-1] % block else target


def write_convert():
    tensors = list(convert_tensors())
    writer = start_model("convert.gguf")
    writer.add_file_type(0)
    for name, data, kind in tensors:
        writer.add_tensor(name, data, raw_dtype=kind)
    finish(writer)
    file_types = {"F16": 1, "Q4_0": 2, "Q8_0": 7, "BF16": 32}
    for target, file_type in file_types.items():
        writer = start_model(f"convert-{target}.gguf")
        writer.add_file_type(file_type)
        writer.add_quantization_version(2)
        for name, data, kind in tensors:
            values = gguf.quants.dequantize(data, kind)
            to = target_type(name, values.shape, kind, gguf.GGMLQuantizationType[target])
            data = data if to == kind else gguf.quants.quantize(values, to)
            writer.add_tensor(name, data, raw_dtype=to)
        finish(writer)


def write_types():
    sizes = gguf.GGML_QUANT_SIZES
    rows = [{"id": int(t), "name": t.name, "block": b, "bytes": n} for t, (b, n) in sizes.items()]
    with open(os.path.join(OUT, "types.json"), "w", encoding="utf-8") as file:
        head = '{\n"made_by": ' + json.dumps(origin()) + ',\n"types": [\n'
        file.write(head + ",\n".join(json.dumps(r) for r in rows) + "\n]}\n")


os.makedirs(OUT, exist_ok=True)
write_kinds()
write_split()
write_convert()
write_types()
describe(os.path.join(OUT, "kinds.gguf"), "kinds.json")
describe(os.path.join(ROOT, "models", "stories260K.gguf"), "stories260K.json")
