"""A network as its own framework has it: the model file, inputs, and what the framework itself answers to them.

Made once and kept in the cache (`make`, in a process of its own), read by everybody else.
"""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autotune_qnn.build.manifest import file_sha256, write_whole
from autotune_qnn.errors import DatasetError, MissingDependencyError, ModelError
from autotune_qnn.evaluation.datasets import Dataset, open_images, random_inputs
from autotune_qnn.evaluation.preprocessing import ImageRecipe
from autotune_qnn.frontends import get_frontend
from autotune_qnn.frontends.base import Array, ImportOptions, TensorInfo
from autotune_qnn.host import cpu_model
from autotune_qnn.quantization import Arithmetic
from autotune_qnn.zoo.own_images import own_images
from benchmarks.lib.job import Job
from benchmarks.lib.networks import Kind

_REVISION = 1
"""Raised whenever sources come out differently than before."""
_RANDOM_INPUTS = 8
_ARITHMETIC = {Kind.TFLITE: Arithmetic.XNNPACK, Kind.PYTORCH: Arithmetic.ONEDNN}
"""Whose output ours has to be. PyTorch's default, x86, gives depthwise convolutions to fbgemm, which adds in 16 bits
that saturate where an input leaves the calibrated range; oneDNN's sums are exact.
"""
_FRAMEWORKS = {Kind.TFLITE: "ai-edge-litert", Kind.PYTORCH: "torch"}


@dataclass(frozen=True, slots=True)
class Source:
    """A model file with one input and one output of a fixed batch. `macs` are the multiply-accumulates of one run."""

    folder: Path
    model: Path
    shape: tuple[int, ...]
    dtype: str
    arithmetic: Arithmetic
    macs: int

    def inputs(self) -> Array:
        """Batches of inputs, [batches, *shape]: the project's pictures where it takes images, then random ones."""
        return self._array("inputs")

    def expected(self) -> Array:
        """The framework's outputs for them, computed on one thread."""
        return self._array("expected")

    def _array(self, name: str) -> Array:
        array: Array = np.load(self.folder / f"{name}.npy", allow_pickle=False)
        return array

    def options(self) -> ImportOptions:
        """How the package imports it."""
        is_file = self.model.suffix == ".tflite"
        return ImportOptions(
            arithmetic=self.arithmetic,
            batch=self.shape[0],
            input_shape=None if is_file else self.shape,
            trusted=True,
        )


def ingredients(job: Job) -> list[str]:
    """What every form of the job's network is made from. ModelError where its TFLite file is missing."""
    if job.network.kind is Kind.TFLITE:
        return [file_sha256(_tflite_file(job))]
    versions = [f"{name} {version_of(name)}" for name in ("torch", "torchvision")]
    return [*versions, *map(file_sha256, own_images())]


def source_folder(job: Job) -> Path:
    """Where the job's source is kept."""
    kind = job.network.kind
    framework = _FRAMEWORKS[kind]
    made_by = [str(_REVISION), cpu_model(), _ARITHMETIC[kind].value, f"{framework} {version_of(framework)}"]
    return job.folder("source", [*ingredients(job), *made_by])


def version_of(package: str) -> str:
    """The version of an installed distribution. MissingDependencyError where it is not there."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise MissingDependencyError(
            f"{package} is not installed; run: pip install 'autotune_qnn[tflite,pytorch,bench]'"
        ) from None


def read(job: Job) -> Source | None:
    """The source from the cache, or None where it has to be made first."""
    folder = source_folder(job)
    record = folder / "source.json"
    if not record.is_file():
        return None
    fields: dict[str, Any] = json.loads(record.read_text())
    return Source(
        folder,
        Path(fields["model"]),
        tuple(fields["shape"]),
        fields["dtype"],
        Arithmetic(fields["arithmetic"]),
        fields["macs"],
    )


def prepared(job: Job) -> Source:
    """The source from the cache. ModelError where it was not made before."""
    found = read(job)
    if found is None:
        raise ModelError(f"the source of {job.model} is not prepared in {job.cache}; prepare it first")
    return found


def make(job: Job) -> Source:
    """Make the source: the model file, inputs, and the framework's outputs."""
    folder = source_folder(job)
    folder.mkdir(parents=True, exist_ok=True)
    arithmetic, shape = _ARITHMETIC[job.network.kind], None
    if job.network.kind is Kind.TFLITE:
        model, macs, recipe = _tflite_file(job), _tflite_macs(_tflite_file(job), job.batch), ImageRecipe()
    else:
        from benchmarks.lib import torch_forms

        model = torch_forms.torchscript(job.model, arithmetic.value, job.batch, folder)
        macs, recipe = torch_forms.macs(job.model, job.batch), torch_forms.recipe(job.model)
        shape = torch_forms.input_shape(job.model, job.batch)
    options = ImportOptions(arithmetic=arithmetic, batch=job.batch, input_shape=shape, trusted=True)
    frontend = get_frontend(job.network.kind.value)
    imported = frontend.load(model, options)
    (info,) = imported.inputs
    inputs = np.stack([batch for dataset in _datasets(info, recipe) for batch in _batches(dataset)])
    with frontend.reference(imported, threads=1) as reference:
        expected = np.stack([reference.run([batch])[0] for batch in inputs])
    np.save(folder / "inputs.npy", inputs)
    np.save(folder / "expected.npy", expected)
    source = Source(folder, model, info.shape, info.dtype, arithmetic, macs)
    fields = {**asdict(source), "folder": str(folder), "model": str(model), "arithmetic": arithmetic.value}
    write_whole(folder / "source.json", json.dumps(fields).encode())
    return source


def _tflite_file(job: Job) -> Path:
    path = (job.shared / "models" / "tflite" / job.network.file).resolve()
    if not path.is_file():
        raise ModelError(f"{path} does not exist; --shared names the folder that holds models/tflite")
    return path


def _tflite_macs(path: Path, batch: int) -> int:
    """Multiply-accumulates of the file's convolutions and dense layers for a batch."""
    from autotune_qnn.frontends.tflite.schema import read_graph, read_model_bytes

    graph = read_graph(read_model_bytes(path), path)
    total = 0
    for operator in graph.operators:
        if operator.name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            weights = graph.tensors[operator.inputs[1]].shape
            window = weights[1:] if operator.name == "CONV_2D" else weights[1:3]
            total += int(np.prod(graph.tensors[operator.outputs[0]].shape)) * int(np.prod(window))
        elif operator.name == "FULLY_CONNECTED":
            total += int(np.prod(graph.tensors[operator.inputs[1]].shape))
    return total * batch


def _datasets(info: TensorInfo, recipe: ImageRecipe) -> list[Dataset]:
    random = random_inputs([info], max(_RANDOM_INPUTS, info.shape[0]), 0)
    try:
        return [open_images("pictures", own_images(), [info], recipe), random]
    except DatasetError:  # it takes no images
        return [random]


def _batches(dataset: Dataset) -> list[Array]:
    return [batch.inputs[0] for batch in dataset.batches()]
