"""Odd pictures open as a person would see them, or fail with one sentence that says what would work."""

import io
import random
import struct

import numpy as np
import pytest
from PIL import Image

from explorer.data.images import MAX_PIXELS, open_image
from explorer.errors import ImageError
from tests.conftest import SHARED_DATA

ODD = SHARED_DATA / "odd_images"
needs_odd = pytest.mark.skipif(not ODD.is_dir(), reason=f"the real odd images are not at {ODD}")

# file: (width, height) and the mean colour of the opened picture, or the words of the error. The means guard against
# changes; that colours are right is proved below, against arithmetic of our own or pictures made in the test.
ODD_FILES: dict[str, tuple[tuple[int, int], tuple[float, float, float]] | str] = {
    "exif_orientation/Landscape_1.jpg": ((1800, 1200), (98, 116, 134)),
    "exif_orientation/Landscape_3.jpg": ((1800, 1200), (98, 116, 134)),
    "exif_orientation/Landscape_8.jpg": ((1800, 1200), (98, 116, 134)),
    "exif_orientation/Portrait_3.jpg": ((1200, 1800), (145, 156, 163)),
    "exif_orientation/Portrait_6.jpg": ((1200, 1800), (145, 156, 163)),
    "exif_orientation/Portrait_8.jpg": ((1200, 1800), (145, 156, 163)),
    "exif_samples/33-type_error.jpg": ((2560, 1600), (105, 111, 116)),
    "exif_samples/image01551.jpg": ((61, 58), (192, 87, 88)),
    "exif_samples/image02206.jpg": ((65, 65), (114, 128, 148)),
    "exif_samples/samplefilehub.heif": "is a HEIC photo",
    "made_here/bomb_20000x20000_1bit.png": "over 100 million pixels",
    "made_here/cmyk_red.jpg": ((96, 64), (255, 0, 0)),
    "made_here/empty.jpg": "empty",
    "made_here/evil_traversal.zip": "zip archive",
    "made_here/gray16.png": ((64, 64), (130, 130, 130)),
    "made_here/strip_3000x4.png": ((3000, 4), (200, 30, 30)),
    "made_here/text_renamed.jpg": "isn't an image",
    "made_here/zeros_50MB.zip": "zip archive",
    "pillow/10ct_32bit_128.tiff": ((128, 128), (134, 134, 134)),
    "pillow/16bit.cropped.tif": ((64, 64), (1.4, 1.4, 1.4)),
    "pillow/apng_mode_16bit.png": ((128, 64), (255, 0, 0)),
    "pillow/apng_mode_palette_alpha.png": ((128, 64), (255, 0, 0)),
    "pillow/avif_hopper.heif": "is a HEIC photo",
    "pillow/bmp_b_badwidth.bmp": "over 100 million pixels",
    "pillow/bmp_b_reallybig.bmp": "over 100 million pixels",
    "pillow/broken_data_stream.png": "damaged",
    "pillow/decompression_bomb.gif": "over 100 million pixels",
    "pillow/decompression_bomb.ico": "isn't an image of a kind",
    "pillow/decompression_bomb_extents.gif": ((100, 100), (255, 0, 0)),  # only its second frame is a bomb
    "pillow/flower.webp": ((480, 360), (119, 132, 94)),
    "pillow/hopper_16bit.pgm": ((128, 128), (84, 84, 84)),
    "pillow/hopper_bigtiff.tif": ((128, 128), (90, 80, 95)),
    "pillow/hopper_orientation_6.jpg": ((128, 128), (90, 80, 95)),
    "pillow/i_trns.png": ((64, 64), (35, 35, 35)),
    "pillow/iss634.gif": ((245, 245), (135, 137, 90)),
    "pillow/junk_jpeg_header.jpg": ((1024, 768), (117, 116, 117)),
    "pillow/l_trns.png": ((64, 64), (124, 124, 124)),
    "pillow/lab.tif": ((10, 10), (255, 255, 255)),
    "pillow/no_palette.gif": ((1, 1), (0, 0, 0)),
    "pillow/pil_sample_cmyk.jpg": ((100, 100), (30, 5, 7)),
    "pillow/png_decompression_dos.png": "damaged",
    "pillow/test-ole-file.doc": "isn't an image",
    "pillow/tiff_16bit_RGB.tiff": ((100, 40), (42, 29, 22)),
    "pillow/tiny.png": ((4, 4), (179, 185, 171)),
    "pillow/transparent.png": ((200, 150), (211, 203, 204)),
    "pillow/truncated_app14.jpg": ((100, 100), (28, 4.5, 3.5)),
    "pillow/truncated_jpeg.jpg": "damaged or cut short",
    "pillow/uncompressed_la.png": ((128, 128), (241, 241, 241)),
}


