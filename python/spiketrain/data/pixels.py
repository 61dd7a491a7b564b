"""One rule by which a picture of any kind becomes 8 bits in red, green and blue.

| picture | becomes |
|---|---|
| 8 bits, grey or colours | as it is; grey three times |
| 1 bit | 0 and 255 |
| 16 bits, grey or colours | their upper 8 bits; 12 bits of a TIFF are scaled to 16 first |
| 32-bit whole numbers | likewise, where all are from 0 to 65535; refused otherwise |
| real numbers | from 0 (black) to 1 (white), rounded; refused where one lies outside, or is none |
| palette | its colours |
| with opacity, or one colour or palette entry that is transparent | laid over white |
| CMYK, YCbCr, HSV | Pillow's conversion to RGB; Lab is refused |
| turned by its camera (EXIF orientation) | upright |
| several frames or pages | the first one |
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spiketrain.data.listing import open_regular
from spiketrain.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

# Pillow has other programs, or nothing, decode these.
NOT_DECODED = ("EPS", "WMF", "BUFR", "FITS", "GRIB", "HDF5", "MPEG", "IPTC")


@cache
def formats() -> tuple[str, ...]:
    """The formats that the installed Pillow decodes by itself."""
    from PIL import Image

    Image.init()
    return tuple(sorted(name for name in Image.OPEN if name not in NOT_DECODED))


@cache
def suffixes() -> frozenset[str]:
    """The endings of their files, in lower case."""
    from PIL import Image

    known = formats()
    return frozenset(suffix.lower() for suffix, name in Image.registered_extensions().items() if name in known)


def read_picture(path: Path) -> Image:
    """The picture in a file, in mode RGB.

    Raises:
        UserError: the file is damaged or no picture, or its kind has no place in the rule above.
        OSError: the file cannot be read.
    """
    from PIL import Image

    with open_regular(path) as file:
        try:
            with Image.open(file, formats=formats()) as picture:
                picture.load()
                return _rgb(_upright(_eight_bits(picture)))
        except MemoryError:
            raise UserError(f"{path} is a picture that does not fit into memory") from None
        except Exception as error:  # Pillow raises many kinds for damaged files
            words = "it is in none of the formats that Pillow reads" if isinstance(error, Image.UnidentifiedImageError) else error
            raise UserError(f"{path} is damaged or no picture: {words}") from None


def _eight_bits(picture: Image) -> Image:
    """A grey picture of more than 8 bits in mode L, opaque; any other as it is."""
    from PIL import Image

    if picture.mode not in ("I", "F") and not picture.mode.startswith("I;16"):
        return picture
    values = np.asarray(picture)
    lowest, highest = values.min(), values.max()
    if picture.mode == "F":
        if not (lowest >= 0 and highest <= 1):  # neither is true of a NaN
            raise ValueError(f"its pixels are real numbers from {lowest:g} to {highest:g}, expected 0 to 1")
        grey = (values * 255 + 0.5).astype(np.uint8)
    elif lowest < 0 or highest > 65535:
        raise ValueError(f"its pixels are from {lowest} to {highest}, expected 0 to 65535")
    else:
        is_12_bits = getattr(picture, "tag_v2", {}).get(258) == (12,)  # BitsPerSample of a TIFF
        grey = (values.astype(np.uint16) >> (4 if is_12_bits else 8)).astype(np.uint8)
        clear = picture.info.get("transparency")
        if isinstance(clear, int):
            grey[values == clear] = 255
    small = Image.fromarray(grey)
    small.getexif().update(_exif(picture))
    return small


def _upright(picture: Image) -> Image:
    """Turned as its camera says; where what it says is damaged, as it is."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # Pillow raises many kinds for damaged EXIF data
        return picture


def _exif(picture: Image) -> dict:
    try:
        return dict(picture.getexif())
    except Exception:  # as above
        return {}


def _rgb(picture: Image) -> Image:
    from PIL import Image

    if picture.mode == "LAB":
        raise ValueError("its colours are Lab; save it as RGB")
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        paper = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(paper, picture.convert("RGBA"))
    return picture.convert("RGB")
