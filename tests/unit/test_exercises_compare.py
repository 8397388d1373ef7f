"""The comparison: right within rounding, else a sentence on what is wrong and where, never the answer."""

import numpy as np
import pytest
import torch

from course_lib.exercises.compare import by_dtype_and_length, compare
from course_lib.exercises.question import Case

CASE = Case("ragged", B=2, T=13, H=3, K=4, V=6)
RTOL = by_dtype_and_length(CASE)


def values(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def message(answer: object, expected: object, outputs: tuple[str, ...] = ()) -> str:
    difference = compare(answer, expected, RTOL, CASE, outputs)
    assert difference is not None
    return difference.message


def test_the_tolerance_is_eight_roundings_of_every_term() -> None:
    assert by_dtype_and_length(Case("x", T=13, K=4)) == 8 * 2.0**-52 * 17
    assert by_dtype_and_length(Case("x", T=13, K=4, dtype=torch.float32)) == 8 * 2.0**-23 * 17


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("T", [1, 13, 2000])
def test_two_orders_of_summation_agree(dtype: torch.dtype, T: int) -> None:
    case = Case("sums", T=T, K=16, dtype=dtype)
    q, k, v = (torch.randn(T, 16, generator=case.generator(), dtype=dtype) for _ in range(3))
    left, right = (q @ k.T) @ v, q @ (k.T @ v)
    assert compare(left, right, by_dtype_and_length(case), case) is None


def test_an_element_near_zero_is_measured_against_the_largest() -> None:
    expected = torch.tensor([1.0, 0.0], dtype=torch.float64)
    assert compare(expected + 1e-16, expected, RTOL, CASE) is None
    assert compare(expected + 1e-6, expected, RTOL, CASE) is not None


@pytest.mark.parametrize(
    ("answer", "expected", "said"),
    [
        (values(2), (values(2), values(2)), "a tensor came back, a tuple of 2 is expected."),
        ((values(2),), (values(2), values(2)), "a tuple of 1 came back, a tuple of 2 is expected."),
        ((values(2), None), (values(2), values(2)), "output 2 of 2: None came back, a tensor is expected."),
        (values(2), 3.5, "a tensor came back, a single number is expected."),
        (None, values(2), "None came back, a tensor is expected."),
        ([1.0, 2.0], values(2), "a list of 2 came back, a tensor is expected."),
        (np.zeros(2), values(2), "a value of type ndarray came back, a tensor is expected."),
        ("4", 4, "a string came back, a single number is expected."),
        ({"a": 1}, {"b": 1}, "a dict with the keys 'a' came back, a dict with the keys 'b' is expected."),
        ({"S": values(2)}, {"S": values(3)}, "output 'S': shape [2] came back, [3] is expected."),
    ],
)
def test_structure_is_named(answer: object, expected: object, said: str) -> None:
    assert message(answer, expected) == said


def test_a_list_will_do_for_a_tuple_and_the_order_of_keys_is_free() -> None:
    assert compare([1, values(2)], (1, values(2)), RTOL, CASE) is None
    assert compare({"a": 1, "b": 2}, {"b": 2, "a": 1}, RTOL, CASE) is None


def test_a_shape_is_explained_in_letters() -> None:
    said = message(values(2, 13, 3, 4), values(2, 13, 3, 6))
    assert said == "shape [2, 13, 3, 4] came back, [2, 13, 3, 6] = [B, T, H, V] is expected."
    outputs = ("o [B, T, H, V]", "state [B, H, K, V]")
    both = (values(2, 13, 3, 6), values(2, 3, 4, 6))
    assert message((both[0], both[1].mT), both, outputs) == (
        "state: shape [2, 3, 6, 4] came back, [2, 3, 4, 6] = [B, H, K, V] is expected."
    )


def test_letters_are_left_out_where_sizes_do_not_tell_them() -> None:
    case = Case("square", B=1, T=4, H=1, K=4, V=4)
    difference = compare(values(1, 3, 1, 4), values(1, 4, 1, 4), RTOL, case)
    assert difference.message == "shape [1, 3, 1, 4] came back, [1, 4, 1, 4] is expected."


def test_the_first_wrong_step_in_time_is_named() -> None:
    expected = values(2, 13, 3, 6)
    answer = expected.clone()
    answer[1, 3, 2, 0] += 1  # earlier in time, later in memory
    answer[0, 7] += 1
    said = message(answer, expected)
    assert said.endswith("first wrong at t = 3 of 13 (index [1, 3, 2, 0]).")
    assert "% of the largest right value" in said


def test_without_a_time_axis_the_index_is_given() -> None:
    expected = values(5)
    assert "first wrong at index [2]." in message(expected + torch.eye(5)[2], expected)


@pytest.mark.parametrize(("bad", "name"), [(float("nan"), "NaN"), (float("inf"), "an infinity")])
def test_nan_and_infinity_are_found(bad: float, name: str) -> None:
    expected = values(2, 13, 3, 6)
    answer = expected.clone()
    answer[1, 5, 0, 2] = bad
    assert message(answer, expected) == f"{name} came back, first at t = 5 of 13 (index [1, 5, 0, 2])."


def test_an_infinity_that_is_expected_is_right() -> None:
    expected = torch.tensor([0.0, float("-inf"), float("nan")])
    assert compare(expected.clone(), expected.double(), RTOL, CASE) is None
    assert compare(torch.tensor([0.0, float("inf"), float("nan")]), expected, RTOL, CASE).kind == "nonfinite"
    assert compare(torch.tensor([0.0, float("-inf"), 1.0]), expected, RTOL, CASE).kind == "value"


def test_float32_on_the_way_is_told_from_a_wrong_value() -> None:
    expected = values(2, 13, 3, 6)
    assert "your result is float32" in message(expected.float(), expected)
    assert "something on the way is float32" in message(expected.float().double(), expected)
    assert compare(expected.float() * 1.01, expected, RTOL, CASE).kind == "value"


def test_a_float32_result_is_held_to_float32_when_that_is_what_the_reference_returns() -> None:
    expected = values(4).float()
    assert compare(expected * (1 + 2e-7), expected, RTOL, CASE) is None


@pytest.mark.parametrize("answer", [7, 7.0, np.int64(7), np.float32(7), torch.tensor(7)])
def test_every_kind_of_scalar_is_a_number(answer: object) -> None:
    assert compare(answer, 7, RTOL, CASE) is None
    assert compare(answer, 8, RTOL, CASE).message == "not the expected number."


def test_whole_numbers_strings_and_booleans_are_exact_and_floats_are_not() -> None:
    assert compare(10**9 + 1, 10**9, RTOL, CASE) is not None
    assert compare(1e9 * (1 + 1e-12), 1e9, RTOL, CASE) is None
    assert compare(1e9 * (1 + 1e-6), 1e9, RTOL, CASE) is not None
    assert compare("softmax", "linear", RTOL, CASE).message == "not the expected string."
    mask = torch.ones(4, 4, dtype=torch.bool).tril()
    assert compare(mask.clone(), mask, RTOL, CASE) is None
    assert compare(mask.T, mask, RTOL, CASE) is not None
    assert compare(None, None, RTOL, CASE) is None


def test_gradients_and_layouts_do_not_matter() -> None:
    expected = values(3, 4)
    assert compare(expected.clone().requires_grad_(), expected, RTOL, CASE) is None
    assert compare(expected.T.contiguous().T, expected, RTOL, CASE) is None
    assert compare(expected.to_sparse(), expected, RTOL, CASE) is None


def test_no_message_contains_an_expected_value() -> None:
    expected = torch.full((2, 13, 3, 6), 0.734512, dtype=torch.float64)
    for answer in (expected + 1, expected * 0, expected.float(), expected[:1], expected * float("nan")):
        assert "0.73" not in message(answer, expected)
    assert "734" not in message(1.0, 734.0)
