"""Runs inside gdb: writes every frame of every target, with its variables, as JSON. `still.py` starts it.

A value is ["int", n, size, signed], ["pointer", n], ["bool", n], ["enum", text], ["char", n], ["float", x, size],
["array", [values], elements], ["record", [[name, value], …]], or a phrase for what is not there.
"""

import json

import gdb

SHOWN = 8  # elements and members that the harness shows

globals_ = globals()
opens, answer = (globals_[name] for name in ("opens", "answer"))


def text_at(value, kind):
    if str(kind.target().unqualified()) != "char" or int(value) == 0:
        return None
    try:
        return value.string("latin-1")
    except (gdb.MemoryError, gdb.error):
        return None


def value_of(value):
    try:
        kind = value.type.strip_typedefs()
        code = kind.code
        whole = code in (gdb.TYPE_CODE_ARRAY, gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION)
        if value.is_optimized_out and not whole:  # of those a part may be left
            return "optimized out"
        if code == gdb.TYPE_CODE_ARRAY:
            first, last = kind.range()
            values = [value_of(value[first + index]) for index in range(min(last - first + 1, SHOWN))]
            return ["array", values, last - first + 1, str(kind.target().unqualified())]
        if code in (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION):
            fields = kind.fields()
            return ["record", [[field.name or "", value_of(value[field])] for field in fields[:SHOWN]], len(fields)]
        if code == gdb.TYPE_CODE_PTR:
            return ["pointer", int(value), text_at(value, kind)]
        if code == gdb.TYPE_CODE_BOOL:
            return ["bool", int(value)]
        if code == gdb.TYPE_CODE_ENUM:
            return ["enum", str(value), int(value)]
        if code == gdb.TYPE_CODE_FLT:
            return ["float", float(value), kind.sizeof]
        if code in (gdb.TYPE_CODE_INT, gdb.TYPE_CODE_CHAR):
            if str(kind.unqualified()) == "char":
                return ["char", int(value)]
            return ["int", int(value), kind.sizeof, bool(kind.is_signed)]
        return "of another kind"
    except (gdb.MemoryError, gdb.error) as error:
        return "error: " + str(error)


def variables_of(frame):
    found = {}
    try:
        block = frame.block()
    except RuntimeError:
        return found
    while block is not None:
        for symbol in block:
            if str(symbol.type) == "__CORE_ADDR" or symbol.name == "__func__":  # a label; a name that nobody declared
                continue
            if (symbol.is_argument or symbol.is_variable) and symbol.name not in found:
                try:
                    found[symbol.name] = [value_of(symbol.value(frame)), symbol.is_argument]
                except (gdb.MemoryError, gdb.error) as error:
                    found[symbol.name] = ["error: " + str(error), symbol.is_argument]
        if block.function is not None:
            break
        block = block.superblock
    return found


def frames():
    found = []
    frame = gdb.newest_frame()
    while frame is not None and len(found) < 40:
        found.append({"function": frame.name(), "pc": frame.pc(), "variables": variables_of(frame)})
        try:
            frame = frame.older()
        except gdb.error:
            break
    return found


gdb.execute("set confirm off")
everything = []
for command in opens:
    gdb.execute("maintenance flush dcache", to_string=True)  # of the state before
    try:
        gdb.execute(command, to_string=True)
        everything.append(frames())
        if command.startswith("target remote"):
            gdb.execute("disconnect", to_string=True)
    except gdb.error:  # a stack overflow left no program counter, and gdb has let go already
        everything.append([])
with open(answer, "w") as file:
    json.dump(everything, file)
