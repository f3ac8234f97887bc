"""What tests/test_workers.py and tools/check/workers.py train, alone and as workers.

`python worker_cases.py FOLDER CASE ...` is a worker that takes the cases one after the other: to start costs more than
to train.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import tiny

STEPS, LONGER = 5, 8
HEAD = {"name": "lr_aspp", "backbone": "resnet50", "dropout": 0.0, "batch_norm_momentum": 0.8}
"""A network of few variables, which TensorFlow traces fast."""
PLAIN = {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9, "schedule": "constant", "ema": None, "clip_norm": 0.5}
MUON = {"name": "muon", "learning_rate": 0.01, "clip_norm": 1.0, "ema": 0.9}
CASES = {
    "plain": {"optimizer": PLAIN},
    "panoptic": {"optimizer": PLAIN},
    "own_norm": {"optimizer": PLAIN, "model": {"sync_batch_norm": False}},
    "adam": {"optimizer": {"clip_norm": 1.0, "ema": 0.9}},
    "muon": {"optimizer": MUON, "loss": {"dice_weight": 0.5, "class_weights": "log"}},
    "hard": {"optimizer": PLAIN, "loss": {"ohem_ratio": 0.3}},
    "student": {"optimizer": PLAIN, "distillation": {"run": "alone/plain", "weight": 0.5}},
    "half": {"optimizer": PLAIN, "training": {"gradient_precision": "float16"}},
    "quantized": {"optimizer": PLAIN, "model": {"weights": "alone/plain"}, "quantization": {"aware": True}},
}
"""Changes of the recipe; a run is below the folder of the recipes."""


def write_recipes(root: Path) -> None:
    """Write the recipe of each case, ROOT/CASE.yaml, and what they train on."""
    for kind in ("", "panoptic"):
        data = tiny.write_data(root / f"data{kind}", train=8, val=7, instances=bool(kind))
        for name, share in (("frame_0", 1.0), ("frame_3", 0.5)):  # parts of a batch that weigh otherwise
            path = data / "labels" / "train" / f"{name}.png"
            label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            label[: int(len(label) * share)] = 255
            cv2.imwrite(str(path), label)
    for name, changes in CASES.items():
        kind = "panoptic" if name == "panoptic" else ""
        steps = {"steps": STEPS, "validate_every": STEPS, "checkpoint_every": STEPS, "save_steps": []}
        recipe = tiny.recipe(
            root / f"data{kind}",
            instances=bool(kind),
            **{**changes, "training": {**steps, **changes.get("training", {})}},
        )
        recipe["model"] = {**({**recipe["model"], "dropout": 0.0} if kind else HEAD), **changes.get("model", {})}
        for section, key in (("distillation", "run"), ("model", "weights")):
            if key in recipe.get(section, {}):
                recipe[section][key] = str(root / recipe[section][key])
        tiny.write_recipe(root / f"{name}.yaml", recipe)


def train(recipe: Path, run: Path, *overrides: str, resume: bool = False) -> dict:
    """Train, and return the result, or the error as `error`."""
    from deeplab_tf.core.errors import DeepLabError
    from deeplab_tf.lab.config import load
    from deeplab_tf.lab.training.fit import train

    try:
        return train(load(recipe, overrides, to_train=True), run, resume=resume)
    except DeepLabError as error:
        return {"error": str(error)}


def weights(run: Path) -> list[np.ndarray]:
    """Return all variables of a run's newest state, those of the optimizer last."""
    with np.load(sorted((run / "checkpoints").glob("*.npz"))[-1]) as state:
        return [state[name] for name in sorted(state.files) if name != "extra"]


def distance(run: Path, other: Path) -> float:
    """Return the relative difference of all variables of two runs."""
    ours, theirs = (np.concatenate([value.ravel() for value in weights(each)]) for each in (run, other))
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def rows(run: Path, key: str) -> list:
    """Return the values of a key in a run's metrics.jsonl."""
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row[key] for row in found if key in row]


def start(root: Path, rank: int, ports: list[int], cases: Sequence[str]) -> subprocess.Popen:
    """Start one of the workers at these ports, for `finish`."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": rank}})
    command = [sys.executable, __file__, str(root), *cases]
    environment = {**tiny.environment(), "TF_CONFIG": config, "TF_NUM_INTRAOP_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(root: Path, processes: Sequence[subprocess.Popen]) -> list[dict]:
    """Return what each worker found, by case."""
    outputs = [process.communicate(timeout=900)[0] for process in processes]
    assert not any(process.returncode for process in processes), outputs
    return [json.loads((root / f"worker_{rank}.json").read_text()) for rank in range(len(processes))]


def _as_worker(root, cases):
    """Train the cases and, of the first one, a run that one process has begun, the score of one image, and, last
    because all end with it, a run with another recipe on each worker."""
    from deeplab_tf.lab.data import open_split
    from deeplab_tf.lab.data.split import Chosen
    from deeplab_tf.lab.evaluation.shared import evaluate_shared
    from deeplab_tf.lab.runs.keras_runtime import open_run
    from deeplab_tf.lab.workers import join

    tiny.use_backbone()
    workers = join()
    rank, first = workers.rank, root / f"{cases[0]}.yaml"
    results = {name: train(root / f"{name}.yaml", root / "pair" / name) for name in cases}
    results["resumed"] = train(first, root / "begun", f"training.steps={LONGER}", resume=True)
    network = open_run(root / "pair" / cases[0])
    one = Chosen(open_split(network.config.data, "val"), [3])
    results["one"] = evaluate_shared(network, one, workers).report()
    other = f"optimizer.learning_rate={0.05 * (1 + rank)}"
    results["other"] = train(first, root / "pair" / "other", other)
    (root / f"worker_{rank}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    _as_worker(Path(sys.argv[1]), sys.argv[2:])
