"""Fixtures for all tests. TensorFlow is imported inside them: tests of the deploy floor run without it."""

import contextlib
import functools
import gc
import os
import signal
import sys

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors of the C++ side only
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "2")
os.environ.setdefault("DEEPLAB_TF_RUNTIME", "onnx")  # what "auto" takes, the same on every machine
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "2")

GENERATED = pytest.StashKey()
"""Digests of the generated inputs of all processes."""


def pytest_configure(config):
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # under nohup; the tests send it to processes of their own
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    config.addinivalue_line("markers", "alone: measures time, so that no other test may run beside it")


def pytest_collection_finish():
    """Look for garbage more rarely: in a process with TensorFlow's graphs that took a fifteenth of the time."""
    gc.collect()
    if hasattr(gc, "freeze"):  # Python 3.6 has none
        gc.freeze()
    gc.set_threshold(50_000, 10, 10)


def pytest_sessionfinish(session):
    """Pass the count of generated inputs to the process that prints it."""
    generated = sys.modules.get("generated")
    if generated and hasattr(session.config, "workeroutput"):
        session.config.workeroutput["generated"] = sorted(generated.seen)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Collect the generated inputs of a process of pytest-xdist."""
    node.config.stash.setdefault(GENERATED, set()).update(getattr(node, "workeroutput", {}).get("generated", ()))


def pytest_terminal_summary(terminalreporter, config):
    generated = sys.modules.get("generated")
    seen = config.stash.get(GENERATED, set()) | (generated.seen if generated else set())
    if seen:
        terminalreporter.write_line(f"generated inputs: {len(seen)} distinct ones")


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    """Let a test marked `alone` run alone, where `make test` shares the tests among processes."""
    with contextlib.ExitStack() as stack:
        if hasattr(item.config, "workerinput"):
            import fcntl

            door, room = (
                stack.enter_context(_opened(folder))
                for folder in (item.config.rootpath / "tests", item.config.rootpath)
            )
            fcntl.flock(door, fcntl.LOCK_EX)  # who waits for the room holds the door, so that nobody overtakes
            fcntl.flock(room, fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH)
            fcntl.flock(door, fcntl.LOCK_UN)
        yield


@contextlib.contextmanager
def _opened(folder):
    """Open a folder; closing it releases its lock."""
    descriptor = os.open(str(folder), os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.fixture(scope="session", autouse=True)
def timed_briefly():
    """Let `convert` and `report` time each network only once or twice: tests check that there is a time, not which."""
    if sys.version_info < (3, 11):  # the lab is not there
        yield
        return
    from deeplab_tf.deploy import convert_bundle
    from deeplab_tf.lab.evaluation import speed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convert_bundle, "TIMED_SECONDS", 0.0)
        patch.setattr(speed, "frames_per_second", functools.partial(speed.frames_per_second, seconds=0.0))
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def randomize():
    """randomize(model, images): every batch normalization gets random weights, and statistics that fit the images
    roughly.

    Weights alone would not do: with statistics far from those of the data, activations grow to 1e4 within 50 layers,
    and a comparison to 1e-4 would measure rounding.
    """

    def apply(model, images, seed=1):
        generator = np.random.default_rng(seed)
        norms = [layer for layer in model.layers if hasattr(layer, "moving_mean")]
        for layer in norms:
            scale = (
                0.3 if layer.name.endswith("_3_bn") else 1.0
            )  # trained residual branches add less than what they are added to
            layer.gamma.assign(scale * generator.uniform(0.5, 1.5, layer.gamma.shape))
            layer.beta.assign(generator.normal(0, 0.3, layer.beta.shape))
            layer.momentum, layer.before = 0.0, layer.momentum  # one batch in training gives its own statistics
        model(images, training=True)
        for layer in norms:
            layer.momentum = layer.before
            mean, variance = layer.moving_mean.numpy(), layer.moving_variance.numpy() + 0.01
            layer.moving_mean.assign(mean + generator.normal(0, 0.2, mean.shape) * np.sqrt(variance))
            layer.moving_variance.assign(variance * generator.uniform(0.7, 1.4, variance.shape))
        return model

    return apply


@pytest.fixture(scope="session")
def stock_resnet50(randomize):
    """keras.applications.ResNet50 without its top, with random convolution biases and batch normalization."""
    import keras

    model = keras.applications.ResNet50(include_top=False, weights=None)
    generator = np.random.default_rng(2)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            layer.bias.assign(generator.normal(0, 0.1, layer.bias.shape))
    return randomize(model, keras.applications.resnet50.preprocess_input(blocks(generator, 4, 96, 96)))


def blocks(generator, count, height, width):
    """(count, height, width, 3) float32, 0..255: blocks of random colors under noise. Noise alone would look alike to
    deep features."""
    colors = generator.uniform(20, 235, (count, height // 8 + 1, width // 8 + 1, 3))
    images = np.repeat(np.repeat(colors, 8, axis=1), 8, axis=2)[:, :height, :width]
    return (images + generator.uniform(-20, 20, images.shape)).astype(np.float32)


@pytest.fixture(scope="session")
def make_images():
    return blocks
