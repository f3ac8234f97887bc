"""Panoptic videos in files, from any program, against the truth."""

from typing import List, Tuple

from deeplab_tf.core.errors import DeepLabError, some_of
from deeplab_tf.core.metrics.pairs import in_threads
from deeplab_tf.core.metrics.video import count_frame
from deeplab_tf.core.metrics.video.scores import VideoScores
from deeplab_tf.core.panoptic.sequences import Video, VideoFolder, open_videos


def score_video_folders(truth: str, prediction: str) -> dict:
    """Return the scores of `VideoScores.report` and `pq_method`; a few frames are in memory at a time.

    Args:
        truth, prediction: folders, see `deeplab_tf.core.panoptic.sequences`. Both have the same videos; each frame of
            the truth needs its prediction, and predictions of other frames are left out, which is in `warnings`.

    Raises:
        DeepLabError: whatever is wrong with the files; it is named.
    """
    true = open_videos(truth)
    predicted = open_videos(prediction, truth=true)
    table = true.classes.table
    scores, left_out = VideoScores(table), 0
    for true_name, name in _pairs(true, predicted, truth, prediction):
        true_video, video = true.open(true_name), predicted.open(name)
        left_out += _check_frames(true_video, video, true_name or truth, prediction)

        def count(frame, true_video=true_video, video=video):
            true_map, predicted_map = true_video.read(frame), video.read(frame)
            if true_map.where.shape != predicted_map.where.shape:
                sizes = predicted_map.where.shape + true_map.where.shape
                raise DeepLabError(
                    "{} is {}x{}, its truth {}x{} (height x width); make them equal.".format(video.files[frame], *sizes)
                )
            return count_frame(true_map, predicted_map, len(table))

        for counts in in_threads(count, list(true_video.files), label=f"score {true_name}".strip()):
            scores.update(counts)
        scores.end_sequence()
    report = dict(scores.report(), pq_method=predicted.method)
    if left_out:
        report["warnings"].append(f"{left_out} predicted frames have no truth, and are left out.")
    return report


def _pairs(true: VideoFolder, predicted: VideoFolder, truth: str, prediction: str) -> List[Tuple[str, str]]:
    """Return the names of a video on both sides; of one video each, the names do not matter."""
    if len(true.names) == len(predicted.names) == 1:
        return [(true.names[0], predicted.names[0])]
    missing = [name for name in true.names if name not in set(predicted.names)]
    extra = [name for name in predicted.names if name not in set(true.names)]
    if missing:
        there = f" It has {some_of(extra)}." if extra else ""
        raise DeepLabError(
            f"{len(missing)} of {len(true.names)} videos have no prediction in {prediction}: {some_of(missing)}.{there}"
        )
    if extra:
        raise DeepLabError(f"{len(extra)} predicted videos have no truth in {truth}: {some_of(extra)}.")
    return [(name, name) for name in true.names]


def _check_frames(true: Video, predicted: Video, video: str, prediction: str) -> int:
    """Return how many predicted frames have no truth. Raise DeepLabError for a true one without prediction."""
    missing = [file for frame, file in true.files.items() if frame not in predicted.files]
    if missing:
        raise DeepLabError(
            f"{len(missing)} of {len(true.files)} frames of {video} have no prediction in {prediction}; the first is "
            f"{missing[0]}."
        )
    return len(predicted.files) - len(true.files)
