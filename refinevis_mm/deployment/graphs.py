# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The parts of a model that become graphs.

There are two networks and two heads:

======== ==================================================================
frame    normalised, padded images (B, 3, H, W) -> ``embeds``,
         ``cls_logits``, ``boxes``, ``mask_features``, ``assoc_embeds`` and,
         where they are not the boxes, ``mask_boxes``
tar      a window of tracklets, padded to W entries: ``embeds`` (N, W, C),
         ``frame_inds``, ``detected``, ``padding`` (N, W) -> ``refined``
classes  ``embeds`` (N, C) -> ``cls_scores`` (N, K)
masks    ``embeds`` (N, C), ``mask_features`` (1, C', h', w'), ``boxes``
         (N, 4) -> ``mask_logits`` (N, h, w)
======== ==================================================================

The heads are graphs of their own because both networks share them (paper
Sec. 4.1), and because they are asked for few of the embeddings at a time: a
tracker wants the masks of the queries it has selected, refinement those of
embeddings that no query has had, and a stored state embeddings of a frame
that is long gone. With kernels instead of masks as the output of the frame
graph, Python would have to know how a frame model makes a mask of them, which
differs. Where TAR has heads of its own, they are ``tar_classes`` and
``tar_masks``.

Shapes: see :mod:`refinevis_mm.structures.frame_output`.
"""
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

import torch
from torch import Tensor, nn

from refinevis_mm.models import RefineVIS

FRAME, TAR, CLASSES, MASKS = 'frame', 'tar', 'classes', 'masks'
TAR_CLASSES, TAR_MASKS = 'tar_classes', 'tar_masks'
IMAGES = 'images'  # input of the frame graph
# Sizes of the example inputs that are free: neither 0 nor 1, which export
# takes for constants.
BATCH, TRACKLETS = 2, 3


@dataclass
class Graph:
    """A module, example inputs, and which of their sizes are free.

    Attributes:
        module (nn.Module): Takes the inputs in this order, gives a tuple.
        inputs (dict[str, Tensor]): By name.
        outputs (dict[str, Tensor]): What the module makes of them, by name.
        free (dict[str, str]): Name of the first dimension of the inputs and
            outputs whose first dimension is free.
    """

    module: nn.Module
    inputs: Dict[str, Tensor]
    outputs: Dict[str, Tensor]
    free: Dict[str, str]


class FrameNetwork(nn.Module):
    """The frame model and the association head, as one module.

    Args:
        model (:obj:`RefineVIS`): The model.
        picture (tuple[int], optional): (h, w) of the pictures before
            padding, for frame models that mask padding. None: they fill the
            input, or it does not matter.
    """

    def __init__(self, model: RefineVIS,
                 picture: Optional[Tuple[int, int]]) -> None:
        super().__init__()
        self.model = model
        self.frame_model = model.frame_model.exportable()
        self.picture = picture

    def forward(self, images: Tensor) -> Tuple[Tensor, ...]:
        """Give what :attr:`names` says."""
        sizes = None if self.picture is None else [self.picture]
        frames = self.frame_model.forward_frames(images, sizes=sizes)
        self.model.embed(frames)
        outputs = dict(
            embeds=frames.embeds,
            cls_logits=frames.cls_logits,
            boxes=frames.boxes,
            mask_features=frames.mask_features,
            assoc_embeds=frames.assoc_embeds)
        if frames.mask_boxes is not frames.boxes:
            outputs['mask_boxes'] = frames.mask_boxes
        self.names: List[str] = list(outputs)
        return tuple(outputs.values())


class TARNetwork(nn.Module):
    """Refinement of a padded window.

    Args:
        tar_head (nn.Module): A :class:`TARHead`.
    """

    names = ['refined']

    def __init__(self, tar_head: nn.Module) -> None:
        super().__init__()
        self.tar_head = tar_head

    def forward(self, embeds: Tensor, frame_inds: Tensor, detected: Tensor,
                padding: Tensor) -> Tuple[Tensor]:
        """See :meth:`TARHead.refine`."""
        return (self.tar_head.refine(embeds, frame_inds, detected, padding), )


class ClassHead(nn.Module):
    """Class scores of embeddings.

    Args:
        heads (nn.Module): :class:`InstanceHeads`.
    """

    names = ['cls_scores']

    def __init__(self, heads: nn.Module) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, embeds: Tensor) -> Tuple[Tensor]:
        """See :meth:`InstanceHeads.class_scores`."""
        return (self.heads.class_scores(embeds), )


class MaskHead(nn.Module):
    """Mask logits of embeddings of one frame.

    Args:
        heads (nn.Module): :class:`InstanceHeads`.
    """

    names = ['mask_logits']

    def __init__(self, heads: nn.Module) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, embeds: Tensor, mask_features: Tensor,
                boxes: Tensor) -> Tuple[Tensor]:
        """See :meth:`InstanceHeads.segment`."""
        return (self.heads.segment(embeds[None], mask_features,
                                   boxes[None])[0], )


@torch.no_grad()
def make_graphs(model: RefineVIS, size: Tuple[int, int],
                picture: Optional[Tuple[int, int]]) -> Dict[str, Graph]:
    """The parts of a model with example inputs.

    Args:
        model (:obj:`RefineVIS`): In evaluation mode, on the CPU.
        size (tuple[int]): (H, W) of the padded input.
        picture (tuple[int], optional): See :class:`FrameNetwork`.

    Returns:
        dict[str, :obj:`Graph`]: By name; without ``tar`` where refinement is
        off.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(BATCH, 3, *size, generator=generator)
    graphs = {
        FRAME: _run(FrameNetwork(model, picture), {IMAGES: images}, 'batch')
    }
    frame = graphs[FRAME].outputs
    embeds = frame['embeds'][0, :TRACKLETS]
    boxes = frame.get('mask_boxes', frame['boxes'])[0, :TRACKLETS]
    heads = {(CLASSES, MASKS): model.frame_model}
    tar_head = model.tar_head
    if model.window and tar_head is not None:
        window = (len(embeds), model.window)
        inputs = dict(
            embeds=embeds[:, None].repeat(1, model.window, 1),
            frame_inds=torch.arange(model.window).repeat(len(embeds), 1),
            detected=torch.ones(window, dtype=torch.bool),
            padding=torch.zeros(window, dtype=torch.bool))
        graphs[TAR] = _run(TARNetwork(tar_head), inputs, 'tracklets')
        if tar_head.heads is not None:
            heads[TAR_CLASSES, TAR_MASKS] = tar_head.heads
    for (classes, masks), module in heads.items():
        graphs[classes] = _run(
            ClassHead(module), dict(embeds=embeds), 'tracklets')
        graphs[masks] = _run(
            MaskHead(module),
            dict(
                embeds=embeds,
                mask_features=frame['mask_features'][:1],
                boxes=boxes), 'tracklets')
    return graphs


def _run(module: nn.Module, inputs: Dict[str, Tensor], free: str) -> Graph:
    """A graph with its example outputs."""
    module.eval()
    values = module(*inputs.values())
    outputs = dict(zip(module.names, values))
    frees = {name: free for name in inputs if name != 'mask_features'}
    frees.update({name: free for name in outputs})
    return Graph(module, inputs, outputs, frees)
