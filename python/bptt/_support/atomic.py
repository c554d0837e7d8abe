"""Files that are replaced in one step: whatever happens, the old one or the new one is there as a whole.

The new one is written beside the target, as ``.<name>.<process>-<thread>.tmp``, made to last, and renamed. A
process that is killed meanwhile leaves it behind, and the next one that writes the same target removes it. By
its name it could not tell: numbers of processes are given again, and other machines and containers have their
own. So a file is locked as long as it is written to, and the system takes the lock from whoever ends.
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
except ImportError:  # Windows, where no file is locked, and none is removed
    fcntl = None


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Give a file to write to, which takes the place of `path` at the end of the block.

    If the block, or anything else, raises an error, what was there is left as it was.
    """
    path = Path(os.path.realpath(path))  # a link stays one
    _remove_leftovers(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    file = _locked(temporary)
    try:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()  # what is open cannot be renamed there
            os.replace(temporary, path)
        except BaseException:
            if fcntl is None:
                file.close()
            with suppress(OSError):
                os.unlink(temporary)
            raise
    finally:
        file.close()
    if hasattr(os, "O_DIRECTORY"):  # directories can be opened: the new name is made to last, too
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _locked(temporary: Path) -> IO[bytes]:
    """Open a new file and lock it."""
    while True:
        file = open(temporary, "wb")  # noqa: SIM115
        # Between the two, somebody else may have taken it for a leftover.
        if fcntl is None or not _lock(file, fcntl.LOCK_EX) or _is_at(file, temporary):
            return file
        file.close()


def _lock(file: IO[bytes], operation: int) -> bool:
    """Lock a file; False if somebody else has, or files cannot be locked there."""
    try:
        fcntl.flock(file, operation)
    except OSError:
        return False
    return True


def _is_at(file: IO[bytes], path: Path) -> bool:
    """Tell whether an open file is what the path names."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _remove_leftovers(path: Path) -> None:
    """Remove the temporary files of this target that nobody writes to."""
    if fcntl is None:
        return
    name = re.compile(rf"\.{re.escape(path.name)}\.\d+-\d+\.tmp")
    try:
        entries = [entry for entry in os.listdir(path.parent) if name.fullmatch(entry)]
    except OSError:
        return  # writing will say what is wrong
    for entry in entries:
        leftover = path.with_name(entry)
        # Whoever holds the lock of the file that has this name may remove it: one that is about to
        # write to it waits, sees that it is gone, and begins anew.
        with suppress(OSError), open(leftover, "r+b") as file:
            if _lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB) and _is_at(file, leftover):
                os.unlink(leftover)
