"""The mixers side by side: what a linear-time model costs on this machine, next to what a reader would use instead.

    course bench mixers

measures, at B = 1, H = 4, K = V = 64 in float32 (on a CPU with one thread and CPU time):
    forward     every mixer at T = 4,096, in turns with SDPA and the batched matrix product that sets the floor; the
                selective scan also against its definition, D = 16 and 256 channels of N = 16
    training    forward and backward over T = 1,024 … 16,384: the exponents
    window      sliding-window and sparse attention, about 256 keys a query, against causal SDPA at T = 16,384
    decode      one step after 1,024 and after 65,536 tokens, and SDPA over a cache beside it
    memory      peak bytes above the inputs at T = 4,096
and prints them as a table with the aim of each. Raw samples go to CSV files beside stamps of this machine, one per
part. The floor of a chunk form is H·T·(4·C·K + 4·K·V) FLOPs, with C = K = V = 64 four [64, 64] products a chunk, at
the rate of such products, batched, measured in the same rounds. "safe" is the same mixer with gates so steep that
its chunks take the safe path; Lightning's own rates do so always. Chapter 13 explains the gaps.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from course_lib import attention, runtime
from course_lib.timing import _format
from course_lib.timing.store import save_sweep
from course_lib.timing.sweeps import Sweep, sweep

B, H, D, C = 1, 4, 64, 64
T_FORWARD, T_WINDOW = 4096, 16384
TRAINING = [2**i for i in range(10, 15)]
DECODE = [1024, 65536]
SHAPE = f"B = {B}, H = {H}, K = V = {D}, float32"
FLOOR, SDPA, PLAIN = f"{C} × {C} products", "softmax, SDPA", "linear, no feature map"
GENTLE, STEEP = 0.3, 20.0  # times log-sigmoid gates: 64 tokens sum to about −15, and to about −1,000
CACHE = "softmax over a cache, SDPA"
LINEAR = [name for name, row in attention.REGISTRY.items() if row.family in ("decay", "delta")]
NEAR = [name for name, row in attention.REGISTRY.items() if row.family in ("window", "sparse", "routed")]
STEEPENED = ("gate", "step size")
GATED = [
    name for name in LINEAR if any(x.kind in STEEPENED for x in attention.mixer(name).arguments.values())
]
SCANS = {16: "selective_scan, D = 16", 256: "selective_scan, D = 256"}

Inputs = dict[str, Tensor]
Call = Callable[[Mapping[str, Inputs]], object]


def inputs(T: int, names: list[str], gates: float = GENTLE) -> dict[str, Inputs]:
    """Arguments of the named mixers at length T; log-decays multiplied by `gates`."""
    return {name: _arguments(name, T, gates) for name in names}


def _arguments(name: str, T: int, gates: float, channels: int = 0) -> Inputs:
    row = attention.mixer(name)
    heads, K, V = (1, 16, channels) if channels else (H, D, D)
    given = row.example(B, T, heads, K, V, seed=T, device=runtime.device())
    return {key: x * gates if row.arguments[key].kind in STEEPENED else x for key, x in given.items()}


def forward(budget_s: float) -> Sweep:
    """Every mixer once through T = 4,096, and what it is measured against."""

    def made(T: int) -> tuple[dict[str, Inputs]]:
        calls = inputs(T, [*LINEAR, "softmax_attention", "sliding_window_attention", "s4d", "hgrn"])
        calls |= {f"{name}, safe": _arguments(name, T, STEEP) for name in GATED}
        calls |= {scan: _arguments("selective_scan", T, GENTLE, d) for d, scan in SCANS.items()}
        square = torch.ones(H * T // C, C, C, device=runtime.device())
        return (calls | {FLOOR: {"input": square, "mat2": square.clone()}},)

    fns: dict[str, Call] = {FLOOR: lambda x: torch.bmm(**x[FLOOR])}
    fns |= {SDPA: lambda x: attention.softmax_attention(**x["softmax_attention"], mode="sdpa")}
    fns |= {PLAIN: lambda x: _plain(x["linear_attention"])}
    fns |= {name: partial(_call, name, name) for name in (*LINEAR, "sliding_window_attention", "s4d", "hgrn")}
    fns |= {f"{name}, safe": partial(_call, name, f"{name}, safe") for name in GATED}
    for scan in SCANS.values():
        fns |= {scan: partial(_call, "selective_scan", scan)}
        fns |= {f"{scan}, definition": partial(_call, "selective_scan", scan, mode="recurrent")}
    if fallback := transformers_fallback():
        fns |= {FALLBACK: lambda x: fallback(*x["gated_delta_rule"].values())}
    with torch.no_grad():
        return _sweep("forward", fns, made, [T_FORWARD], budget_s)


def training(budget_s: float) -> Sweep:
    """Forward and backward of every linear mixer, and of SDPA as far as the budget goes.

    S4D is left out: at K = 64 modes its training keeps 64 complex numbers for each channel and token.
    """
    names = [*LINEAR, "softmax_attention", "sliding_window_attention", "hgrn"]
    scan = SCANS[16]

    def made(T: int) -> tuple[dict[str, Inputs]]:
        calls = inputs(T, names) | {scan: _arguments("selective_scan", T, GENTLE, 16)}
        return ({name: {k: x.requires_grad_() for k, x in given.items()} for name, given in calls.items()},)

    fns: dict[str, Call] = {SDPA: partial(_train, "softmax_attention", "softmax_attention", mode="sdpa")}
    fns |= {PLAIN: lambda x: _backward(_plain(x["linear_attention"]), x["linear_attention"])}
    fns |= {name: partial(_train, name, name) for name in names if name != "softmax_attention"}
    fns |= {scan: partial(_train, "selective_scan", scan)}
    return _sweep("forward and backward", fns, made, TRAINING, budget_s)


def window(budget_s: float) -> Sweep:
    """Sliding-window and sparse attention over the lengths of `training`, and SDPA."""
    names = [*NEAR, "softmax_attention"]
    fns: dict[str, Call] = {
        SDPA: lambda x: attention.softmax_attention(**x["softmax_attention"], mode="sdpa")
    }
    fns |= {name: partial(_call, name, name) for name in NEAR}
    with torch.no_grad():
        return _sweep("forward, 256 keys a query", fns, lambda T: (inputs(T, names),), TRAINING, budget_s)


def decode(budget_s: float) -> Sweep:
    """One token after contexts of 1,024 and 65,536 tokens; the state of each comes from a prefill."""
    names = [*LINEAR, "sliding_window_attention", "hgrn"]
    fns = {name: partial(_step, name) for name in names}
    with torch.no_grad():
        steps = _sweep(
            "one decoding step",
            fns,
            lambda T: ({name: _prefilled(name, T) for name in names},),
            DECODE,
            0.8 * budget_s,
        )
        # By itself: in turns with the others it would push their states out of the caches.
        cache = _sweep("a cache", {CACHE: _read_cache}, _cached, DECODE, 0.2 * budget_s)
    return replace(steps, samples=steps.samples | cache.samples, stopped=steps.stopped | cache.stopped)


def _cached(T: int) -> tuple[Inputs]:
    given = _arguments("softmax_attention", T, GENTLE)
    return (given | {"q": given["q"][:, -1:]},)


def _read_cache(x: Inputs) -> object:
    return attention.softmax_attention(**x, mode="sdpa")


def memory() -> Sweep:
    """Peak bytes of a forward call at T = 4,096 above its inputs."""
    names = [*LINEAR, "softmax_attention", "sliding_window_attention", "s4d", "hgrn"]
    fns: dict[str, Call] = {name: partial(_call, name, name) for name in names}
    fns |= {PLAIN: lambda x: _plain(x["linear_attention"])}
    with torch.no_grad():
        return _sweep("peak memory", fns, lambda T: (inputs(T, names),), [T_FORWARD], 30.0, measure="memory")


def _sweep(
    what: str, fns: Mapping, made: Callable, lengths: list[int], budget_s: float, **options: str
) -> Sweep:
    return sweep(fns, made, lengths, budget_s=budget_s, title=f"Mixers, {what}: {SHAPE}", **options)


def _call(name: str, key: str, x: Mapping[str, Inputs], mode: str | None = None) -> object:
    row = attention.mixer(name)
    return row.fn(**x[key], mode=mode or row.fast)


def _plain(x: Inputs) -> tuple[Tensor, None]:
    return attention.linear_attention(**x, feature_map="identity", normalize=False)


def _train(name: str, key: str, x: Mapping[str, Inputs], mode: str | None = None) -> object:
    return _backward(_call(name, key, x, mode), x[key])


def _backward(answer: tuple[Tensor, None], given: Inputs) -> tuple[Tensor, ...]:
    o, _ = answer
    return torch.autograd.grad(o, list(given.values()), torch.ones_like(o))


def _prefilled(name: str, T: int) -> tuple[Inputs, object]:
    row, given = attention.mixer(name), _arguments(name, T, GENTLE)
    _, state = row.fn(**given, mode=row.fast, output_final_state=True)
    return {key: x.clone() for key, x in row.token(given, 0).items()}, state


def _step(name: str, x: Mapping[str, tuple[Inputs, object]]) -> object:
    token, state = x[name]
    return attention.mixer(name).step(**token, state=state)


FALLBACK = "gated delta, Transformers"


def transformers_fallback() -> Callable | None:
    """Transformers' chunked gated delta rule in plain torch, if Transformers is installed: (q, k, v, g, beta)."""
    try:
        from transformers.models.qwen3_next.modeling_qwen3_next import torch_chunk_gated_delta_rule
    except ImportError:
        return None
    return torch_chunk_gated_delta_rule


