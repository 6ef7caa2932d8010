"""The base of optimizers: groups of parameters, their settings and their states."""

from __future__ import annotations

from wengert import _core
from wengert._core import Tensor
from wengert.autograd import enable_grad

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections import defaultdict
    from collections.abc import Callable, Iterable
    from typing import Any, ClassVar


class Optimizer:
    """Base of all optimizers.

    Parameters
    ----------
    params
        Tensors, or dicts with ``params`` and settings of their own.
    defaults
        Settings of groups that do not say otherwise.

    Raises
    ------
    TypeError
        If params is a single tensor or holds something else.
    ValueError
        If it is empty, holds a tensor twice, or one that no gradient can reach.
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                "optimizer: params argument given to the optimizer should be an iterable of "
                "Tensors or dicts, but got a Tensor"
            )
        from collections import defaultdict

        self.defaults = defaults
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        groups = list(params)
        if not groups:
            raise ValueError("optimizer: got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters with settings of its own."""
        given = param_group["params"]
        tensors = [given] if isinstance(given, Tensor) else list(given)
        # (name, tensor) pairs, as named_parameters yields them
        tensors = [t[1] if isinstance(t, tuple) else t for t in tensors]
        taken = {id(p) for g in self.param_groups for p in g["params"]}
        for t in tensors:
            if not isinstance(t, Tensor):
                raise TypeError(
                    f"optimizer can only optimize Tensors, but one of the params is "
                    f"{type(t).__name__}"
                )
            if not t.is_leaf:
                raise ValueError("can't optimize a non-leaf Tensor")
            if id(t) in taken:
                raise ValueError("some parameters appear in more than one parameter group")
            taken.add(id(t))
        self.param_groups.append({**self.defaults, **param_group, "params": tensors})

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget, or with ``set_to_none=False`` zero, the gradients of all parameters."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    p.grad.detach_().zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters from their gradients; subclasses define it."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Return the states and settings, with parameters named by their position."""
        position: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for p in group["params"]:
                position.setdefault(id(p), len(position))
            packed = {k: v for k, v in group.items() if k != "params"}
            groups.append({**packed, "params": [position[id(p)] for p in group["params"]]})
        state = {position[id(p)]: dict(s) for p, s in self.state.items()}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over copies of states, on the devices of their parameters, and settings.

        Raises
        ------
        ValueError
            If the groups are of other sizes.
        """
        saved = state_dict["param_groups"]
        if [len(g["params"]) for g in saved] != [len(g["params"]) for g in self.param_groups]:
            raise ValueError(
                "optimizer: loaded state dict contains a parameter group that doesn't match the "
                "size of optimizer's group"
            )
        for group, settings in zip(self.param_groups, saved, strict=True):
            group.update({k: v for k, v in settings.items() if k != "params"})
        params = [p for g in self.param_groups for p in g["params"]]
        self.state.clear()
        for i, state in state_dict["state"].items():
            p = params[int(i)]
            self.state[p] = {
                k: v.detach().clone() if k == "step" and isinstance(v, Tensor) else _moved(v, p)
                for k, v in state.items()
            }

    def __repr__(self) -> str:
        lines = []
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {k}: {v}" for k, v in sorted(group.items()) if k != "params"]
        return f"{type(self).__name__} (\n" + "\n".join(lines) + "\n)"


