"""The drawn cells and fields ask for more than colors, and `sample` writes them."""

import json

import numpy as np
import pytest
from click_runner import CliRunner

from deeplab_tf.cli import group
from deeplab_tf.core.image_files import read_colors, read_ids
from deeplab_tf.core.metrics.confusion import ConfusionMatrix
from deeplab_tf.synth.dataset import domains
from deeplab_tf.synth.domains import cells, fields


def class_ids(label):
    """(H, W) class ids of a mask of 0 and 255, or of colors."""
    if label.ndim == 2:
        return (label == 255).astype(np.uint8)
    known = [(label == color).all(axis=-1) for _, color in fields.CLASSES]
    assert np.logical_or.reduce(known).all()
    return np.argmax(known, axis=0).astype(np.uint8)


def color_miou(train, val, classes, power):
    """mIoU of the best table from a gray level, or a color of 5 bits a channel, to a class; `power` 1 balances them."""

    def keys(image):
        return image.astype(int) if image.ndim == 2 else (image >> 3).astype(int) @ (1024, 32, 1)

    counts = np.zeros((32768, classes))
    for image, label in train:
        np.add.at(counts, (keys(image).ravel(), class_ids(label).ravel()), 1)
    table = (counts / counts.sum(axis=0) ** power).argmax(axis=1).astype(np.uint8)
    confusion = ConfusionMatrix(classes)
    for image, label in val:
        confusion.update(class_ids(label), table[keys(image)])
    return confusion.miou()


@pytest.mark.parametrize("domain, classes, size", [(cells, 2, (192, 192)), (fields, 3, (192, 256))])
def test_no_table_of_colors_reaches_miou_04(domain, classes, size):
    scenes = [domain.draw(1, index, size) for index in range(20)]
    scores = [color_miou(scenes[:16], scenes[16:], classes, power) for power in (0, 0.5, 0.75, 1)]
    assert max(scores) < 0.4
    shares = np.bincount(np.concatenate([class_ids(label).ravel() for _, label in scenes]), minlength=classes)
    assert shares.min() > 0.05 * shares.sum()


@pytest.mark.parametrize("domain", [cells, fields])
def test_a_scene_follows_from_seed_and_index(domain):
    first, again, other = (domain.draw(3, index, (64, 96)) for index in (5, 5, 6))
    assert all(np.array_equal(one, two) for one, two in zip(first, again))
    assert not np.array_equal(first[0], other[0]) and not np.array_equal(first[1], other[1])


def test_cells_are_relief_and_not_brightness():
    drawn = [cells.draw(0, index, (256, 256)) for index in range(8)]
    inside = np.concatenate([image[mask == 255] for image, mask in drawn]).mean()
    outside = np.concatenate([image[mask == 0] for image, mask in drawn]).mean()
    assert abs(inside - outside) < 4
    steps = [np.abs(np.diff(image.astype(int), axis=1)) for image, _ in drawn]
    within = [(mask[:, 1:] == 255) & (mask[:, :-1] == 255) for _, mask in drawn]
    outer = [(mask[:, 1:] == 0) & (mask[:, :-1] == 0) for _, mask in drawn]
    assert np.mean([s[w].mean() for s, w in zip(steps, within)]) > np.mean([s[o].mean() for s, o in zip(steps, outer)])


def sample(out, *options, code=0):
    result = CliRunner().invoke(group, ["sample", str(out), "--size", "64x64", "--json", "-", *options])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout) if code == 0 else result.output


def test_the_command_writes_cells_without_a_split_and_fields_with_one(tmp_path):
    report = sample(tmp_path / "cells", "--domain", "cells", "--scenes", "3")
    assert (report["train"], report["val"], report["domain"]) == (0, 0, "cells")
    mask = read_ids(tmp_path / "cells" / "masks" / "cells_000002.png")
    assert np.array_equal(mask, cells.draw(0, 2, (64, 64))[1]) and set(np.unique(mask)) == {0, 255}
    report = sample(tmp_path / "fields", "--domain", "fields", "--scenes", "6")
    assert (report["train"], report["val"]) == (5, 1)
    label = read_colors(tmp_path / "fields" / "labels" / "val" / "field_000004.png")
    assert np.array_equal(label, fields.draw(0, 4, (64, 64))[1])
    rows = (tmp_path / "fields" / "label_colors.txt").read_text().splitlines()
    assert rows == ["128 96 64 soil", "0 160 0 crop", "220 40 40 weed"]


def test_a_folder_keeps_its_domain(tmp_path):
    sample(tmp_path, "--domain", "cells", "--scenes", "2")
    assert "domain cells (now None)" in sample(tmp_path, "--scenes", "2", code=1)
    assert "'planets' is not one of cells, fields, streets" in sample(tmp_path, "--domain", "planets", code=2)


def test_every_file_is_a_domain():
    assert domains() == ["cells", "fields", "streets"]
