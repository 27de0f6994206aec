"""What is drawn: novel words marked, small pictures enlarged, the teacher's regions named."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmcv.ops import batched_nms
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData, PixelData

from mmdet_vild.visualization import OpenVocabularyVisualizer, surest, word_color
from mmdet_vild.visualization.open_vocabulary_visualizer import LINE, MIN_FONT
from mmdet_vild.visualization.semantic_maps import label_color
from mmdet_vild.vocabulary import TextEmbeddings

pytestmark = pytest.mark.onedl

CLASSES = ('cat', 'a $5 bill for $1', 'dog')
META = dict(classes=CLASSES, base_classes=('cat', 'dog'), palette=[(0, 255, 0)] * 3)
SIZE = 200


class Recorder(OpenVocabularyVisualizer):
    """Remembers the texts."""

    def __init__(self, meta: dict = META, name: str = 'recorder', **options) -> None:
        super().__init__(name, **options)
        self.dataset_meta = meta
        self.texts: list[str] = []

    def draw_texts(self, texts, positions, **options):
        self.texts.append(texts)
        return super().draw_texts(texts, positions, **options)


def found(**fields) -> DetDataSample:
    """A detection of each class, the last one unsure, with masks."""
    masks = torch.zeros(3, SIZE, SIZE, dtype=torch.bool)
    masks[0, 100:120, 20:40] = True
    instances = InstanceData(
        bboxes=torch.tensor([[20.0, 100, 60, 140], [90, 100, 140, 140], [0, 0, 9, 9]]),
        labels=torch.arange(3),
        scores=torch.tensor([0.812, 0.9, 0.2]),
        masks=masks,
        **fields,
    )
    return DetDataSample(pred_instances=instances)


def draw(visualizer: Recorder, sample: DetDataSample, **options) -> np.ndarray:
    image = np.full((SIZE, SIZE, 3), 128, np.uint8)
    visualizer.add_datasample('any', image, sample, **options)
    return visualizer.get_image()


BILL = r'a \$5 bill for \$1'


@pytest.mark.parametrize(
    ('meta', 'fields', 'expected'),
    [
        (META, {}, ['cat 81.2', f'★ {BILL} 90.0']),
        # 'puss / cat' is the base category cat; a text-embedding file says itself what is novel.
        (
            META,
            dict(label_names=['puss', 'dog', 'x'], novel=torch.tensor([False, True, True])),
            ['puss 81.2', '★ dog 90.0'],
        ),
        # Words that a user asks for: those not known from the training are novel.
        (META, dict(label_names=['dog', 'toy elephant', 'x']), ['dog 81.2', '★ toy elephant 90.0']),
        # Nothing says what is novel: as mmdet.
        (dict(classes=CLASSES), {}, ['cat 81.2', f'{BILL} 90.0']),
    ],
)
def test_novel_words_are_marked(meta: dict, fields: dict, expected: list[str]) -> None:
    """By a star and by the colour of the box; labels in the order of the scores, best on top."""
    visualizer = Recorder(meta)
    picture = draw(visualizer, found(**fields), draw_gt=False)
    assert picture.shape == (SIZE, SIZE, 3) and visualizer.instance_name == 'recorder'
    assert visualizer.texts == expected
    if 'base_classes' in meta:
        assert np.abs(picture[130, 20].astype(int) - word_color(0, False)).max() < 30
        assert np.abs(picture[130, 90].astype(int) - word_color(1, True)).max() < 30
    assert not np.array_equal(picture[110, 30], [128] * 3) and (picture[135, 30] == 128).all()


def test_one_of_detections_that_overlap() -> None:
    sample = found(label_names=['dog', 'dog', 'cat'])
    sample.pred_instances.bboxes[2] = sample.pred_instances.bboxes[1] - 4
    for options, expected in (({}, 2), (dict(max_iou=0.9), 3), (dict(max_iou=1), 3)):
        visualizer = Recorder(**options)
        draw(visualizer, sample, draw_gt=False, pred_score_thr=0.1)
        # Drawn, and so written over the others, in the order of their scores.
        assert visualizer.texts == ['cat 20.0', 'dog 81.2', 'dog 90.0'][-expected:]


def test_surest_whatever_the_word() -> None:
    """By the boxes' IoU, as mmdet's own operator has it; in descending order of the scores."""
    rng = np.random.default_rng(0)
    start = rng.uniform(0, 60, (40, 2))
    boxes = torch.tensor(np.hstack([start, start + rng.uniform(20, 60, (40, 2))])).float()
    scores = torch.tensor(rng.permutation(40) / 40)
    kept = surest(InstanceData(bboxes=boxes, scores=scores, labels=torch.arange(40)), 0.5)
    _, expected = batched_nms(
        boxes, scores.float(), torch.zeros(40), dict(type='nms', iou_threshold=0.5)
    )
    assert kept.labels.tolist() == expected.tolist() and 5 < len(kept) < 40


def test_a_color_for_each_word() -> None:
    """Those beside each other in a list differ, and novel ones from base ones."""
    colors = [word_color(label, novel) for novel in (False, True) for label in range(5)]
    assert len(set(colors)) == 10 and word_color(torch.tensor(7), True) == word_color(2, True)
    assert all((red > blue) == (i >= 5) for i, (red, _, blue) in enumerate(colors))


def test_outlines_without_staircases(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disc of a mask head's 28 x 28 pixels is drawn as a disc; an annotation as it is."""
    y, x = np.mgrid[:28, :28] - 13.5
    coarse = (y**2 + x**2 < 100).astype(np.uint8)
    mask = np.zeros((1, SIZE, SIZE), bool)
    mask[0, 20:160, 20:160] = cv2.resize(coarse, (140, 140), interpolation=cv2.INTER_NEAREST)
    fields = dict(
        bboxes=torch.tensor([[20.0, 20, 160, 160]]),
        labels=torch.zeros(1).long(),
        masks=torch.from_numpy(mask),
    )
    drawn: list[np.ndarray] = []
    monkeypatch.setattr(
        Recorder, 'draw_binary_masks', lambda self, masks, **options: drawn.append(masks[0])
    )
    found = InstanceData(scores=torch.ones(1), **fields)
    draw(Recorder(), DetDataSample(pred_instances=found), draw_gt=False)
    draw(Recorder(), DetDataSample(gt_instances=InstanceData(**fields)), draw_pred=False)
    smooth, exact = drawn
    assert np.array_equal(exact, mask[0])
    y, x = np.mgrid[:SIZE, :SIZE] - 89.5
    disc = y**2 + x**2 < 50**2
    assert (smooth ^ disc).sum() < 0.5 * (mask[0] ^ disc).sum() < 0.05 * disc.sum()


