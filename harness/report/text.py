"""Text from a model, a target or a file on its way to a terminal or an XML file: nothing in it may act there."""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` with all that is not a visible character escaped: newlines, terminal codes, direction marks."""
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def printable_lines(text: str) -> str:
    """As `printable`, but newlines and tabs stay."""
    return "".join(c if c.isprintable() or c in "\n\t" else _escaped(c) for c in text)


def printable_bytes(data: bytes) -> str:
    """Bytes that are mostly text: what does not decode as UTF-8 or is not visible is escaped, newlines stay."""
    return printable_lines(data.decode("utf-8", "backslashreplace").replace("\r\n", "\n"))


def shortened(text: str, limit: int) -> str:
    """At most `limit` characters; the end of a tensor's name tells more than its beginning."""
    return text if len(text) <= limit else "…" + text[1 - limit :]


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
