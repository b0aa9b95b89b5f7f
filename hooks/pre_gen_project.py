"""Refuse answers that would make a broken project, each with one sentence, before a file is written."""

import json
import keyword
import re
import sys

ANSWERS = json.loads(r"""{{ cookiecutter | jsonify }}""")

# Names in requirements.lock and what they are imported as: a package of this name would hide the library, and pip would
# take a project of this name for the library and replace it. A test compares this list with the lock.
TAKEN = set(getattr(sys, "stdlib_module_names", ())) | {
    "accelerate", "alembic", "annotated_doc", "annotated_types", "anyio", "ast_serialize", "catboost", "certifi", "charset_normalizer", "cleanlab",
    "click", "cloudpickle", "colorama", "colorlog", "cookiecutter", "cuda", "cuda_bindings", "cuda_pathfinder", "cuda_toolkit", "cwevals", "data",
    "datasets", "datasketch", "dateutil", "detect_secrets", "distro", "filelock", "fsspec", "git", "google", "googleapis_common_protos", "h11", "hf_xet", "httpcore",
    "httpcore2", "httpx", "httpx2", "httpx2_jsfetch", "huggingface_hub", "hypothesis", "idna", "imagehash", "iniconfig", "jinja2", "joblib", "librt",
    "fastapi", "starlette", "uvicorn",
    "lightgbm", "mako", "markdown_it_py", "markupsafe", "mdurl", "mpmath", "mypy", "mypy_extensions", "narwhals", "networkx", "numpy", "nvidia",
    "nvidia_cublas", "nvidia_cuda_cupti", "nvidia_cuda_nvrtc", "nvidia_cuda_runtime", "nvidia_cudnn_cu13", "nvidia_cufft", "nvidia_cufile",
    "nvidia_curand", "nvidia_cusolver", "nvidia_cusparse", "nvidia_cusparselt_cu13", "nvidia_nccl_cu13", "nvidia_nvjitlink", "nvidia_nvshmem_cu13",
    "nvidia_nvtx", "opentelemetry", "opentelemetry_api", "opentelemetry_exporter_http_transport", "opentelemetry_exporter_otlp_common",
    "opentelemetry_exporter_otlp_proto_common", "opentelemetry_exporter_otlp_proto_http", "opentelemetry_proto", "opentelemetry_sdk",
    "opentelemetry_semantic_conventions", "optuna", "packaging", "pandas", "pathspec", "peft", "pillow", "pip", "platformdirs", "pluggy", "polars",
    "polars_runtime_32", "protobuf", "psutil", "pydantic", "pydantic_core", "pygments", "pytest", "python_dateutil", "pywavelets", "pywt", "pyyaml",
    "recipe", "recipe_kit", "regex", "requests", "rich", "ruff", "runs", "safetensors", "scikit_learn", "scipy", "setuptools", "shellingham", "six", "sklearn",
    "sniffio", "sortedcontainers", "sqlalchemy", "src", "sympy", "termcolor", "test", "tests", "threadpoolctl", "tokenizers", "torch", "torchvision",
    "tqdm", "transformers", "triton", "truststore", "typer", "typing_extensions", "typing_inspection", "tzdata", "urllib3", "wandb", "xgboost",
    "xxhash", "yaml",
}  # fmt: skip
LIBRARIES = TAKEN - set(getattr(sys, "stdlib_module_names", ())) - {"src", "test", "tests", "recipe", "data", "runs"}


def problem(answers: dict) -> str:
    """What is wrong with the answers, in one sentence; empty when nothing is."""
    name, slug, package = answers["project_name"], answers["project_slug"], answers["package"]
    for key in ("project_name", "description", "author"):
        value = answers[key]
        if not value.strip():
            return f"{key} is empty; give it a few words"
        if len(value) > 120:
            return f"{key} has {len(value)} characters; at most 120 are allowed"
        if any(ord(c) < 32 or ord(c) == 127 for c in value):
            return f"{key} = {value!r} holds a line break or control character; write it on one line"
        if any(0xD800 <= ord(c) <= 0xDFFF for c in value):
            return f"{key} = {value!a} is not valid Unicode; type it again"
        if any(mark in value for mark in ("{" + "{", "{" + "%", "{" + "#")):
            return f"{key} = {value!r} holds template marks; leave them out"
    if any(mark in name for mark in "\"'`\\<>"):
        return f"project_name = {name!r} holds a quote, backslash or angle bracket; use letters, digits, spaces and .,&()+-"
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,58}[a-z0-9])?", slug):
        return f"project_slug = {slug[:80]!r} is not a folder name; use 1 to 60 lower-case letters, digits and hyphens, no hyphen at either end"
    if slug.replace("-", "_") in LIBRARIES:
        return f"project_slug = {slug!r} is the name of a library the project needs; choose another, for example {slug}-model"
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,59}", package):
        return f"package = {package[:80]!r} is not a package name; use 1 to 60 lower-case letters, digits and underscores, a letter first"
    if keyword.iskeyword(package) or keyword.issoftkeyword(package):
        return f"package = {package!r} is a Python keyword; choose another name"
    if package in TAKEN:
        return f"package = {package!r} would hide the library or folder of that name; choose another, for example {package}_model"
    if answers["task"] == "ranking" and answers["modality"] != "tabular":
        return f"task = 'ranking' needs modality = 'tabular'; {answers['modality']} has no ranking"
    return ""


found = problem(ANSWERS)
if found:
    print(f"ERROR: {found}.", file=sys.stderr)
    sys.exit(1)
