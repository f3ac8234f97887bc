"""What `budget` says: as JSON, and as tables for a person."""

from typing import Dict, Sequence

from deeplab_tf.core.tables import text_table
from deeplab_tf.deploy.budget import estimate
from deeplab_tf.deploy.budget.devices import best_precision, find
from deeplab_tf.deploy.budget.layers import BYTES, KINDS, Layer, macs, traffic, weights

RANGE = 0.3
"""How far off an estimate may be, as a share."""


def report(layers: Sequence[Layer], devices: Sequence[str], target: float) -> dict:
    """`gmac`, `parameters`, `bytes_per_frame` by precision, `kinds`, and `devices`: by name what `on_device` returns.

    Args:
        devices: names.
        target: frames/s.
    """
    kinds = {kind: macs([layer for layer in layers if layer.kind == kind]) / 1e9 for kind in KINDS}
    return {
        "gmac": macs(layers) / 1e9,
        "parameters": weights(layers),
        "bytes_per_frame": {precision: traffic(layers, precision) for precision in BYTES},
        "layers": len(layers),
        "gmac_by_kind": kinds,
        "target_fps": target,
        "devices": {name: on_device(layers, name, target) for name in devices},
    }


def on_device(layers: Sequence[Layer], name: str, target: float) -> dict:
    """What a device can do with a network, in its fastest precision.

    Returns:
        precision, upper_bound_fps, estimated_fps, estimated_range, meets_target (whether the estimate does), `needed`:
        the operations a second that the target takes, divided by the device's peak; `gmac_to_spend`: multiply-adds that
        the target leaves a frame, at the rate that this network is expected to get.
    """
    device = find(name)
    precision = best_precision(device)
    expected = estimate.fps(estimate.expected(layers, device, precision))
    return {
        "title": device.title,
        "precision": precision,
        "upper_bound_fps": estimate.fps(estimate.ceiling(layers, device, precision)),
        "estimated_fps": expected,
        "estimated_range": [expected * (1 - RANGE), expected * (1 + RANGE)],
        "meets_target": expected >= target,
        "needed": 2 * macs(layers) * target / device.peak[precision],
        "gmac_to_spend": macs(layers) / 1e9 * expected / target,
        "note": device.note,
    }


def suggestion(changes: Dict[str, object], layers: Sequence[Layer], device: str, target: float) -> dict:
    """A row for a smaller network: what is changed, and what it costs and reaches."""
    found = on_device(layers, device, target)
    row = {"changes": changes, "gmac": macs(layers) / 1e9, "parameters": weights(layers)}
    return dict(row, estimated_fps=found["estimated_fps"], meets_target=found["meets_target"])


def text(found: dict) -> str:
    """The tables."""
    moved = ", ".join(
        f"{round(count / 1e6)} MB in {precision}" for precision, count in found["bytes_per_frame"].items()
    )
    lines = [
        "{} at {}x{} (height x width)".format(found["network"], *found["size"]),
        "a frame: {:.1f} billion multiply-adds ({:.0f} GFLOP), {:.1f} million parameters, {}".format(
            found["gmac"], 2 * found["gmac"], found["parameters"] / 1e6, moved
        ),
        "of it "
        + ", ".join(f"{count:.1f} in {KINDS[kind]}" for kind, count in found["gmac_by_kind"].items() if count >= 0.05),
        "",
    ]
    lines.append(text_table(_device_cells(found)))
    if len(found["devices"]) == 1:
        (row,) = found["devices"].values()
        lines += ["", _needed(found, row)]
    if "suggestions" in found:
        lines += ["", "Smaller networks of this kind, by what is expected:", text_table(_suggestion_cells(found))]
    return "\n".join(lines)


def _needed(found, row):
    target, tera = found["target_fps"], 2 * found["gmac"] * found["target_fps"] / 1e3
    first = "{:g} frames/s take {:.2f} TFLOPS, {:.1f} times the peak of a {} in {}."
    second = "At the rate that this network is expected to get, they leave {:.1f} billion multiply-adds a frame."
    return "{} {}".format(
        first.format(target, tera, row["needed"], row["title"], row["precision"]), second.format(row["gmac_to_spend"])
    )


def _device_cells(found):
    target = "{:g} frames/s".format(found["target_fps"])
    cells = [["device", "precision", "ceiling frames/s", "expected", "between", target, ""]]
    for name, row in found["devices"].items():
        numbers = ["{:.1f}".format(row["upper_bound_fps"]), "{:.1f}".format(row["estimated_fps"])]
        between = "{:.1f} and {:.1f}".format(*row["estimated_range"])
        cells.append(
            [name, row["precision"]] + numbers + [between, "yes" if row["meets_target"] else "no", row["note"]]
        )
    return cells


def _suggestion_cells(found):
    cells = [["change", "GMAC", "million parameters", "frames/s", "reaches it"]]
    for row in sorted(found["suggestions"], key=lambda row: row["estimated_fps"]):
        changes = " ".join(f"model.{key}={str(value).lower()}" for key, value in row["changes"].items())
        numbers = [
            "{:.1f}".format(row["gmac"]),
            "{:.1f}".format(row["parameters"] / 1e6),
            "{:.1f}".format(row["estimated_fps"]),
        ]
        cells.append([changes] + numbers + ["yes" if row["meets_target"] else "no"])
    return cells
