# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Checkpoints of this project and of known others into models of this one."""
from dataclasses import dataclass, field
from typing import Any, Dict, List

from mmengine.model import is_model_wrapper
from torch import nn

from refinevis_mm.compat.checkpoints import (AVERAGES, CheckpointMismatchError,
                                             load_weights, read_checkpoint)
from refinevis_mm.vis_json import classes_of
from .class_lists import CLASS_LISTS
from .conversion import (Conversion, KeyUse, convert_state_dict,
                         explain_mismatch, find_family, unknown_family)

OWN = 'refinevis_mm'  # family of checkpoints that keep their keys
# data sets of official files that the number of their classes tells
KNOWN_CLASSES = {80: 'coco', 25: 'ovis'}
# of YouTube-VIS 2019 and of YouTube-VIS 2021
NUM_SAME_SHAPES = 40


@dataclass
class LoadedCheckpoint:
    """A checkpoint whose weights are in a model.

    Attributes:
        checkpoint (dict): The file.
        family (str): What its keys look like: ``OWN`` for those of the model
            itself.
        uses (list[:obj:`KeyUse`]): Every tensor of the file, in its order,
            then those that were added.
        notes (list[str]): What the user of such a file must know.
    """

    checkpoint: dict
    family: str
    uses: List[KeyUse]
    notes: List[str] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """str: One line of counts, and the notes."""
        used = {use.source for use in self.uses if use.target} - {''}
        num = len({use.source for use in self.uses} - {''})
        return '; '.join([
            f'{num} tensors ({self.family}): {len(used)} used, '
            f'{num - len(used)} dropped', *self.notes
        ])


def load_checkpoint_renamed(model: nn.Module,
                            path: str,
                            allow_mismatch: bool = False) -> LoadedCheckpoint:
    """Load a checkpoint of this project or of a known other one, strictly.

    Official files of IDOL, MinVIS, Mask2Former, CTVIS, VITA, SeqFormer and
    MaskDINO, and those of mmdet, need no conversion before; see
    :func:`convert_state_dict`.

    Args:
        model (nn.Module): The model, wrapped for distribution or not.
        path (str): A file or an http(s) address.
        allow_mismatch (bool): Load what fits and skip missing, unexpected
            and other-shaped keys instead of raising. Defaults to False.

    Returns:
        :obj:`LoadedCheckpoint`: With what became of every tensor.

    Raises:
        OSError: If the file is missing or cannot be fetched.
        CheckpointError: If it cannot be read or holds no weights.
        CheckpointMismatchError: If the weights are of no known family, or
            not those of the model.
    """
    if is_model_wrapper(model):
        model = model.module
    checkpoint = read_checkpoint(path)
    weights, own = checkpoint['state_dict'], model.state_dict()
    family = find_family(weights, own)
    if family is None or not family.official and any(key in own
                                                     for key in weights):
        if not allow_mismatch and not any(key in own for key in weights):
            raise CheckpointMismatchError(unknown_family(weights, str(path)))
        loaded = load_weights(model, weights, str(path), allow_mismatch)
        uses = [KeyUse(key, key) for key in weights]
        return LoadedCheckpoint(checkpoint, OWN, _loaded_only(uses, loaded))
    conversion = convert_state_dict(
        weights,
        model_keys=own,
        name=str(path),
        allow_leftovers=allow_mismatch)
    notes = notes_of(conversion, checkpoint)
    notes += [f'the model has no {part}' for part in conversion.fit_parts(own)]
    known = KNOWN_CLASSES.get(conversion.traits.num_classes or 0)
    if conversion.family.official and known and not load_classes(checkpoint):
        classes = CLASS_LISTS[known]
        checkpoint['meta'] = dict(
            checkpoint.get('meta') or {},
            dataset_meta=dict(classes=list(classes.read())))
        notes.append(f'its classes are taken for those of {classes.title}')
    try:
        loaded = load_weights(model, conversion.state_dict, str(path),
                              allow_mismatch)
    except CheckpointMismatchError as error:
        raise CheckpointMismatchError(
            f'{error}; {explain_mismatch(conversion, own)}') from error
    return LoadedCheckpoint(checkpoint, conversion.family.name,
                            _loaded_only(conversion.uses, loaded), notes)


def notes_of(conversion: Conversion, checkpoint: Dict[str, Any]) -> List[str]:
    """What the user of a file must know.

    Args:
        conversion (:obj:`Conversion`): Its weights.
        checkpoint (dict): The file.

    Returns:
        list[str]: One line each.
    """
    notes = [
        f'its averaged weights ("{key}") are not used' for key in AVERAGES
        if isinstance(checkpoint.get(key), dict)
    ]
    if conversion.traits.num_classes == NUM_SAME_SHAPES and \
            not load_classes(checkpoint):
        notes.append(f'it has {NUM_SAME_SHAPES} classes, as YouTube-VIS 2019 '
                     'and YouTube-VIS 2021: the categories cannot be told '
                     'from the file')
    return notes


def load_classes(checkpoint: dict) -> List[str]:
    """Class names that a checkpoint was trained for.

    Args:
        checkpoint (dict): As read from the file.

    Returns:
        list[str]: In the order of the labels; empty if there are none. Files
        of mmdet 2.x have them under another name.
    """
    meta = checkpoint.get('meta') or {}
    return classes_of(meta.get('dataset_meta')) or classes_of(meta) or []


def _loaded_only(uses: List[KeyUse], loaded: List[str]) -> List[KeyUse]:
    """The report after loading: what does not fit was dropped."""
    fits = set(loaded)
    return [
        use if use.target is None or use.target in fits else KeyUse(
            use.source, None, 'does not fit the model') for use in uses
    ]
