"""Generated output paths: whatever name an input, a person's file or another output is given, it is what it was."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import streams
import tiny_bundle
from generated import check, examples
from hypothesis import given
from hypothesis import strategies as st

from deeplab_tf.core.image_files import write_image

READS = {
    "stream": ("v.mp4", "bundle/model.onnx", "bundle/bundle.json"),
    "stream p": ("p/a.png", "p/b.png", "bundle/model.onnx"),
    "stream p/*.png": ("p/a.png", "p/b.png"),
    "predict": ("p/a.png", "p/b.png", "bundle/bundle.json"),
    "compare": ("p/a.png", "bundle/calibration.cache"),
    "convert": ("p/b.png", "bundle/model_int8.onnx"),
    "budget": ("bundle/bundle.json", "bundle/model.onnx"),
    "score": ("p/a.png", "truth/a.png", "truth/b.png"),
}
"""Command -> files that a call of it reads."""
CALLS = {
    "stream": ["stream", "bundle", "--source", "v.mp4"],
    "stream p": ["stream", "bundle", "--source", "p"],
    "stream p/*.png": ["stream", "bundle", "--source", "p/*.png"],
    "predict": ["predict", "bundle", "p", "--out", "new"],
    "compare": ["compare", "bundle", "--source", "p", "--runtimes", "onnx:float32"],
    "convert": ["convert", "bundle", "--images", "p"],
    "budget": ["budget", "bundle"],
    "score": ["score", "--pred", "p", "--truth", "truth", "--format", "ids"],
}
INPUTS = ("v.mp4", "p", "truth", "bundle", "notes.json")
FILES = {"notes.json"}.union(*READS.values())


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory):
    """A folder with everything that the calls read, which is also the home folder; h, s_NAME and l_NAME are links."""
    folder = tmp_path_factory.mktemp("paths")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(str(folder))
        patch.setenv("HOME", str(folder))
        patch.setattr("deeplab_tf.deploy.compare.plan.missing_runtimes", lambda: {"onnx": None})
        tiny_bundle.write_bundle(str(folder / "bundle"))
        streams.write_video("v.mp4", 2)
        for name in ("a.png", "b.png"):
            write_image(Path("p", name), tiny_bundle.frame())
            write_image(Path("truth", name), np.zeros((6, 8), np.uint8))
        Path("notes.json").write_text('{"mine": 1}\n')
        os.symlink(str(folder), "h")
        os.mkdir("links")
        yield folder


@st.composite
def spelled(draw, name):
    """Another way to write the path of a file; links to one that exists are made here."""
    ways = ("symbolic", "hard") if name in FILES else ()
    way = draw(st.sampled_from(("plain", "dots", "parent", "home", "absolute", "link", "slashes", *ways)))
    link = Path("links", f"{way}_{name.replace('/', '_')}")
    if way in ("symbolic", "hard") and not os.path.lexists(str(link)):
        os.symlink(os.path.abspath(name), str(link)) if way == "symbolic" else os.link(name, str(link))
    return {
        "plain": name,
        "dots": "./" * draw(st.integers(1, 3)) + name,
        "parent": draw(st.sampled_from(("p/../", "h/truth/../", "links/.././"))) + name,
        "home": "~/" + name,
        "absolute": os.path.abspath(name),
        "link": "h/" * draw(st.integers(1, 3)) + name,
        "slashes": name.replace("/", "//") if "/" in name else ".//" + name,
    }.get(way, str(link))


@st.composite
def wrong_calls(draw):
    """A call with one output that is an input or a person's file, among others that are free."""
    command = draw(st.sampled_from(sorted(CALLS)))
    target = draw(st.sampled_from((*READS[command], "notes.json")))
    options = ["--json"]
    if command.startswith("stream"):
        options += ["--json-lines"] + ["--save"] * target.endswith(".mp4")
    elif command == "budget":
        options += ["--figure"]
    option = draw(st.sampled_from(options))
    words = [*CALLS[command], option, draw(spelled(target))]
    words += ["--device", "jetson-nano"] * (option == "--figure")
    others = [other for other in options if other != option and other in ("--json", "--json-lines")]
    for other in draw(st.lists(st.sampled_from(others or [None]), max_size=1)):
        words += [other, draw(st.sampled_from(("/dev/null", "-", "fresh.json")))] if other else []
    overwrite = target != "notes.json" and draw(st.booleans())
    return words + ["--overwrite"] * overwrite, option


@given(wrong_calls())
@examples(300)
def test_inputs_and_a_persons_files_are_what_they_were(call):
    words, option = call
    result = check(words, inputs=INPUTS)
    assert result.exit_code == 2 and f"Error: {option} " in result.stderr, (words, result.stderr)
    assert not any(os.path.lexists(name) for name in ("fresh.json", "new"))


@st.composite
def two_outputs(draw):
    """A call of `stream` with two outputs of one new name."""
    name = draw(st.sampled_from(("x.mp4", "links/y.mp4", "p/z.MP4")))
    one, other = draw(st.permutations(("--save", "--json", "--json-lines")))[:2]
    return [*CALLS["stream"], one, draw(spelled(name)), other, draw(spelled(name))], (one, other)


@given(two_outputs())
@examples(80)
def test_two_outputs_of_one_name(call):
    words, options = call
    result = check(words, inputs=INPUTS)
    assert result.exit_code == 2 and all(option in result.stderr for option in options), (words, result.stderr)


@given(st.data())
@examples(30)
def test_a_report_is_replaced_by_its_command_alone(data):
    name = data.draw(st.sampled_from(("r.json", "links/r.json", "p/r.json", "truth/r.txt")))
    call = ["score", "--pred", "truth", "--truth", "truth", "--format", "ids", "--json"]
    for _ in range(2):
        assert check([*call, data.draw(spelled(name))], inputs=INPUTS[:1]).exit_code == 0
        assert json.loads(Path(name).read_text())["miou"] == 1.0
    report = Path(name).read_text()
    assert check(["doctor", "--limit", "0.1", "--json", data.draw(spelled(name))], inputs=[name]).exit_code == 2
    Path(name).write_text(data.draw(st.text('{}[] \n"abc', min_size=1, max_size=20)) + report)
    words = [*call, data.draw(spelled(name))]
    assert check(words, inputs=[*INPUTS, name]).exit_code == 2
    free = "/" not in name or name.startswith("links")
    if free or name.startswith("p/"):  # what lies below the folder that is read stays, whatever is asked for
        assert check([*words, "--overwrite"], inputs=INPUTS[:1]).exit_code == 0
    else:
        assert check([*words, "--overwrite"], inputs=[*INPUTS, name]).exit_code == 2
    os.unlink(name)
