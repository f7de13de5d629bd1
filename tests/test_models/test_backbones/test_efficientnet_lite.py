# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pytest
import torch
from mmengine.registry import init_default_scope
from torch import nn
from torch.testing import assert_close

from refinevis_mm.models.backbones import EfficientNetLite
from refinevis_mm.models.backbones.efficientnet_lite import StridedConvModule
from refinevis_mm.registry import MODELS

# Values in the files of ImageNet weights, buffers included; of these the
# classifier has 1280 x 1000 + 1000, and the convolution before it 1280 for
# each channel of the last stage and 4 x 1280 + 1 in its norm.
FILE_VALUES = dict(lite0=4694073, lite1=5470408, lite2=6150232)
CLASSIFIER = 1281000 + 5121
CHANNELS = dict(
    lite0=[16, 24, 40, 80, 112, 192, 320],
    lite1=[16, 24, 40, 80, 112, 192, 320],
    lite2=[16, 24, 48, 88, 120, 208, 352])
BLOCKS = dict(
    lite0=[1, 2, 2, 3, 3, 4, 1],
    lite1=[1, 3, 3, 4, 4, 5, 1],
    lite2=[1, 3, 3, 4, 4, 5, 1])


@pytest.mark.parametrize('arch', ['lite0', 'lite1', 'lite2'])
def test_channels_blocks_and_parameters(arch):
    backbone = EfficientNetLite(arch)
    assert backbone.stage_channels == CHANNELS[arch]
    blocks = [len(getattr(backbone, f'stage{i}')) for i in range(1, 8)]
    assert blocks == BLOCKS[arch]
    values = sum(v.numel() for v in backbone.state_dict().values())
    head = CLASSIFIER + 1280 * CHANNELS[arch][-1]
    assert values == FILE_VALUES[arch] - head


def test_maps_have_their_strides():
    init_default_scope('mmdet')
    backbone = MODELS.build(
        dict(type='refinevis_mm.EfficientNetLite', arch='lite2')).eval()
    with torch.no_grad():
        maps = backbone(torch.zeros(1, 3, 65, 98))
    # each stage halves, rounded up: 65 -> 33 -> 17 -> 9 -> 5 -> 3
    assert [tuple(level.shape) for level in maps] == [(1, 24, 17, 25),
                                                      (1, 48, 9, 13),
                                                      (1, 120, 5, 7),
                                                      (1, 352, 3, 4)]


def test_only_stages_that_are_asked_for_run():
    backbone = EfficientNetLite(out_indices=(0, 2)).eval()
    del backbone.stage4
    with torch.no_grad():
        assert [m.shape[1] for m in backbone(torch.zeros(1, 3, 32, 32))] == \
            [16, 40]


@pytest.mark.parametrize('kernel', [3, 5])
@pytest.mark.parametrize('size, centres', [(4, [1, 3]), (5, [0, 2, 4])])
def test_padding_of_strided_convolutions(kernel, size, centres):
    """A kernel that copies its centre shows where it is applied."""
    module = StridedConvModule(1, 1, kernel, stride=2, act_cfg=None)
    nn.init.zeros_(module.conv.weight)
    module.conv.weight.data[..., kernel // 2, kernel // 2] = 1.0
    nn.init.zeros_(module.conv.bias)
    rows = torch.arange(1.0, size + 1).view(1, 1, size, 1)
    columns = 10.0**torch.arange(3).view(1, 1, 1, 3)  # 3: centres 0 and 2
    out = module(rows * columns)
    expected = torch.tensor([[row + 1, (row + 1) * 100.0] for row in centres])
    assert_close(out[0, 0], expected)


def test_frozen_stages_and_norms():
    backbone = EfficientNetLite(frozen_stages=2, norm_eval=True)
    frozen = ('stem', 'stage1', 'stage2')
    trained = {n for n, p in backbone.named_parameters() if p.requires_grad}
    backbone.train()
    before = {k: v.clone() for k, v in backbone.named_buffers()}
    sum(level.sum() for level in backbone(torch.randn(2, 3, 64, 64))) \
        .backward()
    for name, parameter in backbone.named_parameters():
        assert (parameter.grad is None) == name.startswith(frozen), name
        assert (name not in trained) == name.startswith(frozen), name
    for name in frozen:
        assert not getattr(backbone, name).training
    assert backbone.stage3.training
    for key, value in backbone.named_buffers():
        assert torch.equal(value, before[key]), key


def test_norms_learn_statistics_by_default():
    backbone = EfficientNetLite(frozen_stages=0).train()
    backbone(torch.randn(2, 3, 64, 64))
    assert backbone.stem.bn.num_batches_tracked == 0
    assert backbone.stage1[0].depthwise_conv.bn.num_batches_tracked == 1


@pytest.mark.parametrize('args, rule', [
    (dict(arch='b0'), r'arch must be one of .*, got \'b0\''),
    (dict(out_indices=(2, 7)), r'stages from 0 to 6, got \(2, 7\)'),
    (dict(out_indices=()), r'stages from 0 to 6, got \(\)'),
    (dict(frozen_stages=8), 'from -1 to 7, got 8'),
])
def test_bad_arguments(args, rule):
    with pytest.raises(ValueError, match=rule):
        EfficientNetLite(**args)


def test_missing_weights_are_named(tmp_path):
    path = str(tmp_path / 'efficientnet-lite0_imagenet.pth')
    backbone = EfficientNetLite(
        init_cfg=dict(type='Pretrained', checkpoint=path))
    with pytest.raises(FileNotFoundError, match='lite0_imagenet.pth'):
        backbone.init_weights()
