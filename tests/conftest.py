"""A clean state for every test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import wengert as wg

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _clean_state() -> Iterator[None]:
    """Every test starts seeded and must leave the global switches as it found them."""
    wg.manual_seed(0)
    before = (wg.get_default_dtype(), wg.is_grad_enabled(), wg.get_num_threads())
    yield
    after = (wg.get_default_dtype(), wg.is_grad_enabled(), wg.get_num_threads())
    wg.set_default_dtype(before[0])
    wg.set_grad_enabled(before[1])
    wg.set_num_threads(before[2])
    assert after == before
