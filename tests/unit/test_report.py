from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from autotune_qnn.evaluation.latency import Latency, Noise
from autotune_qnn.evaluation.metrics import Accuracy, Agreement
from autotune_qnn.report.model import (
    SCHEMA_VERSION,
    AccuracySection,
    AgreementSection,
    Coverage,
    LatencySection,
    Prediction,
    Report,
    Speedup,
    Tuning,
)
from autotune_qnn.report.table import render


def latency(median: float) -> Latency:
    return Latency(median, median + 0.01, median - 0.1, median + 0.2, median - 0.2, 0.05, 60, 3)


@pytest.fixture
def report() -> Report:
    section = LatencySection(latency(3.25), latency(1.3), latency(2.6))
    return Report(
        model="net",
        model_sha256="ab" * 32,
        frontend="tflite",
        target="llvm -mcpu=cascadelake",
        cpu="A CPU",
        threads=1,
        arithmetic="xnnpack",
        batch=1,
        versions={"apache-tvm": "0.27"},
        created="2026-01-01T00:00:00+00:00",
        operators={"CONV_2D": 36},
        coverage=Coverage(17, 3, 0),
        tuning=Tuning("tuning_logs/x", "both", 512, 100, {"timeout": 2}, 61.5),
        latency=section,
        speedup=Speedup.of(section),
        noise=Noise(1.05, 0.4, False),
        agreement=AgreementSection(
            Agreement(1.0, 20, 20, 1.0, 0.0, 1.0, 1.0), Agreement(0.95, 19, 20, 0.999999, 2.0, 1.0, 0.95)
        ),
        data=("20 random inputs, seed 0",),
        accuracy=AccuracySection(
            Accuracy(0.902, 0.99, 1000), Accuracy(0.902, 0.99, 1000), Accuracy(0.903, 0.99, 1000)
        ),
        predictions=(Prediction("elephant.jpg", (387, 102), ("elephant", "tusker"), (210.0, 209.0)),),
    )


def test_json_has_the_promised_fields(report: Report) -> None:
    data = json.loads(report.to_json())
    assert data["schema_version"] == SCHEMA_VERSION
    for name in ("model", "frontend", "target", "cpu", "threads", "arithmetic"):
        assert data[name] == getattr(report, name)
    assert data["coverage"] == {"tuned": 17, "fallback": 3, "missing": 0}
    assert set(data["latency"]) == {"before", "after", "reference"}
    assert data["latency"]["after"]["median_ms"] == 1.3
    assert set(data["latency"]["after"]) >= {"mean_ms", "p10_ms", "p90_ms", "min_ms", "std_ms", "repeats"}
    assert set(data["agreement"]) == {"before", "after"}
    assert set(data["agreement"]["after"]) >= {"identical", "max_difference", "top1", "top5"}
    assert data["accuracy"]["reference"] == {"top1": 0.903, "top5": 0.99, "samples": 1000}
    assert data["speedup"] == {"over_before": 2.5, "over_reference": 2.0}


def test_without_labels_there_is_no_accuracy(report: Report) -> None:
    bare = replace(report, accuracy=None, predictions=())
    assert "accuracy" not in bare.to_dict()
    assert "accuracy" not in render(bare)


def test_the_table_holds_the_numbers_of_the_json(report: Report) -> None:
    table = render(report)
    for build in (report.latency.before, report.latency.after, report.latency.reference):
        for value in (build.median_ms, build.mean_ms, build.p10_ms, build.p90_ms, build.min_ms, build.std_ms):
            assert f"{value:.5f}" in table
    shares = ("19 of 20", "95.0000 %", "99.9999 %", "90.2000 %")
    coverage = "20 tasks: 17 tuned, 3 with a default schedule, 0 missing"
    for text in (*shares, coverage, "2 timeout", "387", "tusker", "2.5 times", "A CPU, 1 thread"):
        assert text in table
    assert all(line == line.rstrip() for line in table.splitlines())


def test_tasks_known_from_other_kinds_of_cpu_are_told(report: Report) -> None:
    tuning = replace(report.tuning, tasks_set_aside=2)
    said = "17 tuned, 3 with a default schedule (2 of them known from other kinds of CPU only), 0 missing"
    assert said in render(replace(report, tuning=tuning))
    assert replace(report, tuning=tuning).to_dict()["tuning"]["tasks_set_aside"] == 2


def test_a_busy_machine_is_mentioned(report: Report) -> None:
    assert "busy" not in render(report)
    assert "busy" in render(replace(report, noise=Noise(1.9, 3.0, True)))


def test_what_is_not_finite_becomes_null(report: Report) -> None:
    broken = Agreement(0.0, 0, 20, 0.0, float("inf"), 0.0, 0.0)
    data = json.loads(replace(report, agreement=AgreementSection(broken, broken)).to_json())
    assert data["agreement"]["after"]["max_difference"] is None


def test_the_report_needs_no_tvm() -> None:
    code = "import sys; sys.modules['tvm'] = None; import autotune_qnn.report.table"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
