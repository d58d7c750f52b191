"""The TFLite frontend: file or archive in, module and reference runner out."""

from __future__ import annotations

import hashlib
from pathlib import Path

from autotune_qnn.errors import ModelError, UsageError
from autotune_qnn.frontends.base import ImportedModel, ImportOptions, ReferenceRunner, TensorInfo
from autotune_qnn.frontends.tflite.archive import model_file
from autotune_qnn.frontends.tflite.graph import Graph, GraphTensor
from autotune_qnn.frontends.tflite.importer import chosen_arithmetic, effective_batch, import_graph
from autotune_qnn.frontends.tflite.reference import TfliteReference
from autotune_qnn.frontends.tflite.schema import read_graph, read_model_bytes


class TfliteFrontend:
    """Pre-quantized `.tflite` models with the arithmetic of one of TFLite's interpreters."""

    name = "tflite"

    def load(self, path: Path, options: ImportOptions) -> ImportedModel:
        """Imports a `.tflite` file, or the only one in a `.tgz`, `.tar` or `.zip`."""
        if options.input_shape is not None:
            raise UsageError("a .tflite file states its input shape itself; --batch changes the batch size")
        source = model_file(Path(path))
        content = read_model_bytes(source)
        graph = read_graph(content, source)
        try:
            module = import_graph(graph, options)
        except ModelError as error:
            raise type(error)(f"{source}: {error}") from error
        batch = effective_batch(graph, options.batch)
        first = graph.tensors[graph.inputs[0]].shape
        return ImportedModel(
            name=graph.name,
            frontend=self.name,
            source=source,
            sha256=hashlib.sha256(content).hexdigest(),
            mod=module,
            inputs=_describe(graph, graph.inputs, batch),
            outputs=_describe(graph, graph.outputs, batch),
            arithmetic=chosen_arithmetic(options),
            operators=graph.counts(),
            batch=batch if batch != 1 or not first else first[0],
        )

    def reference(self, model: ImportedModel, threads: int) -> ReferenceRunner:
        """TFLite's interpreter of the model's arithmetic, in a process of its own."""
        return TfliteReference(model.source, model.inputs, model.outputs, model.arithmetic, threads=threads)


def _describe(graph: Graph, indices: tuple[int, ...], batch: int) -> tuple[TensorInfo, ...]:
    return tuple(_tensor_info(graph.tensors[index], batch) for index in indices)


def _tensor_info(tensor: GraphTensor, batch: int) -> TensorInfo:
    shape = tensor.shape if batch == 1 else (batch, *tensor.shape[1:])
    quantization = tensor.quantization
    if quantization is None or quantization.per_channel:
        return TensorInfo(tensor.name, shape, tensor.dtype, None, None)
    return TensorInfo(
        tensor.name, shape, tensor.dtype, float(quantization.scale[0]), int(quantization.zero_point[0])
    )


FRONTEND = TfliteFrontend()
