"""Limits: endless loops end, swallowed ones too, nothing arrives late, too much memory is never taken."""

import contextlib
import ctypes
import importlib
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
import torch

from course_lib.exercises import limits
from course_lib.exercises.limits import MemoryCap, MemoryLimit, TimeLimit, call_within


def spin() -> None:
    while True:
        pass


def spin_through_exceptions() -> None:
    while True:
        with contextlib.suppress(Exception):
            spin()


def spin_through_everything_twice() -> None:
    for _ in range(2):
        with contextlib.suppress(BaseException):
            spin()
    spin()


@pytest.mark.parametrize("endless", [spin, spin_through_exceptions, spin_through_everything_twice])
@pytest.mark.parametrize("clock", ["wall_seconds", "cpu_seconds"])
def test_an_endless_loop_ends(endless, clock: str) -> None:
    with pytest.raises(TimeLimit):
        call_within(endless, **({"wall_seconds": 60} | {clock: 0.1}))


def test_waiting_costs_no_cpu_seconds() -> None:
    assert call_within(lambda: time.sleep(0.3) or "slept", wall_seconds=60, cpu_seconds=0.2) == "slept"


def test_a_call_that_could_not_be_interrupted_is_late_all_the_same() -> None:
    with pytest.raises(TimeLimit):
        call_within(lambda: time.sleep(0.04), wall_seconds=0.01)  # over before the first look at the clock


def test_results_and_exceptions_pass_through() -> None:
    assert call_within(lambda: 5, wall_seconds=5) == 5
    for error in (ValueError, KeyboardInterrupt, SystemExit):
        with pytest.raises(error):
            call_within(lambda error=error: (_ for _ in ()).throw(error()), wall_seconds=5)


