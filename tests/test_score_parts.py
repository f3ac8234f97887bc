"""`score --part i/n` and `score --merge`: the scores of one process, to the last digit, whatever the parts; and one
sentence for parts that do not belong together."""

import hashlib
import itertools
import json
import re
import shutil

import numpy as np
import pytest
from click_runner import CliRunner

from deeplab_tf.cli import group
from deeplab_tf.core.cityscapes import CITYSCAPES
from deeplab_tf.core.image_files import write_image
from deeplab_tf.core.metrics import counts_file
from deeplab_tf.core.panoptic.coco import PanopticWriter
from deeplab_tf.core.parts import Part, parse_part

COUNT = 7


def score(*arguments, code=0):
    result = CliRunner().invoke(group, ["score", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def cityscapes(folder):
    rng = np.random.default_rng(3)
    for i in range(COUNT):
        truth = rng.integers(0, 34, (8, 12)).astype(np.uint8)
        prediction = np.where(rng.random(truth.shape) < 0.6, truth, 7).astype(np.uint8)
        write_image(folder / "truth" / "ulm" / f"ulm_{i:06}_000019_gtFine_labelIds.png", truth)
        write_image(folder / "pred" / f"ulm_{i:06}_000019_mine.png", prediction)
    return []


def ids(folder):
    rng = np.random.default_rng(4)
    for i in range(COUNT):
        truth = rng.integers(0, 3 + i, (8, 12)).astype(np.uint8)  # only the last has the last class
        write_image(folder / "truth" / "deep" / f"{i}.png", truth)
        write_image(folder / "pred" / "deep" / f"{i}.png", np.where(rng.random(truth.shape) < 0.5, truth, 1))
    return ["--format", "ids", "--ignore-label", "2"]


def panoptic(folder):
    rng = np.random.default_rng(5)
    for side in ("truth", "pred"):
        writer = PanopticWriter(str(folder / side), CITYSCAPES, "centers")
        for i in range(COUNT):
            cars = (rng.random((8, 12)) < 0.4) * rng.integers(0, 2, (8, 12))
            blocks = np.kron(rng.integers(0, 3, (2, 3)), np.ones((4, 4), int)) * 13000
            writer.add(f"frame_{i}", np.where(blocks > 0, 13001 + cars % 1 + (blocks > 13000), 1000 * (i % 3)))
        writer.close()
    return ["--panoptic"]


def parts(folder, options, count):
    """Counts all parts, the last first; their files."""
    files = [folder / f"counts-{i}.json" for i in range(1, count + 1)]
    for i in range(count, 0, -1):
        score(*options, "--part", f"{i}/{count}", "--out", files[i - 1])
    return files


@pytest.fixture(params=[cityscapes, ids, panoptic])
def options(request, tmp_path):
    return [*request.param(tmp_path), "--pred", tmp_path / "pred", "--truth", tmp_path / "truth"]


@pytest.mark.parametrize("count", [1, 2, 9])
def test_merged_parts_are_the_scores_of_one_process(options, count, tmp_path):
    """Nine parts of seven images: at least two are empty."""
    table = [] if "--panoptic" in options else ["--csv"]
    score(*options, "--json", tmp_path / "one.json", *table, *[tmp_path / "one.csv"] * len(table))
    files = parts(tmp_path, options, count)
    named = [len(json.loads(path.read_text())["rows"]) for path in files]
    assert sum(named) == COUNT and (count < 9 or named.count(0) >= 2)
    score("--merge", *reversed(files), "--json", tmp_path / "all.json", *table, *[tmp_path / "all.csv"] * len(table))
    assert (tmp_path / "all.json").read_bytes() == (tmp_path / "one.json").read_bytes()
    if table:
        assert (tmp_path / "all.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()
    report = json.loads((tmp_path / "all.json").read_text())
    assert report["images"] == COUNT and 0 < report["miou"] < 1 and (not table) == (0 < report.get("pq", 0) < 1)


def test_a_finished_part_is_not_counted_again(options, tmp_path):
    call = [*options, "--part", "1/1", "--out", tmp_path / "counts.json"]
    assert "Counted 7 of 7 images, part 1/1" in score(*call).output
    before = (tmp_path / "counts.json").stat().st_mtime_ns
    assert "Already there" in score(*call).output and (tmp_path / "counts.json").stat().st_mtime_ns == before
    changed = sorted((tmp_path / "pred").rglob("*.png"))[0]
    changed.write_bytes(changed.read_bytes())  # the same size, another time
    assert "Counted 7 of 7" in score(*call).output
    (tmp_path / "counts.json").write_text((tmp_path / "counts.json").read_text()[:-20])
    assert "Counted 7 of 7" in score(*call).output


def test_the_name_alone_decides_the_part():
    """Against the digest, worked out here; every name is in one part."""
    for total, name in itertools.product((1, 2, 3, 64), ("ulm_000000_000019", "deep/a b", "ä")):
        expected = int(hashlib.sha256(name.encode()).hexdigest()[:16], 16) % total + 1
        assert [i for i in range(1, total + 1) if Part(i, total).has(name)] == [expected]
    sizes = [sum(Part(i, 4).has(f"frame_{n}") for n in range(4000)) for i in range(1, 5)]
    assert sum(sizes) == 4000 and min(sizes) > 900, "shares of 1000, with a standard deviation of 27"


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("0/8", "parts count from 1/8 to 8/8; add 1 to an index that counts from 0: 1/8"),
        ("9/8", "parts count from 1/8 to 8/8; the last is 8/8"),
        ("3", "'3' is no part; write i/n, such as 3/8"),
        ("1/0", "there can be 1 to 100000 parts"),
        ("-1/2", "is no part"),
    ],
)
def test_a_wrong_part_is_a_wrong_call(text, sentence, tmp_path):
    cityscapes(tmp_path)
    folders = ["--pred", tmp_path / "pred", "--truth", tmp_path / "truth"]
    assert sentence in score(*folders, "--part", text, "--out", tmp_path / "c.json", code=2).stderr


def test_parse_part():
    assert parse_part("3/8") == Part(3, 8) and str(Part(3, 8)) == "3/8"


def other_data(folder, files, options):
    write_image(folder / "pred" / "ulm_000000_000019_mine.png", np.full((8, 12), 7, np.uint8))
    score(*options, "--part", "2/2", "--out", files[1])
    return files, "were counted on other data: 7 images in .*pred and 7 in .*pred, of other names or sizes"


def other_options(folder, files, options):
    score(*ids(folder / "x"), "--truth", folder / "x/truth", "--pred", folder / "x/pred", "--part", "2/2", "--out",
          files[1])  # fmt: skip
    return files, r"were counted with other settings \(ignore_label, layout\); use the same options"


def other_division(folder, files, options):
    score(*options, "--part", "2/3", "--out", files[1])
    return files, "counts-1.json is part 1/2 and .*counts-2.json part 2/3; merge parts of one division"


def overlap(folder, files, options):
    shutil.copy(files[0], folder / "copy.json")
    return [*files, folder / "copy.json"], "counts-1.json and .*copy.json are both part 1/2; leave one"


def missing(folder, files, options):
    return files[:1], "The file is not all of 2 parts: missing 2/2. Name all files"


def changed(**changes):
    def change(folder, files, options):
        found = json.loads(files[1].read_text())
        files[1].write_text(json.dumps({**found, **{key: value(found[key]) for key, value in changes.items()}}))
        return files

    return change


def with_sentence(change, sentence):
    return lambda *arguments: (change(*arguments), sentence)


WRONG = {
    "other data": other_data,
    "other options": other_options,
    "another division": other_division,
    "overlap": overlap,
    "missing": missing,
    "another version": with_sentence(changed(version=lambda _: "0.1.0"), "was written by version 0.1.0, this is 0"),
    "rows of another part": with_sentence(
        changed(part=lambda _: [1, 2]), "counts-1.json and .*counts-2.json are both part 1/2"
    ),
    "a row twice": with_sentence(changed(rows=lambda rows: rows + rows[:1]), "The parts hold ulm_.* twice"),
    "a row less": with_sentence(changed(rows=lambda rows: rows[1:]), "The parts hold 6 images, and there are 7"),
    "a foreign row": with_sentence(
        changed(rows=lambda rows: [["a" if not Part(2, 2).has("a") else "b", *rows[0][1:]]]), "is not in part 2/2"
    ),
    "a damaged row": with_sentence(changed(rows=lambda rows: [[*rows[0][:4], [7], [1, 2]], *rows[1:]]), "are damaged"),
    "an id out of range": with_sentence(
        changed(rows=lambda rows: [[*rows[0][:3], [300], [1], [2]], *rows[1:]]), "an id is out of range"
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_parts_that_do_not_belong_together_are_refused(case, tmp_path):
    cityscapes(tmp_path)
    options = ["--pred", tmp_path / "pred", "--truth", tmp_path / "truth"]
    files, sentence = WRONG[case](tmp_path, parts(tmp_path, options, 2), options)
    result = score("--merge", *files, code=1)
    assert result.stderr.count("Error: ") == 1 and "Traceback" not in result.output
    assert re.search(sentence, result.stderr), result.stderr


def test_a_report_is_no_part(tmp_path):
    cityscapes(tmp_path)
    score("--pred", tmp_path / "pred", "--truth", tmp_path / "truth", "--json", tmp_path / "scores.json")
    result = score("--merge", tmp_path / "scores.json", code=1)
    assert "scores.json holds no counts; write them with: deeplab-tf score --part" in result.stderr


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--pred", ".", "--truth", ".", "--part", "1/2"], "--part and --out go together"),
        (["--pred", ".", "--truth", ".", "--out", "x.json"], "--part and --out go together"),
        (["--pred", "."], "Missing option '--truth'"),
        (["--merge"], "--merge needs the files that score --part wrote"),
        (["a.json"], "unexpected argument (a.json); --merge"),
        (["--merge", "a.json", "--format", "ids"], "--format does not go with --merge; leave it out"),
        (["--pred", ".", "--truth", ".", "--part", "1/2", "--out", "x.json", "--csv", "y"], "--csv goes with --merge"),
    ],
)
def test_options_that_do_not_go_together(arguments, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.json").write_text("{}")
    assert sentence in score(*arguments, code=2).stderr


def test_a_missing_prediction_fails_its_part_only(tmp_path):
    cityscapes(tmp_path)
    frame = "ulm_000003_000019"
    (tmp_path / "pred" / f"{frame}_mine.png").unlink()
    codes = {}
    for part in (Part(1, 2), Part(2, 2)):
        arguments = ["--pred", tmp_path / "pred", "--truth", tmp_path / "truth", "--part", part]
        result = CliRunner().invoke(group, ["score", *map(str, arguments), "--out", str(tmp_path / "c.json")])
        codes[part.has(frame)] = result.exit_code
    assert codes == {True: 1, False: 0}


def test_a_file_that_is_no_counts_is_not_replaced(tmp_path):
    cityscapes(tmp_path)
    (tmp_path / "c.json").write_text("mine")
    result = score("--pred", tmp_path / "pred", "--truth", tmp_path / "truth", "--part", "1/1", "--out",
                   tmp_path / "c.json", code=2)  # fmt: skip
    assert "exists and was not written by 'deeplab-tf score'" in result.stderr


def test_the_format_is_written_down(tmp_path):
    cityscapes(tmp_path)
    (path,) = parts(tmp_path, ["--pred", tmp_path / "pred", "--truth", tmp_path / "truth"], 1)
    found = json.loads(path.read_text())
    assert found["counts"] == counts_file.FORMAT and found["part"] == [1, 1] and found["data"]["images"] == COUNT
    name, truth, prediction, *pairs = found["rows"][0]
    assert name == "ulm_000000_000019" and truth.endswith("_gtFine_labelIds.png") and sum(pairs[2]) == 8 * 12


def test_other_segments_in_the_same_pngs_are_counted_again(tmp_path):
    """The JSON file alone says of which class a segment is: here, all things of the prediction become riders."""
    options = [*panoptic(tmp_path), "--pred", tmp_path / "pred", "--truth", tmp_path / "truth"]
    old = parts(tmp_path, options, 2)
    shutil.copy(old[0], tmp_path / "old.json")
    path = tmp_path / "pred" / "panoptic.json"
    path.write_text(path.read_text().replace('"category_id": 26', '"category_id": 25'))
    new = parts(tmp_path, options, 2)
    score(*options, "--json", tmp_path / "one.json")
    score("--merge", *new, "--json", tmp_path / "all.json")
    assert (tmp_path / "all.json").read_bytes() == (tmp_path / "one.json").read_bytes()
    assert "counted on other data" in score("--merge", tmp_path / "old.json", new[1], code=1).stderr
