"""The page of several sources: a grid of all, each by itself, metrics and health of each; on a phone too."""

import json
import threading
import time

import chromium
import cv2
import numpy as np
import pytest
from test_page import CAMVID, annotated, get, read_socket

pytest.importorskip("tornado", reason="the page needs Tornado")

from deeplab_tf.deploy.video import metrics  # noqa: E402
from deeplab_tf.deploy.video.page import TILE_WIDTH, PageSink  # noqa: E402

NAMES = ["rtsp://gate/live", "rtsp://yard/live", "a <b>film</b>.mp4", "/dev/video0"]


@pytest.fixture
def sink():
    sink = PageSink("127.0.0.1", 0, CAMVID, "4 sources", sources=NAMES)
    yield sink
    sink.close()


def frame(number, feed, size=(300, 960)):
    """A frame whose gray value, 50, 100, ..., names its source."""
    image = np.full(size + (3,), 50 * (feed + 1), np.uint8)
    return annotated(number, source=NAMES[feed], fps=10.0 + feed, dropped=feed)._replace(
        annotated=image, feed=feed, image=image
    )


class Loop:
    """Writes a frame of each of the first `count` sources in turn."""

    def __init__(self, sink, count):
        self.sink, self.count, self.open = sink, count, True
        self.thread = threading.Thread(target=self.run)

    def run(self):
        number = 0
        while self.open:
            for feed in range(self.count):
                self.sink.write(frame(number, feed))
            number += 1
            time.sleep(0.05)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *error):
        self.open = False
        self.thread.join()


def decoded(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def test_a_tile_is_a_small_picture_of_its_source(sink):
    with Loop(sink, 4):
        for feed in range(4):
            status, headers, data = get(sink.url, f"/tile?source={feed}")
            assert status == 200 and headers["Content-Type"] == "image/jpeg"
            assert (
                decoded(data).shape == (150, TILE_WIDTH, 3) and abs(int(decoded(data)[9, 9, 0]) - 50 * (feed + 1)) < 3
            )
        number = int(headers["Frame-Number"])
        assert int(get(sink.url, f"/tile?source=3&after={number}")[1]["Frame-Number"]) > number
    assert not sink._state.is_watched


def test_a_tile_without_a_new_frame_is_empty(sink, monkeypatch):
    from deeplab_tf.deploy.video import page_server

    monkeypatch.setattr(page_server, "TILE_SECONDS", 0.1)
    assert get(sink.url, "/tile?source=2")[0] == 204


@pytest.mark.parametrize("path", ["/video?source=4", "/tile?source=-1", "/tile?source=x", "/tile?source=99999"])
def test_a_source_that_is_not_there(sink, path):
    assert get(sink.url, path)[0] == 404


def test_messages_are_of_one_source_or_of_all(sink):
    for feed in (0, 2):
        sink.write(frame(7, feed))
    hello, message = read_socket(sink.url, 2)
    assert hello["sources"] == NAMES and "classes" not in hello
    assert [each["stats"]["source"] if "stats" in each else None for each in message["streams"]] == [
        NAMES[0],
        None,
        NAMES[2],
        None,
    ]


def test_metrics_and_health_of_each_source(sink, monkeypatch):
    parser = pytest.importorskip("prometheus_client.parser", reason="the metrics need prometheus_client")
    for number in range(3):
        sink.write(frame(number, 0))
    sink.write(frame(8, 1))
    text = get(sink.url, "/metrics")[2].decode()
    samples = [each for family in parser.text_string_to_metric_families(text) for each in family.samples]
    found = {(each.name, each.labels.get("source")): each.value for each in samples}
    assert [found["deeplab_tf_up", name] for name in NAMES] == [1, 1, 0, 0]
    assert (
        found["deeplab_tf_frames_shown_total", NAMES[0]] == 3 and found["deeplab_tf_frames_shown_total", NAMES[1]] == 9
    )
    counts = {
        each.labels["source"]: each.value
        for each in samples
        if each.name == "deeplab_tf_latency_seconds_count" and each.labels["stage"] == "run"
    }
    assert counts == {NAMES[0]: 3, NAMES[1]: 1}
    status, _, health = get(sink.url, "/healthz")
    states = {name: each["status"] for name, each in json.loads(health)["sources"].items()}
    assert status == 200 and [states[name] for name in NAMES] == ["ok", "ok", "starting", "starting"]
    monkeypatch.setattr(metrics, "STALE_S", 0.01)
    time.sleep(0.05)
    status, _, health = get(sink.url, "/healthz")
    assert status == 503 and {each["status"] for each in json.loads(health)["sources"].values()} == {"no frame"}


SHADES = """[...document.querySelectorAll('#grid img')].map((image) => { if (!image.naturalWidth) return 0;
const canvas = document.createElement('canvas'); canvas.width = canvas.height = 1;
const pen = canvas.getContext('2d'); pen.drawImage(image, 20, 20, 1, 1, 0, 0, 1, 1);
return Math.round(pen.getImageData(0, 0, 1, 1).data[0] / 10) * 10; }).join()"""


@pytest.mark.skipif(chromium.find() is None, reason="no Chromium is installed here (apt-get install chromium)")
@pytest.mark.parametrize("width, columns", [(1280, 2), (390, 1)])
def test_browser_shows_a_grid_and_each_source(sink, width, columns, tmp_path):
    with Loop(sink, 3), chromium.Browser(width, 844) as browser:
        browser.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=2, mobile=width < 600
        )
        browser.open(sink.url)
        browser.wait(f"{SHADES} == '50,100,150,0'")
        browser.wait("document.getElementById('state').textContent == '3 of 4 live'")
        text = browser.value("document.getElementById('grid').innerText")
        for part in (*NAMES, "10.0 frames/s", "12.0 frames/s", "2 dropped", "waiting for"):
            assert part in text, (part, text)
        places = (
            "[...document.querySelectorAll('#grid a')].map((tile) => Math.round(tile.getBoundingClientRect().left))"
        )
        assert len(set(browser.value(places))) == columns
        assert browser.value("document.documentElement.scrollWidth") <= width, "the page is wider than the screen"
        assert not browser.value("document.getElementById('one').offsetHeight")
        browser.value("document.querySelectorAll('#grid a')[1].click()")
        browser.wait(f"document.title == '{NAMES[1]}' && document.getElementById('state').textContent == 'live'")
        browser.wait("document.getElementById('video').naturalWidth == 960")
        assert browser.value("document.getElementById('source').textContent") == NAMES[1]
        assert browser.value("document.documentElement.scrollWidth") <= width
        browser.value("document.getElementById('all').click()")
        browser.wait("document.title == '4 sources' && !document.getElementById('grid').hidden")
        assert browser.complaints == []
