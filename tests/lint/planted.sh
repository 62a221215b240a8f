#!/bin/bash
# tier: lint
# The planted bugs of `make check-planted` fit the sources as they are.
exec bash "$(dirname "$0")/../fault/planted.sh" --apply-only
