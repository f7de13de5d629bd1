# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Tiny models of every frame model that can be exported."""
import torch
from mmengine.config import Config

from refinevis_mm.registry import MODELS
from tests.demo_clips import tiny_model_cfg
from tests.tiny_idol import tiny_idol_cfg, tiny_tar_head_cfg
from tests.tiny_mask2former import tiny_mask2former_cfg

SIZE = (64, 96)  # height and width of the padded input
PICTURE = (50, 90)  # of the picture in it
# as if all were installed
VERSIONS = dict(
    torch='2.13.0+cpu',
    onnx='1.23.2',
    onnxscript='0.7.2',
    onnxruntime='1.32.0',
    openvino='2026.4.1')
KINDS = ('maskdino', 'mask2former', 'condinst')


def _condinst_cfg():
    model = tiny_idol_cfg().model
    model.update(tiny_tar_head_cfg(), window=4)
    # of its own, as no other tiny model has them
    model.tar_head.heads = dict(
        type='refinevis_mm.EmbeddingHeads',
        num_classes=model.frame_model.head.num_classes,
        embed_dims=32,
        mask_dims=8)
    return model


def tiny_model(kind: str):
    """A tiny RefineVIS as ``init_model`` returns it.

    Args:
        kind (str): One of ``KINDS``.
    """
    cfg = dict(
        maskdino=tiny_model_cfg,
        mask2former=tiny_mask2former_cfg,
        condinst=_condinst_cfg)[kind]()
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    model.init_weights()
    for layer in model.tar_head.layers:  # which starts as the identity
        torch.nn.init.normal_(layer.ffn.layers[1].weight, std=0.1)
        torch.nn.init.normal_(layer.self_attn.attn.out_proj.weight, std=0.1)
    model.cfg = Config(dict(model=cfg))
    model.classes = []
    return model.eval()
