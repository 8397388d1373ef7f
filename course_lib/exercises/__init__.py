"""Questions and what a student calls: `check`, `ask`, `predict`, `reveal`, `score`."""

from course_lib.exercises.check import ask, check, score
from course_lib.exercises.predict import predict, reveal

__all__ = ["ask", "check", "predict", "reveal", "score"]
