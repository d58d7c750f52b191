"""Times every kernel of a TFLite model on its own, checked first against the dialect's reference.

    python benchmarks/kernels.py MODEL [--target T] [--log-dir DIR] [--seconds S]

Prints one row a kernel, the most expensive first: its share of the network, the time of one run (minimum of many
repeats of about a millisecond), multiply-accumulates and outputs per second, with the default schedule and, where
the log holds one, with the tuned schedule. Run it alone on the machine.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tvm

from autotune_qnn.build.history import no_history, scheduled_by
from autotune_qnn.cli.common import log_header, parse_target
from autotune_qnn.engines import relax
from autotune_qnn.frontends import get_frontend
from autotune_qnn.frontends.base import ImportOptions
from autotune_qnn.host import cpu_model
from autotune_qnn.logs import LogStore
from autotune_qnn.transforms.tir_pipeline import compile_kernel


@dataclass(frozen=True)
class Row:
    """One kernel's times in seconds; `tuned` is None where the log holds no schedule."""

    name: str
    weight: int
    macs: int
    outputs: int
    default: float
    tuned: float | None

    @property
    def best(self) -> float:
        """The faster of the two."""
        return min(self.default, self.tuned if self.tuned is not None else self.default)


def measure(task: relax.TuningTask, mod: Any, target: relax.TargetSpec, seconds: float) -> float:
    """Seconds of one run; raises RuntimeError where the kernel computes something else than the reference."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/kernel.so"
        compile_kernel(mod, target.tvm()).export_library(path)
        library = tvm.runtime.load_module(path)
        arguments, expected = task.arguments(0)
        tensors = [tvm.runtime.tensor(array) for array in arguments]
        library["main"](*tensors)
        for tensor, wanted in zip(tensors[-len(expected) :], expected, strict=True):
            if not np.array_equal(tensor.numpy(), wanted):
                raise RuntimeError(f"{task.name} computes something else than its reference")
        once = min(library.time_evaluator("main", tvm.cpu(), number=1, repeat=5)(*tensors).results)
        number = max(1, int(1e-3 / once))
        timed = library.time_evaluator("main", tvm.cpu(), number=number, repeat=10)
        results: list[float] = []
        end = time.monotonic() + seconds
        while not results or time.monotonic() < end:
            results += list(timed(*tensors).results)
        return min(results)


def rows(path: Path, target: relax.TargetSpec, log_dir: Path | None, seconds: float) -> list[Row]:
    """One row for each different kernel of the model."""
    model = get_frontend("tflite").load(path, ImportOptions())
    lowered = relax.lower(model.mod, target, threads=1)
    scheduled = scheduled_by(no_history)
    if log_dir is not None:
        header = log_header(argparse.Namespace(threads=1), target, model)
        scheduled = scheduled_by(
            LogStore.open(log_dir, target.canonical, model.name, header, create=False).best
        )
    found = [_row(task, scheduled(task), target, seconds) for task in lowered.tasks]
    return sorted(found, key=lambda row: -row.weight * row.best)


def _row(task: relax.TuningTask, tuned: Any | None, target: relax.TargetSpec, seconds: float) -> Row:
    default = relax.default_schedule(task)
    return Row(
        task.name,
        task.weight,
        task.macs,
        sum(array.size for array in task.arguments(0)[1]),
        measure(task, task.mod if default is None else default, target, seconds),
        None if tuned is None else measure(task, tuned, target, seconds),
    )


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--target", default="native")
    parser.add_argument("--log-dir", type=Path)
    parser.add_argument("--seconds", type=float, default=0.3, help="time spent on each kernel")
    arguments = parser.parse_args()
    target = parse_target(arguments.target, to_run=True)
    table = rows(arguments.model, target, arguments.log_dir, arguments.seconds)
    total = sum(row.weight * row.best for row in table)
    print(f"{cpu_model()}, {target.canonical}, 1 thread; {total * 1e3:.3f} ms in all")
    print("share  times  default µs  tuned µs  GMAC/s  Gout/s  kernel")
    for row in table:
        tuned = "       -" if row.tuned is None else f"{row.tuned * 1e6:8.1f}"
        rate = f"{row.macs / row.best / 1e9:6.1f}  {row.outputs / row.best / 1e9:6.2f}"
        share = row.weight * row.best / total
        print(f"{share:5.1%}  {row.weight:5d}  {row.default * 1e6:10.1f}  {tuned}  {rate}  {row.name}")


if __name__ == "__main__":
    main()
