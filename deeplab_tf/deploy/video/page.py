"""The web page of a stream: live video, latency and frame rate over time, class shares, and the machine.

`PageSink.write` only queues the newest frame of each source. One thread encodes it to a JPEG, once for all viewers and
only if there is one; another runs the web server (Tornado). A slow viewer gets fewer frames, one that stops reading is
disconnected; the loop never waits for either.
"""

import errno
import importlib.util
import ipaddress
import json
import logging
import os
import resource
import socket
import threading
import time
from typing import Optional, Sequence

import cv2

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.deploy.video.fair_queue import FairQueue
from deeplab_tf.deploy.video.frame import AnnotatedFrame
from deeplab_tf.deploy.video.page_server import KEEP_ALIVE, application
from deeplab_tf.deploy.video.page_state import TICK, PageState
from deeplab_tf.deploy.video.sinks import Sink

FILES = os.path.join(os.path.dirname(__file__), "page_files")
MAX_FPS = 30.0
JPEG_QUALITY = 80
TILE_WIDTH = 480
"""Pixels of a source's video in the grid, at most."""
CLOSE_SECONDS = 1.0
MAX_CONNECTIONS = 256
"""Open at once; a quarter of the process's descriptors where these are fewer, so that the stream keeps the others."""
ACCEPT_PAUSE = 0.5
"""Seconds until connections are accepted again, when no descriptor was left."""
_WARNING = "Anyone who can reach this machine on port {} can watch; protect the page with --token auto."


class PageSink(Sink):
    """Shows a stream in a browser.

    Attributes:
        url: address of the page, with its token.
        warning: a sentence about who can watch, where anyone beyond this machine can; else None.
    """

    def __init__(
        self,
        host: str,
        port: int,
        table: LabelTable,
        title: str,
        token: Optional[str] = None,
        *,
        sources: Sequence[str] = ("",),
    ):
        """Start the server.

        Args:
            host: the address to listen at; 127.0.0.1 for this machine alone, 0.0.0.0 for the network.
            port: 0 takes a free one.
            table: the classes.
            title: of the page.
            token: what a viewer must bring; None for nothing. Letters, digits and ._~- only.
            sources: their names; of several the page shows a grid, and each by itself.

        Raises:
            DeepLabError: Tornado is not installed, or nothing can listen there.
        """
        if importlib.util.find_spec("tornado") is None:
            raise DeepLabError("The page of --serve needs Tornado, which is not installed here: pip install tornado")
        listening, port = _listen(host, port)
        self.url = f"http://{_visible(host)}:{port}/" + (f"?token={token}" if token else "")
        self.warning = None if token or _is_loopback(listening) else _WARNING.format(port)
        self._state = PageState(table, title, sources)
        self._server = _Server(listening, self._state, _allowed_hosts(host), token)
        self._newest, self._closed = FairQueue([1] * len(sources), [True] * len(sources)), threading.Event()
        self._error: Optional[Exception] = None
        self._encoder = threading.Thread(target=self._encode, name="page-encoder", daemon=True)
        self._encoder.start()
        self._server.start()

    @property
    def viewers(self) -> int:
        """Connected viewers of the live video."""
        return self._state.viewers

    def write(self, frame: AnnotatedFrame) -> None:
        """Queue a frame without waiting. Raise the error of a failed thread of the page."""
        error = self._error or self._server.error
        if error is not None:
            raise error
        self._state.update(frame)
        self._newest.put(frame, frame.feed)

    def close(self) -> None:
        """End both threads and disconnect all viewers."""
        self._closed.set()
        self._newest.abort()
        self._encoder.join(CLOSE_SECONDS)
        self._server.close()

    def _encode(self):
        """Encode the newest frame whenever there is one and a viewer; the encoder's thread."""
        pause = 0.0
        while not self._closed.wait(pause):
            pause = TICK / 5  # a viewer may come while no frame does
            if not self._state.is_watched:
                continue
            frame = self._newest.get()
            if frame is None:
                return
            start = time.monotonic()
            try:
                self._publish(frame)
            except Exception as error:  # raised by the next write
                self._error = error
                return
            pause = max(0.0, start + 1.0 / (MAX_FPS * len(self._state.sources)) - time.monotonic())

    def _publish(self, frame):
        source = self._state.sources[frame.feed]
        if source.viewers or len(self._state.sources) == 1:  # who has just gone may be back
            self._server.publish("videos", frame.feed, _jpeg(frame.annotated))
        if source.tile_viewers:
            self._server.publish("tiles", frame.feed, _jpeg(_tile(frame.annotated)))


