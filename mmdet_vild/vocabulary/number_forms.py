"""The plurals and singulars of English nouns, by the library inflect."""

from functools import lru_cache


def plurals(noun: str) -> set[str]:
    """``'cactuses'`` and ``'cacti'`` for ``'cactus'``; for a plural, what is no word."""
    return {engine.plural_noun(noun) for engine in _engines()}


@lru_cache(2**15)
def other_numbers(noun: str) -> frozenset[str]:
    """``'knife'`` for ``'knives'``, and the other way round.

    Where the noun has no other number, or is one that inflect mistakes for a plural, as *bus*, what
    it makes of it is no word.
    """
    modern, _ = _engines()
    return frozenset({modern.singular_noun(noun) or noun, modern.plural_noun(noun)} - {noun})


@lru_cache
def _engines() -> tuple:
    """One that forms today's plurals, and one that forms those of Latin and Greek.

    inflect is imported when the first word comes that a vocabulary does not have.
    """
    import inflect

    modern, classical = inflect.engine(), inflect.engine()
    classical.classical(all=True)
    return modern, classical
