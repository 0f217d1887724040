"""The pytest plugin: `pytest --board=qemu_cortex_m3` with fixtures that compile, run and verify models.

    def test_my_model(verify_model):
        verify_model("model.tflite")

    board           the `Board` under test; tests are run once for each --board
    compile_model   compile_model(path) -> CSource for that board
    session         session(path | CSource | Firmware) -> Session, running; closed at the end of the test
    verify_model    verify_model(path, **options of harness.verify) -> Report; fails the test unless it is a match

    @pytest.mark.board(core="cortex-m4", features={"dsp"})      runs on such boards only, skipped on others

Without --board the tests that need one are skipped, and the summary says so once.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.board import Board
    from harness.compiler.csource import CSource
    from harness.firmware import Firmware
    from harness.session import Session
    from harness.verification import Report

_MARKER = (
    "board(core=…, features=…): needs a board; with core (a name or several) and features (all of them), only such"
)
_SESSIONS: pytest.StashKey[list[Session]] = pytest.StashKey()
_NO_BOARD = "needs a board: give --board"


class VerificationFailed(AssertionError):
    """A model did not verify. `report` has everything; the test's own report carries it as text."""

    def __init__(self, report: Report) -> None:
        from harness.report.console import headline

        super().__init__(headline(report).plain)
        self.report = report


# ---- options -----------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("harness", "TinyML models on microcontrollers (layerproof)")
    group.addoption("--board", action="append", default=[], metavar="NAME", help="run on this board; may be repeated")
    group.addoption("--board-url", metavar="URL", help="serial port or pyserial URL that the board is behind")
    group.addoption("--oracle", metavar="NAME", help="reference interpreter, or an .npz file of expected tensors")
    group.addoption("--harness-artifacts", metavar="DIR", help="keep what each verification leaves below DIR")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARKER)
    names = _boards(config)
    if not names:
        return
    from harness.board import load_board

    for name in names:
        try:
            load_board(name)
        except HarnessError as error:
            raise pytest.UsageError(f"--board: {error}") from None
    if config.getoption("board_url") and len(names) > 1:
        raise pytest.UsageError("--board-url says where one board is, but --board was given several times")


def _boards(config: pytest.Config) -> list[str]:
    return list(dict.fromkeys(config.getoption("board")))


# ---- which tests run on which board ------------------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marked = metafunc.definition.get_closest_marker("board") is not None
    if marked and "board" not in metafunc.fixturenames:
        metafunc.fixturenames.append("board")
    names = _boards(metafunc.config)
    if "board" in metafunc.fixturenames and names:
        metafunc.parametrize("board", names, indirect=True, scope="session")


def pytest_runtest_setup(item: pytest.Item) -> None:
    wanted = [_wanted(marker) for marker in item.iter_markers("board")]
    if not wanted or not _boards(item.config):
        return
    from harness.board import load_board

    board = load_board(item.callspec.params["board"])  # type: ignore[attr-defined]  # set by pytest_generate_tests
    for cores, features in wanted:
        if cores and board.cpu.core not in cores:
            pytest.skip(f"for {' or '.join(sorted(cores))}; {board.name} is a {board.cpu.core}")
        if features - board.cpu.features:
            pytest.skip(f"needs {', '.join(sorted(features - board.cpu.features))}, which {board.name} has not")


def _wanted(marker: pytest.Mark) -> tuple[frozenset[str], frozenset[str]]:
    unknown = [*map(str, marker.args), *sorted(marker.kwargs.keys() - {"core", "features"})]
    if unknown:
        raise pytest.UsageError(f"the marker board takes core=… and features=…, not {unknown[0]}")
    return _words(marker.kwargs.get("core", ())), _words(marker.kwargs.get("features", ()))


def _words(value: Any) -> frozenset[str]:
    return frozenset([value] if isinstance(value, str) else value)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    skipped = [r for r in terminalreporter.getreports("skipped") if _NO_BOARD in str(r.longrepr)]
    if skipped:
        tests = "1 test was" if len(skipped) == 1 else f"{len(skipped)} tests were"
        terminalreporter.write_line(
            f"harness: {tests} skipped for want of a board; give --board=NAME, such as --board=qemu_cortex_m3 "
            "(`harness boards` lists them)"
        )


