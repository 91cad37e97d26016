"""Access control: requests need the token, a known host, and the page's own origin."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

ANY_ADDRESS = "*"
"""Among the allowed hosts: all IP addresses, but no names."""

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; worker-src 'self' blob:; style-src 'self' "
        "'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self' blob: data:; "
        "font-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_REDIRECT = '<!doctype html><meta http-equiv="refresh" content="0; url={}"><title>pleura</title>'


class AccessControl(BaseHTTPMiddleware):
    """Middleware that rejects requests without the token, and requests of other sites.

    The token is given once, in the address that the user opens, and then kept in a cookie. A page
    of another site has another Origin. If its name resolves to this machine (DNS rebinding), it has
    another Host, and the browser does not send the cookie.

    Parameters
    ----------
    app:
        The ASGI application.
    token:
        Secret of this server.
    hosts:
        Accepted values of the Host header, such as ``127.0.0.1:8000``; ``ANY_ADDRESS`` also accepts
        all IP addresses.
    """

    def __init__(self, app: Any, token: str, hosts: frozenset[str]) -> None:
        super().__init__(app)
        self.token: str = token
        self.hosts: frozenset[str] = hosts
        # Browsers send a cookie to all ports of a host: each viewer needs its own name.
        self.cookie: str = f"pleura-{hashlib.sha256(token.encode()).hexdigest()[:8]}"

    async def dispatch(
        self, request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        host, origin = request.headers.get("host", "").lower(), request.headers.get("origin")
        is_other_site = origin is not None and origin.lower() != f"http://{host}"
        if is_other_site or not self.accepts_host(host):
            return self._reject("unknown host or origin")
        token = request.query_params.get("token")
        if request.url.path == "/" and token is not None and self._matches(token):
            # Browsers do not send a SameSite cookie with a redirect that a file started.
            from_file = request.query_params.get("from") == "file"
            target = _page_address(request.query_params.get("scan", ""))
            response: Response = (
                HTMLResponse(_REDIRECT.format(target))
                if from_file
                else RedirectResponse(target, 303)
            )
            response.set_cookie(self.cookie, self.token, httponly=True, samesite="strict")
        elif not self._matches(request.cookies.get(self.cookie, "")):
            return self._reject("open the address that `pleura view` printed")
        else:
            response = await call_next(request)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    def accepts_host(self, host: str) -> bool:
        """Return whether a value of the Host header is accepted."""
        return host in self.hosts or (ANY_ADDRESS in self.hosts and _is_ip_address(host))

    def _matches(self, token: str) -> bool:
        return secrets.compare_digest(token.encode(), self.token.encode())

    def _reject(self, message: str) -> Response:
        return Response(message, 403, dict(_HEADERS), "text/plain")


def _page_address(scan: str) -> str:
    """Return the address of the page, which opens this scan first."""
    return f"/#scan={quote(scan, safe='')}" if scan else "/"


def _is_ip_address(host: str) -> bool:
    name = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
    with suppress(ValueError):
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        return True
    return False
