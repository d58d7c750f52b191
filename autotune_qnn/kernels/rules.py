"""Rules that make part of a kernel, by operator and by the engine whose formulas they compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from autotune_qnn.dialect.attributes import Attributes
from autotune_qnn.errors import BuildError


class RuleCall(Protocol):
    """What every rule is given: an operator in a kernel under construction."""

    @property
    def call(self) -> Any:
        """The Relax call."""

    def unsupported(self, what: str) -> BuildError:
        """The error for an operator that a rule cannot lower."""


Call = TypeVar("Call", bound=RuleCall)
Made = TypeVar("Made")


def _engine_name(call: Any) -> str:
    """The attribute engine of a dialect call, empty where it has none: whose formulas the operator follows."""
    name = str(call.op.name)
    if not name.startswith("qnn.") or "engine" not in call.attrs.keys():  # noqa: SIM118 - it has no containment
        return ""
    return Attributes(name, call.attrs).string("engine")


class KernelRules(Generic[Call, Made]):
    """The rules of one kind: functions from a call to what it adds to a kernel."""

    def __init__(self) -> None:
        self._rules: dict[str, dict[str, Callable[[Call], Made]]] = {}

    def add(self, operator: str, engines: Sequence[str], rule: Callable[[Call], Made]) -> None:
        """Make a function the operator's rule for the formulas of these engines."""
        self._rules.setdefault(operator, {}).update(dict.fromkeys(engines, rule))

    def __contains__(self, operator: str) -> bool:
        return operator in self._rules

    def rule(self, operator: str) -> Callable[[Call], Made]:
        """The rule of an operator, which refuses calls with an engine whose formulas no rule knows."""

        def by_engine(call: Call) -> Made:
            engine = _engine_name(call.call)
            chosen = self._rules[operator].get(engine)
            if chosen is None:
                raise call.unsupported(f"engine {engine!r}")
            return chosen(call)

        return by_engine
