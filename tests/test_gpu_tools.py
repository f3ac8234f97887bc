"""The tools of tools/convert, and tools/check/gpu.py, on fakes of the GPU's libraries."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_bundle
from fake_tensorrt import FakeCudart, FakeDriver, FakeTensorRT

from deeplab_tf.core.bundle import open_bundle
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import write_image
from deeplab_tf.deploy.runtimes import _cudart

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tools" / folder) for folder in ("check", "convert")]

import convert_tensorrt  # noqa: E402
import convert_tf_trt  # noqa: E402
import gpu as check_gpu  # noqa: E402
import gpu_frames as check_gpu_frames  # noqa: E402


@pytest.fixture
def trt(monkeypatch):
    """A fake TensorRT 8.5.3 on a fake Orin."""
    fake, libraries = FakeTensorRT("8.5.3.1"), {"libcudart.so": FakeCudart(), "libcuda.so.1": FakeDriver()}
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    monkeypatch.setattr(_cudart, "_load", libraries.get)
    return fake


@pytest.fixture
def bundle(tmp_path):
    return tiny_bundle.write_bundle(tmp_path / "bundle")


# From files


@pytest.mark.parametrize(
    "model, options, precision",
    [
        ("model.onnx", ["--fp32"], "float32"),
        ("model.onnx", ["--fp16"], "float16"),
        ("model_int8.onnx", ["--int8"], "int8"),
        ("model.onnx", ["--int8", "--calibration", "calibration.cache"], "int8"),
    ],
)
def test_convert_tensorrt(trt, bundle, tmp_path, capsys, monkeypatch, model, options, precision):
    monkeypatch.chdir(bundle.path)
    out = tmp_path / "out.engine"
    assert convert_tensorrt.main([model, *options, "-o", str(out)]) == 0
    assert f"out.engine: {precision}, " in capsys.readouterr().out
    assert json.loads((tmp_path / "out.engine.json").read_text())["facts"]["precision"] == precision
    assert convert_tensorrt.main([model, *options, "-o", str(out)]) == 0
    assert "is up to date" in capsys.readouterr().out and len(trt.called("build_serialized_network")) == 1


def test_convert_tensorrt_overwrites_no_other_file(trt, bundle, tmp_path, capsys):
    model = bundle.file("model.onnx")
    assert convert_tensorrt.main([model, "--fp16", "-o", model]) == 1
    assert "is there already and is no engine" in capsys.readouterr().err
    open_bundle(bundle.path)


def test_convert_tensorrt_fails_in_one_sentence(monkeypatch, bundle, tmp_path, capsys):
    monkeypatch.setattr(_cudart, "_load", lambda name: None)
    assert convert_tensorrt.main([bundle.file("model.onnx"), "--fp16", "-o", str(tmp_path / "e")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Error: ") and "tensorrt is not installed" in line or "TensorRT needs an NVIDIA GPU" in line
    with pytest.raises(SystemExit):
        convert_tensorrt.main([bundle.file("model.onnx"), "-o", "e"])


def test_convert_tf_trt_fails_in_one_sentence(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(_cudart, "_load", lambda name: None)
    assert convert_tf_trt.main([str(tmp_path), "--int8", "-o", str(tmp_path / "out")]) == 1
    assert "TF-TRT needs an NVIDIA GPU" in capsys.readouterr().err


def test_convert_tf_trt_from_files(trt, monkeypatch, tmp_path, capsys):
    """What the converter itself does is tested in test_runtimes.py."""
    from deeplab_tf.deploy.runtimes import _tf_trt_convert, tf_trt

    calls = []

    def convert(source, path, precision, *, workspace, calibration):
        calls.append((precision, calibration and [frame.shape for frame in calibration]))
        os.makedirs(path)
        Path(path, "saved_model.pb").write_bytes(b"x")
        return {"seconds": 2.0, "engines": 1, "outside": {"Cast": 2}}

    monkeypatch.setattr(tf_trt, "missing", lambda: None)
    monkeypatch.setattr(_tf_trt_convert, "versions", lambda: {"TensorFlow": "2.16.1", "TensorRT": "8.6.2"})
    monkeypatch.setattr(_tf_trt_convert, "convert", convert)
    tiny_bundle.write_saved_model(tmp_path / "model")
    write_image(tmp_path / "images" / "a.png", tiny_bundle.frame(1, (12, 16)))
    command = [str(tmp_path / "model"), "--int8", "--images", str(tmp_path / "images"), "-o", str(tmp_path / "out")]
    assert convert_tf_trt.main(command) == 0
    assert "engines: 1, in TensorFlow: 2 Cast" in capsys.readouterr().out
    assert calls == [("int8", [(6, 8, 3)])]
    assert convert_tf_trt.main([str(tmp_path / "model"), "--fp16", "-o", str(tmp_path / "model")]) == 1
    assert "is there already" in capsys.readouterr().err


# check_gpu


@pytest.fixture
def images(tmp_path):
    """Three images of twice the network's size in blocks of 2x2 pixels, with labels; resizing gives tiny_bundle's
    frames."""
    for i in range(3):
        frame = tiny_bundle.frame(i)
        write_image(tmp_path / "images" / f"p{i}.png", frame.repeat(2, 0).repeat(2, 1))
        labels = tiny_bundle.expected_scores(frame).argmax(-1).astype(np.uint8)
        labels[0, 0] = 7  # no class: ignored
        write_image(tmp_path / "labels" / f"p{i}.png", labels.repeat(4, 0).repeat(4, 1))
    return tmp_path


def test_packed_frames(bundle, images):
    arrays = check_gpu_frames.pack([bundle], str(images / "images"), str(images / "labels"), count=2)
    assert {name.split("_")[0]: array.shape for name, array in arrays.items()} == {
        "frames": (2, 6, 8, 3),
        "truth": (2, 6, 8),
        "reference": (2, 3, 4),
    }
    np.testing.assert_array_equal(arrays["frames_6x8"], [tiny_bundle.frame(0), tiny_bundle.frame(2)])
    perfect = check_gpu_frames.compare(arrays["reference_" + check_gpu_frames.key(bundle)], bundle, arrays)
    assert perfect == {"agreement": 1.0, "miou": 1.0, "reference_miou": 1.0}, "the labels are those of the network"
    wrong = arrays["reference_" + check_gpu_frames.key(bundle)].copy()
    wrong[0, 1, 1] = (wrong[0, 1, 1] + 1) % 3
    assert check_gpu_frames.compare(wrong, bundle, arrays)["agreement"] == 1 - 1 / 24


def test_cityscapes_names_match():
    assert check_gpu_frames.stem("a/ulm_000001_000019_leftImg8bit.png") == check_gpu_frames.stem(
        "b/ulm_000001_000019_gtFine_labelIds.png"
    )


def test_frames_of_another_size_are_refused(bundle, tmp_path):
    other = tiny_bundle.write_bundle(tmp_path / "other", size=(4, 4))
    with pytest.raises(DeepLabError, match="it takes 4x4"):
        check_gpu_frames.frames_of(other, {"frames_6x8": None})


@pytest.fixture
def packed(bundle, images, capsys):
    out = images / "frames.npz"
    command = [
        "pack",
        bundle.path,
        "--frames",
        str(images / "images"),
        "--labels",
        str(images / "labels"),
        "--out",
        str(out),
    ]
    assert check_gpu.main(command) == 0
    return str(out)


def test_every_case_is_measured_and_failures_are_reported(trt, bundle, packed, tmp_path):
    with np.load(packed) as file:
        arrays = dict(file.items())

    def run(path, case):
        if case[1] == "float16":
            raise DeepLabError("it fell over")
        return check_gpu.measure(path, case, arrays, 0.01, say=lambda line: None)

    json_file = tmp_path / "out.json"
    report = check_gpu.check([bundle.path], packed, str(json_file), run)
    assert (
        report == json.loads(json_file.read_text())
        and report["machine"]["gpu"] == "Orin"
        and report["machine"]["tensorrt"] == "8.5.3.1"
    )
    rows = {(row["runtime"], row["asked_precision"], row.get("implicit", False)): row for row in report["results"]}
    assert len(rows) == len(check_gpu.CASES) == 7
    float32 = rows["tensorrt", "float32", False]
    assert (
        float32["agreement"] == 1.0
        and float32["miou"] == 1.0
        and float32["built_precision"] == "float32"
        and not float32["reused"]
    )
    assert set(float32["latency_ms"]) == {"end_to_end", "upload", "run", "download"} and float32["timed_frames"] >= 20
    latency = float32["latency_ms"]
    assert (
        latency["end_to_end"]["p50"] >= latency["run"]["p50"]
        and latency["run"]["p50"] <= latency["run"]["p90"] <= latency["run"]["p99"]
    )
    assert float32["fps_without_transfers"] >= float32["fps"] > 0
    assert rows["tensorrt", "int8", False]["agreement"] > 0.5 and rows["tensorrt", "int8", True]["agreement"] == 1.0
    assert rows["tensorrt", "float16", False]["error"] == "DeepLabError: it fell over"
    assert "TensorFlow" in rows["tf_trt", "int8", False]["skipped"]
    table = check_gpu.table(report).splitlines()
    assert len(table) == 2 + 7 and len({line.count("|") for line in table}) == 1
    assert "int8 by cache" in table[5] and "DeepLabError: it fell over" in table[3]


def test_crash_is_reported_with_its_last_words(bundle, packed, tmp_path):
    """For real, in processes of their own: there is no GPU here."""
    run = check_gpu.in_a_process(packed, 0.01, 60)
    found = run(bundle.path, ("tensorrt", "int8", {}))
    assert "tensorrt is not installed" in found["skipped"] or "GPU" in found["skipped"]
    with pytest.raises(DeepLabError, match=r"exit code 1: .*KeyError.*int4|exit code 1: .*no runtime 'no_such'"):
        run(bundle.path, ("no_such", "int4", {}))


def test_check_gpu_needs_neither_opencv_nor_click(bundle, packed, tmp_path):
    blocker = tmp_path / "blocked"
    blocker.mkdir()
    for name in ("cv2", "click", "onnxruntime", "tensorflow"):
        (blocker / (name + ".py")).write_text(f"raise ImportError('{name} is not on this machine')")
    out = str(tmp_path / "out.json")
    command = [sys.executable, "tools/check/gpu.py", bundle.path, "--frames", packed, "--json", out, "--seconds", "0"]
    environment = {**os.environ, "PYTHONPATH": str(blocker)}
    result = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert result.returncode == 1, result.stdout.decode()  # nothing could be measured here
    rows = json.loads(Path(out).read_text())["results"]
    assert len(rows) == 7 and all("skipped" in row for row in rows), result.stdout.decode()
