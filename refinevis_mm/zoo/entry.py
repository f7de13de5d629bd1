# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What is known about weights that have a name."""
from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Tuple

from .class_lists import CLASS_LISTS

SHIPPED = 'shipped'  # address of the checkpoints of this repository


@dataclass(frozen=True)
class StatedResult:
    """Accuracy as those who published the weights state it.

    Attributes:
        task (str): As metafiles name it, such as 'Instance Segmentation'.
        data (str): What it was measured on.
        metrics (dict[str, float]): Values in percent; the first is the AP.
        source (str): Where it is stated.
    """

    task: str
    data: str
    metrics: Dict[str, float]
    source: str


@dataclass(frozen=True)
class ZooEntry:
    """Weights that have a name.

    Attributes:
        name (str): What a user types.
        family (str): Collection of the model in the metafiles.
        config (str): Base name of a shipped config, or a config of mmdet as
            'mmdet::folder/name.py'.
        address (str): Where the file comes from: https://..., file://...,
            hf://owner/repo/file, 'shipped' for a file of this repository, or
            the full path of a file that is used where it lies.
        file_name (str): Its name in the cache.
        licence (str): Licence of the weights.
        class_names (str): Key of the classes in ``CLASS_LISTS``, '' with
            ``own_classes``.
        result (:obj:`StatedResult`, optional): The published accuracy.
            Defaults to None.
        sha256 (str): Hex digits that the file's SHA-256 begins with: all 64,
            or the 8 in OpenMMLab's file names. Defaults to '', unknown.
        num_bytes (int, optional): Length of the file. Defaults to None,
            unknown.
        tensor_bytes (int, optional): Bytes of the weights in it; the file is
            a little longer. Defaults to None.
        licence_note (str): What the licence rests on. Defaults to ''.
        non_commercial (bool): The licence forbids commercial use. Defaults
            to False.
        loader (str): 'checkpoint': a file that :func:`fetch_weights` fetches;
            'rfdetr': the rfdetr package fetches it. Defaults to
            'checkpoint'.
        training (dict): Metadata of the training in the metafile. Defaults
            to {}.
        verified (str): What was checked in this project. Defaults to ''.
        untried (str): What was not. Defaults to ''.
        own_classes (tuple[str]): Class names that are in no list. Defaults to
            ().
        of_user (bool): From a file of the user's. Defaults to False.
    """

    name: str
    family: str
    config: str
    address: str
    file_name: str
    licence: str
    class_names: str
    result: Optional[StatedResult] = None
    sha256: str = ''
    num_bytes: Optional[int] = None
    tensor_bytes: Optional[int] = None
    licence_note: str = ''
    non_commercial: bool = False
    loader: str = 'checkpoint'
    training: Dict[str, Any] = field(default_factory=dict)
    verified: str = ''
    untried: str = ''
    own_classes: Tuple[str, ...] = ()
    of_user: bool = False

    @property
    def classes(self) -> Tuple[str, ...]:
        """tuple[str]: Class names in the order of the labels."""
        return self.own_classes or tuple(CLASS_LISTS[self.class_names].read())

    @property
    def class_summary(self) -> str:
        """str: Number of classes, and the data set that they are of."""
        number = str(len(self.classes))
        if self.own_classes:
            return number
        return f'{number} of {CLASS_LISTS[self.class_names].title}'


def licence_line(entry: ZooEntry) -> str:
    """What a user must know before the weights are used.

    Args:
        entry (:obj:`ZooEntry`): The weights.

    Returns:
        str: One line with the licence.
    """
    text = f'{entry.name}: weights under {entry.licence}'
    if entry.licence_note:
        text = f'{text} ({entry.licence_note})'
    return f'{text}: NOT FOR COMMERCIAL USE' if entry.non_commercial else text
