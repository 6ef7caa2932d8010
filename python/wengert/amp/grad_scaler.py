"""Loss scaling: gradients of float16 that would round to zero are computed of a greater loss."""

from __future__ import annotations

from wengert import _core
from wengert._core import Tensor

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from typing import Any

__all__ = ["GradScaler", "OptState"]

_UNSCALED = (
    "This may indicate your script did not use scaler.scale(loss or outputs) earlier in the "
    "iteration."
)


class OptState:
    """What was done with an optimizer since the last update."""

    READY = 0
    UNSCALED = 1
    STEPPED = 2


class _State:
    """Of one optimizer since the last update."""

    __slots__ = ("found_inf", "stage")

    def __init__(self) -> None:
        self.stage = OptState.READY
        self.found_inf: Tensor | None = None  # not 0 where a gradient was not finite


class GradScaler:
    """Multiplies losses by a scale, and adapts it to what float16 can hold.

    ``scale(loss).backward()``, then ``step(optimizer)``, which divides the gradients by the scale
    and leaves the step out where one is infinite or nan, then ``update()``, by which the scale
    backs off after such a step, and grows after many without. It is made, updated and looked at by
    launches alone, so that a captured step may hold all of this.

    For the device ``"cuda"`` where there is none it is disabled, as PyTorch's is: then it passes
    losses and gradients through. The scale stands on the device of the first loss.

    Parameters
    ----------
    device
        Such as ``"cpu"``.
    init_scale
        The scale at first.
    growth_factor
        What the scale is multiplied by after `growth_interval` updates in a row without inf or nan.
    backoff_factor
        What it is multiplied by after one with.
    growth_interval
        See `growth_factor`.
    enabled
        Whether to scale at all.

    Raises
    ------
    AssertionError
        If the growth factor is not above 1, or the backoff factor not below.

    Notes
    -----
    Micikevicius et al., Mixed precision training, 2018; the schedule is PyTorch's.

    Examples
    --------
    >>> weight = wg.ones(2, requires_grad=True)
    >>> optimizer = wg.optim.SGD([weight], lr=0.5)
    >>> scaler = wg.amp.GradScaler("cpu", init_scale=4.0)
    >>> scaler.scale(weight.sum()).backward()
    >>> weight.grad
    tensor([4., 4.])
    >>> scaler.step(optimizer)
    >>> scaler.update()
    >>> weight.tolist()
    [0.5, 0.5]
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        self._device = device
        there = _core.device(device).type == "cpu" or _core.cuda.is_available()
        self._enabled = bool(enabled) and there
        if not self._enabled:
            return
        if growth_factor <= 1.0:
            raise AssertionError("The growth factor must be > 1.0.")
        if backoff_factor >= 1.0:
            raise AssertionError("The backoff factor must be < 1.0.")
        self._init_scale = init_scale
        self._init_growth_tracker = 0
        self._scale: Tensor | None = None
        self._growth_tracker: Tensor | None = None
        self._growth_factor = growth_factor
        self._backoff_factor = backoff_factor
        self._growth_interval = growth_interval
        self._states: dict[int, _State] = {}  # by id of the optimizer

    def _made(self, name: str) -> tuple[Tensor, Tensor]:
        if self._scale is None or self._growth_tracker is None:
            raise AssertionError(f"Attempted {name} but _scale is None.  {_UNSCALED}")
        return self._scale, self._growth_tracker

    def _state(self, optimizer: Any) -> _State:
        return self._states.setdefault(id(optimizer), _State())

    def scale(self, outputs: Any) -> Any:
        """Return a tensor, or each of an iterable of them, times the scale.

        Raises
        ------
        ValueError
            If it is something else.
        """
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            if self._scale is None:
                at = outputs.device
                self._scale = _core.full((), self._init_scale, dtype=_core.float32, device=at)
                self._growth_tracker = _core.full(
                    (), self._init_growth_tracker, dtype=_core.int32, device=at
                )
            return outputs * self._scale.to(outputs.device)
        if not hasattr(outputs, "__iter__"):
            raise ValueError("outputs must be a Tensor or an iterable of Tensors")
        scaled = map(self.scale, outputs)
        return type(outputs)(scaled) if isinstance(outputs, (list, tuple)) else scaled

    def unscale_(self, optimizer: Any) -> None:
        """Divide the optimizer's gradients by the scale, such as to clip them before the step.

        Raises
        ------
        RuntimeError
            If that was done since the last update.
        ValueError
            If a gradient is of float16: parameters should be of float32.
        AssertionError
            If nothing was scaled yet.
        """
        if not self._enabled:
            return
        scale, _ = self._made("unscale_")
        state = self._state(optimizer)
        if state.stage == OptState.UNSCALED:
            raise RuntimeError(
                "unscale_() has already been called on this optimizer since the last update()."
            )
        if state.stage == OptState.STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        params = [p for group in optimizer.param_groups for p in group["params"]]
        grads = [p.grad for p in params if p.grad is not None]
        if any(g.dtype == _core.float16 for g in grads):
            raise ValueError("Attempting to unscale FP16 gradients.")
        if grads:
            state.found_inf = _core.zeros((), dtype=_core.float32, device=scale.device)
            _core.unscale_all_(grads, state.found_inf, scale)
        state.stage = OptState.UNSCALED

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """Call ``optimizer.step`` with gradients that are unscaled, unless one is not finite.

        Raises
        ------
        RuntimeError
            If it was called since the last update, or is given a closure.
        AssertionError
            If nothing was scaled yet, or the optimizer has no gradients.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        self._made("step")
        state = self._state(optimizer)
        if state.stage == OptState.STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if state.stage == OptState.READY:
            self.unscale_(optimizer)
        if state.found_inf is None:
            raise AssertionError("No inf checks were recorded for this optimizer.")
        from wengert.optim.optimizer import FusedOptimizer

        result = None
        if isinstance(optimizer, FusedOptimizer):  # its launch looks, and no host
            optimizer.found_inf = state.found_inf
            try:
                result = optimizer.step(*args, **kwargs)
            finally:
                del optimizer.found_inf
        elif not state.found_inf.item():
            result = optimizer.step(*args, **kwargs)
        state.stage = OptState.STEPPED
        return result

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Adapt the scale to what was found, or set it; call it once all steps are taken.

        Raises
        ------
        AssertionError
            If no gradients were looked at since the last update, or the new scale is a tensor that
            requires grad or has several elements.
        """
        if not self._enabled:
            return
        scale, tracker = self._made("update")
        if isinstance(new_scale, Tensor):
            if new_scale.numel() != 1 or new_scale.requires_grad:
                raise AssertionError(
                    "new_scale should be a float or a 1-element torch.FloatTensor with "
                    "requires_grad=False."
                )
            scale.copy_(new_scale.reshape(()))
        elif new_scale is not None:
            scale.fill_(new_scale)
        else:
            found = [s.found_inf for s in self._states.values() if s.found_inf is not None]
            if not found:
                raise AssertionError("No inf checks were recorded prior to update.")
            for other in found[1:]:
                found[0] += other
            _core.update_scale_(
                scale, tracker, found[0],
                self._growth_factor, self._backoff_factor, self._growth_interval,
            )  # fmt: skip
        self._states.clear()

    def get_scale(self) -> float:
        """Return the scale, or 1 if scaling is disabled."""
        if not self._enabled:
            return 1.0
        return self._init_scale if self._scale is None else self._scale.item()

    def get_growth_factor(self) -> float:
        """Return the factor of growth."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Set the factor of growth."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """Return the factor of backing off."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Set the factor of backing off."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """Return after how many updates the scale grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Set after how many updates the scale grows."""
        self._growth_interval = new_interval

    def _get_growth_tracker(self) -> int:
        if not self._enabled:
            return 0
        tracker = self._growth_tracker
        return self._init_growth_tracker if tracker is None else int(tracker.item())

    def is_enabled(self) -> bool:
        """Whether losses are scaled."""
        return self._enabled

    def state_dict(self) -> dict[str, Any]:
        """Return the scale and its settings as numbers; an empty dict if scaling is disabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(),
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._get_growth_tracker(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned; nothing if scaling is disabled.

        Raises
        ------
        RuntimeError
            If it is empty, as that of a disabled scaler is.
        """
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled "
                "instance of GradScaler."
            )
        scale, tracker = state_dict["scale"], state_dict["_growth_tracker"]
        if self._scale is None or self._growth_tracker is None:
            self._init_scale, self._init_growth_tracker = scale, tracker
        else:  # in place, where captured steps look
            self._scale.fill_(scale)
            self._growth_tracker.fill_(tracker)
        self._growth_factor = state_dict["growth_factor"]
        self._backoff_factor = state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        if self._enabled:
            if self._states:
                raise AssertionError(
                    "A GradScaler instance may only be pickled at the beginning of an iteration, "
                    "or at the end after scaler.update()."
                )
            state["_init_scale"] = self.get_scale()
            state["_init_growth_tracker"] = self._get_growth_tracker()
            state["_scale"] = state["_growth_tracker"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
