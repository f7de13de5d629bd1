# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import json
import os
import pickle
import runpy
import sys
from pathlib import Path

import numpy as np
import pycocotools.mask as mask_utils
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from refinevis_mm.datasets import VISDataset
from refinevis_mm.vis_json import find_defects

TOOLS = Path(__file__).parents[2] / 'tools' / 'dataset_converters'


def run(monkeypatch, tool, *args):
    """Run a tool; returns what it has written."""
    monkeypatch.setattr(sys, 'argv', [tool, *map(str, args)])
    runpy.run_path(str(TOOLS / f'{tool}.py'), run_name='__main__')
    out = next(arg for arg in map(str, args) if arg.endswith('out.json'))
    content = json.loads(Path(out).read_text())
    assert [str(defect) for defect in find_defects(content)] == []
    return content


def masks_of(content):
    """Video name, category and pixels by frame of each annotation."""
    videos = {video['id']: video for video in content['videos']}
    found = []
    for annotation in content['annotations']:
        video = videos[annotation['video_id']]
        found.append((os.path.dirname(video['file_names'][0]),
                      annotation['category_id'], [
                          None if rle is None else np.flatnonzero(
                              mask_utils.decode(rle)).tolist()
                          for rle in annotation['segmentations']
                      ]))
    return found


def refused(monkeypatch, tool, *args):
    """The line with which a tool refuses; nothing must be left behind."""
    out = next(Path(arg) for arg in map(str, args) if arg.endswith('out.json'))
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, tool, *args)
    assert not out.exists() and not list(out.parent.glob('.out.json*'))
    assert stop.value.code.startswith('error: ')
    return stop.value.code


@pytest.fixture
def coco():
    """Two videos of 2 x 3 pixels, their images not in order; object 5 is in
    both frames of video 9, object 6 in the second one only."""
    images = [
        dict(id=i, video_id=v, frame_id=t, file_name=f'{v}/{t}.png')
        for i, v, t in [(1, 9, 4), (2, 9, 2), (3, 8, 0)]
    ]
    for image in images:
        image.update(height=2, width=3)
    pixel = dict(size=[2, 3], counts=[1, 1, 4])  # column 0, row 1
    square = [[1, 0, 3, 0, 3, 2, 1, 2]]
    annotations = [
        dict(id=1, image_id=1, category_id=2, instance_id=5),
        dict(id=2, image_id=2, category_id=2, instance_id=5),
        dict(id=3, image_id=1, category_id=1, instance_id=6, iscrowd=1)
    ]
    for annotation, mask in zip(annotations, (pixel, square, square)):
        annotation['segmentation'] = mask
    return dict(
        categories=[dict(id=1, name='a'),
                    dict(id=2, name='b')],
        videos=[dict(id=8, name='eight'),
                dict(id=9, name='nine')],
        images=images,
        annotations=annotations)


PIXEL, SQUARE = [3], [1, 2, 4, 5]  # row-major positions


def write(folder, content):
    path = folder / 'in.json'
    path.write_text(json.dumps(content))
    return path


def test_coco_video(coco, tmp_path, monkeypatch):
    content = run(monkeypatch, 'coco_video_to_youtubevis',
                  write(tmp_path, coco), tmp_path / 'out.json')
    assert content['categories'] == coco['categories']
    names = [video['file_names'] for video in content['videos']]
    assert names == [['8/0.png'], ['9/2.png', '9/4.png']]
    assert masks_of(content) == [('9', 2, [SQUARE, PIXEL]),
                                 ('9', 1, [None, SQUARE])]
    crowds = [annotation['iscrowd'] for annotation in content['annotations']]
    assert crowds == [0, 1]


