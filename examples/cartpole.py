"""The cart-pole: push a cart to the left or right so that the pole on it stays up.

The equations are those of Barto, Sutton and Anderson, Neuronlike adaptive elements that can solve
difficult learning control problems (1983), without friction; constants, bounds and interface are
those of gymnasium's CartPole-v1, which `make` returns where it is installed and asked for.
"""

from __future__ import annotations

import math
import random
from typing import Any

GRAVITY = 9.8
CART, POLE = 1.0, 0.1  # masses
HALF_LENGTH = 0.5  # of the pole
FORCE = 10.0
SECONDS = 0.02  # between two pushes
FARTHEST, STEEPEST = 2.4, math.radians(12)  # the episode ends beyond
STEPS = 500  # and here

Observation = tuple[float, float, float, float]


class CartPole:
    """Position and speed of the cart, angle and angular speed of the pole; a reward of 1 a step."""

    def __init__(self) -> None:
        self.random = random.Random()
        self.state: Observation = (0.0, 0.0, 0.0, 0.0)
        self.steps = 0

    def reset(self, *, seed: int | None = None) -> tuple[Observation, dict[str, Any]]:
        """Start an episode near the upright position; a seed restarts the random numbers."""
        if seed is not None:
            self.random.seed(seed)
        x, v, angle, spin = (self.random.uniform(-0.05, 0.05) for _ in range(4))
        self.state = (x, v, angle, spin)
        self.steps = 0
        return self.state, {}

    def step(self, action: int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Push to the left (0) or right (1): observation, reward, terminated, truncated, info."""
        if action not in (0, 1):
            raise ValueError(f"step: expected action 0 or 1, got {action!r}")
        x, v, angle, spin = self.state
        force = FORCE if action == 1 else -FORCE
        sin, cos = math.sin(angle), math.cos(angle)
        both = CART + POLE
        push = (force + POLE * HALF_LENGTH * spin**2 * sin) / both
        turn = (GRAVITY * sin - cos * push) / (HALF_LENGTH * (4 / 3 - POLE * cos**2 / both))
        pull = push - POLE * HALF_LENGTH * turn * cos / both
        self.state = (
            x + SECONDS * v,
            v + SECONDS * pull,
            angle + SECONDS * spin,
            spin + SECONDS * turn,
        )
        self.steps += 1
        fallen = abs(self.state[0]) > FARTHEST or abs(self.state[2]) > STEEPEST
        return self.state, 1.0, fallen, self.steps >= STEPS, {}


def make(prefer_gymnasium: bool = True) -> Any:
    """Return gymnasium's CartPole-v1 if it is installed, else the one above."""
    if prefer_gymnasium:
        try:
            import gymnasium
        except ImportError:
            pass
        else:
            return gymnasium.make("CartPole-v1")
    return CartPole()
