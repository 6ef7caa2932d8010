"""Transforms of functions: derivatives and maps over batches, which nest in any order.

Each takes a function of tensors, or of trees of them (dicts, lists, tuples, named tuples), and
returns another: `grad`, `vjp`, `jacrev` by reverse mode, `jvp`, `jacfwd` by forward mode, `hessian`
by one over the other, `vmap` over a batch.
"""

from __future__ import annotations

from ._forward import jacfwd, jvp, linearize
from ._functional_call import functional_call
from ._reverse import grad, grad_and_value, hessian, jacrev, vjp
from ._stack import stack_module_state
from ._vmap import vmap

__all__ = [
    "functional_call",
    "grad",
    "grad_and_value",
    "hessian",
    "jacfwd",
    "jacrev",
    "jvp",
    "linearize",
    "stack_module_state",
    "vjp",
    "vmap",
]
