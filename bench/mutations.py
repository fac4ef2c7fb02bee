"""Do the tests fail where the code is wrong? Each mutation breaks one line of a copy of src/; its tests must notice.

    python bench/mutations.py [--only WORD]

One line a mutation: killed (a test failed), survived (none did), stale (the line is not there any more) or broken (the
tests could not run). First the same tests run on the copy as it is, and must pass. Exit code 1 unless all are killed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import NamedTuple

import pytest
import torch  # noqa: F401  (once, before the tests are forked; ONNX Runtime's threads would not live on)

ROOT = Path(__file__).parents[1]
AUGMENT, RELEASED = "test_augment.py::test_", "test_released.py::test_an_example_is_read_to_the_golden_age"
ALWAYS, CHANCE = f"{AUGMENT}what_is_always_drawn_is_uniform", f"{AUGMENT}what_is_drawn_by_chance"
BROKEN = 99
BASELINES, PINNED = "test_baseline_losses.py::test_", "test_pinned.py"
ALIGN = "test_align_hand.py::test_a_"


class Mutation(NamedTuple):
    """In `file`, `old` becomes `new`; one of `tests` (a file, or the beginning of a test's name in it) must fail."""

    what: str
    file: str
    old: str
    new: str
    tests: str


MUTATIONS = (
    Mutation(
        "box offsets learn from the ages",
        "lab/model/alanet.py",
        "boxes.decode(rpn_output.deltas_BAR4.detach(),",
        "boxes.decode(rpn_output.deltas_BAR4,",
        "test_alanet.py::test_the_age_loss_moves_no_box",
    ),
    Mutation(
        "scores carry a gradient",
        "lab/model/alanet.py",
        "torch.sigmoid(rpn_output.logits_BAR.detach())",
        "torch.sigmoid(rpn_output.logits_BAR)",
        "test_alanet.py::test_the_age_loss_moves_no_box",
    ),
    Mutation(
        "sex is not read",
        "lab/model/alanet.py",
        "self.sex(male_B[:, None])",
        "self.sex(0 * male_B[:, None])",
        "test_alanet.py::test_sex_changes",
    ),
    Mutation(
        "regions join by their mean",
        "lab/model/alanet.py",
        "local_BRD.amax(1)",
        "local_BRD.mean(1)",
        "test_alanet.py::test_the_regions_join",
    ),
    Mutation("another mean grey", "lab/model/alanet.py", "0.449, 0.226", "0.450, 0.226", PINNED),
    Mutation(
        "IoU from which an anchor is positive",
        "lab/model/rpn.py",
        "POSITIVE_IOU, NEGATIVE_IOU = 0.5",
        "POSITIVE_IOU, NEGATIVE_IOU = 0.45",
        PINNED,
    ),
    Mutation(
        "offsets of negatives are learned",
        "lab/model/rpn.py",
        "_mean(distance_BAR4.sum(-1), positive_BAR)",
        "_mean(distance_BAR4.sum(-1), asked_BAR)",
        "test_rpn.py::test_loss_follows",
    ),
    Mutation(
        "older than k from k on",
        "lab/model/ordinal.py",
        "(months_B[..., None] > ranks_K)",
        "(months_B[..., None] >= ranks_K)",
        "test_ordinal.py::test_target_k",
    ),
    Mutation(
        "an unknown age counts",
        "lab/model/losses.py",
        "(ordinal.loss(output.logits_BK, months_B) * has_age_B).sum()",
        "ordinal.loss(output.logits_BK, months_B).sum()",
        "test_losses.py::test_an_unknown_age",
    ),
    Mutation(
        "another spread of the names",
        "lab/model/naming.py",
        "SPREADS: Final = (0.2, 0.15,",
        "SPREADS: Final = (0.2, 0.16,",
        PINNED,
    ),
    Mutation(
        "turns go one way",
        "lab/training/augment.py",
        "(augment.rotate) * (2 * angle_B - 1)",
        "(augment.rotate) * angle_B",
        ALWAYS,
    ),
    Mutation(
        "half of the sizes",
        "lab/training/augment.py",
        "augment.scale * (2 * scale_B - 1)",
        "augment.scale * (scale_B - 0.5)",
        ALWAYS,
    ),
    Mutation(
        "pictures only shrink",
        "lab/training/augment.py",
        "1 + augment.scale * (2 * scale_B - 1)",
        "1 - augment.scale * scale_B",
        ALWAYS,
    ),
    Mutation(
        "shifts are diagonal", "lab/training/augment.py", "(2 * y_B - 1)", "(2 * x_B - 1)", f"{AUGMENT}no_draw_follows"
    ),
    Mutation(
        "twice the brightness",
        "lab/training/augment.py",
        "(2 * brightness_B - 1) / 2",
        "(2 * brightness_B - 1)",
        ALWAYS,
    ),
    Mutation("gamma to base e", "lab/training/augment.py", "gamma_B=2 **", "gamma_B=math.e **", ALWAYS),
    Mutation(
        "always the most noise",
        "lab/training/augment.py",
        "augment.noise * noise_B",
        "augment.noise + 0 * noise_B",
        ALWAYS,
    ),
    Mutation(
        "flips where none are asked",
        "lab/training/augment.py",
        "mirror_B < augment.flip",
        "mirror_B > augment.flip",
        CHANCE,
    ),
    Mutation(
        "always as coarse as can be",
        "lab/training/augment.py",
        "1 + (COARSEST - 1) * how_coarse_B",
        "COARSEST + 0 * how_coarse_B",
        CHANCE,
    ),
    Mutation("another worst quality", "lab/training/augment.py", "(15.0, 95.0)", "(10.0, 95.0)", f"{CHANCE} {PINNED}"),
    Mutation(
        "contrast before gamma",
        "lab/training/augment.py",
        "((unit * contrast + brightness * (unit > 0)) * 255)",
        "((unit + brightness * (unit > 0)) * contrast * 255)",
        f"{AUGMENT}tone_is_gamma",
    ),
    Mutation(
        "a rate drops a step late",
        "lab/training/loop.py",
        "step >= drop",
        "step > drop",
        "test_loop.py::test_the_rate_drops",
    ),
    Mutation(
        "Ren's weight is learned",
        "lab/baselines/ren.py",
        "prediction.months_B.detach()",
        "prediction.months_B",
        f"{BASELINES}ren",
    ),
    Mutation(
        "Ren's half weight",
        "lab/baselines/ren.py",
        "HALF_WEIGHT_MONTHS = 12.0",
        "HALF_WEIGHT_MONTHS = 10.0",
        f"{BASELINES}ren",
    ),
    Mutation(
        "AR-CNN's parts count whole", "lab/baselines/arcnn.py", "= 5, 0.5, 0.1", "= 5, 1.0, 0.1", f"{BASELINES}arcnn"
    ),
    Mutation(
        "AR-CNN's maps may overlap", "lab/baselines/arcnn.py", "= 5, 0.5, 0.1", "= 5, 0.5, 0.0", f"{BASELINES}arcnn"
    ),
    Mutation(
        "overlap counts a map with itself",
        "lab/baselines/attention.py",
        "count * (count - 1)",
        "count * count",
        f"{BASELINES}the_overlap",
    ),
    Mutation(
        "Iglovikov's regions are summed",
        "lab/baselines/iglovikov.py",
        "protocol.l1(months_BQ, months_B[:, None]).mean(1)",
        "protocol.l1(months_BQ, months_B[:, None]).sum(1)",
        f"{BASELINES}iglovikov",
    ),
    Mutation(
        "Deeplasia's error is not squared",
        "lab/baselines/deeplasia.py",
        ".square()}",
        ".abs()}",
        f"{BASELINES}deeplasia",
    ),
    Mutation(
        "classes are floors",
        "lab/baselines/protocol.py",
        "months_B.round()",
        "months_B.floor()",
        f"{BASELINES}the_class",
    ),
    Mutation(
        "another unit of ages",
        "lab/baselines/protocol.py",
        "127.3166, 41.1793",
        "127.3166, 41.2",
        f"{BASELINES}absolute",
    ),
    Mutation(
        "classes above the wrong rank",
        "lab/baselines/protocol.py",
        "at_most_BC[..., :-1]",
        "at_most_BC[..., 1:]",
        f"{BASELINES}classes_above",
    ),
    Mutation(
        "a removed setting passes",
        "lab/model/weights.py",
        '"optim.ema"),',
        '"optim.emma"),',
        "test_config.py::test_a_removed_setting",
    ),
    Mutation(
        "no mirrored view",
        "inference/align.py",
        "return average(seen, predict(engine, view.image_HW, male, mirrored=True, boxes_R4=boxes_R4))",
        "return seen",
        f"{ALIGN}usual_hand",
    ),
    Mutation(
        "a right hand stays one",
        "inference/align.py",
        "    if pose is not None and pose.mirrored:\n",
        "    if False:\n",
        f"{ALIGN}mirrored_radiograph",
    ),
    Mutation(
        "a misjudged polarity stays",
        "inference/align.py",
        "dark_bones != look.negative",
        "dark_bones",
        f"{ALIGN}misjudged_polarity",
    ),
    Mutation(
        "hands a twentieth larger", "inference/align.py", "\nRADIUS: Final = 0.25", "\nRADIUS: Final = 0.2625", RELEASED
    ),
    Mutation("no blur", "imaging/preprocess.py", "BLUR_SIGMA_PX = 0.6", "BLUR_SIGMA_PX = 0.001", RELEASED),
    Mutation("another high percentile", "imaging/intensity.py", "= 1.0, 99.0", "= 1.0, 98.0", RELEASED),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="WORD", help="mutations whose file or words hold it")
    only = parser.parse_args().only
    os.chdir(ROOT)
    sys.dont_write_bytecode = True  # a mutant would leave a .pyc
    assert "carpal" not in sys.modules, "the copy's must be imported, by each child"
    chosen = [mutation for mutation in MUTATIONS if only in f"{mutation.file} {mutation.what}"]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(
            ROOT / "src" / "carpal", source / "carpal", ignore=shutil.ignore_patterns("released", "__pycache__")
        )
        (source / "carpal" / "released").symlink_to(ROOT / "src" / "carpal" / "released")
        before = run_tests(source, sorted({name for mutation in chosen for name in mutation.tests.split()}))
        if before != "survived":
            print(f"the tests do not pass on the code as it is, so nothing can be said of mutations: {before}")
            return 1
        killed = 0
        for mutation in chosen:
            started, verdict = time.monotonic(), judge(source, mutation)
            killed += verdict == "killed"
            print(f"{verdict:8}  {mutation.file}: {mutation.what} ({time.monotonic() - started:.0f} s)", flush=True)
    print(f"{killed} of {len(chosen)} killed")
    return int(killed < len(chosen))


def judge(source: Path, mutation: Mutation) -> str:
    """What the tests say of one mutation; the copy is whole again afterwards."""
    path = source / "carpal" / mutation.file
    whole = path.read_text(encoding="utf-8")
    if whole.count(mutation.old) != 1:
        return "stale"
    path.write_text(whole.replace(mutation.old, mutation.new), encoding="utf-8")
    try:
        return run_tests(source, mutation.tests.split())
    finally:
        path.write_text(whole, encoding="utf-8")


def run_tests(source: Path, names: list[str]) -> str:
    """killed where a test fails, survived where all pass, broken where they cannot run."""
    files = sorted({f"tests/{name.partition('::')[0]}" for name in names})
    words = " or ".join(name.partition("::")[2] or Path(name).stem for name in names)
    with tempfile.TemporaryFile() as output:
        child = os.fork()  # PyTorch is imported already: a start of its own for each mutation costs more than its tests
        if child == 0:
            for stream in (1, 2):
                os.dup2(output.fileno(), stream)
            sys.path.insert(0, str(source))
            try:
                code = int(pytest.main(["-q", "-x", "-n", "0", "-p", "no:cacheprovider", *files, "-k", words]))
            except BaseException:
                traceback.print_exc()
                code = BROKEN  # not 1, which pytest returns where a test fails
            sys.stdout.flush()
            os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output.seek(0)
        said = output.read().decode(errors="replace")
    return {0: "survived", 1: "killed"}.get(code, f"broken\n{said[-2000:]}\n")


if __name__ == "__main__":
    sys.exit(main())
