"""What a module knows of its members, its state, and the containers, against PyTorch."""

from __future__ import annotations

import copy
import importlib
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

import wengert as wg
from oracle import needs_torch, torch
from test_nn import network
from wengert import nn


def outcome(call: Any, library: Any) -> Any:
    """What a call gives, or the type of its error."""
    try:
        return call(library)
    except Exception as error:
        return type(error)


def deep(library: Any) -> Any:
    n = library.nn
    return n.Sequential(
        OrderedDict(
            body=n.Sequential(n.Linear(2, 3), n.ReLU(), n.Sequential(n.Linear(3, 3), n.Tanh())),
            heads=n.ModuleDict({"a": n.Linear(3, 1), "b": n.ModuleList([n.ReLU(), n.ReLU()])}),
        )
    )


def tied(library: Any) -> Any:
    m = library.nn.Sequential(library.nn.Linear(2, 2), library.nn.Linear(2, 2))
    m[1].weight = m[0].weight
    return m


# --- looking up --------------------------------------------------------------------------------


@needs_torch
@pytest.mark.parametrize(
    "call",
    [
        lambda m: type(deep(m).get_submodule("body.2.0")).__name__,
        lambda m: deep(m).get_submodule("body.7"),
        lambda m: deep(m).get_submodule("body.0.weight"),
        lambda m: tuple(deep(m).get_parameter("heads.a.weight").shape),
        lambda m: deep(m).get_parameter("heads.a"),
        lambda m: deep(m).get_parameter("heads.a.nothing"),
        lambda m: network(m).get_buffer("seen").tolist(),
        lambda m: network(m).get_buffer("scale"),
        lambda m: deep(m).set_submodule("", m.nn.ReLU()),
        lambda m: deep(m).set_submodule("body.0", 3),
        lambda m: deep(m).set_submodule("x.y", m.nn.ReLU()),
        lambda m: deep(m).set_submodule("body.x", m.nn.ReLU(), strict=True),
        lambda m: [n for n, _ in network(m).named_parameters(remove_duplicate=False)],
        lambda m: [n for n, _ in network(m).named_modules(remove_duplicate=False)],
        lambda m: [n for n, _ in tied(m).named_parameters("x")],
        lambda m: [n for n, _ in network(m).named_buffers("x", False)],
        lambda m: list(tied(m).state_dict()),
        lambda m: sum(p.numel() for p in tied(m).parameters()),
        lambda m: repr(deep(m)),
        lambda m: [n for n in dir(deep(m)) if n in ("body", "heads", "0")],
        lambda m: deep(m).nothing,
        lambda m: network(m).register_buffer("scale", None),
        lambda m: network(m).register_buffer("a.b", None),
        lambda m: network(m).register_buffer("b", 3),
        lambda m: network(m).register_buffer(3, None),
        lambda m: network(m).register_parameter("", None),
        lambda m: network(m).register_parameter("p", m.ones(1)),
        lambda m: network(m).register_parameter("training", None),
        lambda m: network(m).add_module("m", 3),
        lambda m: network(m).register_module("m.n", m.nn.ReLU()),
        lambda m: network(m).add_module("forward", m.nn.ReLU()),
        lambda m: setattr(network(m), "scale", m.ones(1)),
        lambda m: setattr(network(m), "seen", 3),
        lambda m: setattr(network(m), "first", 3),
        lambda m: network(m).to(m.int64),
        lambda m: network(m).to(nothing=3),
        lambda m: str(network(m).to("cpu", m.float64, non_blocking=True).scale.dtype)[-7:],
        lambda m: [str(b.dtype)[-5:] for b in network(m).type(m.float64).buffers()],
        lambda m: network(m).train(3),
        lambda m: network(m).get_extra_state(),
        lambda m: network(m).load_state_dict(3),
        lambda m: m.nn.Module()(1),
        lambda m: m.nn.Sequential(3),
    ],
)
def test_equals_torch(call: Any) -> None:
    assert outcome(call, wg) == outcome(call, torch)


def test_set_submodule() -> None:
    m = deep(wg)
    m.set_submodule("body.2.0", nn.Identity())
    assert isinstance(m.body[2][0], nn.Identity)
    m.set_submodule("body.new", nn.ReLU())
    assert len(m.body) == 4
    with pytest.raises(AttributeError, match=r"is not an nn\.Module"):
        m.set_submodule("body.0.weight", nn.ReLU())


