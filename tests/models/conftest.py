"""Small ViLD models and samples on random data."""

import copy

import numpy as np
import pytest
import torch
from hash_teacher import OWN, OWN_NOVEL, TEMPLATES, HashTeacher, encode
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config, ConfigDict
from mmengine.structures import InstanceData
from small_models import CATEGORIES, NOVEL, SIZE, TEACHER, WIDTH, build, random_sample

from mmdet_vild import config_path
from mmdet_vild.vocabulary import TextEmbeddings


@pytest.fixture(autouse=True, scope='session')
def _registered() -> None:
    register_all_modules()


@pytest.fixture
def write_text(tmp_path):
    """Writes a text-embedding file of random words; returns its path."""

    def write(count=CATEGORIES, width=WIDTH, name='text', seed=0, teacher=TEACHER) -> str:
        path = str(tmp_path / f'{name}.npz')
        embeddings = np.random.default_rng(seed).normal(size=(count, width))
        names = tuple(f'{name} {i}' for i in range(count))
        TextEmbeddings(embeddings, names, np.arange(count) >= count - NOVEL, teacher).save(path)
        return path

    return write


@pytest.fixture
def make_sample():
    """Builds a training sample with random objects and distillation regions."""
    return random_sample


@pytest.fixture
def roi_head_cfg(write_text):
    """Config of a small ViLDRoIHead of each variant."""

    def make(variant: str = 'vild', fc_norm: bool = True, **classifier) -> dict:
        def extractor(size: int) -> dict:
            layer = dict(type='RoIAlign', output_size=size, sampling_ratio=1)
            common = dict(type='SingleRoIExtractor', out_channels=8, featmap_strides=[4, 8])
            return dict(common, roi_layer=layer)

        shared = dict(
            num_classes=CATEGORIES, in_channels=8, conv_out_channels=8, norm_cfg=dict(type='BN')
        )
        return dict(
            type='ViLDRoIHead',
            bbox_roi_extractor=extractor(7),
            bbox_head=dict(
                **shared,
                type='ViLDEnsembleBBoxHead' if variant == 'ensemble' else 'ViLDBBoxHead',
                num_shared_convs=1,
                num_shared_fcs=1,
                fc_out_channels=12,
                fc_norm_cfg=dict(type='BN1d') if fc_norm else None,
                cls_predictor_cfg=dict(
                    type='CLIPTextClassifier',
                    text_embeddings=write_text(),
                    with_background=variant != 'image',
                    **classifier,
                ),
            ),
            mask_roi_extractor=extractor(14),
            mask_head=dict(**shared, type='FCNMaskHead', num_convs=1, class_agnostic=True),
            distill_loss=None if variant == 'text' else dict(type='ViLDImageDistillLoss'),
            train_cfg=dict(
                assigner=dict(
                    type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5
                ),
                sampler=dict(type='RandomSampler', num=16, pos_fraction=0.25),
                mask_size=28,
                pos_weight=-1,
            ),
            test_cfg=dict(
                score_thr=0.0,
                nms=dict(type='nms', iou_threshold=0.5),
                max_per_img=10,
                mask_thr_binary=0.5,
            ),
        )

    return make


@pytest.fixture
def detector_cfg(roi_head_cfg):
    """Config of a small ViLD without an RPN."""

    def make(variant: str = 'vild') -> dict:
        roi_head = roi_head_cfg(variant)
        train_cfg, test_cfg = (dict(rcnn=roi_head.pop(f'{key}_cfg')) for key in ('train', 'test'))
        return dict(
            type='ViLD',
            data_preprocessor=dict(type='DetDataPreprocessor'),
            backbone=dict(type='ResNet', depth=18, base_channels=8, out_indices=(0, 1)),
            neck=dict(type='FPN', in_channels=[8, 16], out_channels=8, num_outs=2),
            roi_head=roi_head,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
        )

    return make


@pytest.fixture
def mini_detector(write_text):
    """A detector of a mini config, with the words of ``write_text``."""
    config = Config.fromfile(config_path('mini_lvis/vild_lite0_fpn_mini-lvis.py')).model
    config.backbone.init_cfg = None
    config.roi_head.bbox_head.num_classes = config.roi_head.mask_head.num_classes = CATEGORIES
    config.roi_head.bbox_head.cls_predictor_cfg.text_embeddings = write_text()
    return build(config)


@pytest.fixture(autouse=True)
def calls() -> list:
    """The words that the teacher encoded, at each call."""
    HashTeacher.calls = []
    return HashTeacher.calls


@pytest.fixture
def own_words(tmp_path) -> str:
    path = str(tmp_path / 'own.npz')
    encode(OWN, TEMPLATES, novel=OWN_NOVEL).save(path)
    return path


@pytest.fixture
def vild(detector_cfg, own_words):
    """Builds a detector with certain words, those of ``OWN``, and the same weights every time."""

    def make(variant: str = 'vild', text: str = own_words, synonyms: str | None = None, **rcnn):
        cfg = detector_cfg(variant) | dict(teacher=dict(type='HashTeacher', each=bool(synonyms)))
        head = cfg['roi_head']['bbox_head']
        head['num_classes'] = len(TextEmbeddings.load(text).names)
        head['cls_predictor_cfg'] |= dict(text_embeddings=text, temperature=0.5)
        if synonyms:
            head['cls_predictor_cfg']['synonyms'] = synonyms
        cfg['test_cfg']['rcnn'] |= dict(max_per_img=60, with_vocabulary=False) | rcnn
        torch.manual_seed(0)
        model = MODELS.build(ConfigDict(copy.deepcopy(cfg)))
        model.given = cfg
        return model.eval()

    return make


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def detect(make_sample, images):
    """Detects the words of each of some images; None is for the vocabulary."""

    @torch.no_grad()
    def run(model, texts, of=slice(None), proposed=20):
        samples = []
        for i, text in zip(range(len(images))[of], texts, strict=True):
            torch.manual_seed(i)
            sample = make_sample()
            start = torch.rand(20, 2) * 30
            boxes = torch.cat([start, start + 8 + torch.rand(20, 2) * 24], dim=1)
            sample.proposals = InstanceData(bboxes=boxes, scores=torch.rand(20))[:proposed]
            if text is not None:
                sample.set_metainfo(dict(text=text, custom_entities=True))
            samples.append(sample)
        found = model.predict(images[of], samples)
        assert not any('words' in sample.metainfo for sample in found)  # nor their embeddings
        return [sample.pred_instances for sample in found]

    return run
