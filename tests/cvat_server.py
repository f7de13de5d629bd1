# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What CVAT makes of an uploaded XML and writes when it is exported again.

Written from the rules of CVAT's own reader and writer of "CVAT for video
1.1": of a track it keeps label, group, keyframes and attributes that the label
has; ids of tracks are counted anew, frames between keyframes are written too,
numbers have two digits.
"""
from typing import Any, Dict, List
from xml.etree import ElementTree


def import_and_export(text: str) -> str:
    """Upload an XML to a task with its labels, and export it."""
    root = ElementTree.fromstring(text)
    task = root.find('meta/task')
    stop = int(task.findtext('stop_frame'))
    step = int((task.findtext('frame_filter') or 'step=1')[len('step='):])
    known = {
        label.findtext('name'):
        {attribute.findtext('name')
         for attribute in label.iter('attribute')}
        for label in task.iter('label')
    }
    out = ElementTree.Element('annotations')
    ElementTree.SubElement(out, 'version').text = '1.1'
    out.append(root.find('meta'))
    tracks = sorted(
        root.iter('track'), key=lambda track: int(track[0].get('frame')))
    for number, track in enumerate(tracks):
        label = track.get('label')
        copy = ElementTree.SubElement(
            out, 'track', id=str(number), label=label, source='auto')
        if int(track.get('group_id', '0')):
            copy.set('group_id', track.get('group_id'))
        shapes = [item for item in track if item.get('keyframe') == '1']
        for shape, following in zip(shapes, [*shapes[1:], None]):
            end = stop + step if following is None else int(
                following.get('frame'))
            frames = range(int(shape.get('frame')), end, step)
            for frame in frames[:1] if shape.get('outside') == '1' else frames:
                copy.append(_export(shape, frame, frame == frames[0]))
                for attribute in shape.iter('attribute'):
                    assert attribute.get('name') in known[label]
                    copy[-1].append(attribute)
    return ElementTree.tostring(out, 'unicode')


def _export(shape: Any, frame: int, keyframe: bool) -> Any:
    """A shape as it is written."""
    assert shape.tag == 'polygon'
    points: List[str] = []
    for pair in shape.get('points').split(';'):
        x, y = map(float, pair.split(','))
        points.append(f'{x:.2f},{y:.2f}')
    facts: Dict[str, str] = dict(
        frame=str(frame),
        keyframe=str(int(keyframe)),
        outside=shape.get('outside'),
        occluded=shape.get('occluded'),
        points=';'.join(points),
        z_order=shape.get('z_order'))
    return ElementTree.Element('polygon', facts)
