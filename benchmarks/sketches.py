"""Generated sketches against TVM's own rules and against the templates, task by task.

    python benchmarks/sketches.py search FOLDER --tasks 7,13 --model MODEL [options of `build`]
    python benchmarks/sketches.py measure FOLDER

`search` tunes every task afresh with each way of making schedules: `stock` (the rules that TVM has for CPUs),
`sketches` (the autoscheduler) and `templates` (autotvm), with the same cost model and number of trials. It keeps the
fastest libraries of each and adds to what the folder holds. `measure` times those once more, in turns, and prints the
table; it needs the machine for itself. Every candidate's output is checked against the reference.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tvm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from autotune_qnn.cli.common import import_model, parse_target
from autotune_qnn.cli.tasks import select_tasks
from autotune_qnn.engines import relax
from autotune_qnn.errors import UsageError, VerificationError
from autotune_qnn.host import cpu_model
from autotune_qnn.logs import Status
from autotune_qnn.tuning.arguments import write_arguments
from autotune_qnn.tuning.cost_model import SpeedModel
from autotune_qnn.tuning.measure import Job, Measurer
from autotune_qnn.tuning.options import TuneOptions
from autotune_qnn.tuning.replay import trace_json
from autotune_qnn.tuning.run_worker import Clock, load
from autotune_qnn.tuning.strategies.base import Proposal, Strategy
from autotune_qnn.tuning.strategies.sketch import SketchStrategy
from autotune_qnn.tuning.strategies.sketch_evolution import EvolutionStrategy, stock_spaces
from autotune_qnn.tuning.strategies.template import TemplateStrategy
from autotune_qnn.tuning.trust import TraceChecker
from autotune_qnn.tuning.workspace import Workspace
from benchmarks.lib.command import build_options, exit_code

METHODS = ("stock", "sketches", "templates")
_KEPT = 4
_REPEATS = 3
_REPEAT_MS = 0.5


@dataclass(frozen=True)
class Found:
    """One search of one task: its trials, how many of them failed, its seconds, and the fastest libraries."""

    target: str
    task: str
    macs: int
    method: str
    data: str
    trials: int
    failed: int
    seconds: float
    libraries: tuple[str, ...]
    notes: tuple[str, ...]


@contextmanager
def _strategy(method: str, task: Any, target: Any, options: TuneOptions) -> Iterator[Strategy]:
    model = SpeedModel(seed=options.seed).task(task.key)
    with TraceChecker() as checker:
        shared = {"threads": options.threads, "batch": options.batch, "seed": options.seed + 1}
        if method == "stock":
            yield EvolutionStrategy(task, target, model, checker, **shared, spaces=stock_spaces)
        elif method == "sketches":
            yield SketchStrategy(task, target, model, checker, **shared)
        else:
            template = task.template()
            if template is None:
                raise UsageError(f"{task.name} has no template; leave templates out of --methods")
            yield TemplateStrategy(task, template, model, options.seed + 1, threads=options.threads)


_Result = tuple[float, Path | None, Proposal]
"""Seconds (infinite for a trial that failed), the library where there is one, and what was proposed."""


def _results(measurer: Measurer[Proposal], count: int) -> list[_Result]:
    """The next so many outcomes."""
    results: list[_Result] = []
    while len(results) < count:
        for outcome in measurer.wait(1.0):
            good = outcome.measurement.status is Status.OK
            seconds = min(outcome.measurement.run_secs) if good else math.inf
            results.append((seconds, outcome.library, outcome.tag))
    return results


def _search(method: str, task: Any, target: Any, options: TuneOptions, folder: Path) -> Found:
    """Tune one task one way; its fastest libraries go to the folder."""
    data = folder / f"{task.key[:24]}.npz"
    if not data.is_file():
        write_arguments(data, task, 0)
    kept: list[tuple[float, Path, Proposal]] = []
    trials = failed = 0
    started = time.monotonic()
    with (
        Workspace() as workspace,
        Measurer[Proposal](target, options, workspace) as measurer,
        _strategy(method, task, target, options) as strategy,
    ):
        while trials < options.trials:
            with measurer.working():
                proposals = strategy.propose(min(options.batch, options.trials - trials))
            if not proposals:
                break
            for proposal in proposals:
                module = tvm.ir.save_json(proposal.schedule.mod)
                measurer.submit(Job(proposal, module, data, kept[0][0] if kept else math.inf))
            results = _results(measurer, len(proposals))
            made = [(secs, library, proposal) for secs, library, proposal in results if library is not None]
            kept = sorted([*kept, *made], key=lambda entry: entry[0])[:_KEPT]
            trials += len(proposals)
            failed += sum(math.isinf(seconds) for seconds, _, _ in results)
            strategy.observe([(proposal, seconds) for seconds, _, proposal in results])
        names = [f"{task.key[:16]}-{target.isa.value}-{method}-{place}.so" for place in range(len(kept))]
        for name, (_, library, _) in zip(names, kept, strict=True):
            shutil.copy(library, folder / name)
    return Found(
        target.canonical,
        task.name,
        task.macs,
        method,
        data.name,
        trials,
        failed,
        round(time.monotonic() - started, 1),
        tuple(names),
        tuple(_note(entry[2]) for entry in kept),
    )


def _note(proposal: Proposal) -> str:
    """What tells a schedule from others: its configuration, or the decisions of its trace."""
    if proposal.config is not None:
        return " ".join(f"{name}={value}" for name, value in proposal.config.values)
    return json.dumps(trace_json(proposal.schedule)[1])


def search(arguments: argparse.Namespace, options: Sequence[str]) -> None:
    """Tune the chosen tasks every way asked for."""
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    build = build_options(options)
    target = parse_target(build.target, to_run=True)
    tasks = select_tasks(
        relax.lower(import_model(build).model.mod, target, build.threads).tasks, arguments.tasks
    )
    settings = TuneOptions(trials=arguments.trials, threads=build.threads, seed=arguments.seed)
    for task in tasks:
        for method in arguments.methods:
            found = _search(method, task, target, settings, folder)
            index = [*_index(folder), found]
            last = {(entry.target, entry.task, entry.method): entry for entry in index}
            (folder / "index.json").write_text(
                json.dumps([asdict(entry) for entry in last.values()], indent=1)
            )
            print(
                f"{task.name} {method}: {found.trials} trials, {found.failed} failed, {found.seconds} s",
                flush=True,
            )


def _index(folder: Path) -> list[Found]:
    path = folder / "index.json"
    records = json.loads(path.read_text()) if path.is_file() else []
    return [
        Found(**{**record, "libraries": tuple(record["libraries"]), "notes": tuple(record["notes"])})
        for record in records
    ]


def _clock(folder: Path, found: Found, library: str) -> Clock:
    """What times a library. Raises VerificationError where it computes something wrong."""
    clock = load(str(folder / library), str(folder / found.data), _REPEAT_MS)
    if clock is None:
        raise VerificationError(f"{found.task}, {found.method}: {library} computes something else")
    return clock


def measure(folder: Path, rounds: int) -> None:
    """Time everything in the folder in turns, task by task, and print the table."""
    found = _index(folder)
    if not found:
        raise UsageError(f"{folder} holds nothing that was searched; run search first")
    print(
        f"{cpu_model()}; microseconds, minimum of {_REPEATS * rounds} repeats in turns; "
        "1 thread unless searched otherwise"
    )
    print("stock  sketches  templates  stock/sketches  sketches/templates  GMAC/s  task")
    for target, task in dict.fromkeys((entry.target, entry.task) for entry in found):
        timed = {
            entry.method: [_clock(folder, entry, library) for library in entry.libraries]
            for entry in found
            if (entry.target, entry.task) == (target, task)
        }
        for _ in range(rounds):
            for library in (library for libraries in timed.values() for library in libraries):
                library.block(_REPEATS)
        best = {
            method: min((min(one.seconds) for one in ones), default=math.inf)
            for method, ones in timed.items()
        }
        times = [best.get(method, math.nan) for method in METHODS]
        macs = next(entry.macs for entry in found if entry.task == task)
        columns = [f"{value * 1e6:8.2f}" for value in times]
        columns += [
            f"{times[0] / times[1]:6.2f}",
            f"{times[1] / times[2]:6.2f}",
            f"{macs / times[1] / 1e9:7.1f}",
        ]
        print("  ".join([*columns, task, target]), flush=True)


def _methods(text: str) -> list[str]:
    names = text.split(",")
    if not set(names) <= set(METHODS):
        raise argparse.ArgumentTypeError(f"one or more of {', '.join(METHODS)}, with commas, not {text!r}")
    return names


def main(words: Sequence[str]) -> int:
    """Read the command line; do one of the two steps. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    steps = parser.add_subparsers(dest="step", required=True)
    searched = steps.add_parser("search")
    searched.add_argument("folder", type=Path)
    searched.add_argument("--tasks", metavar="0,2-5", help="numbers of the tasks to tune")
    searched.add_argument(
        "--methods", type=_methods, default=list(METHODS), help="which ways, by default all"
    )
    searched.add_argument("--trials", type=int, default=64, help="of each task and way")
    searched.add_argument("--seed", type=int, default=0)
    measured = steps.add_parser("measure")
    measured.add_argument("folder", type=Path)
    measured.add_argument("--rounds", type=int, default=20)
    arguments, options = parser.parse_known_args(words)
    return exit_code(lambda: _step(arguments, options))


def _step(arguments: argparse.Namespace, options: Sequence[str]) -> int:
    if arguments.step == "search":
        search(arguments, options)
    elif options:
        raise UsageError(f"measure knows no {options[0]}")
    else:
        measure(arguments.folder, arguments.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
