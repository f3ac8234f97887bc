"""`deeplab-tf convert`: a run becomes a bundle that every runtime here runs, or an error says why not."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import tiny
from click.testing import CliRunner
from environments import ROOT, python36

import deeplab_tf
from deeplab_tf.cli import group
from deeplab_tf.core.bundle import open_bundle
from deeplab_tf.core.draw import resize_labels
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import read_image
from deeplab_tf.core.panoptic import Prediction
from deeplab_tf.core.predictor import Predictor, softmax
from deeplab_tf.deploy.conversion import DEFAULT_TARGETS
from deeplab_tf.deploy.convert_bundle import targets_of
from deeplab_tf.deploy.runtimes import _fastest, open_runtime
from deeplab_tf.lab.data.split import Sample, Split
from deeplab_tf.lab.evaluation.evaluate import evaluate
from deeplab_tf.lab.export.bundle_writer import ExportOptions
from deeplab_tf.lab.export.convert import convert_run
from deeplab_tf.lab.export.verify import label_stride_costs
from deeplab_tf.lab.runs import open_run_split
from deeplab_tf.lab.runs.keras_runtime import open_run


def call(*arguments):
    return CliRunner().invoke(group, ["convert", *map(str, arguments)])


@pytest.fixture(scope="module")
def run():
    return tiny.trained_run()


@pytest.fixture(scope="module")
def made(run, tmp_path_factory):
    """An INT8 bundle, the command's output and its report."""
    folder = tmp_path_factory.mktemp("convert")
    result = call(
        run,
        "--int8",
        "--out",
        folder / "bundle",
        "--calibration-images",
        6,
        "--score-images",
        3,
        "--json",
        folder / "report.json",
    )
    assert result.exit_code == 0, result.output
    return folder / "bundle", result.output, json.loads((folder / "report.json").read_text())


def test_bundle_has_every_file_and_its_description(made):
    bundle = open_bundle(made[0])
    names = {"model.onnx", "model_int8.onnx", "model_int8_cpu.onnx", "calibration.cache"}
    assert set(bundle.digests) == names | {
        f"{folder}/saved_model.pb" for folder in ("saved_model", "tf_trt/float", "tf_trt/int8")
    }
    assert bundle.size == (64, 64) and bundle.label_stride == 1 and bundle.output == "labels"
    assert bundle.table.names == list(tiny.COLORS) and bundle.info["layout"] == "NHWC"
    assert bundle.info["precision"] == ["float32", "int8"] and bundle.info["versions"]["tensorflow"].startswith("2.17")
    tensors = {line.split(": ")[0] for line in Path(bundle.file("calibration.cache")).read_text().splitlines()[1:]}
    nodes = onnx.load(bundle.file("model.onnx")).graph.node
    assert tensors >= {"image", *(node.output[0] for node in nodes if node.op_type not in ("ArgMax", "Cast"))}
    assert bundle.info["ranges"] and all(limit > 0 for limit in bundle.info["ranges"].values())


def test_only_who_asks_gets_tflite_files():
    default, every = (targets_of(name, DEFAULT_TARGETS) for name in (None, "all"))
    assert set(every) - set(default) == {"litert"} and targets_of("litert", DEFAULT_TARGETS) == ("litert",)
    assert ExportOptions((64, 64)).targets == default


def test_table_has_figures_of_what_runs_here(made):
    _, text, report = made
    rows = {(row["target"], row["precision"]): row for row in report["rows"]}
    assert list(rows)[0] == ("keras", "float32")
    for key in (("saved_model", "float32"), ("onnx", "float32"), ("onnx", "int8")):
        row = rows[key]
        assert row["fps"] > 0 and row["megabytes"] > 0 and row["memory_mb"] > 0
        assert abs(row["miou"] - rows["keras", "float32"]["miou"]) < (0.05 if key[1] == "int8" else 1e-3)
    assert rows["saved_model", "float32"]["difference"] < 1e-3 and rows["onnx", "float32"]["difference"] < 1e-3
    assert rows["tensorrt", "int8"]["fps"] is None or rows["tensorrt", "int8"]["fps"] > 0
    for word in ("largest difference", "mIoU", "frames/s", "Calibration:", "label stride"):
        assert word in text
    assert "Traceback" not in text and "WARNING" not in text
    assert "On the device: deeplab-tf convert bundle --int8" in text
    assert "mIoU on 3 of 3 images" in text and report["images"] == report["images_available"] == 3


