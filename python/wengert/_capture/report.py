"""What a captured program does: as text, and drawn."""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from typing import Any

    from wengert import Tensor
    from wengert._core import Program

_ROUNDS = 20  # replays of which the least time counts


def _bytes(n: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if n < 10240 or unit == "MiB":
            return f"{n:,.0f} {unit}"
        n /= 1024
    raise AssertionError


def _sizes(size: dict[str, Any]) -> str:
    return (
        f"{size['launches']} launches and checks, {_bytes(size['bytes'])} moved; intermediates: "
        f"an arena of {_bytes(size['arena_bytes'])} for {_bytes(size['intermediate_bytes'])}, of "
        f"which {_bytes(size['alive_bytes'])} live at once"
    )


def explain(name: str, program: Program, guards: int, arguments: list[Tensor] | None) -> str:
    """Return a program's plan and launches; with arguments, how long each takes."""
    plan, lines = program.plan, program.lines
    done = (
        (plan["dropped"], "that nobody needs"),
        (plan["folded"], "of constants"),
        (plan["copies"], "needless copies"),
        (plan["joined"], "activations joined to products"),
    )
    left_out = ", ".join(f"{count} {what}" for count, what in done if count) or "none"
    out = [
        f"{name}: {guards} guards",
        f"  recorded: {_sizes(plan['before'])}",
        f"  replayed: {_sizes(plan['after'])}",
        f"  left out: {left_out}",
    ]
    if plan["graphs"]:
        graphs, nodes = plan["graphs"]
        out.append(f"  CUDA graphs: {graphs}, of {nodes} nodes" + ("" if graphs else " yet"))
    if plan["again"]:
        out.append(f"  taken again to save memory: {plan['again']}, work x {plan['cost']:.2f}")
    marks = [" "] * len(lines)
    for kind, first, count in plan["groups"]:
        marks[first : first + count] = ["|" if kind == "tiles" else "="] * count
    if "|" in marks:
        out.append("  | tile by tile with its neighbours")
    if "=" in marks:
        out.append("  = beside its neighbours, by several threads")
    times = [""] * len(lines)
    if arguments is not None:
        ns = program.times(arguments, _ROUNDS)
        inner = {i for _, first, count in plan["groups"] for i in range(first + 1, first + count)}
        times = [f"{'' if i in inner else f'{t / 1e3:.2f}':>9} us" for i, t in enumerate(ns)]
        times = [" " * 12 if i in inner else t for i, t in enumerate(times)]
        out.append(f"  {sum(ns) / 1e3:.1f} us by launches")
    out += [f"  {i:4} {marks[i]} {times[i]} {line}".rstrip() for i, line in enumerate(lines)]
    return "\n".join(out)


def timeline(name: str, program: Program, arguments: list[Tensor]) -> Any:
    """Return a matplotlib figure: launches by time, and the arena by launches."""
    try:
        from matplotlib.figure import Figure
    except ImportError as e:
        raise ImportError("timeline: drawing needs matplotlib: pip install matplotlib") from e
    plan, lines = program.plan, program.lines
    ns = program.times(arguments, _ROUNDS)
    groups = {first: (kind, count) for kind, first, count in plan["groups"]}
    figure = Figure(figsize=(12, 7), layout="constrained")
    top, bottom = figure.subplots(2, 1)
    kinds: dict[str, str] = {}
    ends = [0.0] * (len(lines) + 1)
    at, i = 0.0, 0
    while i < len(lines):
        kind, count = groups.get(i, ("", 1))
        what = {"tiles": "tiles", "together": "several threads"}.get(kind) or lines[i].split()[0]
        color = kinds.setdefault(what, f"C{len(kinds) % 10}")
        top.broken_barh([(at / 1e3, ns[i] / 1e3)], (0, 1), facecolors=color, edgecolor="white")
        for k in range(count):
            ends[i + k] = at + ns[i] * k / count
        at += ns[i]
        i += count
    ends[-1] = at
    for first, last, offset, size in program.stretches:
        span = (ends[first] / 1e3, (ends[last + 1] - ends[first]) / 1e3)
        rows = (offset / 1024, size / 1024)
        bottom.broken_barh([span], rows, facecolors="C0", edgecolor="white", alpha=0.6)
    handles = [top.barh([0], [0], color=c, label=k) for k, c in kinds.items()]
    top.legend(handles=handles, ncols=5, fontsize="small")
    top.set(title=f"{name}: {at / 1e3:.1f} us by launches", yticks=[], xlim=(0, at / 1e3))
    bottom.set(xlabel="time in us", ylabel="arena in KiB", xlim=(0, at / 1e3))
    return figure
