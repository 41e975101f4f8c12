# The common tasks. `just --list` shows them.

# Everything that CI runs.
test:
    scripts/test.sh

# The binary.
build:
    cargo build --release --workspace

# Lints as CI sees them.
lint:
    cargo fmt --all --check
    cargo clippy --release --workspace --all-targets -- -D warnings

# Licences, sources, unused dependencies.
dependencies:
    scripts/dependencies.sh

# The figures of BENCHMARKS.md, against the peers.
bench:
    benches/run.sh

# The whole loop in ./acme.
quickstart:
    cargo run --release --bin tenon -- quickstart
