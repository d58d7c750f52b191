"""A tuning run that is stopped, by whatever, keeps what it measured, and the next one goes on from there."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from autotune_qnn.cli.main import main
from tests.end_to_end.test_tune import PROJECT
from tests.support.tflite_writer import Operator, Tensor, constant, write_model

ENOUGH = 4
PATIENCE_S = 120.0


def convolution_model() -> bytes:
    """int8 14x14x32 → 64, 3x3: a search space that no test can exhaust."""
    generator = np.random.default_rng(2)
    tensors = [
        Tensor((1, 14, 14, 32), "int8", scale=0.05, zero_point=-3),
        constant(generator.integers(-127, 128, (64, 3, 3, 32), dtype=np.int8), scale=0.01, zero_point=0),
        constant(generator.integers(-500, 500, 64, dtype=np.int32), scale=0.0005, zero_point=0),
        Tensor((1, 14, 14, 64), "int8", scale=0.9, zero_point=5),
    ]
    options = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    operator = Operator("CONV_2D", [0, 1, 2], [3], "Conv2DOptions", options)
    return write_model(tensors, [operator], [0], [3])


def words(place: Path, trials: int) -> list[str]:
    model = ["--model", str(place / "conv.tflite"), "--target", "native", "--log-dir", str(place / "logs")]
    quick = ["--samples", "2", "--rounds", "1", "--repeat", "2", "--tuner", "autotvm"]
    return ["tune", *model, *quick, "--trials", str(trials)]


def trials(place: Path) -> list[Any]:
    """The complete trial lines of the log, if there is one yet."""
    lines = [
        line for path in place.glob("logs/*/*/records.jsonl") for line in path.read_text().splitlines(True)
    ]
    entries = [json.loads(line) for line in lines if line.endswith("\n")]
    return [entry for entry in entries if entry["type"] == "trial"]


def wait_until(condition: Any, what: str) -> None:
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < PATIENCE_S, f"{what} did not happen within {PATIENCE_S} s"
        time.sleep(0.05)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
def test_a_stopped_run_resumes(
    how: signal.Signals, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "conv.tflite").write_bytes(convolution_model())
    with subprocess.Popen(
        [sys.executable, str(PROJECT / "scripts" / "tune.py"), *words(tmp_path, 100_000)[1:]],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_until(lambda: len(trials(tmp_path)) >= ENOUGH or process.poll() is not None, "a few trials")
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(how)
        errors = process.communicate(timeout=PATIENCE_S)[1]
    if how is signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 130, errors
        assert "Traceback" not in errors
        assert errors.splitlines()[-1].startswith("interrupted: ")
    wait_until(lambda: not any(child.is_running() for child in family), "the end of the workers")
    kept = trials(tmp_path)
    assert len(kept) >= ENOUGH
    assert [entry["trial"] for entry in kept] == list(range(len(kept)))

    json_path = tmp_path / "report.json"
    assert main([*words(tmp_path, len(kept) + 2), "--quiet", "--json", str(json_path)]) == 0
    report = json.loads(json_path.read_text())
    assert report["tuning"]["trials_in_log"] == report["tuning"]["new_trials"] + len(kept)
    assert report["tuning"]["new_trials"] <= 2
    assert trials(tmp_path)[: len(kept)] == kept
    assert report["agreement"]["after"]["identical"] == 1
    capsys.readouterr()
