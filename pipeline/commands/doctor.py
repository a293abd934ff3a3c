"""``doctor``: check the machine and what stopped processes left, and repair what can be without losing anything."""

from __future__ import annotations

from pipeline.config import DoctorConfig as CONFIG
from pipeline.config import UserError


def run(config: CONFIG) -> None:
    """Print every finding as it comes; end with an error where something must be mended by hand."""
    from pipeline.commands import doctor_checks as doctor

    wrong = 0
    for finding in doctor.findings():
        print(f"{finding.state:<9} {finding.about:<12} {finding.text}", flush=True)
        wrong += finding.state == "wrong"
    if wrong:
        raise UserError(f"nothing must be wrong, got {wrong} findings that are (see the lines marked wrong)")
