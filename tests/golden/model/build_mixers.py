"""Random tensors for the layers of mixers.py, for make_goldens.py."""
import numpy as np


def short_conv(spec, rng, blk, linear, vector):
    blk, taps = blk + "shortconv.", spec.keys["shortconv.l_cache"]
    linear(blk + "in_proj", 3 * spec.embed, spec.embed)
    linear(blk + "out_proj", spec.embed, spec.embed)
    vector(blk + "conv.weight", rng.normal(0, 1, (spec.embed, taps)))


def recurrence(spec, rng, blk, vector, channels):
    """What the delta net and Mamba 2 have in common."""
    heads, taps = spec.keys["ssm.time_step_rank"], spec.keys["ssm.conv_kernel"]
    vector(blk + "ssm_conv1d.weight", rng.normal(0, 0.5, (channels, taps)))
    vector(blk + "ssm_dt.bias", rng.normal(-1, 0.5, heads))


def delta_net(spec, rng, blk, linear, vector):
    keys, heads = spec.keys, spec.keys["ssm.time_step_rank"]
    groups, dim, inner = keys["ssm.group_count"], keys["ssm.state_size"], keys["ssm.inner_size"]
    channels = inner + 2 * groups * dim
    recurrence(spec, rng, blk, vector, channels)
    vector(blk + "ssm_a", -rng.uniform(0.1, 1.5, heads))
    vector(blk + "ssm_norm.weight", rng.normal(1, 0.2, dim))
    if "ssm_in" in spec.adds:
        linear(blk + "ssm_in", channels + inner, spec.embed)
    else:
        linear(blk + "attn_qkv", channels, spec.embed)
        linear(blk + "attn_gate", inner, spec.embed)
    if spec.arch == "qwen3next":
        linear(blk + "ssm_ba", 2 * heads, spec.embed)
    else:
        linear(blk + "ssm_beta", heads, spec.embed)
        linear(blk + "ssm_alpha", heads, spec.embed)
    linear(blk + "ssm_out", spec.embed, inner)


def mamba2(spec, rng, blk, linear, vector):
    keys, heads = spec.keys, spec.keys["ssm.time_step_rank"]
    groups, dim, inner = keys["ssm.group_count"], keys["ssm.state_size"], keys["ssm.inner_size"]
    channels = inner + 2 * groups * dim
    recurrence(spec, rng, blk, vector, channels)
    if "ssm_conv1d" in spec.biases:
        vector(blk + "ssm_conv1d.bias", rng.normal(0, 0.3, channels))
    vector(blk + "ssm_a", -rng.uniform(0.1, 1.5, (heads, 1)))
    vector(blk + "ssm_d", rng.normal(1, 0.3, (heads, 1)))
    vector(blk + "ssm_norm.weight", rng.normal(1, 0.2, (groups, inner // groups)))
    linear(blk + "ssm_in", inner + channels + heads, spec.embed)
    linear(blk + "ssm_out", spec.embed, inner)


def latent(spec, rng, blk, linear, vector):
    """adds: joint (attn_kv_b). keys say the sizes; without q_lora_rank queries come directly."""
    keys, heads = spec.keys, spec.heads
    rank, rope, narrow = keys["attention.kv_lora_rank"], spec.rope_dim, keys.get(
        "attention.q_lora_rank", 0)
    key = keys.get("attention.key_length_mla", keys["attention.key_length"])
    value = keys.get("attention.value_length_mla", keys["attention.value_length"])
    if narrow:
        linear(blk + "attn_q_a", narrow, spec.embed)
        vector(blk + "attn_q_a_norm.weight", rng.normal(1, 0.2, narrow))
    linear(blk + ("attn_q_b" if narrow else "attn_q"), heads * key, narrow or spec.embed)
    linear(blk + "attn_kv_a_mqa", rank + rope, spec.embed)
    vector(blk + "attn_kv_a_norm.weight", rng.normal(1, 0.2, rank))
    if "joint" in spec.adds:
        linear(blk + "attn_kv_b", heads * (key - rope + value), rank)
    else:
        vector(blk + "attn_k_b.weight", rng.normal(0, 1.5 / rank**0.5, (heads, rank, key - rope)))
        vector(blk + "attn_v_b.weight", rng.normal(0, 1.5 / rank**0.5, (heads, value, rank)))
    linear(blk + "attn_output", spec.embed, heads * value)


BUILDERS = {"latent": latent, "conv": short_conv, "delta": delta_net, "mamba": mamba2}
