"""The folder of a run's temporary files: built candidates and arguments."""

from __future__ import annotations

import atexit
import itertools
import os
import re
import shutil
import tempfile
from pathlib import Path
from types import TracebackType

_PREFIX = "autotune_qnn-tune-"


def _remove_stale(parent: Path) -> None:
    """Remove folders of this user's runs whose process is gone (killed with SIGKILL)."""
    for folder in parent.glob(f"{_PREFIX}*"):
        match = re.fullmatch(rf"{_PREFIX}(\d+)-\w+", folder.name)
        try:
            if match and folder.lstat().st_uid == os.getuid() and not Path(f"/proc/{match[1]}").exists():
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue


class Workspace:
    """A folder that lives as long as the run; a context manager. Also removed at interpreter exit."""

    def __init__(self) -> None:
        """Make the folder under the system's temporary one, and clear those that killed runs left."""
        parent = Path(tempfile.gettempdir())
        if Path("/proc/self").exists():
            _remove_stale(parent)
        self.path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        self._numbers = itertools.count(1)
        atexit.register(self.close)

    def new_file(self, suffix: str) -> Path:
        """A path for a new file, to any thread that asks one of its own; nothing is created."""
        return self.path / f"{next(self._numbers):06d}{suffix}"

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        atexit.unregister(self.close)

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
