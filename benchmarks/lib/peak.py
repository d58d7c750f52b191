"""The machine's measured peak: a loop of the best instruction for bytes that the CPU has, in registers alone."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from autotune_qnn.host import host_flags

_CODE = Path(__file__).with_name("peak.c")
_MILLISECONDS = 150
_BEST_FIRST = (
    ("amx_int8", "tdpbusd"),
    ("avx512_vnni", "vpdpbusd512"),
    ("avx_vnni", "vpdpbusd256"),
    ("avx512bw", "vpmaddwd512"),
    ("avx2", "vpmaddwd256"),
)


def best_instruction(flags: frozenset[str]) -> str:
    """The name of the loop for a CPU with these flags of /proc/cpuinfo; empty where there is none for it."""
    return next((name for flag, name in _BEST_FIRST if flag in flags), "")


class Peak:
    """Measures the peak whenever it is asked to, and keeps the highest figure: noise only ever lowers one."""

    def __init__(self, cache: Path) -> None:
        """Compiles the loop with the system's C compiler, once; without one there are no figures."""
        self.instruction = best_instruction(host_flags())
        self.peaks: dict[int, float] = {}
        self._program = _compiled(cache) if self.instruction else None

    def sample(self, threads: int) -> None:
        """Measure once, a fraction of a second."""
        if self._program is None:
            return
        command = [str(self._program), self.instruction, str(threads), str(_MILLISECONDS)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode == 0:
            self.peaks[threads] = max(self.peaks.get(threads, 0.0), float(result.stdout))


def _compiled(cache: Path) -> Path | None:
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc") or shutil.which("g++")
    if compiler is None:
        return None
    program = cache / f"peak-{hashlib.sha256(_CODE.read_bytes()).hexdigest()[:12]}"
    if not program.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        command = [compiler, "-x", "c", "-O2", "-pthread", str(_CODE), "-o", str(program)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return None
    return program
