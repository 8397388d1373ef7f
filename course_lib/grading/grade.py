"""One submission through the sandbox: its cells, then every case of every question; points and words come out.

A cell or a case that ends the sandbox costs itself: the notebook is run again without that cell, and grading
goes on after that case. What a student may read of it comes from the cells, and from the notebook's own
cases, which run before any secret number has entered the sandbox; of secret cases nothing is told but what
kind of mistake they met.
"""

from __future__ import annotations

import builtins
import json
import re
import time
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import torch
from torch.utils._pytree import tree_leaves

from course_lib import course
from course_lib.exercises.cases import Case, Limit
from course_lib.exercises.check import evaluate
from course_lib.exercises.judge import Verdict, judge, summarise
from course_lib.exercises.question import CodeQuestion, Question
from course_lib.grading import sandbox
from course_lib.grading.inside import wire
from course_lib.grading.intake import Submission
from course_lib.grading.release import Release, check_private, checked, defined, release
from course_lib.grading.sandbox import Limits, Sandbox, SandboxError
from course_lib.grading.secret import Graded, graded_cases

CARRY_SECONDS = 5  # for inputs or a result of a Limit on their way, in which nothing is computed
MAX_RESTARTS = 60
MAX_ENDS = 3  # in a row: the cases of one question may not use up the restarts of all others
HELD_BYTES = 256 * sandbox.MEGABYTE  # what a notebook may hold before a Limit and not have counted
SLACK_BYTES = (
    64 * sandbox.MEGABYTE
)  # what Python, malloc and its fragments take beside an answer's own tensors
ENDED = {
    "died": "the process ended: it was stopped, it crashed, or an allocation was refused",
    "time": "it took too much time",
    "memory": "it took too much memory",
    "protocol": "what came back was no answer of the grader's own",
}
HIDDEN_WORDS = {
    "structure": "what comes back has not the structure that is expected.",
    "shape": "a result has not the shape that is expected.",
    "precision": "right to float32's accuracy only, and the inputs are float64.",
    "nonfinite": "NaN or an infinity comes back where a number is expected.",
    "value": "a result has not the values that are expected.",
}
CELL = re.compile(r"\(<ipython-input-[^>]*>, line (\d+)\)")  # how Python calls the place of a syntax error
UNFIT = "the call changes its inputs in place, or gives nothing that can be judged."
WAITED = "not tried: a case before it took too long."
ENDED_OFTEN = f"not tried: {MAX_ENDS} cases before it ended the notebook's process."
GIVEN_UP = "not tried: the notebook had to be started too often, or took too much time in all"
SAFE_ERRORS = frozenset(name for name in vars(builtins) if name.endswith("Error")) | {"AbsentError"}


@dataclass(frozen=True)
class CaseResult:
    """One case of one question."""

    label: str
    state: str
    message: str = ""


@dataclass
class QuestionResult:
    """One question: its points, the words for its student, and its cases."""

    id: str
    title: str
    of: float
    points: float = 0
    state: str = "not attempted"
    message: str = ""
    cases: list[CaseResult] = field(default_factory=list)


@dataclass
class Result:
    """One submission, graded. `trouble` is what its student should know about the notebook as a whole."""

    key: str
    student: str
    id: str
    file: str
    sha256: str
    chapter: str | None
    questions: list[QuestionResult]
    trouble: list[str] = field(default_factory=list)
    seconds: float = 0

    def as_json(self) -> dict:
        """Plain lists and dicts. A lone surrogate, which no file can hold, becomes a question mark."""
        text = json.dumps(asdict(self), ensure_ascii=False)
        return json.loads(text.encode("utf-8", "replace"))


@dataclass(frozen=True)
class Terms:
    """What is the same for all submissions of a run."""

    seed: str
    private: str | None = None
    only: tuple[str, ...] = ()  # questions; all when empty
    unsafe: bool = False
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        """ValueError for a folder of questions that cannot be used, and for a question that is not there."""
        if self.private:
            check_private(Path(self.private))
        ready = [chapter.number for chapter in course.load().ready]
        for id in self.only:
            known = [q.id for q in self.release(id[:2]).questions] if id[:2] in ready else []
            if id not in known:
                hint = (
                    f"chapter {id[:2]} has {', '.join(known)}" if known else "an id such as 08.2 is expected"
                )
                raise ValueError(f"there is no question {id}: {hint}")

    def release(self, chapter: str) -> Release:
        """The chapter as it was handed out."""
        return release(chapter, Path(self.private) if self.private else None)


