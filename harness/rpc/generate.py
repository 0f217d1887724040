"""Writes the C side of the messages: `python -m harness.rpc.generate`. The result is committed.

firmware_stub/generated/rpc_messages.h       structs, codes, statuses, one prototype a handler
firmware_stub/generated/rpc_dispatch.c       checks the length of a request and calls its handler
firmware_stub/fault/layerproof_fault.h       the fault record, between two marks in a header written by hand
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

from harness.layout import render_struct, summary
from harness.resources import firmware_stub_dir
from harness.rpc import fault_record as record
from harness.rpc import messages as m

_HEAD = "/* Written by `python -m harness.rpc.generate` from harness/rpc. */\n/* clang-format off */\n\n"
_MARKS = (
    "/* Generated from here by `python -m harness.rpc.generate`. */\n/* clang-format off */\n",
    "/* clang-format on */\n/* Generated up to here. */\n",
)
_FAULT_HEADER = "fault/layerproof_fault.h"


def generated() -> Mapping[str, str]:
    """Path in firmware_stub → whole text."""
    header = (firmware_stub_dir() / _FAULT_HEADER).read_text(encoding="utf-8")
    before, after = header.split(_MARKS[0])[0], header.split(_MARKS[1])[1]
    return {
        "generated/rpc_messages.h": _HEAD + _messages_h(),
        "generated/rpc_dispatch.c": _HEAD + _dispatch_c(),
        _FAULT_HEADER: before + _MARKS[0] + _fault_record() + _MARKS[1] + after,
    }


def main() -> int:
    """Write all files."""
    for path, text in generated().items():
        (firmware_stub_dir() / path).write_text(text, encoding="utf-8")
    return 0


def _messages_h() -> str:
    codes = [(_code(command), command.code) for command in m.COMMANDS]
    codes += [(_code(event), event.code) for event in m.EVENTS]
    bodies = dict.fromkeys((*(part for command in m.COMMANDS for part in (command, command.reply)), *m.EVENTS))
    structs = [f"/* {summary(b)} */\n{render_struct(b, _struct(b))}" for b in bodies if b.layout().fields]
    replies = dict.fromkeys(_struct(command.reply) for command in m.COMMANDS if command.reply.layout().fields)
    handlers = [f"/* {summary(command)} */\n{_prototype(command)};\n" for command in m.COMMANDS]
    return f"""#ifndef RPC_MESSAGES_H
#define RPC_MESSAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RPC_PROTOCOL_VERSION {m.PROTOCOL_VERSION}u
#define RPC_SCHEMA_HASH 0x{m.SCHEMA_HASH:08X}u
#define RPC_REPLY 0x{m.REPLY:02X}u /* set in the type of an answer */

enum rpc_status {{
{"".join(f"    RPC_{s.name} = {s.value}, /* {s.phrase} */" + NEWLINE for s in m.Status)}}};

enum rpc_type {{
{"".join(f"    {name} = 0x{code:02X}," + NEWLINE for name, code in codes)}}};

/* Bytes that follow the fixed part of a message. */
struct rpc_bytes {{
    const uint8_t *data;
    uint32_t length;
}};

{NEWLINE.join(structs)}
/* The fixed part of any answer. */
union rpc_reply {{
{"".join(f"    struct {name} {name.removeprefix('rpc_')};" + NEWLINE for name in replies)}}};

/*
 * One handler a command, each in rpc/rpc_<command>.c. With `again` set the request is a repetition of the last one: it
 * is answered as before and not carried out a second time.
 */

{NEWLINE.join(handlers)}
/* Calls the handler. `reply_bytes` and `tail` become the answer's fixed part and what follows it. */
{_DISPATCH};

/* Whether a command is still answered after a crash. */
bool rpc_postmortem(uint8_t type);

#endif
"""


NEWLINE = "\n"  # for f-strings, which take no backslash before Python 3.12
_DISPATCH = (
    "enum rpc_status rpc_dispatch(uint8_t type, struct rpc_bytes request, bool again, union rpc_reply *reply,\n"
    "                             uint32_t *reply_bytes, struct rpc_bytes *tail)"
)


def _dispatch_c() -> str:
    cases = "".join("".join(f"    {line}\n" for line in _case(command)) for command in m.COMMANDS)
    postmortem = "".join(f"    case {_code(command)}:\n" for command in m.COMMANDS if command.postmortem)
    return f"""#include "rpc_messages.h"

{_DISPATCH}
{{
    *reply_bytes = 0;
    *tail = (struct rpc_bytes){{0}};
    switch (type) {{
{cases}    default:
        return RPC_UNKNOWN_COMMAND;
    }}
}}

bool rpc_postmortem(uint8_t type)
{{
    switch (type) {{
{postmortem}        return true;
    default:
        return false;
    }}
}}
"""


def _case(command: type[m.Command]) -> Iterator[str]:
    layout, reply = command.layout(), command.reply.layout()
    yield f"case {_code(command)}:"
    yield f"    if (request.length {'<' if layout.tail else '!='} {layout.size}u) {{"
    yield "        return RPC_BAD_LENGTH;"
    yield "    }"
    arguments = []
    if layout.fields:
        arguments.append(f"(const struct {_struct(command)} *)(const void *)request.data")
    if layout.tail:
        arguments.append(f"(struct rpc_bytes){{request.data + {layout.size}, request.length - {layout.size}u}}")
    if command.once:
        arguments.append("again")
    if reply.fields:
        yield f"    *reply_bytes = {reply.size}u;"
        arguments.append(f"&reply->{command.reply.c_name()}")
    if reply.tail:
        arguments.append("tail")
    yield f"    return rpc_{command.c_name()}({', '.join(arguments)});"


def _prototype(command: type[m.Command]) -> str:
    layout, reply = command.layout(), command.reply.layout()
    parameters = []
    if layout.fields:
        parameters.append(f"const struct {_struct(command)} *request")
    if layout.tail:
        parameters.append(f"struct rpc_bytes {layout.tail}")
    if command.once:
        parameters.append("bool again")
    if reply.fields:
        parameters.append(f"struct {_struct(command.reply)} *reply")
    if reply.tail:
        parameters.append(f"struct rpc_bytes *{reply.tail if not layout.tail else 'tail'}")
    return f"enum rpc_status rpc_{command.c_name()}({', '.join(parameters) or 'void'})"


def _fault_record() -> str:
    flags = "".join(f"#define LAYERPROOF_RECORD_{flag.name} {flag.value}u\n" for flag in record.RecordFlag)
    struct = render_struct(record.FaultRecord, "layerproof_record", "LAYERPROOF_STATIC_ASSERT")
    return f"""#define LAYERPROOF_RECORD_MAGIC 0x{record.MAGIC:08X}u
#define LAYERPROOF_RECORD_VERSION {record.VERSION}u
#define LAYERPROOF_RECORD_NO_LAYER 0x{record.NO_LAYER:08X}u
{flags}
/* {summary(record.FaultRecord)} */
{struct}"""


def _struct(message: type[m.Message]) -> str:
    return f"rpc_{message.c_name()}"


def _code(message: type[m.Message]) -> str:
    return f"RPC_{message.c_name().upper()}"


if __name__ == "__main__":
    sys.exit(main())
