"""Boxes move with the pixels, and transforms that leave no trace are refused."""

import copy
import random

import numpy as np
import pycocotools.mask as mask_utils
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.transforms import Compose
from mmdet.datasets import MultiImageMixDataset
from mmdet.datasets.transforms import LoadAnnotations
from mmdet.registry import DATASETS, TRANSFORMS

from mmdet_vild.datasets.geometry import check_recorded_geometry, check_transforms, project_boxes

pytestmark = pytest.mark.onedl

RESIZE = dict(type='Resize', scale=(300, 260), keep_ratio=True)
FLIP = dict(type='RandomFlip', prob=1.0)
CROP = dict(type='RandomCrop', crop_size=(150, 140), allow_negative_crop=True)
LARGE_SCALE_JITTER = [
    dict(type='RandomResize', scale=(256, 256), ratio_range=(0.1, 2.0), keep_ratio=True),
    dict(CROP, crop_type='absolute', crop_size=(256, 256), recompute_bbox=True),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(1e-2, 1e-2)),
    dict(type='RandomFlip', prob=0.5),
]


def coordinates(height, width):
    """An image whose pixels hold their own (x, y) and, for what is outside the image, a 1."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([x + 0.5, y + 0.5, np.ones_like(x)], axis=2)


def photo(height, width):
    return np.random.randint(0, 255, (height, width, 3), dtype=np.uint8)


def make_sample(rng, num_boxes=8, image=coordinates, size=None):
    """What a dataset and LoadImageFromFile give: raw boxes, every one of another label."""
    height, width = size or rng.integers(120, 320, 2).tolist()
    instances = []
    for label in range(num_boxes):
        x1, y1 = rng.uniform(0, 0.8, 2) * (width, height)
        x2, y2 = np.minimum((x1, y1) + rng.uniform(0.05, 0.6, 2) * (width, height), (width, height))
        mask = [[x1, y1, x2, y1, x2, y2, x1, y2]]
        instances.append(dict(bbox=[x1, y1, x2, y2], bbox_label=label, ignore_flag=0, mask=mask))
    image = image(height, width)
    shape = image.shape[:2]
    return dict(
        img=image, img_shape=shape, ori_shape=shape, instances=instances, img_id=5, width=width
    )


def build(*transforms, box_type='hbox', **loading):
    load = LoadAnnotations(box_type=box_type, **loading)
    return Compose([load, *(TRANSFORMS.build(copy.deepcopy(t)) for t in transforms)])


def displacement(results):
    """How far, at most, a pixel that shows the original is from where the matrix takes it."""
    matrix = results.get('homography_matrix', np.eye(3)).astype(np.float64)
    height, width = results['img_shape']
    ori_height, ori_width = results['ori_shape']
    distances = [0]
    for v in range(8, height - 8, 3):  # cv2 repeats the pixels at the border
        for u in range(8, width - 8, 3):
            x, y, inside = results['img'][v, u]
            if inside > 0.999 and 3 < x < ori_width - 3 and 3 < y < ori_height - 3:
                found = matrix @ (x, y, 1)
                distances.append(np.hypot(*(found[:2] / found[2] - (u + 0.5, v + 0.5))))
    return max(distances)


def project_annotations(sample, results):
    """Where the matrix takes the annotated boxes of the boxes that are left."""
    boxes = [instance['bbox'] for instance in sample['instances']]
    return project_boxes(boxes, results['homography_matrix'])[results['gt_bboxes_labels']]


def test_project_boxes_against_corner_loop():
    rng = np.random.default_rng(0)
    boxes = np.sort(rng.uniform(0, 100, (20, 2, 2)), axis=1).reshape(20, 4)
    matrix = np.array([[0.9, -0.3, 20], [0.2, 1.2, -5], [1e-4, 2e-4, 1]])
    for (x1, y1, x2, y2), found in zip(boxes, project_boxes(boxes, matrix), strict=True):
        xs, ys = [], []
        for x, y in ((x1, y1), (x1, y2), (x2, y1), (x2, y2)):
            w = 1e-4 * x + 2e-4 * y + 1
            xs.append((0.9 * x - 0.3 * y + 20) / w)
            ys.append((0.2 * x + 1.2 * y - 5) / w)
        np.testing.assert_allclose(found, [min(xs), min(ys), max(xs), max(ys)], rtol=1e-9)
    for empty in (project_boxes(np.zeros((0, 4), np.float32), np.eye(3)), project_boxes([], None)):
        assert empty.shape == (0, 4)
    np.testing.assert_array_equal(project_boxes([[1, 2, 3, 4]], None), [[1, 2, 3, 4]])


resizes = st.one_of(
    st.builds(
        lambda w, h, keep: dict(type='Resize', scale=(w, h), keep_ratio=keep),
        *(st.integers(150, 400), st.integers(150, 400), st.booleans()),
    ),
    st.builds(
        lambda side: dict(type='ResizeShortestEdge', scale=side, max_size=420),
        st.integers(100, 300),
    ),
).map(lambda resize: dict(resize, clip_object_border=False))
flips = st.sampled_from(['horizontal', 'vertical', 'diagonal']).map(
    lambda way: dict(FLIP, direction=way)
)
crops = st.tuples(st.integers(80, 300), st.integers(80, 300)).map(
    lambda size: dict(CROP, crop_size=size, bbox_clip_border=False)
)
recorded = st.one_of(resizes, flips, crops)


@settings(max_examples=40, deadline=None)
@given(st.lists(recorded, min_size=1, max_size=5), st.integers(0, 10**6))
def test_boxes_move_like_ground_truth_and_pixels(transforms, seed):
    """Any chain of Resize, RandomFlip and RandomCrop: exactly."""
    np.random.seed(seed)
    sample = make_sample(np.random.default_rng(seed))
    results = build(*transforms)(sample)
    check_recorded_geometry(results)
    expected = project_annotations(sample, results)
    np.testing.assert_allclose(results['gt_bboxes'].numpy(), expected, atol=2e-2)
    assert displacement(results) < 0.01


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(['Rotate', 'ShearX', 'ShearY', 'TranslateX', 'TranslateY']),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_boxes_move_like_pixels_through_warps(name, resize_first, seed):
    """Rotations and shears: to the half pixel by which OpenCV's pixel centres differ."""
    np.random.seed(seed)
    chain = [RESIZE, dict(type=name, prob=1.0, level=10, img_border_value=0), FLIP]
    chain = chain if resize_first else chain[::-1]
    results = build(*chain)(make_sample(np.random.default_rng(seed)))
    check_recorded_geometry(results)
    assert displacement(results) < 1.5


