"""Starts a command from a clone: in this interpreter if it has what is needed, else in .venv."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ("tvm", "tvm_ffi", "xgboost", "numpy", "PIL", "tqdm", "cloudpickle", "psutil")
MISSING_DEPENDENCY = 7


def start(command: str) -> None:
    """Run `autotune-qnn COMMAND` with this process's arguments and exit with its code."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    supported = sys.version_info >= (3, 11)
    if missing or not supported:
        _go_to_environment()
        lacks = f"lacks {', '.join(missing)}" if missing else "is older than Python 3.11"
        sys.stderr.write(f"{sys.executable} {lacks}; set everything up with: {ROOT / 'scripts' / 'setup'}\n")
        sys.exit(MISSING_DEPENDENCY)
    sys.path[0] = str(ROOT)
    from autotune_qnn.cli.main import main

    sys.exit(main([command, *sys.argv[1:]]))


def _go_to_environment() -> None:
    """Become the same command in the environment that scripts/setup made; return where there is none."""
    python = ROOT / ".venv" / "bin" / "python"
    if python.exists() and Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():
        os.execv(str(python), [str(python), *sys.argv])
