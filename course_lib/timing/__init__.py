"""Honest measurement: how long, how many bytes, how it grows, and on what machine.

    bench(fn)                 one running time, with its spread
    compare({name: fn})       several, in interleaved rounds, with their ratios
    sweep(fns, inputs, Ts)    curves over the sequence length, with exponent and crossover
    peak_memory(fn)           the bytes a call holds at its worst moment
    Scaling(sweep)            exponents, crossings and extrapolations, each with an interval
    calibrate()               this machine's GEMM rate and memory bandwidth
    roofline(fn, flops, bytes)  how close to them a function comes

Chapter 02 derives the rules these follow.
"""

from course_lib.timing.ceilings import Rates, calibrate
from course_lib.timing.memory import peak_memory
from course_lib.timing.roofline import Roofline, roofline
from course_lib.timing.sampling import Comparison, Timing, bench, compare, graphed, training_step
from course_lib.timing.scaling import Crossing, Estimate, Extrapolation, Scaling
from course_lib.timing.stamp import Environment, environment
from course_lib.timing.store import load_sweep, recorded, recorded_names, save_sweep
from course_lib.timing.sweeps import Sweep, sweep

__all__ = [
    "Comparison",
    "Crossing",
    "Environment",
    "Estimate",
    "Extrapolation",
    "Rates",
    "Roofline",
    "Scaling",
    "Sweep",
    "Timing",
    "bench",
    "calibrate",
    "compare",
    "environment",
    "graphed",
    "load_sweep",
    "peak_memory",
    "recorded",
    "recorded_names",
    "roofline",
    "save_sweep",
    "sweep",
    "training_step",
]
