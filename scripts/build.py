"""Build a model with the best of its tuning log and export a library. The same as `autotune-qnn build`."""

from __future__ import annotations

from _bootstrap import start

if __name__ == "__main__":
    start("build")
