"""Where do the pictures come from?

A source is a video file, a folder of pictures, a camera of this machine, or an address that FFmpeg understands. It decodes one
picture per `read`, as quickly as it can: keeping time is the reader's business. Everything here blocks and runs in a capture
child, because a decoder that meets hostile bytes may hang or crash. Whatever goes wrong is `Unavailable` with a sentence that
names the source.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self
from urllib.parse import unquote, urlsplit

import numpy as np

from node.errors import EcnodeError, Unavailable
from node.pipeline.video.codec import check_pixels, decode_checked, decode_jpeg, jpeg_size, png_size
from node.pipeline.video.opencv import cv2
from node.pipeline.video.service import Picture

OPEN_SECONDS: Final = 10.0
READ_SECONDS: Final = 10.0
DEFAULT_FPS: Final = 25.0
MAX_FPS: Final = 240.0
FOLDER_FPS: Final = 5.0
MAX_CAMERA_DIGITS: Final = 3
MAX_FOLDER_PICTURES: Final = 100_000  # names of 255 bytes: 25 MB at most
MAX_PICTURE_BYTES: Final = 64 << 20
SHORTFALL: Final = 0.9  # a clip that ends before this share of its announced pictures is damaged, not finished

_REMOTE: Final = frozenset({"http", "https", "rtsp", "rtsps"})
_PICTURES: Final = {".jpg": jpeg_size, ".jpeg": jpeg_size, ".png": png_size}


class Source(Protocol):
    """An open source; whoever opened it closes it."""

    @property
    def fps(self) -> float:
        """Pictures per second as the source announces them."""

    @property
    def live(self) -> bool:
        """Whether it sets the pace itself: a camera or a stream, not a file."""

    @property
    def width(self) -> int:
        """Width of the first picture."""

    @property
    def height(self) -> int:
        """Height of the first picture."""

    @property
    def position(self) -> int:
        """Index of the last picture within the clip or folder, -1 before the first; starts again where a loop does."""

    def read(self, used: Picture | None = None) -> Picture | None:
        """The next picture, or None at the end of the stream.

        It may be written over `used`, one that was read before and that nobody looks at any more: memory that is fresh from
        the kernel with every picture costs as much as the picture (720p: 1.3 ms instead of 4.4 beyond decoding).

        Raises:
            Unavailable: the source is damaged, has gone, or stopped sending.
        """

    def skip(self) -> bool:
        """Passes the next picture over, for less than reading it costs; whether there was one.

        Raises:
            Unavailable: as `read`.
        """

    def close(self) -> None:
        """Frees the decoder; may be repeated."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None: ...


def open_source(url: str, loop: bool) -> Source:
    """Opens a path, a `file://` URL, the index of a camera, or an http, https, rtsp or rtsps URL.

    `loop` starts a file or a folder again at its end; cameras and live streams have none.

    Raises:
        Unavailable: there is nothing to read, or no decoder that can read it.
    """
    if url.isdecimal() and len(url) <= MAX_CAMERA_DIGITS:
        return _Video(url, loop=False, live=True)
    try:
        parts = urlsplit(url)
        scheme = parts.scheme.lower()
        if scheme in _REMOTE:
            return _Video(url, loop=loop, live=scheme.startswith("rtsp"))
        if scheme not in {"", "file"}:
            hint = "use a path, a camera index, http or rtsp"
            raise Unavailable(f"source '{_without_password(url)}' has a scheme that no reader knows", hint=hint)
        place = Path(unquote(parts.path) if scheme else url).expanduser()
        folder = place.is_dir()
    except (OSError, ValueError) as fault:  # a name that is too long, or half an IPv6 address
        raise Unavailable(f"source '{_without_password(url)[:200]}' cannot be opened: {fault}") from fault
    if folder:
        return _Folder(place, loop)
    check_file(place)
    return _Video(str(place.absolute()), loop=loop, live=False)


def pictures(source: Source) -> Iterator[Picture]:
    """Every picture up to the end of the stream."""
    while (picture := source.read()) is not None:
        yield picture


def check_file(place: Path) -> None:
    """Refuses a file that cannot hold a picture.

    Raises:
        Unavailable: it is not there, no regular file, or empty.
    """
    try:
        if not place.is_file():
            raise Unavailable(f"source {place} is not there", hint="check the path in the config of this edge")
        if place.stat().st_size == 0:
            raise Unavailable(f"source {place} is empty")
    except OSError as fault:
        raise Unavailable(f"source {place} cannot be read: {fault.strerror}") from fault


