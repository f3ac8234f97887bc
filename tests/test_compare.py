"""`compare`: what is run in which order, what is measured, and what is reported."""

import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import tiny_bundle
from click.testing import CliRunner

import deeplab_tf
from deeplab_tf.cli import group
from deeplab_tf.core.bundle import open_bundle
from deeplab_tf.core.cityscapes import CITYSCAPES
from deeplab_tf.core.draw import resize_labels
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import read_image, write_image
from deeplab_tf.core.labels import Label, LabelTable
from deeplab_tf.core.metrics.latency import is_stable, percentiles
from deeplab_tf.core.metrics.panoptic import PanopticQuality
from deeplab_tf.core.panoptic import Prediction
from deeplab_tf.core.panoptic.grouping import components
from deeplab_tf.core.prediction import predict
from deeplab_tf.core.predictor import Predictor
from deeplab_tf.deploy import jetpack, probe
from deeplab_tf.deploy.compare import results, worker
from deeplab_tf.deploy.compare.labeled_frames import LabeledFrames, load_frames
from deeplab_tf.deploy.compare.plan import Variant, variants, visit_order
from deeplab_tf.deploy.compare.runner import Outcome, run_all
from deeplab_tf.deploy.runtimes import open_runtime
from deeplab_tf.synth.dataset import Settings, scene_paths, write_scene

SIZE = (32, 48)
NONE_MISSING = {"onnx": None, "saved_model": None, "tensorrt": None, "tf_trt": None}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    return tiny_bundle.write_bundle(tmp_path_factory.mktemp("compare") / "bundle", size=SIZE)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Three images, and the bundle's own predictions as labels, upsampled to 32x48; half of the second is ignored."""
    folder = tmp_path_factory.mktemp("images")
    for i in range(3):
        image = tiny_bundle.frame(i, SIZE)
        labels = resize_labels(tiny_bundle.expected_scores(image).argmax(-1).astype(np.uint8), SIZE, 2)
        if i == 1:
            labels[:, :24] = 255
        write_image(str(folder / "images" / f"frame_{i}.png"), image)
        write_image(str(folder / "labels" / f"frame_{i}.png"), labels)
    return folder


def test_percentiles_are_linear_between_neighbors():
    # of 0, 1 ... 100 ms the 90th percentile is 90; of [10, 20] the median is 15, and the 90th 10 + 0.9 * 10
    assert percentiles(range(101)) == {"p50": 50.0, "p90": 90.0, "p99": 99.0}
    assert percentiles([20, 10]) == pytest.approx({"p50": 15.0, "p90": 19.0, "p99": 19.9})
    assert np.isnan(percentiles([])["p50"])


def test_stable_times():
    assert not is_stable([100.0] * 9)
    assert is_stable([100.0] * 10)
    assert is_stable([500.0] * 3 + [100.0] * 5 + [96.0] * 5)
    assert not is_stable([100.0] * 5 + [90.0] * 5)
    assert is_stable([100.0] * 5 + [100.0, 100.0, 101.0, 900.0, 900.0]), "two slow frames of five do not move a median"


def test_visits_go_forward_and_back():
    assert visit_order(3, 1) == [0, 1, 2, 2, 1, 0]
    assert visit_order(2, 2) == [0, 1, 1, 0, 0, 1, 1, 0]
    positions = {i: [at for at, j in enumerate(visit_order(5, 3)) if j == i] for i in range(5)}
    assert len({sum(places) for places in positions.values()}) == 1, "a drift in time adds the same to each"


class WithEveryFile:
    """Of a bundle, what a plan needs."""

    def __contains__(self, name):
        return True


def test_plain_tensorflow_comes_first_and_tensorrt_last():
    bundle = WithEveryFile()
    found = [str(variant) for variant in variants(None, bundle, NONE_MISSING)]
    assert found[:4] == ["saved_model:float32", "onnx:float32", "onnx:int8", "tf_trt:float32"]
    assert found[-3:] == ["tensorrt:float32", "tensorrt:float16", "tensorrt:int8"]
    assert variants("onnx:int8,saved_model,onnx", bundle, NONE_MISSING) == [
        Variant("onnx", "int8"),
        Variant("saved_model", "float32"),
        Variant("onnx", "float32"),
    ]
    assert variants("onnx,saved_model:float32", bundle, NONE_MISSING, "float32") == [
        Variant("onnx", "float32"),
        Variant("saved_model", "float32"),
    ]
    assert [each.runtime for each in variants(None, bundle, NONE_MISSING, "float16")] == ["tf_trt", "tensorrt"]
    with pytest.raises(DeepLabError, match="The runtime onnx has no precision 'float16'"):
        variants("onnx", bundle, NONE_MISSING, "float16")


