"""Where scans come from and results go to: folders here, or fsspec addresses (s3://, zip://, ...).

An address is one of the library fsspec: ``s3://bucket/folder``, ``gs://``, ``https://``, or a chain
such as ``zip://::s3://bucket/scans.zip``.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pleura.errors import DataError, PleuraError, first_line
from pleura.files.atomic import write_atomically
from pleura.files.temporary import temporary_folder
from pleura.formats.pictures import SUFFIXES as PICTURES
from pleura.formats.read import VOLUMES


class StoreError(DataError):
    """A store that cannot be reached now; another try may help."""


_WHOLE_AT_ONCE = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "memory"}
"""Protocols of stores in which an object is there only once all of it is."""


def is_address(place: str | Path) -> bool:
    """Tell an address from a path."""
    return isinstance(place, str) and ("://" in place or "::" in place)


@dataclass(frozen=True)
class RemoteScan:
    """A scan at an address.

    ``files`` are paths in that store: of a scan that is a file that file, first, and what belongs
    to it; else of DICOM. Without them it is what the address names, a file or a folder.
    """

    address: str
    files: tuple[str, ...] = ()

    def identity(self) -> str:
        """Return what changes when the store holds other content there."""
        with _reached(self.address) as (system, root):
            system.invalidate_cache()
            keys = [[file, *_version(system.info(file))] for file in self._listed(system, root)]
        return hashlib.sha256(json.dumps(keys).encode()).hexdigest()

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        """Copy it to scratch, and give the file, or a folder called ``name``, until done with.

        Raises
        ------
        DataError
            It cannot be reached, or is larger than what is free in scratch.
        """
        with temporary_folder() as scratch:
            folder = Path(scratch, name)
            folder.mkdir()
            with _reached(self.address) as (system, root):
                files = self._listed(system, root)
                self._must_fit(sum(system.info(file)["size"] or 0 for file in files), scratch)
                whole = not self.files and not system.isfile(root)
                single = is_file(_basename(files[0])) and not whole
                names = [_basename(file) for file in files]
                if not single:  # two folders may have a file of one name
                    names = [f"{i:06d}-{name}" for i, name in enumerate(names)]
                local = [folder / name for name in names]
                for file, target in zip(files, local, strict=True):
                    system.get_file(file, str(target))
            yield local[0] if single else folder

    def _listed(self, system: Any, root: str) -> Sequence[str]:
        files = self.files or ([root] if system.isfile(root) else sorted(system.find(root)))
        if not files:
            raise DataError(
                "nothing is there", where=_public(self.address), hint="check the address"
            )
        return files

    def _must_fit(self, size: int, scratch: Path) -> None:
        free = shutil.disk_usage(scratch).free
        if size > free:
            raise DataError(
                f"the scan is larger ({size >> 20} MB) than what is free in scratch "
                f"({free >> 20} MB)",
                where=_public(self.address),
                hint="free some space, or name another folder in TMPDIR",
            )


@dataclass(frozen=True)
class OutputStore:
    """A folder for results, here or at an address. Files appear in it whole or not at all."""

    address: str

    @property
    def folder(self) -> Path | None:
        """The folder, where it is one of this machine."""
        return None if is_address(self.address) else Path(self.address)

    def read(self, name: str) -> bytes | None:
        """Return a file's content; None where there is none."""
        if self.folder is not None:
            path = self.folder / name
            return path.read_bytes() if path.is_file() else None
        with _reached(self.address) as (system, root):
            try:
                content: bytes = system.cat_file(f"{root}/{name}")
            except FileNotFoundError:
                return None
            return content

    def has(self, name: str) -> bool:
        """Tell whether there is such a file."""
        if self.folder is not None:
            return (self.folder / name).is_file()
        with _reached(self.address) as (system, root):
            return bool(system.isfile(f"{root}/{name}"))

    def remove(self, name: str) -> None:
        """Remove a file, if there is one."""
        if self.folder is not None:
            (self.folder / name).unlink(missing_ok=True)
        elif self.has(name):
            with _reached(self.address) as (system, root):
                system.rm_file(f"{root}/{name}")

    def write(self, name: str, content: bytes) -> None:
        """Write a file."""
        with self.writing([name]) as folder:
            write_atomically(folder / name, lambda file: file.write(content))

    @contextmanager
    def writing(self, names: Iterable[str]) -> Iterator[Path]:
        """Give a folder to write into; at the end, what is there of ``names`` goes to the place.

        In that order: what comes last is there only if all the rest is.
        """
        if self.folder is not None:
            yield self.folder
            return
        with temporary_folder() as scratch:
            yield Path(scratch)
            with _reached(self.address) as (system, root):
                for name in names:
                    if Path(scratch, name).exists():
                        _upload(system, Path(scratch, name), f"{root}/{name}")


