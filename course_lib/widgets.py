"""Thin shells around the figures: sliders in, the same pure figure out.

A widget keeps no mathematics of its own: it reads its sliders, calls a function of `plots` and shows the
picture. The picture sits in an HTML widget with its alternative text, so nothing is printed where there is
no front end. Only what ipywidgets 7.7.1 has (Colab's version). Show the static figure above the widget: a
page without a kernel shows only that one.
"""

import math
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from html import escape
from statistics import fmean, median
from typing import NamedTuple

import torch
from ipywidgets import HTML, Button, Dropdown, HBox, Layout, SelectionSlider, ToggleButtons, VBox, Widget
from matplotlib.figure import Figure

from course_lib import cost, decide, plots, runtime
from course_lib.attention import linear_attention, softmax_attention
from course_lib.course import Course, load
from course_lib.experiments import binned, recorded_runs
from course_lib.models import LanguageModel
from course_lib.plots import state_space
from course_lib.plots.conversations import STRATEGIES
from course_lib.plots.patterns import PATTERNS
from course_lib.tasks import KEY_FAMILIES, RULES, recall_by_age
from course_lib.timing import bench, calibrate
from course_lib.timing.pretend import noisy_samples

POWERS_OF_T, POWERS_OF_K, POWERS_OF_C = range(5, 14), range(4, 8), range(4, 9)
HEADS = 1  # keeps the largest measurement below a second
SECONDS_EACH = 0.1
MEMORY_K = 16  # = V, of the memory explorer
DECAY_TOKENS = 60
PATTERN_TOKENS = 32
CONTROL_WIDTH = "260px"  # four in a row of a wide window, two in half a window

Measure = Callable[[int, int, int], "Measured"]


class Measured(NamedTuple):
    """What one press of "Measure here" found: this machine's GEMM rate, and seconds by curve."""

    rate: float  # FLOP/s
    seconds: dict[str, float]  # "softmax", "linear"


def measure_here(T: int, K: int, C: int) -> Measured:
    """Time fused softmax and chunkwise linear attention once, one head and V = K; a second at most."""
    q, k, v = torch.randn(3, 1, T, HEADS, K, device=runtime.device()).unbind(0)
    fns = {
        "softmax": lambda: softmax_attention(q, k, v, mode="sdpa"),
        "linear": lambda: linear_attention(q, k, v, mode="chunk", chunk_size=C),
    }
    with torch.no_grad():
        timings = {name: bench(fn, budget_s=SECONDS_EACH, min_samples=1) for name, fn in fns.items()}
    return Measured(_gemm_rate(), {name: timing.median_s for name, timing in timings.items()})


@lru_cache(maxsize=1)
def _gemm_rate() -> float:
    return calibrate(2 * SECONDS_EACH).gemm_flops


def layer_explorer() -> VBox:
    """Sliders for T and the width d: attention's part of a layer, over T. Chapter 01."""

    def draw(T: int, d: int) -> tuple[str, Figure]:
        attention, rest = cost.attention_share(T, d), 1 - cost.attention_share(T, d)
        text = f"at T = {T:,} and d = {d:,}: attention {attention:.1%}, projections and MLP {rest:.1%} of the FLOPs"
        return text, plots.layer_share_plot([d], T=T)

    return _explorer([_powers_of_two("T", range(5, 18), 1024), _powers_of_two("d", range(7, 14), 1024)], draw)