@pytest.mark.parametrize(
    "wanted, message",
    [
        ("onxx", "There is no runtime 'onxx'. Did you mean 'onnx'?"),
        ("onnx:int4", "The runtime onnx has no precision 'int4'. Did you mean 'int8'?"),
        ("tensorrt", "The runtime tensorrt does not work here: no GPU."),
    ],
)
def test_what_cannot_run_is_one_sentence(bundle, wanted, message):
    with pytest.raises(DeepLabError) as caught:
        variants(wanted, bundle, dict(NONE_MISSING, tensorrt="no GPU."))
    assert str(caught.value) == message


class FakeRuntime:
    """Takes 2, 6 and 4 ms for its three steps, and gives the frame's red channel modulo 3, always in the same array."""

    table, gives_probabilities, label_stride = CITYSCAPES, False, 1

    def __init__(self, slow_runs=0):
        self.runs, self.slow_runs, self.out = 0, slow_runs, np.zeros((4, 6), np.int32)

    def upload(self, frame):
        self.frame = frame
        time.sleep(0.002)

    def run(self):
        self.runs += 1
        time.sleep(0.3 if self.runs <= self.slow_runs else 0.006)

    def download(self):
        time.sleep(0.004)
        self.out[:] = self.frame[::2, ::2, 0] % 3
        return {"labels": self.out}


@pytest.mark.alone
def test_stages_add_up_to_end_to_end():
    frames = np.stack([tiny_bundle.frame(i, (8, 12)) for i in range(4)])
    result = worker.measure(FakeRuntime(), frames, seconds=0.0)
    latency = {stage: np.array(times) for stage, times in result["latency_ms"].items()}
    assert {len(times) for times in latency.values()} == {worker.MIN_RUNS}
    np.testing.assert_allclose(
        sum(latency[stage] for stage in ("upload", "run", "download", "post")), latency["end_to_end"]
    )
    for stage, least in (("upload", 2), ("run", 6), ("download", 4), ("post", 0)):
        assert least <= np.min(latency[stage]) and np.median(latency[stage]) < least + 5
    assert (result["labels"] == frames[:, ::2, ::2, 0] % 3).all(), "labels of one frame must outlive the next one's"


def test_slow_first_runs_are_not_timed():
    frames = np.stack([tiny_bundle.frame(i, (8, 12)) for i in range(2)])
    runtime = FakeRuntime(slow_runs=7)
    result = worker.measure(runtime, frames, seconds=0.0)
    assert result["warm_up"]["runs"] > 7 and max(result["latency_ms"]["run"]) < 250
    assert runtime.runs == result["warm_up"]["runs"] + worker.MIN_RUNS


def outcome(name, milliseconds, labels, **changes):
    """Of two visits, with these times."""
    latency = {stage: list(milliseconds) for stage in worker.STAGES}
    visit = {"latency_ms": latency, "precision": "float32", "warm_up": {"runs": 10, "stable": True}, "load_s": 1.0}
    visit.update(power_w=None, temperature_c=40.0, throttled=None, peak_memory_mb=100.0, system_memory_mb=None)
    return Outcome(Variant(name, "float32"), [visit, dict(visit, **changes)], labels, None)


class ThreeClasses:
    """Of a bundle, what a report needs."""

    table = LabelTable.from_dicts(tiny_bundle.INFO["classes"])
    label_stride = 1


def test_a_row_by_hand():
    first = np.array([[[0, 0, 1, 1]]], np.uint8)
    other = np.array([[[0, 1, 1, 1]]], np.uint8)
    faster = {"latency_ms": {stage: [8.0, 8.0] for stage in worker.STAGES}, "peak_memory_mb": 120.0}
    rows = results.rows([outcome("a", [10.0, 10.0], first), outcome("b", [10.0, 10.0], other, **faster)], ThreeClasses)
    assert rows[0]["agreement"] == 1.0 and rows[0]["miou"] is None and rows[0]["fps"] == pytest.approx(100.0)
    # b: three of four pixels agree; a: 1 of 2 pixels that either calls a; b: 2 of 3; c is nowhere
    assert rows[1]["agreement"] == 0.75
    assert rows[1]["agreement_by_class"] == {"a": 0.5, "b": pytest.approx(2 / 3), "c": None}
    assert (
        rows[1]["spread"] == pytest.approx(0.25)
        and rows[1]["fps"] == pytest.approx(1000 / 9)
        and rows[1]["peak_memory_mb"] == 120.0
    )
    (warning,) = results.warnings(rows, [])
    assert warning.startswith("b:float32 was 25% slower in one visit")


