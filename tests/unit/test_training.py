"""A training resumes exactly, is never done twice, and is recorded with what made it."""

import json

import pytest
import torch

from course_lib import experiments, training
from course_lib.experiments import EXPERIMENTS, Experiment, binned, record, recorded_runs
from course_lib.models import LanguageModel
from course_lib.tasks import TASKS
from course_lib.training import evaluate, evaluate_by, train

TINY = {"vocab": 8, "d": 8, "heads": 1, "mixers": ["delta_rule"], "conv": 2}
ASKED = {"task_options": {"T": 12, "pairs": 2, "vocab": 8}, "batch": 4, "every": 3, "lr": 1e-2}


def weights(run):
    return torch.cat([p.detach().flatten() for p in run.net.parameters()])


class StoppedError(Exception):
    pass


def test_a_run_cut_off_ends_as_if_it_had_never_stopped(tmp_path, monkeypatch):
    whole = train("mqar", TINY, steps=9, folder=tmp_path / "whole", **ASKED)
    step = training._step

    def breaks(run, optimiser, schedule, number):
        if number == 8:
            raise StoppedError
        step(run, optimiser, schedule, number)

    monkeypatch.setattr(training, "_step", breaks)
    with pytest.raises(StoppedError):
        train("mqar", TINY, steps=9, folder=tmp_path / "cut", **ASKED)
    seen = []
    monkeypatch.setattr(training, "_step", lambda *args: (seen.append(args[-1]), step(*args)))
    cut = train("mqar", TINY, steps=9, folder=tmp_path / "cut", **ASKED)
    assert seen == [7, 8, 9]  # from the checkpoint after step 6
    assert cut.curve == whole.curve
    assert torch.equal(weights(cut), weights(whole))
    assert [p.name for p in (tmp_path / "cut").iterdir() if p.suffix == ".part"] == []


def test_a_finished_run_is_read_and_other_arguments_train_anew(tmp_path, monkeypatch):
    first = train("mqar", TINY, steps=3, folder=tmp_path, **ASKED)
    monkeypatch.setattr(training, "_step", lambda *_: pytest.fail("trained again"))
    again = train("mqar", TINY, steps=3, folder=tmp_path, **ASKED)
    assert again.curve == first.curve
    assert torch.equal(weights(again), weights(first))
    assert again.seconds == first.seconds
    for change in ({"seed": 1}, {"lr": 2e-2}, {"steps": 4}):
        with pytest.raises(pytest.fail.Exception, match="trained again"):
            train("mqar", TINY, folder=tmp_path, **{"steps": 3} | ASKED | change)


def test_a_broken_checkpoint_counts_as_none(tmp_path):
    first = train("mqar", TINY, steps=3, folder=tmp_path, **ASKED)
    (path,) = tmp_path.glob("*.pt")
    path.write_bytes(path.read_bytes()[:100])
    assert train("mqar", TINY, steps=3, folder=tmp_path, **ASKED).curve == first.curve


def test_it_learns_and_stops_early(tmp_path):
    dressed = {"silu": True, "qk_norm": True, "out_norm": True, "beta_max": 2.0}
    model = {"vocab": 2, "d": 32, "heads": 1, "head_size": 8, "mixers": ["delta_rule"]} | dressed
    asked = {"task_options": {"T": 6}, "every": 20, "lr": 1e-2}
    run = train("parity", model, steps=400, stop_at=0.99, folder=tmp_path, **asked)
    assert run.accuracy >= 0.99
    assert run.steps_to(0.99) == run.curve[-1].step < 400
    assert evaluate(run.net, "parity", T=6).accuracy == run.accuracy
    assert run.steps_to(2.0) is None


def test_training_leaves_threads_and_random_numbers_alone(tmp_path):
    torch.set_num_threads(2)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    train("mqar", TINY, steps=2, folder=tmp_path, **ASKED)
    assert torch.get_num_threads() == 2
    assert torch.equal(torch.rand(4), expected)


def test_the_judging_sequences_are_never_trained_on():
    used = {seed * 10**6 + step for seed in range(1000) for step in (1, 10**6 - 1)}
    assert max(used) < training.HELD_OUT
    assert not torch.equal(
        TASKS["parity"](4, seed=training.HELD_OUT).inputs, TASKS["parity"](4, seed=1).inputs
    )


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"task": "chess"}, ValueError, "task must be one of 'mqar'"),
        ({"steps": 0}, ValueError, "steps must be at least 1, got 0"),
        ({"batch": 1.5}, TypeError, "batch must be an integer, got float"),
    ],
)
def test_what_does_not_fit_is_named(given, error, words, tmp_path):
    asked = {"task": "mqar", "model": TINY, "steps": 3, "folder": tmp_path} | given
    with pytest.raises(error, match=words):
        train(**asked)


class Knows(torch.nn.Module):
    """Answers with the token that follows the question's first occurrence, if that is fewer than `reach` ago."""

    def __init__(self, reach):
        super().__init__()
        self.reach, self.device_holder = reach, torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs):
        logits = torch.zeros(*inputs.shape, 64)
        for b, row in enumerate(inputs.tolist()):
            for t, token in enumerate(row):
                first = row.index(token)
                if t - first < self.reach and first + 1 < len(row):
                    logits[b, t, row[first + 1]] = 9.0
        return logits


