"""The web server of `PageSink`: page, video (MJPEG), tiles of the grid (one JPEG an answer), statistics (WebSocket),
metrics, health. Needs Tornado 6.1.

Everything here runs in the server's thread. Tornado is optional, so `application` joins its classes with the handlers
below.
"""

import datetime
import hmac
import ipaddress
import json
import os
import re
import socket
from typing import Any, Optional

from deeplab_tf.core.progress import say
from deeplab_tf.deploy.video.metrics import MISSING

MAX_VIEWERS = 32
STALLED_SECONDS = 15.0
"""A viewer that takes no frame for so long is disconnected."""
SEND_BUFFER = 1 << 18
"""Bytes that the system may buffer for a viewer: about two frames. With its own choice, a slow viewer would see the
past."""
KEEP_ALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""Seconds of silence, seconds between probes, and probes, until a viewer that has vanished is noticed; Linux only."""
TILE_SECONDS = 5.0
"""How long a tile of the grid waits for a new frame."""
_BOUNDARY = b"\r\n--frame\r\n"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}


def application(state, hosts, folder, *, token=None, port=0):
    """Return the page's Tornado application. Its settings hold `videos` and `tiles`, one of each source, to publish
    JPEGs to, and the `stats_viewers`.

    Args:
        state: the sink's `PageState`.
        hosts: lowercase names under which browsers may ask, beside numeric addresses.
        folder: of the page's files.
        token: what a viewer must bring; None for nothing. Letters, digits and ._~- only.
        port: of the page, for the name of its cookie: a browser sends cookies to all ports of a host.
    """
    from tornado.web import Application, HTTPError, RequestHandler
    from tornado.websocket import WebSocketHandler

    parts = (_File, _Video, _Tile, _Missing, _Metrics, _Health)
    file, video, tile, missing, metrics, health = (type(part.__name__, (part, RequestHandler), {}) for part in parts)
    stats = type("_Stats", (_Stats, WebSocketHandler), {})
    files = {"/" + name: _read(folder, name) for name in os.listdir(folder) if os.path.splitext(name)[1] in _TYPES}
    files["/"], files["/favicon.ico"] = files.pop("/index.html"), files["/favicon.svg"]
    routes = [("/video", video), ("/tile", tile), ("/stats", stats), ("/metrics", metrics), ("/healthz", health)]
    routes += [(path.replace(".", r"\."), file) for path in sorted(files)]
    return Application(
        routes,
        default_handler_class=missing,
        log_function=lambda handler: None,
        websocket_ping_interval=STALLED_SECONDS,
        expected_error=HTTPError,
        state=state,
        hosts=hosts,
        files=files,
        token=token,
        cookie=f"deeplab-tf-{port}",
        videos=[LatestJpeg() for _ in state.sources],
        tiles=[LatestJpeg() for _ in state.sources],
        stats_viewers=set(),
    )


def _read(folder, name):
    """Return (content type, bytes)."""
    with open(os.path.join(folder, name), "rb") as file:
        return _TYPES[os.path.splitext(name)[1]], file.read()


class LatestJpeg:
    """The newest encoded frame, for all viewers."""

    def __init__(self):
        from tornado.locks import Condition

        self.number, self.ended = 0, False
        self.data: Optional[bytes] = None
        self._changed = Condition()

    def publish(self, data):
        """Replace the JPEG."""
        self.number, self.data = self.number + 1, data
        self._changed.notify_all()

    def end(self):
        """Let all viewers finish."""
        self.ended = True
        self._changed.notify_all()

    def wake(self):
        """Let all viewers look whether they are still there."""
        self._changed.notify_all()

    async def after(self, number, gone):
        """Return (number, JPEG) of a frame newer than `number`, or (number, None) at the end and when gone() is
        true."""
        while self.number <= number and not self.ended and not gone():
            await self._changed.wait()
        return self.number, None if self.ended or gone() else self.data


_Handler: Any = object  # in place of Tornado's classes, which `application` adds


class _Guarded(_Handler):
    """Common to all handlers: refuses foreign host names and who has no token, and lets the browser load nothing from
    elsewhere."""

    def set_default_headers(self):
        self.set_header("Server", "deeplab-tf")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")

    def prepare(self):
        name = self.request.host_name.lower()
        if name not in self.settings["hosts"] and not _is_address(name):
            self._refuse(403, "This page answers to this machine's numeric address or own name only.")
            return
        if not self._has_token():
            self.set_header("WWW-Authenticate", "Bearer")
            self._refuse(401, "This page needs its token: open the address that deeplab-tf stream printed.")
            return
        # 'self' does not cover ws: in older Safaris
        policy = f"default-src 'self'; img-src 'self' blob:; connect-src 'self' ws://{self.request.host}; "
        policy += "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
        self.set_header("Content-Security-Policy", policy)

    def _has_token(self):
        """Return whether the token came, with the address or in the cookie that is set then, so that the address need
        not keep it."""
        token, cookie = self.settings["token"], self.settings["cookie"]
        if token is None:
            return True
        given = self.request.query_arguments.get("token", [b""])[-1]
        bearer = self.request.headers.get("Authorization", "").rpartition(" ")[2]
        in_address = hmac.compare_digest(given, token.encode())
        if in_address:
            self.add_header("Set-Cookie", f"{cookie}={token}; Path=/; HttpOnly; SameSite=Lax")
        others = [hmac.compare_digest(text.encode(), token.encode()) for text in (self.get_cookie(cookie, ""), bearer)]
        return in_address or any(others)

    def _source(self):
        """Return the number of the source that is asked for; None, and refuse, if there is no such one."""
        number = _number(self.get_query_argument("source", "0"))
        if number is not None and number < len(self.settings["state"].sources):
            return number
        self._refuse(404, f"There are {len(self.settings['state'].sources)} sources, counted from 0.")
        return None

    def _refuse(self, status, text):
        self.set_status(status)
        self.finish(text)

    def log_exception(self, kind, error, trace):
        """Print no traceback: it would hold the address that was asked for, and its token."""
        if not isinstance(error, (OSError, self.settings["expected_error"])):
            say(f"The page could not answer a request: {kind.__name__}.")


def _number(text):
    """Return a number from 0 on; None for another text."""
    return int(text) if re.fullmatch("[0-9]{1,15}", text) else None


def _is_address(name):
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


class _File(_Guarded):
    def get(self):
        if self.request.path == "/" and "token" in self.request.query_arguments:
            self.redirect("/")
            return
        kind, data = self.settings["files"][self.request.path]
        self.set_header("Content-Type", kind)
        self.finish(data)

    head = get


class _Missing(_Guarded):
    def get(self):
        self._refuse(404, "There is nothing here; the page is /.")

    head = get


class _Metrics(_Guarded):
    """For Prometheus."""

    def get(self):
        state = self.settings["state"]
        answer = state.metrics.text(state.viewers)
        if answer is None:
            self._refuse(501, MISSING)
            return
        self.set_header("Content-Type", answer[0])
        self.finish(answer[1])


class _Health(_Guarded):
    """For a supervisor, which needs no token: 200 while frames come, else 503."""

    def _has_token(self):
        return True

    def get(self):
        well, words = self.settings["state"].metrics.health()
        self.set_status(200 if well else 503)
        self.finish(words)

    head = get


class _Video(_Guarded):
    """multipart/x-mixed-replace: one JPEG after the other, the newest each time."""

    _video: Any = None

    async def get(self):
        state, stream, number = self.settings["state"], self.request.connection.stream, self._source()
        if number is None:
            return
        if not await self._find_place(state):
            self._refuse(503, f"There are {state.viewers} viewers already.")
            return
        if stream.closed():
            return
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self.set_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.set_header("Connection", "close")
        source, self._video = state.sources[number], self.settings["videos"][number]
        source.viewers += 1
        try:
            await self._send_all(self._video, stream)
        finally:
            source.viewers -= 1

    async def _find_place(self, state):
        """Return whether a viewer more may come; who has just gone is noticed within moments."""
        from tornado.gen import sleep

        for _ in range(10):
            if state.viewers < MAX_VIEWERS:
                return True
            await sleep(0.1)
        return False

    def on_connection_close(self):
        """Free the place at once: no frame may come for long that could not be sent."""
        super().on_connection_close()
        if self._video is not None:
            self._video.wake()

    async def _send_all(self, video, stream):
        from tornado.gen import TimeoutError, with_timeout
        from tornado.iostream import StreamClosedError

        limit, number = datetime.timedelta(seconds=STALLED_SECONDS), 0
        self.write(_BOUNDARY)
        try:
            while True:
                await with_timeout(limit, self.flush(), quiet_exceptions=StreamClosedError)
                number, data = await video.after(number, stream.closed)
                if data is None:
                    return
                self.write(f"Content-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n")
                self.write(data)
                self.write(_BOUNDARY)  # at once: browsers show a frame when they see its end
        except StreamClosedError:  # gone
            return
        except TimeoutError:
            stream.close()


class _Tile(_Guarded):
    """One small JPEG, newer than the one with the number `after`. A browser keeps few connections to a host open, so
    that the grid asks again and again."""

    _video: Any = None

    async def get(self):
        from tornado.gen import TimeoutError, with_timeout

        number, after = self._source(), self.get_query_argument("after", "0")
        if number is None:
            return
        source, self._video = self.settings["state"].sources[number], self.settings["tiles"][number]
        stream, limit = self.request.connection.stream, datetime.timedelta(seconds=TILE_SECONDS)
        source.tile_viewers += 1
        try:
            number, data = await with_timeout(limit, self._video.after(_number(after) or 0, stream.closed))
        except TimeoutError:
            data = None
        finally:
            source.tile_viewers -= 1
        if data is None:  # no new frame: it asks again
            self.set_status(204)
            self.finish()
            return
        self.set_header("Content-Type", "image/jpeg")
        self.set_header("Frame-Number", str(number))
        self.finish(data)

    def on_connection_close(self):
        super().on_connection_close()
        if self._video is not None:
            self._video.wake()


class _Stats(_Guarded):
    """JSON twice a second, of one source, or without `source` of the grid of several. Tornado itself refuses pages of
    another origin.

    Attributes:
        source: its number; None for all.
    """

    source = None

    def open(self, *arguments):
        state = self.settings["state"]
        if len(state.sources) == 1 or self.get_query_argument("source", ""):
            number = _number(self.get_query_argument("source", "0")) or 0
            self.source = min(number, len(state.sources) - 1)
        self._sending = self.write_message(json.dumps(state.hello(self.source)))
        self.settings["stats_viewers"].add(self)

    def on_message(self, message):
        """Ignore messages."""

    def on_close(self):
        self.settings["stats_viewers"].discard(self)

    def offer(self, message):
        """Send a message, unless the last one is still on its way."""
        from tornado.websocket import WebSocketClosedError

        if not self._sending.done():
            return
        if self._sending.exception() is None:
            try:
                self._sending = self.write_message(message)
                return
            except WebSocketClosedError:
                pass
        self.on_close()