def test_box_with_swapped_corners() -> None:
    """As the authors' box coder gives, which counts pixels, for a box of less than one."""
    visualizer, sample = Recorder(), found()
    sample.pred_instances.bboxes[0] = torch.tensor([60, 140, 20.0, 100])
    picture = draw(visualizer, sample, draw_gt=False)
    np.testing.assert_array_equal(picture, draw(Recorder(), found(), draw_gt=False))


def test_options_of_mmdet() -> None:
    picture = draw(Recorder(bbox_color=(250, 240, 0)), found(), draw_gt=False)
    assert np.abs(picture[130, 90].astype(int) - (250, 240, 0)).max() < 30


def test_small_pictures_are_enlarged_in_files(tmp_path: Path) -> None:
    """With their boxes and masks, of the ground truth too; not where the picture goes on."""
    sample = found()
    masks = BitmapMasks(sample.pred_instances.masks.numpy().astype(np.uint8), SIZE, SIZE)
    sample.gt_instances = sample.pred_instances.new()
    sample.gt_instances.masks = masks
    file = tmp_path / 'drawn.png'
    draw(Recorder(bbox_color=(0, 0, 0)), sample, out_file=str(file))
    picture = cv2.imread(str(file))[..., ::-1].astype(int)
    assert picture.shape == (3 * SIZE, 2 * 3 * SIZE, 3)  # 500 pixels or more
    for x in (0, 3 * SIZE):
        dark = (picture[:, x : x + 3 * SIZE] < 30).all(axis=2)
        ys, xs = np.nonzero(dark[280:, :240])
        assert np.abs([xs.min() - 60, xs.max() - 180, ys.max() + 280 - 420]).max() <= 4
        filled = picture[330, x + 90] - picture[390, x + 90]
        assert np.abs(filled).max() > 5
    assert sample.pred_instances.bboxes[0].tolist() == [20, 100, 60, 140]
    assert draw(Recorder(), sample).shape == (SIZE, 2 * SIZE, 3)
    assert draw(Recorder(min_size=0), sample, out_file=str(file)).shape == (SIZE, 2 * SIZE, 3)


