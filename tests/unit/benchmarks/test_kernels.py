"""benchmarks/kernels.py on a small network: kernels are prepared, checked, timed and written down."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.kernels import main
from tests.end_to_end.test_tune import dense_model

ERRORS_OF_OPTIONS, ERRORS_OF_OUTPUTS = 2, 11


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A folder with the kernels of a dense layer, for two threads."""
    (tmp_path / "dense.tflite").write_bytes(dense_model())
    options = ["--model", str(tmp_path / "dense.tflite"), "--untuned", "--threads", "2"]
    assert main(["prepare", str(tmp_path / "kernels"), *options]) == 0
    return tmp_path / "kernels"


def test_rows(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = prepared / "rows.json"
    assert main(["measure", str(prepared), "--seconds", "0.01", "--json", str(written)]) == 0
    title, head, *lines = capsys.readouterr().out.splitlines()
    assert "2 thread(s)" in title
    assert head.split()[-1] == "kernel"
    report = json.loads(written.read_text())
    dense = next(row for row in report["kernels"] if row["kernel"].startswith("dense"))
    assert len(lines) == len(report["kernels"])
    assert dense["identical"]
    assert dense["tuned_us"] is None
    assert dense["gmacs"] == pytest.approx(32 * 16 / dense["default_us"] / 1e3, rel=0.05)


def test_another_output_than_the_reference(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kernels = json.loads((prepared / "index.json").read_text())["kernels"]
    path = prepared / next(kernel["data"] for kernel in kernels if kernel["name"].startswith("dense"))
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    np.savez(path, **{**arrays, "expected0": arrays["expected0"] ^ 1})
    assert main(["measure", str(prepared), "--seconds", "0.01"]) == ERRORS_OF_OUTPUTS
    assert "computes something else" in capsys.readouterr().err


def test_nothing_prepared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", str(tmp_path)]) == ERRORS_OF_OPTIONS
    assert "run prepare first" in capsys.readouterr().err
