"""In which precision a mixer computes: float64 for float64 inputs, float32 for everything else.

A state is a sum over the whole past. In bfloat16 an undecayed sum stops growing after a few hundred terms
(its ulp outgrows the next term: 24 % off after 4,096 tokens), so inputs are cast up, states stay float32,
and autocast, which would cast the products down again, is switched off around them. Only the output returns
to the input's dtype.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def working_dtype(x: Tensor) -> torch.dtype:
    """float64 for float64 inputs, else float32."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def cast_up(*tensors: Tensor) -> list[Tensor]:
    """The tensors in their working dtype; no copy where they have it already."""
    return [x.to(working_dtype(x)) for x in tensors]


def no_autocast(x: Tensor) -> AbstractContextManager:
    """Switches autocast off on the device of `x`; devices without autocast need nothing."""
    if torch.amp.is_autocast_available(x.device.type):
        return torch.autocast(x.device.type, enabled=False)
    return nullcontext()
