"""Training images/s of our DeepLabV3+ against segmentation_models_pytorch's, in one run on one machine.

    sh tools/make_peer_environment.sh                                          (once: PyTorch in .venv-peers)
    python tools/benchmark_training.py [--json FILE]
    deeplab-tf sample SCENES --scenes 20 --size 512x1024
    python tools/benchmark_training.py --reading SCENES [--json FILE]          (also: does reading keep up with the steps?)

Both are a separable DeepLabV3+ on ResNet-50 from scratch, 19 classes, Adam 0.001, cross-entropy with ignored pixels, the same batch every
step. Ours is built, compiled and fitted as `deeplab-tf train` does it, deterministic, uint8 images in; the peer gets normalised floats,
and whichever memory format is faster for it. Each lives in a process of its own. Both are warmed up, then they take turns: A B B A.

Nothing but the standard library is imported at the top: this file is also the peer's worker, in an environment without ours.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLASSES, IGNORED = 19, 255
OURS, PEER = "deeplab_tf", "segmentation_models_pytorch"


class Worker:
    """A process that trains one network when told to: a number of steps goes in on a line, their seconds come back as JSON."""

    def __init__(self, python, name, options):
        size = "{}x{}".format(*options.size)
        command = [python, __file__, "--worker", name, "--threads", options.threads, "--batch", options.batch, "--size", size]
        command += ["--precision", options.precision]
        threads = {"OMP_NUM_THREADS": str(options.threads), "TF_CPP_MIN_LOG_LEVEL": "3"}
        self.process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **threads}
        )
        self.about = self._answer()

    def steps(self, count, **settings):
        """Seconds of each of `count` training steps."""
        print(json.dumps({"steps": count, **settings}), file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("A worker ended early (exit {}); its error stands above.".format(self.process.wait()))
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def serve(train, about):
    """The worker's side: says what it is, then trains as asked until its input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the libraries print goes to stderr
    print(json.dumps(about), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(train(**json.loads(line))), file=answers, flush=True)


def make_batch(options, seed=0):
    """(B, H, W, 3) uint8 noise and (B, H, W) uint8 labels, a tenth of them ignored."""
    import numpy as np

    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (options.batch, *options.size, 3), dtype=np.uint8)
    labels = rng.integers(0, CLASSES, (options.batch, *options.size), dtype=np.uint8)
    labels[rng.random(labels.shape) < 0.1] = IGNORED
    return images, labels


def ours(options):
    """Worker of deeplab_tf: what deeplab_tf/training/fit.py does, on one batch."""
    import keras
    import tensorflow as tf

    from deeplab_tf.training import fit
    from deeplab_tf.training.callbacks import LossOfStep
    from deeplab_tf.training.config import resolve
    from deeplab_tf.training.optimizers import make_optimizer

    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(0)
    sections = {"batch_size": options.batch, "precision": "mixed_bfloat16" if options.precision == "bfloat16" else "float32"}
    config = resolve({"data": {"name": "cityscapes", "root": ".", "size": list(options.size)}, "training": sections})
    model = fit.build_model(config, CLASSES, precision=config.training.precision)
    optimizer = make_optimizer(config.optimizer, model, config.training.steps)
    fit.compile_model(model, optimizer, config, None)
    images, labels = make_batch(options)
    batches = tf.data.Dataset.from_tensors((images, dict.fromkeys(model.output, labels))).repeat()
    watch = stopwatch(keras)

    def train(steps):
        watch.seconds = []
        model.fit(batches.take(steps), epochs=1, verbose=0, shuffle=False, callbacks=[LossOfStep(), watch])
        return watch.seconds

    versions = "tensorflow {}, keras {}".format(tf.__version__, keras.__version__)
    serve(train, {"name": OURS, "versions": versions, "parameters": model.count_params()})


