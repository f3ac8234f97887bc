"""Reading and writing image files: what comes back is exact, and every wrong file is one sentence that names it."""

import os
import struct
import zlib

import cv2
import numpy as np
import pytest

from deeplab_tf.core import image_files
from deeplab_tf.core.errors import DeepLabError

RGB = np.random.RandomState(0).randint(0, 256, (6, 9, 3)).astype(np.uint8)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(array, *, bits=8, color_type, palette=None):
    """A PNG by the specification alone: no filter, no interlacing; `array` holds what each row holds, channels last."""
    array = np.asarray(array)
    rows = array.astype(">u2" if bits == 16 else np.uint8).reshape(len(array), -1)
    pixels = b"".join(b"\0" + row.tobytes() for row in rows)
    content = chunk(b"IHDR", struct.pack(">IIBBBBB", array.shape[1], array.shape[0], bits, color_type, 0, 0, 0))
    if palette is not None:
        content += chunk(b"PLTE", np.asarray(palette, np.uint8).tobytes())
    return b"\x89PNG\r\n\x1a\n" + content + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


GRAY = png(RGB[..., 0], color_type=0)
GRAY_16 = png(RGB[..., 0].astype(int) * 257, bits=16, color_type=0)
COLOR = png(RGB, color_type=2)
COLOR_16 = png(RGB.astype(int) * 257, bits=16, color_type=2)
PALETTE = png([[0, 1], [2, 1]], color_type=3, palette=[[10, 20, 30], [40, 50, 60], [70, 80, 90]])
RGBA = png(np.dstack([RGB, RGB[..., :1]]), color_type=6)
JPEG = cv2.imencode(".jpg", RGB)[1].tobytes()
GRAY_JPEG = cv2.imencode(".jpg", RGB[..., 0])[1].tobytes()


@pytest.fixture
def file(tmp_path):
    def write(data):
        path = tmp_path / "frame.png"
        path.write_bytes(data)
        return path

    return write


def test_pixels_come_back_as_they_stand_in_the_file(file):
    np.testing.assert_array_equal(image_files.read_image(file(COLOR)), RGB)
    np.testing.assert_array_equal(image_files.read_colors(file(COLOR)), RGB)
    np.testing.assert_array_equal(image_files.read_ids(file(GRAY)), RGB[..., 0])
    np.testing.assert_array_equal(image_files.read_instance_ids(file(GRAY)), RGB[..., 0])
    np.testing.assert_array_equal(image_files.read_instance_ids(file(GRAY_16)), RGB[..., 0].astype(int) * 257)
    np.testing.assert_array_equal(
        image_files.read_colors(file(PALETTE)), [[[10, 20, 30], [40, 50, 60]], [[70, 80, 90], [40, 50, 60]]]
    )


def test_a_jpeg_is_read_as_rgb(file):
    red = np.full((16, 16, 3), (250, 10, 20), np.uint8)
    data = cv2.imencode(".jpg", red[..., ::-1])[1].tobytes()
    assert np.abs(image_files.read_image(file(data)).astype(int) - red).max() <= 4


BAD = [
    (image_files.read_image, b"", "empty"),
    (image_files.read_image, b"not an image at all", "not a PNG or JPEG"),
    (image_files.read_image, b"GIF89a" + bytes(50), "not a PNG or JPEG"),
    (image_files.read_image, COLOR[:-12], "truncated"),
    (image_files.read_image, COLOR[:60], "truncated"),
    (image_files.read_image, JPEG[:-2], "truncated"),
    (image_files.read_image, GRAY, "expected 8-bit RGB, got 8-bit gray PNG"),
    (image_files.read_image, COLOR_16, "expected 8-bit RGB, got 16-bit RGB PNG"),
    (image_files.read_image, RGBA, "expected 8-bit RGB, got 8-bit RGBA PNG"),
    (image_files.read_image, PALETTE, "expected 8-bit RGB, got 8-bit palette PNG"),
    (image_files.read_image, GRAY_JPEG, "expected 8-bit RGB, got 8-bit gray JPEG"),
    (image_files.read_ids, b"", "empty"),
    (image_files.read_ids, GRAY[:-1], "truncated"),
    (image_files.read_ids, COLOR, "one channel of ids, got 8-bit RGB PNG"),
    (image_files.read_ids, GRAY_16, "one channel of ids, got 16-bit gray PNG"),
    (image_files.read_ids, PALETTE, "one channel of ids, got 8-bit palette PNG"),
    (image_files.read_ids, GRAY_JPEG, "one channel of ids, got 8-bit gray JPEG"),
    (image_files.read_ids, png([[0b10000000]], bits=1, color_type=0), "got 1-bit gray PNG"),
    (image_files.read_instance_ids, COLOR, "8 or 16 bits, got 8-bit RGB PNG"),
    (image_files.read_colors, JPEG, "class colors, got 8-bit RGB JPEG"),
    (image_files.read_colors, RGBA, "class colors, got 8-bit RGBA PNG"),
]


