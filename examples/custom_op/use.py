"""Uses the library that is built here: values, gradients, and the tape's own check of them.

python use.py build/myops.so
"""

from __future__ import annotations

import sys

import wengert as wg


def main(library: str) -> None:
    """Load the library and print what its operations give."""
    wg.ops.load_library(library)
    myops = wg.ops.myops
    wg.manual_seed(0)
    x = wg.randn(2, 5, requires_grad=True)

    y = myops.swish2(myops.leaky_sum(x, decay=0.9), beta=1.5)
    (g,) = wg.autograd.grad(y.sum(), x, create_graph=True)
    (h,) = wg.autograd.grad(g.square().sum(), x)
    print(f"{y}\n{g}\n{h}")

    tape = wg.tape(lambda: myops.swish2(myops.leaky_sum(x, decay=0.9), beta=1.5).sum())
    print(tape)
    print(tape.check())


if __name__ == "__main__":
    main(sys.argv[1])
