"""Any audio file as 16 kHz mono float32 blocks; 16 kHz mono float32 as FLAC.

FFmpeg's libraries (PyAV) decode everything, so one set of rules says which files are whole. libsndfile,
which writes the FLAC, is not asked to read: its version 1.2 ends without an error at its own guess of the
length of an MP3 without a Xing header, after the first link of a chained Ogg, and at the length 0 of a
WAV that came through a pipe; and it refuses a FLAC whose header leaves the length open.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

import av
import numpy as np
import soundfile
import soxr

SAMPLE_RATE = 16_000

# Peak amplitude (-60 dBFS) under which a recording holds nothing to recognise: the noise of a quiet room
# and microphone peaks above it, while dither (-90 dBFS) and a muted channel stay below.
SILENCE_PEAK = 0.001

BLOCK_SECONDS = 10
MIN_RATE, MAX_RATE, MAX_CHANNELS = 1_000, 768_000, 64

# FFmpeg demuxers that may open a file. All others stay shut: among them are images, and text formats
# (HLS, concat, SDP) whose content would make FFmpeg open other files or network addresses.
DEMUXERS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dts,eac3,flac,flv,matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,"
    "nistsphere,ogg,rm,tta,voc,w64,wav,wv"
)

# Demuxers that know how long a file ought to be, and the seconds it may lack: nothing where the header
# counts samples, some frames where it counts frames. MP4 and WebM round, and pad their tracks.
LENGTH_TOLERANCE = {"aiff": 1e-6, "au": 1e-6, "flac": 1e-6, "nistsphere": 1e-6, "mp3": 0.1, "ogg": 0.1}

# How a file starts that is (or was) audio, to tell a broken one from one that never was any.
AUDIO_START = re.compile(
    rb"(RIFF|RIFX|RF64)....(WAVE|AVI )|FORM....AIF[FC]|\.snd|caff|fLaC|OggS|ID3|....ftyp|\x1aE\xdf\xa3"
    rb"|#!AMR|\x30\x26\xb2\x75|NIST_1A",
    re.DOTALL,
)

# Lengths that writers to a pipe leave in a WAV header, less a header's size (SoX 0x7ffff000, arecord
# 0x80000000, FFmpeg 0xffffffff): the samples then go on to the end of the file. So they do after a 0.
OPEN_LENGTHS = (0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)

Reason = Literal["not_audio", "truncated", "empty", "not_finite", "no_audio_track", "decode_error"]
RatedBlock = tuple[int, np.ndarray]  # sample rate in Hz, mono float32 samples of shape (samples,)


class AudioError(Exception):
    """Why a file gives no audio: ``reason`` for machines, ``detail`` in one line for people."""

    def __init__(self, reason: Reason, detail: str):
        detail = " ".join(detail.split())
        super().__init__(reason, detail)  # both, so that the error survives pickling
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


def decode(stream: BinaryIO) -> Iterator[np.ndarray]:
    """Blocks of mono float32 samples at 16 kHz, each of shape (samples,), at most some 10 s long.

    ``stream`` is open for reading bytes, seekable, and read from its start; its name plays no part.
    Channels are averaged. 16 kHz input passes through unchanged: a PCM_16 sample i becomes i / 32768.

    Raises AudioError, perhaps after some blocks: what was decoded of a broken file is to be thrown
    away. Errors of ``stream.read`` come through as they are, for they say nothing about the audio.
    """
    source = _Source(stream)
    try:
        for block in _resample(_read(source)):
            # Looked at after resampling, since a filter spreads NaN and may itself overflow.
            if not np.isfinite(block).all():
                raise AudioError("not_finite", "samples that are NaN or infinite")
            if len(block):
                yield block
    except AudioError:
        if source.error is None:
            raise
    if source.error is not None:
        raise source.error


def read_all(stream: BinaryIO, max_seconds: float | None = None) -> np.ndarray:
    """The samples of ``stream`` in one float32 array of shape (samples,); see `decode` for the errors.

    With ``max_seconds`` decoding stops there, and what is wrong with the file after it goes unseen.
    """
    limit = None if max_seconds is None else round(max_seconds * SAMPLE_RATE)
    blocks, total = [], 0
    for block in decode(stream):
        blocks.append(block)
        total += len(block)
        if limit is not None and total >= limit:
            break
    if not blocks:  # fewer samples than the resampler gives one for
        raise AudioError("empty", "too short for a sample at 16 kHz")
    return np.concatenate(blocks)[:limit]


def encode_flac(samples: np.ndarray) -> bytes:
    """16 kHz mono PCM_16 FLAC of float ``samples`` of shape (samples,); equal input gives equal bytes.

    Samples are clipped to [-1, 1], scaled by 32768 and rounded to even; 32768 becomes 32767. That is the
    inverse of `decode`, so PCM_16 comes back bit for bit (libsndfile's own float path scales by 32767).
    """
    integers = np.clip(np.rint(np.clip(samples, -1.0, 1.0) * 32768.0), -32768, 32767).astype(np.int16)
    buffer = io.BytesIO()
    soundfile.write(buffer, integers, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def is_silent(samples: np.ndarray) -> bool:
    """True where no sample reaches SILENCE_PEAK; so for no samples at all."""
    return bool(np.max(np.abs(samples), initial=0.0) < SILENCE_PEAK)


class _Source:
    """A stream without a name, by which FFmpeg would guess; it seems to end at a read error, and keeps it."""

    def __init__(self, stream: BinaryIO):
        self._stream = stream
        self.error: Exception | None = None
        self.size = stream.seek(0, io.SEEK_END)
        self.seek = stream.seek
        self.tell = stream.tell

    def read(self, size: int = -1) -> bytes:
        try:
            return b"" if self.error else self._stream.read(size)
        except Exception as error:
            self.error = error
            return b""

    def read_at(self, position: int, size: int) -> bytes:
        self.seek(position)
        return self.read(size)


def _resample(blocks: Iterator[RatedBlock]) -> Iterator[np.ndarray]:
    resampler, source_rate = None, 0
    for rate, block in blocks:
        if resampler is None:  # from 16 kHz to 16 kHz soxr hands on what it is given
            resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
            source_rate = rate
        if rate != source_rate:
            raise AudioError("decode_error", f"the sample rate changes from {source_rate} to {rate} Hz")
        yield resampler.resample_chunk(block)
    if resampler is None:
        raise AudioError("empty", "a header, but no samples")
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


@dataclass
class _Packets:
    """What the packets of a file told so far. ``kind`` is FFmpeg's (first) name for its format."""

    kind: str
    count: int = 0
    partial: bool = False  # the last packet lacks bytes
    failed: int = 0
    last_failed: int = 0  # its number, from 1
    failure: str = ""
    ends: dict[int, float] = field(default_factory=dict)  # in seconds, by stream index


def _read(source: _Source) -> Iterator[RatedBlock]:
    if source.size == 0:
        raise AudioError("empty", "zero bytes")
    wav_share = _wav_share(source)
    source.seek(0)
    try:
        # Tags are of no use here, and one that is not UTF-8 must not make a file unreadable.
        container = av.open(source, options={"format_whitelist": DEMUXERS}, metadata_errors="replace")
    except av.FFmpegError as error:
        raise _unreadable(source, error) from None
    with container:
        if not container.streams.audio:
            no_track = AudioError("no_audio_track", f"{container.format.long_name}: no audio track")
            raise no_track if container.streams.video else _unreadable(source)
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise AudioError("decode_error", f"{container.format.long_name}: no decoder for its codec")
        rate, channels = stream.codec_context.sample_rate, stream.codec_context.channels
        if not MIN_RATE <= rate <= MAX_RATE:
            raise AudioError("decode_error", f"a sample rate of {rate} Hz: not {MIN_RATE} to {MAX_RATE}")
        if not 1 <= channels <= MAX_CHANNELS:  # 0 also where there are more than FFmpeg takes
            raise AudioError("decode_error", f"{channels or 'no usable'} channels: not 1 to {MAX_CHANNELS}")
        if stream.codec_context.name == "flac":  # the checksum of every frame, which FFmpeg else leaves alone
            stream.codec_context.options = {"err_detect": "crccheck+explode"}
        packets, decoded = _Packets(container.format.name.split(",")[0]), 0.0
        for rate, block in _join(_frames(stream, packets)):
            decoded += len(block) / rate
            yield rate, block
        if wav_share is not None and wav_share < 1:
            raise _cut_off(decoded, decoded / wav_share if wav_share else None)
        _check_complete(source, stream, packets, decoded)


def _unreadable(source: _Source, error: av.FFmpegError | None = None) -> AudioError:
    start = source.read_at(0, 12)
    if not AUDIO_START.match(start):
        return AudioError("not_audio", "not a format of sound that FFmpeg knows")
    if start[4:8] == b"ftyp":
        return AudioError("truncated", "MP4 without its index (moov): cut off, or never finished")
    # FFmpeg tells of most headers that run into the end of the file; of a WAV's 44 bytes it does not.
    if isinstance(error, EOFError | OSError) or source.size < 44:
        return AudioError("truncated", "the file ends within its header")
    return AudioError("decode_error", f"cannot be opened: {error.strerror if error else 'no tracks'}")


def _frames(stream: av.AudioStream, packets: _Packets) -> Iterator[av.AudioFrame]:
    """Decode ``stream`` and demux the others too, for the length of a file may be that of any track."""
    try:
        for packet in stream.container.demux():
            if packet.pts is not None:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                packets.ends[packet.stream_index] = max(end, packets.ends.get(packet.stream_index, end))
            if packet.stream_index != stream.index:
                continue
            if packet.size:
                packets.count += 1
                packets.partial = packet.is_corrupt
            # After a failure only the place of the last packet is of interest; but MP3 is made for
            # resynchronisation, and tags between or after its frames fail to decode in good files.
            if packets.failed and packets.kind != "mp3":
                continue
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                packets.failed += 1
                packets.last_failed, packets.failure = packets.count, error.strerror
            else:
                yield from frames
    except av.FFmpegError as error:
        packets.failed += 1
        packets.failure = error.strerror
    except IndexError:  # PyAV's, after the last packet, where a track began in mid-file
        pass


def _join(frames: Iterator[av.AudioFrame]) -> Iterator[RatedBlock]:
    """Average the channels of frames, which last some 20 ms each, and join them to BLOCK_SECONDS."""
    waiting: list[np.ndarray] = []
    rate, length, kind, to_float = 0, 0, None, None
    for frame in frames:
        if waiting and (frame.sample_rate != rate or length >= BLOCK_SECONDS * rate):
            yield rate, np.concatenate(waiting)
            waiting, length = [], 0
        rate = frame.sample_rate
        if kind != (rate, frame.format.name, frame.layout.name):  # a converter takes frames of one kind
            kind = (rate, frame.format.name, frame.layout.name)
            to_float = av.AudioResampler(format="flt")  # interleaved: PyAV crashes on 8 planes and more
        for part in to_float.resample(frame):
            samples = part.to_ndarray().reshape(part.samples, -1)
            with np.errstate(invalid="ignore", over="ignore"):  # `decode` looks for the outcome
                waiting.append(samples.mean(axis=1, dtype=np.float32))  # of one channel: its very bits
            length += part.samples
    if waiting:
        yield rate, np.concatenate(waiting)


def _check_complete(source: _Source, stream: av.AudioStream, packets: _Packets, decoded: float) -> None:
    """Raise AudioError unless the packets were whole, went to the end and gave ``decoded`` seconds of it."""
    kind = packets.kind
    if packets.failed and not decoded and not AUDIO_START.match(source.read_at(0, 12)):
        raise _unreadable(source)  # a chance likeness: formats without a header are known by a few bits
    declared, reached = _extent(source, stream, packets)
    tolerance = LENGTH_TOLERANCE.get(kind) or max(0.5, 0.02 * (declared or 0.0))
    if declared is not None and reached < declared - tolerance:
        raise _cut_off(decoded, declared)
    failed_at_end = packets.last_failed == packets.count > 0 and kind != "mp3"
    partial = packets.partial and kind != "wav"  # of a WAV without a length every last packet seems so
    if partial or failed_at_end or (kind == "ogg" and not _has_last_page(source)):
        raise _cut_off(decoded, None)
    if packets.failed > (0.1 * packets.count if kind == "mp3" else 0):
        raise AudioError("decode_error", f"after {decoded:.2f} s: {packets.failure}")
    if kind in LENGTH_TOLERANCE and declared is not None and decoded < declared - tolerance:
        raise AudioError("decode_error", f"{decoded:.2f} of {declared:.2f} s could be decoded: it has gaps")


def _cut_off(decoded: float, declared: float | None) -> AudioError:
    whole = "" if declared is None else f" of {declared:.2f}"
    return AudioError("truncated", f"{decoded:.2f}{whole} s could be decoded: the file is cut off")


def _extent(source: _Source, stream: av.AudioStream, packets: _Packets) -> tuple[float | None, float]:
    """Declared length in seconds, None where it is open or FFmpeg's guess, and the end of the packets."""
    kind, longest = packets.kind, stream.container.duration
    if kind == "matroska" and longest is not None:  # it keeps no lengths by track
        return longest / av.time_base, max(packets.ends.values(), default=0.0)
    stated = kind in LENGTH_TOLERANCE or kind == "mov"
    if not stated or stream.duration is None or (kind == "mp3" and not _counts_frames(source)):
        return None, 0.0
    start = float((stream.start_time or 0) * stream.time_base)
    return float(stream.duration * stream.time_base), packets.ends.get(stream.index, start) - start


def _wav_share(source: _Source) -> float | None:
    """The part of a WAV's declared samples that is there, 1 for an open length; None for what is no WAV."""
    head = source.read_at(0, 12)
    if head[:4] not in (b"RIFF", b"RIFX", b"RF64") or head[8:] != b"WAVE":
        return None
    position, size_64, none_declared = 12, 0, False
    while len(chunk := source.read_at(position, 8)) == 8:
        name, size = struct.unpack(">4sI" if head[:4] == b"RIFX" else "<4sI", chunk)
        if not name.decode("latin-1").isprintable():
            break  # these are samples
        position += 8
        if name == b"ds64":  # EBU Tech 3306: the sizes that 32 bits do not hold
            size_64 = int.from_bytes(source.read_at(position + 8, 8), "little")
        if name == b"data":
            declared = size_64 if head[:4] == b"RF64" else size
            if any(0 <= length - declared < 0x1_0000 for length in OPEN_LENGTHS):
                return 1.0
            if declared:
                return (source.size - position) / declared
            none_declared = True
        position += size + size % 2
    if none_declared and position - source.size in (0, 1):
        raise AudioError("empty", "a header, but no samples")
    return 1.0 if none_declared else None


def _counts_frames(source: _Source) -> bool:
    """Whether the first MP3 frame is a Xing, Info or VBRI header; without one FFmpeg guesses the length."""
    start, head = 0, source.read_at(0, 10)
    if head[:3] == b"ID3":  # ID3v2.4, section 3.1: a size of four times seven bits
        start = 10 + sum((byte & 0x7F) << 7 * place for place, byte in enumerate(reversed(head[6:])))
    return re.search(rb"Xing|Info|VBRI", source.read_at(start, 256)) is not None


def _has_last_page(source: _Source) -> bool:
    """Whether an Ogg file ends in a whole page with the end-of-stream flag (RFC 3533, section 6)."""
    start = max(0, source.size - 2 * 65_307)  # the longest page, twice, for what may follow the last one
    tail = source.read_at(start, source.size - start)
    page = tail[tail.rfind(b"OggS") :]
    whole = len(page) > 26 and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])
    return whole and page[5] & 4 != 0