def grade(submission: Submission, terms: Terms) -> Result:
    """Grades one submission. Raises only for a fault of the course's own."""
    s = submission
    result = Result(s.key, s.student, s.id, s.file, s.sha256, s.chapter, [])
    if s.chapter is None:
        result.trouble.append(s.problem)
        return result
    torch.set_num_threads(1)
    with sandbox.user() as uid:
        run = _Run(s, terms, uid)
        try:
            result.questions = run.questions()
        finally:
            run.close()
    result.trouble, result.seconds = run.trouble, round(time.monotonic() - run.began, 2)
    return result


class _Run:
    """A notebook in its sandbox, started again where it must be."""

    def __init__(self, submission: Submission, terms: Terms, uid: int | None) -> None:
        self.terms, self.uid = terms, uid
        self.release = terms.release(submission.chapter)
        self.sources = submission.sources
        self.own_names = dict(pair for source in self.sources for pair in checked(source))
        self.cells = [i for i, source in enumerate(self.sources) if not self.release.skips(source)]
        self.dropped: dict[int, str] = {}  # cells that ended the sandbox
        self.errors: dict[int, str] = {}
        self.trouble: list[str] = []
        self.box: Sandbox | None = None
        self.restarts, self.spent, self.began = 0, 0.0, time.monotonic()
        self.fresh = 0  # bytes of a sandbox before its first cell
        self.sparing = False

    # The sandbox

    def close(self) -> None:
        if self.box is not None:
            self.spent += self.box.spent
            self.box.close()
            self.box = None

    def ready(self) -> Sandbox:
        """A sandbox in which every cell has run that can. SandboxError once it was started too often."""
        while self.box is None:
            if self.restarts > MAX_RESTARTS or self.spent > self.terms.limits.submission_seconds:
                raise SandboxError("given up")
            self.restarts += 1
            self.box = Sandbox(self.terms.limits, self.uid, unsafe=self.terms.unsafe, sparing=self.sparing)
            self.fresh = self.box.memory()
            for i in self.cells:
                if i not in self.dropped and not self._cell(i):
                    break
        return self.box

    def _cell(self, i: int) -> bool:
        """Runs a cell; False when it took the sandbox with it."""
        try:
            reply, _ = self.box.ask({"op": "cell", "what": self.sources[i]}, self.terms.limits.cell_seconds)
        except SandboxError as error:
            self.dropped[i] = ENDED[error.reason]
            self.close()
            return False
        self.errors.pop(i, None)
        if reply["state"] == "raised":
            self.errors[i] = _told(reply)
        return True

    def ask(
        self, request: dict, seconds: float, buffers: list = (), memory: int | None = None
    ) -> tuple[dict, object]:
        """A reply and its value. SandboxError closes the sandbox; the next question begins with a new one."""
        try:
            reply, data = self.ready().ask(request, seconds, buffers, memory)
            return reply, wire.unpack(reply["value"], data) if "value" in reply else None
        except wire.WireError:
            self.close()
            raise SandboxError("protocol") from None
        except SandboxError:
            self.close()
            raise

    # Questions

    def questions(self) -> list[QuestionResult]:
        """Every question's result: first what may be told in full, then what is secret. A choice or a number is
        told in full, so it is taken before any function could have written a secret case's number there.
        """
        asked = [q for q in self.release.questions if not self.terms.only or q.id in self.terms.only]
        values = {q.id: self._value(q) for q in asked if not isinstance(q, CodeQuestion)}
        told = {q.id: self._on_visible_cases(q) for q in asked if isinstance(q, CodeQuestion)}
        results = [values[q.id] if q.id in values else self._code(q, told[q.id]) for q in asked]
        for i, why in sorted(self.dropped.items()):
            self.trouble.append(
                f"code cell {i + 1} was left out: {why}. It begins: {self.sources[i].strip()[:80]!r}"
            )
        return results

    def name(self, question: Question) -> str | None:
        """The name that answers a question: the released notebook's, else the one that the student checks."""
        return self.release.names.get(question.id) or self.own_names.get(question.id)

    def _absent(self, question: Question) -> tuple[str, str]:
        """(state, message) of an answer that is not there after all cells have run."""
        name, own = self.name(question), self.own_names.get(question.id)
        if name is None:
            return "missing", f'the notebook nowhere checks it: check("{question.id}", …) is expected.'
        places = [i for i, source in enumerate(self.sources) if name in defined(source)]
        touched = [i for i in places if i in self.cells]
        for i in touched:
            if i in self.dropped:
                return "missing", f"the cell that defines `{name}` was left out: {self.dropped[i]}."
            if i in self.errors:
                return "missing", f"the cell that defines `{name}` fails: {self.errors[i]}"
        unread = [i for i in self.errors if name in self.sources[i]]
        if not touched and unread:
            return "missing", f"the cell that should define `{name}` fails: {self.errors[unread[0]]}"
        if places:
            return "not attempted", ""
        other = f" It checks `{own}` instead: give it that name." if own not in (None, name) else ""
        return "missing", f"`{name}` is defined nowhere in the notebook.{other}"

    def _value(self, question: Question) -> QuestionResult:
        """A choice or a number."""
        result = QuestionResult(question.id, question.title, question.points)
        name = self.name(question)
        try:
            found, _ = self.ask({"op": "name", "what": name}, self.terms.limits.case_seconds)
            if found["state"] == "missing":
                result.state, result.message = self._absent(question)
                return result
            _, value = self.ask({"op": "fetch"}, self.terms.limits.case_seconds)
        except SandboxError as error:
            result.state, result.message = "failed", ENDED.get(error.reason, GIVEN_UP) + "."
            return result
        report = evaluate(question, value)
        result.state, result.points = report.state, report.points
        result.message = "" if report.state == "passed" else report.message
        result.cases = [CaseResult("answer", report.state, result.message)]
        return result

    def _on_visible_cases(self, question: CodeQuestion) -> str:
        """What the student's own check says, in the same words; empty when it has nothing to say."""
        name, verdicts = self.name(question), []
        cases = [case for case in question.visible if not isinstance(case, Limit)]
        for case in cases:
            verdict = self._try(question, name, case, expected(question, case), tell=True)
            verdicts.append(verdict)
            if verdict.state != "passed":
                break
        return summarise(question, verdicts, len(cases)).message

    def _code(self, question: CodeQuestion, told: str) -> QuestionResult:
        """The secret cases: one share of the points each."""
        result = QuestionResult(question.id, question.title, question.points)
        name, graded = self.name(question), secret_cases(self.terms.seed, question)
        ended = 0
        for at, entry in enumerate(graded):
            verdict = self._try(question, name, entry.case, expected(question, entry.case), tell=False)
            result.cases.append(CaseResult(entry.label, verdict.state, verdict.message))
            if verdict.state in ("not attempted", "missing"):
                result.state, result.message = verdict.state, verdict.message
                result.cases = [CaseResult(e.label, verdict.state, verdict.message) for e in graded]
                return result
            if verdict.state == "timeout":  # the others would wait as long
                rest = graded[at + 1 :]
                result.cases += [CaseResult(e.label, "failed", WAITED) for e in rest]
                break
            ended = ended + 1 if self.box is None and not isinstance(entry.case, Limit) else 0
            if ended == MAX_ENDS:
                result.cases += [CaseResult(e.label, "failed", ENDED_OFTEN) for e in graded[at + 1 :]]
                break
        passed = sum(case.state == "passed" for case in result.cases)
        result.points = (
            question.points if passed == len(graded) else round(question.points * passed / len(graded), 2)
        )
        result.state = "passed" if passed == len(graded) else "partly" if passed else "failed"
        first = next((case for case in result.cases if case.state != "passed"), None)
        result.message = "" if first is None else told or f"{first.label}: {first.message}"
        return result

    def _try(
        self, question: CodeQuestion, name: str | None, case: Case, right: object, tell: bool
    ) -> Verdict:
        """One case. `tell` lets the student's own words out; without it they are replaced by the course's.

        A limit that is failed, but not by its value or by time, gets a second trial in which memory is
        measured finely: the first one may have counted holes that the answer is not to blame for.
        """
        verdict = self._once(question, name, case, right, tell)
        if isinstance(case, Limit) and verdict.state in ("failed", "raised") and not verdict.kind:
            self.close()
            self.sparing = True
            verdict = self._once(question, name, case, right, tell)
            self.close()
            self.sparing = False
        return verdict

    def _once(
        self, question: CodeQuestion, name: str | None, case: Case, right: object, tell: bool
    ) -> Verdict:
        """One trial of a case."""
        try:
            reply, value = self._call(question, name, case)
        except SandboxError as error:
            state = "timeout" if error.reason == "time" else "failed"
            return Verdict(case, state, f"{ENDED.get(error.reason, GIVEN_UP)}.")
        if reply["state"] == "missing":
            return Verdict(case, *self._absent(question))
        if reply["state"] == "returned":
            verdict = judge(question, case, value, right)
            return verdict if tell else replace(verdict, message=_hidden(question, verdict))
        if reply["state"] == "raised":
            return Verdict(case, "raised", _told(reply) if tell else _kind(reply))
        state = "not attempted" if reply["state"] == "not attempted" else "failed"
        return Verdict(case, state, "" if state != "failed" else _words(reply, "text") if tell else UNFIT)

    def _call(self, question: CodeQuestion, name: str | None, case: Case) -> tuple[dict, object]:
        """Loads a case's arguments, runs the answer, fetches what it returned."""
        limits = self.terms.limits
        node, buffers = wire.pack(question.arguments(case))
        limited = isinstance(case, Limit)
        seconds = case.cpu_seconds if limited else limits.case_seconds
        carry = CARRY_SECONDS if limited else limits.case_seconds
        loaded, _ = self.ask({"op": "load", "arguments": node, "keep": not limited}, carry, buffers)
        if loaded["state"] != "returned":
            return loaded, None
        allowed = self._allowed(case, sum(map(len, buffers))) if limited else None
        ran, _ = self.ask({"op": "run", "what": name}, seconds, memory=allowed)
        if ran["state"] != "returned":
            return ran, None
        peak = self.box.peak() if limited else 0
        fetched, value = self.ask({"op": "fetch"}, carry)
        # What an answer puts off until it is fetched counts too; sending takes two copies of what is sent.
        if limited and (peak > allowed or self.box.peak() > allowed + 2 * _nbytes(value)):
            raise SandboxError("memory")
        return fetched, value

    def _allowed(self, case: Limit, given: int) -> int:
        """Bytes that a sandbox may hold on a Limit. What the notebook holds before does not count, within
        bounds: a buffer made beforehand would else be room that nobody measures.
        """
        before = min(self.box.forget_peak(), self.fresh + HELD_BYTES + 2 * given)
        return min(self.terms.limits.memory_bytes, before + int(case.gigabytes * 1e9) + SLACK_BYTES)


