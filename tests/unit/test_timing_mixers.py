"""`course bench mixers` measures every mixer, prints each number beside its aim and stores the samples."""

import json

import pytest

from course_lib import attention
from course_lib.cli import main
from course_lib.timing import Sweep, environment, load_sweep, mixers


@pytest.fixture
def tiny(monkeypatch):
    """The same parts at lengths that take a second in all."""
    for name, value in {
        "T_FORWARD": 64,
        "T_WINDOW": 64,
        "TRAINING": [32, 64],
        "DECODE": [8, 16],
        "D": 8,
    }.items():
        monkeypatch.setattr(mixers, name, value)
    monkeypatch.setattr(mixers, "SCANS", {16: "scan of 16", 256: "scan of 256"})


def test_every_linear_mixer_is_measured_and_stored(tiny, tmp_path):
    sweeps, files = mixers.record(tmp_path, budget_s=8)
    assert {path.name for path in files} == {f"mixers-{part}-cpu.csv" for part in sweeps}
    linear = [name for name, row in attention.REGISTRY.items() if row.family in ("decay", "delta")]
    assert len(linear) > 10
    assert set(linear) <= set(sweeps["forward"].names) & set(sweeps["training"].names) & set(
        sweeps["decode"].names
    )
    assert set(sweeps["window"].names) == {mixers.SDPA, *mixers.NEAR}
    assert {"sliding_window_attention", "bigbird_attention", "moba"} <= set(mixers.NEAR)
    for path in files:
        stored = load_sweep(path)
        part = path.stem.removeprefix("mixers-").removesuffix("-cpu")
        assert stored.samples == sweeps[part].samples
        assert (
            json.loads(path.with_suffix(".json").read_text())["environment"]["commit"]
            == stored.environment.commit
        )


def made_up(part="forward", measure="time", **curves):
    """A sweep with these medians: curve -> {T: value}."""
    samples = {name.replace("_", " "): {T: (v,) for T, v in curve.items()} for name, curve in curves.items()}
    return {part: Sweep("", measure, samples, {}, environment(), "given")}


def test_a_line_is_a_ratio_an_exponent_a_growth_or_a_size():
    sweeps = made_up(a={64: 3.0, 128: 6.0}, b={64: 2.0})
    assert mixers.Line("forward", "a", "b", 64, "≤ 2", times=3).cells(sweeps)[3:] == [
        "3.00 s",
        "b",
        "0.500",
        "≤ 2",
    ]
    assert mixers.Line("forward", "a", "b", 64, inverse=True).cells(sweeps)[5] == "0.7 ×"
    assert mixers.Line("forward", "a", mixers.EXPONENT, 128).cells(sweeps)[5] == "1.00"
    assert mixers.Line("forward", "b", mixers.EXPONENT, 64).cells(sweeps)[5] == "–"
    assert mixers.Line("forward", "a", "c", 64).cells(sweeps)[5] == "–"
    assert mixers.Line("forward", "a", "b", 256).cells(sweeps) is None
    decode = made_up("decode", a={mixers.DECODE[0]: 2.0, mixers.DECODE[1]: 3.0})
    assert mixers.Line("decode", "a", mixers.EARLIER, mixers.DECODE[1]).cells(decode)[5] == "1.50"
    memory = made_up("memory", "memory", a={64: 2**20})
    assert mixers.Line("memory", "a", T=64).cells(memory)[3] == "1.00 MiB"


def test_the_command_prints_the_table(tiny, tmp_path, capsys):
    assert main(["bench", "mixers", "--seconds", "8", "--folder", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "commit" in printed.splitlines()[0]
    assert "gated_delta_rule" in printed
    assert str(tmp_path / "mixers-decode-cpu.csv") in printed