class OneRow(Predictor):
    """Says the class of each pixel's red value; two pixels wide."""

    name, size = "fake", (1, 4)
    table = LabelTable(
        [Label(0, "road", (9, 9, 9), False), Label(1, "car", (99, 9, 9), True), Label(2, "sky", (9, 9, 99), False)]
    )

    def predict(self, frame):
        return Prediction(frame[..., 0].copy())


def test_scores_by_hand():
    frames = np.array([[[0, 1, 1, 1]], [[2, 2, 2, 2]]], np.uint8)[..., None].repeat(3, axis=-1)
    labels = np.array([[0, 0, 0, 0, 1, 1, 1, 255]], np.uint8)  # twice as wide
    panoptic = np.array([[0, 0, 0, 0, 1001, 1001, 1001, 255000]], np.int32)
    found = worker.score(OneRow(), frames, {"labels_0": labels, "panoptic_0": panoptic})
    # resized, the prediction is 0 0 1 1 1 1 1 1: class 0 has 2 of 4 pixels, class 1 3 of the 5 that count
    assert found["miou"] == pytest.approx((2 / 4 + 3 / 5) / 2)
    # its car, a connected component, has 3 of 5 pixels: a match; the road, 2 of 4, is none: missed, and wrong
    assert found["pq_things"] == pytest.approx(3 / 5) and found["pq_stuff"] == 0.0
    assert found["pq"] == pytest.approx(3 / 5 / 2) and found["pq_method"] == "components"
    nothing = worker.score(OneRow(), frames, {"labels_1": np.full((1, 4), 255, np.uint8)})
    assert nothing == {"miou": None, "pq": None, "pq_things": None, "pq_stuff": None, "pq_method": None}


def test_the_published_figures_are_marked_as_claims():
    labels = np.zeros((1, 1, 4), np.uint8)
    rows = results.rows([outcome("saved_model", [100.0], labels), outcome("tensorrt", [20.0], labels)], ThreeClasses)
    report = {"runtimes": rows, "size": [512, 1024], "claims": results.CLAIM}
    claim, ours = results.table_2(report)[1:]
    assert "512x1024    10.0   25.0    2.50  plain TensorFlow -> TensorRT; a claim, not measured by us" in claim
    assert "512x1024    10.0   50.0    5.00  saved_model:float32 -> tensorrt:float32" in ours
    assert rows[0]["miou"] is None
    assert "published" not in "".join(results.table_2({**report, "claims": None}))
    assert results.table_2({**report, "claims": None, "runtimes": rows[:1]}) == []


@pytest.mark.parametrize(
    "data, size, device, claimed",
    [
        ({"name": "cityscapes"}, (512, 1024), "a laptop", True),
        ({"name": "cityscapes"}, (256, 512), "a laptop", False),
        ({"name": "camvid"}, (512, 1024), "a laptop", False),
        (None, (512, 1024), "NVIDIA Orin Nano Developer Kit", False),
        ({"name": "camvid"}, (360, 480), "NVIDIA Jetson Nano Developer Kit", True),
    ],
)
def test_a_claim_is_shown_where_it_is_about_the_network_or_the_device(data, size, device, claimed, monkeypatch):
    class Bundle(ThreeClasses):
        path, info = "b", {"data": data}

    Bundle.size = size
    monkeypatch.setattr(results.device, "fingerprint", lambda: {"name": device})
    frames = LabeledFrames(np.zeros((1, *size, 3), np.uint8), [None], "x")
    assert bool(results.report(Bundle, frames, [], {}, [])["claims"]) == claimed


