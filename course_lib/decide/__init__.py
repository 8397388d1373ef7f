"""Choosing an architecture: what it costs to serve a workload, which one to take, and what would change that.

    Workload, Architecture, Machine, Recall     what is known, every number an argument with its source
    first_token, per_token, memory, …           what serving costs: formulas of `course_lib.cost` over two ceilings
    comparison, break_even                      architectures side by side, and where they change places
    recommend, sensitivity                      the choice with its reasons, and the input that changes it first

Chapters 18 and 19.
"""

from course_lib.decide.choice import Change, Recommendation, recommend, sensitivity
from course_lib.decide.inputs import FAMILIES, Architecture, Machine, Recall, Workload
from course_lib.decide.serving import (
    QUANTITIES,
    BreakEven,
    Memory,
    Time,
    Work,
    break_even,
    comparison,
    first_token,
    largest_batch,
    memory,
    mixer_share,
    money,
    per_token,
    reading,
    request_seconds,
    step,
    tokens_per_second,
)

__all__ = [
    "FAMILIES",
    "QUANTITIES",
    "Architecture",
    "BreakEven",
    "Change",
    "Machine",
    "Memory",
    "Recall",
    "Recommendation",
    "Time",
    "Work",
    "Workload",
    "break_even",
    "comparison",
    "first_token",
    "largest_batch",
    "memory",
    "mixer_share",
    "money",
    "per_token",
    "reading",
    "recommend",
    "request_seconds",
    "sensitivity",
    "step",
    "tokens_per_second",
]