def _tile(image):
    height, width = image.shape[:2]
    if width <= TILE_WIDTH:
        return image
    size = TILE_WIDTH, max(1, int(round(height * TILE_WIDTH / width)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _jpeg(image):
    encoded, data = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )
    if not encoded:
        raise DeepLabError(f"OpenCV cannot encode an image of {image.shape[0]}x{image.shape[1]} as JPEG.")
    return data.tobytes()


def _listen(host, port):
    """Return (listening socket, port)."""
    listening = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, 0, socket.SOCK_STREAM, 0, socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        # the port of a stream that has just ended is free again
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
        listening.setblocking(False)
    except (OSError, OverflowError) as error:
        if listening is not None:
            listening.close()
        raise DeepLabError(_listen_problem(host, port, error)) from error
    return listening, listening.getsockname()[1]


def _listen_problem(host, port, error):
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return f"Port {port} of {host} is in use by another program; choose another port for --serve."
    if number == errno.EACCES:
        return f"Port {port} needs administrator rights; choose one above 1023 for --serve."
    if isinstance(error, socket.gaierror) or number == errno.EADDRNOTAVAIL:
        return f"This machine has no address {host}; use one of its own, 127.0.0.1 for itself or 0.0.0.0 for all."
    return f"Nothing can listen at {host}:{port}: {getattr(error, 'strerror', None) or error}."


def _visible(host):
    """Return the host as others write it in a URL."""
    if host in ("0.0.0.0", "::", ""):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))  # sends nothing; the system picks the address that it would use
                return probe.getsockname()[0]
            except OSError:
                return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _is_loopback(listening):
    return ipaddress.ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback


def _allowed_hosts(host):
    """Return the names under which a browser may ask, against DNS rebinding; numeric addresses are always allowed."""
    own = socket.gethostname().lower()
    return {"localhost", host.lower(), own, own.split(".")[0] + ".local"}


class _Server:
    """Tornado in a thread of its own."""

    def __init__(self, listening, state, hosts, token):
        self.error = None
        self._listening, self._state, self._hosts, self._token = listening, state, hosts, token
        self._connections: list = []
        # Tornado's messages hold the address that was asked for, and its token
        logging.getLogger("tornado").addHandler(logging.NullHandler())
        logging.getLogger("tornado").propagate = False
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="page-server", daemon=True)

    def start(self):
        self._thread.start()
        self._started.wait()

    def publish(self, kind, source, jpeg):
        """Send a JPEG to all viewers of `videos` or `tiles`; called from another thread."""
        self._call(self._settings[kind][source].publish, jpeg)

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
        except Exception as error:  # raised by the sink's next write
            self.error = error
        finally:
            self._started.set()

    def _open(self):
        from tornado.httpserver import HTTPServer
        from tornado.ioloop import PeriodicCallback

        port = self._listening.getsockname()[1]
        app = application(self._state, self._hosts, FILES, token=self._token, port=port)
        self._settings, self._stats_viewers = app.settings, app.settings["stats_viewers"]
        self._http = HTTPServer(app, idle_connection_timeout=60, max_body_size=4096, max_header_size=16384)
        self._listen()
        self._ticker = PeriodicCallback(self._tick, 1000 * TICK)
        self._ticker.start()

    def _listen(self):
        if self._listening.fileno() != -1:
            self._loop.add_handler(self._listening, self._accept, self._loop.READ)

    def _accept(self, listening, events):
        """Accept the connections that wait; with no descriptor left, they wait on."""
        try:
            for _ in range(MAX_CONNECTIONS):  # then whoever is connected has a turn
                connection, address = listening.accept()
                self._connections = [stream for stream in self._connections if not stream.closed()]
                if len(self._connections) < _max_connections():
                    self._connections.append(_serve(self._http, connection, address))
                else:
                    connection.close()
        except BlockingIOError:
            return
        except OSError:
            self._loop.remove_handler(listening)
            self._loop.call_later(ACCEPT_PAUSE, self._listen)

    def _tick(self):
        try:
            ticks = [source.tick() for source in self._state.sources]
            of_all = json.dumps({"streams": ticks}, default=_plain)
            messages = [json.dumps(tick, default=_plain) for tick in ticks]
            for viewer in list(self._stats_viewers):
                viewer.offer(of_all if viewer.source is None else messages[viewer.source])
        except Exception as error:  # Tornado would only print it
            self.error = error

    def _stop(self):
        self._ticker.stop()
        self._loop.remove_handler(self._listening)
        self._listening.close()
        for video in self._settings["videos"] + self._settings["tiles"]:
            video.end()
        for viewer in list(self._stats_viewers):
            viewer.close(1001, "The stream has ended.")
        self._loop.call_later(0.05, self._loop.stop)  # time for the viewers' last turn


def _plain(value):
    return value.tolist()  # NumPy's


def _max_connections():
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MAX_CONNECTIONS if limit == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, limit // 4)


def _serve(http, connection, address):
    """Let Tornado answer at a connection; return its stream."""
    from tornado.iostream import IOStream

    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEP_ALIVE.items():
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    stream = IOStream(connection)
    http.handle_stream(stream, address)
    return stream