@pytest.mark.parametrize("read, data, message", BAD, ids=[f"{read.__name__}: {message}" for read, _, message in BAD])
def test_a_wrong_file_is_one_sentence_that_names_it(read, data, message, file, capfd):
    path = file(data)
    with pytest.raises(DeepLabError) as caught:
        read(path)
    text = str(caught.value)
    assert str(path) in text and message in text and "\n" not in text
    assert capfd.readouterr() == ("", "")  # the decoders' own words never reach the terminal


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(DeepLabError, match="no file .*gone.png"):
        image_files.read_image(tmp_path / "gone.png")
    with pytest.raises(DeepLabError, match="cannot be read: Is a directory"):
        image_files.read_image(tmp_path)
    with pytest.raises(DeepLabError, match="no folder .*gone"):
        image_files.list_images(tmp_path / "gone")


def test_no_byte_of_a_png_can_change_unseen():
    """CRC-32 finds every change of one byte, and OpenCV alone does not: it returns an image for most of these."""
    for position in range(len(COLOR)):
        data = bytearray(COLOR)
        data[position] ^= 0x55
        with pytest.raises(DeepLabError):
            image_files.decode_image(bytes(data), "frame")


@pytest.mark.parametrize("whole", [COLOR, JPEG], ids=["png", "jpeg"])
def test_no_cut_of_a_file_is_taken_for_the_whole(whole):
    for length in range(3, len(whole)):
        with pytest.raises(DeepLabError):
            image_files.decode_image(whole[:length], "frame")


def test_what_is_written_is_read_back(tmp_path):
    ids, wide = RGB[..., 1], RGB[..., 1].astype(np.uint16) * 200
    readers = {
        "a.png": (RGB, image_files.read_image),
        "b.png": (ids, image_files.read_ids),
        "c.png": (wide, image_files.read_instance_ids),
    }
    for name, (array, read) in readers.items():
        path = tmp_path / "new" / "folder" / name
        image_files.write_image(path, array)
        np.testing.assert_array_equal(read(path), array)
    image_files.write_image(tmp_path / "new" / "folder" / "a.png", ids)  # replaces
    image_files.write_image(tmp_path / "new" / "folder" / "d.JPG", RGB)
    assert image_files.read_image(tmp_path / "new" / "folder" / "d.JPG").shape == RGB.shape
    assert sorted(os.listdir(tmp_path / "new" / "folder")) == [
        "a.png",
        "b.png",
        "c.png",
        "d.JPG",
    ]  # no temporary file stays


@pytest.mark.parametrize(
    "name, array",
    [
        ("a.png", RGB.astype(float)),
        ("a.png", RGB.astype(np.uint16)),
        ("a.jpg", RGB[..., 0].astype(np.uint16)),
        ("a.tif", RGB),
        ("a.png", RGB[:0]),
    ],
)
def test_what_cannot_be_written_exactly_is_refused(name, array, tmp_path):
    with pytest.raises(DeepLabError, match="a\\."):
        image_files.write_image(tmp_path / name, array)
    assert not os.listdir(tmp_path)


def test_pixels_that_opencv_cannot_encode_are_an_error(tmp_path):
    with pytest.raises(DeepLabError, match="a.jpg: OpenCV cannot encode 1x70000 pixels as .jpg; write it as .png"):
        image_files.write_image(tmp_path / "a.jpg", np.zeros((1, 70000), np.uint8))
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("umask", [0o077, 0o027, 0o002])
def test_a_file_has_the_permissions_that_the_umask_leaves(umask, tmp_path):
    before = os.umask(umask)
    try:
        image_files.write_image(tmp_path / "a.png", RGB)
    finally:
        os.umask(before)
    assert os.stat(tmp_path / "a.png").st_mode & 0o777 == 0o666 & ~umask


def test_resizing_takes_means_where_it_shrinks_and_is_linear_where_it_grows(rng):
    image = rng.integers(0, 256, (32, 48, 3), np.uint8)
    means = image.reshape(8, 4, 12, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(image_files.resize_image(image, (8, 12)), means, atol=0.51)
    rows = image.reshape(8, 4, 48, 3).mean(axis=1)
    assert (
        np.abs(image_files.resize_image(image, (8, 96))[:, [0, -1]] - rows[:, [0, -1]]).max() <= 1
    )  # shrinks down, grows across
    assert image_files.resize_image(np.array([[0, 100]], np.uint8), (1, 4)).tolist() == [[0, 25, 75, 100]]
    assert image_files.resize_image(image, (32, 48)) is image


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    image_files.write_image(path, RGB)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        image_files.write_image(path, RGB[::-1])
    assert os.listdir(tmp_path) == ["a.png"]
    np.testing.assert_array_equal(image_files.read_image(path), RGB)


def test_images_are_listed_in_order_without_hidden_files(tmp_path):
    for name in ["b.png", "a.JPG", "c.jpeg", ".hidden.png", "notes.txt", "inner/d.png"]:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    names = [os.path.relpath(path, tmp_path) for path in image_files.list_images(tmp_path)]
    assert names == ["a.JPG", "b.png", "c.jpeg"]
    assert os.path.join("inner", "d.png") in [
        os.path.relpath(path, tmp_path) for path in image_files.list_images(tmp_path, recursive=True)
    ]
