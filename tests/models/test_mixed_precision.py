"""What happens under ``--amp``: finite losses, and similarities in float32."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.structures import InstanceData
from small_models import CATEGORIES, SIZE

from mmdet_vild import config_path

pytestmark = pytest.mark.onedl


@pytest.fixture(params=['text', 'image', 'vild', 'ensemble'])
def head(request, roi_head_cfg):
    torch.manual_seed(0)
    head = MODELS.build(ConfigDict(roi_head_cfg(request.param)))
    head.init_weights()
    return head


def inputs(make_sample):
    torch.manual_seed(1)
    features = [torch.randn(2, 8, SIZE // stride, SIZE // stride) for stride in (4, 8)]
    start = torch.rand(2, 20, 2) * SIZE * 0.6
    proposals = [InstanceData(bboxes=boxes) for boxes in torch.cat([start, start + 20], dim=2)]
    return features, proposals, stored(make_sample)


def stored(make_sample):
    """Samples with embeddings as the store has them."""
    samples = [make_sample(3, 5), make_sample(2, 4)]
    for sample in samples:
        sample.distill_instances.embeddings = sample.distill_instances.embeddings.half()
    return samples


def test_training_step(head, make_sample) -> None:
    """Losses are those of float32 to bfloat16's precision; they and the gradients are float32."""
    features, proposals, samples = inputs(make_sample)

    def losses() -> dict[str, torch.Tensor]:
        torch.manual_seed(2)  # of mmdet's sampler
        return head.loss(features, [p.clone() for p in proposals], samples)

    expected = losses()
    with torch.autocast('cpu', torch.bfloat16):
        found = losses()
    assert set(found) == set(expected)
    for name, value in found.items():
        assert torch.isfinite(value).all() and value.dtype == torch.float32, name
        if name != 'acc':
            torch.testing.assert_close(value, expected[name], rtol=0.05, atol=0.02, msg=name)
    sum(value for name, value in found.items() if 'loss' in name).backward()
    for name, parameter in head.named_parameters():
        assert torch.isfinite(parameter.grad).all() and parameter.grad.dtype == torch.float32, name


def test_similarities_are_float32(head) -> None:
    """To float32's precision: those of bfloat16 have an error of up to 1 / temperature / 256."""
    classifier = head.bbox_head.fc_cls.eval()
    features = torch.randn(50, classifier.projection.in_features)
    with torch.autocast('cpu', torch.bfloat16):
        embeddings = classifier.embed(features)
        logits = classifier.classify(embeddings)
    assert embeddings.dtype == logits.dtype == torch.float32
    norms = torch.linalg.vector_norm(embeddings.double(), dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=0, atol=1e-6)
    words = classifier.text_embeddings.double()
    expected = embeddings.double() @ words.t() / classifier.temperature
    torch.testing.assert_close(logits[:, :CATEGORIES].double(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize('method', ['vild', 'vild-ensemble'])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
def test_training_step_of_a_detector(method, dtype, make_sample, write_text) -> None:
    config = Config.fromfile(config_path(f'mini_lvis/{method}_r18-mini_fpn_mini-lvis.py')).model
    config.roi_head.bbox_head.num_classes = config.roi_head.mask_head.num_classes = CATEGORIES
    config.roi_head.bbox_head.cls_predictor_cfg.text_embeddings = write_text()
    config.backbone.init_cfg = None
    torch.manual_seed(0)
    detector = MODELS.build(config)
    detector.init_weights()
    with torch.autocast('cpu', dtype):
        losses = detector.loss(torch.randn(2, 3, SIZE, SIZE), stored(make_sample))
        loss, logged = detector.parse_losses(losses)
    assert 'loss_distill' in logged
    for name, value in logged.items():
        assert torch.isfinite(value) and value.dtype == torch.float32, name
    loss.backward()
    for name, parameter in detector.named_parameters():
        if parameter.requires_grad:
            assert torch.isfinite(parameter.grad).all(), name
