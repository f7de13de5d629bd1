# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Names of weights that the authors of the methods have published.

Their keys are those of the official code bases; they become ours when the file
is loaded (``refinevis_mm.zoo.conversion``). No file was opened here: addresses,
AP and licences are those of the READMEs and model zoos that are named. Sizes
are those of the state dicts of official models, built with random weights.
"""
from typing import Optional, Tuple

from .entry import StatedResult, ZooEntry

VERIFIED = ('every key of the official model has its place; a tiny ResNet '
            'model of the family gives the results of the official code with '
            'equal random weights')
UNTRIED = 'the published file: this was built without a network'
FACEBOOK = 'https://dl.fbaipublicfiles.com/maskformer/mask2former/coco/'
DETREX = ('https://github.com/IDEA-Research/detrex-storage/releases/download/'
          'maskdino-v0.1.0/')
MINVIS = 'https://huggingface.co/deahuang/MinVIS-Model-Zoo/resolve/main/'
IDOL = 'https://huggingface.co/QHL067/VNext_ECCV/resolve/main/IDOL/'
DATA = dict(
    coco='COCO',
    youtubevis2019='YouTube-VIS 2019',
    youtubevis2021='YouTube-VIS 2021',
    ovis='OVIS')
CLASS_NAMES = dict(
    coco='coco',
    youtubevis2019='youtube_vis_2019',
    youtubevis2021='youtube_vis_2021',
    ovis='ovis')


def _video_ap(data: str, ap: float, source: str) -> StatedResult:
    """Result on the validation videos of a data set."""
    return StatedResult(
        task='Video Instance Segmentation',
        data=DATA[data],
        metrics=dict(AP=ap),
        source=source)


def _image_ap(ap: float, source: str) -> StatedResult:
    """Result on COCO's validation images."""
    return StatedResult(
        task='Instance Segmentation',
        data='COCO',
        metrics={'mask AP': ap},
        source=source)


def _mask2former(size: str, config: str, folder: str, ap: float,
                 tensor_bytes: int) -> ZooEntry:
    """Mask2Former of detectron2, instances of COCO."""
    return ZooEntry(
        name=f'mask2former-d2-{size}_coco',
        family='Mask2Former',
        config=config,
        address=f'{FACEBOOK}instance/{folder}.pkl',
        file_name=f'{folder.replace("/", "_")}.pkl',
        licence='CC BY-NC 4.0',
        licence_note='MODEL_ZOO.md of Mask2Former',
        non_commercial=True,
        class_names='coco',
        result=_image_ap(ap, 'MODEL_ZOO.md of Mask2Former'),
        tensor_bytes=tensor_bytes,
        training={'Training Data': 'COCO'},
        verified=VERIFIED,
        untried=UNTRIED)


def _maskdino(name: str, config: str, file_name: str, ap: float,
              tensor_bytes: int, note: str) -> ZooEntry:
    """MaskDINO of COCO."""
    return ZooEntry(
        name=name,
        family='MaskDINO',
        config=config,
        address=f'{DETREX}{file_name}',
        file_name=file_name,
        licence='Apache-2.0',
        licence_note='of the repository of MaskDINO; none is stated for the '
        'weights',
        class_names='coco',
        result=_image_ap(ap, 'name of the file'),
        tensor_bytes=tensor_bytes,
        training={'Training Data': 'COCO'},
        verified=VERIFIED,
        untried=f'{UNTRIED}; {note}')


def _minvis(size: str, data: str, schedule: str, short: str, ap: float,
            tensor_bytes: int) -> ZooEntry:
    """MinVIS."""
    return ZooEntry(
        name=f'minvis-{size}_{data}',
        family='MinVIS',
        config=f'minvis_{size}_8xb4-{schedule}_{data}.py',
        address=f'{MINVIS}minvis_{short}.pth',
        file_name=f'minvis_{short}.pth',
        licence='CC BY-NC-SA 4.0',
        licence_note='README of MinVIS',
        non_commercial=True,
        class_names=CLASS_NAMES[data],
        result=_video_ap(data, ap, 'MODEL_ZOO.md of MinVIS'),
        tensor_bytes=tensor_bytes,
        training={'Training Data': DATA[data]},
        verified=VERIFIED,
        untried=UNTRIED)


def _idol(size: str, data: str, config: str, file_name: str,
          ap: Optional[float], tensor_bytes: int) -> ZooEntry:
    """IDOL; the weights of COCO have a trained association head, too."""
    result = None if ap is None else _video_ap(data, ap, 'IDOL.md of VNext')
    return ZooEntry(
        name=f'idol-{size}_{data}',
        family='IDOL',
        config=f'idol_{config}.py',
        address=f'{IDOL}{file_name}.pth',
        file_name=f'idol_{file_name}.pth',
        licence='Apache-2.0',
        licence_note='of the repository of VNext; none is stated for the '
        'weights',
        class_names=CLASS_NAMES[data],
        result=result,
        tensor_bytes=tensor_bytes,
        training={'Training Data': DATA[data]},
        verified=VERIFIED,
        untried=UNTRIED)


