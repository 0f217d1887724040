"""Runs inside gdb: looks at one target after the other and writes down what gdb shows. Input and output are the JSON
files named by the environment; see `sights.py`."""

import json
import os

import gdb  # type: ignore[import-not-found]


def frames():  # type: ignore[no-untyped-def]
    """[[function, file, line, kind, pc]…] and the error that ended them."""
    found = []
    try:
        frame = gdb.newest_frame()
        while frame is not None and len(found) < 200:
            place = frame.find_sal()
            file = place.symtab.filename if place.symtab else None
            kind = {gdb.SIGTRAMP_FRAME: "exception", gdb.INLINE_FRAME: "inlined"}.get(frame.type(), "")
            found.append([frame.name(), file, place.line or None, kind, int(frame.pc())])
            frame = frame.older()
    except gdb.error as error:
        return found, str(error)
    return found, ""


def registers():  # type: ignore[no-untyped-def]
    """What `info registers all` says of each; gdb's Python has nothing to say where gdb has no frame."""
    text = gdb.execute("info all-registers", to_string=True)
    return dict(line.split(None, 1) for line in text.splitlines() if line.strip())


def memory(address, length):  # type: ignore[no-untyped-def]
    try:
        return bytes(gdb.selected_inferior().read_memory(address, length)).hex()
    except gdb.MemoryError:
        return None


def look(target):  # type: ignore[no-untyped-def]
    said = gdb.execute(target["open"], to_string=True)
    found, error = frames()
    seen = {"said": said, "frames": found, "error": error, "registers": registers()}
    seen["memory"] = [memory(*wanted) for wanted in target["memory"]]
    seen["answers"] = [gdb.execute(command, to_string=True) for command in target["commands"]]
    return seen


with open(os.environ["LOOK_AT"]) as stream:
    wanted = json.load(stream)
with open(os.environ["SEEN"], "w") as stream:
    json.dump([look(target) for target in wanted], stream)
