"""The attribute `engine`: whose kernels an operator follows, and how those depend on an element's place in memory.

Operators with `engine=""` compute TFLite's formulas, named by `compute_dtype` and `rounding`, and have float32
scales. With `engine="pytorch"` (the formulas that fbgemm, oneDNN and x86 share) or `"qnnpack"` they compute
PyTorch's, and scales are float64, as PyTorch keeps them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

import numpy as np

from autotune_qnn.dialect.attributes import Attributes
from autotune_qnn.dialect.numeric import Array
from autotune_qnn.dialect.view import SCALE_DTYPES, CallView
from autotune_qnn.quantization import ComputeDtype, Rounding


class Engine(StrEnum):
    """Whose elementwise, pooling and joining kernels an operator follows."""

    NONE = ""
    """None of PyTorch's: `compute_dtype` and `rounding` name the formula."""
    PYTORCH = "pytorch"
    """ATen's quantized CPU kernels, the same on fbgemm, onednn and x86."""
    QNNPACK = "qnnpack"
    """QNNPACK's kernels for quint8."""


class StageEngine(StrEnum):
    """How a convolution's or a linear layer's accumulators become stored integers."""

    FBGEMM = "fbgemm"
    ONEDNN = "onednn"
    ONEDNN_COMBINED = "onednn_combined"
    """oneDNN's dense convolutions on CPUs where its kernels take the product of both scales."""
    ONEDNN_DEPTHWISE = "onednn_depthwise"
    ONEDNN_LINEAR = "onednn_linear"
    QNNPACK = "qnnpack"
    DECOMPOSED = "decomposed"
    """Exported programs as they stand: float arithmetic between dequantize and quantize."""
    INDUCTOR = "inductor"
    """Exported programs as Inductor compiles them: oneDNN's layers with scales as they are."""


MEMORY_ORDERS = ("NHWC", "NCHW")
_FLOAT = (ComputeDtype.FLOAT32, Rounding.TONEAREST)
ELEMENTWISE_BLOCK = 64
"""Elements that one step of PyTorch's vectorized elementwise loops takes: two AVX2 vectors of 32 bytes, on AVX-512
machines too.
"""


def scale_dtypes(engine: Engine) -> tuple[str, ...]:
    """Dtypes of an operator's scales."""
    return SCALE_DTYPES if engine is Engine.NONE else ("float64",)


def engine_attributes(
    engine: str, memory_order: str, tail_block: int | None, block: int = 0
) -> dict[str, Any]:
    """The attributes engine, memory_order and tail_block; `block` is PyTorch's tail block where none is given."""
    chosen = block if engine == Engine.PYTORCH.value else 0
    return {
        "tail_block": chosen if tail_block is None else tail_block,
        "engine": engine,
        "memory_order": memory_order,
    }


def formula_attributes(
    engine: str,
    rounding: str,
    compute_dtype: str,
    qnnpack: tuple[ComputeDtype, Rounding] = _FLOAT,
    plain: tuple[ComputeDtype, Rounding] = _FLOAT,
) -> dict[str, Any]:
    """The attributes rounding and compute_dtype. Where they are not given: of engine qnnpack and without an engine
    those here, of engine pytorch rounded floats.
    """
    default = {Engine.QNNPACK.value: qnnpack, Engine.NONE.value: plain}.get(engine, _FLOAT)
    return {"rounding": rounding or default[1], "compute_dtype": compute_dtype or default[0]}


def engine_of(attrs: Attributes) -> Engine:
    """The engine of a call."""
    return Engine(attrs.string("engine"))


def checked_engine(view: CallView, *allowed: Engine, place_matters: bool = True) -> Engine:
    """The attribute engine during type inference, with memory_order and tail_block checked."""
    choices = tuple(engine.value for engine in (Engine.NONE, *allowed))
    engine = Engine(view.choice("engine", choices))
    order = view.choice("memory_order", MEMORY_ORDERS)
    if engine is Engine.NONE and order != "NHWC":
        raise view.error("attribute memory_order", f"must be NHWC without an engine, not {order!r}")
    if engine is Engine.PYTORCH and place_matters and not view.block():
        raise view.error("attribute tail_block", "must be positive for engine pytorch")
    return engine


def memory_axes(rank: int, memory_order: str) -> tuple[int, ...]:
    """The axes of an NHWC tensor (any rank, channels last) in the order in which PyTorch's memory holds them."""
    if memory_order == "NHWC" or rank < 3:
        return tuple(range(rank))
    return (0, rank - 1, *range(1, rank - 1))


def run_axes(
    shape: tuple[int, ...], operands: Sequence[tuple[int, ...]], memory_order: str
) -> tuple[int, ...]:
    """The innermost axes of the result, in the order of memory, over which PyTorch's loop counts its blocks.

    All of them where no operand is broadcast. Otherwise as many as every operand either has or repeats throughout:
    PyTorch runs one loop for each run of such elements.
    """
    padded = [(1,) * (len(shape) - len(operand)) + operand for operand in operands]
    axes = memory_axes(len(shape), memory_order)
    repeated: list[bool] | None = None
    for count, axis in enumerate(reversed(axes)):
        if shape[axis] == 1:
            continue
        state = [operand[axis] == 1 for operand in padded]
        if repeated is not None and state != repeated:
            return axes[len(axes) - count :]
        repeated = state
    return axes


def by_place(
    shape: tuple[int, ...],
    attrs: Attributes,
    body: Callable[..., Array],
    tail: Callable[..., Array],
    *operands: Array,
) -> Array:
    """`body` of the elements in whole blocks of tail_block, `tail` of those behind the last block of each run.

    Runs (see `run_axes`) are counted in the attribute memory_order. Operands broadcast to `shape`; both functions
    take arrays of equal shape and return one.
    """
    order = attrs.string("memory_order")
    axes = memory_axes(len(shape), order)
    run = run_axes(shape, [operand.shape for operand in operands], order)
    size = math.prod(shape[axis] for axis in run)
    rows = [np.broadcast_to(operand, shape).transpose(axes).reshape(-1, size) for operand in operands]
    block = attrs.integer("tail_block")
    boundary = size // block * block if block else size
    result = body(*(row[:, :boundary] for row in rows))
    if boundary < size:
        result = np.concatenate([result, tail(*(row[:, boundary:] for row in rows))], axis=1)
    ordered = result.reshape([shape[axis] for axis in axes])
    return np.ascontiguousarray(ordered.transpose(np.argsort(axes)) if axes else ordered)
