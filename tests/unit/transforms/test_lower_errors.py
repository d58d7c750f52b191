"""What cannot be lowered is one error, and nothing else on stderr."""

from __future__ import annotations

import pytest
from tvm import relax

from autotune_qnn import dialect
from autotune_qnn.engines.relax import TargetSpec, lower
from autotune_qnn.errors import BuildError


def test_weights_that_are_not_constant(capfd: pytest.CaptureFixture[str]) -> None:
    builder = relax.BlockBuilder()
    data = relax.Var("data", relax.TensorType((1, 8), "uint8"))
    weights = relax.Var("weights", relax.TensorType((4, 8), "int8"))
    zero, scale = dialect.constant(0, "int32"), dialect.constant(0.1, "float32")
    with builder.function("main", [data, weights]):
        with builder.dataflow():
            product = builder.emit(dialect.dense(data, weights, zero, zero, scale, scale, units=4))
            output = builder.emit_output(product)
        builder.emit_func_output(output)
    with pytest.raises(BuildError, match=r"qnn\.dense: operand 1 must be a constant"):
        lower(builder.get(), TargetSpec.parse("llvm -mcpu=cascadelake"), 1)
    assert capfd.readouterr().err == ""