def scaling_explorer() -> VBox:
    """Sliders for the longest T, head size D, chunk C and overhead: what a fit sees of the curves. Chapter 15."""

    def draw(T: int, D: int, C: int, overhead_us: int) -> tuple[str, Figure]:
        seen = plots.predicted_sweep(T, D, C, overhead_us)
        softmax, linear = (seen.exponent(name) for name in seen.names)
        crossing = seen.crossover(*seen.names)
        where = f"they cross at T = {crossing:,.0f}" if crossing else "no crossing within the measured range"
        counted = f"FLOPs alone say {cost.prefill_crossover(C, D, D):,.0f}"
        text = f"up to T = {T:,}: exponents {softmax:.2f} (softmax) and {linear:.2f} (linear); {where}; {counted}"
        return text, plots.extrapolation_plot(T, D, C, overhead_us)

    overhead = SelectionSlider(
        options=[(f"{us} µs", us) for us in (0, 5, 15, 50, 150)],
        value=15,
        description="overhead",
        continuous_update=False,
    )
    sliders = [
        _powers_of_two("longest T", range(7, 14), 512),
        _powers_of_two("head size D", POWERS_OF_K, 64),
        _powers_of_two("chunk C", POWERS_OF_C, 64),
    ]
    return _explorer([*sliders, overhead], draw)


def decay_explorer() -> VBox:
    """Sliders for the decay of every token, and for one token that closes its gate further. Chapter 10."""

    def draw(gamma: float, closed_at: int, closed_to: float) -> tuple[str, Figure]:
        g = [math.log(gamma)] * DECAY_TOKENS
        half_life = math.log(2) / -g[0]
        text = f"γ = {gamma}: half-life {half_life:,.1f} tokens"
        if closed_at:
            g[-closed_at - 1] = math.log(closed_to)
            text += f"; {closed_at} tokens ago a gate of {closed_to}"
        left = plots.kept(g).weights
        text += f"; left of the pairs 10, 20 and 40 tokens back: {left[10]:.1%}, {left[20]:.1%} and {left[40]:.1%}"
        title = f"At γ = {gamma} half is left after {half_life:,.1f} tokens"
        if closed_at:
            title += f", with the gate after {plots.kept(g).half_life}"
        return text, plots.kept_plot({"this memory": g}, title=title)

    gammas = [0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999]
    controls = [
        SelectionSlider(options=gammas, value=0.95, description="γ", continuous_update=False),
        SelectionSlider(
            options=[("none", 0), *((str(age), age) for age in (5, 10, 15, 25, 40))],
            value=0,
            description="gate at age",
            continuous_update=False,
        ),
        SelectionSlider(
            options=[0.001, 0.1, 0.3, 0.5], value=0.1, description="closed to", continuous_update=False
        ),
    ]
    return _explorer(controls, draw)


def map_explorer(course: Course) -> VBox:
    """Buttons for the tracks over the concept map; chapters outside the track are faint. Chapter 00."""

    def draw(track: str) -> tuple[str, Figure]:
        numbers = [chapter.number for chapter in course.chapters if track in chapter.tracks]
        text = f"{track}: {course.tracks[track]} Chapters {', '.join(numbers)}."
        return text, plots.concept_map(course, track=track)

    return _explorer([ToggleButtons(options=list(course.tracks))], draw)


def pattern_explorer() -> VBox:
    """Pattern, window, a second number and layers: one layer's mask and what the layers reach. Chapter 06."""

    def draw(name: str, window: int, extra: int, layers: int) -> tuple[str, Figure]:
        mask, field = plots.layered_pattern(name, PATTERN_TOKENS, window, extra, layers)
        reached = field[-1].nonzero().flatten()
        text = (
            f"{name}: a layer scores {mask.sum() / PATTERN_TOKENS:.1f} pairs a token; through {layers} layers the last "
            f"token may depend on {len(reached)} of {PATTERN_TOKENS}, the furthest {len(mask) - 1 - reached[0]} back"
        )
        title = f"{layers} layers: {len(reached)} of {PATTERN_TOKENS} tokens reach the last one"
        fig = plots.pattern_grid({"first layer": mask, f"through {layers} layers": field}, title=title)
        return text, fig

    controls = [
        Dropdown(options=list(PATTERNS), value="window", description="pattern"),
        _choice("window w", [1, 2, 3, 4, 6, 8], 4),
        _choice("stride etc.", [1, 2, 3, 4, 8, 12], 2),
        _choice("layers", [1, 2, 3, 4, 5, 6], 2),
    ]
    return _explorer(controls, draw)


