"""Derived UIDs: the same for the same radiograph and software, different for everything else, valid under any root."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpal.errors import ConfigError
from carpal.imaging.exam import check_uid_root, from_parts, is_uid
from carpal.report.content import findings
from carpal.report.dicom_common import derive
from carpal.types import ModelId, Sex
from dicom_kit import assessment, child_file, header_of, pydicom


def test_a_uid_depends_on_radiograph_weights_sex_version_and_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    source, other = header_of(child_file()), header_of(child_file(SOPInstanceUID="1.2.3.4.6"))
    found = findings(assessment(), source)
    first = derive("sr", found, source)
    assert derive("sr", findings(assessment(), source), header_of(child_file(PatientID="another"))) == first
    different = {
        derive("capture", found, source),
        derive("sr", found, other),
        derive("sr", replace(found, model=ModelId("alanet", "0.1", "cd" * 32)), source),
        derive("sr", replace(found, sex=Sex.MALE), source),
        derive("sr", replace(found, sex=None), source),
        derive("sr", replace(found, site="Ward 7, 80 reads", raw_months=100.0), source),
        derive("sr", found, source, "1.2.840"),
    }
    monkeypatch.setattr("carpal.__version__", "99")
    different.add(derive("sr", found, source))
    assert len(different | {first}) == 9


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.text(), max_size=4), st.sampled_from([None, "1.2", "1.2.826.0.1.3680043.10.1234", "1.2." + "3" * 36])
)
def test_every_uid_is_valid(parts: list[str], root: str | None) -> None:
    uid = from_parts(tuple(parts), root)
    assert is_uid(uid)
    assert pydicom.uid.UID(uid).is_valid
    assert uid.startswith(f"{root or '2.25'}.")


@pytest.mark.parametrize("text", ["1", "1..2", ".1.2", "1.02", "1.2.", "1.2a", "", "1." + "9" * 63, "1.2\n"])
def test_what_is_no_uid(text: str) -> None:
    assert not is_uid(text)


@pytest.mark.parametrize("root", ["1", "1.2.", "abc", "", "1." + "2" * 39, "../etc"])
def test_a_wrong_root_is_refused_by_name(root: str) -> None:
    with pytest.raises(ConfigError, match="UID root is digits and dots"):
        check_uid_root(root)
