"""Who may use the server: holders of the token, from the page's own address."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

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


_REDIRECT = '<!doctype html><meta http-equiv="refresh" content="0; url=/"><title>pleura</title>'


class Guard(BaseHTTPMiddleware):
    """Lets in who holds the token, at the address that the page was opened under.

    A page of another site can neither read nor write: its Origin is another one, its Host is too
    where a name was bound to 127.0.0.1, and the cookie does not leave the site.
    """

    def __init__(self, app: Any, token: str, hosts: frozenset[str]) -> None:
        super().__init__(app)
        self.token: str = token
        self.hosts: frozenset[str] = hosts
        # A cookie is of all ports of a host: each viewer has its own.
        self.cookie: str = f"pleura-{hashlib.sha256(token.encode()).hexdigest()[:8]}"

    async def dispatch(
        self, request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        host, origin = request.headers.get("host", "").lower(), request.headers.get("origin")
        if not self._known(host) or (origin is not None and origin.lower() != f"http://{host}"):
            return self._refuse("this address is not pleura's")
        given = request.query_params.get("token")
        if request.url.path == "/" and given is not None and self._right(given):
            # After a file has led here, a redirect would not carry the cookie; a page's own does.
            from_file = request.query_params.get("from") == "file"
            response: Response = (
                HTMLResponse(_REDIRECT) if from_file else RedirectResponse("/", 303)
            )
            response.set_cookie(self.cookie, self.token, httponly=True, samesite="strict")
        elif not self._right(request.cookies.get(self.cookie, "")):
            return self._refuse("open the address that `pleura view` printed")
        else:
            response = await call_next(request)
        response.headers.update(_HEADERS)
        return response

    def _known(self, host: str) -> bool:
        """Whether the page may be called so: a rebound name of another site is no IP address."""
        return host in self.hosts or ("*" in self.hosts and _is_ip(host))

    def _right(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self.token.encode())

    def _refuse(self, why: str) -> Response:
        return Response(why, 403, dict(_HEADERS), "text/plain")


def _is_ip(host: str) -> bool:
    name = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
    with suppress(ValueError):
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        return True
    return False
