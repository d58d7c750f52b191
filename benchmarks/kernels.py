"""Times every kernel of a network on its own, checked first against the dialect's reference.

    python benchmarks/kernels.py prepare FOLDER --model MODEL [the options of `build`]
    python benchmarks/kernels.py prepare FOLDER --network NAME --engines NAMES [the options of `build`]
    python benchmarks/kernels.py measure FOLDER [--seconds S] [--only REGEX] [--json FILE]

`prepare` compiles the kernels into FOLDER, with the default schedules and, where logs hold them, the tuned ones that
`build` would take; kernels that are there already stay. `measure` needs a machine of its own for as long as it runs, so
it does nothing else: it prints one row a kernel, the most expensive first, with its share of the network, the time of
one run (minimum of many repeats of about a millisecond), multiply-accumulates per second, their share of the machine's
peak, measured in the same run, and outputs per second. A kernel that computes something else than the reference ends it
with exit code 11.

`--network` is one of benchmarks/peers.py's, in place of a model, and `--engines` those of its engines that profile
themselves (openvino, openvino_nncf, onnxruntime, pytorch_x86, pytorch_onednn, pytorch_fbgemm). `measure` then lets each
run the whole network and prints a second table: our convolutions and dense layers in order of execution beside the same
layers of theirs. An engine that does not run the same layers is left out, and why is said.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from autotune_qnn.build.history import no_history, scheduled_by
from autotune_qnn.cli.build import open_history
from autotune_qnn.cli.common import check_threads, import_model, parse_target
from autotune_qnn.cli.results import check_writable, write_text
from autotune_qnn.engines import relax
from autotune_qnn.errors import UsageError, VerificationError
from autotune_qnn.frontends import get_frontend
from autotune_qnn.frontends.base import ImportedModel
from autotune_qnn.frontends.tflite.archive import cache_folder
from autotune_qnn.host import cpu_model
from autotune_qnn.runtime.threads import KernelThreads
from autotune_qnn.transforms.tir_pipeline import compile_kernel
from autotune_qnn.tuning import run_worker
from autotune_qnn.tuning.arguments import Arguments, write_arguments
from autotune_qnn.tuning.trust import TraceChecker
from benchmarks.lib import preparation as peers
from benchmarks.lib.command import ROOT, build_options, exit_code
from benchmarks.lib.engines import ENGINES
from benchmarks.lib.job import Job
from benchmarks.lib.layer_profile import profiled
from benchmarks.lib.layers import Layer, matched
from benchmarks.lib.layers import records as layer_records
from benchmarks.lib.layers import table as layer_table
from benchmarks.lib.networks import NETWORKS, chosen
from benchmarks.lib.own_layers import own_layers
from benchmarks.lib.peak import Peak

_INDEX = "index.json"
_REPEAT_MS = 1.0
_REPEATS = 5


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

    @property
    def all_runs(self) -> float:
        """Seconds of all its runs in the network."""
        return self.kernel.weight * self.best

    def record(self, peak: float | None) -> dict[str, Any]:
        """The row as a JSON object; `peak` is the machine's in GMAC/s. Every kernel has been checked."""
        gmacs = self.kernel.macs / self.best / 1e9
        return {
            "kernel": self.kernel.name,
            "times": self.kernel.weight,
            "default_us": round(self.default * 1e6, 3),
            "tuned_us": None if self.tuned is None else round(self.tuned * 1e6, 3),
            "gmacs": round(gmacs, 2),
            "peak_share": round(gmacs / peak, 4) if peak else None,
            "gouts": round(self.kernel.outputs / self.best / 1e9, 3),
            "identical": True,
        }


def _library(mod: Any, target: relax.TargetSpec, folder: Path) -> str:
    """The name in `folder` of a scheduled kernel's library."""
    text = f"{target.canonical}\n{mod.script(show_meta=True)}"
    name = hashlib.sha256(text.encode()).hexdigest()[:24] + ".so"
    if not (folder / name).is_file():
        compile_kernel(mod, target.tvm()).export_library(str(folder / name))
    return name


