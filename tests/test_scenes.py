"""Drawn street scenes: frozen, consistent, learnable only by shape, and accepted by cityscapesScripts."""

import hashlib
import importlib.util
import json
import os

import numpy as np
import pytest
from click.testing import CliRunner

from deeplab_tf.cli import group
from deeplab_tf.core.cityscapes import CITYSCAPES, CITYSCAPES_FROM_CLASS, CITYSCAPES_TO_CLASS
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import read_ids, read_image, read_instance_ids
from deeplab_tf.core.labels import IGNORE_LABEL
from deeplab_tf.synth import draw_scene
from deeplab_tf.synth.dataset import Settings, begin_folder, missing_scenes, scene_paths, write_scene
from deeplab_tf.synth.domains.streets import scene_name
from deeplab_tf.synth.light import draw_light
from deeplab_tf.synth.painter import Camera, Painter

SIZE = (96, 192)
# The same with OpenCV 4.11 and NumPy 1.26 as with OpenCV 4.5.5 and NumPy 1.19 (Python 3.6). Scores rest on them.
FROZEN_LABELS = "7aa3954da6dded0a14de3f733ec2ce2da6b421d8d6941e60d6561e6621c3418c"
FROZEN_IMAGES = "fc10db24bb7346e532893627ba92d6c13b3d6d0f0744088891eef7d43568a133"
THINGS = {int(CITYSCAPES_FROM_CLASS[label.id]) for label in CITYSCAPES if label.thing}


@pytest.fixture(scope="module")
def scenes():
    return [draw_scene(0, i, SIZE) for i in range(40)]


def _digest(arrays):
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def test_the_generator_is_frozen(scenes):
    assert _digest(array for scene in scenes[:8] for array in (scene.label_ids, scene.instance_ids)) == FROZEN_LABELS
    assert _digest(scene.image for scene in scenes[:8]) == FROZEN_IMAGES


def test_a_scene_depends_on_seed_and_index_alone(scenes):
    again = draw_scene(0, 5, SIZE)
    assert all(np.array_equal(a, b) for a, b in zip(again, scenes[5]))
    assert not np.array_equal(draw_scene(1, 5, SIZE).label_ids, again.label_ids)


