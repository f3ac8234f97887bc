"""Ranges, plans, and that TensorFlow's fake quantization and both INT8 ONNX files are one network."""

import inspect

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf

from deeplab_tf.core.calibration import METHODS
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.lab.export import calibration_methods, graph, onnx_model, qdq, quantize
from deeplab_tf.lab.export.calibration_methods import tensor_ranges
from deeplab_tf.lab.export.head import with_head
from deeplab_tf.lab.export.histograms import BINS, Histogram, collect_histograms
from deeplab_tf.lab.export.nodes import Network, Node

SIZE = (16, 24)


def conv(name, source, rng, channels, out, kernel=3, op="conv"):
    shape = (kernel, kernel, channels, 1 if op == "depthwise" else out)
    weights = {
        "kernel": rng.normal(0, 0.3, shape).astype(np.float32),
        "bias": rng.normal(0, 0.3, out).astype(np.float32),
    }
    return Node(name, op, (source,), {"stride": 1, "rate": 1, "padding": "same"}, weights)


@pytest.fixture
def network(rng):
    """A residual block, a concatenation with an upsampled branch, and a mean: all rules apply."""
    return Network(
        (
            Node("image", "input"),
            Node("centered", "affine", ("image",), {}, {"shift": np.full(3, -128, np.float32)}),
            conv("first", "centered", rng, 3, 8),
            Node("first_relu", "relu", ("first",)),
            Node("pool", "max_pool", ("first_relu",), {"size": 3, "stride": 2, "padding": "same"}),
            conv("skip", "pool", rng, 8, 12, 1),
            conv("own_1", "pool", rng, 8, 8, op="depthwise"),
            Node("own_1_relu", "relu", ("own_1",)),
            conv("own_2", "own_1_relu", rng, 8, 12, 1),
            Node("sum", "add", ("skip", "own_2")),
            Node("sum_relu", "relu", ("sum",)),
            Node("mean", "mean", ("sum_relu",)),
            conv("mean_conv", "mean", rng, 12, 12, 1),
            Node("with_mean", "add", ("mean_conv", "sum_relu")),
            Node("up", "upsample", ("sum_relu", "first_relu"), {"factor": 2}),
            Node("joined", "concat", ("up", "first_relu")),
            conv("last", "joined", rng, 20, 4, 1),
            Node("scores", "upsample", ("last", "image"), {"factor": 1}),
            Node("labels", "argmax", ("scores",)),
        )
    )


@pytest.fixture
def frames(rng):
    return [rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8) for _ in range(6)]


def min_max_ranges(network, frames):
    return tensor_ranges(collect_histograms(network, frames), "min-max")


def without(network, *names):
    return Network(tuple(node for node in network.nodes if node.name not in names))


@pytest.fixture
def plan(network, frames):
    network = without(network, "with_mean")
    return quantize.make_plan(network, min_max_ranges(network, frames))


def test_plan_follows_the_rules(plan):
    assert plan.excluded == {"mean_conv": "computed at a single position"}
    assert list(plan.branches) == ["own_2"]  # a residual sum's own branch
    assert set(plan.ranges) == {"centered", "first_relu", "pool", "skip", "own_1_relu", "sum_relu", "up", "joined"}
    shared = {plan.ranges[name] for name in ("first_relu", "pool", "sum_relu", "up", "joined", "skip")} | {
        plan.branches["own_2"]
    }
    assert len(shared) == 1  # the pool, the resizing, the concatenation and the sum tie them all together
    assert plan.ranges["own_1_relu"] not in shared


def test_missing_range_is_named(network):
    with pytest.raises(DeepLabError, match="The tensor .* has no range"):
        quantize.make_plan(network, {"centered": 1.0})


def test_first_and_last_convolution_in_float(network, frames):
    network = without(network, "with_mean")
    measured = min_max_ranges(network, frames)
    plan = quantize.make_plan(network, measured, float_layers=["first", "last"])
    assert "centered" not in plan.ranges  # the first reads floats
    assert "joined" in plan.ranges  # the last still reads quantized values: what makes them ends in INT8
    assert not quantize.is_quantized(network["first"], plan) and quantize.is_quantized(network["own_2"], plan)


