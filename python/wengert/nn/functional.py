"""Operations of neural networks as functions: the rows of the table that say so."""

from wengert._core.functional import *  # noqa: F403
