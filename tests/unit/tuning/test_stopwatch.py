from __future__ import annotations

import time

import pytest

from autotune_qnn.tuning.stopwatch import Stopwatch


def _slow_failure() -> None:
    time.sleep(0.01)
    raise FileNotFoundError("No such file")


def test_phases_add_up_also_where_work_fails() -> None:
    watch = Stopwatch("building", "measuring")
    with pytest.raises(OSError, match="No such file"), watch.timed("building"):
        _slow_failure()
    first = watch.seconds["building"]
    assert first >= 0.01
    watch.add("building", 2.0)
    assert watch.seconds == {"building": first + 2.0, "measuring": 0.0}
