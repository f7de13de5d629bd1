# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""ClassAgnosticCocoMetric: COCO masks with all classes taken as one, too."""
import os.path as osp
from tempfile import TemporaryDirectory
from typing import Any, Dict, List

import numpy as np
from mmdet.datasets.api_wrappers import COCOeval
from mmdet.evaluation import CocoMetric
from mmengine.fileio import load

from refinevis_mm.registry import METRICS
from .vis_eval import MAX_DETS, add_suffix, of_category, summarise


@METRICS.register_module()
class ClassAgnosticCocoMetric(CocoMetric):
    """mmdet's ``CocoMetric`` with more numbers for masks.

    Beside those of ``CocoMetric`` there are ``AP_agnostic``,
    ``AP50_agnostic``, ``AR10_agnostic`` and so on, all categories taken as
    one, and with ``classwise`` ``NAME_AP50`` of each class, where
    ``CocoMetric`` has its AP only. The additional numbers are fractions in
    [0, 1], unrounded, -1 where no object counts, at COCO's thresholds and at
    most 100 results an image, whatever ``iou_thrs`` and ``proposal_nums``
    are. Objects of categories that are no classes of the data set do not
    count.

    Of results of an image with the same mask but of different categories the
    best counts, as in :func:`evaluate_vis`. Results that lie in a crowd do
    not count; with all categories as one, it may be a crowd of any category.
    Objects of a file with an id 0 are numbered anew, since pycocotools takes
    that one for none.

    Args:
        **kwargs: As for ``CocoMetric``; ``metric`` must have 'segm'. With
            ``format_only`` nothing is added.

    Raises:
        ValueError: If ``metric`` lacks 'segm'.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        if 'segm' not in self.metrics:
            raise ValueError(f"metric must have 'segm', got {self.metrics}")
        if self._coco_api is not None and 0 in self._coco_api.anns:
            objects = self._coco_api.dataset['annotations']
            for number, item in enumerate(objects, start=1):
                item['id'] = number
            self._coco_api.createIndex()

    def compute_metrics(self, results: List[tuple]) -> Dict[str, float]:
        """Evaluate as ``CocoMetric`` and add the other numbers.

        Args:
            results (list[tuple]): Ground truth and prediction of each image.

        Returns:
            dict[str, float]: All numbers by name; as from ``CocoMetric`` none
            if nothing was predicted in any image.
        """
        numbers = super().compute_metrics(results)
        if self.format_only:
            return numbers
        with TemporaryDirectory() as folder:
            files = self.results2json(
                [prediction for _, prediction in results],
                osp.join(folder, 'results'))
            rows = load(files['segm'])
        if rows:
            numbers.update(
                add_suffix(
                    summarise(**self._evaluate(_best_rows(rows), False)),
                    'agnostic'))
        if rows and self.classwise:
            arrays = self._evaluate(rows, True)
            for index, category_id in enumerate(self.cat_ids):
                name = self._coco_api.cats[category_id]['name']
                numbers[f'{name}_AP50'] = summarise(
                    **of_category(arrays, index))['AP50']
        return numbers

    def _evaluate(self, rows: List[dict],
                  use_categories: bool) -> Dict[str, np.ndarray]:
        """Arrays of pycocotools for masks.

        Args:
            rows (list[dict]): Results in COCO's form.
            use_categories (bool): Whether to compare categories.

        Returns:
            dict[str, ndarray]: ``precision`` (T, R, K, A, M) and ``recall``
            (T, K, A, M), see :mod:`.vis_eval`.
        """
        # without boxes, which would decide on the areas; loadRes adds its own
        keys = ('image_id', 'category_id', 'score', 'segmentation')
        found = self._coco_api.loadRes([{
            key: row[key]
            for key in keys
        } for row in rows])
        evaluator = COCOeval(self._coco_api, found, 'segm')
        evaluator.params.catIds = self.cat_ids
        evaluator.params.imgIds = self.img_ids
        evaluator.params.maxDets = list(MAX_DETS)
        evaluator.params.useCats = int(use_categories)
        evaluator.evaluate()
        evaluator.accumulate()
        return {key: evaluator.eval[key] for key in ('precision', 'recall')}


def _best_rows(rows: List[dict]) -> List[dict]:
    """Leave out rows whose mask a better row of another category has."""
    categories: Dict[tuple, Any] = {}
    kept = []
    for row in sorted(rows, key=lambda row: -row['score']):
        key = row['image_id'], row['segmentation']['counts']
        if categories.setdefault(key, row['category_id']) == \
                row['category_id']:
            kept.append(row)
    return kept
