"""The reference interpreter in a process of its own."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from autotune_qnn.errors import UsageError, VerificationError
from autotune_qnn.frontends import ImportedModel, ImportOptions, get_frontend
from autotune_qnn.frontends.tflite.reference import TfliteReference
from autotune_qnn.quantization import Arithmetic
from tests.support.tflite_branches import Branches
from tests.support.tflite_convolution_cases import convolution
from tests.support.tflite_writer import Operator, Tensor, write_model


@pytest.fixture(name="branches", scope="module")
def fixture_branches() -> Branches:
    branches = Branches(np.random.default_rng(5), "int8")
    convolution(branches)
    return branches


@pytest.fixture(name="model")
def fixture_model(branches: Branches, tmp_path: Path) -> ImportedModel:
    path = tmp_path / "model.tflite"
    path.write_bytes(branches.model())
    return get_frontend("tflite").load(path, ImportOptions())


def test_runs_times_and_closes_twice(model: ImportedModel, branches: Branches) -> None:
    runner = get_frontend("tflite").reference(model, threads=1)
    first = runner.run(branches.feeds)
    seconds = runner.time(branches.feeds, number=2, repeat=3)
    assert len(seconds) == 3
    assert min(seconds) > 0
    np.testing.assert_array_equal(first[0], runner.run(branches.feeds)[0])
    runner.close()
    runner.close()
    with pytest.raises(VerificationError, match="is closed"):
        runner.run(branches.feeds)


def test_every_tensor_changes_nothing(model: ImportedModel, branches: Branches) -> None:
    with get_frontend("tflite").reference(model, threads=1) as runner:
        plain = runner.run(branches.feeds)
    with TfliteReference(
        model.source, model.inputs, model.outputs, model.arithmetic, every_tensor=True
    ) as runner:
        np.testing.assert_array_equal(plain[0], runner.run(branches.feeds)[0])
        tensors = runner.run_every_tensor(branches.feeds)
    np.testing.assert_array_equal(plain[0], tensors[branches.outputs[0]])


def test_wrong_inputs(model: ImportedModel, branches: Branches) -> None:
    with get_frontend("tflite").reference(model, threads=1) as runner:
        with pytest.raises(UsageError, match="takes 1 inputs"):
            runner.run([])
        with pytest.raises(UsageError, match="is int8"):
            runner.run([branches.feeds[0].astype("float32")])
        with pytest.raises(UsageError, match="is int8"):
            runner.run([branches.feeds[0][:, :1]])


def test_process_that_dies_is_an_error_of_one_line(model: ImportedModel, branches: Branches) -> None:
    with TfliteReference(model.source, model.inputs, model.outputs, Arithmetic.REFERENCE) as runner:
        assert runner._process is not None
        os.kill(runner._process.pid, signal.SIGKILL)
        with pytest.raises(VerificationError, match="was ended by SIGKILL"):
            runner.run(branches.feeds)


def test_native_abort_is_an_error_of_one_line(tmp_path: Path) -> None:
    """The reference SOFTMAX aborts on many near-equal classes."""
    tensors = [Tensor((1, 1001), "int8", 0.01, 0), Tensor((1, 1001), "int8", 1 / 256, -128)]
    operator = Operator("SOFTMAX", [0], [1], "SoftmaxOptions", {"beta": 1.0})
    path = tmp_path / "softmax.tflite"
    path.write_bytes(write_model(tensors, [operator], [0], [1]))
    frontend = get_frontend("tflite")
    model = frontend.load(path, ImportOptions(Arithmetic.REFERENCE))
    with (
        frontend.reference(model, threads=1) as runner,
        pytest.raises(VerificationError, match="was ended by SIGABRT") as caught,
    ):
        runner.run([np.zeros((1, 1001), "int8")])
    assert len(str(caught.value).splitlines()) == 1


def test_a_model_that_the_interpreter_refuses(model: ImportedModel, tmp_path: Path) -> None:
    path = tmp_path / "bad.tflite"
    path.write_bytes(b"\x00" * 100)
    with pytest.raises(VerificationError, match="refused the model"):
        TfliteReference(path, model.inputs, model.outputs, Arithmetic.XNNPACK)
