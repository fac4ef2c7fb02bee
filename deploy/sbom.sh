#!/usr/bin/env bash
# The bill of materials of what runs: `carpal[onnx,dicom]` with the versions of constraints.txt, as CycloneDX.
# Writes deploy/sbom.json, or the file named. Needs the package registry; nothing of it stays.
set -euo pipefail
out="$(realpath -m "${1:-"$(dirname "$0")/sbom.json"}")"
cd "$(dirname "$0")/.."
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_QUIET=2
python3 -m venv "$work/run"
"$work/run/bin/pip" install -c constraints.txt '.[onnx,dicom]'
"$work/run/bin/pip" uninstall -y pip setuptools
python3 -m venv "$work/tool"
"$work/tool/bin/pip" install cyclonedx-bom
"$work/tool/bin/cyclonedx-py" environment "$work/run/bin/python" --output-reproducible --output-format JSON --output-file "$work/sbom.json"
python3 - "$work/sbom.json" "$out" <<'PYTHON'
"""carpal becomes what the bill is about; of where it was built nothing is said."""
import json
import sys

bill = json.load(open(sys.argv[1], encoding="utf-8"))
(root,) = [part for part in bill["components"] if part["name"] == "carpal"]
bill["components"].remove(root)
bill["metadata"]["component"] = {key: root[key] for key in ("bom-ref", "name", "version", "licenses") if key in root}
bill["metadata"]["component"]["type"] = "application"
for part in bill["components"]:
    part.pop("externalReferences", None)
json.dump(bill, open(sys.argv[2], "w", encoding="utf-8"), indent=1)
open(sys.argv[2], "a", encoding="utf-8").write("\n")
print(f"{len(bill['components'])} packages below carpal {root['version']}: {sys.argv[2]}")
PYTHON
