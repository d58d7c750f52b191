"""Starts a command from a clone: in this interpreter if it has what is needed, else in .venv, made where missing."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ("tvm", "tvm_ffi", "xgboost", "numpy", "PIL", "tqdm", "cloudpickle", "psutil")
FRAMEWORKS = {"pytorch": ("torch", "torchvision", "torchao")}
"""What a source framework's extra brings."""
MISSING_DEPENDENCY = 7
_RESTARTED = "AUTOTUNE_QNN_RESTARTED"


def start(command: str) -> None:
    """Run `autotune-qnn COMMAND` with this process's arguments and exit with its code."""
    extras = [name for name in FRAMEWORKS if _asks_for(name)]
    wanted = [*NEEDED, *(package for name in extras for package in FRAMEWORKS[name])]
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    supported = sys.version_info >= (3, 11)
    if missing or not supported:
        _go_to_environment(extras)
        lacks = f"lacks {', '.join(missing)}" if missing else "is older than Python 3.11"
        setup = " ".join([str(ROOT / "scripts" / "setup"), *extras])
        sys.stderr.write(f"{sys.executable} {lacks}; set everything up with: {setup}\n")
        sys.exit(MISSING_DEPENDENCY)
    sys.path[0] = str(ROOT)
    from autotune_qnn.cli.main import main

    sys.exit(main([command, *sys.argv[1:]]))


def _asks_for(framework: str) -> bool:
    text = " ".join(sys.argv[1:])
    return f"--frontend {framework}" in text or f"--frontend={framework}" in text


def _go_to_environment(extras: list[str]) -> None:
    """Become the same command in .venv, which scripts/setup first brings up to what is needed; once."""
    setup = ROOT / "scripts" / "setup"
    python = ROOT / ".venv" / "bin" / "python"
    if os.environ.get(_RESTARTED) or not setup.is_file():
        return
    if (
        subprocess.run([str(setup), *extras], stdin=subprocess.DEVNULL, check=False).returncode
        or not python.exists()
    ):
        return
    os.environ[_RESTARTED] = "1"
    os.execv(str(python), [str(python), *sys.argv])
