"""The stand-in for mmcv's compiled operators, and when it is used."""

import math
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import mmcv
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.ops import RoIAlign, nms, roi_align, sigmoid_focal_loss, soft_nms
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttnFunction,
    multi_scale_deformable_attn_pytorch,
)

import mmdet_vild  # noqa: F401
from mmdet_vild.compat import mmcv_ext, mmcv_ext_finder

pytestmark = pytest.mark.onedl

ROOT = Path(mmdet_vild.__file__).parent.parent


def brute_force_nms(boxes, scores, threshold: float, offset: int) -> list[int]:
    """mmcv's definition, in double precision."""
    kept: list[int] = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        x1, y1, x2, y2 = boxes[i].double().tolist()
        for j in kept:
            u1, v1, u2, v2 = boxes[j].double().tolist()
            width, height = min(x2, u2) - max(x1, u1), min(y2, v2) - max(y1, v1)
            overlap = max(0, width + offset) * max(0, height + offset)
            area = (x2 - x1 + offset) * (y2 - y1 + offset)
            other = (u2 - u1 + offset) * (v2 - v1 + offset)
            if overlap > threshold * (area + other - overlap):
                break
        else:
            kept.append(i)
    return kept


@settings(max_examples=50)
@given(seed=st.integers(0, 10**6), count=st.integers(0, 30), offset=st.sampled_from([0, 1]))
def test_nms_is_mmcvs(seed: int, count: int, offset: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, 20, (count, 2), generator=generator)
    sizes = torch.randint(1, 12, (count, 2), generator=generator)
    boxes = torch.cat([corners, corners + sizes], dim=1).float()
    scores = torch.randperm(count, generator=generator).float()
    # A threshold that no ratio of these small integers comes close to.
    kept = nms(boxes, scores, iou_threshold=0.4142135, offset=offset)[1]
    assert kept.tolist() == brute_force_nms(boxes, scores, 0.4142135, offset)


def plain_soft_nms(boxes, scores, threshold, sigma, least, method, offset) -> list[tuple]:
    """The paper's loop, box by box in double precision: of each that is left, index and score."""
    left, found = dict(enumerate(scores.tolist())), []
    while left:
        i = max(left, key=left.get)
        found.append((i, left.pop(i)))
        x1, y1, x2, y2 = boxes[i]
        for j, score in list(left.items()):
            u1, v1, u2, v2 = boxes[j]
            width, height = min(x2, u2) - max(x1, u1), min(y2, v2) - max(y1, v1)
            both = max(0, width + offset) * max(0, height + offset)
            areas = [(c - a + offset) * (d - b + offset) for a, b, c, d in (boxes[i], boxes[j])]
            overlap = both / (sum(areas) - both)
            left[j] = (
                score
                * {
                    'naive': float(overlap < threshold),
                    'linear': 1 - overlap if overlap >= threshold else 1,
                    'gaussian': math.exp(-(overlap**2) / sigma),
                }[method]
            )
            if left[j] < least:
                del left[j]
    return found


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(0, 25),
    offset=st.sampled_from([0, 1]),
    method=st.sampled_from(['naive', 'linear', 'gaussian']),
)
def test_soft_nms_is_the_papers(seed: int, count: int, offset: int, method: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, 20, (count, 2), generator=generator)
    sizes = torch.randint(1, 12, (count, 2), generator=generator)
    boxes = torch.cat([corners, corners + sizes], dim=1).float()
    scores = torch.rand(count, generator=generator)
    how = dict(sigma=0.4142135, min_score=0.0271828, method=method, offset=offset)
    dets, kept = soft_nms(boxes, scores, iou_threshold=0.4142135, **how)
    expected = plain_soft_nms(
        boxes.tolist(), scores.double(), 0.4142135, *(how[k] for k in list(how))
    )
    assert kept.tolist() == [i for i, _ in expected]
    assert torch.equal(dets[:, :4], boxes[kept])
    torch.testing.assert_close(dets[:, 4].tolist(), [s for _, s in expected], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('aligned', [False, True])
@pytest.mark.parametrize('sampling_ratio', [0, 2])
def test_roi_align_averages_a_plane_exactly(aligned: bool, sampling_ratio: int) -> None:
    """Over a linear image the mean of a bin is the value at its centre."""
    ys, xs = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing='ij')
    image = (2 * xs + 3 * ys)[None, None].requires_grad_()
    rois = torch.tensor([[0, 8.0, 4.0, 40.0, 36.0]])  # x1, y1, x2, y2 at twice the scale
    pooled = roi_align(image, rois, (4, 4), 0.5, sampling_ratio, 'avg', aligned)
    shift = 0.5 if aligned else 0.0
    centres = (torch.arange(4) + 0.5) * 4 - shift
    expected = 2 * (centres + 4)[None, :] + 3 * (centres + 2)[:, None]
    torch.testing.assert_close(pooled[0, 0], expected)

    pooled.sum().backward()
    # Each of the 16 bins is a mean: it hands a total weight of one to the pixels.
    assert image.grad.sum().item() == pytest.approx(16, abs=1e-4)
    assert image.grad[0, 0, 20:].abs().max() == 0


