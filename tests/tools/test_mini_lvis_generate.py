"""The mini world: category lists, scenes, the dataset on disk."""

import filecmp
import json
import subprocess
import sys
import time
from pathlib import Path

import categories
import cv2
import generate
import numpy as np
import pytest
import scenes
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_drawings import CATEGORIES, make_drawings

TOOLS = Path(__file__).parents[2] / 'tools' / 'mini_lvis'
SIZES = ['--train', '8', '--val', '3', '--test', '4', '--unseen', '3', '--image-size', '128']
NOVEL = {'red heart', 'blue circle'}


@pytest.fixture(scope='module')
def drawings(tmp_path_factory) -> Path:
    return make_drawings(tmp_path_factory.mktemp('drawn') / 'drawings')


@pytest.fixture(scope='module')
def dataset(tmp_path_factory, drawings) -> Path:
    out = tmp_path_factory.mktemp('world') / 'mini'
    generate.main(['--out', str(out), '--drawings', str(drawings), '--workers', '1', *SIZES])
    return out


@pytest.fixture(scope='module')
def painter(dataset, drawings) -> generate.Painter:
    return generate.Painter(json.loads((dataset / 'world.json').read_text()), drawings)


def assert_same_files(one: Path, other: Path) -> None:
    names, others = (
        sorted(str(p.relative_to(folder)) for p in folder.rglob('*') if p.is_file())
        for folder in (one, other)
    )
    assert names == others
    _, differing, errors = filecmp.cmpfiles(one, other, names, shallow=False)
    assert not differing and not errors


def annotation_file(dataset: Path, split: str) -> dict:
    return json.loads((dataset / 'annotations' / f'lvis_v1_{split}.json').read_text())


# ---- category lists


def test_a_list_names_what_is_drawn():
    chosen = categories.choose_categories(
        [{'name': 'blue circle', 'frequency': 'f'}, 'Scarlet Heart'], CATEGORIES
    )
    assert [c['name'] for c in chosen] == ['red heart', 'blue circle']
    assert [c['frequency'] for c in chosen] == ['r', 'f']
    assert [c['id'] for c in chosen] == [4, 5]
    assert chosen[0]['synonyms'] == ['red heart', 'scarlet heart']
    assert list(chosen[0]) == ['id', 'name', 'synset', 'synonyms', 'def', 'frequency']
    assert len(categories.load_categories(None, CATEGORIES)) == 5


def test_a_name_counts_before_the_synonym_of_another():
    birds = [dict(name=name, frequency=f) for name, f in (('owl', 'f'), ('bird', 'r'))]
    birds[1]['synonyms'] = ['bird', 'owl', 'fowl']
    chosen = categories.choose_categories(['owl', 'Fowl'], birds)
    assert [c['name'] for c in chosen] == ['owl', 'bird']


@pytest.mark.parametrize(
    'wanted, message',
    [
        (['red circle', 'red heart', 'red circle'], "duplicate category: 'red circle'"),
        (['red heart', 'scarlet heart'], "'scarlet heart' is 'red heart'"),
        (['red cirle', 'red heart'], "no drawing of 'red cirle'; near it are red circle"),
        ([{'frequency': 'f'}], "number 1 has no 'name'"),
        ([{'name': 'red circle', 'frequency': 'x'}], "'frequency' is 'x'"),
        (['red circle', 'blue ring'], r'no novel \(r\)'),
        (['red heart'], r'no base \(f or c\)'),
        ({'red heart': 'r'}, 'a JSON list of names'),
        ([['red heart']], 'a JSON list of names'),
    ],
)
def test_bad_category_lists_are_refused(tmp_path, drawings, wanted, message):
    path = tmp_path / 'c.json'
    path.write_text(json.dumps(wanted))
    arguments = ['--categories', str(path), '--drawings', str(drawings), *SIZES]
    with pytest.raises(SystemExit, match=f'error: .*c.json: .*{message}'):
        generate.main(['--out', str(tmp_path / 'out'), *arguments])
    assert not (tmp_path / 'out').exists()


