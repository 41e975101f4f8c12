#!/usr/bin/env bash
# Passes all the tests, and installs what they need: Python peers into a virtual environment, pinned.
# Needs: Rust, Python 3.11 or later, a C compiler. Services that tests talk to are started by the tests, on free ports.
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

step "tests in Rust"
cargo test --release --workspace --locked

step "tests with real clients"
python=$(python_with tests/clients/requirements.txt)
TENON="$target/release/tenon" "$python" -m pytest -q tests/clients
