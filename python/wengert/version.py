"""The version, and those of device libraries that the build does not have."""

from __future__ import annotations

from . import _core

__version__: str = _core.config()["version"]
cuda: str | None = None
hip: str | None = None
git_version = "unknown"
