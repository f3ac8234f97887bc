"""The bundle's .tflite files in LiteRT (formerly TensorFlow Lite), on a processor, with XNNPACK's kernels.

INT8 gave the same labels on a processor with VNNI and on an emulated one without it.
"""

from typing import Dict, Optional

import numpy as np

from deeplab_tf.core import processor
from deeplab_tf.core.bundle import Bundle
from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.deploy.runtimes import Runtime, _engines, fits

PRECISIONS = {"int8": "model_int8.tflite", "float16": "model_float16.tflite"}
PRIORITY = 12
PACKAGE = "ai_edge_litert"


def missing() -> Optional[str]:
    """Return None, or why it cannot run here."""
    return _engines.missing_package(PACKAGE, "LiteRT", _interpreter)


def runs_on_cpu() -> bool:
    """Return whether it runs on the processor here."""
    return True


def build(
    bundle: Bundle, precision: str = "int8", *, strict: bool = False, rebuild: bool = False, say=print, **options
) -> dict:
    """Build nothing; return the result of a runtime's `build` for the file that `load` runs."""
    return _engines.nothing_to_build(bundle.file(PRECISIONS[precision]), precision)


def load(
    bundle: Bundle, precision: str = "int8", *, strict: bool = False, say=print, threads: Optional[int] = None
) -> Runtime:
    """Load the model.

    Args:
        bundle: from `open_bundle`.
        precision: "int8" or "float16", of the weights.
        threads: all cores that this process may use if left out.
    Raises:
        DeepLabError: LiteRT is missing or cannot load the model.
    """
    return LiteRuntime(bundle, precision, threads or processor.physical_cores())


class LiteRuntime(Runtime):
    """See `Runtime`."""

    name = "litert"

    def __init__(self, bundle, precision, threads):
        super().__init__(bundle, precision)
        path = bundle.file(PRECISIONS[precision])
        interpreter = _interpreter()
        try:
            self._model = interpreter(model_path=path, num_threads=threads)
            self._model.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DeepLabError(f"LiteRT cannot load {path}: {reason}") from error
        inputs, wanted = self._model.get_input_details(), (1,) + tuple(self.size) + (3,)
        shapes = [tuple(map(int, each["shape"])) for each in inputs]
        if len(shapes) != 1 or not fits(shapes[0], wanted) or inputs[0]["dtype"] is not np.uint8:
            there = ", ".join("x".join(map(str, each)) for each in shapes)
            raise DeepLabError(
                f"{path} takes {there}, and bundle.json describes uint8 {'x'.join(map(str, wanted))} (size)."
            )
        outputs = self._model.get_output_details()  # in the order of bundle.json
        self.check_outputs(path, {name: tuple(map(int, each["shape"])) for name, each in zip(bundle.outputs, outputs)})
        self._input = int(inputs[0]["index"])
        self._outputs = {name: int(each["index"]) for name, each in zip(bundle.outputs, outputs)}

    def upload(self, frame):
        self._model.set_tensor(self._input, frame[None])

    def run(self):
        self._model.invoke()

    def download(self) -> Dict[str, np.ndarray]:
        return {name: self._model.get_tensor(index)[0] for name, index in self._outputs.items()}  # copies

    def close(self):
        self._model = None


def _interpreter():
    try:
        from ai_edge_litert.interpreter import Interpreter
    except Exception as error:  # a broken package raises errors of any kind
        raise DeepLabError(f"LiteRT cannot be loaded: {error}. Try pip install ai-edge-litert.") from error
    return Interpreter
