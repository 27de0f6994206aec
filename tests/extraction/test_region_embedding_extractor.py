"""The extractor's records belong to the original image."""

import json

import pytest
import torch
from mmcv.transforms import Compose
from mmdet.registry import TRANSFORMS
from small_detector import SmallDetector

pytestmark = pytest.mark.onedl

TWICE = dict(type='Resize', scale=(200, 160), keep_ratio=True)
STRETCHED = dict(type='Resize', scale=(150, 160), keep_ratio=False)


@pytest.fixture(scope='module')
def detector(tmp_path_factory: pytest.TempPathFactory) -> SmallDetector:
    return SmallDetector(tmp_path_factory.mktemp('extractor'), 'region-embeddings')


@pytest.mark.parametrize('resize', [TWICE, STRETCHED])
def test_embeds_the_original_image(detector: SmallDetector, resize: dict) -> None:
    sample = detector.sample(resize)
    found = detector.predict(sample)
    regions = found.pred_instances
    assert len(regions) == 32
    source = detector.model.source
    assert source['teacher'] == detector.teacher.identity
    assert source['crop_scales'] == [1.0, 1.5] and source['proposals'].startswith('rpn@')

    # The same boxes by mmdet's own way back to the original image.
    model = detector.model
    with torch.no_grad():
        features = model.extract_feat(sample['inputs'])
        (expected,) = model.rpn_head.predict(features, sample['data_samples'], rescale=True)
    torch.testing.assert_close(regions.bboxes, expected.bboxes, rtol=0, atol=1e-3)
    torch.testing.assert_close(regions.scores, expected.scores)
    assert regions.bboxes[:, 2].max() > 60  # all of the image, not its first quarter
    assert regions.bboxes[:, 2].max() <= 100 and regions.bboxes[:, 3].max() <= 80
    assert (regions.scores.diff() <= 0).all()

    embeddings = detector.teacher.encode_crops(detector.image, regions.bboxes)
    torch.testing.assert_close(regions.embeddings, embeddings, rtol=0, atol=1e-5)
    in_network_pixels = regions.bboxes * torch.tensor(found.scale_factor).repeat(2)
    others = detector.teacher.encode_crops(detector.image, in_network_pixels)
    assert (others - embeddings).abs().max() > 1e-3  # it would have shown


def test_a_pipeline_without_a_resize(detector: SmallDetector) -> None:
    """Boxes are in pixels of the original image as they are."""
    plain = detector.sample(dict(type='PhotoMetricDistortion'))
    assert 'scale_factor' not in plain['data_samples'][0]
    found = detector.predict(plain).pred_instances
    with torch.no_grad():
        features = detector.model.extract_feat(plain['inputs'])
        (expected,) = detector.model.rpn_head.predict(
            features, plain['data_samples'], rescale=False
        )
    right, bottom = expected.bboxes[:, 2].clamp(max=100), expected.bboxes[:, 3].clamp(max=80)
    torch.testing.assert_close(found.bboxes[:, 2], right)
    torch.testing.assert_close(found.bboxes[:, 3], bottom)


@pytest.mark.parametrize(
    'transforms',
    [
        [TWICE, dict(type='RandomFlip', prob=1.0)],
        [dict(type='RandomFlip', prob=1.0)],
        [dict(type='RandomCrop', crop_size=(60, 60))],
        [TWICE, dict(type='Resize', scale=(400, 320))],
        [TWICE, dict(type='Rotate', prob=1.0, level=10)],
        [dict(type='CenterCrop', crop_size=(60, 60))],
        [TWICE, dict(type='Pad', size_divisor=64)],
    ],
    ids=lambda transforms: '-'.join(t['type'] for t in transforms),
)
def test_a_pipeline_that_does_more_than_resize_is_refused(detector, transforms) -> None:
    """Its boxes would be stored in the wrong place of the original image."""
    with pytest.raises(ValueError, match='image 1 was flipped, cropped, padded, rotated or'):
        detector.sample(*transforms)


