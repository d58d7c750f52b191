"""How fast tuning is, and how good what it finds: trials a second, time by phase, best latency against trials and time.

    python benchmarks/tuning.py run --model MODEL [options of `build`] [--searches autotvm,random,...] [--counts 8,35]
    python benchmarks/tuning.py prepare FOLDER --tasks 3,8 --model MODEL [options of `build`]
    python benchmarks/tuning.py measure FOLDER --record RECORDS
    python benchmarks/tuning.py replay RECORDS [--start default|random] [--known RECORDS]

`run` tunes afresh with each search and number of tasks: templates (autotvm), templates at random (random), sketches
(autoscheduler), both, and templates with what `--log-dir` and the project's own logs know (warm). Without `--counts` a
quarter, half and all of the tasks are tuned, evenly picked, with `--trials` shared out likewise, to show how everything
grows. `prepare` builds
every configuration of some tasks, `measure` times them once, and `replay` searches the recordings with many seeds, for
each task and for the network that they make up (a folder holds one network): there the cost model and random search are
compared without noise. `benchmarks/recordings` has two networks. `run` and `measure` need the machine for themselves.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from autotune_qnn.cli.common import import_model, log_header, open_pool, parse_target
from autotune_qnn.cli.results import write_text
from autotune_qnn.cli.tasks import select_tasks
from autotune_qnn.engines import relax
from autotune_qnn.errors import UsageError
from autotune_qnn.logs import LogStore, TrialRecord
from autotune_qnn.tuning.options import TuneOptions, TunerChoice
from autotune_qnn.tuning.progress import NoProgress
from autotune_qnn.tuning.protocols import Task
from autotune_qnn.tuning.summary import TuneSummary
from autotune_qnn.tuning.tuner import tune
from benchmarks.lib import recordings, tuning_replay
from benchmarks.lib.command import build_options, exit_code
from benchmarks.lib.tuning_tables import SECONDS, TRIALS, markdown

SEARCHES = ("autotvm", "random", "autoscheduler", "both", "warm")


class Curve(NoProgress):
    """Notes, after every trial, the seconds so far and the network's latency with the best of every task (ms)."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._weights = {task.key: task.weight for task in tasks}
        self._best = dict.fromkeys(self._weights, math.inf)
        self._start = time.monotonic()
        self.points: list[tuple[float, float]] = []

    def trial(self, record: TrialRecord, best_secs: float) -> None:
        """Note a trial."""
        self._best[record.task_key] = min(best_secs, self._best[record.task_key])
        total = sum(self._weights[key] * secs for key, secs in self._best.items())
        self.points.append((time.monotonic() - self._start, total * 1e3))

    def after_trials(self) -> dict[str, float]:
        """Latency after so many trials, once every task has one."""
        marks = {mark: self.points[mark - 1][1] for mark in TRIALS if mark <= len(self.points)}
        return {str(mark): round(value, 4) for mark, value in marks.items() if math.isfinite(value)}

    def after_seconds(self) -> dict[str, float]:
        """Latency after so many seconds."""
        found = {}
        for mark in SECONDS:
            values = [value for seconds, value in self.points if seconds <= mark]
            if values and math.isfinite(values[-1]) and self.points[-1][0] >= mark / 2:
                found[str(mark)] = round(values[-1], 4)
        return found


