"""Temporary folders for copies of scans, removed even if the process is killed.

All temporary folders of a process are in one folder, which contains a locked file. The operating
system releases the lock when the process ends, for whatever reason. The next process that needs a
temporary folder removes the folders of the same user whose lock is free.
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
    return Path(tempfile.mkdtemp(dir=_PROCESS_FOLDER.path()))


class _ProcessFolder:
    """The folder of this process, which contains all its temporary folders.

    There is one instance per process. It keeps the locked file open until the process ends. A
    forked process creates another folder.
    """

    def __init__(self) -> None:
        self._process = 0
        self._path = Path()
        self._file = -1  # descriptor of the locked file
        self._creation = threading.Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset_after_fork)

    def path(self) -> Path:
        """Return the folder, created at the first call."""
        with self._creation:
            if self._process != os.getpid() or not self._path.is_dir():
                _remove_stale(Path(tempfile.gettempdir()))
                self._path, self._file = _create_locked()
                self._process = os.getpid()
                # Unlike atexit, this also runs in the processes of multiprocessing.
                options = {"ignore_errors": True}
                Finalize(None, shutil.rmtree, (self._path,), options, exitpriority=0)
            return self._path

    def _reset_after_fork(self) -> None:
        self._creation = threading.Lock()  # another thread of the parent may have held it


_PROCESS_FOLDER = _ProcessFolder()


def _create_locked() -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        if _try_lock(lock) and (folder / _LOCK).exists():
            return folder, lock
        os.close(lock)  # another process removed it as stale before it was locked


def _remove_stale(parent: Path) -> None:
    """Remove folders of this user's processes that have ended."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            status = folder.lstat()
            is_own = not hasattr(os, "getuid") or status.st_uid == os.getuid()
            if not is_own or not stat.S_ISDIR(status.st_mode):
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR)
            try:
                stale = _try_lock(lock)
                if stale and os.name != "nt":  # where an open file cannot be removed
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
            if stale and os.name == "nt":
                shutil.rmtree(folder, ignore_errors=True)


def _try_lock(file: int) -> bool:
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
