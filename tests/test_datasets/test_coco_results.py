# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Results files by frame: which frame, which class, which pixels."""
import numpy as np
import pytest
import torch
from mmdet.datasets import CocoDataset
from pycocotools import mask as mask_utils

from refinevis_mm.datasets.coco_results import CocoResults, coco_categories
from refinevis_mm.models.adapters.tracked_segmenter import check_segments

HEIGHT, WIDTH = 6, 8
FILES = ('frames/f00010.jpg', 'frames/f00020.jpg', 'frames/f00030.jpg')


def mask_of(x1, y1, x2, y2):
    """A rectangle as a bool mask."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y1:y2, x1:x2] = True
    return mask


def rle_of(mask, compressed=True):
    """A mask as COCO's RLE; counts run down the columns."""
    if compressed:
        code = mask_utils.encode(np.asfortranarray(mask.astype(np.uint8)))
        return dict(code, counts=code['counts'].decode())
    pixels = mask.flatten(order='F').astype(int)
    starts = np.flatnonzero(np.diff(np.concatenate([[0], pixels])))
    counts = np.diff(np.concatenate([[0], starts, [len(pixels)]]))
    return dict(size=list(mask.shape), counts=counts.tolist())


RECT = mask_of(1, 2, 4, 5)


def row(image_id=0, category_id=3, **fields):
    """A row of a results file; None leaves a key out."""
    fields = dict(
        dict(
            image_id=image_id,
            category_id=category_id,
            segmentation=rle_of(RECT)), **fields)
    return {key: value for key, value in fields.items() if value is not None}


def named(name):
    """A row whose frame is a name."""
    return row(None, file_name=name)


def frames_of(rows, **options):
    """Frames of the rows, which have a score each that tells them apart."""
    rows = [dict(item, score=(k + 1) / 100) for k, item in enumerate(rows)]
    results = CocoResults(rows, **options)
    found = {}
    for frame in range(results.last_frame + 1):
        for score in results.frame(frame, HEIGHT, WIDTH)[1]:
            found[round(score * 100) - 1] = frame
    return [found[k] for k in range(len(rows))]


def refuse(content, reason, **options):
    with pytest.raises(ValueError, match=reason) as error:
        CocoResults(content, **options)
    assert '\n' not in str(error.value)


# ---- frames ----


@pytest.mark.parametrize('name', [
    'frames/f00020.jpg', 'f00020.jpg', 'f00020', 'other/f00020.jpg',
    'other/f00020', 'f00020.png', r'C:\data\frames\f00020.jpg'
])
@pytest.mark.parametrize('key', ['file_name', 'image_id'])
def test_names_with_and_without_folder_and_suffix(name, key):
    rows = [dict(row(None), **{key: name})]
    assert frames_of(rows, file_names=FILES) == [1]


def test_files_with_backslashes():
    files = [r'C:\frames\1.jpg', r'C:\frames\2.jpg']
    rows = [named('2.jpg'), named('C:/frames/1.jpg')]
    assert frames_of(rows, file_names=files) == [1, 0]


def test_file_name_goes_before_image_id():
    rows = [row(30, file_name='f00010.jpg')]
    assert frames_of(rows, file_names=FILES) == [0]


@pytest.mark.parametrize('files, names, frames, refused', [
    (('a/1.jpg', 'b/1.jpg'), ('b/1.jpg', 'a/1.jpg'), (1, 0),
     ('1.jpg', '1', 'c/1.jpg')),
    (('1.jpg', '1.png'), ('1.png', 'x/1.jpg'), (1, 0), ('1', 'x/1')),
    (('f.jpg', 'f.1.jpg'), ('f.1', 'f.1.jpg', 'f'), (1, 1, 0), ('g', )),
])
def test_names_of_several_files(files, names, frames, refused):
    for name, frame in zip(names, frames):
        assert frames_of([named(name)], file_names=files) == [frame]
    for name in refused:
        refuse([named(name)], f"frame, got '{name}'", file_names=files)