def test_roi_align_gradient() -> None:
    image = torch.rand(1, 2, 8, 8, dtype=torch.double, requires_grad=True)
    rois = torch.tensor([[0, 1.3, 0.7, 6.1, 7.9]], dtype=torch.double)
    assert torch.autograd.gradcheck(
        lambda x: roi_align(x, rois, (3, 3), 1.0, 2, 'avg', True), image
    )


def test_roi_align_in_mixed_precision() -> None:
    image = torch.rand(1, 2, 8, 8, dtype=torch.bfloat16, requires_grad=True)
    rois = torch.tensor([[0, 1, 1, 7, 7]], dtype=torch.bfloat16)
    pooled = RoIAlign((2, 2))(image, rois)
    pooled.sum().backward()
    assert pooled.dtype is image.grad.dtype is torch.bfloat16


def attention_inputs(dtype: torch.dtype) -> list[torch.Tensor]:
    """The value, the shapes of its levels, the places and the weights, of two images."""
    torch.manual_seed(0)
    shapes = torch.tensor([[4, 6], [3, 2]])
    value = torch.rand(2, 30, 2, 3, dtype=torch.double)
    places = torch.rand(2, 5, 2, 2, 4, 2, dtype=torch.double) * 1.4 - 0.2  # some of them outside
    weights = torch.rand(2, 5, 2, 2, 4, dtype=torch.double)
    value, places, weights = (x.to(dtype).requires_grad_() for x in (value, places, weights))
    return [value, shapes, places, weights]


def attend(value, shapes, places, weights) -> torch.Tensor:
    """As mmcv's module does on a GPU."""
    starts = torch.tensor([0, 24])
    return MultiScaleDeformableAttnFunction.apply(value, shapes, starts, places, weights, 64)


def test_deformable_attention_is_that_of_a_cpu() -> None:
    inputs = attention_inputs(torch.double)
    learned = [x for x in inputs if x.requires_grad]
    outputs = attend(*inputs), multi_scale_deformable_attn_pytorch(*inputs)
    torch.testing.assert_close(*outputs, rtol=0, atol=0)
    gradient = torch.rand_like(outputs[0])
    gradients = [torch.autograd.grad(output, learned, gradient) for output in outputs]
    torch.testing.assert_close(*gradients, rtol=0, atol=0)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
