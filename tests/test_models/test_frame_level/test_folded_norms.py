# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import copy

import pytest
import torch
from torch import nn

from refinevis_mm.models.frame_level.folded_norms import FoldedNorms


class Block(nn.Module):
    """A convolution with and one without bias, normed, and one alone."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 5, 1)
        self.bn2 = nn.BatchNorm2d(5, eps=0.1)
        self.conv3 = nn.Conv2d(5, 2, 1)

    def forward(self, images):
        maps = self.bn1(self.conv1(images)).relu()
        return [maps, self.conv3(self.bn2(self.conv2(maps)))]


class Model(FoldedNorms):

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = Block()
        for norm in (self.backbone.bn1, self.backbone.bn2):
            nn.init.uniform_(norm.weight, 0.5, 2)
            nn.init.normal_(norm.bias)
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2)


@pytest.fixture
def model():
    model = Model().eval()
    model.fold_norms()
    return model


def test_channels_are_last_on_a_cpu(model):
    seen = []
    model._folded[0].conv1.register_forward_hook(
        lambda module, inputs, output: seen.append(inputs[0].stride()))
    with torch.no_grad():
        model.extract_feat(IMAGES)
    # batch, channel, row, column
    assert seen == [(192, 1, 24, 3)]


IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def norms_run(model):
    """How often a BatchNorm runs for a batch."""
    calls = []
    with pytest.MonkeyPatch.context() as patch:
        forward = nn.BatchNorm2d.forward
        patch.setattr(nn.BatchNorm2d, 'forward', lambda *args:
                      (calls.append(1), forward(*args))[1])
        model.extract_feat(IMAGES)
    return len(calls)


def test_maps_are_the_same_without_norms(model):
    with torch.no_grad():
        assert norms_run(model) == 0
        for ours, ref in zip(
                model.extract_feat(IMAGES), model.backbone(IMAGES)):
            torch.testing.assert_close(ours, ref, atol=1e-5, rtol=1e-5)


def test_weights_and_gradients_are_those_of_the_backbone(model):
    assert list(model.state_dict()) == list(Model().state_dict())
    assert norms_run(model) == 2
    model.extract_feat(IMAGES)[1].sum().backward()
    assert model.backbone.bn1.weight.grad is not None


@pytest.mark.parametrize(
    'change', [
        lambda model: model.train().eval(),
        lambda model: model.load_state_dict(Model().state_dict()),
        lambda model: model.double().float()
    ],
    ids=['trained', 'loaded', 'moved'])
@torch.no_grad()
def test_changed_weights_are_not_answered_by_old_ones(model, change):
    change(model)
    assert norms_run(model) == 2
    model.fold_norms()
    assert norms_run(model) == 0


def test_a_copy_is_its_own(model):
    other = copy.deepcopy(model)
    model.train()
    with torch.no_grad():
        assert norms_run(other) == 0


def test_without_batch_norm_nothing_happens():
    model = Model().eval()
    model.backbone = nn.Conv2d(3, 4, 3)
    model.fold_norms()
    with torch.no_grad():
        torch.testing.assert_close(
            model.extract_feat(IMAGES), model.backbone(IMAGES))
    nothing = FoldedNorms()
    nothing.fold_norms()
