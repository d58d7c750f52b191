"""Small networks in the QNN dialect for tests of lowering and templates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax

from autotune_qnn import dialect


@dataclass(frozen=True)
class ConvCase:
    """A convolution with bias, requantize and clip, optionally with a residual addition of its input."""

    height: int
    width: int
    channels: int
    outputs: int
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1
    dtype: str = "uint8"
    weight_zero_point: int = 0
    residual: bool = False
    batch: int = 1
    accumulation: str = "EXACT"

    def module(self, seed: int = 0) -> Any:
        """The network, with random weights."""
        rng = np.random.default_rng(seed)
        shape = (self.outputs, self.kernel, self.kernel, self.channels // self.groups)
        if self.weight_zero_point:
            weights = rng.integers(0, 256, shape).astype(np.uint8)
        else:
            weights = rng.integers(-127, 128, shape).astype(np.int8)
        builder = relax.BlockBuilder()
        data_type = relax.TensorType((self.batch, self.height, self.width, self.channels), self.dtype)
        data = relax.Var("data", data_type)
        window = self.kernel * self.kernel * self.channels // self.groups
        scale = np.float32(60 * 40 * np.sqrt(window) / 60)
        with builder.function("main", [data]):
            with builder.dataflow():
                product = builder.emit(self._product(data, weights))
                bias = rng.integers(-3000, 3000, self.outputs).astype(np.int32)
                biased = builder.emit(relax.op.add(product, dialect.constant(bias)))
                result = builder.emit(
                    dialect.requantize(
                        biased,
                        dialect.constant(1.0, "float32"),
                        dialect.constant(0, "int32"),
                        dialect.constant(scale, "float32"),
                        dialect.constant(5, "int32"),
                        rounding="TONEAREST",
                        compute_dtype="float32",
                        out_dtype=self.dtype,
                    )
                )
                result = builder.emit(relax.op.clip(result, 2, 120))
                if self.residual:
                    result = builder.emit(_residual(result, data))
                output = builder.emit_output(result)
            builder.emit_func_output(output)
        return builder.get()

    def _product(self, data: Any, weights: np.ndarray[Any, Any]) -> Any:
        return dialect.conv2d(
            data,
            dialect.constant(weights),
            dialect.constant(3, "int32"),
            dialect.constant(self.weight_zero_point, "int32"),
            dialect.constant(0.02, "float32"),
            dialect.constant(0.01, "float32"),
            kernel_size=(self.kernel, self.kernel),
            channels=self.outputs,
            strides=(self.stride, self.stride),
            padding=(self.padding,) * 4,
            dilation=(self.dilation, self.dilation),
            groups=self.groups,
            accumulation=self.accumulation,
        )


def _residual(result: Any, data: Any) -> Any:
    parameters = (0.1, 5, 0.05, 3, 0.2, 1)
    constants = [
        dialect.constant(value, "int32" if place % 2 else "float32") for place, value in enumerate(parameters)
    ]
    return dialect.add(result, data, *constants, rounding="UPWARD", compute_dtype="int32")


CONVOLUTIONS = (
    ConvCase(14, 14, 96, 24),
    ConvCase(15, 15, 3, 20, 3, 2, 1),
    ConvCase(9, 9, 17, 33, 3, 1, 1),
    ConvCase(14, 14, 32, 32, 3, 1, 1, groups=32),
    ConvCase(14, 14, 64, 64, 3, 2, 1, groups=64, dtype="int8"),
    ConvCase(10, 14, 96, 96, 4, 1, 1, groups=96, weight_zero_point=130),
    ConvCase(14, 14, 40, 40, 5, 2, 2, groups=40),
    ConvCase(9, 9, 24, 24, 7, 1, 3, groups=24, weight_zero_point=130),
    ConvCase(8, 6, 48, 48, 7, 1, 3, groups=48),
    ConvCase(9, 9, 32, 64, 3, 1, 1, groups=4),
    ConvCase(8, 8, 16, 16, 5, 1, 2, residual=True),
    ConvCase(14, 14, 96, 24, weight_zero_point=120),
    ConvCase(14, 14, 32, 32, 3, 1, 1, groups=32, weight_zero_point=130),
    ConvCase(12, 12, 24, 24, 3, 2, 1, groups=24, weight_zero_point=130),
    ConvCase(12, 14, 40, 40, 3, 1, 1, groups=40, accumulation="PAIRS_INT16"),
    ConvCase(37, 37, 8, 16, 3, 1, 1),
    ConvCase(11, 11, 8, 16, 3, 1, 2, dilation=2),
    ConvCase(1, 1, 64, 100),
    ConvCase(7, 7, 12, 1, 3, 1, 1),
    ConvCase(7, 5, 1, 12, 3, 1, 1, dtype="int8", batch=2),
)
"""Shapes with every kind of awkwardness: few and odd channels, borders, groups, wide images, zero points."""
