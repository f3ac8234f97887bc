"""Shared by tests of streams: a bundle without a network, a fake runtime, video files, a network camera on loopback.

As a script it is `deeplab-tf` with that runtime; FAKE_DELAY is its seconds per frame, FAKE_STALL the seconds after
which a camera counts as lost.
"""

import contextlib
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn

import cv2
import numpy as np

from deeplab_tf.core.bundle import open_bundle, seal
from deeplab_tf.core.labels import Label, LabelTable
from deeplab_tf.deploy.runtimes import Runtime

TABLE = LabelTable(
    [Label(0, "dark", (200, 0, 0), False), Label(1, "gray", (0, 200, 0), False), Label(2, "bright", (0, 0, 200), True)]
)


class FakeRuntime(Runtime):
    """Dark, gray and bright pixels are its classes; a frame takes `delay` seconds without using a core."""

    name = "fake"

    def __init__(self, bundle, delay=0.0):
        super().__init__(bundle, "float32")
        self.delay, self.runs, self.fail_at = delay, 0, None

    def upload(self, frame):
        self.frame = frame

    def run(self):
        time.sleep(self.delay)
        self.runs += 1
        if self.runs == self.fail_at:
            raise ValueError("the network broke")

    def download(self):
        stride = self.label_stride
        return {"labels": self.frame[::stride, ::stride, 0].astype(np.int32) // 86}


def write_bundle(path, size=(64, 128), label_stride=4):
    """A bundle's folder with nothing to run in it."""
    os.makedirs(str(path))
    info = {"classes": TABLE.to_dicts(), "size": list(size), "label_stride": label_stride, "output": "labels"}
    seal(str(path), info)
    return str(path)


def fake_runtime(path, delay=0.0, **options):
    return FakeRuntime(open_bundle(write_bundle(path, **options)), delay)


def numbered(index, size=(64, 128)):
    """An RGB frame whose gray value encodes its number, 0 to 24, and survives lossy coding."""
    return np.full(size + (3,), 5 + 10 * (index % 25), np.uint8)


def number_of(image):
    return int(round((float(np.median(image)) - 5) / 10))


def write_video(path, frames, fps=25.0, size=(64, 128)):
    """A video file of numbered frames."""
    code = "MJPG" if str(path).endswith(".avi") else "mp4v"
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*code), fps, size[::-1])
    for index in range(frames):
        writer.write(numbered(index, size))
    writer.release()
    return str(path)


class _Camera(BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        self.server.seen.append(self.headers.get("Authorization"))
        index = 0
        with contextlib.suppress(OSError):
            while not self.server.ended:
                if not self.server.stalled:
                    data = cv2.imencode(".jpg", numbered(index))[1].tobytes()
                    self.wfile.write(
                        b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data)
                        + data
                        + b"\r\n"
                    )
                    index += 1
                time.sleep(self.server.period)


class _Server(ThreadingMixIn, HTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    ended = stalled = False


class NetworkCamera:
    """An HTTP server that sends numbered frames as MJPEG, and can be killed, started again and stalled.

    Attributes:
        url: with a user and a password.
        seen: the Authorization headers that came.
    """

    def __init__(self, fps=40.0):
        self._fps, self._port, self.seen = fps, 0, []
        self.start()
        self.url = f"http://user:secret@127.0.0.1:{self._port}/live"

    def start(self):
        self._server = _Server(("127.0.0.1", self._port), _Camera)
        self._server.period, self._server.seen = 1.0 / self._fps, self.seen
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stall(self):
        self._server.stalled = True

    def kill(self):
        self._server.ended = True
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if not self._server.ended:
            self.kill()


def with_fake_runtime(monkeypatch, folder):
    """run(*options): `deeplab-tf stream` on a bundle, in `folder`, whose runtime is `FakeRuntime`."""
    from deeplab_tf.deploy import runtimes

    bundle = write_bundle(folder)
    monkeypatch.setattr(runtimes, "open_runtime", lambda bundle, *_, **__: FakeRuntime(bundle))
    return lambda *options: invoke(bundle, *options)


def invoke(*arguments):
    """`deeplab-tf stream ...` in this process."""
    from click_runner import CliRunner

    from deeplab_tf.cli import group

    return CliRunner().invoke(group, ["stream"] + [str(argument) for argument in arguments])


def main():
    """`deeplab-tf` with the fake in the place of every runtime."""
    from deeplab_tf.cli import main as deeplab_tf
    from deeplab_tf.deploy import runtimes
    from deeplab_tf.deploy.video import camera

    camera.TIMEOUT_S = float(os.environ.get("FAKE_STALL", camera.TIMEOUT_S))  # before camera_source is imported
    runtimes.open_runtime = lambda bundle, name="auto", precision=None, live=False: FakeRuntime(
        bundle, float(os.environ.get("FAKE_DELAY", "0"))
    )
    deeplab_tf()


def environment(**more):
    """For a process that runs this file."""
    return dict(os.environ, PYTHONPATH=os.pathsep.join(map(os.path.abspath, sys.path)), PYTHONUNBUFFERED="1", **more)


if __name__ == "__main__":
    main()
