"""Reading and writing image files: what comes back is exact, and every wrong file is one sentence that names it."""

import os
import signal
import socket
import struct
import zlib

import cv2
import numpy as np
import pytest

from deeplab_tf.core import image_files, image_formats
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
    (image_files.read_ids, b"", "empty"),
    (image_files.read_ids, GRAY[:-1], "truncated"),
    (image_files.read_ids, COLOR, "one channel of ids, got 8-bit RGB PNG"),
    (image_files.read_ids, GRAY_16, "one channel of ids, got 16-bit gray PNG"),
    (image_files.read_ids, PALETTE, "one channel of ids, got 8-bit palette PNG"),
    (image_files.read_ids, GRAY_JPEG, "one channel of ids, got 8-bit gray JPEG"),
    (image_files.read_instance_ids, COLOR, "8 or 16 bits, got 8-bit RGB PNG"),
    (image_files.read_colors, JPEG, "class colors, got 8-bit RGB JPEG"),
    (image_files.read_palette_ids, GRAY, "a PNG with a palette, got 8-bit gray PNG"),
    (image_files.read_mask, COLOR, "expected gray values, got 8-bit RGB PNG of colors"),
    (image_files.read_mask, GRAY_JPEG, "is a JPEG, whose values are not exact; set data.threshold"),
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


