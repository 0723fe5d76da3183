"""Tables of text, as commands print them."""

from __future__ import annotations


def text_table(header: list[str], rows: list[list[str]]) -> str:
    """Columns aligned by spaces: numbers to the right, text to the left. It is the same in a pipe and on a screen."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    right = [all(_is_number(row[i]) for row in rows if row[i]) and any(row[i] for row in rows) for i in range(len(header))]
    lines = []
    for row in [header, ["-" * w for w in widths], *rows]:
        cells = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
