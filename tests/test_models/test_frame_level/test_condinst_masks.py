# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from refinevis_mm.models.frame_level import condinst_masks as condinst


def _loop(params, mask_features, boxes):
    """Instance by instance, cell by cell inputs written out."""
    bs, _, height, width = mask_features.shape
    masks = []
    for b in range(bs):
        for params_i, box in zip(params[b], boxes[b]):
            w1, w2, w3, b1, b2, b3 = params_i.split([80, 64, 8, 8, 8, 1])
            inputs = torch.zeros(10, height, width)
            inputs[2:] = mask_features[b]
            for row in range(height):
                for column in range(width):
                    inputs[0, row,
                           column] = box[0] * 8 * width - (8 * column + 4)
                    inputs[1, row,
                           column] = box[1] * 8 * height - (8 * row + 4)
            x = F.conv2d(inputs[None], w1.view(8, 10, 1, 1), b1).relu()
            x = F.conv2d(x, w2.view(8, 8, 1, 1), b2).relu()
            masks.append(F.conv2d(x, w3.view(1, 8, 1, 1), b3)[0, 0])
    return torch.stack(masks).view(bs, -1, height, width)


def test_dynamic_convolutions_equal_a_loop_over_instances():
    torch.manual_seed(0)
    params, feats = torch.randn(2, 3, 169), torch.rand(2, 8, 5, 7)
    boxes = torch.rand(2, 3, 4)
    expected = condinst.upsample_masks(_loop(params, feats, boxes))
    # sums of hundreds: 1e-5 of the largest logit
    assert_close(
        condinst.dynamic_masks(params, feats, boxes),
        expected,
        rtol=0,
        atol=1e-5 * float(expected.abs().max()))


def test_relative_coordinates_by_hand():
    assert_close(
        condinst.cell_centres(2, 3, torch.zeros(())),
        torch.tensor([[4., 12., 20., 4., 12., 20.],
                      [4., 4., 4., 12., 12., 12.]]))
    # first hidden channel = relative x, the rest of the net passes it on
    params = torch.zeros(1, 1, 169)
    params[..., 0] = params[..., 80] = params[..., 144] = 1
    # centre at (12, 8) of 24 x 16 pixels
    box = torch.tensor([[[0.5, 0.5, 0.2, 0.2]]])
    masks = condinst.dynamic_masks(params, torch.zeros(1, 8, 2, 3), box)
    relative_x = torch.tensor([[[[8., 0., -8.]]]]).relu().expand(1, 1, 2, 3)
    assert_close(masks, condinst.upsample_masks(relative_x))
    # the second weight reads relative y, (4, -4)
    params[..., 0], params[..., 1] = 0, 1
    masks = condinst.dynamic_masks(params, torch.zeros(1, 8, 2, 3), box)
    relative_y = torch.tensor([[[[4.], [-4.]]]]).relu().expand(1, 1, 2, 3)
    assert_close(masks, condinst.upsample_masks(relative_y))


def test_aligned_bilinear_by_hand():
    masks = torch.tensor([[[[0., 2.], [4., 6.]]]])
    assert_close(
        condinst.upsample_masks(masks),
        torch.tensor([[[[0., 0., 1., 2.], [0., 0., 1., 2.], [2., 2., 3., 4.],
                        [4., 4., 5., 6.]]]]))


def test_no_instance_reaches_parameters_and_features():
    params = torch.randn(2, 0, 169, requires_grad=True)
    feats = torch.rand(2, 8, 4, 6, requires_grad=True)
    masks = condinst.dynamic_masks(params, feats, torch.zeros(2, 0, 4))
    assert masks.shape == (2, 0, 8, 12)
    masks.sum().backward()
    assert params.grad.shape == (2, 0, 169)
    assert_close(feats.grad, torch.zeros_like(feats))


def test_masks_train_the_centres_and_no_sizes():
    boxes = torch.rand(1, 2, 4, requires_grad=True)
    params = torch.randn(1, 2, 169, requires_grad=True)
    condinst.dynamic_masks(params, torch.rand(1, 8, 4, 6),
                           boxes).sum().backward()
    assert boxes.grad[..., :2].abs().sum() > 0 and params.grad.abs().sum() > 0
    assert not boxes.grad[..., 2:].any()


def test_half_precision_inputs_are_computed_in_float32():
    torch.manual_seed(0)
    params, feats = torch.randn(1, 2, 169), torch.rand(1, 8, 40, 60)
    boxes = torch.rand(1, 2, 4)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        masks = condinst.dynamic_masks(params, feats, boxes)
    assert masks.dtype == torch.float32
    assert_close(masks, condinst.dynamic_masks(params, feats, boxes))


def test_targets_read_pixel_two_of_each_cell():
    masks = torch.zeros(1, 5, 11, dtype=torch.bool)
    masks[0, 2, 6] = masks[0, 0, 0] = masks[0, 3, 3] = True
    targets = condinst.stride_masks(masks, 2, 4)
    assert targets.dtype == torch.bool
    assert targets[0].nonzero().tolist() == [[0, 1]]


def test_mask_branch_adds_up_three_levels():
    """With identity kernels: relu of sums, nearest neighbours."""
    branch = condinst.CondInstMaskBranch(in_channels=4, mask_dims=1)
    for conv in (*branch.fuse_convs, branch.reduce_conv, branch.out_conv):
        torch.nn.init.zeros_(conv.conv.weight)
        torch.nn.init.zeros_(conv.conv.bias)
        for i in range(conv.conv.out_channels):
            conv.conv.weight.data[i, i, 1, 1] = 1
    levels = [torch.zeros(1, 4, *size) for size in ((5, 6), (3, 3), (2, 2))]
    levels[0][0, 0, 0, 0] = 1
    levels[1][0, 0, 2, 2] = 10
    levels[2][0, 0, 1, 1] = 100
    unused = torch.full((1, 4, 1, 1), float('nan'))
    out = branch([*levels, unused])
    middle = levels[1] + F.interpolate(levels[2], size=(3, 3))
    expected = levels[0] + F.interpolate(middle, size=(5, 6))
    assert_close(out, expected[:, :1])
    assert out[0, 0, 4, 5] == 110 and out[0, 0, 0, 0] == 1


def test_number_of_parameters():
    assert condinst.num_dynamic_params(8) == 169
