"""INT8 gives the same numbers on every processor: real sessions on processors without VNNI, which QEMU emulates."""

import shutil
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import tiny_bundle
from environments import ROOT, python36

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy.runtimes import onnx

QEMU = shutil.which("qemu-x86_64")
CHANNELS, SIDE = 32, 6
CHILD = """
import sys
import numpy as np
from deeplab_tf.deploy.runtimes.onnx import session
model, image, out, plain = sys.argv[1:]
def run(opened):
    return opened.run(None, {"image": np.load(image)})[0]
np.save(out, run(session(model, threads=1)))
if plain == "too":
    import onnxruntime
    np.save(out + ".plain.npy", run(onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])))
"""


def test_the_product_that_asks_the_kernel_is_a_matrix_product():
    a, b = integers(4, 0, 256, 4, 64).astype(np.uint8), integers(5, -127, 128, 64, 32).astype(np.int8)
    opened = onnxruntime.InferenceSession(onnx._PRODUCT, providers=[onnx.CPU])
    np.testing.assert_array_equal(opened.run(None, {"a": a, "b": b})[0], a.astype(np.int32) @ b.astype(np.int32))


def test_the_exact_kernel_is_asked_for_where_the_other_saturates(monkeypatch):
    from onnxruntime import SessionOptions

    entries = []
    monkeypatch.setattr(SessionOptions, "add_session_config_entry", lambda self, *entry: entries.append(entry))
    for saturates, expected in ((True, [onnx.EXACT_SUMS]), (False, [])):
        entries.clear()
        monkeypatch.setattr(onnx, "saturates", lambda saturates=saturates: saturates)
        onnx.session(onnx._PRODUCT)
        assert entries == expected


def test_an_onnx_runtime_without_an_exact_kernel_takes_float32(monkeypatch, tmp_path):
    bundle, said = tiny_bundle.write_bundle(str(tmp_path / "bundle")), []
    monkeypatch.setattr(onnx, "saturates", lambda: True)
    monkeypatch.setattr(onnxruntime, "__version__", "1.10.0")
    runtime = onnx.load(bundle, "int8", say=said.append)
    assert runtime.precision == "float32"
    assert said == ["ONNX Runtime 1.10.0 computes INT8 wrongly on a processor without VNNI: float32 instead."]
    with pytest.raises(DeepLabError, match="needs version 1.12 or newer"):
        onnx.load(bundle, "int8", strict=True)
    monkeypatch.undo()
    monkeypatch.setattr(onnx, "saturates", lambda: True)
    said.clear()
    assert onnx.load(bundle, "int8", say=said.append).precision == "int8" and "exact kernel" in said[0]


def integers(seed, low, high, *shape):
    return np.random.default_rng(seed).integers(low, high, shape)


def model(kind):
    """(a quantized convolution of scales 1, and its kernel); the image's zero point is 128 for uint8, 0 for int8."""
    from onnx import TensorProto, helper, numpy_helper

    kernel = integers(1, 100, 128, CHANNELS, CHANNELS, 1, 1) * np.sign(integers(2, 0, 9, CHANNELS, 1, 1, 1) - 3.5)
    zero = np.array(128 if kind == np.uint8 else 0, kind)
    constants = {
        "one": np.float32(1),
        "zero": zero,
        "kernel": kernel.astype(np.int8),
        "ones": np.ones(CHANNELS, np.float32),
        "zeros": np.zeros(CHANNELS, np.int8),
        "coarse": np.float32(2**13),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["image", "one", "zero"], ["stored"]),
        helper.make_node("DequantizeLinear", ["stored", "one", "zero"], ["pixels"]),
        helper.make_node("DequantizeLinear", ["kernel", "ones", "zeros"], ["weights"], axis=0),
        helper.make_node("Conv", ["pixels", "weights"], ["sums"]),
        helper.make_node("QuantizeLinear", ["sums", "coarse", "zero"], ["rounded"]),
        helper.make_node("DequantizeLinear", ["rounded", "coarse", "zero"], ["result"]),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, CHANNELS, SIDE, SIDE])
        for name in ("image", "result")
    ]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "sums", ends[:1], ends[1:], tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    return made.SerializeToString(), kernel[:, :, 0, 0].astype(np.int64)


def on(processor, python, kind, folder, *, plain=False):
    """(what the session gives on a processor, what a session without our options gives, the exact result)."""
    if QEMU is None:
        pytest.skip("needs qemu-x86_64: apt-get install qemu-user")
    contents, kernel = model(kind)
    (folder / "model.onnx").write_bytes(contents)
    image = integers(3, 90, 128, 1, CHANNELS, SIDE, SIDE)  # near the end of the range
    np.save(folder / "image.npy", image.astype(np.float32))
    names = [str(folder / name) for name in ("model.onnx", "image.npy", "out.npy")]
    command = [QEMU, "-cpu", processor, python, "-c", CHILD, *names, "too" if plain else "no"]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    sums = np.einsum("oi,biyx->boyx", kernel, image)
    exact = np.clip(np.round(sums / 2**13), -128, 127) * 2**13  # half to even, as ONNX rounds
    return np.load(names[2]), np.load(names[2] + ".plain.npy") if plain else None, exact


def test_without_vnni_sums_do_not_saturate(tmp_path):
    """Two products of 127 and 255 (uint8, zero point 128) exceed 16 bits, in which the fastest AVX2 kernel adds."""
    found, plain, exact = on("Haswell", sys.executable, np.uint8, tmp_path, plain=True)
    np.testing.assert_array_equal(found, exact)
    assert (plain != exact).any(), "the emulated processor has VNNI after all"


def test_the_deploy_floor_on_a_processor_without_avx(tmp_path):
    """Python 3.6's last ONNX Runtime is 1.10, which runs the file of signed activations."""
    found, _, exact = on("Nehalem", python36(), np.int8, tmp_path)
    np.testing.assert_array_equal(found, exact)
