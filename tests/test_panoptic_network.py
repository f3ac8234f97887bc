"""A panoptic network from training to a stream: instances are touching blocks of one color in a grid."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny
from click.testing import CliRunner

import deeplab_tf
from deeplab_tf.cli import group
from deeplab_tf.core.bundle import open_bundle
from deeplab_tf.core.image_files import read_colors, read_image
from deeplab_tf.core.panoptic.coco import from_colors
from deeplab_tf.core.panoptic.grouping import to_panoptic
from deeplab_tf.deploy.runtimes import open_runtime


def call(*arguments):
    result = CliRunner().invoke(group, [str(argument) for argument in arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return result


@pytest.fixture(scope="module")
def run():
    return tiny.panoptic_run()


@pytest.fixture(scope="module")
def scores(run, tmp_path_factory):
    """What `evaluate` says of the run."""
    out = tmp_path_factory.mktemp("scores") / "scores.json"
    call("evaluate", run, "--out", out.parent / "report", "--json", out)
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def bundle(run, tmp_path_factory):
    """The run converted to INT8, the report of `convert`, and its output."""
    folder = tmp_path_factory.mktemp("panoptic_bundle")
    made = call(
        "convert",
        run,
        "--out",
        folder / "bundle",
        "--int8",
        "--calibration-images",
        12,
        "--json",
        folder / "convert.json",
    )
    return open_bundle(folder / "bundle"), json.loads((folder / "convert.json").read_text()), made.output


def test_it_learns_touching_instances(run, scores):
    assert scores["pq_method"] == "centers" and scores["pq_things"] > 0.7 and scores["pq_stuff"] > 0.9
    validations = [
        json.loads(line)["val"] for line in (run / "metrics.jsonl").read_text().splitlines() if '"val"' in line
    ]
    assert max(row["pq"] for row in validations) == pytest.approx(scores["pq"], abs=1e-9), (
        "the best network is the one with the best PQ"
    )
    result = json.loads((run.parent / "result.json").read_text())
    assert result["best_pq"] == pytest.approx(scores["pq"], abs=1e-9)


def test_connected_components_are_worse(run, scores):
    from deeplab_tf.lab.evaluation.evaluate import evaluate
    from deeplab_tf.lab.runs import open_run_split, open_runtime

    runtime = open_runtime(str(run))
    runtime.gives_instances = False
    report = evaluate(runtime, open_run_split(runtime.config, "val")).report()
    assert report["pq_method"] == "components" and report["miou"] == scores["miou"]
    assert report["pq_things"] < scores["pq_things"] - 0.1 and report["pq_stuff"] == scores["pq_stuff"]
    assert scores["pq_of_components"] == {
        key: report[key] for key in ("pq", "pq_things", "pq_stuff")
    }  # told beside its own
    assert "pq_of_components" not in report


@pytest.mark.parametrize("flip, times", [(False, 1), (True, 2)])
def test_frame_runs_once_without_averaging(run, flip, times, monkeypatch):
    """Averaging needs the mirrored image besides."""
    from deeplab_tf.core.panoptic import VOID
    from deeplab_tf.core.prediction import predict
    from deeplab_tf.lab.runs import open_run_split, open_runtime

    runtime = open_runtime(str(run))
    image = open_run_split(runtime.config, "val").sample(0).image
    expected, own, runs = predict(runtime, image, flip=flip), runtime.predict(image), []

    def counted(call):
        return lambda frame: runs.append(frame) or call(frame)

    monkeypatch.setattr(runtime, "predict", counted(runtime.predict))
    predicted = predict(runtime, image, flip=flip)
    np.testing.assert_array_equal(predicted.label_map, expected.label_map)
    np.testing.assert_array_equal(predicted.panoptic, expected.panoptic)
    assert len(runs) == times and predicted.panoptic_method == "centers" and not (predicted.panoptic == VOID).any()
    if not flip:
        np.testing.assert_array_equal(predicted.panoptic, to_panoptic(own, runtime.table)[0])


def test_maps_at_another_size(run):
    """The panoptic map has the classes of the label map, whose probabilities were upsampled, but where an instance
    outvotes its pixels; its stuff is the label map's, pixel by pixel."""
    from deeplab_tf.core.panoptic import DIVISOR, thing_classes
    from deeplab_tf.core.prediction import predict
    from deeplab_tf.lab.runs import open_run_split, open_runtime

    runtime = open_runtime(str(run))
    image = open_run_split(runtime.config, "val").sample(0).image
    large = predict(runtime, image, (128, 192))
    classes, things = large.panoptic // DIVISOR, thing_classes(runtime.table)[large.label_map]
    np.testing.assert_array_equal(classes[~things], large.label_map[~things])
    assert (classes == large.label_map).mean() > 0.98 and things.any()
    found, finer = (set(np.unique(each.panoptic).tolist()) for each in (predict(runtime, image), large))
    assert found <= finer and len(finer - found) <= 1  # a small instance may outvote its pixels only there


