"""What this machine's CPU offers, as the kernel reports it."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
import re
import sys
import time
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
TILE_FLAGS = frozenset({"amx_tile", "amx_int8"})
"""Flags of CPUs whose tiles (Intel AMX) kernels may multiply int8 on."""

_SYS_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XTILEDATA = 158, 0x1023, 18

# LLVM's feature name → the flag in /proc/cpuinfo. Listed are features that LLVM's code generator uses on its
# own or that a kernel of this package asks for by an intrinsic. Features for special uses (keys, tracing,
# enclaves, cryptography, tiles of other types than int8) are not: such code runs without them.
HOST_FLAG_OF_FEATURE = {
    "sse3": "pni",
    "ssse3": "ssse3",
    "sse4.1": "sse4_1",
    "sse4.2": "sse4_2",
    "sse4a": "sse4a",
    "popcnt": "popcnt",
    "movbe": "movbe",
    "lzcnt": "abm",
    "bmi": "bmi1",
    "bmi2": "bmi2",
    "tbm": "tbm",
    "xop": "xop",
    "fma4": "fma4",
    "f16c": "f16c",
    "fma": "fma",
    "gfni": "gfni",
    "avx": "avx",
    "avx2": "avx2",
    "avxvnni": "avx_vnni",
    "avxifma": "avx_ifma",
    "avxvnniint8": "avx_vnni_int8",
    "avxvnniint16": "avx_vnni_int16",
    "avxneconvert": "avx_ne_convert",
    "avx512f": "avx512f",
    "avx512cd": "avx512cd",
    "avx512dq": "avx512dq",
    "avx512bw": "avx512bw",
    "avx512vl": "avx512vl",
    "avx512ifma": "avx512ifma",
    "avx512vbmi": "avx512vbmi",
    "avx512vbmi2": "avx512_vbmi2",
    "avx512vnni": "avx512_vnni",
    "avx512bitalg": "avx512_bitalg",
    "avx512vpopcntdq": "avx512_vpopcntdq",
    "avx512bf16": "avx512_bf16",
    "avx512fp16": "avx512_fp16",
    "amx-tile": "amx_tile",
    "amx-int8": "amx_int8",
    "egpr": "apx",
    "ndd": "apx",
    "dotprod": "asimddp",
    "i8mm": "i8mm",
    "sve": "sve",
    "sve2": "sve2",
    "fullfp16": "asimdhp",
}


@functools.lru_cache(maxsize=1)
def host_flags() -> frozenset[str]:
    """The CPU's flags in the Linux kernel's names; empty where they cannot be read."""
    try:
        text = CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    return parse_flags(text)


def parse_flags(cpuinfo: str) -> frozenset[str]:
    """The flags of the first processor in the text of /proc/cpuinfo (x86 "flags", Arm "Features")."""
    found = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", cpuinfo, re.MULTILINE)
    return frozenset(found.group(1).split()) if found else frozenset()


def tiles_refused() -> str | None:
    """Ask Linux to let this process use tiles, once and for all of its threads: why it may not, None where it may.

    Without that permission (arch_prctl ARCH_REQ_XCOMP_PERM for XTILEDATA) the first instruction on a tile ends the
    process. Threads started before have it too; a child process asks again.
    """
    missing = sorted(TILE_FLAGS - host_flags())
    if missing:
        return f"this CPU has no {', '.join(missing)}"
    return _tile_permission()


@functools.lru_cache(maxsize=1)
def _tile_permission() -> str | None:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "tiles are used on Linux for x86-64 only"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(_SYS_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XTILEDATA) == 0:
        return None
    number = ctypes.get_errno()
    reason = os.strerror(number) if number != errno.ENOSPC else "a stack for signals is too small for them"
    return f"Linux does not let this process use tiles (arch_prctl ARCH_REQ_XCOMP_PERM: {reason})"


def cpu_model() -> str:
    """The CPU's name as the kernel reports it, "unknown" where it does not."""
    try:
        text = CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "unknown"
    return parse_model(text)


def parse_model(cpuinfo: str) -> str:
    """The name in the text of /proc/cpuinfo; with family and model where the name alone says little.

    Hypervisors shorten names ("AMD EPYC", "Intel Xeon Processor"), and figures of two CPUs must not be mixed.
    """
    fields = dict(re.findall(r"^([^:\n]*?)\s*:[ \t]*(.*)$", cpuinfo.split("\n\n")[0], re.MULTILINE))
    name = fields.get("model name") or fields.get("CPU part") or "unknown"
    if "cpu family" in fields and "model" in fields:
        stepping = fields.get("stepping", "?")
        name += f" (family {fields['cpu family']}, model {fields['model']}, stepping {stepping})"
    return name


_SPIN_STEPS = 20_000
_FREQUENCIES = Path("/sys/devices/system/cpu")


def spin() -> float:
    """Seconds that a loop of fixed length takes: longer than at its shortest, the machine is busy or slow."""
    start = time.perf_counter()
    for _ in range(_SPIN_STEPS):
        pass
    return time.perf_counter() - start


def core_mhz() -> float:
    """The present clock of the core that this thread runs on, in MHz; 0 where the system does not tell."""
    cores = os.sched_getaffinity(0)
    path = _FREQUENCIES / f"cpu{max(cores)}" / "cpufreq" / "scaling_cur_freq"
    try:
        return round(int(path.read_text()) / 1000, 1)
    except (OSError, ValueError):
        return 0.0


def frequency_note() -> str:
    """What the system tells of the CPU's clock: its governor and limits, or the clock that the kernel reports."""
    folder = _FREQUENCIES / "cpu0" / "cpufreq"
    try:
        names = ("scaling_governor", "scaling_min_freq", "scaling_max_freq")
        governor, low, high = ((folder / name).read_text().strip() for name in names)
        return f"governor {governor}, {int(low) // 1000} to {int(high) // 1000} MHz"
    except (OSError, ValueError):
        pass
    try:
        text = CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(r"^cpu MHz\s*:\s*([0-9.]+)$", text, re.MULTILINE)
    return f"{float(found[1]):.0f} MHz (nominal, no frequency control)" if found else ""


def core_list(cores: frozenset[int]) -> str:
    """Numbers of cores as ranges: "0-3,6"."""
    ranges: list[list[int]] = []
    for core in sorted(cores):
        if ranges and core == ranges[-1][1] + 1:
            ranges[-1][1] = core
        else:
            ranges.append([core, core])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)
