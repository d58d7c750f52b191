"""Model files that are missing, cut short, damaged, float or hostile: one clear line each, never a crash."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autotune_qnn.errors import ModelError, UnsupportedOperatorError, UsageError
from autotune_qnn.frontends import ImportOptions, get_frontend
from autotune_qnn.frontends.tflite.schema import read_graph, read_model_bytes
from tests.support.tflite_branches import Branches
from tests.support.tflite_convolution_cases import convolution
from tests.support.tflite_writer import Operator, Tensor, constant, write_model


@pytest.fixture(name="content", scope="module")
def fixture_content() -> bytes:
    branches = Branches(np.random.default_rng(5), "int8")
    convolution(branches)
    return branches.model()


def load(path: Path, batch: int = 1) -> object:
    return get_frontend("tflite").load(path, ImportOptions(batch=batch))


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    return path


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model file at"):
        load(tmp_path / "none.tflite")


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a folder"):
        load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"short", b"\x00" * 64, b"PK\x03\x04" + b"\x00" * 60])
def test_no_tflite_file(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is no TFLite model"):
        load(written(tmp_path, content))


def test_every_truncation_is_a_model_error_or_harmless(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut.tflite"
    messages = []
    for size in range(16, len(content), max(1, len(content) // 150)):
        try:
            read_graph(content[:size], path)
        except ModelError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert all("\n" not in message for message in messages)


def test_flipped_bytes_are_a_model_error_or_harmless(content: bytes, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "model.tflite"
    messages = []
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(int(rng.integers(1, 6))):
            damaged[int(rng.integers(8, len(damaged)))] = int(rng.integers(256))
        path.write_bytes(bytes(damaged))
        try:
            load(path)
        except ModelError as error:
            messages.append(str(error))
    assert messages
    assert all(len(message.splitlines()) == 1 for message in messages)


def test_float_model(tmp_path: Path) -> None:
    tensors = [Tensor((1, 4), "float32"), Tensor((1, 4), "float32")]
    model = write_model(tensors, [Operator("RELU", [0], [1])], [0], [1])
    with pytest.raises(ModelError, match="is a float model"):
        load(written(tmp_path, model))


def test_weights_only_quantization(tmp_path: Path) -> None:
    weights = constant(np.ones((3, 4), "int8"), scale=0.1)
    tensors = [Tensor((1, 4), "float32"), weights, Tensor((1, 3), "float32")]
    model = write_model(
        tensors, [Operator("FULLY_CONNECTED", [0, 1, -1], [2], "FullyConnectedOptions")], [0], [2]
    )
    with pytest.raises(ModelError, match="quantized in its weights only"):
        load(written(tmp_path, model))


def test_all_unsupported_operators_in_one_error(tmp_path: Path) -> None:
    tensors = [Tensor((1, 4), "int8", 0.1, 3) for _ in range(5)]
    operators = [
        Operator("ELU", [0], [1]),
        Operator("CUMSUM", [1], [2]),
        Operator("ELU", [2], [3]),
        Operator("RELU", [3], [4]),
    ]
    with pytest.raises(UnsupportedOperatorError) as caught:
        load(written(tmp_path, write_model(tensors, operators, [0], [4])))
    message = str(caught.value)
    assert "ELU ×2 (tensors: t1; t3)" in message
    assert "CUMSUM ×1 (tensors: t2)" in message
    assert "RELU ×" not in message
    assert "\n" not in message


def test_unsupported_use_names_the_reason(tmp_path: Path) -> None:
    tensors = [Tensor((1, 4), "int8", 0.1), Tensor((1, 4), "int8", 0.2), Tensor((1, 4), "int8", 0.1)]
    model = write_model(tensors, [Operator("MAXIMUM", [0, 1], [2], "MaximumMinimumOptions")], [0, 1], [2])
    with pytest.raises(UnsupportedOperatorError, match="MAXIMUM with operands of different scales ×1"):
        load(written(tmp_path, model))


def test_tensor_index_out_of_range(tmp_path: Path) -> None:
    tensors = [Tensor((1, 4), "int8", 0.1), Tensor((1, 4), "int8", 0.1)]
    with pytest.raises(ModelError, match="name tensor 9, but there are 2"):
        load(written(tmp_path, write_model(tensors, [Operator("RELU", [9], [1])], [0], [1])))


def test_operator_before_its_operand(tmp_path: Path) -> None:
    tensors = [Tensor((1, 4), "int8", 0.1) for _ in range(3)]
    operators = [Operator("RELU", [2], [1]), Operator("RELU", [0], [2])]
    with pytest.raises(ModelError, match="before it is made"):
        load(written(tmp_path, write_model(tensors, operators, [0], [1])))


def test_buffer_of_another_size(tmp_path: Path) -> None:
    lying = Tensor((4, 4), "int8", 0.1, data=np.zeros(3, "int8"))
    tensors = [Tensor((1, 4), "int8", 0.1), lying, Tensor((1, 4), "int8", 0.1)]
    model = write_model(
        tensors, [Operator("FULLY_CONNECTED", [0, 1, -1], [2], "FullyConnectedOptions")], [0], [2]
    )
    with pytest.raises(ModelError, match="needs 16 bytes; its buffer has 3"):
        load(written(tmp_path, model))


def test_declared_shape_that_the_operator_does_not_make(tmp_path: Path) -> None:
    tensors = [Tensor((1, 4), "int8", 0.1), Tensor((1, 5), "int8", 0.1)]
    with pytest.raises(ModelError, match=r"makes shape \(1, 4\)"):
        load(written(tmp_path, write_model(tensors, [Operator("RELU", [0], [1])], [0], [1])))


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), -1.0, 0.0])
def test_impossible_scale(scale: float, tmp_path: Path) -> None:
    tensors = [Tensor((1, 4), "int8", scale), Tensor((1, 4), "int8", 0.1)]
    with pytest.raises(ModelError, match="scale"):
        load(written(tmp_path, write_model(tensors, [Operator("RELU", [0], [1])], [0], [1])))


def test_missing_operand(tmp_path: Path) -> None:
    tensors = [Tensor((1, 4), "int8", 0.1), Tensor((1, 4), "int8", 0.1)]
    model = write_model(tensors, [Operator("ADD", [0], [1], "AddOptions")], [0], [1])
    with pytest.raises(ModelError, match="lacks its operand 1"):
        load(written(tmp_path, model))


def test_open_dimensions_other_than_the_batch(tmp_path: Path) -> None:
    tensors = [Tensor((1, 1, 4), "int8", 0.1, signature=(1, -1, 4)), Tensor((1, 1, 4), "int8", 0.1)]
    with pytest.raises(ModelError, match="only the batch may be open"):
        load(written(tmp_path, write_model(tensors, [Operator("RELU", [0], [1])], [0], [1])))


def test_batch_that_an_operator_cannot_keep(tmp_path: Path) -> None:
    order = constant(np.array([1, 0], "int32"))
    tensors = [Tensor((1, 4), "int8", 0.1), order, Tensor((4, 1), "int8", 0.1)]
    path = written(
        tmp_path, write_model(tensors, [Operator("TRANSPOSE", [0, 1], [2], "TransposeOptions")], [0], [2])
    )
    load(path)
    with pytest.raises(ModelError, match="--batch 2 cannot apply"):
        load(path, batch=2)


def test_unknown_frontend() -> None:
    with pytest.raises(UsageError, match="unknown frontend"):
        get_frontend("caffe")


def test_real_file_cut_in_half(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        load(written(tmp_path, content[: len(content) // 2]))
    assert len(str(caught.value).splitlines()) == 1
    assert read_model_bytes(written(tmp_path, content)) == content
