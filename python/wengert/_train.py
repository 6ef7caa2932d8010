"""The main job: a multilayer perceptron learns handwritten digits."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, NamedTuple

import wengert as wg
from wengert import _core, _digits, nn, optim
from wengert._capture import capture
from wengert._digits import CLASSES, Digits, RefusedError, files, picture
from wengert._digits.progress import Progress
from wengert.utils.data import DataLoader, TensorDataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

BLOCK = 20  # steps that are timed in a row, as usual or replayed
LARGE = 10_000  # training images from which on the second set of defaults holds


class OptimizerChoice(NamedTuple):
    """How an optimizer is made, and the learning rate that serves it here."""

    make: Callable[..., optim.Optimizer]
    lr: float


class Defaults(NamedTuple):
    """What is taken where the user says nothing."""

    hidden: tuple[int, ...]
    epochs: int
    batch_size: int


OPTIMIZERS = {
    "sgd": OptimizerChoice(optim.SGD, 0.5),
    "momentum": OptimizerChoice(lambda p, lr: optim.SGD(p, lr, momentum=0.9), 0.1),
    "rmsprop": OptimizerChoice(optim.RMSprop, 0.003),
    "adam": OptimizerChoice(optim.Adam, 0.003),
    "adamw": OptimizerChoice(optim.AdamW, 0.003),
}
SMALL_SET = Defaults(hidden=(512,), epochs=40, batch_size=32)
LARGE_SET = Defaults(hidden=(256,), epochs=4, batch_size=128)


@dataclass(frozen=True)
class Settings:
    """What the user can choose; None stands for a default that depends on the data."""

    data: str | None = None
    optimizer: str = "adam"
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    hidden: tuple[int, ...] | None = None
    threads: int | None = None
    seed: int = 0
    device: str = "cpu"
    save: str | None = None
    load: str | None = None
    plot: str | None = None
    plot_must_work: bool = False
    capture: bool = True


@dataclass
class History:
    """What was measured."""

    losses: list[float] = field(default_factory=list)  # of every step
    epoch_losses: list[float] = field(default_factory=list)  # their means
    # Of steps (zero_grad, forward, loss, backward, step) that run as usual, and of replays.
    plain: list[float] = field(default_factory=list)
    replayed: list[float] = field(default_factory=list)


class Result(NamedTuple):
    """What a run gives."""

    accuracy: float  # of the test images, in percent
    model: nn.Sequential
    history: History


class DivergedError(RefusedError):
    """The loss is no longer a number."""

    code = 1


class InterruptedRunError(RefusedError):
    """Ctrl-C; the message says what became of the weights."""

    code = 130


def build(inputs: int, hidden: tuple[int, ...]) -> nn.Sequential:
    """Make a perceptron with ReLU after every hidden layer."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, CLASSES))


def fit(
    model: nn.Sequential,
    batches: DataLoader,
    optimizer: optim.Optimizer,
    epochs: int,
    history: History,
    progress: Progress,
    captured: bool = True,
) -> None:
    """Train, with a learning rate that falls linearly to 0, and note every step in history.

    Captured, steps are replays, but for a block in ten that runs as usual, to the same bits:
    so both are timed side by side, throughout the run.

    Raises
    ------
    DivergedError
        If the loss is no longer a finite number.
    """
    loss_of, clock = nn.CrossEntropyLoss(), time.perf_counter
    lr, total = optimizer.param_groups[0]["lr"], epochs * len(batches)

    def step(x: wg.Tensor, y: wg.Tensor) -> wg.Tensor:
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    replay = capture(step)
    for epoch in range(1, epochs + 1):
        for x, y in batches:
            done = len(history.losses)
            optimizer.param_groups[0]["lr"] = lr * (1 - done / total)
            captures = replay.captures
            run = replay if captured and done // BLOCK % 10 else step
            start = clock()
            loss = run(x, y)
            seconds = clock() - start
            if run is step:
                history.plain.append(seconds)
            elif captures and captures == replay.captures:
                history.replayed.append(seconds)
            history.losses.append(loss.item())
            progress.step()
        mean = fmean(history.losses[-len(batches) :])
        if not math.isfinite(mean):
            raise DivergedError(f"the loss is {mean} in epoch {epoch}; try a lower --lr")
        history.epoch_losses.append(mean)
        progress.epoch(epoch, mean)


def predict(model: nn.Sequential, images: TensorDataset) -> wg.Tensor:
    """Return the most likely class of every image."""
    with wg.no_grad():
        return _core.cat([model(x).argmax(1) for x, _ in DataLoader(images, 1000)])


def run(settings: Settings, say: Callable[[str], None] = print) -> Result:
    """Do the whole job and tell of it line by line.

    Raises
    ------
    RefusedError
        If a setting or a file cannot be used, or training fails or is interrupted.
    """
    threads = wg.get_num_threads()
    if settings.threads is not None:
        wg.set_num_threads(settings.threads)
    try:
        return _run(settings, say)
    finally:
        wg.set_num_threads(threads)