def _upload(system: Any, path: Path, target: str) -> None:
    protocol = system.protocol if isinstance(system.protocol, str) else system.protocol[0]
    if protocol in _WHOLE_AT_ONCE:
        system.put_file(str(path), target)
        return
    system.makedirs(str(PurePosixPath(target).parent), exist_ok=True)
    part = f"{target}.{secrets.token_hex(4)}.part"
    try:
        system.put_file(str(path), part)
        system.mv(part, target)
    except BaseException:
        with suppress(Exception):
            system.rm_file(part)
        raise


def _version(info: dict[str, Any]) -> list[str]:
    """Return size and version of a file in a store, by what the store says of it."""
    tags = ("ETag", "etag", "md5Hash", "CRC", "mtime", "LastModified", "last_modified", "created")
    tag = next((str(info[key]) for key in tags if info.get(key)), "")
    return [str(info.get("size")), tag]


def list_files(address: str, output: str) -> tuple[str, list[str]]:
    """Return the path that an address means in its store, and the files below, sorted.

    What lies below ``output``, where that is of the same store, is left out, and so is what is
    hidden.

    Raises
    ------
    DataError
        It cannot be reached, or nothing is there.
    """
    with _reached(address) as (system, root):
        system.invalidate_cache()
        if system.isfile(root):
            return str(PurePosixPath(root).parent), [root]
        files = sorted(system.find(root))
    if is_address(output) and output.partition("://")[0] == address.partition("://")[0]:
        with _reached(output) as (_, results):
            files = [file for file in files if not file.startswith(f"{results}/")]
    files = [f for f in files if not _hidden(f[len(root) :])]
    if not files:
        raise DataError("nothing is there", where=_public(address), hint="check the address")
    return root, files


def _hidden(file: str) -> bool:
    parts = PurePosixPath(file).parts
    return any(part.startswith((".", "__MACOSX")) and part != ".." for part in parts)


def read_address(address: str) -> bytes:
    """Return the content of the file at an address.

    Raises
    ------
    DataError
        It cannot be reached.
    """
    with _reached(address) as (system, root):
        content: bytes = system.cat_file(root)
    return content


@contextmanager
def _reached(address: str) -> Iterator[tuple[Any, str]]:
    """Give the file system and the path of an address; what goes wrong there, in one way."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise DataError(
            "addresses need a library that is not installed",
            where=_public(address),
            hint='pip install "pleura[cluster]"',
        ) from error
    try:
        system, root = url_to_fs(address)
        yield system, root.rstrip("/")
    except PleuraError:
        raise
    except ImportError as error:  # fsspec names the package that the protocol needs
        raise DataError(first_line(error), where=_public(address), hint="install it") from error
    except FileNotFoundError as error:
        raise DataError(
            "nothing is there", where=_public(address), hint="check the address"
        ) from error
    # Each store has errors of its own, from missing credentials to unknown buckets.
    except Exception as error:
        raise StoreError(
            f"the address cannot be used ({type(error).__name__}: {_redacted(error)})",
            where=_public(address),
            hint="check the address, the network, and the credentials in the environment",
        ) from error


def _redacted(error: Exception) -> str:
    """Return what an error says, without the addresses in it, which may be signed."""
    text = error.strerror if isinstance(error, OSError) else None
    return re.sub(r"\w+://\S+", "...", text or first_line(error))


def _public(address: str) -> str:
    """Return an address without what may be a password or a signature in it."""
    before, _, rest = address.partition("?")[0].rpartition("://")
    return f"{before}://{rest.rpartition('@')[2]}" if before else rest


def _basename(file: str) -> str:
    """Return the last part of a path in a store, as a name that no system takes for a path."""
    name = PurePosixPath(file.partition("?")[0]).name
    return re.sub(r'[\\/:*?"<>|]', "_", name).strip(". ") or "scan"


def is_file(name: str) -> bool:
    """Tell by its name whether a scan is this file alone, as DICOM is not."""
    return name.lower().endswith((*VOLUMES, *PICTURES, ".zip"))
