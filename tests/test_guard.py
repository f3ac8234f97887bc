"""What a command may write: never over an input, another output or a file of a person's."""

import os

import pytest

from deeplab_tf.core import files
from deeplab_tf.core.errors import DeepLabError, WrongCall
from deeplab_tf.core.guard import MANIFEST, Guard, expand


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to work in, which is also the home folder, with a video and a folder of images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "v.mp4").write_bytes(b"video")
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.png").write_bytes(b"image")
    return tmp_path


def refused(facts, *, reads=(), overwrite=False, error=WrongCall, **outputs):
    """Assert that a command which reads and writes this is refused with a sentence that holds all facts."""
    guard = Guard("predict", overwrite=overwrite)
    guard.reads(*reads)
    for option, path in outputs.items():
        guard.writes(path, f"--{option}", own=guard.wrote_report)
    with pytest.raises(error) as caught:
        guard.check()
    assert all(fact in str(caught.value) for fact in facts), caught.value


def fill(folder, *paths, command="predict", overwrite=False, write=b"labels"):
    """Write files as a command does that fills a folder."""
    guard = Guard(command, overwrite=overwrite)
    guard.fills(str(folder), "--out", [str(path) for path in paths])
    guard.check()
    with guard:
        for path in paths:
            files.write_bytes(path, write)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "read, output",
    [
        ("v.mp4", "v.mp4"),
        ("~/v.mp4", "v.mp4"),
        ("v.mp4", "~/v.mp4"),
        ("./p/../v.mp4", "p/../p/./../v.mp4"),
        ("v.mp4", "link/v.mp4"),
        ("link/v.mp4", "v.mp4"),
        ("v.mp4", "soft.mp4"),
        ("v.mp4", "hard.mp4"),
        ("soft.mp4", "hard.mp4"),
        ("p/a.png", "link/p//a.png"),
    ],
)
def test_an_output_that_is_an_input_by_any_name_is_refused(here, read, output, overwrite):
    os.symlink(str(here), str(here / "link"))
    os.symlink("v.mp4", str(here / "soft.mp4"))
    os.link(str(here / "v.mp4"), str(here / "hard.mp4"))
    refused(["--save", output, "what is read"], reads=[read], overwrite=overwrite, save=output)


@pytest.mark.parametrize(
    "first, second",
    [
        ("x.mp4", "x.mp4"),
        ("x.mp4", "./p/../x.mp4"),
        ("x.mp4", "X.MP4"),
        ("~/x.mp4", "x.mp4"),
        ("x.mp4", "x.mp4/x.json"),
        ("-", "-"),
        ("-", "/dev/stdout"),
    ],
)
def test_two_outputs_of_one_name_are_refused(here, first, second):
    refused(["--save", "--json"], save=first, json=second)
    refused(["--save", "--json"], save=second, json=first)


def test_devices_and_new_files_are_free(here):
    guard = Guard("score")
    guard.reads("p", "v.mp4")
    guard.writes("/dev/null", "--json")
    guard.writes("/dev/null", "--json-lines")
    guard.writes("-", "--save")
    guard.writes("new.json", "--figure")
    guard.writes(None, "--labels")
    guard.check()


def test_a_file_that_is_there_needs_overwrite(here):
    (here / "notes.json").write_text('{"mine": 1}\n')
    refused(["--json notes.json", "'deeplab-tf predict'", "--overwrite"], json="notes.json")
    guard = Guard("predict", overwrite=True)
    guard.writes("notes.json", "--json", own=guard.wrote_report)
    guard.check()


def test_a_report_is_known_by_its_command(here):
    (here / "a.json").write_text('{\n  "written_by": "deeplab-tf predict",\n  "images": 1\n}\n')
    guard = Guard("predict")
    guard.writes("a.json", "--json", own=guard.wrote_report)
    guard.check()
    (here / "b.json").write_text('{\n  "written_by": "deeplab-tf score",\n  "images": 1\n}\n')
    refused(["b.json"], json="b.json")


def test_overwrite_spares_what_lies_below_a_folder_that_is_read(here):
    refused(["p/a.png", "lies in p"], reads=["p"], overwrite=True, json="p/a.png")
    os.link(str(here / "p" / "a.png"), str(here / "other.json"))
    refused(["other.json", "lies in p"], reads=["p"], overwrite=True, json="other.json")


def test_of_a_folder_of_which_all_files_are_known_the_others_may_be_replaced(here):
    guard = Guard("predict", overwrite=True)
    guard.reads("p", "p/a.png", whole=False)
    (here / "p" / "b.png").write_text("mine")
    guard.writes("p/b.png", "--json")
    guard.check()
    guard.writes("p/a.png", "--save")
    with pytest.raises(WrongCall, match="--save p/a.png is what is read"):
        guard.check()


def test_a_bundle_that_is_read_gets_no_other_file(here):
    (here / "p" / "bundle.json").write_text("{}")
    refused(["--json p/new.json", "bundle p"], reads=["p"], json="p/new.json")
    refused(["--json ./p/x/new.json", "bundle p"], reads=["p"], overwrite=True, json="./p/x/new.json")


def test_a_file_is_no_folder_and_a_folder_no_file(here):
    refused(["--json p", "name a file"], error=DeepLabError, json="p")
    refused(["--json v.mp4/a.json", "v.mp4 is a file"], error=DeepLabError, json="v.mp4/a.json")
    guard = Guard("predict")
    guard.fills("v.mp4", "--out")
    with pytest.raises(DeepLabError, match="name a folder"):
        guard.check()


def test_a_folder_that_is_read_is_not_filled(here):
    guard = Guard("predict")
    guard.reads("p")
    guard.fills("./p/", "--out")
    with pytest.raises(WrongCall, match="--out ./p/ is what is read, as p"):
        guard.check()


