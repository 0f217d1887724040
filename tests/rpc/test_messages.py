"""The messages and the C that is generated from them."""

from __future__ import annotations

import pytest

from harness.resources import firmware_stub_dir
from harness.rpc import messages as m
from harness.rpc.generate import generated


def test_the_committed_c_is_what_the_messages_say() -> None:
    folder = firmware_stub_dir()
    assert {name: (folder / name).read_text(encoding="utf-8") for name in generated()} == dict(generated())
    assert {f"generated/{path.name}" for path in (folder / "generated").iterdir()} < set(generated())


def test_codes_are_unique_and_in_their_ranges() -> None:
    commands = [command.code for command in m.COMMANDS]
    events = [event.code for event in m.EVENTS]
    assert len({*commands, *events}) == len(commands) + len(events)
    assert all(0x01 <= code < 0x40 for code in commands)
    assert all(0x40 <= code < 0x80 for code in events)


def test_every_class_of_a_message_is_listed() -> None:
    assert {command.__name__ for command in m.COMMANDS} == {sub.__name__ for sub in m.Command.__subclasses__()}
    assert {event.__name__ for event in m.EVENTS} == {sub.__name__ for sub in m.Event.__subclasses__()}


@pytest.mark.parametrize("command", m.COMMANDS, ids=lambda command: command.__name__)
def test_one_file_a_command(command: type[m.Command]) -> None:
    text = (firmware_stub_dir() / "rpc" / f"rpc_{command.c_name()}.c").read_text(encoding="utf-8")
    assert f"enum rpc_status rpc_{command.c_name()}(" in text


def test_the_schema_hash_sees_every_change() -> None:
    lines = m.schema_text().splitlines()
    assert len(lines) == 1 + len(m.Status) + len(m.COMMANDS) + len(m.EVENTS) + 1
    assert f"0x{m.SCHEMA_HASH:08X}u" in generated()["generated/rpc_messages.h"]


@pytest.mark.parametrize("status", m.Status)
def test_every_status_has_a_phrase(status: m.Status) -> None:
    assert status.phrase
    assert status <= 0
