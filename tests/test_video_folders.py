"""`score --video`: the same scores from each layout as from the maps themselves, and what is said of wrong files."""

import json
import os
import tracemalloc

import numpy as np
import pytest
from click.testing import CliRunner
from slow_video_scores import TABLE, random_video

from deeplab_tf.cli import group
from deeplab_tf.core.cityscapes import CITYSCAPES
from deeplab_tf.core.image_files import write_image
from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.metrics.video import count_frame
from deeplab_tf.core.metrics.video.folders import score_video_folders
from deeplab_tf.core.metrics.video.scores import VideoScores
from deeplab_tf.core.panoptic import DIVISOR, VOID
from deeplab_tf.core.panoptic.coco import PanopticWriter, to_colors
from deeplab_tf.core.panoptic.segments import segment_map
from deeplab_tf.core.panoptic.sequences import KITTI_STEP, open_videos, place_of

VIDEOS = {f"{seed:04d}": random_video(np.random.RandomState(seed), size=(32, 40)) for seed in (3, 7)}
KEYS = ("stq", "aq", "sq", "vpq", "vpq_things", "vpq_stuff", "idf1", "mota", "things", "id_switches", "frames")


def call(*arguments):
    return CliRunner().invoke(group, ["score", *map(str, arguments)])


def of_maps(videos, table=TABLE):
    scores = VideoScores(table)
    for truth, prediction in videos:
        for true, predicted in zip(truth, prediction):
            maps = (segment_map(np.asarray(each, np.int32), table) for each in (true, predicted))
            scores.update(count_frame(*maps, len(table)))
        scores.end_sequence()
    return scores.report()


def write_own(folder, side, *, videos=VIDEOS, table=TABLE, name="{video}_{frame:06d}"):
    """A folder of videos, each with its JSON file."""
    for video, maps in videos.items():
        with PanopticWriter(str(folder / video), table, "centers") as writer:
            for frame, panoptic in enumerate(maps[side]):
                writer.add(name.format(video=video, frame=frame), np.asarray(panoptic, np.int32))
            writer.close()
    return folder


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    return write_own(folder / "truth", 0), write_own(folder / "prediction", 1)


def equal(report, expected, keys=KEYS):
    assert {key: report[key] for key in keys} == pytest.approx({key: expected[key] for key in keys}, abs=1e-12)


def test_our_own_layout(own, tmp_path):
    result = call("--truth", own[0], "--pred", own[1], "--video", "--json", tmp_path / "a.json")
    assert result.exit_code == 0, result.output
    report, expected = json.loads((tmp_path / "a.json").read_text()), of_maps(VIDEOS.values())
    equal(report, expected)
    assert report["sequences"] == 2 and report["frames"] == report["images"] == 10 and report["pq_method"] == "centers"
    assert report["iou"] == pytest.approx(expected["iou"]) and report["sq"] == report["miou"]
    assert list(report["aq_per_class"]) == ["car", "person"] and list(report["vpq_windows"]) == ["1", "2", "3", "4"]
    last = [line.split() for line in result.output.splitlines() if line.startswith("all")][0]
    assert last[1:] == [f"{report[key]:.4f}" for key in ("stq", "aq", "sq", "vpq", "idf1", "mota")]


def test_one_json_file_of_many_videos(own, tmp_path):
    """As `predict` writes it, for images in a folder for each video."""
    with PanopticWriter(str(tmp_path), TABLE, "centers") as writer:
        for video, (_, prediction) in VIDEOS.items():
            for frame, panoptic in enumerate(prediction):
                writer.add(f"{video}/{video}_{frame:06d}", np.asarray(panoptic, np.int32))
        writer.close()
    equal(score_video_folders(str(own[0]), str(tmp_path)), of_maps(VIDEOS.values()))


def test_one_video_whose_frames_are_numbered_otherwise(own, tmp_path):
    """As `stream --panoptic-out` numbers the frames of a video file."""
    folder = write_own(tmp_path, 1, videos={"0003": VIDEOS["0003"]}, name="{frame:08d}")
    equal(score_video_folders(str(own[0] / "0003"), str(folder / "0003")), of_maps([VIDEOS["0003"]]))


