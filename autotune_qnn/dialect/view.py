"""What type inference sees of a call: operand shapes and dtypes, attributes, and checks that name what is
wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax

from autotune_qnn.dialect.attributes import Attributes
from autotune_qnn.dialect.constants import constant_value
from autotune_qnn.errors import DialectError
from autotune_qnn.quantization import ComputeDtype, Rounding, dtype_range

Formula = tuple[ComputeDtype, Rounding]

DATA_8BIT = ("int8", "uint8")
SCALE_DTYPES = ("float32",)
ANY_SCALE_DTYPES = ("float32", "float64")


@dataclass(frozen=True, slots=True)
class TensorView:
    """Static shape and dtype of a tensor."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


TupleView = tuple[TensorView, ...]


def operand_view(operator: str, operand: str, expression: Any) -> TensorView | TupleView:
    """Shape and dtype of an operand expression; a tuple of them for a tuple."""
    if isinstance(expression, relax.Tuple):
        return tuple(
            _type_view(operator, f"{operand}[{index}]", field.ty)
            for index, field in enumerate(expression.fields)
        )
    if isinstance(expression.ty, tvm.ir.TupleType):
        return tuple(
            _type_view(operator, f"{operand}[{index}]", field)
            for index, field in enumerate(expression.ty.fields)
        )
    return _type_view(operator, operand, expression.ty)


def _type_view(operator: str, operand: str, type_: Any) -> TensorView:
    if not isinstance(type_, relax.TensorType):
        raise DialectError(f"{operator}: {operand} must be a tensor, not {type_}")
    shape = type_.shape
    if shape is None or not all(hasattr(extent, "value") for extent in shape):
        raise DialectError(f"{operator}: the shape of {operand} must be static, not {shape}")
    return TensorView(tuple(int(extent.value) for extent in shape), str(type_.dtype))


