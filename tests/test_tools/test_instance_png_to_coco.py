# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from mmengine.fileio import load
from PIL import Image
from pycocotools.coco import COCO

TOOL = (
    Path(__file__).parents[2] / 'tools' / 'dataset_converters' /
    'instance_png_to_coco.py')


def run(monkeypatch, *args):
    """Run the tool with command-line arguments."""
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, args)])
    runpy.run_path(str(TOOL), run_name='__main__')


@pytest.fixture
def maps(tmp_path):
    """Two images; the second has no instance."""
    for folder in ('images', 'instances', 'labels'):
        (tmp_path / folder).mkdir()
    for name in ('a', 'b'):
        cv2.imwrite(
            str(tmp_path / 'images' / f'{name}.jpg'),
            np.zeros((20, 30, 3), np.uint8))
    instances = np.full((20, 30), 200, np.uint8)  # background has an id, too
    labels = np.full((20, 30), 255, np.uint8)
    instances[2:8, 3:13] = 0  # a person
    labels[2:8, 3:13] = 0
    instances[10:14, 10:14] = 1  # mostly label 2, COCO's car
    labels[10:14, 10:14] = 2
    labels[10, 10:14] = 0
    instances[19, 29], labels[19, 29] = 7, 2  # one pixel
    labels[15, 5], instances[15, 5] = 11, 8  # 12 is no category of COCO
    write_maps(tmp_path, 'a', instances, labels)
    write_maps(tmp_path, 'b', np.zeros_like(labels), labels * 0 + 255)
    return tmp_path


def write_maps(folder, name, instances, labels):
    cv2.imwrite(str(folder / 'instances' / f'{name}.png'), instances)
    cv2.imwrite(str(folder / 'labels' / f'{name}.png'), labels)


def arguments(folder, out='out.json', classes='coco'):
    return (folder / 'images', folder / 'instances', folder / 'labels',
            folder / out, '--classes', classes)


def test_known_instances(maps, monkeypatch):
    run(monkeypatch, *arguments(maps))
    content = load(str(maps / 'out.json'))
    assert content['images'] == [
        dict(id=1, file_name='a.jpg', height=20, width=30),
        dict(id=2, file_name='b.jpg', height=20, width=30)
    ]
    found = [(ann['image_id'], ann['category_id'], ann['area'], ann['bbox'])
             for ann in content['annotations']]
    assert found == [(1, 1, 60.0, [3.0, 2.0, 10.0, 6.0]),
                     (1, 3, 16.0, [10.0, 10.0, 4.0, 4.0]),
                     (1, 3, 1.0, [29.0, 19.0, 1.0, 1.0])]
    coco = COCO(str(maps / 'out.json'))
    mask = coco.annToMask(coco.anns[1])
    assert mask[2:8, 3:13].all() and mask.sum() == 60


def test_which_files_are_images(maps, monkeypatch):
    """Not those of a Mac; none is lost for its suffix."""
    (maps / 'images' / '._a.jpg').write_bytes(b'a note')
    cv2.imwrite(
        str(maps / 'images' / 'c.webp'), np.zeros((20, 30, 3), np.uint8))
    write_maps(maps, 'c', *np.zeros((2, 20, 30), np.uint8))
    run(monkeypatch, *arguments(maps))
    content = load(str(maps / 'out.json'))
    assert [image['file_name']
            for image in content['images']] == ['a.jpg', 'b.jpg', 'c.webp']
    (maps / 'images' / 'd.avif').touch()
    with pytest.raises(SystemExit, match='such as "d.avif"'):
        run(monkeypatch, *arguments(maps))


def test_mmdet_reads_it(maps, monkeypatch):
    run(monkeypatch, *arguments(maps), '--min-area', 2)
    dataset = CocoDataset(
        ann_file=str(maps / 'out.json'),
        data_prefix=dict(img=str(maps / 'images')),
        filter_cfg=dict(filter_empty_gt=True))
    assert len(dataset) == 1
    labels = [instance['bbox_label'] for instance in dataset[0]['instances']]
    assert [CocoDataset.METAINFO['classes'][i]
            for i in labels] == ['person', 'car']