@pytest.mark.parametrize('key, index, change, reason', [
    ('images', 0, dict(frame_id=2), 'images .* are both frame 2'),
    ('images', 0, dict(height=5), 'video nine: all images must have one'),
    ('images', 0, dict(video_id=None), 'lacks video_id'),
    ('images', 0, dict(id=2), r'images\[1\]: the id 2 is used twice'),
    ('videos', 0, dict(id=7), 'video eight has no images'),
    ('annotations', 0, dict(image_id=77), 'annotation 1: .* no image 77'),
    ('annotations', 0, dict(category_id=3), 'annotation 1: .* no category 3'),
    ('annotations', 0, dict(category_id=1), 'object 5 must keep its category'),
    ('annotations', 2, dict(instance_id=5), 'annotation 3: .* another mask'),
    ('annotations', 0, dict(instance_id=None), 'annotation 1 lacks instance'),
    ('annotations', 0, dict(segmentation=[]), 'annotation 1: needs a mask'),
    ('annotations', 0, dict(segmentation=[[1, 2]]),
     'annotation 1: a polygon needs'),
    ('images', 1, dict(file_name='9\\2.png'), 'image 2: .* with a backslash'),
    ('images', 1, dict(file_name=3), 'image 2: file_name must be text'),
    ('images', 1, dict(height='2'), 'image 2: height must be a positive'),
    ('images', 1, dict(width=0), 'image 2: width must be a positive'),
    ('images', 1, dict(id=[1]), r'images\[1\]: id must be a number'),
    ('annotations', 0, dict(image_id={}), 'image_id must be a number'),
    ('annotations', 0, dict(category_id=[]), 'category_id must be a number'),
])
def test_bad_coco_video(key, index, change, reason, coco, tmp_path,
                        monkeypatch):
    coco[key][index].update(change)
    for name, value in change.items():
        if value is None:
            del coco[key][index][name]
    line = refused(monkeypatch, 'coco_video_to_youtubevis',
                   write(tmp_path, coco), tmp_path / 'out.json')
    with pytest.raises(ValueError, match=reason):
        raise ValueError(line)


def test_all_annotations_without_a_mask_are_named(coco, image_folder, tmp_path,
                                                  monkeypatch, capsys):
    """A box alone, a point, a polygon on a line."""
    useless = [[], [[1, 1]], [[9, 9, 9, 9, 9, 9]], None]
    coco['annotations'] += [
        dict(coco['annotations'][0], id=i, image_id=3, segmentation=mask)
        for i, mask in enumerate(useless, start=11)
    ]
    for i, annotation in enumerate(coco['annotations']):
        annotation['track_id'] = annotation.pop('instance_id') + 10 * i
    args = ('images_to_youtubevis', image_folder, write(image_folder, coco),
            image_folder / 'out.json', '--video', 'folder')
    line = refused(monkeypatch, *args)
    assert '4 of 7 annotations have no usable mask (--skip-bad-masks' in line
    for i in range(11, 15):
        assert f'annotation {i}: ' in line
    assert 'annotation 12: a polygon needs at least 3 points' in line
    content = run(monkeypatch, *args, '--skip-bad-masks')
    assert len(content['annotations']) == 3
    assert 'left out 4 annotations' in capsys.readouterr().out
    coco['annotations'] *= 20
    for i, annotation in enumerate(coco['annotations']):
        coco['annotations'][i] = dict(annotation, id=i)
    write(image_folder, coco)
    assert refused(monkeypatch, *args[:3], tmp_path / 'b.out.json', *args[4:]) \
        .split(' (set')[0].endswith('; and 60 more')


def test_points_beside_polygons(coco, tmp_path, monkeypatch):
    coco['annotations'][1]['segmentation'].append([2, 2])
    content = run(monkeypatch, 'coco_video_to_youtubevis',
                  write(tmp_path, coco), tmp_path / 'out.json')
    assert masks_of(content)[0] == ('9', 2, [SQUARE, PIXEL])


@pytest.mark.parametrize('tool', [
    'coco_video_to_youtubevis',
    'images_to_youtubevis',
])
def test_only_crowds(tool, coco, tmp_path, monkeypatch, capsys):
    """As CVAT writes masks of its brush."""
    for annotation in coco['annotations']:
        annotation['iscrowd'] = 1
    for image in coco['images']:
        path = tmp_path / image['file_name']
        path.parent.mkdir(exist_ok=True)
        Image.new('RGB', (3, 2)).save(path)
    args = [tool, write(tmp_path, coco), tmp_path / 'out.json']
    if tool == 'images_to_youtubevis':
        args.insert(1, tmp_path)
    line = refused(monkeypatch, *args)
    assert 'all annotations are crowds' in line
    assert '--crowds-as-objects' in line
    content = run(monkeypatch, *args, '--crowds-as-objects')
    assert {item['iscrowd'] for item in content['annotations']} == {0}
    coco['annotations'][1]['iscrowd'] = 0
    coco['annotations'][0]['instance_id'] = 7
    write(tmp_path, coco)
    run(monkeypatch, *args, '--force')
    assert ', 1 objects and 2 crowds written' in capsys.readouterr().out


def test_no_annotations(coco, tmp_path, monkeypatch):
    coco['annotations'] = []
    assert 'nothing was converted' in refused(monkeypatch,
                                              'coco_video_to_youtubevis',
                                              write(tmp_path, coco),
                                              tmp_path / 'out.json')