def test_train_reaches_overridden_children() -> None:
    class Frozen(nn.Linear):
        def train(self, mode: bool = True) -> Frozen:
            return super().train(False)

    m = nn.Sequential(Frozen(1, 1), nn.ReLU()).train()
    assert (m.training, m[0].training, m[1].training) == (True, False, True)


def test_plain_lists_do_not_register() -> None:
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = [nn.Linear(2, 2), nn.Linear(2, 2)]

    assert list(Hidden().parameters()) == []


@pytest.mark.parametrize("name", ["half", "bfloat16", "float", "double"])
def test_conversions(name: str) -> None:
    m = network(wg)
    scale, seen = m.scale, m.seen
    m.register_buffer("count", wg.zeros(1, dtype=wg.int64))
    assert getattr(m, name)() is m
    assert str(m.scale.dtype).endswith(
        {"half": "16", "float": "32", "double": "64"}.get(name, name)
    )
    assert m.scale is scale
    assert m.seen.dtype is m.scale.dtype
    assert m.count.dtype is wg.int64
    assert (m.seen is seen) == (name == "float")
    if not wg.cuda.is_available():
        with pytest.raises(RuntimeError):
            m.cuda()


# --- state -------------------------------------------------------------------------------------


def test_state_dict_arguments() -> None:
    m = network(wg)
    into: dict[str, Any] = OrderedDict(old=1)
    assert m.state_dict(destination=into, prefix="net.", keep_vars=True) is into
    assert into["old"] == 1
    assert into["net.scale"] is m.scale
    assert not m.state_dict()["scale"].requires_grad
    assert m.state_dict()._metadata["tail.0"] == {"version": 1}
    assert next(iter(m.state_dict(None, "x.", False))).startswith("x.")


@needs_torch
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    "change",
    [
        lambda s: None,
        lambda s: s.pop("scale"),
        lambda s: s.update(extra=s["scale"]),
        lambda s: s.update({"tail.extra": s["scale"], "tail.9.weight": s["scale"]}),
        lambda s: s.update({"tail.1.weight": s["scale"], "first.bias": s["seen"]}),
        lambda s: (s.pop("first.bias"), s.pop("seen"), s.update(a=s["scale"])),
        lambda s: s.update(scale="text"),
    ],
)
def test_loading_equals_torch(change: Any, strict: bool) -> None:
    def run(library: Any) -> Any:
        m = network(library)
        state = m.state_dict()
        change(state)
        try:
            found = network(library).load_state_dict(state, strict=strict)
        except RuntimeError as error:
            text = str(error).replace("torch.Size([", "(").replace("])", ")")
            return text.replace(",)", ")").split("expected ")[0].split("torch.")[0]
        return (found.missing_keys, found.unexpected_keys, repr(found))

    assert run(wg) == run(torch)


def test_assigning() -> None:
    m, state = nn.Linear(2, 2), nn.Linear(2, 2).double().state_dict()
    weight = m.weight
    m.load_state_dict(state, assign=True)
    assert m.weight is not weight
    assert m.weight.dtype is wg.float64
    assert isinstance(m.weight, nn.Parameter)
    m.load_state_dict(nn.Linear(2, 2).state_dict())
    assert m.weight.dtype is wg.float64


def test_extra_state_and_own_loading() -> None:
    class Counter(nn.Module):
        _version = 2

        def __init__(self) -> None:
            super().__init__()
            self.count = 0
            self.register_buffer("old", wg.zeros(1))
            self.seen: Any = None

        def get_extra_state(self) -> Any:
            return {"count": self.count}

        def set_extra_state(self, state: Any) -> None:
            self.count = state["count"]

        def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
            self.seen = args[0].get("version")
            state_dict.setdefault(prefix + "old", wg.ones(1))
            super()._load_from_state_dict(state_dict, prefix, *args)

    m = nn.Sequential(Counter(), Counter())
    m[1].count = 5
    state = m.state_dict()
    assert list(state) == ["0.old", "0._extra_state", "1.old", "1._extra_state"]
    del state["1.old"]
    other = nn.Sequential(Counter(), Counter())
    other.load_state_dict(state)
    assert (other[1].count, other[1].old.item(), other[1].seen) == (5, 1, 2)


