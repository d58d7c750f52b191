"""What an element rule sees of an operator's operand: a lane for every index, or a constant array."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotune_qnn.kernels.lane import Lane

LaneFunction = Callable[[Sequence[Any]], Lane]
"""From the index of an element to its lane."""


@dataclass(frozen=True)
class Operand:
    """A tensor operand with its logical dtype and shape, its lanes, and its values where it is a constant.

    `tensor` is the placeholder of an operand that is a parameter of the kernel, which holds the logical values
    plus `offset` (128 where int8 is stored as uint8).
    """

    shape: tuple[int, ...]
    dtype: str
    lanes: LaneFunction | None = None
    constant: NDArray[Any] | None = None
    tensor: Any = None
    offset: int = 0

    def at(self, index: Sequence[Any]) -> Lane:
        """The lane at an index of the output, with NumPy's broadcasting from the right."""
        if self.lanes is None:
            raise TypeError("the operand is no tensor")
        own = list(index)[len(index) - len(self.shape) :]
        return self.lanes(
            [0 if extent == 1 else place for extent, place in zip(self.shape, own, strict=True)]
        )

    @property
    def array(self) -> NDArray[Any]:
        """The constant's values."""
        if self.constant is None:
            raise TypeError("the operand is not a constant")
        return self.constant

    def scalar(self) -> Any:
        """The single value of a constant of one element, in its own dtype."""
        return np.asarray(self.array).reshape(-1)[0]
