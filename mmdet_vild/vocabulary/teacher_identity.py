"""Whether embeddings come from one teacher."""


def same_teacher(one: str, other: str) -> bool:
    """Whether two identities are, or may be, those of one teacher.

    Args:
        one: ``name@hash of the weights``; or a name alone, where somebody else computed the
            embeddings and nobody knows the hash, which then may be any.
        other: The same of the other.
    """
    if knows_weights(one) and knows_weights(other):
        return one == other
    return one.split('@')[0] == other.split('@')[0]


def knows_weights(identity: str) -> bool:
    """Whether an identity has the hash of the weights."""
    return '@' in identity
