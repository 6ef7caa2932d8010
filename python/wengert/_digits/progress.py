"""What is seen of a run while it goes on."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Progress:
    """A bar on a terminal where tqdm is installed, else about ten lines."""

    def __init__(self, epochs: int, steps: int, say: Callable[[str], None]) -> None:
        self._epochs, self._say = epochs, say
        self._every = -(-epochs // 10)
        self._bar: Any = None
        if sys.stderr.isatty():
            with contextlib.suppress(ImportError):
                from tqdm import tqdm

                self._bar = tqdm(total=epochs * steps, unit=" steps", unit_scale=True)
        self.step: Callable[[], object] = (lambda: None) if self._bar is None else self._bar.update

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def epoch(self, number: int, loss: float) -> None:
        """Tell the mean loss of an epoch."""
        if self._bar is not None:
            self._bar.set_postfix_str(
                f"epoch {number}/{self._epochs}, loss {loss:.4f}", refresh=False
            )
        elif number % self._every == 0 or number == self._epochs:
            self._say(f"epoch {number:{len(str(self._epochs))}}/{self._epochs}  loss {loss:.4f}")
