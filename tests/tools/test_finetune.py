"""What becomes one's own when ViLD is fine-tuned in the small world."""

import finetune

CATEGORIES = [
    dict(id=i, name=f'{frequency}{i}', frequency=frequency)
    for i, frequency in enumerate('frcrfrcrfrcr')
]


def test_kinds() -> None:
    """Own ones are novel, the others novel and base; each seed has its own, and keeps it."""
    seen = set()
    for seed in range(20):
        own, others = finetune.choose_kinds(CATEGORIES, 2, seed)
        assert finetune.choose_kinds(CATEGORIES[::-1], 2, seed) == (own, others)
        assert [name[0] for name in own] == ['r', 'r']
        assert [name[0] in 'fc' for name in others] == [False, False, True, True]
        assert len({*own, *others}) == 6
        seen.add(tuple(own))
    assert len(seen) > 5
    own, others = finetune.choose_kinds(CATEGORIES, 6, 0)  # fewer others where there are no more
    assert len(own) == 6 and [name[0] in 'fc' for name in others] == [True] * 6


def test_only_own_categories_are_left() -> None:
    content = dict(
        info={},
        categories=CATEGORIES,
        annotations=[dict(id=i, category_id=i % 4) for i in range(8)],
        images=[dict(id=1, neg_category_ids=[0, 1, 3]), dict(id=2, neg_category_ids=[2])],
    )
    left = finetune.without_categories(content, ['r1', 'r3'])
    assert left['categories'] == [CATEGORIES[1], CATEGORIES[3]]
    assert [a['id'] for a in left['annotations']] == [1, 3, 5, 7]
    assert [image['neg_category_ids'] for image in left['images']] == [[1, 3], []]
    assert left['info'] == {} and len(content['annotations']) == 8
