"""The teacher and the extraction, on a GPU that is not there."""

import copy

import pytest
import torch
from pretend_gpu import PretendGPU
from small_detector import TWICE

from mmdet_vild.teacher import OpenCLIPTeacher

#: Of an image: what its anchors are made of, boxes to the host, where the windows are, NMS, what is
#: apart from annotated boxes and what looks novel, and the fields of what is found.
PROPOSING = 9
#: Of a batch: the boxes of the RPN, and the embeddings.
EXTRACTING = 2


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
    # The embeddings back; whatever the number of the teacher's batches.
    assert sum(gpu.ours().values()) <= 1


@pytest.mark.parametrize('teachers', ['squash'], indirect=True)
def test_texts(teachers):
    expected = teachers[0].encode_texts(['a red circle', 'b'])
    with PretendGPU():
        found = teachers[1].to('cuda').encode_texts(['a red circle', 'b'])
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.onedl
def test_extraction(small):
    detector = small('region-embeddings')
    expected = detector.predict(detector.sample(TWICE)).pred_instances
    with PretendGPU() as gpu:
        model = copy.deepcopy(detector.model).to('cuda')
        sample = detector.sample(TWICE)
        inputs = sample['inputs'].to('cuda')
        model.teacher.to('cuda')  # as the first batch does
        gpu.waits.clear(), gpu.uploads.clear()
        with torch.no_grad():
            (found,) = model.predict(inputs, sample['data_samples'])
        assert sum(gpu.ours().values()) <= EXTRACTING, gpu.ours()
        found = found.pred_instances
        assert not found.embeddings.is_cuda and not found.bboxes.is_cuda
    torch.testing.assert_close(found.bboxes, expected.bboxes, rtol=0, atol=1e-4)
    assert torch.cosine_similarity(found.embeddings, expected.embeddings).amin() > 0.999


@pytest.mark.onedl
def test_proposals_of_the_teacher(small):
    """Beside an annotated box: all anchors that are apart from it and look novel, as on a CPU."""
    detector = small('region-embeddings')
    classifier = detector.config.model.roi_head.bbox_head.cls_predictor_cfg
    own = dict(
        type='CLIPAnchorProposer',
        text_embeddings=classifier.text_embeddings,
        with_novel_names=True,
        drop_base=True,
        sizes=(32, 64),
        nms_iou=1.0,
    )
    built = detector.build(proposers=[dict(type='GroundTruthProposer'), own])
    names = ('red circle', 'blue ring', 'red heart')
    box = dict(bbox=[20.0, 10, 60, 50], bbox_label=0)

    def predict(device: str, gpu=None):
        model, sample = copy.deepcopy(built).to(device), detector.sample(TWICE, instances=[box])
        model.dataset_meta = dict(classes=names, novel_classes=names[-1:])
        inputs = sample['inputs'].to(device)
        model.teacher.to(device)  # as the first batch does
        with torch.no_grad():
            model.predict(inputs, detector.sample(TWICE, instances=[box])['data_samples'])
        if gpu:
            gpu.waits.clear(), gpu.uploads.clear()
        with torch.no_grad():
            (found,) = model.predict(inputs, sample['data_samples'])
        rows = found.pred_instances
        # Whose scores are nearly the same may be in another order.
        return rows[sorted(range(len(rows)), key=lambda i: rows.bboxes[i].tolist())]

    expected = predict('cpu')
    assert len(expected) > 50 and expected.annotated.sum() == 1
    with PretendGPU() as gpu:
        found = predict('cuda', gpu)
        assert sum(gpu.ours().values()) <= PROPOSING, gpu.ours()
    torch.testing.assert_close(found.bboxes, expected.bboxes, rtol=0, atol=1e-4)
    assert torch.equal(found.annotated, expected.annotated)
    assert torch.cosine_similarity(found.embeddings, expected.embeddings).amin() > 0.999
    torch.testing.assert_close(found.weights, expected.weights, rtol=0, atol=0.02)
