"""The real TFLite models: our NumPy reference against TFLite's interpreters, every element."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autotune_qnn.dialect import reference
from autotune_qnn.frontends import ImportOptions, TensorInfo, get_frontend
from autotune_qnn.frontends.tflite.importer import INTERPRETERS, import_graph
from autotune_qnn.frontends.tflite.reference import TfliteReference
from autotune_qnn.frontends.tflite.schema import read_graph, read_model_bytes
from autotune_qnn.quantization import Arithmetic
from tests.support.shared_models import MODELS

pytestmark = pytest.mark.shared_data

EXACT = (Arithmetic.XNNPACK, Arithmetic.REFERENCE)


def random_inputs(inputs: tuple[TensorInfo, ...], seed: int) -> list[np.ndarray]:
    """Normal values in the input's scale for even seeds, uniform stored integers for odd ones."""
    rng = np.random.default_rng(seed)
    feeds = []
    for info in inputs:
        bounds = np.iinfo(info.dtype)
        if seed % 2 or info.scale is None or info.zero_point is None:
            values = rng.integers(bounds.min, bounds.max + 1, info.shape)
        else:
            values = np.round(rng.normal(0, 1, info.shape) / info.scale) + info.zero_point
        feeds.append(np.clip(values, bounds.min, bounds.max).astype(info.dtype))
    return feeds


@pytest.mark.parametrize("arithmetic", EXACT, ids=lambda value: value.value)
@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_identical(name: str, arithmetic: Arithmetic, tflite_models: Path) -> None:
    frontend = get_frontend("tflite")
    model = frontend.load(tflite_models / f"{name}.tflite", ImportOptions(arithmetic))
    with frontend.reference(model, threads=1) as runner:
        for seed in range(2):
            feeds = random_inputs(model.inputs, seed)
            for ours, theirs in zip(reference.run(model.mod, feeds), runner.run(feeds), strict=True):
                np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("arithmetic", INTERPRETERS, ids=lambda value: value.value)
@pytest.mark.parametrize("name", MODELS)
def test_every_inner_tensor_is_identical(name: str, arithmetic: Arithmetic, tflite_models: Path) -> None:
    path = tflite_models / f"{name}.tflite"
    model = get_frontend("tflite").load(path, ImportOptions(arithmetic))
    graph = read_graph(read_model_bytes(path), path)
    tensors = [index for operator in graph.operators for index in operator.outputs]
    module = import_graph(graph, ImportOptions(arithmetic), outputs=tensors)
    feeds = random_inputs(model.inputs, 0)
    with TfliteReference(path, model.inputs, model.outputs, arithmetic, every_tensor=True) as runner:
        expected = runner.run_every_tensor(feeds)
    for index, ours in zip(tensors, reference.run(module, feeds), strict=True):
        wrong = int(np.count_nonzero(ours != expected[index]))
        assert wrong == 0, f"{wrong} of {ours.size} elements of {graph.tensors[index].name} differ"


@pytest.mark.parametrize("name", MODELS)
def test_batch_of_three_is_three_single_runs(name: str, tflite_models: Path) -> None:
    frontend = get_frontend("tflite")
    model = frontend.load(tflite_models / f"{name}.tflite", ImportOptions(batch=3))
    assert model.batch == 3
    feeds = random_inputs(model.inputs, 1)
    with frontend.reference(model, threads=1) as runner:
        expected = runner.run(feeds)
    assert expected[0].shape == model.outputs[0].shape
    for ours, theirs in zip(reference.run(model.mod, feeds), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
