"""Files beside others: who may read them, links and locks that others planted, what is no file."""

import os
import socket
import stat
import struct
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import bptt
from bptt._support import atomic

X = np.zeros((4, 3, 2))

pytestmark = pytest.mark.skipif(atomic.fcntl is None, reason="modes and locks of Unix")


def model(seed=0):
    return bptt.Sequential(bptt.RNN(2, 3, rng=seed))


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def fit(checkpoint, **options):
    m = bptt.Sequential(bptt.RNN(2, 2, rng=0))
    settings = {"loss": "mse", "optimizer": bptt.SGD(0.1), "progress": False}
    return m.fit(X, X, checkpoint=checkpoint, **settings, **options)


@pytest.mark.parametrize("kept", [0o600, 0o640, 0o400, 0o644, 0o664, 0o666, 0o604, 0o000])
def test_a_file_keeps_its_mode(kept, tmp_path):
    path = tmp_path / "m"
    for write in (model().save, fit):
        model().save(path)
        path.chmod(kept)
        write(path)
        assert mode(path) == kept
        path.unlink()


def test_a_new_file_has_the_mode_of_any_new_file(tmp_path):
    for mask in (0o022, 0o077, 0o000, 0o027):
        before = os.umask(mask)
        try:
            path = tmp_path / f"{mask}"
            model().save(path)
        finally:
            os.umask(before)
        assert mode(path) == 0o666 & ~mask


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to others")
def test_a_file_keeps_its_owner_and_group(tmp_path):
    path = tmp_path / "m"
    model().save(path)
    os.chown(path, 1234, 2345)
    path.chmod(0o640)
    model(1).save(path)
    status = path.stat()
    assert (status.st_uid, status.st_gid, mode(path)) == (1234, 2345, 0o640)


def test_what_a_group_may_do_is_not_for_another_group(tmp_path, monkeypatch):
    """If the group of a file cannot be kept, the new group gets no rights. Other rights stay."""
    path = tmp_path / "m"
    model().save(path)
    path.chmod(0o640)
    status = atomic._status

    def of_another_group(path):
        found = list(status(path))
        found[stat.ST_GID] += 1
        return os.stat_result(found)

    def refused(*_):
        raise PermissionError

    monkeypatch.setattr(atomic, "_status", of_another_group)
    monkeypatch.setattr(os, "fchown", refused)
    model().save(path)
    assert mode(path) == 0o600


def test_a_file_keeps_its_access_list(tmp_path):
    path, name = tmp_path / "m", "system.posix_acl_access"
    model().save(path)
    nobody = 0xFFFFFFFF  # user::rw-, user:1234:r--, group::---, mask::r--, other::---
    entries = [(1, 6, nobody), (2, 4, 1234), (4, 0, nobody), (16, 4, nobody), (32, 0, nobody)]
    text = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(path, name, text)
    except (OSError, AttributeError):
        pytest.skip("no access lists here")
    model(1).save(path)
    assert os.getxattr(path, name) == text and mode(path) == 0o640


def test_nobody_reads_an_unfinished_file(tmp_path):
    path = tmp_path / "m"
    with atomic.replacing(path) as file:
        file.write(b"half")
        assert [mode(entry) for entry in tmp_path.glob(".m.*.tmp")] == [0o600]
    assert mode(path) == 0o666 & ~umask()


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_planted_links_are_not_followed(tmp_path, monkeypatch):
    """Even one at the very name that a save takes."""
    path, victim = tmp_path / "m", tmp_path / "victim"
    victim.write_bytes(b"precious")
    names = [f"{n:016x}" for n in range(4)]
    drawn = iter(names)
    monkeypatch.setattr(atomic.secrets, "token_hex", lambda _: next(drawn))
    temporary = [tmp_path / f".m.{name}.tmp" for name in names]
    temporary[0].symlink_to(victim)
    temporary[1].symlink_to(tmp_path / "nothing")
    os.link(victim, temporary[2])
    model().save(path)
    assert victim.read_bytes() == b"precious" and not (tmp_path / "nothing").exists()
    assert all(os.path.lexists(name) for name in temporary[:3])  # they are not ours to remove
    assert repr(bptt.load(path)) == repr(model())


