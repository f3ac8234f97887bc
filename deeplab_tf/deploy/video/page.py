"""The web page of a stream: the live picture, latency and frames a second over time, what the network sees, and what it
runs on.

The loop hands a frame over and goes on: `PageSink.write` only puts it where the newest frame lies. One thread encodes
the newest frame to a JPEG, once for all viewers and only where there is one; another runs the web server (Tornado). A
viewer that reads slowly gets fewer pictures, one that stops reading is let go after a while; neither is ever waited
for.
"""

import collections
import errno
import importlib.util
import json
import os
import socket
import threading
import time

import cv2

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.deploy.video.page_server import application

FILES = os.path.join(os.path.dirname(__file__), "page_files")
TICK = 0.5
"""Seconds between two sets of figures."""
HISTORY = 240
"""Points of the plots that a new viewer gets: two minutes of ticks."""
PICTURES_PER_SECOND = 30.0
JPEG_QUALITY = 80
CLOSE_SECONDS = 1.0


class PageSink:
    """A sink that shows a stream in a browser.

    Attributes:
        url: where to look.
        viewers: how many look at the live picture now.
    """

    def __init__(self, host: str, port: int, table: LabelTable, title: str):
        """Starts the server.

        Args:
            host: the address to listen at; 127.0.0.1 is this machine alone, 0.0.0.0 everybody who can reach it.
            port: 0 takes a free one.
            table: the classes.
            title: of the page.
        Raises:
            DeepLabError: Tornado is not installed, or nothing can listen there.
        """
        if importlib.util.find_spec("tornado") is None:
            raise DeepLabError("The page of --serve needs Tornado, which is not installed here: pip install tornado")
        listening, port = _listen(host, port)
        self.url = f"http://{_visible(host)}:{port}/"
        self._state = _State(table, title)
        self._server = _Server(listening, self._state, _allowed_hosts(host))
        self._encoder = threading.Thread(target=self._encode, name="page-encoder", daemon=True)
        self._newest = threading.Condition()
        self._shown = self._error = None
        self._open = True
        self._encoder.start()
        self._server.start()

    @property
    def viewers(self) -> int:
        return self._state.viewers

    def write(self, shown) -> None:
        """Takes a `Shown`, and never waits. Raises what made the page's threads fail, if they did."""
        error = self._error or self._server.error
        if error is not None:
            raise error
        self._state.count(shown)
        with self._newest:
            self._shown = shown
            self._newest.notify()

    def close(self) -> None:
        """Ends both threads and lets all viewers go."""
        with self._newest:
            self._open = False
            self._newest.notify()
        self._encoder.join(CLOSE_SECONDS)
        self._server.close()

    def _encode(self):
        """The encoder's thread: the newest frame, if somebody looks, as soon as it is there."""
        due = 0.0
        while True:
            with self._newest:
                while self._open and (self._shown is None or not self._state.viewers):
                    self._newest.wait(TICK / 5)  # a viewer may come while no frame does
                if not self._open:
                    return
                shown, self._shown = self._shown, None
            try:
                data = _jpeg(shown.picture)
            except Exception as error:  # a thread has nobody to tell: the next write raises it
                self._error = error
                return
            self._server.show(data)
            time.sleep(max(0.0, due - time.monotonic()))
            due = time.monotonic() + 1.0 / PICTURES_PER_SECOND


def _jpeg(picture):
    encoded, data = cv2.imencode(
        ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )
    if not encoded:
        raise DeepLabError(
            "OpenCV cannot encode a picture of {} as JPEG.".format("x".join(map(str, picture.shape[:2])))
        )
    return data.tobytes()


def _listen(host, port):
    """(listening socket, port)"""
    listening = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, 0, socket.SOCK_STREAM, 0, socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # the port of a stream that has just ended is free again
        listening.bind(address)
        listening.listen(128)
        listening.setblocking(False)
    except (OSError, OverflowError) as error:
        if listening is not None:
            listening.close()
        raise DeepLabError(_why_not(host, port, error)) from error
    return listening, listening.getsockname()[1]


