# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A family of checkpoints: how it is recognised and what it becomes."""
from dataclasses import dataclass
from typing import Any, Callable, Dict, Mapping, Optional, Sequence, Tuple

from torch import Tensor

from .rules import Rule


@dataclass(frozen=True)
class Options:
    """What weights alone do not say; see :func:`convert_state_dict`.

    Attributes:
        num_decoder_layers (int, optional): Decoder layers to keep.
        feature_order (str, optional): 'low2high' or 'high2low'.
    """

    num_decoder_layers: Optional[int] = None
    feature_order: Optional[str] = None


RuleMaker = Callable[[Mapping[str, Tensor], Options], Sequence[Rule]]


def same_rules(*rules: Rule) -> RuleMaker:
    """A table whose rows are the same for all weights and options.

    Args:
        *rules (:obj:`Rule`): The rows.

    Returns:
        Callable: What :class:`Family` takes as ``make_rules``.
    """
    return lambda state_dict, options: rules


@dataclass(frozen=True)
class Family:
    """Checkpoints of one code base.

    Attributes:
        name (str): What it is called.
        signs (tuple[str]): A key that begins with one of them makes a
            checkpoint one of it, unless an earlier family has it.
        make_rules (Callable): Gives the rows of its table for official
            weights and :class:`Options`.
        make_model (Callable, optional): Gives the config of the model of
            official weights and :class:`Options`, where the shipped configs
            are fewer than the official sizes. Defaults to None.
        parts (tuple[str]): Parts of our model that it fills.
        official (bool): Whether keys are those of another project, which
            are recognised for any model. Defaults to True.
        target (str): A model that takes it has keys that begin so. Defaults
            to that of the first part.
    """

    name: str
    signs: Tuple[str, ...]
    make_rules: RuleMaker
    make_model: Optional[Callable[[Mapping[str, Tensor], Options],
                                  Dict[str, Any]]] = None
    parts: Tuple[str, ...] = ('frame_model', )
    official: bool = True
    target: str = 'frame_model.'

    def owns(self, keys: Sequence[str]) -> bool:
        """Whether keys are those of the family.

        Args:
            keys (Sequence[str]): All keys of a checkpoint.

        Returns:
            bool: True if so.
        """
        return any(key.startswith(self.signs) for key in keys)
