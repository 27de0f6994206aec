"""An extractor without a detector."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.runner.checkpoint import load_checkpoint
from small_detector import TWICE

pytestmark = pytest.mark.onedl
NAN = float('nan')
META = dict(classes=('red circle', 'blue ring', 'red heart'), novel_classes=('red heart',))


def build(detector, *proposers, **options):
    teacher = dict(detector.config.model.teacher)
    return MODELS.build(
        dict(type='CLIPRegionExtractor', teacher=teacher, proposers=list(proposers), **options)
    )


def test_embeds_what_is_proposed(detector):
    model = build(detector, dict(type='GroundTruthProposer'))
    model.dataset_meta = META
    boxes = ([10.0, 20, 30, 40], 0), ([5, 5, 50, 60], 2)
    instances = [dict(bbox=box, bbox_label=label) for box, label in boxes]
    sample = detector.predict(detector.sample(TWICE, instances=instances), model)
    regions = sample.pred_instances
    assert sample.num_crops == 2  # of one box, at two scales
    assert regions.bboxes.tolist() == [[10, 20, 30, 40]] and regions.annotated.tolist() == [True]
    expected = detector.teacher.encode_crops(detector.image, regions.bboxes)
    torch.testing.assert_close(regions.embeddings, expected, rtol=0, atol=1e-5)
    assert model.source['with_gt'].startswith('base@')


def test_takes_nothing_of_a_checkpoint(detector, tmp_path):
    """Which the test tool wants: the teacher's weights, or any other."""
    model = build(detector, dict(type='GroundTruthProposer'))
    path = str(tmp_path / 'any.pth')
    state = {'visual.conv1.weight': torch.zeros(2), 'unused': torch.ones(())}
    torch.save({'state_dict': state}, path)
    load_checkpoint(model, path, strict=True)
    assert model.unused == 0
    assert [name for name, value in model.named_parameters() if value.requires_grad] == ['unused']


@pytest.mark.parametrize(
    'rpn', [None, dict(max_per_image=3), *[dict(max_per_img=v) for v in (0, -1, 'abc', NAN, 1.5)]]
)
def test_refuses_a_number_of_regions_that_is_none(detector, rpn):
    with pytest.raises(ValueError, match='max_per_img of test_cfg.rpn must be .* of 1 or more, f'):
        build(detector, dict(type='GroundTruthProposer'), test_cfg=dict(rpn=rpn))


def test_refuses_what_needs_a_detector(detector):
    file = dict(type='CLIPAnchorProposer', regions=dict(type='RPNProposer'))
    file['text_embeddings'] = detector.config.model.roi_head.bbox_head.cls_predictor_cfg[
        'text_embeddings'
    ]
    for proposers in ([], [dict(type='RPNProposer')], [file]):
        with pytest.raises(ValueError, match='a CLIPRegionExtractor needs one at least, and none'):
            build(detector, *proposers)
