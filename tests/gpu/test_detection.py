"""Tests of pictures, on a GPU that is not there."""

import pytest
import torch
from pretend_gpu import PretendGPU
from small_detector import TWICE

pytestmark = pytest.mark.onedl

#: Prompts to the teacher and back, and the words to the detector, in two parts.
WORDS = 4
#: Of an image: boxes to the original image in two parts, and back; the image to the teacher; the
#: embeddings back, and to the detector.
CROPS = 2 * 6
OWN = dict(text=['red circle', 'purple cow'], custom_entities=True)


def detect(detector, device, gpu=None, **meta):
    """What is found in a picture at two sizes, on the CPU."""
    model = detector.build(test_cfg=dict(rcnn=dict(explain=2))).to(device)
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
    ('config', 'asked', 'bound'),
    [
        # Two an image for NMS, one an image for what explains it, one for the labels.
        ('vild', {}, 7),
        ('vild-ensemble', {}, 7),
        ('vild-image', {}, 7),
        ('vild', OWN, 7 + WORDS),
        ('clip-on-crops', {}, 7 + CROPS),
    ],
)
def test_detection(small, config, asked, bound):
    """It finds what a CPU finds; ``bound`` waits at most are caused by our lines."""
    detector = small(config)
    expected = detect(detector, 'cpu', **asked)
    with PretendGPU() as gpu:
        found = detect(detector, 'cuda', gpu, **asked)
        assert all(instances.bboxes.is_cuda for instances in found)
        ours = gpu.ours()
        found = [instances.to('cpu') for instances in found]
    for a, b in zip(found, expected, strict=True):
        assert len(b) and set(a.keys()) == set(b.keys()) and a.label_names == b.label_names
        for key, value in b.items():
            if isinstance(value, torch.Tensor):
                torch.testing.assert_close(a[key], value, rtol=0, atol=1e-5, msg=key)
    assert sum(ours.values()) <= bound, ours
