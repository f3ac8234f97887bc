"""The Python API: what `import deeplab_tf` offers, on the code paths of the command line."""

import ast
import json
import os
import pydoc
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import streams
import tiny
import tiny_bundle
from click.testing import CliRunner
from environments import ROOT, python36

import deeplab_tf
from deeplab_tf.cli import group
from deeplab_tf.core import draw, image_files
from deeplab_tf.core.cityscapes import CITYSCAPES, CITYSCAPES_FROM_CLASS
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.panoptic import Prediction, instance_counts
from deeplab_tf.core.prediction import ImagePrediction
from deeplab_tf.deploy.model import Result
from deeplab_tf.lab.data.split import Sample, Split

SIX_LINES = re.search(r"```python\n(import deeplab_tf\n.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle.write_bundle(tmp_path_factory.mktemp("api") / "bundle", "logits", size=(32, 64)).path


@pytest.fixture
def model(bundle):
    with deeplab_tf.load(bundle, "onnx") as model:
        yield model


def image(seed=0, size=(20, 30)):
    return tiny_bundle.frame(seed, size)


# The package


def test_importing_the_package_loads_nothing_heavy():
    source = "import deeplab_tf, sys; print([m for m in ('tensorflow', 'keras', 'numpy', 'cv2') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", source], stdout=subprocess.PIPE, check=True).stdout == b"[]\n"


def test_every_public_name_is_explained_with_an_example():
    text = pydoc.plain(pydoc.render_doc(deeplab_tf))
    for name in set(deeplab_tf.__all__) - {"__version__"}:
        assert f"    {name}(" in text
        docstring = getattr(deeplab_tf, name).__doc__
        for part in ("Args:", "Returns:", "Raises:", "Example:", f"deeplab_tf.{name}("):
            assert part in docstring, (name, part)
    assert (Path(deeplab_tf.__file__).parent / "py.typed").is_file()


@pytest.mark.parametrize("python", ["3.11", "3.6"])
def test_the_six_lines_of_the_readme_run(bundle, tmp_path, python):
    assert len([line for line in SIX_LINES.splitlines() if line]) <= 6
    image_files.write_image(tmp_path / "photo.jpg", image(1, (48, 80)))
    interpreter = python36() if python == "3.6" else sys.executable
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    source = SIX_LINES.replace("demo/bundle", bundle)
    command = [interpreter, "-c", source]
    output = subprocess.run(command, cwd=tmp_path, env=variables, stdout=subprocess.PIPE, check=True).stdout.decode()
    shares = ast.literal_eval(output[output.index("{") :])
    assert sum(shares.values()) == pytest.approx(1) and list(shares.values()) == sorted(shares.values(), reverse=True)
    assert image_files.read_image(tmp_path / "overlay.jpg").shape == (48, 80, 3)


def test_a_run_on_a_jetson_says_what_it_needs(tmp_path):
    (tmp_path / "config.yaml").write_text("")
    source = (
        "import deeplab_tf\n"
        f"for call in (lambda: deeplab_tf.load({str(tmp_path)!r}), lambda: deeplab_tf.train('a.yaml')):\n"
        "    try:\n        call()\n"
        "    except deeplab_tf.DeepLabError as error:\n        print(error)\n"
    )
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    output = subprocess.run([python36(), "-c", source], env=variables, stdout=subprocess.PIPE, check=True).stdout
    assert output.decode().count("needs Python 3.11 or 3.12 and TensorFlow") == 2


# load and predict


def test_load_describes_the_model(model):
    assert model.classes == ["a", "b", "c"] == model.table.names and model.size == (32, 64)
    assert (model.runtime, model.precision) == ("onnx", "int8") and "32x64, onnx int8" in repr(model)


def test_leaving_the_block_closes_the_runtime(bundle, monkeypatch):
    closed = []
    with deeplab_tf.load(bundle, "onnx", "float32") as model:
        monkeypatch.setattr(model.predictor, "close", lambda: closed.append(1))
    assert closed == [1]


@pytest.mark.parametrize(
    "arguments, facts",
    [
        (("nowhere",), ("nowhere", "bundle.json", "config.yaml")),
        (("{bundle}", "onxx"), ("onxx", "'onnx'")),
        (("{bundle}", "onnx", "int4"), ("int4", "'int8'")),
        (("{bundle}", "auto", None, "best"), ("checkpoint",)),
        (("{run}", "onnx"), ("convert", "onnx")),
        (("{run}", "auto", "int8"), ("convert", "int8")),
        (("{run}", "auto", None, 77), ("77", "15, last, best")),
    ],
)
def test_load_refuses_what_does_not_exist(bundle, arguments, facts):
    places = {"{bundle}": bundle, "{run}": str(tiny.trained_run())}
    with pytest.raises(DeepLabError) as caught:
        deeplab_tf.load(*(places.get(argument, argument) for argument in arguments))
    assert all(fact in str(caught.value) for fact in facts)


