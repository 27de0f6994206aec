"""Writes the words that segmentors of the mini world learn and are asked by, and lists of pictures.

    python tools/mini_lvis/segment_words.py data/mini_lvis

In ``gkc/`` of the world's folder, as vocabularies that ``tools/encode_vocabulary.py`` encodes, the
categories and the materials of backgrounds:

- ``names.json``: each with its name alone;
- ``synonyms.json``: with its synonyms, for text diversification;
- ``held_out.json``: with the one synonym that is in neither, for those base categories that have
  one; others have their name.

And ``train.txt``, ``val.txt``, ``test.txt`` and ``unseen.txt``, the pictures of each split.
"""

import argparse
import json
from pathlib import Path

from generate import SPLITS, image_path

from mmdet_vild.vocabulary import is_novel, load_categories
from mmdet_vild.vocabulary.synonyms import diversified

#: The sets of words, and their files.
WORDS = ('names', 'synonyms', 'held_out')


def word_sets(categories: list[dict], classes: list[str]) -> dict[str, list[dict]]:
    """The sets of words, each a vocabulary of all classes.

    Of a base category's names the last is held out. Those of novel categories are in no training,
    whatever they are: all but the name are left out.

    Args:
        categories: As :func:`mmdet_vild.vocabulary.load_categories` returns them.
        classes: The names of the semantic labels, the categories' first.

    Returns:
        For each of ``WORDS`` the categories, with ``synonyms``.
    """
    materials = [
        dict(id=10**6 + i, name=name, synonyms=[name], frequency='f')
        for i, name in enumerate(classes[len(categories) :])
    ]
    known = diversified([*categories, *materials])
    sets = {name: [] for name in WORDS}
    for category in known:
        name, *others = category['synonyms']
        held_out = None if is_novel(category) or not others else others.pop()
        others = [] if is_novel(category) else others
        words = dict(names=[name], synonyms=[name, *others], held_out=[held_out or name])
        for kind in WORDS:
            sets[kind].append({**category, 'synonyms': words[kind]})
    return sets


def held_out_words(data: Path) -> dict[str, str]:
    """The held-out synonym of each base category that has one, in a world that has the files."""
    names, asked = (load_categories(str(data / 'gkc' / f'{k}.json')) for k in ('names', 'held_out'))
    pairs = zip(names, asked, strict=True)
    return {n['name']: a['synonyms'][0] for n, a in pairs if n['synonyms'] != a['synonyms']}


def write(data: Path) -> None:
    """Write all files of a world."""
    out = data / 'gkc'
    out.mkdir(exist_ok=True)
    categories = load_categories(str(data / 'categories.json'))
    classes = json.loads((data / 'semantic_classes.json').read_text())
    for kind, words in word_sets(categories, classes).items():
        text = json.dumps(words, indent=1, ensure_ascii=False)
        (out / f'{kind}.json').write_text(f'{text}\n', 'utf-8')
    world = json.loads((data / 'world.json').read_text())
    for split in SPLITS:
        paths = (Path(image_path(world, split, index)).name for index in range(world[split]))
        (out / f'{split}.txt').write_text(''.join(f'{path}\n' for path in paths))
    print(f'{out}: {len(classes)} classes, {len(held_out_words(data))} held-out synonyms')


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('data', type=Path, help="the world's folder, of generate.py")
    write(parser.parse_args(argv).data)


if __name__ == '__main__':
    main()
