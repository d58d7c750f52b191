"""Times every kernel of a network on its own, checked first against the dialect's reference.

    python benchmarks/kernels.py prepare FOLDER --model MODEL [the options of `build`]
    python benchmarks/kernels.py measure FOLDER [--seconds S] [--only REGEX]

`prepare` compiles the kernels into FOLDER, with the default schedules and, where --log-dir holds them, the tuned ones;
kernels that are there already stay. `measure` needs a machine of its own for as long as it runs, so it does nothing
else: it prints one row a kernel, the most expensive first, with its share of the network, the time of one run (minimum
of many repeats of about a millisecond), multiply-accumulates and outputs per second.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tvm

from autotune_qnn.build.history import no_history, scheduled_by
from autotune_qnn.cli.common import import_model, log_header, parse_target
from autotune_qnn.cli.options import make_parser
from autotune_qnn.engines import relax
from autotune_qnn.host import cpu_model
from autotune_qnn.logs import LogStore
from autotune_qnn.transforms.tir_pipeline import compile_kernel
from autotune_qnn.tuning.trust import TraceChecker


@dataclass(frozen=True)
class Prepared:
    """One kernel: how often the network runs it, its work, and its libraries ("" where nothing was tuned)."""

    name: str
    weight: int
    macs: int
    outputs: int
    data: str
    default: str
    tuned: str


@dataclass(frozen=True)
class Row:
    """One kernel's times in seconds; `tuned` is None where the log holds no schedule."""

    kernel: Prepared
    default: float
    tuned: float | None

    @property
    def best(self) -> float:
        """The faster of the two."""
        return min(self.default, self.tuned if self.tuned is not None else self.default)


def _library(mod: Any, target: relax.TargetSpec, folder: Path) -> str:
    """The name in `folder` of a scheduled kernel's library."""
    text = f"{target.canonical}\n{mod.script(show_meta=True)}"
    name = hashlib.sha256(text.encode()).hexdigest()[:24] + ".so"
    if not (folder / name).is_file():
        compile_kernel(mod, target.tvm()).export_library(str(folder / name))
    return name


def _prepared(task: relax.TuningTask, tuned: Any | None, target: relax.TargetSpec, folder: Path) -> Prepared:
    data = folder / f"{task.key[:24]}.npz"
    if not data.is_file():
        arguments, expected = task.arguments(0)
        np.savez(data, *arguments, outputs=len(expected), **{f"e{i}": e for i, e in enumerate(expected)})
    with np.load(data) as stored:
        outputs = sum(stored[f"e{place}"].size for place in range(int(stored["outputs"])))
    default = relax.default_schedule(task)
    return Prepared(
        task.name,
        task.weight,
        task.macs,
        outputs,
        data.name,
        _library(task.mod if default is None else default, target, folder),
        "" if tuned is None else _library(tuned, target, folder),
    )


def prepare(folder: Path, options: list[str]) -> None:
    """Import the network that the options name and compile its kernels."""
    arguments = make_parser().parse_args(["build", *options, "--output", str(folder / "unused.so")])
    target = parse_target(arguments.target, to_run=True)
    model = import_model(arguments).model
    lowered = relax.lower(model.mod, target, arguments.threads)
    history = no_history
    if not arguments.untuned:
        header = log_header(arguments, target, model)
        history = LogStore.open(arguments.log_dir, target.canonical, model.name, header, create=False).ranked
    folder.mkdir(parents=True, exist_ok=True)
    with TraceChecker() as checker:
        scheduled = scheduled_by(history, checker)
        found = [_prepared(task, scheduled(task), target, folder) for task in lowered.tasks]
    title = f"{model.name}, {model.arithmetic.value}, {target.canonical}"
    index = {"title": title, "kernels": [asdict(kernel) for kernel in found]}
    (folder / "index.json").write_text(json.dumps(index))


def _seconds(kernel: Prepared, library: str, folder: Path, seconds: float) -> float:
    """Seconds of one run; raises RuntimeError where the kernel computes something else than the reference."""
    function = tvm.runtime.load_module(str(folder / library))["main"]
    with np.load(folder / kernel.data) as stored:
        count = int(stored["outputs"])
        expected = [stored[f"e{place}"] for place in range(count)]
        tensors = [tvm.runtime.tensor(stored[name]) for name in stored.files if name.startswith("arr_")]
    function(*tensors)
    for tensor, wanted in zip(tensors[-count:], expected, strict=True):
        if not np.array_equal(tensor.numpy(), wanted):
            raise RuntimeError(f"{kernel.name} computes something else than its reference")
    module = tvm.runtime.load_module(str(folder / library))
    once = min(module.time_evaluator("main", tvm.cpu(), number=1, repeat=5)(*tensors).results)
    timed = module.time_evaluator("main", tvm.cpu(), number=max(1, int(1e-3 / once)), repeat=5)
    results: list[float] = []
    end = time.monotonic() + seconds
    while not results or time.monotonic() < end:
        results += list(timed(*tensors).results)
    return min(results)


def measure(folder: Path, seconds: float, only: str) -> None:
    """Time everything that `prepare` left in the folder, and print the table."""
    index = json.loads((folder / "index.json").read_text())
    table = []
    for record in index["kernels"]:
        kernel = Prepared(**record)
        if not re.search(only, kernel.name):
            continue
        tuned = _seconds(kernel, kernel.tuned, folder, seconds) if kernel.tuned else None
        table.append(Row(kernel, _seconds(kernel, kernel.default, folder, seconds), tuned))
    total = sum(row.kernel.weight * row.best for row in table)
    print(f"{index['title']}; {cpu_model()}, 1 thread; {total * 1e3:.3f} ms in all")
    print("share  times  default µs  tuned µs  GMAC/s  Gout/s  kernel")
    for row in sorted(table, key=lambda row: -row.kernel.weight * row.best):
        kernel, best = row.kernel, row.best
        tuned_text = "       -" if row.tuned is None else f"{row.tuned * 1e6:8.1f}"
        rate = f"{kernel.macs / best / 1e9:6.1f}  {kernel.outputs / best / 1e9:6.2f}"
        share = kernel.weight * best / total
        times = f"{kernel.weight:5d}  {row.default * 1e6:10.1f}  {tuned_text}"
        print(f"{share:5.1%}  {times}  {rate}  {kernel.name}")


def main() -> None:
    """Read the command line; do one of the two steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    steps = parser.add_subparsers(dest="step", required=True)
    steps.add_parser("prepare").add_argument("folder", type=Path)
    measured = steps.add_parser("measure")
    measured.add_argument("folder", type=Path)
    measured.add_argument("--only", default="", metavar="REGEX", help="kernels whose names it matches")
    measured.add_argument("--seconds", type=float, default=0.1, help="time spent on each kernel")
    arguments, options = parser.parse_known_args()
    if arguments.step == "prepare":
        prepare(arguments.folder, options)
    else:
        measure(arguments.folder, arguments.seconds, arguments.only)


if __name__ == "__main__":
    main()