def test_evaluate_shows_pq_and_its_method(run, tmp_path):
    output = call("evaluate", run, "--out", tmp_path).output
    assert "Panoptic quality, instances by predicted centers and offsets" in output and "things" in output
    assert "Connected components of the same labels, without centers and offsets: PQ 0." in output


def test_report_has_pq_for_each_checkpoint(run):
    page = call("report", run).output
    report = json.loads((run / "report" / "checkpoints.json").read_text())
    assert [row["checkpoint"] for row in report["checkpoints"]] == ["50", "best"]
    assert all(0 < row["pq"] <= 1 and row["fps"] > 0 for row in report["checkpoints"])
    assert "instances by predicted centers and offsets" in page and (run / "report" / "architecture.png").is_file()


def test_tensorboard_shows_pq(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "logs" / "val"))
    events.Reload()
    assert {"pq", "pq_things", "pq_stuff", "panel/0"} <= set(events.Tags()["tensors"])


@pytest.fixture(scope="module")
def predicted(run, tmp_path_factory):
    """Panoptic files and overlays of the validation images."""
    out = tmp_path_factory.mktemp("predicted")
    call("predict", run, run.parent / "data" / "images" / "val", "--out", out, "--format", "panoptic", "--overlay")
    return out


def test_score_of_predicted_files_equals_evaluate(run, scores, predicted, tmp_path):
    """The truth is written by the test, in COCO's format, from the label and instance files."""
    rows = []
    for path in sorted((run.parent / "data" / "labels" / "val").iterdir()):
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(int)
        numbers = cv2.imread(str(path).replace("/labels/", "/instances/"), cv2.IMREAD_UNCHANGED).astype(int)
        ids = np.where(labels == 255, 0, (labels + 1) * 100 + numbers)
        cv2.imwrite(
            str(tmp_path / path.name), np.stack([ids // 65536, ids // 256 % 256, ids % 256], axis=-1).astype(np.uint8)
        )
        segments = [{"id": int(i), "category_id": int(i // 100), "iscrowd": 0} for i in np.unique(ids) if i]
        rows.append({"image_id": path.stem, "file_name": path.name, "segments_info": segments})
    categories = [{"id": i + 1, "name": name, "isthing": int(name == "tree")} for i, name in enumerate(tiny.COLORS)]
    (tmp_path / "truth.json").write_text(json.dumps({"annotations": rows, "categories": categories}))
    call("score", "--panoptic", "--pred", predicted, "--truth", tmp_path, "--json", tmp_path / "report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    for key in ("pq", "sq", "rq", "pq_things"):
        assert report[key] == pytest.approx(scores[key], abs=1e-9), key


def test_panoptic_json_describes_its_files(predicted):
    whole = json.loads((predicted / "panoptic.json").read_text())
    assert [(row["name"], row["isthing"]) for row in whole["categories"]] == [("road", 0), ("tree", 1), ("sky", 0)]
    for row in whole["annotations"]:
        ids = from_colors(read_colors(predicted / row["file_name"]))
        assert sorted(segment["id"] for segment in row["segments_info"]) == [i for i in np.unique(ids) if i]
        for segment in row["segments_info"]:
            x, y, width, height = segment["bbox"]
            assert (
                (ids[y : y + height, x : x + width] == segment["id"]).sum()
                == segment["area"]
                == (ids == segment["id"]).sum()
            )


def test_folder_is_scored_without_instances(run, tmp_path):
    data = run.parent / "data"
    folders = ["--images", data / "images" / "val", "--labels", data / "labels" / "val"]
    output = call("evaluate", run, *folders, "--out", tmp_path, "--json", tmp_path / "a").output
    assert "no instance files" in output
    report = json.loads((tmp_path / "a").read_text())
    assert report["miou"] > 0.9 and "pq" not in report


def test_evaluation_report_has_a_table_of_pq(run, tmp_path):
    call("evaluate", run, "--flip", "--out", tmp_path)
    page = (tmp_path / "report.md").read_text()
    assert (
        "instances by predicted centers and offsets" in page
        and "averaged with its mirror" in page
        and "| things" in page
    )


def test_figures_have_a_line_between_instances():
    """Two things, the left and the right half of 64 x 64 pixels: 64 pixels lie on the line between them."""
    from deeplab_tf.core.labels import Label, LabelTable
    from deeplab_tf.lab.evaluation.figures import comparison

    table = LabelTable([Label(0, "tree", (1, 2, 3), True)])
    label_map, panoptic = np.zeros((64, 64), np.uint8), np.where(np.arange(64) < 32, 1, 2) * np.ones((64, 1), np.int32)
    image = np.zeros((64, 64, 3), np.uint8)
    plain = comparison([(image, "image", [(label_map, "truth")])], table)
    outlined = comparison([(image, "image", [(label_map, "truth", panoptic)])], table)
    changed = (plain != outlined).any(axis=2)
    assert changed.sum() == 64 and (outlined[changed] == 255).all()


def test_overlays_have_lines_around_instances(predicted):
    overlay = read_image(sorted(predicted.glob("*_overlay.jpg"))[0])
    assert (overlay.min(axis=2) > 220).mean() > 0.02


def test_python_api_equals_the_command(run, predicted, tmp_path):
    rows = {row["image_id"]: row for row in json.loads((predicted / "panoptic.json").read_text())["annotations"]}
    with deeplab_tf.load(run) as model:
        for result in model.predict(sorted((run.parent / "data" / "images" / "val").iterdir())):
            stem = Path(result.path).stem
            things = [segment for segment in rows[stem]["segments_info"] if segment["category_id"] == 2]
            assert result.instance_counts() == ({"tree": len(things)} if things else {})
            result.save(tmp_path / "overlay.jpg")
            assert (tmp_path / "overlay.jpg").read_bytes() == (predicted / f"{stem}_overlay.jpg").read_bytes()


def test_bundle_has_three_outputs(bundle):
    opened, report, output = bundle
    assert opened.gives_instances and opened.outputs == ("labels", "center", "offset")
    assert "PQ" in output
    rows = {(row["target"], row["precision"]): row for row in report["rows"]}
    keras = rows["keras", "float32"]["pq"]
    assert keras > 0.7
    for kind in (("saved_model", "float32"), ("onnx", "float32")):
        assert rows[kind]["pq"] == pytest.approx(keras, abs=0.005)
    assert rows["onnx", "int8"]["pq"] > keras - 0.05


@pytest.mark.parametrize("name", ["onnx", "saved_model"])
def test_runtimes_equal_keras(run, bundle, name):
    from deeplab_tf.lab.runs import open_runtime as open_run

    image = read_image(sorted((run.parent / "data" / "images" / "val").iterdir())[0])
    expected = open_run(str(run)).predict(image)
    with open_runtime(bundle[0], name, "float32") as runtime:
        got = runtime.predict(image)
    assert (got.label_map == expected.label_map).mean() > 0.999
    np.testing.assert_allclose(got.center, expected.center, atol=1e-4)
    np.testing.assert_allclose(got.offset, expected.offset, atol=1e-3)


def test_instances_at_label_stride_4(run, bundle, tmp_path):
    output = call(
        "convert", run, "--out", tmp_path / "b", "--label-stride", 4, "--target", "onnx", "--score-images", 2
    ).output
    assert "On the device: deeplab-tf convert b --fp16" in output, "it holds nothing for INT8 engines"
    small = open_bundle(tmp_path / "b")
    image = read_image(sorted((run.parent / "data" / "images" / "val").iterdir())[0])
    with open_runtime(bundle[0], "onnx", "float32") as whole, open_runtime(small, "onnx", "float32") as strided:
        full, quarter = whole.predict(image), strided.predict(image)
        np.testing.assert_allclose(quarter.offset, full.offset[::4, ::4], atol=1e-4)
        np.testing.assert_allclose(quarter.center, full.center[::4, ::4], atol=1e-5)
        things = [np.unique(to_panoptic(each, small.table, stride=s)[0]) for each, s in ((full, 1), (quarter, 4))]
    assert abs(len(things[0]) - len(things[1])) <= 1


def test_stream_counts_instances(run, bundle, tmp_path):
    images = run.parent / "data" / "images" / "val"
    call(
        "stream",
        bundle[0].path,
        "--source",
        images,
        "--json-lines",
        tmp_path / "lines.jsonl",
        "--save",
        tmp_path / "saved",
    )
    rows = [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    truth = cv2.imread(str(sorted((run.parent / "data" / "instances" / "val").iterdir())[0]), cv2.IMREAD_UNCHANGED)
    assert abs(rows[0]["instances"]["tree"] - (len(np.unique(truth)) - 1)) <= 2 and set(rows[0]["instances"]) == {
        "tree"
    }
    assert len(list((tmp_path / "saved").glob("[!.]*"))) == 3


def test_compare_has_pq_against_the_first_runtime(run, bundle, tmp_path):
    images = run.parent / "data" / "images" / "val"
    options = ["--runtimes", "onnx:float32,onnx:int8", "--seconds", 0, "--json", tmp_path / "compared.json"]
    output = call("compare", bundle[0].path, "--source", images, *options).output
    first, second = json.loads((tmp_path / "compared.json").read_text())["runtimes"]
    assert first["agreement_pq"] == 1.0 and 0.8 < second["agreement_pq"] <= 1.0 and "PQ against the first" in output
