"""The tape, to be read: what was recorded, line by line, and what can be asked of it."""

from __future__ import annotations

from .lines import Line, Lines
from .tapes import Tape, tape

__all__ = ["Line", "Lines", "Tape", "tape"]
