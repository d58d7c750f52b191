"""The command line of the comparison."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from autotune_qnn.cli.results import check_writable
from autotune_qnn.errors import UsageError
from benchmarks.lib.command import ROOT
from benchmarks.lib.engines import ENGINES
from benchmarks.lib.job import Job
from benchmarks.lib.networks import NETWORKS, chosen


@dataclass(frozen=True)
class Options:
    """What to compare and where to write it. `prepare_only` ends before anything is timed."""

    models: list[str]
    engines: list[str]
    threads: list[int]
    batches: list[int]
    target: str
    log_dir: Path
    trials: int
    shared: Path
    cache: Path
    rounds: int
    seconds: float
    prepare_only: bool
    json: Path | None
    markdown: Path | None
    chart: Path | None

    def cases(self) -> list[list[Job]]:
        """The jobs, those that are timed in turns together."""
        return [
            [
                Job(
                    engine,
                    model,
                    batch,
                    threads,
                    self.cache,
                    self.shared,
                    self.target,
                    self.log_dir,
                    self.trials,
                )
                for engine in self.engines
            ]
            for model, batch, threads in product(self.models, self.batches, self.threads)
        ]


def parse(arguments: Sequence[str], cache: Path) -> Options:
    """The options of a command line; `cache` is where prepared networks are kept by default. UsageError for names and
    numbers that cannot be used.
    """
    given = _parser(cache).parse_args(arguments)
    if given.rounds < 1 or given.seconds <= 0 or given.trials < 0:
        raise UsageError("--rounds and --seconds have to be positive, --trials must not be negative")
    for path, option in (
        (given.json, "--json"),
        (given.markdown, "--markdown"),
        (given.chart, "--chart"),
    ):
        check_writable(path, option)
    return Options(
        models=chosen([network.name for network in NETWORKS], given.models, "network"),
        engines=chosen(list(ENGINES), given.engines, "engine"),
        threads=_counts(given.threads, "--threads"),
        batches=_counts(given.batch, "--batch"),
        target=given.target,
        log_dir=given.log_dir.resolve(),
        trials=given.trials,
        shared=given.shared.resolve(),
        cache=given.cache.resolve(),
        rounds=given.rounds,
        seconds=given.seconds,
        prepare_only=given.prepare,
        json=given.json,
        markdown=given.markdown,
        chart=given.chart,
    )


def _parser(cache: Path) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Compares this package with other engines on the same quantized networks.",
        epilog=f"networks: {', '.join(network.name for network in NETWORKS)}; engines: {', '.join(ENGINES)}",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--models", default="*", metavar="NAMES", help="networks, comma-separated, * for any characters (all)"
    )
    add("--engines", default="*", metavar="NAMES", help="engines, in the same way (all)")
    add("--threads", default="1,2", metavar="N,N", help="numbers of threads (1,2)")
    add("--batch", default="1,8", metavar="N,N", help="batch sizes (1,8)")
    add("--target", default="native", help="target of this package's builds (native)")
    add(
        "--log-dir",
        type=Path,
        default=ROOT / "tuning_logs",
        metavar="DIR",
        help="tuning logs (the project's tuning_logs)",
    )
    add("--trials", type=int, default=0, metavar="N", help="first tune with each tuner up to N trials (0)")
    add(
        "--shared",
        type=Path,
        default=ROOT.parent / "shared",
        metavar="DIR",
        help="folder with models/tflite (../shared)",
    )
    add(
        "--cache", type=Path, default=cache, metavar="DIR", help=f"where prepared networks are kept ({cache})"
    )
    add("--prepare", action="store_true", help="only prepare: the same command without it times at once")
    add("--rounds", type=int, default=40, metavar="N", help="turns of each engine, at most (40)")
    add("--seconds", type=float, default=20.0, metavar="S", help="time for the turns of one case (20)")
    add("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    add("--markdown", type=Path, metavar="FILE", help="write the tables as Markdown")
    add("--chart", type=Path, metavar="FILE", help="write a chart as SVG")
    return parser


def _counts(text: str, option: str) -> list[int]:
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = []
    if not counts or not all(1 <= count <= 1024 for count in counts):
        raise UsageError(f"{option} takes whole numbers from 1 to 1024, comma-separated, not {text!r}")
    return list(dict.fromkeys(counts))
