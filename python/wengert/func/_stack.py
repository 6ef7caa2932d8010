"""The parameters and buffers of several modules as one set, with a dimension more."""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Sequence

    from wengert._core import Tensor
    from wengert.nn import Module, ModuleList


def _stacked(tensors: list[Tensor], name: str) -> Tensor:
    from wengert import _core

    with_grad = [t.requires_grad for t in tensors]
    if any(with_grad) and not all(with_grad):
        raise RuntimeError(f"Expected {name} from each model to have the same .requires_grad")
    made = _core.stack(tensors)
    return made.detach().requires_grad_() if with_grad[0] else made


def stack_module_state(
    models: Sequence[Module] | ModuleList,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Stack the parameters, and the buffers, of modules of the same class by name.

    What is stacked of parameters is new leaves of the tape, which an optimizer can work on.

    Parameters
    ----------
    models
        At least one module; all in training mode or none.

    Returns
    -------
    tuple
        Parameters by dotted name and buffers by dotted name; dimension 0 counts the modules.

    Raises
    ------
    RuntimeError
        If there is no module, or they differ in class, mode, or ``requires_grad``.
    """
    if len(models) == 0:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    each: list[Module] = list(models)
    if len({m.training for m in each}) > 1:
        raise RuntimeError(
            "stack_module_state: Expected all models to have the same training/eval mode."
        )
    if any(type(m) is not type(each[0]) for m in each):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    stacked = []
    for named in (
        [dict(m.named_parameters()) for m in each],
        [dict(m.named_buffers()) for m in each],
    ):
        stacked.append({name: _stacked([d[name] for d in named], name) for name in named[0]})
    return stacked[0], stacked[1]
