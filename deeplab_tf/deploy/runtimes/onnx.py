"""The bundle's ONNX files in ONNX Runtime (1.10 or newer), on the CPU or an NVIDIA GPU.

INT8 is model_int8_cpu.onnx on a CPU, which has fast kernels for its uint8 activations, and model_int8.onnx on a GPU
and, on a CPU, before ONNX Runtime 1.12.
Copies to a GPU are part of `run`.
"""

import base64
import copy
import ctypes
import functools
import os
from typing import List, Optional, Sequence, Tuple, Union

import numpy as np

from deeplab_tf.core.bundle import Bundle
from deeplab_tf.core.errors import DeepLabError, did_you_mean
from deeplab_tf.core.predictor import MAX_LANES
from deeplab_tf.core.processor import physical_cores
from deeplab_tf.deploy.runtimes import Runtime, _engines, fits

PRECISIONS = {"int8": "model_int8_cpu.onnx", "float32": "model.onnx"}
PRIORITY = 20
PACKAGE = "onnxruntime"

CPU = "CPUExecutionProvider"
CHANNELS_LAST_SINCE = (1, 12)
"""Earlier versions resize channels-last tensors wrongly, without an error; model_int8_cpu.onnx has such tensors."""
EXACT_SUMS = ("session.x64quantprecision", "1")
"""Option of ONNX Runtime: unsigned weights, zero point 128, and a kernel for x86-64 that is exact."""
EXACT_SUMS_SINCE = (1, 12)
_PRODUCT = base64.b64decode(
    "CAc6XAoYCgFhCgFiEgFjIg1NYXRNdWxJbnRlZ2VyEgFnWhMKAWESDgoMCAISCAoCCAQKAghAWhMKAWISDgoMCAMSCAoCCEAKAgggYhMKAWMSDgoM"
    "CAYSCAoCCAQKAgggQgQKABAN"
)
"""An ONNX file: the product (MatMulInteger) of uint8 (4, 64) and int8 (64, 32)."""
PROVIDERS = ("TensorrtExecutionProvider", "CUDAExecutionProvider", CPU)
"""ONNX Runtime's execution providers that are tried, the best first."""


def missing() -> Optional[str]:
    """Return None, or why it cannot run here."""
    return _engines.missing_package(PACKAGE, "ONNX Runtime", _onnxruntime)


def runs_on_cpu() -> bool:
    """Return whether it runs on the processor here."""
    return _providers(None)[0] == CPU


def build(
    bundle: Bundle, precision: str = "int8", *, strict: bool = False, rebuild: bool = False, say=print, **options
) -> dict:
    """Build nothing; return the result of a runtime's `build` for the file that `load` runs."""
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
    """Load the model.

    Args:
        bundle: from `open_bundle`.
        precision: "int8" or "float32".
        strict: refuse a provider that does not work, instead of falling back to the CPU with one line through `say`.
        providers: of ONNX Runtime, such as ["CPUExecutionProvider"]; the best present if left out.
        threads: on the CPU; all cores that this process may use if left out.
    Raises:
        DeepLabError: ONNX Runtime is missing or cannot load the model, or has no such provider.
    """
    chosen = _providers(providers)
    precision = _exact_precision(bundle, precision, chosen[0], strict, say)
    return OnnxRuntime(bundle, precision, chosen, threads or physical_cores(), strict=strict, say=say)


def session(
    model: Union[str, bytes],
    *,
    threads: Optional[int] = None,
    providers: Sequence[Union[str, Tuple[str, dict]]] = (CPU,),
    profile: Optional[str] = None,
):
    """Return an ONNX Runtime session.

    Args:
        model: a file, or its contents.
        threads: on the CPU; all cores if left out.
        providers: names, or (name, options).
        profile: where the timings of every operation go; the beginning of a file's path.
    Raises:
        DeepLabError: ONNX Runtime is missing or cannot load the model.
    """
    onnxruntime = _onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; warnings are of no use to the person who converts or watches
    options.intra_op_num_threads = threads or 0
    if saturates():
        options.add_session_config_entry(*EXACT_SUMS)
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, profile
    try:
        return onnxruntime.InferenceSession(model, options, providers=list(providers))
    except Exception as error:  # its errors have no common class of their own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        name = model if isinstance(model, str) else "the model"
        raise DeepLabError(f"ONNX Runtime {onnxruntime.__version__} cannot load {name}: {reason}") from error


@functools.lru_cache(maxsize=None)
def saturates() -> bool:
    """Return whether ONNX Runtime's INT8 kernel adds two products in 16 bits here, in which they saturate.

    It does so on x86-64 without VNNI, but not on processors without AVX2. The answer is that of the kernel itself, not
    of a list of processors: the exact kernel would be slower where it is not needed.
    """
    onnxruntime = _onnxruntime()
    product = onnxruntime.InferenceSession(_PRODUCT, providers=[CPU])
    most = {"a": np.full((4, 64), 255, np.uint8), "b": np.full((64, 32), 127, np.int8)}
    return bool((product.run(None, most)[0] != 64 * 255 * 127).any())


