"""Loading an exported library and running it. Needs TVM's runtime and NumPy, no compiler and no framework.

from autotune_qnn.runtime.session import Session

with Session.load("mobilenet.so", threads=1) as session:
    (scores,) = session.run([image])
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy.typing as npt
from tvm.runtime import cpu, load_module

from autotune_qnn.build.manifest import Manifest, TensorSpec, read_manifest
from autotune_qnn.errors import BuildError, TargetError, UsageError, first_line
from autotune_qnn.host import TILE_FLAGS, host_flags, tiles_refused
from autotune_qnn.runtime.entry import Entry, open_entry
from autotune_qnn.runtime.threads import KernelThreads

Array = npt.NDArray[Any]

_known: dict[Path, str] = {}
"""The hash of every library when it was first loaded in this process."""


class Session:
    """One loaded library. Not for use by several threads at once."""

    def __init__(self, library: Path, manifest: Manifest, threads: int) -> None:
        """Use `Session.load`."""
        self.manifest = manifest
        self.library = library
        self.threads = threads
        self._workers = KernelThreads(threads)
        try:
            self._entry: Entry | None = open_entry(_loaded(library, manifest.library_sha256), manifest)
        except (RuntimeError, OSError, AttributeError, ValueError) as error:
            raise BuildError(f"{library} cannot be loaded: {first_line(error)}") from error

    @classmethod
    def load(cls, library: str | Path, *, threads: int | None = None) -> Session:
        """Load a library and its manifest, with as many threads as it was built for unless told otherwise.

        Raises BuildError where the file is not a library of this package, TargetError where this CPU lacks
        instructions that it uses or Linux does not let this process use them.
        """
        path = Path(library)
        manifest = read_manifest(path)
        flags = host_flags()
        missing = [flag for flag in manifest.needed_flags if flag not in flags] if flags else []
        if missing:
            raise TargetError(
                f"{path} was built for {manifest.target!r}; this CPU has no {', '.join(missing)}"
            )
        refused = tiles_refused() if set(manifest.needed_flags) >= TILE_FLAGS else None
        if refused is not None:
            raise TargetError(f"{path} was built for {manifest.target!r}; {refused}")
        count = manifest.threads if threads is None else threads
        return cls(path.resolve(), manifest, count)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs, in the order in which `run` takes them."""
        return self.manifest.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs, in the order in which `run` gives them."""
        return self.manifest.outputs

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Run once. Raises UsageError where an input's number, shape or dtype is not the model's."""
        entry = self._take(inputs)
        result = self._workers.call(entry.function, *entry.arguments)
        return [value.copy() for value in entry.results(result)]

    def bind(self, inputs: Sequence[Array]) -> Callable[[], object]:
        """Puts inputs in place; what it returns runs once on what is there, and leaves the outputs where they are."""
        entry = self._take(inputs)
        return self._workers.bound(entry.function, *entry.arguments)

    def time(self, inputs: Sequence[Array], number: int, repeat: int) -> list[float]:
        """Seconds a run, `repeat` times, each the mean of `number` runs in a row."""
        entry = self._take(inputs)
        timer = entry.module.time_evaluator(entry.name, cpu(), number=number, repeat=repeat)
        return [float(seconds) for seconds in self._workers.call(timer, *entry.arguments).results]

    def close(self) -> None:
        """Let go of the library."""
        self._entry = None
        self._workers.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, inputs: Sequence[Array]) -> Entry:
        """Copy the inputs to where the kernels read them."""
        if self._entry is None:
            raise UsageError(f"the session of {self.library} is closed")
        check_inputs(self.inputs, inputs)
        for array, value in zip(self._entry.inputs, inputs, strict=True):
            array[...] = value
        return self._entry


def _loaded(library: Path, digest: str) -> Any:
    """The module in a library. Linux knows libraries by their names and gives the old one for a name that it has
    loaded before: a library that was built anew since then is loaded by another name.
    """
    if _known.setdefault(library, digest) == digest:
        return load_module(str(library))
    with tempfile.TemporaryDirectory() as folder:
        return load_module(shutil.copy(library, folder))


def check_inputs(specs: Sequence[TensorSpec], inputs: Sequence[Array]) -> None:
    """Raise UsageError, naming the input, unless numbers, shapes and dtypes are as specified."""
    if len(inputs) != len(specs):
        raise UsageError(f"the model takes {len(specs)} inputs, {len(inputs)} were given")
    for spec, value in zip(specs, inputs, strict=True):
        known = value.dtype == spec.dtype or value.dtype.name == spec.dtype
        if not known or value.shape != spec.shape:
            raise UsageError(
                f"input {spec.name!r} is {spec.dtype} {list(spec.shape)}; "
                f"{value.dtype.name} {list(value.shape)} was given"
            )
