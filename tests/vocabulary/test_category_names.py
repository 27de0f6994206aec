"""Which words a detector has learned; which category a word denotes: test_known_words.py."""

import pytest

from mmdet_vild.vocabulary import CategoryNames

#: Names and synonyms of a category, and whether it is novel.
CATEGORIES = [
    (['car_(automobile)', 'auto'], False),
    (['television_set', 'tv'], False),
    (['bow_(ribbon)', 'ribbon'], True),
    (['bow_(weapon)'], False),
    (['steak_knife', 'tv dinner knife', 'auto'], True),
    (['cup_(drink)'], False),
    (['cup_(trophy)'], False),
    (['red heart', 'tow_truck'], True),
    (['tow_truck', 'red heart'], False),
]


@pytest.mark.parametrize(
    ('names', 'novel'),
    [
        (['Car'], False),
        (['cars'], False),
        (['owl'], True),
        (['owl', 'tv'], False),
        (['bow_(weapon)'], False),
        (['bow'], True),  # one of two is novel
        (['cup'], False),  # all are base
        (['ribbon', 'tv'], True),  # its own name is that of a novel one
        (['auto'], True),  # a synonym of both
        (['red heart', 'tow_truck'], True),
        (['tow_truck', 'red heart'], False),
        (['steak knives'], True),
    ],
)
def test_novel_words(names, novel):
    found = CategoryNames(*zip(*CATEGORIES, strict=True))
    assert found.is_novel(names) == novel
