"""Puts one section into benches/RESULTS.md and leaves all others as they are.

    COMMAND | results.py TITLE [FILE]

The section begins at the line `## TITLE` and ends before the next line that begins with `## `; one that is not there
is added at the end. What is measured by hand lives in sections of other titles.
"""

import pathlib
import re
import sys

RESULTS = pathlib.Path(__file__).resolve().parent / "RESULTS.md"


def replaced(text, title, body):
    """The text with the section's body in place of the old one."""
    section = f"## {title}\n\n{body.strip()}\n"
    found = re.search(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        return f"{text.rstrip()}\n\n{section}"
    rest = text[found.end() :]
    return text[: found.start()] + section + (f"\n{rest}" if rest else "")


def put(title, body, place=RESULTS):
    text = place.read_text() if place.exists() and place.stat().st_size else "# Results\n"
    place.write_text(replaced(text, title, body))


if __name__ == "__main__":
    body = sys.stdin.read()
    if body.strip():
        put(sys.argv[1], body, pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else RESULTS)
