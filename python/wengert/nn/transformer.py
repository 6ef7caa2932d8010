"""Encoders and decoders of attention and linear layers."""

from __future__ import annotations

import copy
import math

from wengert._core import full

from . import functional as F  # noqa: N812
from . import init
from .dropout import Dropout
from .linear import Linear
from .lists import ModuleList
from .module import Module
from .multihead import MultiheadAttention
from .normalization import LayerNorm

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wengert._core import Tensor, device, dtype


def _activation(given: str | Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    if not isinstance(given, str):
        return given
    if given not in ("relu", "gelu"):
        raise RuntimeError(f"activation should be relu/gelu, not {given}")
    made: Callable[[Tensor], Tensor] = getattr(F, given)
    return made


def _copies(module: Module, n: int) -> ModuleList:
    return ModuleList([copy.deepcopy(module) for _ in range(n)])


def _causal_mask(
    size: int, dtype: dtype | None = None, device: device | str | None = None
) -> Tensor:
    return full((size, size), -math.inf, dtype=dtype, device=device).triu(1)


def _is_causal(mask: Tensor | None, given: bool | None, size: int) -> bool:
    """Whether a mask is the causal one, unless somebody says so."""
    if given is not None:
        return given
    if mask is None or tuple(mask.shape) != (size, size):
        return False
    causal = _causal_mask(size, device=mask.device)
    if not mask.dtype.is_floating_point:
        return bool((mask == (causal != 0)).all())
    return bool((mask == causal.to(mask.dtype)).all())


class _Layer(Module):
    """Base of the layers: what encoder and decoder have in common."""

    linear1: Linear
    linear2: Linear
    dropout: Dropout

    def _make(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int,
        dropout: float,
        activation: str | Callable[[Tensor], Tensor],
        layer_norm_eps: float,
        batch_first: bool,
        norm_first: bool,
        bias: bool,
        attentions: tuple[str, ...],
        **how: Any,
    ) -> None:
        for name in attentions:
            attention = MultiheadAttention(
                d_model, nhead, dropout=dropout, bias=bias, batch_first=batch_first, **how
            )
            self.add_module(name, attention)
        self.linear1 = Linear(d_model, dim_feedforward, bias=bias, **how)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias=bias, **how)
        self.norm_first = norm_first
        parts = len(attentions) + 1
        for i in range(1, parts + 1):
            self.add_module(f"norm{i}", LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **how))
        for i in range(1, parts + 1):
            self.add_module(f"dropout{i}", Dropout(dropout))
        self.activation = _activation(activation)

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))

    def _part(self, i: int, x: Tensor, f: Callable[[Tensor], Tensor]) -> Tensor:
        """Return x plus part i of the layer, normalized before or after."""
        norm, dropout = self._modules[f"norm{i}"], self._modules[f"dropout{i}"]
        if self.norm_first:
            return x + dropout(f(norm(x)))
        return norm(x + dropout(f(x)))


