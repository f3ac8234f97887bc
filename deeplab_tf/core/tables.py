"""Tables for a terminal and for Markdown."""

import math
from typing import Optional, Sequence


def number(value: Optional[float], form: str = "{:.3f}") -> str:
    """Return a number as text, or a dash where there is none (None or NaN)."""
    return "-" if value is None or math.isnan(value) else form.format(value)


def text_table(rows: Sequence[Sequence[str]], *, left: Sequence[int] = (0, -1), rule: bool = False) -> str:
    """Return rows as lines of aligned cells.

    Args:
        rows: cells, as many in each row.
        left: columns that are aligned to the left, others to the right; negative ones count from the end.
        rule: draw a line below the first row.
    """
    widths = _widths(rows)
    if rule:
        rows = [rows[0], ["-" * width for width in widths], *rows[1:]]
    words = {column % len(widths) for column in left}
    return "\n".join("  ".join(_align(row, widths, words)).rstrip() for row in rows)


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table that also reads well as plain text: the first row is the head, its first column left."""
    widths = _widths(rows)
    lines = [f"| {' | '.join(_align(row, widths, {0}))} |" for row in rows]
    rule = "|".join("-" * (width + 1) + ":" if i else "-" * (width + 2) for i, width in enumerate(widths))
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])


def _widths(rows):
    return [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]


def _align(row, widths, left):
    return [cell.ljust(width) if i in left else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))]
