#!/usr/bin/env bash
# Licences, sources, duplicates (cargo deny) and unused dependencies (cargo machete).
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
tools="$cache/tools"
for tool in cargo-deny@0.20.2 cargo-machete@0.9.2; do
  name="${tool%@*}"
  [ -x "$tools/bin/$name" ] || CARGO_TARGET_DIR="$cache/tools-target" cargo install --quiet --locked --root "$tools" "$tool"
done
"$tools/bin/cargo-machete" --skip-target-dir
"$tools/bin/cargo-deny" --log-level error check bans licenses sources
