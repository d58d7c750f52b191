"""Run an exported library. The same as `autotune-qnn run`."""

from __future__ import annotations

from _bootstrap import start

if __name__ == "__main__":
    start("run")
