"""Reading an operator's attributes as plain Python values, whatever kind of attribute node carries them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from autotune_qnn.errors import DialectError


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, str):
        return str(value)
    if hasattr(value, "value") and not hasattr(value, "__len__"):  # an IntImm, FloatImm or StringImm
        return _plain(value.value)
    if hasattr(value, "__iter__"):
        return tuple(_plain(item) for item in value)
    return str(value)  # a dtype


class Attributes:
    """Attributes of one call, by name, with readers that check the type; built from a node or a mapping."""

    __slots__ = ("_operator", "_source")

    def __init__(self, operator: str, source: Any) -> None:
        """`source` is a DictAttrs, an attribute node of a Relax operator, a mapping or None."""
        self._operator = operator
        self._source = source

    def value(self, name: str) -> Any:
        """The attribute as int, float, str, bool, None or a tuple; DialectError where it is missing."""
        source = self._source
        if source is None:
            raise self._missing(name)
        if isinstance(source, Mapping) or type(source).__name__ == "DictAttrs":
            if name not in source.keys():  # noqa: SIM118 - a DictAttrs has no containment of its own
                raise self._missing(name)
            return _plain(source[name])
        try:
            return _plain(getattr(source, name))
        except AttributeError:
            raise self._missing(name) from None

    def integer(self, name: str) -> int:
        """An integer attribute."""
        value = self.value(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(name, "an integer", value)
        return value

    def number(self, name: str) -> float:
        """A float attribute; integers are accepted."""
        value = self.value(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._wrong(name, "a number", value)
        return float(value)

    def string(self, name: str) -> str:
        """A string attribute."""
        value = self.value(name)
        if not isinstance(value, str):
            raise self._wrong(name, "a string", value)
        return value

    def flag(self, name: str) -> bool:
        """A boolean attribute."""
        value = self.value(name)
        if not isinstance(value, (bool, int)):
            raise self._wrong(name, "true or false", value)
        return bool(value)

    def integers(self, name: str, count: int | None = None) -> tuple[int, ...]:
        """A tuple of integers, of exactly `count` where that is given."""
        value = self.value(name)
        if not isinstance(value, tuple) or any(isinstance(v, bool) or not isinstance(v, int) for v in value):
            raise self._wrong(name, "a list of integers", value)
        if count is not None and len(value) != count:
            raise self._wrong(name, f"{count} integers", value)
        return value

    def _missing(self, name: str) -> DialectError:
        return DialectError(f"{self._operator}: attribute {name} is missing")

    def _wrong(self, name: str, expected: str, value: Any) -> DialectError:
        return DialectError(f"{self._operator}: attribute {name} must be {expected}, not {value!r}")


def attributes(call: Any) -> Attributes:
    """The attributes of a relax.Call of a dialect or Relax operator."""
    return Attributes(str(getattr(call.op, "name", call.op)), call.attrs)


def attr(call: Any, name: str) -> Any:
    """One attribute of a call as int, float, str, bool or tuple; DialectError where it is missing."""
    return attributes(call).value(name)


def attr_int(call: Any, name: str) -> int:
    """One integer attribute of a call."""
    return attributes(call).integer(name)


def attr_float(call: Any, name: str) -> float:
    """One float attribute of a call."""
    return attributes(call).number(name)


def attr_str(call: Any, name: str) -> str:
    """One string attribute of a call."""
    return attributes(call).string(name)


def attr_bool(call: Any, name: str) -> bool:
    """One boolean attribute of a call."""
    return attributes(call).flag(name)


def attr_ints(call: Any, name: str) -> tuple[int, ...]:
    """One attribute of a call that is a list of integers."""
    return attributes(call).integers(name)
