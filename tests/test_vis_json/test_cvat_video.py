# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Exports of CVAT as they look in the wild."""
import zipfile

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from refinevis_mm.vis_json import read_cvat_video

SIZE = (6, 8)  # height, width
META = '''
  <task><id>7</id><name>street</name><size>4</size><mode>interpolation</mode>
    <start_frame>10</start_frame><stop_frame>17</stop_frame>
    <frame_filter>step=2</frame_filter>
    <labels>
      <label><name>cat</name><color>#ff0000</color><attributes>
        <attribute><name>track_id</name></attribute></attributes></label>
      <label><name>dog</name><attributes></attributes></label>
    </labels>
    <segments><segment><id>7</id><start>0</start></segment></segments>
    <original_size><width>8</width><height>6</height></original_size>
  </task>
  <dumped>2026-01-01</dumped>'''
LEFT = '0,0;2,0;2,2;0,2'
RIGHT = '4,1;7,1;7,4;4,4'


def polygon(frame, points=LEFT, outside=0, track_id=None):
    text = '' if track_id is None else (
        f'<attribute name="track_id">{track_id}</attribute>')
    return (f'<polygon frame="{frame}" keyframe="1" outside="{outside}" '
            f'occluded="0" points="{points}" z_order="0">{text}</polygon>')


def track(*shapes, label='cat', group=0):
    group = f'group_id="{group}"' if group else ''
    return (f'<track id="0" label="{label}" {group} source="manual">'
            f'{"".join(shapes)}</track>')


def write(folder, *tracks, meta=META):
    path = folder / 'export.xml'
    path.write_text('<?xml version="1.0" encoding="utf-8"?>\n<annotations>'
                    f'<version>1.1</version><meta>{meta}</meta>'
                    f'{"".join(tracks)}</annotations>')
    return str(path)


def pixels(video):
    """Class, and pixels (row, column) by frame, of each object."""
    return {
        track_id: (name, {
            frame: np.argwhere(mask_utils.decode(code)).tolist()
            for frame, code in codes.items()
        })
        for track_id, (name, codes) in video.objects.items()
    }


def square(left, top, side):
    return [[y, x] for y in range(top, top + side)
            for x in range(left, left + side)]


def test_what_keeps_an_object_together(tmp_path):
    """The attribute, then the group; else each track is an object."""
    path = write(tmp_path,
                 track(polygon(10, track_id=5), polygon(12, LEFT, 1, 5)),
                 track(polygon(12, RIGHT, track_id=-1), group=4, label='dog'),
                 track(polygon(10, RIGHT, track_id=5), group=9),
                 track(polygon(12), group=4, label='dog'),
                 track(polygon(16, RIGHT)),
                 track(polygon(10, track_id=-1), polygon(12, track_id=-1)))
    video = read_cvat_video(path, SIZE)
    assert list(video.numbers) == [10, 12, 14, 16]
    assert video.classes == ['cat', 'dog']
    left, right = square(0, 0, 2), square(4, 1, 3)
    both = sorted(left + right)
    assert pixels(video) == {
        5: ('cat', {
            0: both
        }),
        3: ('dog', {
            1: both
        }),
        6: ('cat', {
            3: right
        }),
        7: ('cat', {
            0: left,
            1: left
        })
    }


def test_mask_of_the_brush(tmp_path):
    """Runs in the rows of a box, background first; the box is at 3, 2."""
    shape = ('<mask frame="{}" outside="{}" rle="1, 2, 1, 2" left="3" top="2" '
             'width="3" height="2"/>')
    path = write(tmp_path, track(shape.format(12, 0), shape.format(14, 1)))
    assert pixels(read_cvat_video(path, SIZE)) == {
        0: ('cat', {
            1: [[2, 4], [2, 5], [3, 4], [3, 5]]
        })
    }


@pytest.mark.zoo
def test_mask_of_the_sdk(tmp_path):
    """What CVAT's own client makes of a mask."""
    masks = pytest.importorskip('cvat_sdk.masks')
    rng = np.random.default_rng(0)
    for dense in rng.random((20, *SIZE)) < rng.random((20, 1, 1)):
        dense[2, 3] = True
        *runs, left, top, right, bottom = masks.encode_mask(dense)
        path = write(
            tmp_path,
            track(f'<mask frame="10" outside="0" rle="{str(runs)[1:-1]}" '
                  f'left="{left}" top="{top}" width="{right - left + 1}" '
                  f'height="{bottom - top + 1}"/>'))
        code = read_cvat_video(path, SIZE).objects[0][1][0]
        assert np.array_equal(mask_utils.decode(code), dense)


def test_zip_and_job(tmp_path):
    """An export with images, of a job, of a task that was made of images."""
    meta = META.replace('task>', 'job>').replace(
        '<original_size><width>8</width><height>6</height></original_size>',
        '').replace('<frame_filter>step=2</frame_filter>', '<frame_filter/>')
    path = write(tmp_path, track(polygon(11)), meta=meta)
    with zipfile.ZipFile(tmp_path / 'export.zip', 'w') as archive:
        archive.write(path, 'annotations.xml')
        archive.writestr('images/frame_000000.PNG', b'')
    video = read_cvat_video(str(tmp_path / 'export.zip'), SIZE)
    assert list(video.numbers) == list(range(10, 18))
    assert pixels(video) == {0: ('cat', {1: square(0, 0, 2)})}


def test_nothing_annotated(tmp_path):
    assert read_cvat_video(write(tmp_path), SIZE).objects == {}