def _why_not(host, port, error):
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return f"Port {port} of {host} is in use by another program; choose another port for --serve."
    if number == errno.EACCES:
        return f"Port {port} is for administrators; choose one above 1023 for --serve."
    if isinstance(error, socket.gaierror) or number == errno.EADDRNOTAVAIL:
        return (
            f"This machine has no address {host}; --serve takes one of its own, 127.0.0.1 for itself or "
            f"0.0.0.0 for all."
        )
    return "Nothing can listen at {}:{}: {}.".format(host, port, getattr(error, "strerror", None) or error)


def _visible(host):
    """The host as others write it in a URL."""
    if host in ("0.0.0.0", "::", ""):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))  # sends nothing; the system says which of its addresses it would use
                return probe.getsockname()[0]
            except OSError:
                return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _allowed_hosts(host):
    """The names under which a browser may ask: not those that somebody else's name server lets point here (DNS
    rebinding).

    Addresses in numbers are always allowed; nobody can make them point elsewhere.
    """
    own = socket.gethostname().lower()
    return {"localhost", host.lower(), own, own.split(".")[0] + ".local"}


class _State:
    """What the page tells, as the loop and the server share it."""

    def __init__(self, table, title):
        self.table, self.title = table, title
        self.viewers = 0  # changed by the server's thread alone
        self.start = time.monotonic()
        self.points = collections.deque(maxlen=HISTORY)  # of the server's thread
        self._lock = threading.Lock()
        self._last = None
        self._slowest = 0.0

    def count(self, shown):
        with self._lock:
            self._last = shown
            self._slowest = max(self._slowest, shown.figures.latency_ms["end_to_end"])

    def hello(self):
        """What a viewer gets first."""
        classes = [{"name": label.name, "color": "rgb({}, {}, {})".format(*label.color)} for label in self.table]
        return {"title": self.title, "classes": classes, "history": list(self.points), "tick": TICK}

    def tick(self):
        """The figures now, and one more point for the plots: frames/s, and the highest latency since the last point."""
        with self._lock:
            last, slowest = self._last, self._slowest
            self._slowest = 0.0
        now = time.monotonic()
        if last is None:
            return {"waiting": now - self.start}
        figures = dict(last.figures._asdict(), age=now - last.captured, index=last.index)
        # between two points no frame came: the plots show it as a gap
        point = (
            [round(now - self.start, 2), round(last.figures.fps, 2), round(slowest, 2)]
            if slowest
            else [round(now - self.start, 2), 0, None]
        )
        self.points.append(point)
        return {"figures": figures, "point": point}


class _Server:
    """Tornado in a thread of its own."""

    def __init__(self, listening, state, hosts):
        self.error = None
        self._listening, self._state, self._hosts = listening, state, hosts
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="page-server", daemon=True)

    def start(self):
        self._thread.start()
        self._started.wait()

    def show(self, data):
        """A new picture, from another thread."""
        self._call(self._pictures.publish, data)

    def close(self):
        self._call(self._stop)
        self._thread.join(CLOSE_SECONDS)

    def _call(self, function, *arguments):
        try:
            self._loop.add_callback(function, *arguments)
        except RuntimeError:  # the loop is closed: the server has ended
            pass

    def _run(self):
        import asyncio

        from tornado.ioloop import IOLoop

        try:
            asyncio.set_event_loop(asyncio.new_event_loop())
            self._loop = IOLoop.current()
            self._open()
            self._started.set()
            self._loop.start()
            self._loop.close(all_fds=True)
        except Exception as error:  # a thread has nobody to tell: the next write raises it
            self.error = error
        finally:
            self._started.set()

    def _open(self):
        from tornado.httpserver import HTTPServer
        from tornado.ioloop import PeriodicCallback

        app = application(self._state, self._hosts, FILES)
        self._pictures, self._figures = app.settings["pictures"], app.settings["figures"]
        self._http = HTTPServer(app, idle_connection_timeout=60, max_body_size=4096, max_header_size=16384)
        self._http.add_socket(self._listening)
        self._ticker = PeriodicCallback(self._tick, 1000 * TICK)
        self._ticker.start()

    def _tick(self):
        try:
            self._figures.send(json.dumps(self._state.tick(), default=lambda value: value.tolist()))  # NumPy's
        except Exception as error:  # Tornado would only print it
            self.error = error

    def _stop(self):
        self._ticker.stop()
        self._http.stop()
        self._pictures.end()
        self._figures.end()
        self._loop.call_later(0.05, self._loop.stop)  # time for the viewers' last turn
