"""What keeps people from reading a page, by the rules of axe."""

from typing import Any

import pytest


def barriers(page: Any) -> list[str]:
    """The serious and critical ones on a page as it shows now, too little contrast among them."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe to test with")
    return [
        f"{fault['id']}: " + "; ".join(node["html"][:200] for node in fault["nodes"][:3])
        for fault in axe.Axe().run(page).response["violations"]
        if fault["impact"] in ("serious", "critical")
    ]
