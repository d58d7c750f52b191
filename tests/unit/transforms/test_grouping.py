"""Which operators become one kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax

from autotune_qnn import dialect
from autotune_qnn.transforms.grouping import find_groups, operator_name
from tests.support.networks import ConvCase


def _names(mod: Any) -> list[list[str]]:
    groups = find_groups(mod["main"])
    return [[operator_name(call).rsplit(".", 1)[-1] for _, call in group.steps] for group in groups]


def test_a_convolution_takes_its_epilogue_and_residual() -> None:
    mod = ConvCase(8, 8, 16, 16, 3, 1, 1, residual=True).module()
    assert _names(mod) == [["conv2d", "add", "requantize", "clip", "add"]]


def _requantize(data: Any) -> Any:
    scale, zero = dialect.constant(1.0, "float32"), dialect.constant(0, "int32")
    return dialect.requantize(
        data, scale, zero, scale, zero, rounding="TONEAREST", compute_dtype="float32", out_dtype="uint8"
    )


def test_a_result_with_two_users_ends_its_group() -> None:
    builder = relax.BlockBuilder()
    data = relax.Var("data", relax.TensorType((1, 4), "uint8"))
    with builder.function("main", [data]):
        with builder.dataflow():
            first = builder.emit(_requantize(data))
            second = builder.emit(_requantize(first))
            third = builder.emit(relax.op.maximum(first, second))
            output = builder.emit_output(third)
        builder.emit_func_output(output)
    assert _names(builder.get()) == [["requantize"], ["requantize", "maximum"]]


def test_float_arithmetic_is_left_to_relax() -> None:
    builder = relax.BlockBuilder()
    data = relax.Var("data", relax.TensorType((1, 4), "float32"))
    with builder.function("main", [data]):
        with builder.dataflow():
            total = builder.emit(relax.op.add(data, dialect.constant(np.ones(4, np.float32))))
            output = builder.emit_output(relax.op.clip(total, 0, 6))
        builder.emit_func_output(output)
    assert _names(builder.get()) == []