class PeakMemory:
    """The largest sum of resident memory of this process and its children, in MB; a context manager."""

    def __init__(self) -> None:
        self.peak = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        own = psutil.Process()
        while not self._done.wait(1.0):
            total = own.memory_info().rss
            for child in own.children(recursive=True):
                try:
                    total += child.memory_info().rss
                except psutil.Error:
                    continue
            self.peak = max(self.peak, total / 1e6)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def _evenly(tasks: Sequence[relax.TuningTask], count: int) -> list[relax.TuningTask]:
    """So many of the tasks, from all over the list, which is sorted by family."""
    return [tasks[place * len(tasks) // count] for place in range(count)]


def _one(
    search: str,
    seed: int,
    tasks: Sequence[relax.TuningTask],
    trials: int,
    arguments: argparse.Namespace,
    setting: Any,
) -> dict[str, Any]:
    """Tune some tasks afresh with one search and so many trials in all."""
    target, header, build = setting
    options = TuneOptions(
        tuner=TunerChoice.AUTOTVM if search in ("random", "warm") else TunerChoice(search),
        trials=trials,
        trials_per_task=arguments.trials_per_task,
        threads=build.threads,
        seed=seed,
        guided=search != "random",
    )
    pool = open_pool(build.log_dir, target, header) if search == "warm" else None
    curve = Curve(tasks)
    with (
        tempfile.TemporaryDirectory() as folder,
        LogStore.open(Path(folder), target.canonical, header.model, header) as store,
        PeakMemory() as memory,
    ):
        summary = tune(tasks, target, store, options, curve, pool=pool)
    return {
        "search": search,
        "seed": seed,
        "tasks": len(tasks),
        **_figures(summary, curve),
        "peak_memory_mb": round(memory.peak),
    }


def _figures(summary: TuneSummary, curve: Curve) -> dict[str, Any]:
    phases = {name: round(seconds, 2) for name, seconds in asdict(summary.phases).items()}
    return {
        "trials": summary.measured,
        "seconds": round(summary.seconds, 2),
        "trials_per_second": round(summary.trials_per_second, 2),
        "phase_seconds": phases,
        "latency_ms": round(summary.estimated_secs * 1e3, 4),
        "latency_ms_after_trials": curve.after_trials(),
        "latency_ms_after_seconds": curve.after_seconds(),
        "busy_trials": summary.busy,
        "warm_records": summary.warm.records,
        "failures": {status.value: count for status, count in summary.failures},
    }


def _network(options: Sequence[str]) -> tuple[Any, Any, Any, Sequence[relax.TuningTask]]:
    """The parsed options of `build`, the target, a log header and the network's tasks."""
    build = build_options(options)
    target = parse_target(build.target, to_run=True)
    model = import_model(build).model
    tasks = relax.lower(model.mod, target, build.threads).tasks
    return build, target, log_header(build, target, model), tasks


def run(arguments: argparse.Namespace, options: Sequence[str]) -> dict[str, Any]:
    """Tune with every search, seed and number of tasks asked for."""
    build, target, header, tasks = _network(options)
    tasks = select_tasks(tasks, arguments.tasks)
    every = len(tasks)
    counts = [min(count, every) for count in arguments.counts] or [
        max(1, every // 4),
        max(1, every // 2),
        every,
    ]
    rows = []
    setting = target, header, build
    for count in dict.fromkeys(counts):
        share = max(1, arguments.trials * count // every)
        for search in arguments.searches:
            for seed in range(arguments.seeds):
                rows.append(_one(search, seed, _evenly(tasks, count), share, arguments, setting))
                print(json.dumps(rows[-1]), flush=True)
    title = {"cpu": header.cpu, "target": header.target, "threads": header.threads, "model": header.model}
    return {**title, "pinning": header.pinning, "frequency": header.frequency, "rows": rows}


def prepare(arguments: argparse.Namespace, options: Sequence[str]) -> None:
    """Build the configurations of the chosen tasks."""
    build, target, _, tasks = _network(options)
    for task in select_tasks(tasks, arguments.tasks):
        count = recordings.prepare(task, target, build.threads, arguments.folder, arguments.limit)
        print(f"{task.name}: {count} configurations", flush=True)


def replay(arguments: argparse.Namespace) -> dict[str, Any]:
    """Search every recording of a folder."""
    tables = recordings.read_all(arguments.folder)
    known = [table for folder in arguments.known for table in recordings.read_all(folder)]
    results = tuning_replay.compare(tables, arguments.seeds, arguments.trials, known, arguments.start)
    return {
        "title": f"{tables[0].title}; from a {arguments.start} schedule, {arguments.seeds} seeds",
        "rows": [tuning_replay.task_row(result, arguments.trials) for result in results],
        "network": tuning_replay.network_rows(results, arguments.trials),
    }


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _searches(text: str) -> list[str]:
    names = text.split(",")
    if not set(names) <= set(SEARCHES):
        raise argparse.ArgumentTypeError(f"one or more of {', '.join(SEARCHES)}")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    steps = parser.add_subparsers(dest="step", required=True)
    for name in ("run", "replay"):
        step = steps.add_parser(name)
        step.add_argument("--trials", type=int, default=512 if name == "run" else 128)
        step.add_argument("--seeds", type=int, default=1 if name == "run" else 20)
        step.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
        step.add_argument("--markdown", type=Path, metavar="FILE", help="write the table as Markdown")
        if name == "run":
            step.add_argument("--trials-per-task", type=int)
            step.add_argument("--tasks", metavar="0,2-5", help="numbers of the tasks to tune")
            step.add_argument("--counts", type=_numbers, default=[], metavar="8,35", help="numbers of tasks")
            step.add_argument("--searches", type=_searches, default=["autotvm"], metavar=",".join(SEARCHES))
        else:
            step.add_argument("folder", type=Path)
            starts = tuning_replay.Start
            step.add_argument("--start", type=starts, choices=list(starts), default=starts.DEFAULT)
            step.add_argument("--known", type=Path, action="append", default=[], metavar="FOLDER")
    prepared = steps.add_parser("prepare")
    prepared.add_argument("folder", type=Path)
    prepared.add_argument("--tasks", metavar="0,2-5", help="numbers of the tasks to build")
    prepared.add_argument("--limit", type=int, default=2000, help="most configurations of a task")
    measured = steps.add_parser("measure")
    measured.add_argument("folder", type=Path)
    measured.add_argument("--record", type=Path, required=True, metavar="FOLDER", help="where recordings go")
    measured.add_argument("--rounds", type=int, default=12, help="times that each is run")
    return parser


def main(words: Sequence[str]) -> int:
    """Read the command line; do one of the steps. Returns the exit code."""
    arguments, options = _parser().parse_known_args(words)
    return exit_code(lambda: _step(arguments, options))


def _step(arguments: argparse.Namespace, options: Sequence[str]) -> int:
    takes_options = arguments.step in ("run", "prepare")
    if options and not takes_options:
        raise UsageError(f"{arguments.step} knows no {options[0]}")
    if arguments.step == "prepare":
        prepare(arguments, options)
    elif arguments.step == "measure":
        recordings.measure(arguments.folder, arguments.record, arguments.rounds)
    elif arguments.step == "run":
        result = run(arguments, options)
        _publish(arguments, result, markdown(result))
    else:
        result = replay(arguments)
        text = f"{result['title']}\n\n{tuning_replay.markdown(result['rows'], result['network'])}"
        _publish(arguments, result, text)
    return 0


def _publish(arguments: argparse.Namespace, result: dict[str, Any], text: str) -> None:
    print(text)
    if arguments.json:
        write_text(arguments.json, json.dumps(result, indent=1) + "\n")
    if arguments.markdown:
        write_text(arguments.markdown, text + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
