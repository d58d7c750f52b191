"""The way back from expressions to what they were made of."""

from __future__ import annotations

from typing import Any


class Origins:
    """Where expressions come from that were handed out, and come back as they are.

    A kernel computes in an order of its own, in which the operators behind it see places of the whole tensor only.
    """

    def __init__(self) -> None:
        self._known: list[tuple[Any, Any]] = []

    def remember(self, expression: Any, origin: Any) -> Any:
        """The expression, whose origin is asked for later."""
        self._known.append((expression, origin))
        return expression

    def of(self, expression: Any) -> Any:
        """The origin of that very expression; ValueError for any other."""
        for known, origin in self._known:
            if known.same_as(expression):
                return origin
        raise ValueError(f"{expression} does not come from here")
