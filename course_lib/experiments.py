"""Experiments that are trained once, over several seeds, and read by the chapters: `course train NAME`.

Each is a task and some models that differ in one thing. What they taught is in data/training: NAME.csv has a line per
evaluation (model, seed, step, loss, accuracy, and on what), NAME.json the arguments of each model, the seconds and the
stamp of the machine. A run that was cut off goes on with the same command.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from course_lib.attention.checks import choose
from course_lib.models import interleave
from course_lib.timing.stamp import Environment, environment
from course_lib.timing.store import folders, write_whole
from course_lib.training import Point, Run, evaluate, train

SMALL = {"d": 64, "heads": 1, "head_size": 16, "conv": 3, "mlp_ratio": 2}
DELTA_FEATURES = {"silu": True, "qk_norm": True, "out_norm": True}
PLAIN_SUM = {"feature_map": "identity", "normalize": False}


@dataclass(frozen=True)
class Experiment:
    """models: label -> arguments of `LanguageModel`, and under "train" what this one alone is trained with.

    options: arguments of the task.  train: arguments of `train` for all.  beyond: further options of the task, by name,
    that the trained model is judged on.
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
            run.beyond = {
                what: evaluate(run.net, experiment.task, **experiment.options | options)
                for what, options in experiment.beyond.items()
            }
            runs.append((label, run))
            beyond = "".join(f", {what}: {point.accuracy:.2f}" for what, point in run.beyond.items())
            _write(runs, folder / f"{name}.csv", f"course train {name}")
            end = f"{run.accuracy:.3f} after {run.curve[-1].step} steps, {run.seconds:.0f} s"
            yield f"{label}, seed {seed}: {end}{beyond}"


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
