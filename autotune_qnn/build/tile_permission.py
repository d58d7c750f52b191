"""What a library for CPUs with tiles brings along, so that it runs wherever it is loaded, without this package too.

Linux lets a process use Intel AMX's tiles only after it has asked. The library asks when it is loaded, for all threads
of the process.
"""

from __future__ import annotations

from pathlib import Path

_SOURCE = """\
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

__attribute__((constructor)) static void ask_for_tiles(void) {
    /* ARCH_REQ_XCOMP_PERM for XTILEDATA */
    if (syscall(SYS_arch_prctl, 0x1023, 18) != 0)
        fputs("this library needs Intel AMX's tiles, which this CPU lacks or Linux does not grant\\n", stderr);
}
"""


def write_source(folder: Path) -> Path:
    """Write the source file that is to be linked into the library, C and C++ alike."""
    path = folder / "ask_for_tiles.c"
    path.write_text(_SOURCE, encoding="utf-8")
    return path