def test_label_ids_are_those_of_the_instances(scenes):
    for scene in scenes:
        assert (scene.image.dtype, scene.label_ids.dtype, scene.instance_ids.dtype) == (np.uint8, np.uint8, np.uint16)
        assert scene.image.shape == SIZE + (3,) and scene.label_ids.shape == scene.instance_ids.shape == SIZE
        single = scene.instance_ids >= 1000
        assert np.array_equal(scene.label_ids, np.where(single, scene.instance_ids // 1000, scene.instance_ids))
        assert set(np.unique(scene.instance_ids[single] // 1000)) <= THINGS
        assert scene.label_ids.max() <= 33


def test_every_class_is_in_a_tenth_of_the_scenes(scenes):
    present = np.array(
        [np.bincount(CITYSCAPES_TO_CLASS[scene.label_ids].reshape(-1), minlength=256) >= 5 for scene in scenes]
    )
    for label in CITYSCAPES:
        assert present[:, label.id].mean() >= 0.1, label.name


def test_a_few_percent_are_ignored_and_instances_touch(scenes):
    ignored = np.mean([CITYSCAPES_TO_CLASS[scene.label_ids] == IGNORE_LABEL for scene in scenes])
    assert 0.01 < ignored < 0.08
    touching = 0
    for scene in scenes:
        left, right = scene.instance_ids[:, :-1].astype(int), scene.instance_ids[:, 1:].astype(int)
        touching += bool(((left != right) & (left // 1000 == right // 1000) & (left >= 1000)).any())
    assert touching > 20


def test_the_same_street_at_every_size():
    small, large = draw_scene(0, 2, (96, 192)).label_ids, draw_scene(0, 2, (288, 576)).label_ids
    assert np.mean(small == large[1::3, 1::3]) > 0.93


def test_time_moves_the_camera_by_little_and_by_much():
    start, soon, later = (draw_scene(0, 2, SIZE, time=time).label_ids for time in (0.0, 0.02, 900.0))
    assert np.array_equal(start, draw_scene(0, 2, SIZE).label_ids)
    assert 0.9 < np.mean(start == soon) < 1.0
    assert np.mean(start == later) < 0.9
    assert len(np.unique(later)) > 8


def test_colors_alone_do_not_tell_the_classes(scenes):
    path = os.path.join(os.path.dirname(__file__), "..", "tools", "check", "scenes.py")
    spec = importlib.util.spec_from_file_location("check_scenes", path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    frames = [(scene.image, CITYSCAPES_TO_CLASS[scene.label_ids]) for scene in scenes]
    miou = tool.color_miou(frames[:20], frames[20:30], False, np.random.RandomState(0))
    assert 0.03 < miou < 0.35


def _painter(size=(64, 128)):
    camera = Camera(focal=1.0, center_x=0.5, horizon=0.5, height=1.5, x=0.0, z=0.0, curve=0.0, roll=0.0)
    return Painter(size, camera, draw_light(np.random.RandomState(0)))


def test_projection_worked_out_by_hand():
    # drawn twice as large: 128x256, focal length 256, center (128, 64). At depth 8 one metre is 32 pixels.
    pixels = _painter().project(np.array([0.0, 1.0, -2.0]), np.array([1.5, 1.5, 0.0]), np.array([50.0, 8.0, 8.0]))
    assert pixels.tolist() == [[128, 64], [160, 64], [64, 112]]


def test_image_and_map_are_filled_alike():
    painter = _painter()
    for number in range(20):
        points = np.random.RandomState(number).randint(-20, 280, (7, 2)).astype(np.int32)
        painter.canvas[:], painter.codes[:] = 0, 0
        painter.fill([points], (9, 9, 9), 26001)
        assert np.array_equal(painter.canvas[:, :, 0] == 9, painter.codes == 26001)


def test_a_polygon_beyond_the_edges_is_cut_and_keeps_its_pixels():
    painter = _painter()
    painter.fill([np.array([(-500, -300), (9, -300), (9, 4), (-500, 4)], np.int32)], (9, 9, 9), 7)
    painter.fill([np.array([(300, 10), (400, 10), (400, 20)], np.int32)], (9, 9, 9), 8)
    painter.fill(
        [np.array([(-64, 64), (64, 192), (64, 64)], np.int32)], (9, 9, 9), 11
    )  # the diagonal meets x = 0 at y = 128
    assert np.array_equal(np.argwhere(painter.codes == 7), [[y, x] for y in range(5) for x in range(10)])
    assert not (painter.codes == 8).any()
    triangle = np.argwhere(painter.codes == 11)
    assert (triangle.min(axis=0).tolist(), triangle.max(axis=0).tolist()) == ([64, 0], [127, 64])


def test_splits_are_about_80_to_20_and_never_empty():
    for count in range(2, 60):
        splits = [scene_name(i, count)[0] for i in range(count)]
        assert {"train", "val"} == set(splits)
        assert len({scene_name(i, count)[1] for i in range(count)}) == count
    assert [scene_name(i, 100)[0] for i in range(100)].count("val") == 20
    assert scene_name(0, 1)[0] == "train"


def test_files_hold_the_scene_and_missing_ones_are_drawn_again(tmp_path):
    settings = Settings(6, (48, 96), 7)
    begin_folder(str(tmp_path), settings)
    for i in missing_scenes(str(tmp_path), settings):
        write_scene(str(tmp_path), i, settings)
    image, labels, instances = scene_paths(str(tmp_path), 4, 6)
    assert (
        os.path.relpath(labels, str(tmp_path)) == "gtFine/val/lindenfurt/lindenfurt_000004_000019_gtFine_labelIds.png"
    )
    scene = draw_scene(7, 4, (48, 96))
    assert np.array_equal(read_image(image), scene.image)
    assert np.array_equal(read_ids(labels), scene.label_ids)
    assert np.array_equal(read_instance_ids(instances), scene.instance_ids)
    os.remove(instances)
    assert list(missing_scenes(str(tmp_path), settings)) == [4]


def test_folders_with_something_else_are_refused(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("precious")
    with pytest.raises(DeepLabError, match="not empty"):
        begin_folder(str(other), Settings(2, (48, 96), 0))
    with pytest.raises(DeepLabError, match="is a file"):
        begin_folder(str(other / "thesis.txt"), Settings(2, (48, 96), 0))
    mine = str(tmp_path / "mine")
    begin_folder(mine, Settings(2, (48, 96), 0))
    begin_folder(mine, Settings(2, (48, 96), 0))
    with pytest.raises(DeepLabError, match="seed 0"):
        begin_folder(mine, Settings(2, (48, 96), 1))
    with pytest.raises(DeepLabError, match="32x32"):
        draw_scene(0, 0, (16, 64))


def test_the_command(tmp_path):
    out = str(tmp_path / "scenes")
    result = CliRunner().invoke(
        group, ["sample", out, "--scenes", "3", "--size", "40x80", "--json", str(tmp_path / "report.json")]
    )
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["train"], report["val"], report["drawn"]) == (2, 1, 3)
    assert CliRunner().invoke(group, ["sample", out, "--scenes", "3", "--size", "40x80"]).exit_code == 0
    again = CliRunner().invoke(group, ["sample", out, "--scenes", "4", "--size", "40x80"])
    assert again.exit_code == 1 and "Traceback" not in again.output
    assert CliRunner().invoke(group, ["sample", out, "--size", "512"]).exit_code == 2


def test_several_processes_draw_the_same(tmp_path):
    for jobs in ("1", "2"):
        result = CliRunner().invoke(
            group, ["sample", str(tmp_path / jobs), "--scenes", "8", "--size", "32x64", "--jobs", jobs]
        )
        assert result.exit_code == 0, result.output
    for i in range(8):
        for one, two in zip(scene_paths(str(tmp_path / "1"), i, 8), scene_paths(str(tmp_path / "2"), i, 8)):
            with open(one, "rb") as a, open(two, "rb") as b:
                assert a.read() == b.read()


@pytest.fixture
def folder(tmp_path):
    settings = Settings(6, (128, 256), 2)
    begin_folder(str(tmp_path), settings)
    for i in range(settings.scenes):
        write_scene(str(tmp_path), i, settings)
    return tmp_path


def test_cityscapes_scripts_accept_the_pixel_labels(folder):
    evaluation = pytest.importorskip("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    helpers = pytest.importorskip("cityscapesscripts.helpers.csHelpers")
    truths = [scene_paths(str(folder), i, 6)[1] for i in range(6)]
    assert helpers.getCsFileInfo(truths[0]).sequenceNb == "000000"
    evaluation.args.quiet, evaluation.args.JSONOutput, evaluation.args.evalInstLevelScore = True, False, True
    result = evaluation.evaluateImgLists(truths, truths, evaluation.args)
    assert result["averageScoreClasses"] == 1.0
    assert result["averageScoreInstClasses"] == pytest.approx(1.0)


def test_cityscapes_scripts_accept_the_instances(folder):
    panoptic = pytest.importorskip("cityscapesscripts.preparation.createPanopticImgs")
    evaluation = pytest.importorskip("cityscapesscripts.evaluation.evalPanopticSemanticLabeling")
    truth = str(folder / "gtFine")
    panoptic.convert2panoptic(truth, truth, False, ["train", "val"])
    listing, images = (
        os.path.join(truth, "cityscapes_panoptic_train.json"),
        os.path.join(truth, "cityscapes_panoptic_train"),
    )
    found = json.loads((folder / "gtFine" / "cityscapes_panoptic_train.json").read_text())
    wanted = sum(len(np.unique(read_instance_ids(scene_paths(str(folder), i, 6)[2]))) for i in (0, 1, 2, 3, 5))
    ignored = sum(
        len(np.setdiff1d(np.unique(read_ids(scene_paths(str(folder), i, 6)[1])), CITYSCAPES_FROM_CLASS[:19]))
        for i in (0, 1, 2, 3, 5)
    )
    assert sum(len(image["segments_info"]) for image in found["annotations"]) == wanted - ignored
    result = evaluation.evaluatePanoptic(listing, images, listing, images, os.path.join(truth, "result.json"))
    assert result["All"]["pq"] == pytest.approx(1.0)


def test_cityscapes_scripts_count_the_instances(folder):
    instances = pytest.importorskip("cityscapesscripts.evaluation.instances2dict")
    path = scene_paths(str(folder), 0, 6)[2]
    counted = instances.instances2dict([path], verbose=False)[os.path.abspath(path)]
    ids = np.unique(read_instance_ids(path))
    assert len(counted["car"]) == np.sum(ids // 1000 == 26) > 0


def test_a_thing_of_a_drive_keeps_its_id():
    """In 0.03 s nothing moves by half its size, so that the masks of one id overlap from frame to frame. Numbered for
    each frame alone they do not: a car that leaves the view passes its id on."""

    def least_overlap(numbers):
        frames = [draw_scene(3, 0, SIZE, time=0.03 * k, numbers=numbers).instance_ids for k in range(60)]
        shares = []
        for before, after in zip(frames, frames[1:]):
            for id in np.unique(after[after >= 1000]):
                one, other = before == id, after == id
                if min(one.sum(), other.sum()) > 40:
                    shares.append((one & other).sum() / min(one.sum(), other.sum()))
        return min(shares)

    assert least_overlap({}) > 0.5
    assert least_overlap(None) == 0
