"""The documentation site: it builds strictly, loads nothing from elsewhere, and works in a browser from the disk."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import chromium
import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; an orphan page, a broken link or a missing anchor fails it."""
    for module in ("mkdocs", "material", "mkdocstrings"):
        if importlib.util.find_spec(module) is None:
            pytest.skip("no mkdocs here; make docs installs it")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == 0, result.stdout.decode()
    return folder


def pages(site):
    return sorted(path for path in site.glob("*.html") if path.name != "404.html")


def test_every_page_is_built(site):
    assert {page.stem for page in pages(site)} == {page.stem for page in (ROOT / "docs").glob("*.md")}


def test_nothing_is_loaded_from_elsewhere(site):
    for page in pages(site):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r'(?:\bsrc|<link[^>]*\bhref)="(?:https?:)?//[^"]*"', text), page.name


def test_options_of_commands_are_filled_in(site):
    text = (site / "commands.html").read_text(encoding="utf-8")
    assert "<!-- options" not in text and "<code>--calibration-images N</code>" in text


@pytest.fixture(scope="module")
def browser():
    if chromium.find() is None:
        pytest.skip("no Chromium here")
    with chromium.Browser(width=1280, height=900) as page:
        yield page


@pytest.mark.parametrize("width", [1280, 420])
def test_no_page_is_wider_than_the_window(site, browser, width):
    browser.call(
        "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 1000
    )
    for page in pages(site):
        browser.open(page.as_uri())
        browser.wait(f"document.readyState === 'complete' && location.pathname.endsWith('/{page.name}')")
        assert browser.value("document.documentElement.scrollWidth") <= width, page.name
        assert browser.value("[...document.images].every((image) => image.complete && image.naturalWidth > 0)"), (
            page.name
        )
    assert browser.complaints == []


def test_search_works_from_the_disk(site, browser):
    browser.call("Emulation.clearDeviceMetricsOverride")
    browser.open((site / "index.html").as_uri())
    browser.wait("document.readyState === 'complete' && location.pathname.endsWith('/index.html')")
    browser.value("document.querySelector('#__search').click()")
    field = "document.querySelector('.md-search__input')"
    browser.value(f"{field}.focus(), {field}.value = 'coupled channels'")
    browser.value(f"{field}.dispatchEvent(new KeyboardEvent('keyup', {{bubbles: true}}))")
    found = browser.wait("document.querySelector('.md-search-result__list').innerText")
    assert "Pruning" in found
