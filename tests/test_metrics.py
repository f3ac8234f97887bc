"""/metrics as Prometheus' own parser reads it, /healthz, and the Grafana dashboard, which asks for what there is."""

import json
import re
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from test_page import annotated

from deeplab_tf.core.labels import Label, LabelTable

pytest.importorskip("tornado", reason="the page needs Tornado")
parser = pytest.importorskip("prometheus_client.parser", reason="the metrics need prometheus_client")

from deeplab_tf.deploy.video import metrics  # noqa: E402
from deeplab_tf.deploy.video.page import PageSink  # noqa: E402

TABLE = LabelTable([Label(0, 'a "road"', (9, 9, 9), False), Label(1, "道路\\", (99, 9, 9), True)])


@pytest.fixture
def sink():
    sink = PageSink("127.0.0.1", 0, TABLE, "title")
    yield sink
    sink.close()


def get(url):
    """(status, headers, text) of an answer."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status, response.headers, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read().decode()


def samples(text):
    """Value by (name, labels) as Prometheus' parser finds it."""
    families = list(parser.text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families) and all(
        family.documentation for family in families
    )
    return {
        (each.name, *sorted(pair for pair in each.labels.items() if pair != SOURCE)): each.value
        for family in families
        for each in family.samples
    }


SOURCE = ("source", "rtsp://camera/street")
"""The label of all figures of a source, which `samples` leaves out."""


def test_prometheus_reads_the_metrics(sink):
    for number in range(3):  # end to end 50, 51 and 52 ms, of which 40 the network
        sink.write(annotated(number, class_shares=[0.5, 0.25], instances=[0, 7]))
    status, headers, text = get(sink.url + "metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=")
    found = samples(text)
    expected = {"captured": 5, "shown": 3, "dropped": 2}
    assert {name: found[(f"deeplab_tf_frames_{name}_total",)] for name in expected} == expected
    assert found[("deeplab_tf_reconnects_total",)] == 1 and found[("deeplab_tf_up",)] == 1
    assert found[("deeplab_tf_temperature_celsius",)] == 51.5 and found[("deeplab_tf_throttled",)] == 0
    assert found[("deeplab_tf_class_share", ("class", 'a "road"'))] == 0.5
    assert found[("deeplab_tf_instances", ("class", "道路\\"))] == 7
    stage = ("stage", "end_to_end")
    assert found[("deeplab_tf_latency_seconds_count", stage)] == 3
    assert found[("deeplab_tf_latency_seconds_sum", stage)] == pytest.approx(0.153)
    by_limit = {each[1][1]: found[each] for each in found if each[0].endswith("_bucket") and stage in each}
    assert [by_limit[limit] for limit in ("0.04", "0.05", "0.075", "+Inf")] == [0, 1, 3, 3]
    assert found[("deeplab_tf_latency_seconds_bucket", ("le", "0.04"), ("stage", "run"))] == 3
    words = ("device", "test bench"), ("runtime", "onnx int8")
    assert found[("deeplab_tf_stream_info", *words)] == 1


LINES = {"gate": {"forward": {"car": 3}, "backward": {}}}
ZONES = {
    "a yard": {
        "entered": {"car": 3},
        "left": {"car": 1},
        "inside": {"car": 2},
        "dwell_s": {"visits": 1, "total": 4.5, "longest": 4.5},
        "things": [{"id": 7, "class": "car", "seconds": 1.25}],
    }
}


def test_prometheus_reads_the_zones(sink):
    sink.write(annotated(0, lines=LINES, zones=ZONES))
    found = samples(get(sink.url + "metrics")[2])
    here = ("class", "car"), ("zone", "a yard")
    assert found[("deeplab_tf_zone_entered_total", *here)] == 3 and found[("deeplab_tf_zone_inside", *here)] == 2
    assert found[("deeplab_tf_zone_left_total", *here)] == 1
    assert found[("deeplab_tf_zone_dwell_seconds_sum", here[1])] == 4.5
    assert found[("deeplab_tf_zone_dwell_seconds_count", here[1])] == 1
    crossing = ("class", "car"), ("direction", "forward"), ("line", "gate")
    assert found[("deeplab_tf_line_crossings_total", *crossing)] == 3


def test_metrics_before_the_first_frame(sink):
    assert samples(get(sink.url + "metrics")[2])[("deeplab_tf_up", ("source", ""))] == 0


def test_unknown_figures_are_left_out(sink):
    sink.write(annotated(0, temperature_c=None, throttled=None))
    names = {name for name, *_ in samples(get(sink.url + "metrics")[2])}
    assert not names & {"deeplab_tf_temperature_celsius", "deeplab_tf_throttled", "deeplab_tf_instances"}


def test_health_follows_the_frames(sink, monkeypatch):
    status, _, text = get(sink.url + "healthz")
    assert status == 503 and json.loads(text) == {"status": "starting", "seconds_since_frame": None}
    sink.write(annotated(0))
    status, headers, text = get(sink.url + "healthz")
    assert status == 200 and json.loads(text)["status"] == "ok" and "json" in headers["Content-Type"]
    monkeypatch.setattr(metrics, "STALE_S", 0.02)
    time.sleep(0.05)
    status, _, text = get(sink.url + "healthz")
    assert status == 503 and json.loads(text)["status"] == "no frame"


def test_a_token_guards_the_metrics_and_not_the_health():
    sink = PageSink("127.0.0.1", 0, TABLE, "title", token="correct-horse")
    try:
        sink.write(annotated(0))
        base = sink.url.partition("?")[0]
        assert get(base + "metrics")[0] == 401 and get(base + "healthz")[0] == 200
        bearer = urllib.request.Request(base + "metrics", headers={"Authorization": "Bearer correct-horse"})
        assert samples(get(bearer)[2])
    finally:
        sink.close()


def test_a_missing_client_is_one_sentence(monkeypatch):
    monkeypatch.setattr(metrics.importlib.util, "find_spec", lambda name: None if "prometheus" in name else name)
    sink = PageSink("127.0.0.1", 0, TABLE, "title")
    try:
        sink.write(annotated(0))
        status, _, text = get(sink.url + "metrics")
        assert status == 501 and "pip install prometheus_client" in text
        assert get(sink.url + "healthz")[0] == 200
    finally:
        sink.close()


def test_the_dashboard_asks_for_metrics_that_exist(sink):
    sink.write(annotated(0, instances=[0, 7]))
    names = {name for name, *_ in samples(get(sink.url + "metrics")[2])}
    board = json.loads((Path(__file__).parent.parent / "docs" / "assets" / "grafana-stream.json").read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    asked = {name for expression in expressions for name in re.findall(r"deeplab_tf_\w+", expression)}
    assert len(expressions) >= 8 and asked <= names
    places = [panel["gridPos"] for panel in board["panels"]]
    cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24, "panels lie over each other"
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
