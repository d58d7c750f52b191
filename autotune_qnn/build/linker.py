"""The system's compiler, with which TVM links libraries, and what it says where it fails."""

from __future__ import annotations

import os
import shutil

from autotune_qnn.errors import BuildError

_NAMES = ("g++", "gcc", "clang++", "clang", "c++", "cc")


def find_linker() -> str:
    """The compiler that TVM takes: that of CXX or CC, or else the first there is. BuildError where there is none."""
    chosen = os.environ.get("CXX") or os.environ.get("CC")
    for name in [chosen] if chosen else _NAMES:
        found = shutil.which(name)
        if found is not None:
            return found
    missing = (
        f"there is no compiler {chosen}, which CXX or CC names" if chosen else "there is no C++ compiler"
    )
    raise BuildError(f"{missing}, to link libraries with; install one, for example: apt-get install g++")


def first_reason(output: str) -> str:
    """The first line of what a compiler said that is no heading."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return next((line for line in lines if not line.endswith(":")), "nothing was said why")