@pytest.mark.parametrize('images, rows', [
    (None, [named('bear/f00010.jpg'),
            named('cat/f00010.jpg')]),
    ([
        dict(id=1, file_name='bear/f00010.jpg'),
        dict(id=2, file_name='cat/f00010.jpg')
    ], [row(1), row(2)]),
])
def test_frames_of_two_videos_are_not_mixed(images, rows):
    """A folder stands for one video, a file may speak of several."""
    images = None if images is None else dict(images=images)
    refuse(rows, 'row 1 .*frame', file_names=FILES, images=images)


def test_numbers_are_the_last_ones_in_the_names():
    files = ('v2/cam7_0010.jpg', 'v2/cam7_0020.jpg', 'v2/cam7_5.jpg')
    rows = [row(5), row(10), row(20), row(5)]
    assert frames_of(rows, file_names=files) == [2, 0, 1, 2]
    refuse([row(7)], 'row 0 of the results .*, got 7', file_names=files)
    refuse([row(0)], 'got 0', file_names=files)
    # those of names go before positions
    refuse([row(1)], 'got 1', file_names=FILES, first_id=1)


@pytest.mark.parametrize('files', [
    ('one.jpg', 'two.jpg', 'three.jpg'),
    ('a1.jpg', 'b1.jpg', 'c1.jpg'),
    ('a1.jpg', 'a2.jpg', 'last.jpg'),
])
def test_names_without_numbers_of_their_own(files):
    assert frames_of([row(2), row(0)], file_names=files) == [2, 0]
    assert frames_of([row(7)], file_names=files, first_id=5) == [2]
    refuse([row(3)], 'got 3', file_names=files)


def test_positions_in_a_video():
    assert frames_of([row(3), row(0)]) == [3, 0]
    assert frames_of([row(3), row(1)], first_id=1) == [2, 0]
    refuse([row(1), row(0)], 'row 1 of the results .*, got 0', first_id=1)
    refuse([row(-1)], 'got -1')
    refuse([named('f00010.jpg')], "got 'f00010.jpg'")


def test_ids_of_images():
    images = dict(images=[
        dict(id=900, file_name='f00030.jpg'),
        dict(id=901, file_name='other/f00010'),
        dict(id='x', file_name='f00020.jpg'),
        dict(id=903, file_name='elsewhere.jpg')
    ])
    rows = [row(901), row('x'), row(900)]
    assert frames_of(rows, file_names=FILES, images=images) == [0, 1, 2]
    # they are the only numbers then
    refuse([row(10)], 'got 10', file_names=FILES, images=images)
    refuse([row(903)], 'got 903', file_names=FILES, images=images)
    rows = [named('f00020.jpg')]
    assert frames_of(rows, file_names=FILES, images=images) == [1]


def test_images_without_names_are_in_order():
    images = dict(images=[dict(id=41), dict(id=17), dict(id=29)])
    for files in (FILES, None):
        rows = [row(29), row(41), row(17)]
        assert frames_of(rows, file_names=files, images=images) == [2, 0, 1]
    refuse([row(29)], 'got 29', file_names=FILES[:2], images=images)


def test_images_of_a_video_are_in_order():
    images = dict(
        images=[dict(id=8, file_name='b.jpg'),
                dict(id=9, file_name='a.jpg')])
    assert frames_of([row(9), row(8)], images=images, first_id=3) == [1, 0]


def test_images_of_the_content_and_of_another_file():
    content = dict(
        images=[dict(id=1, file_name='f00030.jpg')],
        categories=[dict(id=3, name='own')],
        annotations=[row(1)])
    results = CocoResults(content, FILES)
    assert (results.last_frame, results.classes) == (2, ['own'])
    other = dict(
        images=[dict(id=1, file_name='f00010.jpg')],
        categories=[dict(id=3, name='other')])
    results = CocoResults(content, FILES, images=other)
    assert (results.last_frame, results.classes) == (0, ['other'])


