"""What exists only because of somebody else's version.

One file a patch. Each says what it is for and which versions need it, and does
nothing where it is not needed. Only ``mmdet_vild/__init__.py`` imports this
package, before anything imports mmdet.
"""


def apply_compat() -> None:
    """Check the installed packages and apply the patches they need.

    Raises:
        ImportError: If MMDetection, MMEngine, MMCV or torchvision is missing or
            has an unsupported version; the message says what to install.
    """
    from .versions import check_versions

    check_versions()

    # The finder first: the other patches import mmengine, and mmcv with it.
    from . import mmcv_ext_finder

    mmcv_ext_finder.install()

    from . import (
        checkpoint_globals,
        cpu_distributed,
        label_names,
        lvis_numpy,
        odd_pictures,
        orphaned_workers,
        random_affine,
        resume_config,
    )

    checkpoint_globals.apply()
    cpu_distributed.apply()
    label_names.apply()
    lvis_numpy.apply()
    orphaned_workers.apply()
    odd_pictures.apply()
    random_affine.apply()
    resume_config.apply()