def test_deformable_attention_in_mixed_precision(dtype) -> None:
    """Only the value is of lower precision; and autocast does not change what comes out."""
    half, exact = attention_inputs(dtype), attention_inputs(torch.double)
    half[2:] = [x.detach().float().requires_grad_() for x in half[2:]]
    with torch.autocast('cpu', dtype):
        found = attend(*half)
        found.float().sum().backward()
    expected = multi_scale_deformable_attn_pytorch(*exact)
    expected.sum().backward()
    assert found.dtype is half[0].grad.dtype is dtype
    assert half[2].grad.dtype is half[3].grad.dtype is torch.float32
    error = 0.1 if dtype is torch.bfloat16 else 0.02
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=error)
    for i in (0, 3):
        torch.testing.assert_close(half[i].grad.double(), exact[i].grad, rtol=0, atol=error)


@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('dtype', [torch.double, torch.float16], ids=str)
def test_sigmoid_focal_loss(dtype, weighted: bool) -> None:
    """The formula of the paper (Lin et al. 2017, Eq. 5), and its gradient."""
    torch.manual_seed(0)
    logits = (3 * torch.randn(6, 4, dtype=torch.double)).to(dtype).requires_grad_()
    target = torch.tensor([0, 3, 1, 2] if weighted else [0, 3, 4, 1, 4, 2])  # 4 is background
    logits = logits[: len(target)]
    weight = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=dtype) if weighted else None
    found = sigmoid_focal_loss(logits, target, 2.5, 0.3, weight, 'none')

    exact = logits.detach().double().requires_grad_()
    positive = torch.nn.functional.one_hot(target, 5)[:, :4].bool()
    p = torch.where(positive, exact.sigmoid(), 1 - exact.sigmoid())
    alpha = 0.7 - 0.4 * positive.double()
    expected = -alpha * (1 - p) ** 2.5 * p.log()
    if weighted:
        expected = expected * weight.double()[target][:, None]
    precise = dict(rtol=0, atol=1e-12 if dtype is torch.double else 0.02)
    assert found.dtype is dtype
    torch.testing.assert_close(found.double(), expected, **precise)
    gradient = torch.autograd.grad(found.sum(), logits)[0]
    expected_gradient = torch.autograd.grad(expected.sum(), exact)[0]
    torch.testing.assert_close(gradient.double(), expected_gradient, **precise)


def test_other_operators_name_themselves_and_the_way_out() -> None:
    """Which is that of the installed family."""
    try:
        tool, package = 'onedl-mim', f'onedl-mmcv=={version("onedl-mmcv")}'
    except PackageNotFoundError:
        tool, package = 'openmim', f'mmcv=={mmcv.__version__}'
    with pytest.raises(
        NotImplementedError, match=f"'nms_rotated'.* {tool}`.* {re.escape(package)}`"
    ):
        mmcv_ext.nms_rotated(1, 2, offset=0)
    with pytest.raises(NotImplementedError, match=r"pool_mode='max'"):
        roi_align(torch.zeros(1, 1, 8, 8), torch.zeros(1, 5), (2, 2), 1.0, 0, 'max', True)
    with pytest.raises(AttributeError):
        mmcv_ext.__wrapped__  # noqa: B018


def test_the_finder_answers_for_one_name_and_is_installed_once() -> None:
    assert mmcv_ext_finder.MMCVExtFinder.find_spec('mmcv._ext').origin == mmcv_ext.__file__
    assert mmcv_ext_finder.MMCVExtFinder.find_spec('mmcv._other') is None
    mmcv_ext_finder.apply()
    finders = [f for f in sys.meta_path if getattr(f, '__name__', '') == 'MMCVExtFinder']
    assert len(finders) == 1


def test_compiled_operators_win(tmp_path: Path) -> None:
    """A package that has its own ``_ext`` keeps it."""
    package = tmp_path / 'mmcv'
    package.mkdir()
    (package / '__init__.py').touch()
    (package / '_ext.py').write_text('compiled = True')
    code = (
        f'import runpy, sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; '
        f'runpy.run_path({mmcv_ext_finder.__file__!r})["apply"](); '
        'import mmcv._ext; assert mmcv._ext.compiled'
    )
    subprocess.run([sys.executable, '-c', code], check=True)