def test_nothing_arrives_after_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that end just when the limit strikes: each must return or raise inside, never later."""
    monkeypatch.setattr(limits, "POLL_SECONDS", 0.0005)
    ended = {"returned": 0, "raised": 0}
    for i in range(300):
        until = time.perf_counter() + 0.002 + (i % 30) * 1e-5
        try:
            call_within(lambda until=until: wait_until(until), wall_seconds=0.0021)
            ended["returned"] += 1
        except TimeLimit:
            ended["raised"] += 1
        for _ in range(200):  # bytecodes for a stray exception to land on
            pass
    time.sleep(0.05)
    assert sum(ended.values()) == 300
    assert ended["raised"] > 0, "the limit never struck, so the race was not run"
    assert not [t for t in threading.enumerate() if t.name == "course-time-limit"]


def wait_until(end: float) -> None:
    while time.perf_counter() < end:
        pass


def test_an_import_is_not_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A half-imported module would stay broken for the rest of the session."""
    wait = "end = time.perf_counter() + 0.4\nwhile time.perf_counter() < end:\n    pass"
    source = f"import time\n{wait}\nwhole = True"
    (tmp_path / "slow_to_import.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TimeLimit):
        call_within(lambda: importlib.import_module("slow_to_import"), wall_seconds=0.1)
    assert sys.modules.pop("slow_to_import").whole


def test_the_cap_imports_what_it_needs_before_the_answer_runs() -> None:
    program = """
    import sys
    import torch
    from course_lib.exercises.limits import MemoryCap
    with MemoryCap(1e6):
        before = set(sys.modules)
        torch.ones(3)[:, None] + torch.ones(3)
        print(sorted(set(sys.modules) - before))
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_shot_that_has_not_landed_is_withdrawn() -> None:
    """Set and withdrawn inside one C call (map), so that no bytecode lies between for it to land on."""
    fire, me = ctypes.pythonapi.PyThreadState_SetAsyncExc, ctypes.c_ulong(threading.get_ident())
    list(map(fire, [me, me], [ctypes.py_object(TimeLimit), None]))
    for _ in range(1000):
        pass
    with pytest.raises(TimeLimit):
        list(map(fire, [me], [ctypes.py_object(TimeLimit)]))


def test_the_watchdog_does_not_shoot_after_standing_down() -> None:
    """It has seen that time is up and waits for the lock; what it finds there is a watchdog that is done."""
    dog, several_polls = limits._Watchdog(0, 0), 3 * limits.POLL_SECONDS

    def call() -> None:
        with dog.lock:
            time.sleep(several_polls)
            dog.stand_down()
        wait_until(time.perf_counter() + several_polls)

    dog.run(call)


def test_the_watchdog_does_not_shoot_once_the_call_has_left_the_stack() -> None:
    dog = limits._Watchdog(0, 0)
    assert dog.run(lambda: dog._frames())
    assert not dog._frames()
    time.sleep(3 * limits.POLL_SECONDS)  # over the limit, not yet stood down: nothing may land here
    dog.stand_down()


def test_the_cap_counts_what_is_alive() -> None:
    with MemoryCap(1e9) as cap:
        a = torch.zeros(1000)
        view = a.view(10, 100)[2:]
        del a
        assert cap.now == 4000, "a view keeps the storage alive and adds nothing"
        del view
        assert cap.now == 0
        torch.zeros(500), torch.zeros(500)
    assert cap.peak == 4000


def test_the_cap_does_not_count_what_was_there_before() -> None:
    outside = torch.zeros(10_000)
    with MemoryCap(1e9) as cap:
        kept = outside[:10].view(2, 5)
        kept.add_(1)
    assert cap.peak == 0


def test_what_autograd_keeps_is_counted() -> None:
    x = torch.zeros(1000, requires_grad=True)
    with MemoryCap(1e9) as cap:
        y = x.exp().exp().exp()
        assert cap.now == 12_000
        del y
    assert cap.now == 0


@pytest.mark.parametrize(
    "greedy",
    [
        lambda q: q @ q.T,
        lambda q: torch.einsum("ik,jk->ij", q, q),
        lambda q: (q[:, :, None] * q[:, None, :]).cumsum(0),
        lambda q: q[:, None, :] - q[None, :, :],
        lambda q: torch.zeros(len(q), len(q)),
        lambda q: q.new_zeros(len(q), len(q)),
        lambda q: torch.eye(len(q)),
        lambda q: torch.arange(len(q))[:, None] >= torch.arange(len(q)),
        lambda q: q.repeat(len(q), 1),
        lambda q: torch.cdist(q, q),
        lambda q: torch.nn.functional.one_hot(torch.arange(len(q))),
    ],
)
def test_a_large_result_is_stopped_before_it_exists(greedy) -> None:
    q = torch.zeros(4000, 64)
    with MemoryCap(10e6) as cap, pytest.raises(MemoryLimit) as stopped:
        greedy(q)
    assert stopped.value.nbytes > 10e6
    assert cap.peak < 10e6


def test_many_small_results_are_stopped_on_the_way() -> None:
    kept = []

    def hoard() -> None:
        for _ in range(10_000):
            kept.append(torch.zeros(1000))

    with MemoryCap(1e6) as cap, pytest.raises(MemoryLimit):
        hoard()
    assert len(kept) == 250 == cap.peak // 4000


def test_a_swallowed_memory_limit_stops_every_later_operation() -> None:
    q = torch.zeros(4000, 64)
    with MemoryCap(10e6) as cap:
        with contextlib.suppress(BaseException):
            q @ q.T
        with pytest.raises(MemoryLimit):
            torch.zeros(1)
    assert cap.exceeded is not None


def test_a_token_loop_in_constant_memory_passes() -> None:
    k = torch.ones(2000, 32)
    with MemoryCap(1e6) as cap:
        state = torch.zeros(32, 32)
        for k_t in k.unbind(0):
            state = state + k_t[:, None] * k_t
    assert state[0, 0] == 2000
    assert cap.peak < 5 * state.nbytes
