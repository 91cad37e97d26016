"""Local folders and fsspec addresses of scans and results.

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
from pleura.files.limits import readable_size
from pleura.files.temporary import temporary_folder
from pleura.formats.registry import SCAN_SUFFIXES
from pleura.typing import StrPath


class StoreError(DataError):
    """A store that cannot be reached now; another attempt may succeed."""


_ATOMIC_PROTOCOLS = frozenset(("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "memory"))
"""Protocols of stores in which an object exists only once its upload is complete."""


def is_address(path: StrPath) -> bool:
    """Return whether a path is an fsspec address."""
    return isinstance(path, str) and ("://" in path or "::" in path)


@dataclass(frozen=True)
class RemoteScan:
    """A scan at an fsspec address.

    Parameters
    ----------
    address:
        Address of the scan, or of the store that holds ``files``.
    files:
        Paths in the store: a single-file scan and its companion files, or DICOM files. If empty,
        the scan is the file or folder at ``address``.
    """

    address: str
    files: tuple[str, ...] = ()

    @property
    def filename(self) -> str:
        """Name of the first file."""
        return PurePosixPath((self.files or (self.address,))[0]).name

    def content_hash(self) -> str:
        """Return a hash of the names, sizes, and versions of the files in the store."""
        with _file_system(self.address) as (system, root):
            system.invalidate_cache()
            keys = [[file, *_version(system.info(file))] for file in self._list(system, root)]
        return hashlib.sha256(json.dumps(keys).encode()).hexdigest()

    @contextmanager
    def download(self, name: str) -> Iterator[Path]:
        """Copy the scan to a temporary folder and yield its path.

        Parameters
        ----------
        name:
            Name of the folder, if the scan is not a single file.

        Raises
        ------
        DataError
            The scan cannot be reached, or does not fit into the temporary folder.
        """
        with temporary_folder() as temporary:
            folder = Path(temporary, name)
            folder.mkdir()
            with _file_system(self.address) as (system, root):
                files = self._list(system, root)
                self._check_free_space(
                    sum(system.info(file)["size"] or 0 for file in files), temporary
                )
                is_folder = not self.files and not system.isfile(root)
                is_single = is_single_file(_local_name(files[0])) and not is_folder
                names = [_local_name(file) for file in files]
                if not is_single:  # files of two folders may have the same name
                    names = [f"{i:06d}-{name}" for i, name in enumerate(names)]
                local = [folder / name for name in names]
                for file, target in zip(files, local, strict=True):
                    system.get_file(file, str(target))
            yield local[0] if is_single else folder

    def _list(self, system: Any, root: str) -> Sequence[str]:
        files = self.files or ([root] if system.isfile(root) else sorted(system.find(root)))
        if not files:
            raise _nothing_found(self.address)
        return files

    def _check_free_space(self, size: int, temporary: Path) -> None:
        free = shutil.disk_usage(temporary).free
        if size > free:
            raise DataError(
                f"the scan ({readable_size(size)}) does not fit into the temporary folder "
                f"({readable_size(free)} free)",
                where=_without_secrets(self.address),
                hint="free some disk space, or set TMPDIR to another folder",
            )


@dataclass(frozen=True)
class OutputStore:
    """A local folder or fsspec address for results, in which files appear complete or not at all.

    Parameters
    ----------
    address:
        Path of the folder, or address.
    """

    address: str

    @property
    def folder(self) -> Path | None:
        """The local folder; None for an address."""
        return None if is_address(self.address) else Path(self.address)

    def read(self, name: str) -> bytes | None:
        """Return the content of a file; None if it does not exist."""
        if self.folder is not None:
            path = self.folder / name
            return path.read_bytes() if path.is_file() else None
        with _file_system(self.address) as (system, root):
            try:
                content: bytes = system.cat_file(f"{root}/{name}")
            except FileNotFoundError:
                return None
            return content

    def exists(self, name: str) -> bool:
        """Return whether a file exists."""
        if self.folder is not None:
            return (self.folder / name).is_file()
        with _file_system(self.address) as (system, root):
            return bool(system.isfile(f"{root}/{name}"))

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        if self.folder is not None:
            (self.folder / name).unlink(missing_ok=True)
        elif self.exists(name):
            with _file_system(self.address) as (system, root):
                system.rm_file(f"{root}/{name}")

    def write(self, name: str, content: bytes) -> None:
        """Write a file."""
        with self.staging([name]) as folder:
            write_atomically(folder / name, lambda file: file.write(content))

    @contextmanager
    def staging(self, names: Iterable[str]) -> Iterator[Path]:
        """Yield a folder to write to, and upload the files at the end.

        Parameters
        ----------
        names:
            Files to upload, in this order: if the last one exists, so do all others. Files that
            were not written are skipped.
        """
        if self.folder is not None:
            yield self.folder
            return
        with temporary_folder() as temporary:
            yield Path(temporary)
            with _file_system(self.address) as (system, root):
                for name in names:
                    if Path(temporary, name).exists():
                        _upload(system, Path(temporary, name), f"{root}/{name}")


def _upload(system: Any, path: Path, target: str) -> None:
    protocol = system.protocol if isinstance(system.protocol, str) else system.protocol[0]
    if protocol in _ATOMIC_PROTOCOLS:
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
    """Return size and version of a file from its metadata in a store."""
    tags = ("ETag", "etag", "md5Hash", "CRC", "mtime", "LastModified", "last_modified", "created")
    tag = next((str(info[key]) for key in tags if info.get(key)), "")
    return [str(info.get("size")), tag]


def list_files(address: str, output: str) -> tuple[str, list[str]]:
    """List the files at an address, without hidden files and results.

    Parameters
    ----------
    address:
        Address of a file or folder.
    output:
        Path or address of the results; files below it are excluded.

    Returns
    -------
    str, list of str
        Path of the address in its store; sorted paths of the files.

    Raises
    ------
    DataError
        The address cannot be reached, or there is no file.
    """
    with _file_system(address) as (system, root):
        system.invalidate_cache()
        if system.isfile(root):
            return str(PurePosixPath(root).parent), [root]
        files = sorted(system.find(root))
    if is_address(output) and output.partition("://")[0] == address.partition("://")[0]:
        with _file_system(output) as (_, results):
            files = [file for file in files if not file.startswith(f"{results}/")]
    files = [f for f in files if not _is_hidden(f[len(root) :])]
    if not files:
        raise _nothing_found(address)
    return root, files


def _is_hidden(file: str) -> bool:
    parts = PurePosixPath(file).parts
    return any(part.startswith((".", "__MACOSX")) and part != ".." for part in parts)


def read_address(address: str) -> bytes:
    """Return the content of the file at an address.

    Raises
    ------
    DataError
        The address cannot be reached.
    """
    with _file_system(address) as (system, root):
        content: bytes = system.cat_file(root)
    return content


@contextmanager
def _file_system(address: str) -> Iterator[tuple[Any, str]]:
    """Yield the file system and the path of an address; raise its errors as `DataError`."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise DataError(
            "fsspec is not installed; addresses require it",
            where=_without_secrets(address),
            hint='run pip install "pleura[cluster]"',
        ) from error
    try:
        system, root = url_to_fs(address)
        yield system, root.rstrip("/")
    except PleuraError:
        raise
    except ImportError as error:  # fsspec names the package that the protocol needs
        raise DataError(
            first_line(error), where=_without_secrets(address), hint="install the package"
        ) from error
    except FileNotFoundError as error:
        raise _nothing_found(address) from error
    # Each store has its own error types, from missing credentials to unknown buckets.
    except Exception as error:
        raise StoreError(
            f"the address cannot be used ({type(error).__name__}: {_message(error)})",
            where=_without_secrets(address),
            hint="check the address, the network, and the credentials in the environment",
        ) from error


def _nothing_found(address: str) -> DataError:
    return DataError(
        "no such file or folder",
        where=_without_secrets(address),
        hint="check the address",
    )


def _message(error: Exception) -> str:
    """Return the message of an error without addresses, which may contain a signature."""
    text = error.strerror if isinstance(error, OSError) else None
    return re.sub(r"\w+://\S+", "...", text or first_line(error))


def _without_secrets(address: str) -> str:
    """Return an address without password and signature."""
    protocol, _, rest = address.partition("?")[0].rpartition("://")
    return f"{protocol}://{rest.rpartition('@')[2]}" if protocol else rest


def _local_name(file: str) -> str:
    """Return the last part of a path in a store as a valid local file name."""
    name = PurePosixPath(file.partition("?")[0]).name
    return re.sub(r'[\\/:*?"<>|]', "_", name).strip(". ") or "scan"


def is_single_file(name: str) -> bool:
    """Return whether a file of this name is a whole scan, unlike DICOM files."""
    return name.lower().endswith(SCAN_SUFFIXES)
