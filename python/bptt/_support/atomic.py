"""Files that are replaced in one step: at any moment the old or the new file exists as a whole.

The new content goes to a temporary file beside the target, ``.<name>.<process>-<thread>.tmp``. The file
is flushed to disk and renamed. If the process is killed in between, the temporary file stays, and the next
process that writes the same target removes it. The file name alone cannot show whether its writer still
runs: process numbers are reused, and other machines and containers have numbers of their own. So a file is
locked while it is written; the system releases the lock when the writer ends.
"""  # noqa: E501

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows: no file is locked and no leftover is removed
    fcntl = None


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Give a file to write to, which replaces `path` at the end of the block.

    If the block or the replacement raises an error, the old file stays as it was.
    """
    path = Path(os.path.realpath(path))  # a link stays a link
    _remove_leftovers(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    file = _locked(temporary)
    try:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()  # an open file cannot be renamed there
            os.replace(temporary, path)
        except BaseException:
            if fcntl is None:
                file.close()
            with suppress(OSError):
                os.unlink(temporary)
            raise
    finally:
        file.close()
    if hasattr(os, "O_DIRECTORY"):  # directories can be opened: flush the new name to disk, too
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _locked(temporary: Path) -> IO[bytes]:
    """Open a new file and lock it."""
    while True:
        file = open(temporary, "wb")  # noqa: SIM115
        # Before the lock, another process may have removed the file as a leftover.
        if fcntl is None or not _lock(file, fcntl.LOCK_EX) or _is_at(file, temporary):
            return file
        file.close()


def _lock(file: IO[bytes], operation: int) -> bool:
    """Lock a file; return False if it is locked already or cannot be locked there."""
    try:
        fcntl.flock(file, operation)
    except OSError:
        return False
    return True


def _is_at(file: IO[bytes], path: Path) -> bool:
    """Tell whether the path names this open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _remove_leftovers(path: Path) -> None:
    """Remove the temporary files of this target that no process writes to."""
    if fcntl is None:
        return
    name = re.compile(rf"\.{re.escape(path.name)}\.\d+-\d+\.tmp")
    try:
        entries = [entry for entry in os.listdir(path.parent) if name.fullmatch(entry)]
    except OSError:
        return  # writing raises the error
    for entry in entries:
        leftover = path.with_name(entry)
        # The holder of the lock may remove the file. A process that is about to write to it waits
        # for the lock, sees that the file is gone and makes a new one.
        with suppress(OSError), open(leftover, "r+b") as file:
            if _lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB) and _is_at(file, leftover):
                os.unlink(leftover)