def test_a_failing_runtime_is_one_row(tmp_path):
    pytest.importorskip("onnxruntime")
    made = tiny_bundle.write_bundle(tmp_path / "bundle", size=SIZE)
    (tmp_path / "bundle" / "model.onnx").write_bytes(b"no model")
    said = []
    frames = np.stack([tiny_bundle.frame(i, SIZE) for i in range(2)])
    chosen = [Variant("onnx", "float32"), Variant("onnx", "int8")]
    outcomes = run_all(str(tmp_path / "bundle"), chosen, frames, seconds=0.0, say=said.append)
    assert len(said) == 1 and said[0].startswith("onnx:float32 failed: ONNX Runtime ") and "cannot load" in said[0]
    rows = results.rows(outcomes, made)
    assert rows[0]["error"] in said[0] and rows[0]["fps"] is None
    assert rows[1]["error"] is None and rows[1]["agreement"] == 1.0 and len(outcomes[1].visits) == 2


def test_probes_report_why_there_is_no_answer():
    assert probe.ask("answer = {'a': [1, None]}", 30.0) == ({"a": [1, None]}, None)
    assert probe.ask("print('noise'); answer = 1 / 0", 30.0) == (None, "ZeroDivisionError: division by zero")
    assert probe.ask("import os; os.kill(os.getpid(), 9)", 30.0) == (None, "ended by signal 9: out of memory?")
    assert probe.ask("import time; time.sleep(60)", 0.5)[1].startswith("no answer within")
    answers = probe.ask_all(
        {"bad": "import no_such_module", "good": "answer = 3", "slow": "import time; time.sleep(60)"}, 5.0
    )
    assert (
        answers["good"] == (3, None)
        and "no_such_module" in answers["bad"].problem
        and "within 5 s" in answers["slow"].problem
    )


def call(*arguments):
    return CliRunner().invoke(group, ["compare"] + [str(argument) for argument in arguments])


def test_compare_end_to_end(bundle, images, tmp_path):
    options = [
        "--runtimes",
        "onnx",
        "--labels",
        images / "labels",
        "--seconds",
        0,
        "--out",
        tmp_path,
        "--json",
        tmp_path / "a.json",
    ]
    result = call(bundle.path, "--source", images / "images", *options)
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "a.json").read_text())
    first, second = report["runtimes"]
    assert (first["name"], first["precision"], second["precision"]) == ("onnx", "float32", "int8")
    assert report["frames"] == 3 and report["device"]["versions"]["python"] and report["claims"] is None
    assert first["agreement"] == 1.0 and first["miou"] == 1.0, "truth is what this network says"
    assert 0.9 < second["agreement"] <= 1.0 and 0.9 < second["miou"] <= 1.0
    for row in report["runtimes"]:
        assert row["fps"] == pytest.approx(1000 / row["latency_ms"]["end_to_end"]["p50"])
        assert (
            row["latency_ms"]["end_to_end"]["p50"]
            <= row["latency_ms"]["end_to_end"]["p90"]
            <= row["latency_ms"]["end_to_end"]["p99"]
        )
        assert row["runs"] == 2 * worker.MIN_RUNS and 20 < row["peak_memory_mb"] < 2000
    assert "published" not in result.output and "onnx:float32 -> onnx:int8, no TensorRT" in result.output
    assert [path.name for path in tmp_path.glob("*.png")] == ["disagreement_onnx_int8.png"]


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["--runtimes", "onxx"], 2, "There is no runtime 'onxx'. Did you mean 'onnx'?"),
        (["--labels", "nowhere"], 1, "There is no folder nowhere."),
        (["--source", "smaple://"], 2, "sample"),
        (["--source", "nowhere.mp4"], 1, "There is no file nowhere.mp4."),
    ],
)
def test_bad_input_is_one_sentence(bundle, images, arguments, code, message):
    result = call(
        bundle.path,
        *(["--source", images / "images"] if "--source" not in arguments else []),
        "--runtimes",
        "onnx:int8",
        *arguments,
    )
    assert result.exit_code == code
    assert message in result.output.splitlines()[-1]


def test_label_files_hold_ids_of_the_data_set(images, tmp_path):
    """As CamVid's do, where 11 is unlabeled."""
    made = tiny_bundle.write_bundle(tmp_path / "own", size=SIZE)
    tiny_bundle.rewrite_info(made.path, label_ids={"0": 0, "1": 1, "2": 2, "11": 255})
    ids = np.resize(np.array([0, 2, 11], np.uint8), SIZE)
    write_image(str(tmp_path / "labels" / "frame_0.png"), ids)
    (truth,) = load_frames(str(images / "images"), open_bundle(made.path), 1, str(tmp_path / "labels")).truth
    np.testing.assert_array_equal(truth, np.where(ids == 11, 255, ids))