def test_runtimes_agree(made, run):
    bundle = open_bundle(made[0])
    frame = read_image(sorted((run.parent / "data/images/val").iterdir())[0])
    labels = []
    for name, precision in (("saved_model", "float32"), ("onnx", "float32"), ("onnx", "int8")):
        with open_runtime(bundle, name, precision) as runtime:
            labels.append(runtime(frame))
    np.testing.assert_array_equal(labels[0], labels[1])
    assert labels[0].shape == (64, 64) and np.mean(labels[2] == labels[0]) > 0.9


def test_evaluate_and_predict_on_the_bundle(made, run, tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPLAB_TF_RUNTIME", "saved_model")  # for `stream` only
    monkeypatch.setattr(_fastest, "fastest", None)  # nothing is timed
    images = sorted((run.parent / "data/images/val").iterdir())
    result = CliRunner().invoke(
        group, ["predict", str(made[0]), str(images[0]), "--out", str(tmp_path), "--format", "ids", "--json", "-"]
    )
    assert result.exit_code == 0, result.output
    predicted = json.loads(result.stdout)
    assert (predicted["runtime"], predicted["precision"]) == ("onnx", "int8")
    result = CliRunner().invoke(group, ["evaluate", str(made[0]), "--out", str(tmp_path), "--json", "-"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["runtime"], report["precision"]) == ("onnx", "int8")
    assert "Computed by onnx in int8" in (tmp_path / "report.md").read_text()
    assert not list(Path(made[0]).glob("engines/*/fastest.json"))
    rows = {(row["target"], row["precision"]): row for row in made[2]["rows"]}
    assert abs(report["miou"] - rows["onnx", "int8"]["miou"]) < 1e-9  # the same three images, labels and network


def test_convert_and_evaluate_give_the_same_number(run, tmp_path):
    """Of the run and of the bundle, whose windows are smaller than the images."""
    options = ("--target", "onnx", "--size", "32x32", "--mode", "slide", "--output", "logits")
    result = call(run, "--out", tmp_path / "b", *options, "--json", tmp_path / "r.json")
    assert result.exit_code == 0, result.output
    rows = {row["target"]: row["miou"] for row in json.loads((tmp_path / "r.json").read_text())["rows"]}
    assert rows["keras"] == deeplab_tf.evaluate(run, mode="slide")["miou"]
    assert rows["onnx"] == deeplab_tf.evaluate(tmp_path / "b", runtime="onnx")["miou"]
    assert rows["onnx"] != deeplab_tf.evaluate(tmp_path / "b", runtime="onnx", mode="stretch")["miou"]


@pytest.mark.parametrize("output", ["labels", "logits"])
def test_scores_are_those_of_evaluate(run, output):
    """Of the run, and of bundles of it at each label stride, on labels of another size than the network's."""
    runtime = open_run(run)
    samples = [open_run_split(runtime, "val").sample(i) for i in range(3)]
    images = np.stack([sample.image for sample in samples])
    truth = [resize_labels(sample.label_map, (150, 130)) for sample in samples]
    row, costs = label_stride_costs(runtime, images, truth, output=output)

    class Labels(Split):
        table, names = runtime.table, ["a", "b", "c"]

        def sample(self, index):
            return Sample(images[index], truth[index])

    class Bundle(Predictor):
        """What a bundle of the run gives."""

        table, size = runtime.table, runtime.size

        def __init__(self, stride):
            self.label_stride = stride

        def predict(self, frame):
            whole, s = runtime.predict(frame), self.label_stride
            logits = np.asarray(whole.logits)[::s, ::s] if output == "logits" else None
            return Prediction(whole.label_map[::s, ::s], logits=logits)

    assert row.miou == evaluate(runtime, Labels()).report()["miou"]
    for cost in costs:
        assert cost["miou"] == evaluate(Bundle(cost["label_stride"]), Labels()).report()["miou"]
    assert (costs[0]["miou"] == row.miou) == (output == "logits")


def test_logits_at_a_stride(run, tmp_path):
    result = call(
        run, "--out", tmp_path / "b", "--output", "logits", "--label-stride", 4, "--target", "onnx", "--score-images", 2
    )
    assert result.exit_code == 0, result.output
    bundle = open_bundle(tmp_path / "b")
    assert list(bundle.digests) == ["model.onnx"]
    with open_runtime(bundle, "onnx") as runtime:
        frame = np.zeros((64, 64, 3), np.uint8)
        scores = np.moveaxis(softmax(runtime.predict(frame).logits), 0, -1)
        assert scores.shape == (16, 16, 3)
        np.testing.assert_allclose(scores.sum(-1), 1, atol=1e-5)
        np.testing.assert_array_equal(runtime(frame), scores.argmax(-1))


def test_fp16_without_a_gpu(made):
    result = call(made[0], "--fp16")
    assert result.exit_code == 0 and "no engine here" in result.output
    assert "No engine was built: tf_trt" in result.output and "tensorrt" in result.output.splitlines()[-1]
    assert "deeplab-tf stream" not in result.output and "On the device:" not in result.output
    result = call(made[0], "--fp16", "--strict")
    assert result.exit_code == 1 and "was not built" in result.output  # here none can be


@pytest.mark.parametrize(
    "arguments, code, sentence",
    [
        (["{tmp}/nothing", "--int8"], 1, "Expected a run folder"),
        (["{run}", "--int8", "--fp16"], 2, "exclude each other"),
        (["{run}", "--calibration", "percentil"], 2, "percentile"),
        (["{run}", "--size", "12"], 2, "'12' is not a size"),
        (
            ["{run}", "--int8", "--images", "{tmp}/empty", "--out", "{tmp}/b"],
            1,
            "has no image in it (PNG, JPEG, TIFF, WebP or BMP)",
        ),
        (["{run}", "--int8", "--images", "{tmp}/none", "--out", "{tmp}/b"], 1, "There is no folder"),
        (["{run}", "--out", "{tmp}/full"], 2, "holds other files than a bundle's (letter.txt)"),
        (["{bundle}", "--out", "{tmp}/b"], 2, "does not go with a bundle"),
        (["{run}", "--labels", "{tmp}/empty"], 2, "--labels are those of --images"),
        (["{run}", "--calibration", "entropy"], 2, "--calibration does not go with a conversion without --int8"),
        (["{bundle}", "--label-stride", "4"], 2, "--label-stride does not go with a bundle"),
    ],
)
def test_bad_input_is_one_sentence(made, run, tmp_path, arguments, code, sentence):
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/letter.txt").write_text("keep me")
    places = {"tmp": tmp_path, "run": run, "bundle": made[0]}
    result = call(*(argument.format(**places) for argument in arguments))
    assert result.exit_code == code, result.output
    assert sentence in result.output and "Traceback" not in result.output
    assert (tmp_path / "full/letter.txt").read_text() == "keep me" and not (tmp_path / "b").exists()


def test_damaged_bundle_is_refused(made, tmp_path):
    shutil.copytree(made[0], tmp_path / "b")
    path = tmp_path / "b/model.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    result = call(tmp_path / "b", "--fp16")
    assert result.exit_code == 1 and "model.onnx has been changed" in result.output


@pytest.mark.parametrize(
    "options, facts",
    [
        ({"target": "onxx"}, "'onxx'.*'onnx'"),
        ({"int8": True, "calibration": "entropi"}, "'entropi'.*'entropy'"),
        ({"output": "label"}, "'label'.*'labels'"),
        ({"label_stride": 3, "score_images": 1}, "1, 4 or 8. Got 3"),
        ({"int8": True, "fp16": True}, "not both"),
        ({"calibration": "entropy"}, "needs int8"),
        ({"labels": "somewhere"}, "images"),
        ({"images": "somewhere"}, "go with int8"),
        ({"calibrate_on_gpu": True, "images": "somewhere"}, "calibrate_on_gpu needs int8"),
        ({"checkpoint": 7}, "7"),
    ],
)
def test_python_api_refuses_wrong_options(run, tmp_path, options, facts):
    with pytest.raises(DeepLabError, match=facts):
        convert_run(run, tmp_path / "b", **options)
    assert not (tmp_path / "b").exists()


def test_int8_labels_on_python_3_6_are_those_of_here(made, rng, tmp_path):
    """ONNX Runtime 1.10, the last for Python 3.6, resizes channels-last tensors wrongly: 0.32 of the demo's labels."""
    with deeplab_tf.load(made[0], runtime="onnx", precision="int8") as model:
        image = cv2.resize(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), model.size[::-1])
        expected = model.predict(image).label_map
    np.save(tmp_path / "image.npy", image)
    source = (
        "import deeplab_tf, numpy\n"
        f"model = deeplab_tf.load({str(made[0])!r}, runtime='onnx', precision='int8')\n"
        "numpy.save('labels.npy', model.predict(numpy.load('image.npy')).label_map)"
    )
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}
    subprocess.run([python36(), "-c", source], cwd=tmp_path, env=variables, check=True)
    assert len(np.unique(expected)) > 1
    assert (np.load(tmp_path / "labels.npy") == expected).mean() > 0.95
