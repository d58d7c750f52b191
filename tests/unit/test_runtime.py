from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax

from autotune_qnn.build import manifest as manifests
from autotune_qnn.build.manifest import Manifest, TensorSpec, file_sha256, manifest_path, read_manifest
from autotune_qnn.errors import BuildError, TargetError, UsageError
from autotune_qnn.runtime import session as sessions
from autotune_qnn.runtime.session import Session


def make_manifest(library: Path, *, flags: tuple[str, ...] = ()) -> Manifest:
    tensor = TensorSpec("x", (2, 3), "int8", 0.5, -3)
    return Manifest(
        model="sum",
        frontend="tflite",
        source_sha256="0" * 64,
        arithmetic="xnnpack",
        batch=2,
        target="llvm",
        needed_flags=flags,
        threads=1,
        library=library.name,
        library_sha256=file_sha256(library),
        inputs=(tensor, dataclasses.replace(tensor, name="y")),
        outputs=(TensorSpec("sum", (2, 3), "int8"), TensorSpec("difference", (2, 3), "int8")),
        tuned=1,
        fallback=2,
        missing=0,
        versions=(("apache-tvm", "0.27"),),
        created="2026-01-01T00:00:00+00:00",
    )


def write_manifest(library: Path, manifest: Manifest) -> None:
    manifest_path(library).write_text(manifest.to_json())


def compiled(library: Path, operator: Any = relax.op.add) -> Path:
    """A library of two inputs and two outputs, compiled by TVM's own pipeline."""
    builder = relax.BlockBuilder()
    x, y = (relax.Var(name, relax.TensorType((2, 3), "int8")) for name in "xy")
    with builder.function("main", [x, y]):
        with builder.dataflow():
            total = builder.emit(operator(x, y))
            outputs = builder.emit_output((total, builder.emit(relax.op.subtract(x, y))))
        builder.emit_func_output(outputs)
    library.unlink(missing_ok=True)
    tvm.compile(builder.get(), tvm.target.Target({"kind": "llvm"})).export_library(str(library))
    write_manifest(library, make_manifest(library))
    return library


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("library") / "net.so")


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    library = tmp_path / "net.so"
    library.write_bytes(exported.read_bytes())
    write_manifest(library, make_manifest(library))
    return library


X = np.arange(6, dtype=np.int8).reshape(2, 3)


def test_a_library_that_is_built_anew_is_loaded_anew(tmp_path: Path) -> None:
    results = {relax.op.add: X + X + 1, relax.op.multiply: X * (X + 1), relax.op.minimum: X}
    for operator in results:
        library = compiled(tmp_path / "net.so", operator)
        for _ in range(2):
            with Session.load(library) as session:
                (first, _) = session.run([X, X + 1])
        assert np.array_equal(first, results[operator])


def test_run_and_time(exported: Path) -> None:
    with Session.load(exported) as session:
        total, difference = session.run([X, X])
        assert np.array_equal(total, X + X)
        assert not difference.any()
        seconds = session.time([X, X], 2, 3)
        assert len(seconds) == 3
        assert all(value > 0 for value in seconds)
    with pytest.raises(UsageError, match="closed"):
        session.run([X, X])


@pytest.mark.parametrize(
    "inputs", [[X], [X, X.astype(np.uint8)], [X, X[:1]], [X, X, X]], ids=["count", "dtype", "shape", "many"]
)
def test_wrong_inputs_are_named(exported: Path, inputs: list[np.ndarray]) -> None:
    with Session.load(exported) as session, pytest.raises(UsageError):
        session.run(inputs)


FRESH = """
import sys
import numpy as np
from autotune_qnn.runtime.session import Session
with Session.load(sys.argv[1]) as session:
    x = np.arange(6, dtype=np.int8).reshape(2, 3)
    assert np.array_equal(session.run([x, x])[0], x + x)
"""


@pytest.mark.parametrize("extra", [{}, {"TVM_USE_RUNTIME_LIB": "1"}], ids=["compiler", "runtime only"])
def test_a_fresh_process_loads_it(exported: Path, extra: dict[str, str]) -> None:
    result = subprocess.run(
        [sys.executable, "-c", FRESH, str(exported)],
        env={**os.environ, **extra},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr.decode()


def test_manifest_survives_its_file(copy: Path) -> None:
    assert read_manifest(copy) == make_manifest(copy)
    data = json.loads(manifest_path(copy).read_text())
    assert data["coverage"] == {"tuned": 1, "fallback": 2, "missing": 0}


def test_a_library_of_another_manifest_is_refused(copy: Path) -> None:
    copy.write_bytes(copy.read_bytes() + b"\0")
    with pytest.raises(BuildError, match="hash differs"):
        Session.load(copy)


def test_a_library_that_is_none(copy: Path) -> None:
    copy.write_bytes(b"not a library")
    write_manifest(copy, make_manifest(copy))
    with pytest.raises(BuildError, match="cannot be loaded"):
        Session.load(copy)


def test_missing_files(tmp_path: Path, copy: Path) -> None:
    with pytest.raises(BuildError, match="no library"):
        Session.load(tmp_path / "none.so")
    manifest_path(copy).unlink()
    with pytest.raises(BuildError, match="no manifest"):
        Session.load(copy)


def test_a_cpu_that_lacks_something(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_manifest(copy, make_manifest(copy, flags=("avx2", "amx_int8")))
    monkeypatch.setattr(sessions, "host_flags", lambda: frozenset({"avx2"}))
    with pytest.raises(TargetError, match="no amx_int8"):
        Session.load(copy)


@pytest.mark.parametrize(
    "change",
    [
        {"format_version": 99},
        {"threads": "one"},
        {"threads": True},
        {"inputs": [{"name": "x", "shape": [-1], "dtype": "int8"}]},
        {"inputs": [{"name": "x", "shape": [1], "dtype": "complex"}]},
        {"inputs": ["x"]},
        {"coverage": {}},
        {"versions": []},
    ],
)
def test_bad_manifests_are_refused_in_one_line(copy: Path, change: dict[str, object]) -> None:
    path = manifest_path(copy)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BuildError) as error:
        read_manifest(copy)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_manifests_that_are_not_json(copy: Path, content: bytes) -> None:
    manifest_path(copy).write_bytes(content)
    with pytest.raises(BuildError):
        read_manifest(copy)


def test_threads_are_checked(exported: Path) -> None:
    with pytest.raises(UsageError, match="--threads"):
        Session.load(exported, threads=0)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.json"
    manifests.write_whole(path, b"old")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(manifests.os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        manifests.write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_sessions_side_by_side_use_their_own_threads(exported: Path) -> None:
    used = tvm.get_global_func("runtime.NumThreads")
    with Session.load(exported, threads=1) as one, Session.load(exported, threads=2) as two:
        for session in (one, two, one, two):
            session.run([X, X])
            assert session._workers.call(used) == session.threads