@pytest.mark.parametrize('tracks, reason', [
    ([track(polygon(10), label='owl')], "a label of the task, got 'owl'"),
    ([track(polygon(11))], 'different ones of the task, got 11'),
    ([track(polygon(18))], 'different ones of the task, got 18'),
    ([track(polygon(10), polygon(10))], 'different ones of the task, got 10'),
    ([track(polygon('x'))], "frame must be a whole number, got 'x'"),
    ([track(polygon(10), polygon(14))], 'between 10 and 14 there is none'),
    ([track('<box frame="10" xtl="0" ytl="0" xbr="2" ybr="2"/>')
      ], r'track 0 \(cat\): shapes must be polygons or masks, got box'),
    ([track(polygon(10, '1,1;2,2'))], 'frame 10: .* at least 3 points'),
    ([track(polygon(10, '1,1;2,2;3'))], 'frame 10: a polygon needs'),
    ([track(polygon(10, '1,1;2,2;nan,3'))], 'list of numbers'),
    ([track(polygon(10, '1,1;2,2;a,3'))], 'the polygon must be numbers'),
    ([track(polygon(10, ''))], 'the polygon must be numbers'),
    ([
        track('<mask frame="10" rle="1,2" left="0" top="0" width="2" '
              'height="2"/>')
    ], 'got 3 pixels for 2 x 2 at 0, 0'),
    ([
        track('<mask frame="10" rle="0,4" left="7" top="0" width="2" '
              'height="2"/>')
    ], 'inside of the frame'),
    ([track('<mask frame="10" rle="0,4" top="0" width="2" height="2"/>')
      ], 'inside of the frame'),
    ([track(polygon(10, track_id='x'))], 'at least -1, got x'),
    ([track(polygon(10, track_id=-2))], 'at least -1, got -2'),
    ([track(polygon(10, track_id=1), polygon(12, track_id=2))
      ], 'track_id must be one number'),
    ([track(polygon(10), group='-1')], 'group_id must be a whole number'),
    ([track(polygon(10), group=3),
      track(polygon(12), group=3, label='dog')
      ], 'tracks of object 2 must have one label, got cat and dog'),
    (['<image id="0" name="a.jpg" width="8" height="6"/>'
      ], 'CVAT for video 1.1'),
    (['<track'], 'must be XML of CVAT, but cannot be read'),
])
def test_bad_tracks(tmp_path, tracks, reason):
    with pytest.raises(ValueError, match=reason) as error:
        read_cvat_video(write(tmp_path, *tracks), SIZE)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('old, new, reason', [
    ('task>', 'project>', 'one task or job'),
    ('<start_frame>10', '<start_frame>x', 'start_frame must be a whole'),
    ('<stop_frame>17', '<stop_frame>9', 'stop_frame must .* at least 10'),
    ('<stop_frame>17', '<stop_frame>999999999', 'at most 10000000'),
    ('step=2', 'step=0', "at a step, got .*'step=0'"),
    ('<width>8', '<width>9', r'\(6, 8\), got \(6, 9\)'),
    ('<width>8', '<width>0', 'width must be a whole number of at least 1'),
])
def test_bad_meta(tmp_path, old, new, reason):
    assert old in META
    path = write(tmp_path, track(polygon(10)), meta=META.replace(old, new))
    with pytest.raises(ValueError, match=reason):
        read_cvat_video(path, SIZE)


@pytest.mark.parametrize('text, reason', [
    ('', 'cannot be read'),
    ('<a/>', 'annotations of CVAT, got <a>'),
    ('<annotations/>', 'must have <meta>'),
    ('<annotations><track/></annotations>', '<meta> before its tracks'),
    ('<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">' +
     ''.join(f'<!ENTITY {new} "{f"&{old};" * 20}">'
             for old, new in zip('abcdefg', 'bcdefgh')) +
     ']><annotations>&h;</annotations>', 'cannot be read'),
    ('<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
     '<annotations>&a;</annotations>', 'cannot be read'),
])
def test_other_files(tmp_path, text, reason):
    """Those that grow without end when they are read, too."""
    path = tmp_path / 'export.xml'
    path.write_text(text)
    with pytest.raises(ValueError, match=reason):
        read_cvat_video(str(path), SIZE)


def test_bad_zip(tmp_path):
    path = tmp_path / 'export.zip'
    for names in ([], ['a.xml', 'b.xml']):
        with zipfile.ZipFile(path, 'w') as archive:
            for name in names:
                archive.writestr(name, '<annotations/>')
        with pytest.raises(ValueError, match=f'one XML .* {len(names)}'):
            read_cvat_video(str(path), SIZE)
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a.xml', '<annotations>' * 50)
    data = bytearray(path.read_bytes())
    data[40:50] = bytes(10)
    path.write_bytes(data)
    with pytest.raises(ValueError, match='cannot be read'):
        read_cvat_video(str(path), SIZE)
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a.xml', b' ' * (2**26 + 1))
    with pytest.raises(ValueError, match='unpacks to more than 67108864'):
        read_cvat_video(str(path), SIZE)
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('a.xml', '<annotations/>')
    data = bytearray(path.read_bytes())
    for where in (data.index(b'PK\x03\x04') + 6,
                  data.index(b'PK\x01\x02') + 8):
        data[where] |= 1  # locked by a password
    path.write_bytes(data)
    with pytest.raises(ValueError, match='cannot be read: .* encrypted'):
        read_cvat_video(str(path), SIZE)
    with pytest.raises(FileNotFoundError):
        read_cvat_video(str(tmp_path / 'absent.xml'), SIZE)
