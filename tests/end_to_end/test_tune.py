"""The whole way on a small model: tune, resume, build, run, each as a user would call it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotune_qnn.cli.main import main
from autotune_qnn.logs.store import log_folder
from tests.support.tflite_writer import Operator, Tensor, constant, write_model

PROJECT = Path(__file__).resolve().parents[2]
QUICK = ["--samples", "5", "--rounds", "3", "--repeat", "3", "--tuner", "autotvm"]


def dense_model() -> bytes:
    """int8 32 → 16, fully connected, per tensor."""
    generator = np.random.default_rng(1)
    weights = generator.integers(-127, 128, (16, 32), dtype=np.int8)
    bias = generator.integers(-500, 500, 16, dtype=np.int32)
    tensors = [
        Tensor((1, 32), "int8", scale=0.05, zero_point=-3),
        constant(weights, scale=0.01, zero_point=0),
        constant(bias, scale=0.0005, zero_point=0),
        Tensor((1, 16), "int8", scale=0.2, zero_point=5),
    ]
    operators = [Operator("FULLY_CONNECTED", [0, 1, 2], [3], "FullyConnectedOptions")]
    return write_model(tensors, operators, [0], [3])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tune")
    (folder / "dense.tflite").write_bytes(dense_model())
    return folder


def command(place: Path, *words: str) -> list[str]:
    model = ["--model", str(place / "dense.tflite"), "--target", "native"]
    return [words[0], *model, "--log-dir", str(place / "logs"), *words[1:]]


@pytest.fixture(scope="module")
def tuned(place: Path) -> dict[str, Any]:
    """The JSON of a first run, in a process of its own as a user starts it."""
    labels = np.zeros(8, dtype=np.int64)
    data = np.random.default_rng(0).integers(-128, 128, (8, 32), dtype=np.int8)
    np.savez(place / "data.npz", inputs=data, labels=labels)
    words = command(place, "tune", "--trials", "6", *QUICK, "--dataset", str(place / "data.npz"))
    words += ["--json", str(place / "report.json"), "--output", str(place / "net.so")]
    result = subprocess.run(
        [sys.executable, str(PROJECT / "scripts" / "tune.py"), *words[1:]],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "agreement with the reference" in result.stdout
    report: dict[str, Any] = json.loads((place / "report.json").read_text())
    return report


def test_every_output_is_identical_before_and_after(tuned: dict[str, Any]) -> None:
    for build in ("before", "after"):
        assert tuned["agreement"][build]["identical"] == 1
        assert tuned["agreement"][build]["max_difference"] == 0
        assert tuned["agreement"][build]["samples"] == 13
        assert tuned["accuracy"][build] == tuned["accuracy"]["reference"]
        assert tuned["latency"][build]["median_ms"] > 0
    assert tuned["coverage"]["missing"] == 0
    assert tuned["coverage"]["tuned"] >= 1
    assert tuned["tuning"]["new_trials"] == tuned["tuning"]["trials_in_log"] > 0


def test_the_same_command_measures_nothing_again(
    tuned: dict[str, Any], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    json_path = place / "again.json"
    words = command(place, "tune", "--trials", "6", *QUICK, "--quiet", "--json", str(json_path))
    assert main(words) == 0
    again = json.loads(json_path.read_text())
    assert again["tuning"]["new_trials"] == 0
    assert again["tuning"]["trials_in_log"] == tuned["tuning"]["trials_in_log"]
    assert again["agreement"]["after"]["identical"] == 1
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "0 new" in captured.out


def test_report_from_the_log_alone(
    tuned: dict[str, Any], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(place, "tune", "--trials", "0", *QUICK)) == 0
    assert f"{tuned['tuning']['trials_in_log']} in the log, 0 new" in capsys.readouterr().out


def test_the_list_of_tasks(tuned: dict[str, Any], place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(place, "tune", "--tasks", "list")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + sum(tuned["coverage"].values())
    assert any("dense" in line for line in lines)


def test_build_and_run_in_a_fresh_process(
    tuned: dict[str, Any], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dump = place / "phases"
    assert main(command(place, "build", "--output", str(place / "built.so"), "--dump", str(dump))) == 0
    assert {path.name for path in dump.iterdir()} == {"grouped.py", "lowered.py"}
    assert "def dense_" in (dump / "lowered.py").read_text()
    assert f"{tuned['coverage']['tuned']} tuned" in capsys.readouterr().out
    for library in ("built.so", "net.so"):
        result = subprocess.run(
            [
                *(sys.executable, str(PROJECT / "scripts" / "run.py"), library, "--input", "data.npz"),
                *("--output", "out.npz", "--rounds", "2"),
            ],
            cwd=place,
            env={**os.environ, "TVM_USE_RUNTIME_LIB": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        assert "latency" in result.stdout
        with np.load(place / "out.npz") as outputs:
            assert outputs["outputs"].shape == (8, 16)


def test_without_a_log_only_untuned(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ["--model", str(place / "dense.tflite"), "--target", "llvm -mcpu=haswell"]
    words = ["build", *model, "--log-dir", str(tmp_path), "--output", str(tmp_path / "net.so")]
    assert main(words) == 6
    assert main([*words, "--untuned"]) == 0
    assert "0 tuned" in capsys.readouterr().out


def test_a_log_of_another_target_is_refused(
    tuned: dict[str, Any], place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = "llvm -mcpu=x86-64-v2"
    shutil.copytree(
        log_folder(place / "logs", tuned["target"], "dense"), log_folder(tmp_path / "logs", other, "dense")
    )
    words = ["--model", str(place / "dense.tflite"), "--target", other, "--log-dir", str(tmp_path / "logs")]
    assert main(["tune", *words]) == 6
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert "another target" in error
