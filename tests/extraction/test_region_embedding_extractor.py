"""The teacher embeds the regions of all proposers, cropped from the original image."""

import json
import math

import pytest
import torch
from mmcv.transforms import Compose
from mmdet.registry import TASK_UTILS, TRANSFORMS
from mmengine.structures import InstanceData
from small_detector import TWICE

from mmdet_vild.extraction import Proposer

pytestmark = pytest.mark.onedl


@TASK_UTILS.register_module(force=True)
class OneBox(Proposer):
    """Proposes one box, with a weight if it is given one."""

    def __init__(self, box, weight=None):
        self.box, self.weight = box, weight

    def source(self, model):
        return {'proposals': f'box@{self.box}'}

    def propose(self, model, batch_inputs, batch_data_samples):
        regions = InstanceData(bboxes=torch.tensor([self.box]), scores=torch.tensor([0.5]))
        if self.weight is not None:
            regions.weights = torch.tensor([self.weight])
        return [regions for _ in batch_data_samples]


def test_embeds_the_original_image(detector):
    found = detector.predict(detector.sample(TWICE))
    regions = found.pred_instances
    embeddings = detector.teacher.encode_crops(detector.image, regions.bboxes)
    torch.testing.assert_close(regions.embeddings, embeddings, rtol=0, atol=1e-5)
    in_network_pixels = regions.bboxes * torch.tensor(found.scale_factor).repeat(2)
    others = detector.teacher.encode_crops(detector.image, in_network_pixels)
    assert (others - embeddings).abs().max() > 1e-3  # it would have shown
    assert len(regions) == 20 and regions.labels.tolist() == [0] * 20
    source = detector.model.source
    assert source['teacher'] == detector.teacher.identity
    assert source['crop_scales'] == [1.0, 1.5] and source['proposals'].startswith('rpn@')


@pytest.mark.parametrize('with_file', [False, True])
@pytest.mark.parametrize('with_gt', [False, True])
def test_short_forms(detector, tmp_path, with_file, with_gt):
    """Regions and source of what the proposers are named for, in the order of them."""
    file = str(tmp_path / 'p.json')
    rows = [dict(image_id=1, bbox=[x, 2, 30, 40], score=0.5) for x in range(40)]
    (tmp_path / 'p.json').write_text(json.dumps(rows))
    short = detector.build(with_gt=with_gt, **(dict(proposal_file=file) if with_file else {}))
    last = dict(type='FileProposer', proposal_file=file) if with_file else dict(type='RPNProposer')
    long = detector.build(proposers=[dict(type='GroundTruthProposer')] * with_gt + [last])
    sample = detector.sample(TWICE, instances=[dict(bbox=[5, 6, 7, 8], bbox_label=0)])
    found = []
    for model in (short, long):
        model.dataset_meta = dict(classes=('a', 'b', 'c'), novel_classes=('c',))
        found.append(detector.predict(sample, model).pred_instances.clone())
    assert short.source == long.source
    assert str(long.source['with_gt']).startswith('base@' if with_gt else 'False')
    assert long.source['proposals'].startswith('file@' if with_file else 'rpn@')
    assert long.source['at_most'] == 20 and len(found[0]) == 20 + with_gt
    assert (found[0].bboxes[0].tolist() == [5, 6, 7, 8]) == with_gt
    for key in ('bboxes', 'scores', 'embeddings'):
        assert torch.equal(found[0][key], found[1][key])


def test_proposers_of_one_kind_and_of_weights(detector):
    """Regions of a proposer without weights have a weight of 1."""
    one = dict(type='OneBox', box=[10.0, 20, 30, 40])
    two = dict(type='OneBox', box=[5.0, 5, 50, 60], weight=0.25)
    model = detector.build(proposers=[one, two])
    regions = detector.predict(detector.sample(TWICE), model).pred_instances
    assert regions.bboxes.tolist() == [one['box'], two['box']]
    assert regions.weights.tolist() == [1, 0.25]
    embeddings = detector.teacher.encode_crops(detector.image, regions.bboxes)
    torch.testing.assert_close(regions.embeddings, embeddings, rtol=0, atol=1e-5)
    assert model.source['proposals'] == 'box@[10.0, 20, 30, 40]'
    assert model.source['proposer_2'] == {'proposals': 'box@[5.0, 5, 50, 60]'}
    alone = detector.predict(detector.sample(TWICE), detector.build(proposers=[one]))
    assert 'weights' not in alone.pred_instances


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(proposers=[]), r'found proposers=\[\] with'),
        (dict(proposers=[dict(type='RPNProposer')], with_gt=True), 'and with_gt=True; name all'),
        (dict(proposers=[dict(type='RPNProposer')], proposal_file='p'), "proposal_file='p' and"),
        (dict(test_cfg=dict(rpn=dict(max_per_img=0))), 'max_per_img .* of 1 or more, found 0'),
        (dict(test_cfg=dict(rpn=dict(max_per_img='9'))), "max_per_img .* number .*, found '9'"),
        (dict(teacher=dict(batch_size=0)), 'batch_size .* a whole number of 1 or more.*, found 0'),
    ],
)
def test_refused_at_build(detector, changes, message):
    with pytest.raises(ValueError, match=message):
        detector.build(**changes)


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
def test_a_pipeline_that_does_more_than_resize_is_refused(detector, transforms):
    """Its boxes would be stored in the wrong place of the original image."""
    with pytest.raises(ValueError, match='image 1 was flipped, cropped, padded, rotated or'):
        detector.sample(*transforms)


