"""The picture of a run: the loss, and what the model makes of test images."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import Digits, files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

ROWS, COLUMNS = 6, 10
INK, FAINT, GOOD, BAD = "#1f2933", "#9fb3c8", "#1f6feb", "#d1242f"
FORMATS = (".png", ".svg", ".pdf")


def draw(
    path: str,
    data: Digits,
    predicted: NDArray[Any],
    losses: Sequence[float],
    epoch_losses: Sequence[float],
) -> None:
    """Draw the loss of every step and epoch beside test images, the wrong ones first, in red.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    RefusedError
        If the file cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    images = _as_images(data.x_test)
    style: Any = {
        "font.size": 10,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": FAINT,
        "xtick.color": INK,
        "ytick.color": INK,
    }
    with mpl.rc_context(style):
        figure: Any = Figure(figsize=(13, 5.4), facecolor="white")
        FigureCanvasAgg(figure)
        left, right = figure.subfigures(1, 2, width_ratios=(1, 1.5))
        _loss(left, losses, epoch_losses)
        _grid(right, images, data.y_test, predicted)
        content = io.BytesIO()
        figure.savefig(content, format=Path(path).suffix[1:].lower(), dpi=120)
    files.write(path, content.getvalue())


def _as_images(x: NDArray[Any]) -> NDArray[Any] | None:
    """Return grey images, or None where the rows are no images."""
    side = round(x[0].size ** 0.5)
    if x.ndim != 3 and side * side != x[0].size:
        return None
    return x if x.ndim == 3 else x.reshape(len(x), side, side)


def _loss(figure: Any, losses: Sequence[float], epoch_losses: Sequence[float]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes = figure.add_axes((0.15, 0.11, 0.79, 0.79))
    axes.set_title("training loss", loc="left", fontweight="bold", pad=12)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#e4e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("epoch")
    axes.set_ylabel("cross-entropy")
    if not epoch_losses:
        axes.text(0.5, 0.5, "not trained in this run", ha="center", va="center", color=FAINT,
                  transform=axes.transAxes)  # fmt: skip
        return
    steps = len(losses) / len(epoch_losses)
    axes.set_yscale("log")
    floor = min(loss for loss in epoch_losses if loss > 0) / 10 if any(epoch_losses) else 1e-8
    axes.plot(
        [(i + 1) / steps for i in range(len(losses))],
        [max(loss, floor) for loss in losses],
        color=FAINT, alpha=0.55, linewidth=0.6, label="each step", rasterized=True,
    )  # fmt: skip
    axes.plot(
        [i + 0.5 for i in range(len(epoch_losses))],
        [max(loss, floor) for loss in epoch_losses],
        color=GOOD, linewidth=2.2, marker="o" if len(epoch_losses) < 10 else "",
        label="mean of the epoch",
    )  # fmt: skip
    axes.margins(x=0.02)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)


def _grid(
    figure: Any, images: NDArray[Any] | None, labels: NDArray[Any], predicted: NDArray[Any]
) -> None:
    wrong = [int(i) for i in (predicted != labels).nonzero()[0]]
    right = (int(i) for i in (predicted == labels).nonzero()[0])
    accuracy = 100 * (1 - len(wrong) / len(labels))
    title = f"test images: {accuracy:.2f} % right, {len(wrong):,} of {len(labels):,} wrong"
    figure.text(0.02, 0.93, title, fontweight="bold", fontsize="large")
    if images is None:
        return
    shown = wrong[: ROWS * COLUMNS // 2]
    shown += [i for _, i in zip(range(ROWS * COLUMNS - len(shown)), right, strict=False)]
    grid = figure.subplots(
        ROWS, COLUMNS, squeeze=False,
        gridspec_kw={
            "left": 0.02, "right": 0.98, "top": 0.87, "bottom": 0.03,
            "hspace": 0.42, "wspace": 0.2,
        },
    )  # fmt: skip
    for axes in grid.flat:
        axes.axis("off")
    for axes, i in zip(grid.flat, shown, strict=False):
        _digit(axes, images[i], int(labels[i]), int(predicted[i]))


def _digit(axes: Any, image: NDArray[Any], label: int, predicted: int) -> None:
    good = label == predicted
    axes.axis("on")
    axes.imshow(image, cmap="Greys")
    axes.set(xticks=(), yticks=())
    axes.spines[:].set(color="#e4e7eb" if good else BAD, linewidth=1 if good else 2)
    text = f"{predicted}" if good else f"{predicted}, is {label}"
    axes.set_title(text, fontsize=9, pad=3, color=INK if good else BAD)
