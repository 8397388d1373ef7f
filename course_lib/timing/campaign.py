"""One long measurement of a whole machine: every mixer, alone and inside a block, over T, dtype and pass.

    course bench

takes one group after the other: a pass (forward, training, decode), a place (alone, block), a dtype and a length T.
All mixers of a group are sampled in interleaved rounds, so a slow moment meets all of them. After each group the
samples so far are written, so a run that is killed loses the group it was in, and the same command goes on where it
ended. A curve is left out where its next point, extrapolated from its last two, would not fit into its group's share
of the budget. Curves are named "gla | block | training | float32" and stored as any sweep. Chapters 15 and 16.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from course_lib import attention, runtime
from course_lib.models import Block
from course_lib.timing import clocks
from course_lib.timing.sampling import compare
from course_lib.timing.stamp import Environment, environment
from course_lib.timing.store import load_sweep, save_sweep
from course_lib.timing.sweeps import Sweep, extrapolate

B, H, D = 1, 4, 64
PASSES, PLACES = ("forward", "training", "decode"), ("alone", "block")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LENGTHS = {"cpu": [16, 64, 256, 1024, 4096], "cuda": [16, 64, 256, 1024, 4096, 16384]}
MIN_ROUNDS, MAX_ROUNDS = 3, 25
TITLE = f"Every mixer, alone and in a block of width {H * D}: B = {B}, H = {H}, K = V = {D}"


@dataclass(frozen=True)
class Group:
    """What is measured together: all mixers at one length."""

    kind: str  # one of PASSES
    place: str
    dtype: str
    T: int

    def curve(self, mixer: str) -> str:
        """The name under which a mixer's samples are stored."""
        return " | ".join((mixer, self.place, self.kind, self.dtype))

    def call(self, mixer: str) -> Callable[[], object]:
        """A call without arguments whose inputs are made now."""
        made = _in_block if self.place == "block" else _alone
        return made(mixer, self.kind, DTYPES[self.dtype], self.T)


def groups(longest: float = math.inf) -> list[Group]:
    """All groups of this device up to a length, short ones first."""
    lengths = [T for T in LENGTHS[runtime.device().type] if longest >= T]
    return [
        Group(kind, place, dtype, T)
        for T in lengths
        for kind in PASSES
        for place in PLACES
        for dtype in DTYPES
        if not left_out(dtype)
    ]


def left_out(dtype: str) -> str:
    """Why a dtype is not measured on this device; empty where it is. A GPU that emulates it would measure that."""
    if dtype == "bfloat16" and runtime.device().type == "cuda":
        return runtime.lacks(dtype)
    return ""


def campaign(folder: Path, budget_s: float, longest: float = math.inf) -> Path:
    """Measure whatever `<device>-<date>.csv` in `folder` does not hold yet, up to a length; returns that file.

    A recording of the same day with another stamp (commit, versions, machine) stays, and a -2 is put behind the name.
    """
    here = environment()
    path, taken = _resume(folder, here)
    asked = groups(longest)
    if not asked:
        raise ValueError(f"longest is {longest:g}; at least {LENGTHS[runtime.device().type][0]} is expected")
    share = budget_s / len(asked)
    with runtime.progress(len(asked), "mixers") as bar:
        for group in asked:
            if _measure(group, taken, share):
                save_sweep(taken, path)
            bar.update()
    return path


def _resume(folder: Path, here: Environment) -> tuple[Path, Sweep]:
    """The file of this day and device with this very stamp and its samples; if there is none, a free name and none."""
    stem, serial = f"{_slug(here.device)}-{here.date}", 1
    path = folder / f"{stem}.csv"
    while path.is_file():
        if (earlier := load_sweep(path)).environment == here:
            return path, earlier
        serial += 1
        path = folder / f"{stem}-{serial}.csv"
    return path, Sweep(TITLE, "time", {}, {}, here, clocks.choose().name)


def _measure(group: Group, taken: Sweep, share_s: float) -> bool:
    """Add the group's samples to `taken`; False where there is nothing left to measure."""
    names = [name for name in attention.REGISTRY if group.T not in taken.samples.get(group.curve(name), {})]
    names = [name for name in names if _fits(group, name, taken, share_s / len(attention.REGISTRY))]
    if not names:
        return False
    calls = {group.curve(name): group.call(name) for name in names}
    for curve, timing in compare(
        calls, budget_s=share_s, min_rounds=MIN_ROUNDS, max_rounds=MAX_ROUNDS
    ).timings.items():
        taken.samples.setdefault(curve, {})[group.T] = timing.samples
    return True


def _fits(group: Group, name: str, taken: Sweep, share_s: float) -> bool:
    """Whether a few calls are likely to fit; writes down where a curve was left out."""
    curve = group.curve(name)
    before = {T: value for T, value in taken.values.get(curve, {}).items() if T < group.T}
    expected = extrapolate(before, group.T)
    if expected * (MIN_ROUNDS + 1) <= max(share_s, 1.0):
        return True
    taken.stopped.setdefault(curve, (group.T, f"a call would take about {expected:.2g} s"))
    return False


def _alone(name: str, kind: str, dtype: torch.dtype, T: int) -> Callable[[], object]:
    row = attention.mixer(name)
    given = row.example(B, T, H, D, D, seed=T, dtype=dtype, device=runtime.device())
    forward = partial(row.fn, mode=row.fast)
    if kind == "training":
        leaves = [x.requires_grad_() for x in given.values()]
        return lambda: torch.autograd.grad(forward(**given)[0].sum(), leaves)
    if kind == "forward":
        return _without_gradients(partial(forward, **given))
    _, state = _without_gradients(partial(forward, **given, output_final_state=True))()
    token = {key: x.clone() for key, x in row.token(given, -1).items()}
    return _without_gradients(partial(row.step, **token, state=state))


def _in_block(name: str, kind: str, dtype: torch.dtype, T: int) -> Callable[[], object]:
    runtime.set_seed(0)
    block = Block(H * D, H, mixer=name).to(runtime.device(), dtype)
    x = torch.randn(B, T, H * D).to(runtime.device(), dtype)
    if kind == "training":
        parameters = list(
            block.parameters()
        )  # gradients returned: added to those of the last call, they would cost
        return lambda: torch.autograd.grad(block(x).sum(), parameters)
    if kind == "forward":
        return _without_gradients(partial(block, x))
    _, state = _without_gradients(partial(block, x, return_state=True))()
    return _without_gradients(partial(block, x[:, -1:], state, return_state=True))


def _without_gradients(fn: Callable[[], object]) -> Callable[[], object]:
    def call() -> object:
        with torch.no_grad():
            return fn()

    return call


def _slug(device: str) -> str:
    """The device's name as a file name: AMD EPYC → amd-epyc."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")


def lines(taken: Sweep) -> Iterator[str]:
    """A line a curve, the median at each T; then what this device left out, and why."""
    for name, curve in taken.values.items():
        yield f"{name:<56}" + "  ".join(f"{T:,}: {value * 1e3:.3g} ms" for T, value in sorted(curve.items()))
    for dtype in DTYPES:
        if why := left_out(dtype):
            yield f"{dtype} was not measured: {why}"
