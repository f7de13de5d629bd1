# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Rows of the tables by which keys of other code bases become ours."""
import re
from dataclasses import dataclass
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from torch import Tensor

# Linear layers of deformable attention, called the same everywhere.
SAMPLING = (r'(sampling_offsets|attention_weights|value_proj|output_proj)'
            r'\.(weight|bias)')
# Parameters of torch's own attention.
ATTENTION = r'(in_proj_weight|in_proj_bias|out_proj\.\w+)'
RENAMED = 'renamed'


@dataclass(frozen=True)
class Rule:
    """A row of a table; see :func:`rename`, :func:`split`, :func:`drop`.

    Attributes:
        pattern (str): Regular expression of whole official keys.
        targets (tuple[str]): Our keys, with ``\\1`` for what the pattern has
            captured; none for a tensor that is dropped.
        note (str): What is done to the tensor, or why it is dropped.
        change (Callable, optional): Makes a tensor for each target.
    """

    pattern: str
    targets: Tuple[str, ...]
    note: str
    change: Optional[Callable[[Tensor], Sequence[Tensor]]] = None


def rename(pattern: str,
           target: str,
           note: str = RENAMED,
           change: Optional[Callable[[Tensor], Tensor]] = None) -> Rule:
    """A row for a tensor that gets another name.

    Args:
        pattern (str): See :class:`Rule`.
        target (str): See :class:`Rule`.
        note (str): See :class:`Rule`.
        change (Callable, optional): Makes our tensor of the official one.

    Returns:
        :obj:`Rule`: The row.
    """
    if change is None:
        return Rule(pattern, (target, ), note)
    return Rule(pattern, (target, ), note, lambda value: [change(value)])


def split(pattern: str, targets: Sequence[str], note: str,
          change: Callable[[Tensor], Sequence[Tensor]]) -> Rule:
    """A row for a tensor that is several of ours.

    Args:
        pattern (str): See :class:`Rule`.
        targets (Sequence[str]): See :class:`Rule`.
        note (str): See :class:`Rule`.
        change (Callable): Makes a tensor for each target.

    Returns:
        :obj:`Rule`: The row.
    """
    return Rule(pattern, tuple(targets), note, change)


def drop(pattern: str, reason: str) -> Rule:
    """A row for a tensor that has no place in our models.

    Args:
        pattern (str): See :class:`Rule`.
        reason (str): Why.

    Returns:
        :obj:`Rule`: The row.
    """
    return Rule(pattern, (), reason)


class Converted(NamedTuple):
    """A tensor under our key.

    Attributes:
        target (str): Our key.
        value (Tensor): The tensor.
    """

    target: str
    value: Tensor


class RuleTable:
    """Rows of which the first that fits a key is the one for it.

    Args:
        rules (Sequence[:obj:`Rule`]): The rows.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = [(re.compile(rule.pattern), rule) for rule in rules]
        self._found: Dict[str, Optional[Tuple[Rule, re.Match]]] = {}

    def find(self, key: str) -> Optional[Rule]:
        """The row for a key.

        Args:
            key (str): Official key.

        Returns:
            :obj:`Rule`, optional: None if there is none.
        """
        found = self._match(key)
        return found[0] if found else None

    def convert(self, key: str, value: Tensor) -> List[Converted]:
        """Convert a tensor; a gradient converts like its parameter.

        Args:
            key (str): Official key.
            value (Tensor): Official tensor.

        Returns:
            list[:obj:`Converted`]: Ours; none for a tensor that is dropped
            or not known.
        """
        found = self._match(key)
        if found is None:
            return []
        rule, match = found
        values: Sequence[Tensor] = [value]
        if rule.change is not None:
            # parts of a tensor are saved with the whole of it otherwise
            values = [part.contiguous() for part in rule.change(value)]
        return [
            Converted(match.expand(target), part)
            for target, part in zip(rule.targets, values)
        ]

    def _match(self, key: str) -> Optional[Tuple[Rule, re.Match]]:
        """The first row that fits, and how."""
        if key not in self._found:
            matches = ((rule, pattern.fullmatch(key))
                       for pattern, rule in self._rules)
            self._found[key] = next(
                ((rule, match) for rule, match in matches if match), None)
        return self._found[key]
