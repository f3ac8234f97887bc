"""Run ours: frames of a bundle in one of its runtimes, or steps of `deeplab-tf train`."""

from worker import serve


def frames(options):
    """Prepare frames of a bundle; `precision` is float32 or int8.

    `runtime` is ONNX Runtime if left out; "auto" is the fastest here, as `stream` takes it.
    """
    from importlib.metadata import version

    from deeplab_tf.core.bundle import open_bundle
    from deeplab_tf.deploy.budget.workload import from_rows, macs, parameters
    from deeplab_tf.deploy.runtimes import module, open_runtime
    from deeplab_tf.synth import draw_scene

    bundle = open_bundle(options["bundle"], verify=False)
    name = options.get("runtime", "onnx")
    more = {"providers": ["CPUExecutionProvider"]} if name == "onnx" else {"live": True}
    runtime = open_runtime(bundle, name, options["precision"], threads=options["threads"], **more)
    package = module(runtime.name).PACKAGE
    frame = draw_scene(6, 0, bundle.size).image
    layers = from_rows(bundle.info["layers"])
    about = {"name": f"{package} {version(package)}", "parameters": parameters(layers), "gmac": macs(layers) / 1e9}
    return about, lambda: runtime(frame)


def steps(options):
    """As `deeplab_tf/lab/training/fit.py` makes them: uint8 images in, deterministic, the loss read after each."""
    import keras
    import tensorflow as tf
    from training_batch import CLASSES, Steps, training_batch

    from deeplab_tf.lab.config import resolve
    from deeplab_tf.lab.models.registry import build_network
    from deeplab_tf.lab.training.callbacks import StepLoss
    from deeplab_tf.lab.training.objective import compile_model
    from deeplab_tf.lab.training.optimizers import make_optimizer

    tf.config.threading.set_intra_op_parallelism_threads(options["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(options["threads"])
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(0)
    data = {"name": "cityscapes", "root": ".", "size": options["size"]}
    training = {"batch_size": options["batch"], "precision": options["precision"]}
    config = resolve({"data": data, "model": options["model"], "training": training})
    model = build_network(config.model, CLASSES, precision=config.training.precision, auxiliary=False)
    compile_model(model, make_optimizer(config.optimizer, model, config.training.steps), config, None)
    images, labels = training_batch(options)
    work = Steps(keras, model, images, dict.fromkeys(model.output, labels), [StepLoss()])
    name = f"TensorFlow {tf.__version__}, Keras {keras.__version__}"
    return {"name": name, "parameters": model.count_params()}, work


if __name__ == "__main__":
    serve(lambda options: steps(options) if options["task"] == "step" else frames(options))
