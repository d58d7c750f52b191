"""The file of arguments that a task's candidates run with, and of the outputs that they must lead to: an .npz with
arg0, arg1, ... and expected0, ...
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tvm

from autotune_qnn.tuning.protocols import Array, Task


def write_arguments(path: Path, task: Task, seed: int) -> None:
    """Make the file of a task."""
    arguments, expected = task.arguments(seed)
    arrays = {f"arg{i}": array for i, array in enumerate(arguments)}
    arrays.update({f"expected{i}": array for i, array in enumerate(expected)})
    np.savez(path, **arrays)


class Arguments:
    """A task's arguments as TVM tensors, and its expected outputs, read from a file."""

    def __init__(self, path: str) -> None:
        """Outputs are the last of the arguments."""
        with np.load(path, allow_pickle=False) as arrays:
            names = set(arrays.files)
            count = sum(name.startswith("arg") for name in names)
            self.expected: list[Array] = [arrays[f"expected{i}"] for i in range(len(names) - count)]
            self.tensors = [tvm.runtime.tensor(arrays[f"arg{i}"]) for i in range(count)]
        self.outputs = self.tensors[count - len(self.expected) :]

    def spoil_outputs(self) -> None:
        """Overwrite every output with wrong values."""
        for tensor, expected in zip(self.outputs, self.expected, strict=True):
            if np.issubdtype(expected.dtype, np.floating):
                tensor.copyfrom(np.full_like(expected, np.nan))
            else:
                tensor.copyfrom(np.invert(expected))

    def difference(self) -> str:
        """What is wrong with the outputs; empty when every element is as expected."""
        for place, (tensor, expected) in enumerate(zip(self.outputs, self.expected, strict=True)):
            actual = tensor.numpy()
            wrong = int(np.count_nonzero(actual != expected))
            if wrong:
                return f"output {place}: {wrong} of {expected.size} elements differ"
        return ""
