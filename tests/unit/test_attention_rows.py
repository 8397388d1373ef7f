"""What every row of the registry keeps: dtypes, autocast, NaN, empty and strided inputs, torch's transforms."""

import pytest
import torch
from torch.utils._pytree import tree_leaves

from course_lib.attention import REGISTRY, mixer

SHAPE = (2, 11, 4, 4, 3)  # B, T, H, K, V
STATEFUL = [name for name, row in REGISTRY.items() if row.keeps != "inputs"]
CASES = [(name, mode) for name, row in REGISTRY.items() for mode in row.forms]
every_form = pytest.mark.parametrize(("name", "mode"), CASES)
every_stateful_form = pytest.mark.parametrize(("name", "mode"), [c for c in CASES if c[0] in STATEFUL])
every_row = pytest.mark.parametrize("name", REGISTRY)


def arguments(name, dtype=torch.float32, T=SHAPE[1]):
    row = mixer(name)
    B, _, H, K, V = SHAPE
    return row.example(B, T, H, K, V, H // 2 if row.kv_groups else None, dtype=dtype)


def tokens(name):
    """The arguments that have one entry a token."""
    return [key for key, x in mixer(name).arguments.items() if "T" in x.axes]


def signals(name):
    """Those that are no gates."""
    return [key for key in tokens(name) if mixer(name).arguments[key].kind in ("signal", "key")]


def leaves(state):
    return [state] if isinstance(state, torch.Tensor) else list(state)


def call(name, given, mode="chunk", **options):
    return mixer(name).fn(**given, mode=mode, chunk_size=4, **options)


@every_stateful_form
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_computes_in_float32_and_rounds_once(name, mode, dtype):
    given = arguments(name, dtype)
    o, state = call(name, given, mode, output_final_state=True)
    up = {key: x if x.is_complex() else x.float() for key, x in given.items()}
    expected, expected_state = call(name, up, mode, output_final_state=True)
    assert o.dtype == dtype
    assert torch.equal(o, expected.to(dtype))
    assert all(map(torch.equal, leaves(state), leaves(expected_state)))


@every_row
def test_half_precision_steps_carry_a_float32_state(name):
    given = arguments(name, torch.bfloat16)
    _, state = call(name, given, output_final_state=True)
    token = mixer(name).token(given, 0)
    o, after = mixer(name).step(**token, state=state)
    assert o.dtype == torch.bfloat16
    assert [x.dtype for x in leaves(after)] == [x.dtype for x in leaves(state)]
    if name in STATEFUL:
        assert {x.dtype for x in leaves(state)} <= {torch.float32, torch.complex64}


@pytest.mark.parametrize(("name", "mode"), [c for c in CASES if c[1] != "sdpa"])  # torch's kernel follows it
def test_autocast_changes_nothing(name, mode):
    given = arguments(name)
    plain, state = call(name, given, mode, output_final_state=True)
    token = mixer(name).token(given, 0)
    step, _ = mixer(name).step(**token)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        o, cast = call(name, given, mode, output_final_state=True)
        assert torch.equal(mixer(name).step(**token)[0], step)
    assert torch.equal(o, plain)
    assert all(map(torch.equal, leaves(state), leaves(cast)))


@every_form
def test_nan_in_is_nan_out(name, mode):
    """A NaN at token 6 of any argument reaches the output of that token and everything it is written into.

    Matrix products also hand it to earlier tokens of the chunk (0 · NaN is NaN), and an FFT to all.
    """
    for key in tokens(name):
        given = arguments(name)
        given[key][:, 6] = float("nan")
        o, state = call(name, given, mode, output_final_state=True)
        reads_only = key in ("q", "r", "C")
        late = (name, key) == ("rwkv6", "w")  # RWKV-6 reads before the decay
        reached = slice(10, None, 4) if name == "dilated_attention" else slice(7, None)  # its default stride
        assert o[:, 7 if late else 6].isnan().all(), key
        assert o[:, reached].isnan().all() != reads_only, key
        assert reads_only or any(x.isnan().any() for x in leaves(state)), key


@every_form
def test_no_tokens(name, mode):
    given = {key: x.requires_grad_() for key, x in arguments(name, T=0).items()}
    o, state = call(name, given, mode, output_final_state=True)
    assert o.shape[:2] == (2, 0)
    assert all(x.abs().sum() == 0 for x in leaves(state))
    start = [torch.ones_like(x) for x in leaves(state)]
    if name in STATEFUL:
        kept = tuple(start) if isinstance(state, tuple) else start[0]
        _, after = call(name, given, mode, initial_state=kept, output_final_state=True)
        assert all(map(torch.equal, leaves(after), start))


@every_form
def test_strided_inputs(name, mode):
    given = arguments(name)
    expected, _ = call(name, given, mode)
    layouts = {
        "time last in memory": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
        "a slice": lambda x: torch.cat([x, x], dim=-1)[..., : x.shape[-1]],
        "backwards in memory": lambda x: x.movedim(0, -1).contiguous().movedim(-1, 0),
    }
    for layout, change in layouts.items():
        strided = {key: change(x) if x.dim() > 1 else x for key, x in given.items()}
        torch.testing.assert_close(call(name, strided, mode)[0], expected, msg=layout)


@every_form
def test_inputs_and_states_are_left_alone(name, mode):
    given = arguments(name)
    _, state = call(name, given, mode, output_final_state=True)
    before = [x.clone() for x in (*given.values(), *leaves(state))]
    call(name, given, mode, **({"initial_state": state} if name in STATEFUL else {}))
    token = mixer(name).token(given, 0)
    mixer(name).step(**token, state=state)
    assert all(map(torch.equal, before, (*given.values(), *leaves(state))))


@every_row
def test_the_final_state_owns_its_memory(name):
    """A view of all states, or of all tokens, would keep T times as much alive."""
    _, state = call(name, arguments(name, T=200), output_final_state=True)
    for x in leaves(state):
        if name != "softmax_attention":  # its cache is the tokens
            assert x.untyped_storage().nbytes() < 8 * x.nbytes + 1024


@every_row
def test_vmap_and_func_grad(name):
    row = mixer(name)
    first = signals(name)[0]
    given = arguments(name, torch.float64)

    def f(x):
        return call(name, given | {first: x}, row.fast)[0]

    x = given[first]
    assert {"vmap", "grad"} <= set(row.transforms)
    both = torch.vmap(f)(torch.stack([x, 2 * x]))
    torch.testing.assert_close(both, torch.stack([f(x), f(2 * x)]))
    leaf = x.clone().requires_grad_()
    expected = torch.autograd.grad(f(leaf).square().sum(), leaf)[0]
    torch.testing.assert_close(torch.func.grad(lambda x: f(x).square().sum())(x), expected)


@every_row
def test_compile_makes_one_graph(name):
    row, given = mixer(name), arguments(name)
    assert "compile" in row.transforms
    torch._dynamo.reset()

    def f(**given):
        o, state = row.fn(**given, mode=row.fast, chunk_size=4, output_final_state=True)
        return o, *leaves(state)

    compiled = torch.compile(f, fullgraph=True, backend="aot_eager")
    for actual, expected in zip(compiled(**given), f(**given), strict=True):
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("name", [name for name, row in REGISTRY.items() if row.fast != "sdpa"])
def test_gradients_flow_through_a_compiled_graph(name):
    row = mixer(name)
    given = {key: x.requires_grad_() for key, x in arguments(name, torch.float64).items()}
    assert "compile" in row.transforms
    torch._dynamo.reset()

    def loss(**given):
        return row.fn(**given, mode=row.fast, chunk_size=4)[0].square().sum()

    leaves_of = list(given.values())
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    actual = torch.autograd.grad(compiled(**given), leaves_of)
    torch.testing.assert_close(actual, torch.autograd.grad(loss(**given), leaves_of))


@pytest.mark.parametrize(("name", "mode"), [c for c in CASES if c[1] in ("chunk", "convolution")])
def test_second_derivatives_are_those_of_the_definition(name, mode):
    """A gradient penalty: the gradient of a gradient, which hand-written backward passes must not cut off."""
    penalties = []
    for form in (mode, "recurrent" if "recurrent" in mixer(name).forms else "parallel"):
        given = {key: x.requires_grad_() for key, x in arguments(name, torch.float64, T=6).items()}
        o, _ = call(name, given, form)
        first = torch.autograd.grad(o.square().sum(), list(given.values()), create_graph=True)
        penalty = sum(x.abs().square().sum() for x in first)
        penalties.append(torch.autograd.grad(penalty, list(given.values())))
    for actual, expected in zip(*penalties, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-7, atol=1e-7)


@every_row
def test_many_gradients_at_once(name):
    given = {key: x.requires_grad_() for key, x in arguments(name, torch.float64).items()}
    leaf = given[signals(name)[0]]
    o, _ = call(name, given)
    incoming = torch.randn(3, *o.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (batched,) = torch.autograd.grad(o, leaf, incoming, is_grads_batched=True, retain_graph=True)
    for row, one in zip(batched, incoming, strict=True):
        torch.testing.assert_close(row, torch.autograd.grad(o, leaf, one, retain_graph=True)[0])


@pytest.mark.parametrize("name", ["gla", "delta_rule", "selective_scan"])  # one an engine
def test_one_compiled_function_serves_several_lengths(name):
    row = mixer(name)
    torch._dynamo.reset()
    compiled = torch.compile(lambda **x: row.fn(**x, chunk_size=8)[0], fullgraph=True, backend="aot_eager")
    for T in (9, 11):
        given = arguments(name, T=T)
        torch.testing.assert_close(compiled(**given), row.fn(**given, chunk_size=8)[0])


@every_form
def test_no_sequences(name, mode):
    row = mixer(name)
    given = {key: x[:0] if row.arguments[key].axes[0] == "B" else x for key, x in arguments(name).items()}
    o, state = call(name, given, mode, output_final_state=True)
    assert o.shape[:2] == (0, SHAPE[1])
    assert all(len(x) == 0 for x in leaves(state))


@every_stateful_form
def test_outputs_lie_in_memory_as_they_are_written(name, mode):
    for T in (1, 3, 64, 65):
        assert call(name, arguments(name, T=T), mode)[0].is_contiguous()


@every_row
def test_an_output_can_be_changed_without_changing_the_state(name):
    given = arguments(name)
    token = mixer(name).token(given, 0)
    for o, state in (call(name, given, output_final_state=True), mixer(name).step(**token)):
        before = [x.clone() for x in leaves(state)]
        o.mul_(2)
        assert all(map(torch.equal, leaves(state), before))


@pytest.mark.parametrize("name", STATEFUL)
def test_an_empty_call_hands_on_a_copy(name):
    _, state = call(name, arguments(name), output_final_state=True)
    _, after = call(name, arguments(name, T=0), initial_state=state, output_final_state=True)
    for x, y in zip(leaves(state), leaves(after), strict=True):
        assert torch.equal(x, y)
        assert x.data_ptr() != y.data_ptr()


@pytest.mark.parametrize("name", [name for name in REGISTRY if name not in STATEFUL])
def test_the_other_half_precision_under_autocast(name):
    given = arguments(name, torch.float16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, cache = call(name, given, "chunk", output_final_state=True)
        o, _ = call(name, given, "chunk", initial_state=cache)
    assert o.dtype == torch.float16


@pytest.mark.parametrize("name", [name for name in REGISTRY if name != "softmax_attention"])
def test_shapes_can_be_asked_for_without_memory(name):
    given = {key: x.to("meta") for key, x in arguments(name).items()}
    o, state = call(name, given, output_final_state=True)
    assert o.shape == call(name, arguments(name))[0].shape
    assert o.is_meta
    assert all(x.is_meta for x in leaves(state))


@every_row
def test_every_tensor_is_made_on_the_device_of_the_inputs(name):
    """The meta device refuses to be mixed with another, as a GPU does."""
    row = mixer(name)
    given = {key: x.to("meta") for key, x in row.example(1, 130, 2, 16, 16).items()}
    o, state = row.fn(**given, mode=row.fast, output_final_state=True)
    assert {x.device.type for x in (o, *tree_leaves(state)) if isinstance(x, torch.Tensor)} == {"meta"}