def with_data(content, *, interlaced=0, color_type=2, extra=b""):
    """A PNG of RGB's size whose checksums are right, whatever its compressed data is."""
    header = struct.pack(">IIBBBBB", RGB.shape[1], RGB.shape[0], 8, color_type, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", content) + chunk(b"IEND", b"")


ROWS = b"".join(b"\0" + row.tobytes() for row in RGB)  # 6 rows of 1 + 27 bytes
PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
INTERLACED = b"".join(b"\0" + row.tobytes() for y, x, down, right in PASSES for row in RGB[y::down, x::right])


@pytest.mark.parametrize(
    "data, message",
    [
        (with_data(zlib.compress(ROWS[:84] + b"\5" + ROWS[85:])), "a row with the filter 5, which does not exist"),
        (
            with_data(zlib.compress(INTERLACED[:-28] + b"\7" + INTERLACED[-27:]), interlaced=1),
            "a row with the filter 7",
        ),
        (with_data(zlib.compress(ROWS[:-1])), "fewer pixels than its header says"),
        (with_data(zlib.compress(ROWS + b"\0")), "more pixels than its header says"),
        (with_data(zlib.compress(INTERLACED[:-1]), interlaced=1), "fewer pixels"),
        (with_data(zlib.compress(ROWS)[:-1] + b"x"), "its pixels cannot be decompressed"),
        (with_data(zlib.compress(ROWS)[:-6]), "its pixels end too early"),
        (with_data(zlib.compress(ROWS), interlaced=2), "its header is none"),
        (with_data(zlib.compress(ROWS), extra=chunk(b"ABCD", b"")), "a part that no PNG has"),
        (with_data(zlib.compress(bytes(10**7))), "more pixels than its header says"),
    ],
)
def test_a_png_whose_checksums_are_right_and_its_pixels_are_not(data, message, capfd):
    with pytest.raises(DeepLabError, match=f"frame is damaged .*{message}"):
        image_files.decode_image(data, "frame")
    assert capfd.readouterr() == ("", "")


def test_an_interlaced_png_and_one_with_many_pieces(rng):
    np.testing.assert_array_equal(
        image_files.decode_image(with_data(zlib.compress(INTERLACED), interlaced=1), "frame"), RGB
    )
    large = rng.integers(0, 256, (300, 400, 3), np.uint8)  # 361 kB of rows: several pieces and blocks
    for array in (large, np.zeros_like(large), large // 200):
        data = cv2.imencode(".png", array)[1].tobytes()
        for _ in range(2):
            np.testing.assert_array_equal(image_files.decode_image(data, "frame"), array[..., ::-1])


def test_what_says_that_it_is_a_billion_pixels_is_refused_at_once(monkeypatch):
    bomb = png_of_size(40000, 30000)
    with pytest.raises(DeepLabError, match="frame has 30000x40000 pixels, .* DEEPLAB_TF_MAX_PIXELS=1200000000"):
        image_files.decode_image(bomb, "frame")
    monkeypatch.setenv("DEEPLAB_TF_MAX_PIXELS", "53")
    for data in (COLOR, JPEG):
        with pytest.raises(DeepLabError, match="frame has 6x9 pixels, and at most 53"):
            image_files.decode_image(data, "frame")
    monkeypatch.setenv("DEEPLAB_TF_MAX_PIXELS", "54")
    image_files.decode_image(COLOR, "frame")
    monkeypatch.setenv("DEEPLAB_TF_MAX_PIXELS", "many")
    with pytest.raises(DeepLabError, match="must be a number of pixels, such as 134217728; got 'many'"):
        image_files.decode_image(COLOR, "frame")


def png_of_size(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


PHOTO = np.random.RandomState(3).randint(110, 140, (80, 96, 3)).astype(np.uint8)
PHOTO_JPEG = cv2.imencode(".jpg", PHOTO)[1].tobytes()


def scan_of(data):
    """Where the pixels of a JPEG start."""
    start = data.index(b"\xff\xda")
    return start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")


def damaged_jpegs():
    start, end = scan_of(PHOTO_JPEG), len(PHOTO_JPEG) - 2
    middle = (start + end) // 2
    yield "a hole", PHOTO_JPEG[:middle] + PHOTO_JPEG[middle + 200 :]
    yield "doubled", PHOTO_JPEG[:middle] + PHOTO_JPEG[middle - 200 :]
    yield "zeros", PHOTO_JPEG[:middle] + bytes(400) + PHOTO_JPEG[middle + 400 :]
    yield "a marker", PHOTO_JPEG[:middle] + b"\xff\xd3" + PHOTO_JPEG[middle + 2 :]
    yield "an early end", PHOTO_JPEG[:middle] + b"\xff\xd9" + PHOTO_JPEG[middle:]
    yield "another file's end", PHOTO_JPEG[:middle] + JPEG[scan_of(JPEG) :]


@pytest.mark.parametrize("kind, data", list(damaged_jpegs()), ids=[kind for kind, _ in damaged_jpegs()])
def test_a_jpeg_that_is_damaged_in_its_middle(kind, data):
    with pytest.raises(DeepLabError, match="frame is damaged"):
        image_files.decode_image(data, "frame")


def test_most_damage_of_a_few_bytes_is_found(rng):
    """Sixteen bytes of noise in the middle: what libjpeg itself would only warn of."""
    start, found = scan_of(PHOTO_JPEG), 0
    for i in range(50):
        data = bytearray(PHOTO_JPEG)
        data[start + 40 * i : start + 40 * i + 16] = rng.integers(0, 255, 16, np.uint8).tobytes()
        try:
            image_files.decode_image(bytes(data), "frame")
        except DeepLabError:
            found += 1
    assert found >= (40 if image_formats._incomplete() == "gives up" else 30), found  # the former: OpenCV 4.11


@pytest.mark.parametrize("quality", [30, 95])
@pytest.mark.parametrize("size", [(80, 96), (77, 91), (16, 16), (8, 8), (1, 1), (5, 300), (300, 5)])
@pytest.mark.parametrize("options", [(), ("progressive",), ("restarts",), ("optimized",)])
def test_every_whole_jpeg_is_read(size, quality, options, rng):
    flags = {"progressive": cv2.IMWRITE_JPEG_PROGRESSIVE, "optimized": cv2.IMWRITE_JPEG_OPTIMIZE}
    flags["restarts"] = cv2.IMWRITE_JPEG_RST_INTERVAL
    for image in (rng.integers(0, 256, (*size, 3), np.uint8), np.full((*size, 3), 9, np.uint8)):
        parameters = [each for name in options for each in (flags[name], 1)] + [cv2.IMWRITE_JPEG_QUALITY, quality]
        data = cv2.imencode(".jpg", image, parameters)[1].tobytes()
        expected = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        followed = data + b"\xff\xd8 another image that a phone appends \xff\xd9"
        padded = data[:-2] + b"\0\0\xff\xff" + data[-2:]
        for each in (data, data, followed, padded):
            np.testing.assert_array_equal(image_files.decode_image(each, "frame"), expected)


@pytest.mark.parametrize("kind", ["pipe", "device", "socket", "folder", "link to a device", "folder in a link"])
def test_what_is_no_file_is_refused_without_waiting(kind, tmp_path):
    path = tmp_path / "frame.png"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path = "/dev/zero"
    else:
        path.symlink_to("/dev/zero" if kind == "link to a device" else tmp_path)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.alarm(5)
    try:
        with pytest.raises(
            DeepLabError, match="cannot be read: expected a file, got a (pipe|device)|Is a directory|No such device"
        ):
            image_files.read_image(path)
    finally:
        signal.alarm(0)


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
