"""Archives around a model, honest and hostile."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from autotune_qnn.errors import ModelError
from autotune_qnn.frontends.tflite import archive
from autotune_qnn.frontends.tflite.archive import model_file


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as out:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return path


def test_plain_file_stays_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.tflite"
    path.write_bytes(b"x")
    assert model_file(path) == path


def test_tgz_with_one_model_among_other_files(tmp_path: Path) -> None:
    path = tar(tmp_path / "m.tgz", {"./a.ckpt": b"1", "./sub/net.tflite": b"model", "./info.txt": b"2"})
    found = model_file(path)
    assert found.name == "net.tflite"
    assert found.read_bytes() == b"model"
    assert model_file(path) == found


def test_zip(tmp_path: Path) -> None:
    path = tmp_path / "m.zip"
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("folder/net.tflite", b"model")
        out.writestr("__MACOSX/folder/._net.tflite", b"resource fork")
    assert model_file(path).read_bytes() == b"model"


@pytest.mark.parametrize("name", ["../../evil.tflite", "/etc/evil.tflite", "a\\..\\evil.tflite", ".tflite"])
def test_names_never_leave_the_cache(name: str, tmp_path: Path) -> None:
    found = model_file(tar(tmp_path / "m.tgz", {name: b"model"}))
    assert found.resolve().is_relative_to((tmp_path / "cache").resolve())
    assert found.suffix == ".tflite"


@pytest.mark.parametrize("names", [[], ["a.txt"], ["a.tflite", "b.tflite"]])
def test_exactly_one_model(names: list[str], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expected exactly one"):
        model_file(tar(tmp_path / "m.tgz", dict.fromkeys(names, b"x")))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(kind: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.tgz"
    with tarfile.open(path, "w:gz") as out:
        info = tarfile.TarInfo("net.tflite")
        info.type, info.linkname = kind, "/etc/passwd"
        out.addfile(info)
    with pytest.raises(ModelError, match="link or a device"):
        model_file(path)


def test_zip_link_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.zip"
    with zipfile.ZipFile(path, "w") as out:
        info = zipfile.ZipInfo("net.tflite")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        out.writestr(info, "/etc/passwd")
    with pytest.raises(ModelError, match="link or a device"):
        model_file(path)


def test_member_larger_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_MODEL_BYTES", 1 << 20)
    path = tar(tmp_path / "m.tgz", {"net.tflite": b"\x00" * (3 << 20)})
    with pytest.raises(ModelError, match="more than 1048576 bytes"):
        model_file(path)
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_MEMBERS", 3)
    with pytest.raises(ModelError, match="more than 3 members"):
        model_file(tar(tmp_path / "m.tgz", {f"{i}.txt": b"" for i in range(5)}))


@pytest.mark.parametrize("suffix", [".tgz", ".zip", ".tar"])
def test_damaged_archives(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"m{suffix}"
    path.write_bytes(os.urandom(2000))
    with pytest.raises(ModelError, match="is no readable archive"):
        model_file(path)


def test_truncated_archive(tmp_path: Path) -> None:
    path = tar(tmp_path / "m.tgz", {"net.tflite": os.urandom(100_000)})
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(ModelError, match="is no readable archive"):
        model_file(path)


def test_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="cannot extract"):
        model_file(tar(tmp_path / "m.tgz", {"net.tflite": b"model"}))
