import hashlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from onetrunk.datasets import DataError, check_image, find_bad_images, inspect_image, read_image
from PIL import Image


def _save(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


def _solid(mode: str, color, size=(4, 3)) -> Image.Image:
    return Image.new(mode, size, color)


def _palette_with_alpha() -> Image.Image:
    image = _solid("P", 0)
    image.putpalette([200, 100, 0, 10, 20, 30])
    image.putpixel((1, 0), 1)
    image.info["transparency"] = bytes([51, 255])
    return image


# 51/255 = 1/5 of the colour over white: 255 - (255 - c) / 5
@pytest.mark.parametrize(
    ("name", "image", "expected"),
    [
        ("bits.png", _solid("1", 1), (255, 255, 255)),
        ("grey.png", _solid("L", 77), (77, 77, 77)),
        ("grey_alpha.png", _solid("LA", (55, 51)), (215, 215, 215)),
        ("clear.png", _solid("LA", (55, 0)), (255, 255, 255)),
        ("color.png", _solid("RGB", (10, 20, 30)), (10, 20, 30)),
        ("color_alpha.png", _solid("RGBA", (200, 100, 0, 51)), (244, 224, 204)),
        ("palette_alpha.png", _palette_with_alpha(), (244, 224, 204)),
        # Pillow's CMYK to RGB: (255 - ink) * (255 - black) / 255
        ("ink.tif", _solid("CMYK", (255, 0, 51, 51)), (0, 204, 163)),
        ("video.tif", _solid("YCbCr", (100, 128, 128)), (100, 100, 100)),
        ("lab.tif", _solid("LAB", (255, 128, 128)), (255, 255, 255)),
        ("deep.tif", _solid("I;16", 257 * 100), (100, 100, 100)),
        ("deep_big_endian.tif", _solid("I;16B", 257 * 100), (100, 100, 100)),
        ("deep32.tif", _solid("I", 65535), (255, 255, 255)),
        ("float.tif", _solid("F", 0.4), (102, 102, 102)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_mode_becomes_rgb_by_the_stated_rule(tmp_path, name, image, expected):
    path = _save(tmp_path / name, image)
    read = read_image(path)
    assert (read.mode, read.size) == ("RGB", (4, 3))
    assert np.abs(np.subtract(read.getpixel((0, 0)), expected)).max() <= 1
    grey = read_image(path, channels=1)
    assert grey.mode == "L"
    assert abs(grey.getpixel((0, 0)) - np.dot(expected, (0.299, 0.587, 0.114))) <= 1.5
    assert check_image(path) is None


def test_opaque_entry_of_a_palette_with_alpha_keeps_its_color(tmp_path):
    path = _save(tmp_path / "a.png", _palette_with_alpha())
    assert read_image(path).getpixel((1, 0)) == (10, 20, 30)


def test_transparent_color_of_rgb_becomes_white(tmp_path):
    path = _save(tmp_path / "a.png", _solid("RGB", (1, 2, 3)), transparency=(1, 2, 3))
    assert read_image(path).getpixel((0, 0)) == (255, 255, 255)


def test_16_bit_png_uses_the_full_range_for_every_picture_alike(tmp_path):
    values = np.array([[0, 257, 128], [129, 25700, 65535]], dtype=np.uint16)
    path = _save(tmp_path / "a.png", Image.fromarray(values))
    # 128 / 257 rounds to 0 and 129 / 257 to 1
    assert np.asarray(read_image(path, channels=1)).tolist() == [[0, 1, 0], [1, 100, 255]]


def _png(width: int, height: int, bits: int, content: bytes) -> bytes:
    """An RGB PNG, chunk by chunk, for what Pillow doesn't write."""
    header = struct.pack(">2I5B", width, height, bits, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(content)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def test_16_bit_color_png_is_its_high_byte(tmp_path):
    row = b"\0" + struct.pack(">3H", 0x0A80, 0x14FF, 0xFF00)
    (tmp_path / "a.png").write_bytes(_png(1, 1, 16, row))
    assert read_image(tmp_path / "a.png").getpixel((0, 0)) == (0x0A, 0x14, 0xFF)


def test_cmyk_jpeg(tmp_path):
    path = _save(tmp_path / "a.jpg", _solid("CMYK", (255, 0, 51, 51), size=(16, 16)), quality=100)
    assert np.abs(np.subtract(read_image(path).getpixel((8, 8)), (0, 204, 163))).max() <= 3


def test_first_frame_of_an_animated_gif(tmp_path):
    frames = [_solid("RGB", color) for color in ("red", "lime", "blue")]
    path = _save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert read_image(path).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_exif_orientation_is_undone(tmp_path, orientation, suffix):
    # upright: a red left edge over a blue top, as the stored pixels of each orientation show it
    upright = np.zeros((48, 32, 3), dtype=np.uint8)
    upright[:16, :] = (0, 0, 255)
    upright[:, :16] = (255, 0, 0)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = _save(tmp_path / f"a.{suffix}", Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    read = np.asarray(read_image(path)).astype(int)
    assert read.shape == upright.shape
    assert np.abs(read - upright)[4:12, 4:12].max() < 10, "top left is red"
    assert np.abs(read - upright)[4:12, 20:28].max() < 10, "top right is blue"
    assert np.abs(read - upright)[36:44, 20:28].max() < 10, "bottom right is black"


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_is_ignored(tmp_path, draw):
    path = draw(tmp_path / "a.jpg")
    damaged = Image.open(path)
    damaged.save(tmp_path / "b.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert read_image(tmp_path / "b.jpg").size == damaged.size


def _encoded(format: str) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, format)
    return file.getvalue()


@pytest.fixture
def bad_files(tmp_path) -> dict[str, tuple[Path, str]]:
    """Every kind of unreadable file with the words its message must have."""
    contents = {
        "empty.jpg": (b"", "is empty"),
        "text.jpg": (("this is a note, née ünïcödé\n" * 40).encode(), "looks like text"),
        "short_text.jpg": (b"404: Not Found", "looks like text"),
        "binary.jpg": (bytes(range(256)) * 4, "no known picture format"),
        "page.png": (b"<html><body>Access denied</body></html>", "looks like text"),
        "figure.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture"),
        "cut.jpg": (_encoded("JPEG")[:2000], "damaged or truncated"),
        "cut.png": (_encoded("PNG")[:2000], "damaged or truncated"),
        "cut.gif": (_encoded("GIF")[:1500], "damaged or truncated"),
        "cut.webp": (_encoded("WEBP")[:1000], "can't be (decoded|read)|no picture"),
        "head_only.jpg": (_encoded("JPEG")[:4], "header can't be read|no picture"),
        "huge.png": (_png(30_000, 30_000, 8, b""), "larger than 178,956,970 pixels"),
    }
    files = {}
    for name, (content, words) in contents.items():
        (tmp_path / name).write_bytes(content)
        files[name] = (tmp_path / name, words)
    files["range.tif"] = (_save(tmp_path / "range.tif", _solid("F", 213.5)), "from 0 to 1, this one from 213.5")
    files["range32.tif"] = (_save(tmp_path / "range32.tif", _solid("I", 70_000)), "from 0 to 65535")
    files["nan.tif"] = (_save(tmp_path / "nan.tif", _solid("F", float("nan"))), "from 0 to 1")
    files["gone.jpg"] = (tmp_path / "gone.jpg", "no such file")
    files["folder.jpg"] = (tmp_path / "folder.jpg", "directory")
    files["folder.jpg"][0].mkdir()
    return files


def test_bad_files_are_named_with_the_reason(bad_files):
    for path, words in bad_files.values():
        with pytest.raises(DataError, match=words) as raised:
            read_image(path)
        assert str(path) in str(raised.value)


def test_the_cheap_check_finds_all_of_them_and_nothing_else(tmp_path, bad_files, draw, records_of):
    good = [draw(tmp_path / f"good{end}") for end in (".jpg", ".png", ".gif", ".bmp", ".webp")]
    trailing = draw(tmp_path / "trailing.jpg")
    trailing.write_bytes(trailing.read_bytes() + b"\0" * 100)  # cameras append previews and maker notes
    bad = [path for path, _ in bad_files.values()]
    found = find_bad_images(records_of([*good, *bad, trailing]), workers=2)
    assert [sample.path for sample in found] == bad
    assert [sample.index for sample in found] == list(range(len(good), len(good) + len(bad)))
    assert all(str(sample.path) in sample.reason for sample in found)


def test_inspection_refuses_what_reading_refuses(tmp_path, bad_files, draw):
    bad_files["damaged.png"] = (draw(tmp_path / "damaged.png", 200, 200), "can't be decoded")
    content = bytearray(bad_files["damaged.png"][0].read_bytes())
    content[1000:3000] = bytes(2000)
    bad_files["damaged.png"][0].write_bytes(content)
    for path, words in bad_files.values():
        with pytest.raises(DataError, match=words):
            inspect_image(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_inspection_tells_of_the_upright_picture(tmp_path, draw, suffix):
    exif = Image.Exif()
    exif[0x0112] = 8
    path = tmp_path / f"a.{suffix}"
    Image.open(draw(tmp_path / "b.png", 40, 60)).save(path, exif=exif)
    facts = inspect_image(path)
    assert (facts.width, facts.height, facts.is_reoriented, facts.mode) == (40, 60, True, "RGB")
    assert facts.digest == hashlib.sha256(path.read_bytes()).digest()
    assert not inspect_image(tmp_path / "b.png").is_reoriented


def test_inspection_of_an_animation_is_of_its_first_frame_whatever_follows(tmp_path):
    frames = [Image.effect_noise((60, 60), 90) for _ in range(3)]
    whole = _save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    content = whole.read_bytes()
    (tmp_path / "cut.gif").write_bytes(content[: len(content) // 2])
    assert inspect_image(whole).has_more_pictures
    assert inspect_image(tmp_path / "cut.gif").has_more_pictures
    assert not inspect_image(_save(tmp_path / "one.gif", frames[0])).has_more_pictures


def test_other_numbers_of_channels_are_refused(tmp_path, draw):
    with pytest.raises(DataError, match="1 or 3 channels, not 4"):
        read_image(draw(tmp_path / "a.png"), channels=4)
