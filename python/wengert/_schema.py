"""Schemas of operations that are Python functions: ``(Tensor x, SymInt n=2) -> Tensor``."""

from __future__ import annotations

import numbers

from . import _core
from ._core import Tensor

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

_CHECKS: dict[str, Callable[[Any], bool]] = {
    "Tensor": lambda v: isinstance(v, Tensor),
    "int": lambda v: isinstance(v, numbers.Integral) and not isinstance(v, bool),
    "float": lambda v: isinstance(v, numbers.Real) and not isinstance(v, bool),
    "bool": lambda v: isinstance(v, bool),
    "str": lambda v: isinstance(v, str),
    "Scalar": lambda v: isinstance(v, numbers.Real),
    "ScalarType": lambda v: isinstance(v, _core.dtype),
    "Device": lambda v: isinstance(v, (_core.device, str)),
}
_CHECKS["SymInt"] = _CHECKS["int"]
_RESULTS = {"Tensor", "Tensor[]", "SymInt", "int", "float", "bool", "Scalar"}


class Param:
    """A parameter: its kind, and whether it is a list, or may be None."""

    def __init__(self, op: str, text: str) -> None:
        import ast
        import re

        match = re.fullmatch(
            r"([A-Za-z]+)(\(\w+!?\))?(\?)?(\[\d*\])?(\?)?\s+(\w+)(?:\s*=\s*(.+))?", text
        )
        if match is None:
            raise RuntimeError(f"{op}: expected a type and a name in the schema, found {text!r}")
        kind, alias, none_item, many, none, name, default = match.groups()
        if kind not in _CHECKS:
            raise RuntimeError(
                f"{op}: unknown type specifier {kind!r} in the schema. Known types are "
                f"{', '.join(_CHECKS)}"
            )
        self.kind, self.name, self.text = kind, name, text
        self.mutated = bool(alias) and alias.endswith("!)")
        self.is_list = many is not None
        self.none_item = self.is_list and none_item is not None
        self.optional = none is not None or (not self.is_list and none_item is not None)
        self.is_tensor_list = self.is_list and kind == "Tensor"
        self.has_default = default is not None
        self.default: Any = None
        if default is not None:
            try:
                self.default = ast.literal_eval(default)
            except (SyntaxError, ValueError) as e:
                raise RuntimeError(f"{op}: {default!r} cannot be the default of {name}") from e

    @property
    def type_name(self) -> str:
        """The type, as the schema has it."""
        kind = self.kind + ("?" if self.none_item else "") + ("[]" if self.is_list else "")
        return "int" if kind == "SymInt" else kind + ("?" if self.optional else "")

    def takes(self, value: object) -> bool:
        """Say whether an argument is of the type."""
        if value is None:
            return self.optional
        check = _CHECKS[self.kind]
        if not self.is_list:
            return check(value)
        return isinstance(value, (tuple, list)) and all(
            check(v) or (v is None and self.none_item) for v in value
        )


