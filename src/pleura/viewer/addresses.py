"""Addresses of the viewer: its socket, the accepted host names, and the URLs to open."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from pleura.errors import PleuraError, first_line
from pleura.viewer.access import ANY_ADDRESS

_PASSIVE: dict[str, Any] = {"type": socket.SOCK_STREAM, "flags": socket.AI_PASSIVE}


def listen(host: str, port: int, path: Path | None = None) -> socket.socket:
    """Return a socket that accepts connections.

    Parameters
    ----------
    host:
        Name or address of this machine.
    port:
        Port; 0 selects a free one.
    path:
        The viewed file or folder. The same path gets the same port if it is free: browsers keep
        unsaved corrections by host and port.

    Raises
    ------
    PleuraError
        The host is not an address of this machine, or the port is in use.
    """
    if port == 0 and path is not None:
        with suppress(OSError, UnicodeError):
            return _create_socket(host, _preferred_port(path))
    try:
        return _create_socket(host, port)
    except (OSError, UnicodeError) as error:
        raise PleuraError(
            f"cannot listen at {host_and_port(host, port)} ({_reason(error)})",
            where=None,
            hint="omit --port to use a free port, or choose another one; --host must be an "
            "address of this machine",
        ) from error


def _create_socket(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host or None, port, **_PASSIVE)[0]
    is_ipv6 = family == socket.AF_INET6
    dual_stack = is_ipv6 and is_unspecified(host) and socket.has_dualstack_ipv6()
    return socket.create_server(address[:2], family=family, dualstack_ipv6=dual_stack)


def _preferred_port(path: Path) -> int:
    digest = hashlib.sha256(os.fsencode(path.absolute())).digest()
    return 49152 + int.from_bytes(digest[:2], "big") % 16384  # dynamic ports (RFC 6335)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or first_line(error)


def is_unspecified(host: str) -> bool:
    """Return whether a host means all addresses of the machine, as ``0.0.0.0`` and ``::`` do."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_unspecified
    return host == ""


def accepted_hosts(host: str, port: int) -> set[str]:
    """Return the values of the Host header that a server at ``host`` accepts."""
    names = {host.lower(), "127.0.0.1", "localhost", "::1"}
    if is_unspecified(host):
        names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
    hosts = {host_and_port(name, port) for name in names}
    if is_unspecified(host):
        hosts.add(ANY_ADDRESS)
    return hosts | ({name.removesuffix(":80") for name in hosts} if port == 80 else set())


def host_and_port(host: str, port: int) -> str:
    """Return host and port as in a URL, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reachable_hosts(host: str) -> list[str]:
    """Return hosts at which a browser reaches the server: first on this machine, then on others."""
    if not is_unspecified(host):
        return [host]
    hosts = ["127.0.0.1" if host != "::" else "::1"]
    for family, outside in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        if family == socket.AF_INET6 and host != "::":
            continue
        # Connecting a datagram socket sends nothing; it selects the address to send from.
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((outside, 9))
            hosts.append(str(probe.getsockname()[0]))
    return list(dict.fromkeys(hosts))


def write_redirect_page(folder: Path, url: str) -> str:
    """Write an HTML file that redirects to ``url``, and return its own URL.

    The browser is started with this file: all users of the machine can list command lines, and this
    one does not contain the token.
    """
    path = folder / "open.html"
    path.touch(mode=0o600)
    refresh = f'<meta http-equiv="refresh" content="0; url={url}&amp;from=file">'
    path.write_text(f"<!doctype html>{refresh}<title>pleura</title>")
    return path.as_uri()
