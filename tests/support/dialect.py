"""Building one-operator modules of the dialect and running their reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import relax

from autotune_qnn.dialect import constant, reference


def scale(value: Any) -> Any:
    return constant(value, "float32")


def zero(value: Any) -> Any:
    return constant(value, "int32")


def variable(shape: tuple[int, ...], dtype: str, name: str = "x") -> Any:
    return relax.Var(name, relax.TensorType(shape, dtype))


def module(build: Callable[..., Any], *types: tuple[tuple[int, ...], str]) -> Any:
    """A module whose main takes one parameter a type and returns what `build` makes of them."""
    parameters = [variable(shape, dtype, f"x{index}") for index, (shape, dtype) in enumerate(types)]
    builder = relax.BlockBuilder()
    with builder.function("main", parameters):
        with builder.dataflow():
            result = builder.emit_output(builder.emit(build(*parameters)))
        builder.emit_func_output(result)
    return builder.get()


def evaluate(build: Callable[..., Any], *inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The single output of `build` on the inputs, which type inference and the reference agree on."""
    mod = module(build, *((array.shape, str(array.dtype)) for array in inputs))
    (result,) = reference.run(mod, inputs)
    return result
