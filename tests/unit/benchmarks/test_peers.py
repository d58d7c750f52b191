"""The comparison with other engines, as far as it needs none of them."""

from __future__ import annotations

import dataclasses
import json
import time
import xml.etree.ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotune_qnn.errors import UsageError, VerificationError
from autotune_qnn.evaluation.latency import Plan
from autotune_qnn.quantization import Arithmetic
from benchmarks.lib import options, peak, preparation, source
from benchmarks.lib.chart import svg
from benchmarks.lib.engines import ENGINES
from benchmarks.lib.engines.base import Running
from benchmarks.lib.job import Job
from benchmarks.lib.networks import NETWORKS, Kind, chosen
from benchmarks.lib.preparation import Prepared
from benchmarks.lib.rows import Machine, Row, completed, failures, to_records
from benchmarks.lib.runs import EngineProcess, run_case
from benchmarks.lib.source import Source
from benchmarks.lib.table import markdown
from benchmarks.lib.worker import serve, timed

MACHINE = Machine("a CPU", "llvm", {"apache-tvm": "1"}, "vpdpbusd512", {1: 200.0})
OURS, PEER = "autotune_qnn_untuned", "openvino"


def job(engine: str = OURS, model: str = "resnet18", **others: Any) -> Job:
    fields: dict[str, Any] = {"batch": 1, "threads": 1, "target": "native", "trials": 0}
    places = {"cache": Path("/cache"), "shared": Path("/shared"), "log_dir": Path("/logs")}
    return Job(engine, model, **(fields | places | others))


def row(engine: str, median: float | None, model: str = "resnet18", **others: Any) -> Row:
    return Row(engine, model, 1, 1, median, **others)


def test_the_best_peer_is_the_fastest_form_of_the_architecture() -> None:
    rows = [
        row(OURS, 2.0, "mobilenet_v2_tflite", gmacs=150.0),
        row(PEER, 4.0, "mobilenet_v2_tflite"),
        row(PEER, 3.0, "mobilenet_v2"),
        row("autotune_qnn_tuned", 1.0, "mobilenet_v2"),
        row(PEER, 1.0, "resnet18"),
        row(PEER, None, "resnet18", error="gone"),
    ]
    ours, slow, fast, _, other, gone = completed(rows, MACHINE.peaks)
    assert (ours.best_peer, ours.ratio_to_best_peer, ours.peak_share) == (
        "openvino (mobilenet_v2)",
        1.5,
        0.75,
    )
    assert (slow.ratio_to_best_peer, fast.ratio_to_best_peer, other.ratio_to_best_peer) == (0.75, 1.0, 1.0)
    assert gone.ratio_to_best_peer is None


def test_without_a_peer_or_a_peak_there_is_no_ratio() -> None:
    (alone,) = completed([row(OURS, 2.0, gmacs=1.0)], {})
    assert alone.ratio_to_best_peer is None
    assert alone.peak_share is None


def test_only_our_own_failures_are_loud() -> None:
    rows = [
        row(OURS, 1.0, identical=True),
        row(OURS, 1.0, identical=False),
        row(OURS, None, error="it crashed"),
        row(OURS, None, error="no log", absent=True),
        row(PEER, 1.0, identical=False),
        row(PEER, None, error="it crashed"),
    ]
    assert [line.split(": ")[1] for line in failures(rows)] == [
        "the output is not the framework's",
        "it crashed",
    ]


def test_rows_have_the_fields_that_readers_of_the_json_count_on() -> None:
    (record,) = json.loads(json.dumps(to_records([row(OURS, 1.5, identical=True)], MACHINE)))
    wanted = {"engine": OURS, "model": "resnet18", "threads": 1, "batch": 1}
    assert wanted.items() <= record.items()
    assert (record["median_ms"], record["identical"]) == (1.5, True)
    assert (record["cpu"], record["peak_gmacs"]) == ("a CPU", 200.0)


