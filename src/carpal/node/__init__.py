"""The DICOM node beside a PACS."""
