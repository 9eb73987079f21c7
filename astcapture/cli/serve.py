"""Serves one file to the browser of this machine."""

from __future__ import annotations

import secrets
import shutil
import webbrowser
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

#: Only this machine can reach it.
HOST = "127.0.0.1"


class Handler(BaseHTTPRequestHandler):
    """Answers with one file under one address that cannot be guessed, and with nothing else."""

    file: ClassVar[Path]
    place: ClassVar[str]
    port: ClassVar[int]
    server_version = "astcapture"
    sys_version = ""

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        # A page elsewhere may have its name resolve to this machine.
        known = self.headers.get("Host") in (f"{HOST}:{self.port}", f"localhost:{self.port}")
        if not known or self.path.partition("?")[0] != self.place:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(self.file.stat().st_size))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if body:
            with open(self.file, "rb") as file:
                shutil.copyfileobj(file, self.wfile)

    def log_message(self, *args: Any) -> None:
        """Requests are not listed."""


def serve(file: Path, tell: Callable[[str], None], *, browser: bool = True) -> None:
    """Serve a file until Ctrl-C, and open it in the browser.

    Args:
        file: an HTML file.
        tell: is given the address.
        browser: whether a browser is opened.
    """
    place = f"/{secrets.token_urlsafe(12)}/"
    handler: type[Handler] = type("OneFile", (Handler,), {"file": file, "place": place})
    with ThreadingHTTPServer((HOST, 0), handler) as server:
        handler.port = server.server_port
        address = f"http://{HOST}:{handler.port}{place}"
        tell(address)
        if browser:
            webbrowser.open(address)
        try:
            server.serve_forever(poll_interval=0.1)
        except KeyboardInterrupt:
            return