def stopwatch(keras):
    """A callback that keeps the seconds of every step."""

    class Stopwatch(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.begun = time.perf_counter()

        def on_train_batch_end(self, batch, logs=None):
            self.seconds.append(time.perf_counter() - self.begun)

    return Stopwatch()


def peer(options):
    """Worker of segmentation_models_pytorch. `channels_last` may change between calls."""
    import torch

    operators = torch.library.Library("torchvision", "DEF")  # torchvision's C library is not there; importing it needs these two names
    operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    operators.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import segmentation_models_pytorch as smp

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = smp.DeepLabV3Plus("resnet50", encoder_weights=None, classes=CLASSES).train()
    optimizer = torch.optim.Adam(model.parameters(), 0.001)
    criterion = torch.nn.CrossEntropyLoss(ignore_index=IGNORED)
    images, labels = make_batch(options)
    images = torch.from_numpy(images).permute(0, 3, 1, 2).float().sub(115).div(58).contiguous()
    labels = torch.from_numpy(labels).long()

    def step(batch):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=options.precision == "bfloat16"):
            loss = criterion(model(batch).float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    def train(steps, channels_last):
        layout = torch.channels_last if channels_last else torch.contiguous_format
        model.to(memory_format=layout)
        batch, seconds = images.contiguous(memory_format=layout), []
        for _ in range(steps):
            start = time.perf_counter()
            step(batch)
            seconds.append(time.perf_counter() - start)
        return seconds

    versions = "torch {}, segmentation_models_pytorch {}".format(torch.__version__, smp.__version__)
    serve(train, {"name": PEER, "versions": versions, "parameters": sum(p.numel() for p in model.parameters())})


def reading(options):
    """Images/s that the training pipeline gives when nothing else runs: PNG files -> augmented crops of the training size."""
    import tensorflow as tf

    from deeplab_tf.data import open_split
    from deeplab_tf.data.augment import Augmentation
    from deeplab_tf.data.pipeline import TrainingPipeline

    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    tf.config.experimental.enable_op_determinism()
    split = open_split({"name": "cityscapes", "root": options.reading}, "train")
    height, width = split.frame(0).label_map.shape
    augmentation = Augmentation(
        crop=options.size, flip=0.5, rotation=10, scale=(0.5, 2.0), brightness=0.3, contrast=0.3, saturation=0.3, hue=0.05
    )
    pipeline = TrainingPipeline(split, size=(height, width), batch_size=options.batch, seed=0, augmentation=augmentation)
    warm, timed = 5, max(10, 100 // options.batch)
    for i, _ in enumerate(pipeline.batches(0, warm + timed)):
        if i == warm - 1:
            start = time.perf_counter()
    rate = timed * options.batch / (time.perf_counter() - start)
    return {"frames": "{}x{} PNG".format(height, width), "crops": "{}x{}".format(*options.size), "images_per_second": rate}


def take_turns(workers, settings, options):
    """Seconds of every timed step of each worker, in the order A B B A."""
    seconds = {name: [] for name in workers}
    for _ in range(options.rounds):
        for name in [*workers, *reversed(workers)]:
            seconds[name] += workers[name].steps(options.steps, **settings[name])
    return seconds


def compare(options):
    """Runs both, prints the table, returns the report."""
    workers = {OURS: Worker(sys.executable, "ours", options), PEER: Worker(options.peer, "peer", options)}
    print("Warming up (ours traces for half a minute) ...", flush=True)
    warm = {True: 0.0, False: 0.0}
    workers[OURS].steps(2)
    print("Timing ...", flush=True)
    for channels_last in warm:
        warm[channels_last] = min(workers[PEER].steps(3, channels_last=channels_last))
    best = min(warm, key=warm.get)
    seconds = take_turns(workers, {OURS: {}, PEER: {"channels_last": best}}, options)
    print("Timed.", flush=True)
    machine = "{}, {} cores, {} threads each".format(platform.machine(), os.cpu_count(), options.threads)
    report = {"machine": machine, "batch": options.batch, "size": list(options.size), "precision": options.precision}
    report["peer_seconds_by_format"] = {"channels_last": warm[True], "contiguous": warm[False]}
    for name, worker in workers.items():
        worker.close()
        rate = options.batch / min(seconds[name])
        median = options.batch / statistics.median(seconds[name])
        report[name] = {**worker.about, "images_per_second": rate, "images_per_second_median": median, "seconds_of_steps": seconds[name]}
    report["ratio"] = report[OURS]["images_per_second"] / report[PEER]["images_per_second"]
    return report


def show(report):
    text = "\nTraining at batch {}, {}x{}, {}; {}; the fastest step counts"
    print(text.format(report["batch"], *report["size"], report["precision"], report["machine"]))
    for name in (OURS, PEER):
        row = report[name]
        fastest, slowest = min(row["seconds_of_steps"]), max(row["seconds_of_steps"])
        text = "{:<28} {:>6.2f} images/s   steps {:.2f} to {:.2f} s   {:.1f} M parameters   {}"
        print(text.format(name, row["images_per_second"], fastest, slowest, row["parameters"] / 1e6, row["versions"]))
    formats = report["peer_seconds_by_format"]
    print("{:<28} channels_last {:.2f} s, contiguous {:.2f} s a step; the faster one is taken".format("", *formats.values()))
    print("{:<28} {:>6.2f}".format("ratio", report["ratio"]))
    if "reading" in report:
        row, rate = report["reading"], report[OURS]["images_per_second"]
        text = "{:<28} {:>6.2f} images/s   {} -> {} crops, nothing else running: {:.1f} times the steps' rate"
        print(text.format("reading", row["images_per_second"], row["frames"], row["crops"], row["images_per_second"] / rate))


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", default=str(ROOT / ".venv-peers" / "bin" / "python"), help="Python of the peer's environment")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", default="256x512", help="height x width")
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--steps", type=int, default=4, help="timed steps a turn")
    parser.add_argument("--rounds", type=int, default=1, help="times A B B A")
    parser.add_argument("--reading", metavar="ROOT", help="also time reading frames in Cityscapes' layout from this folder")
    parser.add_argument("--json", help="also write the numbers to this file")
    parser.add_argument("--worker", choices=("ours", "peer"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.size = tuple(int(side) for side in options.size.split("x"))
    return options


def main():
    options = parse(sys.argv[1:])
    if options.worker:
        {"ours": ours, "peer": peer}[options.worker](options)
        return
    if not Path(options.peer).exists():
        raise SystemExit("There is no {}; make it with: sh tools/make_peer_environment.sh".format(options.peer))
    report = compare(options)
    if options.reading:
        report["reading"] = reading(options)
    show(report)
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
