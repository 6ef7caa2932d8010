"""Attention of several heads."""

from __future__ import annotations

from wengert._core import empty

from . import functional as F  # noqa: N812
from . import init
from .linear import Linear
from .module import Module
from .parameter import Parameter

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from typing import Any

    from wengert._core import Tensor, device, dtype


class NonDynamicallyQuantizableLinear(Linear):
    """The linear layer under the name that PyTorch has for the one in `MultiheadAttention`."""


class MultiheadAttention(Module):
    """``concat(head_1, ..., head_h) W_o``, each head attention of projections of its own.

    (Vaswani and others, Attention is all you need, 2017.)

    Parameters
    ----------
    embed_dim
        The size of queries and results, shared out over the heads.
    num_heads
        How many heads there are.
    dropout
        The probability of each weight of attention to be dropped, while training.
    bias
        Whether the projections have biases.
    add_bias_kv
        Whether a learned key and value are added to each sequence.
    add_zero_attn
        Whether a key and value of zeros are.
    kdim, vdim
        The sizes of keys and values; by default embed_dim.
    batch_first
        Whether sequences are (N, L, E), not (L, N, E).

    Attributes
    ----------
    in_proj_weight
        The projections of query, key and value below each other; None where sizes differ, then
        they are q_proj_weight, k_proj_weight and v_proj_weight.
    in_proj_bias, out_proj
        Their biases, and the layer that joins the heads.

    Raises
    ------
    ValueError, AssertionError
        If the sizes are not positive, or the heads do not divide embed_dim.
    """

    in_proj_weight: Parameter | None
    in_proj_bias: Parameter | None
    q_proj_weight: Parameter | None
    k_proj_weight: Parameter | None
    v_proj_weight: Parameter | None
    bias_k: Parameter | None
    bias_v: Parameter | None
    out_proj: Linear

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: device | str | None = None,
        dtype: dtype | None = None,
    ) -> None:
        super().__init__()
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(
                f"embed_dim and num_heads must be greater than 0, got embed_dim={embed_dim} and "
                f"num_heads={num_heads} instead"
            )
        self.embed_dim = embed_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        if self.head_dim * num_heads != embed_dim:
            raise AssertionError("embed_dim must be divisible by num_heads")
        how: Any = {"device": device, "dtype": dtype}

        def make(name: str, wanted: bool, *shape: int) -> None:
            self.register_parameter(name, Parameter(empty(shape, **how)) if wanted else None)

        joint = self._qkv_same_embed_dim
        make("q_proj_weight", not joint, embed_dim, embed_dim)
        make("k_proj_weight", not joint, embed_dim, self.kdim)
        make("v_proj_weight", not joint, embed_dim, self.vdim)
        make("in_proj_weight", joint, 3 * embed_dim, embed_dim)
        make("in_proj_bias", bias, 3 * embed_dim)
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias=bias, **how)
        make("bias_k", add_bias_kv, 1, 1, embed_dim)
        make("bias_v", add_bias_kv, 1, 1, embed_dim)
        self.add_zero_attn = add_zero_attn
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for weight in (
            self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
        ):  # fmt: skip
            if weight is not None:
                init.xavier_uniform_(weight)
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
        if self.out_proj.bias is not None:
            init.zeros_(self.out_proj.bias)
        for bias in (self.bias_k, self.bias_v):
            if bias is not None:
                init.xavier_normal_(bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend.

        Parameters
        ----------
        query, key, value
            Sequences of shape (L, N, E), or (N, L, E) if batch_first, or (L, E).
        key_padding_mask
            Of shape (N, S) or (S,): bool, True for keys to leave out, or added to the scores.
        need_weights
            Whether to return the weights, too; without, they are never held as a whole.
        attn_mask
            Of shape (L, S) or (N heads, L, S), as key_padding_mask.
        average_attn_weights
            Whether the weights returned are means over the heads.
        is_causal
            A hint that attn_mask is the causal one.

        Returns
        -------
        tuple
            The result, and the weights or None.
        """
        swaps = self.batch_first and query.dim() == 3
        if swaps:
            same, kv_same = query is key and key is value, key is value
            query, key = query.transpose(0, 1), key if same else key.transpose(0, 1)
            key = query if same else key
            value = key if kv_same else value.transpose(0, 1)
        out, weights = F.multi_head_attention_forward(
            query,
            key,
            value,
            self.embed_dim,
            self.num_heads,
            self.in_proj_weight,
            self.in_proj_bias,
            self.bias_k,
            self.bias_v,
            self.add_zero_attn,
            self.dropout,
            self.out_proj.weight,
            self.out_proj.bias,
            self.training,
            key_padding_mask,
            need_weights,
            attn_mask,
            not self._qkv_same_embed_dim,
            self.q_proj_weight,
            self.k_proj_weight,
            self.v_proj_weight,
            average_attn_weights=average_attn_weights,
            is_causal=is_causal,
        )
        return out.transpose(0, 1) if swaps else out, weights