def test_copies_of_hooks_and_of_ones_own_state() -> None:
    class Odd(nn.Linear):
        def __getstate__(self) -> Any:
            return self.__dict__.copy()

    m = Odd(2, 3)
    for made in (copy.deepcopy(m), copy.copy(m)):
        assert made.weight.tolist() == m.weight.tolist()
        assert [n for n, _ in made.named_parameters()] == ["weight", "bias"]
    made = copy.deepcopy(tied(wg))
    assert made[0].weight is made[1].weight
    made = pickle.loads(pickle.dumps(deep(wg)))
    assert repr(made) == repr(deep(wg))


# --- containers --------------------------------------------------------------------------------


def numbered(library: Any, n: int = 4) -> Any:
    return library.nn.Sequential(*(library.nn.Linear(i + 1, i + 2) for i in range(n)))


def widths(m: Any) -> list[tuple[str, int]]:
    return [(name, c.in_features) for name, c in m._modules.items()]


def after(change: Any) -> Any:
    """The members of a container after a change."""

    def run(library: Any) -> Any:
        m = numbered(library)
        made = change(library, m)
        return widths(m), made if not hasattr(made, "in_features") else made.in_features

    return run


@needs_torch
@pytest.mark.parametrize(
    "call",
    [
        after(lambda lib, m: m.pop(1)),
        after(lambda lib, m: m.insert(1, lib.nn.Linear(9, 9)) and None),
        after(lambda lib, m: m.insert(-1, lib.nn.Linear(9, 9)) and None),
        after(lambda lib, m: m.insert(9, lib.nn.Linear(9, 9)) and None),
        after(lambda lib, m: m.insert(0, 3)),
        after(lambda lib, m: m.append(lib.nn.Linear(9, 9)) is m),
        after(lambda lib, m: m.extend([lib.nn.Linear(9, 9)] * 2) is m),
        after(lambda lib, m: m.__delitem__(slice(1, 3))),
        after(lambda lib, m: m.__delitem__(-1)),
        after(lambda lib, m: m.__delitem__(7)),
        after(lambda lib, m: m.__setitem__(-1, lib.nn.Linear(9, 9))),
        after(lambda lib, m: m[7]),
        after(lambda lib, m: m[np.int64(1)].in_features),
        after(lambda lib, m: widths(m[1:])),
        after(lambda lib, m: widths(m[::-2])),
        after(lambda lib, m: widths(m + m)),
        after(lambda lib, m: widths(m * 2)),
        after(lambda lib, m: widths(3 * m)),
        after(lambda lib, m: m * 0),
        after(lambda lib, m: m + 3),
        after(lambda lib, m: widths(m.__iadd__(numbered(lib, 2)))),
        after(lambda lib, m: "0" in dir(m)),
        lambda m: widths(m.nn.ModuleList(list(numbered(m)))[1:3]),
        lambda m: widths(m.nn.ModuleList(numbered(m)) + list(numbered(m, 2))),
        lambda m: m.nn.ModuleList([3]),
        lambda m: m.nn.ModuleList(3),
        lambda m: m.nn.ModuleList(numbered(m))[4],
        lambda m: repr(m.nn.ModuleList([*numbered(m, 2), m.nn.ReLU(), m.nn.ReLU()])),
        lambda m: repr(m.nn.ModuleList()),
        lambda m: m.nn.ModuleDict({"a.b": m.nn.ReLU()}),
        lambda m: m.nn.ModuleDict({"items": m.nn.ReLU()}),
        lambda m: m.nn.ModuleDict(3),
        lambda m: m.nn.ModuleDict([("a", m.nn.ReLU(), 3)]),
        lambda m: list(m.nn.ModuleDict([("b", m.nn.ReLU()), ("a", m.nn.ReLU())])),
        lambda m: m.nn.ModuleDict({"a": m.nn.ReLU()})["b"],
        lambda m: repr(m.nn.ModuleDict({"a": m.nn.ReLU()})),
        lambda m: repr(m.nn.ParameterList([m.ones(2, 3), 5])).replace("torch", "wengert"),
        lambda m: list(m.nn.ParameterList([m.ones(2, 3), 5, m.ones(())]).state_dict()),
        lambda m: m.nn.ParameterList(m.ones(2)),
        lambda m: m.nn.ParameterList([m.ones(2)])(3),
        lambda m: m.nn.ParameterList([m.ones(2)])[1],
        lambda m: list(m.nn.ParameterDict({"b": m.ones(2), "a": 3}).state_dict()),
        lambda m: list(m.nn.ParameterDict({"b": m.ones(2), "a": 3})),
        lambda m: m.nn.ParameterDict({3: m.ones(2)}),
        lambda m: m.nn.ParameterDict({"b": m.ones(2)})["c"],
    ],
)  # fmt: skip
def test_containers_equal_torch(call: Any) -> None:
    assert outcome(call, wg) == outcome(call, torch)