def test_wrong_and_missing_labels_are_named(bundle, images, tmp_path):
    source = str(images / "images")
    for i in range(2):
        write_image(str(tmp_path / f"frame_{i}.png"), np.full(SIZE, 2 + i, np.uint8))
    with pytest.raises(
        DeepLabError, match=r"frame_1.png holds the id 3; expected ids of the run's dataset: 0, 1, 2, 255."
    ):
        load_frames(source, bundle, 2, str(tmp_path))
    assert len(load_frames(source, bundle, 1, str(tmp_path)).images) == 1
    write_image(str(tmp_path / "frame_1.png"), np.zeros(SIZE, np.uint8))
    with pytest.raises(DeepLabError, match=r"frame_2.png has no label file: expected frame_2.png below"):
        load_frames(source, bundle, 3, str(tmp_path))


@pytest.mark.parametrize("part", ["images", "labels"])
def test_a_name_in_two_folders_is_no_way_to_a_label(bundle, images, tmp_path, part):
    shutil.copytree(str(images), str(tmp_path / "more"))
    folder = tmp_path / "more" / part
    (folder / "again").mkdir()
    shutil.copy(str(folder / "frame_1.png"), str(folder / "again"))
    with pytest.raises(DeepLabError, match="frame_1.png.*two folders"):
        load_frames(str(tmp_path / "more" / "images"), bundle, 9, str(tmp_path / "more" / "labels"))


def test_drawn_streets_have_labels(bundle, tmp_path):
    loaded = load_frames("sample://?size=64x96", bundle, 2)
    assert loaded.images.shape == (2,) + SIZE + (3,) and loaded.truth == [None, None], "the network knows other classes"
    tiny_bundle.rewrite_info(bundle.path, classes=CITYSCAPES.to_dicts())
    try:
        truth = load_frames("sample://?size=64x96", open_bundle(bundle.path), 1).truth[0]
    finally:
        tiny_bundle.rewrite_info(bundle.path, classes=tiny_bundle.INFO["classes"])
    assert truth.shape == (64, 96) and len(np.unique(truth[truth != 255])) > 3


def test_every_runtime_has_a_pq_where_instances_are_at_hand(tmp_path):
    """As `evaluate` counts it, of Cityscapes' files; without the instance file of one image there is no PQ."""
    pytest.importorskip("onnxruntime")
    made = tiny_bundle.write_bundle(tmp_path / "bundle", size=SIZE)
    tiny_bundle.rewrite_info(made.path, classes=CITYSCAPES.to_dicts(), data={"name": "cityscapes", "root": "x"})
    write_scene(str(tmp_path), 0, Settings(2, (64, 96), 5))
    image, label, *_ = scene_paths(str(tmp_path), 0, 2)
    images, labels = os.path.dirname(image), os.path.dirname(label)
    options = ["--runtimes", "onnx", "--seconds", 0, "--labels", labels, "--json", tmp_path / "a.json"]
    result = call(made.path, "--source", images, *options)
    assert result.exit_code == 0, result.output
    scored = json.loads((tmp_path / "a.json").read_text())["runtimes"]
    for row in scored:
        options = {"runtime": "onnx", "precision": row["precision"], "images": images, "labels": labels}
        expected = deeplab_tf.evaluate(made.path, **options)
        assert row["miou"] == pytest.approx(expected["miou"], abs=1e-12)
    frames = load_frames(images, open_bundle(made.path), 1, labels)
    assert frames.panoptic[0].shape == (64, 96) and row["pq_method"] == "components" and row["pq_stuff"] is not None
    with open_runtime(open_bundle(made.path), "onnx", row["precision"]) as runtime:
        quality = PanopticQuality(CITYSCAPES)
        quality.update(frames.panoptic[0], components(predict(runtime, read_image(image)).label_map, CITYSCAPES))
    assert {key: row[key] for key in ("pq", "pq_things", "pq_stuff")}.items() <= quality.report().items()
    assert " PQ" in result.output
    for path in (tmp_path / "gtFine").rglob("*_instanceIds.png"):
        path.unlink()
    assert load_frames(images, open_bundle(made.path), 1, labels).panoptic is None


def write(root, path, text):
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