def record(folder: Path, budget_s: float) -> tuple[dict[str, Sweep], list[Path]]:
    """Measure every part within about `budget_s` in all and save it; returns the sweeps and the CSV files."""
    parts = {
        "forward": forward(0.2 * budget_s),
        "training": training(0.45 * budget_s),
        "window": window(0.15 * budget_s),
        "decode": decode(0.2 * budget_s),
        "memory": memory(),
    }
    kind = "gpu" if runtime.device().type == "cuda" else "cpu"
    return parts, [save_sweep(taken, folder / f"mixers-{part}-{kind}.csv") for part, taken in parts.items()]


@dataclass(frozen=True)
class Line:
    """One line of the table: a curve of a part, and a number read off it with the aim it is held against.

    `times`: by how much the other curve's time is multiplied before the ratio is taken (the floor is four products).
    """

    part: str
    curve: str
    against: str = ""
    T: int = T_FORWARD
    aim: str = ""
    times: float = 1.0
    inverse: bool = False

    def cells(self, sweeps: Mapping[str, Sweep]) -> list[str] | None:
        """The cells, or None where the budget or this machine left a number out."""
        taken = sweeps[self.part]
        if self.curve not in taken.names or self.T not in taken.values[self.curve]:
            return None
        value = taken.values[self.curve][self.T]
        ratio = self._ratio(taken)
        shown = _format.size(value) if taken.measure == "memory" else _format.seconds(value)
        return [self.curve, self.part, f"{self.T:,}", shown, self.against, ratio, self.aim]

    def _ratio(self, taken: Sweep) -> str:
        if self.against == EXPONENT:
            points = len(taken.lengths(self.curve))
            return f"{taken.exponent(self.curve, last=points):.2f}" if points > 1 else "–"
        if self.against == EARLIER:
            return f"{taken.values[self.curve][self.T] / taken.values[self.curve][DECODE[0]]:.2f}"
        if self.against not in taken.names or self.T not in taken.values[self.against]:
            return "–"
        ratio = taken.ratio(self.curve, self.against)[self.T] / self.times
        return f"{1 / ratio:.1f} ×" if self.inverse else f"{ratio:.3f}"