def test_annotated_boxes_need_a_head_that_knows_what_is_novel(detector: SmallDetector) -> None:
    bbox_head = dict(type='Shared2FCBBoxHead', fc_out_channels=64, num_classes=3)
    extractor = detector.config.model.roi_head.bbox_roi_extractor
    roi_head = dict(type='StandardRoIHead', bbox_head=bbox_head, bbox_roi_extractor=extractor)
    with pytest.raises(ValueError, match='needs the CLIPTextClassifier of a ViLD .* found Linear'):
        detector.build(with_gt=True, roi_head=dict(_delete_=True, **roi_head))


def test_a_pipeline_that_drops_the_original_image_is_refused(detector: SmallDetector) -> None:
    sample = detector.sample(TWICE, without='KeepOriginalImage')
    with pytest.raises(ValueError, match='picture.png has no ori_img; put KeepOriginalImage after'):
        detector.predict(sample)


def test_an_image_without_proposals(detector: SmallDetector, monkeypatch) -> None:
    sample = detector.sample(TWICE)
    predict = detector.model.rpn_head.predict
    monkeypatch.setattr(
        detector.model.rpn_head, 'predict', lambda *a, **k: [r[:0] for r in predict(*a, **k)]
    )
    regions = detector.predict(sample).pred_instances
    assert regions.bboxes.shape == (0, 4)
    assert regions.embeddings.shape == (0, detector.teacher.embed_dims)


def test_the_teacher_is_no_part_of_a_checkpoint(detector: SmallDetector) -> None:
    assert not [key for key in detector.model.state_dict() if key.startswith('teacher')]


def test_proposals_from_a_file(detector: SmallDetector, tmp_path, monkeypatch) -> None:
    boxes = [[10, 20, 30, 40], [5, 5, 50, 60], [0, 0, 100, 80], [1, 2, 3, 4]]
    items = [
        dict(image_id=1, bbox=[x1, y1, x2 - x1, y2 - y1], score=score)
        for (x1, y1, x2, y2), score in zip(boxes, (0.2, 0.9, 0.5, 0.1), strict=True)
    ]
    file = tmp_path / 'proposals.json'
    file.write_text(json.dumps(items))
    model = detector.build(proposal_file=str(file), test_cfg=dict(rpn=dict(max_per_img=3)))
    monkeypatch.setattr(detector, 'model', model)
    regions = detector.predict(detector.sample(TWICE)).pred_instances
    best = torch.tensor(boxes, dtype=torch.float32)[[1, 2, 0]]
    torch.testing.assert_close(regions.bboxes, best, rtol=0, atol=0)
    torch.testing.assert_close(regions.scores, torch.tensor([0.9, 0.5, 0.2]))
    expected = detector.teacher.encode_crops(detector.image, best)
    torch.testing.assert_close(regions.embeddings, expected, rtol=0, atol=1e-5)
    source = model.source
    assert source['proposals'].startswith('file@') and source['at_most'] == 3

    items[0]['score'] = 0.95
    file.write_text(json.dumps(items))
    other = detector.build(proposal_file=str(file), test_cfg=dict(rpn=dict(max_per_img=3)))
    assert other.source['proposals'] != source['proposals']
    sample = detector.sample(TWICE)
    sample['data_samples'][0].set_metainfo(dict(img_id=7))
    with pytest.raises(KeyError, match='does not name image 7 .*make proposals for every image'):
        detector.predict(sample)


def test_proposals_are_clipped_to_the_image(detector: SmallDetector, tmp_path, monkeypatch) -> None:
    """Of 100x80 pixels; one that is nowhere in it was made for another."""
    file = tmp_path / 'proposals.json'

    def model(*box: float):
        file.write_text(json.dumps([dict(image_id=1, bbox=box, score=0.5)]))
        monkeypatch.setattr(detector, 'model', detector.build(proposal_file=str(file)))

    model(-3, 60, 43, 20.5)
    regions = detector.predict(detector.sample(TWICE)).pred_instances
    assert regions.bboxes.tolist() == [[0, 60, 40, 80]]
    expected = detector.teacher.encode_crops(detector.image, regions.bboxes)
    torch.testing.assert_close(regions.embeddings, expected, rtol=0, atol=1e-5)

    model(500, 500, 30, 40)
    message = r'proposals.json has the box \[500.0, .*540.0\] .* image 1, outside of .*\(80, 100\)'
    with pytest.raises(ValueError, match=message):
        detector.predict(detector.sample(TWICE))


