"""The web page of a stream: video and statistics arrive, viewers do not slow the loop, foreign hosts are refused."""

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from urllib.parse import urlsplit

import chromium
import cv2
import numpy as np
import pytest

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy.video.frame import AnnotatedFrame, StreamStats
from deeplab_tf.lab.data.camvid import CAMVID

pytest.importorskip("tornado", reason="the page needs Tornado")

from deeplab_tf.deploy.video.page import PageSink  # noqa: E402


def stats(number, **changes):
    values = {
        "fps": 20.0,
        "latency_ms": {"end_to_end": 50.0 + number % 7, "capture": 5.0, "run": 40.0, "post": 4.0},
        "captured": number + 3,
        "shown": number + 1,
        "dropped": 2,
        "reconnects": 1,
        "source": "rtsp://camera/street",
        "runtime": "onnx int8",
        "device": "test bench",
        "temperature_c": 51.5,
        "throttled": False,
        "class_shares": np.array([0.5, 0.25] + [0.0] * 9),
    }
    return StreamStats(**dict(values, **changes))


def annotated(number, size=(240, 320), noise=None, **changes):
    """A frame of one gray value, 2 * number modulo 256; with `noise` it is hard to compress."""
    image = np.full(size + (3,), 2 * number % 256, np.uint8) if noise is None else np.roll(noise, 16 * number, axis=1)
    return AnnotatedFrame(
        number, time.monotonic(), image, np.zeros((60, 80), np.uint8), image, stats(number, **changes)
    )


class Loop:
    """Writes a frame every `period` seconds into a sink, as a stream does, in a thread."""

    def __init__(self, sink, period=0.02, **options):
        self.sink, self.period, self.options = sink, period, options
        self.count, self.open = 0, True
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while self.open:
            time.sleep(self.period)  # stands for the network
            self.sink.write(annotated(self.count, **self.options))
            self.count += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.open = False
        self.thread.join()

    def rate(self, seconds):
        before, start = self.count, time.monotonic()
        time.sleep(seconds)
        return (self.count - before) / (time.monotonic() - start)


@pytest.fixture
def sink():
    sink = PageSink("127.0.0.1", 0, CAMVID, "A street & a <title>")
    yield sink
    sink.close()


class Viewer:
    """Reads the video of a page."""

    def __init__(self, url):
        self.response = urllib.request.urlopen(url + "video", timeout=10)
        self.response.readline(), self.response.readline()  # an empty line, the first boundary

    def frame(self):
        head = {}
        for line in iter(lambda: self.response.readline().strip().decode(), ""):
            name, _, value = line.partition(": ")
            head[name] = value
        data = self.response.read(int(head["Content-Length"]))
        assert (
            self.response.readline() == b"\r\n" and self.response.readline() == b"--frame\r\n"
        )  # comes with the frame, not with the next
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)

    def close(self):
        self.response.close()


