"""The mini world: names, shapes, rendering, the dataset on disk."""

import filecmp
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

import concepts
import cv2
import generate
import numpy as np
import pytest
import render
import shapes
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_utils
from shapely import affinity

TOOLS = Path(__file__).parents[2] / 'tools' / 'mini_lvis'

SIZES = ['--train', '8', '--val', '3', '--test', '3', '--image-size', '128']
CATEGORIES = [
    {'name': 'red circle', 'frequency': 'f'},
    {'name': 'blue ring', 'frequency': 'c'},
    {'name': 'green cup', 'frequency': 'f'},
    {'name': 'red heart', 'frequency': 'r'},
    {'name': 'blue circle', 'frequency': 'r'},
]


def files_of(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob('*') if p.is_file())


def assert_same_files(one: Path, other: Path) -> None:
    names = files_of(one)
    assert names == files_of(other)
    _, differing, errors = filecmp.cmpfiles(one, other, names, shallow=False)
    assert not differing and not errors


@pytest.fixture(scope='module')
def category_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('categories') / 'categories.json'
    path.write_text(json.dumps(CATEGORIES))
    return path


@pytest.fixture(scope='module')
def dataset(tmp_path_factory, category_file) -> Path:
    out = tmp_path_factory.mktemp('world') / 'mini'
    generate.main(['--out', str(out), '--categories', str(category_file), '--workers', '1', *SIZES])
    return out


def annotation_file(dataset: Path, split: str) -> dict:
    return json.loads((dataset / 'annotations' / f'lvis_v1_{split}.json').read_text())


# ---- names and category lists


@given(st.sampled_from(concepts.all_concepts()))
def test_every_concept_is_named_and_read_back(concept):
    assert {concepts.parse_name(name) for name in concept.synonyms} == {concept}
    assert concepts.parse_name(concept.name.upper().replace(' ', '_')) == concept


@pytest.mark.parametrize(
    'name', ['red dog', 'heart', 'red', 'heart red', 'red striped heart', '', 'red red heart']
)
def test_unreadable_names_list_what_is_known(name):
    with pytest.raises(ValueError, match='heart.*stairs|heart.*star'):
        concepts.parse_name(name)


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda c: c + [{'name': 'red circle', 'frequency': 'f'}], 'duplicate'),
        (
            lambda c: c + [{'name': 'blue hoop', 'frequency': 'f'}],
            "'blue hoop' and 'blue ring' are the same picture",
        ),
        (
            lambda c: c + [{'name': 'red unicorn', 'frequency': 'f'}],
            "unknown word 'unicorn'.*Known are",
        ),
        (lambda c: c + [{'frequency': 'f'}], "number 6 has no 'name'"),
        (lambda c: c + [{'name': 'red cup'}], "'frequency' is None"),
        (lambda c: c + [{'name': 'red cup', 'frequency': 'x'}], "'frequency' is 'x'"),
        (
            lambda c: c + [{'name': 'red cup', 'frequency': 'f', 'synonyms': ['red heart']}],
            'stands for both',
        ),
        (
            lambda c: c + [{'name': 'red cup', 'frequency': 'f', 'synonyms': 'red mug'}],
            'must be a list',
        ),
        (lambda c: c + [{'name': 'red cup', 'frequency': 'f', 'id': 1}], "'id'"),
        (lambda c: [{**d, 'id': 9 - i} for i, d in enumerate(c)], 'ascending'),
        (lambda c: c[:3], r'no novel \(r\)'),
        (lambda c: c[3:], r'no base \(f or c\)'),
        (lambda c: {'categories': c}, 'JSON list'),
    ],
)
def test_bad_category_files_are_refused(tmp_path, change, message):
    path = tmp_path / 'c.json'
    path.write_text(json.dumps(change(CATEGORIES)))
    with pytest.raises(ValueError, match=f'c.json: .*{message}'):
        concepts.load_categories(path)
    with pytest.raises(SystemExit, match=f'error: .*{message}'):
        generate.main(['--out', str(tmp_path / 'out'), '--categories', str(path), *SIZES])
    assert not (tmp_path / 'out').exists()


def test_novel_kinds():
    kinds = concepts.novel_kinds(CATEGORIES)
    assert kinds == {'red heart': 'unseen words', 'blue circle': 'unseen combination'}
    striped = [*CATEGORIES, {'name': 'striped red cup', 'frequency': 'r'}]
    assert concepts.novel_kinds(striped)['striped red cup'] == 'unseen words'


def test_default_categories():
    categories = concepts.load_categories(concepts.DEFAULT_CATEGORIES)
    kinds = list(concepts.novel_kinds(categories).values())
    base = [concepts.parse_name(c['name']) for c in categories if c['frequency'] != 'r']
    assert (
        len(base) == 24
        and kinds.count('unseen words') == 12
        and kinds.count('unseen combination') == 2
    )
    assert {c.colour for c in base} == set(concepts.COLOURS)
    assert {c['frequency'] for c in categories} == {'f', 'c', 'r'}
    assert concepts.complete_categories(categories) == categories


