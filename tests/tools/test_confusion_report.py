"""Which words objects are mistaken for."""

import base64
import json
import re
from pathlib import Path

import confusion
import confusion_report
import cv2
import numpy as np
import pytest

NAMES = ('cat', '<b>dog</b>', 'zebra', 'gnu')
SIZE = 60


def iou(one: np.ndarray, two: np.ndarray) -> float:
    low, high = np.maximum(one[:2], two[:2]), np.minimum(one[2:], two[2:])
    both = np.prod((high - low).clip(0))
    return both / (np.prod(one[2:] - one[:2]) + np.prod(two[2:] - two[:2]) - both)


def test_judges_as_described() -> None:
    """Against the description, detection by detection."""
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(40):
        objects, found = rng.integers(0, 5), rng.integers(0, 30)
        boxes = rng.uniform(0, 30, (objects, 4))
        boxes[:, 2:] += boxes[:, :2] + 20
        dets = rng.uniform(0, 30, (found, 4))
        dets[:, 2:] += dets[:, :2] + 20
        labels, words = rng.integers(0, 3, objects), rng.integers(0, 3, found)
        scores = rng.uniform(size=found)
        surest, also = confusion.judge(boxes, labels, dets, words, scores)

        expected, own_found = [-1] * objects, [False] * objects
        for d in range(found):
            near = [g for g in range(objects) if iou(dets[d], boxes[g]) >= 0.5]
            own = [g for g in near if labels[g] == words[d]]
            for g in own:
                own_found[g] = True
            if near:
                g = max(own or near, key=lambda g: iou(dets[d], boxes[g]))
                if expected[g] == -1 or scores[d] > scores[expected[g]]:
                    expected[g] = d
        assert surest.tolist() == expected and also.tolist() == own_found
        called = [words[d] if d >= 0 else -1 for d in expected]
        outcomes |= {np.sign(c) if c < 0 else c == g for c, g in zip(called, labels, strict=True)}
    assert outcomes == {-1, True, False}


class World:
    """Two pictures: zebras that are called cats, gnus, and one that is missed; a cat."""

    def __init__(self, root: Path) -> None:
        self.root = root
        rng = np.random.default_rng(0)
        (root / 'images').mkdir()
        images = []
        for image_id in (3, 7):
            images.append(dict(id=image_id, file_name=f'{image_id}.png', height=SIZE, width=SIZE))
            pixels = rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
            cv2.imwrite(str(root / 'images' / f'{image_id}.png'), pixels)
        objects = [(3, 12, 0), (3, 12, 30), (7, 12, 0), (7, 12, 30), (3, 10, 15), (7, 11, 15)]
        annotations = [
            dict(id=i, image_id=image, category_id=c, bbox=[x, 0, 12, 12], area=144, iscrowd=0)
            for i, (image, c, x) in enumerate(objects)
        ]
        annotations.append(dict(annotations[0], id=99, bbox=[0, 30, 20, 20], iscrowd=1))
        self.categories = [dict(id=i, name=name) for i, name in enumerate(NAMES, 10)]
        content = dict(images=images, annotations=annotations, categories=self.categories)
        (root / 'val.json').write_text(json.dumps(content))
        self.rows = [
            self.row(3, 10, 0, 0.9),  # a zebra called cat; its own word, too, less surely
            self.row(3, 12, 0, 0.8),
            self.row(3, 10, 30, 0.7),
            self.row(7, 13, 0, 0.6),
            self.row(7, 12, 0, 0.1),
            self.row(3, 10, 15, 0.5),  # the cat
            self.row(7, 13, 15, 0.5),  # the dog, called gnu
            self.row(7, 12, 45, 0.9),  # the zebra beside it is missed
        ]
        config = root / 'config.py'
        config.write_text(
            "custom_imports = dict(imports=['mmdet_vild'])\n"
            'test_dataloader = dict(dataset=dict(type="OpenVocabularyCocoDataset", '
            f'data_root="{root}/", ann_file="val.json", data_prefix=dict(img="images/"), '
            'test_mode=True, metainfo=dict(novel_classes=("zebra", "gnu")), '
            'pipeline=[dict(type="LoadImageFromFile")]))\n'
        )
        self.config = str(config)

    @staticmethod
    def row(image_id: int, category_id: int, x: int, score: float) -> dict:
        return dict(image_id=image_id, category_id=category_id, bbox=[x, 0, 12, 11], score=score)

    def report(self, *options: str, results: object = None) -> str:
        """The page, of these results."""
        file = self.root / 'results.bbox.json'
        file.write_text(json.dumps(self.rows if results is None else results))
        confusion_report.main([self.config, str(file), *options])
        return (self.root / 'confusion.html').read_text()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def cells(page: str, word: str) -> list[str]:
    """What the table that has this word in its first column says of it, without tags."""
    rows = [re.findall('<td.*?>(.*?)</td>', row) for row in re.findall('<tr>.*?</tr>', page)]
    rows = [[re.sub('<.*?>', '', cell) for cell in row] for row in rows]
    (row,) = (row for row in rows if row[:1] == [word])
    return row