def test_names_are_chosen_by_patterns_in_their_own_order() -> None:
    names = ["resnet18", "resnet50", "kws"]
    assert chosen(names, "kws,resnet*", "network") == names
    assert chosen(names, "resnet50", "network") == ["resnet50"]
    with pytest.raises(UsageError, match="there is no network 'alexnet'"):
        chosen(names, "alexnet", "network")


def test_options_become_cases() -> None:
    given = ["--models", "resnet18", "--threads", "2,1", "--batch", "1,8", "--engines", "openvino,litert*"]
    parsed = options.parse(given, Path("/cache"))
    cases = parsed.cases()
    assert [(case[0].batch, case[0].threads) for case in cases] == [(1, 2), (1, 1), (8, 2), (8, 1)]
    assert [entry.engine for entry in cases[0]] == ["openvino", "litert_xnnpack"]
    everything = options.parse([], Path("/cache"))
    assert len(everything.cases()) == len(NETWORKS) * 4
    assert everything.engines == list(ENGINES)


@pytest.mark.parametrize(
    "given",
    [
        ["--threads", "0"],
        ["--threads", "two"],
        ["--batch", ""],
        ["--rounds", "0"],
        ["--trials", "-1"],
        ["--seconds", "0"],
        ["--json", "/nowhere/at/all.json"],
        ["--chart", "/"],
    ],
)
def test_options_that_make_no_sense_are_refused(given: list[str]) -> None:
    with pytest.raises(UsageError):
        options.parse(given, Path("/cache"))


def test_a_job_survives_the_command_line() -> None:
    assert Job.from_json(job(threads=2).to_json()) == job(threads=2)


def test_other_ingredients_have_another_folder() -> None:
    assert job().folder("openvino", ["1"]) != job().folder("openvino", ["2"])
    assert job(batch=8).folder("openvino", ["1"]) != job().folder("openvino", ["1"])


def made(folder: Path) -> Source:
    """A source of two batches whose expected output is their sum."""
    inputs = np.arange(8, dtype=np.float32).reshape(2, 1, 4)
    np.save(folder / "inputs.npy", inputs)
    np.save(folder / "expected.npy", inputs.sum(axis=2, keepdims=True))
    return Source(folder, folder / "model.pt", (1, 4), "float32", Arithmetic.X86, 3_000_000)


class Fake:
    """A runner whose runs take a fixed time; `error` is how it dies after it was compared."""

    def __init__(
        self, seconds: float, order: list[str], name: str, *, off: float = 0.0, error: str = ""
    ) -> None:
        self.note, self.name, self.seconds, self.order = "fake", name, seconds, order
        self.off, self.error, self.closed = off, error, False

    def run(self, data: Any) -> Any:
        return data.sum(axis=1, keepdims=True) + np.float32(self.off)

    def time(self, inputs: Sequence[Any], number: int, repeat: int) -> list[float]:
        if self.error:
            raise VerificationError(self.error)
        self.order.append(self.name)
        return [self.seconds] * repeat

    def cores(self) -> float:
        return 1.0

    def close(self) -> None:
        self.closed = True


def case(folder: Path, runners: dict[str, Fake], refused: Row | None = None) -> list[Row]:
    prepared = [Prepared(job(name), made(folder), folder) for name in runners]
    if refused is not None:
        prepared.append(Prepared(job(refused.engine), failed=refused))

    def start(entry: Job, place: Path) -> Fake:
        if runners[entry.engine].seconds == 0:
            raise VerificationError("it does not start")
        return runners[entry.engine]

    return run_case(prepared, Plan(rounds=4, min_repeat_ms=1), start)