def _prepared(task: relax.TuningTask, tuned: Any | None, target: relax.TargetSpec, folder: Path) -> Prepared:
    data = folder / f"{task.key[:24]}-arguments.npz"
    if not data.is_file():
        write_arguments(data, task, 0)
    outputs = sum(array.size for array in Arguments(str(data)).expected)
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


def _peers(given: argparse.Namespace, arguments: argparse.Namespace) -> list[peers.Prepared]:
    """The engines' forms of the network. UsageError for options that do not go together."""
    if not given.network and not given.engines:
        return []
    if not given.network or not given.engines or arguments.model is not None:
        raise UsageError("--network and --engines go together, and without --model")
    network = chosen([network.name for network in NETWORKS], given.network, "network")
    if len(network) != 1:
        raise UsageError(f"--network takes one network, not {', '.join(network)}")
    engines = chosen([name for name, engine in ENGINES.items() if engine.profiles], given.engines, "engine")
    cache, shared = given.cache.resolve(), given.shared.resolve()
    target, logs = arguments.target, arguments.log_dir.resolve()
    jobs = [
        Job(engine, network[0], arguments.batch, arguments.threads, cache, shared, target, logs)
        for engine in engines
    ]
    return peers.prepare(jobs, lambda line: print(line, file=sys.stderr))


def _imported(arguments: argparse.Namespace, prepared: list[peers.Prepared]) -> ImportedModel:
    """The model that the options name, or the one of the network that the peers run."""
    if not prepared:
        return import_model(arguments).model
    for entry in prepared:
        if entry.source is not None:
            frontend = get_frontend(entry.job.network.kind.value)
            return frontend.load(entry.source.model, entry.source.options())
    reasons = "; ".join(f"{entry.job.engine}: {entry.failed.error}" for entry in prepared if entry.failed)
    raise UsageError(f"none of the engines can run the network: {reasons}")


def prepare(folder: Path, options: list[str], given: argparse.Namespace) -> None:
    """Import the network that the options name, compile its kernels, and prepare the engines beside them."""
    arguments = build_options(options)
    target = parse_target(arguments.target, to_run=True)
    check_threads(arguments.threads)
    prepared = _peers(given, arguments)
    model = _imported(arguments, prepared)
    lowered = relax.lower(model.mod, target, arguments.threads)
    history = no_history if arguments.untuned else open_history(arguments, target, model, lowered)
    folder.mkdir(parents=True, exist_ok=True)
    with TraceChecker() as checker:
        scheduled = scheduled_by(history, checker)
        found = [_prepared(task, scheduled(task), target, folder) for task in lowered.tasks]
    title = f"{model.name}, {model.arithmetic.value}, {target.canonical}"
    index = {
        "title": title,
        "threads": arguments.threads,
        "kernels": [asdict(kernel) for kernel in found],
        "layers": [asdict(layer) for layer in own_layers(lowered)] if prepared else [],
        "peers": [[entry.job.to_json(), str(entry.folder)] for entry in prepared if entry.failed is None],
        "left_out": {entry.job.engine: entry.failed.error for entry in prepared if entry.failed is not None},
    }
    (folder / _INDEX).write_text(json.dumps(index))
    Peak(folder)


def _seconds(kernel: Prepared, library: str, folder: Path, seconds: float) -> float:
    """Seconds of one run; raises VerificationError where the kernel computes something else than the reference."""
    clock = run_worker.load(str(folder / library), str(folder / kernel.data), _REPEAT_MS)
    if clock is None:
        raise VerificationError(f"{kernel.name} computes something else than its reference")
    end = time.monotonic() + seconds
    while not clock.seconds or time.monotonic() < end:
        clock.block(_REPEATS)
    return min(clock.seconds)


def _index(folder: Path) -> dict[str, Any]:
    """What `prepare` left. Raises UsageError where it left nothing."""
    try:
        index: dict[str, Any] = json.loads((folder / _INDEX).read_text())
    except (OSError, ValueError):
        raise UsageError(f"{folder} holds no prepared kernels; run prepare first") from None
    return index


def _rows(index: dict[str, Any], folder: Path, seconds: float, only: str) -> list[Row]:
    table = []
    for kernel in (Prepared(**record) for record in index["kernels"]):
        if re.search(only, kernel.name):
            tuned = _seconds(kernel, kernel.tuned, folder, seconds) if kernel.tuned else None
            table.append(Row(kernel, _seconds(kernel, kernel.default, folder, seconds), tuned))
    return sorted(table, key=lambda row: -row.all_runs)


