"""`need` imports what is there and names the extra that brings what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from carpal.errors import BackendError, need


def test_it_returns_the_module_itself() -> None:
    import json.decoder

    assert need("json.decoder", feature="Reading", extra="dicom") is json.decoder


def test_a_missing_package_is_named_with_its_extra() -> None:
    with pytest.raises(BackendError) as caught:
        need("carpal_no_such_package.part", feature="hand.dcm: reading DICOM", extra="dicom")
    message = str(caught.value)
    assert message.startswith(
        "hand.dcm: reading DICOM needs the package carpal_no_such_package, which is not installed"
    )
    assert "pip install 'carpal[dicom]'" in message


@pytest.mark.parametrize("failure", ["OSError('libcuda.so: no such file')", "RuntimeError('operator does not exist')"])
def test_a_broken_package_is_told_from_a_missing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    (tmp_path / "carpal_broken_package.py").write_text(f"raise {failure}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BackendError, match="installed but does not load") as caught:
        need("carpal_broken_package", feature="Reading", extra="onnx")
    assert "pip install 'carpal[onnx]'" in str(caught.value)
