"""One submission at a time through a real sandbox: what earns points, what does not, and what students read of it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest
import torch
from handed_in import MEAN, SOLVED, notebook_bytes, released_cells

from course_lib.exercises.start_here import RUNNING_MEAN
from course_lib.grading import grade as module
from course_lib.grading.grade import Terms, grade
from course_lib.grading.intake import read
from course_lib.grading.secret import graded_cases

SEED = "a seed for tests"
TORCH, WRONG = "import torch", "def running_mean(v):\n    return v.cumsum(0)"


@lru_cache
def graded(*cells: str) -> dict:
    """The result of a notebook of these cells, as JSON has it."""
    return grade(read("alice", "", "alice.ipynb", notebook_bytes(cells)), Terms(SEED)).as_json()


def questions(*cells: str) -> dict[str, dict]:
    return {question["id"]: question for question in graded(*cells)["questions"]}


def points(*cells: str) -> list[float]:
    return [question["points"] for question in graded(*cells)["questions"]]


def test_everything_right():
    result = graded(*SOLVED)
    assert [(q["id"], q["points"], q["state"], q["message"]) for q in result["questions"]] == [
        (id, 1, "passed", "") for id in ("00.1", "00.2", "00.3")
    ]
    assert [case["label"] for case in result["questions"][0]["cases"]] == [
        secret.label for secret in graded_cases(RUNNING_MEAN, SEED)
    ]
    assert result["trouble"] == []
    assert result["seconds"] > 0


def test_the_notebook_as_it_was_handed_out():
    result = graded(*released_cells())
    assert [(q["points"], q["state"], q["message"]) for q in result["questions"]] == [
        (0, "not attempted", "")
    ] * 3
    assert result["trouble"] == []


def test_answers_in_the_released_notebook_with_its_untouched_cells():
    cells = released_cells()
    stub = next(i for i, cell in enumerate(cells) if "def running_mean" in cell)
    cells.insert(stub, MEAN)  # above a stub that was left as it was, and that would undo it
    assert points(*cells) == [1, 0, 0]


def test_deleted_check_cells_change_nothing():
    assert points(TORCH, MEAN, 'answer_00_2 = "B"', 'answer_00_3 = "D"') == [1, 1, 1]


def test_edited_duplicated_and_reordered_check_cells_change_nothing():
    cells = [
        'answer_00_3 = " (d) "\ncheck("99.9", answer_00_3)',
        TORCH,
        "def check(*arguments):\n    raise SystemExit",
        'check("00.1", running_mean)',
        WRONG,
        f'{MEAN}\ncheck("00.1", print)',
        'answer_00_2 = "B"\ncheck("00.3", answer_00_2)',
        'check("00.2", ...',
        *SOLVED[2:] * 2,
    ]
    assert points(*cells) == [1, 1, 1]


def test_a_missing_answer_gets_nothing_with_a_reason():
    found = questions(TORCH, 'def my_mean(v):\n    return v\n\ncheck("00.1", my_mean)', 'answer_00_2 = "A"')
    assert [found[id]["points"] for id in found] == [0, 0, 0]
    words = (
        "`running_mean` is defined nowhere in the notebook. It checks `my_mean` instead: give it that name."
    )
    assert found["00.1"]["message"] == words
    assert {case["state"] for case in found["00.1"]["cases"]} == {"missing"}
    assert found["00.2"]["message"].startswith("A: 0.1 GFLOP")
    assert found["00.3"]["message"] == "`answer_00_3` is defined nowhere in the notebook."


def test_a_cell_with_a_syntax_error_costs_its_own_question():
    found = questions(TORCH, f"{MEAN} +", SOLVED[2], "x = (", "raise ValueError('\ud800')", SOLVED[3])
    assert [found[id]["points"] for id in found] == [0, 1, 1]
    words = "the cell that should define `running_mean` fails: your code raised SyntaxError: invalid syntax (line 2)"
    assert found["00.1"]["message"] == words


def test_a_cell_that_fails_names_its_error_and_line():
    found = questions("missing_name\n" + MEAN, SOLVED[2])
    assert found["00.1"]["message"].startswith(
        "the cell that defines `running_mean` fails: your code raised NameError: name 'missing_name' is not defined"
    )


def test_a_named_mistake_earns_its_share_and_its_hint():
    found = questions(TORCH, WRONG)["00.1"]
    right = [len(RUNNING_MEAN.arguments(s.case)[0]) == 1 for s in graded_cases(RUNNING_MEAN, SEED)]
    assert [
        case["state"] == "passed" for case in found["cases"]
    ] == right  # of one token, the sum is the mean
    assert found["points"] == round(sum(right) / len(right), 2)
    assert found["message"] == "four tokens: these are running sums: what turns a sum into a mean?"


def test_an_answer_that_is_right_on_what_was_seen_only():
    seen = sorted(case.T for case in RUNNING_MEAN.visible)
    body = f"def running_mean(v):\n    if len(v) in {seen}:\n        return mean(v)\n    return 0 * v"
    found = questions(TORCH, MEAN.replace("running_mean", "mean"), body)["00.1"]
    assert found["state"] == "partly"
    assert found["message"] == "case 4: a result has not the values that are expected."


def secret_inputs() -> list[torch.Tensor]:
    return [RUNNING_MEAN.arguments(secret.case)[0] for secret in graded_cases(RUNNING_MEAN, SEED)]


def test_no_secret_number_is_told():
    shapes = [tuple(v.shape) for v in secret_inputs()[-4:]]
    assert len(set(shapes)) == 4
    ways = (
        "raise ValueError(str(v.tolist()))",
        "raise type('E' + str(v.tolist()), (Exception,), {})()",
        "return {str(x): 0 for x in v.flatten().tolist()}",
        "open('/tmp/found', 'a').write(str(v.tolist())); os._exit(0)",
    )
    rows = ["def running_mean(v):", "    global answer_00_2, answer_00_3", "    print(v.tolist())"]
    rows += ["    answer_00_2 = answer_00_3 = str(v.tolist())"]
    for shape, way in zip(shapes, ways, strict=True):
        rows += [f"    if v.shape == {shape}:", f"        {way}"]
    rows.append("    return v.cumsum(0) / torch.arange(1, len(v) + 1)[:, None]")
    look = "import os\nif os.path.exists('/tmp/found'):\n    raise ValueError(open('/tmp/found').read())"
    found = graded(TORCH, look + '\nanswer_00_2 = "A"', "\n".join(rows))
    states = [case["state"] for case in found["questions"][0]["cases"]]
    assert states == ["passed"] * 3 + ["raised", "raised", "failed", "failed"]  # every way was gone
    numbers = [f"{abs(x):.4f}" for v in secret_inputs() for x in v.flatten().tolist()]
    assert not [number for number in numbers if number in str(found)]


def test_other_answers_are_taken_before_a_function_is_called_and_odd_words_are_kept():
    body = "def running_mean(v):\n    global answer_00_2\n    answer_00_2 = 'B'\n    raise ValueError('\\ud800 half')"
    first, second, _ = graded(TORCH, body, 'answer_00_2 = "A"')["questions"]
    assert second["points"] == 0
    words = "four tokens: your code raised ValueError: ? half   line 4 of running_mean: raise ValueError("
    assert first["message"].startswith(words)


def test_inputs_changed_in_place_are_told_without_a_number():
    mean = MEAN.replace("running_mean", "mean")
    change = "def running_mean(v):\n    out = mean(v)\n    if len(v) not in (1, 4, 9):\n        v += 1\n    return out"
    found = questions(TORCH, mean, change)["00.1"]
    assert found["message"] == f"case 4: {module.UNFIT}"


def test_a_cell_that_ends_the_process_costs_itself():
    found = graded(TORCH, "import os\nos._exit(0)", MEAN, SOLVED[2])
    assert [q["points"] for q in found["questions"]] == [1, 1, 0]
    assert found["trouble"] == [
        "code cell 2 was left out: the process ended: it was stopped, it crashed, or an allocation was refused. "
        "It begins: 'import os\\nos._exit(0)'"
    ]


# ---- without a sandbox --------------------------------------------------------------------------


def test_no_chapter_no_questions():
    result = grade(read("alice", "", "a.ipynb", b"{"), Terms(SEED)).as_json()
    assert result["questions"] == []
    assert "no JSON" in result["trouble"][0]


@pytest.mark.parametrize(
    ("only", "words"),
    [("00.9", "chapter 00 has 00.1, 00.2, 00.3"), ("99.1", "such as 08.2"), ("x", "such as")],
)
def test_a_question_that_is_not_there_is_refused_before_grading(only, words):
    with pytest.raises(ValueError, match=words):
        Terms(SEED, only=(only,))


def test_an_empty_private_folder_is_refused_before_grading(tmp_path: Path):
    with pytest.raises(ValueError, match="nothing to grade by"):
        Terms(SEED, private=str(tmp_path))
