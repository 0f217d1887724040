"""A small program that starts one other and never lets it outlive the harness. Run by `process.py`, not imported.

    guardian.py CONTROL STATUS PARENT MEMORY_LIMIT FILE_LIMIT INHERITED -- PROGRAM ARGUMENT…

CONTROL is a pipe's read end: each byte is a signal to send to the program, its end means that the harness is gone.
STATUS is a pipe's write end: one line of JSON when the program runs, one when it ended. PARENT is the harness' process
id, MEMORY_LIMIT bytes of address space, FILE_LIMIT bytes of any file the program writes (0: no limit), INHERITED file
descriptors for the program, with commas.

The harness may be killed with SIGKILL, exit without clean-up, or have forked children that hold CONTROL open: so the
parent process itself is watched as well. Should the guardian be killed, the kernel kills the program (Linux only).
Only the standard library's quick parts are imported: this stands between the user and every run.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import sys
from typing import NoReturn

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def main(argv: list[str]) -> None:
    control, status, parent, *limits = (int(text) for text in argv[:5])
    inherited = [int(text) for text in argv[5].split(",") if text]
    command = argv[7:]
    for descriptor in (control, status):
        os.set_inheritable(descriptor, False)
    child_ended, child_ending = os.pipe()
    os.set_blocking(child_ending, False)
    signal.set_wakeup_fd(child_ending)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    libc = ctypes.CDLL(None, use_errno=True)
    guardian = os.getpid()
    started, starting = os.pipe()  # closed by a successful exec, or carries the reason why there was none
    child = os.fork()
    if child == 0:
        become(command, starting, limits, inherited, guardian, libc)
    os.close(starting)
    release([0, 1, 2, *inherited])
    failure = os.read(started, 4096).decode()
    say(status, {"error": failure} if failure else {"pid": child})
    watch(control, child_ended, parent, child)
    kill(child)
    _, result = os.waitpid(child, 0)
    say(status, {"signal": os.WTERMSIG(result)} if os.WIFSIGNALED(result) else {"code": os.WEXITSTATUS(result)})


def become(
    command: list[str], starting: int, limits: list[int], inherited: list[int], guardian: int, libc: ctypes.CDLL
) -> NoReturn:
    """Turn this forked process into the program; does not return."""
    try:
        os.setpgid(0, 0)
        if hasattr(libc, "prctl"):
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != guardian:
                os._exit(1)
        limit(resource.RLIMIT_CORE, 0)
        for kind, most in zip((resource.RLIMIT_AS, resource.RLIMIT_FSIZE), limits):
            if most:
                limit(kind, most)
        for descriptor in inherited:
            os.set_inheritable(descriptor, True)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and what is ignored stays so over exec
            signal.signal(number, signal.SIG_DFL)
        os.execvp(command[0], command)
    except (OSError, ValueError) as error:
        os.write(starting, f"{command[0]}: {getattr(error, 'strerror', error)}".encode())
    finally:
        os._exit(127)


def limit(kind: int, value: int) -> None:
    """Lower a limit to `value`, or leave it where it is lower already."""
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def release(descriptors: list[int]) -> None:
    """Let go of what belongs to the program, so that its peers see its end."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in descriptors:
        os.dup2(null, descriptor, inheritable=False)


def watch(control: int, child_ended: int, parent: int, child: int) -> None:
    """Pass signals on until the program ended or has to end."""
    gone = [control]
    if hasattr(os, "pidfd_open"):
        try:
            gone.append(os.pidfd_open(parent))
        except ProcessLookupError:
            return
        except OSError:  # not in this kernel or sandbox: the end of the pipe has to do
            gone = [control]
    while True:
        ready, _, _ = select.select([*gone, child_ended], [], [])
        if child_ended in ready:
            os.read(child_ended, 512)
            if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return
        if len(gone) > 1 and gone[1] in ready:
            return
        if control in ready:
            signals = os.read(control, 64)
            if not signals:
                return
            for number in signals:
                if number == signal.SIGKILL:
                    return
                os.kill(child, number)


def kill(child: int) -> None:
    """Kill the program and what it started; also when it ended already, as long as it has not been waited for."""
    os.killpg(child, signal.SIGKILL)


def say(status: int, message: dict[str, int | str]) -> None:
    try:
        os.write(status, (json.dumps(message) + "\n").encode())
    except BrokenPipeError:
        return  # the harness is gone: nobody is left to tell


if __name__ == "__main__":
    main(sys.argv[1:])
