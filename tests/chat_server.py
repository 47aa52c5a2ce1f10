"""A real server on a real socket that speaks the chat protocol, well or in one of the ways in which endpoints do not."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from llmft.endpoint.asker import Endpoint
from llmft.guidance.collect.options import SETTINGS

Said = tuple[int, dict[str, str], bytes]


def completion(content: str | None, *, finish: str = "stop", usage=(10, 5), **message: Any) -> Said:
    """An answer as the protocol has it."""
    body: dict[str, Any] = {"choices": [{"message": {"content": content, **message}, "finish_reason": finish}]}
    if usage:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    return 200, {}, json.dumps(body).encode()


def refusal(status: int, message: str = "no", **headers: str) -> Said:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, named, json.dumps({"error": {"message": message}}).encode()


@dataclass
class Seen:
    """What a server was asked."""

    url: str
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    @property
    def questions(self) -> list[str]:
        return [body["messages"][-1]["content"] for body in self.bodies]


@contextmanager
def serving(answer: Callable[[int, dict[str, Any]], Said | str]) -> Iterator[Seen]:
    """A server whose answer to request ``n`` (from 0) with this body is ``answer(n, body)``.

    ``"hang"`` answers nothing, ``"drop"`` closes the connection, ``"half"`` closes it in the middle of an answer.
    """
    lock, ends = threading.Lock(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                number = len(seen.bodies)
                seen.bodies.append(body)
                seen.headers.append({name.lower(): value for name, value in self.headers.items()})
                seen.times.append(time.monotonic())
            said = answer(number, body) if self.path == "/v1/chat/completions" else refusal(404, "no such path")
            if said == "hang":
                ends.wait(60)
            if isinstance(said, str):
                if said == "half":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + b'{"choices": [{"mess')
                self.close_connection = True
                return
            status, headers, content = said
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Who asks may leave before the answer comes."""

    server = Server(("127.0.0.1", 0), Handler)
    seen = Seen(f"http://127.0.0.1:{server.server_address[1]}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        ends.set()
        server.shutdown()
        server.server_close()
        thread.join()


def endpoint(url: str, **changes: Any) -> Endpoint:
    """An impatient one."""
    named = {"model": "r1", "key": None, "key_env": "SOME_KEY", "fields": {}, "timeout_s": 10.0}
    patience = {"retries": 3, "first_wait_s": 0.01, "connections": 2, "settings": SETTINGS}
    return Endpoint(**{"url": url, **named, **patience, **changes})


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]
