"""A task's configurations, built, measured and read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune_qnn.engines import relax
from benchmarks.lib import recordings
from tests.support.networks import ConvCase


def test_a_recording_is_read_as_it_was_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = relax.TargetSpec.parse("native")
    task = relax.lower(ConvCase(6, 6, 8, 16).module(), target, 1).tasks[0]
    assert recordings.prepare(task, target, 1, tmp_path / "built", 3) == 3
    library = next((tmp_path / "built").glob("*/*.so"))
    before = library.stat().st_mtime_ns
    assert recordings.prepare(task, target, 1, tmp_path / "built", 3) == 3
    assert library.stat().st_mtime_ns == before, "what is built stays"
    recordings.measure(tmp_path / "built", tmp_path / "measured", 2)
    assert f"{task.name}: 3 configurations" in capsys.readouterr().out
    (table,) = recordings.read_all(tmp_path / "measured")
    template = task.template()
    assert template is not None
    assert table.name == task.name
    assert table.default == template.default()
    assert len(table.space()) == 3
    assert 0 < table.best < 1
    assert all(len(seen) == len(table.samples()[0][0]) for seen, _ in table.rows.values())
