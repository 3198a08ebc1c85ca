from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.errors import Invalid, Rejected, TooLarge
from node.pipeline.video.codec import check_together, decode_jpeg, decode_picture, encode_jpeg, jpeg_size, png_size, resize
from node.pipeline.video.opencv import MAX_PICTURE_PIXELS, cv2
from node.pipeline.video.service import Picture


def claiming(data: bytes, width: int, height: int) -> bytes:
    """The same JPEG with other figures in its frame header."""
    place = data.index(b"\xff\xc0") + 5
    return data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]


def test_a_picture_survives_its_way_through_jpeg() -> None:
    smooth = np.dstack([np.tile(np.arange(200, dtype=np.uint8), (100, 1))] * 3)
    back = decode_jpeg(encode_jpeg(smooth, quality=95))
    assert back.shape == smooth.shape and back.dtype == np.uint8
    assert np.abs(back.astype(int) - smooth).max() <= 6


def test_a_header_is_read_without_decoding(picture: Picture) -> None:
    assert jpeg_size(encode_jpeg(picture)) == (64, 48)
    assert png_size(cv2.imencode(".png", picture)[1].tobytes()) == (64, 48)


def test_a_picture_bomb_is_refused_before_it_is_decoded(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = claiming(encode_jpeg(picture), 65500, 65500)
    monkeypatch.setattr("node.pipeline.video.codec.decode_checked", lambda data: pytest.fail("it was decoded"))
    with pytest.raises(TooLarge, match="65500 × 65500"):
        decode_jpeg(bomb)


def test_opencv_itself_refuses_a_picture_bomb_too(picture: Picture) -> None:
    bomb = claiming(encode_jpeg(picture), 65500, 65500)
    assert MAX_PICTURE_PIXELS < 65500 * 65500
    try:
        assert cv2.imdecode(np.frombuffer(bomb, np.uint8), cv2.IMREAD_COLOR) is None
    except cv2.error as fault:
        assert "Pixels" in str(fault) or "PIXELS" in str(fault).upper()


@pytest.mark.parametrize("rubbish", [b"", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"GIF89a" * 50, b"\xff\xd8" + b"\xff" * 5000])
def test_rubbish_is_no_jpeg(rubbish: bytes) -> None:
    with pytest.raises(Invalid):
        decode_jpeg(rubbish)


def test_half_a_jpeg_is_refused(picture: Picture) -> None:
    whole = encode_jpeg(picture)
    with pytest.raises(Invalid, match="end marker"):
        decode_jpeg(whole[: len(whole) // 2])


def test_a_png_comes_back_as_it_was_and_a_jpeg_is_a_picture_too(picture: Picture) -> None:
    png = cv2.imencode(".png", picture)[1].tobytes()
    check_together([png])
    assert np.array_equal(decode_picture(png), picture)
    assert decode_picture(encode_jpeg(picture)).shape == picture.shape


def test_a_png_bomb_is_refused_before_it_is_decoded(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    png = cv2.imencode(".png", picture)[1].tobytes()
    bomb = png[:16] + struct.pack(">II", 65500, 65500) + png[24:]
    monkeypatch.setattr("node.pipeline.video.codec.decode_checked", lambda data: pytest.fail("it was decoded"))
    for look in (decode_picture, lambda data: check_together([data])):
        with pytest.raises(TooLarge, match="65500 × 65500"):
            look(bomb)


@pytest.mark.parametrize("cut", [8, 20, 60])
def test_half_a_png_is_refused(picture: Picture, cut: int) -> None:
    with pytest.raises(Invalid):
        decode_picture(cv2.imencode(".png", picture)[1].tobytes()[:cut])


def test_a_jpeg_without_pixels_is_refused(picture: Picture) -> None:
    with pytest.raises(Invalid, match="0 × 48"):
        decode_jpeg(claiming(encode_jpeg(picture), 0, 48))


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_jpeg_gives_a_picture_or_an_error_of_ours(data: st.DataObject, picture: Picture) -> None:
    broken = bytearray(encode_jpeg(picture))
    for _ in range(data.draw(st.integers(1, 8))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = decode_jpeg(broken)
    except Rejected:
        return
    assert found.ndim == 3 and found.shape[0] * found.shape[1] <= MAX_PICTURE_PIXELS


def test_resize_gives_exactly_the_size_and_the_same_object_where_nothing_changes(picture: Picture) -> None:
    assert resize(picture, 480, 360).shape == (360, 480, 3)
    assert resize(picture, 64, 48) is picture


@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 4), (0, 64, 3)])
def test_what_is_no_picture_is_not_encoded(shape: tuple[int, ...]) -> None:
    with pytest.raises(Invalid, match="height × width × 3"):
        encode_jpeg(np.zeros(shape, np.uint8))


def test_many_pictures_may_not_claim_together_what_one_may_not(picture: Picture) -> None:
    large = claiming(encode_jpeg(picture), 8192, 4096)
    check_together([large])
    check_together([encode_jpeg(picture)] * 256)
    with pytest.raises(TooLarge, match="2 pictures"):
        check_together([large, encode_jpeg(picture)])
    with pytest.raises(Invalid):
        check_together([b"no picture"])
