"""The process that prepares one engine's form of a network, or the network itself: `python -m benchmarks.lib.prepare`.

Takes what to do ("source", "tune" or "form") and a job (`Job.to_json`). Whatever goes wrong ends the process, and the
last line that it leaves on standard error says what it was.
"""

from __future__ import annotations

import sys

from autotune_qnn.errors import AutotuneQnnError
from benchmarks.lib import source
from benchmarks.lib.engines import ENGINES
from benchmarks.lib.job import Job

READY = "ready"
"""The file that says that a folder is complete."""


def carry_out(wanted: str, job: Job) -> None:
    """Make the source, tune for it, or make an engine's form of it."""
    if wanted == "source":
        source.make(job)
        return
    engine, made = ENGINES[job.engine], source.prepared(job)
    if wanted == "tune":
        engine.tune(job, made)
        return
    folder = engine.folder(job, made)
    folder.mkdir(parents=True, exist_ok=True)
    engine.prepare(job, made, folder)
    (folder / READY).touch()


def main() -> None:
    """Entry point of the process, which ends with the exit code of the package's error."""
    try:
        carry_out(sys.argv[1], Job.from_json(sys.argv[2]))
    except AutotuneQnnError as error:
        sys.exit(_told(error))


def _told(error: AutotuneQnnError) -> int:
    print(error, file=sys.stderr)
    return error.exit_code


if __name__ == "__main__":
    main()
