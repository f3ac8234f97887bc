"""Generated bundle.json, image, label and panoptic files: each is read rightly, or refused in one sentence.

What is read rightly has the pixels of the file before the change, or those that another decoder gives.
"""

import copy
import io
import json
import shutil
import struct
import zlib
from pathlib import Path

import cv2
import generated
import numpy as np
import pytest
import tiny_bundle
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, UnidentifiedImageError

from deeplab_tf.core import image_files
from deeplab_tf.core.bundle import seal
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.panoptic.coco import to_colors

WRONG = st.sampled_from(
    [None, True, -1, 0, 3, 257, 10**30, 1e300, 0.5, "", "x", "../x", "/dev/zero", "a\nb", "\0", "\ud800", [], [1], [[]]]
    + [{}, {"a": 1}, ["a", "a"], [0, 0, 0, 0], "9" * 3000, {"": "0" * 64}]
)
"""Values that some key of some file does not take."""


def places(value, path=()):
    """Return the path of every value in plain JSON."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [place for key, each in inside for place in places(each, (*path, key))]


def changed(value, path, new, *, drop=False):
    """Return a copy with another value at a path, or without it."""
    value = copy.deepcopy(value)
    target = value
    for key in path[:-1]:
        target = target[key]
    if drop:
        del target[path[-1]]
    else:
        target[path[-1]] = new
    return value


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    bundle = tiny_bundle.write_bundle(tmp_path_factory.mktemp("bundle") / "bundle")
    more = {
        "label_ids": {"0": 0, "7": 1, "9": 255},
        "ranges": {"conv": 2.5},
        "layers": [{"name": "conv", "kind": "conv", "macs": 9, "weights": 9, "reads": 9, "writes": 9}],
        "calibration": {
            "method": "min-max",
            "frames": 3,
            "trained": False,
            "float_layers": ["conv"],
            "agreement": {"min-max": 0.5},
        },
        "scores": {"images": 1},
        "data": {"name": "camvid", "size": [6, 8]},
    }
    tiny_bundle.rewrite_info(bundle.path, **more)
    return Path(bundle.path)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "frame.png"
    image_files.write_image(path, tiny_bundle.frame(1))
    return path


def predict(bundle, image, out, counted):
    arguments = [
        "predict",
        bundle,
        image,
        "--out",
        out,
        "--format",
        "ids",
        "--runtime",
        "onnx",
        "--precision",
        "float32",
    ]
    try:
        return generated.check(arguments, inputs=[bundle, image], counted=counted)
    finally:
        shutil.rmtree(out, ignore_errors=True)


@generated.examples(160)
@given(data=st.data())
def test_bundle_json(bundle, image, tmp_path_factory, data):
    info = json.loads((bundle / "bundle.json").read_text())
    path = data.draw(st.sampled_from(places(info)))
    drop = data.draw(st.booleans()) and data.draw(st.booleans())
    new, sealed = None if drop else data.draw(WRONG), data.draw(st.booleans())
    wrong = changed(info, path, new, drop=drop)
    copied = tmp_path_factory.mktemp("copy") / "bundle"
    shutil.copytree(bundle, copied)
    if sealed and path[0] not in ("files", "format", "sha256"):
        seal(str(copied), wrong)
    else:
        (copied / "bundle.json").write_text(json.dumps(wrong))
    try:
        result = predict(copied, image, copied.parent / "out", ("bundle.json", path, new, drop, sealed))
    finally:
        shutil.rmtree(copied.parent)
    if result.exit_code:
        assert "bundle" in result.stderr
    else:  # it describes the same network
        assert sealed or wrong == info


@generated.examples(30)
@given(data=st.data())
def test_bytes_of_bundle_json(bundle, image, tmp_path_factory, data):
    text = (bundle / "bundle.json").read_bytes()
    at = data.draw(st.integers(0, len(text) - 1))
    length = data.draw(st.sampled_from([0, 1, 1, 5]))
    new = data.draw(
        st.sampled_from([b"", b"\xff", b"NaN", b"[" * 5000, b'"size":', b"1e999", b"\0", b"}", b"9" * 5000])
    )
    copied = tmp_path_factory.mktemp("copy") / "bundle"
    shutil.copytree(bundle, copied)
    wrong = text[:at] + new + text[at + length :]
    (copied / "bundle.json").write_bytes(wrong)
    try:
        result = predict(copied, image, copied.parent / "out", ("bundle.json", at, length, new))
    finally:
        shutil.rmtree(copied.parent)
    assert result.exit_code or json.loads(wrong) == json.loads(text)


RGB = np.random.RandomState(0).randint(60, 200, (40, 56, 3)).astype(np.uint8)
FILES = {
    "rgb.png": cv2.imencode(".png", RGB[..., ::-1])[1].tobytes(),
    "gray.png": cv2.imencode(".png", RGB[..., 0])[1].tobytes(),
    "wide.png": cv2.imencode(".png", RGB[..., 0].astype(np.uint16) * 257)[1].tobytes(),
    "photo.jpg": cv2.imencode(".jpg", RGB)[1].tobytes(),
    "progressive.jpg": cv2.imencode(".jpg", RGB, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes(),
}
READERS = {
    "rgb.png": image_files.decode_image,
    "gray.png": image_files.decode_ids,
    "wide.png": image_files.decode_instance_ids,
    "photo.jpg": image_files.decode_image,
    "progressive.jpg": image_files.decode_image,
}


def with_right_checksums(data):
    """Return a PNG whose chunks end where they say and have the checksums that they should."""
    fixed, position = data[:8], 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        content = data[position + 8 : position + 8 + length]
        fixed += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        position += 12 + length
    return fixed


def change(draw, data):
    """Return the file with bytes flipped, taken away, put in or doubled."""
    at = draw(st.integers(0, len(data) - 1))
    length = draw(st.sampled_from([1, 1, 2, 16, 200]))
    kind = draw(st.sampled_from(["flip", "cut", "drop", "zeros", "double", "insert"]))
    part = data[at : at + length]
    if kind == "cut":
        return data[:at]
    middle = {
        "flip": bytes(byte ^ draw(st.sampled_from([1, 2, 64, 255])) for byte in part[:1]) + part[1:],
        "drop": b"",
        "zeros": bytes(len(part)),
        "double": part + part,
        "insert": part + draw(st.binary(min_size=1, max_size=8)),
    }[kind]
    return data[:at] + middle + data[at + length :]


def other_decoder(name, data):
    """Return the pixels by Pillow, or, of a JPEG, by OpenCV alone; None if they give none."""
    if name.endswith(".jpg"):
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        return None if pixels is None else pixels[..., ::-1]
    try:
        with Image.open(io.BytesIO(data)) as opened:
            return np.asarray(opened)
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError):
        return None


@generated.examples(220)
@given(data=st.data())
def test_image_files(data):
    name = data.draw(st.sampled_from(sorted(FILES)))
    wrong = change(data.draw, FILES[name])
    if name.endswith(".png") and data.draw(st.integers(0, 3)):
        wrong = with_right_checksums(wrong)
    generated.count(name, wrong)
    with generated.time_limit(name):
        try:
            pixels = READERS[name](wrong, name)
        except DeepLabError as error:
            assert name in str(error) and "\n" not in str(error)
            return
    expected = READERS[name](FILES[name], name)
    if pixels.shape != expected.shape or not np.array_equal(pixels, expected):
        other = other_decoder(name, wrong)
        assert other is not None and np.array_equal(pixels, other), (name, wrong)


LABELS = np.repeat(np.arange(4, dtype=np.uint8), 6).reshape(4, 6)


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    for side in ("truth", "pred"):
        for name in "ab":
            image_files.write_image(folder / side / f"{name}.png", LABELS)
    return folder


@generated.examples(50)
@given(data=st.data())
def test_label_files(labels, data):
    path = labels / data.draw(st.sampled_from(["truth", "pred"])) / "a.png"
    whole = path.read_bytes()
    wrong = change(data.draw, whole)
    wrong = with_right_checksums(wrong) if data.draw(st.booleans()) else wrong
    path.write_bytes(wrong)
    try:
        arguments = ["score", "--format", "ids", "--pred", labels / "pred", "--truth", labels / "truth"]
        result = generated.check(arguments, inputs=[labels], counted=("labels", path, wrong))
    finally:
        path.write_bytes(whole)
    if result.exit_code == 0:
        assert "1.0000" in result.output or not np.array_equal(other_decoder("a.png", wrong), LABELS)
    else:
        assert "a.png" in result.stderr


@pytest.fixture(scope="module")
def panoptic(tmp_path_factory):
    folder = tmp_path_factory.mktemp("panoptic")
    ids = np.array([[100, 100, 201], [100, 202, 0]])
    segments = [
        {"id": i, "category_id": i // 100, "iscrowd": 0, "area": int((ids == i).sum())} for i in (100, 201, 202)
    ]
    categories = [
        {"id": 1, "name": "road", "isthing": 0, "color": [1, 2, 3]},
        {"id": 2, "name": "car", "isthing": 1, "color": [4, 5, 6]},
    ]
    rows = [{"image_id": name, "file_name": f"{name}.png", "segments_info": segments} for name in "ab"]
    for side in ("truth", "pred"):
        for name in "ab":
            image_files.write_image(folder / side / f"{name}.png", to_colors(ids))
        whole = {"annotations": rows, "categories": categories, "info": {"pq_method": "centers"}}
        (folder / side / "panoptic.json").write_text(json.dumps(whole))
    return folder


@generated.examples(110)
@given(data=st.data())
def test_panoptic_json(panoptic, data):
    path = panoptic / data.draw(st.sampled_from(["truth", "truth", "pred"])) / "panoptic.json"
    text = path.read_text()
    whole = json.loads(text)
    place, drop = data.draw(st.sampled_from(places(whole))), data.draw(st.sampled_from([False, False, True]))
    wrong = changed(whole, place, None if drop else data.draw(WRONG), drop=drop)
    path.write_text(json.dumps(wrong))
    try:
        arguments = ["score", "--panoptic", "--pred", panoptic / "pred", "--truth", panoptic / "truth"]
        result = generated.check(arguments, inputs=[panoptic], counted=("panoptic", path, json.dumps(wrong)))
    finally:
        path.write_text(text)
    if result.exit_code == 0:
        assert [line for line in result.output.splitlines() if line.strip().startswith("all ")][-1].split()[
            1
        ] == "1.0000"
    else:
        assert str(panoptic) in result.stderr or "images have no prediction" in result.stderr, result.stderr
