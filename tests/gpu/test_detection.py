"""Tests of pictures, on a GPU that is not there."""

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from pretend_gpu import PretendGPU
from small_detector import TWICE

from mmdet_vild.models import OpenVocabularyTTA

pytestmark = pytest.mark.onedl

#: Prompts to the teacher and back, and the words to the detector, in two parts.
WORDS = 4
#: An image's boxes to the CPU, where its windows are.
CROPS = 2 * 1
OWN = dict(text=['red circle', 'purple cow'], custom_entities=True)


TEXT_CLIP = dict(type='ViLDTextCLIP')
#: EZSD's head; what later papers add after NMS; the teacher's word on the best boxes.
SEMANTIC = dict(roi_head=dict(bbox_head=dict(type='SemanticBBoxHead')))
RESCORED = dict(rcnn=dict(partial=dict(overlap=0.8), objectness_weight=0.3))
TEACHER = dict(type='TeacherScoredViLD', best=5)


def detect(detector, device, changes, gpu=None, **meta):
    """What is found in a picture at two sizes, on the CPU."""
    rcnn = dict(explain=2) | changes.get('rcnn', {})
    changes = {key: value for key, value in changes.items() if key != 'rcnn'}
    model = detector.build(test_cfg=dict(rcnn=rcnn), **changes).to(device)
    batch = detector.batch(TWICE, dict(type='Resize', scale=(100, 80)))
    samples = [sample.to(device) for sample in batch['data_samples']]
    for sample in samples:
        sample.set_metainfo(meta)
    if model.teacher is not None:
        model.teacher.to(device)
    if gpu:
        gpu.waits.clear(), gpu.uploads.clear()
    with torch.no_grad():
        found = model.predict(batch['inputs'].to(device), samples)
    return [sample.pred_instances for sample in found]


@pytest.mark.parametrize(
    ('config', 'changes', 'asked', 'bound'),
    [
        # Two an image for NMS, one an image for what explains it, one for the labels.
        ('vild', {}, {}, 7),
        ('vild-ensemble', {}, {}, 7),
        ('vild-image', {}, {}, 7),
        ('vild', {}, OWN, 7 + WORDS),
        ('clip-on-crops', {}, {}, 7 + CROPS),
        ('clip-on-crops', TEXT_CLIP, {}, 7 + CROPS),
        ('vild', SEMANTIC, {}, 7),
        # Boxes, scores and labels of an image to the CPU, what is left, and that as an index.
        ('vild', RESCORED, {}, 7 + 2 * 5),
        # NMS twice, and which boxes are left.
        ('clip-on-crops', TEACHER, {}, 7 + 2 * 3 + CROPS),
    ],
)
def test_detection(small, config, changes, asked, bound):
    """It finds what a CPU finds; ``bound`` waits at most are caused by our lines."""
    detector = small(config)
    expected = detect(detector, 'cpu', changes, **asked)
    with PretendGPU() as gpu:
        found = detect(detector, 'cuda', changes, gpu, **asked)
        assert all(instances.bboxes.is_cuda for instances in found)
        ours = gpu.ours()
        found = [instances.to('cpu') for instances in found]
    for a, b in zip(found, expected, strict=True):
        assert len(b) and set(a.keys()) == set(b.keys()) and a.label_names == b.label_names
        for key, value in b.items():
            if isinstance(value, torch.Tensor):
                torch.testing.assert_close(
                    a[key], value, rtol=0, atol=5e-5, equal_nan=True, msg=key
                )
    assert sum(ours.values()) <= bound, ours


def test_views_of_an_image():
    """Those of test-time augmentation: the words of all detections come to the host at once."""
    torch.manual_seed(0)
    boxes = torch.rand(2, 9, 4).sort(dim=2).values * 30
    module = torch.nn.Identity()
    module.test_step = None

    def merged(device: str) -> InstanceData:
        samples = []
        for view in boxes:
            found = InstanceData(
                bboxes=view,
                scores=torch.linspace(0.1, 0.9, 9),
                labels=torch.arange(9) % 3,
                label_names=[f'word {i % 3}' for i in range(9)],
            )
            meta = dict(ori_shape=(30, 30), flip=len(samples) == 1, flip_direction='horizontal')
            sample = DetDataSample(metainfo=meta)
            sample.pred_instances = found.to(device)
            samples.append(sample)
        return model.merge_preds([samples])[0].pred_instances

    nms = dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=12)
    model = OpenVocabularyTTA(tta_cfg=ConfigDict(nms), module=module)
    expected = merged('cpu')
    with PretendGPU() as gpu:
        found = merged('cuda')
        ours = sum(count for (_, line), count in gpu.waits.items() if '/mmdet_vild/' in line)
        assert ours <= 1, gpu.waits
        assert found.label_names == expected.label_names and len(found) == len(expected) > 3
        torch.testing.assert_close(found.bboxes.cpu(), expected.bboxes)
