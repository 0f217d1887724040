"""How deep the stack can get: gcc's frame sizes along gcc's call graph (`-fcallgraph-info=su`).

node: { title: "f" label: "f\\nlayers/000.c:3:6\\n16 bytes (static)" }
edge: { sourcename: "f" targetname: "g" label: "layers/000.c:9:5" }
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

# A function of libc, libm or libgcc, for which there is no figure: newlib's expf with software doubles needs about 100.
LIBRARY_BYTES = 128

INDIRECT = "__indirect_call"  # gcc's name for whatever is called through a pointer

_NODE = re.compile(r'^node: \{ title: "([^"]+)" label: "([^"]*)"', re.MULTILINE)
_EDGE = re.compile(r'^edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"', re.MULTILINE)
_FRAME = re.compile(r"\\n(\d+) bytes \(([\w,]+)\)")


@dataclass
class CallGraph:
    """Frame sizes and calls of a whole program. None as a size: it is not known at compile time."""

    frames: dict[str, int | None] = field(default_factory=dict)
    calls: dict[str, set[str]] = field(default_factory=dict)

    def add(self, text: str) -> list[str]:
        """Take in one compiler-made .ci file; the names of the functions it defines."""
        defined = []
        for name, label in _NODE.findall(text):
            frame = _FRAME.search(label)
            if frame:
                self.frames[name] = None if frame[2] == "dynamic" else int(frame[1])
                defined.append(name)
        for caller, callee in _EDGE.findall(text):
            self.calls.setdefault(caller, set()).add(callee)
        return defined

    def depth(self, root: str) -> int | None:
        """Bytes of stack of the deepest chain that starts at `root`; None: unbounded, by recursion or by alloca."""
        return self._depth(root, (), {})

    def _depth(self, name: str, chain: tuple[str, ...], known: dict[str, int | None]) -> int | None:
        if name in chain:
            return None
        if name not in known:
            below: list[int | None] = [
                self._depth(callee, (*chain, name), known) for callee in sorted(self.calls.get(name, ()))
            ]
            own = 0 if name == INDIRECT else self.frames.get(name, LIBRARY_BYTES)
            known[name] = None if own is None or None in below else own + max(filter(None, below), default=0)
        return known[name]


def call_graph(texts: Iterable[str], indirect: Mapping[str, Iterable[str]] | None = None) -> CallGraph:
    """The graph of a program from its .ci files. `indirect` adds calls that go through pointers: caller → callees."""
    graph = CallGraph()
    for text in texts:
        graph.add(text)
    for caller, callees in (indirect or {}).items():
        graph.calls.setdefault(caller, set()).update(callees)
    return graph
