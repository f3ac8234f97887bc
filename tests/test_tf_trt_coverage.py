"""tools/check/tf_trt_coverage.py: TF-TRT's log, the report and, where its environment exists, TF-TRT itself."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import environments
import pytest

TOOL = Path(__file__).parent.parent / "tools" / "check" / "tf_trt_coverage.py"


def load_tool():
    spec = importlib.util.spec_from_file_location("tf_trt_coverage", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


coverage = load_tool()

STAMP = "2026-01-01 10:00:00.000000: I tensorflow/compiler/tf2tensorrt/segment/segment.cc:1211] "
LOG = "\n".join(
    [
        STAMP
        + "Not a TF-TRT candidate, (Op type: Cast), (Op name: start), (Reason: Unsupported tensorflow data type uint8)",
        STAMP + "Not a TF-TRT candidate, (Op type: ArgMax), (Op name: a/labels), (Reason: Output type int64 is not "
        "supported)",
        STAMP + "Nodes in segment 0 with parent=a/conv:",
        "[Op type: BiasAdd] a/bias",
        "[Op type: Conv2D] a/conv",
        "[Op type: Relu] a/relu",
        STAMP + "Nodes in segment 1 with parent=b/conv:",
        "[Op type: Conv2D] b/conv",
        "[Op type: Relu] b/relu",
        STAMP + "Segment 1 has only 2 effective nodes, dropping",
        STAMP + "Segment 1 has only 0 effective nodes, dropping",
        STAMP + "Nodes in segment 1 with parent=c/conv:",
        "[Op type: Conv2D] c/conv",
        STAMP + "Segment 1 has only 1 effective nodes, dropping",
        "",
    ]
)


def node(name, op, macs=0, types=()):
    return {"name": name, "op": op, "macs": macs, "types": list(types)}


def graph(*outside, engines=1):
    engine = {
        "name": "TRTEngineOp_0",
        "nodes": 3,
        "macs": 60,
        "ops": {"Conv2D": 1, "Relu": 2},
        "first": "Conv2D a",
        "last": "Relu b",
    }
    return {
        "folder": "net",
        "precision": "FP16",
        "engines": [engine] * engines,
        "outside": list(outside),
        "macs": 80,
        "without_range": [],
    }


def explained(*outside, engines=1):
    found = graph(*outside, engines=engines)
    coverage.explain(found, LOG)
    return found


def test_operations_outside_get_the_reason_of_the_log():
    names = [
        ("start", "Cast"),
        ("a/labels", "ArgMax"),
        ("b/conv", "Conv2D"),
        ("b/relu", "Relu"),
        ("c/conv", "Conv2D"),
        ("d", "Erf"),
    ]
    found = explained(*(node(name, op, types=["uint8", "float32"] if op == "Cast" else ()) for name, op in names))
    reasons = [each["reason"] for each in found["outside"]]
    assert reasons[:2] == ["Unsupported tensorflow data type uint8", "Output type int64 is not supported"]
    assert reasons[2] == reasons[3] == "its segment is too small: 2 operations"
    assert reasons[4] == "its segment is too small: 1 operation"
    assert reasons[5] == coverage.NO_REASON
    assert [each["harmless"] for each in found["outside"]] == [True] + [False] * 5
    assert found["outside"][1]["advice"] == "give it output_type=tf.int32"


def test_single_engine_leaves_only_inputs_and_outputs_out():
    ends = [
        node("image", "Placeholder"),
        node("k", "Const"),
        node("start", "Cast", types=["uint8", "float16"]),
        node("y", "Identity"),
    ]
    assert explained(*ends)["single_engine"]
    assert not explained(*ends, engines=2)["single_engine"]
    assert not explained(*ends, engines=0)["single_engine"]
    assert not explained(*ends, node("c", "Cast", types=["float32", "int32"]))["single_engine"]
    assert not explained(*ends, node("c/conv", "Conv2D"))["single_engine"]


@pytest.mark.parametrize(
    "op, reason, words",
    [
        ("SpaceToBatchND", "Op type SpaceToBatchND is not supported.", "one convolution with dilations"),
        ("ResizeBilinear", "Cannot Convert Bilinear Resize when align_corners=False", "align_corners=True"),
        ("FakeQuantWithMinMaxArgs", "Op type FakeQuantWithMinMaxArgs is not supported.", "INT8 only"),
        ("QuantizeAndDequantizeV4", "Op type QuantizeAndDequantizeV4 is not supported.", "FakeQuantWithMinMaxVars"),
        (
            "DepthwiseConv2dNative",
            "EXPLICIT padding type not implemented, only VALID and SAME are supported",
            "padding VALID",
        ),
        ("Mean", "TensorRT does not allow manipulation of the batch dimension", "axis 0"),
        ("SelectV2", "Convertion for op: 'SelectV2' is not supported in implicit batch mode, at x", "a mask"),
        (
            "Cast",
            "Failed to convert at least one input to a TRT_TensorOrWeights: Unsupported tensorflow data type int64",
            "int32",
        ),
        ("Conv2D", "its segment is too small: 1 operation", "neighbors"),
        ("Erf", "Op type Erf is not supported.", ""),
    ],
)
def test_advice(op, reason, words):
    assert words in coverage.advice(op, reason)
    assert bool(coverage.advice(op, reason)) == bool(words)


def test_report_has_engines_shares_and_reasons():
    found = explained(*(node(name, "Conv2D", macs=4) for name in ("c/conv", "e1", "e2", "e3", "e4")))
    found["precision"], found["without_range"] = "INT8", ["pad", "concat"]
    text = coverage.report({"tensorflow": "2.14.1", "tensorrt": "8.5.3", "graphs": [found]})
    assert "net in INT8: 1 engine, 5 operations outside" in text
    assert "75.0%" in text and "25.0%" in text  # 60 and 5 * 4 of 80 multiplications
    assert "why: its segment is too small: 1 operation" in text
    assert "... and 1 more (-v lists them)" in text and "    e4" not in text
    assert "without a range: 2 (pad, concat)" in text
    assert "    e4" in coverage.report({"tensorflow": "", "tensorrt": "", "graphs": [found]}, verbose=True)


def saved_model(folder, content=b""):
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(content)
    return str(folder)


def test_jobs_of_a_saved_model_and_of_a_bundle(tmp_path):
    plain, ranged = saved_model(tmp_path / "a"), saved_model(tmp_path / "b", b"..FakeQuantWithMinMaxVars..")
    assert coverage.jobs(plain) == [(plain, "FP16")]
    assert coverage.jobs(ranged) == [(ranged, "INT8")]
    assert coverage.jobs(ranged, "FP32") == [(ranged, "FP32")]
    floats, int8 = (saved_model(tmp_path / "bundle" / "tf_trt" / name) for name in ("float", "int8"))
    assert coverage.jobs(str(tmp_path / "bundle")) == [(floats, "FP32"), (floats, "FP16"), (int8, "INT8")]
    assert coverage.jobs(str(tmp_path / "bundle"), "INT8") == [(int8, "INT8")]
    with pytest.raises(coverage.Failure, match="no SavedModel"):
        coverage.jobs(str(tmp_path))


def test_missing_environment_names_its_script(tmp_path):
    variables = dict(os.environ, DEEPLAB_TF_TRT_ENVIRONMENT=str(tmp_path / "nothing"))
    model = saved_model(tmp_path / "a")
    result = subprocess.run(
        [sys.executable, str(TOOL), model], env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert result.returncode == 1
    assert "tools/environments/tf_trt.sh makes it" in result.stderr.decode() and b"Traceback" not in result.stderr


def test_wrong_call_exits_2(capsys):
    for arguments in ([], ["a", "--precision", "INT4"], ["a", "--minimum-segment", "0"]):
        with pytest.raises(SystemExit) as ending:
            coverage.main(arguments)
        assert ending.value.code == 2
    assert "invalid positive value: '0'" in capsys.readouterr().err


def test_last_words_are_the_programs_own():
    assert (
        coverage.last_words("Traceback\nKeyError: 'serving_default'\n" + STAMP + "bye\n")
        == "KeyError: 'serving_default'"
    )
    assert coverage.last_words("") == ""


# From here on with TF-TRT


@pytest.fixture(scope="module")
def export_to(tmp_path_factory):
    """export_to(name, size, **options of the network): a folder with tf_trt/float, tf_trt/int8 and plain/ of an
    untrained network."""
    environments.tf_trt_python()
    from deeplab_tf.lab.export.graph import frozen_graph, write_saved_model
    from deeplab_tf.lab.export.head import with_head
    from deeplab_tf.lab.export.network import read_network
    from deeplab_tf.lab.models.registry import load_network

    def export(name, size, plain=False, build="deeplab_v3_plus", **options):
        folder = tmp_path_factory.mktemp(name)
        network = with_head(read_network(load_network(build)(19, size=size, **options)))
        for each in network.nodes:
            if "bias" in each.weights:
                each.weights["bias"] += 0.01  # a bias of zeros would be folded away
        ranges = {each.name: 4.0 for each in network.nodes if each.op != "argmax"}
        write_saved_model(frozen_graph(network, size, target="tf_trt"), folder / "tf_trt" / "float")
        write_saved_model(frozen_graph(network, size, target="tf_trt", ranges=ranges), folder / "tf_trt" / "int8")
        if plain:
            write_saved_model(frozen_graph(network, size), folder / "plain")
        return folder

    return export


def test_default_network_is_one_engine(export_to):
    """DeepLabV3+ on ResNet-50, output stride 16, 512x1024, dense and separable."""
    asked = []
    for separable in (False, True):
        folder = str(export_to("full", (512, 1024), separable=separable))
        asked += coverage.jobs(folder, "FP16") + coverage.jobs(folder, "INT8")
    graphs = coverage.examine(asked)["graphs"]
    assert [each["precision"] for each in graphs] == ["FP16", "INT8"] * 2
    for each in graphs:
        assert len(each["engines"]) == 1
        outside = {(found["op"], *found["types"]) for found in each["outside"]} - {("Const",), ("Identity",), ("NoOp",)}
        start = (
            "float16" if each["precision"] == "FP16" else "float32"
        )  # TF-TRT casts to float16 outside, to float32 inside
        assert outside == {("Placeholder",), ("Cast", "uint8", start), ("Cast", "int32", "uint8")}
        assert each["engines"][0]["macs"] == each["macs"] > 70e9
        assert each["single_engine"]


def test_panoptic_network_is_one_engine(export_to):
    """Panoptic-DeepLab on ResNet-50 at 256x512, with its three outputs."""
    folder = str(export_to("panoptic", (256, 512), build="panoptic_deeplab"))
    graphs = coverage.examine(coverage.jobs(folder, "FP16") + coverage.jobs(folder, "INT8"))["graphs"]
    assert [each["precision"] for each in graphs] == ["FP16", "INT8"]
    for each in graphs:
        assert each["single_engine"] and len(each["engines"]) == 1
        outside = {found["op"] for found in each["outside"]} - {"Const", "Identity", "NoOp"}
        assert outside == {"Placeholder", "Cast"}


def check_one_engine(export_to, networks):
    """Networks by name, each with its options, are one engine in FP16 and in INT8, at an odd size."""
    asked = []
    for name, options in networks.items():
        folder = str(export_to(name, (97, 161), **options))
        asked += coverage.jobs(folder, "FP16") + coverage.jobs(folder, "INT8")
    graphs = coverage.examine(asked)["graphs"]
    assert [each["precision"] for each in graphs] == ["FP16", "INT8"] * len(networks)
    for each in graphs:
        assert each["single_engine"] and len(each["engines"]) == 1
        assert {found["op"] for found in each["outside"]} - {"Const", "Identity", "NoOp"} == {"Placeholder", "Cast"}


def test_mobile_networks_are_one_engine(export_to):
    """Hard swish, gates, ReLU6 and strided depthwise convolutions."""
    pairs = ("lr_aspp", "mobilenet_v3_large"), ("deeplab_v3_plus", "efficientnet_lite0")
    narrow = {"width": 0.25, "aspp_channels": 16}
    check_one_engine(
        export_to, {backbone: {"build": build, "backbone": backbone, **narrow} for build, backbone in pairs}
    )


def test_unet_fcn_and_efficientvit_are_one_engine(export_to):
    """Skips at every stride, summed logits, and attention of linear cost."""
    narrow = {"backbone": "resnet18", "width": 0.125}
    networks = {
        "unet": {"build": "unet", **narrow, "decoder_channels": (16, 16, 8, 8)},
        "fcn": {"build": "fcn", **narrow, "head_channels": 16},
        "efficientvit": {"build": "efficientvit"},
    }
    check_one_engine(export_to, networks)


def test_transformers_are_one_engine(export_to):
    """Windows that shift, padded at the border; attention of all positions, and an embedding of theirs."""
    narrow = {"build": "fcn", "width": 0.25, "head_channels": 16, "finest": 16}
    networks = {
        name: {**narrow, "backbone": name, "output_stride": stride}
        for name, stride in (("swin_tiny", 32), ("vit_tiny", 16))
    }
    check_one_engine(export_to, networks)


def test_operations_that_split_a_graph_are_named(export_to, tmp_path, capsys):
    """The SavedModel for TensorFlow: six atrous convolutions as SpaceToBatch, two resizes without align_corners."""
    folder = export_to(
        "small", (61, 93), plain=True, width=0.125, aspp_channels=16, low_level_channels=8, decoder_channels=16
    )
    report = tmp_path / "report.json"
    assert coverage.main([str(folder / "plain"), "--json", str(report)]) == 3
    text = capsys.readouterr().out
    assert (
        "outside: 6 SpaceToBatchND" in text
        and "outside: 6 BatchToSpaceND" in text
        and "outside: 2 ResizeBilinear" in text
    )
    assert "why: Cannot Convert Bilinear Resize when align_corners=False" in text
    (found,) = json.loads(report.read_text())["graphs"]
    assert len(found["engines"]) > 5 and not found["single_engine"]
    assert coverage.NO_REASON not in [each["reason"] for each in found["outside"] if not each["harmless"]]
    assert sum(each["macs"] for each in found["engines"] + found["outside"]) == found["macs"]

    assert coverage.main([str(folder)]) == 0
    assert capsys.readouterr().out.count("one engine contains the network") == 3
    assert coverage.main([str(folder / "tf_trt" / "int8"), "--precision", "FP16"]) == 3
    assert "FakeQuantWithMinMaxArgs is not supported" in capsys.readouterr().out


def test_model_without_a_signature_is_one_sentence(export_to, tmp_path, capsys):
    assert coverage.main([saved_model(tmp_path / "broken")]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 2  # where it asks, and the error
