"""What importers have in common: conversion rules by operator name, and a Relax function emitted from them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

from tvm import relax

from autotune_qnn.errors import DialectError, ModelError

Expr = Any
"""A Relax expression (tvm carries no types)."""
RELAX_ERRORS = (DialectError, RuntimeError, ValueError, TypeError, IndexError, AttributeError)
"""What Relax and the dialect raise for operands that do not fit an operator."""
Rule = TypeVar("Rule", bound=Callable[..., Any])


class UnsupportedUseError(Exception):
    """Raised by a rule that covers the operator but not this use of it; the message says which use."""


class Rules(Generic[Rule]):
    """The conversion rules of one source framework, by the names of its operators."""

    def __init__(self) -> None:
        self._rules: dict[str, Rule] = {}

    def rule(self, *names: str) -> Callable[[Rule], Rule]:
        """Registers a function as the rule of the operators `names`."""

        def register(function: Rule) -> Rule:
            for name in names:
                self._rules[name] = function
            return function

        return register

    def find(self, name: str) -> Rule | None:
        """The rule of an operator, or None."""
        return self._rules.get(name)


def shape_of(expr: Expr) -> tuple[int, ...]:
    """The static shape of a Relax value."""
    return tuple(int(extent) for extent in expr.ty.shape)


def parameter_names(names: Iterable[str]) -> tuple[str, ...]:
    """The names of a function's parameters: the model's own names of its inputs, made unique identifiers."""
    made: list[str] = []
    for name in names:
        name = re.sub(r"\W", "_", name)
        name = name if name[:1].isalpha() else "input_" + name
        while name in made:
            name += "_"
        made.append(name)
    return tuple(made)


def emit_main(builder: Any, parameters: list[Any], convert: Callable[[], Sequence[Expr]]) -> Any:
    """The IRModule whose "main" takes `parameters` and returns what `convert` emits: one value, or a tuple.

    A ModelError of `convert` is raised once the builder's blocks are closed: left open, they complain on their own.
    """
    failure: ModelError | None = None
    with builder.function("main", parameters):
        with builder.dataflow():
            try:
                values = list(convert())
            except ModelError as error:
                failure, values = error, parameters[:1]
            result = builder.emit_output(values[0] if len(values) == 1 else relax.Tuple(values))
        builder.emit_func_output(result)
    if failure is not None:
        raise failure
    return builder.finalize()