def test_kernel_has_a_scale_per_channel():
    """Channel 0 reaches 2.54: steps of 0.02, with 6 significant bits 40/2048, so 1.0 is 51 of them, and 2.54 is clipped
    from 130 to 127.

    Channel 1 reaches 1.27: half of both, so -0.506 is -52 steps.
    """
    kernel = np.array([[2.54, 1.27], [1.0, -0.506]], np.float32).reshape(1, 1, 2, 2)
    node = Node("a", "conv", ("x",), {}, {"kernel": kernel, "bias": np.array([0.1, 0.1], np.float32)})
    plan = quantize.Plan({"x": 12.7}, {}, {})  # steps of 0.1 in x
    kernel, scale = quantize.quantized_kernel(node, plan)
    np.testing.assert_array_equal(scale, [40 / 2048, 20 / 2048])
    np.testing.assert_array_equal(kernel.reshape(2, 2), [[127, 127], [51, -52]])
    bias, scale = quantize.quantized_bias(node, plan)
    np.testing.assert_allclose(scale, [4 / 2048, 2 / 2048], rtol=1e-6)
    np.testing.assert_array_equal(bias, [51, 102])  # 0.1 / (4 / 2048) = 51.2


def test_scales_are_short_and_ranges_hold_what_was_measured(network, frames):
    network = without(network, "with_mean")
    measured = min_max_ranges(network, frames)
    plan = quantize.make_plan(network, measured)
    for name, limit in plan.all_ranges.items():
        mantissa = np.frexp(quantize.step(limit))[0] * 2**4
        assert mantissa == np.rint(mantissa) and limit >= measured[name] * (1 - 1e-5)
    assert plan.ranges["own_1_relu"] < measured["own_1_relu"] * (1 + 1 / 8)  # 4 bits: an eighth at most


def test_channel_of_zeros_stays_zeros():
    weights = {"kernel": np.zeros((1, 1, 2, 1), np.float32), "bias": np.zeros(1, np.float32)}
    node, plan = Node("a", "conv", ("x",), {}, weights), quantize.Plan({"x": 12.7}, {}, {})
    kernel, scale = quantize.quantized_kernel(node, plan)
    assert not kernel.any() and np.isfinite(scale).all() and scale.all()


@pytest.mark.parametrize("op, shape", [("conv", (3, 3, 1, 2)), ("depthwise", (3, 3, 2, 1))])
def test_the_bias_of_a_dead_channel_fits_beside_its_products(op, shape):
    """Weights of 1e-9 have scales of 8e-12: in steps of 0.1 * 8e-12 a bias of -2 would be -2.5e12, beyond int32."""
    kernel = np.full(shape, 1e-9, np.float32)
    kernel.reshape(9, 2)[:, 1] = 0.5
    plan = quantize.Plan({"x": 12.7}, {}, {})
    node = Node("a", op, ("x",), {}, {"kernel": kernel, "bias": np.array([-2, 2], np.float32)})
    bias, scale = quantize.quantized_bias(node, plan)
    np.testing.assert_allclose(bias * scale, [-2, 2], atol=3e-4)  # half a step of channel 1
    assert np.abs(bias.astype(np.int64)).max() + 9 * 127 * 255 < 2**31
    np.testing.assert_allclose(quantize.quantized_kernel(node, plan)[0].reshape(9, 2), [[0, 127]] * 9)


