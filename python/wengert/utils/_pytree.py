"""Nested containers taken apart into a list of leaves and a structure, and put together again.

What is a node is decided by exact type: tuples, lists, dicts (also ordered and default ones),
deques, every named tuple, and types that were registered. Everything else, None too, is a leaf.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections import OrderedDict, defaultdict, deque
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    IsLeaf = Callable[[Any], bool] | None
    Flatten = Callable[[Any], tuple[Any, Any]]
    Unflatten = Callable[[Any, Any], Any]
else:
    from _collections import OrderedDict, defaultdict, deque  # built into the interpreter


def _default_flatten(d: defaultdict[Any, Any]) -> tuple[Any, Any]:
    return list(d.values()), [d.default_factory, list(d)]


def _default_unflatten(values: Iterable[Any], context: Any) -> defaultdict[Any, Any]:
    return defaultdict(context[0], zip(context[1], values, strict=True))


def _values(d: dict[Any, Any]) -> tuple[Any, Any]:
    return d.values(), list(d)


# Of each type of nodes: how to take one apart, into children and context, and how to build one.
_NODES: dict[Any, tuple[Flatten, Unflatten]] = {
    tuple: (lambda t: (t, None), lambda values, _: tuple(values)),
    list: (lambda t: (t, None), lambda values, _: list(values)),
    dict: (_values, lambda values, keys: dict(zip(keys, values, strict=True))),
    OrderedDict: (_values, lambda values, keys: OrderedDict(zip(keys, values, strict=True))),
    defaultdict: (_default_flatten, _default_unflatten),
    deque: (lambda d: (d, d.maxlen), lambda values, maxlen: deque(values, maxlen)),
}
_BUILT_IN = frozenset(_NODES)
_DICTS = (dict, OrderedDict, defaultdict)
_PLAIN: dict[type, bool] = {}  # of types met that are not built in: whether they are named tuples


def is_namedtuple_class(cls: Any) -> bool:
    """Whether a class was made by `collections.namedtuple`, or derives from one that was."""
    return (
        isinstance(cls, type)
        and issubclass(cls, tuple)
        and isinstance(getattr(cls, "_fields", None), tuple)
        and all(type(field) is str for field in cls._fields)  # type: ignore[attr-defined]
        and callable(getattr(cls, "_make", None))
        and callable(getattr(cls, "_asdict", None))
    )


def is_namedtuple(obj: Any) -> bool:
    """Whether an object is a named tuple, or a class of them."""
    return is_namedtuple_class(obj if isinstance(obj, type) else type(obj))


def is_namedtuple_instance(obj: Any) -> bool:
    """Whether an object is a named tuple."""
    return is_namedtuple_class(type(obj))


def _named_node() -> tuple[Any, tuple[Flatten, Unflatten]]:
    """What all named tuples count as: their class is the context."""
    from collections import namedtuple

    if namedtuple not in _NODES:
        _NODES[namedtuple] = (lambda t: (t, type(t)), lambda values, cls: cls(*values))
    return namedtuple, _NODES[namedtuple]


def _node(tree: Any) -> tuple[Any, tuple[Flatten, Unflatten]] | None:
    """The type that a node counts as and its functions, or None for a leaf."""
    cls = type(tree)
    found = _NODES.get(cls)
    if found is not None and cls in _BUILT_IN:
        return cls, found
    named = _PLAIN.get(cls)
    if named is None:
        named = _PLAIN[cls] = is_namedtuple_class(cls)
        if cls.__module__ == "wengert.return_types":  # what `max` along a dimension returns
            found = _NODES[cls] = (lambda t: (t, None), lambda values, _: cls(values))
    if named:
        return _named_node()
    return None if found is None else (cls, found)


def register_pytree_node(
    cls: Any,
    flatten_fn: Flatten,
    unflatten_fn: Unflatten,
    *,
    serialized_type_name: str | None = None,  # noqa: ARG001
    to_dumpable_context: Any = None,
    from_dumpable_context: Any = None,
    flatten_with_keys_fn: Any = None,  # noqa: ARG001
) -> None:
    """Have objects of a type count as nodes.

    Parameters
    ----------
    cls
        The type; those that derive from it stay leaves.
    flatten_fn
        Returns the children of an object, and whatever else it takes to build one.
    unflatten_fn
        Builds an object of children and that context.
    serialized_type_name, to_dumpable_context, from_dumpable_context, flatten_with_keys_fn
        Accepted and not used: structures are not serialized.

    Raises
    ------
    ValueError
        If the type is registered already.
    """
    if cls in _NODES:
        raise ValueError(f"{cls} is already registered as pytree node.")
    if (to_dumpable_context is None) != (from_dumpable_context is None):
        raise ValueError(
            f"Both to_dumpable_context and from_dumpable_context for {cls} must be None or "
            "registered."
        )
    _NODES[cls] = (flatten_fn, unflatten_fn)


class TreeSpec:
    """The structure of a tree: what is left of it without its leaves.

    Parameters
    ----------
    type
        Of the node; None is a leaf.
    context
        What the type needs besides children: of a dict the keys.
    children_specs
        The structures of the children.
    """

    __slots__ = ("_children", "_context", "num_leaves", "num_nodes", "type")
    num_leaves: int
    num_nodes: int

    def __init__(self, type: Any, context: Any, children_specs: list[TreeSpec]) -> None:
        leaf = type is None
        if leaf and (context is not None or children_specs):
            raise AssertionError("a leaf should have neither context nor children")
        self.type = type
        self._context = context
        self._children = children_specs
        nodes, leaves = 1, int(leaf)
        for child in children_specs:
            nodes += child.num_nodes
            leaves += child.num_leaves
        self.num_nodes = nodes
        self.num_leaves = leaves

    @property
    def context(self) -> Any:
        """What the type needs besides children."""
        return self._context

    @property
    def num_children(self) -> int:
        """How many children the node has."""
        return len(self._children)

    def is_leaf(self) -> bool:
        """Whether the whole tree is one leaf."""
        return self.type is None

    def children(self) -> list[TreeSpec]:
        """Return the structures of the children."""
        return self._children.copy()

    def child(self, index: int) -> TreeSpec:
        """Return the structure of one child."""
        return self._children[index]

    def __repr__(self) -> str:
        return self._text(0)

    def _text(self, indent: int) -> str:
        if self.type is None:
            return "*"
        indent += 2
        children = f",\n{' ' * indent}".join(c._text(indent) for c in self._children)
        return f"TreeSpec({self.type.__name__}, {self._context}, [{children}])"

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, TreeSpec):
            return NotImplemented
        return (
            self.type is other.type
            and self._context == other._context
            and self._children == other._children
        )

    def __hash__(self) -> int:
        context: Any = self._context if self.type in _BUILT_IN else None
        if self.type is defaultdict:
            context = (context[0], *context[1])
        elif isinstance(context, list):
            context = tuple(context)
        return hash((self.type, context, *self._children))

    def unflatten(self, leaves: Iterable[Any]) -> Any:
        """Build the tree that has these leaves.

        Raises
        ------
        ValueError
            If their number is wrong.
        """
        if not isinstance(leaves, (list, tuple)):
            leaves = list(leaves)
        if len(leaves) != self.num_leaves:
            raise ValueError(
                f"treespec.unflatten(leaves): `leaves` has length {len(leaves)} but the spec "
                f"refers to a pytree that holds {self.num_leaves} items ({self})."
            )
        return self._built(iter(leaves))

    def _built(self, leaves: Iterator[Any]) -> Any:
        if self.type is None:
            return next(leaves)
        values = [next(leaves) if c.type is None else c._built(leaves) for c in self._children]
        return _NODES[self.type][1](values, self._context)

    def flatten_up_to(self, tree: Any) -> list[Any]:
        """Return the subtrees that stand in a tree where this structure has leaves.

        Raises
        ------
        ValueError
            If the tree does not begin with this structure.
        """
        subtrees: list[Any] = []
        self._take(tree, subtrees)
        return subtrees

    def _take(self, tree: Any, subtrees: list[Any]) -> None:
        if self.type is None:
            subtrees.append(tree)
            return
        found = _node(tree)
        got = type(tree) if found is None else found[0]
        dicts = self.type in _DICTS and got in _DICTS
        if found is None or not (got is self.type or dicts):
            raise ValueError(f"Node type mismatch; expected {self.type!r}, but got {got!r}.")
        children, context = found[1][0](tree)
        if len(children) != len(self._children):
            raise ValueError(
                f"Node arity mismatch; expected {len(self._children)}, but got {len(children)}."
            )
        if dicts:
            keys = self._context[1] if self.type is defaultdict else self._context
            missing, extra = set(keys).difference(tree), set(tree).difference(keys)
            if missing or extra:
                raise ValueError(
                    "Node keys mismatch"
                    + (f"; missing key(s): {missing}" if missing else "")
                    + (f"; extra key(s): {extra}" if extra else "")
                    + "."
                )
            children = [tree[key] for key in keys]
        elif got is not deque and context != self._context:
            raise ValueError(
                f"Node context mismatch for node type {self.type!r}; "
                f"expected {self._context!r}, but got {context!r}."
            )
        for spec, child in zip(self._children, children, strict=True):
            spec._take(child, subtrees)


PyTreeSpec = TreeSpec
_LEAF = TreeSpec(None, None, [])


def treespec_leaf() -> TreeSpec:
    """Return the structure of a leaf."""
    return _LEAF


LeafSpec = treespec_leaf


def tree_is_leaf(tree: Any, is_leaf: IsLeaf = None) -> bool:
    """Whether a tree is a leaf: by itself, or because ``is_leaf`` says so."""
    return (is_leaf is not None and is_leaf(tree)) or _node(tree) is None


def _flatten(tree: Any, leaves: list[Any], is_leaf: IsLeaf) -> TreeSpec:
    found = None if is_leaf is not None and is_leaf(tree) else _node(tree)
    if found is None:
        leaves.append(tree)
        return _LEAF
    cls, (flatten, _) = found
    children, context = flatten(tree)
    return TreeSpec(cls, context, [_flatten(child, leaves, is_leaf) for child in children])


def _collect(tree: Any, leaves: list[Any], is_leaf: IsLeaf) -> None:
    found = None if is_leaf is not None and is_leaf(tree) else _node(tree)
    if found is None:
        leaves.append(tree)
        return
    for child in found[1][0](tree)[0]:
        _collect(child, leaves, is_leaf)


def tree_flatten(tree: Any, is_leaf: IsLeaf = None) -> tuple[list[Any], TreeSpec]:
    """Return the leaves of a tree, in order, and its structure.

    Parameters
    ----------
    tree
        Containers of containers of anything.
    is_leaf
        Says of a node whether to leave it as it is.
    """
    leaves: list[Any] = []
    spec = _flatten(tree, leaves, is_leaf)
    return leaves, spec


def tree_unflatten(leaves: Any, treespec: Any) -> Any:
    """Build the tree that has these leaves and this structure.

    Raises
    ------
    TypeError
        If the structure is none.
    ValueError
        If the number of leaves is wrong.
    """
    if not isinstance(treespec, TreeSpec):
        if not isinstance(leaves, TreeSpec):
            raise TypeError(
                "Expected `treespec` to be an instance of PyTreeSpec but got item of type "
                f"{type(treespec)}."
            )
        leaves, treespec = treespec, leaves
    return treespec.unflatten(leaves)


def tree_leaves(tree: Any, is_leaf: IsLeaf = None) -> list[Any]:
    """Return the leaves of a tree, in order."""
    leaves: list[Any] = []
    _collect(tree, leaves, is_leaf)
    return leaves


def tree_iter(tree: Any, is_leaf: IsLeaf = None) -> Iterator[Any]:
    """Iterate over the leaves of a tree."""
    return iter(tree_leaves(tree, is_leaf))


def arg_tree_leaves(*args: Any, **kwargs: Any) -> list[Any]:
    """Return the leaves of all arguments."""
    return tree_leaves([*args, *kwargs.values()])


def tree_structure(tree: Any, is_leaf: IsLeaf = None) -> TreeSpec:
    """Return the structure of a tree."""
    return _flatten(tree, [], is_leaf)


def _flat_arguments(tree: Any, rests: tuple[Any, ...], is_leaf: IsLeaf) -> tuple[Any, TreeSpec]:
    leaves, spec = tree_flatten(tree, is_leaf)
    return (leaves, *(spec.flatten_up_to(rest) for rest in rests)), spec


def tree_map(func: Callable[..., Any], tree: Any, *rests: Any, is_leaf: IsLeaf = None) -> Any:
    """Return a tree of what func returns for each leaf.

    Parameters
    ----------
    func
        Takes a leaf, and the subtree of each of ``rests`` that stands in the same place.
    tree
        Gives the structure.
    *rests
        Trees that begin with that structure.
    is_leaf
        Says of a node whether to leave it as it is.

    Raises
    ------
    ValueError
        If another tree does not begin with the structure.
    """
    arguments, spec = _flat_arguments(tree, rests, is_leaf)
    return spec.unflatten([*map(func, *arguments)])


def tree_map_(func: Callable[..., Any], tree: Any, *rests: Any, is_leaf: IsLeaf = None) -> Any:
    """Call func as `tree_map` does, and return the tree itself."""
    for each in zip(*_flat_arguments(tree, rests, is_leaf)[0], strict=True):
        func(*each)
    return tree


def map_only(type_or_types_or_pred: Any, /) -> Callable[[Callable[[Any], Any]], Any]:
    """Return a decorator: the function is called for some leaves, others are returned as they are.

    Raises
    ------
    TypeError
        If what tells them apart is neither types nor a function.
    """
    which = type_or_types_or_pred
    if isinstance(which, (type, tuple)) or type(which).__name__ in ("Union", "UnionType"):

        def matches(leaf: Any) -> bool:
            return isinstance(leaf, which)

    elif callable(which):
        matches = which
    else:
        raise TypeError("Argument must be a type, a tuple of types, or a callable.")

    def decorate(func: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda leaf: func(leaf) if matches(leaf) else leaf

    return decorate


def tree_map_only(
    type_or_types_or_pred: Any, /, func: Callable[[Any], Any], tree: Any, is_leaf: IsLeaf = None
) -> Any:
    """Return a tree of what func returns for some leaves, and of the others as they are."""
    return tree_map(map_only(type_or_types_or_pred)(func), tree, is_leaf=is_leaf)


def tree_map_only_(
    type_or_types_or_pred: Any, /, func: Callable[[Any], Any], tree: Any, is_leaf: IsLeaf = None
) -> Any:
    """Call func for some leaves, and return the tree itself."""
    return tree_map_(map_only(type_or_types_or_pred)(func), tree, is_leaf=is_leaf)


def tree_all(pred: Callable[[Any], bool], tree: Any, is_leaf: IsLeaf = None) -> bool:
    """Whether pred holds for all leaves."""
    return all(map(pred, tree_leaves(tree, is_leaf)))


def tree_any(pred: Callable[[Any], bool], tree: Any, is_leaf: IsLeaf = None) -> bool:
    """Whether pred holds for a leaf."""
    return any(map(pred, tree_leaves(tree, is_leaf)))


def tree_all_only(
    type_or_types: Any, /, pred: Callable[[Any], bool], tree: Any, is_leaf: IsLeaf = None
) -> bool:
    """Whether pred holds for all leaves of some types."""
    return all(pred(x) for x in tree_leaves(tree, is_leaf) if isinstance(x, type_or_types))


def tree_any_only(
    type_or_types: Any, /, pred: Callable[[Any], bool], tree: Any, is_leaf: IsLeaf = None
) -> bool:
    """Whether pred holds for a leaf of some types."""
    return any(pred(x) for x in tree_leaves(tree, is_leaf) if isinstance(x, type_or_types))


def _broadcast_to_and_flatten(
    tree: Any, treespec: TreeSpec, is_leaf: IsLeaf = None
) -> list[Any] | None:
    """Repeat the leaves of a tree for all leaves below them, or return None if it does not fit."""
    result: list[Any] = []
    prefix, spec = tree_flatten(tree, is_leaf)
    try:
        below = spec.flatten_up_to(treespec.unflatten([0] * treespec.num_leaves))
    except ValueError:
        return None
    for leaf, subtree in zip(prefix, below, strict=True):
        result.extend([leaf] * len(tree_leaves(subtree, is_leaf)))
    return result
