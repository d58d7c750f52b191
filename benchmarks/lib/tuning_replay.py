"""Searches on recorded measurements: every configuration of some tasks, measured once, searched many times.

Timing noise and the time of building are gone, so that searches can be compared over many seeds. `benchmarks/tuning.py`
is the command line.
"""

from __future__ import annotations

import gzip
import json
import math
import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tvm_ffi

from autotune_qnn.engines import relax
from autotune_qnn.host import cpu_model
from autotune_qnn.kernels.templates.base import Config, ConfigSpace, Knob, ScheduleRejected
from autotune_qnn.transforms.tir_pipeline import compile_kernel
from autotune_qnn.tuning import build_worker, run_worker
from autotune_qnn.tuning.cost_model import Samples, SpeedModel
from autotune_qnn.tuning.features import VERSION, features
from autotune_qnn.tuning.replay import TVM_ERRORS, new_schedule
from autotune_qnn.tuning.search import KnobSearch, batch_size

BATCH = 12
_REPEAT_MS = 1.0
MARKS = (8, 16, 32, 64, 128, 256, 512)
NEAR = (0.05, 0.02, 0.01)


class RecordedSpace(ConfigSpace):
    """The recorded configurations as a space that knows them all: where a part was recorded, few combinations are."""

    def __init__(self, knobs: tuple[Knob, ...], configs: Sequence[Config]) -> None:
        """`configs` are those recorded."""
        known = set(configs)
        super().__init__(knobs, lambda values: Config.from_mapping(values) in known)
        object.__setattr__(self, "_configs", tuple(configs))  # a frozen dataclass

    def __len__(self) -> int:
        return len(self._configs)

    def sample(self, rng: random.Random) -> Config:
        """One of the recorded configurations."""
        return rng.choice(self._configs)

    def enumerate(self) -> Iterator[Config]:
        """The recorded configurations."""
        return iter(self._configs)


@dataclass(frozen=True)
class Table:
    """One task's recorded space: features and seconds of every configuration that leads to a module of its own."""

    name: str
    knobs: tuple[Knob, ...]
    default: Config
    rows: dict[Config, tuple[tuple[float, ...], float]]
    title: str
    weight: int = 1

    @property
    def best(self) -> float:
        """The fastest configuration's seconds."""
        return min(seconds for _, seconds in self.rows.values())

    def space(self) -> ConfigSpace:
        """The recorded configurations as a space."""
        return RecordedSpace(self.knobs, list(self.rows))

    def samples(self) -> Samples:
        """Everything recorded, as a cost model takes it."""
        return list(self.rows.values())


def prepare(task: relax.TuningTask, target: relax.TargetSpec, threads: int, folder: Path, limit: int) -> int:
    """Build up to `limit` configurations of a task's template, drawn at random where there are more, into a folder;
    those there already stay. Returns how many there are.
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
    others = list(template.space().enumerate())
    random.Random(0).shuffle(others)
    configs = [template.default(), *others]
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
            build_worker.export(compile_kernel(schedule.mod, target.tvm()), library)
        rows.append([library.name, config.as_dict(), features(schedule.mod, task.macs, threads)])
    title = {"task": task.name, "target": target.canonical, "weight": task.weight, "threads": threads, "features": VERSION}
    knobs = [[knob.name, list(knob.values)] for knob in template.space().knobs]
    (place / "index.json").write_text(json.dumps({**title, "knobs": knobs, "rows": rows}))
    return len(rows)


def measure(folder: Path, output: Path, rounds: int) -> None:
    """Time everything prepared in a folder's tasks and write one recording a task. Needs the machine for itself.

    Every kernel of a task is loaded and checked, then all are timed in rounds of about a millisecond each, in an
    order of its own every round: what the machine does for a second hits different kernels in each. The minimum of
    the rounds counts.
    """
    output.mkdir(parents=True, exist_ok=True)
    for index in sorted(folder.glob("*/index.json")):
        record = json.loads(index.read_text())
        seconds = _in_rounds([index.parent / row[0] for row in record["rows"]], rounds)
        triples = zip(record["rows"], seconds, strict=True)
        rows = [[list(config.values()), seen, value] for (_, config, seen), value in triples]
        whole = {**record, "cpu": cpu_model(), "rounds": rounds, "rows": rows}
        with gzip.open(output / f"{record['task']}.json.gz", "wt") as file:
            json.dump(whole, file, separators=(",", ":"))
        print(f"{record['task']}: {len(rows)} configurations", flush=True)


def _in_rounds(libraries: Sequence[Path], rounds: int) -> list[float | None]:
    """The shortest time of each library's kernel; None for one that computes something wrong."""
    clocks = {}
    for place, library in enumerate(libraries):
        clock = run_worker.load(str(library), str(library.parent / "data.npz"), _REPEAT_MS)
        if clock is not None:
            clocks[place] = clock
    order = list(clocks)
    for turn in range(rounds):
        random.Random(turn).shuffle(order)
        for place in order:
            clocks[place].block(1)
    return [
        float(f"{min(clocks[place].seconds):.5g}") if place in clocks else None
        for place in range(len(libraries))
    ]


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
    return Table(record["task"], knobs, next(iter(rows)), rows, title, record.get("weight", 1))


def read_all(folder: Path) -> list[Table]:
    """Every recording of a folder. Raises FileNotFoundError where there is none."""
    tables = [read(path) for path in sorted(folder.glob("*.json.gz"))]
    if not tables:
        raise FileNotFoundError(f"{folder}: no recordings (*.json.gz) there; `measure` makes them")
    return tables


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
        picked = searcher.propose(batch_size(len(found), BATCH))
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
                        f"{near:.0%}": statistics.median(trials_to(run, near) for run in runs)
                        for near in NEAR
                    },
                }
            )
    return rows


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a table: seconds relative to the best after so many trials, and trials to come near the best
    (medians over seeds)."""
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
