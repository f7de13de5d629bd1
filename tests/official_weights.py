# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Random weights under official names: tiny models, full-size key lists."""
import gzip
import json
import os
from pathlib import Path

import numpy as np
import torch

HEADS, POINTS, DIMS = 8, 4, 32
ROOT = Path(__file__).parents[1]
MANIFESTS = Path(
    os.environ.get('REFINEVIS_MANIFEST_DIR',
                   ROOT.parent / 'shared' / 'fixtures' / 'manifests'))


def read_manifest(path):
    """Weights of the layout of an official file, without memory for them.

    Args:
        path (Path): ``NAME.json.gz``, a list of (key, shape, type).

    Returns:
        tuple: Zeros that share one number, and the metadata.
    """
    manifest = json.loads(gzip.decompress(Path(path).read_bytes()))
    weights = {
        key: torch.zeros((), dtype=getattr(torch, dtype)).expand(shape)
        for key, shape, dtype in manifest['keys']
    }
    return weights, manifest['meta']


def recorded_weights(name):
    """Weights of a tiny model as the official code has named them.

    Args:
        name (str): Stem of a recorded file.

    Returns:
        dict[str, Tensor]: The weights.
    """
    with np.load(ROOT / 'tests' / 'data' / 'parity' / f'{name}.npz') as file:
        return {
            key[len('state/'):]: torch.as_tensor(file[key])
            for key in file.files if key.startswith('state/')
        }


def official_idol():
    """IDOL: ResNet-50, 5 classes, 110 queries."""
    return recorded_weights('idol_model_tiny')


def official_mask2former():
    """MinVIS, whose keys are those of Mask2Former: ResNet-50."""
    return recorded_weights('minvis_model_tiny')


class Official(dict):
    """Random weights under official names, written out from its structure."""

    def add(self, name, *shape):
        """A tensor of random numbers."""
        self[name] = torch.randn(shape)

    def linear(self, name, num_out, num_in):
        """A linear layer."""
        self.add(f'{name}.weight', num_out, num_in)
        self.add(f'{name}.bias', num_out)

    def norm(self, name, channels, frozen=False):
        """A norm; a frozen one has statistics."""
        leaves = ('weight', 'bias', 'running_mean', 'running_var')
        for leaf in leaves if frozen else leaves[:2]:
            self.add(f'{name}.{leaf}', channels)

    def attention(self, name, levels):
        """Deformable attention."""
        self.linear(f'{name}.sampling_offsets', HEADS * levels * POINTS * 2,
                    DIMS)
        self.linear(f'{name}.attention_weights', HEADS * levels * POINTS, DIMS)
        self.linear(f'{name}.value_proj', DIMS, DIMS)
        self.linear(f'{name}.output_proj', DIMS, DIMS)

    def mlp(self, name, *dims):
        """Linear layers."""
        for i, (num_in, num_out) in enumerate(zip(dims, dims[1:])):
            self.linear(f'{name}.layers.{i}', num_out, num_in)

    def conv(self, name, num_out, num_in, size, norm=True):
        """A convolution and its norm."""
        self.add(f'{name}.weight', num_out, num_in, size, size)
        if norm:
            self.norm(f'{name}.norm', num_out, frozen=name[:8] == 'backbone')


def official_resnet(state, base=4):
    """ResNet-50 of detectron2; returns the channels of its maps."""
    state.conv('backbone.stem.conv1', base, 3, 7)
    channels = base
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = base * 2**stage
        for block in range(blocks):
            name = f'backbone.res{stage + 2}.{block}'
            if block == 0:
                state.conv(f'{name}.shortcut', width * 4, channels, 1)
            state.conv(f'{name}.conv1', width, channels, 1)
            state.conv(f'{name}.conv2', width, width, 3)
            state.conv(f'{name}.conv3', width * 4, width, 1)
            channels = width * 4
    return [base * 4 * 2**i for i in range(4)]


