"""The main program of a worker process: `python -m autotune_qnn.tuning.worker ROLE READ_FD WRITE_FD NICE CORES`.

A worker answers requests one at a time over two pipes, each message a length (8 bytes, little endian) and a
pickle, until its parent closes the pipe or dies. It ignores Ctrl-C, which is the parent's to handle.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import pickle
import signal
import struct
import sys
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

_LONGEST_SUMMARY = 500
LENGTH = struct.Struct("<Q")
ROLES = {
    "build": "autotune_qnn.tuning.build_worker",
    "run": "autotune_qnn.tuning.run_worker",
    "check": "autotune_qnn.tuning.check_worker",
}
_PR_SET_PDEATHSIG = 1


def read_message(stream: BinaryIO) -> Any:
    """The next message; EOFError when the other side is gone."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        raise EOFError
    (size,) = LENGTH.unpack(head)
    body = stream.read(size)
    if len(body) < size:
        raise EOFError
    return pickle.loads(body)


def write_message(stream: BinaryIO, message: Any) -> None:
    """Send one message."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(LENGTH.pack(len(body)) + body)
    stream.flush()


def summary_of(text: str) -> str:
    """An error message cut to what a log should hold: its first and last lines, no diagnostic listing."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return ""
    short = lines[0] if len(lines) == 1 else f"{lines[0]} … {lines[-1]}"
    return short[:_LONGEST_SUMMARY]


def die_with_parent() -> None:
    """Ask Linux to end this process with the one that started it, however that ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def serve(handle: Callable[[Any], Any], reader: BinaryIO, writer: BinaryIO) -> None:
    """Answer requests with ("ok", value) or ("error", text) until the other side is gone."""
    write_message(writer, ("ready", os.getpid()))
    while True:
        try:
            request = read_message(reader)
        except EOFError:
            return
        try:
            reply = ("ok", handle(request))
        except Exception as error:  # noqa: BLE001 - whatever a candidate provokes is data for the log
            detail = str(error) or traceback.format_exc()
            reply = ("error", f"{type(error).__name__}: {summary_of(detail)}")
        write_message(writer, reply)


def main(arguments: list[str]) -> None:
    """Run the worker of the given role on the given file descriptors."""
    role, read_descriptor, write_descriptor, niceness, cores = arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    if int(niceness):
        os.nice(int(niceness))
    if cores:
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    handle = importlib.import_module(ROLES[role]).handle
    with os.fdopen(int(read_descriptor), "rb") as reader, os.fdopen(int(write_descriptor), "wb") as writer:
        try:
            serve(handle, reader, writer)
        except BrokenPipeError:
            return


if __name__ == "__main__":
    main(sys.argv[1:])
