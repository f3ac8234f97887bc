"""Run every variant in child processes, one after the other, and collect their measurements."""

import json
import os
import subprocess
import sys
from typing import List, NamedTuple, Optional, Sequence

import numpy as np

from deeplab_tf.core.files import temporary_folder, write_json
from deeplab_tf.core.progress import progress
from deeplab_tf.core.signals import end_child, kept_from_children
from deeplab_tf.deploy import probe
from deeplab_tf.deploy.compare.plan import Variant, visit_order

LONGEST_VISIT = 7200.0
"""Seconds; building the engine of a large network takes a small Jetson most of an hour."""


class Outcome(NamedTuple):
    """The measurements of one variant.

    Attributes:
        visits: one result of `worker.measure` for each visit, without the labels; the first has the `worker.score`.
        labels: (N, h, w) uint8, of the first visit; None if it failed.
        error: why it failed, in one sentence; None if it did not.
        panoptic: (N, H, W) int32, likewise; None if the network predicts no instances.
    """

    variant: Variant
    visits: List[dict]
    labels: Optional[np.ndarray]
    error: Optional[str]
    panoptic: Optional[np.ndarray] = None


def run_all(
    bundle: str,
    variants: Sequence[Variant],
    images: np.ndarray,
    *,
    seconds: float,
    rounds: int = 1,
    once: bool = False,
    say=None,
    truth: Sequence[Optional[np.ndarray]] = (),
    panoptic: Optional[Sequence[np.ndarray]] = None,
    whole: Optional[Sequence[np.ndarray]] = None,
) -> List[Outcome]:
    """Run every variant on the same frames, in the order of `plan.visit_order`, each visit in a process of its own.

    A variant that fails once is not visited again; the others go on.

    Args:
        bundle: its folder.
        images: (N, H, W, 3) uint8 RGB.
        seconds: of timed runs for each visit.
        once: one visit each, in the order given: for a rough figure, not for a comparison.
        say: called with a line for each failure.
        truth: label maps of the images to score on, None for each that has none.
        panoptic: panoptic maps of all images; no PQ if left out.
        whole: the images at their own sizes, to score on in place of `images`.
    """
    outcomes = [Outcome(variant, [], None, None) for variant in variants]
    with temporary_folder("compare") as folder:
        place = os.path.join(folder, "frames.npy")
        np.save(place, images)
        answers = _write_truth(folder, truth, panoptic, whole)
        visits = list(range(len(variants))) if once else visit_order(len(variants), rounds)
        with progress(len(visits), "compare", unit="visits") as bar:
            for number, i in enumerate(visits):
                if outcomes[i].error is None:
                    outcomes[i] = _visit(
                        bundle, outcomes[i], place, os.path.join(folder, str(number)), seconds, answers
                    )
                    if outcomes[i].error is not None and say is not None:
                        say(f"{variants[i]} failed: {outcomes[i].error}")
                bar.advance(1, str(variants[i]))
    return outcomes


def _write_truth(folder, truth, panoptic, whole):
    """Write what `worker.score` reads, and return its path; None where there is nothing to score on."""
    arrays = {f"labels_{i}": label_map for i, label_map in enumerate(truth) if label_map is not None}
    arrays.update((f"panoptic_{i}", each) for i, each in enumerate(panoptic or ()))
    if not arrays:
        return None
    arrays.update((f"image_{i}", each) for i, each in enumerate(whole or ()))
    path = os.path.join(folder, "truth.npz")
    np.savez_compressed(path, **arrays)
    return path


def _visit(bundle, outcome, frames, folder, seconds, truth):
    os.mkdir(folder)
    job = {"bundle": os.path.abspath(bundle), "frames": frames, "out": folder, "seconds": seconds}
    job["parent"] = os.getpid()
    job["truth"] = None if outcome.visits else truth  # every visit would score the same
    write_json(os.path.join(folder, "job.json"), dict(job, **outcome.variant._asdict()))
    problem = _run_worker(folder)
    if problem is not None:
        return outcome._replace(error=problem)
    with open(os.path.join(folder, "result.json"), encoding="utf-8") as file:
        result = json.load(file)
    if outcome.labels is None:
        outcome = outcome._replace(labels=_array(folder, "labels"), panoptic=_array(folder, "panoptic"))
    return outcome._replace(visits=outcome.visits + [result])


def _array(folder, name):
    path = os.path.join(folder, name + ".npy")
    return np.load(path) if os.path.exists(path) else None


def _run_worker(folder):
    """Return None, or why the child failed."""
    command = [sys.executable, "-m", "deeplab_tf.deploy.compare.worker", os.path.join(folder, "job.json")]
    log = os.path.join(folder, "log")
    with open(log, "wb") as output:
        with kept_from_children():
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=probe.environment()
            )
        try:
            code = child.wait(LONGEST_VISIT)
        except subprocess.TimeoutExpired:
            return f"no result within {LONGEST_VISIT / 60:.0f} minutes"
        finally:
            end_child(child)
    if code == 0:
        return None
    with open(log, encoding="utf-8", errors="replace") as file:
        words = probe.last_words(code, file.read())
    return words[len("Error: ") :] if words.startswith("Error: ") else words
