# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import copy

import pytest
import torch
from mmdet.registry import MODELS
from torch import nn
from torch.testing import assert_close

from refinevis_mm.models.layers.conv_bn_folding import (ConvBNFolding,
                                                        find_pairs, fold)


def _randomise(network):
    """Statistics and affine parameters that do something."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    network.eval()
    return network


@pytest.fixture
def network():
    return _randomise(
        nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(),
            nn.Conv2d(4, 5, 1, bias=False), nn.BatchNorm2d(5)))


IMAGES = torch.linspace(-1, 1, 2 * 3 * 8 * 8).view(2, 3, 8, 8)


@torch.no_grad()
def _folded(folding, network):
    return folding(network, IMAGES)


@torch.no_grad()
def _plain(network):
    return network(IMAGES)


def test_fold_by_hand():
    conv, norm = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0.0)
    for tensor, value in ((conv.weight, 3.0), (conv.bias, 5.0),
                          (norm.weight, 2.0), (norm.bias, 7.0),
                          (norm.running_mean, 1.0), (norm.running_var, 4.0)):
        nn.init.constant_(tensor, value)
    # (3 x + 5 - 1) / 2 * 2 + 7 = 3 x + 11
    weight, bias = fold(conv, norm)
    assert weight.item() == 3.0 and bias.item() == 11.0


@pytest.mark.parametrize('cfg, num_pairs', [
    (dict(type='ResNet', depth=18), 20),
    (dict(type='MobileNetV2', out_indices=(1, 2, 4, 7)), 52),
])
@pytest.mark.parametrize('layout',
                         [torch.contiguous_format, torch.channels_last])
def test_backbones_say_the_same(cfg, num_pairs, layout):
    backbone = _randomise(MODELS.build(cfg))
    images = torch.randn(1, 3, 64, 64).to(memory_format=layout)
    with torch.no_grad():
        assert len(find_pairs(backbone, images)) == num_pairs
        for ours, plain in zip(ConvBNFolding()(backbone, images),
                               backbone(images)):
            scale = plain.abs().max().item()
            assert_close(ours, plain, atol=2e-6 * scale, rtol=1e-4)


def test_norms_are_left_out_and_the_network_stays(network):
    before = copy.deepcopy(network.state_dict())
    calls = []
    for module in network:
        module.register_forward_hook(lambda m, args, out: calls.append(m))
    folding = ConvBNFolding()
    first = _folded(folding, network)
    del calls[:]
    network[1].eps = 1e9  # would be seen if the norm ran
    assert torch.equal(_folded(folding, network), first)
    assert calls == list(network)  # hooks still run
    assert all('forward' not in module.__dict__ for module in network)
    for key, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[key])


@pytest.mark.parametrize('change', [
    lambda net: net[0].weight.mul_(2),
    lambda net: net[1].running_var.mul_(2),
    lambda net: net.load_state_dict({
        k: v + 1
        for k, v in net.state_dict().items()
    }),
    lambda net: setattr(net[3], 'weight', nn.Parameter(net[3].weight * 3)),
])
def test_changed_weights_are_noticed(network, change):
    folding = ConvBNFolding()
    before = _folded(folding, network)
    with torch.no_grad():
        change(network)
    after = _folded(folding, network)
    assert not torch.allclose(before, after)
    assert_close(after, _plain(network), atol=1e-5, rtol=1e-5)


def test_clear_after_a_change_that_cannot_be_noticed(network):
    folding = ConvBNFolding()
    _folded(folding, network)
    network[0].weight.data.mul_(2)
    folding.clear()
    assert_close(
        _folded(folding, network), _plain(network), atol=1e-5, rtol=1e-5)


def test_gradients_and_batch_statistics_are_plain(network):
    folding = ConvBNFolding()
    _folded(folding, network)
    folding(network, IMAGES).sum().backward()
    assert all(param.grad is not None for param in network.parameters())
    network.train()
    with torch.no_grad():
        assert_close(ConvBNFolding()(network, IMAGES), network(IMAGES))
    assert network[1].num_batches_tracked == 2


def test_only_what_runs_in_this_order_once_is_folded():

    class Net(nn.Module):

        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)
            self.bn = nn.BatchNorm2d(3)  # runs before conv
            self.shared = nn.Conv2d(3, 3, 1)
            self.bn1 = nn.BatchNorm2d(3)
            self.bn2 = nn.BatchNorm2d(3)

        def forward(self, x):
            x = self.conv(self.bn(x))
            return self.bn1(self.shared(x)) + self.bn2(self.shared(x))

    net = _randomise(Net())
    assert find_pairs(net, IMAGES) == []
    assert torch.equal(_folded(ConvBNFolding(), net), _plain(net))


def test_copies_do_not_share(network):
    holder = nn.Module()
    holder.network, holder.folding = network, ConvBNFolding()
    _folded(holder.folding, network)
    other = copy.deepcopy(holder)
    with torch.no_grad():
        other.network[0].weight.mul_(2)
    assert_close(
        _folded(other.folding, other.network),
        _plain(other.network),
        atol=1e-5,
        rtol=1e-5)
    assert_close(
        _folded(holder.folding, network),
        _plain(network),
        atol=1e-5,
        rtol=1e-5)
