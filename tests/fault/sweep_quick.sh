#!/bin/bash
# tier: fast
# Some points of tests/fault/sweep.sh, so that every run of the tests has seen a few faults.
FAULT_EVERY=${FAULT_EVERY:-100} exec bash "$(dirname "$0")/sweep.sh" quick
