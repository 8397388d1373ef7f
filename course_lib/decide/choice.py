"""Which architecture, for what reasons, and what would change the answer.

The cheapest one that fits: enough memory, no longer wait than allowed, and a measured recall at or above the floor. A
recall is never assumed: under a floor, an architecture that nobody measured is out. The ceilings are uncertain, so
`recommend` decides again with each of them off by a factor; `sensitivity` asks of every number how far it has to move
before the decision does. Chapter 18.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, log
from textwrap import fill

from course_lib.attention.checks import choose
from course_lib.attention.registry import Table
from course_lib.decide.inputs import Architecture, Machine, Recall, Workload, check_amount
from course_lib.decide.serving import (
    QUANTITIES,
    amount,
    comparison,
    first_token,
    largest_batch,
    memory,
    mixer_share,
    per_token,
)
from course_lib.timing import _format

CEILINGS = ("flops", "bandwidth", "memory_bytes")
NONE = "none of them"
WIDTH = 79  # of a printed line: a narrow window breaks longer ones


@dataclass(frozen=True)
class Recommendation:
    """A choice and what speaks for it.

    choice: name, or None where no architecture will do.  reasons: in words.  rejected: name -> what speaks against it.
    ranking: all that will do, cheapest first, with what they cost.  factor: how far off a number may be.  changes:
    "bandwidth ÷ 2" -> the choice there, where it is another.  close: those that cost less than `factor` times the
    least, so that kernels which come nearer to the ceilings than others would change the order; none where bytes are
    compared, which are counted.  table: all of them side by side.
    """

    workload: Workload
    machine: Machine
    choice: str | None
    reasons: tuple[str, ...]
    rejected: Mapping[str, tuple[str, ...]]
    ranking: tuple[tuple[str, float], ...]
    factor: float
    changes: Mapping[str, str | None]
    close: tuple[str, ...]
    table: Table

    @property
    def certain(self) -> bool:
        """No ceiling that is off by the factor changes the choice, and nothing else costs nearly as little."""
        return not self.changes and not self.close

    def __str__(self) -> str:
        lines = [
            f"{self.workload.name} on {self.machine.name} ({self.machine.source}): {self.choice or NONE}"
        ]
        lines += [f"  + {reason}" for reason in self.reasons]
        lines += [f"  − {name}: {'; '.join(why)}" for name, why in self.rejected.items()]
        lines += [f"  ± {doubt}" for doubt in self._doubts()]
        return "\n".join(
            fill(line, WIDTH, subsequent_indent=" " * 6, break_on_hyphens=False) for line in lines
        )

    def _doubts(self) -> Iterator[str]:
        off = f"a ceiling that is off by a factor of {self.factor:g}"
        changed = ", ".join(f"{at}: {name or NONE}" for at, name in self.changes.items())
        yield f"{off} changes it: {changed}" if changed else f"{off} does not change it"
        if self.close:
            yield f"within that factor of the least: {', '.join(self.close)}; measure them before you choose"


@dataclass(frozen=True)
class Case:
    """Everything a decision depends on. by: the quantity that is to be small."""

    workload: Workload
    architectures: tuple[Architecture, ...]
    machine: Machine
    recall: Mapping[str, Recall]
    by: str

    def __post_init__(self) -> None:
        choose("by", self.by, QUANTITIES)
        names = [a.name for a in self.architectures]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"architectures must be at least one, each with its own name, got {names}")
        for name, measured in self.recall.items():
            choose("recall", name, dict.fromkeys(names))
            if not isinstance(measured, Recall):
                raise TypeError(
                    f"recall of {name} must be a Recall with its source, got {type(measured).__name__}"
                )

    def cost(self, a: Architecture) -> float:
        """What the decision wants to be small."""
        return QUANTITIES[self.by](self.workload, a, self.machine)

    def acceptable(self) -> list[Architecture]:
        """Those that nothing speaks against."""
        return [a for a in self.architectures if not any(self.objections(a))]

    def choice(self) -> str | None:
        """The cheapest of these; the first of several that cost the same."""
        return min(self.acceptable(), key=self.cost).name if self.acceptable() else None

    def objections(self, a: Architecture) -> Iterator[str]:
        """What speaks against an architecture, in words."""
        w, m = self.workload, self.machine
        if w.recall > 0:
            yield from self._recall_objection(a)
        if (held := memory(w, a).total) > m.memory_bytes:
            yield (
                f"needs {_format.size(held)} of {_format.size(m.memory_bytes)} memory; {largest_batch(w, a, m):,} "
                f"at once would fit, not {w.batch:,}"
            )
        limits = {
            "first token": (first_token, w.first_token_s),
            "slowest token": (per_token, w.per_token_s),
        }
        for what, (time, most) in limits.items():
            if most is not None and (took := time(w, a, m)).seconds > most:
                yield f"{what} after {took}, more than {_format.seconds(most)}"

    def _recall_objection(self, a: Architecture) -> Iterator[str]:
        floor, measured = self.workload.recall, self.recall.get(a.name)
        if measured is None:
            yield f"its recall was not measured, and {floor:.0%} are asked for"
        elif measured.value < floor:
            yield f"recall {measured.value:.0%} is below the {floor:.0%} asked for ({measured.source})"


def recommend(
    workload: Workload,
    architectures: Sequence[Architecture],
    machine: Machine,
    *,
    recall: Mapping[str, Recall],
    by: str = "seconds",
    factor: float = 2.0,
) -> Recommendation:
    """The architecture that serves the workload with least of `by`, among those that nothing speaks against.

    recall: name -> what was measured for it; may be empty where the workload asks for none.  by: one of `QUANTITIES`
    ("first token", "per token", "seconds" of a batch, "memory", "money").  factor: decide again with the FLOP rate, the
    bandwidth and the memory of the machine each multiplied and divided by it; and name those that are this close.

    Raises TypeError or ValueError for arguments that do not fit: no architectures, names that are not distinct, a
    recall of another name or without a source, a factor of at most 1, money without a price. Chapter 18.
    """
    case = Case(workload, tuple(architectures), machine, recall, by)
    check_amount("factor", factor, least=1.0)
    ranking = sorted(((a.name, case.cost(a)) for a in case.acceptable()), key=lambda ranked: ranked[1])
    choice = case.choice()
    objections = {a.name: tuple(case.objections(a)) for a in case.architectures}
    return Recommendation(
        workload=workload,
        machine=machine,
        choice=choice,
        reasons=tuple(_reasons(case, ranking)),
        rejected={name: why for name, why in objections.items() if why},
        ranking=tuple(ranking),
        factor=factor,
        changes=_with_other_ceilings(case, choice, factor),
        close=tuple(name for name, x in ranking[1:] if by != "memory" and x < factor * ranking[0][1]),
        table=comparison(workload, case.architectures, machine),
    )


def _with_other_ceilings(case: Case, choice: str | None, factor: float) -> dict[str, str | None]:
    changed = {}
    for ceiling in CEILINGS:
        for sign, f in (("×", factor), ("÷", 1 / factor)):
            machine = replace(case.machine, **{ceiling: getattr(case.machine, ceiling) * f})
            if (other := replace(case, machine=machine).choice()) != choice:
                changed[f"{ceiling} {sign} {factor:g}"] = other
    return changed


def _reasons(case: Case, ranking: list[tuple[str, float]]) -> Iterator[str]:
    if not ranking:
        return
    w, m = case.workload, case.machine
    chosen = next(a for a in case.architectures if a.name == ranking[0][0])
    yield _compared(case.by, ranking)
    yield f"first token after {first_token(w, chosen, m)}, slowest token after {per_token(w, chosen, m)}"
    yield f"memory {memory(w, chosen)}"
    yield f"{largest_batch(w, chosen, m):,} requests fit at once"
    share = mixer_share(w, chosen)
    yield f"its mixers take {share:.1%} of the arithmetic of reading; no other can save more"
    if chosen.name in case.recall:
        measured = case.recall[chosen.name]
        yield f"recall {measured.value:.0%}, and {w.recall:.0%} are asked for ({measured.source})"


def _compared(by: str, ranking: list[tuple[str, float]]) -> str:
    (name, least), *others = ranking
    if not others:
        return f"{name} is the only one that will do: {by} {_shown(by, least)}"
    second, more = others[0]
    return f"{by} {_shown(by, least)}; next is {second} with {_shown(by, more)}, {more / least:.2f} times as much"


def _shown(by: str, x: float) -> str:
    if by == "money":
        return f"{amount(x)} for 1,000 requests"
    return _format.size(x) if by == "memory" else _format.seconds(x)


# --- what would change it -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """Once `input` is `factor` times what was given, so `value`, the decision is another: `choice`."""

    input: str
    factor: float
    value: float
    choice: str | None

    def __str__(self) -> str:
        name = self.input.removesuffix("_bytes")
        return f"{name} {_format.factor(self.factor)} (to {self._value()}): {self.choice or NONE}"

    def _value(self) -> str:
        if self.input == "memory_bytes":
            return _format.size(self.value)
        return f"{self.value:,.0f}" if self.value >= 1000 else f"{self.value:.4g}"


PROBES = 16  # factors tried in each direction before closing in
HALVINGS = 12  # then the factor is known to within reach ** (1 / PROBES / 2 ** HALVINGS)


def sensitivity(
    workload: Workload,
    architectures: Sequence[Architecture],
    machine: Machine,
    *,
    recall: Mapping[str, Recall],
    by: str = "seconds",
    reach: float = 16.0,
) -> list[Change]:
    """Which number changes the decision first: for each, the factor nearest to 1 at which another choice is made.

    Moved, one at a time and by up to `reach` in both directions: the machine's ceilings and overhead; the lengths,
    turns, batch, recall floor and limits of the workload; each measured recall. Numbers that are 0 or not given stay,
    counts are rounded, and shares end at 1. Nearest first; inputs that change nothing within reach are left out. (A
    price multiplies all costs alike.) One that changes the choice and back between two of 16 probes can hide. Raises
    as `recommend`; ValueError for a reach of at most 1. Chapter 18.
    """
    case = Case(workload, tuple(architectures), machine, recall, by)
    check_amount("reach", reach, least=1.0)
    choice = case.choice()
    found = [_nearest(choice, name, x, reach) for name, x in _inputs(case).items()]
    return sorted((change for change in found if change), key=lambda change: abs(log(change.factor)))


@dataclass(frozen=True)
class Input:
    """A number that can move: as given, the case with another, what it can be (counts are whole), and its most."""

    value: float
    at: Callable[[float], Case]
    kind: Callable[[float], float] = float
    most: float = inf

    def times(self, factor: float) -> float:
        """The value moved by a factor, as far as it can be."""
        return self.kind(min(self.value * factor, self.most))

    def choice(self, factor: float) -> str | None:
        """What is chosen there."""
        return self.at(self.times(factor)).choice()


def _whole(x: float) -> int:
    return max(1, round(x))


def _inputs(case: Case) -> dict[str, Input]:
    """Those that are not 0 and not None."""
    recall = case.recall

    def of(whose: str, field: str, **options: object) -> Input:
        part = getattr(case, whose)
        value = getattr(part, field)
        return Input(value, lambda x: replace(case, **{whose: replace(part, **{field: x})}), **options)

    def of_recall(name: str) -> Input:
        measured = recall[name]

        def there(x: float) -> Case:
            return replace(case, recall={**recall, name: replace(measured, value=x)})

        return Input(measured.value, there, most=1.0)

    found = {field: of("machine", field) for field in (*CEILINGS, "overhead_s")}
    found |= {
        field: of("workload", field, kind=_whole)
        for field in ("prompt", "document", "output", "turns", "batch")
    }
    found |= {field: of("workload", field) for field in ("first_token_s", "per_token_s")}
    found["recall floor"] = of("workload", "recall", most=1.0)
    found |= {f"recall of {name}": of_recall(name) for name in recall}
    return {name: x for name, x in found.items() if x.value}


def _nearest(choice: str | None, name: str, x: Input, reach: float) -> Change | None:
    """The change nearest to the value as it is, in either direction."""
    factors = [f for end in (reach, 1 / reach) if (f := _first_change(choice, x, end)) is not None]
    if not factors:
        return None
    factor = min(factors, key=lambda f: abs(log(f)))
    return Change(name, x.times(factor) / x.value, x.times(factor), x.choice(factor))


def _first_change(choice: str | None, x: Input, end: float) -> float | None:
    """The factor between 1 and `end` from which another choice is made: probes a constant ratio apart, then halving."""
    probes = [end ** (i / PROBES) for i in range(PROBES + 1)]
    changed = next((i for i, f in enumerate(probes) if x.choice(f) != choice), None)
    if changed is None:
        return None
    before, after = probes[changed - 1], probes[changed]
    for _ in range(HALVINGS):
        middle = (before * after) ** 0.5
        before, after = (before, middle) if x.choice(middle) != choice else (middle, after)
    return after
