from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax

from autotune_qnn import dialect
from autotune_qnn.dialect import constant, reference
from autotune_qnn.errors import DialectError
from tests.support.dialect import module, scale, variable, zero

NEAREST = {"rounding": "TONEAREST", "compute_dtype": "float32"}


def _two_outputs() -> Any:
    x = variable((2, 4), "int8")
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            parts = builder.emit(relax.op.split(x, 2, 1), "parts")
            first = builder.emit(relax.op.nn.relu(relax.TupleGetItem(parts, 0)), "first")
            second = builder.emit(relax.op.negative(parts[1]), "second")
            result = builder.emit_output(relax.Tuple([first, second]))
        builder.emit_func_output(result)
    return builder.get()


DATA = np.array([[1, -2, 3, -4], [5, 6, 7, 8]], np.int8)


def test_tuples_come_out_as_a_flat_list() -> None:
    first, second = reference.run(_two_outputs(), [DATA])
    assert first.tolist() == [[1, 0], [5, 6]]
    assert second.tolist() == [[-3, 4], [-7, -8]]


def test_intermediates_follow_the_outputs() -> None:
    values = reference.run(_two_outputs(), [DATA], intermediates=True)
    names = [name for name, _ in reference.bindings(_two_outputs(), [DATA])]
    named = [name for name in names if not name.startswith(("lv", "gv"))]
    assert named == ["parts.0", "parts.1", "first", "second"]
    assert len(values) == 2 + len(names)
    assert values[2].tolist() == [[1, -2], [5, 6]]


def test_functions_call_functions_of_the_module() -> None:
    mod = module(lambda x: relax.op.add(x, constant(np.int8(1))), ((3,), "int8"))
    builder = relax.BlockBuilder(mod)
    x = variable((3,), "int8")
    with builder.function("outer", [x]):
        builder.emit_func_output(builder.emit(relax.Call(mod.get_global_var("main"), [x])))
    assert reference.run(builder.get(), [np.arange(3, dtype=np.int8)], function="outer")[0].tolist() == [
        1,
        2,
        3,
    ]


def test_fused_functions_run_alike() -> None:
    def build(x: Any) -> Any:
        widened = relax.op.astype(x, "int32")
        return relax.op.maximum(relax.op.multiply(widened, constant(np.int32(3))), constant(np.int32(-5)))

    mod = relax.transform.Normalize()(module(build, ((2, 4), "int8")))
    patterns = [("whole", relax.dpl.is_op("relax.maximum")(relax.dpl.wildcard(), relax.dpl.wildcard()))]
    fused = relax.transform.FuseOpsByPattern(patterns)(mod)
    assert len(fused.functions) > 1
    assert np.array_equal(reference.run(mod, [DATA])[0], reference.run(fused, [DATA])[0])


def test_a_network_by_hand() -> None:
    kernel = constant(np.array([1, 2, -1, 3], np.int8).reshape(2, 1, 1, 2))

    def build(x: Any) -> Any:
        accumulator = dialect.conv2d(
            x,
            kernel,
            zero(1),
            zero(0),
            scale(1),
            scale(1),
            kernel_size=(1, 1),
            channels=2,
            strides=(1, 1),
            padding=(0, 0, 0, 0),
        )
        biased = relax.op.add(accumulator, constant(np.array([10, -10], np.int32)))
        narrow = dialect.requantize(
            biased, scale(0.5), zero(0), scale(1), zero(3), out_dtype="int8", **NEAREST
        )
        return relax.op.clip(narrow, 3, 100)

    data = np.array([2, 3], np.uint8).reshape(1, 1, 1, 2)
    # (1 + 4 + 10)/2 = 7.5 → 8, + 3; (−1 + 6 − 10)/2 = −2.5 → −2, + 3, clipped to 3.
    assert reference.run(module(build, ((1, 1, 1, 2), "uint8")), [data])[0].ravel().tolist() == [11, 3]


def test_operators_without_reference_are_all_named() -> None:
    def build(x: Any) -> Any:
        return relax.op.add(relax.op.acosh(relax.op.tan(x)), relax.op.tan(x))

    with pytest.raises(DialectError) as caught:
        reference.run(module(build, ((2,), "float32")), [np.zeros(2, np.float32)])
    assert str(caught.value) == "no reference for these operators: relax.acosh (1), relax.tan (2)"


def test_inputs_are_checked() -> None:
    mod = module(relax.op.nn.relu, ((2,), "int8"))
    with pytest.raises(DialectError, match="takes 1 inputs, got 2"):
        reference.run(mod, [np.zeros(2, np.int8)] * 2)
    with pytest.raises(DialectError, match="input x0 is int16, expected int8"):
        reference.run(mod, [np.zeros(2, np.int16)])
    with pytest.raises(DialectError, match=r"input x0 has shape \[3\], expected \[2\]"):
        reference.run(mod, [np.zeros(3, np.int8)])
    with pytest.raises(DialectError, match="no Relax function 'other'"):
        reference.run(mod, [np.zeros(2, np.int8)], function="other")


def test_a_scalar_multiplier_is_no_operator_of_the_dialect() -> None:
    call = relax.op.tan(variable((2,), "float32"))
    with pytest.raises(DialectError, match=r"relax\.tan"):
        reference.evaluate_call(call, [np.zeros(2, np.float32)])


def test_integers_wrap_and_divide_toward_zero() -> None:
    mod = module(relax.op.divide, ((4,), "int32"), ((4,), "int32"))
    got = reference.run(mod, [np.array([7, -7, 7, -7], np.int32), np.array([2, 2, -2, -2], np.int32)])[0]
    assert got.tolist() == [3, -3, -3, 3]
    mod = module(relax.op.add, ((1,), "int8"), ((1,), "int8"))
    assert reference.run(mod, [np.array([127], np.int8), np.array([1], np.int8)])[0].tolist() == [-128]


def test_saved_modules_run_alike() -> None:
    mod = _two_outputs()
    again = tvm.ir.load_json(tvm.ir.save_json(mod))
    for one, other in zip(reference.run(mod, [DATA]), reference.run(again, [DATA]), strict=True):
        assert np.array_equal(one, other)
