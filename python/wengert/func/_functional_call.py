"""A module's forward as a function of its parameters and buffers."""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from wengert.nn import Module


def functional_call(
    module: Module,
    parameter_and_buffer_dicts: dict[str, Any] | Sequence[dict[str, Any]],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Call a module with other tensors in the place of its parameters and buffers.

    The module has its own back afterwards, also after an error. What forward assigns to members
    that were replaced is written to the dict.

    Parameters
    ----------
    module
        The module to call.
    parameter_and_buffer_dicts
        Tensors by dotted name; or several such dicts, no name in two of them.
    args
        The arguments, a tuple; anything else is the only argument.
    kwargs
        The arguments by name.
    tie_weights
        Whether a tensor given for one name of a shared parameter serves for its other names, too.
    strict
        Whether the names must be exactly those of the module.

    Raises
    ------
    ValueError
        If a name is in two dicts, or two names of a shared parameter get different tensors.
    RuntimeError
        If, with ``strict``, a name is missing or unexpected.
    TypeError
        If something given is no tensor.
    AttributeError
        If a name leads to no module.
    """
    from wengert.nn.utils.stateless import _functional_call

    given = parameter_and_buffer_dicts
    if not isinstance(given, dict):
        from _collections_abc import Sequence

        if not isinstance(given, Sequence):
            raise ValueError(
                "Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, "
                f"but got {type(given)}"
            )
        dicts, given = given, {}
        if not all(isinstance(d, dict) for d in dicts):
            raise ValueError(
                "Expected all elements of parameter_and_buffer_dicts to be dictionaries"
            )
        names = [name for d in dicts for name in d]
        repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if repeated:
            raise ValueError(
                f"{repeated} appeared in multiple dictionaries; behavior of functional call is "
                "ambiguous"
            )
        for d in dicts:
            given.update(d)
    return _functional_call(module, given, args, kwargs, tie_weights=tie_weights, strict=strict)
