"""Which embeddings come from one teacher."""

import pytest

from mmdet_vild.vocabulary import same_teacher


@pytest.mark.parametrize(
    'one, other, same',
    [
        ('a@1', 'a@1', True),
        ('a@1', 'a@2', False),
        ('a@1', 'b@1', False),
        ('a', 'a@1', True),
        ('a', 'a', True),
        ('a', 'ab@1', False),
        ('', 'a@1', False),
    ],
)
def test_same_teacher(one, other, same):
    assert same_teacher(one, other) == same_teacher(other, one) == same