@needs_odd
def test_every_odd_file_has_an_expectation():
    assert {path.relative_to(ODD).as_posix() for path in ODD.rglob("*") if path.is_file()} == set(ODD_FILES)


@needs_odd
@pytest.mark.parametrize("name", ODD_FILES)
@pytest.mark.parametrize("kind", ["path", "bytes", "file"])
def test_odd_file(name, kind):
    path, expected = ODD / name, ODD_FILES[name]
    with path.open("rb") as file:
        source = {"path": path, "bytes": path.read_bytes() if kind == "bytes" else b"", "file": file}[kind]
        if isinstance(expected, str):
            with pytest.raises(ImageError, match=expected) as caught:
                open_image(source)
            assert_is_a_sentence(str(caught.value))
            if kind != "bytes":
                assert path.name in str(caught.value)
            return
        image = open_image(source)
    assert image.mode == "RGB" and image.size == expected[0]
    assert np.abs(np.array(image).mean(axis=(0, 1)) - expected[1]).max() < 1.5


def assert_is_a_sentence(message: str):
    assert message.endswith(".") and "\n" not in message and "Traceback" not in message and len(message) < 250


@needs_odd
@pytest.mark.parametrize("shape,others", [("Landscape", (3, 8)), ("Portrait", (6, 8))])
def test_exif_orientation_turns_all_copies_alike(shape, others):
    first = {"Landscape": 1, "Portrait": 3}[shape]
    upright = np.array(open_image(ODD / f"exif_orientation/{shape}_{first}.jpg"), dtype=float)
    for number in others:
        turned = np.array(open_image(ODD / f"exif_orientation/{shape}_{number}.jpg"), dtype=float)
        assert np.abs(turned - upright).mean() < 5, "the same scene, up to JPEG noise; a wrong turn is off by 60"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_exif_orientation_against_plain_array_turns(orientation, kind):
    picture = np.zeros((24, 40, 3), np.uint8)
    picture[:12, :20] = (250, 0, 0)
    picture[12:, 20:] = (0, 0, 250)
    stored = {  # how a camera would have stored the upright picture
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }[orientation](picture)
    exif = Image.Exif()
    exif[0x112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
    opened = np.array(open_image(encode(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif, **options)))
    assert opened.shape == picture.shape
    assert np.abs(opened.astype(int) - picture).mean() < 5, "a wrong turn is off by 40 and more"


def encode(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_alpha_is_laid_on_white():
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 0] = 200
    rgba[0, :, 3] = (0, 128, 255)
    opened = np.array(open_image(encode(Image.fromarray(rgba), "PNG")))[0]
    expected = rgba[0, :, :3] * (rgba[0, :, 3:] / 255) + 255 * (1 - rgba[0, :, 3:] / 255)
    assert np.abs(opened - expected).max() <= 1


def test_transparent_palette_and_grey_alpha_are_laid_on_white():
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putdata([0, 1])
    assert np.array(open_image(encode(palette, "PNG", transparency=0))).tolist() == [[[255, 255, 255], [0, 0, 255]]]
    grey = Image.new("LA", (1, 1), (0, 0))
    assert open_image(encode(grey, "PNG")).getpixel((0, 0)) == (255, 255, 255)
    assert open_image(Image.new("PA", (1, 1))).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_keeps_its_shades(kind):
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    opened = np.array(open_image(encode(Image.fromarray(ramp), kind)))
    assert np.array_equal(opened[..., 0], np.arange(256).reshape(16, 16))
    assert np.array_equal(opened[..., 0], opened[..., 2])


@pytest.mark.parametrize("bits,white_is_zero", [(12, False), (16, False), (16, True)])
def test_deep_grey_tiff_written_by_hand(bits, white_is_zero):
    white = 2**bits - 1
    values = [0, white // 4, white // 2, white]
    pixels = int("".join(f"{value:0{bits}b}" for value in values), 2).to_bytes(len(values) * bits // 8, "big")
    if bits == 16:
        pixels = np.frombuffer(pixels, ">u2").astype("<u2").tobytes()
    fields = {
        256: 4,
        257: 1,
        258: bits,
        259: 1,
        262: 0 if white_is_zero else 1,
        273: 8,
        277: 1,
        278: 1,
        279: len(pixels),
    }
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields.items())
    tiff = (
        struct.pack("<2sHI", b"II", 42, 8 + len(pixels)) + pixels + struct.pack("<H", len(fields)) + entries + bytes(4)
    )
    grey = np.array(open_image(tiff))[0, :, 0]
    assert grey.tolist() == ([255, 191, 128, 0] if white_is_zero else [0, 64, 127, 255])


@needs_odd
def test_16_bit_files_against_their_raw_values():
    # a P5 file is a text header and then big-endian values: read without Pillow
    data = (ODD / "pillow/hopper_16bit.pgm").read_bytes()
    values = np.frombuffer(data[-128 * 128 * 2 :], ">u2").reshape(128, 128)
    opened = np.array(open_image(data))[..., 0]
    assert np.abs(opened - values / 257).max() <= 0.51
    grey = np.array(open_image(ODD / "made_here/gray16.png"))
    assert grey.min() == 0 and grey.max() == 255 and 70 < grey.std() < 78, "uniform 16-bit noise keeps its spread"


@pytest.mark.parametrize("peak", [1.0, 255.0, 4000.0])
def test_float_images_use_the_range_they_fill(peak):
    ramp = np.linspace(0, peak, 256, dtype=np.float32).reshape(16, 16)
    opened = np.array(open_image(encode(Image.fromarray(ramp), "TIFF")))[..., 0]
    assert np.abs(opened - np.arange(256.0).reshape(16, 16)).max() <= 1


def test_float_image_with_gaps_and_a_flat_one():
    gaps = np.array([[0.0, np.nan, np.inf, 1.0]], np.float32)
    assert np.array(open_image(Image.fromarray(gaps)))[0, :, 0].tolist() == [0, 0, 255, 255]
    flat = Image.fromarray(np.full((2, 2), -7.0, np.float32))
    assert np.ptp(np.array(open_image(flat))) == 0


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)])
def test_cmyk_jpeg_keeps_its_colour(colour):
    cmyk = Image.new("RGB", (16, 16), colour).convert("CMYK")
    assert np.abs(np.array(open_image(encode(cmyk, "JPEG", quality=95))).mean(axis=(0, 1)) - colour).max() < 6


