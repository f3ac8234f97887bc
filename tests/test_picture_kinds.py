"""Images of every kind become 8-bit RGB, as another decoder or the arithmetic says, and it is said."""

import json
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tiny
from click_runner import CliRunner
from PIL import Image, ImageOps

from deeplab_tf.cli import group
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import decode_image, list_images, read_ids, read_image, write_image
from deeplab_tf.core.image_header import about_pixels, read_header
from deeplab_tf.lab.data import open_split
from deeplab_tf.lab.data.check import check_splits

RGB = np.random.RandomState(1).randint(0, 256, (20, 30, 3)).astype(np.uint8)
GRAY = RGB[..., 0]
WIDE = (np.arange(600).reshape(20, 30) * 109).astype(np.uint16)
ALPHA = np.dstack([RGB, GRAY])


def gray(array):
    return np.repeat(array[..., None], 3, axis=2)


def opencv(path, array):
    cv2.imwrite(str(path), array[..., ::-1] if array.ndim == 3 and array.shape[2] == 3 else array)


def pillow(mode):
    return lambda path, array: Image.fromarray(array).convert(mode).save(path)


def compressed(compression):
    return lambda path, array: Image.fromarray(array).save(path, compression=compression)


def lossless(path, array):
    Image.fromarray(array).save(path, lossless=True, exact=True)


def cmyk(path, array):
    Image.fromarray(array).convert("CMYK").save(path, quality=100)