class Schema:
    """What an operation takes and gives."""

    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name, name + text
        self.positional: list[Param] = []
        self.keyword_only: list[Param] = []
        inside, results = _halves(name, text)
        into = self.positional
        for part in _split(inside):
            if part == "*":
                into = self.keyword_only
                continue
            into.append(Param(name, part))
        names = [p.name for p in self.params]
        if len({*names}) != len(names):
            raise RuntimeError(f"{name}: two parameters of one name in the schema {text!r}")
        self.mutates = any(p.mutated for p in self.params)
        single = not results.startswith("(")
        self.results = [r.split()[0] for r in _split(results if single else results[1:-1])]
        self.is_tuple = not single and len(self.results) > 1
        self.returns_list = self.results == ["Tensor[]"]
        for r in self.results:
            if r not in _RESULTS:
                raise RuntimeError(f"{name}: unknown type {r!r} of a result in the schema {text!r}")

    @property
    def params(self) -> list[Param]:
        """All parameters."""
        return [*self.positional, *self.keyword_only]

    def bind(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Fill in defaults; keyword-only arguments apart.

        Raises
        ------
        RuntimeError
            If the arguments do not fit.
        """
        given = len(args) + len(kwargs)
        known = {p.name for p in self.params}
        if len(args) > len(self.positional) or (kwargs and given > len(known)):
            self._fail(
                f"expected at most {len(known)} argument(s) but received {given} argument(s)."
            )
        for name in kwargs:
            if name not in known:
                self._fail(f"Unknown keyword argument '{name}'.")
        for p in self.positional[: len(args)]:
            if p.name in kwargs:
                self._fail(f"argument '{p.name}' was given twice.")
        values = list(args)
        for p in self.positional[len(args) :]:
            values.append(self._value(p, kwargs))
        for position, (p, value) in enumerate(zip(self.positional, values, strict=True)):
            self._check(p, value, position)
        keywords = {p.name: self._value(p, kwargs) for p in self.keyword_only}
        for position, p in enumerate(self.keyword_only, start=len(values)):
            self._check(p, keywords[p.name], position)
        return tuple(values), keywords

    def _value(self, p: Param, kwargs: dict[str, Any]) -> Any:
        if p.name not in kwargs and not p.has_default:
            self._fail(f"is missing value for argument '{p.name}'.")
        return kwargs.get(p.name, p.default)

    def _check(self, p: Param, value: object, position: int) -> None:
        if not p.takes(value):
            self._fail(
                f"Expected a value of type '{p.type_name}' for argument '{p.name}' but instead "
                f"found type '{type(value).__name__}'.\nPosition: {position}\nValue: {value!r}\n"
            )

    def _fail(self, what: str) -> None:
        raise RuntimeError(f"{self.name}() {what} Declaration: {self.text}")

    def check_result(self, result: Any, inputs: tuple[Any, ...]) -> Any:
        """Return what a function gave, if that is what the schema says.

        Raises
        ------
        RuntimeError
            If it is not, or shares memory with an argument.
        """
        if not self.results:
            fits = result is None
        elif self.is_tuple:
            fits = isinstance(result, (tuple, list)) and len(result) == len(self.results)
            fits = fits and all(map(_is_result, self.results, result))
        else:
            fits = _is_result(self.results[0], result)
        if not fits:
            found = type(result).__name__
            if isinstance(result, (tuple, list)):
                found += f" of {', '.join(type(r).__name__ for r in result)}"
            raise RuntimeError(
                f"{self.name}(): the function returned {found}. Declaration: {self.text}"
            )
        made = [t for t in _tensors(result) if t.numel()]
        places = {t.untyped_storage().data_ptr() for t in _tensors(inputs) if t.numel()}
        for t in made:
            place = t.untyped_storage().data_ptr()
            if place in places:
                raise RuntimeError(
                    f"{self.name}: The output of this custom operator (1) must not also be an "
                    "input to this custom operator and (2) may not alias any inputs to this custom "
                    "operator or other returns. Please return a clone of the offending output "
                    "tensor(s) (e.g. return x.clone())."
                )
            places.add(place)
        return tuple(result) if self.is_tuple else result


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, (tuple, list)):
        return [t for v in value for t in _tensors(v)]
    return []


def _is_result(kind: str, value: Any) -> bool:
    if kind == "Tensor[]":
        return isinstance(value, (tuple, list)) and all(isinstance(v, Tensor) for v in value)
    return _CHECKS[kind](value)


def _halves(name: str, text: str) -> tuple[str, str]:
    """Parameters, without parentheses, and results."""
    depth = 0
    for i, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if c == ")" and depth == 0 and text.startswith("("):
            arrow, results = text[i + 1 :].strip()[:2], text[i + 1 :].strip()[2:].strip()
            if arrow != "->" or not results or results.startswith("(") != results.endswith(")"):
                raise RuntimeError(f"{name}: expected -> and results at the end of {text!r}")
            return text[1:i], results
    raise RuntimeError(f"{name}: expected parameters in parentheses, found {text!r}")


def _split(text: str) -> list[str]:
    """The parts between commas, but those in brackets or quotes."""
    parts, depth, quote, last = [], 0, "", 0
    for i, c in enumerate(text + ","):
        if quote:
            quote = "" if c == quote else quote
        elif c in "'\"":
            quote = c
        elif c in "([":
            depth += 1
        elif c in ")]":
            depth -= 1
        elif c == "," and depth == 0:
            parts.append(text[last:i].strip())
            last = i + 1
    return [p for p in parts if p]


def parse(name: str, text: str) -> Schema:
    """Read a schema.

    Raises
    ------
    RuntimeError
        If it is none.
    """
    return Schema(name, text.strip())


def _kinds() -> dict[Any, str]:
    """Annotations, and what a schema calls them."""
    import collections.abc
    import typing

    union = typing.Union
    plain: dict[Any, str] = {
        Tensor: "Tensor", int: "SymInt", float: "float", bool: "bool", str: "str",
        union[int, float, bool]: "Scalar", _core.dtype: "ScalarType", _core.device: "Device",
    }  # fmt: skip
    plain[union[float, bool, int]] = "Scalar"
    found = dict(plain)
    for hint, kind in plain.items():
        found[union[hint, None]] = kind + "?"
        if kind in ("str", "ScalarType", "Device"):
            continue
        for many in (typing.Sequence, typing.List, collections.abc.Sequence, list):  # noqa: UP006
            found[many[hint]] = kind + "[]"
            found[union[many[hint], None]] = kind + "[]?"
            if kind == "Tensor":
                found[many[union[hint, None]]] = "Tensor?[]"
    return found


def infer_schema(
    prototype_function: Callable[..., Any],
    /,
    *,
    mutates_args: str | Iterable[str],
    op_name: str | None = None,
) -> str:
    """Make a schema of a function's annotations.

    Raises
    ------
    ValueError
        If a parameter or the result has no annotation, or one that no schema can tell.
    """
    import inspect
    import typing

    signature = inspect.signature(prototype_function)
    hints = typing.get_type_hints(prototype_function)
    kinds = _kinds()

    def fail(what: str) -> None:
        raise ValueError(f"infer_schema(func): {what} Got func with signature {signature})")

    mutated = {mutates_args} if isinstance(mutates_args, str) else {*mutates_args}
    everything = mutates_args == "unknown"
    parts: list[str] = []
    aliases = 0
    for name, p in signature.parameters.items():
        if p.kind not in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY):
            fail("We do not support positional-only args, varargs, or varkwargs.")
        if p.kind is p.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        if name not in hints:
            fail(f"Parameter {name} must have a type annotation.")
        kind = kinds.get(hints[name])
        if kind is None:
            fail(f"Parameter {name} has unsupported type {hints[name]}.")
        assert kind is not None
        is_tensor = kind.startswith("Tensor")
        if name in mutated and not is_tensor:
            fail(f"Parameter {name} is in mutates_args but only Tensors or collections of Tensors "
                 "can be mutated.")  # fmt: skip
        if is_tensor and (everything or name in mutated):
            kind = f"Tensor(a{aliases}!){kind[len('Tensor') :]}"
            aliases += 1
        default = ""
        if p.default is not p.empty:
            if not isinstance(p.default, (int, float, bool, str, type(None))):
                fail(f"Parameter {name} has an unsupported default value type {type(p.default)}.")
            text = f'"{p.default}"' if isinstance(p.default, str) else repr(p.default)
            default = "=" + text
        parts.append(f"{kind} {name}{default}")
    missing = mutated - {*signature.parameters}
    if missing and not everything:
        fail(f"{missing} in mutates_args were not found in the custom op's signature. mutates_args "
             "should contain the names of all args that the custom op mutates, or just the string "
             "'unknown' if you don't know.")  # fmt: skip
    if signature.return_annotation is signature.empty:
        fail("No return type annotation was provided. Please add one.")
    text = f"({', '.join(parts)}) -> {_result(hints.get('return'), kinds, fail)}"
    return (op_name or "") + text


def _result(hint: Any, kinds: dict[Any, str], fail: Callable[[str], None]) -> str:
    import typing

    if hint is None or hint is type(None):
        return "()"
    if typing.get_origin(hint) is tuple:
        of = [kinds.get(a) for a in typing.get_args(hint)]
    else:
        of = [kinds.get(hint)]
    if any(k not in _RESULTS for k in of):
        fail(f"Return has unsupported type {hint}.")
    return str(of[0]) if len(of) == 1 else f"({', '.join(map(str, of))})"
