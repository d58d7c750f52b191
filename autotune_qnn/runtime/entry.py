"""The function of a library that runs its network, and the memory that it works on.

Libraries have the function "main" of TVM's virtual machine. Most have the function behind it too, which takes inputs,
constants and outputs and does nothing but call kernels: for a network that takes microseconds the virtual machine is
half of the time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tvm.runtime import Tensor, cpu, from_dlpack
from tvm.runtime.vm import VirtualMachine

from autotune_qnn.build.manifest import Manifest, TensorSpec

Array = npt.NDArray[Any]

_MAIN = "main"
_NETWORK = "network"
_CONSTANTS = "network_constants"
_ALIGNMENT = 64


@dataclass(frozen=True)
class Entry:
    """What runs a network.

    Attributes:
        module: that holds the function.
        name: of the function in the module.
        function: to be called with `arguments`.
        inputs: where the function reads, in the manifest's order.
        arguments: of every call.
        outputs: where the function writes; None where it returns what it has made.
    """

    module: Any
    name: str
    function: Any
    inputs: tuple[Array, ...]
    arguments: tuple[Any, ...]
    outputs: tuple[Array, ...] | None = None

    def results(self, returned: Any) -> Sequence[Array]:
        """The outputs after a call, in memory that the next call may write to."""
        if self.outputs is not None:
            return self.outputs
        values = [returned] if isinstance(returned, Tensor) else returned
        return [np.from_dlpack(value) for value in values]


def open_entry(library: Any, manifest: Manifest) -> Entry:
    """The quickest way into a loaded library. Raises what TVM raises where it is none of a network."""
    machine: Any = VirtualMachine(library, cpu())
    main = machine[_MAIN]
    inputs = tuple(aligned_array(spec) for spec in manifest.inputs)
    tensors = tuple(from_dlpack(array) for array in inputs)
    inner = next((module for module in library.imports if module.implements_function(_NETWORK)), None)
    if inner is None:
        return Entry(machine, _MAIN, main, inputs, tensors)
    outputs = tuple(aligned_array(spec) for spec in manifest.outputs)
    arguments = (*tensors, machine[_CONSTANTS](), *(from_dlpack(array) for array in outputs))
    return Entry(inner, _NETWORK, inner[_NETWORK], inputs, arguments, outputs)


def aligned_array(spec: TensorSpec) -> Array:
    """An uninitialized array that begins on a cache line, as kernels expect it of their inputs."""
    dtype = np.dtype(spec.dtype)
    size = math.prod(spec.shape) * dtype.itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(spec.shape)