@pytest.fixture
def nano(tmp_path):
    """Files of a Jetson Nano, as JetPack 4.6.1 has them, in its 5 W mode."""
    write(
        tmp_path,
        "etc/nv_tegra_release",
        "# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref, EABI: aarch64, DATE: Sat Feb 19\n",
    )
    write(tmp_path, "var/lib/nvpmodel/status", "pmode:0001")
    write(
        tmp_path,
        "etc/nvpmodel.conf",
        "< POWER_MODEL ID=0 NAME=MAXN >\nCPU_ONLINE CORE_0 1\n< POWER_MODEL ID=1 NAME=5W >\n",
    )
    for part, value in (("cur", 1479000), ("min", 102000), ("max", 1479000)):
        write(tmp_path, f"sys/devices/system/cpu/cpu0/cpufreq/scaling_{part}_freq", str(value))
        write(tmp_path, f"sys/class/devfreq/57000000.gpu/{part}_freq", "921600000")
    for i, (rail, milliwatts) in enumerate((("POM_5V_IN", 5200), ("POM_5V_GPU", 2100), ("POM_5V_CPU", 900))):
        write(tmp_path, f"sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/rail_name_{i}", rail)
        write(tmp_path, f"sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power{i}_input", str(milliwatts))
    return str(tmp_path)


def test_jetson_release_mode_and_clocks(nano):
    assert (jetpack.l4t(nano), jetpack.jetpack(nano)) == ("32.7.1", "4.6.1")
    assert jetpack.power_mode(nano) == (1, "5W", False)
    assert jetpack.clocks(nano) == [("cpu0", 1479.0, 102.0, 1479.0), ("gpu", 921.6, 921.6, 921.6)]
    mode, clock = jetpack.problems(nano)
    assert "1 (5W), not the full one: sudo nvpmodel" in mode and clock.startswith(
        "Clocks may fall (cpu0): sudo jetson_clocks"
    )
    assert jetpack.describe(nano) == {"jetpack": "4.6.1", "l4t": "32.7.1", "power_mode": "5W", "clocks_held": False}


def test_power_is_that_of_the_board(nano, tmp_path):
    from deeplab_tf.deploy import device

    assert device.power_w(nano) == 5.2
    orin = tmp_path / "orin"
    rails = (
        ("VDD_GPU_SOC", 5000, 2000),
        ("VDD_CPU_CV", 5000, 500),
        ("VIN_SYS_5V0", 5000, 600),
    )  # millivolts, milliamperes
    for i, (label, volts, amperes) in enumerate(rails, 1):
        for name, value in (("in{}_label", label), ("in{}_input", volts), ("curr{}_input", amperes)):
            write(orin, "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3/" + name.format(i), str(value))
    assert device.power_w(str(orin)) == pytest.approx(10.0 + 2.5 + 3.0)
    assert device.power_w(str(tmp_path / "nothing")) is None


@pytest.mark.parametrize(
    "release, version",
    [
        ("R35 (release), REVISION: 4.1", "5.1.2"),
        ("R36 (release), REVISION: 4.0", "6.1"),
        ("R36 (release), REVISION: 9.9", "6"),
    ],
)
def test_jetpack_follows_from_the_release(tmp_path, release, version):
    write(tmp_path, "etc/nv_tegra_release", f"# {release}, GCID: 1\n")
    assert jetpack.jetpack(str(tmp_path)) == version
    write(
        tmp_path,
        "var/lib/dpkg/status",
        "Package: nvidia-jetpack\nStatus: install ok installed\nVersion: 6.2+b77\n\nPackage: x\n",
    )
    assert jetpack.jetpack(str(tmp_path)) == "6.2"


def test_other_machines_have_no_jetpack_and_no_advice(tmp_path):
    assert jetpack.describe(str(tmp_path)) == {"jetpack": None, "l4t": None, "power_mode": None, "clocks_held": None}
    assert jetpack.problems(str(tmp_path)) == []


def test_a_worker_ends_with_its_parent():
    """However that dies: an engine that the worker still built would come into a bundle that is no longer locked."""
    source = (
        "import os, sys, time; from deeplab_tf.core.signals import end_with_parent; end_with_parent(int(sys.argv[1])); "
    )
    source += "print('at work', flush=True); time.sleep(600)"
    parent = f"import os, subprocess, sys; subprocess.run([sys.executable, '-c', {source!r}, str(os.getpid())])"
    with subprocess.Popen([sys.executable, "-c", parent], env=probe.environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"at work\n"
        process.kill()
        assert process.stdout.read() == b"", "the worker has closed it"
    assert subprocess.run([sys.executable, "-c", source, "1"], env=probe.environment()).returncode == 1