def test_frames_without_rows():
    results = CocoResults([row(2)])
    masks, scores, labels = results.frame(1, HEIGHT, WIDTH)
    assert masks.shape == (0, HEIGHT, WIDTH) and masks.dtype == bool
    assert scores.shape == labels.shape == (0, )
    assert (scores.dtype, labels.dtype) == (np.float64, np.int64)
    assert results.frame(7, HEIGHT, WIDTH)[0].shape == (0, HEIGHT, WIDTH)
    assert results.last_frame == 2
    assert CocoResults([]).last_frame == -1


# ---- classes ----


def test_coco_categories():
    names = coco_categories()
    assert list(names.values()) == list(CocoDataset.METAINFO['classes'])
    assert list(names) == sorted(names) and len(names) == 80
    assert (names[1], names[3], names[13], names[90]) == (
        'person', 'car', 'stop sign', 'toothbrush')  # yapf: disable
    assert not {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91} & set(names)


def labels_of(results, frame=0):
    return results.frame(frame, HEIGHT, WIDTH)[2].tolist()


def test_categories_of_the_file():
    """Labels follow the ids, rows their order in the file."""
    content = dict(
        annotations=[row(0, 9), row(0, 20),
                     row(0, 9), row(0, 1)],
        categories=[
            dict(id=20, name='owl'),
            dict(id=1, name='cat'),
            dict(id=9, name=7)
        ])
    results = CocoResults(content)
    assert results.classes == ['cat', '7', 'owl']
    assert results.num_classes == 3
    assert labels_of(results) == [1, 2, 1, 0]
    refuse(
        dict(content, annotations=[row(0, 1), row(0, 2)]),
        'category_id must be one of the categories, got 2')


def test_coco_ids():
    """COCO has no category 12, so 13 has label 11."""
    results = CocoResults([row(0, 90), row(0, 1), row(0, 13)])
    assert results.classes == list(CocoDataset.METAINFO['classes'])
    assert labels_of(results) == [79, 0, 11]


def test_other_ids():
    results = CocoResults([row(0, 100), row(0, 12), row(0, 100)])
    assert results.classes == ['category 12', 'category 100']
    assert results.num_classes == 2
    assert labels_of(results) == [1, 0, 1]


# ---- masks and scores ----


@pytest.mark.parametrize(
    'segmentation', [
        rle_of(RECT),
        rle_of(RECT, compressed=False),
        [[1, 2, 4, 2, 4, 5, 1, 5]],
        [[1, 2, 4, 2, 4, 3.5, 1, 3.5], [1, 3, 4, 3, 4, 5, 1, 5]],
        dict(rle_of(RECT), counts=rle_of(RECT)['counts'].encode()),
    ],
    ids=['rle', 'counts', 'polygon', 'polygons', 'bytes'])
def test_masks(segmentation):
    results = CocoResults([row(segmentation=segmentation)])
    masks, scores, labels = results.frame(0, HEIGHT, WIDTH)
    assert masks.dtype == bool and np.array_equal(masks, RECT[None])
    assert (scores.tolist(), labels.tolist()) == ([1.0], [2])


def test_rows_of_a_frame_keep_their_order():
    rects = [mask_of(0, 0, 2, 2), RECT, mask_of(5, 0, 8, 6)]
    rows = [
        row(k % 2, segmentation=rle_of(mask), score=score)
        for k, (mask, score) in enumerate(zip(rects, (0.25, None, 0.75)))
    ]
    results = CocoResults(rows)
    masks, scores, _ = results.frame(0, HEIGHT, WIDTH)
    assert np.array_equal(masks, np.stack([rects[0], rects[2]]))
    assert scores.tolist() == [0.25, 0.75]
    masks, scores, _ = results.frame(1, HEIGHT, WIDTH)
    assert np.array_equal(masks, RECT[None]) and scores.tolist() == [1.0]