def test_module_list() -> None:
    m = nn.ModuleList([nn.Linear(1, 1)])
    m += [nn.ReLU()]
    m.insert(0, nn.Tanh())
    assert [type(c).__name__ for c in m] == ["Tanh", "Linear", "ReLU"]
    assert isinstance(m.pop(-1), nn.ReLU)
    m[0] = nn.Sigmoid()
    assert len(m) == 2
    del m[0]
    assert list(m.state_dict()) == ["0.weight", "0.bias"]
    with pytest.raises(NotImplementedError):
        m(1)


def test_module_dict() -> None:
    m = nn.ModuleDict({"wte": nn.Linear(1, 1), "h": nn.ModuleList([nn.ReLU()])})
    assert m.wte is m["wte"]
    assert "h" in m
    assert len(m) == 2
    assert list(m.keys()) == ["wte", "h"]
    m["wte"] = nn.ReLU()
    m.update({"new": nn.ReLU()})
    assert [k for k, _ in m.items()] == ["wte", "h", "new"]
    assert m.pop("new") not in list(m.values())
    del m["h"]
    m.clear()
    assert len(list(m.modules())) == 1


def test_parameter_list_and_dict() -> None:
    p = nn.ParameterList([wg.ones(2), nn.Parameter(wg.zeros(1))])
    p.append(wg.ones(3)).extend([wg.ones(1)])
    p += [7]
    assert len(list(p.parameters())) == 4
    assert (len(p), p[4], p[-1]) == (5, 7, 7)
    assert isinstance(p[0], nn.Parameter)
    p[0] = wg.ones(5)
    assert p[0].shape == (5,)
    assert len(p[1:3]) == 2
    d = nn.ParameterDict({"a": wg.ones(1)})
    d["b"] = wg.ones(2)
    assert d.a is d["a"]
    assert d.get("c", 3) == 3
    assert d.setdefault("c", wg.ones(1)) is d["c"]
    assert list(d | nn.ParameterDict({"z": wg.ones(1)})) == ["a", "b", "c", "z"]
    assert [k for k, _ in d.named_parameters()] == ["a", "b", "c"]
    assert d.popitem()[0] == "c"
    assert list(reversed(d)) == ["b", "a"]
    assert len(d.copy()) == 2
    d.pop("a")
    d.clear()
    assert list(d.parameters()) == list(d.values()) == []


def test_a_changed_member_changes_the_forward() -> None:
    m, x = nn.Sequential(nn.Linear(2, 2), nn.ReLU()), wg.tensor([[-5.0, 5.0]])
    m(x)
    m._modules["1"] = nn.Tanh()
    assert m(x).tolist() == m[1](m[0](x)).tolist()
    m[0].forward = lambda x: x
    m[1] = nn.ReLU()
    assert m(x).tolist() == [[0, 5]]


@needs_torch
@pytest.mark.parametrize(
    "file",
    [
        "activation",
        "container",
        "conv",
        "distance",
        "dropout",
        "flatten",
        "fold",
        "linear",
        "loss",
        "module",
        "pooling",
        "upsampling",
    ],
)
def test_paths_of_torch(file: str) -> None:
    ours = importlib.import_module(f"wengert.nn.modules.{file}")
    theirs = importlib.import_module(f"torch.nn.modules.{file}")
    for name in ours.__all__:
        assert getattr(theirs, name).__module__ == theirs.__name__
        if name.islower():  # hooks of all modules are found there alone
            continue
        assert getattr(ours, name) is getattr(nn, name)
        assert getattr(nn.modules, name) is getattr(nn, name)
    assert getattr(nn.modules, file) is ours
