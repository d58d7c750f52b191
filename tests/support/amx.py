"""Runs code for AMX's tiles on any CPU with AVX512-VNNI: natively where it can, otherwise instruction by instruction.

Where the CPU has no tiles, or Linux does not grant them, `amx_emulator.c` executes the machine code's tile
instructions, so that the same compiled kernel runs everywhere.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotune_qnn import host
from autotune_qnn.engines.relax import TargetSpec

TARGET = "llvm -mcpu=cascadelake -mattr=+amx-int8,+amx-tile"
INSTRUCTIONS = ("ldtilecfg", "tilerelease", "tilezero", "tileloadd", "tilestored", "tdpbusd")


def native() -> bool:
    """Whether this process may use the CPU's own tiles."""
    return host.tiles_refused() is None


@cache
def emulator_library() -> Path | None:
    """The emulator as a shared library, None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    library = Path(tempfile.mkdtemp(prefix="amx-emulator-")) / "amx_emulator.so"
    source = Path(__file__).with_name("amx_emulator.c")
    command = [
        compiler,
        "-O3",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-shared",
        "-fPIC",
        "-o",
        str(library),
        str(source),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return library


class Tiles:
    """The tiles that kernels run on; counts instructions where they are emulated."""

    def __init__(self, emulator: Any) -> None:
        self._emulator = emulator

    @property
    def emulated(self) -> bool:
        """Whether instructions are executed, and counted, by the emulator."""
        return self._emulator is not None

    def counts(self) -> dict[str, int]:
        """How often each instruction has been executed so far."""
        count = self._emulator.amx_emulator_count
        return {name: int(count(place)) for place, name in enumerate(INSTRUCTIONS)}

    def watch(self, array: np.ndarray[Any, Any]) -> None:
        """Look for loads that begin in the array and read beyond it."""
        self._emulator.amx_emulator_watch(ctypes.c_uint64(array.ctypes.data), ctypes.c_uint64(array.nbytes))

    def outside(self) -> int:
        """How many such loads there were."""
        return int(self._emulator.amx_emulator_outside())


@cache
def tiles() -> Tiles:
    """The machine's tiles or emulated ones; skips the test where neither can be had."""
    without_tiles = TargetSpec.parse("llvm -mcpu=cascadelake").runs_here()
    if without_tiles is not None:
        pytest.skip(without_tiles)
    if native():
        return Tiles(None)
    library = emulator_library()
    if library is None:
        pytest.skip("this CPU has no tiles, and without a C compiler there is no emulator of them")
    return Tiles(ctypes.CDLL(str(library)))
