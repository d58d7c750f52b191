"""The process in which one engine runs one network: `python -m benchmarks.lib.worker`, with a job (`Job.to_json`).

Requests come on standard input and answers go to what was standard output when the process began, as frames (see
`autotune_qnn.frontends.frames`): "set" puts the array `data` in place, "run" answers `output` for `data`, "time" runs
`number` times what is in place and answers `seconds` a run and `cpu`, the CPU seconds a run of all threads together.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import IO

from autotune_qnn.errors import UsageError
from autotune_qnn.frontends.frames import read_frame, write_frame
from autotune_qnn.frontends.serving import answer_stream
from autotune_qnn.tuning.worker import die_with_parent
from benchmarks.lib import source
from benchmarks.lib.engines import ENGINES
from benchmarks.lib.engines.base import Running, Step
from benchmarks.lib.job import Job


def timed(step: Step, number: int) -> dict[str, float]:
    """Wall and CPU seconds a run, of `number` runs in a row."""
    cpu, start = time.process_time(), time.perf_counter()
    for _ in range(number):
        step()
    return {"seconds": (time.perf_counter() - start) / number, "cpu": (time.process_time() - cpu) / number}


def serve(running: Running, requests: IO[bytes], answers: IO[bytes]) -> None:
    """Says that the network is loaded, and answers requests until the stream ends."""
    step: Step | None = None
    write_frame(answers, {"note": running.note})
    while (request := read_frame(requests)) is not None:
        command = str(request["command"])
        if command == "set":
            step = running.step(request["data"])
            step()
            write_frame(answers, {})
        elif command == "time":
            if step is None:
                raise UsageError("nothing is in place to be timed")
            write_frame(answers, dict(timed(step, int(request["number"]))))
        else:
            write_frame(answers, {"output": running.run(request["data"])})


def load(job: Job, folder: Path) -> Running:
    """The job's network, loaded by its engine."""
    return ENGINES[job.engine].load(job, source.prepared(job), folder)


def main() -> None:
    """Entry point of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()  # stopped, it would not notice that nobody asks it any more
    with answer_stream() as answers:
        serve(load(Job.from_json(sys.argv[1]), Path(sys.argv[2])), sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
