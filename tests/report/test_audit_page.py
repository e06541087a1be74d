"""The audit as text and as a page."""

from __future__ import annotations

import html.parser
import io
from pathlib import Path

from rich.console import Console

from mvdefect.audit.amounts import TRIED
from mvdefect.audit.audit import audit_data
from mvdefect.audit.findings import Audit, Probe, ProtocolCheck
from mvdefect.audit.shortcuts import PROPERTIES, UNKNOWN
from mvdefect.data.sources.folders import read_layout
from mvdefect.drawing.data_set import write_parts
from mvdefect.drawing.flaws import Faults
from mvdefect.report.audit_page import print_audit, write_audit_page
from tests.conftest import write_class_folders


class Pictures(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "img":
            self.names.append(given["alt"] or "")
        if tag in {"img", "link", "script"}:
            self.sources.append(given.get("src") or given.get("href") or "")


def test_the_page_shows_the_pairs_and_needs_no_network(tmp_path: Path) -> None:
    root = write_parts(
        tmp_path / "parts", good=20, defective_per_type=4, size_px=96, categories=("fabric",),
        faults=Faults(near_duplicates=3),
    )  # fmt: skip
    layout = read_layout(root)
    audit = audit_data(layout)
    page = tmp_path / "pages" / "check.html"
    write_audit_page(audit, {record.id: record for record in layout.records}, page)
    text = page.read_text()
    pictures = Pictures()
    pictures.feed(text)
    near = next(finding for finding in audit.findings if finding.code == "near-duplicates")
    assert pictures.names == [name for pair in near.pairs for name in (pair.first, pair.second)]
    assert all(source.startswith("data:image/jpeg;base64,") for source in pictures.sources)
    assert near.message in text
    assert "ROC-AUC" in text


def test_the_text_names_findings_files_and_advice(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "nut [a]")
    (root / "good" / "000.png").write_bytes(b"")
    stream = io.StringIO()
    print_audit(audit_data(read_layout(root)), Console(file=stream, markup=False, width=200))
    text = stream.getvalue()
    assert "ERROR 1 file(s) cannot be read as one photograph." in text
    assert "good/000.png: the file is empty" in text
    assert "nut [a]/good" in text
    assert "--skip-broken" in text
    assert "1 error(s)" in text


def test_the_text_and_the_page_say_in_plain_words_what_can_be_tested(tmp_path: Path) -> None:
    """Every protocol that is tried has words of its own; one reason for all properties is told once."""
    reason = "not measured: it takes defective images of 10 different parts, and there are 2"
    probes = [Probe(seen.name, UNKNOWN, reason) for seen in PROPERTIES]
    names = [" ".join([name, *(str(number) for number in (k, n) if number)]) for name, k, n in TRIED]
    protocols = [ProtocolCheck(name, is_possible=False, remark="too few images") for name in names]
    audit = Audit("lot.zip", 12, {"nut/good": 12}, (), tuple(probes), tuple(protocols))
    stream = io.StringIO()
    print_audit(audit, Console(file=stream, markup=False, width=200))
    write_audit_page(audit, {}, tmp_path / "check.html")
    for text in (stream.getvalue(), (tmp_path / "check.html").read_text()):
        assert "Does anything but the defect tell good from defective?" in text
        assert "ot measured: it takes defective images of 10 different parts, and there are 2." in text
        assert text.count("ot measured:") == 1
        assert "ROC-AUC" not in text
        assert "5 defective images in training (label-budget 5)" in text
        for name in names:
            assert f" ({name})" in text
