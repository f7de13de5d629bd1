# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Checkpoints of other projects into models of this one, key by key."""
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from refinevis_mm.compat.checkpoints import load_weights, read_checkpoint

OWN = 'refinevis_mm'  # family of checkpoints that keep their keys


@dataclass(frozen=True)
class KeyTable:
    """How the keys of a family of checkpoints are called here.

    Attributes:
        family (str): Name of the family.
        needs (str): A key that begins so makes a checkpoint one of it.
        target (str): So begin the keys of a model that takes it.
        rules (tuple[tuple[str, str]]): Beginnings of keys, and what stands
            there here.
    """

    family: str
    needs: str
    target: str
    rules: Tuple[Tuple[str, str], ...]


TABLES = (
    KeyTable('Mask2Former of mmdet', 'panoptic_head.', 'frame_model.head.',
             (('backbone.', 'frame_model.backbone.'),
              ('panoptic_head.', 'frame_model.head.'))),
    KeyTable('Mask2FormerVideo of mmdet', 'track_head.', 'frame_model.head.',
             (('backbone.', 'frame_model.backbone.'),
              ('track_head.', 'frame_model.head.'))),
    KeyTable('detector of mmdet', '', 'segmenter.detector.',
             (('', 'segmenter.detector.'), )),
)  # yapf: disable


@dataclass(frozen=True)
class KeyUse:
    """What became of a tensor of a checkpoint.

    Attributes:
        source (str): Its key in the file.
        target (str | None): Its key in the model; None if it was dropped.
        note (str): Why it was dropped.
    """

    source: str
    target: Optional[str]
    note: str = ''


@dataclass
class LoadedCheckpoint:
    """A checkpoint whose weights are in a model.

    Attributes:
        checkpoint (dict): The file.
        family (str): What its keys look like: ``OWN`` for those of the model
            itself.
        uses (list[:obj:`KeyUse`]): Every tensor of the file, in its order.
    """

    checkpoint: dict
    family: str
    uses: List[KeyUse]

    @property
    def summary(self) -> str:
        """str: One line of counts."""
        dropped = sum(use.target is None for use in self.uses)
        return (f'{len(self.uses)} tensors ({self.family}): '
                f'{len(self.uses) - dropped} used, {dropped} dropped')


def rename_keys(
        state_dict: Dict[str, Tensor],
        model: nn.Module) -> Tuple[Dict[str, Tensor], str, List[KeyUse]]:
    """Bring weights to the keys of a model.

    They are left as they are if one of them has a key of the model, or the
    file is of no known family.

    Args:
        state_dict (dict[str, Tensor]): Weights as in the file.
        model (nn.Module): What they are for.

    Returns:
        tuple: The weights under the model's keys, the family of the file,
        and what became of each tensor.
    """
    own = model.state_dict()
    table = None if any(
        key in own for key in state_dict) else _find_table(state_dict, own)
    if table is None:
        return dict(state_dict), OWN, [KeyUse(key, key) for key in state_dict]
    targets = [_rename(key, table) for key in state_dict]
    uses = [KeyUse(*keys) for keys in zip(state_dict, targets)]
    return dict(zip(targets, state_dict.values())), table.family, uses


def load_checkpoint_renamed(model: nn.Module,
                            path: str,
                            allow_mismatch: bool = False) -> LoadedCheckpoint:
    """Load a checkpoint of this project or of a known other one, strictly.

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
        CheckpointMismatchError: If the weights are not those of the model.
    """
    if is_model_wrapper(model):
        model = model.module
    checkpoint = read_checkpoint(path)
    weights, family, uses = rename_keys(checkpoint['state_dict'], model)
    loaded = set(load_weights(model, weights, str(path), allow_mismatch))
    uses = [
        use if use.target in loaded else KeyUse(
            use.source, None, 'does not fit the model') for use in uses
    ]
    return LoadedCheckpoint(checkpoint, family, uses)


def _find_table(state_dict: Dict[str, Tensor],
                own: Dict[str, Tensor]) -> Optional[KeyTable]:
    """The table of a checkpoint that a model can take, if there is one."""
    for table in TABLES:
        if any(key.startswith(table.needs) for key in state_dict) and any(
                key.startswith(table.target) for key in own):
            return table
    return None


def _rename(key: str, table: KeyTable) -> str:
    """What a key is called here; as it is where no rule fits."""
    for old, new in table.rules:
        if key.startswith(old):
            return new + key[len(old):]
    return key
