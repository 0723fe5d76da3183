#!/bin/bash
# Written by `memloc submit`. It runs the sweep on the head of a Ray cluster, and again after a crash. It does not run it
# again if the sweep was told to stop, if another run would mend nothing, or if it ended within ten minutes.

set -u
sweep=(@SWEEP@)
cd -- "$(dirname -- "$0")" || exit 1
while :; do
    began=$SECONDS
    trap ':' TERM  # not ignored, since the sweep would inherit that
    @PYTHON@ -m memloc "${sweep[@]}" --address auto &
    driver=$!
    trap '' TERM  # `ray job stop` tells the sweep too, which completes its running epochs and parts; `wait` goes on
    wait "$driver"
    code=$?
    case $code in 0 | 1 | 2 | 3 | 130) exit "$code" ;; esac
    [ $((SECONDS - began)) -ge 600 ] || exit "$code"
    echo "memloc: exit code $code; the sweep goes on in 30 s" >&2
    trap 'exit 130' TERM
    sleep 30
done