class OnnxRuntime(Runtime):
    """See `Runtime`.

    Attributes:
        provider: the execution provider that runs the network.
        threads: on the CPU.
    """

    name = "onnx"

    def __init__(self, bundle, precision, providers, threads, *, strict=False, say=print):
        super().__init__(bundle, precision)
        self.threads, self._lanes = threads, 1
        self._session = self._open(providers)
        self.provider = self._session.get_providers()[0]
        if self.provider != providers[0]:  # ONNX Runtime falls back to the next, and says so in its log only
            if strict:
                raise DeepLabError(f"ONNX Runtime could not start {providers[0]} here.")
            say(f"ONNX Runtime could not start {providers[0]} here: {self.provider} instead.")
            if self.provider == CPU:
                self._session = self._open([CPU])
        file = _file(precision, on_cpu=self.provider == CPU)
        if precision == "int8" and self.provider == CPU and saturates():
            say("This processor has no VNNI: ONNX Runtime computes INT8 with an exact kernel, which is slower.")
        inputs, wanted = self._session.get_inputs(), (1,) + tuple(self.size) + (3,)
        if len(inputs) != 1 or not fits(inputs[0].shape, wanted):
            there = ", ".join("x".join(map(str, each.shape)) for each in inputs)
            raise DeepLabError(f"{file} takes {there}, and bundle.json describes {'x'.join(map(str, wanted))} (size).")
        self._input = inputs[0].name
        outputs = {each.name: each.shape for each in self._session.get_outputs()}
        self.check_outputs(file, outputs)
        self._output_names = list(outputs)
        self._image = np.empty((1,) + tuple(self.size) + (3,), np.float32)
        self._results: List[np.ndarray] = []

    def _open(self, providers):
        path = self.bundle.file(_file(self.precision, on_cpu=providers[0] == CPU))
        chosen = [(name, _provider_options(name, self)) for name in providers]
        opened = session(path, threads=self.threads, providers=chosen)
        _release_memory()
        return opened

    def upload(self, frame):
        np.copyto(self._image[0], frame)

    def run(self):
        self._results = self._session.run(None, {self._input: self._image})

    def download(self):
        return {name: array[0] for name, array in zip(self._output_names, self._results)}

    def lanes(self):
        """Return up to MAX_LANES lanes on a CPU, of which this runtime is the first.

        One thread per frame has a higher throughput than all threads on one frame: none waits for the others at the end
        of a layer, nor for a core that draws or encodes meanwhile. The lanes share one session, which takes the place
        of this runtime's; each brings a thread, and the remaining threads help all.
        """
        if self._lanes == 1 and self.provider == CPU and self.threads > 1:
            self._lanes = min(self.threads, MAX_LANES)
            self.threads -= self._lanes - 1
            self._session = None  # its weights are freed before they are read again
            _release_memory()
            self._session = self._open([CPU])
        return [self] + [self._beside() for _ in range(self._lanes - 1)]

    def _beside(self):
        """Return a runtime for another thread: it shares the session and has a frame of its own."""
        other = copy.copy(self)
        other._image, other._results = np.empty_like(self._image), []
        return other

    def close(self):
        self._session = None


def _exact_precision(bundle, precision, provider, strict, say):
    """Return float32 for INT8 where this version has no kernel that is exact on this processor."""
    if precision != "int8" or provider != CPU or _version() >= EXACT_SUMS_SINCE or not saturates():
        return precision
    reason = f"ONNX Runtime {_onnxruntime().__version__} computes INT8 wrongly on a processor without VNNI"
    if strict or PRECISIONS["float32"] not in bundle:
        raise DeepLabError(f"{reason}; it needs version 1.12 or newer.")
    say(f"{reason}: float32 instead.")
    return "float32"


def _release_memory():
    """Give the system back what was freed: glibc keeps what loading took, which is more than the weights."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):  # another C library
        pass


def _file(precision, *, on_cpu):
    if precision == "int8" and not (on_cpu and _version() >= CHANNELS_LAST_SINCE):
        return "model_int8.onnx"
    return PRECISIONS[precision]


def _version() -> Tuple[int, ...]:
    return tuple(int(part) for part in _onnxruntime().__version__.split(".")[:2])


def _providers(wanted) -> List[str]:
    present = _onnxruntime().get_available_providers()
    for name in wanted or ():
        if name not in present:
            raise DeepLabError(f"This ONNX Runtime has no provider '{name}'. {did_you_mean(name, present)}")
    return list(wanted or [name for name in PROVIDERS if name in present])


def _provider_options(name, runtime):
    """Return the options of a provider: TensorRT's keeps the engines that it builds with the bundle."""
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
