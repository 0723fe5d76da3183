"""What to write instead of a text that was meant as a number, a list or a range."""

from __future__ import annotations

import math
import re

DECIMAL = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)")
IN_BASE = re.compile(r"([-+]?)0([xob])([0-9a-f_]+)", re.IGNORECASE)
SPAN = re.compile(r"(\d+)\s*(?:-|–|:|\.\.\.|…|to)\s*(\d+)")
RANGE_CALL = re.compile(r"(?:list\()?range\(\s*(?:(\d+)\s*,\s*)?(\d+)\s*\)+")

MOST_LISTED = 40  # numbers that a message lists


def as_number(text: str, whole: bool) -> str | None:
    """What to write for the number that a text means. whole: it should be a whole number."""
    if text.endswith("%") and DECIMAL.fullmatch(text[:-1].strip()):
        return None if whole else f"write {_shortest(float(text[:-1]) / 100)}"
    if match := IN_BASE.fullmatch(text):
        sign, base, digits = match.groups()
        try:
            return f"write {sign}{int(digits.replace('_', ''), {'x': 16, 'o': 8, 'b': 2}[base.lower()])}, in decimal"
        except ValueError:
            return None
    plain = text.replace("_", "")
    if plain != text and DECIMAL.fullmatch(plain):
        return f"write {_without_zeros(plain)}, without underscores"
    if re.fullmatch(r"[-+]?0\d[\d.]*", text) and DECIMAL.fullmatch(text):
        return f"write {_without_zeros(text)}, without leading zeros" + (
            "" if "." in text else f": YAML would read {text} as octal"
        )
    if DECIMAL.fullmatch(text):
        return f"this is text: remove the quotes around {text}"
    return _of_exponent(text, whole)


def _of_exponent(text: str, whole: bool) -> str | None:
    """YAML 1.1 wants a point and a sign: `1.0e-3`; it reads `1e-3` as text."""
    if not re.fullmatch(rf"{DECIMAL.pattern}e[-+]?\d+", text, re.IGNORECASE) or not math.isfinite(number := float(text)):
        return None
    if whole:
        return f"YAML reads {text} as text: write {int(number)}" if number.is_integer() and abs(number) < 1e15 else None
    if "e" in repr(number):
        return f"YAML reads {text} as text: write it with a point and a sign, like 1.0e-3"
    return f"YAML reads {text} as text: write {number!r}"


def as_list(text: str, whole: bool) -> str | None:
    """What to write for the list or range that a text means: `0,1,2`, `1,5`, `0-3`, `0:3`, `range(3)`.

    whole: it should be of whole numbers.
    """
    if ".." in text.replace("...", ""):
        return "a range stands alone in place of an axis, as in 0..3; anything else is a list, as in [0, 1, 7]"
    if match := RANGE_CALL.fullmatch(text):
        first, end = int(match[1] or 0), int(match[2])
        return f"write {first}..{end - 1}" if end > first else None
    if match := SPAN.fullmatch(text):
        first, last = int(match[1]), int(match[2])
        return f"write {first}..{last} for all whole numbers from {first} to {last}" if first < last else None
    if ":" in text and all(DECIMAL.fullmatch(part) for part in text.split(":")):
        return f"write [{', '.join(text.split(':'))}] for a list; YAML would read {text} in base 60"
    parts = [part.strip() for part in text.strip("()").split(",")]
    if len(parts) < 2 or not all(DECIMAL.fullmatch(part) for part in parts):
        return None
    as_written = f"[{', '.join(_without_zeros(part) for part in parts)}]"
    if re.fullmatch(r"[1-9]\d{0,2}(,\d{3})+", text):
        return f"write {text.replace(',', '')}, without commas"
    if len(parts) > 2 or "." in text or whole:
        return f"write {as_written}"
    return f"write {parts[0]}.{parts[1]}, or {as_written} for two values"


def as_items(text: str, whole: bool) -> str | None:
    """What to write for a field that takes a list. Such a field takes no range."""
    if match := re.fullmatch(r"(\d+)\.\.(\d+)", text):
        first, last = int(match[1]), int(match[2])
        if first <= last < first + MOST_LISTED:
            return f"write [{', '.join(map(str, range(first, last + 1)))}]"
        return "write the list out; ranges are for axes"
    if DECIMAL.fullmatch(text):
        return f"write [{_without_zeros(text)}]"
    return as_list(text, whole)


def _without_zeros(text: str) -> str:
    sign, digits = (text[0], text[1:]) if text[0] in "+-" else ("", text)
    digits = digits.lstrip("0") or "0"
    return sign + (f"0{digits}" if digits.startswith(".") else digits)


def _shortest(number: float) -> str:
    """`0.1` of 10 / 100, and not `0.10000000000000001`."""
    return f"{number:.12g}"
