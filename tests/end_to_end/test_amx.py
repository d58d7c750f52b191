"""The whole way with kernels on AMX's tiles: tune in worker processes, build, run; see tests/support/amx.py.

Where tiles are emulated, the emulator is preloaded into every process, and this CPU is said to have them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from autotune_qnn.build.manifest import read_manifest
from autotune_qnn.cli.main import main
from autotune_qnn.errors import TargetError
from autotune_qnn.host import TILE_FLAGS
from autotune_qnn.runtime import session as sessions
from autotune_qnn.runtime.session import Session
from tests.support.amx import TARGET, emulator_library, tiles
from tests.support.tflite_writer import Operator, Tensor, constant, write_model

DRIVER = """
import sys
from autotune_qnn import host
from autotune_qnn.cli.main import main
from autotune_qnn.engines.relax import target
from autotune_qnn.runtime import session

if sys.argv.pop(1) == "emulated":
    flags = host.host_flags() | host.TILE_FLAGS
    host._tile_permission = lambda: None
    for module in (host, target, session):
        module.host_flags = lambda: flags
sys.exit(main(sys.argv[1:]))
"""
PLAIN = """
import sys
import numpy as np, tvm
from tvm.runtime.vm import VirtualMachine

machine = VirtualMachine(tvm.runtime.load_module("net.so"), tvm.cpu())
with np.load("data.npz") as data:
    outputs = [machine["main"](tvm.runtime.tensor(one)).numpy() for one in data["inputs"][:, None]]
np.save("plain.npy", np.concatenate(outputs))
"""


def convolution_model() -> bytes:
    """int8 1x6x6x96 → 1x6x6x40, a pointwise convolution, per tensor."""
    generator = np.random.default_rng(1)
    weights = generator.integers(-127, 128, (40, 1, 1, 96), dtype=np.int8)
    bias = generator.integers(-500, 500, 40, dtype=np.int32)
    tensors = [
        Tensor((1, 6, 6, 96), "int8", scale=0.05, zero_point=-3),
        constant(weights, scale=0.01, zero_point=0),
        constant(bias, scale=0.0005, zero_point=0),
        Tensor((1, 6, 6, 40), "int8", scale=0.2, zero_point=5),
    ]
    options = {"padding": 1, "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    operators = [Operator("CONV_2D", [0, 1, 2], [3], "Conv2DOptions", options)]
    return write_model(tensors, operators, [0], [3])


def run(place: Path, program: str, *words: str) -> str:
    """Run a program in a process of its own, with the emulator where it is needed; its output."""
    environment = dict(os.environ)
    if tiles().emulated:
        environment["LD_PRELOAD"] = str(emulator_library())
    result = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tuned library and what `tune` reported."""
    place = tmp_path_factory.mktemp("amx")
    (place / "net.tflite").write_bytes(convolution_model())
    data = np.random.default_rng(0).integers(-128, 128, (4, 6, 6, 96), dtype=np.int8)
    np.savez(place / "data.npz", inputs=data, labels=np.zeros(4, np.int64))
    words = ["--model", "net.tflite", "--target", TARGET, "--log-dir", "logs", "--trials", "8"]
    words += [
        "--samples",
        "3",
        "--rounds",
        "2",
        "--repeat",
        "2",
        "--output",
        "net.so",
        "--json",
        "report.json",
    ]
    run(place, DRIVER, "emulated" if tiles().emulated else "native", "tune", *words, "--dataset", "data.npz")
    return place


def test_every_output_is_identical_before_and_after(tuned: Path) -> None:
    report = json.loads((tuned / "report.json").read_text())
    for build in ("before", "after"):
        assert report["agreement"][build]["identical"] == 1
        assert report["agreement"][build]["samples"] == 7
    assert report["coverage"]["missing"] == 0
    assert report["coverage"]["tuned"] >= 1


def test_tiles_were_measured_in_worker_processes(tuned: Path) -> None:
    (log,) = (tuned / "logs").rglob("records.jsonl")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    records = [line for line in lines if line.get("source") == "conv2d_amx"]
    assert records
    assert {record["status"] for record in records} == {"ok"}
    assert any(record["config"]["registers"] == 0 for record in records)


def test_the_library_runs_without_this_package(tuned: Path) -> None:
    run(tuned, PLAIN)
    words = ("--input", "data.npz", "--output", "out.npz", "--rounds", "2")
    run(tuned, DRIVER, "emulated" if tiles().emulated else "native", "run", "net.so", *words)
    with np.load(tuned / "out.npz") as outputs:
        np.testing.assert_array_equal(np.load(tuned / "plain.npy"), outputs["outputs"])


def test_where_linux_refuses_the_session_says_so(tuned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = frozenset(read_manifest(tuned / "net.so").needed_flags)
    assert flags >= TILE_FLAGS
    monkeypatch.setattr(sessions, "host_flags", lambda: flags)
    monkeypatch.setattr(sessions, "tiles_refused", lambda: "Linux does not let this process use tiles")
    with pytest.raises(TargetError, match="Linux does not let"):
        Session.load(tuned / "net.so")


def test_for_another_cpu_it_is_built_and_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.tflite").write_bytes(convolution_model())
    words = ["--model", str(tmp_path / "net.tflite"), "--target", "llvm -mcpu=graniterapids"]
    words += ["--log-dir", str(tmp_path)]
    assert main(["build", *words, "--untuned", "--output", str(tmp_path / "net.so")]) == 0
    monkeypatch.setattr("autotune_qnn.engines.relax.target.host_flags", lambda: frozenset({"avx2"}))
    monkeypatch.setattr(sessions, "host_flags", lambda: frozenset({"avx2"}))
    capsys.readouterr()
    assert main(["tune", *words, "--trials", "2"]) == 5
    assert "no amx-int8, amx-tile" in capsys.readouterr().err
    assert main(["run", str(tmp_path / "net.so"), "--rounds", "1"]) == 5
    assert "no abm, amx_int8, amx_tile" in capsys.readouterr().err
