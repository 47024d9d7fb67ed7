"""A scripted provider that speaks OpenAI's wire.

It is written against the standard library alone and shares nothing with the gateway's own
simulator, so that the two can't make the same mistake.
"""

import json
import select
import socket
import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TEXT = "The sky is blue because air scatters short waves most."
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


class Arrived:
    """One request as the provider saw it."""

    def __init__(self, handler, body):
        self.path = handler.path
        self.headers = handler.headers
        self.key = (handler.headers.get("Authorization") or "").removeprefix("Bearer ")
        self.raw = body
        self.body = json.loads(body)
        self.at = time.monotonic()
        self.gone_at = None


class Exchange:
    """One request with the means to answer it."""

    def __init__(self, handler, arrived):
        self.handler = handler
        self.arrived = arrived

    def whole(self, status, document, headers=()):
        body = json.dumps(document).encode()
        self.handler.send_response(status)
        self.handler.send_header("Content-Type", "application/json")
        self.handler.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.handler.send_header(name, value)
        self.handler.end_headers()
        self.handler.wfile.write(body)

    def open_stream(self):
        self.handler.send_response(200)
        self.handler.send_header("Content-Type", "text/event-stream")
        # Without a length the end of the connection is the end of the body.
        self.handler.send_header("Connection", "close")
        self.handler.end_headers()
        self.handler.close_connection = True

    def event(self, document):
        self.raw_event(json.dumps(document))

    def raw_event(self, text):
        self.handler.wfile.write(f"data: {text}\n\n".encode())
        self.handler.wfile.flush()

    def wait_until_gone(self, seconds):
        """Waits until the caller has hung up, and notes when that was."""
        sock = self.handler.connection
        readable, _, _ = select.select([sock], [], [], seconds)
        if readable:
            try:
                left = sock.recv(1, socket.MSG_PEEK) == b""
            except OSError:
                left = True
            if left:
                self.arrived.gone_at = time.monotonic()
        self.handler.close_connection = True


def chunk(delta, finish=None, **more):
    return {
        "id": "chatcmpl-upstream",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        **more,
    }


def answer(text=TEXT, message=None, finish="stop", **more):
    """A whole answer, or the same as a stream when one is asked for."""

    def act(exchange):
        asked = exchange.arrived.body
        if not asked.get("stream"):
            exchange.whole(200, completion(asked["model"], text, message, finish, more))
            return
        exchange.open_stream()
        exchange.event(chunk({"role": "assistant", "content": ""}))
        for word in text.split(" "):
            lead = "" if word == text.split(" ")[0] else " "
            exchange.event(chunk({"content": lead + word}))
        exchange.event(chunk({}, finish))
        if (asked.get("stream_options") or {}).get("include_usage"):
            exchange.event({**chunk({}), "choices": [], "usage": USAGE})
        exchange.raw_event("[DONE]")

    return act


def completion(model, text, message, finish, more):
    message = message or {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl-upstream",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": USAGE,
        **more,
    }


def stream(deltas, finish="stop", pause=0.0):
    """These deltas, `pause` seconds apart, then the end."""

    def act(exchange):
        exchange.open_stream()
        for delta in deltas:
            exchange.event(chunk(delta))
            time.sleep(pause)
        exchange.event(chunk({}, finish))
        exchange.raw_event("[DONE]")

    return act


def cut(deltas):
    """These deltas, then the connection ends."""

    def act(exchange):
        exchange.open_stream()
        for delta in deltas:
            exchange.event(chunk(delta))

    return act


def stall(deltas=(), seconds=20.0):
    """These deltas, then silence until the caller hangs up."""

    def act(exchange):
        if deltas:
            exchange.open_stream()
            for delta in deltas:
                exchange.event(chunk(delta))
        exchange.wait_until_gone(seconds)

    return act


def refuse(status, headers=(), **error):
    error = {"message": "no", "type": "some_error", "param": None, "code": None, **error}

    def act(exchange):
        exchange.whole(status, {"error": error}, headers)

    return act


class Upstream:
    """A provider on a port of its own. Base URL: `http://127.0.0.1:<port>/<any name>/v1`."""

    def __init__(self):
        self.arrived = []
        self._script = deque()
        self._always = {}
        self._lock = threading.Lock()
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                length = int(self.headers.get("Content-Length") or 0)
                arrived = Arrived(self, self.rfile.read(length))
                act = upstream._take_in(arrived)
                try:
                    act(Exchange(self, arrived))
                except (BrokenPipeError, ConnectionResetError):
                    arrived.gone_at = time.monotonic()
                    self.close_connection = True

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, *_):
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def _take_in(self, arrived):
        with self._lock:
            self.arrived.append(arrived)
            if self._script:
                return self._script.popleft()
            name = arrived.path.split("/")[1]
            return self._always.get(name) or self._always.get("") or answer()

    def url(self, name="solo"):
        return f"http://127.0.0.1:{self.port}/{name}/v1"

    def script(self, *acts):
        """What the next requests meet, one each."""
        with self._lock:
            self._script.extend(acts)

    def always(self, act, name=""):
        """What every request meets once the script is used up; with `name`, at that base URL."""
        with self._lock:
            self._always[name] = act

    def wait(self, done, seconds=5.0):
        """The requests that arrived, once `done` holds of them."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if done(self.arrived):
                return self.arrived
            time.sleep(0.002)
        raise AssertionError(f"not within {seconds} s; {len(self.arrived)} requests arrived")

    def close(self):
        self._server.shutdown()
        self._server.server_close()
