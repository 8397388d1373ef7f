"""Servers on this machine, for as long as a test needs them."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError

START_S = 120


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(
    arguments: Sequence[str], url: str, checkout: Path, log: Path, **variables: str
) -> Iterator[None]:
    """`course ARGUMENTS` of `checkout`, from when `url` answers until the block ends.

    The variables of the test run that send a student's work elsewhere are taken out.
    """
    env = {name: value for name, value in os.environ.items() if name != "COURSE_PROGRESS"}
    env |= {"PYTHONPATH": str(checkout)} | variables
    command = [sys.executable, "-m", "course_lib.cli", *arguments]
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(
            command, cwd=checkout, env=env, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            _wait(url, process, log)
            yield
        finally:  # `course` waits for a server of its own process; both get what Ctrl+C sends
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=30)


def _wait(url: str, process: subprocess.Popen, log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except HTTPError:  # it speaks, if only to refuse
            return
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"nothing answers at {url}\n{log.read_text(encoding='utf-8')[-3000:]}")