def wait_for(true, seconds=15.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"still not so after {seconds} s"
        time.sleep(0.02)


def get(url, path="/", **headers):
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read() if path != "/video" or answer.status != 200 else b""
    finally:
        connection.close()


def test_viewer_gets_frames_in_order(sink):
    with Loop(sink):
        viewer = Viewer(sink.url)
        values = [int(viewer.frame()[120, 160, 0]) for _ in range(8)]
        viewer.close()
    steps = [(after - before) % 256 for before, after in zip(values, values[1:])]
    assert all(0 < step < 100 for step in steps), values


def test_video_is_rgb(sink):
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 250
    viewer = Viewer(sink.url)  # comes before the first frame
    sink.write(annotated(0)._replace(annotated=red))
    blue_green_red = viewer.frame()[32, 32].astype(int)  # as OpenCV reads
    viewer.close()
    assert blue_green_red[2] > 240 and blue_green_red[:2].max() < 10


def test_frames_are_encoded_once_for_all_viewers(sink, monkeypatch):
    from deeplab_tf.deploy.video import page

    encoded = []
    encode = page._jpeg
    monkeypatch.setattr(page, "_jpeg", lambda image: encoded.append(1) or encode(image))
    with Loop(sink) as loop:
        time.sleep(0.3)
        assert encoded == [] and sink.viewers == 0
        viewers = [Viewer(sink.url) for _ in range(4)]
        for _ in range(5):
            for viewer in viewers:
                viewer.frame()
        assert sink.viewers == 4
        for viewer in viewers:
            viewer.close()
        assert 5 <= len(encoded) <= loop.count
        wait_for(lambda: sink.viewers == 0)


def read_socket(url, count, **headers):
    """The first messages of the statistics."""
    import asyncio

    from tornado.httpclient import HTTPRequest
    from tornado.websocket import websocket_connect

    async def talk():
        connection = await websocket_connect(HTTPRequest(url.replace("http", "ws", 1) + "stats", headers=headers))
        messages = [json.loads(await asyncio.wait_for(connection.read_message(), 10)) for _ in range(count)]
        connection.close()
        while await connection.read_message() is not None:
            pass
        return messages

    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(talk())
    finally:
        loop.close()


def test_stats_arrive_with_their_history(sink):
    assert "waiting" in read_socket(sink.url, 2)[1]
    with Loop(sink):
        hello, *messages = read_socket(sink.url, 4)
        assert hello["title"] == "A street & a <title>"
        assert [row["name"] for row in hello["classes"]] == CAMVID.names
        assert hello["classes"][0]["color"] == "rgb(128, 128, 128)"
        later = read_socket(sink.url, 1)[0]
    newest = [message["stats"] for message in messages if "stats" in message][-1]
    assert (
        newest["shown"] == newest["frame"] + 1
        and newest["runtime"] == "onnx int8"
        and newest["class_shares"][:2] == [0.5, 0.25]
    )
    assert 0 <= newest["age"] < 5
    # a point is time, frames/s, and the highest latency since the last one: 50 + (0 .. 6), and 25 frames see each of
    # them
    assert later["history"][-1][1] == 20.0 and 50 < later["history"][-1][2] <= 56


def test_stalled_source_is_a_gap_in_the_plots(sink):
    sink.write(annotated(0))
    time.sleep(0.6)
    _, message = read_socket(sink.url, 2)
    assert message["point"][1:] == [0, None] and message["stats"]["age"] > 0.4


@pytest.mark.parametrize(
    "host, status",
    [
        ("localhost:1", 200),
        ("127.0.0.1", 200),
        ("192.168.7.7:80", 200),
        ("[::1]:80", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
    ],
)
def test_foreign_host_names_are_refused(sink, host, status):
    for path in ("/", "/stats", "/video", "/page.js"):
        if path in ("/", "/page.js") or status != 200:
            assert get(sink.url, path, Host=host)[0] == status


def test_foreign_pages_get_no_stats_and_cannot_embed_the_video(sink):
    from tornado.httpclient import HTTPClientError

    with pytest.raises(HTTPClientError, match="403"):
        read_socket(sink.url, 1, Origin="http://evil.example")
    assert read_socket(sink.url, 1, Origin=sink.url[:-1])
    sink.write(annotated(0))
    for path in ("/", "/video"):
        headers = get(sink.url, path)[1]
        assert "Access-Control-Allow-Origin" not in headers
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_page_loads_only_its_own_files(sink):
    status, headers, body = get(sink.url)
    assert status == 200 and "default-src 'self'" in headers["Content-Security-Policy"]
    text = body.decode()
    for path in ("/page.js", "/page.css", "/favicon.svg"):
        assert path in text
        assert get(sink.url, path)[0] == 200
        text += get(sink.url, path)[2].decode()
    assert "//" not in text.replace('xmlns="http://www.w3.org/2000/svg"', "").replace("// ", ""), (
        "something is loaded from elsewhere"
    )
    assert get(sink.url, "/favicon.ico")[0] == 200
    assert get(sink.url, "/nothing")[0] == 404 and get(sink.url, "/../page.py")[0] == 404


def test_port_in_use_is_one_sentence(sink):
    port = urlsplit(sink.url).port
    with pytest.raises(DeepLabError, match=f"Port {port} of 127.0.0.1 is in use"):
        PageSink("127.0.0.1", port, CAMVID, "second")


@pytest.mark.parametrize("host", ["203.0.113.5", "no-such-host.invalid"])
def test_foreign_address_is_one_sentence(host):
    with pytest.raises(DeepLabError, match=f"no address {host}"):
        PageSink(host, 0, CAMVID, "page")


def test_close_disconnects_viewers_and_frees_the_port():
    before = set(threading.enumerate())
    sink = PageSink("127.0.0.1", 0, CAMVID, "page")
    viewer = Viewer(sink.url)
    sink.write(annotated(0))
    viewer.frame()
    start = time.monotonic()
    sink.close()
    assert time.monotonic() - start < 1.5
    assert viewer.response.read() == b""
    viewer.close()
    assert set(threading.enumerate()) == before
    again = PageSink("127.0.0.1", urlsplit(sink.url).port, CAMVID, "page")
    again.close()


def test_encoder_failure_reaches_the_loop(sink):
    viewer = Viewer(sink.url)
    end = time.monotonic() + 10
    with pytest.raises(cv2.error):
        while time.monotonic() < end:
            sink.write(annotated(0)._replace(annotated=np.zeros((4, 4), np.float64)))  # no image
            time.sleep(0.01)
    viewer.close()


def test_server_failure_reaches_the_loop(sink):
    sink.write(annotated(0, device=object()))
    wait_for(lambda: sink._server.error is not None)
    with pytest.raises(AttributeError):
        sink.write(annotated(1))


def stalled(url):
    """A viewer that asks for the video and never reads."""
    place = urlsplit(url)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((place.hostname, place.port))
    connection.sendall(f"GET /video HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode())
    return connection


def test_stalled_viewer_is_disconnected_others_stay(sink, monkeypatch, rng):
    from deeplab_tf.deploy.video import page_server

    monkeypatch.setattr(page_server, "STALLED_SECONDS", 1.0)
    noise = rng.integers(
        0, 256, (256, 512, 3), dtype=np.uint8
    )  # about 150 kB a frame: the stalled viewer's buffers are soon full
    with Loop(sink, noise=noise), stalled(sink.url):
        viewer = Viewer(sink.url)
        end = time.monotonic() + 20
        most = 0
        while time.monotonic() < end and not (most == 2 and sink.viewers == 1):
            viewer.frame()
            most = max(most, sink.viewers)
        assert most == 2 and sink.viewers == 1
        viewer.frame()
        viewer.close()


def ask_for_video(url):
    """A connection that has asked for the video."""
    place = urlsplit(url)
    connection = socket.create_connection((place.hostname, place.port), timeout=10)
    connection.sendall(f"GET /video HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode())
    return connection


def test_viewers_that_come_and_go_without_a_frame_leave_their_places(sink, capfd):
    for _ in range(200):
        ask_for_video(sink.url).close()
    wait_for(lambda: sink.viewers == 0)
    sink.write(annotated(0))
    viewer = Viewer(sink.url)
    assert viewer.frame().shape == (240, 320, 3)
    viewer.close()
    assert capfd.readouterr() == ("", "")


def test_places_are_free_at_once_for_who_reloads(sink):
    from deeplab_tf.deploy.video.page_server import MAX_VIEWERS

    others = [ask_for_video(sink.url) for _ in range(MAX_VIEWERS - 1)]
    wait_for(lambda: sink.viewers == MAX_VIEWERS - 1)
    for _ in range(40):
        mine = ask_for_video(sink.url)
        assert mine.recv(12) == b"HTTP/1.1 200"
        mine.close()
    wait_for(lambda: sink.viewers == MAX_VIEWERS - 1)
    for connection in others:
        connection.close()
    wait_for(lambda: sink.viewers == 0)


def test_a_viewer_that_vanishes_is_probed(sink):
    viewer = ask_for_video(sink.url)
    wait_for(lambda: sink.viewers == 1)
    (stream,) = sink._server._connections
    assert stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 15
    viewer.close()


WITHOUT_DESCRIPTORS = """
import os, resource, socket, sys, threading, time
import test_page as page
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
sink = page.PageSink("127.0.0.1", 0, page.CAMVID, "page")
loop = page.Loop(sink)
with loop:
    assert page.get(sink.url)[0] == 200
    # more connections than the page keeps: the stream has its descriptors all the same
    many = [page.ask_for_video(sink.url) for _ in range(40)]
    page.wait_for(lambda: len(sink._server._connections) == 25)
    open(os.devnull).close()
    for connection in many:
        connection.close()
    page.wait_for(lambda: sink.viewers == 0)
    # no descriptor is left at all
    client = socket.socket()
    taken = []
    try:
        while True:
            taken.append(open(os.devnull))
    except OSError:
        pass
    client.connect(sink._server._listening.getsockname())
    client.sendall(b"GET / HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\n\\r\\n")
    client.settimeout(10)
    time.sleep(0.3)
    count = loop.count
    page.wait_for(lambda: loop.count > count + 10)
    for file in taken:
        file.close()
    assert client.recv(12) == b"HTTP/1.1 200"
    assert page.get(sink.url)[0] == 200
    client.close()
sink.close()
print("the page is back")
"""


def test_page_and_stream_outlive_the_descriptor_limit():
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(map(os.path.abspath, sys.path)))
    command = [sys.executable, "-c", WITHOUT_DESCRIPTORS]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, timeout=120)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"the page is back\n", b"")


TOKEN = "t0ken-t0ken"


@pytest.fixture
def guarded():
    sink = PageSink("127.0.0.1", 0, CAMVID, "page", TOKEN)
    sink.write(annotated(0))
    yield sink, sink.url.partition("?")[0]
    sink.close()


def test_without_the_token_nothing_is_shown(guarded):
    sink, url = guarded
    cookie = f"deeplab-tf-{urlsplit(url).port}="
    paths = ["/", "/video", "/stats", "/page.js", "/favicon.ico", "/nothing"]
    for path in paths + ["/?token=", "/?token=t0ken", "/?token=%ff"]:
        for headers in ({}, {"Cookie": cookie + "t0ken"}, {"Authorization": "Bearer t0ken"}, {"Cookie": "x=" + TOKEN}):
            status, _, body = get(url, path, **headers)
            assert status == 401 and b"needs its token" in body, (path, headers)
    assert sink.viewers == 0
    assert get(url, "/", Host="evil.example", Cookie=cookie + TOKEN)[0] == 403


def test_the_token_opens_everything_and_leaves_the_address(guarded):
    from tornado.httpclient import HTTPClientError

    sink, url = guarded
    assert sink.url == f"{url}?token={TOKEN}"
    status, headers, body = get(url, f"/?token={TOKEN}")
    assert (status, headers["Location"], body) == (302, "/", b"")
    cookie, *rest = headers["Set-Cookie"].split("; ")
    assert rest == ["Path=/", "HttpOnly", "SameSite=Lax"]
    for headers in ({"Cookie": cookie}, {"Authorization": f"Bearer {TOKEN}"}):
        for path in ("/", "/page.js", "/video"):
            assert get(url, path, **headers)[0] == 200
        hello = read_socket(url, 1, **headers)[0]
        assert hello["title"] == "page" and TOKEN not in json.dumps(hello)
        with pytest.raises(HTTPClientError, match="403"):
            read_socket(url, 1, Origin="http://evil.example", **headers)
    assert get(url, f"/page.js?token={TOKEN}")[0] == 200
    assert TOKEN not in get(url, "/", Cookie=cookie)[2].decode()


def test_who_can_see_the_page():
    for host, token, warned in (("127.0.0.1", None, False), ("0.0.0.0", None, True), ("0.0.0.0", TOKEN, False)):
        sink = PageSink(host, 0, CAMVID, "page", token)
        assert bool(sink.warning) is warned
        if warned:
            port = urlsplit(sink.url).port
            assert sink.warning.startswith(f"Anyone who can reach this machine on port {port} can watch; ")
        sink.close()


def test_no_error_of_the_page_prints_the_token(guarded, monkeypatch, capfd):
    from deeplab_tf.deploy.video import page_server

    sink, url = guarded
    monkeypatch.setattr(page_server._Guarded, "_has_token", lambda self: 1 // 0)
    assert get(url, f"/?token={TOKEN}")[0] == 500
    out, errors = capfd.readouterr()
    assert (out, errors) == ("", "The page could not answer a request: ZeroDivisionError.\n")


NINE_VIEWERS = """
import select, socket, sys
host, port = sys.argv[1], int(sys.argv[2])
connections = [socket.create_connection((host, port)) for _ in range(9)]
for connection in connections:
    connection.sendall("GET /video HTTP/1.1\\r\\nHost: {}:{}\\r\\n\\r\\n".format(host, port).encode())
total = 0
while True:
    for ready in select.select(connections + [sys.stdin], [], [])[0]:
        if ready is sys.stdin:
            sys.exit(print(total))
        total += len(ready.recv(1 << 20))
"""


@pytest.mark.alone
def test_ten_viewers_do_not_slow_the_loop(sink, rng):
    """The loop waits 40 ms for its network. Measured in pairs: a second without viewers, a second with nine elsewhere
    and a stalled one."""
    noise = cv2.GaussianBlur(rng.integers(0, 256, (512, 1024, 3), dtype=np.uint8), (0, 0), 2)  # about 60 kB a frame
    place, ratios, received = urlsplit(sink.url), [], 0
    with Loop(sink, period=0.04, noise=noise) as loop:
        while len(ratios) < 4 or (np.median(ratios[-4:]) <= 0.95 and len(ratios) < 12):  # a busy machine gets more time
            alone = loop.rate(1.0)
            command = [sys.executable, "-c", NINE_VIEWERS, place.hostname, str(place.port)]
            with stalled(sink.url), subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as viewers:
                wait_for(lambda: sink.viewers >= 10)
                ratios.append(loop.rate(1.0) / alone)
                received += int(viewers.communicate(b"")[0])
    print(f"with ten viewers / without: {[round(ratio, 3) for ratio in ratios]}; {received / 1e6:.0f} MB received")
    assert received > 4 * 9 * 10 * 30000  # frames did arrive
    assert np.median(ratios[-4:]) > 0.95, ratios


needs_chromium = pytest.mark.skipif(
    chromium.find() is None, reason="no Chromium is installed here (apt-get install chromium)"
)

# The gray value in the middle of the live video, which a canvas can read because it is of the page's own origin.
MIDDLE = """(() => { const image = document.getElementById("video"); if (!image.naturalWidth) return null;
const canvas = document.createElement("canvas"); canvas.width = canvas.height = 1;
canvas.getContext("2d").drawImage(image, 100, 100, 1, 1, 0, 0, 1, 1);
return canvas.getContext("2d").getImageData(0, 0, 1, 1).data[0] + 1; })()"""
INK = """(() => { const canvas = document.getElementById("{}");
return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data
.filter((value, i) => i % 4 == 3 && value).length; })()"""


@needs_chromium
@pytest.mark.parametrize("width", [1280, 390])
def test_browser_shows_video_and_stats_without_complaints(sink, width, tmp_path):
    with Loop(sink, dropped=7, instances=[0] * 8 + [3, 0, 12]), chromium.Browser(width, 844) as browser:
        browser.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=2, mobile=width < 600
        )
        browser.open(sink.url)
        browser.wait("document.getElementById('state').textContent == 'live'")
        first = browser.wait(MIDDLE)
        browser.wait(f"{MIDDLE} != {first}")
        frames = browser.value("document.getElementById('frames').textContent")
        browser.wait(f"document.getElementById('frames').textContent != '{frames}'")
        text = browser.value("document.body.innerText")
        for part in (
            "20.0",
            "rtsp://camera/street",
            "onnx int8",
            "test bench",
            "A street & a <title>",
            "pedestrian",
            "50.0 %",
            "25.0 %",
            "7 dropped",
            "× 3",
            "× 12",
        ):
            assert part in text, part
        assert browser.value("document.title") == "A street & a <title>"
        plots = [browser.value(INK.replace("{}", name)) for name in ("latency-plot", "fps-plot")]
        assert min(plots) > 500
        assert browser.value("document.documentElement.scrollWidth") <= width, "the page is wider than the screen"
        assert browser.value("document.getElementById('video').naturalWidth") == 320
        assert browser.complaints == []


@needs_chromium
def test_browser_shows_lines_and_zones(sink):
    lines = {"<b>gate</b>": {"forward": {"car": 3, "bicyclist": 1}, "backward": {}}}
    dwell = {"visits": 2, "total": 5.0, "longest": 4.5}
    yard = {"entered": {"car": 3}, "left": {"car": 2}, "inside": {"car": 1}, "dwell_s": dwell, "things": []}
    with Loop(sink, lines=lines, zones={"yard": yard}), chromium.Browser() as browser:
        browser.open(sink.url)
        browser.wait("!document.getElementById('regions').hidden")
        rows = browser.value("[...document.querySelectorAll('#region-list li')].map((row) => row.innerText)")
        assert [" ".join(row.split()) for row in rows] == [
            "<b>gate</b> forward 4 (3 car, 1 bicyclist) backward 0",
            "yard inside 1 (1 car) entered 3 (3 car) left 2 (2 car) stayed 2.5 s on average, at most 4.5 s",
        ]
        assert browser.complaints == []


@needs_chromium
def test_browser_shows_the_end_of_the_stream(sink):
    with chromium.Browser() as browser:
        with Loop(sink):
            browser.open(sink.url)
            browser.wait("document.getElementById('state').className == 'live'")
        browser.wait("document.getElementById('state').textContent.startsWith('no new frame for')")
        sink.close()
        browser.wait("document.getElementById('state').className == 'lost'")
