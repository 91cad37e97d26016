"""Where the viewer listens, what it may be called, and the address that it prints."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pleura.errors import PleuraError, first_line


@contextmanager
def listening_at(host: str, port: int, what: Path | None) -> Iterator[socket.socket]:
    """Open a socket that already accepts connections.

    Its port is the same for the same folder, if it is free and none was asked for: what a browser
    keeps of strokes that were not saved, it keeps by host and port.

    Raises
    ------
    PleuraError
        The host is no address of this machine, or the port is in use.
    """
    digest = hashlib.sha256(os.fsencode(what.absolute() if what else "")).digest()
    usual = 49152 + int.from_bytes(digest[:2], "big") % 16384
    ports = [usual, 0] if port == 0 and what is not None else [port]
    for one in ports:
        try:
            family, _, _, _, address = socket.getaddrinfo(host or None, one, **_PASSIVE)[0]
            both = family == socket.AF_INET6 and is_any(host) and socket.has_dualstack_ipv6()
            listening = socket.create_server(address[:2], family=family, dualstack_ipv6=both)
        except (OSError, UnicodeError) as error:
            if one != ports[-1]:
                continue
            raise PleuraError(
                f"nothing can be served at {located(host, port)} ({_reason(error)})",
                where=None,
                hint="leave out --port, which finds a free one, or name another; --host must be an "
                "address of this machine",
            ) from error
        with listening:
            yield listening
        return


_PASSIVE: dict[str, Any] = {"type": socket.SOCK_STREAM, "flags": socket.AI_PASSIVE}


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or first_line(error)


def is_any(host: str) -> bool:
    """Whether a host stands for all addresses of the machine, as ``0.0.0.0`` and ``::`` do."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_unspecified
    return host == ""


def hosts_of(host: str, port: int) -> set[str]:
    """Return the values of the Host header under which a server at ``host`` may be called."""
    names = {host.lower(), "127.0.0.1", "localhost", "::1"}
    if is_any(host):
        names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
    found = {located(name, port) for name in names} | ({"*"} if is_any(host) else set())
    return found | ({name.removesuffix(":80") for name in found} if port == 80 else set())


def located(host: str, port: int) -> str:
    """Return host and port as an address has them, IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def addresses_of(host: str) -> list[str]:
    """Return hosts at which a browser reaches a server: here first, then from other machines."""
    if not is_any(host):
        return [host]
    found = ["127.0.0.1" if host != "::" else "::1"]
    for family, outside in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        if family == socket.AF_INET6 and host != "::":
            continue
        # Connecting a datagram socket sends nothing; it chooses the address to send from.
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((outside, 9))
            found.append(str(probe.getsockname()[0]))
    return list(dict.fromkeys(found))


def write_opener(folder: Path, address: str) -> str:
    """Write a page that leads to ``address``, and return its URL.

    A browser is started with it: a command line, which every user of the machine can list, then
    does not hold the token.
    """
    path = folder / "open.html"
    path.touch(mode=0o600)
    refresh = f'<meta http-equiv="refresh" content="0; url={address}&amp;from=file">'
    path.write_text(f"<!doctype html>{refresh}<title>pleura</title>")
    return path.as_uri()