def memory_explorer() -> VBox:
    """Rule, key family, number of pairs and whether keys come back: recall by age. Chapter 14."""

    def draw(rule: str, keys: str, n: int, rebound: bool) -> tuple[str, Figure]:
        fitting = min(n, MEMORY_K) if keys == "orthogonal" else n
        shares = recall_by_age(rule, fitting, keys=keys, rebound=rebound, trials=200)
        text = (
            f"{rule}, {fitting} {keys} keys{', each bound twice' if rebound else ''}: the oldest pair comes back in "
            f"{shares[0]:.0%} of the memories, the newest in {shares[-1]:.0%}, the average pair in {shares.mean():.0%}"
        )
        if fitting < n:
            text += f"; only {MEMORY_K} directions can be orthogonal, so n = {fitting}"
        return text, plots.memory_plot(rule, keys, fitting, rebound)

    bound = SelectionSlider(options=[("once", False), ("twice", True)], description="keys bound")
    counts = SelectionSlider(
        options=[4, 8, 16, 32, 64], value=16, description="pairs n", continuous_update=False
    )
    choices = [
        Dropdown(options=list(RULES), value="delta", description="rule"),
        Dropdown(options=list(KEY_FAMILIES), value="unit", description="keys"),
    ]
    return _explorer([*choices, counts, bound], draw)


def report_explorer(card: plots.Card, axes_of: Mapping[str, plots.Axis]) -> VBox:
    """Two columns of a report card: every seed a point, and which mechanisms are on their front. Chapter 17.

    card and axes_of as `plots.front_plot` takes them, with at least two columns.
    """
    names = {" ".join(axis.label.split()): column for column, axis in axes_of.items()}

    def draw(x: str, y: str) -> tuple[str, Figure]:
        on_front = plots.front_of(card, x, y, axes_of)
        label = {column: name for name, column in names.items()}
        text = f"{label[x]} against {label[y]}: on the front, by medians: {'; '.join(on_front)}"
        return text, plots.front_plot(card, x, y, axes_of)

    columns = list(names.values())
    cheap = next((c for c in columns if not axes_of[c].high), columns[0])
    good = next((c for c in columns if axes_of[c].high and c != cheap), columns[1])
    controls = [
        Dropdown(options=list(names.items()), value=cheap, description="x"),
        Dropdown(options=list(names.items()), value=good, description="y"),
    ]
    return _explorer(controls, draw)


def trial_explorer() -> VBox:
    """Sliders for T, heads, head size, item sizes and C: counted prefill and decode of both sides. Chapter 16."""

    def draw(T: int, D: int, C: int, H: int, H_kv: int, item_sizes: tuple[int, int]) -> tuple[str, Figure]:
        groups = min(H, H_kv)  # no more key–value heads than heads
        b_state, b_cache = item_sizes
        prefill = cost.prefill_crossover(C, D, D)
        decode = cost.decode_crossover(D, D, b_state, b_cache, H, groups)
        text = (
            f"T = {T:,}, {H} heads of size {D}, {groups} in the cache: counted without overheads, linear does less "
            f"beyond T* = {prefill:,.0f} in prefill and beyond T* = {decode:,.0f} in decode"
        )
        fig = plots.trial_plot(T, D, H=H, H_kv=groups, b_state=b_state, b_cache=b_cache, C=C)
        return text, fig

    sizes = [("4 / 4", (4, 4)), ("4 / 2", (4, 2)), ("4 / 1", (4, 1)), ("2 / 2", (2, 2))]
    controls = [
        _powers_of_two("T", range(3, 11), 64),
        _powers_of_two("K = V", range(4, 8), 64),
        _powers_of_two("chunk C", range(3, 8), 64),
        _powers_of_two("heads", range(0, 7), 8),
        _powers_of_two("kv heads", range(0, 7), 8),
        SelectionSlider(options=sizes, value=(4, 4), description="bytes S / kv", continuous_update=False),
    ]
    return _explorer(controls, draw)


