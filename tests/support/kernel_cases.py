"""Single operators (and short chains) whose kernels must equal the dialect's NumPy reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax

from autotune_qnn import dialect
from autotune_qnn.dialect import constant

Shape = tuple[int, ...]

# (compute_dtype, rounding, tail_rounding, tail_block, tail_axis) of each arithmetic of a requantize.
XNNPACK = ("float32", "TONEAREST", "", 0, "channel")
REFERENCE = ("int64", "TFLITE", "", 0, "channel")
BUILTIN = ("int64", "RUY", "", 0, "channel")
BUILTIN_CHANNELS = ("int64", "RUY", "TFLITE", 8, "channel")
BUILTIN_FLAT = ("int64", "RUY", "TFLITE", 16, "flat")
FULLY_CONNECTED = ("float64", "AWAY", "", 0, "channel")
EIGHT_BIT = ("int32", "UPWARD", "", 0, "channel")
ACCUMULATORS = (XNNPACK, REFERENCE, BUILTIN, BUILTIN_CHANNELS, BUILTIN_FLAT, FULLY_CONNECTED)


class Bench:
    """Builds one case: random constants, and calls whose results are bound to variables."""

    def __init__(self, builder: Any, dtype: str, seed: int) -> None:
        self.builder, self.dtype = builder, dtype
        self.rng = np.random.default_rng(seed)
        self.zero = self.integer(-5 if dtype == "int8" else 3)
        self.other_zero = self.integer(4 if dtype == "int8" else 131)
        self.lowest = self.integer(-128 if dtype == "int8" else 0)

    def __call__(self, call: Any) -> Any:
        return self.builder.emit(call)

    def real(self, value: Any) -> Any:
        return constant(value, "float32")

    def integer(self, value: Any) -> Any:
        return constant(value, "int32")

    def array(self, shape: Shape, dtype: str = "") -> Any:
        """A constant from the whole range of an 8-bit dtype."""
        info = np.iinfo(dtype or self.dtype)
        return constant(self.rng.integers(info.min, info.max + 1, shape), dtype or self.dtype)

    def convolved(self, x: Any, channels: int, kernel: Shape = (3, 3), **options: Any) -> Any:
        """int32 accumulators of a convolution, with a bias."""
        options = {"strides": (1, 1), "padding": (0, 0, 0, 0), "groups": 1, "zero": 0, **options}
        wide = options.pop("zero")
        transposed = options.pop("transposed", False)
        construct = dialect.conv2d_transpose if transposed else dialect.conv2d
        depth = int(x.ty.shape[3]) // options["groups"]
        weights = self.array((channels, *kernel, depth), "uint8" if wide > 0 else "int8")
        parameters = (self.zero, self.integer(wide), self.real(0.1), self.real(0.01))
        result = self(construct(x, weights, *parameters, kernel_size=kernel, channels=channels, **options))
        return self(relax.op.add(result, self.bias(channels)))

    def bias(self, channels: int) -> Any:
        return self.integer(self.rng.integers(-3000, 3000, channels))

    def rescaled(self, x: Any, arithmetic: Sequence[Any], terms: int, per_channel: bool = False) -> Any:
        """Sums of `terms` products in the 8-bit dtype, spread over its range."""
        compute, rounding, tail, block, axis = arithmetic
        scale = 0.011 / terms**0.5 * self.rng.uniform(0.3, 1.5, int(x.ty.shape[-1]) if per_channel else ())
        return self(
            dialect.requantize(
                x,
                constant(scale, "float32" if compute == "float32" else "float64"),
                self.integer(0),
                self.real(1.0),
                self.zero,
                compute_dtype=compute,
                rounding=rounding,
                tail_rounding=tail,
                tail_block=block,
                tail_axis=axis,
                out_dtype=self.dtype,
            )
        )


@dataclass(frozen=True)
class Case:
    """One operator in one arithmetic: how to build it, and the shapes of its inputs, a tuple for each use.

    It is built for every one of `dtypes`; its inputs are of that dtype, or of `source` where that is given.
    """

    name: str
    build: Callable[..., Any]
    shapes: tuple[tuple[Shape, ...], ...]
    every_isa: bool = False
    dtypes: tuple[str, ...] = ("int8", "uint8")
    source: str = ""


def case(name: str, build: Callable[..., Any], *shapes: Shape | list[Shape], **options: Any) -> Case:
    """A case whose inputs are one tensor a shape, or several where a list of shapes is given."""
    return Case(name, build, tuple(tuple(s) if isinstance(s, list) else (s,) for s in shapes), **options)


@dataclass(frozen=True)
class CaseModule:
    """A module that uses a case's operator once for every dtype and tuple of shapes.

    `labels` names its outputs.
    """

    mod: Any
    inputs: tuple[tuple[Shape, str], ...]
    labels: tuple[str, ...]


def module(case_: Case) -> CaseModule:
    """Build a case."""
    uses = [(dtype, shapes) for dtype in case_.dtypes for shapes in case_.shapes]
    inputs = [(shape, case_.source or dtype) for dtype, shapes in uses for shape in shapes]
    parameters = [relax.Var(f"x{i}", relax.TensorType(*kind)) for i, kind in enumerate(inputs)]
    rest, results, labels = list(parameters), [], []
    builder = relax.BlockBuilder()
    with builder.function("main", parameters):
        with builder.dataflow():
            for place, (dtype, shapes) in enumerate(uses):
                operands, rest = rest[: len(shapes)], rest[len(shapes) :]
                result = case_.build(Bench(builder, dtype, place), *operands)
                fields = result.fields if isinstance(result, relax.Tuple) else [result]
                results += [
                    field if isinstance(field, relax.Var) else builder.emit(field) for field in fields
                ]
                labels += [f"{dtype} {shapes} [{field}]" for field in range(len(fields))]
            output = builder.emit_output(relax.Tuple(results) if len(results) > 1 else results[0])
        builder.emit_func_output(output)
    return CaseModule(builder.get(), tuple(inputs), tuple(labels))