def run_onnx(model, names, frame, level="ENABLE_ALL"):
    """Tensors of an ONNX model, channels last."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    made = {name for node in model.graph.node for name in node.output}
    names = [f"{name}/channels_last" if f"{name}/channels_last" in made else name for name in names]
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_{level}")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    tensors = session.run(list(names), {"image": frame[None].astype(np.float32)})
    return [
        tensor if name.endswith("/channels_last") else tensor.transpose(0, 2, 3, 1)
        for name, tensor in zip(names, tensors)
    ]


def test_both_onnx_files_are_one_network(network, plan, frames):
    """To the last digit, optimized or not: a sum of whole steps may be rounded before it or after."""
    network = without(network, "with_mean")
    floats = onnx_model.onnx_model(network, SIZE)
    models = [qdq.for_tensorrt(floats, network, plan), qdq.for_cpu(floats, network, plan)]
    exact = run_onnx(floats, ["scores"], frames[0])[0]
    first, *others = [
        run_onnx(model, ["scores"], frames[0], level)[0] for level in ("DISABLE_ALL", "ENABLE_ALL") for model in models
    ]
    assert np.sqrt(np.mean((first - exact) ** 2)) > 0.003 * exact.std()  # rounding to 8 bits does something
    for other in others:
        np.testing.assert_allclose(other, first, atol=1e-3)


def test_onnx_files_agree_when_clipped(network, frames):
    """Half the ranges. The sum with the mean reads two quantized tensors, as its own branch is no convolution."""
    joined = network["joined"]._replace(inputs=("up", "with_mean_up"))
    up = Node("with_mean_up", "upsample", ("with_mean", "first_relu"), {"factor": 2})
    nodes = [joined if node.name == "joined" else node for node in network.nodes]
    nodes.insert(nodes.index(joined), up)
    last = conv("last", "joined", np.random.default_rng(3), 24, 4, 1)
    network = Network(tuple(last if node.name == "last" else node for node in nodes))
    halves = {name: limit / 2 for name, limit in min_max_ranges(network, frames).items()}
    plan = quantize.make_plan(network, halves)
    floats = onnx_model.onnx_model(network, SIZE)
    first, second = (
        run_onnx(write(floats, network, plan), ["scores"], frames[0])[0] for write in (qdq.for_tensorrt, qdq.for_cpu)
    )
    np.testing.assert_allclose(first, second, atol=1e-3)


@pytest.mark.parametrize("label_stride", [2, 4])
def test_strided_logits_can_be_quantized(network, frames, label_stride):
    base = Network(tuple(node for node in without(network, "with_mean").nodes if node.name != "labels"))
    scores = base["scores"]._replace(attributes={"factor": 2})
    head = with_head(Network((*base.nodes[:-1], scores)), label_stride=label_stride, output="logits")
    plan = quantize.make_plan(head, min_max_ranges(head, frames))
    floats = onnx_model.onnx_model(head, SIZE)
    height, width = (side // label_stride * 2 for side in SIZE)
    for model in (floats, qdq.for_tensorrt(floats, head, plan), qdq.for_cpu(floats, head, plan)):
        session = onnxruntime.InferenceSession(model.SerializeToString())
        logits = session.run(["logits"], {"image": frames[0][None].astype(np.float32)})[0]
        assert logits.shape == (1, height, width, 4)


def test_fake_quantization_is_the_same_network(network, plan, frames):
    """TensorFlow rounds a half up and ONNX to the even neighbor, which is one step; nothing else differs."""
    network = without(network, "with_mean")
    limits = plan.all_ranges
    rounded = quantize.with_quantized_weights(network, plan)
    image = tf.constant(frames[0][None].astype(np.float32))
    fake = graph.run(rounded, image, ranges=limits)
    inner = [name for name in limits if name != "joined"]  # the last convolution reads its INT8 values
    model = qdq.for_cpu(onnx_model.onnx_model(network, SIZE), network, plan)
    for name, expected in zip(inner, run_onnx(model, [f"{name}/dequantized" for name in inner], frames[0])):
        steps = np.abs(fake[name].numpy() - expected) / quantize.step(limits[name])
        assert steps.max() < 1.01 and np.mean(steps > 0.5) < 0.1, name


def test_types_of_constants(network, plan):
    """For a CPU int8 kernels, int32 biases and uint8 tensors; for TensorRT float kernels with Q/DQ pairs of int8."""
    network = without(network, "with_mean")
    floats = onnx_model.onnx_model(network, SIZE)
    cpu, trt = qdq.for_cpu(floats, network, plan), qdq.for_tensorrt(floats, network, plan)
    zeros = onnx_model.initializers(cpu.graph)
    assert zeros["first_relu/zero"].dtype == np.uint8 and zeros["first_relu/zero"] == 0  # clips as its ReLU does
    assert zeros["skip/zero"] == 128 and zeros["centered/zero"] == 128
    assert zeros["first/kernel/integers"].dtype == np.int8 and zeros["first/bias/integers"].dtype == np.int32
    constants = onnx_model.initializers(trt.graph)
    assert constants["first/kernel/rounded"].dtype == np.float32 and constants["first/kernel/scale"].shape == (8,)
    assert constants["own_1/kernel/scale"].shape == (8,)  # depthwise
    for name, value in constants.items():
        assert not name.endswith("/zero") or value.dtype == np.int8 and not value.any(), name


def test_check_names_the_operation_that_breaks_a_rule(network, plan):
    network = without(network, "with_mean")
    floats = onnx_model.onnx_model(network, SIZE)

    def broken(change):
        model = qdq.for_tensorrt(floats, network, plan)
        nodes = {node.output[0]: node for node in model.graph.node}
        change(model.graph, nodes)
        return model

    def float_input(graph, nodes):
        nodes["own_2"].input[0] = "own_1_relu"

    def float_concat(graph, nodes):
        nodes["joined"].input[0] = "up"

    def two_branches(graph, nodes):
        nodes["sum"].input[1] = "own_1_relu/dequantized"

    def skewed(graph, nodes):
        zero = next(tensor for tensor in graph.initializer if tensor.name == "skip/zero")
        zero.CopyFrom(onnx.numpy_helper.from_array(np.array(3, np.int8), "skip/zero"))

    for change, facts in (
        (float_input, "Conv own_2 .*excluded"),
        (float_concat, "Concat joined .*scales"),
        (two_branches, "Add sum .*two"),
        (skewed, "skip/quantized .*symmetric"),
    ):
        with pytest.raises(DeepLabError, match=facts):
            qdq.check(broken(change), plan)
    qdq.check(qdq.for_tensorrt(floats, network, plan), plan)


def test_calibration_cache():
    """A range of 127 has a scale of 1.0, which is 3f800000 as a big-endian float32; 63.5 one of 0.5, 3f000000."""
    lines = qdq.calibration_cache({"b": 127.0, "a": 63.5}).splitlines()
    assert lines == ["TRT-8201-EntropyCalibration2", "a: 3f000000", "b: 3f800000"]


def test_every_float_tensor_of_the_model_is_in_the_cache(rng, network):
    """`image` is 0 to 255, its product with 2 at most 510; the rest is measured, but for the gate, which is 0 to 1."""
    affine = {"scale": np.full(3, 2.0, np.float32), "shift": np.full(3, -3.0, np.float32)}
    nodes = (
        Node("input", "input"),
        Node("scaled", "affine", ("input",), {}, affine),
        conv("conv", "scaled", rng, 3, 2),
        Node("swish", "hard_swish", ("conv",)),
    )
    model = onnx_model.onnx_model(Network(nodes), SIZE)
    found = qdq.tensor_ranges(model, {"scaled": 507.0, "conv": 8.0, "swish": 7.0})
    assert found["image"] == 255.0 and found["scaled_nhwc/scaled"] == 510.0 and found["scaled_nhwc"] == 507.0
    assert found["swish/hardsigmoid"] == 1.0 and found["logits"] == 7.0
    for each in (model, onnx_model.onnx_model(network, SIZE)):
        floats = [node for node in each.graph.node if node.op_type not in ("ArgMax", "Cast")]
        measured = dict.fromkeys([node.name for node in (*nodes, *network.nodes)], 1.0)
        assert {name for node in floats for name in node.output} <= set(qdq.tensor_ranges(each, measured))


def histogram(values):
    filled = Histogram()
    largest = float(np.max(values))
    exponent = int(np.ceil(np.log2(largest)))
    counts, _ = np.histogram(values, bins=BINS, range=(0, 2.0**exponent))
    filled.add(counts, exponent, largest)
    return filled


def test_histograms_of_different_ranges_add_up():
    """1000 values below 1 and 10 between 3 and 4: bins of 1/2048 become bins of 4/2048, four to one."""
    rng = np.random.default_rng(0)
    small, large = rng.uniform(0.51, 0.99, 1000), rng.uniform(3, 4, 10)
    together = histogram(small)
    other = histogram(large)
    together.add(other.counts, other.exponent, other.largest)
    expected, edges = np.histogram(np.concatenate([small, large]), bins=BINS, range=(0, 4.0))
    np.testing.assert_array_equal(together.counts, expected)
    np.testing.assert_allclose(together.edges(), edges)
    assert together.largest == large.max()


def test_methods_have_the_names_of_core():
    functions = {name.replace("-", "_") for name in METHODS}
    public = {name for name, value in vars(calibration_methods).items() if inspect.isfunction(value)}
    assert functions == {name for name in public if not name.startswith("_")} - {"tensor_ranges"}


def test_methods_on_an_outlier():
    """A million half-normal values and one of 100: min-max keeps it; 99.99 % are below 3.89 standard deviations."""
    values = np.append(np.abs(np.random.default_rng(0).normal(0, 1, 1_000_000)), 100.0)
    filled = histogram(values)
    assert calibration_methods.min_max(filled) == 100.0
    assert abs(calibration_methods.percentile(filled) - 3.89) < 0.15
    assert 2.5 < calibration_methods.entropy(filled) < 20


def test_entropy_keeps_a_uniform_distribution():
    assert calibration_methods.entropy(histogram(np.random.default_rng(0).uniform(0, 0.99, 200_000))) > 0.97


def test_measured_range_is_the_largest_magnitude(network, frames):
    measured = min_max_ranges(without(network, "with_mean"), frames)
    images = np.stack(frames).astype(np.float32)
    assert measured["centered"] == np.abs(images - 128).max()
    tensors = graph.run(without(network, "with_mean"), tf.constant(images))
    for name in ("sum_relu", "last", "skip"):
        np.testing.assert_allclose(measured[name], np.abs(tensors[name]).max(), rtol=1e-5)


def test_infinite_tensor_is_named(network, frames):
    nodes = {node.name: node for node in without(network, "with_mean").nodes}
    broken = nodes["skip"].weights["kernel"].copy()
    broken[0, 0, 0, 0] = np.nan
    nodes["skip"] = nodes["skip"]._replace(weights={**nodes["skip"].weights, "kernel": broken})
    with pytest.raises(DeepLabError, match="tensor skip is not finite"):
        collect_histograms(Network(tuple(nodes.values())), frames)


def test_calibration_needs_images(network):
    with pytest.raises(DeepLabError, match="--images"):
        collect_histograms(network, [])