# ---- shapes and rendering


def squashed_mask(name: str, turn: float, flip: int, side: int = 48) -> np.ndarray:
    """A shape turned, then stretched to fill a square, as a bool mask."""
    outline = affinity.rotate(affinity.scale(shapes.unit_shape(name), flip, 1), turn)
    x1, y1, x2, y2 = outline.bounds
    mask = np.zeros((side, side), np.uint8)
    rings = [
        (np.array(r.coords) - (x1, y1)) / (x2 - x1, y2 - y1)
        for r in (outline.exterior, *outline.interiors)
    ]
    cv2.fillPoly(mask, [np.round(r * side - 0.5).astype(np.int32) for r in rings], 1)
    return mask.astype(bool)


def test_no_two_shapes_look_alike():
    views = {}
    for name in shapes.SHAPES:
        turn = min(shapes.TURNS.get(name, shapes.MAX_TURN), shapes.MAX_TURN)
        views[name] = [squashed_mask(name, t, flip) for t in (-turn, 0, turn) for flip in (1, -1)]
    for one, other in itertools.combinations(shapes.SHAPES, 2):
        iou = max((a & b).sum() / (a | b).sum() for a in views[one] for b in views[other])
        assert iou < 0.85, f'{one} and {other} look alike: IoU {iou:.2f}'


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.integers(64, 224))
def test_polygons_are_what_is_seen(seed, size):
    names = concepts.all_concepts()
    layout = render.sample_layout(np.random.default_rng(seed), names, np.ones(len(names)), size)
    ids = render.visible_ids(layout)
    frame = np.zeros_like(ids)
    for i, obj in enumerate(layout.objects):
        rings = render.polygon_rings(obj.visible)
        assert rings and all(len(r) >= 6 for r in rings)
        assert obj.visible.area >= render.MIN_VISIBLE * obj.outline.area
        mask = mask_utils.decode(
            mask_utils.merge(mask_utils.frPyObjects(rings, size, size))
        ).astype(bool)
        drawn = ids == i + 1
        # pycocotools rounds outlines to whole pixels: by up to half a pixel, all along them
        assert (mask ^ drawn).sum() <= obj.visible.length / 2, (obj.concept, obj.size)
        frame[mask] = i + 1
    seen = (ids > 0) | (frame > 0)
    assert (frame == ids)[seen].mean() > 0.9
    image = render.paint_layout(layout, np.random.default_rng(seed))
    assert image.shape == (size, size, 3) and image.dtype == np.uint8


def test_colours_are_told_apart_in_the_pixels():
    rng = np.random.default_rng(0)
    means = {colour: [] for colour in concepts.COLOURS}
    for colour, _ in itertools.product(means, range(20)):
        canvas = render._background(rng, 64)
        concept = concepts.Concept('', colour, 'circle')
        render._paint(canvas, render._sample_object(rng, concept, np.array([32.0, 32.0]), 24))
        means[colour].append(canvas[28:36, 28:36].mean((0, 1)))
    centres = {colour: np.mean(values, 0) for colour, values in means.items()}
    for colour, values in means.items():
        for value in values:
            assert min(centres, key=lambda c: np.linalg.norm(centres[c] - value)) == colour


# ---- the dataset


def test_same_bytes_for_any_number_of_workers(dataset, category_file, tmp_path):
    subprocess.run(
        [
            sys.executable,
            TOOLS / 'generate.py',
            '--out',
            tmp_path / 'mini',
            '--categories',
            category_file,
            '--workers',
            '2',
            *SIZES,
        ],
        check=True,
        capture_output=True,
    )
    assert_same_files(dataset, tmp_path / 'mini')


def test_lvis_reads_it(dataset):
    from lvis import LVIS

    for split, count in (('train', 8), ('val', 3), ('test', 3)):
        lvis = LVIS(str(dataset / 'annotations' / f'lvis_v1_{split}.json'))
        assert len(lvis.get_img_ids()) == count and lvis.get_cat_ids() == [1, 2, 3, 4, 5]
        for image in lvis.imgs.values():
            path = image['coco_url'].removeprefix('http://images.cocodataset.org/')
            assert path.startswith('train2017/' if split == 'train' else 'val2017/')
            assert cv2.imread(str(dataset / path)).shape == (image['height'], image['width'], 3)
        for annotation in lvis.anns.values():
            mask = lvis.ann_to_mask(annotation)
            assert mask.sum() == pytest.approx(annotation['area'], rel=0.15)
            x, y, w, h = annotation['bbox']
            points = np.concatenate([np.reshape(r, (-1, 2)) for r in annotation['segmentation']])
            np.testing.assert_allclose(
                [*points.min(0), *points.max(0)], [x, y, x + w, y + h], atol=0.011
            )


