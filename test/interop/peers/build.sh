#!/usr/bin/env bash
# Builds a peer of the interop tests and prints the folder that holds its programs:  build.sh spire|go-client
#
# What was built before from the same sources is found again under $ASSAY_PEERS, or the user's cache folder. The first
# build of SPIRE takes about ten CPU-minutes, after that Go's own build cache makes it seconds.
set -euo pipefail

peer=${1:?usage: build.sh spire|go-client}
cd "$(dirname "$0")/$peer"
key=$(find . ../build.sh -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16)
cache=${ASSAY_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/assay/peers}
done="$cache/$peer-$key"

if [ ! -d "$done" ]; then
  mkdir -p "$cache"
  making=$(mktemp -d "$cache/.making-XXXXXX")
  trap 'rm -rf "$making"' EXIT
  case $peer in
    spire) go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$making/" tool >&2 ;;
    go-client) go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$making/spiffe-probe" . >&2 ;;
    *) echo "build.sh: no such peer: $peer" >&2; exit 2 ;;
  esac
  # Other users run these programs too: the tests start workloads under several uids.
  chmod 755 "$making"
  # Whoever else finished first has built the same.
  mv -T "$making" "$done" 2>/dev/null || [ -d "$done" ]
fi
echo "$done"
