from __future__ import annotations

import io
import pickle
import struct

import av
import numpy as np
import pytest
import soundfile
import soxr

from lanser_ops.audio.decode import SAMPLE_RATE, AudioError, decode, is_silent, read_all
from lanser_ops.audio.encode import encode_flac


def tone(seconds: float, rate: int) -> np.ndarray:
    """440 Hz at a quarter of full scale with a little noise, which no codec can shrink to nothing."""
    phase = 2 * np.pi * 440 / rate * np.arange(round(seconds * rate))
    noise = np.random.default_rng(0).standard_normal(len(phase))
    return (0.25 * np.sin(phase) + 0.01 * noise).astype(np.float32)


def sound(samples, rate: int, form: str = "WAV", subtype: str | None = None, **options) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=form, subtype=subtype, **options)
    return buffer.getvalue()


def encoded(path, form: str, codec: str, samples: np.ndarray, rate: int, **options: str) -> bytes:
    with av.open(str(path), "w", format=form, options=options) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = 12_200 if "amr" in codec else 64_000
        if codec == "libmp3lame":
            stream.codec_context.options = {"abr": "1"}  # fewer bits where there is less to say
        converter = av.AudioResampler(format=stream.format, layout="mono", rate=rate)
        for start in range(0, len(samples), 4096):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + 4096], "fltp", "mono")
            frame.sample_rate, frame.pts = rate, start
            for part in converter.resample(frame):
                container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path.read_bytes()


def video(path, form: str, codec: str) -> bytes:
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=25, width=64, height=64)
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode(None))
    return path.read_bytes()


def failure(content: bytes) -> AudioError:
    with pytest.raises(AudioError) as caught:
        read_all(io.BytesIO(content))
    assert caught.value.detail and "\n" not in caught.value.detail
    return caught.value


def fields(content: bytes, **values: int) -> bytes:
    """A WAV with other values in its 44-byte header."""
    places = {"riff": (4, "<I"), "channels": (22, "<H"), "rate": (24, "<I"), "width": (32, "<H"), "data": (40, "<I")}
    changed = bytearray(content)
    for name, value in values.items():
        struct.pack_into(places[name][1], changed, places[name][0], value)
    return bytes(changed)


def garbled(content: bytes, place: float) -> bytes:
    start = int(place * len(content))
    return content[:start] + np.random.default_rng(1).bytes(200) + content[start + 200 :]


# name: container, codec, sample rate, options of the container
LOSSY = {
    "m4a": ("ipod", "aac", 44_100, {}),
    "m4a, index first": ("mp4", "aac", 44_100, {"movflags": "faststart"}),
    "fragmented mp4": ("mp4", "aac", 44_100, {"movflags": "frag_keyframe+empty_moov", "frag_duration": "500000"}),
    "adts": ("adts", "aac", 22_050, {}),
    "webm": ("webm", "libopus", 48_000, {}),
    "mka": ("matroska", "aac", 32_000, {}),
    "ogg opus": ("ogg", "libopus", 48_000, {}),
    "wma": ("asf", "wmav2", 44_100, {}),
    "mp3": ("mp3", "libmp3lame", 44_100, {}),
    "amr": ("amr", "libopencore_amrnb", 8_000, {}),
}


@pytest.fixture(scope="module")
def lossy(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("encoded")
    return {
        name: encoded(folder / name, form, codec, tone(3.0, rate), rate, **options)
        for name, (form, codec, rate, options) in LOSSY.items()
    }


LOSSLESS = [("WAV", "PCM_16"), ("RF64", "PCM_16"), ("AIFF", "PCM_16"), ("AU", "PCM_16"), ("FLAC", "PCM_16")]
LOSSLESS += [("CAF", "PCM_16"), ("NIST", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("WAV", "DOUBLE")]


@pytest.mark.parametrize(("form", "subtype"), LOSSLESS)
def test_16_khz_passes_through_bit_for_bit(form, subtype):
    integers = np.random.default_rng(0).permutation(np.arange(-32768, 32768)).astype(np.int16)
    # libsndfile scales floats by 32767 when it writes PCM_16.
    given = integers if subtype == "PCM_16" else integers / 32768.0
    samples = read_all(io.BytesIO(sound(given, SAMPLE_RATE, form, subtype)))
    assert samples.dtype == np.float32
    expected = integers / np.float32(32768)
    if subtype == "PCM_24":
        np.testing.assert_allclose(samples, expected, atol=2**-22)
    else:
        np.testing.assert_array_equal(samples, expected)
    written, rate = soundfile.read(io.BytesIO(encode_flac(samples)), dtype="int16")
    assert rate == 16000
    np.testing.assert_array_equal(written, integers)


@pytest.mark.parametrize("channels", [2, 6, 8, 64])
def test_channels_are_averaged(channels):
    steps = np.tile(np.arange(channels, dtype=np.int16) * 256, (1000, 1))
    samples = read_all(io.BytesIO(sound(steps, SAMPLE_RATE)))
    np.testing.assert_allclose(samples, np.full(1000, (channels - 1) / 2 / 128), rtol=1e-6)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000])
