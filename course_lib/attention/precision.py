"""In which precision a mixer computes: float64 for float64 inputs, float32 for everything else.

A state is a sum over the whole past. In bfloat16 an undecayed sum stops growing after a few hundred terms
(its ulp outgrows the next term: 24 % off after 4,096 tokens), so inputs are cast up, states stay float32,
and autocast, which would cast the products down again, is switched off around them. Only the output returns
to the input's dtype.
"""

import math
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

# e^x = 2^(x · LOG2E). On CPUs torch's exp2 takes a quarter of the time of its exp, and a fourteenth where the result
# underflows, for an error of |x| units in the last place.
LOG2E = 1 / math.log(2)


def working_dtype(x: Tensor) -> torch.dtype:
    """float64 for float64 inputs, else float32."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def cast_up(*tensors: Tensor | None, dtype: torch.dtype) -> list[Tensor | None]:
    """The tensors in that dtype; no copy where they have it already, None stays None."""
    return [None if x is None else x.to(dtype) for x in tensors]


def no_autocast(x: Tensor) -> AbstractContextManager:
    """Switches autocast off on the device of `x`; devices without autocast need nothing."""
    if torch.amp.is_autocast_available(x.device.type):
        return torch.autocast(x.device.type, enabled=False)
    return nullcontext()
