"""Who may import whom: the program runs without a page, and the engine on a machine that has little else than torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STDLIB = set(sys.stdlib_module_names)
BARE = {"torch", "transformers", "numpy", "PIL", "safetensors", "tokenizers"}

# Package -> what its modules may import besides the standard library. A name with a dot allows that module only.
ALLOWED = {
    "app/types": {"torch", "numpy", "app.types"},
    "app/engine": BARE | {"app.types", "app.errors", "app.door", "app.engine"},
    "app/chatml": BARE | {"app.types", "app.errors", "app.chatml", "app.engine.spec", "app.engine.state"},
    # torch for one thing: the official frame rule rounds a float32 linspace, and so must we.
    "app/media": {
        "torch",
        "numpy",
        "PIL",
        "av",
        "cv2",
        "soundfile",
        "qwen_omni_utils",
        "app.types",
        "app.errors",
        "app.media",
    },
}


def imports(path: Path) -> set[str]:
    """Dotted names of the modules that a file imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            names.add(node.module)
    return names


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("folder", ALLOWED)
def test_each_stage_imports_only_what_it_may(folder):
    allowed = ALLOWED[folder]
    for path in modules(folder):
        for name in imports(path):
            is_allowed = name.split(".")[0] in STDLIB or any(
                name == entry or name.startswith(entry + ".") for entry in allowed
            )
            assert is_allowed, f"{path.relative_to(ROOT)} imports {name}"


def test_the_program_never_imports_gradio_or_the_page():
    for path in modules("app"):
        for name in imports(path):
            assert name.split(".")[0] not in {
                "gradio",
                "components",
                "launch_demo",
                "training",
                "benchmarks",
                "tests",
            }, f"{path.relative_to(ROOT)} imports {name}"


def test_the_page_knows_the_service_and_its_types_only():
    """Gradio's own packages and the types that cross the door; no session, engine, media or model code."""
    allowed = (
            "app.types", "app.errors", "app.service", "app.session.record", "app.media.limits", "app.live.server",
            "components",
        )  # fmt: skip
    for path in modules("components"):
        for name in imports(path):
            assert not name.startswith("app") or name.startswith(allowed), f"{path.name} imports {name}"
            assert name.split(".")[0] not in {"torch", "transformers"}, f"{path.name} imports {name}"


def test_only_the_launcher_imports_both_the_page_and_the_service_builder():
    for path in modules("components"):
        assert "build_service" not in path.read_text(encoding="utf-8"), path.name


def test_the_engine_runs_without_the_pages_and_the_medias_libraries():
    """As on a bare GPU machine: what it must do without is made unimportable in a fresh interpreter."""
    code = """
import sys
for name in ("gradio", "av", "cv2", "soundfile", "qwen_omni_utils", "websockets"):
    sys.modules[name] = None
import app.engine.loader, app.chatml.render, benchmarks.latency
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


def test_importing_the_launcher_does_nothing():
    code = "import launch_demo, sys; assert 'torch' not in sys.modules and 'gradio' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)
