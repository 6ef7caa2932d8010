"""Losses, distances and activations as modules and functions, against PyTorch."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import pytest

import wengert as wg
from oracle import needs_torch, torch
from wengert import nn

rng = np.random.default_rng(0)


def both(make: Any, inputs: list[Any], grads: tuple[int, ...] = (0,), rtol: float = 1e-9) -> None:
    """Compare values and gradients of ``make(library)(*inputs)``."""
    results = []
    for library, convert in ((wg, wg.tensor), (torch, torch.tensor)):
        tensors = [convert(np.array(x)) for x in inputs]
        for i in grads:
            tensors[i].requires_grad_()
        y = make(library)(*tensors)
        weights = convert(np.linspace(0.5, 1.5, math.prod(y.shape)).reshape(tuple(y.shape)))
        (y * weights).sum().backward()
        results.append([y.detach().numpy(), *(tensors[i].grad.numpy() for i in grads)])
    for ours, theirs in zip(*results, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=1e-12)


X = rng.normal(size=(5, 4)) * 3
Y = rng.normal(size=(5, 4))
Z = rng.normal(size=(5, 4))
SIGNS = np.sign(rng.normal(size=(5, 4)))
CLASSES = rng.integers(0, 4, 5)
ONES = np.array([1.0, -1.0, 1.0, -1.0, 1.0])

# Module, its arguments, its inputs, those with gradients, the function of `functional` behind it.
LOSSES: list[tuple[str, dict[str, Any], list[Any], tuple[int, ...], str]] = [
    ("MSELoss", {}, [X, Y], (0, 1), "mse_loss"),
    ("L1Loss", {}, [X, Y], (0, 1), "l1_loss"),
    ("SmoothL1Loss", {"beta": 0.7}, [X, Y], (0, 1), "smooth_l1_loss"),
    ("HuberLoss", {"delta": 0.7}, [X, Y], (0, 1), "huber_loss"),
    ("CrossEntropyLoss", {}, [X, CLASSES], (0,), "cross_entropy"),
    ("CrossEntropyLoss", {"ignore_index": 2}, [X, CLASSES], (0,), "cross_entropy"),
    ("NLLLoss", {}, [X, CLASSES], (0,), "nll_loss"),
    ("NLLLoss", {"ignore_index": 2}, [X, CLASSES], (0,), "nll_loss"),
    ("BCELoss", {}, [1 / (1 + np.exp(-X)), np.abs(np.tanh(Y))], (0,), "binary_cross_entropy"),
    ("BCEWithLogitsLoss", {}, [X, np.tanh(Y) ** 2], (0,), "binary_cross_entropy_with_logits"),
    ("KLDivLoss", {}, [X, np.abs(Y)], (0,), "kl_div"),
    ("KLDivLoss", {"log_target": True}, [X, Y], (0, 1), "kl_div"),
    ("GaussianNLLLoss", {}, [X, Y, Z**2], (0, 1, 2), "gaussian_nll_loss"),
    ("GaussianNLLLoss", {"full": True, "eps": 0.5}, [X, Y, Z**2], (0, 1, 2), "gaussian_nll_loss"),
    ("GaussianNLLLoss", {}, [X, Y, Z[:, 0] ** 2], (0, 2), "gaussian_nll_loss"),
    ("PoissonNLLLoss", {}, [X, Y**2], (0,), "poisson_nll_loss"),
    ("PoissonNLLLoss", {"full": True}, [X, 5 * Y**2], (0,), "poisson_nll_loss"),
    ("PoissonNLLLoss", {"log_input": False}, [X**2, Y**2], (0,), "poisson_nll_loss"),
    ("CosineEmbeddingLoss", {"margin": 0.2}, [X, Y, ONES], (0, 1), "cosine_embedding_loss"),
    ("CosineEmbeddingLoss", {}, [X[0], Y[0], np.array(-1.0)], (0, 1), "cosine_embedding_loss"),
    ("MarginRankingLoss", {"margin": 0.3}, [X, Y, SIGNS], (0, 1), "margin_ranking_loss"),
    ("HingeEmbeddingLoss", {"margin": 0.8}, [X, SIGNS], (0,), "hinge_embedding_loss"),
    ("SoftMarginLoss", {}, [X, SIGNS], (0,), "logsigmoid"),
    ("SoftMarginLoss", {}, [X * 30, SIGNS * np.sign(X)], (0,), "logsigmoid"),
    ("MultiMarginLoss", {}, [X, CLASSES], (0,), "multi_margin_loss"),
    ("MultiMarginLoss", {"p": 2, "margin": 0.4}, [X, CLASSES], (0,), "multi_margin_loss"),
    ("MultiMarginLoss", {}, [X[0], CLASSES[0]], (0,), "multi_margin_loss"),
    (
        "MultiLabelMarginLoss",
        {},
        [X, np.array([[3, 0, -1, 1], [-1, 0, 1, 2], [0, 1, 2, 3], [2, -1, -1, -1], [1, 1, -1, 0]])],
        (0,),
        "multilabel_margin_loss",
    ),
    ("MultiLabelMarginLoss", {}, [X[0], np.array([3, 0, -1, 1])], (0,), "multilabel_margin_loss"),
    ("MultiLabelSoftMarginLoss", {}, [X, (Y > 0) * 1.0], (0,), "logsigmoid"),
    ("TripletMarginLoss", {}, [X, Y, Z], (0, 1, 2), "triplet_margin_loss"),
    (
        "TripletMarginLoss",
        {"margin": 3.0, "p": 1.5, "swap": True},
        [X, Y, Z],
        (0, 1, 2),
        "triplet_margin_loss",
    ),
    (
        "TripletMarginWithDistanceLoss",
        {"swap": True, "margin": 2.0},
        [X, Y, Z],
        (0, 1, 2),
        "triplet_margin_with_distance_loss",
    ),
]


@needs_torch
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    ("name", "kwargs", "inputs", "grads"),
    [pytest.param(*row[:4], id=f"{row[0]}-{row[1]}") for row in LOSSES],
)
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss")
def test_losses_equal_torch(
    name: str, kwargs: Any, inputs: Any, grads: Any, reduction: str
) -> None:
    def make(library: Any) -> Any:
        return getattr(library.nn, name)(**kwargs, reduction=reduction)

    assert repr(make(wg)) == repr(make(torch))
    both(make, inputs, grads)


W = np.array([0.5, 2.0, 1.0, 0.1])
WEIGHTED: list[tuple[str, dict[str, Any], list[Any], str]] = [
    ("MultiMarginLoss", {}, [X, CLASSES], "multi_margin_loss"),
    ("MultiLabelSoftMarginLoss", {}, [X, (Y > 0) * 1.0], "logsigmoid"),
    ("NLLLoss", {}, [X, CLASSES], "nll_loss"),
    ("BCELoss", {}, [1 / (1 + np.exp(-X)), (Y > 0) * 1.0], "binary_cross_entropy"),
    ("BCEWithLogitsLoss", {}, [X, (Y > 0) * 1.0], "binary_cross_entropy_with_logits"),
    ("CrossEntropyLoss", {}, [X, CLASSES], "nll_loss"),
    ("CrossEntropyLoss", {"label_smoothing": 0.1}, [X, CLASSES], "nll_loss"),
]


@needs_torch
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    ("name", "kwargs", "inputs"),
    [pytest.param(*row[:3], id=f"{row[0]}-{row[1]}") for row in WEIGHTED],
)
def test_weighted_losses_equal_torch(name: str, kwargs: Any, inputs: Any, reduction: str) -> None:
    def make(library: Any) -> Any:
        convert = wg.tensor if library is wg else torch.tensor
        made = getattr(library.nn, name)(weight=convert(W), reduction=reduction, **kwargs)
        assert list(made.state_dict()) == ["weight"]
        return made

    both(make, inputs)


def test_the_soft_margin_does_not_overflow() -> None:
    loss = nn.SoftMarginLoss(reduction="none")(wg.tensor([-1e4, 1e4]), wg.tensor([1.0, 1.0]))
    assert loss.tolist() == [1e4, 0]


@needs_torch
def test_pos_weight_is_a_buffer() -> None:
    def make(library: Any) -> Any:
        convert = wg.tensor if library is wg else torch.tensor
        made = library.nn.BCEWithLogitsLoss(pos_weight=convert(W))
        assert list(made.state_dict()) == ["pos_weight"]
        return made

    both(make, [X, (Y > 0) * 1.0])


@needs_torch
@pytest.mark.parametrize("name", sorted({row[0] for row in LOSSES}))
def test_signatures_equal_torch(name: str) -> None:
    def parameters(library: Any) -> list[Any]:
        made = inspect.signature(getattr(library.nn, name).__init__).parameters.values()
        return [(p.name, p.kind, p.default) for p in made]

    assert parameters(wg) == parameters(torch)


@pytest.mark.parametrize(
    ("size_average", "reduce", "meant"),
    [(True, None, "mean"), (False, None, "sum"), (None, False, "none"), (False, True, "sum")],
)
def test_the_old_switches(size_average: Any, reduce: Any, meant: str) -> None:
    with pytest.warns(UserWarning, match=f"reduction='{meant}'"):
        loss = nn.HingeEmbeddingLoss(1.0, size_average, reduce)
    assert loss.reduction == meant
    with pytest.warns(UserWarning, match=f"reduction='{meant}'"):
        nn.functional.hinge_embedding_loss(
            wg.ones(2), wg.ones(2), size_average=size_average, reduce=reduce
        )


F_ERRORS = [
    (ValueError, lambda m, t: m.nn.functional.hinge_embedding_loss(t(X), t(X), reduction="no")),
    (ValueError, lambda m, t: m.nn.functional.gaussian_nll_loss(t(X), t(Y), t(-np.ones((5, 4))))),
    (ValueError, lambda m, t: m.nn.functional.gaussian_nll_loss(t(X), t(Y), t(np.ones(3)))),
    (RuntimeError, lambda m, t: m.nn.functional.cosine_embedding_loss(t(X), t(Y), t(X))),
    (RuntimeError, lambda m, t: m.nn.functional.margin_ranking_loss(t(X), t(Y), t(ONES))),
    (ValueError, lambda m, t: m.nn.functional.triplet_margin_loss(t(X), t(Y), t(Z), margin=-1)),
    (RuntimeError, lambda m, t: m.nn.functional.triplet_margin_loss(t(X), t(Y[0]), t(Z))),
    (ValueError, lambda m, t: m.nn.functional.multi_margin_loss(t(X), t(CLASSES), p=3)),
    (RuntimeError, lambda m, t: m.nn.functional.multi_margin_loss(t(X), t(CLASSES[:3]))),
    (RuntimeError, lambda m, t: m.nn.functional.multilabel_margin_loss(t(X), t(CLASSES))),
    (ValueError, lambda m, t: m.nn.TripletMarginLoss(margin=0)),
    (ValueError, lambda m, t: m.nn.MultiMarginLoss(p=3)),
]


@needs_torch
@pytest.mark.parametrize(("error", "call"), F_ERRORS)
def test_refusals_are_those_of_torch(error: type[Exception], call: Any) -> None:
    for library, convert in ((wg, wg.tensor), (torch, torch.tensor)):
        with pytest.raises(error):
            call(library, convert)


# --- activations -------------------------------------------------------------------------------

V = np.concatenate([np.linspace(-8, 8, 41), [-0.5, 0.5, 1e-3, 30, -30]]).reshape(2, 23) + 1e-4
EVEN = rng.normal(size=(4, 6, 2))
ACTIVATIONS: list[tuple[str, tuple[Any, ...], Any, str]] = [
    ("ReLU", (), V, "relu"),
    ("ReLU", (True,), V, "relu"),
    ("Tanh", (), V, "tanh"),
    ("Sigmoid", (), V, "sigmoid"),
    ("GELU", (), V, "gelu"),
    ("GELU", ("tanh",), V, "gelu"),
    ("LeakyReLU", (), V, "leaky_relu"),
    ("LeakyReLU", (0.3,), V, "leaky_relu"),
    ("ReLU6", (), V, "relu6"),
    ("PReLU", (), EVEN, "prelu"),
    ("PReLU", (6, 0.1), EVEN, "prelu"),
    ("ELU", (), V, "elu"),
    ("ELU", (0.7,), V, "elu"),
    ("ELU", (0.7, True), V, "elu"),
    ("LeakyReLU", (0.3, True), V, "leaky_relu"),
    ("ReLU6", (True,), V, "relu6"),
    ("SELU", (True,), V, "selu"),
    ("SiLU", (True,), V, "silu"),
    ("Mish", (True,), V, "mish"),
    ("Hardswish", (True,), V, "hardswish"),
    ("Threshold", (0.1, 20.0, True), V, "threshold"),
    ("SELU", (), V, "selu"),
    ("CELU", (), V, "celu"),
    ("CELU", (0.7,), V, "celu"),
    ("GLU", (), EVEN, "glu"),
    ("GLU", (1,), EVEN, "glu"),
    ("SiLU", (), V, "silu"),
    ("Mish", (), V, "mish"),
    ("LogSigmoid", (), V, "logsigmoid"),
    ("Tanhshrink", (), V, "tanhshrink"),
    ("Softplus", (), V, "softplus"),
    ("Softplus", (2.0, 5.0), V, "softplus"),
    ("Softsign", (), V, "softsign"),
    ("Softshrink", (), V, "softshrink"),
    ("Softshrink", (0.2,), V, "softshrink"),
    ("Hardshrink", (), V, "hardshrink"),
    ("Hardshrink", (0.2,), V, "hardshrink"),
    ("Hardtanh", (), V, "hardtanh"),
    ("Hardtanh", (-2.0, 0.7), V, "hardtanh"),
    ("Hardsigmoid", (), V, "hardsigmoid"),
    ("Hardswish", (), V, "hardswish"),
    ("Threshold", (0.1, 20.0), V, "threshold"),
    ("Softmax", (1,), EVEN, "softmax"),
    ("LogSoftmax", (-1,), EVEN, "log_softmax"),
    ("Softmin", (0,), EVEN, "softmin"),
    ("Softmax2d", (), EVEN, "softmax"),
]


@needs_torch
@pytest.mark.parametrize(
    ("name", "args", "x"),
    [pytest.param(*row[:3], id=f"{row[0]}{row[1]}") for row in ACTIVATIONS],
)
def test_activations_equal_torch(name: str, args: Any, x: Any) -> None:
    def make(library: Any) -> Any:
        m = getattr(library.nn, name)(*args).double()
        return lambda t: m(t * 1)  # not a leaf, so that it may be overwritten

    # PyTorch takes these constants in single precision.
    both(make, [x], rtol=1e-6 if name in ("CELU", "Hardsigmoid") else 1e-9)


@needs_torch
@pytest.mark.parametrize(
    ("name", "args"), [*dict.fromkeys(row[:2] for row in ACTIVATIONS), ("Hardtanh", (-2, 2, True))]
)
def test_reprs_equal_torch(name: str, args: Any) -> None:
    ours, theirs = getattr(nn, name)(*args), getattr(torch.nn, name)(*args)
    if name != "Hardswish":  # PyTorch's alone does not show inplace
        assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    mine = inspect.signature(type(ours).__init__).parameters.values()
    wanted = inspect.signature(type(theirs).__init__).parameters.values()
    if "kwargs" not in [p.name for p in wanted]:
        assert [(p.name, p.default) for p in mine] == [(p.name, p.default) for p in wanted]


@needs_torch
@pytest.mark.parametrize("name", ["Softmax", "LogSoftmax", "Softmin"])
@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 2), (1, 2, 3, 2)])
def test_the_implicit_dimension(name: str, shape: Any) -> None:
    x = rng.normal(size=shape)
    with pytest.warns(UserWarning, match="Implicit dimension choice"):
        ours = getattr(nn, name)()(wg.tensor(x))
    with pytest.warns(UserWarning, match="Implicit dimension choice"):
        theirs = getattr(torch.nn, name)()(torch.tensor(x))
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-12)


def test_bounds_of_hardtanh() -> None:
    with pytest.raises(AssertionError):
        nn.Hardtanh(1.0, 0.0)
    with pytest.warns(FutureWarning, match="min_value"):
        assert nn.Hardtanh(min_value=-3.0).min_val == -3
    with pytest.raises(ValueError, match="3D or 4D"):
        nn.Softmax2d()(wg.ones(2, 3))
