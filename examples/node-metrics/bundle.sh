#!/bin/sh
# Writes this program as a git bundle to $1 and prints the commit. Author and dates are fixed, so that the same files
# always give the same commit. After a change: sh bundle.sh ../quickstart/repos/node-metrics.bundle, then put the
# printed commit into ../quickstart/environments/production.toml.
set -eu
bundle=$(realpath -m "$1")
cd "$(dirname "$0")"
repository=$(mktemp -d)
trap 'rm -rf "$repository"' EXIT
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
export GIT_AUTHOR_NAME=MOS GIT_AUTHOR_EMAIL=mos@example.org GIT_AUTHOR_DATE='2026-11-21T00:00:00Z'
export GIT_COMMITTER_NAME=MOS GIT_COMMITTER_EMAIL=mos@example.org GIT_COMMITTER_DATE='2026-11-21T00:00:00Z'
git init --quiet --initial-branch=main "$repository"
mkdir "$repository/src"
cp .gitignore Cargo.lock Cargo.toml "$repository"
cp src/*.rs "$repository/src"
git -C "$repository" add .
git -C "$repository" commit --quiet --message='Show the state of a node'
git -C "$repository" bundle create --quiet "$bundle" main
git -C "$repository" rev-parse HEAD
