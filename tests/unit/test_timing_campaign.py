"""`course bench` measures in groups, writes after each, goes on where it ended, and says what it left out."""

import pytest
import torch

from course_lib import attention
from course_lib.cli import main
from course_lib.timing import campaign, load_sweep, save_sweep, validate


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(campaign, "LENGTHS", {"cpu": [4, 8], "cuda": [4, 8]})
    monkeypatch.setattr(campaign, "D", 8)
    monkeypatch.setattr(campaign, "H", 2)


def stored(folder):
    (path,) = folder.glob("*.csv")
    return load_sweep(path)


def test_every_mixer_is_measured_in_every_group(tiny, tmp_path, capsys):
    assert main(["bench", "--folder", str(tmp_path), "--seconds", "1"]) == 0
    taken = stored(tmp_path)
    expected = {group.curve(name) for group in campaign.groups() for name in attention.REGISTRY}
    assert set(taken.names) == expected
    assert all(set(curve) == {4, 8} for curve in taken.samples.values())
    assert all(
        len(samples) >= campaign.MIN_ROUNDS for curve in taken.samples.values() for samples in curve.values()
    )
    printed = capsys.readouterr().out
    assert "gla | block | training | float32" in printed
    assert "rwkv7 | alone | decode | bfloat16" in printed


def test_a_first_look_stops_at_the_longest(tiny, tmp_path):
    assert {group.T for group in campaign.groups(5)} == {4}
    assert {group.T for group in campaign.groups()} == {4, 8}
    with pytest.raises(ValueError, match="longest is 3; at least 4 is expected"):
        campaign.campaign(tmp_path, budget_s=1, longest=3)


def test_a_killed_run_goes_on_where_it_ended(tiny, tmp_path, monkeypatch):
    measured, original = [], campaign.compare

    def interrupted(calls, **options):
        if len(measured) == 3:
            raise KeyboardInterrupt
        measured.append(tuple(calls))
        return original(calls, **options)

    monkeypatch.setattr(campaign, "compare", interrupted)
    with pytest.raises(KeyboardInterrupt):
        campaign.campaign(tmp_path, budget_s=1)
    before = stored(tmp_path)
    assert sum(len(curve) for curve in before.samples.values()) == sum(map(len, measured))
    monkeypatch.setattr(campaign, "compare", original)
    campaign.campaign(tmp_path, budget_s=1)
    after = stored(tmp_path)
    assert len(after.names) == len(attention.REGISTRY) * 12
    for name, curve in before.samples.items():
        assert all(after.samples[name][T] == samples for T, samples in curve.items())


def test_a_run_with_another_stamp_is_neither_continued_nor_lost(tiny, tmp_path):
    from dataclasses import replace

    path = campaign.campaign(tmp_path, budget_s=1)
    taken = load_sweep(path)
    assert campaign._resume(tmp_path, taken.environment) == (path, taken)
    older = replace(taken, environment=replace(taken.environment, torch="1.0"))
    save_sweep(older, path)
    second, nothing = campaign._resume(tmp_path, taken.environment)
    assert (second.name, nothing.samples) == (f"{path.stem}-2.csv", {})
    save_sweep(taken, second)
    assert campaign._resume(tmp_path, taken.environment) == (second, taken)
    assert load_sweep(path) == older


def test_a_curve_that_would_take_too_long_is_left_out_and_named():
    group = campaign.Group("forward", "alone", "float32", 4096)
    taken = campaign._resume(campaign.Path("nowhere"), campaign.environment())[1]
    curve = group.curve("gla")
    taken.samples[curve] = {1024: (1.0,), 2048: (4.0,)}
    assert not campaign._fits(group, "gla", taken, share_s=1.0)
    assert taken.stopped[curve] == (4096, "a call would take about 16 s")
    assert campaign._fits(group, "kda", taken, share_s=1.0)


def test_validation_finds_the_size_of_a_tensor_and_five_kernels():
    assert validate.memory() == pytest.approx(1, abs=0.05)
    assert len(validate.kernels()) == 5
    assert all(isinstance(fn(), torch.Tensor | tuple) for fn in validate.kernels().values())
    assert "torch Timer" in validate.others()
