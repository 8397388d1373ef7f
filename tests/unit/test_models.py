"""A block can be cut anywhere, sees no future, and has the parts that its options name."""

import copy
import pickle

import pytest
import torch

from course_lib.attention import REGISTRY
from course_lib.cache import FullCache
from course_lib.models import (
    Block,
    LanguageModel,
    Mixer,
    ShortConvolution,
    Stack,
    count_bytes,
    count_parameters,
    interleave,
    sample,
)

DRESSED = {"conv": 4, "qk_norm": True, "out_norm": True, "gate": True}
OPTIONS = {
    "plain": {},
    "shared keys": {"kv_heads": 2},
    "convolution": {"conv": 4},
    "width one": {"conv": 1},
    "dressed": DRESSED | {"kv_heads": 2},
}


@pytest.fixture(params=REGISTRY)
def name(request):
    return request.param


# Rows whose one projection is [q, k, v], so that a test can take it apart.
PLAIN = ["softmax_attention", "sliding_window_attention", "linear_attention", "retention"]
plain_rows = pytest.mark.parametrize("plain", PLAIN)


def block(name, d=16, heads=4, **options):
    torch.manual_seed(0)
    return Block(d, heads, mixer=name, **options).double()


def text(B=2, T=13, d=16):
    return torch.randn(B, T, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("pieces", [[13], [1] * 13, [5, 8], [2, 0, 1, 10], [0, 13]], ids=str)
def test_cut_anywhere_and_carried_on_is_one_pass(name, options, pieces):
    layer, x = block(name, **options), text()
    state, out = None, []
    for piece in x.split(pieces, dim=1):
        y, state = layer(piece, state, return_state=True)
        out.append(y)
    torch.testing.assert_close(torch.cat(out, dim=1), layer(x), rtol=1e-10, atol=1e-10)


def test_no_output_sees_the_future(name):
    layer, x = block(name, **DRESSED), text()
    moved = x.clone()
    moved[:, 6:] += 1
    torch.testing.assert_close(layer(moved)[:, :6], layer(x)[:, :6], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(layer(moved)[:, 6:], layer(x)[:, 6:])


def test_convolution_is_torchs():
    conv, x = ShortConvolution(6, 4).double(), text(d=6)
    padded = torch.nn.functional.pad(x.mT, (3, 0))
    expected = torch.nn.functional.conv1d(padded, conv.weight.T[:, None], groups=6).mT
    torch.testing.assert_close(conv(x)[0], expected)


def test_convolution_hands_over_its_last_inputs_and_no_more():
    conv, x = ShortConvolution(6, 4).double(), text(d=6)
    last = conv(x)[1]
    assert torch.equal(last, x[:, -3:])
    assert last.untyped_storage().nbytes() == last.nbytes


@plain_rows
def test_qk_norm_makes_the_size_of_q_and_k_irrelevant(plain):
    layer, x = block(plain, qk_norm=True), text()
    louder = copy.deepcopy(layer)
    with torch.no_grad():
        louder.mix.to_qkv.weight[:32] *= 5  # the rows of q and k
    torch.testing.assert_close(louder(x), layer(x))


@plain_rows
def test_out_norm_makes_the_size_of_v_irrelevant(plain):
    layer, x = block(plain, out_norm=True), text()
    louder = copy.deepcopy(layer)
    with torch.no_grad():
        louder.mix.to_qkv.weight[32:] *= 5  # the rows of v
    torch.testing.assert_close(louder(x), layer(x))


def test_a_closed_gate_leaves_the_residual(name):
    layer, x = block(name, gate=True), text()
    torch.nn.init.zeros_(layer.mix.to_gate.weight)
    assert torch.equal(layer.mix(x), torch.zeros_like(x))


@plain_rows
def test_shared_keys_are_repeated_for_a_mixer_that_does_not_share(plain):
    """With the rows of k and v repeated by hand, a block with all heads gives the same answer."""
    shared, x = block(plain, kv_heads=2), text()
    full = block(plain)
    q, k, v = shared.mix.to_qkv.weight.split([16, 8, 8])
    spread = [w.unflatten(0, (2, 4)).repeat_interleave(2, dim=0).flatten(0, 1) for w in (k, v)]
    full.load_state_dict(shared.state_dict() | {"mix.to_qkv.weight": torch.cat([q, *spread])})
    torch.testing.assert_close(full(x), shared(x))


def test_parameters_are_counted():
    d = 16
    assert count_parameters(block("linear_attention")) == 12 * d * d + 2 * d
    assert count_parameters(block("linear_attention", conv=4)) == 12 * d * d + 2 * d + 4 * 3 * d
    assert count_parameters(block("linear_attention", gate=True, out_norm=True)) == 13 * d * d + 2 * d + 4
    frozen = block("linear_attention").requires_grad_(False)
    assert count_parameters(frozen) == 0


def test_every_parameter_is_trained(name):
    layer = block(name, **DRESSED)
    layer(text()).square().sum().backward()
    assert all(p.grad.abs().max() > 0 for p in layer.parameters())


@pytest.mark.parametrize("options", [DRESSED, {"qk_norm": True}], ids=["dressed", "without convolution"])
def test_autocast_runs(name, options):
    layer, x = block(name, **options).float(), text().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, state = layer(x, return_state=True)
        z, _ = layer(x, state, return_state=True)
    assert y.shape == z.shape == x.shape
    if name == "softmax_attention":
        assert {part.dtype for part in state.mixer} == {torch.bfloat16}


def test_a_learned_feature_map_is_trained():
    layer = block(
        "linear_attention", feature_map=torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Softplus())
    )
    layer(text()).square().sum().backward()
    assert count_parameters(layer) - count_parameters(block("linear_attention")) == 4 * 4 + 4
    assert all(p.grad is not None for p in layer.parameters())


def test_mixer_options_reach_the_mixer():
    x = text()
    plain, relu = block("linear_attention"), block("linear_attention", feature_map=lambda x: x.relu() + 0.1)
    assert not torch.allclose(plain(x), relu(x))
    assert block("softmax_attention").mix.mixer_kwargs["mode"] == "sdpa"
    slow = block("softmax_attention", mode="parallel")
    torch.testing.assert_close(slow(x), block("softmax_attention")(x))


def test_a_pattern_is_repeated_and_cut_off():
    pattern = {"gla": 2, "softmax_attention": 1}
    assert interleave(pattern, 7) == ["gla", "gla", "softmax_attention"] * 2 + ["gla"]
    assert interleave({"gla": 1, "kda": 0}, 3) == ["gla"] * 3
    assert interleave(pattern, 0) == []


def test_a_hybrid_is_its_blocks_and_can_be_cut_anywhere():
    torch.manual_seed(0)
    mixers = interleave({"gated_delta_rule": 3, "sliding_window_attention": 1}, 5)
    stack, x = Stack(16, 4, mixers, conv=3).double(), text()
    assert [layer.mix.row.name for layer in stack.blocks] == mixers
    expected = x
    for layer in stack.blocks:
        expected = layer(expected)
    torch.testing.assert_close(stack(x), expected)
    first, states = stack(x[:, :5], return_state=True)
    second = stack(x[:, 5:], states)
    torch.testing.assert_close(torch.cat([first, second], dim=1), expected, rtol=1e-10, atol=1e-10)


def test_a_block_is_stored_and_read_back(name):
    layer, x = block(name, **DRESSED), text()
    again = pickle.loads(pickle.dumps(layer))
    assert torch.equal(again(x), layer(x))


def test_a_convolution_refuses_the_inputs_of_another_width():
    conv, x = ShortConvolution(6, 4).double(), text(d=6)
    with pytest.raises(ValueError, match=r"last must have the shape \[2, 3, 6\], got \[2, 2, 6\]"):
        conv(x, x[:, :2])


def test_a_state_without_a_convolution_is_refused_by_a_block_with_one():
    x = text()
    _, state = block("gla")(x, return_state=True)
    with pytest.raises(ValueError, match="state must hold the inputs of a convolution"):
        block("gla", conv=3)(x, state)
    _, state = block("gla", conv=3)(x, return_state=True)
    with pytest.raises(ValueError, match="state must not hold the inputs of a convolution"):
        block("gla")(x, state)


def test_gates_start_open():
    layer = block("gla")
    gates = layer.mix._arguments(text() * 0, layer.mix.to_qkv(text()), position=0)["g"]
    torch.testing.assert_close(gates.exp(), torch.full_like(gates, torch.tensor(4.0).sigmoid().item()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "heads must divide the width d = 16, got 3"),
        ({"heads": 0}, "heads must divide the width d = 16, got 0"),
        ({"kv_heads": 3}, "kv_heads must divide heads = 4, got 3"),
        ({"mixer": "mamba0"}, "name must be one of"),
    ],
)
def test_bad_options_are_named(options, message):
    for layer in (Block, Mixer):
        with pytest.raises(ValueError, match=message):
            layer(**({"d": 16, "heads": 4} | options))