def test_splits_share_no_image(dataset):
    seen = [
        {i['coco_url'] for i in annotation_file(dataset, s)['images']}
        for s in ('train', 'val', 'test')
    ]
    assert len(set.union(*seen)) == 14 == len(list(dataset.rglob('*.jpg')))


def test_novel_objects_are_in_the_training_images_but_not_in_the_annotations(dataset):
    world = json.loads((dataset / 'world.json').read_text())
    train = annotation_file(dataset, 'train')
    novel = {c['id'] for c in train['categories'] if c['frequency'] == 'r'}
    assert len(train['categories']) == 5 and novel == {4, 5}
    assert not novel & {a['category_id'] for a in train['annotations']}
    assert not any(novel & set(i['neg_category_ids']) for i in train['images'])
    drawn = [
        o.concept.name for i in range(8) for o in generate.scene_layout(world, 'train', i).objects
    ]
    assert {'red heart', 'blue circle'} <= set(drawn)
    assert len(train['annotations']) == sum(n not in ('red heart', 'blue circle') for n in drawn)


def test_novel_objects_are_half_as_frequent_as_base_ones_in_training(category_file):
    world = generate.make_world(0, concepts.load_categories(category_file), 400, 1, 1, 128)
    drawn = [
        o.concept.name for i in range(400) for o in generate.scene_layout(world, 'train', i).objects
    ]
    base = np.mean([drawn.count(n) for n in ('red circle', 'blue ring', 'green cup')])
    novel = np.mean([drawn.count(n) for n in ('red heart', 'blue circle')])
    assert 0.35 < novel / base < 0.65
    assert 0.35 < drawn.count('blue ring') / drawn.count('red circle') < 0.65


@pytest.mark.parametrize('split', ['val', 'test'])
def test_evaluation_splits_are_annotated_exhaustively(dataset, split):
    world = json.loads((dataset / 'world.json').read_text())
    content = annotation_file(dataset, split)
    for index, image in enumerate(content['images']):
        present = sorted(
            a['category_id'] for a in content['annotations'] if a['image_id'] == image['id']
        )
        objects = generate.scene_layout(world, split, index).objects
        names = {c['name']: c['id'] for c in content['categories']}
        assert present == sorted(names[o.concept.name] for o in objects)
        assert image['neg_category_ids'] == sorted(set(names.values()) - set(present))
        assert image['not_exhaustive_category_ids'] == []


def test_finished_dataset_is_left_alone_and_another_refused(dataset, category_file, capsys):
    before = {p: p.stat().st_mtime_ns for p in dataset.rglob('*')}
    common = ['--out', str(dataset), '--categories', str(category_file), '--workers', '1', *SIZES]
    generate.main(common)
    assert 'already there' in capsys.readouterr().out
    with pytest.raises(SystemExit, match='seed was 0 and is now 5.*Delete the folder'):
        generate.main([*common, '--seed', '5'])
    with pytest.raises(SystemExit, match='categories differ'):
        generate.main(['--out', str(dataset), *SIZES])
    assert before == {p: p.stat().st_mtime_ns for p in dataset.rglob('*')}


def test_foreign_folder_is_refused(tmp_path):
    (tmp_path / 'thesis.txt').write_text('precious')
    with pytest.raises(SystemExit, match='is not empty and holds no mini world'):
        generate.main(['--out', str(tmp_path), *SIZES])
    assert files_of(tmp_path) == ['thesis.txt']


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--image-size', '40'], '--image-size must be at least 52'),
        (['--val', '0'], '--val must be at least 1'),
        (['--seed', '-1'], '--seed must not be negative'),
        (['--categories', 'nowhere.json'], 'nowhere.json'),
    ],
)
def test_bad_arguments_are_refused(tmp_path, arguments, message):
    with pytest.raises(SystemExit, match=message):
        generate.main(['--out', str(tmp_path / 'out'), *arguments])


def test_resumes_after_a_kill(dataset, category_file, tmp_path):
    out = tmp_path / 'mini'
    command = [
        sys.executable,
        str(TOOLS / 'generate.py'),
        '--out',
        str(out),
        '--categories',
        str(category_file),
        '--workers',
        '1',
        *SIZES,
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(out.glob('train2017/*.jpg')):
        time.sleep(0.002)
    process.kill()
    process.wait()
    kept = {p: p.stat().st_mtime_ns for p in out.rglob('*.jpg')}
    assert kept
    (out / 'train2017' / '.000000000008.jpg.part').write_bytes(b'half an ima')
    generate.main(command[2:])
    assert all(p.stat().st_mtime_ns == t for p, t in kept.items())
    assert_same_files(dataset, out)
