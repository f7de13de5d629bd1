# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Weights of other code bases under our keys."""
from dataclasses import dataclass
from typing import (Any, Collection, Dict, Iterator, List, Mapping, Optional,
                    Tuple)

import torch
from torch import Tensor

from refinevis_mm.compat.checkpoints import (MAX_NAMED_KEYS, CheckpointError,
                                             CheckpointMismatchError)
from .family import Family, Options
from .idol import IDOL
from .mask2former import CTVIS, MASK2FORMER
from .maskdino import MASKDINO
from .mmdet_models import MMDET
from .rules import RENAMED, RuleTable, drop
from .seqformer import ORIGINAL_SEQFORMER, SEQFORMER
from .traits import Traits, read_traits
from .vita import VITA

# The first that has a key is the one: VITA, CTVIS and MinVIS have all keys of
# Mask2Former, and SeqFormer of VNext all of IDOL but one head.
FAMILIES = (VITA, CTVIS, MASKDINO, MASK2FORMER, SEQFORMER, ORIGINAL_SEQFORMER,
            IDOL, *MMDET)
# Of every family: what averaging weights adds to them.
AVERAGING = (drop(r'n_averaged|steps',
                  'counter of the averaging of weights'), )


@dataclass(frozen=True)
class KeyUse:
    """What became of a tensor of a checkpoint.

    Attributes:
        source (str): Its key in the file; '' for one that was added.
        target (str | None): Its key in the model; None if it was dropped.
        note (str): What was done beside renaming, or why it was dropped.
    """

    source: str
    target: Optional[str]
    note: str = ''


@dataclass
class Conversion:
    """Converted weights.

    Attributes:
        family (:obj:`Family`): What the official keys look like.
        state_dict (dict[str, Tensor]): Weights under our keys.
        uses (list[:obj:`KeyUse`]): The report: every official tensor in its
            order, then those that were added.
        traits (:obj:`Traits`): Backbone, classes and queries.
        table (:obj:`RuleTable`): The table that was used.
        model (dict, optional): Config of a model that the weights fit, where
            the family can make one.
    """

    family: Family
    state_dict: Dict[str, Tensor]
    uses: List[KeyUse]
    traits: Traits
    table: RuleTable
    model: Optional[Dict[str, Any]] = None

    def __str__(self) -> str:
        return f'{self.family.name}, {self.traits}'

    def fit_parts(self, model_keys: Collection[str]) -> List[str]:
        """Drop parts that a model does not have, such as an association head.

        A detector of images has none, and the model of MinVIS neither.

        Args:
            model_keys (Collection[str]): Keys of the model.

        Returns:
            list[str]: The parts that were dropped.
        """
        absent = [
            part for part in self.family.parts[1:]
            if not any(key.startswith(f'{part}.') for key in model_keys)
        ]
        starts = tuple(f'{part}.' for part in absent)
        self.state_dict = {
            key: value
            for key, value in self.state_dict.items()
            if not key.startswith(starts)
        }
        self.uses = [
            KeyUse(use.source, None, f'the model has no {" or ".join(absent)}')
            if use.target and use.target.startswith(starts) else use
            for use in self.uses
        ]
        return absent

    def report(self, official: Mapping[str, Tensor]) -> Iterator[str]:
        """Tell of every tensor.

        Args:
            official (Mapping[str, Tensor]): The official weights.

        Yields:
            str: A line: official key, our key, shape, what was done.
        """
        for use in self.uses:
            if use.target is None:
                shape = tuple(official[use.source].shape)
                yield f'{use.source} -> - {shape} dropped: {use.note}'
            else:
                shape = tuple(self.state_dict[use.target].shape)
                yield (f'{use.source or "-"} -> {use.target} {shape} '
                       f'{use.note}').rstrip()


def find_family(
        state_dict: Mapping[str, Tensor],
        model_keys: Optional[Collection[str]] = None) -> Optional[Family]:
    """Recognise a checkpoint by its keys.

    Args:
        state_dict (Mapping[str, Tensor]): Weights as in the file, without
            the prefix ``module.``.
        model_keys (Collection[str], optional): Keys of the model that it is
            for. Needed for the families of mmdet, whose keys may be those of
            the model itself. Defaults to None.

    Returns:
        :obj:`Family`, optional: None if it is of no known family.
    """
    keys = list(state_dict)
    for family in FAMILIES:
        if family.owns(keys) and (family.official or any(
                key.startswith(family.target) for key in model_keys or ())):
            return family
    return None


def unknown_family(state_dict: Mapping[str, Tensor], name: str) -> str:
    """What to say of a checkpoint of no known family.

    Args:
        state_dict (Mapping[str, Tensor]): Its weights.
        name (str): What to call it.

    Returns:
        str: A line with its first keys and the known families.
    """
    keys = ', '.join(list(state_dict)[:3])
    known = ', '.join(family.name for family in FAMILIES)
    return (f'"{name}" is of no known family: its first keys are {keys}; '
            f'known are {known}')


