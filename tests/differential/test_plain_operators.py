"""The NumPy references of plain Relax operators against what TVM compiles them to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
from tvm import relax

from autotune_qnn.dialect import constant, reference
from tests.support.dialect import variable

op = relax.op
Builder = Callable[..., Any]

EXACT: dict[str, Builder] = {
    "relu": lambda q, f, i: op.nn.relu(q),
    "clip": lambda q, f, i: op.clip(q, -5, 90),
    "clip_float": lambda q, f, i: op.clip(f, -0.5, 0.9),
    "max_pool": lambda q, f, i: op.nn.max_pool2d(q, (3, 2), (2, 1), (1, 0, 1, 1), layout="NHWC"),
    "max_pool_ceil": lambda q, f, i: op.nn.max_pool2d(
        q, (2, 2), (2, 2), (0, 0, 0, 0), ceil_mode=True, layout="NHWC"
    ),
    "pad": lambda q, f, i: op.nn.pad(q, [0, 0, 1, 2, 0, 1, 0, 0], "constant", -7),
    "pad_reflect": lambda q, f, i: op.nn.pad(f, [0, 0, 1, 2, 0, 1, 0, 0], "reflect"),
    "reshape": lambda q, f, i: op.reshape(q, (7, -1)),
    "permute": lambda q, f, i: op.permute_dims(q, [0, 3, 1, 2]),
    "reverse": lambda q, f, i: op.permute_dims(q),
    "split": lambda q, f, i: relax.TupleGetItem(op.split(q, [1, 4], 1), 1),
    "slice": lambda q, f, i: op.strided_slice(q, [1, 2], [0, -3], [7, 5], [3, 1]),
    "slice_back": lambda q, f, i: op.strided_slice(q, [1], [6], [-8], [-2]),
    "take": lambda q, f, i: op.take(q, i, 1),
    "take_clip": lambda q, f, i: op.take(q, op.multiply(i, constant(np.int64(4))), 2, mode="clip"),
    "concat": lambda q, f, i: op.concat([q, q], 2),
    "stack": lambda q, f, i: op.stack([f, f], 1),
    "squeeze": lambda q, f, i: op.squeeze(q, [0]),
    "expand": lambda q, f, i: op.expand_dims(q, [0, 2]),
    "argmax": lambda q, f, i: op.argmax(q, 3),
    "argmin_kept": lambda q, f, i: op.argmin(q, 1, True),
    "sum": lambda q, f, i: op.sum(op.astype(q, "int32"), [1, 2]),
    "maximum": lambda q, f, i: op.maximum(q, constant(np.int8(3))),
    "negative": lambda q, f, i: op.negative(q),
    "abs": lambda q, f, i: op.abs(q),
    "xor": lambda q, f, i: op.bitwise_xor(q, constant(np.int8(-128))),
    "shift": lambda q, f, i: op.right_shift(op.astype(q, "int32"), constant(np.int32(2))),
    "divide": lambda q, f, i: op.divide(op.astype(q, "int32"), constant(np.int32(3))),
    "to_float": lambda q, f, i: op.astype(q, "float32"),
    "to_int": lambda q, f, i: op.astype(op.multiply(f, constant(np.float32(9.7))), "int32"),
    "where": lambda q, f, i: op.where(op.greater(q, constant(np.int8(0))), q, constant(np.int8(9))),
    "full": lambda q, f, i: op.full((2, 3), constant(np.float32(1.5)), "float32"),
    "nearest": lambda q, f, i: op.image.resize2d(
        q,
        (14, 10),
        layout="NHWC",
        method="nearest_neighbor",
        coordinate_transformation_mode="asymmetric",
        rounding_method="floor",
    ),
    "nearest_half": lambda q, f, i: op.image.resize2d(
        q,
        (3, 9),
        layout="NHWC",
        method="nearest_neighbor",
        coordinate_transformation_mode="half_pixel",
        rounding_method="floor",
    ),
    "repeat": lambda q, f, i: op.repeat(q, 2, 1),
    "tile": lambda q, f, i: op.tile(q, [1, 2]),
    "flip": lambda q, f, i: op.flip(q, 1),
    "broadcast": lambda q, f, i: op.broadcast_to(constant(np.arange(4, dtype=np.int8)), (3, 4)),
}
CLOSE: dict[str, Builder] = {
    "mean": lambda q, f, i: op.mean(f, [1, 2], True),
    "softmax": lambda q, f, i: op.nn.softmax(f, -1),
    "log_softmax": lambda q, f, i: op.nn.log_softmax(f, -1),
    "exp": lambda q, f, i: op.exp(f),
    "sqrt": lambda q, f, i: op.sqrt(op.abs(f)),
    "rsqrt": lambda q, f, i: op.rsqrt(op.add(op.abs(f), constant(np.float32(1)))),
    "tanh": lambda q, f, i: op.tanh(f),
    "sigmoid": lambda q, f, i: op.sigmoid(f),
    "silu": lambda q, f, i: op.nn.silu(f),
    "erf": lambda q, f, i: op.erf(f),
    "leaky": lambda q, f, i: op.nn.leakyrelu(f, 0.2),
    "matmul": lambda q, f, i: op.matmul(f, op.permute_dims(f, [0, 1, 3, 2])),
    "conv": lambda q, f, i: op.nn.conv2d(
        f,
        constant(np.linspace(-1, 1, 6 * 9 * 2).reshape(6, 3, 3, 2), "float32"),
        (2, 1),
        (1, 0, 1, 1),
        groups=2,
        data_layout="NHWC",
        kernel_layout="OHWI",
    ),
    "avg_pool": lambda q, f, i: op.nn.avg_pool2d(f, (2, 3), (2, 2), (1, 1, 0, 1), layout="NHWC"),
    "avg_pool_padded": lambda q, f, i: op.nn.avg_pool2d(
        f, (2, 3), (2, 2), (1, 1, 0, 1), count_include_pad=True, layout="NHWC"
    ),
    "adaptive": lambda q, f, i: op.nn.adaptive_avg_pool2d(f, (3, 2), layout="NHWC"),
    "power": lambda q, f, i: op.power(op.abs(f), constant(np.float32(1.5))),
}


def test_references_agree_with_compiled_operators() -> None:
    parameters = [
        variable((1, 7, 5, 4), "int8", "q"),
        variable((1, 7, 5, 4), "float32", "f"),
        variable((3,), "int64", "i"),
    ]
    cases = {**EXACT, **CLOSE}
    builder = relax.BlockBuilder()
    with builder.function("main", parameters):
        with builder.dataflow():
            outputs = [builder.emit(case(*parameters), name) for name, case in cases.items()]
            result = builder.emit_output(relax.Tuple(outputs))
        builder.emit_func_output(result)
    mod = builder.get()
    rng = np.random.default_rng(0)
    inputs = [
        rng.integers(-128, 128, (1, 7, 5, 4)).astype(np.int8),
        rng.normal(0, 1, (1, 7, 5, 4)).astype(np.float32),
        np.array([2, 0, 1], np.int64),
    ]
    machine = relax.VirtualMachine(tvm.compile(mod, tvm.target.Target({"kind": "llvm"})), tvm.cpu())
    compiled = machine["main"](*(tvm.runtime.tensor(value) for value in inputs))
    for name, ours, theirs in zip(cases, reference.run(mod, inputs), compiled, strict=True):
        wanted = theirs.numpy()
        assert ours.dtype == wanted.dtype, name
        if name in EXACT:
            assert np.array_equal(ours, wanted), name
        else:
            assert np.allclose(ours, wanted, rtol=1e-5, atol=1e-6), name
