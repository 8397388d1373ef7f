"""What every mixer with a state of fixed size does around its engine: cast up, start, unpack, cast back."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.attention import checks, decay
from course_lib.attention.chunks import CHUNKS, Form, in_pieces
from course_lib.attention.packing import run_packed, sequence_lengths
from course_lib.attention.precision import cast_up, no_autocast, working_dtype


class Options(NamedTuple):
    """The keyword arguments that every mixer has."""

    scale: float | None
    causal: bool
    initial_state: Tensor | None
    output_final_state: bool
    cu_seqlens: Tensor | None
    mode: str
    chunk_size: int


def over_sequence(
    form: Form,
    tokens: Sequence[Tensor | None],
    state_shape: Sequence[int],
    options: Options,
    *,
    state_name: str = "S",
    state_dtype: torch.dtype | None = None,
    chunks: int = CHUNKS,
) -> tuple[Tensor, Tensor | None]:
    """`form(*tokens, state) -> (o, state)` from the initial state on, per packed sequence if there are any.

    tokens: `[B, T, …]`, cast up for the engine; o returns in the dtype of the first. state_shape: without the
    batch. The state keeps the working dtype, or `state_dtype`. The chunk form sees `chunks` chunks at a time.
    """
    first = tokens[0]
    checks.check_flag("output_final_state", options.output_final_state)
    lengths = sequence_lengths(options.cu_seqlens, *first.shape[:2])
    shape = (first.shape[0] if lengths is None else len(lengths), *state_shape)
    state = first_state("initial_state", state_name, options.initial_state, shape, first, state_dtype)
    dtype = working_dtype(first)

    def cast_and_run(*tokens_and_state: Tensor | None) -> tuple[Tensor, Tensor]:
        *piece, state = tokens_and_state
        o, state = form(*cast_up(*piece, dtype=dtype), state)
        return o.to(first.dtype), state

    with no_autocast(first):
        pieces = options.chunk_size if options.mode == "chunk" else None
        o, state = apply(cast_and_run, tokens, lengths, state, pieces, chunks)
    return o, state if options.output_final_state else None


def one_token(
    step: Form,
    tokens: Sequence[Tensor | None],
    state_shape: Sequence[int],
    state: Tensor | None,
    *,
    state_name: str = "S",
    state_dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """`step(*tokens, state) -> (o, state)` for tokens `[B, …]`, with the checks and casts of `over_sequence`."""
    first = tokens[0]
    state = first_state("state", state_name, state, (first.shape[0], *state_shape), first, state_dtype)
    with no_autocast(first):
        o, state = step(*cast_up(*tokens, dtype=working_dtype(first)), state)
    return o.to(first.dtype), state


def apply(
    form: Form,
    tokens: Sequence[Tensor | None],
    lengths: list[int] | None,
    state: Tensor,
    chunk_size: int | None,
    chunks: int = CHUNKS,
) -> tuple[Tensor, Tensor]:
    """One call, or one a packed sequence (`state` then holds one state a sequence); in pieces with a chunk size."""

    def one_sequence(*tokens_and_state: Tensor | None) -> tuple[Tensor, Tensor]:
        *tokens, state = tokens_and_state
        return (
            form(*tokens, state) if chunk_size is None else in_pieces(form, tokens, state, chunk_size, chunks)
        )

    if lengths is None:
        o, final = one_sequence(*tokens, state)
    else:
        o, finals = run_packed(one_sequence, tokens, lengths, state.split(1))
        final = torch.cat(finals)
    return o.contiguous(), final.clone() if final is state else final


def first_state(
    argument: str,
    name: str,
    state: Tensor | None,
    shape: Sequence[int],
    like: Tensor,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """The caller's state, checked, or zeros."""
    dtype = dtype or working_dtype(like)
    if state is None:
        return like.new_zeros(shape, dtype=dtype)
    checks.check_states(argument, (state,), {name: tuple(shape)}, dtype, like.device)
    return state


def decayed(
    name: str, q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, options: Options, *, strict: bool = False
) -> tuple[Tensor, Tensor | None]:
    """A named model on the `decay` engine, its q, k, v and g checked already."""
    scale = check_options(name, q, k, options, decay.FORMS)

    def form(q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, S: Tensor) -> tuple[Tensor, Tensor]:
        return decay.run(options.mode, q * scale, k, v, g, S, chunk_size=options.chunk_size, strict=strict)

    return over_sequence(form, (q, k, v, g), (q.shape[2], q.shape[3], v.shape[3]), options)


def decayed_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    state: Tensor | None,
    scale: float | None,
    *,
    strict: bool = False,
) -> tuple[Tensor, Tensor]:
    """One token of `decayed`."""
    factor = scale_of(q, scale)

    def step(q: Tensor, k: Tensor, v: Tensor, g: Tensor, S: Tensor) -> tuple[Tensor, Tensor]:
        return decay.step(q * factor, k, v, g, S, strict=strict)

    return one_token(step, (q, k, v, g), (q.shape[1], q.shape[2], v.shape[2]), state)


def check_options(
    name: str, q: Tensor, k: Tensor, options: Options, forms: Sequence[str], names: checks.Names = checks.QKV
) -> float:
    """Checks what all models on a matrix-state engine share; returns the scale."""
    checks.check_same_length(q, k, names)
    checks.check_causal(name, options.causal)
    checks.check_form(options.mode, forms, options.chunk_size)
    return scale_of(q, options.scale)


def scale_of(q: Tensor, scale: float | None) -> float:
    """The checked scale, `K ** -0.5` by default."""
    checks.check_scale(scale)
    return q.shape[-1] ** -0.5 if scale is None else scale
