"""The depth of the stack from gcc's call graph: on graphs drawn here, and on code that gcc compiled."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from harness.toolchain.stack import INDIRECT, LIBRARY_BYTES, call_graph

GRAPH = r"""graph: { title: "a.c"
node: { title: "top" label: "top\na.c:1:5\n16 bytes (static)\n0 dynamic objects" }
node: { title: "left" label: "left\na.c:2:5\n8 bytes (static)\n0 dynamic objects" }
node: { title: "right" label: "right\na.c:3:5\n32 bytes (dynamic,bounded)\n1 dynamic objects" }
node: { title: "memcpy" label: "__builtin_memcpy\n<built-in>" shape : ellipse }
edge: { sourcename: "top" targetname: "left" label: "a.c:1:9" }
edge: { sourcename: "top" targetname: "right" label: "a.c:1:9" }
edge: { sourcename: "left" targetname: "memcpy" label: "a.c:2:9" }
}
"""


def test_the_deepest_chain_counts() -> None:
    graph = call_graph([GRAPH])
    assert graph.depth("right") == 32
    assert graph.depth("left") == 8 + LIBRARY_BYTES
    assert graph.depth("top") == 16 + 8 + LIBRARY_BYTES


def test_calls_from_file_to_file() -> None:
    other = r"""node: { title: "main" label: "main\nb.c:1:5\n4 bytes (static)\n0 dynamic objects" }
node: { title: "top" label: "top\na.c:1:5" shape : ellipse }
edge: { sourcename: "main" targetname: "top" label: "b.c:1:9" }
"""
    assert (
        call_graph([other, GRAPH]).depth("main") == call_graph([GRAPH, other]).depth("main") == 4 + 24 + LIBRARY_BYTES
    )


def test_recursion_and_alloca_have_no_bound() -> None:
    edge = 'edge: { sourcename: "right" targetname: "top" label: "" }\n'
    assert call_graph([GRAPH + edge]).depth("top") is None
    assert call_graph([GRAPH.replace("dynamic,bounded", "dynamic")]).depth("top") is None


def test_calls_through_pointers() -> None:
    edge = f'edge: {{ sourcename: "right" targetname: "{INDIRECT}" label: "" }}\n'
    assert call_graph([GRAPH + edge], {INDIRECT: ["left"]}).depth("right") == 32 + 8 + LIBRARY_BYTES


@pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed")
def test_what_gcc_writes_is_understood(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text(
        "void leaf(volatile char *p) { volatile char big[200]; big[0] = *p; *p = big[199]; }\n"
        "static __attribute__((noinline)) void middle(volatile char *p) { leaf(p); *p = 1; }\n"
        "void root(void) { volatile char c = 0; middle(&c); c = 2; }\n"
    )
    flags = ["-mcpu=cortex-m3", "-mthumb", "-O1", "-fno-inline", "-fcallgraph-info=su", "-fstack-usage"]
    subprocess.run(["arm-none-eabi-gcc", *flags, "-c", "a.c"], cwd=tmp_path, check=True)
    frames = [int(line.split("\t")[1]) for line in (tmp_path / "a.su").read_text().splitlines()]
    assert call_graph([(tmp_path / "a.ci").read_text()]).depth("root") == sum(frames) >= 200
