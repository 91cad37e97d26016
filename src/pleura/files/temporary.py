"""Temporary folders for copies of scans, removed even if the process is killed.

All folders of a process are in one, which holds a locked file. The operating system releases the
lock when the process ends, however it ends. The next process that needs a temporary folder removes
those of the same user whose lock is free.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.util import Finalize
from pathlib import Path

_PREFIX, _LOCK = "pleura-", "lock"


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Create an empty folder, readable by this user alone, and remove it at the end."""
    folder = new_folder()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def new_folder() -> Path:
    """Create an empty folder, readable by this user alone, that is removed with the process."""
    return Path(tempfile.mkdtemp(dir=_root()))


class _Own:
    """The root folder of this process; a forked process makes its own."""

    process = 0
    folder = Path()
    lock: int  # file descriptor
    making = threading.Lock()


def _root() -> Path:
    with _Own.making:
        if _Own.process != os.getpid() or not _Own.folder.is_dir():
            _remove_stale(Path(tempfile.gettempdir()))
            _Own.folder, _Own.lock = _new_root()
            _Own.process = os.getpid()
            # Unlike atexit, this also runs in the processes of multiprocessing.
            Finalize(None, shutil.rmtree, (_Own.folder,), {"ignore_errors": True}, exitpriority=0)
        return _Own.folder


def _new_root() -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        if _locked(lock) and (folder / _LOCK).exists():
            return folder, lock
        os.close(lock)  # another process took it for a stale one before it was locked


def _remove_stale(parent: Path) -> None:
    """Remove root folders of this user that no running process holds."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            status = folder.lstat()
            mine = not hasattr(os, "getuid") or status.st_uid == os.getuid()
            if not mine or not stat.S_ISDIR(status.st_mode):
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR)
            try:
                stale = _locked(lock)
                if stale and os.name != "nt":  # where an open file cannot be removed
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
            if stale and os.name == "nt":
                shutil.rmtree(folder, ignore_errors=True)


def _locked(file: int) -> bool:
    """Lock a file for as long as it is open; False if another process has locked it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


if hasattr(os, "register_at_fork"):
    # Another thread may have held it.
    os.register_at_fork(after_in_child=lambda: setattr(_Own, "making", threading.Lock()))