def test_first_frame_of_animations():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "WEBP", "PNG", "TIFF", "AVIF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        animated = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert np.abs(np.array(open_image(animated)).mean(axis=(0, 1)) - (255, 0, 0)).max() < 8, kind


def test_1_bit_and_one_pixel_images():
    assert open_image(encode(Image.new("1", (1, 1), 1), "PNG")).getpixel((0, 0)) == (255, 255, 255)
    assert open_image(encode(Image.new("1", (3000, 4), 0), "TIFF")).size == (3000, 4)


def test_every_way_in_gives_the_same_picture(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    path = tmp_path / "noise.png"
    Image.fromarray(array).save(path)
    file = io.BytesIO(path.read_bytes())
    file.read()  # a file that was read once already, as an upload is after the first rerun
    for source in (
        path,
        str(path),
        path.read_bytes(),
        file,
        Image.open(path),
        Image.fromarray(array),
        array,
        array[:, ::1],
    ):
        assert np.array_equal(np.array(open_image(source)), array)
    assert np.array_equal(np.array(open_image(array[::-1])), array[::-1])


def test_a_picture_handed_in_is_left_alone():
    mine = Image.new("RGB", (4, 4), "red")
    open_image(mine).putpixel((0, 0), (0, 0, 0))
    assert mine.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
    ],
)
def test_arrays_of_another_kind_are_refused(array):
    with pytest.raises(ImageError, match=r"\(height, width, 3\) uint8"):
        open_image(array)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # Pillow's own limit is a little lower
