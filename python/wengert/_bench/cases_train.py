"""Whole training steps beyond classifiers: a character transformer, an actor with a critic."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .training import Training, jax_cross_entropy

if TYPE_CHECKING:
    from .harness import Case

# --- a character transformer -------------------------------------------------------------------

LAYERS, HEADS, WIDTH, BLOCK, BATCH, CHARACTERS = 4, 4, 128, 64, 12, 65


def character_transformer(
    library: Any,
    layers: int = LAYERS,
    heads: int = HEADS,
    width: int = WIDTH,
    block: int = BLOCK,
    words: int = CHARACTERS,
) -> Any:
    """Return the module: normalization before each part, GELU, learned positions."""
    nn, functional = library.nn, library.nn.functional

    class Layer(nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x: Any) -> Any:
            b, n, _ = x.shape
            parts = self.qkv(self.norm1(x)).view(b, n, 3, heads, width // heads)
            q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(y.transpose(1, 2).reshape(b, n, width))
            return x + self.narrow(functional.gelu(self.wide(self.norm2(x))))

    class Transformer(nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.token, self.place = nn.Embedding(words, width), nn.Embedding(block, width)
            self.layers = nn.Sequential(*(Layer() for _ in range(layers)))
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words)

        def forward(self, tokens: Any) -> Any:
            x = self.token(tokens) + self.place.weight
            return self.head(self.norm(self.layers(x)))

    return Transformer()


def character_loss(library: Any, model: Any, tokens: Any, targets: Any) -> Any:
    """Return the mean cross-entropy over all positions."""
    logits = model(tokens)
    return library.nn.functional.cross_entropy(logits.view(-1, CHARACTERS), targets.view(-1))


def _character_data(rng: np.random.Generator) -> tuple[Any, Any]:
    text = rng.integers(0, CHARACTERS, (BATCH, BLOCK + 1))
    return text[:, :-1].copy(), text[:, 1:].copy()


def _jax_character_loss(jax: Any, w: Any, tokens: Any, targets: Any) -> Any:
    jnp = jax.numpy

    def norm(x: Any, scale: Any, shift: Any) -> Any:
        away = x - x.mean(-1, keepdims=True)
        return away * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5) * scale + shift

    x = w[0][tokens] + w[1]
    b, n, _ = x.shape
    mask = jnp.where(jnp.tri(n) > 0, 0.0, -jnp.inf)
    for i in range(LAYERS):
        n1, m1, n2, m2, qkv, qkv_b, out, out_b, wide, wide_b, narrow, narrow_b = w[
            2 + 12 * i : 14 + 12 * i
        ]
        heads = (norm(x, n1, m1) @ qkv.T + qkv_b).reshape(b, n, 3, HEADS, WIDTH // HEADS)
        q, k, v = jnp.transpose(heads, (2, 0, 3, 1, 4))
        scores = q @ k.swapaxes(-1, -2) * (WIDTH // HEADS) ** -0.5 + mask
        y = jnp.swapaxes(jax.nn.softmax(scores) @ v, 1, 2).reshape(b, n, WIDTH)
        x = x + y @ out.T + out_b
        h = jax.nn.gelu(norm(x, n2, m2) @ wide.T + wide_b, approximate=False)
        x = x + h @ narrow.T + narrow_b
    scale, shift, head, head_b = w[-4:]
    logits = norm(x, scale, shift) @ head.T + head_b
    return jax_cross_entropy(jax, logits.reshape(-1, CHARACTERS), targets.reshape(-1))


TRANSFORMER = Training(
    f"train/character transformer, {LAYERS} layers, {HEADS} heads, {WIDTH} wide/"
    f"block {BLOCK} batch {BATCH}",
    character_transformer,
    _character_data,
    character_loss,
    _jax_character_loss,
    weight_decay=0.01,
)
_ROWS = BATCH * BLOCK
# Of the products, forward: each layer's weights, its scores and sums by causal halves, the head.
_FORWARD = 2.0 * _ROWS * (LAYERS * (12 * WIDTH**2 + BLOCK * WIDTH) + CHARACTERS * WIDTH)

# --- an actor and a critic ---------------------------------------------------------------------

HIDDEN = 64


def _actor_critic(library: Any) -> Any:
    nn = library.nn
    actor = nn.Sequential(nn.Linear(4, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 2))
    critic = nn.Sequential(nn.Linear(4, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1))
    return nn.ModuleList([actor, critic])


def _states(rng: np.random.Generator, count: int) -> tuple[Any, ...]:
    states = rng.standard_normal((count, 4), np.float32)
    advantages, targets = rng.standard_normal((2, count), np.float32)
    return states, rng.integers(0, 2, count), advantages, targets


def _actor_critic_loss(
    library: Any, model: Any, states: Any, actions: Any, advantages: Any, targets: Any
) -> Any:
    actor, critic = model
    policy = library.distributions.Categorical(logits=actor(states))
    gain = (policy.log_prob(actions) * advantages).mean()
    error = library.nn.functional.mse_loss(critic(states).squeeze(-1), targets)
    return 0.5 * error - gain - 0.01 * policy.entropy().mean()


def _jax_actor_critic_loss(
    jax: Any, w: Any, states: Any, actions: Any, advantages: Any, targets: Any
) -> Any:
    jnp = jax.numpy

    def ask(w: Any) -> Any:
        return jnp.tanh(states @ w[0].T + w[1]) @ w[2].T + w[3]

    log_p = jax.nn.log_softmax(ask(w[:4]))
    gain = (jnp.take_along_axis(log_p, actions[:, None], 1)[:, 0] * advantages).mean()
    entropy = -(jnp.exp(log_p) * log_p).sum(-1).mean()
    return 0.5 * ((ask(w[4:])[:, 0] - targets) ** 2).mean() - gain - 0.01 * entropy


def _actor_critic_update(count: int) -> Training:
    return Training(
        f"train/actor-critic update, two 4-{HIDDEN}/batch {count}",
        _actor_critic,
        partial(_states, count=count),
        _actor_critic_loss,
        _jax_actor_critic_loss,
        max_norm=0.5,
    )


ACTOR_CRITICS = tuple(_actor_critic_update(count) for count in (64, 256))

CASES: list[Case] = [
    TRANSFORMER.case(flops=3 * _FORWARD, atol=1e-4),
    *(training.case() for training in ACTOR_CRITICS),
]
