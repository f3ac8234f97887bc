"""The web server's side of `PageSink`: the page's files, the pictures (MJPEG), the figures (WebSocket). Needs Tornado,
from 6.1 on.

Everything here runs in the server's thread. Tornado's classes come in when `application` joins them with the handlers
below.
"""

import datetime
import ipaddress
import os
import socket

MOST_VIEWERS = 32
STALLED_SECONDS = 15.0
"""A viewer that takes no picture for so long is let go."""
SEND_BUFFER = 1 << 18
"""Bytes that the system may keep for a viewer: two pictures or so. With its own choice, a slow viewer would see the
past."""
_BOUNDARY = b"\r\n--picture\r\n"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}


def application(state, hosts, folder):
    """The Tornado application of a page. Its settings hold `pictures`, to publish to, and `figures`, to send by.

    Args:
        state: the sink's `_State`.
        hosts: names in small letters under which browsers may ask, beside addresses in numbers.
        folder: of the page's files.
    """
    from tornado.web import Application, RequestHandler
    from tornado.websocket import WebSocketHandler

    file, picture, missing = (type(part.__name__, (part, RequestHandler), {}) for part in (_File, _Picture, _Missing))
    figures = type("Figures", (_FiguresSocket, WebSocketHandler), {})
    files = {"/" + name: _read(folder, name) for name in os.listdir(folder) if os.path.splitext(name)[1] in _TYPES}
    files["/"], files["/favicon.ico"] = files.pop("/index.html"), files["/favicon.svg"]
    routes = [("/picture", picture), ("/figures", figures)] + [
        (path.replace(".", r"\."), file) for path in sorted(files)
    ]
    settings = {
        "default_handler_class": missing,
        "log_function": lambda handler: None,
        "websocket_ping_interval": STALLED_SECONDS,
    }
    return Application(
        routes, state=state, hosts=hosts, files=files, pictures=Pictures(), figures=Figures(), **settings
    )


def _read(folder, name):
    """(content type, bytes)"""
    with open(os.path.join(folder, name), "rb") as file:
        return _TYPES[os.path.splitext(name)[1]], file.read()


class Pictures:
    """The newest picture, for everybody who waits for it."""

    def __init__(self):
        from tornado.locks import Condition

        self.number, self.data, self.ended = 0, None, False
        self._changed = Condition()

    def publish(self, data):
        """The next picture, a JPEG."""
        self.number, self.data = self.number + 1, data
        self._changed.notify_all()

    def end(self):
        """There will be none any more."""
        self.ended = True
        self._changed.notify_all()

    async def after(self, number):
        """(number, JPEG) of a picture newer than `number`; (number, None) at the end."""
        while self.number <= number and not self.ended:
            await self._changed.wait()
        return self.number, None if self.ended else self.data


class Figures:
    """The viewers of the figures."""

    def __init__(self):
        self.viewers = set()

    def send(self, message):
        """To everybody; who has not taken the last message yet misses this one."""
        for viewer in list(self.viewers):
            viewer.offer(message)

    def end(self):
        for viewer in list(self.viewers):
            viewer.close(1001, "The stream has ended.")


class _Guarded:
    """What all handlers do: refuse foreign names, and tell the browser to load nothing from elsewhere."""

    def set_default_headers(self):
        self.set_header("Server", "deeplab-tf")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")

    def prepare(self):
        name = self.request.host_name.lower()
        if name not in self.settings["hosts"] and not _is_address(name):
            self.set_status(403)
            self.finish("This page answers to its address in numbers, or to this machine's own name.")
            return
        policy = (
            "default-src 'self'; connect-src 'self' ws://{}; frame-ancestors 'none'; base-uri 'none'; "
            "form-action 'none'"
        )
        self.set_header(
            "Content-Security-Policy", policy.format(self.request.host)
        )  # 'self' holds no ws: in older Safaris


def _is_address(name):
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


class _File(_Guarded):
    def get(self):
        kind, data = self.settings["files"][self.request.path]
        self.set_header("Content-Type", kind)
        self.finish(data)

    head = get


class _Missing(_Guarded):
    def get(self):
        self.set_status(404)
        self.finish("There is nothing here; the page is /.")

    head = get


class _Picture(_Guarded):
    """multipart/x-mixed-replace: one JPEG after the other, the newest each time."""

    async def get(self):
        state, stream = self.settings["state"], self.request.connection.stream
        if state.viewers >= MOST_VIEWERS:
            self.set_status(503)
            self.finish(f"{state.viewers} viewers are looking already.")
            return
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self.set_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
        self.set_header("Connection", "close")
        state.viewers += 1
        try:
            await self._send_all(self.settings["pictures"], stream)
        finally:
            state.viewers -= 1

    async def _send_all(self, pictures, stream):
        from tornado.gen import TimeoutError, with_timeout
        from tornado.iostream import StreamClosedError

        limit, number = datetime.timedelta(seconds=STALLED_SECONDS), 0
        self.write(_BOUNDARY)
        try:
            while True:
                await with_timeout(limit, self.flush(), quiet_exceptions=StreamClosedError)
                number, data = await pictures.after(number)
                if data is None:
                    return
                self.write(f"Content-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n")
                self.write(data)
                self.write(_BOUNDARY)  # now, not with the next one: browsers show a picture when they see its end
        except StreamClosedError:  # gone
            return
        except TimeoutError:
            stream.close()


class _FiguresSocket(_Guarded):
    """JSON, twice a second. Tornado itself refuses pages of another origin."""

    def open(self, *arguments):
        import json

        self._sending = self.write_message(json.dumps(self.settings["state"].hello()))
        self.settings["figures"].viewers.add(self)

    def on_message(self, message):
        """Nothing is asked for here."""

    def on_close(self):
        self.settings["figures"].viewers.discard(self)

    def offer(self, message):
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
