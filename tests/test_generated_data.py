"""Generated datasets: what a check finds in them is what NumPy counts."""

import itertools

import numpy as np
from generated import count, examples
from hypothesis import given
from hypothesis import strategies as st

from deeplab_tf.core.errors import DeepLabError
from deeplab_tf.core.image_files import write_image
from deeplab_tf.lab.data.check import check_splits, count_labels, examine
from deeplab_tf.lab.data.folder import ClassRow, open_split

IDS = st.lists(st.integers(0, 255), min_size=2, max_size=6, unique=True)
SIZES = st.tuples(st.integers(1, 24), st.integers(1, 24))


def write_split(root, split, label_maps):
    for number, ids in enumerate(label_maps):
        write_image(root / "images" / split / f"{number}.png", np.zeros((*ids.shape, 3), np.uint8))
        write_image(root / "labels" / split / f"{number}.png", ids)


@given(IDS, st.data())
@examples(80)
def test_a_check_counts_what_numpy_counts(tmp_path_factory, ids, data):
    ignored = data.draw(st.integers(0, min(2, len(ids) - 1)))
    classes, ignored_ids = ids[ignored:], ids[:ignored]
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    label_maps = {}
    for split in ("train", "val"):
        used = data.draw(st.lists(st.sampled_from(ids), min_size=1, max_size=6, unique=True))
        sizes = data.draw(st.lists(SIZES, min_size=1, max_size=3))
        label_maps[split] = [rng.choice(used, size).astype(np.uint8) for size in sizes]
    count("data", classes, ignored_ids, [ids.tobytes() for ids in itertools.chain(*label_maps.values())])

    root = tmp_path_factory.mktemp("data")
    rows = [{"name": f"class {i}", "color": [i, 0, 0], "id": i} for i in classes]
    table, splits, counts = tuple(ClassRow(**row) for row in rows), {}, {}
    for name, maps in label_maps.items():
        write_split(root, name, maps)
        splits[name] = open_split(name, root=root, classes=table, ignore_ids=tuple(ignored_ids))
        counts[name] = count_labels(splits[name], name)
        every = np.concatenate([ids.ravel() for ids in maps])
        assert counts[name].images == len(maps)
        assert counts[name].pixels == {f"class {i}": np.count_nonzero(every == i) for i in classes}
        assert counts[name].images_with == {f"class {i}": sum((ids == i).any() for ids in maps) for i in classes}
        assert counts[name].ignored == {str(i): np.count_nonzero(every == i) for i in ignored_ids if i in every}
        assert counts[name].unlabeled == [str(n) for n, ids in enumerate(maps) if not np.isin(ids, classes).any()]
    judge(splits, counts, {"name": "folder", "classes": rows, "ignore_ids": ignored_ids}, label_maps, classes)


def judge(splits, counts, described, label_maps, classes):
    """What is fatal, and what is only said, by the classes that occur."""
    train, val = ({i for ids in label_maps[name] for i in np.unique(ids)} & {*classes} for name in ("train", "val"))
    fatal = len(train) < 2 or not val
    problems = examine(splits, counts, described)
    assert any(problem.fatal for problem in problems) == fatal
    said = " ".join(problem.sentence for problem in problems)
    assert ("No pixel of the training split is" in said) == (1 < len(train) < len(classes))
    assert ("No pixel of the validation split is" in said) == (0 < len(val) < len(classes))
    try:
        warnings = check_splits(splits, described).warnings
        assert not fatal and warnings == [problem.sentence for problem in problems]
    except DeepLabError as error:
        assert fatal and str(error) == problems[0].sentence