@settings(max_examples=40, deadline=None)
@given(
    st.lists(recorded, max_size=2),
    st.lists(recorded, max_size=1),
    st.fixed_dictionaries(
        dict(
            max_rotate_degree=st.sampled_from([0, 10, 180]),
            max_translate_ratio=st.sampled_from([0, 0.1]),
            scaling_ratio_range=st.sampled_from([(0.5, 1.5), (0.5, 0.5), (1.5, 1.5)]),
            max_shear_degree=st.sampled_from([0, 2, 20]),
            border=st.sampled_from([(0, 0), (-20, -30), (15, 10)]),
        )
    ),
    st.integers(0, 10**6),
)
def test_boxes_move_like_ground_truth_and_pixels_through_affine(first, then, options, seed):
    """RandomAffine, which mmdet itself does not record; pixels to half of one, as for warps."""
    np.random.seed(seed)
    random.seed(seed)
    sample = make_sample(np.random.default_rng(seed))
    affine = dict(type='RandomAffine', border_val=(0, 0, 0), bbox_clip_border=False, **options)
    results = build(*first, affine, *then)(sample)
    check_recorded_geometry(results)
    enlarged = max([1, *results.get('scale_factor', ())])
    assert displacement(results) < 3 * enlarged
    if not first:  # mmdet takes the box around the corners after every transform
        expected = project_annotations(sample, results)
        np.testing.assert_allclose(results['gt_bboxes'].numpy(), expected, atol=5e-2)


