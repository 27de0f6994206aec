"""The mixin with a detector that is nothing like ViLD: a dense one, with sigmoid scores."""

import numpy as np
import pytest
import torch
from mmdet.models.dense_heads import RetinaHead
from mmdet.models.detectors import RetinaNet
from mmdet.registry import MODELS, TRANSFORMS
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from small_models import CATEGORIES, NOVEL, SIZE, WIDTH
from torch import Tensor, nn

from mmdet_vild.models import CLIPTextClassifier, OpenVocabularyMixin
from mmdet_vild.vocabulary import TextEmbeddings

pytestmark = pytest.mark.onedl


class DenseEmbedding(nn.Module):
    """A text classifier in the place of a convolution: (B, F, H, W) to embeddings (B, D, H, W)."""

    def __init__(self, classifier: CLIPTextClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier.embed(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@MODELS.register_module()
class TextRetinaHead(RetinaHead):
    """A RetinaHead with one anchor a place, whose scores are similarities with words."""

    def __init__(self, text_embeddings: str, **kwargs) -> None:
        self.text_embeddings = text_embeddings
        super().__init__(**kwargs)

    def _init_layers(self) -> None:
        super()._init_layers()
        classifier = CLIPTextClassifier(
            self.feat_channels,
            self.num_classes + 1,
            self.text_embeddings,
            temperature=0.1,
            with_background=False,
        )
        self.retina_cls = DenseEmbedding(classifier)

    def logits(self, embeddings: Tensor, words=None) -> Tensor:
        """(..., D, H, W) to (..., C, H, W)."""
        logits = self.retina_cls.classifier.classify(embeddings.movedim(-3, -1), words)
        return logits.movedim(-1, -3)

    def loss_by_feat(self, cls_scores, *args, **kwargs) -> dict:
        return super().loss_by_feat([self.logits(level) for level in cls_scores], *args, **kwargs)

    def _predict_by_feat_single(self, cls_score_list, *args, img_meta, **kwargs):
        words = img_meta['words']
        levels = [self.logits(level, words) for level in cls_score_list]
        self.cls_out_channels = levels[0].shape[0]
        found = super()._predict_by_feat_single(levels, *args, img_meta=img_meta, **kwargs)
        return found[found.labels < (words.count if words else self.num_classes)]


@MODELS.register_module()
class TextRetinaNet(OpenVocabularyMixin, RetinaNet):
    pass


def build(head: str, text: str | None = None):
    torch.manual_seed(0)
    config = dict(
        type='TextRetinaNet',
        data_preprocessor=dict(type='DetDataPreprocessor'),
        backbone=dict(type='ResNet', depth=18, base_channels=8, out_indices=(1, 2)),
        neck=dict(type='FPN', in_channels=[16, 32], out_channels=8, num_outs=2),
        bbox_head=dict(
            type=head,
            num_classes=len(TextEmbeddings.load(text).names) if text else CATEGORIES,
            in_channels=8,
            stacked_convs=1,
            feat_channels=8,
            anchor_generator=dict(
                type='AnchorGenerator', scales=[4], ratios=[1.0], strides=[8, 16]
            ),
            loss_cls=dict(type='FocalLoss', use_sigmoid=True),
        ),
        train_cfg=dict(
            assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0),
            allowed_border=-1,
            pos_weight=-1,
        ),
        test_cfg=dict(
            nms_pre=1000, score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=500
        ),
    )
    if text:
        config['bbox_head']['text_embeddings'] = text
    return MODELS.build(ConfigDict(config))


@torch.no_grad()
def detect(model, images, samples, texts):
    for sample, text in zip(samples, texts, strict=True):
        if text is not None:
            sample.set_metainfo(dict(text=text, custom_entities=True))
    return [sample.pred_instances for sample in model.eval().predict(images, samples)]


def test_each_image_has_its_words(write_text, make_sample, tmp_path):
    """As a detector whose vocabulary they are; one pass of the network for all of them."""
    text = TextEmbeddings.load(write_text())
    model = build('TextRetinaHead', write_text())
    assert model.dataset_meta['classes'] == text.names
    assert model.dataset_meta['novel_classes'] == text.names[-NOVEL:]
    images = torch.randn(3, 3, SIZE, SIZE)
    passes = []
    model.backbone.register_forward_hook(lambda *_: passes.append(1))
    texts = ['text 6 . text 2', None, 'text 1']
    found = detect(model, images, [make_sample() for _ in texts], texts)
    assert len(passes) == 1
    for i, rows in enumerate(([6, 2], range(CATEGORIES), [1])):
        asked = [text.names[row] for row in rows]
        others = [name for name in text.names if name not in asked]
        order = [text.names.index(name) for name in [*asked, *others]]
        path = str(tmp_path / 'other.npz')
        TextEmbeddings(
            text.embeddings[order], tuple(text.names[o] for o in order), text.novel[order], 't@0'
        ).save(path)
        alone = build('TextRetinaHead', path)
        alone.load_state_dict({k: v for k, v in model.state_dict().items() if 'digest' not in k})
        (expected,) = detect(alone, images[i : i + 1], [make_sample()], [None])
        expected = expected[expected.labels < len(asked)]
        # A batch of another size may be summed in another order: pixels are up to 1e-3 apart.
        torch.testing.assert_close(found[i].scores, expected.scores, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found[i].bboxes, expected.bboxes, rtol=1e-4, atol=1e-3)
        assert found[i].label_names == expected.label_names
        assert set(found[i].label_names) == set(asked)
        assert found[i].novel.tolist() == [
            name in text.names[-NOVEL:] for name in found[i].label_names
        ]


def test_trains(write_text, make_sample):
    model = build('TextRetinaHead', write_text()).train()
    losses = model.loss(torch.randn(2, 3, SIZE, SIZE), [make_sample(), make_sample()])
    sum(sum(values) for values in losses.values()).backward()
    classifier = model.text_classifier
    assert classifier.projection.weight.grad.abs().sum() > 0
    assert classifier.projection.weight.shape == (WIDTH, 8)


def test_needs_a_text_classifier():
    config = dict(type='RetinaHead')
    with pytest.raises(TypeError, match='TextRetinaNet needs a CLIPTextClassifier'):
        build(config['type'])


@pytest.mark.parametrize('packer', [{}, dict(meta_keys=('img_path', 'text'))])
def test_pipelines_hand_words_on(vild, packer):
    """Those of MMDetection's configs, too, which drop what they do not know."""
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackDetInputs', **packer)]
    model = vild()
    model.cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=pipeline))))
    packer = TRANSFORMS.build(model.cfg.test_dataloader.dataset.pipeline[-1])
    results = dict(img=np.zeros((4, 4, 3)), img_path='a.jpg', text='cat', custom_entities=True)
    sample = packer(results)['data_samples']
    assert sample.metainfo == dict(img_path='a.jpg', text='cat', custom_entities=True)
    assert model.cfg.test_dataloader.dataset.pipeline[0] == pipeline[0]


def test_a_pipeline_without_meta_keys(vild, monkeypatch):
    warnings = []
    monkeypatch.setattr(MMLogger, 'warning', lambda _, message: warnings.append(message))
    pipeline = [dict(type='LoadImageFromFile')]
    vild().cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=pipeline))))
    assert 'LoadImageFromFile, has no meta_keys' in warnings[0]