def test_empty_mask_is_an_object_without_pixels():
    code = rle_of(np.zeros((HEIGHT, WIDTH), bool))
    masks, _, _ = CocoResults([row(segmentation=code)]).frame(0, HEIGHT, WIDTH)
    assert masks.shape == (1, HEIGHT, WIDTH) and not masks.any()


def test_in_the_place_of_a_model():
    results = CocoResults([row(1, score=0.5)], name='by hash')
    assert results.name == 'by hash' and CocoResults([]).name == 'results'
    meta = dict(frame_id=1, ori_shape=(HEIGHT, WIDTH, 3))
    found = results.segment(torch.zeros(3, 2 * HEIGHT, 2 * WIDTH), meta)
    assert torch.equal(found.masks, torch.from_numpy(RECT[None]))
    assert found.scores.tolist() == [0.5] and found.labels.tolist() == [2]
    check_segments(found, meta['ori_shape'], results.num_classes)


@pytest.mark.parametrize('score', [float('nan'), 1.5, -0.1])
def test_scores_are_checked_as_those_of_a_model(score):
    results = CocoResults([row(score=score)])
    meta = dict(frame_id=0, ori_shape=(HEIGHT, WIDTH))
    found = results.segment(torch.zeros(3, HEIGHT, WIDTH), meta)
    with pytest.raises(ValueError, match='scores must lie in'):
        check_segments(found, (HEIGHT, WIDTH), results.num_classes)


# ---- bad input ----


@pytest.mark.parametrize('content, got', [
    ({}, 'a dict with the keys'),
    ('text', 'a str'),
    (None, 'a NoneType'),
    ([row(), 7], 'int'),
    ([[row()]], 'list'),
    (dict(images=[], categories=[]), 'a dict .*categories.*images'),
    (dict(annotations=dict()), 'a dict'),
])
def test_no_rows(content, got):
    refuse(content, f'results.* must .*{got}')


@pytest.mark.parametrize('key', ['category_id', 'segmentation'])
def test_missing_keys(key):
    refuse([row(), row(**{key: None}), row(1)], f'row 1 .*{key}')


@pytest.mark.parametrize('key', [None, True, False, 1.5, 0.0, [0], dict(id=0)])
@pytest.mark.parametrize(
    'images', [None, dict(images=[dict(id=0), dict(id=1)])])
def test_frames_that_are_no_name_or_number(key, images):
    bad = dict(row(), image_id=key)
    refuse([row(), bad], 'row 1 of the results must belong to a frame, got ',
           images=images)  # yapf: disable


def test_neither_file_name_nor_image_id():
    refuse([row(None)], 'row 0 of the results must belong to a frame')


@pytest.mark.parametrize('category', ['3', 3.5, True, [3]])
def test_category_id_is_a_number(category):
    bad = row(category_id=category)
    refuse([row(), bad],
           f'row 1 .*category_id must be .*got {category!r}'.replace(
               '[', r'\['))


@pytest.mark.parametrize('score', ['high', '0.9', [0.9], True])
def test_score_is_a_number(score):
    refuse([row(), row(score=score)], 'row 1 .*score')


def test_score_is_not_null():
    refuse([dict(row(), score=None)], 'row 0 .*score.*None')


