"""Prompt templates and the way a category name is put into them (ViLD, Sec. 3.2)."""

from collections.abc import Sequence

from .names import readable_name

_ARTICLES = ('{article}', 'the')
_LOOKS = (
    *('good', 'bad', 'bright', 'dark', 'low resolution', 'cropped', 'close-up', 'jpeg corrupted'),
    *('blurry', 'pixelated', 'black and white'),
)
_QUALITIES = ('nice', 'cool', 'weird', 'small', 'large', 'clean', 'dirty', 'hard to see')
_KINDS = ('plastic', 'toy', 'plushie', 'cartoon')

#: The 63 templates of the ViLD prompt ensemble. ``{article}`` becomes "a" or "an", ``{}`` the name.
VILD_TEMPLATES: tuple[str, ...] = (
    *(f'There is {a} {{}} in the scene.' for a in _ARTICLES),
    *(f'a photo of {a} {{}} in the scene.' for a in (*_ARTICLES, 'one')),
    *(f'itap of {a} {{}}.' for a in (*_ARTICLES, 'my')),
    *(f'a photo of {a} {{}}.' for a in (*_ARTICLES, 'my', 'one', 'many')),
    *(f'a {look} photo of {a} {{}}.' for look in _LOOKS for a in _ARTICLES),
    *(f'a photo of {a} {quality} {{}}.' for quality in _QUALITIES for a in ('a', 'the')),
    *(f'{a} {kind} {{}}.' for kind in _KINDS for a in ('a', 'the')),
    'an embroidered {}.',
    'the embroidered {}.',
    'a painting of a {}.',
    'a painting of the {}.',
)


def fill_templates(name: str, templates: Sequence[str] = VILD_TEMPLATES) -> list[str]:
    """Put a category name, as the dataset writes it, into each template.

    Raises:
        ValueError: The name is empty, or a template has no ``{}`` for it.
    """
    words = readable_name(name)
    if not words:
        raise ValueError('found an empty category name; every category needs a name to encode')
    missing = [template for template in templates if '{}' not in template]
    if missing:
        raise ValueError(f'these prompt templates have no "{{}}" for the category name: {missing}')
    article = 'an' if words[0] in 'aeiou' else 'a'
    return [t.replace('{article}', article).replace('{}', words) for t in templates]
