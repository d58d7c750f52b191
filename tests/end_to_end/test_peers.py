"""The comparison with other engines on the smallest real network, with an engine that is always there."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.shared_data
def test_a_comparison_of_two_engines(tmp_path: Path, shared: Path) -> None:
    files = {name: tmp_path / f"rows.{name}" for name in ("json", "markdown", "chart")}
    command = [
        *(sys.executable, "benchmarks/peers.py", "--models", "mlperf_tiny_ad01", "--shared", str(shared)),
        *("--engines", "autotune_qnn_untuned,autotune_qnn_autotvm,litert_xnnpack,onnxruntime"),
        *("--threads", "1", "--batch", "2", "--rounds", "3", "--cache", str(tmp_path / "cache")),
        *("--log-dir", str(tmp_path / "logs")),
        *(word for name, path in files.items() for word in (f"--{name}", str(path))),
    ]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    ours, logged, other, peer = json.loads(files["json"].read_text())
    assert (ours["engine"], ours["batch"], ours["threads"]) == ("autotune_qnn_untuned", 2, 1)
    assert ours["identical"] is True
    assert peer["identical"] is True
    assert ours["repeats"] == peer["repeats"] == 3
    assert ours["ratio_to_best_peer"] == pytest.approx(peer["median_ms"] / ours["median_ms"], rel=0.01)
    assert ours["best_peer"] == "litert_xnnpack (mlperf_tiny_ad01)"
    assert "there is no tuning log" in logged["error"]
    assert (other["absent"], other["median_ms"]) == (True, None)
    assert files["markdown"].read_text().strip() == result.stdout.strip()
    assert xml.etree.ElementTree.fromstring(files["chart"].read_text()).tag.endswith("svg")
