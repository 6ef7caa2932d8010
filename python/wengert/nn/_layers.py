"""Functions behind layers that are compositions: bags of embeddings, attention of many heads.

`functional` offers them; a row of the same name in the table of operations comes before them.
"""

from __future__ import annotations

import math

from wengert import _core, arange, tensor
from wengert._core import Tensor, where

from . import functional as F  # noqa: N812

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from wengert._core import dtype

__all__ = ["embedding_bag", "multi_head_attention_forward"]


# --- bags --------------------------------------------------------------------------------------


def _bag_sizes(offsets: Tensor, count: int, include_last: bool) -> tuple[int, Tensor]:
    """How many bags there are, and the bag of each index."""
    starts = [int(at) for at in offsets.tolist()]
    ends = starts[1:] if include_last else [*starts[1:], count]
    starts = starts[: len(ends)]
    if starts and starts[0] != 0:
        raise RuntimeError(f"embedding_bag: offsets[0] has to be 0, got {starts[0]}")
    if ends and ends[-1] > count:
        raise RuntimeError(
            f"embedding_bag: offsets[-1] can not be greater than input's length {count}, got "
            f"{ends[-1]}"
        )
    sizes = [end - start for start, end in zip(starts, ends, strict=True)]
    if min(sizes, default=0) < 0:
        raise RuntimeError(f"embedding_bag: offsets must not decrease, got {offsets.tolist()}")
    each = tensor(sizes, dtype=_core.int64, device=offsets.device)
    return len(sizes), arange(len(sizes), device=offsets.device).repeat_interleave(each)