def test_an_image_without_proposals(detector, monkeypatch):
    head = detector.model.rpn_head
    predict = head.predict
    monkeypatch.setattr(head, 'predict', lambda *a, **k: [r[:0] for r in predict(*a, **k)])
    regions = detector.predict(detector.sample(TWICE)).pred_instances
    assert regions.bboxes.shape == (0, 4)
    assert regions.embeddings.shape == (0, detector.teacher.embed_dims)


def test_the_teacher_is_no_part_of_a_checkpoint(detector):
    assert not [key for key in detector.model.state_dict() if key.startswith('teacher')]


def test_images_do_not_depend_on_their_batch(detector):
    """Bit for bit, beside a larger one that makes the batch's padding, and one not readable."""
    large = dict(type='Resize', scale=(300, 400), keep_ratio=False)
    unreadable = dict(type='Resize', scale=(32, 32), keep_ratio=False)
    alone = [detector.predict(detector.sample(r)).pred_instances for r in (TWICE, large)]
    batch = detector.batch(TWICE, unreadable, large)
    batch['data_samples'][1].set_metainfo(dict(unreadable='x.png: no image in it'))
    with torch.no_grad():
        found, skipped, other = detector.model.predict(batch['inputs'], batch['data_samples'])
    assert 'pred_instances' not in skipped
    assert batch['inputs'].shape[2] > 160  # padded
    for sample, expected in zip((found, other), alone, strict=True):
        for key in ('bboxes', 'scores', 'embeddings'):
            assert torch.equal(sample.pred_instances[key], expected[key])


@pytest.mark.parametrize('packing', ['PackViLDInputs', 'PackDetInputs'])
def test_what_could_not_be_read_is_never_embedded(detector, tmp_path, packing):
    """Not even where the pipeline does not pass on that it could not be read."""
    (tmp_path / 'broken.png').write_bytes(b'no picture')
    pipeline = [dict(type='LoadImageOrSkip'), dict(type='KeepOriginalImage'), TWICE]
    compose = Compose([TRANSFORMS.build(t) for t in (*pipeline, dict(type=packing))])
    packed = compose(dict(img_path=str(tmp_path / 'broken.png'), img_id=1))
    sample = detector.model.data_preprocessor({key: [value] for key, value in packed.items()})
    if packing == 'PackViLDInputs':
        assert 'pred_instances' not in detector.predict(sample)
    else:
        with pytest.raises(ValueError, match='broken.png has no ori_img; put KeepOriginalImage'):
            detector.predict(sample)


def test_regions_are_not_rounded_under_amp(detector):
    """Where the RPN moves no anchor, its regions are anchors, of whole pixels of the input."""
    model = detector.build()
    for parameter in model.rpn_head.rpn_reg.parameters():
        torch.nn.init.zeros_(parameter)
    image = torch.zeros(1, 3, 1024, 1024)
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        outputs = model.rpn_head(model.extract_feat(image))
        meta = dict(img_shape=(1024, 1024), scale_factor=(1.0, 1.0))
        (found,) = model.rpn_head.predict_by_feat(*outputs, batch_img_metas=[meta])
    sizes = [scores.shape[-2:] for scores in outputs[0]]
    anchors = torch.cat(model.rpn_head.prior_generator.grid_priors(sizes, device='cpu'))
    apart = torch.cdist(found.bboxes, anchors.clamp(0, 1024), p=math.inf).min(dim=1).values
    assert len(found) == 20 and apart.max() < 1e-3
