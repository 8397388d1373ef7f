"""Train a small language model on a task, once: a second call with the same arguments reads the result.

    run = train("mqar", {"vocab": 64, "d": 64, "heads": 1, "head_size": 16, "mixers": ["delta_rule"] * 2}, steps=400)
    run.accuracy, run.curve, run.model

Step i of seed s always sees the same batch, and every evaluation writes a checkpoint, so a run that was cut off goes
on where it was and ends as if it had never stopped. Everything that a run depends on is in its key: the arguments,
the torch version and the sources it runs. Chapters 11, 12, 14, 17 and 21.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from pickle import UnpicklingError
from time import perf_counter
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import runtime
from course_lib.attention.checks import check_count, choose
from course_lib.models import LanguageModel
from course_lib.tasks import IGNORED, TASKS

HELD_OUT = 2**40  # the seed of the batch that judges; training uses those below it
JUDGED = 256  # sequences in it


class Point(NamedTuple):
    """What the held-out batch said after `step` steps: mean loss (nats), and the share of right answers (0 … 1)."""

    step: int
    loss: float
    accuracy: float


@dataclass
class Run:
    """One training: what was asked for, and how it went.

    task, task_options, model, steps, batch, lr, seed, stop_at: the arguments of `train`.  curve: a point each `every`
    steps.  seconds: time spent in training steps.  beyond: what it says on other data, by name.  net: the trained
    model; None for a recorded run.
    """

    task: str
    model: dict[str, Any]
    task_options: dict[str, Any]
    steps: int
    batch: int
    lr: float
    seed: int
    stop_at: float | None
    every: int
    curve: list[Point] = field(default_factory=list)
    seconds: float = 0.0
    beyond: dict[str, Point] = field(default_factory=dict)
    net: nn.Module | None = field(default=None, repr=False)

    @property
    def accuracy(self) -> float:
        """Share of right answers at the end."""
        return self.curve[-1].accuracy

    @property
    def loss(self) -> float:
        """Mean loss in nats at the end."""
        return self.curve[-1].loss

    @property
    def finished(self) -> bool:
        """All steps are done, or it was good enough."""
        return bool(self.curve) and (self.curve[-1].step == self.steps or self._good_enough())

    def steps_to(self, accuracy: float) -> int | None:
        """The first evaluation that reached `accuracy`, or None."""
        return next((point.step for point in self.curve if point.accuracy >= accuracy), None)

    def arguments(self) -> dict[str, Any]:
        """The arguments of `train` that made it, as plain data."""
        later = {"curve", "seconds", "beyond", "net"}
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in later}

    def _good_enough(self) -> bool:
        return self.stop_at is not None and self.accuracy >= self.stop_at


def train(
    task: str,
    model: Mapping[str, Any],
    *,
    task_options: Mapping[str, Any] | None = None,
    steps: int,
    batch: int = 32,
    lr: float = 3e-3,
    seed: int = 0,
    stop_at: float | None = None,
    every: int = 50,
    folder: Path | None = None,
) -> Run:
    """Train `LanguageModel(**model)` on a task of `course_lib.tasks.TASKS`; AdamW, one-cycle learning rate.

    task_options: arguments of the task besides B and seed.  steps: at most so many batches of `batch` sequences.
    lr: the highest learning rate.  stop_at: stop at an evaluation with this accuracy (0 … 1).  every: steps between
    evaluations on 256 sequences that are never trained on.  folder: where checkpoints and results are kept, by default
    `course_lib/trained` in the user's cache folder (or $COURSE_CACHE); remove it to train anew.

    On a CPU it uses one thread: small models only wait for each other on two. Raises ValueError or TypeError for
    arguments that do not fit. Chapter 14.
    """
    choose("task", task, TASKS)
    for name, count in {"steps": steps, "batch": batch, "every": every}.items():
        check_count(name, count)
    run = Run(task, dict(model), dict(task_options or {}), steps, batch, lr, seed, stop_at, every)
    path = (folder or _cache_folder()) / f"{task}-{_key(run)}.pt"
    with _one_thread():
        _go_on(run, path)
    return run


def evaluate(net: nn.Module, task: str, *, seed: int = HELD_OUT, B: int = JUDGED, **options: Any) -> Point:
    """Loss and accuracy of `net` on B fresh sequences of the task; options such as T as for the task. step is 0."""
    _, labels, logits = _judged(net, task, seed, B, options)
    return _point(logits, labels, labels != IGNORED)


def evaluate_by(
    net: nn.Module, task: str, by: str, *, width: int, seed: int = HELD_OUT, B: int = JUDGED, **options: Any
) -> dict[int, Point]:
    """`evaluate`, apart for bins of `width` tokens: first token of the bin -> loss and accuracy of its questions.

    by: "position" bins a question by where it stands; "age" by how many tokens ago its token stood in the sequence for
    the first time, which in a recall task is when the fact was told. Bins without a question are left out. Raises
    ValueError for another `by` or a width below 1. Chapter 17.
    """
    choose("by", by, dict.fromkeys(GROUPS))
    check_count("width", width)
    inputs, labels, logits = _judged(net, task, seed, B, options)
    at = torch.arange(inputs.shape[1], device=inputs.device).expand_as(inputs)
    if by == "age":
        # Of equal tokens argmax takes the first. A sequence at a time: T x T for all of them is much memory.
        at = at - torch.stack([(row[:, None] == row).byte().argmax(-1) for row in inputs])
    asked = labels != IGNORED
    bins = torch.where(asked, at // width, -1)
    return {n * width: _point(logits, labels, bins == n) for n in bins[asked].unique().tolist()}


GROUPS = ("position", "age")


def _judged(
    net: nn.Module, task: str, seed: int, B: int, options: Mapping[str, Any]
) -> tuple[Tensor, Tensor, Tensor]:
    """inputs and labels `[B, T]` of fresh sequences, and what the net says, `[B, T, vocab]`."""
    inputs, labels = (x.to(_device(net)) for x in TASKS[task](B, seed=seed, **_held_out(task), **options))
    with torch.no_grad():
        return inputs, labels, net(inputs)


def _point(logits: Tensor, labels: Tensor, asked: Tensor) -> Point:
    right = (logits.argmax(-1) == labels)[asked].double().mean().item()
    return Point(0, F.cross_entropy(logits[asked], labels[asked]).item(), right)


def _go_on(run: Run, path: Path) -> None:
    """From the checkpoint, or the start, to the end."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        run.net = LanguageModel(**run.model).to(runtime.device())
    optimiser = torch.optim.AdamW(run.net.parameters(), lr=run.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, run.lr, total_steps=run.steps + 1)
    parts = {"net": run.net, "optimiser": optimiser, "schedule": schedule}
    _load(run, parts, path)
    if run.finished:
        return
    first = run.curve[-1].step if run.curve else 0
    with runtime.progress(run.steps, f"{run.task}, seed {run.seed}") as bar:
        bar.update(first)
        for step in range(first + 1, run.steps + 1):
            started = perf_counter()
            _step(run, optimiser, schedule, step)
            run.seconds += perf_counter() - started
            bar.update()
            if step % run.every == 0 or step == run.steps:
                run.curve.append(evaluate(run.net, run.task, **run.task_options)._replace(step=step))
                bar.set_postfix_str(f"accuracy {run.accuracy:.2f}")
                _save(run, parts, path)
                if run.finished:
                    return