def cache_explorer() -> VBox:
    """Sliders for a model, its context and a device: the cache against weights and memory. Chapter 04."""

    def draw(
        layers: int, kv_heads: int, D: int, T: int, itemsize: int, parameters: float, memory: float
    ) -> tuple[str, Figure]:
        per_token = cost.cache_bytes_per_token(kv_heads, D, D, layers, itemsize)
        weights = 2 * parameters
        batch = max(0, int((memory - weights) // (per_token * T)))
        equal = cost.cache_outgrows_weights(parameters, per_token)
        text = (
            f"{per_token:,} bytes a token; a sequence of {T:,} tokens holds {per_token * T / 1e9:.3g} GB beside "
            f"{weights / 1e9:.3g} GB of weights; {batch:,} of them fit into {memory / 1e9:.0f} GB"
        )
        title = f"The cache weighs as much as the weights at {equal:,.0f} tokens"
        fig = plots.cache_plot({"cache": per_token}, weights=weights, memory=memory, context=T, title=title)
        return text, fig

    controls = [
        _choice("layers", [16, 32, 48, 80], 32),
        _powers_of_two("kv heads", range(0, 7), 8),
        _powers_of_two("head size", range(5, 9), 128),
        _powers_of_two("T", range(9, 18), 8192),
        _choice("bytes", [1, 2, 4], 2),
        _choice("weights", {"1 billion": 1e9, "8 billion": 8e9, "30 billion": 30e9, "70 billion": 70e9}, 8e9),
        _choice("memory", {"24 GB": 24e9, "80 GB": 80e9, "192 GB": 192e9}, 80e9),
    ]
    return _explorer(controls, draw)


def _choice(name: str, options: Sequence[float] | dict[str, float], value: float) -> SelectionSlider:
    pairs = list(options.items()) if isinstance(options, dict) else [(str(n), n) for n in options]
    return SelectionSlider(options=pairs, value=value, description=name, continuous_update=False)


def factor_explorer() -> VBox:
    """Sliders for the factors of the cache's size: what is left after each method in turn. Chapter 05."""

    def draw(groups: int, budget: float, bits: int, layers: float, utilisation: float) -> tuple[str, Figure]:
        start, factors = plots.shrunk(
            groups=groups, budget=budget, bits=bits, layers=layers, utilisation=utilisation
        )
        left = start * math.prod(factors.values())
        text = (
            f"{plots.size_text(start)} reserved for 8 sequences of 32,768 tokens; all factors together leave "
            f"{plots.size_text(left)}, {left / start:.2%} of it"
        )
        return text, plots.factors_plot(start, factors, title=f"Together they leave {left / start:.2%}")

    controls = [
        _choice("H / H_kv", [1, 4, 8, 32], 4),
        _choice("T kept", {"all": 1.0, "half": 0.5, "a quarter": 0.25, "1 / 16": 1 / 16}, 0.25),
        _choice("bits", [16, 8, 4, 2], 4),
        _choice("layers", {"all": 1.0, "half": 0.5, "a quarter": 0.25}, 1.0),
        _choice("utilisation", {"half": 0.5, "0.96": 0.96}, 0.96),
    ]
    return _explorer(controls, draw)


def decision_studio(
    architectures: Sequence[decide.Architecture],
    recall: Mapping[str, decide.Recall],
    machine: decide.Machine | None = None,
) -> VBox:
    """Sliders for a workload: which architecture serves it best on a machine, and what each costs. Chapter 18.

    machine: None is this one, measured by `calibrate()` first.
    """
    served_by = machine or decide.Machine.here()

    def draw(prompt: int, output: int, batch: int, floor: float) -> tuple[str, Figure]:
        work = decide.Workload("studio", prompt, output, batch=batch, recall=floor)
        found = decide.recommend(work, architectures, served_by, recall=recall)
        costs = {
            a.name: {
                "seconds": decide.request_seconds(work, a, served_by),
                "memory": decide.memory(work, a).total,
                "recall": recall[a.name].value if a.name in recall else None,
            }
            for a in architectures
        }
        against = "".join(f"; {name}: {'; '.join(why)}" for name, why in found.rejected.items())
        text = f"{found.choice or 'none of them'}. {'. '.join(found.reasons[:1])}{against}"
        limits = {"memory": served_by.memory_bytes} | ({"recall": floor} if floor else {})
        title = f"{batch} at once, {prompt:,} tokens in and {output:,} out: {found.choice or 'none of them'}"
        return text, plots.decision_plot(costs, limits=limits, choice=found.choice, title=title)

    controls = [
        _choice("prompt", {f"{n:,}": n for n in (67, 267, 512, 1024, 4096, 10_000, 40_000, 131_072)}, 267),
        _choice("output", [1, 30, 100, 300, 1000], 30),
        _choice("batch", [1, 8, 32, 64, 256], 8),
        _choice("recall floor", {"none": 0.0, "40 %": 0.4, "60 %": 0.6, "95 %": 0.95}, 0.0),
    ]
    return _explorer(controls, draw)


def conversation_explorer() -> VBox:
    """Strategy and budget: what a chat carries by turn, and which facts come back at its end. Chapter 19."""

    def draw(strategy: str, budget: int) -> tuple[str, Figure]:
        nbytes, recall = plots.conversation(strategy, budget)
        turns, shares = list(nbytes), list(recall.values())
        text = (
            f"{strategy}, budget {plots.size_text(budget)}: {plots.size_text(nbytes[1])} carried after turn 1 and "
            f"{plots.size_text(nbytes[turns[-1]])} after turn {turns[-1]}; of the facts told in the first half "
            f"{fmean(shares[: len(shares) // 2]):.0%} come back, of the others {fmean(shares[len(shares) // 2 :]):.0%}"
        )
        return text, plots.conversation_plot(strategy, budget)

    strategy = Dropdown(options=list(STRATEGIES), value="window", description="strategy")
    budgets = {plots.size_text(n): n for n in (4_096, 16_384, 65_536, 262_144)}
    return _explorer([strategy, _choice("budget", budgets, 65_536)], draw)


def trace_explorer() -> VBox:
    """Sliders for the step size Δ, the rate α and the rotation ω: what one token leaves behind. Chapter 12."""

    def draw(delta: float, alpha: float, omega: float) -> tuple[str, Figure]:
        keep = math.exp(-alpha * delta)
        turned = f", turned by {math.degrees(omega * delta):.3g}°" if omega else ""
        written = "" if omega else f" and writes {1 - keep:.3f} of its input"
        text = (
            f"each token keeps {keep:.3f} of the state{turned}{written}; "
            f"half of it has faded after {state_space.half_life(delta, alpha):.3g} tokens"
        )
        return text, plots.trace_plot(delta, alpha, omega)

    return _explorer(
        [
            _choice("Δ", [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0], 0.1),
            _choice("rate α", [0.1, 0.2, 0.5, 1.0, 2.0], 0.5),
            _choice("rotation ω", [0.0, 0.5, 1.0, 2.0, 4.0], 0.0),
        ],
        draw,
    )


def _explorer(controls: Sequence[Widget], draw: Callable[..., tuple[str, Figure]]) -> VBox:
    """Controls in rows; their values go to `draw`, whose text and figure stand beneath them."""
    text, figure = HTML(), HTML()

    def redraw(_: object = None) -> None:
        words, fig = draw(*(control.value for control in controls))
        text.value, figure.value = escape(words), _image(fig, alt=words)

    for control in controls:
        control.observe(redraw, names="value")
    redraw()
    return VBox([_in_rows(controls), text, figure])


def _in_rows(controls: Sequence[Widget]) -> HBox:
    """As many controls in a row as the window has room for; none shrinks (buttons wrap by themselves)."""
    for control in controls:
        if not isinstance(control, ToggleButtons):
            control.layout = Layout(width=CONTROL_WIDTH, flex="0 0 auto")
    return HBox(list(controls), layout=Layout(flex_flow="row wrap"))


def cost_explorer(measure: Measure = measure_here) -> VBox:
    """Sliders for T, K and C over `plots.cost_plot`, and a button that adds what this machine needs for them.

    `measure(T, K, C)` returns a `Measured`; the point stays with its T, K and C. Chapter 08.
    """
    return _CostExplorer(measure).box


def timing_explorer() -> VBox:
    """Sliders for the number of samples, how often they are interrupted, and the seed. Chapter 02."""

    def draw(n: int, interrupted: int, seed: int) -> tuple[str, Figure]:
        samples = noisy_samples(n, interrupted / 100, seed)
        off = {"minimum": min(samples), "median": median(samples), "mean": fmean(samples)}
        words = ", ".join(f"{name} {value / 1e-3 - 1:+.1%}" for name, value in off.items())
        text = f"{n} samples of a call of 1 ms, {interrupted} % of them interrupted: {words}"
        mean, middle = (off[name] / 1e-3 - 1 for name in ("mean", "median"))
        title = f"The mean is {mean:+.1%} off the usual call, the median {middle:+.1%}"
        return text, plots.samples_plot(samples, usual=1e-3, title=title)

    return _explorer(
        [
            SelectionSlider(options=[5, 20, 100, 1000], value=100, description="samples"),
            SelectionSlider(options=[0, 5, 10, 30, 60], value=10, description="hit, %"),
            SelectionSlider(options=list(range(8)), value=0, description="repeat no."),
        ],
        draw,
    )


def collision_explorer() -> VBox:
    """Sliders for the overlap of two keys and the step size β: what both memories return. Chapter 11."""

    def draw(overlap: float, beta: float) -> tuple[str, Figure]:
        answers = {rule: plots.collide(overlap, beta, rule) for rule in ("add", "delta")}
        words = "; ".join(f"{rule}: {one:.2f} and {two:.2f}" for rule, (one, two) in answers.items())
        text = f"written 1, then 2, with overlap {overlap:.1f} and β = {beta:g}; read back by {words}"
        return text, plots.collision_plot(overlap, beta)

    overlaps = [round(tenth / 10, 1) for tenth in range(-10, 11)]
    return _explorer(
        [
            SelectionSlider(options=overlaps, value=0.8, description="overlap", continuous_update=False),
            SelectionSlider(
                options=[0, 0.25, 0.5, 0.75, 1, 1.5, 2], value=1, description="β", continuous_update=False
            ),
        ],
        draw,
    )


class _CostExplorer:
    """The widget's parts: three sliders, a line of text, the figure, the button."""

    def __init__(self, measure: Measure):
        self.measure = measure
        self.found: dict[tuple[int, ...], Measured] = {}
        self.sliders = [
            _powers_of_two("T", POWERS_OF_T, 1024),
            _powers_of_two("K = V", POWERS_OF_K, 64),
            _powers_of_two("chunk C", POWERS_OF_C, 64),
        ]
        self.text, self.figure, self.button = HTML(), HTML(), Button(description="Measure here")
        for slider in self.sliders:
            slider.observe(self.draw, names="value")
        self.button.on_click(self.press)
        self.box = VBox([_in_rows(self.sliders), self.text, self.figure, self.button])
        self.draw()

    def draw(self, _: object = None) -> None:
        T, K, C = at = self.at()
        self.text.value = _sentence(T, K, C)
        measured = self.found.get(at)
        rate, seconds = measured or (None, None)
        fig = plots.cost_plot(T, K, C, rate=rate, measured=seconds, H=HEADS)
        self.figure.value = _image(fig, alt=_in_words(T, K, C, measured))

    def press(self, _: object = None) -> None:
        self.button.disabled = True
        try:
            self.found[self.at()] = self.measure(*self.at())
        except RuntimeError as error:  # memory ran out: an error in a callback would only reach a log
            self.text.value = f"nothing measured: {escape(str(error))}"
        else:
            self.draw()
        finally:
            self.button.disabled = False

    def at(self) -> tuple[int, ...]:
        return tuple(slider.value for slider in self.sliders)


def _powers_of_two(name: str, powers: range, value: int) -> SelectionSlider:
    options = [(f"{2**i:,}", 2**i) for i in powers]
    return SelectionSlider(options=options, value=value, description=name, continuous_update=False)


def _image(fig: Figure, alt: str) -> str:
    data = b64encode(plots.png(fig)).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" alt="{escape(alt)}" style="max-width: 100%">'


def _sentence(T: int, K: int, C: int) -> str:
    softmax, linear = _flops(T, K, C)
    counts = f"softmax {softmax / 1e6:,.1f} MFLOP, linear {linear / 1e6:,.1f} MFLOP"
    meet = cost.prefill_crossover(C, K, K)
    return f"predicted: {counts}; softmax / linear = {softmax / linear:.2f}; they meet at T* = {meet:,.0f}"


def _in_words(T: int, K: int, C: int, measured: Measured | None) -> str:
    text = f"Cost over T for K = {K} and chunks of {C}. {_sentence(T, K, C)}"
    if measured is None:
        return text
    times = ", ".join(f"{name} {1e3 * seconds:.3g} ms" for name, seconds in measured.seconds.items())
    return f"{text}; measured at T = {T}: {times}"


def _flops(T: int, K: int, C: int) -> tuple[int, int]:
    return cost.softmax_flops(1, T, HEADS, K, K), cost.linear_flops(1, T, HEADS, K, K, C)


def _report() -> VBox:
    """What was recorded of the report card: its other columns are measured where chapter 17 runs."""
    axes_of = {
        "recall": plots.Axis("right, T = 64", high=True, percent=True),
        "old": plots.Axis("right, told 32+ ago", high=True, percent=True),
        "bytes": plots.Axis("kB carried, T = 4,096", high=False, log=True),
    }
    card = {
        label: {
            "recall": [run.accuracy for run in runs],
            "old": [fmean(p.accuracy for age, p in binned(run, "age").items() if age >= 32) for run in runs],
            "bytes": [LanguageModel(**runs[0].model).carried_bytes(T=4096) / 1e3],
        }
        for label, runs in recorded_runs("report-card").items()
    }
    return report_explorer(card, axes_of)


def _studio() -> VBox:
    """The decision studio of three architectures of one size, each with the recall of its small stand-in."""
    sizes = {"layers": 16, "d": 1024, "heads": 8, "kv_heads": 2, "head_size": 128}
    more = {"itemsize": 4, "cache_itemsize": 2, "state_itemsize": 4, "chunk": 64}
    patterns = {
        "softmax": ["softmax"],
        "linear": ["linear"],
        "hybrid": ["softmax", "delta", "delta", "delta"],
    }
    runs = {
        "softmax": recorded_runs("mqar")["softmax"],
        "linear": recorded_runs("mqar")["linear, elu + 1"],
        "hybrid": recorded_runs("hybrids-first")["1 of 4 softmax, head size 16"],
    }
    return decision_studio(
        [decide.Architecture(name, pattern=tuple(p), **sizes, **more) for name, p in patterns.items()],
        {name: decide.Recall(min(run.accuracy for run in found), "recorded") for name, found in runs.items()},
    )


# The widget of each chapter, as `course explore` shows them.
EXPLORERS: dict[str, Callable[[], VBox]] = {
    "00": lambda: map_explorer(load()),
    "01": layer_explorer,
    "02": timing_explorer,
    "04": cache_explorer,
    "05": factor_explorer,
    "06": pattern_explorer,
    "08": cost_explorer,
    "10": decay_explorer,
    "11": collision_explorer,
    "12": trace_explorer,
    "14": memory_explorer,
    "15": scaling_explorer,
    "16": trial_explorer,
    "17": _report,
    "18": _studio,
    "19": conversation_explorer,
}
