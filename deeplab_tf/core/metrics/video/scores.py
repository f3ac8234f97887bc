"""All scores of panoptic videos, their report and its table."""

from typing import Dict, List

from deeplab_tf.core.labels import LabelTable
from deeplab_tf.core.metrics import none_if_nan
from deeplab_tf.core.metrics.video import FrameCounts
from deeplab_tf.core.metrics.video.identity import TrackQuality
from deeplab_tf.core.metrics.video.stq import StepQuality
from deeplab_tf.core.metrics.video.vpq import WINDOWS, VideoPanopticQuality
from deeplab_tf.core.tables import number, text_table

_OF_THINGS = ("stq", "aq", "idf1", "mota")


class VideoScores:
    """STQ, VPQ, IDF1 and MOTA; `update` counts a frame, `end_sequence` its sequence."""

    def __init__(self, table: LabelTable):
        self.table, self.sequences, self.frames = table, 0, 0
        self.step, self.panoptic, self.tracks = StepQuality(table), VideoPanopticQuality(table), TrackQuality(table)

    def update(self, frame: FrameCounts) -> None:
        """Count the next frame of a sequence."""
        for each in (self.step, self.panoptic, self.tracks):
            each.update(frame)
        self.frames += 1

    def end_sequence(self) -> None:
        """The next frame is the first of another sequence."""
        for each in (self.step, self.panoptic, self.tracks):
            each.end_sequence()
        self.sequences += 1

    def report(self) -> dict:
        """Return the scores by name, those of `ConfusionMatrix.report` among them; undefined ones are None, and a
        sentence in `warnings` says why.

        `stq`, `aq`, `idf1` and `mota`, each also with _per_class (name of a class of things -> value); `sq`, which is
        `miou`; `vpq`, also with _things, _stuff, _per_class and `vpq_windows` (frames -> value); `id_switches`,
        `things` (different true ones), `sequences` and `frames`.
        """
        step, panoptic, tracks = self.step, self.panoptic, self.tracks
        names = [(label.id, label.name) for label in self.table if label.thing]
        report = step.confusion.report(self.table)
        report["sq"] = report["miou"]
        for key, counts in (("stq", step), ("aq", step), ("idf1", tracks), ("mota", tracks)):
            report[key] = none_if_nan(getattr(counts, key)())
            values = getattr(counts, key + "_per_class")()
            report[key + "_per_class"] = {name: none_if_nan(values[i]) for i, name in names}
        windows = panoptic.of_windows()
        report["vpq"] = none_if_nan(panoptic.vpq())
        report["vpq_things"] = none_if_nan(panoptic.of_kind(things=True))
        report["vpq_stuff"] = none_if_nan(panoptic.of_kind(things=False))
        report["vpq_windows"] = {str(k): none_if_nan(value) for k, value in zip(WINDOWS, windows)}
        report["vpq_per_class"] = {n: none_if_nan(v) for n, v in zip(self.table.names, panoptic.per_class())}
        report["id_switches"] = int(tracks.counts.switches.sum())
        report["things"] = int(tracks.counts.true_things.sum())
        report["sequences"], report["frames"] = self.sequences, self.frames
        report["warnings"] += self._undefined(windows)
        return report

    def _undefined(self, windows) -> List[str]:
        sentences = []
        if not self.tracks.counts.true.sum():
            predicted = self.tracks.counts.predicted.sum()
            idf1 = "and IDF1 is 0, because things are predicted" if predicted else "as is IDF1"
            sentences.append(f"The truth holds no things with numbers: AQ, STQ and MOTA are undefined, {idf1}.")
        short = [str(k) for k, quality in zip(WINDOWS, self.panoptic.qualities) if not quality.images]
        if short and self.frames:
            sentences.append(
                f"No sequence has {short[0]} frames: VPQ of windows of {' and '.join(short)} frames is undefined, and "
                "with it VPQ, the mean over all windows."
            )
        return sentences


def video_table(report: Dict) -> str:
    """Return the report of `VideoScores.report` as a text table; an undefined score is a dash."""
    rows = [("class", "STQ", "AQ", "IoU", "VPQ", "IDF1", "MOTA")]

    def row(title, scores):
        return (title, *(number(score, "{:.4f}") for score in scores))

    for name, iou in report["iou"].items():
        of_things = {key: report[key + "_per_class"].get(name) for key in _OF_THINGS}
        vpq = report["vpq_per_class"][name]
        rows.append(row(name, (of_things["stq"], of_things["aq"], iou, vpq, of_things["idf1"], of_things["mota"])))
    rows.append(("",) * 7)
    rows.append(row("things", (None, None, None, report["vpq_things"], None, None)))
    rows.append(row("stuff", (None, None, None, report["vpq_stuff"], None, None)))
    rows.append(row("all", (report[key] for key in ("stq", "aq", "sq", "vpq", "idf1", "mota"))))
    windows = ", ".join(f"{k}: {number(value, '{:.4f}')}" for k, value in report["vpq_windows"].items())
    counts = f"{report['sequences']} sequences, {report['frames']} frames, {report['things']} things"
    return (
        text_table(rows, left=[0])
        + f"\n\nVPQ by frames of a window: {windows}\n{counts}, "
        + (f"{report['id_switches']} changes of number")
    )
