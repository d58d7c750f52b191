"""`python -m autotune_qnn` is the command line."""

from __future__ import annotations

import sys

from autotune_qnn.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
