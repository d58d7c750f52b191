"""A tuning task: one kernel of a network, once for all the places where it occurs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

from autotune_qnn.dialect import reference
from autotune_qnn.kernels.storage import Storage
from autotune_qnn.kernels.templates.base import ScheduleTemplate
from autotune_qnn.transforms.grouping import with_variables


@dataclass(frozen=True)
class KernelReference:
    """What a kernel of QNN operators has to compute, in the dialect.

    Attributes:
        mod: a module whose "main" takes the kernel's activations and returns its output.
        inputs: shape, logical dtype and storage of each activation.
        constants: the arrays of the kernel's other parameters.
        output: storage of the output.
    """

    mod: Any
    inputs: tuple[tuple[tuple[int, ...], str, Storage], ...]
    constants: tuple[NDArray[Any], ...]
    output: Storage

    def arguments(self, rng: np.random.Generator) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
        """Inputs from the whole range of their dtypes, the layer's constants, and the NumPy reference's output."""
        logical = [_random(rng, shape, dtype) for shape, dtype, _ in self.inputs]
        stored = [
            to_storage(value, storage) for value, (_, _, storage) in zip(logical, self.inputs, strict=True)
        ]
        expected = [to_storage(value, self.output) for value in reference.run(self.mod, logical)]
        return [*stored, *self.constants], expected


@dataclass(frozen=True)
class PlainReference:
    """What a kernel of plain Relax operators has to compute: what TVM makes of it without a schedule.

    `outputs` counts the PrimFunc's last parameters that it writes.
    """

    mod: Any
    target: Any
    outputs: int

    def arguments(self, rng: np.random.Generator) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
        """Random inputs, and the output of the unscheduled kernel."""
        buffers = self.mod["main"].params
        arrays = [_random(rng, tuple(int(e) for e in buffer.shape), str(buffer.dtype)) for buffer in buffers]
        inputs = len(arrays) - self.outputs
        tensors = [tvm.runtime.tensor(array) for array in arrays]
        tvm.tirx.build(self.mod, target=self.target)["main"](*tensors)
        expected = [tensor.numpy() for tensor in tensors[inputs:]]
        return arrays[:inputs], expected


@dataclass(frozen=True)
class TuningTask:
    """One kernel to tune.

    Attributes:
        name: unique among a model's tasks, and readable.
        key: sha256 of the unscheduled kernel; equal kernels have equal keys, in every process.
        kind: "conv2d", "depthwise", "dense", "elementwise", ...
        weight: how often the model runs the kernel.
        mod: an IRModule with the unscheduled PrimFunc as "main".
        functions: names of the global functions of the lowered module that the task stands for.
        macs: multiply-accumulate operations of one run.
        schedule: the task's template, or None where only generated sketches apply.
        expected: gives arguments for a run, and the outputs that they must lead to.
    """

    name: str
    key: str
    kind: str
    weight: int
    mod: Any
    functions: tuple[str, ...]
    macs: int
    schedule: ScheduleTemplate | None
    expected: KernelReference | PlainReference

    def template(self) -> ScheduleTemplate | None:
        """The expert-written template, or None."""
        return self.schedule

    def arguments(self, seed: int) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
        """Random arguments for the kernel, outputs zeroed, and the expected outputs.

        Activations are drawn from the whole range of their dtype (floats: around zero), the other parameters
        are those of one of the layers. The expected output comes from the dialect's NumPy reference.
        """
        inputs, expected = self.expected.arguments(np.random.default_rng(seed))
        return [*inputs, *(np.zeros_like(value) for value in expected)], expected


def _random(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    if dtype.startswith("float"):
        return rng.normal(0.0, 4.0, shape).astype(dtype)
    info = np.iinfo(dtype)
    if info.bits > 16:
        return rng.integers(-(1 << 16), 1 << 16, shape).astype(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


def to_storage(value: NDArray[Any], storage: Storage) -> NDArray[Any]:
    """A logical array as the kernels keep it in memory."""
    if storage.offset == 0:
        return np.ascontiguousarray(value.astype(storage.dtype, copy=False))
    return np.ascontiguousarray((value.astype(np.int32) + storage.offset).astype(storage.dtype))


def reference_module(steps: tuple[tuple[Any, Any], ...], inputs: tuple[Any, ...]) -> Any:
    """A module that computes a group of dialect calls from the group's inputs."""
    builder = relax.BlockBuilder()
    parameters = [relax.Var(f"data{place}", variable.ty) for place, variable in enumerate(inputs)]
    replaced: dict[Any, Any] = dict(zip(inputs, parameters, strict=True))
    with builder.function("main", parameters):
        with builder.dataflow():
            for variable, call in steps:
                result = builder.emit(with_variables(call, replaced))
                replaced[variable] = result
            output = builder.emit_output(result)
        builder.emit_func_output(output)
    return builder.get()
