"""The process in which TFLite's interpreter runs: `python -m
autotune_qnn.frontends.tflite.reference_process`.

The interpreter is native code that can abort (its reference SOFTMAX does on some inputs), so it never runs in the
caller's process. See `frontends.serving` for requests and answers.

Imports only the standard library, NumPy and ai_edge_litert.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autotune_qnn.frontends.base import Array
from autotune_qnn.frontends.serving import seconds_a_run, serve

Shapes = list[list[int]]


def with_every_tensor(content: bytes) -> tuple[bytes, list[int]]:
    """The model with every intermediate tensor as a graph output, and the tensor index of each output.

    The results stay what they were: only so can the inner tensors of the XNNPACK interpreter be read.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    subgraph = model.subgraphs[0]
    outputs = [int(index) for index in subgraph.outputs]
    for operator in subgraph.operators:
        outputs += [int(index) for index in operator.outputs if int(index) not in outputs]
    subgraph.outputs = outputs
    model.signatureDefs = []
    builder = flatbuffers.Builder(len(content) + 1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output()), outputs


class InterpretedModel:
    """An interpreter with fixed input shapes, either run on the whole batch or sample by sample."""

    def __init__(self, content: bytes, mode: str, threads: int, inputs: Shapes, outputs: Shapes) -> None:
        self._content = content
        self._mode = mode
        self._threads = threads
        self._samples = 1
        self._interpreter = self._resized(inputs)
        if self._interpreter is None or (outputs and self._output_shapes() != outputs):
            self._samples = inputs[0][0]
            self._interpreter = self._resized([[1, *shape[1:]] for shape in inputs])
        if self._interpreter is None:
            raise RuntimeError("the interpreter cannot allocate the model with these input shapes")

    def _resized(self, shapes: Shapes) -> Any:
        """An allocated interpreter, or None where the model cannot be given these input shapes."""
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        resolver = {
            "xnnpack": OpResolverType.AUTO,
            "reference": OpResolverType.BUILTIN_REF,
            "builtin": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        }[self._mode]
        interpreter = Interpreter(
            model_content=self._content, num_threads=self._threads, experimental_op_resolver_type=resolver
        )
        details = interpreter.get_input_details()
        changed = False
        for detail, shape in zip(details, shapes, strict=True):
            if [int(value) for value in detail["shape"]] != shape:
                interpreter.resize_tensor_input(detail["index"], shape)
                changed = True
        try:
            interpreter.allocate_tensors()
        except RuntimeError:
            if changed:
                return None
            raise
        return interpreter

    @property
    def by_sample(self) -> bool:
        """Whether the model cannot be given the whole batch."""
        return self._samples > 1

    def _output_shapes(self) -> Shapes:
        return [
            [int(value) for value in detail["shape"]] for detail in self._interpreter.get_output_details()
        ]

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """The outputs for one batch."""
        if self._samples == 1:
            return self._run_once(inputs)
        parts = [self._run_once([array[i : i + 1] for array in inputs]) for i in range(self._samples)]
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]

    def _set(self, inputs: Sequence[Array]) -> None:
        for detail, array in zip(self._interpreter.get_input_details(), inputs, strict=True):
            self._interpreter.set_tensor(detail["index"], array)

    def _run_once(self, inputs: Sequence[Array]) -> list[Array]:
        self._set(inputs)
        self._interpreter.invoke()
        return [
            self._interpreter.get_tensor(detail["index"]) for detail in self._interpreter.get_output_details()
        ]

    def step(self, inputs: Sequence[Array]) -> Callable[[], object]:
        """Sets the inputs; what it returns runs the batch once, without fetching outputs."""
        self._set([array[:1] for array in inputs] if self._samples > 1 else inputs)
        invoke: Callable[[], object] = self._interpreter.invoke
        if self._samples == 1:
            return invoke
        samples = range(self._samples)

        def each() -> None:
            for _ in samples:
                invoke()

        return each

    def time(self, inputs: Sequence[Array], number: int, repeat: int) -> list[float]:
        """Mean seconds a batch over `number` invocations, `repeat` times."""
        step = self.step(inputs)
        step()
        return seconds_a_run(step, number, repeat)


def _load(arguments: argparse.Namespace) -> tuple[InterpretedModel, dict[str, Array]]:
    """The model, and the tensors that its outputs are."""
    content = Path(arguments.model).read_bytes()
    indices: list[int] = []
    outputs: Shapes = json.loads(arguments.output_shapes)
    if arguments.every_tensor:
        content, indices = with_every_tensor(content)
        outputs = []
    inputs = json.loads(arguments.input_shapes)
    model = InterpretedModel(content, arguments.mode, arguments.threads, inputs, outputs)
    return model, {"indices": np.array(indices, dtype="int64")}


def main() -> None:
    """Entry point of the process."""
    parser = argparse.ArgumentParser(description="TFLite's interpreter behind a pipe (internal)")
    parser.add_argument("model")
    parser.add_argument("--mode", choices=("xnnpack", "reference", "builtin"), required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--input-shapes", required=True)
    parser.add_argument("--output-shapes", default="[]")
    parser.add_argument("--every-tensor", action="store_true")
    arguments = parser.parse_args()
    serve("the TFLite interpreter", lambda: _load(arguments))


if __name__ == "__main__":
    main()
