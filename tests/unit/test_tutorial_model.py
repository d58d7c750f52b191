from __future__ import annotations

from pathlib import Path

import pytest

from autotune_qnn.errors import ModelError, UsageError
from autotune_qnn.zoo import tutorial
from autotune_qnn.zoo.tutorial import tutorial_model


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "model.tgz"
    path.write_bytes(b"the archive")
    monkeypatch.setitem(tutorial.URLS, "tflite", path.as_uri())
    return path


def test_it_is_downloaded_once(source: Path, tmp_path: Path) -> None:
    first = tutorial_model("tflite", tmp_path / "cache")
    assert first.read_bytes() == b"the archive"
    source.unlink()
    assert tutorial_model("tflite", tmp_path / "cache") == first
    assert sorted(path.name for path in first.parent.iterdir()) == ["model.tgz", "model.tgz.sha256"]


def test_a_change_is_noticed(source: Path, tmp_path: Path) -> None:
    path = tutorial_model("tflite", tmp_path / "cache")
    path.write_bytes(b"another archive")
    with pytest.raises(ModelError, match="SHA-256"):
        tutorial_model("tflite", tmp_path / "cache")
    path.unlink()
    source.write_bytes(b"another archive")
    with pytest.raises(ModelError, match="SHA-256"):
        tutorial_model("tflite", tmp_path / "cache")


def test_offline_says_what_to_pass(source: Path, tmp_path: Path) -> None:
    source.unlink()
    with pytest.raises(ModelError, match="--model FILE"):
        tutorial_model("tflite", tmp_path / "cache")
    assert list((tmp_path / "cache" / "models").iterdir()) == []


def test_other_frontends_have_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--model"):
        tutorial_model("mxnet", tmp_path)
