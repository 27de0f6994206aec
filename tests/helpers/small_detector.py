"""The mini detectors with random weights, and a sample as a test pipeline makes it."""

import copy
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from mmcv.transforms import Compose
from mmdet.registry import MODELS, TRANSFORMS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdet_vild import config_path
from mmdet_vild.teacher import OpenCLIPTeacher

CATEGORIES = [
    dict(name=name, synonyms=[name], frequency=frequency)
    for name, frequency in (('red circle', 'f'), ('blue ring', 'c'), ('red heart', 'r'))
]
#: Resizes the picture to twice its size.
TWICE = dict(type='Resize', scale=(200, 160), keep_ratio=True)


class SmallDetector:
    """A detector of a mini config and one picture.

    Args:
        folder: Where the teacher, the text embeddings and the picture go.
        config: Start of the mini config's name.
        vocabulary_by: The teacher that encodes the vocabulary; default: the detector's own.
    """

    def __init__(self, folder: Path, config: str, vocabulary_by: str | None = None) -> None:
        torch.manual_seed(0)
        weights = folder / 'teacher.pt'
        torch.save(OpenCLIPTeacher('mini-clip').model.state_dict(), weights)
        self.teacher = OpenCLIPTeacher('mini-clip', vocabulary_by or str(weights))
        self.text = self.teacher.encode_categories(CATEGORIES)
        self.text.save(str(folder / 'text.npz'))
        self.config = Config.fromfile(config_path(f'mini_lvis/{config}_lite0_fpn_mini-lvis.py'))
        model = self.config.model
        model.teacher.update(model_name='mini-clip', pretrained=str(weights))
        model.roi_head.bbox_head.num_classes = model.roi_head.mask_head.num_classes = 3
        model.roi_head.bbox_head.cls_predictor_cfg.text_embeddings = str(folder / 'text.npz')
        init_default_scope('mmdet')
        self.model = self.build()
        rng = np.random.default_rng(0)
        coarse = rng.integers(0, 256, (8, 10, 3), dtype=np.uint8)
        self.image = cv2.resize(coarse, (100, 80), interpolation=cv2.INTER_CUBIC)
        self.image_file = str(folder / 'picture.png')
        cv2.imwrite(self.image_file, self.image)

    def build(self, **changes) -> torch.nn.Module:
        """The model of the config with some of its settings changed."""
        torch.manual_seed(1)
        config = copy.deepcopy(self.config)
        config.merge_from_dict({'model': changes})
        return MODELS.build(config.model).eval()

    def sample(self, *resizes: dict, without: str = '', **given) -> dict:
        """The picture through the config's test pipeline.

        Args:
            *resizes: In place of the pipeline's own Resize.
            without: Name of a transform to leave out.
            **given: What else the pipeline is given, such as ``instances``, its annotations.
        """
        return self.model.data_preprocessor(self._packed(resizes, without, **given))

    def batch(self, *resizes: dict) -> dict:
        """The picture resized in several ways."""
        samples = [self._packed([resize]) for resize in resizes]
        together = {key: [s[key][0] for s in samples] for key in ('inputs', 'data_samples')}
        return self.model.data_preprocessor(together)

    def _packed(self, resizes: Sequence, without: str = '', **given) -> dict:
        pipeline = []
        for transform in self.config.test_dataloader.dataset.pipeline:
            if transform.type == 'Resize':
                pipeline += resizes or [transform]
            elif transform.type not in ('LoadAnnotations', without):
                pipeline.append(transform)
        compose = Compose([TRANSFORMS.build(transform) for transform in pipeline])
        packed = compose(dict(img_path=self.image_file, img_id=1, **given))
        return dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']])

    @torch.no_grad()
    def predict(self, sample: dict, model: torch.nn.Module | None = None) -> DetDataSample:
        """The sample with what the model, or another one, predicts."""
        (found,) = (model or self.model).predict(sample['inputs'], sample['data_samples'])
        return found