def test_coco_categories(maps, monkeypatch):
    run(monkeypatch, *arguments(maps))
    categories = load(str(maps / 'out.json'))['categories']
    assert len(categories) == 80
    names = {category['id']: category['name'] for category in categories}
    # COCO 2017's own
    assert names[1] == 'person' and names[13] == 'stop sign'
    assert names[44] == 'bottle' and names[90] == 'toothbrush'


def test_classes_of_a_file(maps, monkeypatch):
    (maps / 'names.txt').write_text('thing\n\nother\n')
    run(monkeypatch, *arguments(maps, classes=maps / 'names.txt'))
    content = load(str(maps / 'out.json'))
    assert content['categories'] == [
        dict(id=1, name='thing'),
        dict(id=3, name='other')
    ]
    assert len(content['annotations']) == 3


@pytest.mark.parametrize('changes, reason', [
    (dict(out='out.txt'), 'must end in .json'),
    (dict(classes='none.txt'), 'none.txt'),
    (dict(classes='names.txt'), 'must name a class'),
    (dict(images='none'), 'none'),
    (dict(images='.'), 'holds no images'),
])
def test_bad_input_is_one_line(changes, reason, maps, monkeypatch):
    (maps / 'names.txt').write_text('\n')
    monkeypatch.chdir(maps)
    args = dict(
        images='images',
        instances='instances',
        labels='labels',
        out='out.json',
        option='--classes',
        classes='coco')
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, *dict(args, **changes).values())
    assert stop.value.code.startswith('error: ') and reason in stop.value.code


@pytest.mark.parametrize('shape, reason', [((20, 31), r'got \(20, 31\)'),
                                           ((20, 30, 3), 'one channel')])
def test_maps_that_do_not_fit(shape, reason, maps, monkeypatch):
    cv2.imwrite(str(maps / 'labels' / 'b.png'), np.zeros(shape, np.uint8))
    with pytest.raises(SystemExit, match=f"b.png' must .*{reason}"):
        run(monkeypatch, *arguments(maps))
    assert not (maps / 'out.json').exists()


def test_missing_map(maps, monkeypatch):
    (maps / 'labels' / 'b.png').unlink()
    with pytest.raises(SystemExit, match="b.png' must be a PNG map"):
        run(monkeypatch, *arguments(maps))


def test_nothing_is_converted(maps, monkeypatch):
    """Label maps in black and white, as masks are often painted."""
    for name in ('a', 'b'):
        write_maps(maps, name, *np.full((2, 20, 30), 255, np.uint8))
    with pytest.raises(
            SystemExit,
            match=r'nothing was converted: no instance in 2 images .* '
            r'\[0, 1, 2, 3'):
        run(monkeypatch, *arguments(maps))
    assert not (maps / 'out.json').exists()


def test_smoothed_instances(maps, monkeypatch):
    instances = np.zeros((20, 30), np.float32)
    instances[5:15, 5:25] = 240
    smooth = cv2.GaussianBlur(instances, (5, 5), 0).round().astype(np.uint8)
    labels = np.where(smooth > 0, 2, 255).astype(np.uint8)
    write_maps(maps, 'b', smooth, labels)
    with pytest.raises(SystemExit, match='without smoothing'):
        run(monkeypatch, *arguments(maps))
    assert not (maps / 'out.json').exists()


def test_a_palette_is_read(maps, monkeypatch):
    run(monkeypatch, *arguments(maps))
    expected = load(str(maps / 'out.json'))
    path = maps / 'instances' / 'a.png'
    with Image.open(path) as image:
        image.putpalette(bytes(range(255, -1, -1)) * 3)
        image.save(path)
    run(monkeypatch, *arguments(maps))
    assert load(str(maps / 'out.json')) == expected


@pytest.mark.parametrize('file', ['images/a.jpg', 'labels/a.png'])
def test_files_that_are_cut_off(file, maps, monkeypatch):
    path = maps / file
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(SystemExit, match='/a.* cannot be read'):
        run(monkeypatch, *arguments(maps))
    assert not (maps / 'out.json').exists()
