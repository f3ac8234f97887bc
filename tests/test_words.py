"""Words that must not come back: the field has others for the same things (docs/glossary.md)."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLACES = ("README.md", "CONTRIBUTING.md", "deeplab_tf", "docs", "configs", "jetson", "tools")
SUFFIXES = (".py", ".md", ".yaml", ".yml", ".sh", ".html", ".js", ".css")

INSTEAD = {
    r"enlarg": "upsampl|resiz",
    r"\b(told|tell|telling) apart\b": "instance",
    r"\bone by one\b": "instance|panoptic",
    r"\b(integers of|in integers|8-bit integers)\b": "INT8",
    r"labels equal to|pixels that agree": "pixel agreement",
    r"with their rounding": "quantization-aware training",
    r"make sense together": "coupled channels",
    r"\bPublisher\b|\boutgoing\b|as it goes out": "EMA export",
    r"\bJournal\b": "metrics logger",
    r"\bhard_pixels\b": "ohem_ratio",
    r"\bbackbone_rate\b": "backbone_lr_multiplier",
    r"\bsmall_thing_(size|threshold)\b": "small_instance_threshold",
    r"\bsmall_thing_weight\b": "small_instance_weight",
    r"\btraining\.keep\b": "save_steps",
    r"\bFPS\b": "frames/s",
    r"\bceiling_fps\b": "upper_bound_fps",
    r"\bexpected_(fps|range)\b": "estimated_",
    r"\breaches_target\b|\breaches it\b": "meets.target",
    r"\bceilings?\b": "upper bound",
    r"\b(ground|upper) floor\b": "deploy|lab",
    r"\b(lessons?|teach|teaches|taught)\b": "distillation",
    r"\bthe paper\b": r"et al\.",
    r"\bdata sets?\b": "dataset",
    r"colour|\bgrey|\bcentres?\b|neighbour|labelled|normalis": "American spelling",
}
"""A word that must not come back -> what to write. A line that has both, such as one of a list of renamed keys, is
allowed."""

FILES = [
    path
    for place in PLACES
    for path in ([ROOT / place] if (ROOT / place).is_file() else sorted((ROOT / place).rglob("*")))
    if path.suffix in SUFFIXES and path.is_file()
]


def found(path):
    """Every use of a word that must not come back, with file, line and what to write."""
    uses = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        for word, instead in INSTEAD.items():
            match = re.search(word, line, 0 if word.lower() != word else re.IGNORECASE)
            if match and not re.search(instead, line, re.IGNORECASE):
                uses.append(f"{path}:{number}: '{match.group()}'; write {instead.replace('|', ' or ')}")
    return uses


def test_a_use_is_named_with_its_place(tmp_path):
    (tmp_path / "a.md").write_text("Fine.\nIt is Enlarged.\nhard_pixels is now ohem_ratio\nteachers and journals\n")
    assert found(tmp_path / "a.md") == [f"{tmp_path}/a.md:2: 'Enlarg'; write upsampl or resiz"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_word_comes_back(path):
    assert not found(path), "\n".join(["", *found(path)])
