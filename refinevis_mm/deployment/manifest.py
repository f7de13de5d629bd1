# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The JSON beside the graphs: what they are of, and what they take."""
import json
import os
import os.path as osp
from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Optional, Tuple

from refinevis_mm.files import write_text

FILE_NAME = 'graphs.json'
FORMAT_VERSION = 1


@dataclass
class Manifest:
    """What one needs to know to run exported graphs.

    Attributes:
        format (str): 'onnx', 'openvino' or 'torch-export'.
        frame_model (str): Class of the frame model.
        weights (str): Digest of the model's weights, as session states have
            it.
        network (str): Digest of the settings that shape the networks.
        classes (list[str]): Class names in the order of the scores.
        size (tuple[int]): (H, W) of the padded input.
        picture (tuple[int] | None): (h, w) of the picture in it, upper left,
            for frame models that mask padding; None where padding counts as
            picture.
        window (int): Frames W of a window of TAR, 0 without refinement.
        max_tracklets (int): Most tracklets that are refined at a time.
        preprocessing (dict): ``steps``, resizing and padding as the test
            pipeline has them; ``mean``, ``std`` per channel, subtracted from
            and dividing pixels of 0 to 255; ``channels`` 'RGB' or 'BGR';
            ``divisor``, of which both sides are multiples.
        graphs (dict): Of each graph ``file``, and ``inputs`` and ``outputs``
            as lists of ``name``, ``dtype`` and ``shape``, in which a name
            stands for a size that is free.
        opset (int | None): Of ONNX.
        versions (dict[str, str]): Packages that made the graphs.
    """

    format: str
    frame_model: str
    weights: str
    network: str
    classes: List[str]
    size: Tuple[int, int]
    picture: Optional[Tuple[int, int]]
    window: int
    max_tracklets: int
    preprocessing: Dict[str, Any]
    graphs: Dict[str, Any]
    opset: Optional[int]
    versions: Dict[str, str]

    def write(self, folder: str) -> None:
        """Write ``graphs.json``.

        Args:
            folder (str): Where the graphs are.

        Raises:
            OSError: If it cannot be written.
        """
        data = dict(format_version=FORMAT_VERSION, **asdict(self))
        write_text(
            osp.join(folder, FILE_NAME),
            json.dumps(data, indent=2, ensure_ascii=False) + '\n')

    @classmethod
    def read(cls, folder: str) -> 'Manifest':
        """Read ``graphs.json``.

        Args:
            folder (str): Where the graphs are.

        Returns:
            Manifest: Its content.

        Raises:
            OSError: If there is no such file.
            ValueError: If it is not one that :meth:`write` has written.
        """
        path = osp.join(folder, FILE_NAME)
        if not osp.isfile(path):
            raise FileNotFoundError(
                f'"{os.fspath(folder)}" must be a folder of exported graphs '
                f'with {FILE_NAME}, which is not there')
        try:
            with open(path, encoding='utf-8') as file:
                data = json.load(file)
            version = data.pop('format_version')
            if version != FORMAT_VERSION:
                raise ValueError(f'format_version must be {FORMAT_VERSION}, '
                                 f'got {version!r}')
            manifest = cls(**data)
            manifest.size = _pair(manifest.size)
            if manifest.picture is not None:
                manifest.picture = _pair(manifest.picture)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            reason = str(error).split('\n')[0]
            raise ValueError(
                f'"{path}" describes no exported graphs: {reason}') from error
        return manifest


def _pair(value: Any) -> Tuple[int, int]:
    """A size out of a JSON file."""
    height, width = value
    return int(height), int(width)
