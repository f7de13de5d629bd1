# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils

from refinevis_mm.recording import write_id_masks
from refinevis_mm.visualization.vis_overlay import instance_color
from tests.tiny_recordings import (SIZE, ResultStream, box, convert, create,
                                   kill_half, random_frames)


def two_objects(path, *ids):
    """Two frames; the squares overlap, the second object is the better one,
    a third one is too weak."""
    stream = ResultStream(['online'])
    recording = create(path / 'recording.sqlite', ['online'])
    rows = [(ids[0], [0.75, 0., 0.], True, box(0, 0, 4)),
            (ids[1], [0., 0.5, 0.], True, box(2, 2, 4)),
            (ids[2], [0.25, 0., 0.], True, box(0, 0, 6))]
    recording.add(stream.frame(dict(online=rows)))
    recording.add(
        stream.frame(dict(online=[(ids[0], rows[0][1], False, None)])))
    return recording


def pixels(path):
    """Mode and values of a PNG."""
    with Image.open(path) as image:
        return image.mode, np.asarray(image)


def test_palette_by_hand(tmp_path):
    recording = two_objects(tmp_path, 4, 0, 300)
    write_id_masks(recording, tmp_path / 'maps')
    files = sorted(file.name for file in (tmp_path / 'maps').iterdir())
    assert files == ['000000.png', '000001.png']
    mode, values = pixels(tmp_path / 'maps' / '000000.png')
    expected = np.zeros(SIZE, int)
    expected[2:6, 2:6] = 1
    expected[:4, :4] = 5
    assert mode == 'P' and values.tolist() == expected.tolist()
    with Image.open(tmp_path / 'maps' / '000000.png') as image:
        colors = np.asarray(image.convert('RGB'))
    assert colors[5, 7].tolist() == [0, 0, 0]
    assert tuple(colors[0, 0].tolist()) == instance_color(4)[::-1]
    assert tuple(colors[5, 5].tolist()) == instance_color(0)[::-1]
    mode, values = pixels(tmp_path / 'maps' / '000001.png')
    assert mode == 'P' and not values.any()


def test_many_ids_have_16_bits(tmp_path):
    recording = two_objects(tmp_path, 65534, 254, 0)
    write_id_masks(recording, tmp_path / 'maps', file_names=['a/b.c.jpg', 'd'])
    _, values = pixels(tmp_path / 'maps' / 'b.c.png')
    assert np.unique(values).tolist() == [0, 255, 65535]
    assert (values == 65535).sum() == 16 and (values == 255).sum() == 12
    _, values = pixels(tmp_path / 'maps' / 'd.png')
    assert values.dtype == np.uint16 and not values.any()


@pytest.mark.parametrize('first_id', [0, 247, 250, 300])
def test_back_to_youtube_vis(tmp_path, monkeypatch, first_id):
    """Our converter gives the tracks without what others hide of them."""
    stream = ResultStream(['online'])
    recording = create(tmp_path / 'recording.sqlite', ['online'])
    for frame in random_frames(stream, 20, 0):
        instances = frame.instances
        instances.ids[:] = [i + first_id for i in instances.ids]
        frame.discarded_ids[:] = [i + first_id for i in frame.discarded_ids]
        recording.add(frame)
    frames = tmp_path / 'frames' / 'clip'
    frames.mkdir(parents=True)
    names = [f'{i:03d}.jpg' for i in range(20)]
    for name in names:
        Image.new('RGB', SIZE[::-1]).save(frames / name)
    write_id_masks(
        recording, tmp_path / 'maps' / 'clip', score_thr=0., file_names=names)
    content = convert(monkeypatch, 'id_png_to_youtubevis', frames.parent,
                      tmp_path / 'maps', tmp_path / 'out.json')
    assert content['videos'][0]['file_names'] == [f'clip/{n}' for n in names]
    assert {row['category_id'] for row in content['annotations']} == {1}
    assert [row['segmentations']
            for row in content['annotations']] == visible_masks(recording)


def visible_masks(recording):
    """Run-length codes of the tracks by id, each frame without the pixels of
    better tracks."""
    tracks = sorted(recording.tracks(), key=lambda track: -track.score)
    visible = {track.id: [None] * recording.num_frames for track in tracks}
    for frame_id, _, instances in recording.frames():
        taken = np.zeros(recording.size, bool)
        masks = dict(zip(instances.ids, instances.dense_masks()))
        for track in tracks:
            mask = masks.get(track.id, taken) & ~taken
            taken = taken | mask
            if mask.any():
                rle = mask_utils.encode(np.asfortranarray(mask, np.uint8))
                visible[track.id][frame_id] = dict(
                    size=rle['size'], counts=rle['counts'].decode())
    return [visible[i] for i in sorted(visible) if any(visible[i])]


def test_bad_input_leaves_no_folder(tmp_path):
    recording = two_objects(tmp_path, 1, 2, 65535)
    folder = tmp_path / 'out' / 'maps'
    for change, match in [
        (dict(score_thr=0.), 'below 65535 .* got 65535'),
        (dict(view='offline'), "got 'offline'"),
        (dict(file_names=['a/0.jpg', 'b/0.jpg']), '2, 1 of them different'),
        (dict(file_names=['a']), 'must be 2 different names'),
    ]:
        with pytest.raises(ValueError, match=match):
            write_id_masks(recording, folder, **change)
    assert not folder.exists()


def test_existing_folder(tmp_path):
    recording = two_objects(tmp_path, 1, 2, 3)
    folder = tmp_path / 'maps'
    folder.mkdir()
    (folder / 'old.txt').write_text('old')
    with pytest.raises(FileExistsError, match='maps'):
        write_id_masks(recording, folder)
    assert [file.name for file in folder.iterdir()] == ['old.txt']
    write_id_masks(recording, folder, force=True)
    assert len(list(folder.iterdir())) == 2


def test_killed_run_leaves_no_folder(tmp_path):
    folder = tmp_path / 'out' / 'maps'
    kill_half(tmp_path, lambda recording: write_id_masks(recording, folder))
    assert not folder.exists()
