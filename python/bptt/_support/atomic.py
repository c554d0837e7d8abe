"""Files that are replaced in one step: at any moment the old or the new file exists as a whole.

The new content goes to a temporary file beside the target, ``.<name>.<random>.tmp``, which is flushed to disk
and renamed. Others may write to the same folder, so a temporary file is one that did not exist before and that
nobody else can open. It gets the mode of the old file only when it is complete.

If the process is killed in between, the temporary file stays, and the next process that writes the same target
removes it. The name alone cannot show whether its writer still runs: process numbers are reused, and other
machines and containers have numbers of their own. So a file is locked while it is written; the system releases
the lock when the writer ends.
"""  # noqa: E501

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows: no file is locked and no leftover is removed
    fcntl = None

# Flags of open; not every system has all of them.
_BINARY = getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_ACCESS_LIST = "system.posix_acl_access"

#: How many names are tried for a temporary file.
_TRIES = 100


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Give a file to write to, which replaces `path` at the end of the block.

    The new file has the owner and the mode of the old one, or those of any new file. If the block
    or the replacement raises an error, the old file stays as it was.
    """
    old = _status(path)
    path = Path(os.path.realpath(path))  # a link stays a link
    _remove_leftovers(path, old)
    file, temporary, mode = _temporary(path, old)
    try:
        try:
            yield file
            file.flush()
            if hasattr(os, "fchmod"):
                _give_rights(file, path, old, mode)
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()  # an open file cannot be renamed there
            os.replace(temporary, path)
        except BaseException:
            _discard(file, temporary)
            raise
    finally:
        file.close()
    if hasattr(os, "O_DIRECTORY"):  # directories can be opened: flush the new name to disk, too
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def check_replaceable(path: Path) -> None:
    """Raise the OSError that `replacing` would raise before anything is written."""
    old = _status(path)
    path = Path(os.path.realpath(path))
    _remove_leftovers(path, old)
    file, temporary, _ = _temporary(path, old)
    _discard(file, temporary)


def opened(path: Path) -> IO[bytes]:
    """Open a regular file for reading; refuse anything else, without waiting for it."""
    if _status(path) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))
    file = open(os.open(path, os.O_RDONLY | _BINARY | _NO_WAIT), "rb")  # noqa: SIM115
    try:
        _refuse_others(path, os.fstat(file.fileno()))  # it may be another one by now
    except OSError:
        file.close()
        raise
    return file


def _status(path: Path) -> os.stat_result | None:
    """Return the status of a regular file, None if there is none; refuse anything else."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    _refuse_others(path, status)
    return status


def _refuse_others(path: Path, status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    names = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    kind = names.get(stat.S_IFMT(status.st_mode), "a device")
    raise OSError(errno.EINVAL, f"path must be a regular file, this is {kind}", os.fspath(path))


def _temporary(path: Path, old: os.stat_result | None) -> tuple[IO[bytes], Path, int]:
    """Make and lock a temporary file; return it, its path and the mode that it is to have."""
    # Where there is no old file, the system shows the mode of a new one: asking for the umask would
    # change it for other threads. For that moment, others may open the file as they may in the end.
    first = 0o666 if old is None else 0o600
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY | _NO_LINK
    for _ in range(_TRIES):
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        try:
            descriptor = os.open(temporary, flags, first)
        except FileExistsError:
            continue
        except OSError as error:
            raise OSError(error.errno, error.strerror, os.fspath(path)) from None
        file = open(descriptor, "w+b")  # noqa: SIM115
        try:
            mode = stat.S_IMODE((old or os.fstat(descriptor)).st_mode) & 0o777
            if hasattr(os, "fchmod"):
                with suppress(OSError):  # a file system without modes
                    os.fchmod(descriptor, 0o600)
            # Before the lock, another process may take the file for a leftover.
            if fcntl is None or not _lock(file) or _is_at(file, temporary):
                return file, temporary, mode
        except BlockingIOError:
            pass
        except BaseException:
            _discard(file, temporary)
            raise
        _discard(file, temporary)
    raise OSError(
        errno.EBUSY, f"other processes took {_TRIES} temporary files away", os.fspath(path)
    )


def _discard(file: IO[bytes], temporary: Path) -> None:
    """Remove a temporary file."""
    if fcntl is None:
        file.close()  # an open file cannot be removed there
    with suppress(OSError):
        os.unlink(temporary)
    file.close()


def _give_rights(file: IO[bytes], path: Path, old: os.stat_result | None, mode: int) -> None:
    """Give a complete file its mode, and the owner, group and access list of the old one.

    What cannot be given makes the file more private, never less.
    """
    descriptor = file.fileno()
    if old is not None:
        now = os.fstat(descriptor)
        if now.st_uid != old.st_uid:
            with suppress(OSError):
                os.fchown(descriptor, old.st_uid, -1)
        try:
            if now.st_gid != old.st_gid:
                os.fchown(descriptor, -1, old.st_gid)
            if (access := _access_list(path)) is not None:
                os.setxattr(descriptor, _ACCESS_LIST, access)
        except OSError:  # what the old group may do, ours may not
            mode &= ~0o070
    with suppress(OSError):
        os.fchmod(descriptor, mode)


def _access_list(path: Path) -> bytes | None:
    """Return the access control list of a file, if it has one."""
    try:
        return os.getxattr(path, _ACCESS_LIST)
    except (OSError, AttributeError):  # there is none, or the system has none
        return None


def _lock(file: IO[bytes]) -> bool:
    """Lock a file; return False where files cannot be locked.

    Raises a BlockingIOError if another process has locked it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _is_at(file: IO[bytes], path: Path) -> bool:
    """Tell whether the path names this open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.lstat(path))
    except FileNotFoundError:
        return False


def _remove_leftovers(path: Path, old: os.stat_result | None) -> None:
    """Remove the temporary files of this target that no process writes to."""
    if fcntl is None:
        return
    name = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{16}}\.tmp")
    owners = {os.geteuid()} | ({old.st_uid} if old is not None else set())
    try:
        entries = [entry for entry in os.listdir(path.parent) if name.fullmatch(entry)]
    except OSError:
        return  # writing raises the error
    for entry in entries:
        with suppress(OSError):
            _remove_leftover(path.with_name(entry), owners)


def _remove_leftover(leftover: Path, owners: set[int]) -> None:
    status = os.lstat(leftover)
    ours = stat.S_ISREG(status.st_mode) and status.st_uid in owners and status.st_nlink == 1
    if not ours:  # somebody else chose the name of his file, or planted a link
        return
    try:
        descriptor = os.open(leftover, os.O_RDWR | _NO_LINK | _NO_WAIT)
    except PermissionError:  # its owner may not write to it
        descriptor = os.open(leftover, os.O_RDONLY | _NO_LINK | _NO_WAIT)
    with open(descriptor, "rb") as file:
        # The holder of the lock may remove the file. A process that is about to write to it does
        # not get the lock, or sees that the file is gone, and makes a new one.
        if (
            os.path.samestat(os.fstat(descriptor), status)
            and _lock(file)
            and _is_at(file, leftover)
        ):
            os.unlink(leftover)