def test_not_coco(coco, tmp_path, monkeypatch):
    del coco['images']
    assert 'images must be a list' in refused(monkeypatch,
                                              'coco_video_to_youtubevis',
                                              write(tmp_path, coco),
                                              tmp_path / 'out.json')


def test_existing_files_stay(coco, tmp_path, monkeypatch):
    out = tmp_path / 'out.json'
    out.write_text('mine')
    args = ('coco_video_to_youtubevis', write(tmp_path, coco), out)
    with pytest.raises(SystemExit, match='--force'):
        run(monkeypatch, *args)
    assert out.read_text() == 'mine'
    run(monkeypatch, *args, '--force')


@pytest.fixture
def image_folder(coco, tmp_path):
    """The images of ``coco`` on disk."""
    for image in coco['images']:
        path = tmp_path / image['file_name']
        path.parent.mkdir(exist_ok=True)
        Image.new('RGB', (3, 2)).save(path)
        del image['video_id'], image['frame_id']
    return tmp_path


def test_images_one_by_one(coco, image_folder, monkeypatch):
    for annotation in coco['annotations']:
        del annotation['instance_id']
    out = image_folder / 'out.json'
    content = run(monkeypatch, 'images_to_youtubevis', image_folder,
                  write(image_folder, coco), out)
    names = [video['file_names'] for video in content['videos']]
    assert names == [['8/0.png'], ['9/2.png'], ['9/4.png']]
    assert masks_of(content) == [('9', 2, [SQUARE]), ('9', 2, [PIXEL]),
                                 ('9', 1, [SQUARE])]
    dataset = VISDataset(
        ann_file=str(out), data_prefix=dict(img_path=str(image_folder)))
    assert len(dataset) == 2, 'one image has no annotation'


@pytest.mark.parametrize('rename', [
    lambda annotation: annotation.update(
        track_id=annotation.pop('instance_id')),
    lambda annotation: annotation.update(
        attributes=dict(track_id=annotation.pop('instance_id'))),
])
def test_images_by_folder(rename, coco, image_folder, monkeypatch):
    for annotation in coco['annotations']:
        rename(annotation)
    content = run(monkeypatch, 'images_to_youtubevis', image_folder,
                  write(image_folder, coco), image_folder / 'out.json',
                  '--video', 'folder')
    assert masks_of(content) == [('9', 2, [SQUARE, PIXEL]),
                                 ('9', 1, [None, SQUARE])]


def test_bad_images(coco, image_folder, monkeypatch):
    args = ('images_to_youtubevis', image_folder, write(image_folder, coco),
            image_folder / 'out.json', '--video', 'folder')
    Image.new('RGB', (5, 5)).save(image_folder / '9' / '4.png')
    assert '(5, 5), but the annotation file says (2, 3)' in refused(
        monkeypatch, *args)
    (image_folder / '9' / '4.png').unlink()
    assert '4.png" cannot be read: No such file' in refused(monkeypatch, *args)


def test_cut_image(coco, image_folder, monkeypatch):
    path = image_folder / '9' / '4.png'
    Image.new('RGB', (3, 2)).save(path, 'JPEG')
    path.write_bytes(path.read_bytes()[:-20])
    line = refused(monkeypatch, 'images_to_youtubevis', image_folder,
                   write(image_folder, coco), image_folder / 'out.json',
                   '--video', 'folder')
    assert '4.png" cannot be read' in line


def test_frames_are_in_the_order_of_their_numbers(coco, image_folder,
                                                  monkeypatch):
    for image, number in zip(coco['images'], (10, 9)):
        name = f'9/{number}.png'
        (image_folder / image['file_name']).rename(image_folder / name)
        image['file_name'] = name
    content = run(monkeypatch, 'images_to_youtubevis', image_folder,
                  write(image_folder, coco), image_folder / 'out.json',
                  '--video', 'folder')
    assert content['videos'][1]['file_names'] == ['9/9.png', '9/10.png']
    assert masks_of(content)[0] == ('9', 2, [SQUARE, PIXEL])


def test_images_without_tracks(coco, image_folder, monkeypatch):
    del coco['annotations'][1]['instance_id']
    line = refused(monkeypatch, 'images_to_youtubevis', image_folder,
                   write(image_folder, coco), image_folder / 'out.json',
                   '--video', 'folder')
    assert 'annotation 2 lacks instance_id or track_id' in line


@pytest.fixture
def id_maps(tmp_path):
    """Video ``v`` of three frames 2 x 3, the last without map."""
    (tmp_path / 'frames' / 'v').mkdir(parents=True)
    (tmp_path / 'maps' / 'v').mkdir(parents=True)
    for t in range(3):
        Image.new('RGB', (3, 2)).save(tmp_path / 'frames' / 'v' / f'{t}.jpg')
    return tmp_path


