"""What is known of the family before any file is read: shapes, instructions, published outputs.

Data only, each with its source; nothing here opens a file or runs a model.
"""

from upsize.catalog.family import (
    FAMILY,
    FLOPS_PER_MAC,
    FP16_UNSAFE_HIDDEN_SIZE,
    SMALLEST_DIMENSION,
    FamilyMember,
    Kind,
    recognise,
)
from upsize.catalog.instructions import SIMILAR_TEXT, WEB_SEARCH

__all__ = [
    "FAMILY",
    "FLOPS_PER_MAC",
    "FP16_UNSAFE_HIDDEN_SIZE",
    "SIMILAR_TEXT",
    "SMALLEST_DIMENSION",
    "WEB_SEARCH",
    "FamilyMember",
    "Kind",
    "recognise",
]
