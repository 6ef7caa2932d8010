"""The random generator that operations draw from, its seed and its state."""

from __future__ import annotations

from ._core import Generator, Tensor, default_generator

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

__all__ = [
    "default_generator",
    "fork_rng",
    "get_rng_state",
    "initial_seed",
    "manual_seed",
    "seed",
    "set_rng_state",
]


def manual_seed(seed: int) -> Generator:
    """Start the default generator anew from a seed, and return it.

    Raises
    ------
    ValueError
        If the seed does not fit into 64 bits.
    """
    return default_generator.manual_seed(int(seed))


def seed() -> int:
    """Start the default generator anew from a seed of the system's, and return that."""
    return default_generator.seed()


def initial_seed() -> int:
    """Return the seed of the default generator."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """Return the state of the default generator, a uint8 tensor."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Restore a state of the default generator that `get_rng_state` gave.

    Raises
    ------
    TypeError
        If it is no uint8 tensor.
    RuntimeError
        If it has another size than a state.
    """
    default_generator.set_state(new_state)


class fork_rng:
    """A with block after which the default generator is in the state it had before.

    Parameters
    ----------
    devices, device_type
        Taken as PyTorch takes them; the CPU's generator is the only one.
    enabled
        Whether to do anything.
    """

    def __init__(
        self,
        devices: Iterable[Any] | None = None,
        enabled: bool = True,
        device_type: str = "cpu",
    ) -> None:
        del devices, device_type
        self.enabled = enabled

    def __enter__(self) -> None:
        self.state = default_generator.get_state()

    def __exit__(self, *exc: object) -> None:
        if self.enabled:
            default_generator.set_state(self.state)
