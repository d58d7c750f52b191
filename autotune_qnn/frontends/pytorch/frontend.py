"""The PyTorch frontend: a TorchScript file, exported program or module in, Relax module and reference runner out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autotune_qnn.errors import ModelError, UsageError
from autotune_qnn.frontends.base import ImportedModel, ImportOptions, ReferenceRunner, TensorInfo
from autotune_qnn.frontends.pytorch.capture import (
    InputRefusedError,
    Module,
    capture,
    required_inputs,
)
from autotune_qnn.frontends.pytorch.engines import checked_engine, engine_made_for
from autotune_qnn.frontends.pytorch.exported.reading import Reading, read_program
from autotune_qnn.frontends.pytorch.files import (
    FileKind,
    file_hash,
    file_kind,
    load_torchscript,
    no_network,
    save_module,
)
from autotune_qnn.frontends.pytorch.graph import Graph
from autotune_qnn.frontends.pytorch.importer import import_graph
from autotune_qnn.frontends.pytorch.reference import PytorchReference
from autotune_qnn.frontends.pytorch.saturation import saturation_remarks
from autotune_qnn.frontends.pytorch.torch_runtime import quantized_engine
from autotune_qnn.frontends.rules import parameter_names
from autotune_qnn.quantization import Arithmetic

MAX_BATCH = 4096


class PytorchFrontend:
    """Quantized TorchScript networks with the arithmetic of one of PyTorch's engines, and quantized exported programs
    with their own or Inductor's.
    """

    name = "pytorch"

    def load(self, path: Path, options: ImportOptions) -> ImportedModel:
        """Imports an exported program, or a TorchScript file, whose input is float32 of `options.input_shape`, NCHW."""
        path = Path(path)
        kind = file_kind(path)
        if kind is FileKind.PICKLE:
            raise no_network(path)
        if kind is FileKind.EXPORTED:
            reading = read_program(path, options)
        else:
            captured = read_graph(path, options)
            reading = Reading(captured, captured.counts(), saturation_remarks(captured))
        graph = reading.graph
        try:
            module = import_graph(graph)
        except ModelError as error:
            raise type(error)(f"{path}: {error}") from error
        inputs = _describe(graph, graph.inputs, parameter_names(graph.input_names))
        return ImportedModel(
            name=graph.name,
            frontend=self.name,
            source=path,
            sha256=file_hash(path),
            mod=module,
            inputs=inputs,
            outputs=_describe(
                graph, graph.outputs, tuple(f"output_{place}" for place in range(len(graph.outputs)))
            ),
            arithmetic=graph.engine,
            operators=reading.operators,
            batch=inputs[0].shape[0] if inputs[0].shape else 1,
            remarks=reading.remarks,
        )

    def reference(self, model: ImportedModel, threads: int) -> ReferenceRunner:
        """PyTorch with the engine of the model's arithmetic, in a process of its own."""
        return PytorchReference(model.source, model.inputs, model.outputs, model.arithmetic, threads=threads)


def read_graph(path: Path, options: ImportOptions) -> Graph:
    """What the network in a TorchScript file does on an input of the options' shape."""
    shape = input_shape(options)
    engine = None if options.arithmetic is None else checked_engine(options.arithmetic)
    graph = _captured(path, engine or Arithmetic.X86, shape, options.trusted)
    made_for = engine or engine_made_for(graph)
    if made_for is graph.engine:
        return graph
    return _captured(path, made_for, shape, trusted=True)


def _captured(path: Path, engine: Arithmetic, shape: tuple[int, ...], trusted: bool) -> Graph:
    with quantized_engine(engine):
        module = load_torchscript(path, trusted=trusted)
        count = required_inputs(module)
        if count != 1:
            raise ModelError(f"{path} takes {count} inputs; only networks of one input can be imported")
        try:
            example = np.random.default_rng(0).normal(size=shape).astype(np.float32)
            return capture(module, [example], engine, name=path.stem)
        except InputRefusedError as error:
            raise UsageError(f"--input-shape: {path}: {error}") from error
        except ModelError as error:
            raise type(error)(f"{path}: {error}") from error


def input_shape(options: ImportOptions) -> tuple[int, ...]:
    """The shape of the network's one input, with the batch that the options ask for. TorchScript does not record it."""
    shape = options.input_shape
    if shape is None:
        raise UsageError(
            "a TorchScript file does not say what its input looks like: --input-shape, as 1,3,224,224"
        )
    if not shape or any(extent < 1 for extent in shape):
        raise UsageError(f"an input shape needs positive extents, not {','.join(map(str, shape))}")
    if not 1 <= options.batch <= MAX_BATCH:
        raise UsageError(f"batch {options.batch} is not between 1 and {MAX_BATCH}")
    if options.batch in (1, shape[0]):
        return shape
    if shape[0] != 1:
        raise UsageError(f"--batch {options.batch} contradicts the {shape[0]} of the input shape")
    return (options.batch, *shape[1:])


def _describe(graph: Graph, indices: tuple[int, ...], names: tuple[str, ...]) -> tuple[TensorInfo, ...]:
    metas = (graph.metas[index] for index in indices)
    return tuple(
        TensorInfo(name, meta.shape, meta.dtype, meta.scale, meta.zero_point)
        for name, meta in zip(names, metas, strict=True)
    )


def import_module(module: Module, path: Path, options: ImportOptions) -> ImportedModel:
    """Imports a module given in Python, which is traced into the file `path` on the way.

    Weights are packed for an engine when a module is converted or loaded; the file is what is imported and what the
    reference runs.
    """
    save_module(module, input_shape(options), path)
    return FRONTEND.load(path, options)


FRONTEND = PytorchFrontend()
