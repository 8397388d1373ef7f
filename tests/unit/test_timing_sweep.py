"""Sweeps over synthetic functions whose law is known: the fit must find it, and stop where it must."""

import dataclasses
import json
import os

import pytest
import torch

from course_lib import timing
from course_lib.timing import store
from course_lib.timing.sweeps import Sweep, extrapolate

LENGTHS = [2**i for i in range(5, 12)]  # 32 … 2,048


class FakeTime:
    """A clock that only moves when a function "runs"."""

    def __init__(self):
        self.now = 0.0
        self.log = []

    def __call__(self) -> float:
        return self.now

    def law(self, name, seconds):
        """A function of T that takes seconds(T)."""

        def fn(T):
            self.now += seconds(T)
            self.log.append((name, T))

        return fn


def run(laws, *, lengths=LENGTHS, clock=None, make_inputs=lambda T: (T,), **options):
    clock = clock or FakeTime()
    fns = {name: clock.law(name, seconds) for name, seconds in laws.items()}
    return timing.sweep(fns, make_inputs, lengths, clock=clock, **options)


def made(**curves) -> Sweep:
    """A sweep with one sample per point, as if measured."""
    samples = {name: {T: (value,) for T, value in curve.items()} for name, curve in curves.items()}
    return Sweep("made", "time", samples, {}, timing.environment(), "given")


def test_exponents_of_pure_power_laws_are_exact():
    swept = run({"linear": lambda T: 1e-4 * T, "quadratic": lambda T: 1e-6 * T**2}, budget_s=1e3)
    assert swept.exponent("linear") == pytest.approx(1)
    assert swept.exponent("quadratic") == pytest.approx(2)
    assert swept.values["linear"][64] == pytest.approx(64e-4)


def test_the_exponent_looks_at_the_last_points_only():
    """A constant overhead flattens the start; far out the slope is the law's."""
    swept = run({"a": lambda T: 1e-2 + 1e-6 * T**2}, lengths=[2**i for i in range(5, 18)], budget_s=1e7)
    assert swept.exponent("a") == pytest.approx(2, abs=1e-3)
    assert swept.exponent("a", last=13) < 1.9


def test_the_crossover_of_two_laws_is_where_they_are_equal():
    # 1e-6 T² = 3e-4 T at T = 300, between two measured lengths
    swept = run({"linear": lambda T: 3e-4 * T, "quadratic": lambda T: 1e-6 * T**2}, budget_s=1e3)
    assert swept.crossover("linear", "quadratic") == pytest.approx(300)
    assert swept.crossover("quadratic", "linear") == pytest.approx(300)


def test_a_crossover_exactly_on_a_measured_length():
    swept = made(linear={T: 256.0 * T for T in LENGTHS}, quadratic={T: float(T**2) for T in LENGTHS})
    assert swept.crossover("linear", "quadratic") == pytest.approx(256)


def test_no_crossover_is_invented():
    apart = made(a={T: 1.0 * T for T in LENGTHS}, b={T: 3.0 * T for T in LENGTHS})
    assert apart.crossover("a", "b") is None
    touching = made(a={1: 1.0, 2: 2.0, 4: 1.0}, b={1: 2.0, 2: 2.0, 4: 2.0})
    assert touching.crossover("a", "b") is None
    elsewhere = made(a={1: 1.0, 2: 2.0}, b={4: 1.0, 8: 2.0})
    assert elsewhere.crossover("a", "b") is None


def test_a_ratio_is_given_where_both_curves_are_measured():
    swept = made(a={1: 6.0, 2: 6.0, 4: 6.0}, b={2: 3.0, 4: 2.0, 8: 1.0})
    assert swept.ratio("a", "b") == {2: 2.0, 4: 3.0}


def test_of_several_crossings_the_last_counts():
    swept = made(a={1: 1.0, 4: 4.0, 16: 1.0, 64: 4.0}, b={1: 2.0, 4: 2.0, 16: 2.0, 64: 2.0})
    assert swept.crossover("a", "b") == pytest.approx(32)


def test_a_curve_stops_before_the_budget_is_gone_and_says_so():
    clock = FakeTime()
    swept = run({"fast": lambda T: 1e-5 * T, "slow": lambda T: 1e-5 * T**2}, clock=clock, budget_s=20)
    T, reason = swept.stopped["slow"]
    assert min(set(LENGTHS) - set(swept.lengths("slow"))) == T
    assert "20 s" in reason
    assert swept.lengths("fast") == LENGTHS
    assert clock.now <= 20
    assert "slow ends before" in str(swept) == repr(swept)
    assert "slow ends before" in swept._repr_html_()


