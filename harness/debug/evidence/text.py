"""A log as lines that can be searched, whatever a terminal, a shell or a serial line did to it."""

from __future__ import annotations

import re
from dataclasses import dataclass

# CSI sequences (colours, cursor), OSC (window titles), and two-character escapes: ECMA-48, 5.3 to 5.6
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]+")
_LINE_ENDS = re.compile(rb"\r\n|\n\r|[\r\n\x0b\x0c]")
_CHINESE = re.compile("[\u4e00-\u9fff]{3}")
_BYTE_ORDER_MARKS = ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"), (b"\xef\xbb\xbf", "utf-8"))
LONGEST = 1 << 24  # bytes of a log that are looked at
_LONGEST_LINE = 1 << 13  # bytes


@dataclass(frozen=True)
class Text:
    lines: tuple[str, ...]  # without line ends, colours and control characters
    open: bool  # it does not end with a line end: the last line may have been cut short


def read_text(data: bytes) -> Text:
    """`data` as text. What cannot be decoded becomes U+FFFD; the ASCII around it stays."""
    data = data[:LONGEST]
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            data = data[len(mark) :].decode(encoding, "replace").encode()
            break
    lines = _LINE_ENDS.split(data)
    is_open = bool(lines[-1])
    if not is_open:
        lines.pop()
    return Text(tuple(_CONTROL.sub(" ", _ESCAPES.sub("", _decoded(line[:_LONGEST_LINE]))) for line in lines), is_open)


def _decoded(line: bytes) -> str:
    """UTF-8, or what Chinese firmware prints. A damaged byte is no Chinese: it would swallow the letter after it."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        chinese = line.decode("gb18030", "replace")
        return chinese if _CHINESE.search(chinese) else line.decode("utf-8", "replace")
