"""``python -m wengert`` trains a small network on handwritten digits."""

from __future__ import annotations

import argparse
import math
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PICTURE = "wengert-digits.png"
EXAMPLES = """\
examples:
  python -m wengert
  python -m wengert --optimizer momentum --hidden 256,128 --epochs 20
  python -m wengert --save digits.safetensors
  python -m wengert --load digits.safetensors
  python -m wengert --data mnist.npz --plot mnist.png
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        from wengert._digits import RefusedError

        raise RefusedError(message)


def _count(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"expected an integer from {low} to {high}: {text!r}")
        return value

    return parse


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a positive number: {text!r}")
    return value


def _sizes(text: str) -> tuple[int, ...]:
    # Without a number there is still one text, the empty one, for _count to refuse.
    return tuple(_count(1, 65536)(part) for part in text.replace(",", " ").split() or [""])


def _picture(text: str) -> str:
    from wengert._digits.picture import FORMATS

    if not text.lower().endswith(FORMATS):
        raise argparse.ArgumentTypeError(f"expected a name in {', '.join(FORMATS)}: {text!r}")
    return text


def _parser() -> argparse.ArgumentParser:
    from wengert._train import LARGE, LARGE_SET, OPTIMIZERS, SMALL_SET

    def default(name: str) -> str:
        small, large = (str(getattr(d, name)).strip("(),") for d in (SMALL_SET, LARGE_SET))
        return f"default: {small}, from {LARGE:,} training images on {large}"

    rates = ", ".join(f"{name} {choice.lr:g}" for name, choice in OPTIMIZERS.items())
    p = _Parser(
        prog="python -m wengert",
        description="Train a multilayer perceptron on handwritten digits: those that come with "
        "the package, or a set such as MNIST from a file.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    p.add_argument(
        "--data",
        metavar="FILE.npz",
        help="arrays x_train, y_train, x_test, y_test instead of the built-in digits",
    )
    p.add_argument("--optimizer", choices=OPTIMIZERS, default="adam", help="default: adam")
    p.add_argument(
        "--lr",
        type=_positive,
        metavar="RATE",
        help=f"learning rate at the start, falling linearly to 0; default: {rates}",
    )
    p.add_argument("--epochs", type=_count(1, 1_000_000), metavar="N", help=default("epochs"))
    p.add_argument("--batch-size", type=_count(1, 2**31), metavar="N", help=default("batch_size"))
    p.add_argument(
        "--hidden",
        type=_sizes,
        nargs="+",
        metavar="N",
        help="sizes of the hidden layers, such as 256,128; " + default("hidden"),
    )
    p.add_argument(
        "--threads", type=_count(1, 1024), metavar="N", help="the results do not depend on it"
    )
    p.add_argument(
        "--seed",
        type=_count(0, 2**63 - 1),
        default=0,
        metavar="N",
        help="of the starting weights and the order of the images; default: 0",
    )
    p.add_argument("--device", default="cpu", help="default: cpu")
    p.add_argument("--save", metavar="FILE", help="write the weights (needs safetensors)")
    p.add_argument(
        "--load",
        metavar="FILE",
        help="read the weights and test them; with --epochs, train them further",
    )
    p.add_argument(
        "--no-capture",
        dest="capture",
        action="store_false",
        help="run every step as usual; by default most are replayed from C++, to the same bits",
    )
    picture = p.add_mutually_exclusive_group()
    picture.add_argument(
        "--plot",
        type=_picture,
        metavar="FILE",
        help=f"where the picture goes, if there is matplotlib; default: {PICTURE}",
    )
    picture.add_argument("--no-plot", action="store_true", help="make no picture")
    return p


def _run(argv: Sequence[str] | None) -> None:
    from wengert._train import Settings, run

    options = vars(_parser().parse_args(argv))
    plot, no_plot = options.pop("plot"), options.pop("no_plot")
    if options["hidden"] is not None:
        options["hidden"] = tuple(n for sizes in options["hidden"] for n in sizes)
    run(
        Settings(
            **options,
            plot=None if no_plot else plot or PICTURE,
            plot_must_work=plot is not None,
        ),
        partial(print, flush=True),
    )


def _fail(message: str, code: int) -> int:
    print("wengert:", " ".join(message.split()), file=sys.stderr)
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job.

    Parameters
    ----------
    argv
        The options; by default those of the command line.

    Returns
    -------
    int
        The exit code: 0; 1 if training failed; 2 if an option or a file cannot be used; 130 after
        Ctrl-C. All but 0 come with one line on stderr.
    """
    try:
        from wengert._digits import RefusedError
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    try:
        _run(argv)
    except RefusedError as error:
        return _fail(str(error), error.code)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:  # the reader of our lines has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except RuntimeError as error:
        if not str(error).startswith("out of memory"):
            raise
        return _fail(str(error), 1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
