"""The roofline: what is reached, beneath what the machine allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

FORMATS = (".png", ".svg", ".pdf")
INK, FAINT = "#1f2933", "#9fb3c8"
COLOURS = {"wengert": "#1f6feb", "numpy": "#4dabcf", "torch": "#ee4c2c", "jax": "#8e44ad",
           "mlx": "#5f6368"}  # fmt: skip


def points(run: dict[str, Any]) -> dict[str, list[tuple[float, float, str]]]:
    """Return operations a byte, GFLOP/s and name of each case that has them, by library."""
    found: dict[str, list[tuple[float, float, str]]] = {}
    for case in run["cases"]:
        if not case.get("flops") or not case.get("nbytes"):
            continue
        best: dict[str, float] = {}
        for row in case["rows"]:
            peer = row["name"].split()[0]
            best[peer] = max(best.get(peer, 0.0), row["gflops"])
        for peer, rate in best.items():
            place = (case["flops"] / case["nbytes"], rate, case["name"])
            found.setdefault(peer, []).append(place)
    return found


def draw(path: Path, results: dict[str, Any]) -> None:
    """Draw a roofline a run, wengert's points named.

    The line is min(FLOP/s, operations a byte times bytes/s) of the measured peaks: Williams,
    Waterman and Patterson, Roofline: an insightful visual performance model, 2009.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    runs = results["runs"]
    figure: Any = Figure(figsize=(8.5 * len(runs), 6), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    for axes, run in zip(figure.subplots(1, len(runs), squeeze=False)[0], runs, strict=True):
        _roofline(axes, run, results["machine"]["cpu"])
    figure.savefig(path, dpi=120)


def _roofline(axes: Any, run: dict[str, Any], cpu: str) -> None:
    flops, nbytes = run["peak"]["flops"] / 1e9, run["peak"]["bytes"] / 1e9
    found = points(run)
    xs = [x for places in found.values() for x, _, _ in places] + [flops / nbytes]
    low, high = min(xs) / 3, max(xs) * 3
    ridge = flops / nbytes
    axes.plot([low, ridge, high], [low * nbytes, flops, flops], color=INK, zorder=1)
    axes.text(high / 1.1, flops * 1.07, f"{flops:.0f} GFLOP/s", ha="right", color=INK)
    axes.text(ridge / 2, flops / 2 * 1.2, f"{nbytes:.0f} GB/s", ha="right", color=INK)
    for peer, places in found.items():
        size, order = (36, 3) if peer == "wengert" else (14, 2)
        across, up, _ = zip(*places, strict=True)
        axes.scatter(across, up, size, COLOURS[peer], zorder=order, label=peer)
    for x, y, name in found.get("wengert", []):
        right = x > ridge
        axes.annotate(name, (x, y), (-5 if right else 5, -9), textcoords="offset points",
                      ha="right" if right else "left", fontsize=6, color=INK)  # fmt: skip
    axes.set(xscale="log", yscale="log", xlim=(low, high),
             xlabel="operations a byte that must move", ylabel="GFLOP/s",
             title=f"{cpu}, {run['threads']} thread(s), {run['isa']}")  # fmt: skip
    axes.grid(color=FAINT, alpha=0.3, which="both", linewidth=0.5)
    if found:
        axes.legend(loc="lower right", frameon=False)
