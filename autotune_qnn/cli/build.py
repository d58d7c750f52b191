"""`autotune-qnn build`: a library with the best schedules of a log, without measuring anything."""

from __future__ import annotations

import argparse
from pathlib import Path

from autotune_qnn.build.history import LoggedHistory, no_history
from autotune_qnn.build.linker import find_linker
from autotune_qnn.build.manifest import manifest_path
from autotune_qnn.build.model import build_model
from autotune_qnn.cli.common import check_threads, import_model, log_header, open_pool, parse_target
from autotune_qnn.cli.results import check_writable, write_text
from autotune_qnn.cli.terminal import show
from autotune_qnn.engines import relax
from autotune_qnn.engines.relax.target import TargetSpec
from autotune_qnn.errors import LogStoreError, UsageError
from autotune_qnn.frontends.base import ImportedModel
from autotune_qnn.logs import LogStore
from autotune_qnn.report.table import coverage_line
from autotune_qnn.transforms.pipeline import Dump


def run(arguments: argparse.Namespace) -> int:
    """Run the subcommand. Without a log, --untuned is needed: a slow library should not be a surprise."""
    target = parse_target(arguments.target, to_run=False)
    check_threads(arguments.threads)
    find_linker()
    check_writable(arguments.output, "--output")
    dump = _dump(arguments.dump)
    source = import_model(arguments)
    model = source.model
    lowered = relax.lower(model.mod, target, arguments.threads, dump)
    logged = None if arguments.untuned else open_history(arguments, target, source.model, lowered)
    images = source.recipe.to_record()
    built = build_model(
        model, target, logged or no_history, arguments.threads, arguments.output, lowered, images
    )
    set_aside = 0 if logged is None else logged.set_aside(lowered.tasks)
    manifest = built.manifest
    show(f"library   {built.library}")
    show(f"manifest  {manifest_path(built.library)}")
    show(f"target    {manifest.target}, {manifest.threads} thread(s)")
    show(f"coverage  {coverage_line(manifest.tuned, manifest.fallback, manifest.missing, set_aside)}")
    return 0


def _dump(folder: Path | None) -> Dump | None:
    """What writes modules into a folder, one file a phase. UsageError where that is not possible."""
    if folder is None:
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--dump {folder} cannot be made: {error.strerror}; name a folder") from None
    return lambda phase, mod: write_text(folder / f"{phase}.py", mod.script())


def open_history(
    arguments: argparse.Namespace, target: TargetSpec, model: ImportedModel, lowered: relax.LoweredModule
) -> LoggedHistory:
    """The model's own log and, for tasks that they hold too, others. Raises LogStoreError where none of them knows
    any task of the model.
    """
    header = log_header(arguments, target, model)
    store, missing = None, None
    try:
        store = LogStore.open(arguments.log_dir, target.canonical, model.name, header, create=False)
    except LogStoreError as error:
        missing = error
    pool = open_pool(arguments.log_dir, target, header, None if store is None else store.path)
    history = LoggedHistory(store, pool)
    if missing is not None and not any(history.known(task) for task in lowered.tasks):
        raise missing
    return history
