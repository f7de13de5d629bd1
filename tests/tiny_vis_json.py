# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A faultless data set in the YouTube-VIS format, and results of it."""
DATA_SET = dict(
    categories=[dict(id=1, name='a'),
                dict(id=2, name='b')],
    videos=[
        dict(
            id=7,
            width=4,
            height=3,
            length=2,
            file_names=['v/0.jpg', 'v/1.jpg'])
    ],
    annotations=[
        dict(
            id=11,
            video_id=7,
            category_id=2,
            iscrowd=0,
            segmentations=[dict(size=[3, 4], counts=[3, 3, 6]), None],
            bboxes=[[1, 0, 1, 3], None],
            areas=[3, None])
    ])
RESULTS = [
    dict(
        video_id=7,
        category_id=2,
        score=0.5,
        segmentations=[dict(size=[3, 4], counts='336'), None])
]
