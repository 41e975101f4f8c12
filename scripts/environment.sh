# Sourced by the other scripts: where builds and Python peers are kept.
# A target folder outside the clone is used where one exists, so that a second clone on the same machine starts warm.
cache="${XDG_CACHE_HOME:-$HOME/.cache}/tenon"
if [ -z "${CARGO_TARGET_DIR:-}" ] && [ -d "$cache/target" ]; then
  export CARGO_TARGET_DIR="$cache/target"
fi
target="${CARGO_TARGET_DIR:-$PWD/target}"
mkdir -p "$cache"

# python_with REQUIREMENTS: prints the interpreter of a virtual environment that has exactly these packages.
python_with() {
  local requirements="$1" digest venv
  digest=$(sha256sum "$requirements" | cut -c1-12)
  venv="$cache/venv-$digest"
  if [ ! -e "$venv/complete" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv" >&2
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$requirements" >&2
    touch "$venv/complete"
  fi
  echo "$venv/bin/python"
}
