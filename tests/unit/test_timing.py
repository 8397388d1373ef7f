"""Timing, without waiting: the functions under test move a clock of our own, so every number is exact."""

import json
import os
import platform
import subprocess
import sys

import numpy as np
import pytest
import torch

from course_lib import course, timing
from course_lib.timing import _format, clocks, sampling

MS = 1e-3


class FakeTime:
    """A clock that only moves when a function "runs"."""

    def __init__(self, tick: float = 0.0):
        self.now, self.tick = 0.0, tick

    def __call__(self) -> float:
        return self.now if not self.tick else self.now // self.tick * self.tick

    def takes(self, *costs: float):
        """A function whose calls take these seconds in turn; the last cost repeats."""
        left = list(costs)

        def fn(*_: object) -> None:
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return fn


# --- bench ----------------------------------------------------------------------------------------


def test_bench_leaves_the_slow_first_calls_out():
    clock = FakeTime()
    timed = timing.bench(clock.takes(0.05, 0.03, 0.02, 10 * MS), clock=clock, budget_s=0.5)
    assert timed.samples == pytest.approx([10 * MS] * timed.n)


def test_bench_reports_median_and_quantiles_of_its_samples():
    clock = FakeTime()
    cycle = [
        10 * MS,
        *(i * MS for _ in range(3) for i in (1, 2, 3, 4, 5)),
    ]  # the first is the only warm-up call
    timed = timing.bench(clock.takes(*cycle), clock=clock, budget_s=10 * MS, min_samples=15)
    assert timed.n == 15
    assert [timed.q20_s, timed.median_s, timed.q80_s] == pytest.approx([1.8 * MS, 3 * MS, 4.2 * MS])
    assert timed.ms == pytest.approx(3)
    assert timed.spread == pytest.approx(4.2 / 1.8)


def test_bench_spends_its_budget_and_no_more():
    clock = FakeTime()
    timing.bench(clock.takes(10 * MS), clock=clock, budget_s=0.5)
    assert 0.5 <= clock.now <= 0.5 + 10 * MS + 1e-9


def test_bench_takes_the_smallest_number_of_samples_even_past_the_budget():
    clock = FakeTime()
    assert timing.bench(clock.takes(1.0), clock=clock, budget_s=0.1, min_samples=7).n == 7


def test_short_calls_are_repeated_until_the_clock_can_tell():
    """A clock with 10 µs ticks reads 0 for one call of 2 µs; over 100 µs it errs by one tick, 10 %."""
    clock = FakeTime(tick=10e-6)
    timed = timing.bench(clock.takes(12e-6, 2e-6), clock=clock, budget_s=5 * MS)
    assert timed.median_s == pytest.approx(2e-6, rel=0.1)