def run_length(polygon, size, compressed):
    rle = mask_utils.merge(mask_utils.frPyObjects([polygon], *size))
    if compressed:
        return dict(rle, counts=rle['counts'].decode())
    pixels = mask_utils.decode(rle).ravel(order='F')
    changes = np.flatnonzero(np.diff(pixels, prepend=0)).tolist()
    return dict(size=list(size), counts=np.diff([0, *changes, pixels.size]).tolist())


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(['polygons', 'bitmaps', 'run lengths', 'compressed run lengths']),
    st.lists(resizes, max_size=1),
    st.integers(0, 10**6),
)
def test_masks_beyond_their_boxes_are_no_false_alarm(form, transforms, seed):
    """A crop that takes the boxes from hand-drawn masks makes them larger than annotated."""
    np.random.seed(seed)
    rng = np.random.default_rng(seed)
    sample = make_sample(rng, image=photo)
    height, width = size = sample['ori_shape']
    for instance in sample['instances']:
        reach = rng.uniform(0, 0.3, 4) * (width, height, width, height)
        x1, y1, x2, y2 = instance['bbox'] + reach * (-1, -1, 1, 1)
        polygon = [x1, (y1 + y2) / 2, (x1 + x2) / 2, y1, x2, (y1 + y2) / 2, (x1 + x2) / 2, y2]
        instance['mask'] = [polygon, [1.0, 2.0, 3.0]]  # mmdet drops what is no polygon
        if 'run lengths' in form:
            instance['mask'] = run_length(polygon, size, form.startswith('compressed'))
    chain = [*transforms, dict(CROP, recompute_bbox=True), RESIZE, dict(FLIP, prob=0.5)]
    check_recorded_geometry(build(*chain, with_mask=True, poly2mask=form != 'polygons')(sample))


HONEST = {
    'nothing': [],
    'pad': [dict(type='Pad', size=(400, 400))],
    'large-scale jitter': [*LARGE_SCALE_JITTER, dict(type='Pad', size=(256, 256))],
    'crop, then enlarge': [dict(CROP, crop_size=(60, 60), recompute_bbox=True), RESIZE],
    'pad, flip, crop, pad': [
        dict(type='Pad', size_divisor=64), FLIP, CROP, RESIZE, dict(type='Pad', size=(320, 320)),
    ],
    'fixed shapes': [
        dict(type='FixShapeResize', width=301, height=203, keep_ratio=True),
        dict(type='FixShapeResize', width=211, height=309),
    ],
    'multi-scale': [
        dict(type='RandomChoiceResize', scales=[(300, 200), (222, 333)], keep_ratio=True),
        dict(FLIP, prob=0.5, direction=['horizontal', 'vertical']),
    ],
    'photometric and erasing': [
        dict(type='PhotoMetricDistortion'),
        dict(type='RandomErasing', n_patches=(1, 3), ratio=(0.1, 0.3)),
        dict(type='CutOut', n_holes=2, cutout_shape=(20, 20)),
    ],
    'RandAugment': [dict(type='RandAugment', aug_num=3), *LARGE_SCALE_JITTER],
    'AutoAugment': [*LARGE_SCALE_JITTER, dict(type='AutoAugment')],
    'GLIP': [
        dict(type='GTBoxSubOne_GLIP'),
        dict(type='RandomFlip_GLIP', prob=0.5),
        dict(type='Resize', scale=(640, 640), keep_ratio=True),
    ],
}  # fmt: skip


@pytest.mark.parametrize('name', HONEST)
def test_no_false_alarm(name):
    np.random.seed(0)
    rng = np.random.default_rng(0)
    pipeline = build(*HONEST[name], with_mask=True)
    check_transforms(pipeline.transforms)  # before training
    checked = 0
    for _ in range(30):
        results = pipeline(make_sample(rng, int(rng.integers(0, 9)), photo))
        if results is not None:
            check_recorded_geometry(results)
            checked += 1
    assert checked > 10