def test_track_ids_are_the_numbers_of_things(tmp_path):
    """Ids are of single frames then; a thing without a `track_id`, such as a tiny one, is another in each frame."""
    first, second = np.array([[0, 2001, 2002, 2003]], np.int32), np.array([[0, 2002, 2001, 2003]], np.int32)
    with PanopticWriter(str(tmp_path), TABLE, "centers") as writer:
        writer.add("0", first, track_ids={2001: 0, 2002: 5000})
        writer.add("1", second, track_ids={2002: 0, 2001: 5000})
        writer.close()
    video = open_videos(str(tmp_path)).open("")
    maps = [video.read(frame) for frame in video.files]
    numbers = [segments.numbers[segments.where][0].tolist() for segments in maps]
    assert numbers[0][:3] == numbers[1][:3] == [0, 1, 5001] and 5001 < numbers[0][3] < numbers[1][3]
    whole = json.loads((tmp_path / "panoptic.json").read_text())
    whole["annotations"][1]["segments_info"][1]["track_id"] = "a"
    (tmp_path / "panoptic.json").write_text(json.dumps(whole))
    result = call("--truth", tmp_path, "--pred", tmp_path, "--video")
    assert result.exit_code == 1 and "annotations[1].segments_info[1].track_id" in result.output


def write_step(folder, side):
    """KITTI-STEP's layout: road, sky, cars and persons with the ids of that."""
    class_of = np.array([0, 10, 13, 11])
    for video, maps in VIDEOS.items():
        for frame, panoptic in enumerate(maps[side]):
            classes = np.where(panoptic == VOID, 255, class_of[panoptic // DIVISOR % 4])
            number = np.where(panoptic == VOID, 0, panoptic % DIVISOR + 300 * (panoptic % DIVISOR > 0))
            colors = np.stack([classes, number // 256, number % 256], axis=-1).astype(np.uint8)
            write_image(str(folder / video / f"{frame:06d}.png"), colors)
    return folder


def test_kitti_step(tmp_path):
    report = score_video_folders(str(write_step(tmp_path / "truth", 0)), str(write_step(tmp_path / "prediction", 1)))
    expected = of_maps(VIDEOS.values())
    equal(report, expected)
    assert report["vpq_per_class"]["person"] == pytest.approx(expected["vpq_per_class"]["person"], nan_ok=True)
    assert report["vpq_per_class"]["car"] == pytest.approx(expected["vpq_per_class"]["car"], nan_ok=True)


def test_a_stream_is_scored_against_kitti_step(tmp_path):
    """Cityscapes' classes; riders have numbers in the prediction, and count as stuff, as they do in the truth."""
    colors = np.zeros((6, 8, 3), np.uint8)
    colors[:3, :4], colors[3:, :4] = (13, 1, 2), (12, 0, 0)  # car 258, rider
    write_image(str(tmp_path / "truth" / "0000" / "000004.png"), colors)
    panoptic = np.zeros((6, 8), np.int32)
    panoptic[:3, :4], panoptic[3:, :2], panoptic[3:, 2:4] = 13001, 12001, 12002
    with PanopticWriter(str(tmp_path / "prediction"), CITYSCAPES, "centers") as writer:
        writer.add("000004", panoptic)
        writer.close()
    report = score_video_folders(str(tmp_path / "truth"), str(tmp_path / "prediction"))
    assert report["sq"] == report["aq"] == report["idf1"] == report["vpq_windows"]["1"] == 1
    assert list(report["idf1_per_class"]) == ["person", "car"] and report["vpq"] is None


def test_kitti_step_knows_19_classes(tmp_path):
    write_image(str(tmp_path / "0" / "000000.png"), np.full((4, 4, 3), 19, np.uint8))
    result = call("--truth", tmp_path, "--pred", tmp_path, "--video")
    assert result.exit_code == 1 and "holds the class 19 as red" in result.output
    assert [label.name for label in KITTI_STEP if label.thing] == ["person", "car"]


def write_vps(folder, side):
    """Cityscapes-VPS: one JSON file of all videos; the truth's lies two folders higher."""
    table = LabelTable(label._replace(name=f"{label.name}") for label in TABLE)
    pngs = folder / "val" / "panoptic_video" if side == 0 else folder / "pan_pred"
    images, annotations = [], []
    for video, maps in VIDEOS.items():
        for frame, panoptic in enumerate(maps[side]):
            name = f"{video}_{5 * frame:04d}_frankfurt_000000_{frame:06d}"
            ids = np.where(panoptic == VOID, 0, panoptic + 1)
            segments = [
                {
                    "id": int(i),
                    "category_id": int((i - 1) // DIVISOR) + 7,
                    "iscrowd": int(i - 1 in (2000, 3000)),
                    "area": int((ids == i).sum()),
                }
                for i in np.unique(ids[ids > 0])
            ]
            write_image(str(pngs / (name + ("_final_mask.png" if side == 0 else ".png"))), to_colors(ids))
            images.append({"id": name, "file_name": name + "_newImg8bit.png"})
            annotations.append({"image_id": name, "file_name": name + "_newImg8bit.png", "segments_info": segments})
    categories = [{"id": each.id + 7, "name": each.name, "isthing": int(each.thing)} for each in table]
    whole = {"images": images, "annotations": annotations, "categories": categories}
    (folder / ("panoptic_gt_val_city_vps.json" if side == 0 else "pred.json")).write_text(json.dumps(whole))
    return pngs if side == 0 else folder


def test_cityscapes_vps(tmp_path):
    truth = write_vps(tmp_path / "truth", 0)
    (tmp_path / "truth" / "panoptic_im_val_city_vps.json").write_text("{}")
    report = score_video_folders(str(truth), str(write_vps(tmp_path / "prediction", 1)))
    equal(report, of_maps(VIDEOS.values()))


def test_places():
    assert place_of("0005_0025_frankfurt_000000_001736") == ("0005", f"{25:012d}")
    assert place_of("frankfurt/frankfurt_000000_001736") == ("frankfurt_000000", f"{1736:012d}")
    assert place_of("0003/000012") == ("0003", f"{12:012d}") == place_of("0003/0003_000012")
    assert place_of("00000012") == ("", f"{12:012d}") and place_of("a/frame") == ("a", "frame")


def test_predictions_between_the_true_frames_are_left_out_and_said(own, tmp_path):
    """Cityscapes-VPS labels every fifth frame, and a stream writes all."""
    every_second = {video: (truth[::2], prediction) for video, (truth, prediction) in VIDEOS.items()}
    for video, (truth, _) in every_second.items():
        with PanopticWriter(str(tmp_path / video), TABLE, "centers") as writer:
            for i, panoptic in enumerate(truth):
                writer.add(f"{video}_{2 * i:06d}", np.asarray(panoptic, np.int32))
            writer.close()
    report = score_video_folders(str(tmp_path), str(own[1]))
    equal(report, of_maps((truth, prediction[::2]) for truth, prediction in every_second.values()), ("stq", "idf1"))
    assert "4 predicted frames have no truth, and are left out." in report["warnings"]
    assert any("No sequence has 4 frames" in each for each in report["warnings"]) and report["vpq"] is None
    assert report["vpq_windows"]["3"] is not None and report["vpq_windows"]["4"] is None


def test_without_things_it_is_said(tmp_path):
    road = {"0001": ([np.zeros((4, 4), int)] * 4, [np.zeros((4, 4), int)] * 4)}
    write_own(tmp_path / "a", 0, videos=road)
    result = call("--truth", tmp_path / "a", "--pred", tmp_path / "a", "--video", "--json", tmp_path / "b.json")
    report = json.loads((tmp_path / "b.json").read_text())
    assert [report[key] for key in ("stq", "aq", "mota", "idf1", "vpq_things")] == [None] * 5 and report["vpq"] == 1
    assert "no things with numbers: AQ, STQ and MOTA are undefined, as is IDF1." in result.output


def test_what_is_wrong_is_one_sentence(own, tmp_path):
    def said(truth, prediction):
        result = call("--truth", truth, "--pred", prediction, "--video")
        assert result.exit_code == 1 and len(result.output.strip().splitlines()) == 1, result.output
        return result.output

    short = write_own(tmp_path / "short", 1, videos={video: (0, maps[1][:-1]) for video, maps in VIDEOS.items()})
    assert "1 of 5 frames of 0003 have no prediction" in said(own[0], short)
    one = write_own(tmp_path / "one", 1, videos={"0003": VIDEOS["0003"]})
    write_own(one, 1, videos={"other": VIDEOS["0007"]})
    assert "1 of 2 videos have no prediction" in said(own[0], one) and "other" in said(own[0], one)
    small = {video: (0, [panoptic[:-1] for panoptic in maps[1]]) for video, maps in VIDEOS.items()}
    assert "is 31x40, its truth 32x40" in said(own[0], write_own(tmp_path / "small", 1, videos=small))
    (tmp_path / "empty").mkdir()
    assert "holds no panoptic videos" in said(tmp_path / "empty", own[1])
    (one / "cut").mkdir()
    assert "has no JSON file, as the other videos" in said(own[0], one)


@pytest.mark.parametrize("option", [["--panoptic"], ["--format", "ids"], ["--csv", "a.csv"], ["--part", "1/2"]])
def test_other_options_do_not_go_with_video(own, option):
    result = call("--truth", own[0], "--pred", own[1], "--video", *option)
    assert result.exit_code == 2 and f"{option[0]} does not go with --video" in result.output


def test_frames_are_read_one_by_one(tmp_path, monkeypatch):
    panoptic = np.zeros((128, 256), np.int32)
    panoptic[20:50, 30:90] = 2001
    folder = str(write_own(tmp_path, 0, videos={"0001": ([panoptic] * 60, None)}))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    tracemalloc.start()
    report = score_video_folders(folder, folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report["stq"] == report["vpq"] == 1 and peak < 40 * panoptic.nbytes, (
        f"{peak} bytes, 120 maps are on the disk"
    )