@pytest.mark.parametrize('header, reason', [
    (dict(images=dict()), 'images'),
    (dict(images=[7]), 'images'),
    (dict(images=[dict(file_name='a.jpg')]), 'images.*id'),
    (dict(images=[dict(id=[1])]), 'images.*id'),
    (dict(images=[dict(id=1, file_name='f00010.jpg'),
                  dict(id=1)]), 'images.*1'),
    (dict(images=[dict(id=1, file_name=7)]), 'images.*file_name'),
    (dict(categories='cat'), 'categories'),
    (dict(categories=[dict(id=1)]), 'categories.*name'),
    (dict(categories=[dict(name='cat')]), 'categories.*id'),
    (dict(categories=[dict(id='1', name='cat')]), 'categories.*id'),
    (dict(categories=[dict(id=3, name='a'),
                      dict(id=3, name='b')]), 'categories.*3'),
    ([dict(id=1, file_name='f00010.jpg')], 'images.*list'),
])
def test_images_and_categories(header, reason):
    refuse([], reason, file_names=FILES, images=header)


def refuse_mask(segmentation, reason, height=HEIGHT, width=WIDTH):
    results = CocoResults([row(4, segmentation=segmentation)])
    with pytest.raises(ValueError, match=reason) as error:
        results.frame(4, height, width)
    assert '\n' not in str(error.value)
    assert 'frame 4' in str(error.value)


def code(counts, size=(HEIGHT, WIDTH)):
    return dict(size=size if size is None else list(size), counts=counts)


@pytest.mark.parametrize('compressed', [True, False])
def test_masks_of_another_size(compressed):
    refuse_mask(rle_of(RECT, compressed), '7.*8', height=7)
    refuse_mask(rle_of(RECT.T, compressed), '6.*8')


@pytest.mark.parametrize('segmentation', [
    code('zzzz', (10**6, 10**6)),
    code([10**12], (10**6, 10**6)),
    code([HEIGHT * WIDTH], (-1, 5)),
    code('0', None),
    code('0', (HEIGHT, )),
    code('0', 'ab'),
    dict(counts='0'),
    dict(size=[HEIGHT, WIDTH]),
])
def test_sizes_that_are_none(segmentation):
    refuse_mask(segmentation, 'mask')


@pytest.mark.parametrize('counts',
                         [[10, 10], [], [10, 10, 999], [-10, 20, 38],
                          [1.5, 20, 26.5], ['a'], [None], [2**40], '',
                          rle_of(RECT)['counts'][:-2], 'zzzzzzzz', 'P',
                          'hello world', 'äöü', 5, None, {}])
def test_counts_that_do_not_cover_the_frame(counts):
    """pycocotools would fill such masks with whatever is in memory."""
    refuse_mask(code(counts), 'mask')


@pytest.mark.parametrize(
    'segmentation',
    [[], [[]], [1, 2, 3, 4, 5, 6], [[1, 2]], [[1, 1, 4, 4]], [[1, 1, 4, 1, 4]],
     [[[1, 2], [3, 4], [5, 6]]], ['abcdef'], [None], [['a'] * 6],
     [[2, 2], [1, 1, 4, 4]], [[float('nan')] * 6], [[float('inf')] * 6],
     [[0, 0, 2e5, 0, 2e5, 2e5]], [[0, 0, -2e5, 0, 5, 5]], 'text', 5])
def test_polygons_that_are_none(segmentation):
    """pycocotools crashes on points far away (3e8)."""
    refuse_mask(segmentation, 'mask')


def test_null_masks():
    results = CocoResults([dict(row(), segmentation=None)])
    with pytest.raises(ValueError, match='mask of frame 0'):
        results.frame(0, HEIGHT, WIDTH)


@pytest.mark.parametrize('score', [10**400, -10**10])
def test_scores_are_no_long_numbers(score):
    row = dict(
        image_id=0,
        category_id=1,
        score=score,
        segmentation=dict(size=[3, 4], counts='336'))
    with pytest.raises(ValueError, match='score must be a number'):
        CocoResults([row])


def test_masks_of_a_frame_fit_in_memory():
    row = dict(
        image_id=0,
        category_id=1,
        segmentation=dict(size=[3, 4], counts='336'))
    results = CocoResults([row] * 1000)
    with pytest.raises(ValueError, match='got 1000 of 4000 x 3000 pixels'):
        results.frame(0, 3000, 4000)