def _run(settings: Settings, say: Callable[[str], None]) -> Result:
    device = _check(settings)
    data = _digits.split() if settings.data is None else _digits.read(settings.data)
    train, test = _digits.prepare(data, device)
    default = SMALL_SET if len(train) < LARGE else LARGE_SET
    model = _model(settings, train.tensors[0].size(1), default).to(device)
    _describe(data, model, say)
    history = History()
    if settings.load is None or settings.epochs is not None:
        _learn(settings, default, model, train, history, say)
    if settings.save is not None:
        files.save_weights(settings.save, model)
        say(f"weights: {settings.save}")
    predicted = predict(model, test)
    if settings.plot is not None:
        say(_draw(settings, data, predicted.cpu().numpy(), history))
    hits = (predicted == test.tensors[1]).long().sum().item()
    accuracy = 100 * hits / len(test)
    say(f"test accuracy: {accuracy:.2f} %")
    return Result(accuracy, model, history)


def _check(settings: Settings) -> wg.device:
    """Find before the work what would fail after it."""
    if settings.save is not None or settings.load is not None:
        files.need_safetensors()
    if settings.save is not None:
        files.check_target(settings.save)
    if settings.plot is not None and settings.plot_must_work:
        files.check_target(settings.plot)
    try:
        _core._check_device(settings.device)
        return wg.device(settings.device)
    except RuntimeError as error:
        raise RefusedError(str(error)) from None


def _model(settings: Settings, inputs: int, default: Defaults) -> nn.Sequential:
    hidden, weights = settings.hidden, None
    if settings.load is not None:
        weights = files.load_weights(settings.load)
        saved = files.hidden_sizes(settings.load, weights, inputs)
        if hidden not in (None, saved):
            raise RefusedError(
                f"{settings.load}: has the hidden sizes {_dashed(saved)}, not {_dashed(hidden)}"
            )
        hidden = saved
    wg.manual_seed(settings.seed)
    model = build(inputs, default.hidden if hidden is None else hidden)
    if weights is not None:
        model.load_state_dict(weights)
    return model


def _learn(
    settings: Settings,
    default: Defaults,
    model: nn.Sequential,
    train: TensorDataset,
    history: History,
    say: Callable[[str], None],
) -> None:
    choice = OPTIMIZERS[settings.optimizer]
    lr, epochs = settings.lr or choice.lr, settings.epochs or default.epochs
    batches = DataLoader(train, settings.batch_size or default.batch_size, shuffle=True)
    optimizer = choice.make(model.parameters(), lr=lr)
    say(
        f"training: {settings.optimizer}, learning rate {lr:g} falling to 0, {epochs} epochs, "
        f"batches of {batches.batch_size}, seed {settings.seed}, threads {wg.get_num_threads()}"
    )
    start = time.perf_counter()
    try:
        with Progress(epochs, len(batches), say) as progress:
            fit(model, batches, optimizer, epochs, history, progress, settings.capture)
    except KeyboardInterrupt:
        raise InterruptedRunError(_interrupted(settings, model, history)) from None
    seconds = time.perf_counter() - start
    say(f"time: {epochs} epochs in {seconds:.2f} s, {1e3 * seconds / epochs:.1f} ms each")
    for how, times in (("as usual", history.plain), ("replayed", history.replayed)):
        if times:
            say(
                f"time per step, {how}: median {1e6 * median(times):.1f} us, minimum "
                f"{1e6 * min(times):.1f} us ({len(times):,} steps: zero_grad, forward, loss, "
                "backward, step)"
            )


def _interrupted(settings: Settings, model: nn.Sequential, history: History) -> str:
    told = f"interrupted after {len(history.losses):,} steps"
    if settings.save is None:
        return told
    if not history.losses:
        return f"{told}; {settings.save} is left as it was"
    files.save_weights(settings.save, model)
    return f"{told}; the weights so far are in {settings.save}"


def _draw(settings: Settings, data: Digits, predicted: NDArray[Any], history: History) -> str:
    path = str(settings.plot)
    try:
        picture.draw(path, data, predicted, history.losses, history.epoch_losses)
    except ImportError:
        return "no picture: matplotlib is not installed (pip install wengert[plot])"
    except RefusedError as error:
        if settings.plot_must_work:
            raise
        return f"no picture: {error}"
    return f"picture: {path}"


def _describe(data: Digits, model: nn.Sequential, say: Callable[[str], None]) -> None:
    shape = "x".join(str(n) for n in data.x_train.shape[1:])
    say(
        f"data: {data.name}, {len(data.x_train):,} training and {len(data.x_test):,} test images "
        f"of {shape}, {CLASSES} classes"
    )
    linear = [m for m in model if isinstance(m, nn.Linear)]
    sizes = _dashed([linear[0].in_features, *(m.out_features for m in linear)])
    count = sum(p.numel() for p in model.parameters())
    say(f"model: {sizes} with ReLU, {count:,} parameters")


def _dashed(sizes: Iterable[int] | None) -> str:
    return "-".join(str(n) for n in sizes or ())
