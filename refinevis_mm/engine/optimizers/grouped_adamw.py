# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""AdamW that does not mind one group per weight."""
from typing import Any, Callable, Dict, Iterable, List, Optional

import torch
from mmengine.utils import digit_version
from torch import Tensor
from torch.optim import AdamW

from refinevis_mm.registry import OPTIMIZERS

FUSED_SINCE = '2.4'  # PyTorch's fused AdamW on a CPU
# What a group may have beside settings.
NO_SETTINGS = ('params', 'param_names')


@OPTIMIZERS.register_module()
class GroupedAdamW(AdamW):
    """AdamW that updates all groups of equal settings in one fused call.

    With ``paramwise_cfg`` mmengine makes a group of every weight, some 330 of
    three or four different settings, and AdamW goes through them one by one.
    Here the groups stay, and with them what schedulers and checkpoints see;
    only a step takes them together. Updates are those of AdamW but for
    rounding, and each resumes checkpoints of the other: the form of the
    update is not a checkpoint's.

    Args:
        params (Iterable): Weights or groups of weights.
        *args: Of :class:`torch.optim.AdamW`.
        **kwargs: The same; ``fused`` is True by default with PyTorch 2.4 or
            later, unless ``foreach`` or ``differentiable`` is given.
    """

    param_groups: List[Dict[str, Any]]

    def __init__(self, params: Iterable[Any], *args: Any,
                 **kwargs: Any) -> None:
        if (digit_version(torch.__version__) >= digit_version(FUSED_SINCE)
                and not {'foreach', 'differentiable'} & set(kwargs)):
            kwargs.setdefault('fused', True)
        super().__init__(params, *args, **kwargs)

    def load_state_dict(self, state_dict: dict) -> None:
        """Load a checkpoint, whichever form of the update made it.

        Args:
            state_dict (dict): Of this class or :class:`torch.optim.AdamW`.
        """
        form = {name: self.defaults[name] for name in ('foreach', 'fused')}
        groups = [{**group, **form} for group in state_dict['param_groups']]
        super().load_state_dict({**state_dict, 'param_groups': groups})

    def step(
            self,
            closure: Optional[Callable[[],
                                       Tensor]] = None) -> Optional[Tensor]:
        """Update the weights.

        Args:
            closure (Callable, optional): Computes the loss again. Defaults
                to None.

        Returns:
            Optional[Tensor]: What the closure returns.
        """
        groups = self.param_groups
        merged: Dict[tuple, Dict[str, Any]] = {}
        for group in groups:
            settings = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in group.items() if name not in NO_SETTINGS
            }
            alike = merged.setdefault(
                tuple(sorted(settings.items())), {
                    **settings, 'params': []
                })
            alike['params'] += group['params']
        self.param_groups = list(merged.values())
        try:
            return super().step(closure)
        finally:
            self.param_groups = groups