def test_load_of_a_run_gives_its_checkpoints():
    with deeplab_tf.load(tiny.trained_run(), checkpoint=15) as model:
        assert (model.runtime, model.precision, model.size) == ("keras", "float32", (64, 64))
        result = model.predict(image(), flip=True, scales=(0.5, 1.0))
        assert result.probabilities.shape == (20, 30, 3)
        np.testing.assert_array_equal(result.label_map, result.probabilities.argmax(-1))


def test_one_image_as_path_or_array(model, tmp_path):
    image_files.write_image(tmp_path / "a.png", image())
    by_path, by_text = model.predict(tmp_path / "a.png"), model.predict(str(tmp_path / "a.png"))
    by_array = model.predict(image())
    assert by_path.path == by_text.path == str(tmp_path / "a.png") and by_array.path is None
    for result in (by_path, by_text):
        np.testing.assert_array_equal(result.label_map, by_array.label_map)
        np.testing.assert_array_equal(result.image, image())


def test_many_images_as_batch_list_or_iterator(model, tmp_path):
    image_files.write_image(tmp_path / "0.png", image(0))
    expected = [model.predict(image(i)).label_map for i in range(3)]
    batch = np.stack([image(i) for i in range(3)])
    for images in (batch, list(batch), iter(batch), [tmp_path / "0.png", batch[1], batch[2]]):
        results = model.predict(images)
        assert iter(results) is results, "one at a time"
        np.testing.assert_array_equal([result.label_map for result in results], expected)


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((4, 6), np.uint8), np.zeros((4, 6, 4), np.uint8), np.zeros((4, 6, 3)), np.zeros((0, 6, 3), np.uint8)],
)
def test_arrays_that_are_no_rgb_images_are_refused(model, wrong):
    with pytest.raises(DeepLabError, match="RGB image.*uint8.*got"):
        model.predict(wrong)


def test_a_view_of_an_image_is_taken_as_it_looks(model):
    """Such as cv2's BGR, reversed."""
    reversed_view = image()[..., ::-1]
    np.testing.assert_array_equal(model.predict(reversed_view).label_map, model.predict(reversed_view.copy()).label_map)


# Results


def result_of(label_map, table=CITYSCAPES, **outputs):
    label_map = np.array(label_map, np.uint8)
    picture = np.full((*label_map.shape, 3), 100, np.uint8)
    return Result(picture, ImagePrediction(Prediction(label_map, **outputs), table, label_map.shape))


def test_class_shares_are_by_name_largest_first():
    assert result_of([[13, 13, 0, 13], [13, 13, 0, 255]]).class_shares() == {"car": 5 / 8, "road": 2 / 8}


def test_instances_are_counted_by_name():
    result = result_of(np.kron([[13, 0, 13], [0, 0, 11]], np.ones((8, 8))))
    assert result.instance_counts() == {"car": 2, "person": 1}
    assert sum(instance_counts(result.panoptic, CITYSCAPES)) == 3 and result.panoptic[0, 0] == 13001


def test_the_overlay_outlines_predicted_instances_only():
    label_map = np.kron([[13, 0, 13], [0, 0, 11]], np.ones((8, 8))).astype(np.uint8)
    plain = result_of(label_map).overlay(0.3)
    np.testing.assert_array_equal(plain, draw.overlay(np.full((16, 24, 3), 100, np.uint8), label_map, CITYSCAPES, 0.3))
    center, offset = np.zeros((16, 24), np.float32), np.zeros((16, 24, 2), np.float32)
    center[4, 4] = 1
    outlined = result_of(label_map, center=center, offset=offset).overlay(0.3)
    assert (outlined != plain).any() and (outlined[(outlined != plain).any(-1)] == 255).all()