def test_pixel_limit_is_checked_before_decoding():
    side = int(MAX_PIXELS**0.5)
    header = b"P5 %d %d 255\n"
    with pytest.raises(ImageError, match=f"{side + 1} x {side}, over 100 million"):
        open_image(header % (side + 1, side))
    with pytest.raises(ImageError, match="damaged or cut short"):  # the allowed size: only the pixels are missing
        open_image(header % (side, side))


def test_missing_folder_and_wrong_types(tmp_path):
    with pytest.raises(ImageError, match=r"There is no image file 'nowhere\.png'"):
        open_image(tmp_path / "nowhere.png")
    with pytest.raises(ImageError, match="is a folder"):
        open_image(tmp_path)
    with pytest.raises(ImageError, match="but this is a int"):
        open_image(3)  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="no pixels"):
        open_image(Image.new("RGB", (0, 5)))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's remarks on damaged TIFF tags
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM"])
def test_damaged_bytes_never_escape_as_another_error(kind):
    """Flip and cut bytes of every format: the outcome is a picture or an ImageError, nothing else."""
    noise = np.random.default_rng(1).integers(0, 256, (24, 24, 3), np.uint8)
    whole = encode(Image.fromarray(noise), kind)
    rng = random.Random(kind)
    refused = 0
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            open_image(bytes(data[: rng.choice([len(data), rng.randrange(len(data))])]))
        except ImageError as error:
            refused += 1
            assert "The image" in str(error)
    assert refused > 30


def ftyp(*brands: bytes) -> bytes:
    """The first box of a file of that main brand and these others."""
    return struct.pack(">I4s4sI", 16 + 4 * len(brands[1:]), b"ftyp", brands[0], 0) + b"".join(brands[1:])


@pytest.mark.parametrize(
    ("brands", "said"),
    [
        ((b"heic", b"mif1", b"heic"), "is a HEIC photo.*export it as JPEG"),
        ((b"heix", b"mif1"), "is a HEIC photo"),
        ((b"mif1", b"mif1", b"heic", b"miaf"), "is a HEIC photo"),
        ((b"msf1", b"hevc"), "is a HEIC photo"),
        ((b"avif", b"mif1", b"miaf"), "is an AVIF photo, but damaged"),
        ((b"mif1", b"miaf", b"avif"), "is an AVIF photo, but damaged"),
        ((b"crx ", b"crx ", b"isom"), "camera's raw file.*JPEG"),
        ((b"isom", b"isom", b"mp42"), "is a video or another kind of file, not an image"),
    ],
)
def test_the_brands_of_a_file_tell_what_it_is(brands, said):
    with pytest.raises(ImageError, match=said):
        open_image(ftyp(*brands) + bytes(60))


@pytest.mark.parametrize("main", [b"avif", b"mif1"])
def test_avif_opens(main):
    file = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 30, 30)).save(file, "AVIF")
    data = file.getvalue()
    opened = open_image(data[:8] + main + data[12:])
    assert opened.size == (64, 48) and abs(np.array(opened).astype(int) - (200, 30, 30)).max() < 6


def float_tiff(width=4, height=3, channels=3):
    """A TIFF of float32 channels, as remote sensing tools write it: header, pixels, then the directory."""
    pixels = np.random.default_rng(0).random((height, width, channels), np.float32).tobytes()
    after = 8 + len(pixels)
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, channels, after), (259, 3, 1, 1), (262, 3, 1, 2)]
    tags += [(273, 4, 1, 8), (277, 3, 1, channels), (278, 3, 1, height), (279, 4, 1, len(pixels))]
    tags += [(339, 3, channels, after + 2 * channels)]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    start = after + 4 * channels
    shorts = struct.pack(f"<{channels}H", *[32] * channels) + struct.pack(f"<{channels}H", *[3] * channels)
    return b"II*\0" + struct.pack("<I", start) + pixels + shorts + directory


def test_a_tiff_of_float_channels_is_named_for_what_it_is():
    words = r"holds 3 channels of 32-bit float numbers.*export it with 8 bits per channel"
    with pytest.raises(ImageError, match=words):
        open_image(float_tiff())
    with pytest.raises(ImageError, match="damaged or cut short"):
        open_image(float_tiff()[:30])
