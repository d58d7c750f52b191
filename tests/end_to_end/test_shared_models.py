"""The real models of ../shared through the command line: identical to TFLite, with the known answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotune_qnn.cli import common
from autotune_qnn.cli.main import main
from autotune_qnn.engines.relax import TargetSpec
from tests.support.shared_models import MODELS

pytestmark = pytest.mark.shared_data

ELEPHANT = [387, 102, 386, 341, 349]


def report(folder: Path, model: Path, *words: str) -> dict[str, Any]:
    """The JSON of a report from an empty log: before, default schedules; after, the history that ships."""
    path = folder / "report.json"
    common = ["--model", str(model), "--target", "native", "--log-dir", str(folder / "logs"), "--trials", "0"]
    assert main(["tune", *common, "--rounds", "1", "--quiet", "--json", str(path), *words]) == 0
    data: dict[str, Any] = json.loads(path.read_text())
    return data


@pytest.mark.parametrize("arithmetic", ["xnnpack", "reference"])
@pytest.mark.parametrize("name", MODELS)
def test_every_output_is_identical(tmp_path: Path, tflite_models: Path, name: str, arithmetic: str) -> None:
    data = report(tmp_path, tflite_models / f"{name}.tflite", "--arithmetic", arithmetic, "--samples", "5")
    for build in ("before", "after"):
        assert data["agreement"][build]["identical"] == 1
        assert data["agreement"][build]["max_difference"] == 0
    assert data["coverage"]["missing"] == 0
    assert data["coverage"]["tuned"] + data["coverage"]["fallback"] > 0


def test_keyword_spotting_accuracy(tmp_path: Path, tflite_models: Path, shared: Path) -> None:
    dataset = str(shared / "data" / "kws01_test.npz")
    data = report(tmp_path, tflite_models / "kws_ref_model.tflite", "--dataset", dataset)
    assert data["accuracy"]["reference"] == {"top1": 0.902, "top5": 0.992, "samples": 1000}
    assert data["accuracy"]["before"] == data["accuracy"]["reference"]
    assert data["accuracy"]["after"] == data["accuracy"]["reference"]
    assert data["agreement"]["after"]["top1"] == 1


def test_the_tutorials_elephant(tmp_path: Path, tflite_models: Path, shared: Path) -> None:
    words = ["--input", str(shared / "images" / "elephant-299.jpg")]
    words += ["--labels", str(shared / "labels" / "imagenet_labels_1001.txt"), "--samples", "1"]
    data = report(tmp_path, tflite_models / "mobilenet_v2_1.0_224_quant_uint8.tflite", *words)
    (prediction,) = data["predictions"]
    assert prediction["classes"] == ELEPHANT
    assert "elephant" in prediction["names"][0].lower()
    assert data["agreement"]["after"]["identical"] == 1


@pytest.mark.parametrize(
    ("cpu", "coverage"),
    [
        (
            "AMD EPYC (family 25, model 17, stepping 1)",
            "6 tasks: 6 tuned, 0 with a default schedule, 0 missing",
        ),
        (
            "Intel(R) Xeon(R) Processor (family 6, model 85, stepping 7)",
            "6 tasks: 0 tuned, 6 with a default schedule (6 of them known from other kinds of CPU only), 0 missing",
        ),
    ],
)
def test_a_fresh_clone_builds_with_what_fits_the_cpu(
    tmp_path: Path,
    tflite_models: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    cpu: str,
    coverage: str,
) -> None:
    monkeypatch.setattr(TargetSpec, "runs_here", lambda _: None)
    monkeypatch.setattr(common, "cpu_model", lambda: cpu)
    words = ["--model", str(tflite_models / "ad01_int8.tflite"), "--target", "llvm -mcpu=cascadelake"]
    words += ["--log-dir", str(tmp_path / "logs"), "--output", str(tmp_path / "net.so")]
    assert main(["build", *words]) == 0
    assert coverage in capsys.readouterr().out
