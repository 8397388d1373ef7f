"""Experiments that are trained once, over several seeds, and read by the chapters: `course train NAME`.

Each is a task and some models that differ in one thing. What they taught is in data/training: NAME.csv has a line per
evaluation (model, seed, step, loss, accuracy, and on what), NAME.json the arguments of each model, the seconds and the
stamp of the machine. A run that was cut off goes on with the same command.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import nn

from course_lib.attention.checks import choose
from course_lib.attention.registry import Table
from course_lib.models import interleave
from course_lib.timing.stamp import Environment, environment
from course_lib.timing.store import folders, write_whole
from course_lib.training import Point, Run, evaluate, evaluate_by, train

SMALL = {"d": 64, "heads": 1, "head_size": 16, "conv": 3, "mlp_ratio": 2}
DELTA_FEATURES = {"silu": True, "qk_norm": True, "out_norm": True}
PLAIN_SUM = {"feature_map": "identity", "normalize": False}


@dataclass(frozen=True)
class Experiment:
    """models: label -> arguments of `LanguageModel`, and under "train" what this one alone is trained with.

    options: arguments of the task.  train: arguments of `train` for all.  beyond: what else the trained model is judged
    on, by name: options that differ, or under "task" another task with options of its own; with "by" and "width" as
    `evaluate_by` takes them, there is a result for every bin, named "NAME: first token of the bin".
    """

    task: str
    models: Mapping[str, Mapping[str, Any]]
    options: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    beyond: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seeds: int = 3


def _recall(mixer: str, layers: int = 2, **options: Any) -> dict[str, Any]:
    return SMALL | {"vocab": 64, "mixers": [mixer] * layers} | options


def _hybrid(linear: str, softmax_layers: int, head_size: int, first: bool = False) -> dict[str, Any]:
    """Four layers: of 1 softmax layer the pattern is 3:1, of 2 it is 1:1; softmax ends its period, or begins it."""
    share = {0: {linear: 1}, 1: {linear: 3, "softmax_attention": 1}, 2: {linear: 1, "softmax_attention": 1}}
    pattern = share[softmax_layers]
    mixers = interleave(dict(reversed(pattern.items())) if first else pattern, 4)
    return SMALL | {"vocab": 64, "mixers": mixers, "each": {linear: DELTA_FEATURES}, "head_size": head_size}


def _parity(beta_max: float) -> dict[str, Any]:
    return SMALL | DELTA_FEATURES | {"vocab": 2, "mixers": ["delta_rule"], "conv": 0, "beta_max": beta_max}


NEEDLE_LENGTHS, NEEDLE_DEPTHS = (64, 128, 256), (0.0, 0.25, 0.5, 0.75, 1.0)
STREAM = {"T": 64, "facts": 16, "questions": 12}
CARD: dict[str, Mapping[str, Any]] = {  # what chapter 17 judges a model on
    "age": {"by": "age", "width": 8},
    "position": {"T": 256, "told": 64, "questions": 64, "by": "position", "width": 32},
} | {
    f"needle, T = {T}, depth {depth}": {"task": "needle", "T": T, "depth": depth, "distractors": 15}
    for T in NEEDLE_LENGTHS
    for depth in NEEDLE_DEPTHS
}


def _report(mixers: Sequence[str] | str, **options: Any) -> dict[str, Any]:
    """Two layers with one head of size 8: a state of 64 numbers for 16 facts."""
    both = [mixers] * 2 if isinstance(mixers, str) else list(mixers)
    return SMALL | {"vocab": 64, "mixers": both, "head_size": 8} | options


EXPERIMENTS = {
    "mqar": Experiment(
        task="mqar",
        options={"T": 64, "pairs": 16},
        train={"steps": 500},
        seeds=4,
        models={
            "softmax": _recall("softmax_attention"),
            "linear, elu + 1": _recall("linear_attention"),
            "linear, delta's features": _recall("linear_attention", **DELTA_FEATURES, **PLAIN_SUM),
            "delta rule": _recall("delta_rule", **DELTA_FEATURES),
        },
    ),
    "mqar-ablation": Experiment(
        task="mqar",
        options={"T": 64, "pairs": 16},
        train={"steps": 500},
        models={
            "linear, 1,500 steps": _recall("linear_attention", train={"steps": 1500}),
            "linear, 4 heads": _recall("linear_attention", heads=4),
            "linear, 4 heads, 300 steps": _recall("linear_attention", heads=4, train={"steps": 300}),
            "delta rule, 4 heads, 300 steps": _recall(
                "delta_rule", heads=4, train={"steps": 300}, **DELTA_FEATURES
            ),
        },
    ),
    "rebinding": Experiment(
        task="rebinding",
        options={"T": 64, "pairs": 10},
        train={"steps": 500},
        models={
            "softmax": _recall("softmax_attention"),
            "linear, delta's features": _recall("linear_attention", **DELTA_FEATURES, **PLAIN_SUM),
            "delta rule": _recall("delta_rule", **DELTA_FEATURES),
        },
    ),
    "hybrids": Experiment(
        task="mqar",
        options={"T": 64, "pairs": 16},
        train={"steps": 400},
        seeds=2,
        models={
            f"{softmax} of 4 softmax, head size {size}": _hybrid("delta_rule", softmax, size)
            for softmax in (0, 1, 2)
            for size in (4, 8, 16)
        },
    ),
    "hybrids-first": Experiment(
        task="mqar",
        options={"T": 64, "pairs": 16},
        train={"steps": 400},
        seeds=2,
        models={
            f"{softmax} of 4 softmax, head size {size}": _hybrid("delta_rule", softmax, size, first=True)
            for softmax in (1, 2)
            for size in (4, 8, 16)
        },
    ),
    "parity": Experiment(
        task="parity",
        options={"T": 24},
        train={"steps": 600},
        beyond={f"T = {T}": {"T": T} for T in (96, 384)},
        models={"β in [0, 1]": _parity(1.0), "β in [0, 2]": _parity(2.0)},
    ),
    "report-card": Experiment(
        task="stream",
        options=STREAM,
        train={"steps": 400},
        beyond=CARD,
        models={
            "softmax": _report("softmax_attention"),
            "softmax, RoPE": _report("softmax_attention", rope=True),
            "window 16": _report("sliding_window_attention", window=16),
            "linear, elu + 1": _report("linear_attention"),
            "linear, delta's features": _report("linear_attention", **DELTA_FEATURES, **PLAIN_SUM),
            "gated delta": _report("gated_delta_rule", **DELTA_FEATURES),
            "hybrid": _report(
                ("softmax_attention", "gated_delta_rule"), each={"gated_delta_rule": DELTA_FEATURES}
            ),
        },
    ),
    "report-card-ablation": Experiment(
        task="stream",
        options=STREAM,
        train={"steps": 400},
        beyond=CARD,
        models={
            "linear, elu + 1, 1,200 steps": _report("linear_attention", train={"steps": 1200}),
            "linear, elu + 1, rate 0.01": _report("linear_attention", train={"lr": 1e-2}),
            "linear, elu + 1, 4 heads": _report("linear_attention", heads=4),
            "linear, elu + 1, 4 heads of 4": _report("linear_attention", heads=4, head_size=4),
        },
    ),
    "report-card-longer": Experiment(
        task="stream",
        options=STREAM,
        train={"steps": 1200},
        beyond=CARD,
        models={
            "linear, delta's features, 1,200 steps": _report(
                "linear_attention", **DELTA_FEATURES, **PLAIN_SUM
            ),
            "gated delta, 1,200 steps": _report("gated_delta_rule", **DELTA_FEATURES),
        },
    ),
    "selective-copy": Experiment(
        task="selective_copy",
        options={"T": 32, "copies": 4, "vocab": 16},
        train={"steps": 600},
        models={
            name: SMALL | {"vocab": 16, "mixers": [name] * 2, "heads": 4}
            for name in ("s4d", "selective_scan", "ssd")
        },
    ),
}


def record(name: str, folder: Path, seeds: int | None = None) -> Iterator[str]:
    """Train every model and seed of an experiment and write its files; yields a line per run."""
    experiment = choose("name", name, EXPERIMENTS)
    runs: list[tuple[str, Run]] = []
    for seed in range(seeds or experiment.seeds):
        for label, model in experiment.models.items():
            alone = {key: value for key, value in model.items() if key != "train"}
            given = (
                {"task_options": experiment.options, "seed": seed} | experiment.train | model.get("train", {})
            )
            run = train(experiment.task, alone, **given)
            run.beyond = _judge_beyond(run.net, experiment)
            runs.append((label, run))
            judged = {what: run.beyond[what] for what in experiment.beyond if what in run.beyond}
            beyond = "".join(f", {what}: {point.accuracy:.2f}" for what, point in judged.items())
            _write(runs, folder / f"{name}.csv", f"course train {name}")
            end = f"{run.accuracy:.3f} after {run.curve[-1].step} steps, {run.seconds:.0f} s"
            yield f"{label}, seed {seed}: {end}{beyond}"


def _judge_beyond(net: nn.Module, experiment: Experiment) -> dict[str, Point]:
    found: dict[str, Point] = {}
    for what, options in experiment.beyond.items():
        asked = (
            dict(options) if "task" in options else {"task": experiment.task} | experiment.options | options
        )
        if "by" in asked:
            bins = evaluate_by(net, **asked)
            found |= {f"{what}: {first}": point for first, point in bins.items()}
        else:
            found[what] = evaluate(net, **asked)
    return found


def binned(run: Run, what: str) -> dict[int, Point]:
    """The results of `beyond[what]` by bin: first token of the bin -> point; empty if there are none."""
    start = f"{what}: "
    return {int(x.removeprefix(start)): point for x, point in run.beyond.items() if x.startswith(start)}


def recorded_runs(name: str) -> dict[str, list[Run]]:
    """The recorded runs of an experiment: label -> one run a seed; empty if none was recorded."""
    path = next((p for folder in _folders() if (p := folder / f"{name}.csv").is_file()), None)
    if path is None:
        return {}
    stamp = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    runs = {label: [Run(**run) for run in made] for label, made in stamp["runs"].items()}
    for row in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))):
        run = next(run for run in runs[row["model"]] if run.seed == int(row["seed"]))
        point = Point(int(row["step"]), float(row["loss"]), float(row["accuracy"]))
        if row["judged_on"]:
            run.beyond[row["judged_on"]] = point
        else:
            run.curve.append(point)
    return runs


# The table on trial in chapter 17: name in the paper -> recorded model, and which seed the authors show.
SUBMITTED: dict[str, tuple[str, Callable[[Sequence[float]], float]]] = {
    "softmax attention": ("softmax, RoPE", min),
    "linear attention": ("linear, elu + 1", min),
    "corrective memory (ours)": ("gated delta", max),
}


def submission(runs: Mapping[str, Sequence[Run]]) -> Table:
    """The results table of chapter 17's invented paper, from runs of "report-card": true numbers, badly chosen."""
    columns = {
        "T = 64": lambda run: run.accuracy,
        "T = 256, last quarter": lambda run: _mean(binned(run, "position"), lambda first: first >= 192),
        "needle": lambda run: fmean(p.accuracy for x, p in run.beyond.items() if x.startswith("needle")),
    }
    rows = [
        (
            name,
            *(f"{100 * chosen([measure(run) for run in runs[label]]):.1f} %" for measure in columns.values()),
        )
        for name, (label, chosen) in SUBMITTED.items()
    ]
    return Table(("model", *columns), tuple(rows))