OFFICIAL_ENTRIES: Tuple[ZooEntry, ...] = (
    _mask2former('r50', 'mask2former-r50_coco.py',
                 'maskformer2_R50_bs16_50ep/model_final_3c8ec9', 43.7,
                 176306312),
    _mask2former('r101', 'mask2former-r101_coco.py',
                 'maskformer2_R101_bs16_50ep/model_final_eba159', 44.2,
                 252483720),
    _mask2former('swin-t', 'mask2former-swin-t_coco.py',
                 'maskformer2_swin_tiny_bs16_50ep/model_final_86143f', 45.0,
                 189917392),
    _mask2former('swin-s', 'mask2former-swin-s_coco.py',
                 'maskformer2_swin_small_bs16_50ep/model_final_1e7f22', 46.3,
                 275419504),
    _mask2former(
        'swin-b', 'mask2former-d2-swin-b_coco.py',
        'maskformer2_swin_base_IN21k_384_bs16_50ep/model_final_83d103', 48.1,
        431598440),
    _mask2former(
        'swin-l', 'mask2former-d2-swin-l_coco.py',
        'maskformer2_swin_large_IN21k_384_bs16_100ep/model_final_e5f453', 50.1,
        866069592),
    _maskdino(
        'maskdino-r50_coco', 'maskdino_r50_4s-hid2048_16xb1-lsj-50e_coco.py',
        'maskdino_r50_50ep_300q_hid2048_3sd1_instance_maskenhanced_'
        'mask46.3ap_box51.7ap.pth', 46.3, 208657300,
        'it is thought to be of the config that its README links'),
    _maskdino(
        'maskdino-swin-l_coco',
        'maskdino_swin-l_5s-hid2048_16xb1-lsj-50e_coco.py',
        'maskdino_swinl_50ep_300q_hid2048_3sd1_instance_maskenhanced_'
        'mask52.3ap_box59.0ap.pth', 52.3, 895178212,
        'its name says four levels, the config that its README links five, '
        'which is what is taken here'),
    _idol('r50', 'coco', 'r50_coco', 'cocopretrain_R50', None, 172934828),
    _idol('r101', 'coco', 'r101_coco', 'cocopretrain_R101', None, 249112236),
    _idol('swin-l', 'coco', 'swin-l_coco', 'cocopretrain_SWINL', None,
          857840252),
    _idol('r50', 'youtubevis2019', 'r50_8xb4-12k_youtubevis2019',
          'YTVIS19_R50_502AP', 50.2, 172688108),
    _idol('r101', 'youtubevis2019', 'r101_8xb4-12k_youtubevis2019',
          'YTVIS19_R101_501AP', 50.1, 248865516),
    _idol('swin-l', 'youtubevis2019', 'swin-l_8xb4-12k_youtubevis2019',
          'YTVIS19_SWINL_639AP-003', 64.3, 857593532),
    _idol('r50', 'youtubevis2021', 'r50_8xb4-12k_youtubevis2021',
          'YTVIS21_R50_478AP', 47.7, 172688108),
    _idol('r101', 'youtubevis2021', 'r101_8xb4-12k_youtubevis2021',
          'YTVIS21_R101_485AP', 48.5, 248865516),
    _idol('swin-l', 'youtubevis2021', 'swin-l_8xb4-12k_youtubevis2021',
          'YTVIS21_SwinL_608AP-002', 60.8, 857593532),
    _idol('r50', 'ovis', 'r50_8xb2-12k_ovis', 'OVIS_R50_294AP', 29.5,
          172595588),
    _idol('swin-l', 'ovis', 'swin-l_8xb2-12k_ovis', 'OVIS_SwinL_414AP', 41.4,
          857501012),
    _minvis('r50', 'youtubevis2019', '6k', 'ytvis19_R50', 47.3, 176265032),
    _minvis('r50', 'youtubevis2021', '8k', 'ytvis21_R50', 43.9, 176265032),
    _minvis('r50', 'ovis', '10k', 'ovis_R50', 26.7, 176249552),
    _minvis('swin-l', 'youtubevis2019', '6k', 'ytvis19_swin_large', 62.0,
            866028312),
    _minvis('swin-l', 'youtubevis2021', '8k', 'ytvis21_swin_large', 55.4,
            866028312),
    _minvis('swin-l', 'ovis', '10k', 'ovis_swin_large', 41.7, 866012832),
)
