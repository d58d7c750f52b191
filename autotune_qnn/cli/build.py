"""`autotune-qnn build`: a library with the best schedules of a log, without measuring anything."""

from __future__ import annotations

import argparse

from autotune_qnn.build.history import no_history
from autotune_qnn.build.manifest import manifest_path
from autotune_qnn.build.model import build_model
from autotune_qnn.cli.common import check_threads, import_model, log_header, parse_target
from autotune_qnn.cli.results import check_writable
from autotune_qnn.cli.terminal import show
from autotune_qnn.logs import LogStore
from autotune_qnn.report.table import coverage_line


def run(arguments: argparse.Namespace) -> int:
    """Run the subcommand. Without a log, --untuned is needed: a slow library should not be a surprise."""
    target = parse_target(arguments.target, to_run=False)
    check_threads(arguments.threads)
    check_writable(arguments.output, "--output")
    source = import_model(arguments)
    model = source.model
    history = no_history
    if not arguments.untuned:
        header = log_header(arguments, target, model)
        with LogStore.open(arguments.log_dir, target.canonical, model.name, header, create=False) as store:
            history = store.ranked
    built = build_model(
        model, target, history, arguments.threads, arguments.output, images=source.recipe.to_record()
    )
    manifest = built.manifest
    show(f"library   {built.library}")
    show(f"manifest  {manifest_path(built.library)}")
    show(f"target    {manifest.target}, {manifest.threads} thread(s)")
    show(f"coverage  {coverage_line(manifest.tuned, manifest.fallback, manifest.missing)}")
    return 0
