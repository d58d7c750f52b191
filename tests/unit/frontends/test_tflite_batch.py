"""Batches: open ones, fixed ones, and models that compute their own shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autotune_qnn.dialect import reference
from autotune_qnn.errors import ModelError
from autotune_qnn.frontends import ImportOptions, get_frontend
from tests.support.tflite_writer import Operator, Tensor, constant, write_model


def keras_flatten(signature: tuple[int, ...] | None) -> bytes:
    """RELU, then RESHAPE to [SHAPE(x)[0], -1] as converters write Flatten with an open batch."""
    scale = {"scale": 0.1, "zero_point": 3}
    tensors = [
        Tensor((1, 2, 3, 4), "int8", signature=signature, **scale),
        Tensor((1, 2, 3, 4), "int8", **scale),
        Tensor((4,), "int32"),
        constant(np.array([0], "int32")),
        constant(np.array([1], "int32")),
        constant(np.array([1], "int32")),
        Tensor((), "int32"),
        constant(np.array(-1, "int32")),
        Tensor((2,), "int32"),
        Tensor((1, 24), "int8", **scale),
    ]
    operators = [
        Operator("RELU", [0], [1]),
        Operator("SHAPE", [1], [2], "ShapeOptions", {"outType": 2}),
        Operator("STRIDED_SLICE", [2, 3, 4, 5], [6], "StridedSliceOptions", {"shrinkAxisMask": 1}, version=1),
        Operator("PACK", [6, 7], [8], "PackOptions", {"valuesCount": 2, "axis": 0}, version=1),
        Operator("RESHAPE", [1, 8], [9]),
    ]
    return write_model(tensors, operators, [0], [9])


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("signature", [None, (-1, 2, 3, 4)])
def test_shape_arithmetic_is_folded(batch: int, signature: tuple[int, ...] | None, tmp_path: Path) -> None:
    path = tmp_path / "flatten.tflite"
    path.write_bytes(keras_flatten(signature))
    frontend = get_frontend("tflite")
    model = frontend.load(path, ImportOptions(batch=batch))
    assert model.batch == batch
    assert model.inputs[0].shape == (batch, 2, 3, 4)
    assert model.outputs[0].shape == (batch, 24)
    feed = np.random.default_rng(0).integers(-128, 128, (batch, 2, 3, 4)).astype("int8")
    found = reference.run(model.mod, [feed])
    np.testing.assert_array_equal(found[0], np.maximum(feed, 3).reshape(batch, 24))
    with frontend.reference(model, threads=1) as runner:
        np.testing.assert_array_equal(found[0], runner.run([feed])[0])


def relu(shape: tuple[int, ...]) -> bytes:
    tensors = [Tensor(shape, "int8", 0.1), Tensor(shape, "int8", 0.1)]
    return write_model(tensors, [Operator("RELU", [0], [1])], [0], [1])


def test_a_fixed_batch_stays(tmp_path: Path) -> None:
    path = tmp_path / "four.tflite"
    path.write_bytes(relu((4, 8)))
    frontend = get_frontend("tflite")
    for batch in (1, 4):
        model = frontend.load(path, ImportOptions(batch=batch))
        assert (model.batch, model.inputs[0].shape) == (4, (4, 8))
    with pytest.raises(ModelError, match="--batch 3 cannot apply"):
        frontend.load(path, ImportOptions(batch=3))


@pytest.mark.parametrize("batch", [0, -1, 10**9])
def test_impossible_batches(batch: int, tmp_path: Path) -> None:
    path = tmp_path / "one.tflite"
    path.write_bytes(relu((1, 8)))
    with pytest.raises(ModelError, match="is not between"):
        get_frontend("tflite").load(path, ImportOptions(batch=batch))