class TransformerEncoderLayer(_Layer):
    """Self-attention, then two linear layers, each with dropout, a sum and a layer norm.

    Parameters
    ----------
    d_model, nhead
        The size of the elements of a sequence, and the heads of attention.
    dim_feedforward
        The size between the two linear layers.
    dropout
        Its probability.
    activation
        'relu', 'gelu' or a function.
    layer_norm_eps
        eps of the layer norms.
    batch_first
        Whether sequences are (N, L, E), not (L, N, E).
    norm_first
        Whether the norms come first.
    bias
        Whether linear layers and norms have biases.
    """

    self_attn: MultiheadAttention

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Tensor], Tensor] = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: device | str | None = None,
        dtype: dtype | None = None,
    ) -> None:
        super().__init__()
        self._make(
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first,
            norm_first, bias, ("self_attn",), device=device, dtype=dtype,
        )  # fmt: skip

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Encode; the masks are those of `MultiheadAttention`."""

        def attend(x: Tensor) -> Tensor:
            out: Tensor = self.self_attn(
                x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal
            )[0]
            return out

        x = self._part(1, src, attend)
        return self._part(2, x, self._feed_forward)


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to an encoder's result, then two linear layers.

    Each has dropout, a sum and a layer norm. The parameters are those of
    `TransformerEncoderLayer`.
    """

    self_attn: MultiheadAttention
    multihead_attn: MultiheadAttention

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Tensor], Tensor] = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: device | str | None = None,
        dtype: dtype | None = None,
    ) -> None:
        super().__init__()
        self._make(
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first,
            norm_first, bias, ("self_attn", "multihead_attn"), device=device, dtype=dtype,
        )  # fmt: skip

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Decode; the masks are those of `MultiheadAttention`."""

        def attend(x: Tensor) -> Tensor:
            out: Tensor = self.self_attn(
                x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal
            )[0]
            return out

        def look_up(x: Tensor) -> Tensor:
            out: Tensor = self.multihead_attn(
                x, memory, memory, memory_key_padding_mask, False, memory_mask,
                is_causal=memory_is_causal,
            )[0]  # fmt: skip
            return out

        x = self._part(1, tgt, attend)
        x = self._part(2, x, look_up)
        return self._part(3, x, self._feed_forward)


class _Stack(Module):
    """Base of the stacks: copies of a layer, then perhaps a norm."""

    layers: ModuleList
    norm: Module | None

    def __init__(self, layer: Module, num_layers: int, norm: Module | None) -> None:
        super().__init__()
        self.layers = _copies(layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def _run(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        for layer in self.layers:
            x = layer(x, *args, **kwargs)
        return x if self.norm is None else self.norm(x)

    def _length(self, x: Tensor) -> int:
        first: Any = self.layers[0] if self.num_layers else None
        batch_first = first is not None and x.dim() == 3 and first.self_attn.batch_first
        return x.size(1 if batch_first else 0)


class TransformerEncoder(_Stack):
    """Copies of an encoder layer, one after the other.

    Parameters
    ----------
    encoder_layer
        What is copied.
    num_layers
        How often.
    norm
        What comes last, or None.
    enable_nested_tensor, mask_check
        Without effect.
    """

    def __init__(
        self,
        encoder_layer: TransformerEncoderLayer,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__(encoder_layer, num_layers, norm)
        self.enable_nested_tensor = enable_nested_tensor
        self.mask_check = mask_check

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """Encode; whether the mask is the causal one is found out where is_causal is None."""
        causal = _is_causal(mask, is_causal, self._length(src))
        return self._run(src, mask, src_key_padding_mask, is_causal=causal)


class TransformerDecoder(_Stack):
    """Copies of a decoder layer, one after the other.

    Parameters
    ----------
    decoder_layer
        What is copied.
    num_layers
        How often.
    norm
        What comes last, or None.
    """

    def __init__(
        self,
        decoder_layer: TransformerDecoderLayer,
        num_layers: int,
        norm: Module | None = None,
    ) -> None:
        super().__init__(decoder_layer, num_layers, norm)

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Decode; whether the mask is the causal one is found out where tgt_is_causal is None."""
        causal = _is_causal(tgt_mask, tgt_is_causal, self._length(tgt))
        return self._run(
            tgt,
            memory,
            tgt_mask,
            memory_mask,
            tgt_key_padding_mask,
            memory_key_padding_mask,
            causal,
            memory_is_causal,
        )


class Transformer(Module):
    """An encoder and a decoder (Vaswani and others, Attention is all you need, 2017).

    Parameters
    ----------
    d_model, nhead
        The size of the elements of a sequence, and the heads of attention.
    num_encoder_layers, num_decoder_layers
        How many layers each has.
    dim_feedforward, dropout, activation
        As in `TransformerEncoderLayer`.
    custom_encoder, custom_decoder
        What stands in the place of encoder and decoder.
    layer_norm_eps, batch_first, norm_first, bias
        As in `TransformerEncoderLayer`.
    """

    encoder: Module
    decoder: Module

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Tensor], Tensor] = F.relu,
        custom_encoder: Any | None = None,
        custom_decoder: Any | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: device | str | None = None,
        dtype: dtype | None = None,
    ) -> None:
        super().__init__()
        how: Any = {"device": device, "dtype": dtype}
        layer = (
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first,
            norm_first, bias,
        )  # fmt: skip

        def norm() -> LayerNorm:
            return LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **how)

        self.encoder = custom_encoder or TransformerEncoder(
            TransformerEncoderLayer(*layer, **how), num_encoder_layers, norm()
        )
        self.decoder = custom_decoder or TransformerDecoder(
            TransformerDecoderLayer(*layer, **how), num_decoder_layers, norm()
        )
        self._reset_parameters()
        self.d_model = d_model
        self.nhead = nhead
        self.batch_first = batch_first

    def _reset_parameters(self) -> None:
        for p in self.parameters():
            if p.dim() > 1:
                init.xavier_uniform_(p)

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Encode src, and decode tgt with that; the masks are those of `MultiheadAttention`.

        Raises
        ------
        RuntimeError
            If batches or sizes of src and tgt differ.
        """
        batched = src.dim() == 3
        if batched and src.size(int(not self.batch_first)) != tgt.size(int(not self.batch_first)):
            raise RuntimeError("the batch number of src and tgt must be equal")
        if src.size(-1) != self.d_model or tgt.size(-1) != self.d_model:
            raise RuntimeError("the feature number of src and tgt must be equal to d_model")
        memory = self.encoder(
            src,
            mask=src_mask,
            src_key_padding_mask=src_key_padding_mask,
            is_causal=src_is_causal,
        )
        out: Tensor = self.decoder(
            tgt,
            memory,
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )
        return out

    @staticmethod
    def generate_square_subsequent_mask(
        sz: int,
        device: device | str | None = None,
        dtype: dtype | None = None,
    ) -> Tensor:
        """Return the causal mask: 0 up to the diagonal, -inf after it."""
        return _causal_mask(sz, dtype, device)
