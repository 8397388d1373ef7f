"""peak_memory against sizes that are known in advance."""

import pytest
import torch

from course_lib.timing import peak_memory

MIB = 2**20
on_cpu = pytest.mark.skipif(
    torch.cuda.is_available(), reason="on a GPU peak_memory counts the GPU's allocations"
)
pytestmark = on_cpu


def test_a_known_tensor_is_counted_exactly():
    assert peak_memory(lambda: torch.empty(64 * MIB // 4)) == 64 * MIB


def test_a_sum_is_one_output():
    a, b = torch.ones(MIB), torch.ones(MIB)
    assert peak_memory(lambda: a + b) == 4 * MIB


def test_working_in_place_costs_nothing():
    a = torch.ones(MIB)
    assert peak_memory(lambda: a.add_(1)) <= 64  # one scalar at most


def test_what_is_freed_before_the_next_allocation_counts_once():
    def one_after_the_other():
        first = torch.empty(MIB)
        del first
        return torch.empty(MIB)

    def both_at_once():
        return torch.empty(MIB), torch.empty(MIB)

    assert peak_memory(one_after_the_other) == 4 * MIB
    assert peak_memory(both_at_once) == 8 * MIB


def test_the_peak_counts_and_not_the_end():
    def tall_in_the_middle():
        return torch.ones(3 * MIB).sum()

    assert 12 * MIB <= peak_memory(tall_in_the_middle) <= 12 * MIB + 1024


def test_naive_attention_holds_scores_and_weights():
    T, D = 512, 16
    q, k, v = torch.randn(3, T, D)

    def naive():
        scores = q @ k.T
        weights = scores.softmax(-1)
        return weights @ v

    assert peak_memory(naive) == 2 * T * T * 4 + T * D * 4


def test_the_backward_pass_is_counted():
    x = torch.ones(MIB, requires_grad=True)
    # x² keeps x; backward allocates its gradient (and the incoming one), each as large as x.
    assert 4 * MIB <= peak_memory(lambda: (x * x).sum().backward()) <= 16 * MIB


def test_an_error_passes_through_and_leaves_the_record_closed():
    def fails():
        raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        peak_memory(fails)
    assert peak_memory(lambda: torch.empty(MIB)) == 4 * MIB


def test_nothing_is_printed(capfd):
    peak_memory(lambda: torch.ones(1000) + 1)
    assert capfd.readouterr() == ("", "")
