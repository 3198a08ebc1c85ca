from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from node.errors import Unavailable
from node.pipeline.video import source
from node.pipeline.video.codec import encode_jpeg
from node.pipeline.video.service import Picture
from node.pipeline.video.source import open_source, pictures

CLIP_PICTURES = 40


@contextmanager
def serving(content: bytes) -> Iterator[str]:
    """The URL of a small web server that gives `content`, whole or from an offset, as FFmpeg asks for it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            with suppress(ConnectionError):
                self.wfile.write(content[start:])

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/clip.avi"
        finally:
            server.shutdown()
            thread.join()


def test_a_file_is_read_to_its_end(clip: Path) -> None:
    with open_source(str(clip), loop=False) as opened:
        assert (opened.fps, opened.width, opened.height, opened.position) == (10.0, 64, 48, -1)
        assert not opened.live
        seen = [(opened.position, round(float(picture.mean()))) for picture in pictures(opened)]
        assert opened.read() is None
    assert [place for place, _ in seen] == list(range(CLIP_PICTURES))
    assert [light for _, light in seen] == sorted(light for _, light in seen)


def test_a_picture_that_was_used_is_written_over_unless_its_size_differs(clip: Path) -> None:
    with open_source(str(clip), loop=False) as opened, open_source(str(clip), loop=False) as other:
        first, same = opened.read(), other.read()
        small = np.zeros((2, 2, 3), np.uint8)
        second = opened.read(first)
        third = opened.read(small)
        expected = [other.read() for _ in range(2)]
    assert first is not None
    assert same is not None
    assert second is not None
    assert np.shares_memory(first, second)
    assert not np.array_equal(second, same)
    assert np.array_equal(second, expected[0])
    assert np.array_equal(third, expected[1])
    assert not small.any()


def test_a_real_clip_has_its_250_pictures(assets: Path) -> None:
    with open_source((assets / "bikes.mp4").as_uri(), loop=False) as opened:
        assert (opened.fps, opened.width, opened.height) == (25.0, 640, 272)
        assert sum(1 for _ in pictures(opened)) == 250


def test_a_looped_file_starts_again(clip: Path) -> None:
    with open_source(str(clip), loop=True) as opened:
        for _ in range(CLIP_PICTURES):
            last = opened.read()
        assert opened.position == CLIP_PICTURES - 1
        first = opened.read()
        assert opened.position == 0
    assert first is not None and last is not None and first.mean() < last.mean()


@pytest.mark.parametrize("loop", [False, True])
def test_a_skipped_picture_is_passed_over_and_the_next_one_is_the_same_as_ever(clip: Path, loop: bool) -> None:
    with open_source(str(clip), loop=False) as opened:
        every = list(pictures(opened))
    with open_source(str(clip), loop=loop) as opened:
        for place, picture in enumerate(every):
            if place % 3 == 0:
                found = opened.read()
                assert found is not None and (found == picture).all()
            else:
                assert opened.skip()
            assert opened.position == place
        assert opened.skip() == loop


def test_pictures_of_a_folder_are_skipped_without_being_decoded(tmp_path: Path, picture: Picture) -> None:
    for name in ("a.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(encode_jpeg(picture))
    (tmp_path / "b.png").write_bytes(b"no picture")
    with open_source(str(tmp_path), loop=False) as opened:
        assert opened.skip()
        assert opened.skip()
        assert opened.read() is not None
        assert not opened.skip()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"nothing\.mp4 is not there"):
        open_source(str(tmp_path / "nothing.mp4"), loop=False)


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(Unavailable, match=r"empty\.mp4 is empty"):
        open_source(str(tmp_path / "empty.mp4"), loop=True)


def test_a_file_of_rubbish_is_named(tmp_path: Path) -> None:
    (tmp_path / "rubbish.mp4").write_bytes(bytes(range(256)) * 40)
    with pytest.raises(Unavailable, match=r"rubbish\.mp4 cannot be opened"):
        open_source(str(tmp_path / "rubbish.mp4"), loop=True)


def test_a_looped_file_that_vanishes_is_reported_at_its_next_round(clip: Path) -> None:
    with open_source(str(clip), loop=True) as opened:
        assert opened.read() is not None
        clip.unlink()
        with pytest.raises(Unavailable, match=r"clip\.avi is not there"):
            for _ in range(CLIP_PICTURES):
                opened.read()


def test_a_file_that_is_cut_off_is_reported_as_damaged(clip: Path) -> None:
    whole = clip.read_bytes()
    clip.write_bytes(whole[: len(whole) // 2])
    with open_source(str(clip), loop=True) as opened, pytest.raises(Unavailable, match=r"clip\.avi is damaged"):
        for _ in range(2 * CLIP_PICTURES):
            opened.read()


def test_a_gap_in_the_middle_is_skipped_or_reported_but_ends(assets: Path, tmp_path: Path) -> None:
    whole = bytearray((assets / "bikes.mp4").read_bytes())
    middle = len(whole) // 2
    whole[middle : middle + 40_000] = bytes(40_000)
    damaged = tmp_path / "gap.mp4"
    damaged.write_bytes(whole)
    seen = 0
    with open_source(str(damaged), loop=False) as opened:
        try:
            seen = sum(1 for _ in pictures(opened))
        except Unavailable as fault:
            assert "gap.mp4" in fault.message
            seen = opened.position + 1
    assert 100 <= seen <= 250


def test_a_clip_without_a_single_good_picture_is_no_endless_loop(clip: Path) -> None:
    whole = clip.read_bytes()
    movie = whole.index(b"movi") + 4
    clip.write_bytes(whole[:movie] + bytes(len(whole) - movie))
    with pytest.raises(Unavailable, match=r"clip\.avi"), open_source(str(clip), loop=True) as opened:
        opened.read()


def test_a_folder_is_read_by_name(tmp_path: Path, picture: Picture) -> None:
    for place, light in (("b.jpg", 90), ("a.jpg", 10), ("c.jpeg", 200)):
        (tmp_path / place).write_bytes(encode_jpeg(picture // 255 + light))
    (tmp_path / "notes.txt").write_text("no picture")
    with open_source(str(tmp_path), loop=False) as opened:
        assert (opened.width, opened.height) == (64, 48)
        assert [round(float(found.mean()), -1) for found in pictures(opened)] == [10, 90, 200]
        assert opened.position == 2


def test_a_looped_folder_starts_again(tmp_path: Path, picture: Picture) -> None:
    (tmp_path / "a.jpg").write_bytes(encode_jpeg(picture))
    with open_source(str(tmp_path), loop=True) as opened:
        assert all(opened.read() is not None and opened.position == 0 for _ in range(3))


def test_a_folder_without_pictures_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"holds no \.jpg"):
        open_source(str(tmp_path), loop=False)


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\1\0\0\0\1\0\0\x08\x02\0\0\0"])
def test_a_broken_picture_in_a_folder_is_named(tmp_path: Path, picture: Picture, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(encode_jpeg(picture))
    (tmp_path / "b.png").write_bytes(content)
    with open_source(str(tmp_path), loop=False) as opened:
        assert opened.read() is not None
        with pytest.raises(Unavailable, match=r"b\.png"):
            opened.read()


def test_a_folder_that_vanishes_is_reported(tmp_path: Path, picture: Picture) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(encode_jpeg(picture))
    with open_source(str(folder), loop=True) as opened:
        assert opened.read() is not None
        shutil.rmtree(folder)
        with pytest.raises(Unavailable, match="pictures cannot be listed"):
            opened.read()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/clip.mp4", "rtsp://127.0.0.1:9/live", "99"])
def test_an_address_where_nobody_answers_is_named(url: str) -> None:
    with pytest.raises(Unavailable, match=url):
        open_source(url, loop=False)


def test_the_password_of_a_camera_is_never_told() -> None:
    with pytest.raises(Unavailable, match=r"source rtsp://127\.0\.0\.1:9/live") as caught:
        open_source("rtsp://admin:secret@127.0.0.1:9/live", loop=False)
    assert "secret" not in f"{caught.value}{caught.value.hint}"


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "OPEN_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Unavailable, match="does not answer"):
        open_source(f"http://127.0.0.1:{silent.getsockname()[1]}/clip.mp4", loop=False)


def test_a_clip_is_read_and_looped_over_http(clip: Path) -> None:
    with serving(clip.read_bytes()) as url, open_source(url, loop=True) as opened:
        for _ in range(CLIP_PICTURES + 1):
            assert opened.read() is not None
        assert opened.position == 0


@pytest.mark.parametrize("url", ["http://[::1", "x" * 5000, "9" * 30, "a\0b"])
def test_a_name_that_means_nothing_is_reported(url: str) -> None:
    with pytest.raises(Unavailable, match="source"):
        open_source(url, loop=False)


@pytest.mark.parametrize("url", ["concat:a|b", "gopher://x/y", "pipe:0"])
def test_a_scheme_that_is_not_meant_is_refused(url: str) -> None:
    with pytest.raises(Unavailable, match="scheme"):
        open_source(url, loop=False)