@pytest.mark.parametrize('scale', [1.0, 2.0])
def test_letters_of_another_size(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    visualizer, points = Recorder(font_scale=scale), []
    monkeypatch.setattr(
        visualizer, 'draw_texts', lambda *args, font_sizes, **rest: points.append(font_sizes)
    )
    draw(visualizer, found(), draw_gt=False)
    pixels = np.array(points) * visualizer.dpi / 72
    np.testing.assert_allclose(pixels, [13 * scale] * 2, rtol=1e-3)
    points.clear()
    seg_map = PixelData(sem_seg=torch.zeros(1, SIZE, SIZE, dtype=torch.long))
    draw(visualizer, DetDataSample(pred_sem_seg=seg_map), draw_gt=False)
    np.testing.assert_allclose(points[0] * visualizer.dpi / 72, 13 * scale, rtol=1e-3)


@pytest.fixture
def text(tmp_path: Path) -> TextEmbeddings:
    rng = np.random.default_rng(0)
    names = ('cat', 'dog', 'zebra', 'gnu')
    text = TextEmbeddings(rng.normal(size=(4, 8)), names, np.arange(4) > 1, 'teacher@0')
    text.save(str(tmp_path / 'text.npz'))
    return text


def training_sample(text: TextEmbeddings, teacher: str = 'teacher@0') -> DetDataSample:
    """As ``browse_dataset.py`` has it: of NumPy arrays, with regions as a store has them."""
    rng = np.random.default_rng(1)
    regions = InstanceData(
        bboxes=torch.tensor(
            [[10.0, 10, 50, 50], [12, 10, 50, 50], [70, 70, 99, 99], [0, 90, 9, 99]]
        ),
        embeddings=torch.from_numpy(5 * text.embeddings + rng.normal(size=(4, 8))).half(),
        metainfo=dict(teacher=teacher),
    )
    sample = DetDataSample(distill_instances=regions)
    sample.gt_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long())
    return sample.numpy()


def test_regions(text: TextEmbeddings, tmp_path: Path) -> None:
    """Without one that another covers, with the words nearest to their embeddings."""
    options = dict(text_embeddings=str(tmp_path / 'text.npz'), max_proposals=2)
    visualizer = Recorder(**options)
    sample = training_sample(text)
    picture = draw(visualizer, sample, draw_pred=False)
    assert picture.shape[0] == SIZE and picture.shape[1] > 2 * SIZE
    rows = sample.distill_instances.embeddings[[0, 2]].astype(float)
    norms = np.linalg.norm(rows, axis=1)[:, None] * np.linalg.norm(text.embeddings, axis=1)
    cosines = rows @ text.embeddings.T / norms
    rows = sorted(cosines.tolist(), key=max, reverse=True)
    marked = ['cat', 'dog', '★ zebra', '★ gnu']
    lines, labels = [], []
    for number, row in enumerate(rows, 1):
        order = np.argsort(row)[::-1][:3]
        words = [f'{marked[i]} {row[i]:.2f}' for i in order]
        lines += [f'{number} {words[0]}', f'    {words[1]}', f'    {words[2]}']
        labels.append(f'{number} {marked[order[0]]}')
    assert {labels[0][2:], labels[1][2:]} == {'cat', '★ zebra'}
    assert visualizer.texts == lines + labels[::-1]
    assert 'pred_instances' not in sample

    plain = Recorder()
    assert draw(plain, sample, draw_pred=False).shape == (SIZE, SIZE, 3) and not plain.texts


def test_explanations() -> None:
    """What a score is made of, as far as the detector says, and other words."""
    fields = dict(
        text_scores=torch.tensor([0.5, 0.25, 0]),
        image_scores=torch.full((3,), torch.nan),  # of a teacher that was not asked
        objectness=torch.tensor([0.99, 1, 0]),
        other_scores=torch.tensor([[0.1, 0.05], [0.2, 0], [0, 0]]),
        other_names=[['dog', 'toy cat'], ['cat', 'dog'], ['cat', 'cat']],
        other_novel=torch.tensor([[False, True], [True, False], [False, False]]),
    )
    visualizer = Recorder(explain=True)
    assert draw(visualizer, found(**fields), draw_gt=False).shape[1] > SIZE
    assert visualizer.texts[0] == r'1 ★ a \$5 bill for \$1 90.0'
    assert visualizer.texts[2:4] == ['    or ★ cat 20.0', '    or dog 0.0']  # as it says itself
    assert visualizer.texts[4:8] == [
        '2 cat 81.2',
        '    text 50.0, objectness 99.0',
        '    or dog 10.0',
        '    or ★ toy cat 5.0',
    ]
    assert visualizer.texts[8:] == ['2 cat', r'1 ★ a \$5 bill for \$1']
    with pytest.raises(ValueError, match=r'have only \[.*\]; .* model.test_cfg.rcnn.explain=3'):
        draw(Recorder(explain=True), found(), draw_gt=False)


