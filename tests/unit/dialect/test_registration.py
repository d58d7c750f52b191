from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.ir import Op, register_op_attr

from autotune_qnn import dialect
from autotune_qnn.dialect import constant, reference
from autotune_qnn.dialect.registry import OperatorSpec, make_call, reference_of, register
from autotune_qnn.dialect.view import CallView, TensorView
from autotune_qnn.errors import DialectError
from tests.support.dialect import module, scale, variable, zero

RELAY_NAMES = (
    "quantize",
    "dequantize",
    "requantize",
    "conv2d",
    "conv2d_transpose",
    "dense",
    "batch_matmul",
    "add",
    "subtract",
    "mul",
    "concatenate",
    "leaky_relu",
    "softmax",
    "avg_pool2d",
    "tanh",
    "exp",
    "sqrt",
    "rsqrt",
    "erf",
    "sigmoid",
    "hardswish",
    "log",
    "abs",
)


def _small_network() -> Any:
    kernel = constant(np.ones((8, 3, 3, 4), np.int8))

    def build(x: Any) -> Any:
        accumulator = dialect.conv2d(
            x,
            kernel,
            zero(3),
            zero(0),
            scale(0.5),
            scale(np.full(8, 0.25)),
            kernel_size=(3, 3),
            channels=8,
            strides=(2, 2),
            padding=(0, 1, 1, 0),
        )
        biased = relax.op.add(accumulator, constant(np.arange(8, dtype=np.int32)))
        return dialect.requantize(
            biased,
            scale(np.full(8, 0.125)),
            zero(0),
            scale(1.5),
            zero(-7),
            rounding="TONEAREST",
            compute_dtype="float32",
            out_dtype="int8",
        )

    return module(build, ((1, 6, 6, 4), "uint8"))


def test_every_operator_of_relay_is_there() -> None:
    names = set(dialect.operator_names())
    assert {f"qnn.{name}" for name in RELAY_NAMES} <= names
    assert {"qnn.mean", "qnn.prelu", "qnn.resize2d"} <= names


@pytest.mark.parametrize("name", dialect.operator_names())
def test_operators_are_complete(name: str) -> None:
    operator = Op.get(name)
    operands = dialect.operand_names(name)
    assert operator.num_inputs == len(operands)
    assert [str(argument.name) for argument in operator.arguments] == list(operands)
    assert operator.get_attr("FPurity")
    assert operator.get_attr("FInferType") is not None
    assert reference_of(name) is not None
    assert callable(getattr(dialect, name.removeprefix("qnn.")))


def test_an_unknown_operator_has_no_operands() -> None:
    with pytest.raises(DialectError, match=r"qnn\.nothing"):
        dialect.operand_names("qnn.nothing")


def test_the_printed_form_names_operators_and_attributes() -> None:
    text = _small_network().script()
    assert '"qnn.conv2d"' in text
    assert '"qnn.requantize"' in text
    for attribute in (
        '"strides": [2, 2]',
        '"padding": [0, 1, 1, 0]',
        '"groups": 1',
        '"kernel_layout": "OHWI"',
    ):
        assert attribute in text
    for attribute in ('"rounding": "TONEAREST"', '"compute_dtype": "float32"', '"out_dtype": "int8"'):
        assert attribute in text


def test_modules_are_saved_and_loaded() -> None:
    mod = _small_network()
    again = tvm.ir.load_json(tvm.ir.save_json(mod))
    tvm.ir.assert_structural_equal(mod, again)
    data = np.random.default_rng(0).integers(0, 256, (1, 6, 6, 4)).astype(np.uint8)
    assert np.array_equal(reference.run(mod, [data])[0], reference.run(again, [data])[0])
    call = next(binding.value for binding in again["main"].body.blocks[0].bindings)
    assert dialect.attr(call, "padding") == (0, 1, 1, 0)
    assert dialect.attr_ints(call, "strides") == (2, 2)
    assert dialect.attr_str(call, "data_layout") == "NHWC"
    assert dialect.attr_int(call, "channels") == 8


def test_attributes_are_typed() -> None:
    call = dialect.avg_pool2d(
        variable((1, 4, 4, 1), "int8"),
        *[scale(1), zero(0)] * 2,
        pool_size=(2, 2),
        strides=(2, 2),
        padding=(0, 0, 0, 0),
    )
    assert dialect.attr_bool(call, "ceil_mode") is False
    with pytest.raises(
        DialectError, match=r"qnn\.avg_pool2d: attribute layout must be an integer, not 'NHWC'"
    ):
        dialect.attr_int(call, "layout")
    with pytest.raises(DialectError, match=r"qnn\.avg_pool2d: attribute alpha is missing"):
        dialect.attr_float(call, "alpha")
    leaky = dialect.leaky_relu(
        variable((1,), "int8"), *[scale(1), zero(0)] * 2, alpha=0.25, rounding="UPWARD", compute_dtype="int32"
    )
    assert dialect.attr_float(leaky, "alpha") == 0.25


def test_type_inference_of_the_block_builder_raises_dialect_errors() -> None:
    attrs = tvm.ir.make_node("ir.DictAttrs", units=4, out_dtype="int32")
    call = relax.Call(
        Op.get("qnn.dense"),
        [variable((1, 3), "int8"), variable((4, 2), "int8", "w"), zero(0), zero(0), scale(1), scale(1)],
        attrs,
    )
    with pytest.raises(DialectError, match=r"qnn\.dense: weight has 2 columns, data has 3"):
        relax.BlockBuilder().normalize(call)


def test_an_existing_operator_of_the_name_does_not_break_registration() -> None:
    name = "qnn.test_existing"
    register_op_attr(name, "FInferType", lambda call, builder: relax.TensorType((1,), "bool"))
    register_op_attr(name, "FPurity", True)
    Op.get(name).set_num_inputs(1)
    Op.get(name).add_argument("x", "Tensor", "")

    def infer(view: CallView) -> TensorView:
        return view.data("x")

    register(OperatorSpec(name, ("x",), infer))
    register(OperatorSpec(name, ("x",), infer))
    call = relax.BlockBuilder().normalize(make_call(name, [variable((2, 3), "int8")], {"unused": 1}))
    assert str(call.ty.dtype) == "int8"
    assert len(Op.get(name).arguments) == 1


def test_importing_again_is_harmless_and_light() -> None:
    program = (
        "import importlib, sys\n"
        "import autotune_qnn.dialect as first\n"
        "assert 'tvm.s_tir.tensor_intrin' not in sys.modules, 'hundreds of intrinsics parsed'\n"
        "for name in [n for n in sys.modules if n.startswith('autotune_qnn')]: del sys.modules[name]\n"
        "import autotune_qnn.dialect as second\n"
        "from tvm import relax\n"
        "x = relax.Var('x', relax.TensorType((2,), 'int8'))\n"
        "one, zero = second.constant(1.0, 'float32'), second.constant(0, 'int32')\n"
        "call = second.tanh(x, one, zero, one, zero, rounding='AWAY')\n"
        "print(relax.BlockBuilder().normalize(call).ty)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "int8" in done.stdout


def test_constants_keep_their_dtype() -> None:
    wide = constant(np.float64(0.1))
    assert str(wide.ty.dtype) == "float64"
    value = dialect.constant_value(wide)
    assert value is not None
    assert value.dtype == np.float64
    assert float(value) == 0.1
    assert dialect.constant_value(variable((1,), "int8")) is None
