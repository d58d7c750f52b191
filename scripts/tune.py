"""Tune a model, build it with the best of its history, and report. The same as `autotune-qnn tune`."""

from __future__ import annotations

from _bootstrap import start

if __name__ == "__main__":
    start("tune")
