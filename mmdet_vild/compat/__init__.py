"""What exists only because of somebody else's version.

One file a patch: it says what it is for and which versions need it, and its ``apply`` does nothing
where it is not needed. Only ``mmdet_vild/__init__.py`` imports this package, before anything
imports mmdet.
"""

from importlib import import_module

#: The finder first: the others import mmengine, and mmcv with it.
_PATCHES = (
    *('mmcv_ext_finder', 'checkpoint_globals', 'cpu_distributed', 'inferencer_label_names'),
    *('lvis_numpy', 'odd_pictures', 'orphaned_workers', 'random_affine', 'resume_config'),
)


def apply_compat() -> None:
    """Check the installed packages and apply the patches they need.

    Raises:
        ImportError: A package is missing or of an unsupported version; says what to install.
    """
    from .versions import check_versions

    check_versions()
    for name in _PATCHES:
        import_module(f'{__name__}.{name}').apply()