def test_engines_are_timed_in_turns(tmp_path: Path) -> None:
    order: list[str] = []
    runners = {OURS: Fake(0.002, order, OURS), PEER: Fake(0.003, order, PEER, off=1.0)}
    refused = Row("onnxruntime", "resnet18", 1, 1, error="reads ONNX", absent=True)
    ours, peer, third = case(tmp_path, runners, refused)
    assert (ours.median_ms, ours.gmacs, ours.identical, ours.repeats) == (2.0, 1.5, True, 4)
    assert (peer.identical, peer.agreement, peer.top1) == (False, 0.0, 1.0)
    assert third is refused
    turns = order[-16:]
    assert turns == [OURS] * 2 + [PEER] * 4 + [OURS] * 2 + [OURS] * 2 + [PEER] * 4 + [OURS] * 2
    assert all(runner.closed for runner in runners.values())


def test_an_engine_that_dies_takes_only_its_own_row(tmp_path: Path) -> None:
    order: list[str] = []
    runners = {
        OURS: Fake(0.002, order, OURS),
        PEER: Fake(0.003, order, PEER, error="it died"),
        "onnxruntime": Fake(0, order, "onnxruntime"),
    }
    ours, peer, third = case(tmp_path, runners)
    assert ours.median_ms == 2.0
    assert (peer.median_ms, peer.error) == (None, "it died")
    assert third.error == "it does not start"


def test_an_output_of_another_shape_is_an_error(tmp_path: Path) -> None:
    runner = Fake(0.001, [], OURS)
    runner.run = lambda data: data  # type: ignore[method-assign]
    (ours,) = case(tmp_path, {OURS: runner})
    assert "(1, 4)" in ours.error
    assert runner.closed


def test_the_worker_times_what_was_set() -> None:
    calls = []
    figures = timed(lambda: calls.append(1), 5)
    assert len(calls) == 5
    assert figures["seconds"] >= 0


def test_the_worker_answers_frames() -> None:
    import io

    from autotune_qnn.frontends.frames import read_frame, write_frame

    requests, answers = io.BytesIO(), io.BytesIO()
    data = np.ones((1, 4), np.float32)
    for request in ({"command": "run", "data": data}, {"command": "set", "data": data}):
        write_frame(requests, request)
    write_frame(requests, {"command": "time", "number": 3})
    requests.seek(0)
    runs: list[int] = []
    serve(Running(lambda array: array * 2, lambda array: lambda: runs.append(1), "a note"), requests, answers)
    answers.seek(0)
    ready, output, _, figures = (read_frame(answers) for _ in range(4))
    assert ready is not None
    assert str(ready["note"]) == "a note"
    assert output is not None
    assert np.array_equal(output["output"], data * 2)
    assert figures is not None
    assert float(figures["seconds"]) >= 0
    assert len(runs) == 1 + 3


def state(process: EngineProcess) -> str:
    assert process._process is not None
    return Path(f"/proc/{process._process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def test_a_process_is_stopped_while_it_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.lib.runs._MODULE", "tests.support.bench_worker")
    data = np.ones((1, 4), np.float32)
    with EngineProcess(job(), Path("/nowhere")) as process:
        deadline = time.monotonic() + 10
        while state(process) != "T" and time.monotonic() < deadline:
            time.sleep(0.01)
        assert state(process) == "T"
        assert process.note == "doubles"
        assert np.array_equal(process.run(data), data * 2)
        assert all(seconds > 0 for seconds in process.time([data], 100, 2))
        assert process.cores() > 0
    with pytest.raises(VerificationError, match="is closed"):
        process.run(data)


def test_a_missing_file_is_a_row(tmp_path: Path) -> None:
    (entry,) = preparation.prepare(
        [job("litert_xnnpack", "mlperf_tiny_kws", shared=tmp_path, cache=tmp_path)], lambda line: None
    )
    assert entry.failed is not None
    assert entry.failed.absent
    assert "kws_ref_model.tflite does not exist" in entry.failed.error


def test_engines_refuse_what_they_cannot_read() -> None:
    for network in NETWORKS:
        refusing = [name for name, engine in ENGINES.items() if engine.refuses(network)]
        from_torch = network.kind is Kind.PYTORCH
        assert ("litert_xnnpack" in refusing) is from_torch
        assert ("onnxruntime" in refusing) is not from_torch
        assert not [name for name in refusing if name.startswith("autotune_qnn") or name == "openvino"]


