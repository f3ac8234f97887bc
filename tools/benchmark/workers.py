"""Measure what several workers gain on this machine, at the same global batch.

    python tools/benchmark/workers.py [--workers 2] [--steps 60] [--rounds 3] [--json FILE]

The sides take turns, and each ratio is that of one turn; the median over the turns is printed:

- one: `deeplab-tf train` in one process, with all cores.
- workers: `deeplab-tf train --workers N`, with the cores shared among them.
- ideal: N processes that know nothing of each other, each with its part of the batch: no communication.
- mirrored: the same network in Keras' `fit` under `tf.distribute.MirroredStrategy`, on N logical CPUs. Its losses,
  clipping and batch normalization are each replica's own, so it trains another network; it is a speed to compare with.

Run it on an otherwise idle machine.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from deeplab_tf.core.files import write_json
from deeplab_tf.core.processor import physical_cores

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "configs" / "sample_small.yaml"
CROP, FIRST = (192, 384), 10
"""Of the recipe; the step at which the time begins, behind tracing."""

MIRRORED = """
import json, sys, time
import numpy as np, tensorflow as tf, keras
recipe, scenes, batch, height, width, replicas, steps, first = json.loads(sys.argv[1])
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
from deeplab_tf.lab.config import load
from deeplab_tf.lab.models.registry import build_network
from deeplab_tf.lab.training.precision import fastest
config = load(recipe, [f"data.root={scenes}"])
strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)])
with strategy.scope():
    model = build_network(config.model, 19, precision=fastest()[0])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
    model.compile(keras.optimizers.Adam(0.001), {"logits": loss}, jit_compile=False)
rng = np.random.default_rng(0)
images = rng.integers(0, 256, (batch, height, width, 3), np.uint8)
labels = rng.integers(0, 19, (batch, height, width), np.uint8)
data = tf.data.Dataset.from_tensors((images, {"logits": labels})).repeat()
model.fit(data.take(first), verbose=0)
start = time.perf_counter()
model.fit(data.take(steps), verbose=0)
print(steps * batch / (time.perf_counter() - start))
"""


def train(run, scenes, steps, batch, *more, cores=None):
    """Start `deeplab-tf train`."""
    values = [f"data.root={scenes}", f"training.steps={FIRST + steps}", f"training.batch_size={batch}"]
    values += ["training.log_every=10", "training.validate_every=100000", "training.checkpoint_every=100000"]
    command = [sys.executable, "-m", "deeplab_tf", "train", str(RECIPE), "--run", str(run), *more]
    command += [part for value in (*values, "optimizer.warmup_steps=5") for part in ("--set", value)]
    environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3")
    if cores:
        environment.update(TF_NUM_INTRAOP_THREADS=str(cores), OMP_NUM_THREADS=str(cores))
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def rate(process, run, steps, batch):
    """Return the images per second of a training, once it has ended."""
    said = process.communicate()[1]
    if process.returncode:
        raise click.ClickException(said[-2000:])
    rows = [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]
    seconds = {row["step"]: row["seconds"] for row in rows if "seconds" in row}
    return steps * batch / (seconds[FIRST + steps] - seconds[FIRST])


def one_turn(root, scenes, steps, batch, workers):
    """Return the images per second of each side."""
    cores = max(1, physical_cores() // workers)
    found = {"one": rate(train(root / "one", scenes, steps, batch), root / "one", steps, batch)}
    several = train(root / "workers", scenes, steps, batch, "--workers", str(workers))
    found["workers"] = rate(several, root / "workers", steps, batch)
    runs = [root / f"ideal_{i}" for i in range(workers)]
    parts = [train(run, scenes, steps, batch // workers, cores=cores) for run in runs]
    found["ideal"] = sum(rate(part, run, steps, batch // workers) for part, run in zip(parts, runs, strict=True))
    order = json.dumps([str(RECIPE), str(scenes), batch, *CROP, workers, steps, FIRST])
    command = [sys.executable, "-c", MIRRORED, order]
    environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3")
    found["mirrored"] = float(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
    return found


@click.command()
@click.option("--workers", default=2, show_default=True, type=click.IntRange(2), help="Processes.")
@click.option("--batch", default=8, show_default=True, type=click.IntRange(2), help="Images of all processes together.")
@click.option("--steps", default=60, show_default=True, type=click.IntRange(10), help="Measured steps, in tens.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1), help="Turns of all sides.")
@click.option("--json", "target", type=click.Path(), help="Also write the figures of each turn here.")
def main(workers, batch, steps, rounds, target):
    """Measure training on several processes against one, the ideal, and MirroredStrategy."""
    steps, turns = steps // 10 * 10, []
    with tempfile.TemporaryDirectory() as folder:
        scenes = Path(folder) / "scenes"
        sample = [sys.executable, "-m", "deeplab_tf", "sample", str(scenes), "--scenes", "60", "--size", "256x512"]
        subprocess.run(sample, check=True, capture_output=True)
        for turn in range(rounds):
            turns.append(one_turn(Path(folder) / str(turn), scenes, steps, batch, workers))
            click.echo(f"turn {turn + 1}: " + ", ".join(f"{side} {each:.2f}" for side, each in turns[-1].items()))
    ratios = {side: statistics.median(turn["workers"] / turn[side] for turn in turns) for side in turns[0]}
    for side in ("one", "ideal", "mirrored"):
        click.echo(f"{workers} workers / {side}: {ratios[side]:.2f}")
    click.echo(f"share of a step that is communication and waiting: {1 - ratios['ideal']:.0%}")
    if target:
        write_json(target, {"workers": workers, "batch": batch, "steps": steps, "images_per_second": turns})


if __name__ == "__main__":
    main()