@pytest.mark.parametrize("form", ["overlay", "color", "ids", "cityscapes"])
def test_save_writes_every_format(tmp_path, form):
    result = result_of([[13, 0], [18, 255]])
    result.save(tmp_path / "deep" / "a.png", form)
    read = image_files.read_ids if form in ("ids", "cityscapes") else image_files.read_image
    expected = {
        "overlay": result.overlay(),
        "color": draw.colorize(result.label_map, CITYSCAPES),
        "ids": result.label_map,
        "cityscapes": CITYSCAPES_FROM_CLASS[result.label_map],
    }
    np.testing.assert_array_equal(read(tmp_path / "deep" / "a.png"), expected[form])


@pytest.mark.parametrize(
    "name, form, facts", [("a.png", "colr", "color"), ("a.jpg", "ids", r"a.jpg.*\.png"), ("a.gif", "overlay", "a.gif")]
)
def test_save_refuses_what_it_cannot_write(tmp_path, name, form, facts):
    with pytest.raises(DeepLabError, match=facts):
        result_of([[0]]).save(tmp_path / name, form)
    assert not list(tmp_path.iterdir())


def test_cityscapes_ids_need_its_classes(model, tmp_path):
    with pytest.raises(DeepLabError, match="19 classes; this one has 3"):
        model.predict(image()).save(tmp_path / "a.png", "cityscapes")


# open_video


def test_a_video_gives_every_frame_of_a_file(tmp_path):
    path = streams.write_video(tmp_path / "a.mp4", 30)
    with deeplab_tf.open_video(path) as video:
        assert (video.live, video.fps, video.total) == (False, 25.0, 30)
        frames = list(video)
    assert [streams.number_of(frame) for frame in frames] == [index % 25 for index in range(30)]


def test_a_video_left_early_ends_its_thread(tmp_path):
    with deeplab_tf.open_video(streams.write_video(tmp_path / "a.mp4", 40)) as video:
        assert streams.number_of(next(iter(video))) == 0
    assert not any(thread.is_alive() for thread in video._threads)


def test_a_live_source_gives_its_newest_frame(model):
    with deeplab_tf.open_video("sample://?size=32x64&seconds=1&fps=20") as video:
        shapes = [result.label_map.shape for result, _ in zip(model.predict(video), range(3))]
    assert video.live and shapes == [(32, 64)] * 3


