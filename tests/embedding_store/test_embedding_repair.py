"""Damaged stores: all of it is found, nothing that is right is lost, nothing that is wrong kept."""

import random
from contextlib import suppress

import pytest
from small_store import contents, killed_at_write, make_record, sample, write

from mmdet_vild.embedding_store import DamagedRecordError, EmbeddingShard, EmbeddingStore
from mmdet_vild.embedding_store.repair import damage, repair

pytestmark = pytest.mark.onedl


@pytest.fixture
def file(tmp_path):
    """A shard of 30 images."""
    write(tmp_path / 'store', range(30), n=20)
    return tmp_path / 'store' / 'shard-00000.sqlite'


def used_bytes(file):
    """Where in a file the records are."""
    content, places = file.read_bytes(), []
    for data in contents(file.parent).values():
        for start in range(0, len(data), 64):
            place = content.find(data[start : start + 64])
            if place >= 0:  # a piece may lie in two pages
                places += range(place, place + len(data[start : start + 64]))
    return places


def test_200_damages_are_found(file):
    """160 flipped bits in records, and 40 cuts."""
    original, places, rng = file.read_bytes(), used_bytes(file), random.Random(0)
    assert len(places) > 0.9 * 30 * len(make_record(20).to_bytes())
    for attempt in range(200):
        data = bytearray(original)
        if attempt % 5:
            data[rng.choice(places)] ^= 1 << rng.randrange(8)
        else:
            del data[rng.randrange(len(data)) :]
        file.write_bytes(data)
        found = list(damage(file))
        assert found and all(str(file) in line for line in found)


def test_damage_names_the_image(file):
    data = bytearray(file.read_bytes())
    data[data.index(make_record(20, seed=7).to_bytes()[:64]) + 30] ^= 16
    file.write_bytes(data)
    (found,) = damage(file)
    assert 'the embeddings of image 7 are damaged: the checksum differs' in found
    store = EmbeddingStore(file.parent)
    with pytest.raises(DamagedRecordError, match='image 7: the checksum .*repair removes'):
        store.read(sample(7))
    assert len(store.read(sample(8))) == 20


def test_nothing_is_damaged(file):
    before = file.read_bytes()
    assert list(damage(file)) == [] and repair(file) is None
    assert file.read_bytes() == before
    assert [each.name for each in file.parent.glob('*.damaged*')] == []


def check_repair(file, data, expected):
    """Repair a file of these bytes; returns the ids of the images that are left."""
    file.write_bytes(data)
    found = list(damage(file))
    done = repair(file)
    assert (done is None) == (not found)
    if done is None:
        assert contents(file.parent) == expected
        return set(expected)
    kept, backup = done
    assert backup.read_bytes() == data
    backup.unlink()
    if not file.exists():
        assert kept == 0
        return set()
    assert list(damage(file)) == []
    left = contents(file.parent)
    assert len(left) == kept and left.items() <= expected.items()
    return set(left)


def test_cut_off_anywhere(file):
    original, expected = file.read_bytes(), contents(file.parent)
    left = [
        len(check_repair(file, original[:length], expected))
        for length in [0, 1, 99, 100, 511, 512, *range(1000, len(original), 1500)]
    ]
    assert left == sorted(left)  # the later it is cut, the more is left
    assert left[0] == 0 and left[-1] >= 20


def test_flipped_bits_anywhere(file):
    """In records, and in what says where they are."""
    original, expected, rng = file.read_bytes(), contents(file.parent), random.Random(1)
    for attempt in range(150):
        data = bytearray(original)
        limit = (100, 16384, len(data))[attempt % 3]
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(limit)] ^= 1 << rng.randrange(8)
        check_repair(file, bytes(data), expected)


def test_flipped_bits_of_the_index(file):
    """An image that is listed is there for every reader, or damaged; never just missing."""
    original, expected, rng = file.read_bytes(), contents(file.parent), random.Random(2)
    pages = [original[start : start + 16384] for start in range(0, len(original), 16384)]
    for _ in range(300):
        data, page = bytearray(original), rng.randrange(len(pages))
        used = [place for place, byte in enumerate(pages[page]) if byte]
        data[16384 * page + rng.choice(used)] ^= 1 << rng.randrange(8)
        file.write_bytes(data)
        try:
            store = EmbeddingStore(file.parent)
            listed = store.img_ids()
        except (DamagedRecordError, OSError):
            continue
        for img_id in listed:
            with suppress(DamagedRecordError):
                assert store.read(sample(img_id)).to_bytes() == expected[img_id]
        try:
            assert {i: record.to_bytes() for i, record, _ in store.records()} == expected
        except DamagedRecordError:
            assert list(damage(file))


def test_killed_while_it_repairs(tmp_path):
    """The next one is not disturbed by what is left."""
    write(tmp_path, range(60), n=2000)
    file = tmp_path / 'shard-00000.sqlite'
    data, expected = bytearray(file.read_bytes()), contents(tmp_path)
    data[data.index(expected.pop(7)[:64]) + 3] ^= 1
    file.write_bytes(data)
    killed_at_write(2, repair, file)
    assert (tmp_path / 'shard-00000.repaired-journal').exists()
    assert repair(file)[0] == 59
    assert list(damage(file)) == [] and contents(tmp_path) == expected


def test_no_file_of_the_old_is_lost(file):
    """Not by a second repair either."""
    for byte in (1, 2):
        data = bytearray(file.read_bytes())
        data[data.index(make_record(20, seed=byte).to_bytes()[:64]) + 3] ^= 1
        file.write_bytes(data)
        assert repair(file)[0] == 30 - byte
    assert sorted(each.name for each in file.parent.iterdir()) == [
        'shard-00000.damaged',
        'shard-00000.damaged-again',
        'shard-00000.sqlite',
        'shard-00000.sqlite.lock',
    ]


def test_not_while_another_process_writes(file):
    shard = EmbeddingShard.create(file, {})
    with pytest.raises(BlockingIOError, match='another process is writing'):
        repair(file)
    shard.close()