def test_leftovers_that_are_not_ours_stay(tmp_path):
    path = tmp_path / "m"
    planted = [tmp_path / f".m.{n:016x}.tmp" for n in range(6)]
    planted[0].symlink_to(tmp_path / "target")
    (tmp_path / "target").write_bytes(b"precious")
    os.mkfifo(planted[1])
    planted[2].mkdir()
    os.link(tmp_path / "target", planted[3])
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fspath(planted[4]))
    if os.geteuid() == 0:
        planted[5].touch()
        os.chown(planted[5], 1234, -1)
    else:
        planted.pop()
    model().save(path)
    assert all(os.path.lexists(entry) for entry in planted)
    assert (tmp_path / "target").read_bytes() == b"precious"
    ours = tmp_path / ".m.00000000000000ff.tmp"
    ours.touch(0o400)
    model().save(path)
    assert not ours.exists()


LOCKS = """
import fcntl, glob, os, sys, time
held, end = [], time.time() + 20
print("ready", flush=True)
while os.path.exists(sys.argv[1]) and time.time() < end:
    for name in glob.glob(sys.argv[1] + "/.m.*.tmp"):
        try:
            file = open(name, "rb")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held.append(file)
        except OSError:
            pass
"""


def test_who_locks_temporary_files_does_not_stop_a_save(tmp_path):
    """A program that locks whatever it finds; the one before waited for its lock."""
    folder = tmp_path / "f"
    folder.mkdir()
    with subprocess.Popen([sys.executable, "-c", LOCKS, folder], stdout=subprocess.PIPE) as locker:
        assert locker.stdout.readline() == b"ready\n"
        start = time.monotonic()
        for n in range(50):
            model(n).save(folder / "m")
        assert time.monotonic() - start < 10
        assert [entry.name for entry in folder.iterdir()] == ["m"]
        os.rename(folder, tmp_path / "done")
    assert locker.returncode == 0


def test_a_lock_that_another_has_means_another_file(tmp_path, monkeypatch):
    others = []
    make = os.open

    def planted(path, flags, *rest):
        descriptor = make(path, flags, *rest)
        if len(others) < 3 and str(path).endswith(".tmp"):
            others.append(open(path, "rb"))  # noqa: SIM115
            atomic.fcntl.flock(others[-1], atomic.fcntl.LOCK_EX)
        return descriptor

    monkeypatch.setattr(os, "open", planted)
    model().save(tmp_path / "m")
    assert len(others) == 3 and [entry.name for entry in tmp_path.iterdir()] == ["m"]
    for file in others:
        file.close()


def nodes(folder):
    os.mkfifo(folder / "fifo")
    yield folder / "fifo"
    (folder / "folder").mkdir()
    yield folder / "folder"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fspath(folder / "socket"))
    yield folder / "socket"
    yield "/dev/null"
    (folder / "link").symlink_to("/dev/zero")
    yield folder / "link"
    (folder / "loop").symlink_to(folder / "loop")
    yield folder / "loop"
    if os.geteuid() == 0:
        try:
            os.mknod(folder / "node", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        except PermissionError:
            return
        yield folder / "node"


def test_a_file_system_without_modes_takes_files(tmp_path, monkeypatch):
    def refused(*_):
        raise PermissionError

    monkeypatch.setattr(os, "fchmod", refused)
    for seed in range(2):
        model(seed).save(tmp_path / "m")
    assert [entry.name for entry in tmp_path.iterdir()] == ["m"]


def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path):
    def refuse():
        for path in nodes(tmp_path):
            before = os.lstat(path)
            for work in (model().save, bptt.load, fit):
                with pytest.raises(OSError, match=r"regular file|directory|symbolic links"):
                    work(path)
            assert os.lstat(path)[:3] == before[:3]
        done.append(True)

    done = []
    thread = threading.Thread(target=refuse, daemon=True)
    thread.start()
    thread.join(20)
    assert done


def test_a_link_to_a_file_is_followed_to_its_end(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("second")
    (tmp_path / "second").symlink_to("a/m")
    model().save(tmp_path / "link")
    assert (tmp_path / "second").is_symlink() and not (tmp_path / "a" / "m").is_symlink()
    assert repr(bptt.load(tmp_path / "link")) == repr(model())