def test_a_folder_that_is_made_holds_no_input_and_no_other_output(here):
    for read, json in (("p/a.png", None), (None, "p/x.json")):
        guard = Guard("convert")
        guard.reads(read)
        guard.writes(json, "--json")
        guard.makes("p", "--out")
        with pytest.raises(WrongCall, match="--out p"):
            guard.check()


def test_a_report_among_the_files_of_a_folder(here):
    guard = Guard("predict")
    guard.writes("out/panoptic.json", "--json")
    guard.fills("out", "--out", ["out/panoptic.json"])
    with pytest.raises(WrongCall, match="written over each other"):
        guard.check()


def test_own_files_in_a_folder_are_replaced_and_those_of_a_person_not(here):
    fill("out", "out/a.png", "out/sub/b.png")
    fill("out", "out/a.png", "out/sub/b.png", write=b"other labels")
    assert (here / "out" / "sub" / "b.png").read_bytes() == b"other labels"
    (here / "out" / "c.png").write_bytes(b"drawn by hand")
    with pytest.raises(WrongCall, match=r"out/c.png exists and was not written by 'deeplab-tf predict'"):
        fill("out", "out/a.png", "out/c.png")
    with pytest.raises(WrongCall):  # another command's
        fill("out", "out/a.png", command="stream")
    fill("out", "out/c.png", overwrite=True)
    fill("out", "out/c.png")


def test_a_file_that_a_person_corrected_is_theirs(here):
    fill("out", "out/a.png")
    for content in (b"LABELS", b"more labels"):  # of the same size, too
        (here / "out" / "a.png").write_bytes(content)
        os.utime(str(here / "out" / "a.png"), ns=(1, 1))
        with pytest.raises(WrongCall, match="was changed since"):
            fill("out", "out/a.png")


def test_links_in_a_filled_folder_lead_to_files_of_others(here):
    fill("out", "out/b.png")
    os.symlink(str(here / "p" / "a.png"), str(here / "out" / "a.png"))
    with pytest.raises(WrongCall, match="out/a.png exists"):
        fill("out", "out/a.png")


def test_a_file_that_turns_up_during_the_work_is_kept(here):
    for path, kind in (("out/a.png", "fills"), ("a.json", "writes")):
        guard = Guard("predict")
        guard.fills("out", "--out") if kind == "fills" else guard.writes(path, "--json", own=guard.wrote_report)
        guard.check()
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "w") as file:
            file.write("mine")
        with guard, pytest.raises(WrongCall, match="exists"):
            files.write_bytes(path, b"labels")
        assert (here / path).read_text() == "mine"
    assert os.listdir(str(here / "out")) == ["a.png"]


class Killed(BaseException):
    """Stands for SIGKILL, at one moment of the writing of a file."""


@pytest.mark.parametrize("moment", ["before its line", "half its line", "before its name"])
@pytest.mark.parametrize("again", [False, True])
def test_whenever_a_process_is_killed_the_next_one_knows_its_files(here, moment, again, monkeypatch):
    if again:
        fill("out", "out/a.png", write=b"first")
    manifest = here / "out" / MANIFEST
    lines = manifest.read_bytes() if again else b""

    def killed(*arguments):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(files.os, "replace", killed)
        patch.setattr(files.os, "unlink", lambda path: None)
        fill("out", "out/a.png", write=b"second")
    if moment == "before its line":
        manifest.write_bytes(lines)
    elif moment == "half its line":
        manifest.write_bytes(manifest.read_bytes()[:-9])
    fill("out", "out/a.png", "out/b.png", write=b"third")
    assert (here / "out" / "a.png").read_bytes() == (here / "out" / "b.png").read_bytes() == b"third"
    fill("out", "out/a.png", "out/b.png", write=b"fourth")


def test_a_manifest_of_junk_vouches_for_nothing(here):
    (here / "out").mkdir()
    (here / "out" / "a.png").write_bytes(b"mine")
    (here / "out" / MANIFEST).write_bytes(b'\xff\n[]\n{"name": ["a.png"]}\n3\n{"name": "a.png", "size": 4}\n\n')
    with pytest.raises(WrongCall):
        fill("out", "out/a.png")


@pytest.mark.parametrize(
    "path, fact",
    [
        ("~nobody-at-all/x", "home folder"),
        ("a\0b", "NUL"),
        ("\udcff.png", "UTF-8"),
        ("d/" * 2500, "too long"),
        ("x" * 256, "256 bytes"),
    ],
    ids=["home", "NUL", "bytes", "deep", "long"],
)
def test_paths_that_no_file_can_have(here, path, fact):
    with pytest.raises(WrongCall, match=fact) as error:
        Guard("predict").reads(path)
    assert len(str(error.value)) < 250 and str(error.value).isprintable()


def test_a_name_with_a_tilde_that_is_there(here):
    (here / "~mine").write_text("")
    assert expand("~mine") == "~mine" and expand("~/v.mp4") == str(here / "v.mp4") and expand("./~x") == "./~x"


@pytest.mark.parametrize("kind", ["link", "pipe", "device"])
def test_a_manifest_that_is_no_file_is_refused_and_nothing_is_written_through_it(here, kind):
    (here / "out").mkdir()
    (here / "keep.txt").write_text("mine")
    manifest = here / "out" / MANIFEST
    if kind == "pipe":
        os.mkfifo(str(manifest))
    else:
        os.symlink("/dev/zero" if kind == "device" else str(here / "keep.txt"), str(manifest))
    with pytest.raises(DeepLabError, match="remove it"):
        fill("out", "out/a.png")
    assert (here / "keep.txt").read_text() == "mine" and not (here / "out" / "a.png").exists()
