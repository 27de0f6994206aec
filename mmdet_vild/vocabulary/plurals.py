"""The plurals and singulars of English nouns, by the library inflect."""

from functools import lru_cache


def plurals(noun: str) -> set[str]:
    """``'cactuses'`` and ``'cacti'`` for ``'cactus'``; for a plural, what is no word."""
    return {engine.plural_noun(noun) for engine in _engines()}


@lru_cache(2**15)
def other_numbers(noun: str) -> frozenset[str]:
    """``'knife'`` for ``'knives'`` and back; perhaps with what is no word, as from ``'bus'``."""
    modern, _ = _engines()
    return frozenset({modern.singular_noun(noun) or noun, modern.plural_noun(noun)} - {noun})


@lru_cache
def _engines() -> tuple:
    """For today's plurals, and for those of Latin and Greek. inflect takes long to import."""
    import inflect

    modern, classical = inflect.engine(), inflect.engine()
    classical.classical(all=True)
    return modern, classical
