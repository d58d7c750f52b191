"""`autotune-qnn tune`: import, lower, tune, store, rebuild with the best history, evaluate, report."""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

from autotune_qnn.build.history import LoggedHistory, no_history
from autotune_qnn.build.linker import find_linker
from autotune_qnn.build.model import build_model
from autotune_qnn.cli.common import check_threads, import_model, log_header, open_pool, parse_target
from autotune_qnn.cli.evaluate import evaluate, open_inputs
from autotune_qnn.cli.results import check_writable, write_text
from autotune_qnn.cli.tasks import select_tasks, task_table
from autotune_qnn.cli.terminal import INTERRUPTED, say, show
from autotune_qnn.engines import relax
from autotune_qnn.engines.relax.target import TargetSpec
from autotune_qnn.engines.relax.task import TuningTask
from autotune_qnn.errors import LogStoreError, VerificationError
from autotune_qnn.frontends.base import ImportedModel
from autotune_qnn.logs import LogStore
from autotune_qnn.logs.pool import RecordPool
from autotune_qnn.report.model import Report, Tuning
from autotune_qnn.report.table import render
from autotune_qnn.tuning.options import TuneOptions, TunerChoice
from autotune_qnn.tuning.progress import BarProgress, NoProgress
from autotune_qnn.tuning.summary import TuneSummary
from autotune_qnn.tuning.tuner import tune

_LOGGER = logging.getLogger(__name__)


def run(arguments: argparse.Namespace) -> int:
    """Run the subcommand. Whatever the user may have got wrong is looked at before the work begins."""
    target = parse_target(arguments.target, to_run=True)
    options = _options(arguments)
    check_threads(arguments.threads)
    find_linker()
    check_writable(arguments.json, "--json")
    check_writable(arguments.output, "--output")
    source = import_model(arguments)
    model = source.model
    if arguments.tasks == "list":
        lowered = relax.lower(model.mod, target, arguments.threads)
        show(task_table(lowered.tasks, _existing_store(arguments, target, model)))
        return 0
    inputs = open_inputs(arguments, source)
    header = log_header(arguments, target, model)
    with LogStore.open(arguments.log_dir, target.canonical, model.name, header) as store:
        lowered = relax.lower(model.mod, target, arguments.threads)
        pool = open_pool(arguments.log_dir, target, header, store.path) if arguments.warm_start else None
        tasks = select_tasks(lowered.tasks, arguments.tasks)
        summary = _tune(tasks, target, store, options, pool, arguments.quiet)
        if summary is not None and summary.interrupted:
            say(
                f"interrupted: {len(store)} trials are kept in {store.path}; "
                "the same command continues from there"
            )
            return INTERRUPTED
        history = LoggedHistory(store, pool)
        set_aside = history.set_aside(lowered.tasks)
        tuning = _tuning(arguments, store, summary, set_aside)
        with tempfile.TemporaryDirectory(prefix="autotune-qnn-") as folder:
            place = arguments.output or Path(folder) / "after.so"
            plain = Path(folder) / "before.so"
            record = source.recipe.to_record()
            before = build_model(model, target, no_history, arguments.threads, plain, lowered, record)
            after = build_model(model, target, history, arguments.threads, place, lowered, record)
            builds = (before, after)
            report = evaluate(source, target, builds, inputs, tuning, quiet=arguments.quiet)
    _publish(report, arguments.json)
    return 0


def _options(arguments: argparse.Namespace) -> TuneOptions:
    return TuneOptions(
        tuner=TunerChoice(arguments.tuner),
        trials=arguments.trials,
        trials_per_task=arguments.trials_per_task,
        early_stopping=arguments.early_stopping,
        timeout=arguments.timeout,
        time_budget=arguments.time_budget,
        number=arguments.number,
        repeat=arguments.repeat,
        min_repeat_ms=arguments.min_repeat_ms,
        threads=arguments.threads,
        seed=arguments.seed,
    )


def _existing_store(
    arguments: argparse.Namespace, target: TargetSpec, model: ImportedModel
) -> LogStore | None:
    header = log_header(arguments, target, model)
    try:
        return LogStore.open(arguments.log_dir, target.canonical, model.name, header, create=False)
    except LogStoreError:
        return None


def _tune(
    tasks: Sequence[TuningTask],
    target: TargetSpec,
    store: LogStore,
    options: TuneOptions,
    pool: RecordPool | None,
    quiet: bool,
) -> TuneSummary | None:
    """Tune, unless no trials are asked for."""
    if options.trials == 0:
        return None
    progress = NoProgress() if quiet else BarProgress()
    return tune(tasks, target, store, options, progress, pool=pool)


def _tuning(
    arguments: argparse.Namespace, store: LogStore, summary: TuneSummary | None, set_aside: int
) -> Tuning:
    return Tuning(
        log=str(store.path),
        tuner=arguments.tuner,
        trials_in_log=len(store),
        new_trials=0 if summary is None else summary.measured,
        failures={} if summary is None else {status.value: count for status, count in summary.failures},
        seconds=0.0 if summary is None else round(summary.seconds, 1),
        trials_while_busy=0 if summary is None else summary.busy,
        records_elsewhere=0 if summary is None else summary.warm.records,
        logs_elsewhere=0 if summary is None else summary.warm.logs,
        tasks_elsewhere=0 if summary is None else summary.warm.same_tasks,
        tasks_set_aside=set_aside,
    )


def _publish(report: Report, json_path: Path | None) -> None:
    show(render(report))
    agreement = report.agreement.after
    if agreement.identical < 1:
        _LOGGER.warning(
            "%d of %d inputs give another output than %s does",
            agreement.samples - agreement.identical_samples,
            agreement.samples,
            report.frontend,
        )
    if json_path is not None:
        write_text(json_path, report.to_json())
    if agreement.identical_samples < report.agreement.before.identical_samples:
        raise VerificationError(
            f"the tuned build gives the framework's output on {agreement.identical_samples} of "
            f"{agreement.samples} inputs, the untuned one on {report.agreement.before.identical_samples}: "
            f"a schedule in {report.tuning.log} computes something else; remove the log and tune again"
        )
