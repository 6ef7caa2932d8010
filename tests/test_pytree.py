"""Trees of containers: taken apart and put together as by PyTorch's."""

from __future__ import annotations

import subprocess
import sys
from collections import OrderedDict, defaultdict, deque, namedtuple
from typing import Any, NamedTuple

import pytest

import wengert as wg
from oracle import needs_torch, torch
from wengert.utils import _pytree as pytree

Point = namedtuple("Point", "x y")


class Pair(NamedTuple):
    first: Any
    second: Any


class Dict(dict):
    """No node: types are compared exactly."""


TREES: list[Any] = [
    1, None, (), [], {}, (1,), [1, [2, (3, None)]], {"b": 1, "a": {"c": [2]}},
    OrderedDict(z=1, y=(2, 3)), defaultdict(list, k=[1, 2]), deque([1, [2]], maxlen=5),
    Point(1, [2, 3]), Pair((1,), {"a": 2}), Dict(a=1), {1, 2}, "text", [(), {}, [1]],
]  # fmt: skip


def theirs() -> Any:
    return torch.utils._pytree


@pytest.mark.parametrize("tree", TREES, ids=repr)
def test_round_trip(tree: Any) -> None:
    leaves, spec = pytree.tree_flatten(tree)
    again = pytree.tree_unflatten(leaves, spec)
    assert again == tree
    assert type(again) is type(tree)
    assert pytree.tree_leaves(tree) == list(pytree.tree_iter(tree)) == leaves
    assert pytree.tree_structure(again) == spec
    assert hash(pytree.tree_structure(again)) == hash(spec)
    assert pytree.tree_unflatten(iter(leaves), spec) == tree


@needs_torch
@pytest.mark.parametrize("tree", TREES, ids=repr)
def test_structure_equals_torch(tree: Any) -> None:
    leaves, spec = pytree.tree_flatten(tree)
    their_leaves, their_spec = theirs().tree_flatten(tree)
    assert leaves == their_leaves
    assert repr(spec) == repr(their_spec)
    for name in ("type", "context", "num_nodes", "num_leaves", "num_children"):
        assert getattr(spec, name) == getattr(their_spec, name)
    assert spec.is_leaf() == their_spec.is_leaf()
    assert pytree.tree_is_leaf(tree) == theirs().tree_is_leaf(tree)


@needs_torch
def test_texts_of_nested_structures_equal_torch() -> None:
    tree = {"a": [1, (2, 3), {"b": 4}], "c": (5, [6, 7])}
    assert repr(pytree.tree_structure(tree)) == repr(theirs().tree_structure(tree))


@needs_torch
@pytest.mark.parametrize("tree", TREES, ids=repr)
@pytest.mark.parametrize("other", TREES, ids=repr)
def test_maps_of_two_trees_equal_torch(tree: Any, other: Any) -> None:
    results: list[Any] = []
    for module in (pytree, theirs()):
        try:
            results.append(module.tree_map(lambda a, b: (a, str(b)), tree, other))
        except Exception as error:
            results.append(type(error))
    assert results[0] == results[1]
    spec, their_spec = pytree.tree_structure(other), theirs().tree_structure(other)
    assert pytree._broadcast_to_and_flatten(tree, spec) == theirs()._broadcast_to_and_flatten(
        tree, their_spec
    )


