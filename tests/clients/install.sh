#!/bin/sh
# Installs what the lock files beside this name, into this folder: `.venv` from PyPI, `node_modules` from npm.
# `make clients` runs it when a lock file changed. On a Debian machine without Python's venv or without Node.js it
# installs them first, where it is allowed to.
set -eu
cd "$(dirname "$0")"

fail() {
	printf '%s\n' "$@" >&2
	exit 1
}

python_is_there() {
	python3 -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1
}

node_is_there() {
	node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' >/dev/null 2>&1
}

npm_is_there() {
	npm --version >/dev/null 2>&1
}

wanted=
python_is_there || wanted="python3 python3-venv"
node_is_there || wanted="$wanted nodejs"
npm_is_there || wanted="$wanted npm"
if [ -n "$wanted" ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
	printf 'installing:%s\n' " $wanted"
	# Word by word on purpose. What could not be installed is said below.
	# shellcheck disable=SC2086
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $wanted || true
fi
python_is_there || fail "The client tests need Python 3.10 or newer with its venv module." \
	"Install it (Debian: apt-get install python3 python3-venv) and run 'make clients' again," \
	"or run 'make test-offline', which needs no client."
node_is_there && npm_is_there || fail "The client tests need Node.js 20 or newer with npm." \
	"Install them (Debian 13: apt-get install nodejs npm) and run 'make clients' again," \
	"or run 'make test-offline', which needs no client."

rm -rf .venv .installed
python3 -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.txt
npm ci --silent
touch .installed
