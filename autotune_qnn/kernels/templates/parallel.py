"""What a parallel region costs, and how evenly a kernel's tasks fall on threads.

TVM gives each of T threads one run of ceil(n / T) consecutive tasks, so that 7 tasks on two threads are 4 and 3. A
region costs its start, the wait for the last thread, and the first reads of what another core has written.
"""

from __future__ import annotations

from autotune_qnn.kernels.geometry import ceil_div

REGION_NS = 1300.0
"""Cost of one region between threads that are awake, measured in networks: 0.9 µs empty, the rest is caches."""

DEPTHWISE_MACS_PER_NS = 72.0
BYTES_PER_NS = 16.0
"""Rough speeds of one thread, by which kernels guess their time before anything has been measured."""


def evenness(tasks: int, threads: int) -> float:
    """The share of the threads' time that is work when `tasks` equal tasks are spread over them: above 0, up to 1."""
    return tasks / (threads * ceil_div(tasks, threads))


def worthwhile(nanoseconds: float, threads: int, tasks: int, regions: int = 1) -> bool:
    """Whether a kernel that one thread runs in that time ends earlier when its tasks are spread over threads."""
    if threads < 2 or tasks < 2:
        return False
    return nanoseconds / (threads * evenness(tasks, threads)) + regions * REGION_NS < nanoseconds
