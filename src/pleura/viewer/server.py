"""The server of the viewer, in the foreground or in a background thread."""

from __future__ import annotations

import secrets
import signal
import threading
import time
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from html import escape
from pathlib import Path
from urllib.parse import quote

import uvicorn

from pleura.errors import PleuraError
from pleura.files.temporary import temporary_folder
from pleura.typing import StrPath
from pleura.viewer.addresses import (
    accepted_hosts,
    host_and_port,
    listen,
    reachable_hosts,
    write_redirect_page,
)
from pleura.viewer.app import STATIC, create_app
from pleura.viewer.case_list import CaseList
from pleura.viewer.protocol import TimeLimitedProtocol
from pleura.viewer.uploads import Uploads


class Viewer:
    """A server of the viewer's page, which listens as soon as it is created.

    It changes no global state of the process, with two exceptions that last as long as `serve`:
    uvicorn handles SIGINT and SIGTERM, and SIGHUP is handled as SIGTERM. Loggers are not
    configured; errors of requests are logged to ``uvicorn.error``.

    Parameters
    ----------
    cases:
        Cases to list.
    path:
        The viewed file or folder: see `pleura.viewer.addresses.listen`.
    host, port:
        Address to listen at; port 0 selects a free one.
    model:
        Model that segments uploaded scans; None for the default model.
    selected:
        Name of the case to open first; empty for the first one.

    Raises
    ------
    PleuraError
        The page is not built, the host is not an address of this machine, or the port is in use.
    """

    def __init__(
        self,
        cases: CaseList,
        path: Path | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        model: StrPath | None = None,
        selected: str = "",
    ) -> None:
        if not (STATIC / "viewer.js").exists():
            raise PleuraError(
                "the page of the viewer is not built",
                where=STATIC,
                hint="install Node.js 18 or newer, then install pleura from its source again",
            )
        self.cases: CaseList = cases
        with ExitStack() as resources:
            self._socket = resources.enter_context(listen(host, port, path))
            self._folder = resources.enter_context(temporary_folder())
            uploads = Uploads(self._folder / "uploads", model)
            resources.callback(uploads.close)
            self._resources = resources.pop_all()
        port, token = self._socket.getsockname()[1], secrets.token_urlsafe(24)
        scan = f"&scan={quote(selected, safe='')}" if selected else ""
        self.urls: tuple[str, ...] = tuple(
            f"http://{host_and_port(name, port)}/?token={token}{scan}"
            for name in reachable_hosts(host)
        )
        config = uvicorn.Config(
            create_app(cases, token, accepted_hosts(host, port), uploads),
            http=TimeLimitedProtocol,
            ws="none",
            log_config=None,
            server_header=False,
            limit_concurrency=100,
            timeout_graceful_shutdown=3,
        )
        self._server = uvicorn.Server(config)
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Address to open on this machine; it contains the token."""
        return self.urls[0]

    def serve(self) -> None:
        """Serve until a signal ends the process."""
        with _hangup_as_terminate():
            self._server.run([self._socket])

    def start(self) -> None:
        """Serve in a background thread until `close`."""
        run = self._server.run
        self._thread = threading.Thread(target=run, args=([self._socket],), daemon=True)
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.01)

    def open_browser(self) -> None:
        """Open the page in the default browser."""
        page = write_redirect_page(self._folder, self.url)
        threading.Thread(target=webbrowser.open, args=(page,), daemon=True).start()

    def close(self) -> None:
        """Stop serving, and remove uploaded scans and their masks."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()
        self._resources.close()

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Viewer({len(self.cases)} scan{'' if len(self.cases) == 1 else 's'}; {self.url})"

    def _repr_html_(self) -> str:
        url = escape(self.url)
        return f'<a href="{url}" target="_blank">{escape(repr(self))}</a>'


@contextmanager
def _hangup_as_terminate() -> Iterator[None]:
    """Handle SIGHUP (a closed terminal) as SIGTERM, which uvicorn handles between requests."""
    number = getattr(signal, "SIGHUP", None)  # not on Windows
    if number is None or signal.getsignal(number) is signal.SIG_IGN:
        yield
        return
    previous = signal.signal(number, lambda *_: signal.raise_signal(signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(number, previous)