def test_page(world: World) -> None:
    page = world.report()
    assert cells(page, '★ novel')[2:] == ['4', '0 (0%)', '3 (75%)', '2 (50%)', '1 (25%)', '1', '2']
    assert cells(page, 'base')[2:] == ['2', '1 (50%)', '1 (50%)', '0 (0%)', '0 (0%)', '1', '0']
    assert cells(page, '★ zebra')[2:] == ['4', '0', '3', '1', 'cat&nbsp;2, ★ gnu&nbsp;1']
    assert cells(page, 'cat')[2:] == ['1', '1', '0', '0', '']
    assert '&lt;b&gt;dog&lt;/b&gt;' in page and '<b>' not in page
    assert 'src="http' not in page and 'href' not in page
    pairs = re.findall('<p class="pair">(.*?)</p>', page)
    assert [re.sub('<.*?>', '', pair) for pair in pairs] == [
        '★ zebra called cat: 2 ×',
        '★ zebra called ★ gnu: 1 ×',
        '&lt;b&gt;dog&lt;/b&gt; called ★ gnu: 1 ×',
    ]
    assert re.findall('score ([0-9.]+), image (.)', page) == [
        ('0.90', '3'), ('0.70', '3'), ('0.60', '7'), ('0.50', '7'),
    ]  # fmt: skip
    pictures = re.findall('data:image/jpeg;base64,(.*?)"', page)
    assert len(pictures) == 4
    for picture in pictures:
        pixels = np.frombuffer(base64.b64decode(picture), np.uint8)
        assert max(cv2.imdecode(pixels, cv2.IMREAD_COLOR).shape) == 190


def test_options(world: World) -> None:
    """Unsure detections left out; masks in the results; no pictures needed."""
    (world.root / 'images' / '3.png').unlink()
    rows = [row | dict(segmentation=dict(size=[SIZE, SIZE], counts='abc')) for row in world.rows]
    page = world.report('--score-thr', '0.65', '--pairs', '0', results=rows)
    assert cells(page, '★ zebra')[2:] == ['4', '0', '2', '2', 'cat&nbsp;2']
    assert 'base64' not in page


def test_images_without_detections(world: World) -> None:
    page = world.report(results=world.rows[:1])
    assert '1 of the images have no detection at all' in page


@pytest.mark.parametrize(
    'results, message',
    [
        ([], 'holds no detections: expected the detections that the test tool writes'),
        ([World.row(4, 10, 0, 1)], 'of 1 images that .*val.json does .* its 2, such as id 4'),
        ([World.row(3, 99, 0, 1)], 'of 1 categories that .* its 4, such as id 99'),
        (dict(images=[dict(id=3)]), "cannot be read .KeyError: 'bbox'.*; expected the"),
        ({}, "cannot be read .KeyError: 'bbox'"),
        ([dict(World.row(3, 10, 0, 1), bbox=[1, 2])], r'a bbox is \[1, 2\]'),
        ([3], 'holds no detections'),
        ('text', 'is no list'),
    ],
)  # fmt: skip
def test_wrong_results(world: World, results: object, message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        world.report(results=results)


def test_wrong_files(world: World) -> None:
    with pytest.raises(SystemExit, match='error: there is no results file'):
        confusion_report.main([world.config, str(world.root / 'none.json')])
    pickle = world.root / 'results.pkl'
    pickle.write_bytes(b'\x80\x04cos\nsystem\n')
    with pytest.raises(SystemExit, match='results.pkl cannot be read'):
        confusion_report.main([world.config, str(pickle)])
    options = ['--cfg-options', 'test_dataloader.dataset.type=CocoDataset']
    with pytest.raises(SystemExit, match='CocoDataset, which does not say which .* are novel'):
        world.report(*options, 'test_dataloader.dataset.metainfo._delete_=True')
    with pytest.raises(SystemExit, match='no image at .*3.png; set data_root'):
        world.report('--cfg-options', 'test_dataloader.dataset.data_prefix.img=elsewhere/')
    content = json.loads((world.root / 'val.json').read_text())
    for image in content['images']:
        image['file_name'] = '../images/' + image['file_name']
    (world.root / 'val.json').write_text(json.dumps(content))
    (world.root / 'others').mkdir()
    with pytest.raises(SystemExit, match='3.png, named in .*val.json, is outside of .*others'):
        world.report('--cfg-options', 'test_dataloader.dataset.data_prefix.img=others/')


@pytest.mark.parametrize('option', ['--score-thr=nan', '--score-thr=-1', '--pairs=-1'])
def test_numbers_out_of_range(option):
    name = option.split('=')[0]
    with pytest.raises(SystemExit, match=f'error: {name} must be a .*number'):
        confusion_report.main(['config.py', 'results.json', option])
