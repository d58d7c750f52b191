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

from autotune_qnn.kernels.starts import Start

_SCALARS = 64
_PADDING = 64


@dataclass
class _Scalars:
    """Scalars of one dtype in buffers of a fixed size, as many as it takes."""

    name: str
    dtype: str
    values: list[Any] = field(default_factory=list)
    buffers: list[Any] = field(default_factory=list)

    def place(self, value: Any) -> Any:
        """An expression that reads the value.

        Every use gets a place of its own: sharing equal values would give two layers of one shape different
        code.
        """
        buffer, place = divmod(len(self.values), _SCALARS)
        if buffer == len(self.buffers):
            suffix = str(buffer) if buffer else ""
            self.buffers.append(te.placeholder((_SCALARS,), self.dtype, name=self.name + suffix))
        self.values.append(value)
        return self.buffers[buffer](place)

    def arrays(self) -> list[NDArray[Any]]:
        """The contents of the buffers."""
        filled = np.zeros((len(self.buffers), _SCALARS), self.dtype)
        filled.reshape(-1)[: len(self.values)] = self.values
        return list(filled)


@dataclass
class KernelInputs:
    """Collects the parameters of one kernel in the order in which its PrimFunc takes them.

    `order` names the channel at each place where an anchor computes one, None where that is their own order.
    `starts` holds, by the name of a block that sums, what its sums start from.
    """

    activations: list[Any] = field(default_factory=list)
    order: NDArray[np.int64] | None = None
    starts: dict[str, Start] = field(default_factory=dict)
    _arrays: list[NDArray[Any]] = field(default_factory=list)
    _placeholders: list[Any] = field(default_factory=list)
    _integers: _Scalars = field(default_factory=lambda: _Scalars("integers", "int32"))
    _reals: _Scalars = field(default_factory=lambda: _Scalars("reals", "float32"))

    def activation(self, shape: tuple[int, ...], dtype: str) -> Any:
        """A placeholder for a tensor that an earlier kernel, or the caller, provides."""
        tensor = te.placeholder(shape, dtype, name=f"data{len(self.activations)}")
        self.activations.append(tensor)
        return tensor

    def constant(self, array: NDArray[Any], name: str) -> Any:
        """A placeholder for a constant array, stored as it is."""
        array = np.ascontiguousarray(array)
        tensor = te.placeholder(array.shape, str(array.dtype), name=f"{name}{len(self._arrays)}")
        self._arrays.append(array)
        self._placeholders.append(tensor)
        return tensor

    def vector(self, array: NDArray[Any], name: str) -> Any:
        """A one-dimensional constant, padded with zeros so that whole vectors can be read at its end.

        With an `order` of as many channels, element i is that of channel order[i].
        """
        array = array.reshape(-1)
        if self.order is not None and self.order.max() + 1 == array.size:
            array = array[self.order]
        padded = np.zeros(-(-array.size // _PADDING) * _PADDING, array.dtype)
        padded[: array.size] = array.reshape(-1)
        return self.constant(padded, name)

    def integer(self, value: int) -> Any:
        """An int32 scalar, read from a buffer of the kernel's scalars."""
        return self._integers.place(int(value))

    def real(self, value: float) -> Any:
        """A float32 scalar, read from a buffer of the kernel's scalars."""
        return self._reals.place(float(np.float32(value)))

    def signature(self) -> tuple[list[Any], list[NDArray[Any]]]:
        """All placeholders in parameter order, and the arrays behind those that follow the activations."""
        scalars = (self._integers, self._reals)
        buffers = [buffer for kind in scalars for buffer in kind.buffers]
        arrays = [array for kind in scalars for array in kind.arrays()]
        return [*self.activations, *self._placeholders, *buffers], [*self._arrays, *arrays]