class _Opened:
    """What every source shares: its announced figures, and the end of a with block."""

    def __init__(self) -> None:
        self.fps = DEFAULT_FPS
        self.width = 0
        self.height = 0
        self.position = -1
        self.live = False

    def close(self) -> None:
        """Nothing to free."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class _Video(_Opened):
    """Anything that `cv2.VideoCapture` opens."""

    def __init__(self, url: str, *, loop: bool, live: bool) -> None:
        super().__init__()
        self._url, self._loop, self.live = url, loop, live
        self._name = _without_password(url)
        self._capture = self._open()
        if "://" in url and self._capture.get(cv2.CAP_PROP_FRAME_COUNT) <= 0:
            self.live = True  # an address without a length sends for ever; when it stops, something is wrong
        announced = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = min(announced, MAX_FPS) if math.isfinite(announced) and announced > 0 else DEFAULT_FPS

    def read(self, used: Picture | None = None) -> Picture | None:
        if not self.skip():
            return None
        try:
            done, picture = self._capture.retrieve(used)  # of another size it is left alone
        except cv2.error as fault:
            raise self._undecodable() from fault
        if not done or picture is None:
            raise self._undecodable()
        return np.asarray(picture, np.uint8)

    def skip(self) -> bool:
        if self._grab():
            return True
        if self.live:
            raise Unavailable(f"source {self._name} stopped sending after {self.position + 1} pictures")
        self._check_complete()
        if not self._loop:
            return False
        self.close()
        self._capture = self._open()
        if not self._grab():  # it was readable a round ago; never try again for ever
            raise Unavailable(f"source {self._name} gave no picture when it was started again")
        return True

    def close(self) -> None:
        self._capture.release()

    def _open(self) -> cv2.VideoCapture:
        if self._url.isdecimal():
            capture = cv2.VideoCapture(int(self._url))
        else:
            if "://" not in self._url:
                check_file(Path(self._url))
            times = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(OPEN_SECONDS * 1000)]
            times += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(READ_SECONDS * 1000)]
            capture = cv2.VideoCapture(self._url, cv2.CAP_FFMPEG, [*times, cv2.CAP_PROP_N_THREADS, 1])
        if not capture.isOpened():
            raise Unavailable(f"source {self._name} cannot be opened: it does not answer, or is no video that can be decoded")
        self.position = -1
        self.width, self.height = (int(capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        try:
            check_pixels(self.width, self.height)
        except EcnodeError as fault:
            capture.release()
            raise Unavailable(f"source {self._name} is refused: {fault.message}") from fault
        return capture

    def _grab(self) -> bool:
        try:
            done = self._capture.grab()
        except cv2.error as fault:
            raise self._undecodable() from fault
        self.position += done
        return done

    def _undecodable(self) -> Unavailable:
        return Unavailable(f"source {self._name} cannot be decoded after {self.position + 1} pictures")

    def _check_complete(self) -> None:
        seen, announced = self.position + 1, self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        if seen == 0:
            raise Unavailable(f"source {self._name} holds no picture that can be decoded")
        if announced > 0 and seen < SHORTFALL * announced:  # single broken pictures are skipped by the decoder
            raise Unavailable(f"source {self._name} is damaged: it ends after {seen} of {announced:.0f} pictures")


class _Folder(_Opened):
    """The JPEG and PNG files of a folder, by name."""

    def __init__(self, folder: Path, loop: bool) -> None:
        super().__init__()
        self._folder, self._loop = folder, loop
        self._names = self._list()
        self.fps = FOLDER_FPS
        self._first: Picture | None = self._decode(self._names[0])
        self.height, self.width = self._first.shape[:2]

    def read(self, used: Picture | None = None) -> Picture | None:
        del used  # each file is another picture, of a size of its own
        first = self._first
        if not self.skip():
            return None
        return first if first is not None else self._decode(self._names[self.position])

    def skip(self) -> bool:
        if self.position + 1 >= len(self._names):
            if not self._loop:
                return False
            self._names, self.position = self._list(), -1  # pictures may have come since
        self._first = None
        self.position += 1
        return True

    def _list(self) -> list[str]:
        try:
            names = sorted(place.name for place in self._folder.iterdir() if place.suffix.lower() in _PICTURES)
        except OSError as fault:
            raise Unavailable(f"source {self._folder} cannot be listed: {fault.strerror}") from fault
        if not names:
            raise Unavailable(f"source {self._folder} holds no .jpg, .jpeg or .png file")
        if len(names) > MAX_FOLDER_PICTURES:
            raise Unavailable(f"source {self._folder} holds {len(names)} pictures; the limit is {MAX_FOLDER_PICTURES}")
        return names

    def _decode(self, name: str) -> Picture:
        place = self._folder / name
        check_file(place)
        try:
            with place.open("rb") as file:
                data = file.read(MAX_PICTURE_BYTES + 1)
            if len(data) > MAX_PICTURE_BYTES:
                raise Unavailable(f"source {place} has more than {MAX_PICTURE_BYTES} bytes")
            measure = _PICTURES[place.suffix.lower()]
            if measure is jpeg_size:
                return decode_jpeg(data)
            check_pixels(*measure(data))
            return decode_checked(data)
        except OSError as fault:
            raise Unavailable(f"source {place} cannot be read: {fault.strerror}") from fault
        except Unavailable:
            raise
        except EcnodeError as fault:
            raise Unavailable(f"source {place} cannot be decoded: {fault.message}") from fault


def _without_password(url: str) -> str:
    """The URL as it may stand in a log: cameras often carry their password in it."""
    scheme, mark, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}" if mark else url
