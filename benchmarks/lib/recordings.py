"""Recordings: configurations of some tasks, built and measured once, for searches to be tried on (`tuning_replay`)."""

from __future__ import annotations

import gzip
import json
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm_ffi

from autotune_qnn.engines import relax
from autotune_qnn.errors import UsageError
from autotune_qnn.host import cpu_model
from autotune_qnn.kernels.templates.base import Config, ConfigSpace, Knob, ScheduleRejected
from autotune_qnn.transforms.tir_pipeline import compile_kernel
from autotune_qnn.tuning import build_worker, run_worker
from autotune_qnn.tuning.arguments import write_arguments
from autotune_qnn.tuning.cost_model import Samples
from autotune_qnn.tuning.features import VERSION, features
from autotune_qnn.tuning.replay import TVM_ERRORS, new_schedule

_REPEAT_MS = 1.0


@dataclass(frozen=True)
class RecordedSpace(ConfigSpace):
    """The recorded configurations as a space that knows them all: where a part was recorded, few combinations are."""

    configs: tuple[Config, ...] = ()

    @classmethod
    def of(cls, knobs: tuple[Knob, ...], configs: Iterable[Config]) -> RecordedSpace:
        """The space of these configurations."""
        known = dict.fromkeys(configs)
        return cls(knobs, lambda values: Config.from_mapping(values) in known, tuple(known))

    def __len__(self) -> int:
        return len(self.configs)

    def sample(self, rng: random.Random) -> Config:
        """One of the recorded configurations."""
        return rng.choice(self.configs)

    def enumerate(self) -> Iterator[Config]:
        """The recorded configurations."""
        return iter(self.configs)


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
        return RecordedSpace.of(self.knobs, self.rows)

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
    write_arguments(place / "data.npz", task, 0)
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
    title = {
        "task": task.name,
        "target": target.canonical,
        "weight": task.weight,
        "threads": threads,
        "features": VERSION,
    }
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
    """A recording. Raises UsageError where its features are not those of this version."""
    with gzip.open(path, "rt") as file:
        record = json.load(file)
    if record["features"] != VERSION:
        raise UsageError(f"{path}: features of version {record['features']}, not {VERSION}; record anew")
    knobs = tuple(Knob(name, tuple(values)) for name, values in record["knobs"])
    names = [knob.name for knob in knobs]
    rows: dict[Config, tuple[tuple[float, ...], float]] = {}
    for values, seen, seconds in record["rows"]:
        config = Config(tuple(zip(names, values, strict=True)))
        rows[config] = tuple(seen), math.inf if seconds is None else seconds
    title = f"{record['cpu']}, {record['target']}, {record['threads']} thread(s)"
    return Table(record["task"], knobs, next(iter(rows)), rows, title, record.get("weight", 1))


def read_all(folder: Path) -> list[Table]:
    """Every recording of a folder. Raises UsageError where there is none."""
    tables = [read(path) for path in sorted(folder.glob("*.json.gz"))]
    if not tables:
        raise UsageError(f"{folder}: no recordings (*.json.gz) there; `measure` makes them")
    return tables
