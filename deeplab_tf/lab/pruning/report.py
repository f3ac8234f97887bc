"""What `prune` says: as JSON, and as tables for a person."""

from collections.abc import Sequence

import keras

from deeplab_tf.core.tables import text_table
from deeplab_tf.deploy.budget.devices import DEVICES
from deeplab_tf.deploy.budget.summary import on_device
from deeplab_tf.deploy.budget.workload import Layer, macs, parameters
from deeplab_tf.lab.pruning.target import Target
from deeplab_tf.lab.pruning.units import DENSE

SCORES = {"miou": "mIoU", "pq": "PQ"}


def channels(model: keras.Model) -> dict[str, int]:
    """What each convolution puts out, of those that put out a number of their own."""
    return {layer.name: layer.output.shape[-1] for layer in model.layers if isinstance(layer, DENSE)}


def report(
    before: keras.Model, after: keras.Model, layers: Sequence[Sequence[Layer]], target: Target, scores: Sequence[dict]
) -> dict:
    """
    Args:
        before, after: the networks.
        layers, scores: of both; scores as of an evaluation's report.
    """
    counts = channels(before), channels(after)
    found = {
        "size": list(target.size),
        "target": {
            key: value
            for key, value in (("gmac", target.gmac), ("device", target.device), ("fps", target.fps))
            if value is not None
        },
        "gmac": [macs(one) / 1e9 for one in layers],
        "parameters": [parameters(one) for one in layers],
        "stages": _stages(counts, layers),
        "channels": {name: [counts[0][name], counts[1][name]] for name in counts[0]},
        "images": scores[0]["images"],
    }
    names = [target.device] if target.device else sorted(DEVICES)
    rates = {name: [on_device(one, name, target.fps or 1.0) for one in layers] for name in names}
    found["estimated_fps"] = {name: [row["estimated_fps"] for row in rows] for name, rows in rates.items()}
    found["precision"] = {name: rows[0]["precision"] for name, rows in rates.items()}
    found.update({key: [one[key] for one in scores] for key in SCORES if scores[0].get(key) is not None})
    return found


def _stages(counts, layers):
    """One row for each first word of the layers' names, in their order."""
    rows = {}
    for which, (made, costs) in enumerate(zip(counts, layers)):
        for name, count in made.items():
            row = rows.setdefault(name.split("_")[0], {"channels": [0, 0], "gmac": [0.0, 0.0]})
            row["channels"][which] += count
        for layer in costs:
            if layer.macs:
                rows[layer.name.split("_")[0]]["gmac"][which] += layer.macs / 1e9
    return [{"stage": stage, **row} for stage, row in rows.items()]


def text(found: dict) -> str:
    """The tables."""
    cells = [["stage", "channels of all layers", "after", "GMAC", "after", ""]]
    for row in found["stages"]:
        cells.append([row["stage"], *map(str, row["channels"]), *(f"{gmac:.2f}" for gmac in row["gmac"]), ""])
    whole = [["", "before", "after", ""]]
    whole.append(["GMAC at {}x{}".format(*found["size"]), *(f"{gmac:.2f}" for gmac in found["gmac"]), ""])
    whole.append(["million parameters", *(f"{count / 1e6:.2f}" for count in found["parameters"]), ""])
    for name, rates in found["estimated_fps"].items():
        whole.append([f"expected frames/s, {name} {found['precision'][name]}", *(f"{rate:.1f}" for rate in rates), ""])
    for key, title in SCORES.items():
        if key in found:
            whole.append([f"{title} on {found['images']} images of val", *(f"{score:.4f}" for score in found[key]), ""])
    return f"{text_table(cells)}\n\n{text_table(whole)}"
