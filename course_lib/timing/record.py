"""Record this machine: the sweeps that the chapters lay beside the reader's own.

    python -m course_lib.timing.record

writes prefill-cpu and prefill-memory-cpu (on a GPU: -gpu) to data/measurements: forward time and peak
memory of causal softmax and linear attention over T = 32 … 8,192 (B = 1, H = 4, K = V = 64, float32), each
a CSV of raw samples and the stamp of this machine, and a figure of the times for the README. Run it while
nothing else runs; on a CPU it uses one thread and CPU time. Takes about two minutes.
"""

import argparse
from functools import partial
from pathlib import Path

import torch

from course_lib import runtime
from course_lib.attention import linear_attention, softmax_attention
from course_lib.timing.store import load_sweep, save_sweep
from course_lib.timing.sweeps import Sweep, sweep

LENGTHS = [2**i for i in range(5, 14)]
B, H, K = 1, 4, 64
SHAPE = f"B = {B}, H = {H}, K = V = {K}, float32, causal, forward"
FORWARD = {
    "softmax naive": partial(softmax_attention, mode="parallel"),
    "softmax online": partial(softmax_attention, mode="chunk"),
    "softmax SDPA": partial(softmax_attention, mode="sdpa"),
    "linear chunk": partial(linear_attention, mode="chunk"),
}


def inputs(T: int) -> tuple[torch.Tensor, ...]:
    """q, k, v `[B, T, H, K]`, the same at every call."""
    generator = torch.Generator().manual_seed(T)
    return tuple(torch.randn(B, T, H, K, generator=generator).to(runtime.device()) for _ in range(3))


def record(folder: Path, budget_s: float = 90.0, lengths: list[int] = LENGTHS) -> list[Path]:
    """Measure time, then memory, and save both to `folder`; returns the CSV files."""
    with torch.no_grad():
        sweeps = [_forward(measure, budget_s, lengths) for measure in ("time", "memory")]
    kind = "gpu" if runtime.device().type == "cuda" else "cpu"
    names = [f"prefill-{kind}.csv", f"prefill-memory-{kind}.csv"]
    return [save_sweep(taken, folder / name) for taken, name in zip(sweeps, names, strict=True)]


def picture(path: Path) -> Path:
    """Draw a recorded sweep into a PNG beside it."""
    from course_lib.plots import png, sweep_plot  # here, so that timing itself never loads matplotlib

    pair, title = ("softmax SDPA", "linear chunk"), "Softmax attention grows with T², linear attention with T"
    fig = sweep_plot(load_sweep(path), crossover=pair, title=title)
    path.with_suffix(".png").write_bytes(png(fig))
    return path.with_suffix(".png")


def _forward(measure: str, budget_s: float, lengths: list[int]) -> Sweep:
    title = f"Forward {measure}: {SHAPE}"
    return sweep(FORWARD, inputs, lengths, budget_s=budget_s, measure=measure, title=title)


def main() -> None:
    """Parse the command line, record, and print where the files are."""
    parser = argparse.ArgumentParser(description="Record this machine's sweeps into data/measurements.")
    parser.add_argument("--folder", type=Path, default=Path("data/measurements"), help="where the files go")
    parser.add_argument("--seconds", type=float, default=90.0, help="time budget of each sweep")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    times, memory = record(asked.folder, asked.seconds)
    for path in (times, memory, picture(times)):
        print(path)


if __name__ == "__main__":
    main()
