"""The teacher and the extraction, on a GPU that is not there."""

import copy

import pytest
import torch
from pretend_gpu import PretendGPU
from small_detector import TWICE

from mmdet_vild.teacher import OpenCLIPTeacher

pytestmark = pytest.mark.onedl


@pytest.fixture(params=['squash', 'pad'])
def teachers(request, tmp_path):
    """Two of the same weights."""
    torch.manual_seed(0)
    weights = str(tmp_path / 'teacher.pt')
    torch.save(OpenCLIPTeacher('mini-clip').model.state_dict(), weights)
    return [
        OpenCLIPTeacher('mini-clip', weights, batch_size=16, crop_mode=request.param)
        for _ in range(2)
    ]


def test_encode_regions(small, teachers):
    """Images of several sizes, one of them without regions, and batches across images."""
    image = small('region-embeddings').image
    images = [image, image[:50], image[:, :70], image]
    start = torch.rand(4, 10, 2) * 40
    boxes = list(torch.cat([start, start + 2 + 30 * torch.rand(4, 10, 2)], dim=2))
    boxes[3] = boxes[3][:0]
    expected = teachers[0].encode_regions(images, boxes)
    with PretendGPU() as gpu:
        teacher = teachers[1].to('cuda')
        gpu.uploads.clear()
        found = teacher.encode_regions(images, boxes)
        assert not any(rows.is_cuda for rows in found)
    # Half precision and other groups than on the CPU.
    for rows, others in zip(found, expected, strict=True):
        assert torch.cosine_similarity(rows, others).amin() > 0.999 if len(rows) else True
    # The images to the GPU, and the embeddings back; whatever the number of the teacher's batches.
    assert sum(gpu.ours().values()) <= 2


@pytest.mark.parametrize('teachers', ['squash'], indirect=True)
def test_texts(teachers):
    expected = teachers[0].encode_texts(['a red circle', 'b'])
    with PretendGPU():
        found = teachers[1].to('cuda').encode_texts(['a red circle', 'b'])
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_extraction(small):
    detector = small('region-embeddings')
    expected = detector.predict(detector.sample(TWICE)).pred_instances
    with PretendGPU() as gpu:
        model = copy.deepcopy(detector.model).to('cuda')
        sample = detector.sample(TWICE)
        inputs = sample['inputs'].to('cuda')
        gpu.uploads.clear()
        with torch.no_grad():
            (found,) = model.predict(inputs, sample['data_samples'])
        found = found.pred_instances
        assert not found.embeddings.is_cuda and not found.bboxes.is_cuda
    torch.testing.assert_close(found.bboxes, expected.bboxes, rtol=0, atol=1e-4)
    assert torch.cosine_similarity(found.embeddings, expected.embeddings).amin() > 0.999