class FusedOptimizer(Optimizer):
    """An optimizer whose step is one C++ call a group.

    Attributes
    ----------
    grad_norm
        The norm of all gradients before the last step that was given ``max_norm``.
    found_inf
        Set by `amp.GradScaler` for its steps: where this one number is not 0, there is no step.
    """

    rule: ClassVar[str]
    state_names: ClassVar[tuple[str, ...]]  # of the kernel's state tensors, in its order
    has_step: ClassVar[bool] = True
    grad_norm: Tensor | None = None
    found_inf: Tensor | None = None

    def __init__(
        self,
        params: Iterable[Any],
        defaults: dict[str, Any],
        state_dtype: _core.dtype | str | None = None,
    ) -> None:
        self._groups: list[_core.OptimizerGroup] = []
        self.state_dtype = state_dtype
        super().__init__(params, defaults)

    def _new_core(self, group: dict[str, Any]) -> _core.OptimizerGroup:
        return _core.OptimizerGroup(self.rule, group["params"], self.state_dtype)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters with settings of its own."""
        super().add_param_group(param_group)
        try:
            self._groups.append(self._new_core(self.param_groups[-1]))
        except ValueError:
            self.param_groups.pop()
            raise

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget, or with ``set_to_none=False`` zero, the gradients of all parameters."""
        if not set_to_none:
            super().zero_grad(set_to_none)
            return
        for core in self._groups:
            core.drop_grads()

    def step(
        self,
        closure: Callable[[], Any] | None = None,
        *,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        error_if_nonfinite: bool = False,
        zero_grad: bool = False,
    ) -> Any:
        """Update every parameter that has a gradient.

        With ``max_norm`` this is ``nn.utils.clip_grad_norm_`` over all parameters, then the step,
        to the bit (but for bfloat16, of which the scaled gradient is not rounded); gradients are
        read twice and stay as they are.

        Parameters
        ----------
        closure
            Computes the loss anew and returns it, with recording on.
        max_norm
            The greatest common norm of gradients, to which greater ones are scaled. Their norm is
            in ``grad_norm`` afterwards.
        norm_type
            The p of the p-norm, ``inf`` for the greatest magnitude.
        error_if_nonfinite
            Whether a norm that is nan or infinite is an error, before anything is changed.
        zero_grad
            Forget the gradients afterwards, as ``zero_grad()`` does.

        Raises
        ------
        ValueError
            If max_norm is negative or nan.
        RuntimeError
            If the norm is not finite and was to be.
        """
        if max_norm is not None:
            check("max_norm", max_norm)
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        given: tuple[Any, ...] = ()
        if max_norm is not None:
            given = (self._norm(float(norm_type), error_if_nonfinite), float(max_norm))
        if self.found_inf is not None:
            given = (*(given or (None, 0.0)), self.found_inf)
        for group, core in zip(self.param_groups, self._groups, strict=True):
            if core.step(group, *given):
                self._show_states(group, core)
        if zero_grad:
            self.zero_grad()
        return loss

    def _norm(self, norm_type: float, error_if_nonfinite: bool) -> Tensor:
        """Return the norm of all gradients, and keep it in grad_norm."""
        from wengert.nn.utils import clip_grad

        if norm_type in clip_grad.ONE_LAUNCH:
            norm = _core.grad_norm(self._groups, norm_type)
        else:
            grads = [p.grad for g in self.param_groups for p in g["params"] if p.grad is not None]
            norm = clip_grad.get_total_norm(grads, norm_type)
        if error_if_nonfinite:
            clip_grad.check_finite(norm, norm_type)
        self.grad_norm = norm
        return norm

    def _show_states(self, group: dict[str, Any], core: _core.OptimizerGroup) -> None:
        """Put the states, which live in C++, where PyTorch has them."""
        names = [*self.state_names, *(name + "_scale" for name in self.state_names)]
        for i, p in enumerate(group["params"]):
            steps, *tensors = core.state(i)
            if steps is None:
                continue
            shown = {n: t for n, t in zip(names, tensors, strict=True) if t is not None}
            # What rounds by chance needs the step to go on with the same bits.
            if self.has_step or (shown and self.state_dtype == "8bit"):
                shown = {"step": steps, **shown}
            if shown:
                self.state[p] = shown

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over copies of states and settings.

        States become what this optimizer keeps (``state_dtype``), whatever they were kept as.

        Raises
        ------
        ValueError
            If the groups or states are of other sizes, or a state in bytes has no scales.
        """
        settings = [dict(g) for g in self.param_groups]
        state = dict(self.state)
        try:
            super().load_state_dict(state_dict)
            self._hand_over_states()
        except Exception:
            self.param_groups[:] = settings
            self.state.clear()
            self.state.update(state)
            raise

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_groups"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._hand_over_states()

    def _hand_over_states(self) -> None:
        """Put the states that stand in Python into C++."""
        cores = [self._new_core(g) for g in self.param_groups]
        for group, core in zip(self.param_groups, cores, strict=True):
            for i, p in enumerate(group["params"]):
                s = self.state.get(p)
                if s is None:
                    continue
                # SGD keeps no count: a momentum buffer shows that there was a first step.
                steps = float(s.get("step", 1.0))
                tensors = [s.get(name) for name in self.state_names]
                core.set_state(i, steps, tensors, [s.get(n + "_scale") for n in self.state_names])
        self._groups = cores
        for group, core in zip(self.param_groups, cores, strict=True):
            self._show_states(group, core)


def __getattr__(name: str) -> Any:
    # What annotations of other packages name.
    if name == "ParamsT":
        from collections.abc import Iterable
        from typing import Any

        return Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]
    raise AttributeError(f"module 'wengert.optim.optimizer' has no attribute {name!r}")


def _moved(value: Any, p: Tensor) -> Any:
    """Return a copy of a state, or of a list of them, on the parameter's device."""
    if isinstance(value, Tensor):
        return value.detach().to(p.device, copy=True)
    return [_moved(v, p) for v in value] if isinstance(value, list) else value


def check(name: str, value: float, low: float = 0.0, below: float | None = None) -> None:
    """Raise ValueError if a setting is outside [low, below)."""
    if not low <= value or (below is not None and not value < below):
        raise ValueError(f"Invalid {name}: {value}")