def save_map(folder, name, values, palette=False):
    image = Image.fromarray(np.array(values))
    if palette:  # index i is grey (40 i), as no index is
        image.putpalette([min(40 * (i // 3), 255) for i in range(768)])
    image.save(folder / 'maps' / 'v' / name)


def paths(folder):
    return folder / 'frames', folder / 'maps', folder / 'out.json'


@pytest.mark.parametrize('palette', [False, True])
def test_davis(palette, id_maps, monkeypatch):
    first = np.array([[0, 1, 1], [255, 0, 2]], np.uint8)
    save_map(id_maps, '0.png', first, palette)
    save_map(id_maps, '1.png', first * 0, palette)
    content = run(monkeypatch, 'id_png_to_youtubevis', *paths(id_maps))
    assert content['categories'] == [dict(id=1, name='object')]
    assert content['videos'][0]['file_names'] == ['v/0.jpg', 'v/1.jpg']
    assert masks_of(content) == [('v', 1, [[1, 2], None]), ('v', 1, [[5],
                                                                     None])]


@pytest.mark.parametrize('labels, categories', [
    (dict(v={
        '1': 'dog',
        '2': 'cat'
    }), [2, 1]),
    (dict(v='cat', w='dog'), [1, 1]),
])
def test_davis_labels(labels, categories, id_maps, monkeypatch):
    save_map(id_maps, '0.png', np.array([[1, 2, 0], [0, 0, 0]], np.uint8))
    (id_maps / 'labels.json').write_text(json.dumps(labels))
    content = run(monkeypatch, 'id_png_to_youtubevis', *paths(id_maps),
                  '--labels', id_maps / 'labels.json')
    assert [c['name'] for c in content['categories']] == ['cat', 'dog']
    assert [category for _, category, _ in masks_of(content)] == categories


def test_mots(id_maps, monkeypatch):
    save_map(id_maps, '0.png',
             np.array([[1000, 2001, 10000], [0, 0, 0]], np.uint16))
    save_map(id_maps, '1.png', np.array([[0, 0, 0], [0, 2001, 0]], np.uint16))
    content = run(monkeypatch, 'id_png_to_youtubevis', *paths(id_maps),
                  '--form', 'mots')
    assert masks_of(content) == [('v', 1, [[0], None]), ('v', 2, [[1], [4]])]
    args = (*paths(id_maps), '--force', '--form', 'mots', '--classes')
    for classes, reason in (('1:car', 'pixel 2001 is of class 2'),
                            ('car', "ID:NAME, but got 'car'")):
        with pytest.raises(SystemExit, match=reason):
            run(monkeypatch, 'id_png_to_youtubevis', *args, classes)


@pytest.mark.parametrize('name, values, reason', [
    ('5.png', np.zeros((2, 3), np.uint8), "5.png' needs a frame 5"),
    ('0.png', np.zeros((3, 2), np.uint8), 'v/0.jpg has (2, 3) and v/0.png'),
    ('0.png', np.zeros((2, 3, 3), np.uint8), 'one channel or a palette'),
])
def test_maps_that_do_not_fit(name, values, reason, id_maps, monkeypatch):
    save_map(id_maps, name, values)
    assert reason in refused(monkeypatch, 'id_png_to_youtubevis',
                             *paths(id_maps))


def test_nothing_to_convert(id_maps, monkeypatch):
    assert 'must hold PNG maps' in refused(monkeypatch, 'id_png_to_youtubevis',
                                           *paths(id_maps))
    (id_maps / 'maps' / 'v').rmdir()
    assert 'a folder for each video' in refused(monkeypatch,
                                                'id_png_to_youtubevis',
                                                *paths(id_maps))


def test_hidden_files_are_left_out(id_maps, monkeypatch):
    """Macs put a ``._`` file beside each they copy, editors a folder."""
    save_map(id_maps, '0.png', np.array([[1, 0, 0], [0, 0, 0]], np.uint8))
    (id_maps / 'maps' / 'v' / '._0.png').write_bytes(b'a note')
    (id_maps / 'frames' / 'v' / '._0.jpg').write_bytes(b'a note')
    (id_maps / 'maps' / '.ipynb_checkpoints').mkdir()
    content = run(monkeypatch, 'id_png_to_youtubevis', *paths(id_maps))
    assert [v['file_names'] for v in content['videos']] == [['v/0.jpg']]
    assert masks_of(content) == [('v', 1, [[0]])]


def test_maps_are_in_the_order_of_their_numbers(id_maps, monkeypatch):
    for t in (9, 10):
        Image.new('RGB', (3, 2)).save(id_maps / 'frames' / 'v' / f'{t}.jpg')
        save_map(id_maps, f'{t}.png', np.full((2, 3), t, np.uint8))
    content = run(monkeypatch, 'id_png_to_youtubevis', *paths(id_maps))
    assert content['videos'][0]['file_names'] == ['v/9.jpg', 'v/10.jpg']
    assert [masks
            for *_, masks in masks_of(content)] == [[list(range(6)), None],
                                                    [None,
                                                     list(range(6))]]


@pytest.mark.parametrize('form, kind, unknown', [
    ('davis', np.uint8, 255),
    ('mots', np.uint16, 10000),
])
def test_nothing_but_unknown(form, kind, unknown, id_maps, monkeypatch):
    values = np.array([[0, unknown, unknown], [0, 0, 0]], kind)
    save_map(id_maps, '0.png', values)
    save_map(id_maps, '1.png', values * 0)
    line = refused(monkeypatch, 'id_png_to_youtubevis', *paths(id_maps),
                   '--form', form)
    assert f'video v: its maps have nothing but 0 and {unknown}' in line
    assert 'use --no-unknown' in line


def test_black_and_white_maps(id_maps, monkeypatch):
    """DAVIS 2016 and many tools paint one object white."""
    white = np.array([[0, 255, 255], [0, 0, 0]], np.uint8)
    save_map(id_maps, '0.png', white)
    save_map(id_maps, '1.png', white * 0)
    (id_maps / 'labels.json').write_text(json.dumps(dict(v={'255': 'cat'})))
    args = ('id_png_to_youtubevis', *paths(id_maps), '--force')
    content = run(monkeypatch, *args, '--no-unknown', '--labels',
                  id_maps / 'labels.json')
    assert masks_of(content) == [('v', 1, [[1, 2], None])]
    # beside an object it is what nobody has labelled
    save_map(id_maps, '1.png', white // 255)
    assert masks_of(run(monkeypatch, *args)) == [('v', 1, [None, [1, 2]])]


def test_empty_maps(id_maps, monkeypatch):
    save_map(id_maps, '0.png', np.zeros((2, 3), np.uint8))
    assert 'nothing was converted' in refused(monkeypatch,
                                              'id_png_to_youtubevis',
                                              *paths(id_maps))


def test_maps_of_one_bit(id_maps, monkeypatch):
    save_map(id_maps, '0.png', np.array([[0, 1, 0], [0, 0, 0]], bool))
    (id_maps / 'labels.json').write_text(json.dumps(dict(v={'1': 'cat'})))
    content = run(monkeypatch, 'id_png_to_youtubevis', *paths(id_maps),
                  '--labels', id_maps / 'labels.json')
    assert masks_of(content) == [('v', 1, [[1]])]


@pytest.mark.parametrize('options', [[], ['--no-unknown']])
def test_smoothed_maps(options, id_maps, monkeypatch):
    values = np.zeros((40, 60), np.float32)
    values[10:30, 10:50] = 255
    for t in range(2):
        Image.new('RGB', (60, 40)).save(id_maps / 'frames' / 'v' / f'{t}.jpg')
        save_map(id_maps, f'{t}.png',
                 gaussian_filter(values, 1).round().astype(np.uint8))
    line = refused(monkeypatch, 'id_png_to_youtubevis', *paths(id_maps),
                   *options)
    assert 'video v: ids must be painted without smoothing' in line


def test_cut_maps_and_frames(id_maps, monkeypatch):
    save_map(id_maps, '0.png', np.ones((2, 3), np.uint8))
    for path in (id_maps / 'maps/v/0.png', id_maps / 'frames/v/0.jpg'):
        content = path.read_bytes()
        path.write_bytes(content[:len(content) * 2 // 3])
        line = refused(monkeypatch, 'id_png_to_youtubevis', *paths(id_maps))
        assert path.name in line and 'cannot be read' in line
        path.write_bytes(content)


def test_labels_are_not_unpickled(id_maps, monkeypatch):

    class Payload:

        def __reduce__(self):
            return os.mkdir, (str(id_maps / 'made'), )

    path = id_maps / 'labels.pkl'
    path.write_bytes(pickle.dumps(Payload()))
    line = refused(monkeypatch, 'id_png_to_youtubevis', *paths(id_maps),
                   '--labels', path)
    assert 'labels.pkl is not valid JSON' in line
    assert not (id_maps / 'made').exists()
