"""A running stream shows nothing of its camera's password and token, neither in `ps` nor in its page and files."""

import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import streams

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy import runtimes
from deeplab_tf.deploy.video.source import collect
from deeplab_tf.deploy.video.sources import open_source

linux = pytest.mark.skipif(not os.path.exists("/proc/self/cmdline"), reason="needs Linux's /proc")
SECRETS = ("adm1n", "pa55w0rd", "t0ken", "sess10n")


@pytest.fixture
def bundle(tmp_path):
    return streams.write_bundle(tmp_path / "bundle")


@contextlib.contextmanager
def started(bundle, *options, **environment):
    """`deeplab-tf stream` in a process of its own."""
    command = [sys.executable, streams.__file__, "stream", bundle] + [str(option) for option in options]
    environment = streams.environment(FAKE_DELAY="0.01", **environment)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(true, what="it"):
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)


def command_line(process):
    """What `ps` shows."""
    with open(f"/proc/{process.pid}/cmdline", "rb") as file:
        return file.read().replace(b"\0", b" ").decode().strip()


def hold(*texts):
    for text in texts:
        assert not [secret for secret in SECRETS if secret in text], text


def address(network):
    return network.url.replace("user:secret", "adm1n:pa55w0rd").replace("/live", "/live;session=sess10n?token=t0ken")


@linux
def test_a_running_stream_shows_no_secret(tmp_path, bundle):
    pytest.importorskip("tornado", reason="the page needs Tornado")
    from test_page import get, read_socket

    lines, report = tmp_path / "a.jsonl", tmp_path / "a.json"
    options = ["--json-lines", lines, "--json", report, "--serve", "0", "-v"]
    with streams.NetworkCamera() as network, started(bundle, "--source", address(network), *options) as process:
        line = process.stderr.readline().decode()
        url = re.search(r"http://\S+", line).group()
        wait_for(lambda: lines.exists() and len(lines.read_text().splitlines()) > 3, "frames")
        place = network.url.split("@")[1].replace("/live", "/...")
        shown = command_line(process)
        assert f"stream {bundle} --source http://{place} --json-lines {lines}" in shown
        hello, stats = read_socket(url, 2)
        assert hello["title"] == f"deeplab-tf: http://{place}" and stats["stats"]["source"] == f"http://{place}"
        pages = [get(url, path)[2].decode() for path in ("/", "/page.js")]
        assert network.seen  # it did reach the camera
        process.send_signal(signal.SIGTERM)
        output, errors = (text.decode() for text in process.communicate(timeout=20))
    assert process.returncode == 0 and json.loads(report.read_text())["source"] == f"http://{place}"
    hold(shown, line, output, errors, json.dumps([hello, stats]), lines.read_text(), report.read_text(), *pages)


@linux
@pytest.mark.parametrize("way", ["argument", "file", "environment"])
def test_ps_shows_no_secret_while_a_camera_does_not_answer(tmp_path, bundle, way):
    """A camera that never sends keeps the process alive without a frame."""
    with streams.NetworkCamera() as network:
        network.stall()
        source, environment, url = ["--source", address(network)], {}, address(network)
        if way == "file":
            (tmp_path / "camera").write_text(url)
            (tmp_path / "camera").chmod(0o600)
            source = ["--source", f"@{tmp_path / 'camera'}"]
        elif way == "environment":
            source, environment = [], {"DEEPLAB_TF_SOURCE": url}
        with started(bundle, *source, **environment) as process:
            wait_for(lambda: network.seen, "the camera")
            shown = command_line(process)
            hold(shown)
            assert shown.startswith(f"{sys.executable} {streams.__file__} stream {bundle}")
            if way == "file":
                assert shown.endswith(f"--source @{tmp_path / 'camera'}")


@linux
def test_each_form_of_an_argument_is_overwritten():
    code = (
        "import sys; from deeplab_tf.core import process_arguments; "
        "from deeplab_tf.deploy.video.shown_address import shown_arguments; "
        "process_arguments.overwrite(shown_arguments(sys.argv[1:])); "
        "print(open('/proc/self/cmdline').read().split(chr(0)))"
    )
    arguments = ["--source=rtsp://adm1n:pa55w0rd@cam/live", "--token", "t0ken", "--token=t0ken", "ü", ""]
    command = [sys.executable, "-c", code, *arguments]
    shown = subprocess.check_output(command, env=streams.environment()).decode().strip()
    assert "'--source=rtsp://cam/live', '--token', '...', '--token=...', 'ü', ''" in shown
    hold(shown)


