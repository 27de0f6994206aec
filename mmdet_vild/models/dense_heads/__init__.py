"""What proposes regions."""

from .oln_rpn_head import OLNRPNHead

__all__ = ['OLNRPNHead']
