"""A worker of the benchmarks whose engine doubles what it is given."""

from __future__ import annotations

import os
import sys

from benchmarks.lib.engines.base import Running
from benchmarks.lib.worker import serve

if __name__ == "__main__":
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        running = Running(lambda data: data * 2, lambda data: data.sum, "doubles")
        serve(running, sys.stdin.buffer, answers)
