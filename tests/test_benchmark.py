"""The benchmark's arithmetic, worked by hand, and that its sides are there; nothing here depends on how fast anything
is."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def tools(monkeypatch):
    """tools/benchmark/peers.py and its parts, which stand outside the package."""
    monkeypatch.syspath_prepend(str(ROOT / "tools" / "benchmark"))
    import peers
    from sides import rows, table, worker

    yield peers, rows, table, worker
    for name in [name for name in sys.modules if name.split(".")[0] in ("peers", "sides")]:
        del sys.modules[name]


TURNS = [([2.0, 1.0], [3.0, 4.0]), ([4.0, 2.0], [2.0, 2.5]), ([1.0, 1.5], [2.0, 5.0])]
"""Least of ours 1, 2, 1; of the peer 3, 2, 2: ratios 3, 1, 2."""


def test_the_ratio_is_the_median_of_turns(tools):
    table = tools[2]
    assert table.ratio(TURNS) == 2.0
    assert (table.seconds(TURNS, 0), table.seconds(TURNS, 1)) == (1.0, 2.0)
    # the machine becomes three times as slow in the middle, for both: the ratio stays
    assert table.ratio([([1.0], [2.0]), ([3.0], [6.0])]) == 2.0


def test_a_turn_holds_what_fits(tools):
    repetitions = tools[2].repetitions
    assert [repetitions(one, 3.0) for one in (0.5, 1.4, 10.0, 1e-6)] == [6, 2, 2, 500]


def test_shares_of_the_limits(tools):
    table = tools[2]
    # 136.5 billion multiply-adds are 273 billion operations; in 0.39 s 700 billion a second, of 875 billion 0.8
    assert table.share(136.5, 0.39, 875e9) == pytest.approx(0.8)
    found = table.limits(136.5, 0.39, 0.351, 875e9)
    assert (
        found["of_peak"] == pytest.approx(0.8)
        and found["of_openvino"] == pytest.approx(0.9)
        and found["lower"] == "of_peak"
    )
    assert table.limits(136.5, 0.39, 0.273, 875e9)["lower"] == "of_openvino"  # 0.7
    alone = table.limits(136.5, 0.39, None, 875e9)
    assert alone["of_openvino"] is None and alone["lower"] == "of_peak"
    assert "0.80 of the peak and 0.90 of OpenVINO's speed" in table.limit_lines(found)[0]
    assert "share of the peak" in table.limit_lines(found)[1] and len(table.limit_lines(alone)) == 1


def test_the_table_names_what_is_missing(tools):
    row = {"name": "a", "what": "w", "unit": "a frame", "ours": "ours", "peer": "p"}
    lines = tools[2].cells(
        [
            {**row, "missing": "p is not installed: sh x"},
            {**row, "ours_seconds": 0.5, "peer_seconds": 1.25, "ratio": 2.5},
        ]
    )
    assert lines[1] == ["a", "", "", "p", "", "-", "not measured: p is not installed: sh x"]
    assert lines[2] == ["a", "ours", "500 ms", "p", "1.25 s", "2.50", "w, a frame"]


def test_a_row_below_one_says_why(tools):
    row = {
        "name": "a",
        "what": "w",
        "unit": "a frame",
        "ours": "ours",
        "peer": "p",
        "ours_seconds": 1.0,
        "peer_seconds": 0.9,
    }
    slower = [
        {**row, "ratio": 0.9, "why": "it fuses"},
        {**row, "ratio": 0.9, "why": ""},
        {**row, "ratio": 1.0, "why": "it fuses"},
    ]
    assert [line[-1] for line in tools[2].cells(slower)[1:]] == [
        "w, a frame. Below 1: it fuses",
        "w, a frame. Below 1: not known why",
        "w, a frame",
    ]


def test_peaks_have_their_units(tools):
    assert (
        tools[2].peak_lines({"float32": 2e11, "bfloat16": None, "int8": 9e11, "memory": 2e10})[1].split()[-3] == "900.0"
    )


def test_every_side_is_there(tools):
    benchmark, rows, _, _ = tools
    shared = benchmark.common(benchmark.parse(["--quick"]))
    found = benchmark.chosen(benchmark.parse([]), shared)
    assert len({row.name for row in found}) == len(found) >= 15
    for side in [side for row in found for side in (row.ours, row.peer)]:
        program = ROOT / "tools" / "benchmark" / "sides" / (side.program + ".py")
        assert program.is_file() and "serve(" in program.read_text()
        assert side.bundle in ("", *rows.NETWORKS) and (not side.environment or side.environment in rows.INSTALLED_BY)
        assert not side.environment or side.needs
        assert {"threads", "size"} <= set(benchmark.side_options(side, shared, Path("x")))
        if side.program in ("scoring", "panoptic"):
            assert "def {}(".format(side.options["method"]) in program.read_text()


def test_a_peer_that_is_not_installed_has_the_line_that_installs_it(tools):
    benchmark, rows, _, _ = tools
    side = rows.Side("p", "ours", {}, environment=rows.TORCH, needs="a_module_that_nobody_has")
    assert benchmark.missing(side) == "a_module_that_nobody_has is not installed: sh tools/environments/peers.sh torch"
    assert benchmark.missing(rows.Side("p", "ours", {})) is None


def test_a_row_is_measured_and_written(tools, tmp_path, monkeypatch, capsys):
    benchmark = tools[0]
    peaks = {"float32": 1e11, "bfloat16": None, "int8": 5e11, "memory": 1e10}
    monkeypatch.setattr(benchmark, "measure_peaks", lambda options: peaks)
    benchmark.main(
        ["--quick", "--only", "miou-cityscapesscripts", "--folder", str(tmp_path), "--json", str(tmp_path / "a.json")]
    )
    report = json.loads((tmp_path / "a.json").read_text())
    (row,) = report["rows"]
    assert row["ours_about"]["result"] == pytest.approx(row["peer_about"]["result"], abs=1e-9) and row["ratio"] > 0
    assert report["peaks"] == peaks and report["int8_limits"] is None and "threads" in report["machine"]
    printed = capsys.readouterr().out
    assert "miou-cityscapesscripts" in printed and "none of these figures means anything" in printed


def test_a_side_that_ends_early_costs_its_row_only(tools, tmp_path, monkeypatch, capsys):
    from deeplab_tf.core.errors import DeepLabError

    benchmark, rows, _, _ = tools
    side = rows.Side("ours", "scoring", {"method": "nobodys", "title": "x"})
    broken = rows.Row("broken", "w", side, side)
    monkeypatch.setattr(benchmark, "chosen", lambda options, shared: [broken])
    monkeypatch.setattr(benchmark, "measure_peaks", lambda options: {"float32": 1e11, "int8": 5e11, "memory": 1e10})
    with pytest.raises(DeepLabError, match="Some rows failed"):
        benchmark.main(["--quick", "--folder", str(tmp_path)])
    assert "not measured: scoring ended early (exit 1)" in capsys.readouterr().out


def test_an_unknown_row_is_named(tools):
    from deeplab_tf.core.errors import DeepLabError

    with pytest.raises(DeepLabError, match="There is no row 'training-kreas'"):
        tools[0].main(["--only", "training-kreas"])


def test_a_row_that_was_asked_for_and_has_no_peer_is_an_error(tools, tmp_path, monkeypatch, capsys):
    from deeplab_tf.core.errors import DeepLabError

    benchmark, rows, _, _ = tools
    ours = rows.Side("ours", "scoring", {"method": "ours"})
    peer = rows.Side("peer", "scoring", {"method": "theirs"}, environment=rows.TORCH, needs="a_module_that_nobody_has")
    monkeypatch.setattr(benchmark, "chosen", lambda options, shared: [rows.Row("lonely", "w", ours, peer)])
    monkeypatch.setattr(benchmark, "measure_peaks", lambda options: {"float32": 1e11, "int8": 5e11, "memory": 1e10})
    sentence = "^Not measured: lonely, as a_module_that_nobody_has is not installed: sh .*/peers.sh torch$"
    with pytest.raises(DeepLabError, match=sentence):
        benchmark.main(["--quick", "--only", "lonely", "--folder", str(tmp_path)])
    benchmark.main(["--quick", "--folder", str(tmp_path)])
    assert "not installed" in capsys.readouterr().out
