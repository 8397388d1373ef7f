"""The sandbox's side of the grader: runs cells in IPython, and answers on inputs that the grader sends.

It knows no reference, no seed and no other submission. A student's code may replace any of it: what comes
back is only ever a value, and the grader judges it elsewhere.
"""

import inspect
import json
import linecache
import os
import resource
import socket
import sys
from pathlib import Path
from types import TracebackType

sys.path.insert(0, str(Path(__file__).parent))  # wire, and the stand-in for course_lib

import torch
import wire
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

MAX_TEXT = 300
OWN_CODE = "<ipython-input"


def main() -> None:
    """Sets the limits that a process sets itself, says that it is there, and serves until the grader goes."""
    options = json.loads(sys.argv[1])
    for name, limit in options["limits"].items():
        resource.setrlimit(getattr(resource, name), (limit, limit))
    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # where a failing start complains
    channel = socket.socket(fileno=options["fd"])
    server = Server()
    wire.send(channel, {"nonce": options["nonce"], "state": "ready"})
    while True:
        try:
            request, data = wire.receive(channel)
        except EOFError:
            return
        reply, buffers = server.serve(request, data)
        wire.send(channel, reply | {"nonce": request["nonce"]}, buffers)
        del data, buffers  # what has been sent or unpacked is not the next call's memory


class Server:
    """Cells, then cases: arguments are loaded, the function runs on them, and its value is fetched.

    Three steps, so that the grader can read from outside what the middle one takes.
    """

    def __init__(self) -> None:
        self.shell = quiet_shell()
        self.arguments: tuple = ()
        self.before: tuple | None = None
        self.value: object = None

    def serve(self, request: dict, data: bytearray) -> tuple[dict, list]:
        """One request's reply. Whatever a student's code raises becomes words."""
        try:
            if request["op"] == "load":
                return self.load(request["arguments"], data, request["keep"])
            if request["op"] == "fetch":
                return self.fetch()
            return getattr(self, request["op"])(request["what"]), []
        except BaseException as error:  # noqa: BLE001 - sys.exit() and Ctrl-C are no reason to stop serving
            return raised(error), []

    def cell(self, source: str) -> dict:
        """How a cell ended."""
        result = self.shell.run_cell(source, store_history=False)
        error = result.error_before_exec or result.error_in_exec
        return {"state": "returned"} if error is None else raised(error)

    def name(self, name: str) -> dict:
        """Takes the value of a name of the notebook, to be fetched."""
        if name not in self.shell.user_ns:
            return {"state": "missing"}
        self.value = self.shell.user_ns[name]
        return {"state": "returned"}

    def load(self, arguments: list, data: bytearray, keep: bool) -> tuple[dict, list]:
        """Arguments that are the next call's alone; `keep` a copy, to see whether the call changes them."""
        self.arguments, self.before, self.value = wire.unpack(arguments, data), None, None
        if keep:
            node, buffers = wire.pack(self.arguments)
            self.before = node, [bytes(buffer) for buffer in buffers]
        return {"state": "returned"}, []

    def run(self, name: str) -> dict:
        """Calls the function of that name on the loaded arguments."""
        if name not in self.shell.user_ns:
            return {"state": "missing"}
        answer = self.shell.user_ns[name]
        if answer is ...:
            return {"state": "not attempted"}
        if not callable(answer):
            text = f"a value of type {type(answer).__name__} stands where the function should be."
            return {"state": "failed", "text": text}
        self.value = answer(*self.arguments)
        return self.unfit() or {"state": "returned"}

    def unfit(self) -> dict | None:
        """Why the value cannot be judged; None when it can."""
        value = self.value
        if value is ...:
            return {"state": "not attempted"}
        if inspect.isgenerator(value) or inspect.iscoroutine(value):
            value.close()
            return {"state": "failed", "text": "calling the function runs nothing: return the result."}
        if self.before is not None and wire.pack(self.arguments) != self.before:
            return {
                "state": "failed",
                "text": "the function changes its inputs in place: work on new tensors.",
            }
        return None

    def fetch(self) -> tuple[dict, list]:
        """The value on its way out."""
        node, buffers = wire.pack(self.value)
        self.arguments, self.before, self.value = (), None, None
        return {"state": "returned", "value": node}, buffers


def quiet_shell() -> InteractiveShell:
    """IPython as a notebook has it, without history and without tracebacks, which nobody would read."""
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.cache_size = 0
    shell = InteractiveShell.instance(config=config)
    shell.showtraceback = shell.showsyntaxerror = lambda *arguments, **options: None
    return shell


def raised(error: BaseException) -> dict:
    """An error in words: its kind, its text, and the line of the student's own code."""
    if isinstance(error, NotImplementedError) and not error.args:
        return {"state": "not attempted"}
    try:
        text = " ".join(str(error).split())[:MAX_TEXT]
    except BaseException:  # noqa: BLE001 - an error of the student's own class
        text = ""
    kind = type(error).__name__
    return {"state": "raised", "error": kind[:60], "text": text, "line": own_line(error.__traceback__)}


def own_line(traceback: TracebackType | None) -> str:
    """`line 3 of recurrent: state = state + k * v`, for the innermost frame in a cell; else nothing."""
    line = ""
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code.co_filename.startswith(OWN_CODE) or "ipykernel" in code.co_filename:
            text = linecache.getline(code.co_filename, traceback.tb_lineno).strip()[:100]
            line = f"line {traceback.tb_lineno - code.co_firstlineno + 1} of {code.co_name}: {text}"
        traceback = traceback.tb_next
    return line


if __name__ == "__main__":
    main()
