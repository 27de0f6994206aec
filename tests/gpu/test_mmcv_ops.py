"""The operators of mmcv that configs reach, on the way that they take on a GPU."""

import mmcv.ops.multi_scale_deform_attn as deform_attn
import pytest
import torch
from mmcv.ops import MultiScaleDeformableAttention, RoIAlign, batched_nms, nms, point_sample
from mmdet.models.losses import FocalLoss
from pretend_gpu import PretendGPU

from mmdet_vild.authors_network.tf_roi_extractor import UnshiftedRoIAlign

pytestmark = pytest.mark.onedl


@pytest.fixture
def on_both(monkeypatch):
    """Calls a function with inputs on the CPU and on the GPU; compares results and gradients."""

    def compare(run, *inputs, rtol: float = 0.0, atol: float = 0.0) -> None:
        torch.manual_seed(0)

        def results(device: str) -> list[torch.Tensor]:
            given = [x.detach().to(device) for x in inputs]
            learned = [x.requires_grad_() for x in given if x.is_floating_point()]
            out = run(*given)
            out = out if isinstance(out, tuple) else (out,)
            assert all(x.device.type == device for x in out)
            if out[0].requires_grad:
                out += torch.autograd.grad(out[0].sum(), learned, allow_unused=True)
            return [None if x is None else x.detach().cpu() for x in out]

        expected = results('cpu')
        with PretendGPU():
            monkeypatch.setattr(deform_attn, 'IS_CUDA_AVAILABLE', True)
            found = results('cuda')
        torch.testing.assert_close(found, expected, rtol=rtol, atol=atol)

    return compare


def boxes(count: int = 40) -> torch.Tensor:
    start = torch.rand(count, 2) * 20
    return torch.cat([start, start + 1 + torch.rand(count, 2) * 20], dim=1)


@pytest.mark.parametrize('threshold', [0.0, 0.3], ids=['all', 'above a score'])
def test_nms(on_both, threshold):
    scores = torch.rand(40)
    on_both(lambda b, s: nms(b, s, 0.4, score_threshold=threshold), boxes(), scores)


@pytest.mark.parametrize('split', [1, 10_000], ids=['class by class', 'at once'])
def test_batched_nms(on_both, split):
    config = dict(type='nms', iou_threshold=0.4, split_thr=split)
    labels = torch.randint(0, 5, (40,))
    on_both(lambda b, s, i: batched_nms(b, s, i, config), boxes(), torch.rand(40), labels)


@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
def test_soft_nms(on_both, method):
    """mmcv brings the boxes to the CPU, and back."""
    config = dict(type='soft_nms', iou_threshold=0.4, method=method, min_score=0.05)
    labels = torch.randint(0, 5, (40,))
    with torch.no_grad():  # it has no gradient
        given = boxes(), torch.rand(40), labels
        on_both(lambda b, s, i: batched_nms(b.detach(), s.detach(), i, config), *given)


def test_roi_align(on_both):
    rois = torch.cat([torch.randint(0, 2, (9, 1)).float(), boxes(9)], dim=1)
    layer = RoIAlign((3, 3), spatial_scale=0.5)
    on_both(lambda x, i: layer(x, i.float()), torch.rand(2, 4, 16, 16), rois.long())


def test_point_sample(on_both):
    on_both(point_sample, torch.rand(2, 3, 8, 8), torch.rand(2, 11, 2))


def test_deformable_attention(on_both):
    torch.manual_seed(0)
    layer = MultiScaleDeformableAttention(
        embed_dims=16, num_heads=2, num_levels=2, num_points=3, batch_first=True
    )
    layer.init_weights()
    layer.eval()  # no dropout
    with torch.no_grad():
        layer.sampling_offsets.bias += 0.3 * torch.rand(24)
    shapes, starts = torch.tensor([[4, 6], [3, 2]]), torch.tensor([0, 24])

    def run(query, reference, shapes, starts):
        layer.to(query.device)
        return layer(
            query,
            value=query,
            reference_points=reference,
            spatial_shapes=shapes,
            level_start_index=starts,
        )

    inputs = torch.rand(2, 30, 16), torch.rand(2, 30, 2, 2), shapes, starts
    on_both(run, *inputs, rtol=1e-5, atol=1e-6)


def test_focal_loss(on_both):
    """mmdet takes mmcv's operator on a GPU, and its own formula on a CPU."""
    target = torch.randint(0, 5, (12,))  # 4 is background
    on_both(FocalLoss(loss_weight=2.0), torch.randn(12, 4), target, rtol=1e-5, atol=1e-7)


def test_the_authors_roi_align(on_both):
    """Without a number that is brought to the GPU."""
    rois = torch.cat([torch.randint(0, 2, (9, 1)).float(), boxes(9)], dim=1)
    layer = UnshiftedRoIAlign((3, 3), spatial_scale=0.5, sampling_ratio=1)
    on_both(lambda x: layer(x, rois.to(x.device)), torch.rand(2, 4, 16, 16))
    with PretendGPU() as gpu:
        on_gpu = rois.to('cuda')
        features = torch.rand(2, 4, 16, 16, device='cuda')
        gpu.uploads.clear()
        layer(features, on_gpu)
    assert not gpu.waits and not gpu.uploads
