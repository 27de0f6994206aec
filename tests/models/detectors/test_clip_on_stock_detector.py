"""A stock detector whose boxes a teacher classifies, against its parts and a plain formula."""

from functools import cached_property
from pathlib import Path

import cv2
import mmdet
import numpy as np
import pytest
import torch
import yaml
from mmdet.apis import DetInferencer
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torchvision.ops import box_iou

from mmdet_vild import config_path
from mmdet_vild.teacher import OpenCLIPTeacher
from mmdet_vild.vocabulary import load_categories, parse_words

pytestmark = pytest.mark.onedl

CONFIG = 'vild/clip-on-crops_coco-proposals.py'
COCO = load_categories('CocoDataset')
#: As the checkpoint of the model zoo, which mmdet 2 wrote, says what it was trained on.
META = dict(CLASSES=tuple(category['name'] for category in COCO), mmdet_version='2.0.0')
SCALE, PROPOSALS = (192, 192), 12
PROMPTS = ('a photo of {article} {}.',)


class World:
    """mmdet's own detector with random weights, and the config here with its checkpoint."""

    def __init__(self, folder: Path) -> None:
        init_default_scope('mmdet')
        torch.manual_seed(0)
        stock = Config.fromfile(f'{mmdet.__path__[0]}/.mim/configs/{self.stock_config}').model
        stock.backbone.init_cfg = None
        self.stock = MODELS.build(stock).eval()
        self.stock.init_weights()
        head = self.stock.roi_head.bbox_head
        with torch.no_grad():  # so that categories differ, in boxes too
            head.fc_cls.weight *= 300
            head.fc_reg.weight *= 100
        self.checkpoint = str(folder / 'stock.pth')
        torch.save(dict(state_dict=self.stock.state_dict(), meta=META), self.checkpoint)
        weights = str(folder / 'teacher.pt')
        torch.save(OpenCLIPTeacher('mini-clip').model.state_dict(), weights)
        self.teacher = OpenCLIPTeacher('mini-clip', weights)
        self.config = Config.fromfile(config_path(CONFIG))
        self.config.model.teacher = dict(
            type='OpenCLIPTeacher', model_name='mini-clip', pretrained=weights
        )
        self.config.model.test_cfg.rpn.max_per_img = PROPOSALS
        for step in self.config.test_dataloader.dataset.pipeline:
            if step.type == 'Resize':
                step.scale = SCALE
        self.detect = DetInferencer(self.config, weights=self.checkpoint, device='cpu')
        self.model = self.detect.model
        coarse = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
        self.image = cv2.resize(coarse, (96, 64), interpolation=cv2.INTER_CUBIC)

    stock_config = 'mask_rcnn/mask-rcnn_r50_fpn_2x_coco.py'

    def ask(self, *texts) -> InstanceData:
        """What is found in the picture."""
        given = dict(texts=[list(texts)], custom_entities=True) if texts else {}
        found = self.detect(self.image, return_datasamples=True, **given)
        return found['predictions'][0].pred_instances

    @cached_property
    @torch.no_grad()
    def regions(self) -> InstanceData:
        """Boxes in the picture, of the stock detector's best categories, objectness and masks."""
        resized = cv2.resize(self.image, SCALE[:1] + (128,))  # keeps the ratio
        meta = dict(img_shape=(128, 192), ori_shape=(64, 96), scale_factor=(2.0, 2.0))
        sample = DetDataSample(metainfo=meta)
        inputs = torch.from_numpy(resized.transpose(2, 0, 1).copy())
        data = self.stock.data_preprocessor(dict(inputs=[inputs], data_samples=[sample]))
        features = self.stock.extract_feat(data['inputs'])
        self.stock.rpn_head.test_cfg.max_per_img = PROPOSALS
        (proposed,) = self.stock.rpn_head.predict(features, data['data_samples'])
        metas = [data['data_samples'][0].metainfo]
        (raw,) = self.stock.roi_head.predict_bbox(features, metas, [proposed], None)
        labels = raw.scores[:, :80].argmax(1)
        boxes = torch.stack([b.view(80, 4)[i] for b, i in zip(raw.bboxes, labels, strict=True)])
        results = InstanceData(bboxes=boxes, labels=labels, scores=proposed.scores)
        self.stock.roi_head.test_cfg.mask_thr_binary = 0.5
        return self.stock.roi_head.predict_mask(features, metas, [results], rescale=True)[0]

    @cached_property
    def seen(self) -> np.ndarray:
        """The teacher's embeddings of them."""
        return self.teacher.encode_crops(self.image, self.regions.bboxes).double().numpy()

    @cached_property
    def coco(self) -> np.ndarray:
        """The embeddings of COCO's words."""
        return self.teacher.encode_categories(COCO, PROMPTS).embeddings

    def scores(self, similarities: np.ndarray) -> np.ndarray:
        """Geometric means (n, words) of the teacher's probabilities and objectness."""
        exponentials = np.exp(similarities.astype(float) / self.teacher.temperature)
        clip = exponentials / exponentials.sum(1, keepdims=True)
        return np.sqrt(clip * self.regions.scores.double().numpy()[:, None])

    def check(self, found: InstanceData, scores: np.ndarray) -> None:
        """Each detection has box and mask of a region and its score; the surest is there."""
        regions = self.regions
        rows = torch.cdist(found.bboxes, regions.bboxes).argmin(1)
        torch.testing.assert_close(found.bboxes, regions.bboxes[rows], rtol=0, atol=2e-3)
        expected = scores[rows.numpy(), found.labels.numpy()]
        np.testing.assert_allclose(found.scores.numpy(), expected, atol=1e-4)
        np.testing.assert_allclose(float(found.scores.max()), scores.max(), atol=1e-4)
        same = (found.masks == regions.masks[rows]).float().mean()
        assert same > 0.999 and len(set(regions.labels[rows].tolist())) > 1
        assert not found.get('stock_labels')


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp('stock'))