# ---- fixtures ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def board(request: pytest.FixtureRequest) -> Board:
    """The board under test. Skips the test when none was named."""
    name = getattr(request, "param", None)
    if name is None:
        pytest.skip(_NO_BOARD)
    from harness.board import load_board

    return load_board(name)


@pytest.fixture
def compile_model(board: Board) -> Callable[[Path | str], CSource]:
    """compile_model(path) -> CSource for the board under test."""
    from harness.compiler import compile_model as compile_

    return lambda path: compile_(Path(path), board.target)


@pytest.fixture
def session(
    board: Board, compile_model: Callable[[Path | str], CSource], request: pytest.FixtureRequest
) -> Iterator[Callable[..., Session]]:
    """session(model) -> Session of a model's path, a CSource or a Firmware, running; closed when the test ends."""
    from harness.compiler.csource import CSource
    from harness.firmware import Firmware, build
    from harness.session import open_session

    with ExitStack() as stack:

        def start(model: Path | str | CSource | Firmware, **options: Any) -> Session:
            if not isinstance(model, Firmware):
                model = build(model if isinstance(model, CSource) else compile_model(model), board)
            opened = open_session(model, board, request.config.getoption("board_url"), **options)
            request.node.stash.setdefault(_SESSIONS, []).append(opened)
            return stack.enter_context(opened)

        yield start


@pytest.fixture
def verify_model(
    board: Board, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Report]:
    """verify_model(path, **options) -> Report, or a failing test; options as for `harness.verify`."""
    from harness.verification import verify

    chosen = request.config.getoption("harness_artifacts")
    label = re.sub(r"[^A-Za-z0-9_.\[\]-]+", "_", request.node.nodeid)
    count = 0

    def run(path: Path | str, **options: Any) -> Report:
        __tracebackhide__ = True
        nonlocal count
        count += 1
        folder = label if count == 1 else f"{label}-{count}"
        root = Path(chosen) if chosen else tmp_path_factory.mktemp("harness")
        given = {
            "artifacts": root / folder if chosen else root,
            "oracle": request.config.getoption("oracle"),
            "url": request.config.getoption("board_url"),
        }
        try:
            report = verify(path, board, **{**given, **options})
        except HarnessError as error:  # says all there is to say: how the harness came to it is of no interest
            raise error.with_traceback(None) from None
        if not report.ok:
            raise VerificationFailed(report)
        return report

    return run


# ---- what a failing test carries ---------------------------------------------------------------------------------


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, Any, None]:
    outcome = yield
    report: pytest.TestReport = outcome.get_result()
    if not report.failed or call.excinfo is None:
        return
    found: list[tuple[str, str]] = []
    error = call.excinfo.value
    if isinstance(error, VerificationFailed):
        from harness.report.sections import sections

        found += sections(error.report)
    for opened in item.stash.get(_SESSIONS, []):
        found += _session_sections(opened, error)
    if found:
        found.append(("rerun this test", _rerun(item)))
    # Sections of the failure's own text, because a report's other sections do not reach JUnit XML by default.
    add = getattr(report.longrepr, "addsection", None)
    for title, text in found:
        if add is not None:
            add(title, text, "-")
        else:
            report.sections.append((title, text))


def _session_sections(session: Session, error: BaseException) -> list[tuple[str, str]]:
    """Of a session that the test drives itself: the traceback when the target stopped, and the UART log."""
    from harness.debug.stops import explain_stop
    from harness.report.console import plain
    from harness.report.sections import uart_text
    from harness.report.traceback import traceback_text
    from harness.verdict import TargetStopped

    found = [("UART log", uart_text(session.uart_log, session.log))]
    if isinstance(error, TargetStopped):
        firmware = session.firmware
        crash = explain_stop(
            error, firmware.elf, source=firmware.source, read_memory=session.read_memory, board=firmware.board
        )
        found[:0] = [] if crash is None else [("traceback", plain(traceback_text(crash)))]
    return found


def _rerun(item: pytest.Item) -> str:
    words = ["pytest", item.nodeid, *(f"--board={name}" for name in _boards(item.config))]
    for option in ("board_url", "oracle"):
        value = item.config.getoption(option)
        words += [f"--{option.replace('_', '-')}={value}"] if value else []
    return shlex.join(words)