def test_as_many_as_fit(text: TextEmbeddings, tmp_path: Path) -> None:
    """A picture that is too low for the words of all regions."""
    visualizer = Recorder(text_embeddings=str(tmp_path / 'text.npz'))
    image = np.zeros((100, 100, 3), np.uint8)
    visualizer.add_datasample('any', image[:20], training_sample(text), draw_pred=False)
    assert visualizer.texts[0] == 'and 3 more' and len(visualizer.texts) == 1 + 3
    visualizer.texts.clear()
    visualizer.add_datasample('any', image, training_sample(text), draw_pred=False)
    assert visualizer.texts[3] == 'and 2 more' and len(visualizer.texts) == 4 + 3


def test_regions_of_another_teacher(text: TextEmbeddings, tmp_path: Path) -> None:
    visualizer = Recorder(text_embeddings=str(tmp_path / 'text.npz'))
    with pytest.raises(ValueError, match='come from the teacher other@1, but .* by teacher@0'):
        draw(visualizer, training_sample(text, 'other@1'))


def test_a_map_of_labels_has_a_legend():
    """Of the words in it, the largest first, with their shares; novel ones are marked."""
    seg_map = torch.full((1, SIZE, SIZE), 255)
    seg_map[:, : SIZE // 2] = 2
    seg_map[:, SIZE // 2 :, : SIZE // 2] = 1
    sample = DetDataSample(pred_sem_seg=PixelData(sem_seg=seg_map))
    visualizer = Recorder(min_size=0)
    drawn = draw(visualizer, sample, draw_gt=False)
    assert visualizer.texts == ['dog', '★ ' + BILL, 'dog 66.7%', f'★ {BILL} 33.3%']
    height, width, _ = drawn.shape
    assert height == SIZE and width > SIZE
    assert (drawn[150, 190] == 128).all() and (drawn[10, 10] != 128).any()
    for label, row in ((2, 0), (1, 1)):
        top = int(MIN_FONT * (0.5 + LINE * row)) + 3
        assert (drawn[top, SIZE + MIN_FONT + 3] == label_color(label)).all()


def test_own_words_and_the_ignored_label_of_a_map():
    seg_map = torch.tensor([[[0, 65535], [1, 1]]]).repeat_interleave(SIZE // 2, 1)
    seg_map = seg_map.repeat_interleave(SIZE // 2, 2)
    meta = dict(label_names=['dog', 'zebra'], ignore_index=65535)
    sample = DetDataSample(gt_sem_seg=PixelData(metainfo=meta, sem_seg=seg_map))
    visualizer = Recorder(min_size=0)
    draw(visualizer, sample)
    assert visualizer.texts[-2:] == ['★ zebra 66.7%', 'dog 33.3%']
    # A segmentor knows better than the names tell: a zebra may be a base word's synonym.
    sample.gt_sem_seg.set_metainfo(dict(novel=torch.tensor([True, False])))
    draw(visualizer, sample)
    assert visualizer.texts[-2:] == ['zebra 66.7%', '★ dog 33.3%']


def test_a_map_of_more_words_than_fit_says_so():
    seg_map = torch.arange(100).reshape(1, 10, 10).repeat_interleave(20, 1).repeat_interleave(20, 2)
    visualizer = Recorder(dict(classes=[f'word {i}' for i in range(100)]), min_size=0)
    drawn = draw(visualizer, DetDataSample(pred_sem_seg=PixelData(sem_seg=seg_map)))
    assert len(drawn) == SIZE and visualizer.texts[-1].startswith('and 9')
    listed = [text for text in visualizer.texts if text.endswith('%')]
    assert visualizer.texts[-1] == f'and {100 - len(listed)} more'


def test_a_small_picture_is_enlarged_with_its_map(tmp_path):
    seg_map = torch.tensor([[[0, 0, 2], [1, 1, 2]]]).repeat_interleave(20, 1)
    seg_map = seg_map.repeat_interleave(20, 2)
    sample = DetDataSample(pred_sem_seg=PixelData(sem_seg=seg_map))
    image = np.full((40, 60, 3), 128, np.uint8)
    out = str(tmp_path / 'a.png')
    visualizer = Recorder(min_size=240)
    visualizer.add_datasample('any', image, sample, draw_gt=False, out_file=out)
    drawn = cv2.imread(out)[..., ::-1]
    assert drawn.shape[0] == 160 and drawn.shape[1] > 240
    expected = np.round(128 + 0.55 * (np.array(label_color(2)) - 128.0))
    assert (drawn[3, 236] == expected).all()
    assert sample.pred_sem_seg.sem_seg.shape == (1, 40, 60)