def test_resampling_in_blocks_equals_resampling_at_once(rate):
    source = tone(23.456, rate)
    blocks = list(decode(io.BytesIO(sound(source, rate, subtype="FLOAT"))))
    assert len(blocks) >= 3
    assert max(map(len, blocks)) < 10.2 * SAMPLE_RATE
    samples = np.concatenate(blocks)
    assert abs(len(samples) - 375296) <= 1
    np.testing.assert_allclose(samples, soxr.resample(source, rate, SAMPLE_RATE, quality="HQ"), atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_a_click_stays_where_it_is(rate):
    click = np.zeros(rate, np.float32)
    click[rate // 2] = 0.9
    assert np.argmax(np.abs(read_all(io.BytesIO(sound(click, rate))))) == 8000


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_formats(lossy, name):
    samples = read_all(io.BytesIO(lossy[name]))
    assert 2.95 < len(samples) / SAMPLE_RATE < 3.1
    middle = samples[16_000:32_000] * np.hanning(16_000)
    assert np.argmax(np.abs(np.fft.rfft(middle))) == 440
    np.testing.assert_array_equal(samples, read_all(io.BytesIO(lossy[name])))


def test_vorbis_and_chained_ogg():
    vorbis = sound(tone(3.0, 22050), 22050, "OGG", "VORBIS")
    assert len(read_all(io.BytesIO(vorbis))) == 48000
    assert len(read_all(io.BytesIO(vorbis + vorbis))) / SAMPLE_RATE == pytest.approx(6.0, abs=0.05)


def test_mp3_without_a_frame_count_is_read_to_its_end(tmp_path):
    # Where its start is of a higher or lower bit rate than the rest, a guess at its length is wrong.
    loud_then_silent = np.concatenate([tone(2.0, 44100), np.zeros(8 * 44100, np.float32)])
    for samples in (loud_then_silent, loud_then_silent[::-1].copy()):
        content = encoded(tmp_path / "x", "mp3", "libmp3lame", samples, 44100, write_xing="0")
        for tag in (b"", b"TAG" + b"x" * 125):
            assert len(read_all(io.BytesIO(content + tag))) / SAMPLE_RATE == pytest.approx(10.0, abs=0.1)


def test_tags_are_passed_over(lossy):
    frames = lossy["mp3"][lossy["mp3"].index(b"\xff\xfb") :]
    mp3 = b"ID3\x04\0\0" + bytes([0, 0, 7, 104]) + bytes(7 * 128 + 104) + frames
    assert len(read_all(io.BytesIO(mp3))) == 48000
    assert failure(mp3[: len(mp3) // 2]).reason == "truncated"
    wav = sound(tone(1.0, 16000), 16000) + b"LIST\x10\0\0\0INFOIART\x04\0\0\0Ren\xe9"
    assert len(read_all(io.BytesIO(wav))) == 16000


def test_the_name_of_the_file_plays_no_part(tmp_path):
    for name in ("speech.jpg", "speech.raw", "speech.mp4"):
        (tmp_path / name).write_bytes(sound(tone(1.0, 16000), 16000))
        with open(tmp_path / name, "rb") as stream:
            assert len(read_all(stream)) == 16000
    (tmp_path / "picture.wav").write_bytes(video(tmp_path / "picture.jpg", "image2", "mjpeg"))
    assert (tmp_path / "picture.wav").read_bytes()[:3] == b"\xff\xd8\xff"
    assert failure((tmp_path / "picture.wav").read_bytes()).reason == "not_audio"


def test_what_is_no_audio():
    text, png, webp = "Not a recording. ", b"\x89PNG\r\n\x1a\n", b"RIFF\x1a\0\0\0WEBPVP8L"
    noise = np.random.default_rng(3).bytes(20_000)
    for content in (500 * text.encode(), (500 * text).encode("utf-16"), png + noise, webp + noise, noise, bytes(5000)):
        assert failure(content).reason == "not_audio"


def test_content_cannot_name_other_files(tmp_path):
    secret = tmp_path / "secret.wav"
    secret.write_bytes(sound(tone(1.0, 16000), 16000))
    for text in (
        f"ffconcat version 1.0\nfile '{secret}'\n",
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    ):
        assert failure(text.encode()).reason == "not_audio"


@pytest.mark.parametrize(("form", "codec"), [("mp4", "mpeg4"), ("matroska", "mjpeg")])
def test_a_container_without_audio(tmp_path, form, codec):
    assert failure(video(tmp_path / "x", form, codec)).reason == "no_audio_track"


def test_nothing_inside():
    assert (failure(b"").reason, failure(b"").detail) == ("empty", "zero bytes")
    wav = sound(np.zeros(0, np.int16), 16000)
    assert failure(wav).reason == "empty"
    assert failure(wav + b"LIST\x04\0\0\0INFO").reason == "empty"
    assert failure(sound(np.zeros(0, np.int16), 16000, "FLAC")).reason == "empty"


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_finite(rate, value):
    samples = tone(1.0, rate)
    samples[500] = value
    assert failure(sound(samples, rate, subtype="FLOAT")).reason == "not_finite"


def test_a_wav_that_is_cut_off_says_how_much_is_there():
    wav = sound(tone(3.1, 16000), 16000)
    cut_off = "truncated: 1.42 of 3.10 s could be decoded: the file is cut off"
    assert str(failure(wav[: 44 + 2 * 22720])) == cut_off
    # at the border of a packet of FFmpeg's, by one byte, right after the header, and within it
    for length in (44 + 4 * 4096, len(wav) - 1, 44, 30):
        assert failure(wav[:length]).reason == "truncated"


CUT = [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("AIFF", "PCM_16"), ("AU", "PCM_16")]
CUT += [("RF64", "PCM_16"), ("W64", "PCM_16"), ("NIST", "PCM_16"), ("WAV", "IMA_ADPCM")]


@pytest.mark.parametrize(("form", "subtype"), CUT)
def test_files_that_are_cut_off(form, subtype):
    whole = sound(tone(3.0, 48000), 48000, form, subtype)
    assert len(read_all(io.BytesIO(whole))) / SAMPLE_RATE == pytest.approx(3.0, abs=0.1)
    for length in (0.3 * len(whole), 0.5 * len(whole), 0.9 * len(whole), len(whole) - 3):
        assert failure(whole[: int(length)]).reason == "truncated"


@pytest.mark.parametrize("name", [name for name in LOSSY if name != "wma"])
def test_lossy_files_that_are_cut_off(lossy, name):
    whole = lossy[name]
    for share in (0.3, 0.5, 0.7):
        assert failure(whole[: int(share * len(whole))]).reason == "truncated"


def test_an_mp4_that_is_cut_off_between_two_packets(lossy):
    whole = lossy["m4a, index first"]
    with av.open(io.BytesIO(whole)) as container:
        positions = [packet.pos for packet in container.demux() if packet.size]
    # packets of 1024 samples, of which one is the encoder's delay
    cut_off = "truncated: 1.00 of 3.00 s could be decoded: the file is cut off"
    assert str(failure(whole[: positions[44]])) == cut_off
    index_last = lossy["m4a"]
    assert failure(index_last[: index_last.rindex(b"mdhd")]).reason == "truncated"


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0xFFFFFFDB, 0x7FFFFFFF, 0x7FFFF000, 0x80000000])
@pytest.mark.parametrize("riff", [36, 0xFFFFFFFF, 32036])
def test_a_wav_from_a_pipe_is_read_to_its_end(size, riff):
    integers = np.random.default_rng(0).integers(-999, 999, 16000).astype(np.int16)
    samples = read_all(io.BytesIO(fields(sound(integers, 16000), data=size, riff=riff)))
    np.testing.assert_array_equal(samples, integers / np.float32(32768))
    assert len(read_all(io.BytesIO(fields(sound(0 * integers, 16000), data=size, riff=riff)))) == 16000


def test_a_flac_and_a_webm_without_a_length(tmp_path):
    flac = bytearray(sound(tone(3.0, 16000), 16000, "FLAC"))
    flac[21:26] = flac[21] & 0xF0, 0, 0, 0, 0  # the total of samples has 36 bits (RFC 9639, section 8.2)
    assert len(read_all(io.BytesIO(flac))) == 48000
    assert failure(bytes(flac[: len(flac) // 2])).reason == "truncated"
    webm = encoded(tmp_path / "x", "webm", "libopus", tone(3.0, 48000), 48000, live="1")
    assert len(read_all(io.BytesIO(webm))) / SAMPLE_RATE == pytest.approx(3.0, abs=0.05)


def test_bytes_that_are_wrong_in_the_middle(lossy):
    opus = sound(tone(3.0, 48000), 48000, "OGG", "OPUS")
    for content in (sound(tone(3.0, 16000), 16000, "FLAC"), opus, lossy["m4a"]):
        assert failure(garbled(content, 0.4)).reason == "decode_error"
    flac = bytearray(sound(tone(3.0, 16000), 16000, "FLAC"))
    flac[len(flac) // 2] ^= 1  # a single bit, of which only the checksum knows
    assert failure(bytes(flac)).reason == "decode_error"
    # MP3 finds its way back.
    assert len(read_all(io.BytesIO(garbled(lossy["mp3"], 0.5)))) / SAMPLE_RATE == pytest.approx(3.0, abs=0.1)


def test_headers_that_make_no_sense():
    wav = sound(tone(1.0, 16000), 16000)
    for header in ({"rate": 0}, {"rate": 4_000_000_000}, {"channels": 0}, {"channels": 1000, "width": 2000}):
        assert failure(fields(wav, **header)).reason == "decode_error"
    assert failure(fields(wav, rate=999)).detail == "a sample rate of 999 Hz: not 1000 to 768000"
    assert failure(fields(wav, channels=65, width=130)).detail == "65 channels: not 1 to 64"


def test_a_sample_rate_that_changes(tmp_path):
    parts = [encoded(tmp_path / "x", "adts", "aac", tone(2.0, rate), rate) for rate in (44100, 22050)]
    assert str(failure(b"".join(parts))) == "decode_error: the sample rate changes from 44100 to 22050 Hz"


def test_errors_of_the_stream_come_through():
    class Unplugged(io.BytesIO):
        def read(self, size=-1):
            if self.tell() > 40_000:
                raise ConnectionResetError("unplugged")
            return super().read(size)

    for form in ("WAV", "FLAC", "OGG", "MP3"):
        with pytest.raises(ConnectionResetError, match="unplugged"):
            read_all(Unplugged(sound(tone(20.0, 44100), 44100, form)))


def test_decoders_are_quiet(lossy, capfd):
    for content in (b"\xff\xfe" + bytes(5000), garbled(lossy["mp3"], 0.5), lossy["m4a"][:9999], lossy["webm"][:9999]):
        try:
            read_all(io.BytesIO(content))
        except AudioError as error:
            assert str(pickle.loads(pickle.dumps(error))) == f"{error.reason}: {error.detail}"
    assert capfd.readouterr() == ("", "")


def test_read_all_stops_at_max_seconds():
    wav = sound(tone(3.0, 16000), 16000)
    assert len(read_all(io.BytesIO(wav), max_seconds=1.5)) == 24000
    assert len(read_all(io.BytesIO(wav), max_seconds=99.0)) == 48000


def test_encode_flac_scales_rounds_and_clips():
    samples = np.array([0.0, 0.5, -1.0, 1.0, 7.0, -7.0, 1.5 / 32768, 2.5 / 32768], np.float32)
    content = encode_flac(samples)
    integers, _ = soundfile.read(io.BytesIO(content), dtype="int16")
    assert integers.tolist() == [0, 16384, -32768, 32767, 32767, -32768, 2, 2]
    assert soundfile.info(io.BytesIO(content)).subtype == "PCM_16"
    assert encode_flac(samples) == content


def test_is_silent():
    assert is_silent(np.zeros(0, np.float32))
    assert is_silent(np.full(100, 0.0009, np.float32))
    assert not is_silent(np.array([0.0, -0.0011, 0.0], np.float32))
