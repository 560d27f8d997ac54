"""What stands in the place of attention in some layers, in float64, for reference.py.

Each function takes the model (its tensors and keys), the block's input [tokens, width] and the
layer's number, and gives the block's output. Every recurrence is written position by position, as
it is defined. Formulas: LFM2 (Liquid AI 2025), the gated delta net (Yang et al. 2024; Qwen3-Next),
Mamba 2 (Dao and Gu 2024).
"""
import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


def softplus(x):
    return np.log1p(np.exp(x))


def rms_norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def unit(x, eps):
    return x / np.maximum(np.sqrt((x * x).sum(-1, keepdims=True)), eps)


def convolve(x, taps, bias=0.0):
    """x: [tokens, channels], taps: [channels, count]; position i sees i - count + 1 .. i."""
    count = taps.shape[1]
    padded = np.concatenate([np.zeros((count - 1, x.shape[1])), x])
    return sum(padded[j : j + len(x)] * taps[:, j] for j in range(count)) + bias


def short_conv(model, x, il):
    blk = "blk.%d.shortconv." % il
    b, c, x = np.split(model.linear(x, blk + "in_proj"), 3, -1)
    return model.linear(c * convolve(b * x, model.t[blk + "conv.weight"]), blk + "out_proj")


def delta_inputs(model, x, blk, groups, heads, dim):
    """The mixed q, k, v [tokens, channels], the gate z, beta and alpha [tokens, heads]."""
    n, each = len(x), heads // groups
    if blk + "ssm_in.weight" in model.t:
        joint = model.linear(x, blk + "ssm_in").reshape(n, groups, 2 * dim * (1 + each))
        parts = np.split(joint, [dim, 2 * dim, (2 + each) * dim], -1)
        q, k, v, z = (part.reshape(n, -1) for part in parts)
        qkv = np.concatenate([q, k, v], -1)
    else:
        qkv, z = model.linear(x, blk + "attn_qkv"), model.linear(x, blk + "attn_gate")
    if blk + "ssm_ba.weight" in model.t:
        pairs = model.linear(x, blk + "ssm_ba").reshape(n, groups, 2 * each)
        beta, alpha = (part.reshape(n, heads) for part in np.split(pairs, 2, -1))
    else:
        beta, alpha = model.linear(x, blk + "ssm_beta"), model.linear(x, blk + "ssm_alpha")
    return qkv, z, beta, alpha


