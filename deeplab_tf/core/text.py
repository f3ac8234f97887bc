"""Draws text into images, in any script.

OpenCV's own fonts hold ASCII, and stay in use for it. Other text is drawn with GNU Unifont, a bitmap font of every
character of Unicode's basic plane, which lies beside this file with its license: nothing needs to be installed, and a
legend looks the same on every machine. Arabic letters are joined, and right-to-left text is put in order; the vowel
signs of Indic scripts are not.
"""

import functools
import lzma
import os
import re
import unicodedata
from typing import Dict, List, Tuple

import cv2
import numpy as np

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FILE = os.path.join(os.path.dirname(__file__), "fonts", "unifont-15.0.01.hex.xz")
_HEIGHT = 16  # pixels of a glyph
_BASELINE = 14  # rows of a glyph above the baseline
_CAPITAL = 10.0  # pixels of a capital letter
_OPENCV_CAPITAL = 22.0  # at scale 1


def is_plain(text: str) -> bool:
    """Return whether OpenCV's fonts hold the text."""
    return all(" " <= character <= "~" for character in text)


def text_width(text: str, scale: float) -> int:
    """Return the pixels that `put_text` takes."""
    if is_plain(text):
        return int(cv2.getTextSize(text, _FONT, scale, 1)[0][0])
    return int(round(_bitmap(text).shape[1] * _factor(scale)))


def put_text(image: np.ndarray, text: str, origin: Tuple[int, int], scale: float, color: Tuple[int, int, int]) -> None:
    """Write one line of text into an image, as cv2.putText does.

    Args:
        image: (H, W, 3) uint8; changed. What stands outside is cut off.
        origin: x and y of the left end of the baseline.
        scale: size of the letters: a capital letter is 22 pixels high at 1.
    """
    if is_plain(text):
        cv2.putText(image, text, origin, _FONT, scale, color, 1, cv2.LINE_AA)
        return
    bitmap, factor = _bitmap(text), _factor(scale)
    size = max(1, int(round(bitmap.shape[1] * factor))), max(1, int(round(_HEIGHT * factor)))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    ink = np.clip(cv2.resize(bitmap.astype(np.float32), size, interpolation=way), 0.0, 1.0)
    x, y = origin[0], origin[1] - int(round(_BASELINE * factor))
    top, left = max(0, y), max(0, x)
    view = image[top : y + size[1], left : x + size[0]]
    if view.size:
        alpha = ink[top - y : top - y + view.shape[0], left - x : left - x + view.shape[1], None]
        view[:] = np.round(view * (1.0 - alpha) + np.array(color, np.float32) * alpha)


def _factor(scale):
    return scale * _OPENCV_CAPITAL / _CAPITAL


@functools.lru_cache(maxsize=512)
def _bitmap(text: str) -> np.ndarray:
    """Return a line as (16, width) booleans."""
    cells: List[np.ndarray] = []
    for character in in_order(text):
        glyph = _glyph(character)
        if cells and unicodedata.category(character) in ("Mn", "Me"):  # on the letter before
            width = min(glyph.shape[1], cells[-1].shape[1])
            cells[-1] = cells[-1].copy()
            cells[-1][:, -width:] |= glyph[:, :width]
        else:
            cells.append(glyph)
    return np.concatenate(cells or [np.zeros((_HEIGHT, 1), bool)], axis=1)


@functools.lru_cache(maxsize=1)
def _font() -> bytes:
    with lzma.open(_FILE) as file:
        return b"\n" + file.read()


@functools.lru_cache(maxsize=4096)
def _glyph(character: str) -> np.ndarray:
    """Return a character as (16, 8 or 16) booleans; one that the font lacks as a question mark in a square."""
    match = re.search(b"\n%04X:([0-9A-F]+)" % ord(character), _font())
    if match is None:
        return _glyph("\ufffd")
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(match.group(1).decode()), np.uint8))
    return bits.reshape(_HEIGHT, -1).astype(bool)


def in_order(text: str) -> str:
    """Return the characters of a line from left to right, Arabic letters in the form that they have there."""
    text = unicodedata.normalize("NFC", text)
    directions = [unicodedata.bidirectional(character) for character in text]
    if not any(direction in ("R", "AL") for direction in directions):
        return text
    text = _joined(text)
    first = next(direction for direction in directions if direction in ("L", "R", "AL"))
    runs = re.findall("R+|L+", _sides(directions, "L" if first == "L" else "R"))
    ordered, at = [], 0
    for run in runs:
        part = text[at : at + len(run)]
        at += len(run)
        ordered.append("".join(reversed(_clusters(part))) if run[0] == "R" else part)
    return "".join(ordered if first == "L" else reversed(ordered))


def _sides(directions, base) -> str:
    """Return L or R for each character; one without a side of its own takes that around it, else that of the line."""
    sides = ["R" if each in ("R", "AL") else "L" if each in ("L", "EN", "AN") else "" for each in directions]
    for i, side in enumerate(sides):
        if not side:
            before = sides[i - 1] if i else base
            after = next((each for each in sides[i:] if each), base)
            sides[i] = before if before == after or directions[i] == "NSM" else base
    return "".join(sides)


def _clusters(text) -> List[str]:
    """Return the characters, each with the marks on it."""
    found: List[str] = []
    for character in text:
        if found and unicodedata.category(character) in ("Mn", "Me"):
            found[-1] += character
        else:
            found.append(character)
    return found


@functools.lru_cache(maxsize=1)
def _arabic_forms() -> Dict[Tuple[str, str], str]:
    """Return the presentation form of a letter by (letter, isolated, initial, medial or final)."""
    forms = {}
    for code in (*range(0xFB50, 0xFBB2), *range(0xFBD3, 0xFC00), *range(0xFE70, 0xFEFD)):
        kind, _, letters = unicodedata.decomposition(chr(code)).partition(" ")
        if letters and " " not in letters:
            forms[chr(int(letters, 16)), kind.strip("<>")] = chr(code)
    return forms


def _joined(text) -> str:
    """Return Arabic letters in the form that joins their neighbors; marks between them do not count."""
    forms, letters = _arabic_forms(), list(text)
    bases = [i for i, character in enumerate(text) if unicodedata.category(character) != "Mn"]
    for place, i in enumerate(bases):
        before = text[bases[place - 1]] if place else ""
        after = text[bases[place + 1]] if place + 1 < len(bases) else ""
        joins_before = (before, "initial") in forms and (text[i], "final") in forms
        joins_after = (text[i], "initial") in forms and (after, "final") in forms
        kind = ("isolated", "initial", "final", "medial")[joins_after + 2 * joins_before]
        letters[i] = forms.get((text[i], kind), text[i])
    return "".join(letters)