def test_errors_of_a_video_reach_the_reader(tmp_path):
    whole = Path(streams.write_video(tmp_path / "a.avi", 60)).read_bytes()
    (tmp_path / "a.avi").write_bytes(whole[: len(whole) // 2])
    with deeplab_tf.open_video(str(tmp_path / "a.avi")) as video, pytest.raises(DeepLabError, match="a.avi"):
        list(video)
    with pytest.raises(DeepLabError, match="nowhere.mp4"):
        deeplab_tf.open_video("nowhere.mp4")


# The lab


def test_build_model_takes_the_networks_options():
    model = deeplab_tf.build_model("lr_aspp", 5, backbone="mobilenet_v3_small", size=(64, 96))
    assert isinstance(model, keras.Model) and model.output["logits"].shape == (None, 64, 96, 5)


@pytest.mark.parametrize(
    "name, options, facts",
    [
        ("deeplab_v3", {}, "deeplab_v3_plus"),
        ("lr_aspp", {"backbon": "resnet50"}, "backbone"),
        ("lr_aspp", {"backbone": "a.py"}, "a.py"),
    ],
)
def test_build_model_says_what_was_meant(name, options, facts):
    with pytest.raises(DeepLabError, match=facts):
        deeplab_tf.build_model(name, 3, **options)


class Watch(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.losses, self.scores = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(logs["loss"])

    def on_test_end(self, logs=None):
        self.scores.append(logs["miou"])


def test_train_takes_a_dictionary_and_callbacks(tmp_path, monkeypatch):
    tiny.use_backbone(monkeypatch)
    tree, watch = tiny.recipe("elsewhere"), Watch()
    changes = {
        "data": {"root": tiny.write_data(tmp_path / "data")},
        "training": {"steps": 6, "validate_every": 3, "save_steps": []},
    }
    result = deeplab_tf.train(tree, run=tmp_path / "run", callbacks=[watch], **changes)
    assert result["run"] == str(tmp_path / "run") and result["step"] == 6
    assert len(watch.losses) == 6 and len(watch.scores) == 2 and result["best_miou"] == max(watch.scores)
    with deeplab_tf.load(result["run"]) as model:
        assert model.predict(image()).label_map.shape == (20, 30)
    assert tree["data"]["root"] == "elsewhere", "the caller's dictionary stays as it is"


def test_train_takes_a_file_and_names_the_run_after_it(tmp_path, monkeypatch):
    from deeplab_tf.lab.training import fit

    seen = []
    monkeypatch.setattr(fit, "train", lambda config, run, **options: seen.append((config, run, options)) or {"step": 6})
    recipe = tiny.write_recipe(tmp_path / "first.yaml", tiny.recipe("elsewhere"))
    result = deeplab_tf.train(recipe, data={"root": tmp_path}, training={"steps": 6, "save_steps": (2, 4)})
    ((config, run, options),) = seen
    assert result == {"run": os.path.join("runs", "first"), "step": 6} and run == Path("runs", "first")
    assert config.data["root"] == str(tmp_path) and config.training.steps == 6
    assert tuple(config.training.save_steps) == (2, 4) and options == {
        "recipe": recipe,
        "resume": False,
        "callbacks": (),
    }


@pytest.mark.parametrize(
    "options, facts",
    [
        ({}, "run=DIR"),
        ({"run": "r", "training": {"stepps": 3}}, "steps"),
        ({"run": "r", "trainning": {"steps": 3}}, "training"),
    ],
)
def test_train_refuses_a_wrong_recipe(options, facts):
    with pytest.raises(DeepLabError, match=facts):
        deeplab_tf.train(tiny.recipe("elsewhere"), **options)


def test_evaluate_reports_what_the_command_reports(tmp_path):
    run = tiny.trained_run()
    arguments = ["evaluate", run, "--flip", "--out", tmp_path / "cli", "--json", tmp_path / "cli.json"]
    assert CliRunner().invoke(group, list(map(str, arguments))).exit_code == 0
    command, report = json.loads((tmp_path / "cli.json").read_text()), deeplab_tf.evaluate(run, flip=True)
    assert "figures" not in report
    changing = {"written_by", "figures", "images_per_second", "per_image"}  # files of the report, and speed
    for key in command.keys() - changing:
        assert report[key] == command[key], key
    again = deeplab_tf.evaluate(str(run), out=tmp_path / "api")
    names = {"report.json", "report.md", "images.csv", "confusion_matrix.png", "best_and_worst.png", "reliability.png"}
    assert {path.name for path in (tmp_path / "api").glob("[!.]*")} == names
    assert json.loads((tmp_path / "api" / "report.json").read_text()) == again


class Own(Split):
    """Frames that the network labels, as the truth."""

    def __init__(self, model):
        self.table, self.names, self.model = model.table, ["first", "second"], model

    def sample(self, index):
        return Sample(image(index), self.model.predict(image(index)).label_map)


def test_evaluate_takes_frames_of_your_own(bundle, model):
    report = deeplab_tf.evaluate(bundle, split=Own(model), runtime="onnx")
    assert report["miou"] == 1.0 and report["images"] == 2 and report["split"] == "Own"


def test_evaluate_needs_images_and_labels(bundle):
    with pytest.raises(DeepLabError, match="images and labels"):
        deeplab_tf.evaluate(bundle, images="x")
    with pytest.raises(DeepLabError, match="trained on"):
        deeplab_tf.evaluate(bundle, runtime="onnx")


def test_convert_makes_a_bundle_that_load_takes(tmp_path):
    run = tiny.trained_run()
    report = deeplab_tf.convert(run, tmp_path / "bundle", target="onnx", output="logits", score_images=1)
    assert report["bundle"] == str(tmp_path / "bundle") and {row["target"] for row in report["rows"]} == {
        "keras",
        "onnx",
    }
    path = sorted((run.parent / "data" / "images" / "val").iterdir())[0]
    with deeplab_tf.load(report["bundle"], "onnx") as bundle, deeplab_tf.load(run) as keras_run:
        probabilities = bundle.predict(path).probabilities
        np.testing.assert_allclose(probabilities, keras_run.predict(path).probabilities, atol=1e-3)
    with pytest.raises(DeepLabError, match="label_stride"):
        deeplab_tf.convert(run, tmp_path / "b", label_strid=4)


def test_convert_of_a_bundle_builds_its_engines(bundle, capsys):
    report = deeplab_tf.convert(bundle, int8=True)
    assert report["bundle"] == bundle and {row["target"] for row in report["rows"]} >= {"onnx", "tensorrt"}
    with pytest.raises(DeepLabError, match="out='elsewhere'"):
        deeplab_tf.convert(bundle, "elsewhere")
    with pytest.raises(DeepLabError, match="no option 'label_stride'"):
        deeplab_tf.convert(bundle, label_stride=4)
