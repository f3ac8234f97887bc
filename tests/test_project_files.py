"""The files of the project agree: version, pins, hooks, issue forms, workflow."""

import configparser
import re
from pathlib import Path

import pytest
import yaml

import deeplab_tf

ROOT = Path(__file__).parent.parent


def pins(name):
    """Package name to version of a requirements file."""
    found = re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / name).read_text(), re.MULTILINE)
    return {package.lower().replace("_", "-"): version for package, version in found}


def test_the_version_is_the_same_everywhere():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == deeplab_tf.__version__
    assert f"\n## {deeplab_tf.__version__}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_requirements_pin_each_package_once():
    own, docs = pins("requirements.txt"), pins("requirements-docs.txt")
    assert not set(own) & set(docs)
    for name in ("requirements.txt", "requirements-docs.txt"):
        lines = [line.split("==")[0].lower() for line in (ROOT / name).read_text().splitlines() if "==" in line]
        assert len(lines) == len(set(lines))


@pytest.mark.parametrize("extra, name", [("dev", "requirements.txt"), ("docs", "requirements-docs.txt")])
def test_what_an_extra_names_is_pinned(extra, name):
    setup = configparser.ConfigParser(comment_prefixes=("#",))
    setup.read(ROOT / "setup.cfg")
    for line in setup["options.extras_require"][extra].split("\n"):
        package = re.match(r"[\w.-]*", line.strip())[0].lower().replace("_", "-")
        assert not package or package in pins(name), f"{name} pins no {package}"


def test_hooks_run_what_is_installed():
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    assert all(hook["entry"].startswith(".venv/bin/") for hook in repository["hooks"])


def test_the_workflow_runs_what_developers_run():
    job = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())["jobs"]["test"]
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.12"]
    targets = [step["run"].split()[1] for step in job["steps"] if step.get("run", "").startswith("make ")]
    assert targets == ["test", "docs"]


def test_bug_reports_ask_for_the_machine():
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / "bug_report.yml").read_text())
    labels = [part["attributes"]["label"] for part in form["body"]]
    assert any("deeplab-tf doctor --json -" in label for label in labels)
