"""Decode any audio file to 16 kHz mono float32 blocks; encode 16 kHz mono float32 as FLAC.

FFmpeg's libraries (PyAV) decode every format, so one set of rules decides which files are complete. libsndfile, which
encodes the FLAC, does not decode: its version 1.2 stops without an error at its own estimate of the length of an MP3
without a Xing header, after the first link of a chained Ogg, and at the length 0 of a WAV that was written to a pipe;
and it refuses a FLAC whose header does not state the length.
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
import soxr

from lanser_ops.common.signals import errors_are_dropped

SAMPLE_RATE = 16_000

# Peak amplitude (-60 dBFS) below which a recording holds nothing to recognise: the noise of a quiet room and a
# microphone peaks above it, dither (-90 dBFS) and a muted channel stay below.
SILENCE_PEAK = 0.001

BLOCK_SECONDS = 10
MIN_RATE, MAX_RATE, MAX_CHANNELS = 1_000, 768_000, 64

# FFmpeg demuxers that may open a file. The others include images, and text formats (HLS, concat, SDP) whose content
# would make FFmpeg open other files or network addresses.
DEMUXERS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dts,eac3,flac,flv,matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,"
    "nistsphere,ogg,rm,tta,voc,w64,wav,wv"
)

# Demuxers that know a file's length, and the seconds that may be missing: none where the header counts samples, a few
# frames where it counts frames. MP4 and WebM round the length and pad their tracks.
LENGTH_TOLERANCE = {"aiff": 1e-6, "au": 1e-6, "flac": 1e-6, "nistsphere": 1e-6, "mp3": 0.1, "ogg": 0.1}

# How audio files start, to distinguish a broken one from a file that never was audio.
AUDIO_START = re.compile(
    rb"(RIFF|RIFX|RF64)....(WAVE|AVI )|FORM....AIF[FC]|\.snd|caff|fLaC|OggS|ID3|....ftyp|\x1aE\xdf\xa3"
    rb"|#!AMR|\x30\x26\xb2\x75|NIST_1A",
    re.DOTALL,
)

# Lengths that programs leave in the header of a WAV written to a pipe, minus the size of a header (SoX 0x7ffff000,
# arecord 0x80000000, FFmpeg 0xffffffff). The samples then extend to the end of the file, as they do if it is 0.
OPEN_LENGTHS = (0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)

Reason = Literal["not_audio", "truncated", "empty", "not_finite", "no_audio_track", "decode_error"]
DecoderFault = Literal["too_large", "timeout", "decoder_died"]  # see `lanser_ops.audio.guarded`
RatedBlock = tuple[int, np.ndarray]  # sample rate in Hz, mono float32 samples of shape (samples,)


class AudioError(Exception):
    """Why a file cannot be decoded: ``reason`` for programs, ``detail``, in one line, for people."""

    def __init__(self, reason: Reason | DecoderFault, detail: str):
        detail = " ".join(detail.split())
        super().__init__(reason, detail)  # both arguments, so that the error can be pickled
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


def decode(stream: BinaryIO) -> Iterator[np.ndarray]:
    """Blocks of mono float32 samples at 16 kHz, each of shape (samples,) and about 10 s long at most.

    ``stream`` is a seekable binary stream, read from its start; its name is ignored. Channels are averaged. 16 kHz
    input passes through unchanged: a PCM_16 sample i becomes i / 32768. Raises AudioError, possibly after some blocks
    (which the caller should discard), for a file that is broken or not audio. Errors of ``stream.read`` are raised as
    they are, because they say nothing about the audio.
    """
    source = _Source(stream)
    try:
        for block in _resample(_read(source)):
            # Checked after resampling, since the filter spreads NaN and may itself overflow.
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

    With ``max_seconds`` decoding stops there, so faults in the rest of the file go unnoticed.
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


def is_silent(samples: np.ndarray) -> bool:
    """Whether no sample reaches SILENCE_PEAK; True for no samples."""
    return bool(np.max(np.abs(samples), initial=0.0) < SILENCE_PEAK)


class _Source:
    """A stream that hides its name, by which FFmpeg would guess the format, and stores the error at which it ends."""

    def __init__(self, stream: BinaryIO):
        self._stream = stream
        self.error: Exception | None = None
        self.size = stream.seek(0, io.SEEK_END)
        self.seek = stream.seek
        self.tell = stream.tell

    @errors_are_dropped  # by PyAV
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
        if resampler is None:  # from 16 kHz to 16 kHz soxr passes samples through
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
    """What is known from a file's packets so far. ``kind`` is FFmpeg's (first) name for its format."""

    container: av.container.InputContainer
    kind: str
    count: int = 0
    partial: bool = False  # the last packet lacks bytes
    failed: int = 0
    last_failed: int = 0  # number of the last packet that failed, from 1
    failure: str = ""
    ends: dict[int, float] = field(default_factory=dict)  # in seconds, by stream index


def _read(source: _Source) -> Iterator[RatedBlock]:
    if source.size == 0:
        raise AudioError("empty", "zero bytes")
    wav_share = _wav_share(source)
    source.seek(0)
    try:
        # Tags are not needed, and one that is not UTF-8 must not make a file unreadable.
        container = av.open(source, "r", options={"format_whitelist": DEMUXERS}, metadata_errors="replace")
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
        if not 1 <= channels <= MAX_CHANNELS:  # 0 also means more than FFmpeg supports
            raise AudioError("decode_error", f"{channels or 'no usable'} channels: not 1 to {MAX_CHANNELS}")
        if stream.codec_context.name == "flac":  # check every frame's checksum, which FFmpeg ignores by default
            stream.codec_context.options = {"err_detect": "crccheck+explode"}
        packets, decoded = _Packets(container, container.format.name.split(",")[0]), 0.0
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
    # FFmpeg reports most headers that run into the end of the file, but not the 44 bytes of a WAV.
    if isinstance(error, EOFError | OSError) or source.size < 44:
        return AudioError("truncated", "the file ends within its header")
    return AudioError("decode_error", f"cannot be opened: {error.strerror if error else 'no tracks'}")


def _frames(stream: av.AudioStream, packets: _Packets) -> Iterator[av.AudioFrame]:
    """Decode ``stream``, and demux the other tracks too: any of them may determine the length of the file."""
    try:
        for packet in packets.container.demux():
            if packet.pts is not None:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                packets.ends[packet.stream_index] = max(end, packets.ends.get(packet.stream_index, end))
            if packet.stream_index != stream.index:
                continue
            if packet.size:
                packets.count += 1
                packets.partial = packet.is_corrupt
            # After a failure only the position of the last packet matters. But MP3 is designed for
            # resynchronisation, and tags between or after its frames fail to decode in intact files.
            if packets.failed and packets.kind != "mp3":
                continue
            try:
                frames = stream.decode(packet)
            except av.FFmpegError as error:
                packets.failed += 1
                packets.last_failed, packets.failure = packets.count, str(error.strerror)
            else:
                yield from frames
    except av.FFmpegError as error:
        packets.failed += 1
        packets.failure = str(error.strerror)
    except IndexError:  # from PyAV, after the last packet, where a track began in mid-file
        pass


def _join(frames: Iterator[av.AudioFrame]) -> Iterator[RatedBlock]:
    """Average the channels of frames, which last about 20 ms each, and join them to blocks of BLOCK_SECONDS."""
    waiting: list[np.ndarray] = []
    rate, length, kind, to_float = 0, 0, None, av.AudioResampler(format="flt")
    for frame in frames:
        if waiting and (frame.sample_rate != rate or length >= BLOCK_SECONDS * rate):
            yield rate, np.concatenate(waiting)
            waiting, length = [], 0
        rate = frame.sample_rate
        if kind != (rate, frame.format.name, frame.layout.name):  # a converter accepts frames of one kind only
            kind = (rate, frame.format.name, frame.layout.name)
            to_float = av.AudioResampler(format="flt")  # interleaved: PyAV crashes on 8 planes or more
        for part in to_float.resample(frame):
            samples = part.to_ndarray().reshape(part.samples, -1)
            with np.errstate(invalid="ignore", over="ignore"):  # `decode` checks the result
                waiting.append(samples.mean(axis=1, dtype=np.float32))  # exact for one channel
            length += part.samples
    if waiting:
        yield rate, np.concatenate(waiting)


def _check_complete(source: _Source, stream: av.AudioStream, packets: _Packets, decoded: float) -> None:
    """Raise AudioError unless the packets are whole, reach the end of the file and gave all its ``decoded`` seconds."""
    kind = packets.kind
    if packets.failed and not decoded and not AUDIO_START.match(source.read_at(0, 12)):
        raise _unreadable(source)  # a false match: formats without a header are recognised by a few bits
    declared, reached = _extent(source, stream, packets)
    tolerance = LENGTH_TOLERANCE.get(kind) or max(0.5, 0.02 * (declared or 0.0))
    if declared is not None and reached < declared - tolerance:
        raise _cut_off(decoded, declared)
    failed_at_end = packets.last_failed == packets.count > 0 and kind != "mp3"
    partial = packets.partial and kind != "wav"  # the last packet of a WAV without a length always seems so
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
    """The declared length in seconds, None if open or estimated by FFmpeg, and where the packets end."""
    kind, longest = packets.kind, packets.container.duration
    if kind == "matroska" and longest is not None:  # it stores no lengths of tracks
        return longest / av.time_base, max(packets.ends.values(), default=0.0)
    stated = kind in LENGTH_TOLERANCE or kind == "mov"
    estimated = kind == "mp3" and not _counts_frames(source)
    if not stated or estimated or stream.duration is None or stream.time_base is None:
        return None, 0.0
    start = float((stream.start_time or 0) * stream.time_base)
    return float(stream.duration * stream.time_base), packets.ends.get(stream.index, start) - start


def _wav_share(source: _Source) -> float | None:
    """The fraction of a WAV's declared samples that is present, 1 for an open length; None if not a WAV."""
    head = source.read_at(0, 12)
    if head[:4] not in (b"RIFF", b"RIFX", b"RF64") or head[8:] != b"WAVE":
        return None
    position, size_64, none_declared = 12, 0, False
    while len(chunk := source.read_at(position, 8)) == 8:
        name, size = struct.unpack(">4sI" if head[:4] == b"RIFX" else "<4sI", chunk)
        if not name.decode("latin-1").isprintable():
            break  # no chunk: these are samples
        position += 8
        if name == b"ds64":  # EBU Tech 3306: sizes of more than 32 bits
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
    """Whether the first MP3 frame is a Xing, Info or VBRI header; without one FFmpeg estimates the length."""
    start, head = 0, source.read_at(0, 10)
    if head[:3] == b"ID3":  # ID3v2.4, section 3.1: the size is four times seven bits
        start = 10 + sum((byte & 0x7F) << 7 * place for place, byte in enumerate(reversed(head[6:])))
    return re.search(rb"Xing|Info|VBRI", source.read_at(start, 256)) is not None


def _has_last_page(source: _Source) -> bool:
    """Whether an Ogg file ends with a whole page that has the end-of-stream flag (RFC 3533, section 6)."""
    start = max(0, source.size - 2 * 65_307)  # twice the longest page: something may follow the last one
    tail = source.read_at(start, source.size - start)
    page = tail[tail.rfind(b"OggS") :]
    whole = len(page) > 26 and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])
    return whole and page[5] & 4 != 0
