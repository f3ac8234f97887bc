"""The bundle's ONNX files in Intel's OpenVINO (2024 or newer), on an Intel GPU or any x86-64 or aarch64 processor.

INT8 is model_int8.onnx: OpenVINO adds a residual branch before it rounds, as TensorRT does. What of it is not INT8 is
bfloat16 where the processor computes that fast; float32 is float32 everywhere.
"""

import copy
from typing import Any, Dict, List, Optional

import numpy as np

from deeplab_tf.core import processor
from deeplab_tf.core.bundle import Bundle
from deeplab_tf.core.errors import DeepLabError, did_you_mean
from deeplab_tf.core.predictor import MAX_LANES
from deeplab_tf.deploy.runtimes import Runtime, _engines, fits

PRECISIONS = {"int8": "model_int8.onnx", "float32": "model.onnx"}
PRIORITY = 15
PACKAGE = "openvino"

CPU, GPU = "CPU", "GPU"
_NO_VNNI = "OpenVINO's INT8 saturates on a processor without VNNI"


def missing() -> Optional[str]:
    """Return None, or why it cannot run here."""
    return _engines.missing_package(PACKAGE, "OpenVINO", _openvino)


def runs_on_cpu() -> bool:
    """Return whether it runs on the processor here, or an Intel GPU beside it."""
    return True


def build(
    bundle: Bundle, precision: str = "int8", *, strict: bool = False, rebuild: bool = False, say=print, **options
) -> dict:
    """Build nothing; return the result of a runtime's `build` for the file that `load` runs."""
    return _engines.nothing_to_build(bundle.file(PRECISIONS[precision]), precision)


def load(
    bundle: Bundle,
    precision: str = "int8",
    *,
    strict: bool = False,
    say=print,
    device: Optional[str] = None,
    threads: Optional[int] = None,
) -> Runtime:
    """Load the model.

    Args:
        bundle: from `open_bundle`.
        precision: "int8" or "float32".
        strict: refuse a precision or device that does not work, instead of the next with one line through `say`.
        device: of OpenVINO, such as "CPU"; an Intel GPU if there is one, else the processor, if left out.
        threads: on the CPU; all cores that this process may use if left out.
    Raises:
        DeepLabError: OpenVINO is missing or cannot load the model, or has no such device.
    """
    chosen = _device(device)
    if precision == "int8" and chosen == CPU and _saturates():
        if strict or PRECISIONS["float32"] not in bundle:
            raise DeepLabError(f"{_NO_VNNI}; take the runtime onnx.")
        say(f"{_NO_VNNI}: float32 instead.")
        precision = "float32"
    return OpenVinoRuntime(bundle, precision, chosen, threads or processor.physical_cores(), strict=strict, say=say)


class OpenVinoRuntime(Runtime):
    """See `Runtime`.

    Attributes:
        device: the OpenVINO device that runs the network.
        threads: on the CPU.
    """

    name = "openvino"

    def __init__(self, bundle, precision, device, threads, *, strict=False, say=print):
        super().__init__(bundle, precision)
        self.device, self.threads, self._streams = device, threads, 1
        try:
            self._compiled = self._compile()
        except DeepLabError as error:
            if strict or device == CPU:
                raise
            say(f"{error} The processor instead.")
            self.device = CPU
            self._compiled = self._compile()
        self._start()

    def _compile(self):
        openvino, path = _openvino(), self.bundle.file(PRECISIONS[self.precision])
        options: Dict[str, Any] = {"NUM_STREAMS": self._streams}
        if self.precision == "float32":
            options["INFERENCE_PRECISION_HINT"] = "f32"
        if self.device == CPU:
            options["INFERENCE_NUM_THREADS"] = self.threads
        try:
            core = openvino.Core()
            model = core.read_model(path)
            self._check(path, model)
            pixels = openvino.preprocess.PrePostProcessor(model)
            pixels.input().tensor().set_element_type(openvino.Type.u8)
            return core.compile_model(pixels.build(), self.device, options)
        except RuntimeError as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
            raise DeepLabError(f"OpenVINO cannot load {path} on {self.device}: {reason}") from error

    def _check(self, path, model):
        wanted = (1,) + tuple(self.size) + (3,)
        shapes = [_shape(each) for each in model.inputs]
        if len(shapes) != 1 or not fits(shapes[0], wanted):
            there = ", ".join("x".join(map(str, each)) for each in shapes)
            raise DeepLabError(f"{path} takes {there}, and bundle.json describes {'x'.join(map(str, wanted))} (size).")
        self.check_outputs(path, {each.get_any_name(): _shape(each) for each in model.outputs})

    def _start(self):
        self._request = self._compiled.create_infer_request()
        self._image = np.empty((1,) + tuple(self.size) + (3,), np.uint8)
        self._results: Dict[str, np.ndarray] = {}

    def upload(self, frame):
        np.copyto(self._image[0], frame)

    def run(self):
        self._request.infer([self._image], share_inputs=True)

    def download(self):
        return {name: np.array(self._request.get_tensor(name).data[0]) for name in self.bundle.outputs}

    def lanes(self) -> List["OpenVinoRuntime"]:
        """Return up to MAX_LANES lanes on a CPU, of which this runtime is the first: each has a stream of one model."""
        if self._streams == 1 and self.device == CPU and self.threads > 1:
            self._streams = min(self.threads, MAX_LANES)
            self._compiled = self._request = None  # its weights are freed before they are read again
            self._compiled = self._compile()
            self._start()
        return [self] + [self._beside() for _ in range(self._streams - 1)]

    def _beside(self):
        other = copy.copy(self)
        other._start()
        return other

    def close(self):
        self._compiled = self._request = None


def _shape(port):
    """Return the sides of a port's shape; one that is not known is a text."""
    return tuple(side.get_length() if side.is_static else str(side) for side in port.get_partial_shape())


def _saturates() -> bool:
    found = processor.features()
    return "AVX2" in found and "VNNI" not in found


def _device(wanted) -> str:
    openvino = _openvino()
    try:
        present = openvino.Core().available_devices
    except RuntimeError as error:
        raise DeepLabError(f"OpenVINO cannot list its devices: {' '.join(str(error).split())}") from error
    if wanted is None:
        return next((name for name in present if name.startswith(GPU)), CPU)
    if wanted not in present:
        raise DeepLabError(f"This OpenVINO has no device '{wanted}'. {did_you_mean(wanted, present)}")
    return wanted


def _openvino():
    try:
        import openvino
    except Exception as error:  # a broken package raises errors of any kind
        raise DeepLabError(f"OpenVINO cannot be loaded: {error}. Try pip install openvino.") from error
    return openvino
