"""Searches on recorded measurements: every configuration of some tasks, measured once, searched many times.

Timing noise and the time of building are gone, so that searches can be compared over many seeds. `benchmarks/tuning.py`
is the command line.
"""

from __future__ import annotations

import gzip
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tvm_ffi

from autotune_qnn.engines import relax
from autotune_qnn.host import cpu_model
from autotune_qnn.kernels.templates.base import Config, ConfigSpace, Knob, ScheduleRejected
from autotune_qnn.tuning import build_worker, run_worker
from autotune_qnn.tuning.cost_model import Samples, SpeedModel
from autotune_qnn.tuning.features import VERSION, features
from autotune_qnn.tuning.replay import TVM_ERRORS, new_schedule
from autotune_qnn.tuning.search import KnobSearch

BATCH = 12
MARKS = (8, 16, 32, 64, 128, 256, 512)
NEAR = (0.05, 0.02, 0.01)


@dataclass(frozen=True)
class Table:
    """One task's recorded space: features and seconds of every configuration that leads to a module of its own."""

    name: str
    knobs: tuple[Knob, ...]
    default: Config
    rows: dict[Config, tuple[tuple[float, ...], float]]
    title: str

    @property
    def best(self) -> float:
        """The fastest configuration's seconds."""
        return min(seconds for _, seconds in self.rows.values())

    def space(self) -> ConfigSpace:
        """The recorded configurations as a space."""
        return ConfigSpace(self.knobs, lambda values: Config.from_mapping(values) in self.rows)

    def samples(self) -> Samples:
        """Everything recorded, as a cost model takes it."""
        return list(self.rows.values())


def prepare(task: relax.TuningTask, target: relax.TargetSpec, threads: int, folder: Path, limit: int) -> int:
    """Build up to `limit` configurations of a task's template into a folder; those there already stay. Returns how
    many there are.
    """
    template = task.template()
    assert template is not None
    place = folder / task.name
    place.mkdir(parents=True, exist_ok=True)
    arguments, expected = task.arguments(0)
    arrays = {f"arg{i}": array for i, array in enumerate(arguments)}
    np.savez(place / "data.npz", **arrays, **{f"expected{i}": array for i, array in enumerate(expected)})
    rows: list[Any] = []
    seen: set[int] = set()
    configs = [template.default(), *template.space().enumerate()]
    for number, config in enumerate(configs):
        schedule = new_schedule(task.mod)
        try:
            template.apply(schedule, config)
        except (ScheduleRejected, *TVM_ERRORS):
            continue
        identity = tvm_ffi.structural_hash(schedule.mod)
        if identity in seen or len(rows) >= limit:
            continue
        seen.add(identity)
        library = place / f"{number}.so"
        if not library.is_file():
            build_worker.export(build_worker.compile_kernel(schedule.mod, target.tvm()), library)
        rows.append([library.name, config.as_dict(), features(schedule.mod, task.macs, threads)])
    title = {"task": task.name, "target": target.canonical, "threads": threads, "features": VERSION}
    knobs = [[knob.name, list(knob.values)] for knob in template.space().knobs]
    (place / "index.json").write_text(json.dumps({**title, "knobs": knobs, "rows": rows}))
    return len(rows)


def measure(folder: Path, output: Path) -> None:
    """Time everything prepared in a folder's tasks and write one recording a task. Needs the machine for itself."""
    output.mkdir(parents=True, exist_ok=True)
    for index in sorted(folder.glob("*/index.json")):
        record = json.loads(index.read_text())
        rows = []
        for library, config, seen in record["rows"]:
            request = run_worker.RunRequest(
                str(index.parent / library), str(index.parent / "data.npz"), 1, 20, 1.0
            )
            result = run_worker.handle(request)
            assert isinstance(result, run_worker.Measurement)
            seconds = float(f"{min(result.run_secs):.5g}") if result.run_secs else None
            rows.append([list(config.values()), seen, seconds])
        whole = {**record, "cpu": cpu_model(), "rows": rows}
        with gzip.open(output / f"{record['task']}.json.gz", "wt") as file:
            json.dump(whole, file, separators=(",", ":"))
        print(f"{record['task']}: {len(rows)} configurations")


def read(path: Path) -> Table:
    """A recording."""
    with gzip.open(path, "rt") as file:
        record = json.load(file)
    knobs = tuple(Knob(name, tuple(values)) for name, values in record["knobs"])
    names = [knob.name for knob in knobs]
    rows: dict[Config, tuple[tuple[float, ...], float]] = {}
    for values, seen, seconds in record["rows"]:
        config = Config(tuple(zip(names, values, strict=True)))
        rows[config] = tuple(seen), math.inf if seconds is None else seconds
    title = f"{record['cpu']}, {record['target']}, {record['threads']} thread(s)"
    return Table(record["task"], knobs, next(iter(rows)), rows, title)


def search(table: Table, seed: int, trials: int, others: Sequence[Table], *, guided: bool) -> list[float]:
    """The best seconds after each trial of one search, relative to the best there is."""
    model = SpeedModel(seed=seed)
    for other in others:
        model.learn(other.name, other.samples())
    searcher = KnobSearch(
        table.space(),
        table.default,
        lambda config: table.rows[config][0],
        model.task(table.name),
        seed,
        guided=guided,
    )
    found: list[float] = []
    best = math.inf
    while len(found) < min(trials, len(table.rows)):
        picked = searcher.propose(BATCH)
        if not picked:
            break
        for config in picked:
            seconds = table.rows[config][1]
            searcher.observe(config, seconds)
            best = min(best, seconds)
            found.append(best / table.best)
    return found[:trials]


def trials_to(found: Sequence[float], near: float) -> int:
    """How many trials until within `near` of the best; twice all of them where it never came to that."""
    return next((place + 1 for place, value in enumerate(found) if value <= 1 + near), 2 * len(found))


def compare(tables: Sequence[Table], seeds: int, trials: int) -> list[dict[str, Any]]:
    """Random search, the cost model, and the cost model that knows the other tables: one row a task and search."""
    rows = []
    for table in tables:
        others = [other for other in tables if other.name != table.name]
        for name, guided, known in (
            ("random", False, ()),
            ("xgboost", True, ()),
            ("xgboost, warm", True, others),
        ):
            runs = [search(table, seed, trials, known, guided=guided) for seed in range(seeds)]
            last = min(map(len, runs))
            rows.append(
                {
                    "task": table.name,
                    "configurations": len(table.rows),
                    "search": name,
                    "seeds": seeds,
                    "default": round(table.rows[table.default][1] / table.best, 4),
                    "best_after": {
                        str(mark): round(statistics.mean(run[min(mark, last) - 1] for run in runs), 4)
                        for mark in MARKS
                        if mark <= max(last, MARKS[0])
                    },
                    "trials_to_within": {
                        f"{near:.0%}": round(statistics.mean(trials_to(run, near) for run in runs), 1)
                        for near in NEAR
                    },
                }
            )
    return rows


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a table: seconds relative to the best after so many trials, and trials to come near the best."""
    marks = [str(mark) for mark in MARKS]
    nears = [f"{near:.0%}" for near in NEAR]
    head = ["task", "configurations", "search", *(f"after {m}" for m in marks), *(f"to {n}" for n in nears)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [row["task"], str(row["configurations"]), row["search"]]
        cells += [f"{row['best_after'][mark]:.3f}" if mark in row["best_after"] else "" for mark in marks]
        cells += [str(row["trials_to_within"][near]) for near in nears]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