def _check_bags(
    input: Tensor,
    offsets: Tensor | None,
    mode: str,
    weights: Tensor | None,
    by_frequency: bool,
    include_last: bool,
) -> None:
    if weights is not None and weights.shape != input.shape:
        raise ValueError(
            f"embedding_bag: per_sample_weights of shape {tuple(weights.shape)}; expected the "
            f"input's, {tuple(input.shape)}"
        )
    if input.dim() not in (1, 2):
        raise ValueError(f"embedding_bag: expected a 1D or 2D input, got {input.dim()}D")
    if input.dim() == 2 and offsets is not None:
        raise ValueError("embedding_bag: a 2D input is a bag a row; expected offsets of None")
    if input.dim() == 1 and (offsets is None or offsets.dim() != 1):
        raise ValueError("embedding_bag: expected 1D offsets for a 1D input")
    if include_last and offsets is not None and offsets.numel() == 0:
        raise RuntimeError("embedding_bag: include_last_offset needs at least one offset")
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"embedding_bag: mode has to be one of sum, mean or max, got {mode!r}")
    if mode == "max" and by_frequency:
        raise ValueError("embedding_bag: max does not support scaling the gradient by frequency")
    if weights is not None and mode != "sum":
        raise NotImplementedError(
            f"embedding_bag: per_sample_weights is only supported for mode='sum', got {mode!r}"
        )


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Sums, means or maxima of bags of rows of ``weight``.

    A bag is a row of a 2D input, or the part of a 1D input from an offset to the next. The row
    padding_idx counts for nothing; an empty bag gives zeros.

    Raises
    ------
    ValueError
        If shapes, offsets or mode do not go together.
    NotImplementedError
        If there are per_sample_weights for another mode than 'sum', or ``sparse``.
    """
    if not weight.dtype.is_floating_point:
        input, weight = weight, input  # an order of long ago
    _check_bags(input, offsets, mode, per_sample_weights, scale_grad_by_freq, include_last_offset)
    rows = weight.size(0)
    if padding_idx is not None:
        if not -rows <= padding_idx < rows:
            raise AssertionError(f"embedding_bag: padding_idx must be within {rows}")
        padding_idx %= rows
    if offsets is None:
        bags, length = input.shape
        offsets, input = arange(bags, device=input.device) * length, input.reshape(-1)
        if per_sample_weights is not None:
            per_sample_weights = per_sample_weights.reshape(-1)
    bags, bag = _bag_sizes(offsets, input.numel(), include_last_offset)
    input = input[: bag.numel()]
    items = F.embedding(input, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
    counts = input != padding_idx if padding_idx is not None else None
    shape = (bags, weight.size(1))
    if mode == "max":
        if counts is not None:
            items, bag = items[counts], bag[counts]
        at = bag.unsqueeze(1).expand_as(items)
        empty = weight.new_zeros(shape)
        return empty.scatter_reduce(0, at, items, "amax", include_self=False)
    if counts is not None:
        items = where(counts.unsqueeze(1), items, 0.0)
    if per_sample_weights is not None:
        items = items * per_sample_weights[: bag.numel()].unsqueeze(1)
    total = weight.new_zeros(shape).index_add(0, bag, items)
    if mode == "sum":
        return total
    ones = counts if counts is not None else _core.ones_like(bag)
    sizes = weight.new_zeros(bags).index_add(0, bag, ones.to(weight.dtype))
    return total / sizes.clamp(min=1).unsqueeze(1)


# --- attention of many heads -------------------------------------------------------------------


def _additive(mask: Tensor | None, name: str, kind: dtype) -> Tensor | None:
    """Return a mask whose True means "not this one" as what is added to scores."""
    if mask is None or mask.dtype == kind:
        return mask
    if mask.dtype == _core.bool:
        return mask.new_zeros(mask.shape, dtype=kind).masked_fill(mask, -math.inf)
    if not mask.dtype.is_floating_point:
        raise AssertionError(f"only bool and floating types of {name} are supported")
    return mask.to(kind)


def _check_mask(mask: Tensor, heads: int, batch: int, queries: int, keys: int) -> Tensor:
    if mask.dim() == 2:
        if tuple(mask.shape) != (queries, keys):
            raise RuntimeError(
                f"The shape of the 2D attn_mask is {tuple(mask.shape)}, but should be "
                f"{(queries, keys)}."
            )
        return mask
    if mask.dim() != 3:
        raise RuntimeError(f"attn_mask's dimension {mask.dim()} is not supported")
    if tuple(mask.shape) != (batch * heads, queries, keys):
        raise RuntimeError(
            f"The shape of the 3D attn_mask is {tuple(mask.shape)}, but should be "
            f"{(batch * heads, queries, keys)}."
        )
    return mask.reshape(batch, heads, queries, keys)


def _projected(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weight: Tensor | None,
    separate: tuple[Tensor | None, Tensor | None, Tensor | None],
    bias: Tensor | None,
) -> tuple[Tensor, ...]:
    if weight is None:
        biases = (None,) * 3 if bias is None else bias.chunk(3)
        return tuple(
            F.linear(x, w, b)  # type: ignore[arg-type]
            for x, w, b in zip((query, key, value), separate, biases, strict=True)
        )
    if query is key and key is value:  # in one product
        return F.linear(query, weight, bias).chunk(3, -1)
    size = weight.size(1)
    if key is value:
        w_q, w_kv = weight.split([size, 2 * size])
        b_q, b_kv = (None, None) if bias is None else bias.split([size, 2 * size])
        return (F.linear(query, w_q, b_q), *F.linear(key, w_kv, b_kv).chunk(2, -1))
    parts = weight.chunk(3)
    biases = (None,) * 3 if bias is None else bias.chunk(3)
    return tuple(
        F.linear(x, w, b) for x, w, b in zip((query, key, value), parts, biases, strict=True)
    )


def _with_zeros(x: Tensor) -> Tensor:
    """Keys or values of heads with one more, of zeros."""
    return _core.cat([x, x.new_zeros((*x.shape[:-2], 1, x.shape[-1]))], -2)


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Attention of several heads (Vaswani and others, 2017), of (L, N, E) or (L, E).

    True in a bool mask means "not this one"; `nn.MultiheadAttention` describes the arguments.

    Raises
    ------
    AssertionError, RuntimeError
        If shapes or masks do not go together.
    """
    if static_k is not None or static_v is not None:
        raise NotImplementedError("multi_head_attention_forward: static_k and static_v")
    batched = query.dim() == 3
    if query.dim() not in (2, 3) or not query.dim() == key.dim() == value.dim():
        raise AssertionError(
            "query, key and value should be all unbatched 2D or all batched 3D tensors, but got "
            f"{query.dim()}D, {key.dim()}D and {value.dim()}D"
        )
    if is_causal and attn_mask is None:
        raise RuntimeError("Need attn_mask if specifying the is_causal hint.")
    if not batched:
        same = query is key and key is value
        kv_same = key is value
        query, key = query.unsqueeze(1), key.unsqueeze(1)
        value = key if kv_same else value.unsqueeze(1)
        if same:
            key = value = query
        if key_padding_mask is not None:
            key_padding_mask = key_padding_mask.unsqueeze(0)
    queries, batch, size = query.shape
    keys = key.size(0)
    if size != embed_dim_to_check:
        raise AssertionError(
            f"was expecting embedding dimension of {embed_dim_to_check}, but got {size}"
        )
    head = size // num_heads
    if head * num_heads != size:
        raise AssertionError(f"embed_dim {size} not divisible by num_heads {num_heads}")
    if key.shape[:2] != value.shape[:2]:
        raise AssertionError(
            f"key's sequence and batch dims {tuple(key.shape[:2])} do not match value's "
            f"{tuple(value.shape[:2])}"
        )
    separate = (q_proj_weight, k_proj_weight, v_proj_weight)
    q, k, v = _projected(
        query, key, value, None if use_separate_proj_weight else in_proj_weight, separate,
        in_proj_bias,
    )  # fmt: skip
    added_mask = _additive(attn_mask, "attn_mask", q.dtype)
    if added_mask is not None:
        added_mask = _check_mask(added_mask, num_heads, batch, queries, keys)
    padding = _additive(key_padding_mask, "key_padding_mask", q.dtype)
    if padding is not None and tuple(padding.shape) != (batch, keys):
        raise AssertionError(
            f"expecting key_padding_mask shape of {(batch, keys)}, but got {tuple(padding.shape)}"
        )
    extra = 0
    if bias_k is not None and bias_v is not None:
        k = _core.cat([k, bias_k.expand(1, batch, size)])
        v = _core.cat([v, bias_v.expand(1, batch, size)])
        extra += 1
    q, k, v = (x.unflatten(-1, (num_heads, head)).permute(1, 2, 0, 3) for x in (q, k, v))
    if add_zero_attn:
        k, v = _with_zeros(k), _with_zeros(v)
        extra += 1
    # a causal mask that is all there is needs not be looked at
    causal = is_causal and padding is None and not need_weights and not extra
    mask = None if causal else added_mask
    if mask is not None and extra:
        mask = F.pad(mask, (0, extra))
    if padding is not None:
        padding = F.pad(padding, (0, extra)) if extra else padding
        padding = padding.reshape(batch, 1, 1, keys + extra)
        mask = padding if mask is None else mask + padding
    p = dropout_p if training else 0.0
    weights = None
    if need_weights:
        scores = (q * head**-0.5) @ k.transpose(-2, -1)
        weights = (scores if mask is None else scores + mask).softmax(-1)
        if p > 0:
            weights = F.dropout(weights, p)
        out = weights @ v
        weights = weights.mean(1) if average_attn_weights else weights
        weights = weights if batched else weights.squeeze(0)
    else:
        out = F.scaled_dot_product_attention(q, k, v, mask, p, causal)
    out = out.permute(2, 0, 1, 3).reshape(queries, batch, size)
    out = F.linear(out, out_proj_weight, out_proj_bias)
    return out if batched else out.squeeze(1), weights
