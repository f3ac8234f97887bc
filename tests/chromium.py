"""A headless Chromium, driven through the DevTools protocol over Tornado's WebSocket client."""

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SECONDS = 60.0


def find():
    """The browser's path, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    """One page.

    Attributes:
        complaints: errors and warnings of the console, exceptions that nobody caught, loads that failed.
    """

    def __init__(self, width=1280, height=900):
        self.complaints, self._replies, self._count = [], {}, 0
        self._socket = None
        self._folder = tempfile.mkdtemp()
        self._loop = asyncio.new_event_loop()
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-dev-shm-usage",
        ]
        options += [
            "--remote-debugging-port=0",
            "--user-data-dir=" + self._folder,
            f"--window-size={width},{height}",
            "about:blank",
        ]
        self._log = open(os.path.join(self._folder, "log"), "wb")  # noqa: SIM115 (closed in close)
        self._process = subprocess.Popen([find()] + options, stdout=self._log, stderr=self._log)
        try:
            self._socket = self._run(self._connect())
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.call(domain + ".enable")
        except BaseException:
            self.close()
            raise

    def _run(self, coroutine):
        return self._loop.run_until_complete(asyncio.wait_for(coroutine, SECONDS))

    async def _connect(self):
        from tornado.websocket import websocket_connect

        place = Path(self._folder, "DevToolsActivePort")
        while not (place.exists() and "\n" in place.read_text()):
            if self._process.poll() is not None:
                raise RuntimeError("Chromium ended: " + Path(self._log.name).read_text(errors="replace"))
            await asyncio.sleep(0.05)
        port = place.read_text().splitlines()[0]
        while True:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
                pages = [target for target in json.load(answer) if target["type"] == "page"]
            if pages:
                return await websocket_connect(pages[0]["webSocketDebuggerUrl"], max_message_size=1 << 26)
            await asyncio.sleep(0.05)

    def call(self, method, **parameters):
        """The result of a DevTools method."""
        self._count += 1
        return self._run(self._call(self._count, method, parameters))

    async def _call(self, number, method, parameters):
        await self._socket.write_message(json.dumps({"id": number, "method": method, "params": parameters}))
        while number not in self._replies:
            self._take(json.loads(await self._socket.read_message()))
        reply = self._replies.pop(number)
        if "error" in reply:
            raise RuntimeError("{}: {}".format(method, reply["error"]))
        return reply["result"]

    def _take(self, message):
        method, parameters = message.get("method"), message.get("params")
        if "id" in message:
            self._replies[message["id"]] = message
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(parameters["exceptionDetails"])
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
            self.complaints.append(parameters)
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.complaints.append(parameters["entry"])
        elif method == "Network.loadingFailed" and not parameters.get("canceled"):
            self.complaints.append(parameters)

    def open(self, url):
        self.call("Page.navigate", url=url)

    def value(self, script):
        """What a JavaScript expression is, as JSON has it."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"])
        return result["result"].get("value")

    def wait(self, script, seconds=SECONDS):
        """The first true value of an expression; until the page is there, it may fail."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = self.value(f"(() => {{ try {{ return {script}; }} catch (error) {{ return null; }} }})()")
            if value:
                return value
            time.sleep(0.1)
        raise TimeoutError("never true: " + script)

    def close(self):
        if self._socket is not None:
            self._run(self._leave())
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _leave(self):
        self._socket.close()
        while await self._socket.read_message() is not None:
            pass
        await asyncio.sleep(0.05)  # the connection's own last turn

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()
