"""The parameters of a kernel under construction: activations, constant arrays and scalars.

Everything that differs between two layers of the same shape is a parameter, never a literal in the code, so that
such layers share one kernel, one tuning task and one log record.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import te

_SCALARS = 16
_PADDING = 64


@dataclass
class KernelInputs:
    """Collects the parameters of one kernel in the order in which its PrimFunc takes them."""

    activations: list[Any] = field(default_factory=list)
    arrays: list[NDArray[Any]] = field(default_factory=list)
    placeholders: list[Any] = field(default_factory=list)
    _integers: list[int] = field(default_factory=list)
    _floats: list[float] = field(default_factory=list)
    _integer_buffer: Any = None
    _float_buffer: Any = None

    def activation(self, shape: tuple[int, ...], dtype: str) -> Any:
        """A placeholder for a tensor that an earlier kernel, or the caller, provides."""
        tensor = te.placeholder(shape, dtype, name=f"data{len(self.activations)}")
        self.activations.append(tensor)
        return tensor

    def constant(self, array: NDArray[Any], name: str) -> Any:
        """A placeholder for a constant array, stored as it is."""
        array = np.ascontiguousarray(array)
        tensor = te.placeholder(array.shape, str(array.dtype), name=f"{name}{len(self.arrays)}")
        self.arrays.append(array)
        self.placeholders.append(tensor)
        return tensor

    def vector(self, array: NDArray[Any], name: str) -> Any:
        """A one-dimensional constant, padded with zeros so that whole vectors can be read at its end."""
        padded = np.zeros(-(-array.size // _PADDING) * _PADDING, array.dtype)
        padded[: array.size] = array.reshape(-1)
        return self.constant(padded, name)

    def integer(self, value: int) -> Any:
        """An int32 scalar, read from the kernel's buffer of scalars."""
        if self._integer_buffer is None:
            self._integer_buffer = te.placeholder((_SCALARS,), "int32", name="integers")
        return self._integer_buffer(_place(self._integers, int(value)))

    def real(self, value: float) -> Any:
        """A float32 scalar, read from the kernel's buffer of scalars."""
        if self._float_buffer is None:
            self._float_buffer = te.placeholder((_SCALARS,), "float32", name="reals")
        return self._float_buffer(_place(self._floats, float(np.float32(value))))

    @property
    def scalars_left(self) -> int:
        """How many more distinct scalars of either kind fit."""
        return _SCALARS - max(len(self._integers), len(self._floats))

    def signature(self) -> tuple[list[Any], list[NDArray[Any]]]:
        """All placeholders in parameter order, and the arrays behind those that follow the activations."""
        placeholders = [*self.activations, *self.placeholders]
        arrays = list(self.arrays)
        for buffer, values, dtype in (
            (self._integer_buffer, self._integers, np.int32),
            (self._float_buffer, self._floats, np.float32),
        ):
            if buffer is not None:
                filled = np.zeros(_SCALARS, dtype)
                filled[: len(values)] = values
                placeholders.append(buffer)
                arrays.append(filled)
        return placeholders, arrays


def _place(values: list[Any], value: Any) -> int:
    # Every use gets a place of its own: sharing equal values would give two layers of one shape different code.
    if len(values) >= _SCALARS:
        raise OverflowError(f"a kernel takes at most {_SCALARS} scalars of a kind")
    values.append(value)
    return len(values) - 1