def explain_mismatch(conversion: Conversion, own: Mapping[str, Tensor]) -> str:
    """What a file and a model are, where one does not fit the other.

    Args:
        conversion (:obj:`Conversion`): Weights of the file.
        own (Mapping[str, Tensor]): Weights of the model.

    Returns:
        str: One line.
    """
    file, model = conversion.traits, read_traits(own)
    line = f'the file: {conversion}; the model: {model}'
    if file.backbone == model.backbone and \
            file.num_classes != model.num_classes:
        line += ('; tools/model_converters/convert_checkpoint.py --classes '
                 'copies the rows of classes by name')
    return line


def convert_state_dict(state_dict: Mapping[str, Tensor],
                       *,
                       num_decoder_layers: Optional[int] = None,
                       feature_order: Optional[str] = None,
                       model_keys: Optional[Collection[str]] = None,
                       name: str = 'checkpoint',
                       allow_leftovers: bool = False) -> Conversion:
    """Convert weights of another code base; models of any size.

    The family is recognised by the keys, all sizes are read off the shapes:

        conversion = convert_state_dict(official)
        model.load_state_dict(conversion.state_dict)

    Our keys begin with ``frame_model.`` and ``association_head.``, as in
    :class:`RefineVIS`. Every official tensor is used once or dropped for a
    reason; ``conversion.uses`` tells of each, ``conversion.table`` converts
    single tensors, such as gradients, in the same way.

    Args:
        state_dict (Mapping[str, Tensor]): Official weights, without the
            prefix ``module.``. They are not changed, and not copied unless
            their values move.
        num_decoder_layers (int, optional): Keep the first decoder layers of
            MaskDINO only, which is possible since all share heads and are
            supervised. All by default.
        feature_order (str, optional): MaskDINO's ``FEATURE_ORDER``,
            'low2high' or 'high2low'; only needed where a single backbone map
            does not tell it.
        model_keys (Collection[str], optional): See :func:`find_family`.
        name (str): What to call the weights in messages.
        allow_leftovers (bool): Drop what the table does not know instead of
            raising. Defaults to False.

    Returns:
        :obj:`Conversion`: With ``state_dict`` under our keys and the report
        ``uses``.

    Raises:
        CheckpointMismatchError: If the family is not known, if a tensor is
            neither converted nor dropped for a reason, or if copies of one
            tensor differ.
        CheckpointError: If the architecture is not supported.
        ValueError: On a bad option.
    """
    family = find_family(state_dict, model_keys)
    if family is None:
        raise CheckpointMismatchError(unknown_family(state_dict, name))
    if family is not MASKDINO and (num_decoder_layers or feature_order):
        raise ValueError('num_decoder_layers and feature_order are for '
                         f'MaskDINO, got {family.name}')
    options = Options(num_decoder_layers, feature_order)
    try:
        rules = family.make_rules(state_dict, options)
    except CheckpointError as error:
        raise CheckpointError(f'"{name}": {error}') from error
    table = RuleTable([*AVERAGING, *rules])
    converted, uses = _apply(table, state_dict, name, allow_leftovers)
    model = family.make_model and family.make_model(state_dict, options)
    return Conversion(family, converted, uses, read_traits(converted), table,
                      model)


def _apply(table: RuleTable, state_dict: Mapping[str, Tensor], name: str,
           allow_leftovers: bool) -> Tuple[Dict[str, Tensor], List[KeyUse]]:
    """Convert all tensors; see :func:`convert_state_dict`."""
    # mmdet 2 averages weights into buffers beside them
    averages = {'ema_' + key.replace('.', '_') for key in state_dict}
    converted: Dict[str, Tensor] = {}
    source_of: Dict[str, str] = {}
    uses, left_over = [], []
    for key, value in state_dict.items():
        if key in averages:
            uses.append(KeyUse(key, None, 'running average of another tensor'))
            continue
        rule = table.find(key)
        if rule is None:
            left_over.append(key)
            uses.append(KeyUse(key, None, 'not known'))
            continue
        if not rule.targets:
            uses.append(KeyUse(key, None, rule.note))
        for target, tensor in table.convert(key, value):
            if target not in source_of:
                converted[target] = tensor
                source_of[target] = key
                note = '' if rule.note == RENAMED else rule.note
                uses.append(KeyUse(key, target, note))
            elif torch.equal(tensor, converted[target]):
                uses.append(KeyUse(key, None, f'copy of {source_of[target]}'))
            else:
                raise CheckpointMismatchError(
                    f'"{name}": "{key}" must equal "{source_of[target]}", '
                    'since both name the same tensor officially')
    if left_over and not allow_leftovers:
        names = ', '.join(left_over[:MAX_NAMED_KEYS])
        more = ', ...' if len(left_over) > MAX_NAMED_KEYS else ''
        raise CheckpointMismatchError(
            f'"{name}": {len(left_over)} tensors are neither known nor known '
            f'to be dispensable: {names}{more}')
    return converted, uses + _add_step_counters(converted)


def _add_step_counters(converted: Dict[str, Tensor]) -> List[KeyUse]:
    """Give batch norms the step counter that frozen ones lack."""
    uses = []
    for key in [key for key in converted if key.endswith('.running_var')]:
        counter = key.replace('running_var', 'num_batches_tracked')
        if counter not in converted:
            converted[counter] = torch.tensor(0)
            uses.append(
                KeyUse('', counter, 'added: frozen norms count no steps'))
    return uses