@pytest.mark.parametrize("host, token, warned", [("", None, 0), ("0.0.0.0:", None, 1), ("0.0.0.0:", "auto", 0)])
def test_the_start_says_who_can_watch(bundle, tmp_path, monkeypatch, host, token, warned):
    pytest.importorskip("tornado", reason="the page needs Tornado")
    monkeypatch.setattr(runtimes, "open_runtime", lambda bundle, *_, **__: streams.FakeRuntime(bundle))
    options = ["--source", "sample://?size=64x128&seconds=0.1", "--frames", "2", "--json", tmp_path / "a.json"]
    result = streams.invoke(bundle, *options, "--serve", f"{host}0", *(["--token", token] if token else []))
    assert result.exit_code == 0, result.stderr
    line = next(line for line in result.stderr.splitlines() if line.startswith("The web page is at http://"))
    assert bool(re.search(r"/\?token=[\w-]{22}$", line)) is bool(token)
    warnings = [line for line in result.stderr.splitlines() if line.startswith("Anyone who can reach this machine")]
    assert json.loads((tmp_path / "a.json").read_text())["warnings"] == warnings and len(warnings) == warned


@pytest.mark.parametrize(
    "content, mode, fact",
    [("short", 0o600, "8 or more"), ("s p a c e d", 0o600, "8 or more"), ("long-enough", 0o644, "chmod 600")],
)
def test_a_token_that_cannot_be_used(bundle, tmp_path, monkeypatch, content, mode, fact):
    (tmp_path / "token").write_text(content)
    (tmp_path / "token").chmod(mode)
    options = ["--source", "sample://", "--serve", "0"]
    result = streams.invoke(bundle, *options, "--token", f"@{tmp_path / 'token'}")
    assert result.exit_code == 2 and fact in result.stderr and content not in result.stderr
    if mode == 0o600:
        monkeypatch.setenv("DEEPLAB_TF_TOKEN", content)
        result = streams.invoke(bundle, *options)
        assert result.exit_code == 2 and fact in result.stderr and content not in result.stderr


def test_the_shared_case_of_a_password_with_a_hash(bundle):
    result = streams.invoke(
        bundle, "--source", "rtsp://admin:pa#ss@127.0.0.1:8554/live", "--retries", "0", "--json-lines", "-"
    )
    assert result.exit_code == 2 and "write # in the password as %23" in result.stderr
    assert "pa#ss" not in result.stderr and "admin" not in result.stderr


class AskingForPassword(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append(self.headers.get("Authorization", ""))
        self.send_response(401 if len(self.server.seen) == 1 else 404)
        self.send_header("WWW-Authenticate", 'Basic realm="camera"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


def test_a_password_with_odd_characters_reaches_the_camera():
    with HTTPServer(("127.0.0.1", 0), AskingForPassword) as server:
        server.seen = []
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        uri = f"http://adm1n:p@s\"s'[1]%2x%23 z@127.0.0.1:{server.server_address[1]}/live"
        with pytest.raises(DeepLabError, match="wrong path, user or password"):
            collect(open_source(uri), 1)
        server.shutdown()
    kind, value = server.seen[1].split()
    assert (kind, base64.b64decode(value)) == ("Basic", b"adm1n:p@s\"s'[1]%2x# z")


def test_a_bug_keeps_its_traceback_without_the_secret(bundle):
    code = (
        "import sys; from deeplab_tf import cli; from deeplab_tf.deploy.video import sources\n"
        "def fail(uri, **options): raise ValueError('broken: ' + uri)\n"
        "sources.open_source = fail; cli.main()"
    )
    command = [sys.executable, "-c", code, "stream", bundle, "--source", "rtsp://adm1n:pa55w0rd@127.0.0.1/live"]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=streams.environment())
    assert result.returncode == 1 and b"ValueError: broken: rtsp://127.0.0.1/live" in result.stderr
    hold(result.stderr.decode())


def test_the_file_with_the_address_is_an_input(bundle, tmp_path):
    place = tmp_path / "camera"
    place.write_text("rtsp://adm1n:pa55w0rd@127.0.0.1:9/live")
    place.chmod(0o600)
    for option in ("--json", "--json-lines", "--save", "--labels-out"):
        result = streams.invoke(bundle, "--source", f"@{place}", option, place, "--overwrite")
        assert result.exit_code in (1, 2) and str(place) in result.stderr
        assert place.read_text().startswith("rtsp://"), option