def test_the_budget_holds_for_many_laws():
    for power in (1, 1.5, 2, 3):
        clock = FakeTime()
        run({"a": lambda T, p=power: 1e-5 * T**p, "b": lambda T: 1e-4}, clock=clock, budget_s=3)
        assert clock.now <= 3


def test_what_would_fit_is_measured():
    """Three samples and two warm-up calls of every point fit: nothing may be left out."""
    cost = sum(1e-4 * T for T in LENGTHS)
    swept = run({"a": lambda T: 1e-4 * T}, budget_s=12 * cost)
    assert swept.lengths("a") == LENGTHS
    assert not swept.stopped


def test_every_shape_is_called_before_anything_is_timed_and_curves_take_turns():
    clock = FakeTime()
    run({"a": lambda T: 1e-3 * T, "b": lambda T: 1e-3 * T}, clock=clock, budget_s=1e4, lengths=[2, 4, 8])
    surveyed = clock.log[: next(i for i in range(1, len(clock.log)) if clock.log[i][1] < clock.log[i - 1][1])]
    assert {T for _, T in surveyed} == {2, 4, 8}
    sampled = [name for name, T in clock.log[len(surveyed) :] if T == 2]
    assert "".join(sampled[:8]) == "abbaabba"


def test_making_the_inputs_is_not_measured():
    clock = FakeTime()

    def slow_inputs(T):
        clock.now += 5.0
        return (T,)

    swept = run({"a": lambda T: 1e-3 * T}, clock=clock, make_inputs=slow_inputs, budget_s=1e3)
    assert swept.values["a"][64] == pytest.approx(64e-3)


