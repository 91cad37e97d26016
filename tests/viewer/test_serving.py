"""`pleura view` as a process: addresses, protection of the token, and temporary files."""

import contextlib
import http.client
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.request import HTTPCookieProcessor, build_opener

import pytest
import uvicorn

import pleura
from pleura.viewer.access import AccessControl
from pleura.viewer.addresses import accepted_hosts, reachable_hosts
from pleura.viewer.app import STATIC
from pleura.viewer.protocol import TimeLimitedProtocol

pytestmark = [
    pytest.mark.skipif(not (STATIC / "viewer.js").exists(), reason="the page is not built"),
    pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX"),
]


class Viewer:
    """A running `pleura view --open`, signed in."""

    def __init__(self, scratch, *arguments, env=None):
        command = [sys.executable, "-m", "pleura", "view", "--open", *arguments]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "TMPDIR": str(scratch), **(env or {})},
        )
        line = self.process.stdout.readline()
        host, port, self.token = re.search(r"http://(.+):(\d+)/\?token=(\S+)", line).groups()
        self.host, self.port = host.strip("[]"), int(port)
        status, headers, _ = self.ask("GET", f"/?token={self.token}")
        assert status == 303
        self.cookie = {"Cookie": headers["set-cookie"].partition(";")[0]}

    cookie: dict = {}  # noqa: RUF012

    def ask(self, method, path, body=None, host=None, **headers):
        connection = http.client.HTTPConnection(host or self.host, self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request(method, path, body, {**self.cookie, **headers})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def end(self, number):
        self.process.send_signal(number)
        return self.process.wait(20)


@contextlib.contextmanager
def viewing(*arguments, **options):
    viewer = Viewer(*arguments, **options)
    try:
        yield viewer
    finally:
        viewer.process.kill()
        viewer.process.wait()
        viewer.process.stdout.close()


def left(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_removes_uploads(tmp_path, number):
    with viewing(tmp_path, "--no-browser") as viewer:
        assert viewer.ask("PUT", "/api/uploads/1/patient.dcm", b"secret")[0] == 200
        assert "patient.dcm" in left(tmp_path)
        assert viewer.end(number) in (130, 143)
    assert list(tmp_path.iterdir()) == []


def test_files_of_a_killed_process_are_removed_by_the_next_and_no_others(tmp_path):
    (tmp_path / "pleura-other").mkdir()
    (tmp_path / "pleura-other" / "a").write_text("without a lock file")
    with viewing(tmp_path, "--no-browser") as alive, viewing(tmp_path, "--no-browser") as killed:
        assert alive.ask("PUT", "/api/uploads/1/alive.dcm", b"secret")[0] == 200
        assert killed.ask("PUT", "/api/uploads/1/killed.dcm", b"secret")[0] == 200
        killed.end(signal.SIGKILL)
        assert {"alive.dcm", "killed.dcm"} < set(left(tmp_path))
        with viewing(tmp_path, "--no-browser"):
            assert {"alive.dcm", "a"} < set(left(tmp_path))
            assert "killed.dcm" not in left(tmp_path)


def test_no_command_line_contains_the_token(tmp_path):
    seen = tmp_path / "seen"
    script = tmp_path / "browser"
    script.write_text(f'#!/bin/sh\nprintf %s "$1" > {seen}.new; mv {seen}.new {seen}\n')
    script.chmod(0o700)
    with viewing(tmp_path, env={"BROWSER": f"{script} %s"}) as viewer:
        for _ in range(100):
            if seen.exists():
                break
            time.sleep(0.05)
        url = seen.read_text()
        assert viewer.token not in url
        page = Path(url.removeprefix("file://"))
        assert viewer.token in page.read_text()
        assert page.stat().st_mode & 0o077 == 0
        assert page.parent.stat().st_mode & 0o077 == 0


def has_ipv6():
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as one:
        one.bind(("::1", 0))
        return True
    return False


@pytest.mark.parametrize("host", ["0.0.0.0", "localhost", "::1", "::"])  # noqa: S104
def test_each_host_serves_at_the_addresses_that_it_prints(tmp_path, host):
    if ":" in host and not has_ipv6():
        pytest.skip("needs IPv6")
    with viewing(tmp_path, "--no-browser", "--host", host) as viewer:
        assert viewer.host == {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
        for address in reachable_hosts(host):
            assert viewer.ask("GET", "/api/cases", host=address)[0] == 200, address
        evil = {"Host": f"evil.example:{viewer.port}"}
        assert viewer.ask("GET", "/api/cases", **evil)[0] == 403


def test_a_server_at_all_addresses_accepts_ip_addresses_and_no_other_names():
    control = AccessControl(None, "secret", frozenset(accepted_hosts("0.0.0.0", 80)))  # noqa: S104
    for host in ("192.168.1.7:80", "10.0.0.1", "[fe80::1]:80", "[::1]", "localhost", "127.0.0.1"):
        assert control.accepts_host(host), host
    for host in ("evil.example", "evil.example:80", "", ":", "[]", "1.2.3.4.example", "a:b:c"):
        assert not control.accepts_host(host), host
    assert not AccessControl(
        None, "secret", frozenset(accepted_hosts("127.0.0.1", 80))
    ).accepts_host("10.0.0.1")


def test_a_viewer_runs_in_the_background_and_changes_no_logger(pair, caplog):
    caplog.set_level(logging.DEBUG)
    viewer = pleura.view(*pair, open_browser=False)
    assert repr(viewer) == f"Viewer(1 scan; {viewer.url})"
    assert viewer.url.replace("&", "&amp;") in viewer._repr_html_()
    with build_opener(HTTPCookieProcessor()).open(viewer.url) as response:
        assert response.status == 200
    assert viewer.url.partition("token=")[2] not in caplog.text
    assert logging.getLogger("uvicorn.access").propagate
    viewer.close()
    with pytest.raises(OSError, match="refused"):
        build_opener().open(viewer.url)


def test_a_request_that_arrives_too_slowly_is_closed(monkeypatch):
    monkeypatch.setattr(TimeLimitedProtocol, "header_timeout", 0.3)
    monkeypatch.setattr(TimeLimitedProtocol, "body_timeout", 0.3)

    async def app(scope, receive, send):
        if scope["type"] == "http":
            while (await receive()).get("more_body"):
                pass
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    config = uvicorn.Config(
        app, http=TimeLimitedProtocol, log_level="error", lifespan="off", timeout_keep_alive=1
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        at = listening.getsockname()
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        whole = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        cut = (
            b"",
            whole[:-2],
            whole + whole[:9],
            b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9",
        )
        for content in (*cut, cut[-1] + b"\r\n\r\nabc"):
            with socket.create_connection(at, timeout=5) as client:
                client.sendall(content)
                while client.recv(1000):  # ends where the server closes the connection
                    pass
        with socket.create_connection(at, timeout=5) as client:  # in time, though in pieces
            client.sendall(cut[-1] + b"\r\n\r\n")
            for _ in range(9):
                time.sleep(0.1)
                client.sendall(b"a")
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()
