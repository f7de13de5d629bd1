# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What is measured, as one object that goes to other processes."""
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Tuple

import torch

DTYPES = dict(bfloat16=torch.bfloat16, float16=torch.float16)


@dataclass
class ProfileSettings:
    """What is measured.

    Attributes:
        config (str): Config file, name of a shipped one, or name of weights.
        checkpoint (str, optional): File, address or name of the weights.
            None: those that ``config`` names, else random ones.
        cfg_options (dict): Settings that override the config's.
        video (str, optional): Run the frames of this video through
            :func:`render_video`. None: random input.
        frames (int): Frames of the video that are taken.
        outputs (list[str]): What is made of the video.
        train (bool): Measure training steps instead of frames.
        data (bool): Train on the data of the config, with its batch size and
            transforms. Otherwise input and objects are random.
        shape (tuple[int, int]): Height and width of random input in pixels.
        batch_size (int, optional): Images or clips of a training step,
            frames that the frame model gets at a time. None: 1, or the
            config's with ``data``.
        objects (int): Ground-truth objects of a random training image.
        tracklets (int, optional): Tracklets in the full window of
            refinement. None: what the tracker finds.
        device (str): Where it runs.
        threads (int, optional): Threads of PyTorch and of the runtime.
        backend (str, optional): Backend of deformable attention.
        runtime (str, optional): 'onnxruntime' or 'openvino' in place of
            PyTorch.
        graphs (str, optional): Folder of exported graphs for it.
        dtype (str, optional): 'bfloat16' or 'float16': autocast.
        compile (bool): Compile the frame model with ``torch.compile``.
        stages (bool): Measure every stage, not the total alone.
    """

    config: str
    checkpoint: Optional[str] = None
    cfg_options: Dict[str, Any] = field(default_factory=dict)
    video: Optional[str] = None
    frames: int = 20
    outputs: List[str] = field(default_factory=lambda: ['results'])
    train: bool = False
    data: bool = False
    shape: Tuple[int, int] = (480, 640)
    batch_size: Optional[int] = None
    objects: int = 10
    tracklets: Optional[int] = None
    device: str = 'cpu'
    threads: Optional[int] = None
    backend: Optional[str] = None
    runtime: Optional[str] = None
    graphs: Optional[str] = None
    dtype: Optional[str] = None
    compile: bool = False
    stages: bool = True

    def check(self) -> None:
        """Refuse what does not go together.

        Raises:
            ValueError: If so; names both.
        """
        clashes = (
            ('data', not self.train, 'is for training steps (train)'),
            ('video', self.train, 'is for frames, got train'),
            ('tracklets', self.train, 'is for frames, got train'),
            ('tracklets', self.video, 'is for random input, got a video'),
            ('batch_size', self.video, 'is for random input and training, '
             'got a video'),
            ('tracklets', (self.batch_size or 1) > 1, 'is for single frames, '
             f'got batch_size {self.batch_size}'),
            ('runtime', self.train, 'cannot train'),
            ('runtime', self.compile, 'excludes compile'),
            ('runtime', self.dtype, 'computes in float32, got dtype '
             f'{self.dtype}'),
            ('graphs', self.runtime is None, 'are those of a runtime, got '
             'none'),
            ('compile', self.train, 'is for frames, got train'),
        )
        for name, clash, reason in clashes:
            if getattr(self, name) and clash:
                raise ValueError(f'{name} {reason}')
        if self.dtype is not None and self.dtype not in DTYPES:
            raise ValueError(f'dtype must be one of {list(DTYPES)}, got '
                             f'{self.dtype!r}')