EXPONENT, EARLIER = "exponent from T = 1,024 on", "after 1,024 tokens"
SCALAR, DIAGONAL = ("retention", "simple_gla", "ssd"), ("gla", "hgrn2", "rwkv6")
AIMS = dict.fromkeys(SCALAR, "≤ 1.3") | dict.fromkeys(DIAGONAL, "≤ 2.5")
AIMS |= {"delta_rule": "≤ 2.2", "gated_delta_rule": "≤ 2.4"}


def lines() -> list[Line]:
    """The table, in order. Floor: 4 products a chunk. Aims come from the course's own plan."""
    both = (PLAIN, "linear_attention")
    others = [name for name in LINEAR if name != "linear_attention"]
    window = "sliding_window_attention"
    return [
        *(Line("forward", name, FLOOR, aim="≤ 1.5", times=4) for name in both),
        *(Line("forward", name, SDPA, aim="≤ 0.09") for name in both),
        *(Line("forward", name, other, aim=AIMS.get(name, "")) for name in others for other in both),
        *(Line("forward", f"{name}, safe", name) for name in GATED),
        Line("forward", "gated_delta_rule", FALLBACK, aim="≤ 0.6"),
        *(Line("forward", name, SDPA) for name in (window, "s4d", "hgrn")),
        Line("forward", SCANS[16], f"{SCANS[16]}, definition", aim="≥ 2 ×", inverse=True),
        Line("forward", SCANS[256], f"{SCANS[256]}, definition", aim="≥ 1 ×", inverse=True),
        *(Line("training", name, SDPA, aim="≤ 0.09") for name in both),
        *(Line("training", name, EXPONENT, TRAINING[-1], "≤ 1.05") for name in (*both, *others)),
        *(Line("training", name, EXPONENT, TRAINING[-1], "≤ 1.05") for name in (SCANS[16], window, "hgrn")),
        Line("window", window, SDPA, T_WINDOW, "≥ 8 ×", inverse=True),
        Line("window", window, EXPONENT, T_WINDOW, "≤ 1.05"),
        *(Line("window", name, SDPA, T_WINDOW, inverse=True) for name in NEAR if name != window),
        *(Line("window", name, EXPONENT, T_WINDOW) for name in NEAR if name != window),
        *(Line("decode", name, EARLIER, DECODE[1], "≤ 1.1") for name in (*LINEAR, window, "hgrn")),
        Line("decode", CACHE, EARLIER, DECODE[1]),
        *(Line("memory", name, aim="≤ 12 MiB") for name in both),
        *(Line("memory", name) for name in (*others, window, "s4d", "hgrn", "softmax_attention")),
    ]


HEADER = ["what", "part", "T", "measured", "against", "ratio", "aim"]


def table(sweeps: Mapping[str, Sweep]) -> str:
    """What was measured, beside what was aimed for."""
    rows = [cells for line in lines() if (cells := line.cells(sweeps))]
    where = sweeps["forward"].environment
    return f"{where}, {where.date}, commit {where.commit}\n" + _format.text_table(HEADER, rows)
