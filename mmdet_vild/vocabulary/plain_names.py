"""COCO's names of stuff, as one would say them."""


def plain_name(name: str) -> str:
    """``'wall'`` for ``'wall-other-merged'``, ``'floor wood'`` for ``'floor-wood'``.

    As GKC cleans COCO's names: of names of things, nothing changes.
    """
    for ending in ('-merged', '-other'):
        name = name.removesuffix(ending)
    return name.replace('-', ' ')
