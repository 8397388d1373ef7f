"""The pretend machine keeps its promises: queued work, cold starts, outliers, heat, and samples of known truth."""

from statistics import fmean, median

import pytest

from course_lib.timing.pretend import COLD, PretendMachine, noisy_samples


def work(machine, T=1000):
    x = machine.make_inputs(T)
    machine.synchronize()
    start = machine.clock()
    machine.kernel(x)
    machine.synchronize()
    return machine.clock() - start


def test_a_call_returns_before_its_work_is_done():
    machine = PretendMachine()
    machine.kernel(machine.make_inputs(1000))
    assert machine.clock() == pytest.approx(0.5e-3 + 20e-6)
    machine.synchronize()
    assert machine.clock() == pytest.approx(0.5e-3 + 40 * 2e-3)


def test_work_waits_in_a_queue_and_an_idle_device_begins_at_once():
    machine = PretendMachine()
    for _ in range(2):
        machine.kernel(machine.make_inputs(1000))
    machine.synchronize()
    machine.idle(1.0)
    machine.kernel(machine.make_inputs(1000))
    first, second, third = machine.calls
    assert second.called < first.finished
    assert second.finished - first.finished == pytest.approx(3 * 2e-3)
    assert third.finished - third.called == pytest.approx(2 * 2e-3)
    assert third.called - third.began == pytest.approx(0.5e-3)


def test_inputs_that_are_used_again_are_not_begun_again():
    machine = PretendMachine()
    x = machine.make_inputs(1000)
    machine.kernel(x)
    machine.kernel(x)
    assert machine.calls[1].began == machine.calls[1].called


def test_every_length_starts_cold():
    machine = PretendMachine()
    for T in (1000, 3000):
        first = [work(machine, T) for _ in COLD]
        assert first == pytest.approx([T * 2e-6 * factor for factor in COLD])


def test_warm_samples_have_the_true_median_and_outliers_on_both_sides():
    machine = PretendMachine()
    for _ in COLD:
        work(machine)
    samples = [work(machine) for _ in range(15)]
    assert median(samples) == pytest.approx(2e-3)
    assert min(samples) < 1.9e-3 < 2.1e-3 < fmean(samples)


def test_a_hot_machine_is_slower():
    machine = PretendMachine(slows_after=4)
    samples = [work(machine) for _ in range(9)]
    assert samples[-1] == pytest.approx(1.5 * 2e-3)


def test_noisy_samples_have_a_known_median_and_a_tail():
    samples = noisy_samples(4000, interrupted=0.1, seed=3)
    assert samples == noisy_samples(4000, interrupted=0.1, seed=3)
    assert samples != noisy_samples(4000, interrupted=0.1, seed=4)
    assert median(samples) == pytest.approx(1e-3, rel=0.01)
    assert fmean(samples) == pytest.approx(1.3e-3, rel=0.05)
    assert sum(s > 1.05e-3 for s in samples) / 4000 == pytest.approx(0.1, abs=0.02)
    assert max(noisy_samples(1000, interrupted=0.0)) < 1.03e-3
