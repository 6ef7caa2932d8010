"""Tables whose rows are read by number."""

from __future__ import annotations

from wengert._core import Tensor, empty
from wengert.autograd import no_grad

from . import functional as F  # noqa: N812
from . import init
from .module import Module
from .parameter import Parameter

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from typing import TypeVar

    from wengert._core import device, dtype

    Table = TypeVar("Table", bound="_Table")


class _Table(Module):
    """Base of them: a weight of shape (num_embeddings, embedding_dim), normal at the start."""

    weight: Parameter
    num_embeddings: int
    embedding_dim: int
    padding_idx: int | None

    def _make_weight(
        self,
        values: Tensor | None,
        frozen: bool,
        device: device | str | None,
        dtype: dtype | None,
    ) -> None:
        shape = (self.num_embeddings, self.embedding_dim)
        if self.padding_idx is not None:
            n = self.num_embeddings
            if not -n <= self.padding_idx < n:
                raise AssertionError("padding_idx must be within num_embeddings")
            self.padding_idx %= n
        if values is None:
            made = empty(shape, device=device, dtype=dtype)
            self.weight = Parameter(made, requires_grad=not frozen)
            self.reset_parameters()
            return
        if tuple(values.shape) != shape:
            raise AssertionError("Shape of weight does not match num_embeddings and embedding_dim")
        self.weight = Parameter(values, requires_grad=not frozen)

    def reset_parameters(self) -> None:
        """Draw normal numbers; the row padding_idx becomes zeros."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx].fill_(0)

    @classmethod
    def _of(cls: type[Table], embeddings: Tensor, freeze: bool, **more: object) -> Table:
        if embeddings.dim() != 2:
            raise AssertionError("Embeddings parameter is expected to be 2-dimensional")
        rows, columns = embeddings.shape
        made = cls(rows, columns, _weight=embeddings, **more)  # type: ignore[call-arg]
        made.weight.requires_grad_(not freeze)
        return made


class Embedding(_Table):
    """Rows of a table by their numbers.

    Parameters
    ----------
    num_embeddings, embedding_dim
        Rows and columns of the weight.
    padding_idx
        A row that is zeros at the start and gets no gradient.
    max_norm, norm_type
        Rows of a greater norm are scaled down to it when they are read.
    scale_grad_by_freq
        Whether a row's gradient is divided by how often it was read.
    sparse
        Not supported: gradients are dense.

    Raises
    ------
    AssertionError
        If padding_idx is no row.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: device | str | None = None,
        dtype: dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = padding_idx
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse
        self._make_weight(_weight, _freeze, device, dtype)

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Embedding:
        """Make one of given rows, which are not to be trained if ``freeze``.

        Raises
        ------
        AssertionError
            If they are no matrix.
        """
        return cls._of(
            embeddings,
            freeze,
            padding_idx=padding_idx,
            max_norm=max_norm,
            norm_type=norm_type,
            scale_grad_by_freq=scale_grad_by_freq,
            sparse=sparse,
        )

    def forward(self, input: Tensor) -> Tensor:
        """Read the rows that the indices name."""
        return F.embedding(
            input,
            self.weight,
            self.padding_idx,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.sparse,
        )

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        if self.padding_idx is not None:
            text += f", padding_idx={self.padding_idx}"
        if self.max_norm is not None:
            text += f", max_norm={self.max_norm}"
        if self.norm_type != 2:
            text += f", norm_type={self.norm_type}"
        if self.scale_grad_by_freq:
            text += f", scale_grad_by_freq={self.scale_grad_by_freq}"
        return text + (", sparse=True" if self.sparse else "")


class EmbeddingBag(_Table):
    """Sums, means or maxima of bags of rows of a table.

    Parameters
    ----------
    num_embeddings, embedding_dim
        Rows and columns of the weight.
    max_norm, norm_type
        Rows of a greater norm are scaled down to it when they are read.
    scale_grad_by_freq
        Whether a row's gradient is divided by how often it was read.
    mode
        'sum', 'mean' or 'max'.
    sparse
        Not supported: gradients are dense.
    include_last_offset
        Whether the offsets end with the end of the last bag.
    padding_idx
        A row that counts for nothing.

    Raises
    ------
    AssertionError
        If padding_idx is no row.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: device | str | None = None,
        dtype: dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.mode = mode
        self.sparse = sparse
        self.include_last_offset = include_last_offset
        self.padding_idx = padding_idx
        self._make_weight(_weight, False, device, dtype)

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> EmbeddingBag:
        """Make one of given rows, which are not to be trained if ``freeze``.

        Raises
        ------
        AssertionError
            If they are no matrix.
        """
        return cls._of(
            embeddings,
            freeze,
            max_norm=max_norm,
            norm_type=norm_type,
            scale_grad_by_freq=scale_grad_by_freq,
            mode=mode,
            sparse=sparse,
            include_last_offset=include_last_offset,
            padding_idx=padding_idx,
        )

    def forward(
        self,
        input: Tensor,
        offsets: Tensor | None = None,
        per_sample_weights: Tensor | None = None,
    ) -> Tensor:
        """Join the rows of each bag: of each row of indices, or from offset to offset."""
        return F.embedding_bag(
            input,
            self.weight,
            offsets,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.mode,
            self.sparse,
            per_sample_weights,
            self.include_last_offset,
            self.padding_idx,
        )

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        if self.max_norm is not None:
            text += f", max_norm={self.max_norm}"
        if self.norm_type != 2:
            text += f", norm_type={self.norm_type}"
        if self.scale_grad_by_freq:
            text += f", scale_grad_by_freq={self.scale_grad_by_freq}"
        text += f", mode={self.mode!r}"
        return text if self.padding_idx is None else f"{text}, padding_idx={self.padding_idx}"
