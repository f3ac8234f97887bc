"""Tables for a terminal."""

from typing import List, Sequence


def columns(cells: Sequence[Sequence[str]]) -> List[str]:
    """Lines of aligned cells: the first and the last column to the left, numbers between them to the right."""
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    words = (0, len(widths) - 1)
    return ["  ".join(c.ljust(w) if i in words else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))).rstrip() for row in cells]
