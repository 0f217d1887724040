from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.report.sections import uart_text
from harness.report.text import printable, printable_bytes, printable_lines, shortened
from harness.session import LogLine


@given(st.text())
def test_nothing_that_acts_on_a_terminal_is_left(text: str) -> None:
    assert printable(text).isprintable()
    assert all(line.isprintable() for line in printable_lines(text).replace("\t", "").split("\n"))


def test_escapes_are_readable() -> None:
    assert printable("a\nb\x1b[0m\u202ec\udc80") == r"a\nb\x1b[0m\u202ec\udc80"
    assert printable("Grüße 数") == "Grüße 数"
    assert printable_lines("a\r\n\tb\x07") == "a\\r\n\tb\\x07"


def test_bytes_of_any_kind() -> None:
    assert printable_bytes(b"boot\r\nr\xc3\xa9ady \xff\x01") == "boot\nréady \\xff\\x01"


def test_the_end_of_a_long_name_is_kept() -> None:
    assert shortened("model/block_1/pointwise", 12) == "…1/pointwise"
    assert shortened("short", 12) == "short"


def test_the_uart_log_goes_to_its_last_byte() -> None:
    text = uart_text(b"\x03AB\x00printf before the crash: 0x1234\nhalf a fra")
    assert text.endswith("printf before the crash: 0x1234\\nhalf a fra")
    assert "all 46 bytes" in text


def test_a_long_log_loses_its_beginning_only() -> None:
    text = uart_text(b"begin" + b"x" * 100_000 + b"end")
    assert "begin" not in text
    assert text.endswith("xxxend")
    assert "the last 4,096 of 100,008 bytes" in text


def test_the_firmwares_own_words_come_first() -> None:
    assert uart_text(b"", [LogLine(1, "battery\x1b low"), LogLine(9, "?")]).startswith(
        "warning: battery\\x1b low\n9: ?\n"
    )