def test_raw_samples_are_kept_and_the_value_is_their_median():
    costs = iter([1.0, 1.0, 1.0, 9.0, 2.0, 4.0] + [3.0] * 100)
    swept = run({"a": lambda T: next(costs)}, lengths=[8], budget_s=40)
    taken = swept.samples["a"][8]
    assert len(taken) >= 3
    assert swept.values["a"][8] == sorted(taken)[len(taken) // 2]
    assert max(taken) == 9.0


def test_a_curve_stops_at_the_memory_limit():
    limit = 5 * 2**20
    fns = {"square": lambda T: torch.empty(T, T), "row": lambda T: torch.empty(T)}
    swept = timing.sweep(
        fns, lambda T: (T,), [256, 512, 1024, 2048], memory_limit=limit, measure="memory", budget_s=30
    )
    assert swept.values["square"] == {256: 2**18, 512: 2**20, 1024: 4 * 2**20}
    T, reason = swept.stopped["square"]
    assert T == 2048
    assert "16.0 MiB" in reason
    assert swept.lengths("row") == [256, 512, 1024, 2048]
    assert swept.exponent("square") == pytest.approx(2)
    assert "4.00 MiB" in str(swept)


def test_the_memory_limit_also_holds_while_timing():
    swept = timing.sweep(
        {"square": lambda T: torch.empty(T, T)},
        lambda T: (T,),
        [256, 512, 1024],
        memory_limit=2 * 2**20,
        budget_s=30,
    )
    assert swept.lengths("square") == [256, 512]
    assert swept.stopped["square"][0] == 1024


def test_running_out_of_memory_ends_a_curve_and_other_errors_are_raised():
    def full(T):
        if T > 32:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    swept = timing.sweep({"full": full, "ok": lambda T: None}, lambda T: (T,), [32, 64], budget_s=1)
    assert swept.stopped["full"] == (64, "memory ran out")
    assert swept.lengths("ok") == [32, 64]

    def broken(T):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        timing.sweep({"broken": broken}, lambda T: (T,), [32], budget_s=1)


def test_extrapolation_follows_the_last_two_points():
    assert extrapolate({}, 8) == 0
    assert extrapolate({4: 1.0}, 8) == pytest.approx(4)
    assert extrapolate({2: 9.0, 4: 1.0, 8: 2.0}, 16) == pytest.approx(4)
    assert extrapolate({4: 2.0, 8: 1.0}, 16) == pytest.approx(1), "noise must not predict a falling cost"


@pytest.mark.parametrize(
    ("bad", "name"),
    [
        ({"lengths": []}, "lengths"),
        ({"lengths": [0, 8]}, "lengths"),
        ({"measure": "joules"}, "joules"),
        ({"budget_s": 0}, "budget_s"),
    ],
)
def test_bad_arguments_are_named(bad, name):
    with pytest.raises(ValueError, match=name):
        run({"a": lambda T: 1.0}, **bad)


def test_unknown_curves_and_single_points_are_named():
    swept = made(a={8: 1.0})
    with pytest.raises(ValueError, match="no curve 'b'"):
        swept.crossover("a", "b")
    with pytest.raises(ValueError, match="a slope needs 2"):
        swept.exponent("a")
    assert "–" in str(swept)


# --- files ----------------------------------------------------------------------------------------


@pytest.fixture
def swept():
    return run({"a, b": lambda T: 1e-4 * T, "c": lambda T: 1e-5 * T**2}, budget_s=20, title="one, two")


def test_saving_and_loading_changes_nothing(swept, tmp_path):
    path = timing.save_sweep(swept, tmp_path / "deep" / "x.csv")
    assert timing.load_sweep(path) == swept
    assert sorted(p.name for p in path.parent.iterdir()) == ["x.csv", "x.json"]
    assert json.loads(path.with_suffix(".json").read_text())["measure"] == "time"
    assert path.read_text().splitlines()[0] == "curve,T,value"


def test_an_interrupted_save_keeps_the_old_file(swept, tmp_path, monkeypatch):
    path = timing.save_sweep(swept, tmp_path / "x.csv")
    before = path.read_bytes(), path.with_suffix(".json").read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(store.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        timing.save_sweep(dataclasses.replace(swept, title="new"), path)
    assert (path.read_bytes(), path.with_suffix(".json").read_bytes()) == before


def test_only_csv_is_written(swept, tmp_path):
    with pytest.raises(ValueError, match=r"\.csv"):
        timing.save_sweep(swept, tmp_path / "x.txt")


def test_recorded_looks_in_every_folder(swept, tmp_path, monkeypatch):
    timing.save_sweep(swept, tmp_path / "second" / "here.csv")
    monkeypatch.setattr(store, "_folders", lambda: iter([tmp_path / "first", tmp_path / "second"]))
    assert timing.recorded("here") == swept
    assert timing.recorded("elsewhere") is None
    assert timing.recorded_names() == ["here"]


def test_the_committed_recordings_load_and_name_their_machine():
    names = timing.recorded_names()
    assert names, "data/measurements holds the first recorded sweep"
    for name in names:
        recording = timing.recorded(name)
        assert recording.environment.device
        assert len(recording.names) >= 2
        shortest = 5 if name.startswith("prefill") else 1  # a curve for a chapter, or a table
        assert all(len(recording.lengths(curve)) >= shortest for curve in recording.names)


def test_recording_writes_both_sweeps(tmp_path):
    from course_lib.timing.record import record

    paths = record(tmp_path, budget_s=2, lengths=[16, 32])
    sweeps = [timing.load_sweep(path) for path in paths]
    assert [taken.measure for taken in sweeps] == ["time", "memory"]
    assert [path.stem.removesuffix("-cpu").removesuffix("-gpu") for path in paths] == [
        "prefill",
        "prefill-memory",
    ]
    assert sweeps[0].names == sweeps[1].names
    assert os.path.commonpath(paths) == str(tmp_path)


def test_lengths_may_be_a_generator_or_an_array():
    for lengths in ((T for T in (32, 64)), torch.tensor([32, 64]).numpy()):
        assert run({"a": lambda T: 1e-4 * T}, lengths=lengths).lengths("a") == [32, 64]


def test_a_curve_of_zeros_has_no_ratio_no_crossover_and_no_exponent():
    """measure="memory" of a function that allocates nothing."""
    swept = made(nothing={1: 0.0, 2: 0.0, 4: 0.0}, something={1: 1.0, 2: 2.0, 4: 4.0})
    assert swept.ratio("something", "nothing") == {}
    assert swept.crossover("something", "nothing") is None
    assert swept.crossover("nothing", "something") is None
    assert "–" in str(swept)
    with pytest.raises(ValueError, match="0 points above 0"):
        swept.exponent("nothing")


def test_a_tie_between_two_orders_is_the_crossover():
    swept = made(a={1: 2.0, 2: 1.0, 4: 0.9}, b={1: 1.0, 2: 1.0, 4: 1.0})
    assert swept.crossover("a", "b") == 2