SCALED = gray(((WIDE.astype(int) + 128) // 257).astype(np.uint8))
KINDS = {  # name -> file, how it is written, of which array, what it becomes, what is said
    "gray PNG": ("a.png", pillow("L"), GRAY, gray(GRAY), ()),
    "16-bit gray PNG": ("a.png", opencv, WIDE, SCALED, ("16-bit and scaled to 8 bits (65535 becomes 255)",)),
    "16-bit RGB PNG": (
        "a.png",
        opencv,
        RGB * np.uint16(257),
        RGB,
        ("16-bit and scaled to 8 bits (65535 becomes 255)",),
    ),
    "RGBA PNG": ("a.png", pillow("RGBA"), ALPHA, RGB, ("RGBA, whose alpha channel is left out",)),
    "gray + alpha PNG": ("a.png", pillow("LA"), GRAY, gray(GRAY), ("gray + alpha, whose alpha channel is left out",)),
    "1-bit PNG": ("a.png", pillow("1"), GRAY // 128 * 255, gray(GRAY // 128 * 255), ()),
    "palette PNG": ("a.png", pillow("P"), GRAY, gray(GRAY), ()),
    "gray TIFF": ("a.tif", pillow("L"), GRAY, gray(GRAY), ()),
    "RGB TIFF": ("a.tiff", pillow("RGB"), RGB, RGB, ()),
    "LZW TIFF": ("a.tif", compressed("tiff_lzw"), RGB, RGB, ()),
    "deflated TIFF": ("a.tif", compressed("tiff_adobe_deflate"), GRAY, gray(GRAY), ()),
    "16-bit TIFF": ("a.tif", opencv, WIDE, SCALED, ("16-bit and scaled to 8 bits (65535 becomes 255)",)),
    "RGBA TIFF": ("a.tif", pillow("RGBA"), ALPHA, RGB, ("RGBA, whose alpha channel is left out",)),
    "palette TIFF": ("a.tif", pillow("P"), GRAY, gray(GRAY), ()),
    "1-bit TIFF": ("a.tif", pillow("1"), GRAY // 128 * 255, gray(GRAY // 128 * 255), ()),
    "WebP": ("a.webp", lossless, RGB, RGB, ()),
    "WebP with alpha": ("a.webp", lossless, ALPHA, RGB, ("RGBA, whose alpha channel is left out",)),
    "BMP": ("a.bmp", opencv, RGB, RGB, ()),
    "gray BMP": ("a.bmp", opencv, GRAY, gray(GRAY), ()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_of_any_kind_is_rgb(kind, tmp_path, capfd):
    name, write, array, expected, said = KINDS[kind]
    write(tmp_path / name, array)
    np.testing.assert_array_equal(read_image(tmp_path / name), expected)
    header = read_header(tmp_path / name)
    assert header.whole and header.size == (20, 30) and about_pixels(header) == said
    assert capfd.readouterr() == ("", "")


def test_a_gray_jpeg(tmp_path):
    cv2.imwrite(str(tmp_path / "a.jpg"), GRAY)
    expected = cv2.imread(str(tmp_path / "a.jpg"), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), gray(expected))


def test_a_cmyk_jpeg_has_the_colors_that_pillow_gives(tmp_path):
    flat = np.zeros((32, 48, 3), np.uint8)
    flat[:, :16], flat[:, 16:32], flat[:, 32:] = (200, 30, 60), (20, 180, 90), (240, 240, 10)
    cmyk(tmp_path / "a.jpg", flat)
    expected = np.asarray(Image.open(tmp_path / "a.jpg").convert("RGB")).astype(int)
    assert np.abs(read_image(tmp_path / "a.jpg")[8::16, 8::16] - expected[8::16, 8::16]).max() <= 6
    (said,) = about_pixels(read_header(tmp_path / "a.jpg"))
    assert said == "CMYK and converted to RGB without its color profile"


def test_a_cmyk_tiff_has_about_the_colors_that_pillow_gives(tmp_path):
    flat = np.full((20, 30, 3), (200, 30, 60), np.uint8)
    Image.fromarray(flat).convert("CMYK").save(tmp_path / "a.tif")
    expected = np.asarray(Image.open(tmp_path / "a.tif").convert("RGB")).astype(int)
    assert np.abs(read_image(tmp_path / "a.tif") - expected).max() <= 6
    assert about_pixels(read_header(tmp_path / "a.tif")) == ("CMYK and converted to RGB without its color profile",)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("name", ["a.tif", "a.webp"])
def test_the_exif_orientation_of_other_formats(name, order, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = order
    options = {"lossless": True} if name.endswith("webp") else {}
    Image.fromarray(RGB).save(tmp_path / name, exif=exif, **options)
    header = read_header(tmp_path / name)
    assert (header.orientation, header.size) == (order, (20, 30))
    np.testing.assert_array_equal(read_image(tmp_path / name, upright=False), RGB)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / name)))
    np.testing.assert_array_equal(read_image(tmp_path / name), expected)


def test_several_pages_are_refused_with_the_repair(tmp_path, capfd):
    pages = [Image.fromarray(GRAY + np.uint8(i)) for i in range(3)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(DeepLabError, match="stack.tif holds 3 pages, .*write each to a file of its own, .*stack.tif"):
        read_image(tmp_path / "stack.tif")
    frames = [Image.fromarray(np.roll(RGB, i, 0)) for i in range(2)]
    frames[0].save(tmp_path / "moving.webp", save_all=True, append_images=frames[1:], lossless=True)
    with pytest.raises(DeepLabError, match="moving.webp holds an animation"):
        read_image(tmp_path / "moving.webp")
    Image.fromarray(WIDE.astype(np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(DeepLabError, match="float.tif is a 32-bit TIFF whose values have no known range"):
        read_image(tmp_path / "float.tif")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["RGB TIFF", "LZW TIFF", "16-bit TIFF", "WebP", "BMP"])
def test_no_cut_of_a_file_is_taken_for_the_whole(kind, tmp_path, capfd):
    name, write, array, _, _ = KINDS[kind]
    write(tmp_path / name, array)
    whole = (tmp_path / name).read_bytes()
    for length in range(1, len(whole), 7):
        cut = whole[:length]
        try:
            pixels = decode_image(cut, name)
        except DeepLabError as error:
            assert name in str(error)
        else:  # what is missing is no part of the image
            np.testing.assert_array_equal(pixels, decode_image(whole, name))
        (tmp_path / "cut").write_bytes(cut)
        header = read_header(tmp_path / "cut")
        assert header is None or header.size == (20, 30)
    assert capfd.readouterr() == ("", "")


def test_labels_in_tiff(tmp_path):
    ids = (GRAY % 5).astype(np.uint8)
    Image.fromarray(ids).save(tmp_path / "a.tif", compression="tiff_lzw")
    np.testing.assert_array_equal(read_ids(tmp_path / "a.tif", any_gray=True), ids)
    Image.fromarray(GRAY > 100).save(tmp_path / "b.tif")
    np.testing.assert_array_equal(read_ids(tmp_path / "b.tif", any_gray=True), GRAY > 100)
    Image.fromarray(RGB).save(tmp_path / "c.tif", compression="jpeg")
    with pytest.raises(DeepLabError, match="one channel of ids, got 8-bit RGB TIFF of JPEG"):
        read_ids(tmp_path / "c.tif", any_gray=True)


def test_names_are_in_natural_order(tmp_path):
    for name in ("frame_10", "frame_9", "frame_2", "frame_1", "a12b2", "a12b10", "a2b30", "frame_02"):
        write_image(tmp_path / f"{name}.png", RGB)
    names = [path.rpartition("/")[2][:-4] for path in list_images(tmp_path)]
    assert names == ["a2b30", "a12b2", "a12b10", "frame_1", "frame_02", "frame_2", "frame_9", "frame_10"]


def test_a_check_says_what_is_done_to_images(tmp_path):
    for split in ("train", "val"):
        opencv_folder = tmp_path / "images" / split
        opencv_folder.mkdir(parents=True)
        for i in range(3):
            write_image(tmp_path / "labels" / split / f"{i}.png", (GRAY > 100).astype(np.uint8))
        opencv(opencv_folder / "0.png", WIDE)
        opencv(opencv_folder / "1.png", WIDE)
        pillow("RGBA")(opencv_folder / "2.png", ALPHA)
    classes = [{"name": name, "color": [i, i, i]} for i, name in enumerate("ab")]
    data = {"name": "folder", "root": str(tmp_path), "classes": classes}
    checked = check_splits({split: open_split(data, split) for split in ("train", "val")}, data)
    assert checked.warnings == [
        f"{count} of 3 {title} images are {what}; the first is {tmp_path}/images/{split}/{first}.png."
        for split, title in (("train", "training"), ("val", "validation"))
        for count, what, first in (
            (2, "16-bit and scaled to 8 bits (65535 becomes 255)", 0),
            (1, "RGBA, whose alpha channel is left out", 2),
        )
    ]
    again = check_splits({split: open_split(data, split) for split in ("train", "val")}, data, checked.to_json())
    assert again == checked


def narrow_data(root, largest, kind="png"):
    """Two splits of gray 16-bit images: one with values from 0 to `largest`, one of half as much."""
    values = (np.arange(600).reshape(20, 30) * largest // 599).astype(np.uint16)
    for split in ("train", "val"):
        (root / "images" / split).mkdir(parents=True)
        for i, image in enumerate((values // 2, values)):
            opencv(root / "images" / split / f"{i}.{kind}", image)
            write_image(root / "labels" / split / f"{i}.png", (GRAY > 100).astype(np.uint8))
    classes = [{"name": name, "color": [i, i, i]} for i, name in enumerate("ab")]
    return {"name": "folder", "root": str(root), "classes": classes, "size": [32, 32]}, values


@pytest.mark.parametrize(
    "largest, kind, factor, black", [(4095, "png", 16, 16), (1023, "tif", 16, 4), (255, "png", 257, 1)]
)
def test_narrow_values_in_16_bits_are_said_with_a_repair_that_works(largest, kind, factor, black, tmp_path):
    data, values = narrow_data(tmp_path, largest, kind)
    said = check_splits({split: open_split(data, split) for split in ("train", "val")}, data).warnings
    assert [sentence.split(",")[0] for sentence in said] == [
        f"2 of 2 {title} images are 16-bit and scaled to 8 bits (65535 becomes 255)"
        for title in ("training", "validation")
    ]
    assert (
        f"their largest value is {largest}, and becomes {black}. Multiply all images of all splits by {factor},"
        in said[0]
    )
    folder = tmp_path / "images" / "train"
    assert read_image(folder / f"1.{kind}").max() == black and f"in {folder} such as" in said[0]
    command = re.search('python -c "(.*?)"', said[0])[1]
    subprocess.run([sys.executable, "-c", command], cwd=folder, check=True)
    repaired = read_image(tmp_path / "images" / "scaled" / f"1.{kind}")
    np.testing.assert_array_equal(repaired, gray(((values.astype(int) * factor + 128) // 257).astype(np.uint8)))


def test_the_check_command_says_that_values_are_narrow(tmp_path):
    data, _ = narrow_data(tmp_path, 4095)
    recipe = tiny.write_recipe(tmp_path / "recipe.yaml", tiny.recipe(tmp_path, data=data))
    CliRunner().invoke(
        group, ["check", str(recipe), "--out", str(tmp_path / "out"), "--json", str(tmp_path / "a.json")]
    )
    faults = [fault["sentence"] for fault in json.loads((tmp_path / "a.json").read_text())["faults"]]
    assert sum("their largest value is 4095, and becomes 16." in sentence for sentence in faults) == 2


def test_16_bits_of_which_one_image_uses_more_are_not_called_narrow(tmp_path, monkeypatch):
    data, _ = narrow_data(tmp_path, 4096)
    alpha = np.dstack([np.full((20, 30, 3), 7, np.uint16), np.full((20, 30), 65535, np.uint16)])
    for i in range(2):
        opencv(tmp_path / "images" / "val" / f"{i}.png", alpha)  # which alone is large
    train, val, _ = check_splits({split: open_split(data, split) for split in ("train", "val")}, data).warnings
    assert "(65535 becomes 255); the first is" in train and "their largest value is 7, and becomes 0." in val


def test_predictions_say_each_kind_once(tmp_path):
    import tiny_bundle

    bundle = tiny_bundle.write_bundle(tmp_path / "bundle")
    photos = tmp_path / "photos"
    photos.mkdir()
    opencv(photos / "a.png", WIDE)
    opencv(photos / "b.png", WIDE)
    pillow("RGBA")(photos / "c.png", ALPHA)
    options = ["--out", str(tmp_path / "out"), "--format", "ids", "--runtime", "onnx", "--json", "-"]
    result = CliRunner().invoke(group, ["predict", str(bundle.path), str(photos), *options])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["warnings"] == [
        f"{photos}/a.png is 16-bit and scaled to 8 bits (65535 becomes 255); so are other images like it.",
        f"{photos}/c.png is RGBA, whose alpha channel is left out; so are other images like it.",
    ]