def measure(folder: Path, seconds: float, only: str, output: Path | None) -> None:
    """Time everything that `prepare` left in the folder, and print the table."""
    index = _index(folder)
    threads, peak = int(index.get("threads", 1)), Peak(folder)
    check_writable(output, "--json")
    peak.sample(threads)
    table = KernelThreads(threads).call(_rows, index, folder, seconds, only)
    peak.sample(threads)
    highest = peak.peaks.get(threads)
    total = sum(row.all_runs for row in table)
    limit = f"; {peak.instruction} alone: {highest:.0f} GMAC/s" if highest else ""
    print(f"{index['title']}; {cpu_model()}, {threads} thread(s); {total * 1e3:.3f} ms in all{limit}")
    print("share  times  default µs  tuned µs  GMAC/s  of peak  Gout/s  kernel")
    records = [row.record(highest) for row in table]
    for row, record in zip(table, records, strict=True):
        print(_line(row, record, row.all_runs / total))
    beside = _beside(index, records, max(1.0, seconds))
    if output is not None:
        head = {"title": index["title"], "cpu": cpu_model(), "threads": threads, "peak_gmacs": highest}
        write_text(output, json.dumps({**head, "kernels": records, **beside}, indent=1) + "\n")


def _beside(index: dict[str, Any], records: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Let the peers profile themselves and print their layers beside ours: what the JSON file says of it, too."""
    if not index.get("layers"):
        return {}
    ours = [Layer.from_record(record) for record in index["layers"]]
    found: dict[str, list[Layer]] = {}
    left_out: dict[str, str] = dict(index["left_out"])
    for text, folder in index["peers"]:
        job = Job.from_json(text)
        try:
            found[job.engine] = matched(ours, profiled(job, Path(folder), seconds))
        except VerificationError as error:
            left_out[job.engine] = str(error)
    print()
    rows = layer_records(ours, {record["kernel"]: record for record in records}, found)
    if found:
        print("\n".join(layer_table(rows, list(found))))
    for engine, reason in left_out.items():
        print(f"{engine} is left out: {reason}")
    return {"layers": rows, "left_out": left_out}


def _line(row: Row, record: dict[str, Any], share: float) -> str:
    tuned = "       -" if row.tuned is None else f"{row.tuned * 1e6:8.1f}"
    of_peak = "      -" if record["peak_share"] is None else f"{record['peak_share']:7.1%}"
    times = f"{row.kernel.weight:5d}  {row.default * 1e6:10.1f}  {tuned}"
    return (
        f"{share:5.1%}  {times}  {record['gmacs']:6.1f}  {of_peak}  {record['gouts']:6.2f}  {row.kernel.name}"
    )


def main(words: Sequence[str]) -> int:
    """Read the command line; do one of the two steps. Returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    steps = parser.add_subparsers(dest="step", required=True)
    prepared = steps.add_parser("prepare", allow_abbrev=False)
    prepared.add_argument("folder", type=Path)
    prepared.add_argument("--network", metavar="NAME", help="one of peers.py, in place of a model")
    prepared.add_argument("--engines", metavar="NAMES", help="peers to run it, comma-separated")
    prepared.add_argument("--cache", type=Path, default=cache_folder() / "peers", help="as in peers.py")
    prepared.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="as in peers.py")
    measured = steps.add_parser("measure")
    measured.add_argument("folder", type=Path)
    measured.add_argument("--only", default="", metavar="REGEX", help="kernels whose names it matches")
    measured.add_argument("--seconds", type=float, default=0.1, help="time spent on each kernel")
    measured.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    arguments, options = parser.parse_known_args(words)
    return exit_code(lambda: _step(arguments, options))


def _step(arguments: argparse.Namespace, options: list[str]) -> int:
    if arguments.step == "prepare":
        prepare(arguments.folder, options, arguments)
    elif options:
        raise UsageError(f"measure knows no {options[0]}")
    else:
        measure(arguments.folder, arguments.seconds, arguments.only, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