def test_results_come_apart_by_age_and_by_position():
    asked = {"T": 48, "facts": 4, "questions": 16, "B": 40}
    everything = evaluate_by(Knows(99), "stream", "position", width=8, **asked)
    assert list(everything) == [0, 8, 16, 24, 32, 40]
    assert {point.accuracy for point in everything.values()} == {1.0}
    ages = evaluate_by(Knows(16), "stream", "age", width=8, **asked)
    assert [point.accuracy == 1.0 for point in ages.values()] == [age < 16 for age in ages]
    assert all(point.accuracy == 0.0 and point.loss > 4 for age, point in ages.items() if age >= 16)
    labels = TASKS["stream"](seed=training.HELD_OUT, **asked).labels
    share = (labels != -100).sum(0).unflatten(0, (6, 8)).sum(1) / (labels != -100).sum()
    forgetful = evaluate_by(Knows(16), "stream", "position", width=8, **asked)
    mean = sum(w * p.accuracy for w, p in zip(share.tolist(), forgetful.values(), strict=True))
    assert mean == pytest.approx(evaluate(Knows(16), "stream", **asked).accuracy)
    assert forgetful[0].accuracy == 1.0 > forgetful[40].accuracy
    with pytest.raises(ValueError, match="by must be one of 'position', 'age'"):
        evaluate_by(Knows(1), "stream", "depth", width=8, **asked)
    with pytest.raises(ValueError, match="width must be at least 1"):
        evaluate_by(Knows(1), "stream", "age", width=0, **asked)


# --- recordings ---------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch):
    experiment = Experiment(
        task="mqar",
        options=ASKED["task_options"],
        train={"steps": 4, "batch": 4, "every": 2},
        models={"one": TINY, "two, longer": TINY | {"train": {"steps": 6}}},
        beyond={
            "T = 20": {"T": 20},
            "place": {"T": 20, "by": "position", "width": 10},
            "needle": {"task": "needle", "T": 10, "depth": 0.5, "vocab": 8},
        },
        seeds=2,
    )
    monkeypatch.setitem(EXPERIMENTS, "small", experiment)
    return experiment


def test_what_is_recorded_can_be_read_back(small, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    lines = list(record("small", tmp_path / "data"))
    assert len(lines) == 4
    assert lines[0].startswith("one, seed 0: ")
    assert "T = 20: " in lines[0]
    monkeypatch.setattr(experiments, "_folders", lambda: iter([tmp_path / "data"]))
    runs = recorded_runs("small")
    assert {label: [run.seed for run in made] for label, made in runs.items()} == {
        "one": [0, 1],
        "two, longer": [0, 1],
    }
    again = train("mqar", TINY, steps=4, seed=1, **{**ASKED, "every": 2, "lr": 3e-3})
    (first, second) = runs["one"]
    assert [p.step for p in second.curve] == [2, 4]
    assert second.accuracy == pytest.approx(again.accuracy, abs=1e-5)
    assert second.model == TINY
    assert runs["two, longer"][0].steps == 6
    assert set(first.beyond) == {"T = 20", "place: 0", "place: 10", "needle"}
    assert list(binned(first, "place")) == [0, 10]
    assert binned(first, "place")[10].accuracy == first.beyond["place: 10"].accuracy
    assert binned(first, "nothing") == {}
    one = train("mqar", TINY, steps=4, **{**ASKED, "every": 2, "lr": 3e-3})
    assert first.beyond["needle"].loss == pytest.approx(
        evaluate(one.net, "needle", T=10, depth=0.5, vocab=8).loss, abs=1e-5
    )
    assert json.loads((tmp_path / "data" / "small.json").read_text())["command"] == "course train small"
    assert experiments.recorded_on("small").torch == torch.__version__


def test_nothing_recorded_is_an_empty_answer():
    assert recorded_runs("no such experiment") == {}
    with pytest.raises(FileNotFoundError, match="course train no such experiment"):
        experiments.recorded_on("no such experiment")


def test_the_submission_shows_true_numbers_of_the_seeds_it_names():
    runs = recorded_runs("report-card")
    shown = {name: cells for name, *cells in experiments.submission(runs).rows}
    for name, (label, chosen) in experiments.SUBMITTED.items():
        recall = chosen(run.accuracy for run in runs[label])
        last = chosen(
            (binned(run, "position")[192].accuracy + binned(run, "position")[224].accuracy) / 2
            for run in runs[label]
        )
        assert shown[name][:2] == [f"{100 * recall:.1f} %", f"{100 * last:.1f} %"]
        needles = [point for what, point in runs[label][0].beyond.items() if "needle" in what]
        assert len(needles) == 15


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_can_be_built(name):
    experiment = EXPERIMENTS[name]
    inputs, _ = TASKS[experiment.task](2, **experiment.options)
    for label, model in experiment.models.items():
        net = LanguageModel(**{key: value for key, value in model.items() if key != "train"})
        assert net(inputs).shape == (*inputs.shape, model["vocab"]), label


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_recorded_as_it_is_declared(name):
    experiment, runs = EXPERIMENTS[name], recorded_runs(name)
    assert set(runs) == set(experiment.models)
    for label, made in runs.items():
        declared = dict(experiment.models[label])
        asked = dict(experiment.train) | declared.pop("train", {})
        assert len(made) == experiment.seeds
        for run in made:
            assert run.model == declared
            assert run.task_options == experiment.options
            assert run.steps == asked["steps"]
            assert run.curve[-1].step == run.steps
            assert {what.split(": ")[0] for what in run.beyond} == set(experiment.beyond)