@pytest.mark.parametrize("bad", [{"budget_s": 0}, {"min_samples": 0}])
def test_bench_names_a_bad_argument(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        timing.bench(lambda: None, **bad)


def test_bench_collects_no_garbage_while_sampling_and_again_afterwards():
    import gc

    seen = []
    timing.bench(lambda: seen.append(gc.isenabled()), budget_s=1 * MS)
    assert seen[-1] is False
    assert gc.isenabled()


@pytest.mark.parametrize(("chars", "room"), [(20, "11em"), (90, "28em")])
def test_a_caption_is_wider_than_a_narrow_table(chars, room):
    page = _format.html_table(["T"], [["1"]], "c" * chars)
    assert f'<caption style="text-align: left; min-width: {room}">' in page


def test_a_timing_prints_its_numbers_and_escapes_its_label():
    timed = timing.bench(lambda: None, budget_s=1 * MS, label="<b>")
    assert f"n = {timed.n}" in str(timed)
    assert "&lt;b&gt;" in timed._repr_html_()
    assert timed.to_dict()["samples"] == list(timed.samples)
    with pytest.raises(AttributeError):
        timed.n = 3


# --- compare --------------------------------------------------------------------------------------


def test_compare_takes_turns_and_turns_the_order_round():
    calls = []
    clock = FakeTime()
    cost = clock.takes(1 * MS)
    fns = {name: (lambda name=name: (calls.append(name), cost())) for name in "ab"}
    timing.compare(fns, rounds=4, clock=clock, budget_s=1 * MS)
    assert "".join(calls[-8:]) == "abbaabba"


def test_the_ratio_survives_a_machine_that_slows_down():
    """Each round runs ten times as slow as the one before; one function after the other would not see 2."""
    clock, calls = FakeTime(), []

    def run(cost: float) -> None:
        calls.append(cost)
        warm_ups, per_round = 2, 2
        clock.now += cost * 10 ** max(0, (len(calls) - 1 - warm_ups) // per_round)

    fns = {"a": lambda: run(2 * MS), "b": lambda: run(1 * MS)}
    compared = timing.compare(fns, rounds=4, clock=clock, budget_s=1 * MS)
    assert compared.ratio("a", "b") == pytest.approx(2)
    assert compared.ratio("b", "a") == pytest.approx(1 / 2)


def test_the_ratio_is_taken_within_rounds():
    def timed(*samples: float) -> timing.Timing:
        return timing.Timing(6.0, 1.0, 9.0, 3, "given", 1, "cpu", samples=samples)

    compared = timing.Comparison({"a": timed(2, 40, 6), "b": timed(1, 10, 6)})
    assert compared.ratio("a", "b") == 2  # of 2, 4 and 1; the medians alone would say 1


def test_compare_knows_its_names_and_shows_them():
    compared = timing.compare({"a": lambda: None, "b<": lambda: None}, rounds=2, budget_s=1 * MS)
    assert set(compared.timings) == {"a", "b<"}
    assert "b&lt;" in compared._repr_html_()
    assert "against a" in str(compared) == repr(compared)
    with pytest.raises(ValueError, match="no function 'c'"):
        compared.ratio("a", "c")
    with pytest.raises(ValueError, match="fns"):
        timing.compare({})


# --- clocks ---------------------------------------------------------------------------------------


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU the clock is cuda")
def test_automatic_clock_on_a_cpu(one_thread, monkeypatch):
    monkeypatch.setattr(clocks.platform, "system", lambda: "Linux")
    assert clocks.choose("auto").name == "process_time"
    monkeypatch.setattr(
        clocks.platform, "system", lambda: "Windows"
    )  # CPU time moves in steps of 16 ms there
    assert clocks.choose("auto").name == "perf_counter"
    monkeypatch.setattr(clocks.platform, "system", lambda: "Linux")
    torch.set_num_threads(2)
    assert clocks.choose("auto").name == "perf_counter"


def test_an_unknown_clock_is_named():
    with pytest.raises(ValueError, match="sundial"):
        timing.bench(lambda: None, clock="sundial")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_cuda_clock_needs_a_gpu():
    with pytest.raises(ValueError, match="no CUDA GPU"):
        timing.bench(lambda: None, clock="cuda")


def test_a_cuda_sample_flushes_first_and_synchronises_last(monkeypatch):
    """The order of events on a GPU, played by stand-ins: flush, start, call, end, synchronise, read."""
    log = []

    class Event:
        def __init__(self, enable_timing: bool):
            assert enable_timing

        def record(self) -> None:
            log.append("record")

        def elapsed_time(self, end: "Event") -> float:
            log.append("read")
            return 4.0  # milliseconds

    class Flush:
        def zero_(self) -> None:
            log.append("flush")

    monkeypatch.setattr(clocks.torch.cuda, "Event", Event)
    monkeypatch.setattr(clocks.torch.cuda, "synchronize", lambda: log.append("synchronise"))
    clock = clocks.CudaClock("cuda", FakeTime(), flush=Flush())
    assert clock.time(lambda: log.append("call")) == pytest.approx(4 * MS)
    assert log == ["flush", "record", "call", "record", "synchronise", "read"]
    assert clock.calls(1e-6) == 1, "a second call in a row would find the cache warm"


# --- the machine ----------------------------------------------------------------------------------


def test_calibrate_counts_operations_and_bytes(monkeypatch):
    """With every sample taking 10 ms, the rates are known: 2 n³ and 2 bytes over 10 ms."""
    from course_lib.timing import ceilings

    real = ceilings.bench
    clock = FakeTime()

    def timed(fn, **options):
        return real(lambda: (fn(), clock.takes(10 * MS)()), clock=clock, **options | {"budget_s": 20 * MS})

    monkeypatch.setattr(ceilings, "bench", timed)
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    rates = timing.calibrate(0.04, again=True)
    assert rates.gemm_flops == pytest.approx(2 * ceilings.GEMM_N[kind] ** 3 / (10 * MS))
    assert rates.bandwidth_bytes == pytest.approx(2 * ceilings.COPY_BYTES[kind] / (10 * MS))
    assert rates.balance == pytest.approx(rates.gemm_flops / rates.bandwidth_bytes)
    assert rates.to_dict()["dtype"] == "float32"
    assert "GFLOP/s" in str(rates)
    assert "GB/s" in rates._repr_html_()


def test_the_stamp_holds_no_name_of_host_or_user(monkeypatch):
    monkeypatch.setattr(platform, "node", lambda: "secret-host")
    for name in ("USER", "LOGNAME", "USERNAME", "HOME", "PWD"):
        monkeypatch.setenv(name, "/secret/user")
    stamp = timing.environment()
    text = str(stamp.to_dict()) + str(stamp) + stamp._repr_html_()
    assert "secret" not in text
    assert os.getcwd() not in text
    assert stamp.torch.split("+")[0] == torch.__version__.split("+")[0]
    assert stamp.threads == torch.get_num_threads()
    assert timing.Environment.from_dict(stamp.to_dict()) == stamp


def test_timing_does_not_import_matplotlib():
    code = "import sys, course_lib.timing; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def timing_of(*samples, **fields):
    known = {"clock": "given", "threads": 1, "device": "A processor", "samples": samples}
    q20, q50, q80 = map(float, np.quantile(samples, [0.2, 0.5, 0.8]))
    return timing.Timing(q50, q20, q80, len(samples), **(known | fields))


def test_a_timing_says_when_it_is_noisy_or_launch_bound():
    quiet, noisy = timing_of(1.0, 1.1, 1.2), timing_of(1.0, 1.5, 2.0, label="f")
    assert (quiet.noisy, noisy.noisy) == (False, True)
    assert "f (noisy)" in str(noisy)
    assert "(noisy)" not in str(quiet)
    assert noisy.to_dict()["noisy"] is True
    waited = timing_of(1.0, 1.0, issue_s=1.2)
    assert waited.launch_bound
    assert "(launch-bound)" in waited._repr_html_()
    assert not timing_of(1.0, 1.0, issue_s=0.2).launch_bound
    assert not quiet.launch_bound  # a CPU queues nothing


def test_a_training_step_makes_its_leaves_and_its_gradient_before():
    x = torch.arange(3.0)
    step = timing.training_step(lambda x: (x * x, "state"), x)
    (gradient,) = step()
    assert torch.equal(gradient, 2 * x)
    assert torch.equal(step()[0], gradient)
    assert not x.requires_grad


def test_a_graph_needs_a_gpu():
    if torch.cuda.is_available():
        x = torch.zeros(3, device="cuda")
        timing.graphed(lambda: x.add_(1))()
        assert x[0] >= 1
    else:
        with pytest.raises(ValueError, match="graphed needs a CUDA GPU"):
            timing.graphed(lambda: None)


RATES = timing.Rates(gemm_flops=100.0, bandwidth_bytes=10.0, dtype="float32", threads=1, device="A processor")


@pytest.mark.parametrize(
    ("flops", "moved", "bound", "least"),
    [(1000, 10, "compute", 10.0), (50, 100, "memory", 10.0), (100, 10, "compute", 1.0)],
)
def test_a_roofline_names_the_lower_ceiling(flops, moved, bound, least):
    found = timing.Roofline(timing_of(20.0, label="f"), flops, moved, RATES)
    assert (found.bound, found.least_s, found.fraction) == (bound, least, least / 20)
    assert found.intensity == flops / moved
    assert f"{bound}-bound" in str(found)
    assert found.to_dict()["bound"] == bound
    assert "balance 10.0" in found._repr_html_()


def test_a_roofline_measures_and_names_bad_counts():
    found = timing.roofline(lambda: sum(range(100)), 1e3, 1e3, rates=RATES, budget_s=0.01, label="sum")
    assert found.timing.label == "sum"
    assert found.timing.n >= 5
    for name in ("flops", "bytes"):
        with pytest.raises(ValueError, match=f"{name} is 0; expected a number above 0"):
            timing.roofline(lambda: None, **({"flops": 1, "bytes": 1} | {name: 0}), rates=RATES)


def test_calibration_is_remembered_until_asked_again(monkeypatch):
    from course_lib.timing import ceilings

    measured = iter(range(1, 9))
    monkeypatch.setattr(ceilings, "_measure", lambda seconds, dtype: next(measured))
    monkeypatch.setattr(ceilings, "_known", {})
    assert [timing.calibrate(), timing.calibrate(), timing.calibrate(again=True), timing.calibrate()] == [
        1,
        1,
        2,
        2,
    ]
    assert timing.calibrate(dtype=torch.float64) == 3


def test_a_stamp_names_the_commit_and_what_differs_from_it(tmp_path, monkeypatch):
    def git(*arguments):
        settings = ("-c", "user.name=a", "-c", "user.email=a@b")
        said = subprocess.run(["git", *settings, *arguments], cwd=tmp_path, check=True, capture_output=True)
        return said.stdout.decode().strip()

    monkeypatch.setattr(course, "checkout", lambda: tmp_path)
    assert timing.environment().commit is None  # no repository yet
    (tmp_path / "data").mkdir()
    for name in ("code.py", "data/measured.csv"):
        (tmp_path / name).write_text("1")
    git("init")
    git("add", "-A")
    git("commit", "-m", "first")
    commit = git("rev-parse", "--short=10", "HEAD")
    assert timing.environment().commit == commit
    (tmp_path / "data/measured.csv").write_text("2")  # what a measurement writes is no difference
    assert timing.environment().commit == commit
    (tmp_path / "code.py").write_text("2")
    assert timing.environment().commit == f"{commit}+"
    monkeypatch.setattr(course, "checkout", lambda: None)
    assert timing.environment().commit is None


def test_results_are_written_as_json_and_csv():
    one = timing_of(0.5, 0.25, label="f")
    assert json.loads(one.to_json())["samples"] == [0.5, 0.25]
    assert one.to_csv() == "what,seconds\nf,0.5\nf,0.25\n"
    both = timing.Comparison({"f": one, "g": timing_of(1.0)})
    assert both.to_csv().splitlines()[1:] == ["f,0.5", "f,0.25", "g,1.0"]
    assert json.loads(both.to_json())["g"]["median_s"] == 1.0
    under = timing.Roofline(one, 100, 10, RATES)
    assert json.loads(under.to_json())["bound"] == "compute"
    assert under.to_csv() == one.to_csv()
    curve = timing.Sweep("", "time", {"f": {1: (1.0,), 2: (2.0,)}}, {}, timing.environment(), "given")
    assert timing.Scaling(curve).to_csv().splitlines()[1] == '"f, T = 1",1.0'
    assert json.loads(timing.Scaling(curve).to_json())["f"]["exponent"][0] == pytest.approx(1)


def test_rounds_are_at_most_as_many_as_asked():
    quick = {"f": lambda: None}
    assert timing.compare(quick, budget_s=5, max_rounds=7).timings["f"].n == 7
    assert timing.compare(quick, budget_s=5, rounds=3).timings["f"].n == 3
    assert timing.compare(quick, budget_s=1e-6, min_rounds=4, max_rounds=9).timings["f"].n >= 4


def test_an_interrupted_warm_up_call_does_not_pass_for_the_cost():
    clock = FakeTime()
    cost = sampling.warm_up(
        clock.takes(20 * MS, 10 * MS, 100 * MS, 10 * MS), clocks.choose(clock), budget_s=10
    )
    assert cost == pytest.approx(10 * MS)
