"""Pre-quantized networks, imported as they are, tuned and built into exact integer code with TVM."""

from __future__ import annotations

import os

__version__ = "0.1.0"

# TVM reads these when a process runs its first kernel, and never again: as many threads as there are cores, of which
# each session uses its own number; threads that go to sleep 2 ms or so after a network, not 150, and keep no other
# process off a core; threads bound to a core each, or they wake up on the caller's, where all cores are the process's.
_CORES = len(os.sched_getaffinity(0))
os.environ.setdefault("TVM_NUM_THREADS", str(_CORES))
os.environ.setdefault("TVM_THREAD_POOL_SPIN_COUNT", "4000")
os.environ.setdefault("TVM_BIND_THREADS", str(int(os.cpu_count() == _CORES)))
