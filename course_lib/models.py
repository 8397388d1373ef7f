"""A Transformer block with a pluggable mixer, stacks of one mixer or several, and a small language model.

    x ← x + W_o (gate(x) ⊙ norm(mix(q, k, v, …)))        q, k, v, … = conv(W x)
    x ← x + W_2 gelu(W_1 norm(x))

Only `mix` differs between models: any row of the registry fits, and its row says what to project. What linear
models like to have around it is optional here: a short causal convolution on q, k, v (Mamba, DeltaNet),
L2-normalised q and k (DeltaNet), an RMS norm on each head's output and a gate (RetNet, GLA). A block can be cut
anywhere: it hands over the mixer's state and the convolution's last inputs. Chapter 08 puts linear attention
inside it; chapter 14 mixes mixers.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.attention import mixer as find_mixer
from course_lib.attention.checks import check_count
from course_lib.attention.registry import DEFAULT_STRIDE, DEFAULT_WINDOW, KINDS, Argument, sizes
from course_lib.attention.rope import rope
from course_lib.cache import Cache, FullCache


class BlockState(NamedTuple):
    """What a block carries: the mixer's state (or a `course_lib.cache.Cache` in its place), the last width − 1 inputs
    of the convolution (or None), and the number of tokens read.
    """

    mixer: Any
    conv: Tensor | None
    position: int = 0


class ShortConvolution(nn.Module):
    """Causal depthwise convolution: each channel becomes a weighted sum of its own last `width` values."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        if isinstance(width, bool) or not isinstance(width, int) or width < 1:
            raise ValueError(f"conv must be a width of at least 1, or 0 for none, got {width}")
        bound = width**-0.5
        self.weight = nn.Parameter(torch.empty(width, channels).uniform_(-bound, bound))

    def forward(self, x: Tensor, last: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x `[B, T, channels]`, the `width − 1` inputs before it (None = zeros) -> y, last inputs now."""
        before = len(self.weight) - 1
        expected = (x.shape[0], before, x.shape[2])
        if last is None:
            last = x.new_zeros(expected)
        elif last.shape != expected:
            raise ValueError(
                f"last must have the shape {list(expected)}, got {list(last.shape)}: pass on what the call for the "
                f"tokens before returned"
            )
        padded = torch.cat([last, x], dim=1)
        T = x.shape[1]
        taps = self.weight.to(x.dtype)  # under autocast x is bfloat16, and so stays y
        y = sum(w * padded[:, i : i + T] for i, w in enumerate(taps))
        return y, padded[:, T:].clone()  # a view would keep all T inputs alive


class Mixer(nn.Module):
    """Projections around one sequence mixer. Options as in `Block`; x `[B, T, d]` -> `[B, T, d]`.

    Signals (q, k, v and the like) come from `to_qkv` and pass the convolution; gates and rates come from
    `to_gates`, which has a bias; what a row takes once for all tokens is a parameter. `kv_heads` is without effect
    where a row has neither k and v nor groups (selective_scan, s4d, hgrn).
    """

    def __init__(
        self,
        d: int,
        heads: int,
        mixer: str = "softmax_attention",
        *,
        kv_heads: int | None = None,
        head_size: int | None = None,
        conv: int = 0,
        silu: bool = False,
        qk_norm: bool = False,
        out_norm: bool = False,
        gate: bool = False,
        beta_max: float = 1.0,
        rope: bool = False,
        **mixer_kwargs: Any,
    ) -> None:
        super().__init__()
        self.row, self.rope = find_mixer(mixer), rope
        if rope and not {"q", "k"} <= set(self.row.arguments):
            raise ValueError(f"rope must be off for {mixer}, got True: it has no q and k to turn")
        self.head_size = _check_head_size(d, heads, head_size)
        self.heads, self.kv_heads = heads, _check_heads(heads, kv_heads)
        inner = heads * self.head_size
        self.mixer_kwargs = {"mode": self.row.fast} | mixer_kwargs
        # Registered, so that .to() and an optimiser see the parameters of a learned feature map.
        self.learned = nn.ModuleList(x for x in mixer_kwargs.values() if isinstance(x, nn.Module))
        self.signals = self._shapes(lambda x: "T" in x.axes and x.kind in SIGNALS)
        self.gates = self._shapes(lambda x: "T" in x.axes and x.kind not in SIGNALS)
        self.to_qkv = nn.Linear(d, _total(self.signals), bias=False)
        self.to_gates = nn.Linear(d, _total(self.gates)) if self.gates else None
        fixed = self._shapes(lambda x: "T" not in x.axes)
        self.fixed = nn.ParameterDict({name: nn.Parameter(torch.randn(n)) for name, n in fixed.items()})
        self.conv = ShortConvolution(_total(self.signals), conv) if conv else None
        self.silu, self.qk_norm, self.beta_max = silu, qk_norm, beta_max
        self.out_norm = nn.RMSNorm(self.head_size) if out_norm else nn.Identity()
        self.to_gate = nn.Linear(d, inner, bias=False) if gate else None
        self.to_out = nn.Linear(inner, d, bias=False)
        self._start_gates()

    def forward(
        self, x: Tensor, state: BlockState | None = None, return_state: bool = False
    ) -> Tensor | tuple[Tensor, BlockState]:
        mixed, last, position = BlockState(None, None) if state is None else state
        if state is not None and (last is None) != (self.conv is None):
            raise ValueError(
                f"state must {'hold' if last is None else 'not hold'} the inputs of a convolution: pass on what this "
                f"block returned"
            )
        qkv = self.to_qkv(x)
        if self.conv is not None:
            qkv, last = self.conv(qkv, last)
        if self.silu:
            qkv = F.silu(qkv)
        given = self._arguments(x, qkv, position)
        if isinstance(mixed, Cache):
            mixed.append(given["k"], given["v"])
            o = mixed.attend(given["q"])
        else:
            options = {"initial_state": mixed, "output_final_state": return_state} | self.mixer_kwargs
            o, mixed = self.row.fn(**given, **options)
        # Under autocast o is bfloat16 and the parameters are float32: a norm belongs in float32.
        o = o.to(self.to_out.weight.dtype).flatten(2).unflatten(2, (self.heads, -1))
        o = self.out_norm(o).flatten(2)
        if self.to_gate is not None:
            o = o * F.silu(self.to_gate(x))
        y = self.to_out(o)
        return (y, BlockState(mixed, last, position + x.shape[1])) if return_state else y

    @torch.no_grad()
    def carried_bytes(self, B: int, T: int) -> int:
        """Bytes carried after T tokens of B texts: the mixer's state, and the convolution's last inputs.

        Reads one token and looks at what it leaves: a state keeps that size, a cache has T of them, a window as many
        as it holds.
        """
        token = self.to_out.weight.new_zeros(1, 1, self.to_qkv.in_features)
        _, (mixed, last, _) = self(token, return_state=True)
        reach = self.mixer_kwargs.get("window", DEFAULT_WINDOW) - 1
        stride = self.mixer_kwargs.get("stride", DEFAULT_STRIDE)
        held = {"T": T, "W": min(T, reach), "R": min(T, reach * stride)}
        tensors = [mixed] if isinstance(mixed, Tensor) else mixed
        carried = zip(tensors, self.row.state.values(), strict=False)  # without a normaliser there is no z
        tokens = sum(x.nbytes * next((held[c] for c in axes if c in held), 1) for x, axes in carried)
        return B * (tokens + count_bytes(last))

    def growing(self, state: BlockState) -> BlockState:
        """The same state with room to grow: softmax attention's keys and values in a cache that appends in place."""
        if self.row.name != "softmax_attention" or isinstance(state.mixer, Cache):
            return state
        options = {name: self.mixer_kwargs[name] for name in CACHED & set(self.mixer_kwargs)}
        cache = FullCache(**options)
        cache.append(*state.mixer)
        return state._replace(mixer=cache)

    def _arguments(self, x: Tensor, qkv: Tensor, position: int) -> dict[str, Tensor]:
        """What the row's function takes, each in its shape and range."""
        raw = dict(self.fixed) | _split(qkv, self.signals)
        if self.to_gates is not None:
            raw |= _split(self.to_gates(x), self.gates)
        if self.qk_norm:
            # On a GPU, autocast takes the norm in float32: back to the dtype of the signals.
            raw |= {name: F.normalize(raw[name], dim=-1).to(qkv.dtype) for name in self._with_key_channels()}
        if self.rope:
            positions = torch.arange(position, position + x.shape[1], device=x.device)
            raw |= {name: rope(raw[name], positions) for name in ("q", "k")}
        ranged = {name: KINDS[x.kind](raw[name]) for name, x in self.row.arguments.items()}
        if "beta" in ranged:
            ranged["beta"] = self.beta_max * ranged["beta"]
        if not self.row.kv_groups and self.heads != self.kv_heads:
            repeat = self.heads // self.kv_heads
            ranged |= {n: ranged[n].repeat_interleave(repeat, dim=2) for n in SHARED if n in ranged}
        return self.row.couple(ranged)

    def _shapes(self, wanted: Callable[[Argument], bool]) -> dict[str, tuple[int, ...]]:
        """Per token (or once) shapes of the row's arguments; shared k and v have `kv_heads` heads."""
        K = self.head_size
        size = sizes(1, 1, self.heads, K, K, self.kv_heads)
        shared = size | {"H": self.kv_heads}
        return {
            name: tuple(
                (shared if name in SHARED else size)[letter] for letter in x.axes if letter not in "BT"
            )
            for name, x in self.row.arguments.items()
            if wanted(x)
        }

    def _with_key_channels(self) -> list[str]:
        return [name for name in self.signals if self.row.arguments[name].axes[-1] in "KN"]

    def _start_gates(self) -> None:
        """Gates open, so that an untrained model remembers: e^g = sigmoid(4) = 0.98 a token."""
        first = 0
        for name, shape in self.gates.items():
            n = math.prod(shape)
            if self.row.arguments[name].kind == "gate":
                nn.init.constant_(self.to_gates.bias[first : first + n], OPEN)
            first += n


SIGNALS = ("signal", "key")
SHARED = ("k", "v")  # by the query heads of a group
CACHED = {"scale", "mode", "chunk_size"}  # options that a cache takes as well
OPEN = 4.0


def _total(shapes: Mapping[str, tuple[int, ...]]) -> int:
    return sum(math.prod(shape) for shape in shapes.values())


def _split(x: Tensor, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """[B, T, ·] -> the named parts in their shapes."""
    parts = x.split([math.prod(shape) for shape in shapes.values()], dim=-1)
    return {
        name: part.unflatten(-1, shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }


class Block(nn.Module):
    """One pre-norm Transformer layer: x + mix(norm(x)), then x + mlp(norm(x)).

    d: model width.  heads: H; each has K = V = head_size channels (default d / H).  mixer: a name from
    `course_lib.attention.table()`.
    kv_heads: heads of k and v (default H); a mixer that keeps one state per query head sees them repeated.
    conv: width of the short convolution on q, k, v; 0 is none.  silu: q, k, v pass x · sigmoid(x) after it
    (DeltaNet).  qk_norm: q and k of length 1 per head.
    out_norm: RMS norm of each head's output.  gate: output times silu(W_g x).  beta_max: the largest β of a delta
    rule; 2 allows eigenvalues down to −1 (arXiv 2411.12537).  rope: q and k turned by their positions.
    mlp_ratio: MLP width over d.
    Every other option is passed to the mixer, such as `mode` (default: the row's fast form) or `feature_map`.

    Raises ValueError for a name that the registry does not have, and heads that do not divide d. Chapter 08.
    """

    def __init__(
        self,
        d: int,
        heads: int,
        mixer: str = "softmax_attention",
        *,
        mlp_ratio: int = 4,
        **options: Any,
    ) -> None:
        super().__init__()
        self.norm_mix, self.norm_mlp = nn.RMSNorm(d), nn.RMSNorm(d)
        self.mix = Mixer(d, heads, mixer, **options)
        self.mlp = nn.Sequential(
            nn.Linear(d, mlp_ratio * d, bias=False), nn.GELU(), nn.Linear(mlp_ratio * d, d, bias=False)
        )

    def forward(
        self, x: Tensor, state: BlockState | None = None, return_state: bool = False
    ) -> Tensor | tuple[Tensor, BlockState]:
        """x `[B, T, d]` -> `[B, T, d]`, and the state after the last token if `return_state`.

        state: what an earlier call returned for the tokens before x; None is the start of the text.
        """
        if not return_state:
            return self._mlp(x + self.mix(self.norm_mix(x), state))
        mixed, state = self.mix(self.norm_mix(x), state, return_state=True)
        return self._mlp(x + mixed), state

    def _mlp(self, x: Tensor) -> Tensor:
        return x + self.mlp(self.norm_mlp(x))


class Stack(nn.Module):
    """Blocks one after the other, block n with the mixer `mixers[n]`: a model of one kind, or a hybrid.

    d, heads and options as in `Block`; `mixers` as `interleave` makes it. each: options of one mixer's blocks alone,
    such as {"linear_attention": {"feature_map": "relu"}}. Raises ValueError for options of a mixer that is not there.
    Chapter 14.
    """

    def __init__(
        self,
        d: int,
        heads: int,
        mixers: Sequence[str],
        *,
        each: Mapping[str, Mapping[str, Any]] | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        each = each or {}
        if absent := sorted(set(each) - set(mixers)):
            raise ValueError(
                f"each must name mixers of this stack, got {absent} beside {sorted(set(mixers))}"
            )
        self.blocks = nn.ModuleList(Block(d, heads, name, **options | each.get(name, {})) for name in mixers)

    def forward(
        self, x: Tensor, states: Sequence[BlockState] | None = None, return_state: bool = False
    ) -> Tensor | tuple[Tensor, list[BlockState]]:
        """x `[B, T, d]` -> `[B, T, d]`, and one state a block if `return_state`; `states` as returned."""
        states = [None] * len(self.blocks) if states is None else states
        if not return_state:
            for block, state in zip(self.blocks, states, strict=True):
                x = block(x, state)
            return x
        found = []
        for block, state in zip(self.blocks, states, strict=True):
            x, state = block(x, state, return_state=True)
            found.append(state)
        return x, found


class LanguageModel(nn.Module):
    """A decoder-only language model: embedding, a stack of blocks, a norm, and one logit a token of the vocabulary.

    vocab: tokens are 0 … vocab − 1.  d, heads, mixers and options as in `Stack`: `mixers` is one name a layer, such as
    `["delta_rule"] * 2` or `interleave({"gated_delta_rule": 3, "softmax_attention": 1}, 8)`. The embedding and the
    output are two matrices.

    Calling it is *prefill*: all tokens at once, and what they leave behind; `generate` goes on from there one token at
    a time, *decode*. Chapters 04 and 14.
    """

    def __init__(self, vocab: int, d: int, heads: int, mixers: Sequence[str], **options: Any) -> None:
        super().__init__()
        check_count("vocab", vocab)
        self.vocab = vocab
        self.embed = nn.Embedding(vocab, d)
        nn.init.normal_(self.embed.weight, std=0.02)
        self.stack = Stack(d, heads, mixers, **options)
        self.norm = nn.RMSNorm(d)
        self.to_logits = nn.Linear(d, vocab, bias=False)

    def forward(
        self, tokens: Tensor, states: Sequence[BlockState] | None = None, return_state: bool = False
    ) -> Tensor | tuple[Tensor, list[BlockState]]:
        """tokens `[B, T]` (integers) -> logits `[B, T, vocab]`, and one state a layer if `return_state`.

        states: what an earlier call returned for the tokens before these; None is the start of a text.
        """
        x = self.stack(self.embed(tokens), states, return_state)
        x, states = x if return_state else (x, None)
        logits = self.to_logits(self.norm(x))
        return (logits, states) if return_state else logits

    def generate(
        self,
        prompt: Tensor,
        n: int,
        *,
        temperature: float = 0.0,
        top_k: int | None = None,
        seed: int = 0,
        states: Sequence[BlockState] | None = None,
    ) -> Tensor:
        """The n tokens after `prompt` `[B, T]`, as `[B, n]`. Arguments and errors as in `stream`."""
        options = {"temperature": temperature, "top_k": top_k, "seed": seed, "states": states}
        return torch.stack(list(self.stream(prompt, n, **options)), dim=1)

    def stream(
        self,
        prompt: Tensor,
        n: int,
        *,
        temperature: float = 0.0,
        top_k: int | None = None,
        seed: int = 0,
        states: Sequence[BlockState] | None = None,
    ) -> Iterator[Tensor]:
        """Yield the n tokens `[B]` after `prompt` `[B, T]`, each as soon as it is there.

        temperature: 0 takes the likeliest token; above it, samples from softmax(logits / temperature) of the `top_k`
        likeliest (None: of all), the same tokens for the same seed. states: what a call for earlier tokens returned;
        it is left as it was. Raises ValueError for an empty prompt, n < 1, a negative temperature, or top_k that is
        not 1 … vocab.
        """
        self._check_sampling(prompt, n, temperature, top_k)
        return self._stream(prompt, n, temperature, top_k, seed, states)

    @torch.no_grad()
    def _stream(
        self, tokens: Tensor, n: int, temperature: float, top_k: int | None, seed: int, states: Any
    ) -> Iterator[Tensor]:
        generator = torch.Generator(tokens.device).manual_seed(seed)
        for _ in range(n):  # the first pass is prefill, every later one decodes one token
            logits, states = self(tokens, states, return_state=True)
            states = [block.mix.growing(x) for block, x in zip(self.stack.blocks, states, strict=True)]
            token = sample(logits[:, -1], temperature, top_k, generator)
            yield token
            tokens = token[:, None]

    def _check_sampling(self, prompt: Tensor, n: int, temperature: float, top_k: int | None) -> None:
        check_count("n", n)
        if prompt.ndim != 2 or not prompt.shape[1]:
            raise ValueError(f"prompt must be [B, T] with at least one token, got {list(prompt.shape)}")
        if temperature < 0:
            raise ValueError(f"temperature must be at least 0, got {temperature}")
        if top_k is not None and not 1 <= top_k <= self.vocab:
            raise ValueError(f"top_k must be between 1 and vocab = {self.vocab}, got {top_k}")

    def carried_bytes(self, T: int, B: int = 1) -> int:
        """Bytes that a decoder keeps for B texts of T tokens: caches, states, and the inputs of convolutions.

        Counted from what one token leaves behind, in the dtype of the parameters.
        """
        return sum(block.mix.carried_bytes(B, T) for block in self.stack.blocks)


def sample(logits: Tensor, temperature: float, top_k: int | None, generator: torch.Generator) -> Tensor:
    """One token `[B]` from logits `[B, vocab]`; see `LanguageModel.stream`."""
    if temperature == 0:
        return logits.argmax(-1)
    if top_k is not None:
        least = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -math.inf)
    chances = (logits / temperature).softmax(-1)
    return torch.multinomial(chances, 1, generator=generator)[:, 0]


def count_bytes(states: Any) -> int:
    """Bytes of all tensors and caches in nested tuples and lists, such as the states that a model returned."""
    if isinstance(states, Tensor | Cache):
        return states.nbytes
    return sum(map(count_bytes, states)) if isinstance(states, list | tuple) else 0


def interleave(pattern: Mapping[str, int], layers: int) -> list[str]:
    """The mixers of a hybrid's layers: `pattern` in turn, cut off after `layers`.

    {"gated_delta_rule": 3, "softmax_attention": 1} over 8 layers is three linear layers and a softmax layer,
    twice: the 3:1 of Qwen3-Next and Kimi Linear (arXiv 2510.26692). Raises ValueError for an unknown mixer, a
    count below 0, or a pattern without layers. Chapter 14.
    """
    for name, count in pattern.items():
        find_mixer(name)
        if count < 0:
            raise ValueError(f"pattern must count layers from 0 up, got {count} of {name}")
    period = [name for name, count in pattern.items() for _ in range(count)]
    if not period:
        raise ValueError(f"pattern must hold at least one layer, got {dict(pattern)}")
    if layers < 0:
        raise ValueError(f"layers must be at least 0, got {layers}")
    return [period[n % len(period)] for n in range(layers)]


def count_parameters(module: nn.Module) -> int:
    """How many numbers of `module` are trained."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def _check_heads(heads: int, kv_heads: int | None) -> int:
    """The number of key–value heads, if the query heads share them evenly."""
    kv_heads = heads if kv_heads is None else kv_heads
    if kv_heads < 1 or heads % kv_heads:
        raise ValueError(
            f"kv_heads must divide heads = {heads}, got {kv_heads}: each is shared by a group of heads"
        )
    return kv_heads


def _check_head_size(d: int, heads: int, head_size: int | None) -> int:
    """The channels of a head: the given number, or the width's share."""
    if head_size is not None:
        check_count("heads", heads)
        check_count("head_size", head_size)
        return head_size
    if heads < 1 or d % heads:
        raise ValueError(
            f"heads must divide the width d = {d}, got {heads}: each head has d / heads channels, unless "
            f"head_size says otherwise"
        )
    return d // heads
