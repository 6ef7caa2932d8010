"""Linear algebra: the rows of the table that say so. Matrices are the last two dimensions."""

from wengert._core.linalg import *  # noqa: F403