def _step(run: Run, optimiser: torch.optim.Optimizer, schedule: Any, step: int) -> None:
    batch = TASKS[run.task](run.batch, seed=run.seed * 10**6 + step, **run.task_options)
    inputs, labels = (x.to(_device(run.net)) for x in batch)
    loss = F.cross_entropy(run.net(inputs).flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(run.net.parameters(), 1.0)
    optimiser.step()
    schedule.step()


def _held_out(task: str) -> dict[str, str]:
    return {"split": "test"} if task == "text" else {}


def _device(net: nn.Module) -> torch.device:
    return next(net.parameters()).device


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# --- on disk ------------------------------------------------------------------------------------------


def _cache_folder() -> Path:
    chosen = os.environ.get("COURSE_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "course_lib" / "trained"


def _key(run: Run) -> str:
    asked = json.dumps(run.arguments() | {"torch": torch.__version__, "sources": _sources()}, sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()[:16]


@cache
def _sources() -> str:
    """A digest of what a run executes: mixers, models, tasks and this file."""
    here = Path(__file__).parent
    files = [
        *sorted((here / "attention").glob("*.py")),
        *sorted((here / "tasks").glob("*.py")),
        *(here / f"{n}.py" for n in ("models", "training")),
    ]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _save(run: Run, parts: Mapping[str, Any], path: Path) -> None:
    """Written beside its place and then renamed: there is an old checkpoint or a new one, never half of one."""
    stored = {name: part.state_dict() for name, part in parts.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    torch.save(stored | {"curve": [tuple(p) for p in run.curve], "seconds": run.seconds}, unfinished)
    os.replace(unfinished, path)


def _load(run: Run, parts: Mapping[str, Any], path: Path) -> None:
    """A checkpoint that cannot be read is one that is not there."""
    try:
        stored = torch.load(path, weights_only=True, map_location=runtime.device())
        curve, seconds = [Point(*point) for point in stored["curve"]], float(stored["seconds"])
        states = [stored[name] for name in parts]
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, UnpicklingError):
        return
    for part, state in zip(parts.values(), states, strict=True):
        part.load_state_dict(state)
    run.curve, run.seconds = curve, seconds
