# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The names, written by hand once.

Metafiles and the table of docs/model_zoo.md are made from here
(``python -m refinevis_mm.zoo --write-metafiles``). Addresses and AP of mmdet's
weights are those of the metafiles in its wheel; a test compares them. Sizes
are those of the state dicts of models built from the configs.
"""
import re
from typing import Any, Dict, Tuple

from .entry import SHIPPED, StatedResult, ZooEntry
from .official_entries import OFFICIAL_ENTRIES

OPENMMLAB = 'https://download.openmmlab.com/mmdetection/'
# the question is open: github.com/open-mmlab/mmdetection/issues/11484
OPENMMLAB_LICENCE: Dict[str, Any] = dict(
    licence='Apache-2.0',
    licence_note='of OpenMMLab\'s repository; none is stated for the weights')
VERIFIED = 'address and AP: the metafile of mmdet 3.3.0'
LOADED = ('; every key of the published layout has its place, and with equal '
          'random weights classes and masks are those of ')
COCO_LICENCE = (
    'trained here on COCO images (annotations CC BY 4.0, pictures of Flickr '
    'under licences of their own); the backbone started from weights of an '
    'Apache-2.0 package')
UNTRIED = 'the published file: this was built without a network'


def openmmlab_entry(address: str, **facts: Any) -> ZooEntry:
    """Weights that OpenMMLab has published.

    Args:
        address (str): Ends in 8 hex digits of the file's SHA-256, as
            OpenMMLab names its files, or not.
        **facts: The other attributes of :obj:`ZooEntry`.

    Returns:
        :obj:`ZooEntry`: With file name, digits and licence.
    """
    file_name = address.split('/')[-1]
    digits = re.search(r'-([0-9a-f]{8})\.pth$', file_name)
    return ZooEntry(
        address=address,
        file_name=file_name,
        sha256=digits.group(1) if digits else '',
        untried=UNTRIED,
        **OPENMMLAB_LICENCE,
        **facts)


def _stated(ap: float, folder: str) -> StatedResult:
    """A result of a metafile of mmdet."""
    return StatedResult(
        task='Instance Segmentation',
        data='COCO',
        metrics={'mask AP': ap},
        source=f'mmdet 3.3.0, configs/{folder}/metafile.yml')


def _mask2former(size: str, stem: str, stamp: str, ap: float,
                 tensor_bytes: int) -> ZooEntry:
    """Mask2Former of COCO; panoptic weights are used for the 80 things."""
    return openmmlab_entry(
        f'{OPENMMLAB}v3.0/mask2former/{stem}/{stem}_{stamp}.pth',
        name=f'mask2former-{size}_coco',
        family='Mask2Former',
        config=f'mask2former-{size}_coco.py',
        class_names='coco',
        result=_stated(ap, 'mask2former'),
        tensor_bytes=tensor_bytes,
        training={'Training Data': 'COCO'},
        verified=f'{VERIFIED}{LOADED}mmdet')


def _mask2former_vis(size: str, stem: str, stamp: str, ap: float,
                     tensor_bytes: int) -> ZooEntry:
    """Mask2Former-VIS, whose frame model is used."""
    return openmmlab_entry(
        f'{OPENMMLAB}v3.0/mask2former_vis/{stem}/{stem}_{stamp}.pth',
        name=f'mask2former-{size}_youtubevis2021',
        family='Mask2Former-VIS',
        config=f'mask2former-{size}_youtubevis2021.py',
        class_names='youtube_vis_2021',
        result=StatedResult(
            task='Video Instance Segmentation',
            data='YouTube-VIS 2021',
            metrics=dict(AP=ap),
            source='mmdet 3.3.0, configs/mask2former_vis/metafile.yml, for '
            'the video model; only its frame model is used here'),
        tensor_bytes=tensor_bytes,
        training={'Training Data': 'YouTube-VIS 2021'},
        verified=f'{VERIFIED}{LOADED}mmdet')


def _mmdet(name: str, family: str, config: str, weights: str, ap: float,
           tensor_bytes: int) -> ZooEntry:
    """An instance segmenter with a config of mmdet."""
    return openmmlab_entry(
        f'{OPENMMLAB}{weights}.pth',
        name=name,
        family=family,
        config=f'mmdet::{config}.py',
        class_names='coco',
        result=_stated(ap,
                       config.split('/')[0]),
        tensor_bytes=tensor_bytes,
        verified=VERIFIED)


def _rtmdet(size: str, batch: str, stamp: str, ap: float,
            tensor_bytes: int) -> ZooEntry:
    """An RTMDet-Ins."""
    stem = f'rtmdet-ins_{size}_{batch}-300e_coco'
    return _mmdet(f'rtmdet-ins-{size}_coco', 'RTMDet-Ins', f'rtmdet/{stem}',
                  f'v3.0/rtmdet/{stem}/{stem}_{stamp}', ap, tensor_bytes)


def _rfdetr(size: str, short: str, ap50: float, ap: float,
            tensor_bytes: int) -> ZooEntry:
    """An RF-DETR-Seg; its weights are fetched by its package."""
    return ZooEntry(
        name=f'rfdetr-seg-{size}_coco',
        family='RF-DETR-Seg',
        config=f'rfdetr-seg-{size}_coco.py',
        address=f'https://storage.googleapis.com/rfdetr/rf-detr-seg-{short}-'
        'ft.pth',
        file_name=f'rf-detr-seg-{size}.pt',
        licence='Apache-2.0',
        licence_note='as the README of rfdetr states for this size',
        class_names='coco',
        result=StatedResult(
            task='Instance Segmentation',
            data='COCO',
            metrics={
                'mask AP': ap,
                'mask AP50': ap50
            },
            source='README of rfdetr 1.11.2'),
        tensor_bytes=tensor_bytes,
        loader='rfdetr',
        training={'Training Data': 'COCO'},
        verified=f'address and AP: the wheel of rfdetr 1.11.2{LOADED}rfdetr',
        untried=UNTRIED)


def _shipped(**facts: Any) -> ZooEntry:
    """A checkpoint of this repository."""
    return ZooEntry(
        address=SHIPPED,
        licence='Apache-2.0',
        verified='all: trained and measured here',
        **facts)


def _shapes(name: str, config: str, file_name: str, sha256: str,
            num_bytes: int, training: dict, metrics: dict) -> ZooEntry:
    """A model of OccludedShapes."""
    return _shipped(
        name=name,
        family='RefineVIS',
        config=config,
        file_name=file_name,
        licence_note='trained here; the backbone started from weights of an '
        'MIT package',
        class_names='occluded_shapes',
        result=StatedResult(
            task='Video Instance Segmentation',
            data='OccludedShapes (40 validation videos), offline refinement',
            metrics=metrics,
            source='measured here, docs/results.md'),
        sha256=sha256,
        num_bytes=num_bytes,
        training=training)


ENTRIES: Tuple[ZooEntry, ...] = (
    _shapes(
        'refinevis-small_occluded-shapes',
        'refinevis_mobilenet-v2_1xb4-600_occluded-shapes-stitching.py',
        'refinevis_mobilenet-v2_occluded-shapes-temporal.pth',
        'af6ca2cd9a03df73ab7a9f8e128189bcfb462eeca3c2f029131f05d67476da0d',
        9023403,
        training={
            'Iterations':
            600,
            'Batch Size':
            4,
            'Training Data':
            'OccludedShapes',
            'Training Resources':
            '1 CPU core, 13 minutes, after '
            'refinevis-small-phase1_occluded-shapes'
        },
        metrics=dict(AP=53.5, AP50=80.8, AP75=58.2, AR1=35.7, AR10=59.0)),
    _shapes(
        'refinevis-small-phase1_occluded-shapes',
        'refinevis_mobilenet-v2_2xb2-5k_occluded-shapes.py',
        'refinevis_mobilenet-v2_occluded-shapes.pth',
        '12444649adc613333ae374f87324a36d4344afd3ed04107ea251f04c40b7811b',
        9015547,
        training={
            'Iterations': 5000,
            'Batch Size': 4,
            'Training Data': 'OccludedShapes',
            'Training Resources': '2 CPU cores, 90 minutes'
        },
        metrics=dict(AP=46.0, AP50=73.7, AP75=49.4, AR1=36.1, AR10=54.9)),
    _shipped(
        name='refinevis-small_everyday',
        family='RefineVIS',
        config='refinevis_efficientnet-lite0_2xb2-1k_everyday.py',
        file_name='refinevis_efficientnet-lite0_everyday.pth',
        licence_note=COCO_LICENCE,
        class_names='everyday',
        result=StatedResult(
            task='Video Instance Segmentation',
            data='10 clips composed of 5 of DAVIS that were kept out, 3 '
            'classes, offline refinement',
            metrics=dict(AP=11.8, AP50=27.9),
            source='measured here, docs/results.md'),
        sha256=('66fb4d2cd9fc6995b9afa415d2a3c4f4'
                '3d7879a0ef2aa718ea92ec48e99d6e79'),
        num_bytes=10228699,
        training={
            'Iterations':
            3000,
            'Batch Size':
            4,
            'Training Data':
            'COCO, 377 images with all objects and 1,000 with one person '
            'labelled, as videos',
            'Training Resources':
            '2 CPU cores, 85 minutes beside other work, after '
            'maskdino-small_everyday'
        }),
    _shipped(
        name='maskdino-small_everyday',
        family='MaskDINO',
        config='maskdino_efficientnet-lite0_2xb2-2500_everyday-320.py',
        file_name='maskdino_efficientnet-lite0_everyday.pth',
        licence_note=COCO_LICENCE,
        class_names='everyday',
        result=StatedResult(
            task='Instance Segmentation',
            data='60 images kept out of 437 of COCO, 3 classes',
            metrics={
                'mask AP': 9.9,
                'mask AP50': 21.2
            },
            source='measured here, docs/results.md'),
        sha256=('4459c0d011e2aa1f19f437636729e14b'
                'be5674469ace7e5885b1a6e6581b9a7d'),
        num_bytes=9727487,
        training={
            'Iterations':
            2500,
            'Batch Size':
            4,
            'Training Data':
            'COCO, 377 images with all objects and 1,000 with one person '
            'labelled',
            'Training Resources':
            '2 CPU cores, 131 minutes beside other work, 3,000 iterations at '
            '160 pixels before included'
        }),
    _rfdetr('nano', 'n', 63.0, 40.3, 134309900),
    _rfdetr('small', 's', 66.2, 43.1, 134844428),
    _rfdetr('medium', 'm', 68.4, 45.3, 142777036),
    _rfdetr('large', 'l', 70.5, 47.1, 143495884),
    _mask2former('r50', 'mask2former_r50_8xb2-lsj-50e_coco',
                 '20220506_191028-41b088b6', 42.9, 176306412),
    _mask2former('r101', 'mask2former_r101_8xb2-lsj-50e_coco',
                 '20220426_100250-ecf181e2', 44.0, 252484228),
    _mask2former('swin-t', 'mask2former_swin-t-p4-w7-224_8xb2-lsj-50e_coco',
                 '20220508_091649-01b0f990', 44.7, 189917068),
    _mask2former('swin-s', 'mask2former_swin-s-p4-w7-224_8xb2-lsj-50e_coco',
                 '20220504_001756-c9d0c4f2', 46.1, 275419180),
    _mask2former(
        'swin-b',
        'mask2former_swin-b-p4-w12-384-in21k_8xb2-lsj-50e_coco-panoptic',
        '20220329_230021-05ec7315', 46.3, 431652600),
    _mask2former(
        'swin-l',
        'mask2former_swin-l-p4-w12-384-in21k_16xb1-lsj-100e_coco-panoptic',
        '20220407_104949-82f8d28d', 48.5, 866123752),
    _mask2former_vis('r50', 'mask2former_r50_8xb2-8e_youtubevis2021',
                     '20230426_131833-5d215283', 41.3, 176265292),
    _mask2former_vis('r101', 'mask2former_r101_8xb2-8e_youtubevis2021',
                     '20220823_092747-8077d115', 42.3, 252443108),
    _mask2former_vis(
        'swin-l', 'mask2former_swin-l-p4-w12-384-in21k_8xb2-8e_youtubevis2021',
        '20220907_124752-48252603', 52.3, 866028148),
    _rtmdet('tiny', '8xb32', '20221130_151727-ec670f7e', 35.4, 22627692),
    _rtmdet('s', '8xb32', '20221121_212604-fdc5d7ec', 38.7, 40837612),
    _rtmdet('m', '8xb32', '20221123_001039-6eba602e', 42.1, 110501820),
    _rtmdet('l', '8xb32', '20221124_103237-78d1d652', 43.7, 229790988),
    _rtmdet('x', '8xb16', '20221124_111313-33d4595b', 44.6, 411300316),
    _mmdet(
        'mask-rcnn-r50_coco', 'Mask R-CNN',
        'mask_rcnn/mask-rcnn_r50_fpn_ms-poly-3x_coco',
        'v2.0/mask_rcnn/mask_rcnn_r50_fpn_mstrain-poly_3x_coco/'
        'mask_rcnn_r50_fpn_mstrain-poly_3x_coco_20210524_201154-21b550bb',
        37.1, 177798248),
    _mmdet(
        'condinst-r50_coco', 'CondInst',
        'condinst/condinst_r50_fpn_ms-poly-90k_coco_instance',
        'v3.0/condinst/condinst_r50_fpn_ms-poly-90k_coco_instance/'
        'condinst_r50_fpn_ms-poly-90k_coco_instance_20221129_125223-4c186406',
        36.0, 136877324),
    _mmdet(
        'queryinst-r50_coco', 'QueryInst',
        'queryinst/queryinst_r50_fpn_300-proposals_crop-ms-480-800-3x_coco',
        'v2.0/queryinst/'
        'queryinst_r50_fpn_300_proposals_crop_mstrain_480-800_3x_coco/'
        'queryinst_r50_fpn_300_proposals_crop_mstrain_480-800_3x_coco_'
        '20210904_101802-85cffbd8', 41.7, 691225480),
    _mmdet(
        'solov2-r50_coco', 'SOLOv2', 'solov2/solov2_r50_fpn_ms-3x_coco',
        'v2.0/solov2/solov2_r50_fpn_3x_coco/'
        'solov2_r50_fpn_3x_coco_20220512_125856-fed092d4', 37.5, 186584552),
    _mmdet(
        'solov2-light-r18_coco', 'SOLOv2',
        'solov2/solov2-light_r18_fpn_ms-3x_coco',
        'v2.0/solov2/solov2_light_r18_fpn_3x_coco/'
        'solov2_light_r18_fpn_3x_coco_20220511_083717-75fa355b', 29.7,
        73125600),
    *OFFICIAL_ENTRIES,
)
