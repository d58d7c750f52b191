"""The command line on PyTorch's networks: a small image and no trials, so that it is quick."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotune_qnn.cli.main import main
from tests.support.pt2e import quantized_program, quantizer
from tests.support.torch import needs_torch, needs_torchao, needs_torchvision

NETWORK = ["--frontend", "pytorch", "--model", "shufflenet_v2_x0_5", "--input-shape", "1,3,64,64"]
QUICK = ["--target", "native", "--trials", "0", "--rounds", "1"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for everything, and no way to the network."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def report(place: Path, *words: str) -> dict[str, Any]:
    assert main(["tune", *words, *QUICK, "--json", str(place / "report.json")]) == 0
    found: dict[str, Any] = json.loads((place / "report.json").read_text())
    return found


@needs_torchvision
def test_without_published_weights_there_is_a_notice_and_agreement(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = report(place, *NETWORK, "--samples", "0")
    printed = capsys.readouterr()
    assert "RANDOM" in printed.err
    assert "own code" not in printed.err
    assert found["weights"].startswith("random, seed 0")
    assert found["agreement"]["after"]["identical"] == 1
    assert found["agreement"]["after"]["samples"] == 8
    assert "accuracy" not in found
    assert "centre 64x64" in found["preprocessing"]
    assert "weights     random" in printed.out
    again = report(place, *NETWORK, "--weights", "random", "--arithmetic", "x86", "--samples", "2")
    assert "RANDOM" not in capsys.readouterr().err
    assert (again["arithmetic"], again["agreement"]["after"]["identical"]) == ("x86", 1)


@needs_torchvision
def test_a_library_knows_how_its_images_are_prepared(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*NETWORK, "--weights", "random", "--target", "native", "--untuned", "-o", "net.so"]
    assert main(["build", *words, "--std", "1,1,1"]) == 0
    record = json.loads((place / "net.so.manifest.json").read_text())["images"]
    assert (record["fit"], record["std"]) == ("crop", [1, 1, 1])
    from autotune_qnn.zoo.own_images import own_images

    assert main(["run", "net.so", "--input", str(own_images()[0])]) == 0
    assert "shufflenet" in capsys.readouterr().out


@needs_torchao
def test_an_exported_program_says_what_became_of_it(place: Path) -> None:
    import torch

    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3))
    inputs = [torch.randn(1, 3, 16, 16) for _ in range(3)]
    quantized_program(network, inputs, quantizer("xnnpack"), place / "net.pt2")
    found = report(place, "--frontend", "pytorch", "--model", "net.pt2", "--samples", "3")
    assert found["arithmetic"] == "exported"
    assert any(line.startswith("summed in integers: 2 convolution") for line in found["remarks"])
    assert found["agreement"]["after"]["identical_elements"] > 0.99


@needs_torch
@pytest.mark.parametrize(
    ("code", "message", "words"),
    [
        (3, "no quantized network of torchvision is called so", ["--model", "resnet51"]),
        (2, "batch,3,height,width", ["--model", "resnet18", "--input-shape", "1,1,224,224"]),
        (2, "--weights is for", ["--model", "net.pt", "--weights", "random"]),
        (
            2,
            "no arithmetic xnnpack",
            ["--model", "resnet18", "--weights", "random", "--arithmetic", "xnnpack"],
        ),
        (3, "published weights of resnet18", ["--model", "resnet18", "--weights", "pretrained"]),
        (
            3,
            "neither TorchScript nor an exported program",
            ["--model", "broken.pt", "--input-shape", "1,3,8,8"],
        ),
    ],
)
def test_what_a_user_can_get_wrong(
    place: Path, capsys: pytest.CaptureFixture[str], code: int, message: str, words: list[str]
) -> None:
    (place / "broken.pt").write_bytes(b"nothing of the kind")
    assert main(["tune", "--frontend", "pytorch", *words, *QUICK]) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]


def test_tflite_has_no_weights_to_choose(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "--weights", "random", *QUICK]) == 2
    assert "--frontend pytorch" in capsys.readouterr().err
