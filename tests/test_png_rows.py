"""PNG files some rows at a time, against OpenCV's reader and writer."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import read_image
from deeplab_tf.core.png_rows import PngRows, PngWriter, is_readable


def picture(size=(37, 23), seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def paeth(left, above, corner):
    """The neighbor nearest to left + above - corner (PNG specification, section 9.4)."""
    distances = [abs(left + above - corner - value) for value in (left, above, corner)]
    return (left, above, corner)[distances.index(min(distances))]


def write_png(path, image):
    """With each of the five filters in turn; most depend on the row above."""
    height, width = image.shape[:2]
    values, raw = image.reshape(height, -1).astype(int), b""
    for y, row in enumerate(values):
        above = values[y - 1] if y else np.zeros_like(row)
        before = [(row[x - 3], above[x - 3]) if x >= 3 else (0, 0) for x in range(3 * width)]
        predicted = {
            0: np.zeros_like(row),
            1: [left for left, _ in before],
            2: above,
            3: [(left + up) // 2 for (left, _), up in zip(before, above)],
            4: [paeth(left, up, corner) for (left, corner), up in zip(before, above)],
        }[y % 5]
        raw += bytes([y % 5]) + ((row - predicted) % 256).astype(np.uint8).tobytes()
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(raw))]
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, content in [*chunks, (b"IEND", b"")]:
            file.write(struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content)))
    return str(path)


def test_rows_are_those_of_the_whole_image(tmp_path):
    image = picture((60, 35))
    path = write_png(tmp_path / "a.png", image)
    assert is_readable(path)
    np.testing.assert_array_equal(cv2.imread(path)[..., ::-1], image)
    rows = PngRows(path)
    assert rows.size == (60, 35)
    for top, bottom in ((0, 7), (3, 9), (9, 10), (10, 40), (33, 60)):
        np.testing.assert_array_equal(rows.read(top, bottom), image[top:bottom])


@pytest.mark.parametrize("shape, kind", [((9, 14), "u1"), ((9, 14, 3), "u1"), ((9, 14), "u2"), ((1, 1), "u1")])
def test_written_rows_are_read_by_opencv(tmp_path, shape, kind):
    image = np.random.default_rng(1).integers(0, np.iinfo(kind).max + 1, shape).astype(kind)
    writer = PngWriter(
        str(tmp_path / "a.png"), shape[:2], channels=3 if len(shape) == 3 else 1, bits=8 * image.itemsize
    )
    for top in range(0, shape[0], 4):
        writer.write(image[top : top + 4])
    writer.close()
    got = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(got[..., ::-1] if len(shape) == 3 else got, image)


def test_damage_is_one_sentence_as_of_the_whole_image(tmp_path):
    write_png(tmp_path / "a.png", picture())
    whole = (tmp_path / "a.png").read_bytes()
    at = whole.index(b"IDAT")
    length = struct.unpack_from(">I", whole, at - 4)[0]

    def with_data(data):
        crc = zlib.crc32(b"IDAT" + data)
        chunk = struct.pack(">I", len(data)) + b"IDAT" + data + struct.pack(">I", crc)
        return whole[: at - 4] + chunk + whole[at + length + 8 :]

    raw = zlib.decompress(whole[at + 4 : at + 4 + length])
    for name, data in (
        ("truncated", whole[: len(whole) // 2]),
        ("damaged", whole[: at + 30] + bytes([whole[at + 30] ^ 1]) + whole[at + 31 :]),
        ("fewer pixels", with_data(zlib.compress(raw[:-5]))),
        ("more pixels", with_data(zlib.compress(raw + b"x"))),
        ("filter", with_data(zlib.compress(b"\7" + raw[1:]))),
        ("decompressed", with_data(b"nonsense")),
        ("too early", with_data(zlib.compress(raw)[:-4])),
    ):
        path = tmp_path / "bad.png"
        path.write_bytes(data)
        with pytest.raises(DeepLabError, match=f"bad.png is .*{name}"):
            PngRows(str(path)).read(0, 37)
        with pytest.raises(DeepLabError, match=r"bad.png is (truncated|damaged)"):
            read_image(path)


def test_other_images_are_left_to_opencv(tmp_path):
    image = picture()
    cv2.imwrite(str(tmp_path / "gray.png"), image[..., 0])
    cv2.imwrite(str(tmp_path / "a.jpg"), image)
    (tmp_path / "text.png").write_text("none")
    for name in ("gray.png", "a.jpg", "text.png"):
        assert not is_readable(str(tmp_path / name))
