"""How much of what token j wrote is left when token i reads: the decays inside chunks of C tokens.

    products(x, y)_ij = Σ_κ x_iκ y_jκ exp(Σ_{j<l≤i} g_lκ)   for j ≤ i, else 0       (g ≤ 0: log decay)
    from_start(x)_i   = x_i ⊙ exp(Σ_{l≤i} g_l)              what row i reads of the state before the chunk
    to_end(y)_j       = y_j ⊙ exp(Σ_{l>j} g_l)              what column j leaves in the state after it
    over_all          = exp(Σ_l g_l)                        what the chunk leaves of the state before it

x and y are prepared once, as `rows(x)` and `columns(y)`. A `strict` row is read before its own decay and write: it
sums to i − 1 instead of i, and j < i. All tensors are `[…, C, K]`; g is `[…, C, K]`, or `[…, C, 1]` for one gate a
head.

The fast way to the products is to factorise, x_i e^{G_i} · y_j e^{−G_j} with G the running sum, which is one
matrix product; but e^{−G_j} overflows float32 once the gates of a chunk sum to less than −88. `Factorised`
counts G from half of its total, so both factors stay within e^{±40} while the sum stays above −80, and float32
has room for signals between about 10^−20 and 10^19.
`Halved` is safe for any g, −∞ included: it cuts the chunk in halves, and between a row of the right half and a
column of the left one both exponents, measured from the cut, are sums of gates and so never above 0; the halves
are then halved in turn. `choose` looks at the gates. Both keep their sums in powers of two. Chapter 10 shows the
overflow and derives both.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.attention.precision import LOG2E

STEEPEST = -80.0  # the gates of a chunk, summed, above which factors of a product stay finite in float32


class Rows(NamedTuple):
    """Rows of a product, with the decays that `products` needs in them."""

    x: Any
    strict: bool


class Ungated:
    """No decay: exp(0) = 1 everywhere."""

    over_all = None

    def rows(self, x: Tensor, strict: bool = False) -> Rows:
        return Rows(x, strict)

    def columns(self, y: Tensor) -> Tensor:
        return y

    def products(self, rows: Rows, columns: Tensor) -> Tensor:
        return (rows.x @ columns.mT).tril(-1 if rows.strict else 0)

    def from_start(self, rows: Rows) -> Tensor:
        return rows.x

    def to_end(self, columns: Tensor) -> Tensor:
        return columns


class Factorised(Ungated):
    """Two factors, one product; for gates that sum to more than −80 over the chunk."""

    def __init__(self, g: Tensor) -> None:
        self.g = g * LOG2E
        self.sums = self.g.cumsum(-2)
        self.total = self.sums[..., -1:, :]
        self.middle = self.total / 2
        self.over_all = self.total.exp2()

    def rows(self, x: Tensor, strict: bool = False) -> Rows:
        """x_i e^{G_i − middle}."""
        sums = self.sums - self.g if strict else self.sums
        return Rows(x * (sums - self.middle).exp2(), strict)

    def columns(self, y: Tensor) -> Tensor:
        """y_j e^{middle − G_j}."""
        return y * (self.middle - self.sums).exp2()

    def from_start(self, rows: Rows) -> Tensor:
        return rows.x * self.middle.exp2()

    def to_end(self, columns: Tensor) -> Tensor:
        return columns * (self.total - self.middle).exp2()


class Halved:
    """Halves of halves: log2 C products, and no exponent above 0; for any gates.

    On level s the chunk is a row of blocks of 2^(s+1) tokens. A row holds x times its decay from the middle of its
    block, where it lies in the right half; a column y times its decay to the middle, where it lies in the left one.
    """

    def __init__(self, g: Tensor) -> None:
        self.C = g.shape[-2]
        self.levels = (self.C - 1).bit_length()
        # By level, sums of the gates within i's block: up to i, up to i − 1, and behind i.
        self.upto = [self._pad(g * LOG2E)]
        self.before, self.behind = [torch.zeros_like(self.upto[0])], [torch.zeros_like(self.upto[0])]
        for s in range(self.levels):
            left, right = _halves(self.upto[s], s)
            of_left, of_right = left[..., -1:, :], right[..., -1:, :]  # the gates of each half, summed
            before_left, before_right = _halves(self.before[s], s)
            behind_left, behind_right = _halves(self.behind[s], s)
            self.upto.append(_join(left, right + of_left))
            self.before.append(_join(before_left, before_right + of_left))
            self.behind.append(_join(behind_left + of_right, behind_right))
        self.over_all = self.upto[-1][..., -1:, :].exp2()

    def rows(self, x: Tensor, strict: bool = False) -> Rows:
        sums, padded = self.before if strict else self.upto, self._pad(x)
        levels = [_halves(padded, s)[1] * _halves(sums[s], s)[1].exp2() for s in range(self.levels)]
        return Rows((x, levels), strict)

    def columns(self, y: Tensor) -> tuple[Tensor, list[Tensor]]:
        padded = self._pad(y)
        return y, [_halves(padded, s)[0] * _halves(self.behind[s], s)[0].exp2() for s in range(self.levels)]

    def products(self, rows: Rows, columns: tuple[Tensor, list[Tensor]]) -> Tensor:
        (x, x_levels), (y, y_levels) = rows.x, columns
        # Nothing lies between i and i, and a strict row does not see its own token.
        diagonal = torch.zeros_like(x[..., 0]) if rows.strict else (x * y).sum(-1)
        blocks = F.pad(diagonal, (0, 2**self.levels - self.C))[..., None, None]  # [..., C, 1, 1]
        for right, left in zip(x_levels, y_levels, strict=True):
            upper_left, lower_right = blocks.unflatten(-3, (-1, 2)).unbind(-3)
            upper = torch.cat([upper_left, torch.zeros_like(upper_left)], dim=-1)
            blocks = torch.cat([upper, torch.cat([right @ left.mT, lower_right], dim=-1)], dim=-2)
        return blocks.squeeze(-3)[..., : self.C, : self.C]

    def from_start(self, rows: Rows) -> Tensor:
        return rows.x[0] * (self.before if rows.strict else self.upto)[-1][..., : self.C, :].exp2()

    def to_end(self, columns: tuple[Tensor, list[Tensor]]) -> Tensor:
        return columns[0] * self.behind[-1][..., : self.C, :].exp2()

    def _pad(self, x: Tensor) -> Tensor:
        """Zeros behind the chunk up to a power of two: tokens that write nothing and let nothing decay."""
        return F.pad(x, (0, 0, 0, 2**self.levels - self.C))


def _halves(x: Tensor, s: int) -> tuple[Tensor, Tensor]:
    """[..., C, K] -> left and right halves, `[..., n, 2^s, K]` each, of the n blocks of 2^(s+1) tokens."""
    return x.unflatten(-2, (-1, 2, 2**s)).unbind(-3)


def _join(left: Tensor, right: Tensor) -> Tensor:
    """The inverse of `_halves`."""
    return torch.stack([left, right], dim=-3).flatten(-4, -2)


Decays = Ungated | Halved


def choose(g: Tensor | None) -> Decays:
    """The decays of the gates `[…, C, K or 1]` of some chunks, or of none."""
    if g is None:
        return Ungated()
    return Factorised(g) if gentle(g) else Halved(g)


def gentle(g: Tensor) -> bool:
    """Whether the gates `[…, C, K or 1]` of every chunk sum to more than −80, so that factors stay finite.

    Reads the values (on a GPU it waits for them). Under `torch.compile` or `torch.func` and on the meta device they
    cannot be read, and the answer is no. NaN and gates above 0 are not gentle.
    """
    if transformed() or g.is_meta:
        return False
    if g.numel() == 0:
        return True
    lowest, highest = g.detach().sum(-2).aminmax()
    return bool(lowest > STEEPEST) and bool(highest <= 0)


def transformed() -> bool:
    """Whether the call is traced by `torch.compile` or `torch.func`, where values cannot be read."""
    return torch.compiler.is_compiling() or torch._C._functorch.peek_interpreter_stack() is not None
