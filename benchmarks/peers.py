"""Compares this package with other engines on the same networks, each in its own best int8 form.

    python benchmarks/peers.py [--models NAMES] [--threads 1,2] [--batch 1,8] [--engines NAMES] [--json FILE]

One run: prepares whatever the cache lacks, then times all engines of a case (network, batch, threads) in turns of
short repeats, each in a process of its own, and compares every output with that of the framework which the network
comes from. Prints Markdown. Exit code 11 where this package fails or computes something else. Run it alone on the
machine.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from autotune_qnn.build.manifest import write_whole
from autotune_qnn.engines.relax.target import TargetSpec
from autotune_qnn.errors import VerificationError
from autotune_qnn.evaluation.latency import Plan
from autotune_qnn.frontends.tflite.archive import cache_folder
from autotune_qnn.host import cpu_model
from benchmarks.lib.chart import svg
from benchmarks.lib.command import exit_code
from benchmarks.lib.options import Options, parse
from benchmarks.lib.peak import Peak
from benchmarks.lib.preparation import prepare
from benchmarks.lib.rows import Machine, Row, completed, failures, to_records
from benchmarks.lib.runs import run_case
from benchmarks.lib.table import markdown

_PACKAGES = ("apache-tvm", "openvino", "nncf", "onnxruntime", "ai-edge-litert", "torch", "torchao")


def compare(options: Options) -> tuple[list[Row], Machine]:
    """Prepare, time, and write after every case what there is by then. With `prepare_only`, the rows that failed."""
    cases = [prepare(jobs, _say) for jobs in options.cases()]
    if options.prepare_only:
        failed = [entry.failed for case in cases for entry in case if entry.failed is not None]
        return failed, _machine(options, Peak(options.cache))
    peak = Peak(options.cache)
    plan = Plan(
        rounds=options.rounds,
        budget_s=options.seconds,
        fewest_rounds=min(5, options.rounds),
    )
    rows: list[Row] = []
    for case in cases:
        job = case[0].job
        _say(f"timing {job.model}, batch {job.batch}, {job.threads} thread(s)")
        peak.sample(job.threads)
        rows += run_case(case, plan)
        peak.sample(job.threads)
        write(completed(rows, peak.peaks), _machine(options, peak), options)
    return completed(rows, peak.peaks), _machine(options, peak)


def write(rows: Sequence[Row], machine: Machine, options: Options) -> None:
    """The files that the options ask for."""
    for path, text in (
        (options.json, json.dumps(to_records(rows, machine), indent=1)),
        (options.markdown, markdown(rows, machine)),
        (options.chart, svg(rows, machine)),
    ):
        if path is not None:
            write_whole(path, text.encode())


def _machine(options: Options, peak: Peak) -> Machine:
    return Machine(
        cpu=cpu_model(),
        target=TargetSpec.parse(options.target).canonical,
        versions=_versions(),
        instruction=peak.instruction,
        peaks=dict(sorted(peak.peaks.items())),
    )


def _versions() -> dict[str, str]:
    installed = {str(entry.name): entry.version for entry in importlib.metadata.distributions()}
    return {name: installed[name] for name in _PACKAGES if name in installed}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(arguments: Sequence[str]) -> int:
    """Run the command; the exit code."""
    return exit_code(lambda: _compare_and_tell(parse(arguments, cache_folder() / "peers")))


def _compare_and_tell(options: Options) -> int:
    rows, machine = compare(options)
    if not options.prepare_only:
        print(markdown(rows, machine))
    for line in failures(rows):
        _say(f"FAILED: {line}")
    return VerificationError.exit_code if failures(rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
