"""The bundle's ONNX files in ONNX Runtime (1.10 or newer): on the CPU, or on an NVIDIA GPU where this ONNX Runtime is
built for one.

On a CPU int8 is model_int8_cpu.onnx, whose activations are uint8, the type with fast kernels there; on a GPU
model_int8.onnx. Copies to a GPU are part of `run`.
"""

import copy
import importlib.util
import os
from typing import List, Optional, Sequence

import numpy as np

from deeplab_tf.core.bundle import Bundle
from deeplab_tf.core.errors import DeepLabError, did_you_mean
from deeplab_tf.deploy.runtimes import Runtime, _engines

PRECISIONS = ("int8", "float32")

CPU = "CPUExecutionProvider"
MOST_LANES = 4
"""Each needs memory for features of its own."""
PROVIDERS = ("TensorrtExecutionProvider", "CUDAExecutionProvider", CPU)
"""What is tried, the best first."""


def missing() -> Optional[str]:
    """None, or why it cannot run here."""
    if importlib.util.find_spec("onnxruntime") is None:
        return "ONNX Runtime is not installed: pip install onnxruntime."
    try:
        _onnxruntime()
    except DeepLabError as error:
        return str(error)
    return None


def build(
    bundle: Bundle, precision: str = "int8", *, strict: bool = False, rebuild: bool = False, say=print, **options
) -> dict:
    """Nothing is built; returns what `build` of a runtime returns, for the file that `load` runs."""
    on_cpu = _providers(options.get("providers"))[0] == CPU
    return _engines.nothing_to_build(bundle.file(_file(precision, on_cpu=on_cpu)), precision)


def load(
    bundle: Bundle,
    precision: str = "int8",
    *,
    strict: bool = False,
    say=print,
    providers: Optional[Sequence[str]] = None,
    threads: Optional[int] = None,
) -> Runtime:
    """Loads the model.

    Args:
        bundle: from `open_bundle`.
        precision: "int8" or "float32".
        strict: refuse where a provider does not work, instead of taking the CPU with one line through `say`.
        providers: those of ONNX Runtime, such as ["CPUExecutionProvider"]; the best present where left out.
        threads: on the CPU; all cores that this process may use, where left out.
    Raises:
        DeepLabError: ONNX Runtime is missing or cannot load the model, or has no such provider.
    """
    return OnnxRuntime(bundle, precision, _providers(providers), threads or physical_cores(), strict=strict, say=say)


class OnnxRuntime(Runtime):
    """See `Runtime`.

    Attributes:
        provider: which of ONNX Runtime's execution providers runs the network.
        threads: on the CPU.
    """

    name = "onnx"

    def __init__(self, bundle, precision, providers, threads, *, strict=False, say=print):
        super().__init__(bundle, precision)
        self.threads = threads
        self._session = self._open(providers)
        self.provider = self._session.get_providers()[0]
        if self.provider != providers[0]:  # ONNX Runtime goes on with the next, and says so in its log only
            if strict:
                raise DeepLabError(f"ONNX Runtime could not start {providers[0]} here.")
            say(f"ONNX Runtime could not start {providers[0]} here: {self.provider} instead.")
            if self.provider == CPU:
                self._session = self._open([CPU])
        (self._input,) = [each.name for each in self._session.get_inputs()]
        self._output_names = [each.name for each in self._session.get_outputs()]
        self._image = np.empty((1,) + tuple(self.size) + (3,), np.float32)
        self._results = ()

    def _open(self, providers):
        onnxruntime = _onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3  # errors; warnings are of no use to the person who converts or watches
        path = self.bundle.file(_file(self.precision, on_cpu=providers[0] == CPU))
        chosen = [(name, _provider_options(name, self)) for name in providers]
        try:
            return onnxruntime.InferenceSession(path, options, providers=chosen)
        except Exception as error:  # its errors have no common class of their own
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DeepLabError(f"ONNX Runtime {onnxruntime.__version__} cannot load {path}: {reason}") from error

    def upload(self, frame):
        np.copyto(self._image[0], frame)

    def run(self):
        self._results = self._session.run(None, {self._input: self._image})

    def download(self):
        return {name: array[0] for name, array in zip(self._output_names, self._results)}

    def lanes(self):
        """On a CPU a thread for each frame does more than all threads for one: none waits for the others at the end of
        every layer, nor for a core that draws or encodes meanwhile. The lanes have one session beside this runtime's;
        each brings a thread, and what is left of the threads helps all."""
        if self.provider != CPU or self.threads == 1:
            return [self]
        count = min(self.threads, MOST_LANES)
        first = OnnxRuntime(self.bundle, self.precision, [CPU], self.threads - count + 1)
        return [first] + [first._beside() for _ in range(count - 1)]

    def _beside(self):
        """A runtime for another thread, with this one's session, which may run in several, and a frame of its own."""
        other = copy.copy(self)
        other._image, other._results = np.empty_like(self._image), ()
        return other

    def close(self):
        self._session = None


def physical_cores() -> int:
    """The cores that this process may use; two hyperthreads of one core count once, as they share what computes."""
    try:
        usable = os.sched_getaffinity(0)
    except AttributeError:  # not on this system
        return os.cpu_count() or 1
    cores = set()
    for cpu in usable:
        try:
            with open(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", encoding="ascii") as file:
                cores.add(file.read().strip())
        except OSError:
            cores.add(cpu)
    return len(cores)


def _file(precision, *, on_cpu):
    if precision == "float32":
        return "model.onnx"
    return "model_int8_cpu.onnx" if on_cpu else "model_int8.onnx"


def _providers(wanted) -> List[str]:
    present = _onnxruntime().get_available_providers()
    for name in wanted or ():
        if name not in present:
            raise DeepLabError(f"This ONNX Runtime has no provider '{name}'. {did_you_mean(name, present)}")
    return list(wanted or [name for name in PROVIDERS if name in present])


def _provider_options(name, runtime):
    """The TensorRT provider builds engines of its own; they are kept with the bundle."""
    if name != PROVIDERS[0]:
        return {}
    int8 = str(runtime.precision == "int8")
    folder = os.path.join(runtime.bundle.engines, "onnxruntime")
    os.makedirs(folder, exist_ok=True)
    return {
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": folder,
        "trt_int8_enable": int8,
        "trt_fp16_enable": int8,
    }


def _onnxruntime():
    try:
        import onnxruntime
    except (ImportError, OSError) as error:
        raise DeepLabError(f"ONNX Runtime cannot be loaded: {error}. Try pip install onnxruntime.") from error
    return onnxruntime
