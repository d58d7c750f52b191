"""What a user can get wrong ends in one clear line and a documented exit code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from autotune_qnn.cli.main import main
from tests.support.tflite_writer import Operator, Tensor, write_model

TARGET = "llvm -mcpu=x86-64-v2"
SCALED = {"scale": 0.5, "zero_point": 0}


def small_model() -> bytes:
    """One quantized RELU."""
    tensors = [Tensor((1, 4), "int8", **SCALED), Tensor((1, 4), "int8", **SCALED)]
    return write_model(tensors, [Operator("RELU", [0], [1])], [0], [1])


def float_model() -> bytes:
    tensors = [Tensor((1, 4), "float32"), Tensor((1, 4), "float32")]
    return write_model(tensors, [Operator("RELU", [0], [1])], [0], [1])


def unsupported_model() -> bytes:
    tensors = [Tensor((1, 4), "int8", **SCALED) for _ in range(3)]
    operators = [Operator("REVERSE_V2", [0, 0], [1]), Operator("CUMSUM", [1, 1], [2])]
    return write_model(tensors, operators, [0], [2])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "relu.tflite"
    path.write_bytes(small_model())
    return path


@pytest.fixture
def fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that has to end with a code; gives its one line."""

    def run(code: int, *words: str | Path) -> str:
        logs = [] if "--log-dir" in words or words[0] == "run" else ["--log-dir", str(tmp_path / "logs")]
        assert main([*map(str, words), *logs]) == code
        captured = capsys.readouterr()
        lines = captured.err.splitlines()
        assert len(lines) == 1, captured.err
        assert lines[0].startswith("error: ")
        assert "Traceback" not in captured.err
        return lines[0]

    return run


def test_a_dump_into_a_file(fails: Callable[..., str], model: Path, tmp_path: Path) -> None:
    words = ("--model", model, "--target", TARGET, "--output", tmp_path / "net.so", "--dump", model)
    assert "relu.tflite cannot be made" in fails(2, "build", *words)


def test_missing_model(fails: Callable[..., str], tmp_path: Path) -> None:
    assert "nowhere.tflite" in fails(3, "tune", "--model", tmp_path / "nowhere.tflite", "--target", TARGET)
    assert "--model" in fails(2, "tune", "--model", "", "--target", TARGET)


def test_truncated_model(fails: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "cut.tflite"
    whole = small_model()
    for keep in (0, 3, 7, len(whole) // 3, len(whole) // 2):
        path.write_bytes(whole[:keep])
        assert "cut.tflite" in fails(3, "tune", "--model", path, "--target", TARGET)


def test_not_a_model(fails: Callable[..., str], tmp_path: Path) -> None:
    for name in ("a.tflite", "a.zip", "a.tgz"):
        path = tmp_path / name
        path.write_bytes(b"this is no model" * 100)
        assert name in fails(3, "tune", "--model", path, "--target", TARGET)


def test_float_model(fails: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "float.tflite"
    path.write_bytes(float_model())
    assert "quantized" in fails(3, "tune", "--model", path, "--target", TARGET)


def test_unsupported_operators_are_all_listed(fails: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "odd.tflite"
    path.write_bytes(unsupported_model())
    line = fails(4, "tune", "--model", path, "--target", TARGET)
    assert "REVERSE_V2" in line
    assert "CUMSUM" in line


def test_unknown_targets(fails: Callable[..., str], model: Path) -> None:
    assert "nonsense" in fails(5, "tune", "--model", model, "--target", "llvm -mcpu=nonsense")
    assert "cuda" in fails(5, "tune", "--model", model, "--target", "cuda")
    other = "llvm -mtriple=aarch64-linux-gnu -mcpu=cortex-a72"
    assert "cannot run here" in fails(5, "tune", "--model", model, "--target", other)


def test_unwritable_log_folder(fails: Callable[..., str], model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    line = fails(6, "tune", "--model", model, "--target", TARGET, "--log-dir", tmp_path / "file" / "logs")
    assert "--log-dir" in line


def test_no_compiler_to_link_with(
    fails: Callable[..., str], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("build", "--untuned", "--model", model, "--target", TARGET, "--output", tmp_path / "net.so")
    for variable in ("CXX", "CC"):
        monkeypatch.delenv(variable, raising=False)
    with monkeypatch.context() as changed:
        changed.setenv("PATH", str(tmp_path))
        assert "install g++" in fails(10, *words)
    monkeypatch.setenv("CXX", "none-of-this-name")
    assert "none-of-this-name" in fails(10, *words)


def test_a_compiler_that_fails_is_quoted(
    fails: Callable[..., str], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "full"
    compiler.write_text("#!/bin/sh\necho final link failed: No space left on device\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    words = ("build", "--untuned", "--model", model, "--target", TARGET, "--output", tmp_path / "net.so")
    assert "No space left on device" in fails(10, *words)


def test_no_log_to_build_from(fails: Callable[..., str], model: Path, tmp_path: Path) -> None:
    line = fails(6, "build", "--model", model, "--target", TARGET, "--output", tmp_path / "net.so")
    assert "no tuning log" in line


def test_unknown_frontends(fails: Callable[..., str], model: Path) -> None:
    assert "not available" in fails(2, "tune", "--frontend", "mxnet", "--model", model, "--target", TARGET)


@pytest.mark.parametrize(
    "words",
    [
        ["--threads", "0"],
        ["--batch", "0"],
        ["--batch", "4097"],
        ["--trials", "-1"],
        ["--timeout", "nan"],
        ["--min-repeat-ms", "20000"],
        ["--seed", "-1"],
        ["--seed", "4294967296"],
        ["--samples", "-1"],
        ["--samples", "0"],
        ["--rounds", "0"],
        ["--json", "/nowhere/at/all.json"],
        ["--output", "/nowhere/at/all.so"],
    ],
    ids=" ".join,
)
def test_options_that_make_no_sense(fails: Callable[..., str], model: Path, words: list[str]) -> None:
    assert words[0] in fails(2, "tune", "--model", model, "--target", TARGET, *words)


def test_wrong_data(fails: Callable[..., str], model: Path, tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, inputs=np.zeros((3, 5), dtype=np.int8))
    base = ["tune", "--model", model, "--target", TARGET]
    assert "data.npz" in fails(8, *base, "--dataset", path)
    assert "nothing.png" in fails(8, *base, "--input", tmp_path / "nothing.png")
    assert "names.txt" in fails(8, *base, "--labels", tmp_path / "names.txt")


def test_running_what_is_no_library(fails: Callable[..., str], tmp_path: Path) -> None:
    assert "none.so" in fails(10, "run", tmp_path / "none.so")
    assert "--seed" in fails(2, "run", tmp_path / "none.so", "--seed", "-1")
    (tmp_path / "net.so").write_bytes(b"")
    assert "manifest" in fails(10, "run", tmp_path / "net.so")
