"""`autotune-qnn leaders`: logs small enough to ship, with the best records of each task and what a few others teach."""

from __future__ import annotations

import argparse

from autotune_qnn.cli.terminal import show
from autotune_qnn.errors import LogStoreError, UsageError
from autotune_qnn.logs import LogStore
from autotune_qnn.logs.pool import write_leaders


def run(arguments: argparse.Namespace) -> int:
    """Run the subcommand."""
    if not 1 <= arguments.keep <= 1000:
        raise UsageError(f"--keep has to be from 1 to 1000, not {arguments.keep}")
    if arguments.output.resolve() == arguments.log_dir.resolve():
        raise UsageError(f"--output {arguments.output} is the folder that is read; name another")
    paths = sorted(arguments.log_dir.glob("*/*/records*.jsonl"))
    if not paths:
        raise LogStoreError(f"there is no tuning log in {arguments.log_dir}; tune first, or pass --log-dir")
    for path in paths:
        log = LogStore.read(path)
        written = write_leaders(log, arguments.output, arguments.keep)
        show(f"{written}: {len(log.task_keys())} tasks of {path}")
    return 0