# --- a language model ---------------------------------------------------------------------------------


def language_model(mixers=("softmax_attention", "delta_rule"), **options):
    torch.manual_seed(0)
    return LanguageModel(11, 16, 4, list(mixers), **options).double()


def tokens(B=2, T=7):
    return torch.randint(0, 11, (B, T), generator=torch.Generator().manual_seed(2))


ROTARY = {"rope": True, "conv": 3, "kv_heads": 2}


@pytest.mark.parametrize("options", [{}, ROTARY], ids=["plain", "rotary"])
def test_generating_is_recomputing_the_whole_text_for_every_token(options):
    model, text = language_model(**options), tokens()
    for _ in range(9):
        text = torch.cat([text, model(text)[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(model.generate(tokens(), 9), text[:, 7:])


@pytest.mark.parametrize("options", [{}, ROTARY], ids=["plain", "rotary"])
def test_a_text_can_be_read_in_pieces_and_carried_on_twice(options):
    model, text = language_model(**options), tokens()
    _, states = model(text[:, :4], return_state=True)
    expected = model.generate(text, 5)
    for _ in range(2):  # the states are left as they were
        assert torch.equal(model.generate(text[:, 4:], 5, states=states), expected)


def test_a_stream_gives_each_token_when_it_is_there():
    model, calls = language_model(), []
    model.register_forward_pre_hook(lambda _, args: calls.append(args[0].shape[1]))
    stream = model.stream(tokens(), 4)
    assert calls == []
    first = next(stream)
    assert calls == [7]  # prefill
    assert first.shape == (2,)
    list(stream)
    assert calls == [7, 1, 1, 1]  # decode


def test_decoding_appends_in_place(monkeypatch):
    grown = []
    write = FullCache._write
    monkeypatch.setattr(FullCache, "_write", lambda self, k, v: (grown.append(k.shape[1]), write(self, k, v)))
    language_model(["softmax_attention"]).generate(tokens(), 5)
    assert grown == [7, 1, 1, 1, 1]


def test_samples_follow_the_seed_the_temperature_and_top_k():
    model = language_model()
    drawn = [model.generate(tokens(), 20, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(model.generate(tokens(), 8, temperature=5.0, top_k=1), model.generate(tokens(), 8))


def test_sampling_has_the_chances_of_the_softmax():
    logits = torch.tensor([0.0, 1.0, 2.0, 3.0]).expand(20_000, 4)
    generator = torch.Generator().manual_seed(0)
    drawn = sample(logits, 2.0, 3, generator)
    chances = (torch.tensor([1.0, 2.0, 3.0]) / 2).softmax(-1)
    counted = torch.bincount(drawn, minlength=4) / len(drawn)
    assert counted[0] == 0
    torch.testing.assert_close(counted[1:], chances, atol=0.015, rtol=0)  # 4 standard errors


@pytest.mark.parametrize("conv", [0, 3])
def test_carried_bytes_are_the_bytes_carried(name, conv):
    model = language_model([name], conv=conv, kv_heads=2)
    _, states = model(tokens(), return_state=True)
    assert model.carried_bytes(T=7, B=2) == count_bytes(states)


@pytest.mark.parametrize(
    ("mixer", "options"),
    [
        ("linear_attention", {"normalize": False}),
        ("sliding_window_attention", {"window": 4}),
        ("dilated_attention", {"window": 3, "stride": 2}),
        ("dilated_attention", {"window": 6}),
    ],
)
def test_carried_bytes_follow_the_options(mixer, options):
    model = language_model([mixer], **options)
    _, states = model(tokens(), return_state=True)
    assert model.carried_bytes(T=7, B=2) == count_bytes(states)


def test_a_mixer_alone_can_have_options():
    model = language_model(
        ["linear_attention", "softmax_attention"], each={"linear_attention": {"normalize": False}}
    )
    assert model.stack.blocks[0].mix.mixer_kwargs["normalize"] is False
    assert "normalize" not in model.stack.blocks[1].mix.mixer_kwargs
    with pytest.raises(ValueError, match=r"each must name mixers of this stack, got \['gla'\]"):
        language_model(["delta_rule"], each={"gla": {}})


def test_head_size_sets_the_state_and_beta_max_the_correction():
    model = Mixer(16, 2, "delta_rule", head_size=5, beta_max=2.0)
    _, state = model(torch.randn(1, 3, 16), return_state=True)
    assert state.mixer.shape == (1, 2, 5, 5)
    given = model._arguments(torch.randn(1, 50, 16), model.to_qkv(torch.randn(1, 50, 16)), position=0)
    assert given["beta"].max() > 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"n": 0}, "n must be at least 1, got 0"),
        (
            {"prompt": torch.zeros(2, 0, dtype=torch.long)},
            r"prompt must be \[B, T\] with at least one token, got \[2, 0\]",
        ),
        ({"temperature": -1.0}, "temperature must be at least 0, got -1.0"),
        ({"top_k": 12}, "top_k must be between 1 and vocab = 11, got 12"),
    ],
)
def test_sampling_arguments_are_checked_at_once(given, words):
    with pytest.raises(ValueError, match=words):
        language_model().stream(**{"prompt": tokens(), "n": 3} | given)


def test_rotary_positions_need_queries_and_keys():
    with pytest.raises(ValueError, match="rope must be off for selective_scan, got True"):
        Mixer(16, 4, "selective_scan", rope=True)
