"""Report in the summary how many entries of the catalog were tested by the contract."""

from __future__ import annotations


def pytest_terminal_summary(terminalreporter):
    ids = [
        report.nodeid.partition("[")[2].rstrip("]").split("-")
        for report in terminalreporter.stats.get("passed", [])
        if "losses/test_contract.py::" in report.nodeid
    ]
    if ids:
        from noisylabels.losses import LOSSES

        visited = {part for parts in ids for part in parts} & set(LOSSES)
        terminalreporter.write_line(
            f"loss contract: {len(visited)} of {len(LOSSES)} entries of the catalog visited"
        )
