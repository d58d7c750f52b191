"""A tuning run that is stopped, by whatever, keeps what it measured, and the next one goes on from there."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from autotune_qnn.cli.main import main
from tests.end_to_end.test_tune import PROJECT, dense_model

ENOUGH = 4
PATIENCE_S = 120.0


def words(place: Path, trials: int) -> list[str]:
    model = ["--model", str(place / "dense.tflite"), "--target", "native", "--log-dir", str(place / "logs")]
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
    (tmp_path / "dense.tflite").write_bytes(dense_model())
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
