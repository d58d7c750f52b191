"""What a lowered module keeps for each tensor of the model: the expression, and how it is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm

from autotune_qnn.dialect.constants import constant, constant_value
from autotune_qnn.kernels.storage import Storage, external, internal

_HALF = 128


@dataclass
class StoredValue:
    """A tensor of the lowered module, available as stored and, once asked for, as the model declares it.

    Attributes:
        expression: the stored tensor, or an expression without storage (a shape, a number).
        storage: how `expression` is stored.
        logical: the same tensor as declared, where it was made or existed before.
    """

    expression: Any
    storage: Storage
    logical: Any = None

    @classmethod
    def declared(cls, expression: Any, dtype: str) -> StoredValue:
        """A tensor stored as the model declares it."""
        return cls(expression, external(dtype))

    def as_internal(self, builder: Any) -> Any:
        """The stored tensor, int8 moved to uint8 for this and all later uses."""
        if self.storage.dtype == "int8":
            self.logical = self.expression
            self.storage = internal("int8")
            self.expression = _moved(builder, self.expression, self.storage)
        return self.expression

    def as_declared(self, builder: Any) -> Any:
        """The tensor as the model declares its dtype."""
        if self.storage.offset == 0:
            return self.expression
        if self.logical is None:
            self.logical = _moved(builder, self.expression, external("int8"))
        return self.logical


Stored = StoredValue | tuple["Stored", ...]
"""A tensor, or a tuple of them."""


def flattened(value: Stored) -> list[StoredValue]:
    """The tensors of a value, in order."""
    if isinstance(value, StoredValue):
        return [value]
    return [tensor for field in value for tensor in flattened(field)]


def _moved(builder: Any, value: Any, storage: Storage) -> Any:
    """int8 to uint8 moved up by 128, or back."""
    flip = _HALF if storage.dtype == "uint8" else -_HALF
    array = constant_value(value)
    if array is not None:
        return constant((array.astype(np.int16) + flip).astype(storage.dtype))

    def flipped(data: Any) -> Any:
        def element(*index: Any) -> Any:
            wide = data(*index).astype("int32") + tvm.tirx.const(flip, "int32")
            return wide.astype(storage.dtype)

        return tvm.te.compute(data.shape, element, name="output")

    return builder.emit(builder.call_te(flipped, value, primfunc_name_hint="flip_sign"))