def official_swin(state, dims=8, window=4):
    """Swin Transformer; returns the channels of its maps."""
    state.add('backbone.patch_embed.proj.weight', dims, 3, 4, 4)
    state.add('backbone.patch_embed.proj.bias', dims)
    state.norm('backbone.patch_embed.norm', dims)
    grid = torch.stack(
        torch.meshgrid([torch.arange(window)] * 2, indexing='ij')).flatten(1)
    steps = grid[:, :, None] - grid[:, None] + window - 1
    for stage, (depth, heads) in enumerate(zip((2, 2, 4, 2), (1, 2, 4, 4))):
        width = dims * 2**stage
        for block in range(depth):
            name = f'backbone.layers.{stage}.blocks.{block}'
            state.norm(f'{name}.norm1', width)
            state.norm(f'{name}.norm2', width)
            state.linear(f'{name}.attn.qkv', 3 * width, width)
            state.linear(f'{name}.attn.proj', width, width)
            state.add(f'{name}.attn.relative_position_bias_table',
                      (2 * window - 1)**2, heads)
            state[f'{name}.attn.relative_position_index'] = \
                steps[0] * (2 * window - 1) + steps[1]
            state.linear(f'{name}.mlp.fc1', 4 * width, width)
            state.linear(f'{name}.mlp.fc2', width, 4 * width)
        if stage < 3:
            down = f'backbone.layers.{stage}.downsample'
            state.add(f'{down}.reduction.weight', 2 * width, 4 * width)
            state.norm(f'{down}.norm', 4 * width)
        state.norm(f'backbone.norm{stage}', width)
    return [dims * 2**i for i in range(4)]


def official_maskdino(backbone=official_resnet,
                      order='low2high',
                      maps=(1, 2, 3),
                      extra=1,
                      dec_layers=3,
                      num_classes=5):
    torch.manual_seed(0)
    state = Official()
    channels = backbone(state)
    pixel, head = 'sem_seg_head.pixel_decoder', 'sem_seg_head.predictor'
    levels = len(maps) + extra
    inputs = [channels[i] for i in maps]
    inputs = inputs if order == 'low2high' else inputs[::-1]
    inputs += [max(inputs)] * extra
    for i, num_in in enumerate(inputs):
        size = 1 if i < len(maps) else 3
        state.add(f'{pixel}.input_proj.{i}.0.weight', DIMS, num_in, size, size)
        state.add(f'{pixel}.input_proj.{i}.0.bias', DIMS)
        state.norm(f'{pixel}.input_proj.{i}.1', DIMS)
    state.add(f'{pixel}.transformer.level_embed', levels, DIMS)
    for i in range(2):
        name = f'{pixel}.transformer.encoder.layers.{i}'
        state.attention(f'{name}.self_attn', levels)
        state.linear(f'{name}.linear1', 64, DIMS)
        state.linear(f'{name}.linear2', DIMS, 64)
        state.norm(f'{name}.norm1', DIMS)
        state.norm(f'{name}.norm2', DIMS)
    state.conv(f'{pixel}.adapter_1', DIMS, channels[0], 1)
    state.conv(f'{pixel}.layer_1', DIMS, DIMS, 3)
    state.conv(f'{pixel}.mask_features', DIMS, DIMS, 1, norm=False)
    state.add(f'{pixel}.mask_features.bias', DIMS)
    state.linear(f'{head}.enc_output', DIMS, DIMS)
    state.norm(f'{head}.enc_output_norm', DIMS)
    state.linear(f'{head}.class_embed', num_classes, DIMS)
    state.add(f'{head}.label_enc.weight', num_classes, DIMS)
    state.mlp(f'{head}.mask_embed', DIMS, DIMS, DIMS, DIMS)
    state.norm(f'{head}.decoder_norm', DIMS)
    for i in range(dec_layers):
        name = f'{head}.decoder.layers.{i}'
        state.attention(f'{name}.cross_attn', levels)
        state.add(f'{name}.self_attn.in_proj_weight', 3 * DIMS, DIMS)
        state.add(f'{name}.self_attn.in_proj_bias', 3 * DIMS)
        state.linear(f'{name}.self_attn.out_proj', DIMS, DIMS)
        state.linear(f'{name}.linear1', 48, DIMS)
        state.linear(f'{name}.linear2', DIMS, 48)
        for norm in ('norm1', 'norm2', 'norm3'):
            state.norm(f'{name}.{norm}', DIMS)
    state.mlp(f'{head}.decoder.ref_point_head', 2 * DIMS, DIMS, DIMS)
    state.mlp(f'{head}._bbox_embed', DIMS, DIMS, DIMS, 4)
    copies = [f'bbox_embed.{i}' for i in range(dec_layers)]
    copies += [f'decoder.{name}' for name in copies]
    for key in [key for key in state if '._bbox_embed.' in key]:
        for copy in copies:
            state[key.replace('_bbox_embed', copy)] = state[key].clone()
    for leaf in ('weight', 'bias'):
        state[f'{head}.decoder.norm.{leaf}'] = \
            state[f'{head}.decoder_norm.{leaf}'].clone()
    state.add('criterion.empty_weight', num_classes + 1)
    return state
