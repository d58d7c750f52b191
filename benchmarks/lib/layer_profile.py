"""What an engine's own profiler says of each layer: `python -m benchmarks.lib.layer_profile`, in a process of its own.

Takes a job (`Job.to_json`), its folder and the seconds to run for; writes the layers to standard output as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from autotune_qnn.errors import AutotuneQnnError, VerificationError
from autotune_qnn.frontends.serving import answer_stream
from benchmarks.lib import source
from benchmarks.lib.command import ROOT
from benchmarks.lib.engines import ENGINES
from benchmarks.lib.job import Job
from benchmarks.lib.layers import Layer
from benchmarks.lib.runs import THREAD_VARIABLES


def profiled(job: Job, folder: Path, seconds: float) -> list[Layer]:
    """The job's convolutions and dense layers in order of execution. VerificationError where the engine fails."""
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.lib.layer_profile", job.to_json(), str(folder), str(seconds)],
        cwd=ROOT,
        env={**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(job.threads))},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        said = ended.stderr.strip().splitlines() or [f"its process ended with code {ended.returncode}"]
        raise VerificationError(said[-1][:300])
    return [Layer.from_record(record) for record in json.loads(ended.stdout)]


def main() -> None:
    """Entry point of the process; what libraries print goes to standard error."""
    with answer_stream() as answers:
        job, folder = Job.from_json(sys.argv[1]), Path(sys.argv[2])
        try:
            layers = ENGINES[job.engine].layers(job, source.prepared(job), folder, float(sys.argv[3]))
        except AutotuneQnnError as error:
            print(error, file=sys.stderr)
            sys.exit(error.exit_code)
        answers.write(json.dumps([asdict(layer) for layer in layers]).encode())


if __name__ == "__main__":
    main()
