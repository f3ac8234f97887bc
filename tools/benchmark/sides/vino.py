"""Run OpenVINO on the ONNX files of a bundle, with the file it is fastest with."""

import os

from worker import serve, timed


def prepare(options):
    """Prepare frames, channels last; `hint`: precision of layers that are not INT8, OpenVINO's choice by default."""
    import numpy as np
    import openvino

    frame = np.random.default_rng(0).integers(0, 256, (1, *options["size"], 3)).astype(np.float32)
    trials = {}
    for path in options["files"]:
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": options["threads"]}
        if options.get("hint"):
            settings["INFERENCE_PRECISION_HINT"] = options["hint"]
        model = openvino.Core().compile_model(path, "CPU", settings)
        model([frame])
        trials[path] = min(timed(lambda model=model: model([frame])) for _ in range(3)), model
    best = min(trials, key=lambda path: trials[path][0])
    name = "OpenVINO {}, {}".format(openvino.__version__.split("-")[0], os.path.basename(best))
    return {"name": name}, lambda: trials[best][1]([frame])


if __name__ == "__main__":
    serve(prepare)
