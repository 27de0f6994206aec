"""Small segmentors on random data."""

import copy
from pathlib import Path

import mmdet
import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmdet.utils import register_all_modules
from mmengine.config import Config, ConfigDict
from mmengine.structures import InstanceData

from mmdet_vild.vocabulary import TextEmbeddings

register_all_modules()
CONFIGS = dict(
    mask2former='mask2former_r50_8xb2-lsj-50e_coco-panoptic.py',
    maskformer='maskformer_r50_ms-16xb1-75e_coco.py',
)
CLASSES, WIDTH, QUERIES, LAYERS, SIZE = 5, 16, 8, 2, 64


def mmdet_config(former: str = 'mask2former') -> ConfigDict:
    """mmdet's own model, small, for :data:`CLASSES` things."""
    folder = Path(mmdet.__file__).parent / '.mim/configs' / former
    model = copy.deepcopy(Config.fromfile(str(folder / CONFIGS[former])).model)
    model.backbone = dict(type='ResNet', depth=18, base_channels=8, norm_eval=True)
    model.data_preprocessor.batch_augments = None
    head = model.panoptic_head
    for part in (head, model.panoptic_fusion_head):
        part.update(num_things_classes=CLASSES, num_stuff_classes=0)
    head.update(in_channels=[8, 16, 32, 64], feat_channels=WIDTH, out_channels=WIDTH)
    head.update(num_queries=QUERIES)
    head.loss_cls.class_weight = [1.0] * CLASSES + [0.1]
    head.positional_encoding.num_feats = WIDTH // 2
    head.pixel_decoder.norm_cfg.num_groups = 4
    head.pixel_decoder.positional_encoding.num_feats = WIDTH // 2
    for stack, layers in ((head.pixel_decoder.encoder, 1), (head.transformer_decoder, LAYERS)):
        stack.num_layers = layers
        for name, part in stack.layer_cfg.items():
            part.embed_dims = WIDTH
            part.update(feedforward_channels=32) if name == 'ffn_cfg' else part.update(num_heads=2)
            if 'dropout' in part:
                part.dropout = 0.0
            if 'ffn_drop' in part:
                part.ffn_drop = 0.0
    model.train_cfg.num_points = 128
    model.test_cfg.update(panoptic_on=False, instance_on=True, max_per_image=10)
    return model


def gkc_config(text_embeddings: str, former: str = 'mask2former', **head) -> ConfigDict:
    """A small GKC; ``head`` is what its head is given."""
    model = mmdet_config(former)
    model.type = 'GKC'
    model.panoptic_head.type = 'GKCHead' if former == 'mask2former' else 'GKCMaskFormerHead'
    model.panoptic_head.update(
        cls_predictor_cfg=dict(
            type='CLIPTextClassifier', text_embeddings=text_embeddings, temperature=0.07
        ),
        **head,
    )
    model.panoptic_fusion_head.type = 'OpenVocabularyFusionHead'
    model.test_cfg.semantic_on = True
    return model


def built(config: ConfigDict) -> torch.nn.Module:
    """With the same weights every time."""
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(config))
    model.init_weights()
    return model


def segment_sample(
    segments: int = 3, dims: int = WIDTH, teacher: str = 'teacher@0', size: int = SIZE
) -> DetDataSample:
    """A training sample of stripes, with what the teacher says of each."""
    shape = dict.fromkeys(('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape'), (size,) * 2)
    sample = DetDataSample(metainfo=dict(shape, scale_factor=(1.0, 1.0)))
    masks = torch.zeros(segments, size, size, dtype=torch.uint8)
    for i in range(segments):
        masks[i, :, i * size // segments : (i + 1) * size // segments] = 1
    sample.gt_instances = InstanceData(
        labels=torch.randint(0, CLASSES, (segments,)),
        masks=BitmapMasks(masks.numpy(), size, size),
        embeddings=torch.randn(segments, dims).half(),
        synonyms=torch.randint(0, 2, (segments,)),
        metainfo=dict(teacher=teacher),
    )
    return sample


def segment_batch(*counts: int) -> dict:
    """A batch of images with some segments each."""
    torch.manual_seed(1)
    samples = [segment_sample(count) for count in counts]
    return dict(inputs=torch.randn(len(counts), 3, SIZE, SIZE), data_samples=samples)


def write_words(path: str, names: int = 2, teacher: str = 'teacher@0', novel=()) -> str:
    """A text-embedding file of :data:`CLASSES` categories with some synonyms each."""
    rng = np.random.default_rng(0)
    more = range(1, names)
    synonyms = [[f'word {c}', *(f'synonym {c} {i}' for i in more)] for c in range(CLASSES)]
    rows = rng.normal(size=(CLASSES * names, WIDTH)).astype(np.float32)
    TextEmbeddings(
        rows.reshape(CLASSES, names, WIDTH).mean(1),
        [words[0] for words in synonyms],
        np.isin(np.arange(CLASSES), novel),
        teacher,
        synonyms,
        ['{}'],
        rows,
    ).save(path)
    return path
