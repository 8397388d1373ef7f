"""check, ask and score on toy questions: every state has its words, and nothing handed in gets out."""

import ast
import contextlib
import dataclasses
import json
import os
import re
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from course_lib import course
from course_lib.authoring.outputs import BROKEN_CHECK
from course_lib.exercises import ask, check, limits, predict, question, score
from course_lib.exercises.attempt import _too_big
from course_lib.exercises.check import evaluate, report_line
from course_lib.exercises.display import card, table
from course_lib.exercises.question import (
    Case,
    ChoiceQuestion,
    CodeQuestion,
    Limit,
    NumberQuestion,
    Option,
)

FACTS = {"objective": "toy-objective", "title": "A toy", "points": 3, "minutes": 10, "difficulty": 2}


def inputs(case: Case, rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    k, v = (
        torch.randn(case.B, case.T, case.H, n, generator=rng, dtype=torch.float64) for n in (case.K, case.V)
    )
    return k.to(case.dtype), v.to(case.dtype)


def running(k, v):
    return k.cumsum(1).sum(-1, keepdim=True) * v


def not_causal(k, v):
    return k.sum(1, keepdim=True).sum(-1, keepdim=True) * v


def read_first(k, v):
    return (k.cumsum(1) - k).sum(-1, keepdim=True) * v


def forgets_all_but_the_last(k, v):
    return k.sum(-1, keepdim=True) * v


CODE = CodeQuestion(
    id="08.2",
    **FACTS,
    inputs=inputs,
    reference=running,
    visible=[
        Case("tiny", T=2, K=2, V=3),
        Case("ragged", B=2, T=13, H=2, K=4, V=6),
        Case("one token", T=1),
    ],
    wrong={
        not_causal: "every output contains *later* tokens.",
        read_first: "the state is read before `k` is written.",
        forgets_all_but_the_last: "nothing is remembered.",
    },
    outputs=("o [B, T, H, V]",),
)
LIMITED = CodeQuestion(
    id="08.3",
    **FACTS,
    inputs=inputs,
    reference=running,
    visible=[
        Case("tiny", T=2, K=2, V=3),
        Limit("long", T=4096, K=8, V=8, cpu_seconds=5, gigabytes=0.005, hint="keep one sum."),
    ],
)
CHOICE = ChoiceQuestion(
    id="08.6",
    **FACTS,
    question="Which <one>?",
    options={"A": Option("first", why="too *early*."), "B": Option("second", why="indeed.")},
    answer="B",
)
NUMBER = NumberQuestion(
    id="08.5",
    **FACTS,
    question="How many?",
    answer=lambda: 4096,
    unit="numbers",
    wrong={64: "that is one row.", lambda: 4096 * 8: "bits are not numbers."},
)


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The toy questions stand in for chapter 08, and progress goes to a temporary file."""
    module = types.SimpleNamespace(QUESTIONS=[CODE, LIMITED, NUMBER, CHOICE])
    real = question.chapter_module
    monkeypatch.setattr(question, "chapter_module", lambda n: module if n == "08" else real(n))
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "progress.json"))
    return tmp_path / "progress.json"


def text(q: question.Question, answer: object) -> str:
    return report_line(evaluate(q, answer)).text


def stored(file: Path, id: str) -> dict:
    return json.loads(file.read_text())["answers"][id]


# Code


def test_a_right_answer(toys: Path, capsys: pytest.CaptureFixture) -> None:
    assert check("08.2", running) is None
    assert capsys.readouterr().out == "08.2  ✓ 3 of 3 cases\n"
    assert stored(toys, "08.2") == {"state": "passed", "points": 3, "of": 3}


def stub(k, v):
    raise NotImplementedError


@pytest.mark.parametrize("answer", [..., None, stub, lambda k, v: ...])
def test_not_attempted(answer: object, toys: Path, capsys: pytest.CaptureFixture) -> None:
    check("08.2", answer)
    assert capsys.readouterr().out == "08.2  not attempted yet\n"
    assert stored(toys, "08.2") == {"state": "not attempted", "points": 0, "of": 3}


def test_a_named_wrong_answer_gets_its_own_hint() -> None:
    assert text(CODE, read_first) == "08.2  ✗ 0 of 3 cases   tiny: the state is read before `k` is written."
    # On "tiny" alone the next two cannot be told from each other at t = 1, but over all cases they can.
    assert text(CODE, not_causal).startswith("08.2  ✗ 1 of 3 cases   tiny: every output contains")
    assert text(CODE, forgets_all_but_the_last) == "08.2  ✗ 1 of 3 cases   tiny: nothing is remembered."


def test_a_hint_is_chosen_over_all_cases_where_one_case_fits_two() -> None:
    """On `one` both mistakes give the same number; only `two` tells them apart."""
    toy = CodeQuestion(
        id="08.9",
        **FACTS,
        inputs=lambda case, rng: (case.T,),
        reference=lambda n: n,
        visible=[Case("one", T=1), Case("two", T=2)],
        wrong={lambda n: n + 1: "plus one.", lambda n: 2 * n: "doubled."},
    )
    assert text(toy, lambda n: 2 * n) == "08.9  ✗ 0 of 2 cases   one: doubled."
    assert text(toy, lambda n: n + 1) == "08.9  ✗ 0 of 2 cases   one: plus one."


def test_a_wrong_answer_in_float32_still_gets_its_hint() -> None:
    assert "nothing is remembered" in text(CODE, lambda k, v: forgets_all_but_the_last(k.float(), v.float()))


def test_float32_on_the_way_is_not_taken_for_a_mistake_that_this_case_cannot_show() -> None:
    """With one token, nothing is forgotten: there, that mistake is the right answer."""
    toy = dataclasses.replace(CODE, visible=[Case("one token", T=1), Case("two", T=2)])
    message = text(toy, lambda k, v: running(k.float(), v.float()).double())
    assert "right to float32 accuracy only" in message, message


def test_an_unknown_mistake_is_described() -> None:
    def late(k, v):
        out = running(k, v)
        return torch.cat([out[:, :1], 1.5 * out[:, 1:]], 1)

    assert text(CODE, late).startswith("08.2  ✗ 1 of 3 cases   tiny: o: off by ")
    assert text(CODE, late).endswith("first wrong at t = 1 of 2 (index [0, 1, 0, 0]).")


def test_shape_structure_precision_and_nan_are_described() -> None:
    assert "o: shape [1, 2, 3] came back, [1, 2, 1, 3] = [B, T, H, V] is" in text(
        CODE, lambda k, v: running(k, v)[:, :, 0]
    )
    assert "a tuple of 2 came back, a tensor is expected." in text(CODE, lambda k, v: (k, v))
    assert "right to float32 accuracy only" in text(CODE, lambda k, v: running(k.float(), v))
    assert "NaN came back, first at t = 0 of 2" in text(CODE, lambda k, v: running(k, v) * float("nan"))


def test_an_exception_names_the_students_own_line() -> None:
    def helper(x):
        return x.reshape(7, -1)

    def crashes(k, v):
        total = k.sum()
        return helper(total)

    report = evaluate(CODE, crashes)
    assert report.state == "raised"
    assert report.message.startswith("tiny: your code raised RuntimeError: shape '[7, -1]' is invalid")
    assert report.message.endswith("   line 2 of helper: return x.reshape(7, -1)")


def test_a_failure_inside_a_library_is_shown_where_the_student_called_it() -> None:
    def crashes(k, v):
        return torch.nn.functional.pad(k, "one")

    assert evaluate(CODE, crashes).message.endswith(
        'line 2 of crashes: return torch.nn.functional.pad(k, "one")'
    )


def test_a_wrong_signature_says_how_the_function_is_called() -> None:
    report = evaluate(CODE, lambda k: k)
    assert report.state == "raised"
    assert report.message.endswith("but 2 were given   It is called with 2 positional arguments.")


def test_a_torch_not_implemented_error_is_no_blank_answer() -> None:
    def crashes(k, v):
        raise NotImplementedError("could not run this")

    assert evaluate(CODE, crashes).state == "raised"


class RudeError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


class Liar:
    """Looks like a number to whoever asks for its axes, until somebody asks once more."""

    @property
    def ndim(self) -> int:
        raise RuntimeError


def rude(k, v):
    raise RudeError


def leaves(k, v):
    sys.exit(3)


def endless_recursion(k, v):
    return endless_recursion(k, v)


async def promises(k, v):
    return k


def yields(k, v):
    yield k


@pytest.mark.parametrize(
    ("answer", "state", "said"),
    [
        (rude, "raised", "your code raised RudeError   line 2 of rude"),
        (leaves, "raised", "SystemExit: 3   line 2 of leaves"),
        (endless_recursion, "raised", "RecursionError"),
        (promises, "failed", "has an async in it"),
        (yields, "failed", "has a yield in it"),
        (lambda k, v: Liar(), "failed", "a Liar came back that cannot be compared"),
        (lambda k, v: k.to("meta"), "failed", "came back"),
        (Liar, "raised", "takes no arguments   It is called with 2"),
        (torch.ones(3), "failed", "hand over the function itself"),
        ("running", "failed", "a value of type str came"),
        ("\ud800 é ✓", "failed", "a value of type str came"),
        (float("nan"), "failed", "a value of type float came"),
        (Liar(), "failed", "a value of type Liar came"),
        (object, "raised", "object"),
        (print, "failed", "None came back"),
    ],
)
def test_nothing_gets_out(answer: object, state: str, said: str, capsys: pytest.CaptureFixture) -> None:
    check("08.2", answer)
    assert said in capsys.readouterr().out
    assert evaluate(CODE, answer).state == state


class LeavesWhenTouched(torch.Tensor):
    @classmethod
    def __torch_function__(cls, *_args, **_kwargs):
        raise SystemExit("gone")


def test_a_tensor_that_ends_the_program_when_it_is_compared_does_not_get_out() -> None:
    assert "cannot be compared" in text(CODE, lambda k, v: running(k, v).as_subclass(LeavesWhenTouched))


def test_a_wrong_structure_is_told_of_the_whole_result() -> None:
    two = dataclasses.replace(
        CODE, reference=lambda k, v: (k, v), outputs=("k [B, T, H, K]", "v [B, T, H, V]")
    )
    assert text(two, lambda k, v: k).endswith("tiny: a tensor came back, a tuple of 2 is expected.")


def test_the_students_own_interrupt_gets_out() -> None:
    def interrupted(k, v):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check("08.2", interrupted)


def test_addresses_are_not_shown() -> None:
    def crashes(k, v):
        raise ValueError(f"bad {object()!r}")

    assert "bad <object object at 0x…>" in evaluate(CODE, crashes).message


def test_changing_an_input_in_place_is_told() -> None:
    def careless(k, v):
        out = running(k, v)
        v += 1
        return out

    assert text(CODE, careless) == (
        "08.2  ✗ 0 of 3 cases   tiny: your function changes its input v in place: work on a new tensor."
    )


def test_returning_an_input_or_the_same_object_twice_is_fine() -> None:
    twice = CodeQuestion(
        id="08.8", **FACTS, inputs=inputs, reference=lambda k, v: (v, v), visible=[Case("tiny", T=2)]
    )
    assert evaluate(twice, lambda k, v: (v, v)).state == "passed"


def test_every_call_gets_fresh_inputs_even_from_a_shared_constant() -> None:
    shared = torch.zeros(3)
    toy = CodeQuestion(
        id="08.8",
        **FACTS,
        inputs=lambda case, rng: (shared,),
        reference=lambda x: x + 1,
        visible=[Case("a"), Case("b")],
    )
    assert "in place" in text(toy, lambda x: x.add_(1))
    assert shared.sum() == 0
    assert evaluate(toy, lambda x: x + 1).state == "passed"


def test_gradients_are_as_the_student_left_them() -> None:
    def switches_off(k, v):
        torch.set_grad_enabled(False)
        return running(k, v)

    assert evaluate(CODE, switches_off).state == "passed"
    assert torch.is_grad_enabled()
    assert evaluate(CODE, lambda k, v: running(k, v).requires_grad_()).state == "passed"


# Limits


def swallows(k, v):
    while True:
        try:
            while True:
                pass
        except Exception:  # noqa: BLE001 - what a student writes
            pass


def test_an_endless_loop_is_a_timeout(monkeypatch: pytest.MonkeyPatch, toys: Path) -> None:
    monkeypatch.setattr(limits, "WALL_SECONDS", 0.2)
    said = "does every loop end, and is there a loop over T inside a loop over T?"
    assert text(CODE, swallows) == f"08.2  ✗ 0 of 3 cases   tiny: no result after 0.2 seconds: {said}"
    check("08.2", swallows)
    assert stored(toys, "08.2")["state"] == "timeout"


def test_a_quadratic_loop_runs_out_of_cpu_seconds() -> None:
    def quadratic(k, v):
        return torch.stack([k[:, : t + 1].sum((1, 3)) for t in range(k.shape[1]) for _ in range(t + 1)], 1)

    quick = Limit("long", T=4096, K=8, V=8, cpu_seconds=0.3, gigabytes=1)
    report = evaluate(LIMITED, quadratic, [quick])
    assert report.state == "timeout"
    assert report.message.startswith("long: T = 4,096 took more than 0.3 CPU seconds: is there a loop over T")


def test_a_full_matrix_is_stopped_with_the_declared_hint() -> None:
    def full(k, v):
        mask = torch.ones(k.shape[1], k.shape[1], dtype=k.dtype).tril()
        return torch.einsum("ts,bshk->bth", mask, k)[..., None] * v

    assert evaluate(LIMITED, running).state == "passed"
    held = "at T = 4,096 your function held 67.1 MB at once, 5 MB are allowed: keep one sum."
    assert text(LIMITED, full) == f"08.3  ✗ 1 of 2 cases   long: {held}"


@pytest.mark.parametrize(
    ("cap", "nbytes", "told"),
    [
        (10_000_000, 10_000_384, "10.0004 MB at once, 10 MB are"),
        (1_000_000_000, 1_000_000_001, "1.000000001 GB at once, 1 GB are"),
        (500_000_000, 999_900_000, "1 GB at once, 500 MB are"),
        (500_000_000, 67_000_000_000, "67 GB at once, 500 MB are"),
    ],
)
def test_the_held_and_the_allowed_size_are_told_apart(cap: int, nbytes: int, told: str) -> None:
    limit = Limit("long", T=64, K=1, V=1, cpu_seconds=1, gigabytes=cap / 1e9)
    assert f"held {told} allowed: " in _too_big(limit, nbytes)


def test_a_swallowed_memory_limit_counts() -> None:
    def hides(k, v):
        with contextlib.suppress(BaseException):
            torch.ones(k.shape[1], k.shape[1])
        return running(k, v) if k.shape[1] < 100 else 0

    assert "67.1 MB at once" in text(LIMITED, hides)


# Choice and number


def test_a_choice_explains_itself_and_keeps_the_answer() -> None:
    assert text(CHOICE, "A") == "08.6  ✗   A: too *early*."
    assert text(CHOICE, " b ") == "08.6  ✓   B: indeed."
    assert text(CHOICE, ...) == "08.6  not attempted yet"
    assert "B:" not in text(CHOICE, "A")
    for odd in ("C", "", "AB", 1, ["A"], {"A"}, True):
        assert text(CHOICE, odd) == "08.6  ✗   answer with one of 'A', 'B', in quotes."


@pytest.mark.parametrize("answer", [4096, 4096.0, 4100, torch.tensor(4096.0), torch.tensor(4096)])
def test_a_number_within_one_percent(answer: object) -> None:
    assert evaluate(NUMBER, answer).state == "passed"


def test_a_wrong_number_gets_its_hint_or_a_question() -> None:
    assert text(NUMBER, 64) == "08.5  ✗   that is one row."
    assert text(NUMBER, 32768) == "08.5  ✗   bits are not numbers."
    assert text(NUMBER, 5000) == (
        "08.5  ✗   5,000 numbers: not within 1 % of the answer. Is your number in numbers?"
    )
    assert text(NUMBER, ...) == "08.5  not attempted yet"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("4,096", "without quotes and without commas"),
        ("4096", "without quotes"),
        ((4, 96), "a comma makes a tuple"),
        (True, "a value of type bool came"),
        (4096j, "a value of type complex came"),
        (float("inf"), "a finite number is expected"),
        (10**400, "a finite number is expected"),
        (torch.ones(2), "a value of type Tensor came"),
    ],
)
def test_what_is_no_number(answer: object, said: str) -> None:
    assert evaluate(NUMBER, answer).state == "failed"
    assert said in text(NUMBER, answer)


# Ids, ask, score


@pytest.mark.parametrize(
    ("id", "said"),
    [
        ("08.99", "there is no question 08.99; chapter 08 has 08.2, 08.3, 08.5, 08.6"),
        ("99.1", "there is no chapter 99; the course has 00, 01"),
        ("21.1", "chapter 21 has no questions yet"),
        ("", "there is no chapter"),
        (8.2, "the question's id comes first, in quotes"),
        (running, "the question's id comes first, in quotes"),
        (None, "the question's id comes first, in quotes"),
    ],
)
def test_a_wrong_id_is_answered_with_the_ids_there_are(
    id: object, said: str, capsys: pytest.CaptureFixture
) -> None:
    check(id, running)
    ask(id)
    assert capsys.readouterr().out.count(said) == 2


def test_a_bug_of_ours_is_not_blamed_on_the_student(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(CodeQuestion, "expected", lambda *_: 1 / 0)
    check("08.2", running)
    said = "the check itself failed; your answer is not to blame.   ZeroDivisionError: division by zero\n"
    assert capsys.readouterr().out == said
    assert BROKEN_CHECK.search(said)[1] == "ZeroDivisionError: division by zero"  # so no build stores it


def test_ask_shows_a_choice(capsys: pytest.CaptureFixture) -> None:
    ask("08.6")
    facts = "10 minutes · difficulty ●●○ · 3 points · objective: toy-objective"
    shown = f"08.6 · A toy\n{facts}\n\nWhich <one>?\n  A  first\n  B  second\n"
    assert capsys.readouterr().out == shown


def test_ask_shows_a_number_with_its_unit(capsys: pytest.CaptureFixture) -> None:
    ask("08.5")
    assert capsys.readouterr().out.endswith("How many?\n\nAnswer with a number, in numbers.\n")


def test_score_counts_the_latest_state(toys: Path, capsys: pytest.CaptureFixture) -> None:
    for answer in (running, not_causal):
        check("08.2", answer)
    check("08.6", "B")
    capsys.readouterr()
    score("08")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Chapter 08"
    assert lines[2].split("  ")[0] == "08.2"
    assert "✗ failed" in lines[2]
    assert "0 of 3" in lines[2]
    assert "not attempted" in lines[3]
    assert "✓ passed" in lines[5]
    assert "3 of 12" in lines[6]
    assert "local score" in lines[7]
    assert stored(toys, "08.3")["state"] == "not attempted"


def test_a_short_cell_of_a_table_is_not_broken() -> None:
    shown = table("title", ["state"], [["not attempted"], ["a sentence that may be broken"]]).html
    (short, long) = re.findall(r'<td style="([^"]*)">', shown)
    assert "nowrap" in short
    assert "nowrap" not in long


def test_score_says_each_objective_in_words(capsys: pytest.CaptureFixture) -> None:
    score("10")
    said = capsys.readouterr().out
    objectives = {objective.id: objective.text for objective in course.load().chapter("10").objectives}
    asked = {q.objective for q in question.chapter_questions("10")}
    assert asked
    for objective in asked:
        assert objectives[objective] in said


@pytest.mark.parametrize("chapter", ["8", "nonsense", None, 99, ...])
def test_score_survives_any_chapter(chapter: object, capsys: pytest.CaptureFixture) -> None:
    score(chapter)
    assert "there is no chapter" in capsys.readouterr().out


def test_score_takes_a_number_too(capsys: pytest.CaptureFixture) -> None:
    score(8)
    assert capsys.readouterr().out.startswith("Chapter 08\n")


def test_html_is_escaped_and_takes_the_pages_colours() -> None:
    def crashes(k, v):
        raise ValueError("<script>alert(1)</script>")

    html = report_line(evaluate(CODE, crashes))._repr_mimebundle_()["text/html"]
    assert "&lt;script&gt;alert(1)" in html
    assert "<script" not in html
    assert "#" not in html
    assert "rgb" not in html
    assert "currentColor" in html
    hint = report_line(evaluate(CODE, not_causal)).html
    assert "<em>later</em>" in hint


def test_the_same_answer_shows_the_same_words() -> None:
    for answer in (running, not_causal, yields, rude, lambda k, v: running(k, v) * 1.1):
        assert text(CODE, answer) == text(CODE, answer)


def test_the_letters_of_a_card_stand_beside_their_answers_in_any_page() -> None:
    """JupyterLab gives a term a fifth of the width, Sphinx puts the text below it: the card's own style decides."""
    page = card("08.9 · A title", "1 minute", ["Which?"], [("A", "one"), ("B", "two")]).html
    terms, texts = re.findall(r'<dt style="([^"]+)"', page), re.findall(r'<dd style="([^"]+)"', page)
    assert (len(terms), len(texts)) == (2, 2)
    assert all("float: left" in style and "width: 2em" in style for style in terms)
    assert all("float: none" in style and "margin: 0 0 0 2em" in style for style in texts)


def test_a_notebook_cell_shows_html_and_its_own_line(tmp_path: Path) -> None:
    """In IPython: display with both forms, and a cell's source found through linecache."""
    cell = "def f(v):\n    total = v.sum()\n    return total + nothing\n\ncheck('00.1', f)"
    program = f"""
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.core.displaypub import CapturingDisplayPublisher
    shell = InteractiveShell.instance()
    shell.display_pub = CapturingDisplayPublisher(parent=shell)
    shell.run_cell("from course_lib.exercises import check")
    shell.run_cell({cell!r})
    print(ascii(shell.display_pub.outputs[0]["data"]))
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "IPYTHONDIR": str(tmp_path)},
        check=True,
    )
    shown = ast.literal_eval(run.stdout.strip().splitlines()[-1])
    assert shown["text/plain"].endswith("line 3 of f: return total + nothing")
    assert "NameError" in shown["text/html"]


def test_a_student_does_not_import_what_only_authors_need() -> None:
    names = ("jupytext", "nbclient", "nbformat", "yaml", "IPython")
    program = f"import sys, course_lib.exercises; print([m for m in {names} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


class Gone(BaseException):
    """What `except Exception` does not catch."""


class LeavesWhenLookedAt:
    def __getattr__(self, name):
        raise Gone

    def __str__(self):
        raise Gone


class LeavesWhenTold(Exception):  # noqa: N818 - a student's own name for it
    def __str__(self):
        raise Gone


@pytest.mark.parametrize(
    "call",
    [
        lambda: check("08.2", lambda k, v: LeavesWhenLookedAt()),
        lambda: check("08.2", lambda k, v: (_ for _ in ()).throw(LeavesWhenTold())),
        lambda: check(LeavesWhenLookedAt(), running),
        lambda: predict("a", LeavesWhenLookedAt(), "MB"),
        lambda: score(LeavesWhenLookedAt()),
    ],
)
def test_no_exception_of_any_kind_gets_out(call: Callable, capsys: pytest.CaptureFixture) -> None:
    assert call() is None
    assert capsys.readouterr().out.strip()
