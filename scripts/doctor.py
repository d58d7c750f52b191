"""Check that this machine and installation can do the job. The same as `autotune-qnn doctor`."""

from __future__ import annotations

from _bootstrap import start

if __name__ == "__main__":
    start("doctor")
