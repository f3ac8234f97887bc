"""Labels of a video that are held against flicker."""

import json

import cv2
import numpy as np
import pytest
import streams

from deeplab_tf.core.image_files import write_image
from deeplab_tf.core.smoothing import FRAMES, Smoother


def texture(seed, size=(160, 320)):
    """A picture with something to follow everywhere."""
    noise = np.random.RandomState(seed).randint(0, 256, (*size, 3)).astype(np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 4), None, 20, 230, cv2.NORM_MINMAX)


def regions(size=(160, 320)):
    """Labels in large blocks, of four classes."""
    rows, columns = np.indices(size)
    return ((rows // 40 + columns // 40) % 4).astype(np.uint8)


def test_labels_that_flicker_for_single_frames_are_held():
    """Each pixel is wrong in a tenth of the frames by itself: 18 % change with each frame. Held, a wrong label needs
    more wrong frames than right ones among the last ones: at most 1 %."""
    image, truth, random = texture(0), regions(), np.random.RandomState(1)
    smoother, shown = Smoother(), []
    for _ in range(20):
        wrong = random.rand(*truth.shape) < 0.1
        noisy = np.clip(image + random.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
        shown.append(smoother.smooth(noisy, np.where(wrong, (truth + 1) % 4, truth).astype(np.uint8)))
    changed = [np.mean(one != other) for one, other in zip(shown[5:], shown[6:])]
    errors = [np.mean(each != truth) for each in shown[5:]]
    assert np.mean(changed) < 0.02 and np.mean(errors) < 0.02, (changed, errors)


def test_what_moves_takes_its_labels_along():
    """The picture moves by 6 and 10 pixels a frame. Held in place, labels would lag behind by a frame or two: each of
    them leaves 6 / 40 + 10 / 40, about a third, of the pixels with the wrong one."""
    image, truth = texture(2, (240, 480)), regions((240, 480))
    smoother = Smoother()
    for frame in range(6):
        window = np.s_[6 * frame : 6 * frame + 160, 10 * frame : 10 * frame + 320]
        found = smoother.smooth(image[window], truth[window])
    assert np.mean(found != truth[window]) < 0.01


def test_another_picture_shows_its_labels_at_once():
    smoother, truth = Smoother(), regions()
    for _ in range(5):
        smoother.smooth(texture(3), truth)
    other = (truth + 2) % 4
    assert np.mean(smoother.smooth(255 - texture(4), other) == other) > 0.7  # some of it looks alike by chance


@pytest.mark.parametrize("frames", [1, 2, FRAMES])
def test_a_class_that_stays_shows_after_as_many_frames(frames):
    """A light that changes, in a picture that does not."""
    image, truth = texture(5), regions()
    smoother, other = Smoother(frames), ((regions() + 1) % 4).astype(np.uint8)
    for _ in range(6):
        smoother.smooth(image, truth)
    found = [np.mean(smoother.smooth(image, other) == other) for _ in range(frames)]
    assert [round(share) for share in found] == [0] * (frames - 1) + [1]


def test_smooth_of_stream(monkeypatch, tmp_path):
    """The network takes 170 for gray and 174 for bright; a block of the picture has 174 in the fifth frame alone."""
    run = streams.with_fake_runtime(monkeypatch, tmp_path / "bundle")
    for frame in range(6):
        image = np.full((64, 128, 3), 170, np.uint8)
        image[16:32, 32:64] += 4 * (frame == 4)
        write_image(str(tmp_path / "images" / f"{frame}.png"), image)
    shares = {}
    for option in ((), ("--smooth",)):
        lines = tmp_path / f"{len(option)}.jsonl"
        result = run("--source", tmp_path / "images", "--json-lines", lines, *option)
        assert result.exit_code == 0, result.stderr
        shares[option] = [json.loads(line)["class_shares"].get("bright", 0) for line in lines.read_text().splitlines()]
    assert shares[()] == [0, 0, 0, 0, pytest.approx(16 * 32 / (64 * 128)), 0]
    assert shares[("--smooth",)] == [0] * 6