def test_a_preparing_process_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    monkeypatch.setattr(source, "read", lambda entry: made(folder))
    engine = ENGINES["litert_xnnpack"]
    monkeypatch.setattr(engine, "ingredients", lambda entry, origin: ["here"])
    entry = job("litert_xnnpack", "mlperf_tiny_kws", cache=tmp_path, shared=tmp_path)
    (failed,) = preparation.prepare([entry], lambda line: None)
    assert failed.failed is not None
    assert not failed.failed.absent
    assert "kws_ref_model.tflite does not exist" in failed.failed.error


def rows_to_show() -> list[Row]:
    rows = [
        row(OURS, 2.0, p10_ms=1.9, p90_ms=2.2, gmacs=100.0, identical=True, cores=1.0, note="a|b"),
        row(PEER, 3.0, p10_ms=2.9, p90_ms=3.2, gmacs=66.0, identical=False, top1=0.5),
        row("tflite_builtin", None, error="reads .tflite"),
    ]
    return completed(rows, MACHINE.peaks)


def test_the_table_has_every_row() -> None:
    text = markdown(rows_to_show(), MACHINE)
    assert "| resnet18 | 1 | 1 | autotune_qnn_untuned | 2.000 | openvino (resnet18) | 3.000 | 1.50 |" in text
    assert (
        "| **autotune_qnn_untuned** | 2.000 | 1.900 to 2.200 | 1.50 | 100.0 | 50.0% | 1.00 | identical |"
        in text
    )
    assert "a\\|b" in text
    assert "first class 50%" in text
    assert "- tflite_builtin: reads .tflite" in text
    wrong = dataclasses.replace(rows_to_show()[0], identical=False, agreement=0.25)
    assert "**DIFFERS** (25.00% of elements)" in markdown([wrong], MACHINE)


def test_the_chart_has_a_dot_for_every_figure() -> None:
    root = xml.etree.ElementTree.fromstring(svg(rows_to_show(), MACHINE))
    space = {"svg": "http://www.w3.org/2000/svg"}
    titles = [element.text for element in root.findall(".//svg:title", space)]
    assert titles == [f"{PEER}: 3.000 ms, 1.00", f"{OURS}: 2.000 ms, 1.50"]
    places = [
        float(element.attrib["cx"])
        for element in root.findall(".//svg:circle", space)
        if element.find("svg:title", space) is not None
    ]
    assert places[0] < places[1]


def test_a_chart_of_nothing_is_still_a_chart() -> None:
    assert xml.etree.ElementTree.fromstring(svg([row(PEER, None, error="gone")], MACHINE)) is not None


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ({"avx2", "avx512bw", "avx512_vnni", "amx_int8"}, "tdpbusd"),
        ({"avx2", "avx512bw", "avx512_vnni"}, "vpdpbusd512"),
        ({"avx2", "avx_vnni"}, "vpdpbusd256"),
        ({"avx2", "avx512bw"}, "vpmaddwd512"),
        ({"avx2"}, "vpmaddwd256"),
        (set(), ""),
    ],
)
def test_the_peak_is_of_the_best_instruction(flags: set[str], name: str) -> None:
    assert peak.best_instruction(frozenset(flags)) == name


def test_the_peak_of_this_machine(tmp_path: Path) -> None:
    measured = peak.Peak(tmp_path)
    if not measured.instruction or not list(tmp_path.glob("peak-*")):
        pytest.skip("no C compiler, or no instruction for bytes that the loop knows")
    measured.sample(1)
    first = measured.peaks[1]
    measured.sample(1)
    assert measured.peaks[1] >= first > 1.0


def test_without_a_compiler_there_is_no_peak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    measured = peak.Peak(tmp_path)
    measured.sample(1)
    assert measured.peaks == {}
