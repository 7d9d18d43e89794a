"""The model in a .litertlm begins at a whole block."""

import pytest

from slm_export import litertlm

HEAD, MODEL = litertlm.MAGIC.ljust(litertlm.BLOCK, b"\0"), b"\x1c\0\0\0TFL3weights"


def test_the_model_is_what_lies_from_its_block_to_the_end(tmp_path):
    path = tmp_path / "m.litertlm"
    tokenizer = b"TFL3 in the midst".ljust(litertlm.BLOCK, b"\0")
    path.write_bytes(HEAD + tokenizer + MODEL)
    assert bytes(litertlm.model(path)) == MODEL
    plain = tmp_path / "m.tflite"
    plain.write_bytes(MODEL)
    assert bytes(litertlm.model(plain)) == MODEL


@pytest.mark.parametrize(
    ("content", "why"), [(b"", "empty"), (b"PK\x03\x04", "LITERTLM mark"), (HEAD * 2, "no TFLite model")]
)
def test_what_holds_none_is_told(tmp_path, content, why):
    path = tmp_path / "m.litertlm"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=why):
        litertlm.model(path)