# ---- scenes


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32))
def test_masks_are_what_is_seen(seed):
    """Each object of one colour: a pixel has an owner's colour where its mask says so."""
    square = np.full((40, 40, 4), 255, np.uint8)
    picks = [scenes.Drawing(str(i), str(i), 'plain', False, square.copy()) for i in range(6)]
    for i, pick in enumerate(picks):
        pick.pixels[..., :3] = [(255, 0, 0), (0, 255, 0), (0, 0, 255)][i % 3]
    rng = np.random.default_rng(seed)
    scene = scenes.compose(rng, picks, picks[:1], 144)
    assert scene.pixels.shape == (144, 144, 3) and scene.pixels.dtype == np.uint8
    sizes = []
    for i, drawing in enumerate(scene.drawings):
        mask = (scene.owners == i).astype(np.uint8)
        inner = cv2.erode(mask, np.ones((5, 5), np.uint8)) > 0
        channel = int(drawing.pixels[0, 0, :3].argmax())
        colours = cv2.GaussianBlur(scene.pixels, (0, 0), 1)[inner]
        assert (colours.argmax(1) == channel).mean() > 0.97
        sizes.append(mask.sum())
    smallest = scenes.MIN_SIZE**2 * np.exp(-0.1) * scenes.MIN_INSIDE * scenes.MIN_VISIBLE
    assert min(sizes, default=smallest) > 0.95 * smallest
    assert set(np.unique(scene.owners)) <= {-2, -1, *range(len(scene.drawings))}


def test_drawings_must_have_an_alpha_channel(tmp_path, drawings):
    index = json.loads((drawings / 'index.json').read_text())
    (tmp_path / 'round').mkdir()
    cv2.imwrite(str(tmp_path / 'round' / 'red-circle.png'), np.zeros((9, 9, 3), np.uint8))
    (tmp_path / 'index.json').write_text(json.dumps(index))
    with pytest.raises(ValueError, match='red-circle.png is no picture with an alpha channel'):
        scenes.load_drawings(tmp_path)


def test_held_out_designs_are_in_unseen_alone(painter):
    for split in generate.SPLITS:
        shown = [d.family for i in range(12) for d in painter.scene(split, i).drawings]
        assert set(shown) == ({'tall'} if split == 'unseen' else {'round', 'wide'})


# ---- the dataset


def test_same_bytes_for_any_number_of_workers(dataset, drawings, tmp_path):
    command = [sys.executable, TOOLS / 'generate.py', '--out', tmp_path / 'mini', '--workers', '2']
    subprocess.run([*command, '--drawings', drawings, *SIZES], check=True, capture_output=True)
    assert_same_files(dataset, tmp_path / 'mini')


def test_lvis_reads_it(dataset, painter):
    from lvis import LVIS

    for split, count in (('train', 8), ('val', 3), ('test', 4), ('unseen', 3)):
        lvis = LVIS(str(dataset / 'annotations' / f'lvis_v1_{split}.json'))
        assert len(lvis.get_img_ids()) == count and lvis.get_cat_ids() == [1, 2, 3, 4, 5]
        for image in lvis.imgs.values():
            path = image['coco_url'].removeprefix('http://images.cocodataset.org/')
            assert path.startswith('train2017/' if split == 'train' else 'val2017/')
            assert cv2.imread(str(dataset / path)).shape == (image['height'], image['width'], 3)
        for annotation in lvis.anns.values():
            mask = lvis.ann_to_mask(annotation)
            assert mask.sum() == annotation['area'] > 0
            x, y, w, h = annotation['bbox']
            rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
            assert (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) == (x, y, x + w, y + h)


