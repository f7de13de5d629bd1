# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What can be wrong with a data set or a results file."""
from typing import Any, Dict

ERROR = 'error'  # the file cannot be used
WARNING = 'warning'  # it can be read, but the data are wrong there
NOTE = 'note'  # allowed, though hardly meant or a trap for other programs

LEVELS: Dict[str, str] = {
    'wrong-type': ERROR,  # not of the JSON type the format asks for
    'missing-key': ERROR,
    'duplicate-id': ERROR,
    'duplicate-name': ERROR,  # two categories of one name
    'preset-classes': ERROR,  # not those of the data set asked for
    'no-frames': ERROR,  # a video without frames
    'file-name': ERROR,  # of a frame, with a backslash
    'unknown-video': ERROR,
    'unknown-category': ERROR,
    'wrong-length': ERROR,  # not one entry a frame
    'wrong-size': ERROR,  # no positive integers, or not those of the video
    'mask-size': ERROR,  # not that of the video
    'mask-form': ERROR,  # neither RLE nor polygons
    'mask-counts': ERROR,  # RLE that is broken or covers another area
    'box-form': ERROR,  # not (x, y, w, h)
    'iscrowd': ERROR,  # neither 0 nor 1
    'score': ERROR,  # of a result, not a finite number
    'missing-frame': WARNING,  # no such image file
    'unreadable-frame': WARNING,
    'frame-size': WARNING,  # of the image file, not that of its video
    'duplicate-frame': WARNING,  # an image file listed twice
    'frame-order': WARNING,  # 1, 10, 2, as names without leading zeros sort
    'empty-mask': WARNING,  # no pixels where null is meant
    'null-mismatch': WARNING,  # a mask without box or the other way round
    'box-empty': WARNING,  # no width or height
    'box-outside': WARNING,  # reaches beyond the frame
    'duplicate-result': WARNING,
    'all-crowds': WARNING,  # nothing to learn from or to evaluate
    'never-visible': NOTE,  # an annotation that is null in all frames
    'no-annotations': NOTE,
    'lone-points': NOTE,  # beside polygons; other programs fail on them
    'no-length': NOTE,  # a video without the key; other programs need it
    'category-ids': NOTE,  # not 1 to N; other programs need that
    'area': NOTE,  # not the mask's; AP by size uses it
    'no-results': NOTE,  # a video without results
    'score-range': NOTE,  # not in [0, 1]
}


class Defect:
    """One defect, with the place where it is.

    Args:
        code (str): A key of :data:`LEVELS`.
        message (str): What the rule is and what was got.
        **place (Any): Where it is, from the outside in: ``video=7,
            annotation=11, frame=0``; frames are 0-based positions. None
            values are left out.
    """

    def __init__(self, code: str, message: str, **place: Any) -> None:
        self.code = code
        self.level = LEVELS[code]
        self.message = message
        self.place = {k: v for k, v in place.items() if v is not None}

    def __str__(self) -> str:
        place = ', '.join(f'{key} {value}'
                          for key, value in self.place.items())
        return f'{place}: {self.message}' if place else self.message

    def to_dict(self) -> Dict[str, Any]:
        """Level, code, place and message in one dict.

        Returns:
            dict[str, Any]: Can be written as JSON.
        """
        return dict(
            level=self.level,
            code=self.code,
            **self.place,
            message=self.message)