@pytest.mark.parametrize('with_file', [False, True])
def test_base_annotations_are_regions_too(
    detector: SmallDetector, tmp_path, monkeypatch, with_file: bool
) -> None:
    """Those of the novel category, label 2, and crowds are not looked at."""
    changes = dict(with_gt=True)
    if with_file:
        changes['proposal_file'] = str(tmp_path / 'proposals.json')
        item = dict(image_id=1, bbox=[1, 2, 30, 40], score=0.5)
        (tmp_path / 'proposals.json').write_text(json.dumps([item]))
    model = detector.build(**changes)
    monkeypatch.setattr(detector, 'model', model)
    boxes = [[10.0, 20, 30, 40], [5, 5, 50, 60], [0, 0, 90, 70], [1, 1, 99, 79]]
    labels, crowds = [1, 2, 0, 0], [0, 0, 0, 1]
    instances = [
        dict(bbox=box, bbox_label=label, ignore_flag=crowd)
        for box, label, crowd in zip(boxes, labels, crowds, strict=True)
    ]
    sample = detector.sample(TWICE, instances=instances)
    regions = detector.predict(sample).pred_instances
    torch.testing.assert_close(regions.bboxes[:2], torch.tensor(boxes)[[0, 2]], rtol=0, atol=0)
    assert regions.scores[:2].tolist() == [1, 1]
    assert len(regions) == 2 + (1 if with_file else 32)
    expected = detector.teacher.encode_crops(detector.image, regions.bboxes)
    torch.testing.assert_close(regions.embeddings, expected, rtol=0, atol=1e-5)
    assert model.source['with_gt'].startswith('base@')
    model.roi_head.bbox_head.fc_cls.novel[0] = True
    assert model.source != detector.build(**changes).source
    with pytest.raises(ValueError, match='picture.png has no ori_gt_bboxes; put KeepOriginalImage'):
        detector.predict(detector.sample(TWICE))


def test_images_do_not_depend_on_their_batch(detector: SmallDetector) -> None:
    """Bit for bit, beside a larger one that makes the batch's padding, and one not readable."""
    large = dict(type='Resize', scale=(300, 400), keep_ratio=False)
    unreadable = dict(type='Resize', scale=(32, 32), keep_ratio=False)
    alone = [detector.predict(detector.sample(r)).pred_instances for r in (TWICE, large)]
    batch = detector.batch(TWICE, large, unreadable)
    batch['data_samples'][2].set_metainfo(dict(unreadable='x.png: no image in it'))
    with torch.no_grad():
        *found, skipped = detector.model.predict(batch['inputs'], batch['data_samples'])
    assert 'pred_instances' not in skipped
    assert batch['inputs'].shape[2] > 160  # padded
    for sample, expected in zip(found, alone, strict=True):
        for key in ('bboxes', 'scores', 'embeddings'):
            assert torch.equal(sample.pred_instances[key], expected[key])


def test_what_could_not_be_read_is_never_embedded(detector: SmallDetector, tmp_path) -> None:
    """Not even where the pipeline does not pass on that it could not be read."""
    (tmp_path / 'broken.png').write_bytes(b'no picture')
    skipping = [dict(type='LoadImageOrSkip'), dict(type='KeepOriginalImage'), TWICE]
    for packing, kept in ((dict(type='PackViLDInputs'), True), (dict(type='PackDetInputs'), False)):
        compose = Compose([TRANSFORMS.build(t) for t in (*skipping, packing)])
        packed = compose(dict(img_path=str(tmp_path / 'broken.png'), img_id=1))
        packed = dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']])
        sample = detector.model.data_preprocessor(packed)
        if kept:
            assert 'pred_instances' not in detector.predict(sample)
            continue
        with pytest.raises(ValueError, match='has no ori_img'):
            detector.predict(sample)
