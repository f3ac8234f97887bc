"""`deeplab-tf score` on generated folders of tiny label maps, beside a plain count of what was right."""

import json
import tempfile
from collections import Counter
from pathlib import Path

import generated
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeplab_tf.core.image_files import write_image

IDS = st.sampled_from([0, 1, 2, 3, 7, 254, 255])
"""Of pixels; few, so that classes meet."""


@st.composite
def label_maps(draw, size):
    few = draw(st.lists(IDS, min_size=1, max_size=3))
    return draw(
        st.lists(st.lists(st.sampled_from(few), min_size=size[1], max_size=size[1]), min_size=size[0], max_size=size[0])
    )


@st.composite
def folders(draw):
    """Truths and predictions by name: mostly pairs of one size, sometimes a file alone or of another size."""
    truth, prediction = {}, {}
    for i in range(draw(st.integers(1, 3))):
        size = draw(st.integers(1, 3)), draw(st.integers(1, 4))
        kind = draw(st.sampled_from(["pair"] * 12 + ["no truth", "no prediction", "another size"]))
        name = draw(st.sampled_from(["", "deep/"])) + f"frame_{i}"
        if kind != "no truth":
            truth[name] = draw(label_maps(size))
        if kind != "no prediction":
            prediction[name] = draw(label_maps((size[0], size[1] + 1) if kind == "another size" else size))
    return truth, prediction


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "classes": st.sampled_from(["1", "2", "4", "8", "a,b,c,d", "road, sky"]),
        "ignore": st.sampled_from([0, 3, 7, 254, 255]),
    },
)


def class_names(options, ids):
    given_names = options.get("classes")
    if given_names is None:
        return [str(i) for i in range(max(ids) + 1)] if ids else []
    return (
        [str(i) for i in range(int(given_names))] if given_names.isdigit() else given_names.replace(" ", "").split(",")
    )


def expected(truth, prediction, options):
    """What must come out: the scores, or None for what must be refused."""
    if not truth or truth.keys() != prediction.keys():
        return None
    pairs, ids = Counter(), (set(), set())
    for name in truth:
        for side, label_map in zip(ids, (truth[name], prediction[name])):
            side.update(i for row in label_map for i in row)
        if len(truth[name][0]) != len(prediction[name][0]):
            return None
        for true_row, row in zip(truth[name], prediction[name]):
            pairs.update(zip(true_row, row))
    ignored = {255, options.get("ignore", 255)}
    classes = ids[0] - ignored
    names = class_names(options, classes)
    if not names or (ids[0] | ids[1]) - ignored - set(range(len(names))):
        return None
    if 255 in ids[0] and len(classes) == 1 and options.get("ignore") != 255:
        return None  # binary masks
    iou = {}
    for i, name in enumerate(names):
        hits = pairs[i, i] if i not in ignored else 0
        union = sum(n for (t, p), n in pairs.items() if t not in ignored and i not in ignored and i in (t, p))
        iou[name] = hits / union if union else None
    defined = [value for value in iou.values() if value is not None]
    scored = sum(n for (t, _), n in pairs.items() if t not in ignored)
    right = sum(n for (t, p), n in pairs.items() if t == p and t not in ignored)
    return {
        "iou": iou,
        "miou": sum(defined) / len(defined) if defined else None,
        "pixel_accuracy": right / scored if scored else None,
        "images": len(truth),
    }


def write(folder, label_map_by_name):
    folder.mkdir()
    for name, label_map in label_map_by_name.items():
        write_image(folder / f"{name}.png", np.array(label_map, np.uint8))


@generated.examples(150)
@given(folders(), OPTIONS)
def test_scores_are_those_of_a_plain_count(pair, options):
    truth, prediction = pair
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        write(place / "truth", truth)
        write(place / "pred", prediction)
        arguments = ["score", "--format", "ids", "--pred", place / "pred", "--truth", place / "truth", "--json", "-"]
        arguments += ["--classes", options["classes"]] if "classes" in options else []
        arguments += ["--ignore-label", options["ignore"]] if "ignore" in options else []
        result = generated.check(arguments, inputs=[place], counted=(truth, prediction, options))
        wanted = expected(truth, prediction, options)
    assert result.exit_code == (1 if wanted is None else 0), result.output
    if wanted is None:
        return
    report = json.loads(result.stdout)
    assert report["images"] == wanted["images"]
    for key in ("miou", "pixel_accuracy"):
        assert report[key] == (None if wanted[key] is None else pytest.approx(wanted[key], abs=1e-12)), key
    assert report["iou"] == {
        name: None if value is None else pytest.approx(value, abs=1e-12) for name, value in wanted["iou"].items()
    }
    undefined = [name for name, value in wanted["iou"].items() if value is None]
    assert bool(report["warnings"]) or not undefined, "an undefined score comes with a sentence"