@dataclass(frozen=True, slots=True)
class CallView:
    """One call during type inference; the checks raise DialectError naming operator and operand."""

    operator: str
    operands: Mapping[str, TensorView | TupleView]
    attributes: Attributes
    expressions: Mapping[str, Any]

    def error(self, operand: str, problem: str) -> DialectError:
        """An error about one operand or attribute, to be raised by the caller."""
        return DialectError(f"{self.operator}: {operand} {problem}")

    def tensor(self, operand: str) -> TensorView:
        """Shape and dtype of an operand that must be one tensor."""
        view = self.operands[operand]
        if not isinstance(view, TensorView):
            raise self.error(operand, "must be one tensor, not a tuple")
        return view

    def tensors(self, operand: str) -> TupleView:
        """Shapes and dtypes of an operand that must be a tuple of tensors."""
        view = self.operands[operand]
        if isinstance(view, TensorView):
            raise self.error(operand, f"must be a tuple of tensors, not {view}")
        return view

    def data(self, operand: str, dtypes: tuple[str, ...] = DATA_8BIT, rank: int | None = None) -> TensorView:
        """A tensor operand of one of `dtypes` and, where given, of `rank` dimensions."""
        view = self.tensor(operand)
        if view.dtype not in dtypes:
            raise self.error(operand, f"must be {_one_of(dtypes)}, not {view.dtype}")
        if rank is not None and view.rank != rank:
            raise self.error(
                operand, f"must have {rank} dimensions, not {view.rank} (shape {list(view.shape)})"
            )
        return view

    def scale(
        self,
        operand: str,
        channels: int | None = None,
        dtypes: tuple[str, ...] = SCALE_DTYPES,
        zero_allowed: bool = False,
    ) -> TensorView:
        """A scale: shape () or, where `channels` is given, (channels,); a constant must be finite and
        positive.
        """
        view = self.data(operand, dtypes)
        self.require_parameter_shape(operand, view, channels)
        values = self.constant(operand)
        if values is not None:
            low_enough = (values >= 0) if zero_allowed else (values > 0)
            if not (np.isfinite(values).all() and low_enough.all()):
                raise self.error(operand, "must be finite and positive")
        return view

    def zero_point(self, operand: str, channels: int | None = None, of: str | None = None) -> TensorView:
        """A zero point: int32 of shape () or, where `channels` is given, (channels,); a constant must lie in
        `of`.
        """
        view = self.data(operand, ("int32",))
        self.require_parameter_shape(operand, view, channels)
        values = self.constant(operand)
        if values is not None and of is not None:
            low, high = dtype_range(of)
            if values.min(initial=0) < min(low, 0) or values.max(initial=0) > high:
                raise self.error(
                    operand, f"must lie in {of}'s range {low}..{high}, not {values.ravel().tolist()}"
                )
        return view

    def quantization(
        self, scale: str, zero_point: str, dtype: str, scale_dtypes: tuple[str, ...] = SCALE_DTYPES
    ) -> None:
        """Check one scalar scale and zero point of a tensor of `dtype`."""
        self.scale(scale, dtypes=scale_dtypes)
        self.zero_point(zero_point, of=dtype)

    def require_parameter_shape(self, operand: str, view: TensorView, channels: int | None) -> None:
        """Reject a scale or zero point whose shape is neither () nor (channels,)."""
        if view.shape == () or (channels is not None and view.shape == (channels,)):
            return
        expected = "()" if channels is None else f"() or ({channels},)"
        raise self.error(operand, f"must have shape {expected}, not {tuple(view.shape)}")

    def constant(self, operand: str) -> npt.NDArray[Any] | None:
        """The value of an operand that is a constant, else None."""
        return constant_value(self.expressions[operand])

    def axis(self, name: str, rank: int) -> int:
        """An axis attribute as a non-negative axis of `rank` dimensions."""
        return self.normalized(name, self.attributes.integer(name), rank)

    def normalized(self, name: str, axis: int, rank: int) -> int:
        """`axis` counted from the front; rejected where it lies outside `rank` dimensions."""
        if not -rank <= axis < rank:
            raise self.error(name, f"{axis} is outside of {rank} dimensions")
        return axis % rank

    def channels(self, data: TensorView, *parameters: str) -> int | None:
        """Extent along the axis attribute where any of the parameter operands is per channel, else None."""
        if all(self.tensor(parameter).rank == 0 for parameter in parameters):
            return None
        return data.shape[self.axis("axis", data.rank)]

    def choice(self, name: str, allowed: tuple[str, ...]) -> str:
        """A string attribute that is one of `allowed`."""
        value = self.attributes.string(name)
        if value not in allowed:
            raise self.error(f"attribute {name}", f"must be {_one_of(allowed)}, not {value!r}")
        return value

    def formula(self, *allowed: Formula) -> Formula:
        """The attributes compute_dtype and rounding, which together must be one of `allowed`."""
        pair = (self.attributes.string("compute_dtype"), self.attributes.string("rounding"))
        for compute, rounding in allowed:
            if pair == (compute.value, rounding.value):
                return compute, rounding
        known = ", ".join(f"{compute.value}/{rounding.value}" for compute, rounding in allowed)
        raise self.error(
            "attributes compute_dtype and rounding", f"must be one of {known}, not {pair[0]}/{pair[1]}"
        )

    def block(self, name: str = "tail_block") -> int:
        """A non-negative block length attribute."""
        value = self.attributes.integer(name)
        if value < 0:
            raise self.error(f"attribute {name}", f"must not be negative, not {value}")
        return value

    def positive(self, name: str, count: int) -> tuple[int, ...]:
        """`count` integers of at least one."""
        values = self.attributes.integers(name, count)
        if any(value < 1 for value in values):
            raise self.error(f"attribute {name}", f"must hold positive values, not {list(values)}")
        return values

    def not_negative(self, name: str, count: int) -> tuple[int, ...]:
        """`count` integers of at least zero."""
        values = self.attributes.integers(name, count)
        if any(value < 0 for value in values):
            raise self.error(f"attribute {name}", f"must not hold negative values, not {list(values)}")
        return values


def broadcast_shape(view: CallView, left: str, right: str) -> tuple[int, ...]:
    """The shape to which two operands broadcast."""
    one, other = view.tensor(left).shape, view.tensor(right).shape
    try:
        return tuple(int(extent) for extent in np.broadcast_shapes(one, other))
    except ValueError:
        raise view.error(f"{left} and {right}", f"do not broadcast: {list(one)} and {list(other)}") from None


def _one_of(values: tuple[str, ...]) -> str:
    values = tuple(value or "empty" for value in values)
    return values[0] if len(values) == 1 else f"{', '.join(values[:-1])} or {values[-1]}"
