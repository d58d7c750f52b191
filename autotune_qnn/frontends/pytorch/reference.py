"""PyTorch itself as the reference of a TorchScript file, in a process of its own (see `reference_process`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autotune_qnn.errors import UsageError
from autotune_qnn.frontends.base import TensorInfo
from autotune_qnn.frontends.process import ReferenceProcess
from autotune_qnn.quantization import Arithmetic

_PROCESS = "autotune_qnn.frontends.pytorch.reference_process"


class PytorchReference(ReferenceProcess):
    """Runs one TorchScript file with the quantized engine that `arithmetic` names.

    Outputs are exact for one thread only: with more, PyTorch splits tensors, and where it rounds otherwise moves.
    """

    def __init__(
        self,
        source: Path,
        inputs: Sequence[TensorInfo],
        outputs: Sequence[TensorInfo],
        arithmetic: Arithmetic,
        *,
        threads: int = 1,
    ) -> None:
        if threads < 1:
            raise UsageError(f"the reference cannot run on {threads} threads")
        arguments = [str(source), "--engine", arithmetic.value, "--threads", str(threads)]
        variables = {"OMP_NUM_THREADS": str(threads)}
        super().__init__("PyTorch", source, inputs, outputs, _PROCESS, arguments, variables=variables)