EXPAND = dict(type='Expand', prob=1.0)
MIN_IOU = dict(type='MinIoURandomCrop')
SHIFT = dict(type='RandomShift', prob=1.0, max_shift_px=32)
MMCV_FLIP = dict(type='mmcv.RandomFlip', prob=1.0)
UNRECORDED = {
    'Expand and rotation': [EXPAND, dict(type='Rotate', prob=1.0, level=5)],
    'Expand': [EXPAND],
    'Expand hidden by resizing': [EXPAND, dict(type='Resize', scale=(200, 200), keep_ratio=True)],
    'Expand hidden by padding': [EXPAND, dict(type='Pad', size=(1300, 1300))],
    'MinIoURandomCrop hidden by resizing': [MIN_IOU, RESIZE],
    'MinIoURandomCrop after resizing': [RESIZE, MIN_IOU],
    'RandomShift': [SHIFT],
    'RandomShift after flipping': [FLIP, SHIFT],
    'RandomCenterCropPad': [
        dict(type='RandomCenterCropPad', crop_size=(200, 200), ratios=(0.9, 1.0, 1.1), border=64,
             mean=[0, 0, 0], std=[1, 1, 1], to_rgb=True, test_pad_mode=None)
    ],
    'mmcv.Resize': [dict(type='mmcv.Resize', scale=(300, 200))],
    'mmcv.RandomFlip': [MMCV_FLIP],
    'mmcv.RandomFlip after resizing': [RESIZE, MMCV_FLIP],
    'mmcv.CenterCrop': [dict(type='mmcv.CenterCrop', crop_size=(100, 100))],
}  # fmt: skip


@pytest.mark.parametrize('name', UNRECORDED)
def test_unrecorded_motion_is_refused(name):
    """Whatever passes the check is where the record says (such as a crop that cropped nothing)."""
    np.random.seed(0)
    rng = np.random.default_rng(0)
    pipeline = build(*UNRECORDED[name], box_type=None if 'mmcv' in name else 'hbox')
    with pytest.raises(ValueError, match='which moves pixels without recording it'):
        check_transforms(pipeline.transforms)  # before training
    refused, total = 0, 0
    for _ in range(12):
        results = pipeline(make_sample(rng))
        if results is None:
            continue
        total += 1
        try:
            check_recorded_geometry(results)
        except ValueError as error:
            assert 'image 5 was changed' in str(error) and 'homography_matrix' in str(error)
            refused += 1
        else:
            assert displacement(results) < 3 or 'rotation' in name
    assert refused > 0.2 * total


class _Samples:
    """The least that MultiImageMixDataset asks of a dataset."""

    metainfo = {'classes': ()}

    def __init__(self, masks):
        rng, pipeline = np.random.default_rng(0), build(RESIZE, with_mask=masks)
        self.samples = []
        for _ in range(6):
            sample = make_sample(rng, image=photo, size=(260, 300))
            # Boxes of one label everywhere: labels alone do not tell the images apart.
            for instance in sample['instances']:
                instance['bbox_label'] %= 3
            self.samples.append(pipeline(sample))

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return copy.deepcopy(self.samples[index])

    def full_init(self):
        pass


@pytest.mark.parametrize('mix', ['Mosaic', 'MixUp', 'CopyPaste'])
@pytest.mark.parametrize('crop', [False, True])
def test_mixed_images_are_refused(mix, crop, monkeypatch):
    np.random.seed(0)
    monkeypatch.setattr(DATASETS, 'build', lambda config: config['built'])
    samples = _Samples(masks=mix == 'CopyPaste')
    size = {} if mix == 'CopyPaste' else dict(img_scale=(300, 260))
    mixed = MultiImageMixDataset(dict(built=samples), [dict(type=mix, **size), *[CROP] * crop])
    refused = 0
    for index in range(len(mixed)):
        try:
            check_recorded_geometry(mixed[index])
        except ValueError:
            refused += 1
    assert refused >= 3


def test_mix_results_and_wrong_shape_are_named():
    sample = make_sample(np.random.default_rng(0))
    with pytest.raises(ValueError, match='mix_results'):
        check_recorded_geometry({**sample, 'mix_results': [sample]})
    with pytest.raises(ValueError, match='img_shape says'):
        check_recorded_geometry({**sample, 'img': sample['img'][10:]})
    check_recorded_geometry(sample)


@pytest.mark.parametrize('wrapper', ['RandomChoice', 'RandomApply', 'RandomOrder'])
def test_unrecorded_transforms_are_found_inside_wrappers(wrapper):
    inner = [[EXPAND], [RESIZE]] if wrapper == 'RandomChoice' else [RESIZE, EXPAND]
    with pytest.raises(ValueError, match='Expand'):
        check_transforms(build(dict(type=wrapper, transforms=inner)).transforms)
