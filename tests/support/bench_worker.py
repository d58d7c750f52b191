"""A worker of the benchmarks whose engine doubles what it is given."""

from __future__ import annotations

import sys

from autotune_qnn.frontends.serving import answer_stream
from benchmarks.lib.engines.base import Running
from benchmarks.lib.worker import serve

if __name__ == "__main__":
    with answer_stream() as answers:
        running = Running(lambda data: data * 2, lambda data: data.sum, "doubles")
        serve(running, sys.stdin.buffer, answers)
