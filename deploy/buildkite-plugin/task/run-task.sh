#!/usr/bin/env bash
# Runs a script as an Assay task: with an identity that names this run and ends with it.
#
# What to do comes in variables. None of them is ever read as shell text, but for the script itself, which bash reads
# from a file; none of them is left for the script to see.
#   ASSAY_INPUT_RUN                  the script
#   ASSAY_INPUT_SERVER               the server's issuer URL
#   ASSAY_INPUT_TRUST_BUNDLE         the trust domain's bundle, or its file; empty: the server has a certificate of the web
#   ASSAY_INPUT_AUDIENCE             of the platform's token, where it is not the server's URL
#   ASSAY_INPUT_WRITE_FILES          true: svid.pem, key.pem and bundle.pem are in $ASSAY_TASK_FILES
#   ASSAY_INPUT_JWT_FILES            name=audience, one a line: JWT-SVIDs in $ASSAY_TASK_FILES
#   ASSAY_INPUT_HIDE_PLATFORM_TOKEN  false: the script can ask the platform for tokens too
#   ASSAY_INPUT_VERSION              the exact version to install, or "installed" for the assay in PATH
#   ASSAY_INPUT_PACKAGE              its npm package, or a tarball (file or URL) in its place
#   ASSAY_INPUT_FOLDER               a folder of this job, which is removed after it
set -euo pipefail

main() {
  local run=${ASSAY_INPUT_RUN:-} server=${ASSAY_INPUT_SERVER:-} folder
  [ -n "$server" ] || fail "server is empty, expected the issuer URL of an Assay server"
  [ -n "$run" ] || fail "run is empty, expected a script"
  umask 077
  folder=$(mktemp -d "${ASSAY_INPUT_FOLDER:-${TMPDIR:-/tmp}}/assay-task-XXXXXXXX")
  printf '%s\n' "$run" >"$folder/script"

  local arguments=(--server "$server")
  add_trust "$folder"
  if [ -n "${ASSAY_INPUT_AUDIENCE:-}" ]; then arguments+=(--audience "$ASSAY_INPUT_AUDIENCE"); fi
  if is_on "write-files" "${ASSAY_INPUT_WRITE_FILES:-false}"; then arguments+=(--write-files); fi
  if is_on "hide-platform-token" "${ASSAY_INPUT_HIDE_PLATFORM_TOKEN:-true}"; then
    arguments+=(--hide-platform-token)
  fi
  add_jwt_files "${ASSAY_INPUT_JWT_FILES:-}"

  local program
  program=$(place_assay "$folder")
  unset "${!ASSAY_INPUT_@}"
  # In the place of this shell, so that signals of the platform reach it.
  exec "$program" task run "${arguments[@]}" -- bash -eo pipefail "$folder/script"
}

add_trust() {
  local folder=$1 bundle=${ASSAY_INPUT_TRUST_BUNDLE:-}
  case $bundle in
    "") ;;
    *-----BEGIN\ * | "{"*)
      printf '%s\n' "$bundle" >"$folder/trust-bundle"
      arguments+=(--trust-bundle "$folder/trust-bundle")
      ;;
    *)
      [ -r "$bundle" ] || fail "trust-bundle is neither a bundle nor a file that can be read"
      arguments+=(--trust-bundle "$bundle")
      ;;
  esac
}

add_jwt_files() {
  local line
  while IFS= read -r line; do
    # What is around it is how it was written down.
    line=${line#"${line%%[![:space:]]*}"}
    line=${line%"${line##*[![:space:]]}"}
    if [ -n "$line" ]; then arguments+=(--jwt-file "$line"); fi
  done <<<"$1"
}

is_on() {
  case $2 in
    true) return 0 ;;
    false) return 1 ;;
    *) fail "$1 is neither true nor false" ;;
  esac
}

# Prints the path of the program, installed where it was asked for.
place_assay() {
  local version=${ASSAY_INPUT_VERSION:-} package=${ASSAY_INPUT_PACKAGE:-@assay/assay} place=$1/package
  if [ "$version" = installed ]; then
    command -v assay || fail "version is installed, and there is no assay in PATH"
    return
  fi
  case $package in
    *.tgz | *.tar.gz)
      # npm would look for it beside what is installed.
      if [ -f "$package" ]; then package=$(realpath -- "$package"); fi
      ;;
    *)
      [[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]] ||
        fail "version is not an exact one such as 1.2.3, nor installed"
      package+=@$version
      ;;
  esac
  command -v npm >/dev/null || fail "npm is not in PATH: install Node, or have assay in the image and set version to installed"
  # Nothing of what is installed runs before it is called, the platform's tokens being in reach of this shell.
  npm install --prefix "$place" --no-save --no-audit --no-fund --ignore-scripts --loglevel=error -- "$package" >&2
  printf '%s\n' "$place/node_modules/.bin/assay"
}

fail() {
  printf 'assay task: %s\n' "$1" >&2
  exit 2
}

main
