"""Runs TrackEval's CLEAR and Identity in an environment of its own: JSON of sequences in, JSON of their counts out.

A sequence is a list of frames, each of true numbers, predicted numbers and their similarities; numbers count from 0.
"""

import json
import sys
import types

import numpy as np

plotting = types.ModuleType("trackeval.plotting")  # draws figures, which takes a second to import
sys.modules["trackeval.plotting"] = plotting

from trackeval.metrics import CLEAR, Identity  # noqa: E402


def counts(frames):
    true = [np.array(frame[0], int) for frame in frames]
    predicted = [np.array(frame[1], int) for frame in frames]
    similar = [np.array(frame[2], float).reshape(len(t), len(p)) for frame, t, p in zip(frames, true, predicted)]
    data = {
        "gt_ids": true,
        "tracker_ids": predicted,
        "similarity_scores": similar,
        "num_timesteps": len(frames),
        "num_gt_dets": sum(map(len, true)),
        "num_tracker_dets": sum(map(len, predicted)),
        "num_gt_ids": len(set(np.concatenate(true))),
        "num_tracker_ids": len(set(np.concatenate(predicted))),
    }
    threshold = {"THRESHOLD": 0.5 + 1e-9, "PRINT_CONFIG": False}  # ours is above one half
    found = {**CLEAR(threshold).eval_sequence(data), **Identity(threshold).eval_sequence(data)}
    return {key: int(found[key]) for key in ("CLR_TP", "CLR_FN", "CLR_FP", "IDSW", "IDTP", "IDFN", "IDFP")}


json.dump([counts(sequence) for sequence in json.load(sys.stdin)], sys.stdout)