@lru_cache(maxsize=256)
def secret_cases(seed: str, question: CodeQuestion) -> list[Graded]:
    """The cases of a run, drawn once in each process."""
    return graded_cases(question, seed)


@lru_cache(maxsize=2048)
def expected(question: CodeQuestion, case: Case) -> object:
    """The right result of a case, computed once in each process."""
    return question.expected(case)


def _nbytes(value: object) -> int:
    """Bytes of all tensors in a value."""
    return sum(leaf.nbytes for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor))


# Words


def _words(reply: dict, key: str) -> str:
    """A text of a reply, which may be anything."""
    text = reply.get(key, "")
    return CELL.sub(r"(line \1)", " ".join(text.split())[:400]) if isinstance(text, str) else ""


def _told(reply: dict) -> str:
    """An error in the student's own words."""
    head = f"{_words(reply, 'error')}: {_words(reply, 'text')}".removesuffix(": ")
    line = _words(reply, "line")
    return f"your code raised {head}" + (f"   {line}" if line else "")


def _kind(reply: dict) -> str:
    """An error by its kind alone: its text, or the name of a class, could carry a secret case's numbers."""
    kind = _words(reply, "error")
    return f"your code raised {kind if kind in SAFE_ERRORS else 'an error of its own'}."


def _hidden(question: CodeQuestion, verdict: Verdict) -> str:
    """What may be said about a secret case: a named mistake's hint, else the kind of the difference."""
    if verdict.matches:
        return question.wrong[verdict.matches[0]]
    return HIDDEN_WORDS.get(verdict.kind, verdict.message and "what comes back cannot be compared.")