def delta_net(model, x, il):
    blk, n = "blk.%d." % il, len(x)
    heads, groups = model.get("ssm.time_step_rank"), model.get("ssm.group_count")
    dim = model.get("ssm.state_size")
    qkv, z, beta, alpha = delta_inputs(model, x, blk, groups, heads, dim)
    qkv = silu(convolve(qkv, model.t[blk + "ssm_conv1d.weight"]))
    q, k, v = np.split(qkv, [groups * dim, 2 * groups * dim], -1)
    q = unit(q.reshape(n, groups, dim), model.eps) / dim**0.5
    k, v = unit(k.reshape(n, groups, dim), model.eps), v.reshape(n, heads, dim)
    spread = (lambda a: np.tile(a, (1, heads // groups, 1))) if model.family.get(
        "tiled") else (lambda a: np.repeat(a, heads // groups, 1))
    q, k = spread(q), spread(k)
    beta = sigmoid(beta)
    decay = np.exp(model.t[blk + "ssm_a"] * softplus(alpha + model.t[blk + "ssm_dt.bias"]))
    memory, out = np.zeros((heads, dim, dim)), np.empty((n, heads, dim))
    for i in range(n):
        memory *= decay[i][:, None, None]
        wrong = v[i] - np.einsum("hkv,hk->hv", memory, k[i])
        memory += np.einsum("hk,hv->hkv", k[i], wrong * beta[i][:, None])
        out[i] = np.einsum("hkv,hk->hv", memory, q[i])
    out = rms_norm(out, model.t[blk + "ssm_norm.weight"], model.eps).reshape(n, -1) * silu(z)
    return model.linear(out, blk + "ssm_out")


def mamba2(model, x, il):
    blk, n, t = "blk.%d." % il, len(x), model.t
    heads, groups = model.get("ssm.time_step_rank"), model.get("ssm.group_count")
    inner, keys = model.get("ssm.inner_size"), model.get("ssm.state_size")
    z, mixed, step = np.split(model.linear(x, blk + "ssm_in"), [inner, 2 * inner + 2 * groups * keys],
                              -1)
    mixed = silu(convolve(mixed, t[blk + "ssm_conv1d.weight"], t.get(blk + "ssm_conv1d.bias", 0.0)))
    x, b, c = np.split(mixed, [inner, inner + groups * keys], -1)
    x = x.reshape(n, heads, -1)
    b, c = (np.repeat(a.reshape(n, groups, keys), heads // groups, 1) for a in (b, c))
    step = softplus(step + t[blk + "ssm_dt.bias"])
    memory, out = np.zeros((heads, keys, x.shape[2])), np.empty_like(x)
    for i in range(n):
        memory *= np.exp(step[i] * t[blk + "ssm_a"].ravel())[:, None, None]
        memory += np.einsum("hk,hv->hkv", b[i], x[i] * step[i][:, None])
        out[i] = np.einsum("hkv,hk->hv", memory, c[i]) + t[blk + "ssm_d"].ravel()[:, None] * x[i]
    out = (out.reshape(n, inner) * silu(z)).reshape(n, groups, -1)
    return model.linear(rms_norm(out, t[blk + "ssm_norm.weight"], model.eps).reshape(n, inner),
                        blk + "ssm_out")


def latent(model, x, il):
    """Every head's keys and values are made from the latent vector, as the definition says."""
    blk, n, t, heads = "blk.%d." % il, len(x), model.t, model.heads[il]
    rank, rope = model.get("attention.kv_lora_rank"), model.get("rope.dimension_count")
    key = model.get("attention.key_length_mla", model.key_dim)
    plain, value = key - rope, model.get("attention.value_length_mla", model.value_dim)
    if blk + "attn_q_a.weight" in t:
        narrow = model.norm(model.linear(x, blk + "attn_q_a"), blk + "attn_q_a_norm")
        q = model.linear(narrow, blk + "attn_q_b")
    else:
        q = model.linear(x, blk + "attn_q")
    q, q_rope = np.split(q.reshape(n, heads, key), [plain], -1)
    c, k_rope = np.split(model.linear(x, blk + "attn_kv_a_mqa"), [rank], -1)
    c = model.norm(c, blk + "attn_kv_a_norm")
    if blk + "attn_kv_b.weight" in t:
        kv = model.linear(c, blk + "attn_kv_b").reshape(n, heads, plain + value)
        k, v = np.split(kv, [plain], -1)
    else:
        k = np.einsum("nr,hrd->nhd", c, t[blk + "attn_k_b.weight"])
        v = np.einsum("nr,hdr->nhd", c, t[blk + "attn_v_b.weight"])
    q_rope, k_rope = model.rope(q_rope, il), model.rope(k_rope[:, None], il)
    score = np.einsum("nhd,mhd->hnm", q, k) + np.einsum("nhd,md->hnm", q_rope, k_rope[:, 0])
    score *= model.latent_scale(key)
    if model.temperature:
        turns = np.floor(np.arange(n) / model.temperature_length)
        score *= (1 + model.temperature * np.log(1 + turns))[None, :, None]
    score = np.where(np.arange(n)[:, None] < np.arange(n), -np.inf, score)
    weight = np.exp(score - score.max(-1, keepdims=True))
    weight /= weight.sum(-1, keepdims=True)
    return model.linear(np.einsum("hnm,mhd->nhd", weight, v).reshape(n, -1), blk + "attn_output")


def gemma4_start(model, x, ids):
    """The inputs that each layer has of its own, [tokens, layers, d]."""
    model.keys, d = {}, model.get("embedding_length_per_layer_input", 0)
    if d:
        p = model.linear(x, "per_layer_model_proj") / model.embed**0.5
        p = model.norm(p.reshape(len(x), model.layers, d), "per_layer_proj_norm")
        token = model.t["per_layer_token_embd.weight"][np.array(ids)].reshape(p.shape)
        model.inputs = (p + token * d**0.5) / 2**0.5


def gemma4_tail(model, x, il):
    blk, t = "blk.%d." % il, model.t
    if blk + "inp_gate.weight" in t:
        from reference import gelu
        y = gelu(model.linear(x, blk + "inp_gate")) * model.inputs[:, il]
        x = x + model.norm(model.linear(y, blk + "proj"), blk + "post_norm")
    return x * t.get(blk + "layer_output_scale.weight", 1.0)


def gemma4_attention(model, x, il):
    """Heads of another width where there is a window; later layers read earlier ones' keys."""
    blk, n, t, window = "blk.%d." % il, len(x), model.t, model.windows[il]
    dim = model.get("attention.key_length_swa") if window else model.key_dim
    heads, own = model.heads[il], model.layers - model.get("attention.shared_kv_layers", 0)
    q = model.norm(model.linear(x, blk + "attn_q").reshape(n, heads, dim), blk + "attn_q_norm")
    q = model.rope(q, il)
    if il < own:
        k = model.linear(x, blk + "attn_k").reshape(n, -1, dim)
        v = model.linear(x, blk + "attn_v").reshape(k.shape) if blk + "attn_v.weight" in t else k
        k = model.rope(model.norm(k, blk + "attn_k_norm"), il)
        model.keys[bool(window)] = k, rms_norm(v, 1.0, model.eps)
    k, v = model.keys[bool(window)]
    distance = np.arange(n)[:, None] - np.arange(n)
    unseen = (distance < 0) | ((distance >= window) if window else False)
    out = np.empty_like(q)
    for h in range(heads):
        at = h * k.shape[1] // heads
        score = np.where(unseen, -np.inf, q[:, h] @ k[:, at].T)
        weight = np.exp(score - score.max(-1, keepdims=True))
        out[:, h] = weight / weight.sum(-1, keepdims=True) @ v[:, at]
    return model.linear(out.reshape(n, -1), blk + "attn_output")
