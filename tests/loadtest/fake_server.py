"""A server in this process whose answers and delays a test decides."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TIMING = "decode;dur=1.500, network;dur=250.000"


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: bytes = b"volume"
    delay_s: float = 0.0


@dataclass
class FakeServer:
    """`reply` answers a body; `headers` are those of the requests that came, in lower case. One request at a time if `serial`."""

    reply: Callable[[bytes], Reply]
    serial: bool = False
    url: str = ""
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def running(self) -> Iterator["FakeServer"]:
        server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def _handler(fake: "FakeServer") -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                fake.headers.append({name.lower(): value for name, value in self.headers.items()})
                fake.paths.append(self.path)
                if fake.serial:
                    with fake._turn:
                        reply = self._waited(body)
                else:
                    reply = self._waited(body)
                self.send_response(reply.status)
                self.send_header("content-length", str(len(reply.body)))
                self.send_header("server-timing", TIMING)
                self.end_headers()
                self.wfile.write(reply.body)

            def _waited(self, body: bytes) -> Reply:
                reply = fake.reply(body)
                time.sleep(reply.delay_s)
                return reply

            def log_message(self, format: str, *arguments: object) -> None:
                """Say nothing."""

        return Handler


class _Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True
    block_on_close = False
