"""Steps whose programs are saved, and the header of the files."""

from __future__ import annotations

import lzma
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

import wengert as wg
import wengert.nn.functional as F  # noqa: N812
from wengert import nn, optim

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HEADER = struct.Struct("<8sIIQQQ")  # magic, version, zero, bytes, checksum, of the description


class Case(NamedTuple):
    """A captured step, its arguments, and what it changes."""

    step: Any
    batch: Callable[[int], tuple[wg.Tensor, ...]]
    module: nn.Module | None = None


def bits(value: Any) -> Any:
    if isinstance(value, wg.Tensor):
        value = value.detach().clone()
        return (
            value.view(wg.int16) if value.dtype == wg.bfloat16 else value
        ).numpy().tobytes(), tuple(value.shape)
    if isinstance(value, dict):
        return {k: bits(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(bits(v) for v in value)
    return value


def training(
    model: nn.Module,
    optimizer: Callable[[Any], optim.Optimizer],
    batch: Callable[[int], tuple[wg.Tensor, ...]],
    loss_of: Callable[..., wg.Tensor] = F.cross_entropy,
    clip: bool = False,
) -> Case:
    opt = optimizer(model.parameters())

    @wg.capture
    def step(x: wg.Tensor, y: wg.Tensor) -> wg.Tensor:
        opt.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        opt.step()
        return loss

    return Case(step, batch, model)


def classes(*shape: int, n: int = 4) -> Callable[[int], tuple[wg.Tensor, ...]]:
    xs, ys = wg.randn(10, *shape), wg.randint(0, n, (10, shape[0]))
    return lambda i: (xs[i % 10], ys[i % 10])


def mlp(
    optimizer: Callable[[Any], optim.Optimizer] = lambda p: optim.Adam(p, 1e-2), *,
    dropout: bool = False, clip: bool = False, wide: int = 32,
) -> Case:  # fmt: skip
    inner = [nn.Dropout(0.3)] if dropout else []
    model = nn.Sequential(nn.Linear(16, wide), nn.ReLU(), *inner, nn.Linear(wide, 4))
    return training(model, optimizer, classes(8, 16), clip=clip)


def cnn() -> Case:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(64, 4),
    )  # fmt: skip
    return training(model, lambda p: optim.SGD(p, 0.05, momentum=0.9), classes(8, 1, 8, 8))


class Language(nn.Module):
    """An embedding, a block of attention, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(11, 16)
        self.block = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.head = nn.Linear(16, 11)

    def forward(self, x: wg.Tensor) -> wg.Tensor:
        return self.head(self.block(self.tokens(x)))


def language() -> Case:
    xs = wg.randint(0, 11, (10, 4, 6))
    return training(
        Language(),
        lambda p: optim.AdamW(p, 1e-2),
        lambda i: (xs[i % 10], xs[(i + 1) % 10].clone()),
        lambda out, y: F.cross_entropy(out.flatten(0, 1), y.flatten()),
    )


def inference() -> Case:
    model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4)).eval()
    xs = wg.randn(10, 8, 16)

    @wg.capture
    def predict(x: wg.Tensor) -> dict[str, Any]:
        with wg.no_grad():
            out = model(x)
        return {"logits": out, "both": (out.argmax(1), [out.max()]), "name": "mlp", "none": None}

    return Case(predict, lambda i: (xs[i % 10],), model)


def accumulating() -> Case:
    """Gradients that go on from call to call, and weights of no module."""
    w = wg.randn(4, 3, requires_grad=True)
    total = wg.zeros(())
    xs = wg.randn(10, 5, 4)

    @wg.capture
    def step(x: wg.Tensor) -> tuple[wg.Tensor, wg.Tensor | None]:
        loss = (x @ w).square().mean()
        loss.backward()
        total.add_(loss.detach())
        return loss.detach(), w.grad

    return Case(step, lambda i: (xs[i % 10],))


def with_generator() -> Case:
    g = wg.Generator().manual_seed(3)

    @wg.capture
    def noisy(x: wg.Tensor) -> wg.Tensor:
        return x + wg.randn(x.shape, generator=g) * wg.rand(1)

    xs = wg.randn(10, 5)
    return Case(noisy, lambda i: (xs[i % 10],))


CASES: dict[str, Callable[[], Case]] = {
    "adam": mlp,
    "sgd": lambda: mlp(lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True)),
    "adamw amsgrad": lambda: mlp(lambda p: optim.AdamW(p, 1e-2, amsgrad=True)),
    "rmsprop": lambda: mlp(lambda p: optim.RMSprop(p, 1e-2, momentum=0.5, centered=True)),
    "adagrad": lambda: mlp(lambda p: optim.Adagrad(p, 1e-2, lr_decay=0.1)),
    "adadelta": lambda: mlp(lambda p: optim.Adadelta(p)),
    "bfloat16 states": lambda: mlp(lambda p: optim.Adam(p, 1e-2, state_dtype=wg.bfloat16)),
    "8bit states": lambda: mlp(lambda p: optim.Adam(p, 1e-2, state_dtype="8bit"), wide=512),
    "groups": lambda: mlp(
        lambda p: optim.Adam([{"params": list(p)[:2]}, {"params": [], "lr": 1e-3}], 1e-2)
    ),
    "dropout": lambda: mlp(dropout=True),
    "clipping": lambda: mlp(clip=True),
    "cnn": cnn,
    "language": language,
    "inference": inference,
    "accumulating": accumulating,
    "generator": with_generator,
}  # fmt: skip


def captured(name: str, steps: int = 4) -> Case:
    wg.manual_seed(0)
    case = CASES[name]()
    for i in range(steps):
        case.step(*case.batch(i))
    return case


def with_checksum(content: bytes | bytearray) -> bytes:
    """The file with the checksum that its bytes have."""
    # An .xz file whose check is CRC-64 ends its only block with that of what is packed in it.
    packed = lzma.compress(bytes(content[32:]), check=lzma.CHECK_CRC64, preset=0)
    index = (int.from_bytes(packed[-8:-4], "little") + 1) * 4
    at = len(packed) - 12 - index - 8
    return bytes(content[:24]) + packed[at : at + 8] + bytes(content[32:])


def description_of(path: Path) -> tuple[bytes, int]:
    """The file, and where its data begins."""
    content = path.read_bytes()
    return content, HEADER.size + HEADER.unpack_from(content)[5]
