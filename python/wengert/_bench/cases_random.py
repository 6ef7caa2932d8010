"""Random numbers. JAX takes no part: compiled without operands, it would draw only once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .rows import SMALL, Row, cases, moments, ordered

if TYPE_CHECKING:
    from .harness import Case

_DRAWN: dict[str, Any] = {"loose": 0.2, "compared": moments}

ROWS = (
    Row("rand", "T.rand(N)", "rng.random(N, np.float32)", **_DRAWN),
    Row("randn", "T.randn(N)", "rng.standard_normal(N, np.float32)", **_DRAWN),
    Row("randint", "T.randint(10, (N,))", "rng.integers(0, 10, N)", **_DRAWN),
    Row("randperm", "T.randperm(N)", "rng.permutation(N)", compared=ordered),
    Row("bernoulli", "T.bernoulli(unit)", **_DRAWN),
    Row("uniform_", "a.uniform_()", **_DRAWN),
    Row("exponential_", "a.exponential_()", **_DRAWN),
    Row("multinomial", "positive.multinomial(1000, replacement=True) / N", sizes=SMALL, **_DRAWN),
    Row("dropout", "F.dropout(positive, 0.5)", **_DRAWN),
)
CASES: list[Case] = cases("random", ROWS)