def test_the_checkpoint_loads_key_by_key(world: World) -> None:
    """Of the very network in mmdet's model zoo, whose address the config names."""
    found, expected = world.model.state_dict(), world.stock.state_dict()
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=0)
    zoo = Path(mmdet.__path__[0], '.mim/configs/mask_rcnn/metafile.yml')
    models = yaml.safe_load(zoo.read_text())['Models']
    (weights,) = [m['Weights'] for m in models if m['Name'] == Path(world.stock_config).stem]
    assert world.config.load_from == weights


def test_without_words(world: World) -> None:
    """COCO's categories, encoded when they are needed, by one prompt each."""
    assert world.model.dataset_meta['classes'] == META['CLASSES']
    assert not world.model.dataset_meta['novel_classes']
    found = world.ask()
    assert world.model.vocabulary.templates == PROMPTS
    world.check(found, world.scores(world.seen @ world.coco.T))
    assert set(found.label_names) <= set(META['CLASSES']) and not found.novel.any()


def test_own_words_and_a_picture(world: World) -> None:
    """Among COCO's other words, or alone; what the detector's own categories are is forgotten."""
    words = ['whale', 'dog', dict(name='it', examples=[world.image[:32, :32]])]
    asked = world.teacher.encode_categories(parse_words(words), PROMPTS).embeddings
    rivals = world.coco[[category['name'] != 'dog' for category in COCO]]
    for alone in (False, True):
        world.model.roi_head.test_cfg.with_vocabulary = not alone
        rows = asked if alone else np.concatenate([asked, rivals])
        similarities = world.seen @ rows.T
        texts = np.delete(similarities, 2, axis=1)  # whose level the picture is on
        similarities[:, 2] -= similarities[:, 2].mean() - texts.mean()
        found = world.ask(*words)
        world.check(found, world.scores(similarities)[:, :3])
        assert set(found.label_names) <= {'whale', 'dog', 'it'}
    world.model.roi_head.test_cfg.pop('with_vocabulary')


def test_nothing_proposed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = InstanceData(
        bboxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0, dtype=torch.long)
    )
    monkeypatch.setattr(world.model.rpn_head, 'predict', lambda *a, **k: [nothing])
    found = world.ask('whale', dict(name='it', examples=[world.image]))
    assert len(found) == 0 and found.masks.shape == (0, 64, 96)


def test_boxes_alone(world: World) -> None:
    """A Faster R-CNN, whose detections say nothing of its own categories either."""
    cfg = Config(world.config.to_dict()).model
    cfg.roi_head.mask_head = cfg.roi_head.mask_roi_extractor = None
    model = MODELS.build(cfg).eval()
    model.load_state_dict(world.stock.state_dict(), strict=False)
    meta = dict(img_shape=(64, 96), ori_shape=(64, 96), ori_img=world.image)
    sample = DetDataSample(metainfo=meta | dict(text=['whale'], custom_entities=True))
    inputs = torch.from_numpy(world.image.transpose(2, 0, 1).copy())
    with torch.no_grad():
        (result,) = model.test_step(dict(inputs=[inputs], data_samples=[sample]))
    found = result.pred_instances
    assert len(found) and set(found.keys()) == {
        *('bboxes', 'scores', 'labels', 'label_names', 'novel')
    }
    assert box_iou(found.bboxes, found.bboxes).triu(1).max() <= 0.5