def test_splits_share_no_image(dataset):
    seen = [{i['coco_url'] for i in annotation_file(dataset, s)['images']} for s in generate.SPLITS]
    assert len(set.union(*seen)) == 18 == len(list(dataset.rglob('*.jpg')))


def test_novel_objects_are_in_the_training_images_and_nowhere_else(dataset, painter):
    content = annotation_file(dataset, 'train')
    novel = {c['id'] for c in content['categories'] if c['frequency'] == 'r'}
    assert len(content['categories']) == 5 and novel == {4, 5}
    assert not novel & {a['category_id'] for a in content['annotations']}
    assert not any(novel & set(i['neg_category_ids']) for i in content['images'])
    drawn = [d.category for i in range(8) for d in painter.scene('train', i).drawings]
    assert set(drawn) >= NOVEL
    assert len(content['annotations']) == sum(name not in NOVEL for name in drawn)
    for path in (dataset / 'semantic' / 'train2017').iterdir():
        assert not np.isin(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), (3, 4)).any()


@pytest.mark.parametrize('split', ['val', 'test', 'unseen'])
def test_evaluation_splits_are_annotated_exhaustively(dataset, painter, split):
    content = annotation_file(dataset, split)
    names = {c['name']: c['id'] for c in content['categories']}
    for index, image in enumerate(content['images']):
        mine = [a['category_id'] for a in content['annotations'] if a['image_id'] == image['id']]
        scene = painter.scene(split, index)
        assert mine == [names[d.category] for d in scene.drawings]
        assert image['neg_category_ids'] == sorted(set(names.values()) - set(mine))
        assert image['not_exhaustive_category_ids'] == []


def test_label_maps_are_the_masks(dataset):
    from lvis import LVIS

    classes = json.loads((dataset / 'semantic_classes.json').read_text())
    assert classes == [c['name'] for c in CATEGORIES] + list(scenes.STUFF)
    lvis = LVIS(str(dataset / 'annotations' / 'lvis_v1_test.json'))
    for image_id in lvis.get_img_ids():
        path = dataset / 'semantic' / 'val2017' / f'{image_id:012d}.png'
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert labels.dtype == np.uint16
        objects = np.zeros(labels.shape, bool)
        for annotation in lvis.load_anns(lvis.get_ann_ids(img_ids=[image_id])):
            mask = lvis.ann_to_mask(annotation).astype(bool)
            assert (labels[mask] == annotation['category_id'] - 1).all()
            objects |= mask
        rest = labels[~objects]
        assert ((rest >= 5) & (rest < 13) | (rest == scenes.UNNAMED)).all()


def test_every_category_is_tested_about_equally_often(painter):
    drawn = [d.category for i in range(100) for d in painter.picks('val', i)[1]]
    counts = [drawn.count(c['name']) for c in CATEGORIES]
    assert max(counts) < 1.35 * min(counts)
    drawn = [d.category for i in range(400) for d in painter.picks('train', i)[1]]
    assert 0.4 < drawn.count('blue ring') / drawn.count('red circle') < 0.6


def test_cocos_words():
    """Several of LVIS's categories are one of COCO's, and some are none."""
    names = {3: 'cab_(taxi)', 7: 'car_(automobile)', 8: 'owl', 9: 'saxophone'}
    content = {
        'info': {},
        'licenses': [],
        'images': [
            {'id': 1, 'width': 9, 'height': 8, 'coco_url': 'http://images.cocodataset.org/a/b.jpg'}
        ],
        'annotations': [{'id': i, 'category_id': i} for i in names],
        'categories': [{'id': i, 'name': name} for i, name in names.items()],
    }
    coco = generate.with_coco_words(content)
    assert coco['categories'] == [{'id': 3, 'name': 'car'}, {'id': 16, 'name': 'bird'}]
    assert [(a['id'], a['category_id']) for a in coco['annotations']] == [(3, 3), (7, 3), (8, 16)]
    assert coco['images'] == [{'file_name': 'a/b.jpg', 'id': 1, 'width': 9, 'height': 8}]