def test_maps() -> None:
    tree = {"a": 1, "b": (2.5, [3])}
    assert pytree.tree_map(lambda x: x * 2, tree) == {"a": 2, "b": (5.0, [6])}
    assert pytree.tree_map(lambda x, y: (x, y), [1, 2], [[3], {"k": 4}]) == [
        (1, [3]),
        (2, {"k": 4}),
    ]
    assert pytree.tree_map_only(int, lambda x: -x, tree) == {"a": -1, "b": (2.5, [-3])}
    assert pytree.tree_map_only(int | str, lambda x: -x, tree) == {"a": -1, "b": (2.5, [-3])}
    assert pytree.tree_map_only(lambda x: x > 2, lambda x: 0, tree) == {"a": 1, "b": (0, [0])}
    seen: list[Any] = []
    assert pytree.tree_map_(seen.append, tree) is tree
    assert pytree.tree_map_only_(float, seen.append, tree) is tree
    assert seen == [1, 2.5, 3, 2.5]
    assert pytree.tree_any(lambda x: x > 2, tree)
    assert not pytree.tree_all(lambda x: x > 2, tree)
    assert pytree.tree_all_only(float, lambda x: x > 2, tree)
    assert not pytree.tree_any_only(int, lambda x: x > 3, tree)
    assert pytree.arg_tree_leaves([1, 2], 3, k=(4,)) == [1, 2, 3, 4]
    by_tuple = {"is_leaf": lambda x: isinstance(x, tuple)}
    assert pytree.tree_leaves(tree, **by_tuple) == [1, (2.5, [3])]
    assert pytree.tree_map(len, [(1, 2), "abc"], **by_tuple) == [2, 3]
    with pytest.raises(TypeError, match="Argument must be a type"):
        pytree.tree_map_only(3, len, tree)


def test_registered_types() -> None:
    class Box:
        def __init__(self, value: Any, name: str) -> None:
            self.value, self.name = value, name

    pytree.register_pytree_node(
        Box, lambda b: ([b.value], b.name), lambda values, name: Box(values[0], name)
    )
    with pytest.raises(ValueError, match="already registered"):
        pytree.register_pytree_node(Box, lambda b: ([], None), lambda values, name: None)
    made = pytree.tree_map(lambda x: x + 1, [Box([1, 2], "n"), 3])
    assert (made[0].value, made[0].name, made[1]) == ([2, 3], "n", 4)
    same = pytree.tree_structure(Box([5, 6], "n"))
    assert pytree.tree_structure(made[0]) == same
    assert pytree.tree_structure(Box([5, 6], "m")) != same
    with pytest.raises(ValueError, match="context mismatch"):
        same.flatten_up_to(Box(1, "m"))


def test_results_of_several_tensors_are_nodes() -> None:
    found = wg.max(wg.tensor([[1.0, 3.0], [4.0, 2.0]]), 1)
    assert len(pytree.tree_leaves(found)) == 2
    doubled = pytree.tree_map(lambda t: t * 2, found)
    assert type(doubled) is type(found)
    assert doubled.values.tolist() == [6.0, 8.0]
    leaf = pytree.tree_leaves(wg.ones(2))
    assert len(leaf) == 1
    assert leaf[0].tolist() == [1.0, 1.0]


def test_errors() -> None:
    spec = pytree.tree_structure([1, (2, 3)])
    for leaves in ([1, 2], [1, 2, 3, 4], []):
        with pytest.raises(ValueError, match=f"has length {len(leaves)} .* holds 3 items"):
            spec.unflatten(leaves)
    with pytest.raises(TypeError, match="instance of PyTreeSpec"):
        pytree.tree_unflatten([1], [2])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Node type mismatch"):
        spec.flatten_up_to((1, (2, 3)))
    with pytest.raises(ValueError, match="Node arity mismatch; expected 2, but got 3"):
        spec.flatten_up_to([1, 2, 3])
    with pytest.raises(ValueError, match=r"missing key\(s\): {'b'}; extra key\(s\): {'c'}"):
        pytree.tree_structure({"a": 1, "b": 2}).flatten_up_to({"a": 1, "c": 2})
    with pytest.raises(AssertionError):
        pytree.TreeSpec(None, 1, [])


def test_deep_trees() -> None:
    tree: Any = 1
    for _ in range(300):
        tree = [tree]
    assert pytree.tree_leaves(pytree.tree_map(lambda x: x + 1, tree)) == [2]


def test_loading_it_loads_nothing_more() -> None:
    code = (
        "import sys, wengert; before = set(sys.modules); import wengert.utils._pytree; "
        "more = set(sys.modules) - before; "
        "assert not {'typing', 'collections', 'functools'} & more, more"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
