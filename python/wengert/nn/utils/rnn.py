"""Sequences of different lengths in one tensor."""

from __future__ import annotations

from wengert import _core

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wengert._core import Tensor


def pad_sequence(
    sequences: Sequence[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Stack sequences of shapes (L, ...), all made as long as the longest.

    Parameters
    ----------
    sequences
        Tensors that differ in their first dimension alone.
    batch_first
        Whether the result is (sequences, length, ...) rather than (length, sequences, ...).
    padding_value
        What fills the shorter ones.
    padding_side
        Where it does: ``"right"``, after them, or ``"left"``, before them.

    Raises
    ------
    RuntimeError
        If there are no sequences, or their other dimensions differ.
    ValueError
        If the side is neither.
    """
    if padding_side not in ("left", "right"):
        raise ValueError(f"padding_side should be left or right, but got {padding_side}")
    if not sequences:
        raise RuntimeError("pad_sequence: received an empty list of sequences")
    longest = max(s.size(0) for s in sequences)
    padded = []
    for s in sequences:
        parts = [s]
        if s.size(0) < longest:
            shape = (longest - s.size(0), *s.shape[1:])
            parts.append(s.new_full(shape, padding_value))
        if padding_side == "left":
            parts.reverse()
        padded.append(parts[0] if len(parts) == 1 else _core.cat(parts))
    return _core.stack(padded, 0 if batch_first else 1)


def unpad_sequence(
    padded_sequences: Tensor, lengths: Iterable[int], batch_first: bool = False
) -> list[Tensor]:
    """Return the sequences that `pad_sequence` has padded on the right."""
    if not batch_first:
        padded_sequences = padded_sequences.transpose(0, 1)
    return [padded_sequences[i].narrow(0, 0, int(length)) for i, length in enumerate(lengths)]