def test_cocos_words_are_of_drawn_categories():
    drawn = {c['name'] for c in json.loads((TOOLS / 'drawings.json').read_text())['categories']}
    words = json.loads(generate.COCO_WORDS.read_text())
    named = [name for _, *names in words.values() for name in names]
    assert len(set(named)) == len(named) and set(named) <= drawn


def test_finished_dataset_is_left_alone_and_another_refused(dataset, drawings, capsys, tmp_path):
    before = {p: p.stat().st_mtime_ns for p in dataset.rglob('*')}
    common = ['--out', str(dataset), '--drawings', str(drawings), '--workers', '1', *SIZES]
    generate.main(common)
    assert 'already there' in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r'\(seed differ\). Delete the folder'):
        generate.main([*common, '--seed', '5'])
    wanted = tmp_path / 'c.json'
    wanted.write_text('["red circle", "red heart"]')
    with pytest.raises(SystemExit, match=r'\(categories differ\)'):
        generate.main([*common, '--categories', str(wanted)])
    assert before == {p: p.stat().st_mtime_ns for p in dataset.rglob('*')}


def test_foreign_folder_is_refused(tmp_path, drawings):
    (tmp_path / 'thesis.txt').write_text('precious')
    with pytest.raises(SystemExit, match='is not empty, and is not this dataset'):
        generate.main(['--out', str(tmp_path), '--drawings', str(drawings), *SIZES])
    assert [p.name for p in tmp_path.iterdir()] == ['thesis.txt']


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--image-size', '40'], '--image-size must be at least 60'),
        (['--val', '0'], '--val must be at least 1'),
        (['--seed', '-1'], '--seed must not be negative'),
        (['--categories', 'nowhere.json'], 'nowhere.json'),
        (['--drawings', 'nowhere'], 'nowhere'),
    ],
)
def test_bad_arguments_are_refused(tmp_path, drawings, arguments, message):
    with pytest.raises(SystemExit, match=message):
        generate.main(
            ['--out', str(tmp_path / 'out'), '--drawings', str(drawings), *SIZES, *arguments]
        )


def test_a_killed_run_ends_as_any_other(dataset, drawings, tmp_path):
    out = tmp_path / 'mini'
    arguments = ['--out', str(out), '--drawings', str(drawings), '--workers', '1', *SIZES]
    command = [sys.executable, str(TOOLS / 'generate.py'), *arguments]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(out.glob('train2017/*.jpg')):
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert not json.loads((out / 'world.json').read_text())['finished']
    (out / 'train2017' / '.000000000008.jpg.part').write_bytes(b'half an ima')
    generate.main(arguments)
    assert_same_files(dataset, out)


def test_traits(dataset, drawings, painter):
    """Harder worlds: the same things, paler, and half of the novel categories larger than all."""
    world = json.loads((dataset / 'world.json').read_text())
    pale = generate.Painter({**world, 'poor_camera': True}, drawings)
    large = generate.Painter({**world, 'large_novel': True}, drawings)
    assert large.large == {'red heart'}
    sides = {True: [], False: []}
    for i in range(8):
        plain, seen = painter.scene('train', i), pale.scene('train', i)
        assert (plain.owners == seen.owners).all()
        assert seen.pixels.std() < 0.75 * plain.pixels.std()
        scene = large.scene('train', i)
        for k, drawing in enumerate(scene.drawings):
            y, x = np.nonzero(scene.owners == k)
            sides[drawing.category == 'red heart'].append(max(np.ptp(y), np.ptp(x)) + 1)
    least, most = np.array(scenes.LARGE_PART) * 128
    # stretched, turned, and cut by the border
    assert min(sides[True]) > 0.7 * least > 0.7 * max(sides[False])
    assert max(sides[True]) < 1.25 * most
    assert (pale.scene('train', 0).pixels == pale.scene('train', 0).pixels).all()
