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


def gemma4(spec, rng, blk, linear, vector):
    """adds: no_value (full layers without attn_v), tails (inputs and a scale of the layer's own)."""
    il = int(blk.split(".")[1])
    keys = spec.keys
    window = keys["attention.sliding_window_pattern"][il]
    dim = keys["attention.key_length_swa"] if window else keys["attention.key_length"]
    kv_heads = spec.kv_heads[il] if isinstance(spec.kv_heads, list) else spec.kv_heads
    linear(blk + "attn_q", spec.heads * dim, spec.embed)
    vector(blk + "attn_q_norm.weight", rng.normal(1, 0.2, dim) / dim**0.25)
    if il < spec.layers - keys.get("attention.shared_kv_layers", 0):
        linear(blk + "attn_k", kv_heads * dim, spec.embed)
        vector(blk + "attn_k_norm.weight", rng.normal(1, 0.2, dim) / dim**0.25)
        if window or "no_value" not in spec.adds:
            linear(blk + "attn_v", kv_heads * dim, spec.embed)
    linear(blk + "attn_output", spec.embed, spec.heads * dim)
    d = keys["embedding_length_per_layer_input"]
    if d:
        linear(blk + "inp_gate", d, spec.embed)
        linear(blk + "proj", spec.embed, d)
        vector(blk + "post_norm.weight", rng.normal(1, 0.2, spec.embed))
    if "tails" in spec.adds:
        vector(blk + "layer_output_scale.weight", rng.uniform(0.5, 1.2, 1))
    if spec.experts:
        for name in ("pre_ffw_norm_2", "post_ffw_norm_1", "post_ffw_norm_2"):
            vector(blk + name + ".weight", rng.normal(1, 0.2, spec.embed))
        vector(blk + "ffn_gate_inp.scale", rng.normal(spec.embed**0.5, 1, spec.embed))
        vector(blk + "ffn_down_exps.scale", rng.uniform(0.5, 1.5, spec.experts[0]))


def gemma4_start(spec, rng, linear, vector, rows):
    d = spec.keys["embedding_length_per_layer_input"]
    if d:
        linear("per_layer_model_proj", d * spec.layers, spec.embed)
        vector("per_layer_proj_norm.weight", rng.normal(1, 0.2, d))
        vector("per_layer_token_embd.weight", rng.normal(0, 1 / d**0.5, (rows, d * spec.layers)))
    full = spec.keys["attention.key_length"] // 2
    vector("rope_freqs.weight", np.where(np.arange(full) < full // 2, 1.0, 1e30))


BUILDERS = {"gemma4": gemma4, "latent": latent, "conv": short_conv, "delta": delta_net, "mamba": mamba2}
