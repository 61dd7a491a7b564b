"""How a picture of any kind becomes 8 bits in red, green and blue."""

import numpy as np
import pytest
from PIL import Image

from spiketrain.data import pixels
from spiketrain.errors import UserError

GREY = np.arange(0, 256, dtype=np.uint8).reshape(16, 16)
COLOURS = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def read(path):
    picture = pixels.read_picture(path)
    assert picture.mode == "RGB"
    return np.asarray(picture)


def grey(values):
    return np.repeat(values[..., None], 3, 2)


@pytest.fixture
def saved(tmp_path):
    def save(picture, suffix=".png", **options):
        path = tmp_path / f"picture{suffix}"
        (Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(path, **options)
        return path

    return save


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".ppm", ".tga", ".webp", ".gif"])
def test_8_bits_stay(saved, suffix):
    options = {"lossless": True} if suffix == ".webp" else {}
    assert np.array_equal(read(saved(GREY, suffix, **options)), grey(GREY))
    if suffix != ".gif":  # whose palette has fewer colours
        assert np.array_equal(read(saved(COLOURS, suffix, **options)), COLOURS)


def test_1_bit_is_black_and_white(saved):
    bits = GREY % 3 == 0
    for suffix in (".png", ".tif", ".bmp", ".pbm"):
        assert np.array_equal(read(saved(Image.fromarray(bits), suffix)), grey(bits.astype(np.uint8) * 255))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm", ".jp2"])
def test_16_bits_keep_their_upper_8(saved, suffix):
    """Grey ones as Pillow does it with colours: the same picture comes out the same either way."""
    values = (GREY.astype(np.uint16) << 8) + np.uint16(200)
    assert np.array_equal(read(saved(values, suffix)), grey(GREY))


def test_32_bit_numbers_up_to_16_bits(saved):
    values = (GREY.astype(np.int32) << 8) + 7
    assert np.array_equal(read(saved(values, ".tif")), grey(GREY))
    for bad in (values - 8, values + 256):
        with pytest.raises(UserError, match="picture.tif .*pixels are from .*, expected 0 to 65535"):
            read(saved(bad, ".tif"))


def test_real_numbers_from_0_to_1(saved):
    values = (GREY / 255).astype(np.float32)
    assert np.array_equal(read(saved(values, ".tif")), grey(GREY))
    for bad in (values * 255, values - 0.1, np.where(GREY == 9, np.nan, values).astype(np.float32)):
        with pytest.raises(UserError, match="picture.tif .*real numbers from .*, expected 0 to 1"):
            read(saved(bad, ".tif"))


def test_opacity_is_laid_over_white(saved):
    """However it is kept: as a channel, as a palette's entry, or as one colour that is transparent."""
    opacity = np.where(GREY < 100, 0, 255).astype(np.uint8)
    for values, shown in ((GREY, grey(GREY)), (COLOURS, COLOURS)):
        expected = np.where(opacity[..., None] == 0, np.uint8(255), shown)
        assert np.array_equal(read(saved(np.dstack([values, opacity]))), expected)
    half = np.dstack([COLOURS, np.full_like(GREY, 128)])
    blended = COLOURS * (128 / 255) + 255 * (127 / 255)
    assert np.abs(read(saved(half)) - blended).max() <= 1  # Pillow rounds twice
    for transparent in (GREY, (GREY.astype(np.uint16) << 8)):
        key = int(transparent[3, 3])
        assert np.array_equal(
            read(saved(transparent, transparency=key)), grey(np.where(transparent == key, 255, GREY).astype(np.uint8))
        )
    key = tuple(COLOURS[2, 2].tolist())
    is_clear = (np.array(key, np.uint8) == COLOURS).all(-1, keepdims=True)
    assert np.array_equal(read(saved(COLOURS, transparency=key)), np.where(is_clear, np.uint8(255), COLOURS))
    palette = Image.fromarray(GREY, "L").convert("P")
    palette.putpalette(COLOURS.reshape(-1).tolist())
    plain = COLOURS.reshape(-1, 3)[GREY]
    assert np.array_equal(read(saved(palette)), plain)
    assert np.array_equal(read(saved(palette, transparency=7)), np.where(GREY[..., None] == 7, np.uint8(255), plain))


def test_cmyk_is_converted_and_lab_refused(saved):
    path = saved(Image.fromarray(COLOURS).convert("CMYK"), ".tif")
    assert np.array_equal(read(path), np.asarray(Image.fromarray(COLOURS).convert("CMYK").convert("RGB")))
    with pytest.raises(UserError, match="picture.tif .*Lab; save it as RGB"):
        read(saved(Image.new("LAB", (4, 4)), ".tif"))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("depth", [8, 16])
def test_pictures_stand_upright(saved, suffix, depth):
    if depth == 16 and suffix == ".webp":
        pytest.skip("WebP has 8 bits")
    values = COLOURS[:8] if depth == 8 else GREY[:8].astype(np.uint16) << 8
    expected = COLOURS[:8] if depth == 8 else grey(GREY[:8])
    turns = {3: lambda a: a[::-1, ::-1], 6: lambda a: np.rot90(a, -1), 8: np.rot90, 2: lambda a: a[:, ::-1]}
    for orientation, turn in turns.items():
        exif = Image.Exif()
        exif[274] = orientation
        options = {"lossless": True} if suffix == ".webp" else {}
        assert np.array_equal(read(saved(values, suffix, exif=exif, **options)), turn(expected)), orientation


def test_the_first_frame_is_the_picture(saved, tmp_path):
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    assert np.array_equal(read(tmp_path / "a.gif"), grey(GREY))
    assert np.array_equal(read(tmp_path / "a.tif"), grey(GREY))


def test_nothing_is_handed_to_another_program(tmp_path):
    """PostScript in a file that calls itself a picture would be run by Ghostscript."""
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(UserError, match="a.png is damaged or no picture: .*none of the formats"):
        read(tmp_path / "a.png")
    assert not {".eps", ".ps", ".wmf", ".h5", ".mpg"} & pixels.suffixes()
    assert {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"} <= pixels.suffixes()


def test_a_picture_of_gigabytes_is_refused(tmp_path):
    """A small file whose header promises too many pixels."""
    Image.new("1", (30_000, 30_000)).save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size < 200_000
    with pytest.raises(UserError, match="a.png .*exceeds limit"):
        read(tmp_path / "a.png")


def test_12_bits_of_a_tiff_are_scaled(tmp_path):
    """Pillow reads them as 16 bits without scaling. It writes none, so this one is put together here: 2 x 1 pixels."""
    import struct

    def entry(tag, kind, value):
        return struct.pack("<HHII", tag, kind, 1, value)

    strip = bytes([0xFF, 0xF8, 0x01])  # the pixels 0xFFF and 0x801
    short, long = 3, 4
    tags = [
        entry(256, short, 2), entry(257, short, 1), entry(258, short, 12), entry(259, short, 1), entry(262, short, 1),
        entry(273, long, 8), entry(277, short, 1), entry(278, short, 1), entry(279, long, len(strip)),
    ]  # fmt: skip
    directory = struct.pack("<H", len(tags)) + b"".join(tags) + bytes(4)
    (tmp_path / "a.tif").write_bytes(struct.pack("<2sHI", b"II", 42, 12) + strip + b"\0" + directory)
    assert read(tmp_path / "a.tif").tolist() == [[[0xFF] * 3, [0x80] * 3]]