def _mean(bins: Mapping[int, Point], wanted: Callable[[int], bool]) -> float:
    return fmean(point.accuracy for first, point in bins.items() if wanted(first))


def recorded_on(name: str) -> Environment:
    """The machine that recorded the experiment. Raises FileNotFoundError if none did."""
    for folder in _folders():
        if (path := folder / f"{name}.json").is_file():
            return Environment.from_dict(json.loads(path.read_text(encoding="utf-8"))["environment"])
    raise FileNotFoundError(f"no recording called {name!r}: make it with  course train {name}")


def _folders() -> Iterator[Path]:
    return folders("training", "trained")


def _write(runs: list[tuple[str, Run]], path: Path, command: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["model", "seed", "step", "loss", "accuracy", "judged_on"])
    made: dict[str, list] = {}
    for label, run in runs:
        made.setdefault(label, []).append(run.arguments() | {"seconds": round(run.seconds, 1)})
        points = [(point, "") for point in run.curve] + [(point, what) for what, point in run.beyond.items()]
        writer.writerows(
            [label, run.seed, p.step, round(p.loss, 5), round(p.accuracy, 5), what] for p, what in points
        )
    stamp = {"command": command, "runs": made, "environment": environment().to_dict()}
    write_whole(path.with_suffix(".json"), json.dumps(stamp, indent=1, ensure_ascii=False) + "\n")
    write_whole(path, table.getvalue())
