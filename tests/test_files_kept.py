"""Each way in which a command lost a person's file, and the same commands repeated, which must go on working."""

import json
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import streams
import tiny_bundle
from click_runner import CliRunner

import deeplab_tf
from deeplab_tf.cli import group
from deeplab_tf.core.bundle import check_target, new_bundle, open_bundle, seal
from deeplab_tf.core.errors import WrongCall
from deeplab_tf.core.files import files_below
from deeplab_tf.core.image_files import write_image
from deeplab_tf.deploy import runtimes

lab = pytest.mark.skipif(sys.version_info < (3, 11), reason="the lab needs Python 3.11")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to work in, also the home folder: a bundle, a video, photos and true labels."""
    monkeypatch.chdir(str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    tiny_bundle.write_bundle(str(tmp_path / "bundle"))
    streams.write_video(tmp_path / "v.mp4", 3)
    for i, name in enumerate(("a.png", "b.png")):
        write_image(tmp_path / "p" / name, tiny_bundle.frame(i))
        write_image(tmp_path / "truth" / name, np.full((6, 8), i, np.uint8))
    return tmp_path


def call(*arguments):
    result = CliRunner().invoke(group, [str(part) for part in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    return result


def contents(folder):
    """Relative path -> bytes of every file that is not hidden."""
    names = [name for name in files_below(str(folder)) if not os.path.basename(name).startswith(".")]
    return {name: Path(str(folder), name).read_bytes() for name in names}


def refused(here, *arguments, facts=()):
    """Assert that a call is refused as wrong with one sentence, and that every file is what it was."""
    before = contents(here)
    for overwrite in ((), ("--overwrite",)):
        result = call(*arguments, *overwrite)
        assert result.exit_code == 2, result.output + result.stderr
        assert len(result.stderr.splitlines()) == 1 and all(fact in result.stderr for fact in facts), result.stderr
        assert contents(here) == before


def passes(*arguments):
    result = call(*arguments)
    assert result.exit_code == 0, result.output + result.stderr
    return result


STREAM = ("stream", "bundle", "--runtime", "onnx", "--source")


def test_labels_over_the_images_of_the_source(here):
    refused(here, *STREAM, "p/*.png", "--labels-out", "p", facts=["--labels-out p/a.png", "what is read"])
    refused(here, *STREAM, "p", "--labels-out", "./p/", facts=["--labels-out ./p/", "what is read"])


def test_a_source_by_another_name(here):
    os.symlink(str(here), str(here / "h"))
    os.link("v.mp4", "hard.mp4")
    refused(here, *STREAM, "~/v.mp4", "--save", "h/v.mp4", facts=["--save h/v.mp4", "~/v.mp4"[2:]])
    refused(here, *STREAM, "file://" + str(here / "v.mp4"), "--save", "v.mp4", facts=["--save v.mp4"])
    refused(here, *STREAM, "v.mp4", "--save", "hard.mp4", facts=["--save hard.mp4", "as v.mp4"])
    refused(here, *STREAM, "v.mp4", "--json", "v.mp4", facts=["--json v.mp4"])
    refused(here, *STREAM, "ffmpeg:v.mp4", "--json-lines", "v.mp4", facts=["--json-lines ", "what is read"])
    refused(here, *STREAM, "gst:filesrc location=v.mp4 ! decodebin", "--json", "v.mp4", facts=["--json ", "is read"])


def test_a_source_with_the_name_of_the_recording(here):
    os.rename("v.mp4", "b.part.mp4")
    before = Path("b.part.mp4").read_bytes()
    passes(*STREAM, "b.part.mp4", "--save", "b.mp4")
    assert Path("b.part.mp4").read_bytes() == before and cv2.VideoCapture("b.mp4").get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert not list(here.glob("b.*.part.mp4"))


def test_outputs_over_one_another(here):
    for one, other in (("--save", "--json"), ("--save", "--json-lines"), ("--json", "--json-lines")):
        refused(here, *STREAM, "v.mp4", one, "x.mp4", other, "x.mp4", facts=[one, other, "x.mp4"])
    refused(here, *STREAM, "v.mp4", "--labels-out", "x.json", "--json", "x.json", facts=["--labels-out", "--json"])
    refused(here, *STREAM, "v.mp4", "--json", "-", "--json-lines", "/dev/stdout", facts=["--json", "standard output"])
    refused(here, *STREAM, "v.mp4", "--save", "x.mp4", "--json", "x.part.mp4", facts=["--save x.part.mp4", "--json"])


def test_a_video_a_log_and_a_report_that_are_there(here):
    for option, name in (("--save", "w.mp4"), ("--json", "notes.json"), ("--json-lines", "rows.jsonl")):
        Path(name).write_text('{"mine": 1}\n')
        before = contents(here)
        result = call(*STREAM, "v.mp4", option, name)
        assert result.exit_code == 2 and f"{option} {name}" in result.stderr and "--overwrite" in result.stderr
        assert contents(here) == before
        passes(*STREAM, "v.mp4", option, name, "--overwrite")
        assert Path(name).read_bytes() != before[name]


def test_a_failing_start_leaves_the_log_as_it_was(here):
    passes(*STREAM, "v.mp4", "--json-lines", "log.jsonl")
    before = Path("log.jsonl").read_bytes()
    assert len(before.splitlines()) == 3
    Path("bundle", "model.onnx").write_bytes(b"damaged")
    for overwrite in ((), ("--overwrite",)):
        assert call(*STREAM, "v.mp4", "--json-lines", "log.jsonl", *overwrite).exit_code == 1
        assert call(*STREAM, "v.mp4", "--json-lines", "new.jsonl", *overwrite).exit_code == 1
        assert Path("log.jsonl").read_bytes() == before and not Path("new.jsonl").exists()


def test_a_service_that_starts_again_continues_its_log(here):
    passes(*STREAM, "v.mp4", "--json-lines", "log.jsonl")
    first = Path("log.jsonl").read_bytes()
    Path("log.jsonl").write_bytes(first + b'{"frame": 3, "ti')  # it was killed
    passes(*STREAM, "v.mp4", "--json-lines", "log.jsonl")
    lines = Path("log.jsonl").read_bytes().splitlines()
    assert lines[:3] == first.splitlines() and [json.loads(line)["frame"] for line in lines[4:]] == [0, 1, 2]
    passes(*STREAM, "v.mp4", "--json-lines", "log.jsonl", "--overwrite")
    assert len(Path("log.jsonl").read_bytes().splitlines()) == 3


@pytest.mark.parametrize("options", [["--labels-out", "o"], ["--save", "o"], ["--save", "o", "--labels-out", "o"]])
@pytest.mark.parametrize("source", ["v.mp4", "p/*.png"])
def test_stream_into_a_folder_twice_but_not_over_other_files(here, source, options):
    for _ in range(2):
        passes(*STREAM, source, *options, "--json", "report.json")
    path = here / "o" / sorted(contents(here / "o"))[0]
    path.write_bytes(b"corrected by hand")
    result = call(*STREAM, source, *options)
    assert result.exit_code == 2 and path.name in result.stderr and path.read_bytes() == b"corrected by hand"
    passes(*STREAM, source, *options, "--overwrite")


PREDICT = ("predict", "bundle", "--runtime", "onnx")


def test_predictions_over_true_labels(here):
    before = contents(here)
    result = call(*PREDICT, "p", "--out", "truth", "--format", "ids")
    assert result.exit_code == 2 and "--out truth/a.png" in result.stderr and contents(here) == before


def test_panoptic_json_is_untouched_until_there_are_results(here):
    Path("out").mkdir()
    Path("out", "panoptic.json").write_text('{"mine": 1}')
    result = call(*PREDICT, "p", "--out", "out", "--format", "panoptic")
    assert result.exit_code == 2 and "out/panoptic.json" in result.stderr
    Path("p", "0.png").write_bytes(b"no image")  # the first to be predicted
    result = call(*PREDICT, "p", "--out", "out", "--format", "panoptic", "--overwrite")
    assert result.exit_code == 1 and Path("out", "panoptic.json").read_text() == '{"mine": 1}'


@pytest.mark.parametrize("layout", ["color", "ids", "panoptic"])
def test_predict_twice(here, layout):
    arguments = (*PREDICT, "p", "--out", "out", "--format", layout, "--overlay", "--json", "report.json")
    passes(*arguments)
    first = contents(here)
    passes(*arguments)
    assert contents(here) == first and json.loads(Path("report.json").read_text())["written_by"] == "deeplab-tf predict"
    Path("out", "a_overlay.jpg").write_bytes(b"painted over")
    assert call(*arguments).exit_code == 2
    passes(*arguments, "--overwrite")
    assert contents(here) == first


def test_figures_of_compare_and_its_source(here, monkeypatch):
    monkeypatch.setattr(
        "deeplab_tf.deploy.compare.plan.missing_runtimes", lambda: {"onnx": None, **dict.fromkeys(("tensorrt",), "no")}
    )
    refused(here, "compare", "bundle", "--source", "p", "--runtimes", "onnx:float32", "--out", "p", facts=["--out p"])
    refused(
        here, "compare", "bundle", "--source", "p", "--runtimes", "onnx:float32", "--json", "p/a.png", facts=["p/a.png"]
    )


def test_reports_over_what_is_read(here):
    refused(here, "score", "--pred", "truth", "--truth", "truth", "--format", "ids", "--json", "truth/a.png")
    refused(here, "budget", "bundle", "--json", "bundle/bundle.json", facts=["--json bundle/bundle.json"])
    refused(here, "budget", "bundle", "--json", "bundle/new.json", facts=["bundle"])
    refused(here, "convert", "bundle", "--images", "p", "--json", "p/a.png", facts=["--json p/a.png"])
    Path("mine.json").write_text("{}")
    result = call("doctor", "--json", "mine.json")
    assert result.exit_code == 2 and "doctor" in result.stderr and Path("mine.json").read_text() == "{}"


def test_scenes_among_a_persons_files(here):
    before = contents(here)
    assert call("sample", "p", "--scenes", 1, "--size", "64x64").exit_code == 1 and contents(here) == before
    sample = ("sample", "scenes", "--scenes", 1, "--size", "64x64")
    passes(*sample)
    image, label = (next(here.glob("scenes/**/*" + end)) for end in ("_leftImg8bit.png", "_labelIds.png"))
    label.write_bytes(b"corrected by hand")
    image.unlink()
    passes(*sample)
    assert image.exists() and label.read_bytes() == b"corrected by hand"
    refused(here, *sample, "--json", "scenes/scenes.json", facts=["--json scenes/scenes.json"])


def write(path, content="network"):
    with new_bundle(path) as part:
        Path(part, "model.onnx").write_text(content)
        seal(part, streams_info())


def streams_info():
    return {"classes": streams.TABLE.to_dicts(), "size": [64, 128], "label_stride": 4, "output": "labels"}


def test_a_folder_with_a_bundle_and_other_files_is_not_replaced(tmp_path):
    place = tmp_path / "bundle"
    for name in ("notes.txt", "engines/notes.txt", "engines/x/int8.engine", "sub/.hidden"):
        write(place)
        write(place, "another network")  # nothing but a bundle
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("years of work")
        with pytest.raises(WrongCall, match=str(name)):
            write(place)
        with pytest.raises(WrongCall, match=str(name)):
            check_target(place, overwrite=True)
        assert path.read_text() == "years of work"
        path.unlink()
    (place / "link").symlink_to(tmp_path)
    with pytest.raises(WrongCall, match="link"):
        write(place)


def test_a_folder_with_anothers_bundle_json_is_not_replaced(tmp_path):
    for text in ("{}", "[]", "junk", '{"files": {"model.onnx": "1"}}', '{"format": 1, "files": 5}'):
        (tmp_path / "bundle.json").write_text(text)
        with pytest.raises(WrongCall, match=r"holds other files than a bundle's \(bundle.json\)"):
            write(tmp_path)
        assert (tmp_path / "bundle.json").read_text() == text


RECORD = json.dumps({"facts": {}, "sha256": "0", "megabytes": 1.0, "seconds": 1.0})


def test_a_bundle_is_replaced_with_the_engines_that_a_device_built(tmp_path):
    write(tmp_path / "b")
    engines = tmp_path / "b" / "engines" / "orin"
    engines.mkdir(parents=True)
    for name in ("int8.engine", "timing.cache"):
        (engines / name).write_text("built here")
    (engines / "int8.engine.json").write_text(RECORD)
    (engines / "tf_trt_int8").mkdir()
    (engines / "tf_trt_int8" / "saved_model.pb").write_text("built here")
    (engines / "tf_trt_int8.json").write_text(RECORD)
    write(tmp_path / "b", "another network")
    assert sorted(contents(tmp_path / "b")) == ["bundle.json", "model.onnx"]


def test_a_changed_bundle_needs_overwrite(tmp_path):
    write(tmp_path / "b")
    (tmp_path / "b" / "model.onnx").write_text("tuned by hand")
    with pytest.raises(WrongCall, match=r"model.onnx was changed .* --overwrite"):
        write(tmp_path / "b")
    check_target(tmp_path / "b", overwrite=True)


def test_what_comes_into_the_folder_during_the_conversion_is_kept(tmp_path):
    write(tmp_path / "b")
    with pytest.raises(WrongCall, match="notes.txt"), new_bundle(tmp_path / "b") as part:
        seal(part, streams_info())
        (tmp_path / "b" / "notes.txt").write_text("mine")
    assert (tmp_path / "b" / "notes.txt").read_text() == "mine" and (tmp_path / "b" / "model.onnx").exists()


@lab
def test_a_recipe_in_its_own_run_folder(tmp_path):
    import tiny

    (tmp_path / "mine").mkdir()
    recipe = tiny.write_recipe(tmp_path / "mine" / "config.yaml", tiny.recipe(tiny.write_data(tmp_path / "data")))
    refused(tmp_path, "train", recipe, "--run", tmp_path / "mine", facts=["--run", "config.yaml", "what is read"])
    refused(tmp_path, "train", recipe, "--run", tmp_path / "mine" / "." / ".." / "mine", facts=["config.yaml"])
    before = contents(tmp_path)
    with pytest.raises(WrongCall, match="config.yaml"):
        deeplab_tf.train(recipe, run=tmp_path / "mine")
    assert contents(tmp_path) == before
    other = tiny.write_recipe(tmp_path / "other.yaml", tiny.recipe(tmp_path / "data"))
    refused(tmp_path, "train", other, "--run", tmp_path / "mine", facts=["mine", "config.yaml"])
    refused(tmp_path, "train", other, "--run", tmp_path / "new", "--json", other, facts=["--json", "other.yaml"])


@lab
def test_a_run_goes_on_by_its_own_recipe_which_stays_as_it_is(tmp_path, monkeypatch):
    import shutil

    import tiny

    tiny.use_backbone(monkeypatch)
    run = tmp_path / "run"
    shutil.copytree(str(tiny.trained_run()), str(run))
    text = (run / "config.yaml").read_text() + "# a remark\n"
    (run / "config.yaml").write_text(text)
    result = call("train", run / "config.yaml", "--run", run, "--resume", "--set", "training.log_every=3")
    assert result.exit_code == 0, result.output + result.stderr
    assert (run / "config.yaml").read_text() == text
    refused(tmp_path, "train", run / "config.yaml", "--run", run, facts=["config.yaml"])


@lab
def test_outputs_over_a_run_and_its_dataset(tmp_path, monkeypatch):
    import shutil

    import tiny

    run = tmp_path / "run"
    shutil.copytree(str(tiny.trained_run()), str(run))
    (run / "report").mkdir(exist_ok=True)
    data = tiny.write_data(tmp_path / "data", colors=True)
    root = ("--root", data)
    label = next((tmp_path / "data" / "labels" / "val").iterdir())
    refused(tmp_path, "evaluate", run, *root, "--json", run / "best.keras", facts=["--json", "best.keras"])
    refused(tmp_path, "evaluate", run, *root, "--out", data, facts=["--out"])
    refused(tmp_path, "evaluate", run, *root, "--json", label, facts=["--json", label.name])
    refused(tmp_path, "report", run, *root, "--json", run / "report" / "checkpoints.json", facts=["--json"])
    refused(tmp_path, "convert", run, "--out", run, facts=["--out"])
    refused(tmp_path, "convert", run, "--out", tmp_path / "b", "--json", tmp_path / "b", facts=["--out", "--json"])
    refused(tmp_path, "prune", run, "--gmac", 1, "--out", run, facts=["--out"])
    recipe = tiny.write_recipe(tmp_path / "recipe.yaml", tiny.recipe(data))
    refused(tmp_path, "prepare", recipe, "--out", data, facts=["--out"])
    refused(tmp_path, "prepare", recipe, "--json", recipe, facts=["--json"])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    refused(tmp_path, "prune", run, "--gmac", 1, "--out", tmp_path / "full", facts=["full", "notes.txt"])
    (run / "report" / "report.md").write_text("my own words")
    result = call("evaluate", run, *root)
    assert result.exit_code == 2 and "report.md" in result.stderr
    with pytest.raises(WrongCall, match="report.md"):
        deeplab_tf.evaluate(run, root=str(data), out=run / "report")
    assert (run / "report" / "report.md").read_text() == "my own words"
    for more in (["--overwrite"], []):
        result = call("evaluate", run, *root, *more)
        assert result.exit_code == 0, result.output + result.stderr


@pytest.mark.parametrize(
    "path", ["~nobody-at-all/x", "a\0b", "\udcff", "d/" * 2500, "n" * 300], ids=["home", "NUL", "bytes", "deep", "long"]
)
@pytest.mark.parametrize(
    "arguments",
    [
        ["score", "--truth", "truth", "--pred", "{}"],
        ["predict", "bundle", "{}", "--out", "o"],
        ["predict", "bundle", "p", "--out", "{}"],
        ["predict", "{}", "p", "--out", "o"],
        ["stream", "bundle", "--source", "v.mp4", "--save", "{}"],
        ["stream", "bundle", "--source", "{}"],
        ["stream", "bundle", "--source", "v.mp4", "--json-lines", "{}"],
        ["budget", "{}"],
        ["doctor", "--json", "{}"],
        ["sample", "{}"],
        ["compare", "bundle", "--source", "p", "--labels", "{}"],
    ],
)
def test_paths_that_no_file_can_have(here, arguments, path, monkeypatch):
    monkeypatch.setattr(runtimes, "open_runtime", None)
    result = call(*(part.format(path) for part in arguments))
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert result.exit_code in (1, 2) and len(errors) == 1 and open_bundle("bundle")


def test_a_token_file_is_an_input(here):
    (here / "tok.txt").write_text("a-token-of-sixteen")
    os.chmod(str(here / "tok.txt"), 0o600)
    refused(here, *STREAM, "sample://", "--serve", "0", "--token", "@tok.txt", "--json", "tok.txt", facts=["tok.txt"])


def test_labels_over_the_numbered_images_of_a_pipeline(here):
    for number in (1, 2):
        write_image(here / "seq" / f"{number:08d}.png", tiny_bundle.frame(number))
    refused(here, *STREAM, "ffmpeg:seq/%08d.png", "--labels-out", "seq", facts=["00000001.png is what is read"])


@lab
@pytest.mark.parametrize("command", [["convert", "run", "--target", "onnx"], ["prune", "run", "--gmac", "1"]])
def test_a_report_over_a_file_of_the_runs_dataset(here, command):
    import tiny

    data = tiny.write_data(here / "data", train=1, val=1)
    (here / "run").mkdir()
    tiny.write_recipe(here / "run" / "config.yaml", tiny.recipe(data))
    label = "data/labels/val/frame_0.png"
    refused(here, *command, "--json", label, facts=[label])
